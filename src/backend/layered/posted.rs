//! A posted schema version: what is stored is asked, what is in memory is rewritten, the dataset follows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::MutexGuard;

use super::lane::Lane;
use super::storage_error;
use crate::backend::StorageError;
use crate::codec::Chunk;
use crate::codec::columns::batches;
use crate::codec::reshape::{ReshapeError, misfit, reshape_chunk};
use crate::model::Offset;
use crate::schema::{Columns, FieldPath, Lineage, Move, Posted, Schema, VersionedSchema, questioned};
use crate::table::TableError;

/// How much of a dataset is looked at in one read.
const READ_RECORDS: usize = 8_192;
const READ_BYTES: usize = 4 << 20;

/// A stored value that a conversion does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredMisfit {
    /// The record's offset.
    pub(crate) offset: Offset,
    /// The field.
    pub(crate) path: FieldPath,
    /// What the value cannot be, a sentence.
    pub(crate) detail: String,
}

/// Whether stored values take a change; if so, everything before the offset was asked.
pub(crate) type Verdict = Result<Offset, StoredMisfit>;

/// Nothing is committed while it is held.
pub(crate) struct Still<'l> {
    _writing: MutexGuard<'l, ()>,
}

/// What a posted version makes of the tail.
#[derive(Debug)]
pub(crate) struct Rewritten(Vec<Chunk>);

fn failed(error: &ReshapeError) -> StorageError {
    StorageError::Failed { cause: error.to_string() }
}

/// Asks the values of some chunks.
fn ask(chunks: &[Chunk], schema: &Schema, moves: &[Move]) -> Result<Option<StoredMisfit>, StorageError> {
    let mut offset = chunks.first().map(Chunk::first).unwrap_or_default();
    for batch in batches(schema, chunks) {
        let batch = batch.map_err(|error| StorageError::Failed { cause: error.to_string() })?;
        if let Some(found) = misfit(&batch, moves).map_err(|error| failed(&error))? {
            let offset = offset.saturating_after(found.row as u64);
            return Ok(Some(StoredMisfit { offset, path: found.path, detail: found.detail }));
        }
        offset = offset.saturating_after(batch.num_rows() as u64);
    }
    Ok(None)
}

/// Work on values where it holds up nobody.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    }
}

impl Lane {
    /// The columns that records are read and committed under.
    pub(crate) fn columns(&self) -> Columns {
        self.schema.load().as_ref().map(|versioned| versioned.columns()).unwrap_or_default()
    }

    /// Asks every committed record from `from` on whether it takes a change; all rows of the dataset, also those that have
    /// expired but are still there, for they are rewritten with the others.
    ///
    /// # Errors
    /// [`StorageError`] where they could not be read.
    pub(crate) async fn ask_table(&self, moves: &Arc<[Move]>, from: Offset) -> Result<Verdict, StorageError> {
        let table = self.table().await?;
        let columns = self.columns();
        let fields = questioned(&columns.schema.fields, moves).into_iter().cloned().collect();
        let columns = Columns { schema: Arc::new(Schema { fields }), ..columns };
        let mut next = from;
        loop {
            let read = table.read(&columns, next, READ_RECORDS, READ_BYTES).await;
            let chunks = read.map_err(|err| storage_error(&err))?;
            let Some(last) = chunks.last() else { return Ok(Ok(next)) };
            next = last.next();
            let (schema, moves) = (Arc::clone(&columns.schema), Arc::clone(moves));
            if let Some(misfit) = aside(move || ask(&chunks, &schema, &moves)).await? {
                return Ok(Err(misfit));
            }
        }
    }

    /// Waits for a running commit; nothing is committed until what it returns is dropped.
    pub(crate) async fn stand_still(&self) -> Still<'_> {
        Still { _writing: self.writing.lock().await }
    }

    /// What the records of the tail become by a posted version; each is asked whether it takes the change.
    ///
    /// # Errors
    /// [`StorageError`] where they could not be read.
    pub(crate) async fn rewrite_tail(
        &self,
        _still: &Still<'_>,
        posted: Posted,
        after: Arc<Schema>,
    ) -> Result<Result<Rewritten, StoredMisfit>, StorageError> {
        let chunks = self.tail.front(Offset::MAX, usize::MAX);
        aside(move || {
            let mut rewritten = Vec::with_capacity(chunks.len());
            for chunk in &chunks {
                match reshape_chunk(chunk, std::slice::from_ref(&posted), &after) {
                    Ok(chunk) => rewritten.push(chunk),
                    Err(ReshapeError::Misfit { path, detail }) => {
                        let found = ask(std::slice::from_ref(chunk), &posted.before, &posted.moves)?;
                        return Ok(Err(found.unwrap_or(StoredMisfit { offset: chunk.first(), path, detail })));
                    }
                    Err(error) => return Err(failed(&error)),
                }
            }
            Ok(Ok(Rewritten(rewritten)))
        })
        .await
    }

    /// Makes a posted version, which is durable in the catalog, the one that everything is read, written and committed under.
    pub(crate) fn adopt_schema(&self, _still: &Still<'_>, schema: Arc<VersionedSchema>, tail: Rewritten) {
        self.adoptions.fetch_add(1, Ordering::AcqRel);
        self.tail.rewrite(&tail.0);
        self.kept.evict(Offset::MAX);
        self.schema.store(Some(schema));
        self.adoptions.fetch_add(1, Ordering::AcqRel);
    }

    /// How often the text of the tail and the columns were changed together, twice for each time: an odd number while they
    /// are. What was read of both between two looks that find the same even number fits.
    pub(super) fn adoptions(&self) -> u64 {
        self.adoptions.load(Ordering::Acquire)
    }

    /// Brings the dataset, where there is one, to what was posted; without it the next commit does.
    ///
    /// # Errors
    /// [`StorageError`]; the dataset is read all the same.
    pub(crate) async fn follow_posted(&self) -> Result<(), StorageError> {
        if self.columns().lineage.newest().is_none() || self.levels().now().ending.is_some() {
            return Ok(());
        }
        let _still = self.stand_still().await;
        let table = self.table().await?;
        if table.head().version > 0 {
            self.note_expired();
            table.append(&self.columns(), Vec::new()).await.map_err(|err: TableError| storage_error(&err))?;
        }
        Ok(())
    }

    /// Whether something was posted after these columns were taken.
    pub(super) fn has_moved_on(&self, lineage: &Lineage) -> bool {
        self.columns().lineage.newest() != lineage.newest()
    }
}
