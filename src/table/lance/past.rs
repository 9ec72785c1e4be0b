//! Older versions: what their manifests say, and their rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use lance_io::object_store::ObjectStore;
use lance_table::format::Manifest;
use lance_table::io::manifest::read_manifest;
use object_store::path::Path as StorePath;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::commit::manifest_path;
use super::error::{blocking, foreign, joined};
use super::offsets::{BASE_KEY, CAUSE_KEY, EARLIEST_KEY, Layout, NEXT_KEY, SCHEMA_KEY, VERSION_KEY, stored};
use super::open::{Version, torn_data};
use super::pins::Pin;
use super::search;
use super::take::records_at;
use super::{passing, read};
use crate::codec::{Chunk, ColumnSet};
use crate::filter::{Passing, PassingRows, Reach, Sieve};
use crate::model::{Offset, SchemaVersion, Timestamp};
use crate::schema::{Columns, FieldPath};
use crate::table::search::{FoundTextIndex, FoundVectorIndex, Metric};
use crate::table::{TableError, TableHead, TableView, VersionSummary};

/// The cause of a version that somebody else has made.
const CAUSE_OF_OTHERS: &str = "other";

/// The path of a version's manifest, as this server and Lance's own writers name it.
pub(super) fn manifest_file(dataset: &Path, version: u64) -> PathBuf {
    manifest_path(dataset, &format!("{:020}.manifest", u64::MAX - version))
}

async fn is_there(dataset: &Path, version: u64) -> Result<bool, TableError> {
    let path = manifest_file(dataset, version);
    blocking(move || path.try_exists()).await
}

/// The manifest of a version.
pub(super) async fn manifest(dataset: &Path, version: u64) -> Result<Manifest, TableError> {
    let gone = TableError::VersionGone { version };
    if !is_there(dataset, version).await? {
        return Err(gone);
    }
    let path = StorePath::from_absolute_path(manifest_file(dataset, version))
        .map_err(|error| TableError::Failed { cause: error.to_string() })?;
    match read_manifest(&ObjectStore::local(), &path, None).await {
        Ok(manifest) => Ok(manifest),
        // Cleaned up meanwhile.
        Err(_) if !is_there(dataset, version).await? => Err(gone),
        Err(error) => Err(error.into()),
    }
}

/// The rows of a manifest by offset.
pub(super) fn layout(manifest: &Manifest) -> Result<Layout, TableError> {
    let number = |key| stored(manifest, key).and_then(Offset::new);
    let says = number(BASE_KEY).zip(number(NEXT_KEY));
    let (base, next) = says.ok_or_else(|| foreign(format!("version {} does not say its offsets", manifest.version)))?;
    let layout = Layout::of(manifest, base)?;
    if layout.next != next {
        return Err(foreign(format!("the rows end at {} instead of {next}", layout.next)));
    }
    Ok(layout)
}

/// What a manifest says of its version.
pub(super) fn summary(manifest: &Manifest) -> Result<VersionSummary, TableError> {
    let layout = layout(manifest)?;
    // Rows that had expired by then were not dropped yet, or came after that.
    let earliest = stored(manifest, EARLIEST_KEY).and_then(Offset::new).unwrap_or(layout.base);
    let schema = stored(manifest, SCHEMA_KEY).and_then(|number| u32::try_from(number).ok());
    // What somebody else commits inherits our words.
    let is_ours = stored(manifest, VERSION_KEY) == Some(manifest.version);
    let cause = manifest.table_metadata.get(CAUSE_KEY).filter(|_| is_ours);
    Ok(VersionSummary {
        version: manifest.version,
        created_at: Timestamp::from_micros(manifest.timestamp().timestamp_micros()),
        base: layout.base.max(earliest).min(layout.next),
        next: layout.next,
        schema: schema.and_then(SchemaVersion::new),
        cause: cause.map_or(CAUSE_OF_OTHERS, String::as_str).to_owned(),
    })
}

/// One version that is being read.
#[derive(Clone, Debug)]
pub(super) struct PastVersion {
    pub(super) runtime: Handle,
    pub(super) folder: PathBuf,
    pub(super) version: Version,
    pub(super) head: Arc<TableHead>,
    pub(super) row_bytes: Arc<AtomicU64>,
    pub(super) pin: Arc<Pin>,
}

impl PastVersion {
    fn place(&self) -> search::Place {
        let (runtime, version, pin) = (self.runtime.clone(), self.version.clone(), Arc::clone(&self.pin));
        search::Place { runtime, version, pin }
    }

