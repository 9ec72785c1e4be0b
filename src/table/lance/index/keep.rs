//! Looking after the indexes of a table: what is due is done, step by step.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::REST_FIRST;
use super::make::{TOO_MANY_VALUES, uuids};
use super::plan::Task;
use super::survey::{Part, Survey, survey};
use crate::schema::IndexType;
use crate::table::TableError;
use crate::table::lance::offsets::INDEXES_KEY;
use crate::table::lance::open::Version;
use crate::table::lance::table::Inner;
use crate::table::lance::upkeep::Turn;

/// How long builds wait for merges that are due, and how often: where there is always one due, they go on beside it.
const MERGE_PAUSE: Duration = Duration::from_millis(500);
const MERGE_PAUSES: u64 = 10;

/// What comes after a look.
#[derive(Debug, PartialEq)]
enum Next {
    /// Another one: something was done.
    Again,
    /// Another one later, or when rows come.
    Later(Option<Duration>),
}

/// A step to be taken.
pub(super) enum Step {
    Build { part: usize, task: Task },
    Wait(Option<Duration>),
}

/// What a client is told of a build that failed: paths and causes go to the log.
pub(super) fn told(error: &TableError) -> String {
    match error {
        TableError::DiskFull => "The disk is too full to build the index.",
        TableError::Failed { cause } if cause == TOO_MANY_VALUES => TOO_MANY_VALUES,
        // What DataFusion says where it has no room to sort.
        TableError::Failed { cause } if cause.contains("Resources exhausted") => {
            "The column has values that are too long for an index of this type."
        }
        _ => "The index could not be built; the server's log says why, and it is tried again.",
    }
    .to_owned()
}

impl Inner {
    /// Starts what is due of its indexes, if nobody does it.
    pub(in crate::table::lance) fn look_after_indexes(self: &Arc<Self>) {
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
        // Not between steps, which wait for upkeep that goes on.
        if !stopped && self.indexes.heavier.swap(false, Ordering::AcqRel) {
            self.look_after_history();
        }
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
        let at = Instant::now() + pause;
        if !self.indexes.time(at) {
            return;
        }
        let table = Arc::downgrade(self);
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(table) = table.upgrade()
                && table.indexes.is_timed_for(at)
            {
                table.look_after_indexes();
            }
        });
    }

    /// Takes the next step that is due.
    async fn index_once(self: &Arc<Self>, stop: &CancellationToken) -> Result<Next, TableError> {
        let wanted = self.indexes.wanted();
        let Some(version) = self.version().await? else { return Ok(Next::Later(None)) };
        let mut found = survey(&version, &wanted).await?;
        self.indexes.leave_out(&mut found, &version);
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
        let mut found = survey(&version, &wanted).await?;
        self.indexes.leave_out(&mut found, &version);
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
    pub(super) fn next_step(&self, found: &Survey<'_>, version: &Version) -> Step {
        let now = Instant::now();
        let idle_in = self.indexes.idle_in(self.shared.upkeep_policy.index_idle, now);
        let mut due: Vec<((bool, Option<Instant>), usize, Task)> = Vec::new();
        let mut pause: Option<Duration> = None;
        let mut wait = |left: Duration| pause = Some(pause.map_or(left, |pause| pause.min(left)));
        for (place, part) in found.parts.iter().enumerate() {
            let definition = part.definition;
            let is_early = part.segments.is_empty() && version.layout.next < definition.from;
            if part.column.is_none() || is_early || self.indexes.is_hollow(part, version) {
                continue;
            }
            if let Some(left) = self.indexes.rest_of(definition.id, now) {
                wait(left);
                continue;
            }
            if part.is_name_taken {
                let error = "The dataset has an index of that name over another column, which another tool has made. \
                             Drop it there, or ask for the index under another name.";
                self.indexes.fail(definition.id, error.to_owned());
                wait(REST_FIRST);
                continue;
            }
            if let Some(task) = part.next_task(idle_in.is_none()) {
                let ended = self.indexes.ended(definition.id, part.place);
                due.push(((!part.segments.is_empty(), ended), place, task));
                continue;
            }
            if let Some(left) = idle_in.filter(|_| part.coverage.is_behind()) {
                wait(left);
            }
        }
        // First what can answer nothing yet, then what has waited longest: one that is always due keeps no other waiting.
        let first = due.into_iter().min_by_key(|(rank, ..)| *rank);
        first.map_or(Step::Wait(pause), |(_, part, task)| Step::Build { part, task })
    }

    /// Takes a step of one index, and notes what came of it.
    async fn take(self: &Arc<Self>, part: &Part<'_>, task: &Task, version: &Version, stop: &CancellationToken) {
        let began = Instant::now();
        let id = part.definition.id;
        let all = stop;
        let stop = &self.indexes.begin(id, all);
        // A graph goes on being built when nobody waits for it any more, and the next one would be built beside it: they would have
        // all of the threads that Lance writes with.
        let is_waited_for = part.definition.spec.kind == IndexType::IvfHnswSq;
        let abort = if is_waited_for { all } else { stop };
        let outcome = match task {
            Task::Remove(places) => self.commit_indexes(None, uuids(part, places), stop).await.map(drop),
            Task::Build(places) => self.build(part, places, version, (stop, abort)).await,
        };
        self.indexes.pace.lock().built = Some((Instant::now(), began.elapsed()));
        self.indexes.with_known(id, |known| {
            known.progress = None;
            known.ended.insert(part.place, Instant::now());
        });
        match outcome {
            Ok(()) => self.indexes.with_known(id, |known| known.trouble = None),
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
}
