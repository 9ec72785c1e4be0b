//! Making one segment of an index, and committing what comes and goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lance::index::DatasetIndexExt as _;
use lance_table::format::{Fragment, IndexMetadata};
use lance_table::transaction::{Operation, Transaction};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::Hollow;
use super::build;
use super::notes::{Note, Notes};
use super::progress::Progress;
use super::survey::{Part, is_overtaken};
use crate::io::point;
use crate::table::TableError;
use crate::table::lance::commit::INDICES_FOLDER;
use crate::table::lance::error::{blocking, joined};
use crate::table::lance::offsets::Placed;
use crate::table::lance::open::{Version, segment_files};
use crate::table::lance::table::Inner;
use crate::table::lance::upkeep::files_within;

/// What stays free on the disk beside what is to be indexed.
const ROOM_LEFT: u64 = 64 << 20;

impl Inner {
    pub(super) async fn build(
        self: &Arc<Self>,
        part: &Part<'_>,
        places: &[usize],
        version: &Version,
        stop: &CancellationToken,
    ) -> Result<(), TableError> {
        let Some(column) = &part.column else { return Ok(()) };
        let number = version.dataset.manifest().version;
        // Its files stay until they are read.
        let pin = self.pins.pin(number);
        let over = part.fragments_of(version, places);
        let rows: u64 = over.iter().map(Placed::rows).sum();
        self.check_index_room(&over).await?;
        let definition = part.definition;
        let progress = Arc::new(Progress::new(definition.spec.kind, rows));
        self.indexes.with_known(definition.id, |known| known.progress = Some(Arc::clone(&progress)));
        let uuid = Uuid::now_v7();
        let order = build::Order {
            uuid,
            dataset: version.dataset.as_ref().clone(),
            name: part.name.clone(),
            column: column.clone(),
            spec: definition.spec.clone(),
            over,
            hollow: self.indexes.hollow_to(part),
            progress,
        };
        // On a task of its own: what Lance does not foresee ends that task and nothing else.
        let mut building = self.shared.runtime.spawn(build::segment(order));
        let built = tokio::select! {
            built = &mut building => joined(built),
            () = stop.cancelled() => {
                building.abort();
                // Until then it may write.
                drop(building.await);
                self.forget_unbuilt(uuid).await;
                return Ok(());
            }
        };
        drop(pin);
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                self.forget_unbuilt(uuid).await;
                return Err(error);
            }
        };
        let Some(built) = built else {
            self.indexes.with_known(definition.id, |known| {
                let bare = Some(column.field).filter(|_| part.segments.is_empty());
                known.hollow.insert(part.place, Hollow { version: number, bare, next: version.layout.next });
            });
            return Ok(());
        };
        if let Some(step) = &built.step {
            let kept = segment_files(&self.place.dataset, &built.segment);
            let mut files = segment_files(&self.place.dataset, step);
            files.retain(|file| !kept.contains(file));
            self.remove_index_files(files).await;
        }
        point::passed("index", "written");
        let note = Note::new(definition.id, part.place, rows, built.makeshift);
        let files = segment_files(&self.place.dataset, &built.segment);
        let committed = match self.sync_index(files).await {
            Ok(()) => {
                let made_of = version.dataset.fragments();
                self.commit_indexes(Some((&built.segment, note, made_of)), uuids(part, places), stop).await
            }
            Err(error) => Err(error),
        };
        if !matches!(committed, Ok(true)) {
            self.forget_index(&built.segment).await;
        }
        debug!(
            dataset = %self.place.dataset.display(), index = %definition.name, rows, replaced = places.len(), ?committed,
            "an index was built"
        );
        committed.map(drop)
    }

    /// Refuses a build for which there may be no room on the disk.
    async fn check_index_room(&self, over: &[Placed]) -> Result<(), TableError> {
        let bytes: u64 = over.iter().map(|placed| placed.bytes).sum();
        let (disk, dataset) = (Arc::clone(&self.shared.disk), self.place.dataset.clone());
        let free = blocking(move || disk.free_bytes(&dataset)).await?;
        if free < bytes.saturating_mul(2).saturating_add(ROOM_LEFT) { Err(TableError::DiskFull) } else { Ok(()) }
    }

    /// Outside the lane, so that the commit has little left to sync.
    async fn sync_index(&self, files: Vec<PathBuf>) -> Result<(), TableError> {
        let disk = Arc::clone(&self.shared.disk);
        blocking(move || files.iter().try_for_each(|file| disk.sync_file(file))).await
    }

    /// Commits that segments go, and that one comes; false where that cannot be any more.
    pub(super) async fn commit_indexes(
        self: &Arc<Self>,
        new: Option<(&IndexMetadata, Note, &[Fragment])>,
        gone: Vec<Uuid>,
        stop: &CancellationToken,
    ) -> Result<bool, TableError> {
        let _lane = self.enter_lane().await?;
        if stop.is_cancelled() {
            return Ok(false);
        }
        let Some(present) = self.version().await? else { return Ok(false) };
        let dataset = &present.dataset;
        if let Some((segment, note, made_of)) = &new {
            let wanted = self.indexes.wanted();
            let is_wanted = wanted.iter().any(|definition| note.is_of(definition.id, note.column));
            let has_field = segment.fields.iter().all(|id| dataset.schema().field_by_id(*id).is_some());
            if !is_wanted || !has_field || is_overtaken(segment, made_of, dataset) {
                return Ok(false);
            }
        }
        let indices = dataset.load_indices().await?;
        let removed: Vec<IndexMetadata> = indices.iter().filter(|it| gone.contains(&it.uuid)).cloned().collect();
        if removed.is_empty() && new.is_none() {
            return Ok(false);
        }
        let built = new.as_ref().map(|(segment, ..)| segment.uuid);
        let noted = new.as_ref().map(|(segment, note, _)| (segment.uuid, note.clone()));
        let notes = Notes::of(dataset.manifest()).changed(&indices, &gone, noted).to_stored();
        let new_indices = new.iter().map(|(segment, ..)| (*segment).clone()).collect();
        let has_gone = !removed.is_empty();
        let operation = Operation::CreateIndex { new_indices, removed_indices: removed };
        let transaction = Transaction::new_from_version(dataset.manifest().version, operation);
        self.commit_index(&present, transaction, (built, notes)).await?;
        self.indexes.heavier.fetch_or(has_gone, Ordering::AcqRel);
        Ok(true)
    }

    /// Removes what a build has written that was not committed.
    async fn forget_index(&self, segment: &IndexMetadata) {
        // Where it is not known what the dataset names, it stays until the next start looks for strays.
        let Ok(Some(version)) = self.version().await else { return };
        let Ok(named) = version.dataset.load_indices().await else { return };
        if named.iter().any(|named| named.uuid == segment.uuid) {
            return;
        }
        self.remove_index_files(segment_files(&self.place.dataset, segment)).await;
    }

    /// Removes what a build has written that came to no end.
    pub(super) async fn forget_unbuilt(&self, segment: Uuid) {
        let folder = self.place.dataset.join(INDICES_FOLDER).join(segment.to_string());
        match blocking(move || files_within(&folder)).await {
            Ok(files) => self.remove_index_files(files.into_iter().map(|(file, ..)| file).collect()).await,
            Err(error) => {
                warn!(dataset = %self.place.dataset.display(), %error, "files of an index that came to nothing stay");
            }
        }
    }

    async fn remove_index_files(&self, files: Vec<PathBuf>) {
        let disk = Arc::clone(&self.shared.disk);
        let removal = move || files.iter().filter(|file| file.exists()).try_for_each(|file| disk.remove(file));
        let removed = blocking(removal).await;
        if let Err(error) = removed {
            warn!(dataset = %self.place.dataset.display(), %error, "files of an index that came to nothing stay");
        }
    }
}

/// The segments at places, and what is replaced besides.
pub(super) fn uuids(part: &Part<'_>, places: &[usize]) -> Vec<Uuid> {
    let ours = places.iter().filter_map(|place| part.segments.get(*place)).map(|segment| segment.uuid);
    ours.chain(part.replaced.iter().copied()).collect()
}
