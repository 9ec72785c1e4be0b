//! Indexes, built and brought up to date beside commits and readers.
//!
//! Which there are to be is told by the table's settings; what is there is in the dataset's manifest, with a note of which
//! segments are ours ([`notes`]). Whatever differs is made so, one step at a time: a crash between two of them leaves a
//! dataset that is searched all the same, and the next process goes on from there. Only a manifest is committed in the lane.

mod build;
mod notes;
mod plan;
mod progress;
mod survey;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lance_table::format::IndexMetadata;
use lance_table::transaction::{Operation, Transaction};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::notes::{Note, Notes};
use self::plan::Task;
use self::progress::Progress;
use self::survey::{Part, Survey, is_overtaken, survey};
use super::error::{blocking, joined};
use super::offsets::{INDEXES_KEY, Placed};
use super::open::{Version, segment_files};
use super::table::Inner;
use super::upkeep::Turn;
use crate::io::point;
use crate::model::{IndexId, Offset};
use crate::table::{Cause, IndexDefinition, IndexStanding, IndexState, TableError};

/// Builds of less than usual take at most one part in so many of the time.
const IDLE_SHARE: u32 = 10;
/// How long a build that has failed rests before it is tried again, at first and at last.
const REST_FIRST: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(15 * 60);
/// How long builds wait for merges that are due, and how often: where there is always one due, they go on beside it.
const MERGE_PAUSE: Duration = Duration::from_millis(500);
const MERGE_PAUSES: u64 = 10;
/// What stays free on the disk beside what is to be indexed.
const ROOM_LEFT: u64 = 64 << 20;

/// What is known of one table's indexes.
#[derive(Debug)]
pub(super) struct State {
    wanted: ArcSwap<Arc<[IndexDefinition]>>,
    /// How often somebody has asked to look after them.
    asked: AtomicU64,
    /// How often a build has waited for merges.
    waited: AtomicU64,
    /// Whether a later look is arranged.
    is_timed: AtomicBool,
    pace: Mutex<Pace>,
    known: Mutex<HashMap<IndexId, Known>>,
}

#[derive(Debug)]
struct Pace {
    /// When rows came, or went elsewhere, for the last time.
    changed: Instant,
    /// When the last build ended, and how long it took.
    built: Option<(Instant, Duration)>,
}

/// What is known of one index.
#[derive(Debug, Default)]
struct Known {
    /// What is being built.
    progress: Option<Arc<Progress>>,
    trouble: Option<Trouble>,
    /// Columns that had nothing to index, with the version where that was seen.
    hollow: HashMap<usize, u64>,
}

#[derive(Clone, Debug)]
struct Trouble {
    error: String,
    tries: u32,
    until: Instant,
}

/// What comes after a look.
#[derive(Debug, PartialEq)]
enum Next {
    /// Another one: something was done.
    Again,
    /// Another one later, or when rows come.
    Later(Option<Duration>),
}

/// A step to be taken.
enum Step {
    Build { part: usize, task: Task },
    Wait(Option<Duration>),
}

impl Default for State {
    fn default() -> Self {
        let pace = Pace { changed: Instant::now(), built: None };
        Self {
            wanted: ArcSwap::from_pointee(Arc::default()),
            asked: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            is_timed: AtomicBool::new(false),
            pace: Mutex::new(pace),
            known: Mutex::default(),
        }
    }
}

impl State {
    /// Says which indexes there are to be.
    pub(super) fn want(&self, wanted: &Arc<[IndexDefinition]>) {
        self.known.lock().retain(|id, _| wanted.iter().any(|definition| definition.id == *id));
        self.wanted.store(Arc::new(Arc::clone(wanted)));
    }

    /// A version was made.
    pub(super) fn committed(&self, cause: Cause) {
        if cause != Cause::Index {
            self.pace.lock().changed = Instant::now();
        }
    }

    fn wanted(&self) -> Arc<[IndexDefinition]> {
        Arc::clone(&self.wanted.load())
    }

