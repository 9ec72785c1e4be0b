//! The fence that every commit passes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lance_io::object_store::ObjectStore;
use lance_table::format::{Fragment, IndexMetadata, Manifest, Transaction};
use lance_table::io::commit::{
    CommitError, CommitHandler, ConditionalPutCommitHandler, ManifestLocation, ManifestNamingScheme, ManifestWriter,
};
use object_store::path::Path as StorePath;
use parking_lot::Mutex;
use uuid::Uuid;

use super::error::blocking;
use super::offsets::{
    BASE_KEY, CAUSE_KEY, EARLIEST_KEY, INDEXES_KEY, Layout, NEXT_KEY, POSTED_KEY, RAW_KEY, SCHEMA_KEY, VERSION_KEY,
    stored,
};
use super::open::segment_files;
use super::posted::Progress;
use super::vouch::note_settled;
use crate::io::{Disk, point};
use crate::model::{Offset, SchemaVersion};
use crate::table::{Cause, TableError};

/// The folder of manifests in a dataset.
pub(super) const VERSIONS_FOLDER: &str = "_versions";
/// The folder of data files in a dataset.
pub(super) const DATA_FOLDER: &str = "data";

/// The folder of indices in a dataset, with one of its own for each segment.
pub(super) const INDICES_FOLDER: &str = "_indices";

/// The one commit that is let through.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// The version that it makes.
    pub(super) version: u64,
    /// Why it is made.
    pub(super) cause: Cause,
    /// The offset of its first row.
    pub(super) base: Offset,
    /// The offset past its last row.
    pub(super) next: Offset,
    /// Records before it are not kept: not even in this version, which may have their rows.
    pub(super) earliest: Offset,
    /// About how many bytes of text its rows had when they came.
    pub(super) raw_bytes: u64,
    /// How far its columns have followed what was posted; none where that stays as it is.
    pub(super) posted: Option<Progress>,
    /// The schema version that its rows read under; none where that stays as it is.
    pub(super) schema: Option<SchemaVersion>,
    /// The fragments of the version before: their files are synced.
    pub(super) known: Arc<Vec<Fragment>>,
    /// The offset of the first row of the version before.
    pub(super) base_before: Offset,
    /// Fragments whose rows other fragments of these numbers may have had before. An index that knows such a number says of
    /// them what it knows of those.
    pub(super) renumbered: Vec<u64>,
    /// The segment of an index that comes, whose files are to be synced.
    pub(super) segment: Option<Uuid>,
    /// Which segments of indexes are ours; none where that stays as it is.
    pub(super) indexes: Option<String>,
}

/// What became of an announced commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The version whose manifest may have been written.
    pub(super) attempted: Option<u64>,
    /// Whether somebody else has committed since the version that the commit was made for.
    pub(super) moved: bool,
}

#[derive(Debug, Default)]
struct State {
    ticket: Option<Ticket>,
    outcome: Outcome,
}

/// Admits announced commits only, writes the offsets into their manifests and syncs everything in order.
#[derive(Debug)]
pub(super) struct Fence {
    disk: Arc<dyn Disk>,
    dataset: PathBuf,
    state: Mutex<State>,
}

impl Fence {
    pub(super) fn new(disk: Arc<dyn Disk>, dataset: PathBuf) -> Self {
        Self { disk, dataset, state: Mutex::default() }
    }

    /// Announces a commit.
    pub(super) fn arm(&self, ticket: Ticket) {
        *self.state.lock() = State { ticket: Some(ticket), outcome: Outcome::default() };
    }

    /// Ends the announcement and tells what became of it, as often as it is asked until the next one.
    pub(super) fn disarm(&self) -> Outcome {
        let mut state = self.state.lock();
        state.ticket = None;
        state.outcome.clone()
    }

