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

use super::build;
use super::notes::{Note, Notes};
use super::progress::Progress;
use super::survey::{Part, is_overtaken};
use crate::io::point;
use crate::table::TableError;
use crate::table::lance::candidates::{VALUES_BYTES_MAX, values_bytes};
use crate::table::lance::commit::INDICES_FOLDER;
use crate::table::lance::error::{blocking, joined};
use crate::table::lance::offsets::Placed;
use crate::table::lance::open::{Version, segment_files};
use crate::table::lance::table::Inner;
use crate::table::lance::upkeep::files_within;

/// What a client is told of an index of a row set for each value that would be too large.
pub(super) const TOO_MANY_VALUES: &str =
    "The column has too many or too long distinct values: use an index of type btree.";

impl Inner {
    /// Builds a segment and commits it unless it is told to stop; it stops at once where it is told to abort.
    pub(super) async fn build(
        self: &Arc<Self>,
        part: &Part<'_>,
        places: &[usize],
        version: &Version,
        (stop, abort): (&CancellationToken, &CancellationToken),
    ) -> Result<(), TableError> {
        let Some(column) = &part.column else { return Ok(()) };
        // Its files stay until they are read.
        let pin = self.pins.pin(version.dataset.manifest().version);
        let over = part.fragments_of(version, places);
        let rows: u64 = over.iter().map(Placed::rows).sum();
        let is_new = |id: &u64| part.uncovered.iter().any(|placed| placed.id == *id);
        let new: Vec<u64> = over.iter().map(|placed| placed.id).filter(is_new).collect();
        self.check_room_beside(&over).await?;
        let definition = part.definition;
        let is_left = |placed: &Placed| placed.first < definition.from && !new.contains(&placed.id);
        let partial = !part.is_begun && part.uncovered.iter().any(is_left);
        let progress = Arc::new(Progress::new(definition.spec.kind, rows));
        self.indexes.with_known(definition.id, |known| known.progress = Some(Arc::clone(&progress)));
        let order = build::Order {
            uuid: Uuid::now_v7(),
            dataset: version.dataset.as_ref().clone(),
            name: part.name.clone(),
            column: column.clone(),
            spec: definition.spec.clone(),
            over,
            hollow: self.indexes.hollow_to(part),
            progress,
        };
        let ended = self.run_build(order, abort).await;
        drop(pin);
        let Some(build::Outcome { built, unfit }) = ended? else { return Ok(()) };
        if !unfit.is_empty() {
            warn!(
                dataset = %self.place.dataset.display(), index = %definition.name, fragments = ?unfit,
                "fragments with vectors that are too long to be measured are not indexed"
            );
        }
        self.indexes.leave_out_from_now_on(definition.id, column.field, unfit);
        match built {
            Some(built) => {
                let mut note = Note::new(definition.id, part.place, built.rows);
                (note.makeshift, note.partial) = (built.makeshift, partial);
                self.commit_built(part, places, version, (built, note), stop).await
            }
            // The others are looked at next, without these.
            None if !new.is_empty() && new.len() < part.uncovered.len() => {
                self.indexes.leave_out_from_now_on(definition.id, column.field, new);
                Ok(())
            }
            None => {
                self.indexes.note_nothing(part, version);
                Ok(())
            }
        }
    }

    /// Builds until it is told to stop; nothing has been built then.
    async fn run_build(
        &self,
        order: build::Order,
        abort: &CancellationToken,
    ) -> Result<Option<build::Outcome>, TableError> {
        let uuid = order.uuid;
        // On a task of its own: what Lance does not foresee ends that task and nothing else.
        let mut building = self.shared.runtime.spawn(build::segment(order));
        let built = tokio::select! {
            built = &mut building => joined(built).map(Some),
            () = abort.cancelled() => {
                building.abort();
                // Until then it may write.
                drop(building.await);
                Ok(None)
            }
        };
        if !matches!(built, Ok(Some(_))) {
            self.forget_unbuilt(uuid).await;
        }
        built
    }

    async fn commit_built(
        self: &Arc<Self>,
        part: &Part<'_>,
        places: &[usize],
        version: &Version,
        (built, note): (build::Built, Note),
        stop: &CancellationToken,
    ) -> Result<(), TableError> {
        let build::Built { segment, step, rows, .. } = built;
        let files = segment_files(&self.place.dataset, &segment);
        if let Some(step) = &step {
            let mut step_files = segment_files(&self.place.dataset, step);
            step_files.retain(|file| !files.contains(file));
            self.remove_index_files(step_files).await;
        }
        point::passed("index", "written");
        let committed = match check_values(part, places, &segment).and(self.sync_index(files).await) {
            Ok(()) => {
                let made_of = version.dataset.fragments();
                self.commit_indexes(Some((&segment, note, made_of)), uuids(part, places), stop).await
            }
            Err(error) => Err(error),
        };
        if !matches!(committed, Ok(true)) {
            self.forget_index(&segment).await;
        }
        debug!(
            dataset = %self.place.dataset.display(), index = %part.definition.name, rows, replaced = places.len(),
            ?committed, "an index was built"
        );
        committed.map(drop)
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

/// Refuses an index that would be read as a whole whenever it is asked, where it is too large for that.
fn check_values(part: &Part<'_>, places: &[usize], segment: &IndexMetadata) -> Result<(), TableError> {
    let kept = part.segments.iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, kept)| kept);
    if values_bytes(kept.chain([segment])) > VALUES_BYTES_MAX {
        return Err(TableError::Failed { cause: TOO_MANY_VALUES.to_owned() });
    }
    Ok(())
}

/// The segments at places, and what is replaced besides.
pub(super) fn uuids(part: &Part<'_>, places: &[usize]) -> Vec<Uuid> {
    let ours = places.iter().filter_map(|place| part.segments.get(*place)).map(|segment| segment.uuid);
    ours.chain(part.replaced.iter().copied()).collect()
}
