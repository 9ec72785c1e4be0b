//! Tables in memory with the promises of [`super::Table`], for simulations: they outlive what opens them, as a disk does,
//! and fail when they are told to.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Cause, FragmentSummary, Table, TableError, TableHead, TablePlace, TableSettings, TableUsage, TableView, Tables, Tag,
};
use crate::codec::columns::to_batch;
use crate::codec::encode::to_chunk;
use crate::codec::reshape::reshape;
use crate::codec::{Chunk, ColumnSet};
use crate::model::{Offset, SchemaVersion, TagName, Timestamp};
use crate::schema::Columns;

/// A number of calls that are going to fail.
#[derive(Debug, Default)]
struct Faults {
    appends: u32,
    reads: u32,
}

/// How many of the newest versions stay, besides those with a tag.
const VERSIONS_KEPT: u64 = 20;

/// Datasets by their path.
pub(super) type Datasets = Arc<Mutex<HashMap<PathBuf, Arc<Mutex<Dataset>>>>>;

/// Tables in memory, by the path of their dataset.
#[derive(Clone, Debug, Default)]
pub struct ModelTables {
    datasets: Datasets,
    faults: Arc<Mutex<Faults>>,
}

impl ModelTables {
    /// Lets the next `count` appends of all tables fail; nothing is committed then.
    pub fn fail_appends(&self, count: u32) {
        self.faults.lock().appends = count;
    }

    /// Lets the next `count` reads of all tables fail.
    pub fn fail_reads(&self, count: u32) {
        self.faults.lock().reads = count;
    }
}

#[derive(Clone, Debug)]
struct Fragment {
    first: Offset,
    next: Offset,
    rows: RecordBatch,
    times: Vec<Timestamp>,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) head: Arc<TableHead>,
    fragments: Vec<Fragment>,
    /// Records before it are not kept.
    pub(super) expired: Offset,
    /// The last posted version that the rows have followed.
    posted: Option<SchemaVersion>,
    /// The schema version that the rows read under.
    pub(super) schema: Option<SchemaVersion>,
    /// Why the version was made.
    pub(super) cause: Cause,
    /// Older versions, and the newest.
    pub(super) kept: BTreeMap<u64, Arc<Dataset>>,
    pub(super) tags: BTreeMap<TagName, Tag>,
}