    /// How long until less than usual may be indexed; none where it may.
    fn idle_in(&self, idle: Duration, now: Instant) -> Option<Duration> {
        let pace = self.pace.lock();
        let idle_from = pace.changed + idle;
        let rest = pace.built.filter(|_| !idle.is_zero()).map(|(at, took)| at + took * IDLE_SHARE);
        let from = rest.map_or(idle_from, |rest| rest.max(idle_from));
        from.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn with<T>(&self, id: IndexId, change: impl FnOnce(&mut Known) -> T) -> T {
        change(self.known.lock().entry(id).or_default())
    }

    /// What hinders an index now: how long still.
    fn rest_of(&self, id: IndexId, now: Instant) -> Option<Duration> {
        let known = self.known.lock();
        let until = known.get(&id)?.trouble.as_ref()?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn fail(&self, id: IndexId, error: String) {
        self.with(id, |known| {
            let tries = known.trouble.as_ref().map_or(0, |trouble| trouble.tries) + 1;
            let rest = REST_FIRST.saturating_mul(1 << tries.min(16).saturating_sub(1)).min(REST_MAX);
            known.trouble = Some(Trouble { error, tries, until: Instant::now() + rest });
        });
    }

    /// Whether a column had nothing to index in a version.
    fn is_hollow(&self, part: &Part<'_>, version: u64) -> bool {
        let known = self.known.lock();
        known.get(&part.definition.id).and_then(|known| known.hollow.get(&part.place)) == Some(&version)
    }
}

/// What a client is told of a build that failed: paths and causes go to the log.
fn told(error: &TableError) -> String {
    match error {
        TableError::DiskFull => "The disk is too full to build the index.",
        _ => "The index could not be built; the server's log says why, and it is tried again.",
    }
    .to_owned()
}

impl Inner {
    /// Starts what is due of its indexes, if nobody does it.
    pub(super) fn look_after_indexes(self: &Arc<Self>) {
        let has_some = || {
            let open = self.open_version();
            open.is_some_and(|version| version.dataset.manifest().table_metadata.contains_key(INDEXES_KEY))
        };
        if self.indexes.wanted.load().is_empty() && !has_some() {
            return;
        }
        self.indexes.asked.fetch_add(1, Ordering::AcqRel);
        if let Some(turn) = self.shared.index_turns.begin(&self.place.dataset) {
            self.shared.runtime.spawn(Arc::clone(self).keep_indexed(turn));
        }
    }

    async fn keep_indexed(self: Arc<Self>, turn: Turn) {
        let (mut asked, mut later) = (0, None);
        while !turn.stop.is_cancelled() {
            asked = self.indexes.asked.load(Ordering::Acquire);
            match self.index_once(&turn.stop).await {
                Ok(Next::Again) => {}
                Ok(Next::Later(pause)) => {
                    later = pause;
                    break;
                }
                Err(error) => {
                    if !turn.stop.is_cancelled() {
                        warn!(dataset = %self.place.dataset.display(), %error, "the indexes of a dataset cannot be looked after");
                    }
                    later = Some(REST_FIRST);
                    break;
                }
            }
        }
        let stopped = turn.stop.is_cancelled();
        drop(turn);
        if stopped {
            return;
        }
        // Who came between the last look and the end of the turn has left it to this task.
        if self.indexes.asked.load(Ordering::Acquire) != asked {
            self.look_after_indexes();
        } else if let Some(pause) = later {
            self.look_later(pause);
        }
    }

    /// Arranges another look, for as long as somebody holds the table.
    fn look_later(self: &Arc<Self>, pause: Duration) {
        if self.indexes.is_timed.swap(true, Ordering::AcqRel) {
            return;
        }
        let table = Arc::downgrade(self);
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(table) = table.upgrade() {
                table.indexes.is_timed.store(false, Ordering::Release);
                table.look_after_indexes();
            }
        });
    }

