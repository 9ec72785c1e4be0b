//! The topic's dataset: what has been committed.

pub mod compression;
mod indexes;
pub mod lance;
#[doc(hidden)]
pub mod model;
mod model_versions;
pub mod search;
mod versions;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod versions_contract;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use self::compression::Compression;
pub use indexes::{IndexDefinition, IndexStanding, IndexState, Indexed};
pub use versions::{Past, Tag, VersionSummary, Versions};

use crate::codec::{Chunk, ColumnSet};
use crate::filter::{LOOK_BYTES, LOOK_RECORDS_MAX, Passing, PassingRows, Reach, Sieve};
use crate::model::{Offset, Timestamp, TopicId};
use crate::schema::{Columns, FieldPath};

/// What the newest committed version of a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableHead {
    /// The offset of the first row.
    pub base: Offset,
    /// The offset past the last row.
    pub next: Offset,
    /// The dataset version; 0 where no dataset exists yet.
    pub version: u64,
    /// How many fragments it has, oldest first: the offset past each one's rows and its bytes on disk.
    pub fragments: Arc<[FragmentSummary]>,
    /// The time of the last row, where it is known.
    pub last_time: Option<Timestamp>,
}

/// One fragment of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentSummary {
    /// The offset past its rows.
    pub next: Offset,
    /// Its bytes on disk.
    pub bytes: u64,
}

/// What a table takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUsage {
    /// How many versions are kept.
    pub versions: u64,
    /// About how many bytes of text the rows of the newest version had when they came.
    pub raw_bytes: u64,
    /// Bytes of data files that hold records of the newest version.
    pub live_bytes: u64,
    /// Bytes of data files besides, and of files of indexes that the newest version does not name: what older versions hold
    /// alone, what has expired, what a crash has left.
    pub dead_bytes: u64,
    /// The last time that something was done about it since the table was opened.
    pub last_upkeep: Option<Upkeep>,
}

/// What upkeep has done to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// When it ended.
    pub at: Timestamp,
    /// Fragments when it began.
    pub fragments_before: u64,
    /// Fragments when it ended.
    pub fragments_after: u64,
    /// How many merges it made.
    pub merges: u64,
    /// Bytes that were read for them.
    pub bytes_merged: u64,
    /// Versions that were removed.
    pub versions_removed: u64,
    /// Bytes of files that were removed.
    pub bytes_removed: u64,
    /// All merges since the table was opened.
    pub total_merges: u64,
    /// All versions that were removed since then.
    pub total_versions_removed: u64,
    /// Bytes of all files that were removed since then.
    pub total_bytes_removed: u64,
}

/// Why a table cannot do what it was asked to. Causes go to the log.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A read or write failed; it may go well later.
    #[error("the dataset failed: {cause}")]
    Failed {
        /// What Lance or the disk answered.
        cause: String,
    },
    /// What is there is not what this server has written: rows, order or offsets do not fit.
    #[error("the dataset is not what was written: {reason}")]
    Foreign {
        /// What does not fit.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// A version is not kept any more, or never was.
    #[error("version {version} is not kept")]
    VersionGone {
        /// Its number.
        version: u64,
    },
}

impl TableError {
    /// The dataset follows columns that were posted after those that it is asked under.
    fn outdated() -> Self {
        Self::Failed { cause: "its columns have moved on".to_owned() }
    }
}

/// Where a topic's dataset lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// The dataset's own folder, `{id}.lance`: the only path that the server opens.
    pub dataset: PathBuf,
    /// The symlink `{topic}.lance`, for other tools.
    pub link: PathBuf,
}

impl TablePlace {
    /// Whether something stands where a dataset's symlink belongs that is no such symlink, not even an older topic's: it is
    /// somebody else's, and stays.
    pub(crate) fn is_foreign(link: &Path) -> bool {
        let Ok(target) = link.read_link() else { return link.symlink_metadata().is_ok() };
        let id = target.file_stem().and_then(|stem| stem.to_str()).and_then(TopicId::parse);
        id.is_none() || target.extension().is_none_or(|ending| ending != "lance")
    }
}

/// How a table stores what comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSettings {
    /// How many bytes retention leaves, so that fragments, which are dropped whole, stay a small part of them; none for no
    /// bound.
    pub held_bytes: Option<u64>,
    /// Records before it are not kept, also those that are still to come.
    pub expired: Offset,
    /// How columns are compressed.
    pub compression: Arc<Compression>,
    /// The indexes that it is to have.
    pub indexes: Arc<[IndexDefinition]>,
}

/// Why a version was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The dataset was made, without rows.
    Create,
    /// Rows were appended.
    Append,
    /// Its columns were changed.
    Evolve,
    /// Fragments were made into one.
    Compact,
    /// Fragments were dropped.
    Retention,
    /// The dataset began as a part of another one.
    Fork,
    /// An index was built, brought up to date or removed.
    Index,
}

impl Cause {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Create => "create",
            Cause::Append => "append",
            Cause::Evolve => "evolve",
            Cause::Compact => "compact",
            Cause::Retention => "retention",
            Cause::Fork => "fork",
            Cause::Index => "index",
        }
    }
}

/// One version of a table as readers see it; a [`Table`] itself is its newest.
#[async_trait]
pub trait TableView: Send + Sync {
    /// The version that is read.
    fn head(&self) -> Arc<TableHead>;

    /// Records from `from` on, in order, at most `records` of them and about `bytes` (at least one record), in the one
    /// form that the columns print, whether or not the dataset has followed them yet. Empty at or past the head's `next`;
    /// begins at `base` where `from` lies before it.
    ///
    /// # Errors
    /// [`TableError`] when rows could not be read, or when the dataset follows columns that were posted after these; nothing
    /// is skipped.
    async fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError>;