impl Dataset {
    /// A dataset that no commit was made to.
    fn empty(base: Offset) -> Self {
        Self {
            head: Arc::new(TableHead { base, next: base, version: 0, fragments: Arc::default(), last_time: None }),
            fragments: Vec::new(),
            expired: Offset::ZERO,
            posted: None,
            schema: None,
            cause: Cause::Create,
            kept: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    /// The dataset as it is, of which no other version is kept.
    pub(super) fn alone(&self) -> Self {
        Self {
            head: Arc::clone(&self.head),
            fragments: self.fragments.clone(),
            expired: self.expired,
            posted: self.posted,
            schema: self.schema,
            cause: self.cause,
            kept: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    /// A dataset of its own with the rows before the end of a range, and no records before its beginning.
    pub(super) fn fork(&self, Range { start, end: until }: Range<Offset>) -> Self {
        let mut fork = self.alone();
        fork.expired = fork.expired.max(start);
        fork.fragments.retain(|fragment| fragment.first < until);
        for fragment in &mut fork.fragments {
            let rows = usize::try_from(until.since(fragment.first)).unwrap_or(usize::MAX).min(fragment.rows.num_rows());
            fragment.rows = fragment.rows.slice(0, rows);
            fragment.times.truncate(rows);
            fragment.next = fragment.next.min(until);
        }
        fork.head = Arc::new(TableHead { next: fork.head.base, version: 0, last_time: None, ..(*fork.head).clone() });
        fork.publish(fork.head.base, Cause::Fork);
        fork
    }

    fn publish(&mut self, base: Offset, cause: Cause) -> Arc<TableHead> {
        let summary = |fragment: &Fragment| FragmentSummary { next: fragment.next, bytes: fragment.bytes };
        let last = self.fragments.last();
        self.head = Arc::new(TableHead {
            base,
            next: last.map_or(self.head.next, |fragment| fragment.next),
            version: self.head.version + 1,
            fragments: self.fragments.iter().map(summary).collect(),
            last_time: last.and_then(|fragment| fragment.times.last().copied()).or(self.head.last_time),
        });
        self.cause = cause;
        self.kept.insert(self.head.version, Arc::new(self.alone()));
        let kept_from = self.head.version.saturating_sub(VERSIONS_KEPT - 1);
        let tags = &self.tags;
        self.kept.retain(|version, _| *version >= kept_from || tags.values().any(|tag| tag.about.version == *version));
        Arc::clone(&self.head)
    }

    /// Takes the rows through what was posted since.
    fn follow(&mut self, columns: &Columns) -> Result<(), TableError> {
        for posted in columns.lineage.after(self.posted) {
            for fragment in &mut self.fragments {
                fragment.rows = reshape(&fragment.rows, &posted.moves)?;
            }
            self.posted = Some(posted.version);
        }
        Ok(())
    }

    fn append(&mut self, columns: &Columns, chunks: &[Chunk]) -> Result<(), TableError> {
        self.follow(columns)?;
        let first = self.head.next;
        let mut next = first;
        for chunk in chunks {
            if chunk.first() != next {
                return Err(TableError::Failed { cause: format!("{} was to follow {next}", chunk.first()) });
            }
            next = chunk.next();
        }
        if next == first {
            return Ok(());
        }
        let rows =
            to_batch(&columns.schema, chunks).map_err(|error| TableError::Failed { cause: error.to_string() })?;
        let times = chunks.iter().flat_map(|chunk| (0..chunk.len()).map(|index| chunk.time(index))).collect();
        let bytes = chunks.iter().map(|chunk| chunk.values().bytes() as u64).sum();
        self.fragments.push(Fragment { first, next, rows, times, bytes });
        self.schema = columns.version;
        self.publish(self.head.base, Cause::Append);
        Ok(())
    }

    pub(super) fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        if columns.lineage.newest() < self.posted {
            return Err(TableError::outdated());
        }
        let (mut at, mut records_left, mut bytes_left) = (from.max(self.head.base), records, bytes);
        let mut chunks = Vec::new();
        let begin = at;
        for fragment in self.fragments.iter().filter(|fragment| fragment.next > begin) {
            let skip = usize::try_from(at.since(fragment.first)).unwrap_or(usize::MAX);
            let rows = fragment.rows.num_rows().saturating_sub(skip).min(records_left);
            let mut part = fragment.rows.slice(skip, rows);
            for posted in columns.lineage.after(self.posted) {
                part = reshape(&part, &posted.moves)?;
            }
            let chunk = to_chunk(&columns.schema, &part, at)?;
            let mut fitting = 0;
            while fitting < chunk.len()
                && (chunk.value(fitting).len() < bytes_left || (chunks.is_empty() && fitting == 0))
            {
                bytes_left = bytes_left.saturating_sub(chunk.value(fitting).len() + 1);
                fitting += 1;
            }
            let whole = fitting == chunk.len();
            if fitting > 0 {
                chunks.push(chunk.slice(0, fitting));
            }
            at = at.saturating_after(fitting as u64);
            records_left -= fitting;
            if records_left == 0 || !whole {
                break;
            }
        }
        Ok(chunks)
    }

    pub(super) fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        if columns.lineage.newest() < self.posted {
            return Err(TableError::outdated());
        }
        let (mut at, mut records_left, mut bytes_left) = (from.max(self.head.base), records, bytes);
        let mut found: Vec<RecordBatch> = Vec::new();
        for fragment in &self.fragments {
            if fragment.next <= at || records_left == 0 || (bytes_left == 0 && !found.is_empty()) {
                continue;
            }
            let skip = usize::try_from(at.since(fragment.first)).unwrap_or(usize::MAX);
            let rows = fragment.rows.num_rows().saturating_sub(skip).min(records_left);
            let mut part = fragment.rows.slice(skip, rows);
            for posted in columns.lineage.after(self.posted) {
                part = reshape(&part, &posted.moves)?;
            }
            at = at.saturating_after(rows as u64);
            records_left -= rows;
            bytes_left = bytes_left.saturating_sub(part.get_array_memory_size());
            found.push(set.take(&part, columns)?);
        }
        Ok(found)
    }

    pub(super) fn seek_time(&self, time: Timestamp) -> Offset {
        for fragment in &self.fragments {
            let earlier = fragment.times.partition_point(|at| *at < time);
            if earlier < fragment.times.len() {
                return fragment.first.saturating_after(earlier as u64);
            }
        }
        self.head.next
    }
}

#[derive(Debug)]
pub(super) struct ModelTable {
    pub(super) dataset: Arc<Mutex<Dataset>>,
    pub(super) datasets: Datasets,
    faults: Arc<Mutex<Faults>>,
}

/// Whether one of the faults that are left was used up.
fn strikes(left: &mut u32) -> bool {
    let strikes = *left > 0;
    *left = left.saturating_sub(1);
    strikes
}

fn injected() -> TableError {
    TableError::Failed { cause: "the simulation wanted it".to_owned() }
}

#[async_trait]
impl TableView for ModelTable {
    fn head(&self) -> Arc<TableHead> {
        Arc::clone(&self.dataset.lock().head)
    }

    async fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        if strikes(&mut self.faults.lock().reads) {
            return Err(injected());
        }
        if records == 0 {
            return Ok(Vec::new());
        }
        self.dataset.lock().read(columns, from, records, bytes)
    }

    async fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        if strikes(&mut self.faults.lock().reads) {
            return Err(injected());
        }
        self.dataset.lock().read_batches(set, columns, from, records, bytes)
    }