    /// The ticket that fits the manifest, or why there is none.
    fn admit(&self, manifest: &Manifest, transaction: Option<&Transaction>) -> Result<Ticket, CommitError> {
        let mut state = self.state.lock();
        let Some(ticket) = state.ticket.clone() else {
            return Err(refused("a commit that nobody announced"));
        };
        // A transaction of more than 20 MiB is not handed over; the expected version alone fences it.
        let prepared_at = transaction.map(|transaction| transaction.inner.read_version + 1);
        if manifest.version != ticket.version || prepared_at.is_some_and(|version| version != ticket.version) {
            state.outcome.moved = true;
            return Err(refused("the dataset has moved on since the commit was prepared"));
        }
        drop(state);
        let layout = Layout::of(manifest, ticket.base).map_err(|error| refused(error.to_string()))?;
        if layout.next != ticket.next {
            return Err(refused(format!("the rows end at {} instead of {}", layout.next, ticket.next)));
        }
        if let Some(moved) = moved_fragment(&ticket, manifest, &layout) {
            return Err(refused(format!("the rows of fragment {moved} would have other offsets")));
        }
        Ok(ticket)
    }

    async fn sync_before(&self, files: Vec<String>) -> Result<(), TableError> {
        if files.is_empty() {
            return Ok(());
        }
        let (disk, folder) = (Arc::clone(&self.disk), self.dataset.join(DATA_FOLDER));
        blocking(move || {
            files.iter().try_for_each(|file| disk.sync_file(&folder.join(file)))?;
            disk.sync_folder(&folder)
        })
        .await
    }

    /// Syncs the files of an index that comes.
    async fn sync_segment(&self, segment: Option<&IndexMetadata>) -> Result<(), TableError> {
        let Some(segment) = segment else { return Ok(()) };
        let (disk, indices) = (Arc::clone(&self.disk), self.dataset.join(INDICES_FOLDER));
        let files = segment_files(&self.dataset, segment);
        let folders: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        blocking(move || {
            files.iter().try_for_each(|file| disk.sync_file(file))?;
            folders.iter().try_for_each(|folder| disk.sync_folder(folder))?;
            disk.sync_folder(&indices)
        })
        .await
    }

    async fn sync_after(&self, location: &ManifestLocation, version: u64) -> Result<(), TableError> {
        let (disk, dataset) = (Arc::clone(&self.disk), self.dataset.clone());
        let manifest = location.path.filename().unwrap_or_default().to_owned();
        blocking(move || {
            let versions = dataset.join(VERSIONS_FOLDER);
            disk.sync_file(&versions.join(manifest))?;
            disk.sync_folder(&versions)?;
            disk.sync_folder(&dataset)?;
            // The dataset's own name has to last as well.
            if let Some(above) = dataset.parent().filter(|_| version == 1) {
                disk.sync_folder(above)?;
            }
            note_settled(&*disk, &dataset, version);
            Ok::<(), std::io::Error>(())
        })
        .await
    }
}

/// A fragment that the version before has as well, whose rows would get other offsets.
fn moved_fragment(ticket: &Ticket, manifest: &Manifest, layout: &Layout) -> Option<u64> {
    let mut first = ticket.base_before;
    let mut before: HashMap<u64, (&Fragment, Offset)> = HashMap::with_capacity(ticket.known.len());
    for fragment in ticket.known.iter() {
        before.insert(fragment.id, (fragment, first));
        first = first.saturating_after(fragment.physical_rows.unwrap_or_default() as u64);
    }
    let placed = manifest.fragments.iter().zip(&layout.fragments);
    let moved = placed.filter(|(fragment, placed)| {
        let known = before.get(&fragment.id);
        known.is_some_and(|(known, first)| known.files.first() == fragment.files.first() && *first != placed.first)
    });
    moved.map(|(fragment, _)| fragment.id).next()
}

/// The indices of a version, without the segments that know the number of a fragment with other rows: its addresses would be
/// taken for theirs. Other fragments that a segment knows and that are gone are passed over when it is searched.
fn without_mistaken(indices: Option<Vec<IndexMetadata>>, renumbered: &[u64]) -> Option<Vec<IndexMetadata>> {
    let knows = |segment: &IndexMetadata, id: &u64| match &segment.fragment_bitmap {
        Some(bitmap) => u32::try_from(*id).is_ok_and(|id| bitmap.contains(id)),
        None => true,
    };
    let mut indices = indices?;
    indices.retain(|segment| !renumbered.iter().any(|id| knows(segment, id)));
    Some(indices)
}