    /// Takes the next step that is due.
    async fn index_once(self: &Arc<Self>, stop: &CancellationToken) -> Result<Next, TableError> {
        let wanted = self.indexes.wanted();
        let Some(version) = self.version().await? else { return Ok(Next::Later(None)) };
        let found = survey(&version, &wanted).await?;
        if !found.unwanted.is_empty() {
            self.commit_indexes(None, found.unwanted.iter().map(|it| it.uuid).collect(), stop).await?;
            return Ok(Next::Again);
        }
        if let Step::Wait(pause) = self.next_step(&found, &version) {
            return Ok(Next::Later(pause));
        }
        // What is merged would have to be indexed again.
        if self.is_merging() && self.indexes.waited.fetch_add(1, Ordering::Relaxed) < MERGE_PAUSES {
            return Ok(Next::Later(Some(MERGE_PAUSE)));
        }
        self.indexes.waited.store(0, Ordering::Relaxed);
        // One builds at a time, of all tables; meanwhile this one may have changed or may be going.
        let _alone = tokio::select! {
            alone = self.shared.index_turns.merging.acquire() => alone,
            () = stop.cancelled() => return Ok(Next::Later(None)),
        };
        let wanted = self.indexes.wanted();
        let Some(version) = self.version().await? else { return Ok(Next::Later(None)) };
        let found = survey(&version, &wanted).await?;
        match self.next_step(&found, &version) {
            Step::Wait(pause) => Ok(Next::Later(pause)),
            Step::Build { part, task } => {
                if let Some(part) = found.parts.get(part) {
                    self.take(part, &task, &version, stop).await;
                }
                Ok(Next::Again)
            }
        }
    }

    /// What is due, or when something will be.
    fn next_step(&self, found: &Survey<'_>, version: &Version) -> Step {
        let now = Instant::now();
        let idle_in = self.indexes.idle_in(self.shared.upkeep_policy.index_idle, now);
        let mut pause: Option<Duration> = None;
        let mut wait = |left: Duration| pause = Some(pause.map_or(left, |pause| pause.min(left)));
        for (place, part) in found.parts.iter().enumerate() {
            let definition = part.definition;
            let is_early = part.segments.is_empty() && version.layout.next < definition.from;
            if part.column.is_none() || is_early || self.indexes.is_hollow(part, version.dataset.manifest().version) {
                continue;
            }
            if let Some(left) = self.indexes.rest_of(definition.id, now) {
                wait(left);
                continue;
            }
            if part.is_name_taken {
                let error = "The dataset has an index of that name that another tool has made.".to_owned();
                self.indexes.fail(definition.id, error);
                wait(REST_FIRST);
                continue;
            }
            if let Some(task) = part.coverage.next_task(idle_in.is_none()) {
                return Step::Build { part: place, task };
            }
            if let Some(left) = idle_in.filter(|_| part.coverage.is_behind()) {
                wait(left);
            }
        }
        Step::Wait(pause)
    }

    /// Takes a step of one index, and notes what came of it.
    async fn take(self: &Arc<Self>, part: &Part<'_>, task: &Task, version: &Version, stop: &CancellationToken) {
        let began = Instant::now();
        let id = part.definition.id;
        let outcome = match task {
            Task::Remove(places) => self.commit_indexes(None, uuids(part, places), stop).await.map(drop),
            Task::Build(places) => self.build(part, places, version, stop).await,
        };
        self.indexes.pace.lock().built = Some((Instant::now(), began.elapsed()));
        self.indexes.with(id, |known| known.progress = None);
        match outcome {
            Ok(()) => self.indexes.with(id, |known| known.trouble = None),
            Err(_) if stop.is_cancelled() => {}
            Err(error) => {
                warn!(
                    dataset = %self.place.dataset.display(), index = %part.definition.name, %error,
                    "an index could not be built"
                );
                self.indexes.fail(id, told(&error));
            }
        }
    }