    /// The same rows in the columns of a set, of which `columns` are those of now, without a detour over text. About
    /// `bytes` of columns.
    ///
    /// # Errors
    /// As [`TableView::read`].
    async fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError>;

    /// The records from `from` on that pass a filter, as far as the reach goes. Each call looks at one record at least, where
    /// there is one; begins at `base` where `from` lies before it.
    ///
    /// # Errors
    /// As [`TableView::read`].
    async fn read_passing(
        &self,
        columns: &Columns,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<Passing, TableError> {
        let left = usize::try_from(reach.until.since(from.max(self.head().base))).unwrap_or(usize::MAX);
        let chunks = self.read(columns, from, reach.looked_at.clamp(1, LOOK_RECORDS_MAX).min(left), LOOK_BYTES).await?;
        if chunks.is_empty() {
            return Ok(Passing { chunks, next: from });
        }
        sieve.sift(&chunks, columns, reach).map_err(|error| TableError::Failed { cause: error.to_string() })
    }

    /// The same rows in the columns of a set, without a detour over text. About the reach's bytes of columns.
    ///
    /// # Errors
    /// As [`TableView::read`].
    async fn read_passing_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<PassingRows, TableError> {
        let left = usize::try_from(reach.until.since(from.max(self.head().base))).unwrap_or(usize::MAX);
        let chunks = self.read(columns, from, reach.looked_at.clamp(1, LOOK_RECORDS_MAX).min(left), LOOK_BYTES).await?;
        if chunks.is_empty() {
            return Ok(PassingRows { batches: Vec::new(), next: from });
        }
        let found = sieve.sift_rows(set, &chunks, columns, reach);
        found.map_err(|error| TableError::Failed { cause: error.to_string() })
    }

    /// Single records by ascending offsets, each in a chunk of its own; those that the table has not are left out.
    ///
    /// # Errors
    /// As [`TableView::read`].
    async fn take(&self, columns: &Columns, offsets: &[Offset]) -> Result<Vec<Chunk>, TableError> {
        let mut found = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let read = self.read(columns, *offset, 1, 1).await?;
            found.extend(read.into_iter().filter(|chunk| !chunk.is_empty() && chunk.first() == *offset));
        }
        Ok(found)
    }

    /// An index of a vector column that measures by a metric, by any for none; none where there is no such index, or where it
    /// is of other columns than these.
    ///
    /// # Errors
    /// [`TableError`] when it could not be looked for.
    async fn vector_index(
        &self,
        columns: &Columns,
        path: &FieldPath,
        metric: Option<search::Metric>,
    ) -> Result<search::FoundVectorIndex, TableError> {
        let (_, _, _) = (columns, path, metric);
        Ok(None)
    }

    /// An index of a text column.
    ///
    /// # Errors
    /// As [`TableView::vector_index`].
    async fn text_index(&self, columns: &Columns, path: &FieldPath) -> Result<search::FoundTextIndex, TableError> {
        let (_, _) = (columns, path);
        Ok(None)
    }

    /// The first offset whose record was appended at or after `time`; the head's `next` where there is none.
    ///
    /// # Errors
    /// [`TableError`] when rows could not be read.
    async fn seek_time(&self, time: Timestamp) -> Result<Offset, TableError>;
}

/// One topic's table. One caller at a time appends, evolves or drops (the topic's lane); reads run beside it.
#[async_trait]
pub trait Table: TableView + Versions {
    /// Makes the dataset with these columns and no rows, unless it is there.
    ///
    /// # Errors
    /// [`TableError`]; nothing is committed then.
    async fn create(&self, columns: &Columns) -> Result<Arc<TableHead>, TableError>;

    /// Brings the dataset to these columns where they differ (posted changes, new fields, wider numbers), then appends the
    /// records, which are in the form of these columns, in one commit, synced before the call returns. The chunks are dense and
    /// begin at the head's `next`; without any the columns alone are brought up to date.
    ///
    /// # Errors
    /// [`TableError`]; the records are not committed then, or set aside as a torn head is.
    async fn append(&self, columns: &Columns, chunks: Vec<Chunk>) -> Result<Arc<TableHead>, TableError>;

    /// Drops the leading fragments that hold nothing at or past `before`, in one synced commit. A fragment that holds some
    /// more is rewritten later, when it takes more than all that is kept.
    ///
    /// # Errors
    /// [`TableError`]; nothing is dropped then.
    async fn drop_before(&self, before: Offset) -> Result<Arc<TableHead>, TableError>;

    /// Says how what comes is to be stored.
    fn configure(&self, settings: &TableSettings);

    /// Merges all fragments that can be, in the background, beside appends and reads; the figures show the outcome.
    fn compact(&self);

    /// What the table takes on the disk.
    ///
    /// # Errors
    /// [`TableError`] when it could not be looked at.
    async fn usage(&self) -> Result<TableUsage, TableError>;

    /// Its indexes, where it can have some.
    fn indexed(&self) -> Option<&dyn Indexed> {
        None
    }
}

/// Where tables come from.
#[async_trait]
pub trait Tables: Send + Sync {
    /// Opens the table at a place, setting torn heads aside and making what it has read durable. A place without a
    /// dataset is a table with no rows whose base and next are `base`; its first append makes the dataset and the link.
    ///
    /// # Errors
    /// [`TableError::Foreign`] when the rows do not fit their offsets.
    async fn open(&self, place: &TablePlace, base: Offset) -> Result<Arc<dyn Table>, TableError>;

    /// Removes dataset and link; succeeds where they are gone already.
    ///
    /// # Errors
    /// [`TableError::Failed`]; the call can be repeated.
    async fn remove(&self, place: &TablePlace) -> Result<(), TableError>;
}