    async fn seek_time(&self, time: Timestamp) -> Result<Offset, TableError> {
        Ok(self.dataset.lock().seek_time(time))
    }
}

#[async_trait]
impl Table for ModelTable {
    async fn create(&self, columns: &Columns) -> Result<Arc<TableHead>, TableError> {
        let mut dataset = self.dataset.lock();
        if dataset.head.version == 0 {
            let base = dataset.head.base;
            dataset.posted = columns.lineage.newest();
            dataset.schema = columns.version;
            dataset.publish(base, Cause::Create);
        }
        Ok(Arc::clone(&dataset.head))
    }

    async fn append(&self, columns: &Columns, chunks: Vec<Chunk>) -> Result<Arc<TableHead>, TableError> {
        if strikes(&mut self.faults.lock().appends) {
            return Err(injected());
        }
        let mut dataset = self.dataset.lock();
        dataset.append(columns, &chunks)?;
        Ok(Arc::clone(&dataset.head))
    }

    async fn drop_before(&self, before: Offset) -> Result<Arc<TableHead>, TableError> {
        let mut dataset = self.dataset.lock();
        let dropped = dataset.fragments.partition_point(|fragment| fragment.next <= before);
        let base = dropped.checked_sub(1).and_then(|last| dataset.fragments.get(last)).map(|last| last.next);
        if let Some(base) = base {
            dataset.fragments.drain(..dropped);
            dataset.publish(base, Cause::Retention);
        }
        Ok(Arc::clone(&dataset.head))
    }

    fn configure(&self, settings: &TableSettings) {
        let mut dataset = self.dataset.lock();
        dataset.expired = dataset.expired.max(settings.expired);
    }

    fn compact(&self) {}

    async fn usage(&self) -> Result<TableUsage, TableError> {
        Ok(TableUsage { versions: self.head().version.min(1), ..TableUsage::default() })
    }
}

#[async_trait]
impl Tables for ModelTables {
    async fn open(&self, place: &TablePlace, base: Offset) -> Result<Arc<dyn Table>, TableError> {
        let mut datasets = self.datasets.lock();
        let dataset = datasets.entry(place.dataset.clone());
        let dataset = Arc::clone(dataset.or_insert_with(|| Arc::new(Mutex::new(Dataset::empty(base)))));
        let (datasets, faults) = (Arc::clone(&self.datasets), Arc::clone(&self.faults));
        Ok(Arc::new(ModelTable { dataset, datasets, faults }))
    }

    async fn remove(&self, place: &TablePlace) -> Result<(), TableError> {
        self.datasets.lock().remove(&place.dataset);
        Ok(())
    }
}