    async fn build(
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
        self.indexes.with(definition.id, |known| known.progress = Some(Arc::clone(&progress)));
        let order = build::Order {
            dataset: version.dataset.as_ref().clone(),
            name: part.name.clone(),
            column: column.clone(),
            spec: definition.spec.clone(),
            over,
            progress,
        };
        // On a task of its own: what Lance does not foresee ends that task and nothing else.
        let mut building = self.shared.runtime.spawn(build::segment(order));
        let built = tokio::select! {
            built = &mut building => joined(built)?,
            () = stop.cancelled() => {
                building.abort();
                // Until then it may write.
                drop(building.await);
                return Ok(());
            }
        };
        drop(pin);
        let Some(built) = built else {
            self.indexes.with(definition.id, |known| known.hollow.insert(part.place, number));
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
    async fn commit_indexes(
        self: &Arc<Self>,
        new: Option<(&IndexMetadata, Note, &[lance_table::format::Fragment])>,
        gone: Vec<uuid::Uuid>,
        stop: &CancellationToken,
    ) -> Result<bool, TableError> {
        use lance::index::DatasetIndexExt as _;
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
        let operation = Operation::CreateIndex { new_indices, removed_indices: removed };
        let transaction = Transaction::new_from_version(dataset.manifest().version, operation);
        self.commit_index(&present, transaction, (built, notes)).await?;
        Ok(true)
    }

    /// Removes what a build has written that was not committed.
    async fn forget_index(&self, segment: &IndexMetadata) {
        use lance::index::DatasetIndexExt as _;
        // Where it is not known what the dataset names, it stays until the next start looks for strays.
        let Ok(Some(version)) = self.version().await else { return };
        let Ok(named) = version.dataset.load_indices().await else { return };
        if named.iter().any(|named| named.uuid == segment.uuid) {
            return;
        }
        self.remove_index_files(segment_files(&self.place.dataset, segment)).await;
    }

    async fn remove_index_files(&self, files: Vec<PathBuf>) {
        let disk = Arc::clone(&self.shared.disk);
        let removal = move || files.iter().filter(|file| file.exists()).try_for_each(|file| disk.remove(file));
        let removed = blocking(removal).await;
        if let Err(error) = removed {
            warn!(dataset = %self.place.dataset.display(), %error, "files of an index that came to nothing stay");
        }
    }

    /// How each of the indexes stands.
    pub(super) async fn standing(&self, earliest: Offset) -> Result<Vec<IndexStanding>, TableError> {
        let wanted = self.indexes.wanted();
        let version = self.version().await?;
        let found = match &version {
            Some(version) => Some((version, survey(version, &wanted).await?)),
            None => None,
        };
        Ok(wanted.iter().map(|definition| self.standing_of(definition, found.as_ref(), earliest)).collect())
    }

    fn standing_of(
        &self,
        definition: &IndexDefinition,
        found: Option<&(&Version, Survey<'_>)>,
        earliest: Offset,
    ) -> IndexStanding {
        let mut parts: Vec<(&Version, &Part<'_>)> = Vec::new();
        if let Some((version, survey)) = found {
            parts.extend(survey.parts.iter().filter(|it| it.definition.id == definition.id).map(|it| (*version, it)));
        }
        let rows = parts.iter().map(|(version, part)| part.rows_from(version, earliest)).min().unwrap_or(0);
        let is_there = |(version, part): &(&Version, &Part<'_>)| {
            let number = version.dataset.manifest().version;
            !part.segments.is_empty()
                || (version.layout.next >= definition.from && self.indexes.is_hollow(part, number))
        };
        // What it is to begin with may be nothing.
        let has_nothing = definition.from <= earliest;
        let is_ready = has_nothing || (!parts.is_empty() && parts.iter().all(is_there));
        let known = self.indexes.known.lock();
        let known = known.get(&definition.id);
        let error = known.and_then(|known| known.trouble.as_ref()).map(|trouble| trouble.error.clone());
        let state = match (is_ready, &error) {
            (true, _) => IndexState::Ready,
            (false, Some(_)) => IndexState::Failed,
            (false, None) => IndexState::Building,
        };
        let progress = known.and_then(|known| known.progress.as_ref()).map_or(0.0, |progress| progress.share());
        IndexStanding { id: definition.id, state, progress: if is_ready { 1.0 } else { progress }, rows, error }
    }
}

fn uuids(part: &Part<'_>, places: &[usize]) -> Vec<uuid::Uuid> {
    places.iter().filter_map(|place| part.segments.get(*place)).map(|segment| segment.uuid).collect()
}

#[cfg(test)]
mod tests;