fn refused(reason: impl Into<String>) -> CommitError {
    CommitError::OtherError(lance_core::Error::io(reason.into()))
}

/// The data files of a manifest that the version before does not have.
pub(super) fn new_files(manifest: &Manifest, known: &[Fragment]) -> Vec<String> {
    let known: HashMap<u64, &Fragment> = known.iter().map(|fragment| (fragment.id, fragment)).collect();
    let mut files = Vec::new();
    for fragment in manifest.fragments.iter() {
        let before: HashSet<&str> = known
            .get(&fragment.id)
            .map(|known| known.files.iter().map(|file| file.path.as_str()).collect())
            .unwrap_or_default();
        files
            .extend(fragment.files.iter().map(|file| file.path.clone()).filter(|path| !before.contains(path.as_str())));
    }
    files
}

#[async_trait]
impl CommitHandler for Fence {
    fn is_version_not_found_definitive(&self) -> bool {
        true
    }

    // A sync that failed after the manifest was there is an error all the same.
    fn propagate_commit_error_after_success(&self) -> bool {
        true
    }

    async fn commit(
        &self,
        manifest: &mut Manifest,
        indices: Option<Vec<IndexMetadata>>,
        base_path: &StorePath,
        object_store: &ObjectStore,
        manifest_writer: ManifestWriter,
        naming_scheme: ManifestNamingScheme,
        transaction: Option<Transaction>,
    ) -> Result<ManifestLocation, CommitError> {
        let ticket = self.admit(manifest, transaction.as_ref())?;
        let version = manifest.version;
        // It never goes back: a fork of the past takes over what the past says.
        let earliest = stored(manifest, EARLIEST_KEY).unwrap_or(0).max(ticket.earliest.get());
        let says = manifest.table_metadata_mut();
        says.insert(BASE_KEY.to_owned(), ticket.base.to_string());
        says.insert(NEXT_KEY.to_owned(), ticket.next.to_string());
        says.insert(EARLIEST_KEY.to_owned(), earliest.to_string());
        says.insert(VERSION_KEY.to_owned(), version.to_string());
        says.insert(RAW_KEY.to_owned(), ticket.raw_bytes.to_string());
        says.insert(CAUSE_KEY.to_owned(), ticket.cause.as_str().to_owned());
        if let Some(posted) = ticket.posted {
            says.insert(POSTED_KEY.to_owned(), posted.to_string());
        }
        if let Some(schema) = ticket.schema {
            says.insert(SCHEMA_KEY.to_owned(), schema.to_string());
        }
        if let Some(indexes) = &ticket.indexes {
            says.insert(INDEXES_KEY.to_owned(), indexes.clone());
        }
        self.sync_before(new_files(manifest, &ticket.known)).await.map_err(as_commit_error)?;
        let segment = indices.iter().flatten().find(|segment| Some(segment.uuid) == ticket.segment);
        self.sync_segment(segment).await.map_err(as_commit_error)?;
        point::passed(ticket.cause.as_str(), "synced");

        let indices = without_mistaken(indices, &ticket.renumbered);
        self.state.lock().outcome.attempted = Some(version);
        let put = ConditionalPutCommitHandler
            .commit(manifest, indices, base_path, object_store, manifest_writer, naming_scheme, transaction)
            .await;
        match put {
            Ok(location) => {
                point::passed(ticket.cause.as_str(), "put");
                self.sync_after(&location, version).await.map_err(as_commit_error)?;
                point::passed(ticket.cause.as_str(), "committed");
                Ok(location)
            }
            Err(CommitError::CommitConflict) => {
                self.state.lock().outcome = Outcome { attempted: None, moved: true };
                Err(refused("somebody else has committed this version"))
            }
            Err(error) => Err(error),
        }
    }
}

fn as_commit_error(error: TableError) -> CommitError {
    CommitError::OtherError(lance_core::Error::io_source(Box::new(error)))
}

/// The path of a version's manifest under `dataset`.
pub(super) fn manifest_path(dataset: &Path, file_name: &str) -> PathBuf {
    dataset.join(VERSIONS_FOLDER).join(file_name)
}
