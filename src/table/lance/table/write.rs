//! Commits: the dataset's creation, appends, dropped fragments.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use lance::Dataset;
use lance::dataset::{CommitBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::deps::datafusion::execution::SendableRecordBatchStream;
use lance_core::datatypes::Schema as LanceSchema;
use lance_file::version::LanceFileVersion;
use lance_file::writer::FileWriterOptions;
use lance_table::transaction::{Operation, Transaction};
use tracing::warn;
use uuid::Uuid;

use super::Inner;
use super::rows::{Rows, one};
use crate::codec::Chunk;
use crate::codec::columns::arrow_schema;
use crate::io::point;
use crate::model::{Offset, SchemaVersion, Timestamp};
use crate::schema::{Columns, Schema};
use crate::table::lance::commit::Ticket;
use crate::table::lance::encoding::{self, encoded};
use crate::table::lance::error::foreign;
use crate::table::lance::numbers::number_appended;
use crate::table::lance::offsets::Layout;
use crate::table::lance::open::Version;
use crate::table::lance::posted::{Progress, Step, next};
use crate::table::{Cause, TableError, TableHead};

/// A fragment ends when its file is about this large.
const FILE_BYTES_MAX: usize = 1 << 30;
/// What the writer of a merged fragment keeps of its columns in memory before it writes pages of them.
const BUFFER_BYTES: u64 = 32 << 20;
/// The same for an append: for as much as one has at most, so that a column of ten has one page.
const APPEND_BUFFER_BYTES: u64 = 64 << 20;

/// The columns of the service beside those of the topic.
const OWN_COLUMNS: usize = 2;

/// A commit that is made: what is announced of it.
pub(super) struct Announced {
    pub(super) cause: Cause,
    pub(super) next: Offset,
    pub(super) base: Offset,
    /// Bytes of text of the rows that are added.
    pub(super) text: u64,
    pub(super) last_time: Option<Timestamp>,
    /// How far the columns have followed what was posted; none where that stays as it is.
    pub(super) posted: Option<Progress>,
    /// The schema version that its rows read under; none where that stays as it is.
    pub(super) schema: Option<SchemaVersion>,
    /// Fragments that come under numbers that others had before.
    pub(super) renumbered: Vec<u64>,
    /// A segment of an index that comes.
    pub(super) segment: Option<Uuid>,
    /// Which segments of indexes are ours; none where that stays as it is.
    pub(super) indexes: Option<String>,
}

impl Announced {
    /// A commit that leaves rows and columns as they are; what it changes is said beside.
    pub(super) fn of(cause: Cause, head: &TableHead) -> Self {
        let &TableHead { next, base, last_time, .. } = head;
        let (renumbered, segment, indexes) = (Vec::new(), None, None);
        Self { cause, next, base, text: 0, last_time, posted: None, schema: None, renumbered, segment, indexes }
    }

    /// A commit that adds rows in these columns, or the columns alone.
    fn rows(cause: Cause, head: &TableHead, last: Last, columns: &Columns) -> Self {
        let Last { next, text, time: last_time } = last;
        let (posted, schema) = (Progress::all_of(columns), columns.version);
        Self { next, text, last_time, posted, schema, ..Self::of(cause, head) }
    }
}

impl Inner {
    /// Makes one commit on top of the head, synced. When it fails, what it may have left is set aside.
    pub(super) async fn commit<F, W>(
        &self,
        announced: Announced,
        known: Option<&Dataset>,
        make: W,
    ) -> Result<Version, TableError>
    where
        F: Future<Output = Result<Dataset, TableError>>,
        W: FnOnce() -> F,
    {
        let head = self.head();
        let Announced { cause, next, base, text, last_time, posted, schema, renumbered, segment, indexes } = announced;
        let known = known.map(|dataset| Arc::clone(dataset.fragments())).unwrap_or_default();
        self.unsettled.store(true, Ordering::Release);
        let raw_bytes = self.raw_bytes_from(&head, base) + text;
        let (version, base_before) = (head.version + 1, head.base);
        self.fence.arm(Ticket {
            version,
            cause,
            base,
            next,
            earliest: self.upkeep.expired(),
            raw_bytes,
            posted,
            schema,
            known,
            base_before,
            renumbered,
            segment,
            indexes,
        });
        let made = match make().await {
            Ok(dataset) => Layout::of(dataset.manifest(), base).map(|layout| (dataset, layout)),
            Err(error) => Err(error),
        };
        match made {
            Ok((dataset, layout)) => {
                self.fence.disarm();
                self.unsettled.store(false, Ordering::Release);
                self.upkeep.committed(cause);
                self.indexes.committed(cause);
                let version = Version { dataset: Arc::new(dataset), layout: Arc::new(layout) };
                self.publish(version.clone(), last_time);
                Ok(version)
            }
            Err(error) => {
                if let Err(unsettled) = self.settle().await {
                    warn!(
                        dataset = %self.place.dataset.display(), error = %unsettled,
                        "what a failed commit has left could not be set aside"
                    );
                    // Rows that are not ours outweigh why this commit failed.
                    if matches!(unsettled, TableError::Foreign { .. }) {
                        return Err(unsettled);
                    }
                }
                Err(error)
            }
        }
    }

    /// About how many bytes of text the rows from `base` on had when they came.
    fn raw_bytes_from(&self, head: &TableHead, base: Offset) -> u64 {
        let (kept, rows) = (head.next.since(base.min(head.next)), head.next.since(head.base));
        let raw_bytes = self.raw_bytes.load(Ordering::Relaxed);
        u64::try_from(u128::from(raw_bytes) * u128::from(kept) / u128::from(rows.max(1))).unwrap_or(raw_bytes)
    }

    pub(super) fn write_params(&self, mode: WriteMode) -> WriteParams {
        WriteParams {
            mode,
            max_bytes_per_file: FILE_BYTES_MAX,
            data_storage_version: Some(LanceFileVersion::V2_2),
            commit_handler: Some(Arc::clone(&self.fence) as _),
            session: Some(self.session.load_full()),
            enable_stable_row_ids: false,
            ..WriteParams::default()
        }
    }

    /// How merged fragments are written: one file each, whatever it has of columns and rows.
    pub(in crate::table::lance) fn merge_params(&self, schema: &LanceSchema) -> WriteParams {
        let leaves = schema.fields_pre_order().filter(|field| field.children.is_empty()).count();
        let bytes = buffer(BUFFER_BYTES, schema.fields.len(), leaves);
        let buffers = FileWriterOptions { data_cache_bytes: Some(bytes), ..FileWriterOptions::default() };
        WriteParams {
            max_rows_per_file: u32::MAX as usize,
            max_bytes_per_file: usize::MAX,
            file_writer_options: Some(buffers),
            ..self.write_params(WriteMode::Append)
        }
    }

    /// Commits fragments in place of others with the same rows, or without the first ones, up to `base`.
    pub(in crate::table::lance) async fn commit_rewrite(
        &self,
        present: &Version,
        transaction: Transaction,
        (base, renumbered): (Option<Offset>, Vec<u64>),
    ) -> Result<(), TableError> {
        let head = self.head();
        let base = base.unwrap_or(head.base);
        let announced = Announced { base, renumbered, ..Announced::of(Cause::Compact, &head) };
        self.add_version(present, transaction, announced).await.map(drop)
    }

    /// Commits that a segment of an index comes, or that some go, and which are ours then.
    pub(in crate::table::lance) async fn commit_index(
        &self,
        present: &Version,
        transaction: Transaction,
        (segment, indexes): (Option<Uuid>, String),
    ) -> Result<(), TableError> {
        let announced = Announced { segment, indexes: Some(indexes), ..Announced::of(Cause::Index, &self.head()) };
        self.add_version(present, transaction, announced).await.map(drop)
    }

    /// How rows of our own making are written.
    fn append_params(&self, mode: WriteMode, schema: &Schema) -> WriteParams {
        let (fields, leaves) = (schema.fields.len() + OWN_COLUMNS, schema.leaf_count() + OWN_COLUMNS);
        let buffers = FileWriterOptions {
            data_cache_bytes: Some(buffer(APPEND_BUFFER_BYTES, fields, leaves)),
            // A copy of a batch while its column's page fills would take its room once more.
            keep_original_array: Some(true),
            ..FileWriterOptions::default()
        };
        WriteParams { file_writer_options: Some(buffers), ..self.write_params(mode) }
    }

    /// Makes the dataset without rows, at the head's end.
    pub(super) async fn make_empty(&self, columns: &Columns) -> Result<(), TableError> {
        let schema = encoded(arrow_schema(&columns.schema), &self.compression.load())?;
        let none = RecordBatch::new_empty(Arc::new(schema));
        let last = Last { next: self.head().next, text: 0, time: None };
        self.make_dataset(Cause::Create, columns, one(none), last).await
    }

    /// Makes the dataset with its first rows, or none.
    async fn make_dataset(
        &self,
        cause: Cause,
        columns: &Columns,
        rows: SendableRecordBatchStream,
        last: Last,
    ) -> Result<(), TableError> {
        let head = self.head();
        // Before the dataset, so that no dataset is ever without: both are there from the first commit.
        self.link().await?;
        let uri = self.site();
        let uri =
            uri.dataset.to_str().ok_or_else(|| TableError::Failed { cause: "the path is not UTF-8".to_owned() })?;
        let params = self.append_params(WriteMode::Create, &columns.schema);
        let announced = Announced::rows(cause, &head, last, columns);
        self.commit(announced, None, || async {
            Ok(InsertBuilder::new(uri).with_params(&params).execute_stream(rows).await?)
        })
        .await?;
        Ok(())
    }

    /// Makes one more version by a transaction that is prepared.
    pub(super) async fn add_version(
        &self,
        present: &Version,
        transaction: Transaction,
        announced: Announced,
    ) -> Result<Version, TableError> {
        let dataset = Arc::clone(&present.dataset);
        self.commit(announced, Some(&present.dataset), || async move {
            Ok(CommitBuilder::new(dataset).execute(transaction).await?)
        })
        .await
    }

    /// The head with these columns.
    async fn evolved(&self, mut version: Version, columns: &Columns) -> Result<Version, TableError> {
        while let Some(Step { transaction, posted, schema }) = next(&version.dataset, columns).await? {
            point::passed("evolve", "written");
            let announced = Announced { posted, schema, ..Announced::of(Cause::Evolve, &self.head()) };
            version = self.add_version(&version, transaction, announced).await?;
        }
        Ok(version)
    }

    /// The head with fields that say how what comes is compressed.
    async fn compressed(&self, version: Version) -> Result<Version, TableError> {
        let Some(operation) = encoding::change(version.dataset.schema(), &self.compression.load()) else {
            return Ok(version);
        };
        let transaction = Transaction::new_from_version(version.dataset.manifest().version, operation);
        self.add_version(&version, transaction, Announced::of(Cause::Evolve, &self.head())).await
    }

    async fn append_once(&self, columns: &Columns, rows: &Rows, last: Last) -> Result<(), TableError> {
        let version = match self.version().await? {
            Some(version) => version,
            None if rows.is_empty() => return self.make_empty(columns).await,
            None if self.compression.load().is_plain() => {
                return self.make_dataset(Cause::Append, columns, rows.laid_out(columns), last).await;
            }
            // Rows are compressed as the dataset's fields say, which are there before them.
            None => {
                self.make_empty(columns).await?;
                self.version().await?.ok_or_else(|| foreign("the dataset is gone"))?
            }
        };
        let version = self.evolved(version, columns).await?;
        let version = self.compressed(version).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let params = self.append_params(WriteMode::Append, &columns.schema);
        let insert = InsertBuilder::new(Arc::clone(&version.dataset)).with_params(&params);
        let mut transaction = insert.execute_uncommitted_stream(rows.laid_out(columns)).await?;
        number_appended(&mut transaction, &version.dataset);
        point::passed("append", "written");
        let announced = Announced::rows(Cause::Append, &self.head(), last, columns);
        self.add_version(&version, transaction, announced).await?;
        Ok(())
    }

    pub(super) async fn append(&self, columns: &Columns, chunks: Vec<Chunk>) -> Result<(), TableError> {
        let last = dense(&chunks, &self.head())?;
        let rows = Rows::new(chunks);
        self.moved.store(false, Ordering::Release);
        match self.append_once(columns, &rows, last).await {
            Err(_) if self.is_overtaken() => self.append_once(columns, &rows, last).await,
            outcome => outcome,
        }
    }

    /// Whether a commit has failed because somebody else's came first, which was adopted, so that it can be made anew.
    fn is_overtaken(&self) -> bool {
        self.moved.swap(false, Ordering::AcqRel) && !self.unsettled.load(Ordering::Acquire)
    }

    pub(in crate::table::lance) async fn drop_before(&self, before: Offset) -> Result<(), TableError> {
        self.moved.store(false, Ordering::Release);
        match self.drop_once(before).await {
            Err(_) if self.is_overtaken() => self.drop_once(before).await,
            outcome => outcome,
        }
    }

    async fn drop_once(&self, before: Offset) -> Result<(), TableError> {
        let Some(version) = self.version().await? else { return Ok(()) };
        let dropped = version.layout.wholly_before(before);
        let Some(last) = dropped.last() else { return Ok(()) };
        let operation = Operation::Delete {
            updated_fragments: Vec::new(),
            deleted_fragment_ids: dropped.iter().map(|placed| placed.id).collect(),
            predicate: format!("_offset < {}", last.next),
        };
        let transaction = Transaction::new_from_version(version.dataset.manifest().version, operation);
        let announced = Announced { base: last.next, ..Announced::of(Cause::Retention, &self.head()) };
        self.add_version(&version, transaction, announced).await?;
        Ok(())
    }
}

/// What Lance is told to keep, so that it keeps `bytes`: it divides what it is told by the top-level columns, and then keeps that
/// much of each leaf of them.
fn buffer(bytes: u64, fields: usize, leaves: usize) -> u64 {
    let (fields, leaves) = (fields.max(1) as u64, leaves.max(1) as u64);
    (bytes / leaves).max(1) * fields
}

/// Where the rows of an append end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) next: Offset,
    /// Bytes of their text.
    pub(super) text: u64,
    pub(super) time: Option<Timestamp>,
}

/// Checks that chunks follow the head without gap or overlap.
fn dense(chunks: &[Chunk], head: &TableHead) -> Result<Last, TableError> {
    let mut last = Last { next: head.next, text: 0, time: head.last_time };
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        if chunk.first() != last.next || last.next.after(chunk.len() as u64).is_none() {
            let cause = format!("records from {} were to follow {}", chunk.first(), last.next);
            return Err(TableError::Failed { cause });
        }
        let text = last.text + chunk.values().bytes() as u64;
        last = Last { next: chunk.next(), text, time: Some(chunk.last_time()) };
    }
    Ok(last)
}