    /// Tells a version whose files are gone from one that cannot be read at present.
    pub(super) async fn told<T>(&self, outcome: Result<T, TableError>) -> Result<T, TableError> {
        let Err(error) = outcome else { return outcome };
        let (version, dataset, folder) = (self.head.version, Arc::clone(&self.version.dataset), self.folder.clone());
        let is_gone = blocking(move || {
            let is_there = manifest_file(&folder, version).try_exists()?;
            Ok::<_, std::io::Error>(!is_there || torn_data(dataset.manifest(), &folder)?.is_some())
        });
        if is_gone.await.unwrap_or(false) { Err(TableError::VersionGone { version }) } else { Err(error) }
    }

    async fn records(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        let mut row_bytes = self.row_bytes.load(Ordering::Relaxed);
        let outcome = read::records(&self.version, columns, from, records, bytes, &mut row_bytes).await;
        self.row_bytes.store(row_bytes, Ordering::Relaxed);
        self.told(outcome).await
    }

    async fn batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        let mut row_bytes = self.row_bytes.load(Ordering::Relaxed);
        let outcome = read::batches(&self.version, set, columns, from, records, bytes, &mut row_bytes).await;
        self.told(outcome).await
    }
}

#[async_trait]
impl TableView for PastVersion {
    fn head(&self) -> Arc<TableHead> {
        Arc::clone(&self.head)
    }

    async fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        let (this, columns) = (self.clone(), columns.clone());
        joined(
            AbortOnDropHandle::new(
                self.runtime.spawn(async move { this.records(&columns, from, records, bytes).await }),
            )
            .await,
        )
    }

    async fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        let (this, set, columns) = (self.clone(), set.clone(), columns.clone());
        let reading = async move { this.batches(&set, &columns, from, records, bytes).await };
        joined(AbortOnDropHandle::new(self.runtime.spawn(reading)).await)
    }

    async fn read_passing(
        &self,
        columns: &Columns,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<Passing, TableError> {
        let (this, columns, sieve) = (self.clone(), columns.clone(), Arc::clone(sieve));
        let reading = async move {
            let outcome = passing::passing(&this.version, &columns, &sieve, from, reach).await;
            this.told(outcome).await
        };
        joined(AbortOnDropHandle::new(self.runtime.spawn(reading)).await)
    }

    async fn read_passing_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<PassingRows, TableError> {
        let (this, set, columns, sieve) = (self.clone(), set.clone(), columns.clone(), Arc::clone(sieve));
        let reading = async move {
            let outcome = passing::batches(&this.version, &set, &columns, &sieve, from, reach).await;
            this.told(outcome).await
        };
        joined(AbortOnDropHandle::new(self.runtime.spawn(reading)).await)
    }

    async fn take(&self, columns: &Columns, offsets: &[Offset]) -> Result<Vec<Chunk>, TableError> {
        let (this, columns, offsets) = (self.clone(), columns.clone(), offsets.to_vec());
        let taking = async move {
            let outcome = records_at(&this.version, &columns, &offsets).await;
            this.told(outcome).await
        };
        joined(AbortOnDropHandle::new(self.runtime.spawn(taking)).await)
    }

    async fn vector_index(
        &self,
        columns: &Columns,
        path: &FieldPath,
        metric: Option<Metric>,
    ) -> Result<FoundVectorIndex, TableError> {
        let (this, columns, path) = (self.clone(), columns.clone(), path.clone());
        let finding = async move {
            let outcome = search::vector_index(this.place(), &columns, &path, metric).await;
            this.told(outcome).await
        };
        joined(AbortOnDropHandle::new(self.runtime.spawn(finding)).await)
    }

    async fn text_index(&self, columns: &Columns, path: &FieldPath) -> Result<FoundTextIndex, TableError> {
        let (this, columns, path) = (self.clone(), columns.clone(), path.clone());
        let finding = async move {
            let outcome = search::text_index(this.place(), &columns, &path).await;
            this.told(outcome).await
        };
        joined(AbortOnDropHandle::new(self.runtime.spawn(finding)).await)
    }

    async fn seek_time(&self, time: Timestamp) -> Result<Offset, TableError> {
        let this = self.clone();
        let seeking = async move {
            let outcome = read::offset_at(&this.version, time).await;
            this.told(outcome).await
        };
        joined(AbortOnDropHandle::new(self.runtime.spawn(seeking)).await)
    }
}
