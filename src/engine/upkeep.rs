//! What goes on by itself: checkpoints, the log's release, the disk's floor; and when the rounds over all topics come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::backend::EpochRule;
use crate::catalog::{TopicCheckpoint, TopicRow};
use crate::engine::Core;
use crate::engine::commits::Committer;
use crate::engine::entry::Entry;
use crate::metrics::TopicFigures;
use crate::model::{LogMark, Offset, TopicId, TopicName};
use crate::topic::Topic;
use crate::wal::{Plan, SegmentSummary, plan};

/// How often the log is looked at.
const RELEASE_EVERY: Duration = Duration::from_millis(250);
/// How often the catalog learns how far datasets and writers have come, so that a restart reads less.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// How often retention is enforced.
const RETENTION_EVERY: Duration = Duration::from_secs(2);
/// How often it is tried again to open topics that could not be opened.
const REOPEN_EVERY: Duration = Duration::from_secs(60);
/// How often free space is looked at.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// Leftovers of a topic up to this size are moved rather than committed.
const LEFTOVER_BYTES_MAX: u64 = 1 << 20;
/// Topics that are opened at the same time after a start.
const OPEN_AT_ONCE: usize = 4;

/// What a topic needs of the log.
struct Hold {
    /// Nothing of it is needed before this offset; none where all of it is.
    from: Option<Offset>,
    /// Whether its commits fail, or it cannot be opened.
    is_stuck: bool,
}

impl Hold {
    /// Whether an entry is needed that ends at `next`.
    fn needs(&self, next: Offset) -> bool {
        self.from.is_none_or(|from| from < next)
    }
}

impl Core {
    pub(super) fn start_upkeep(self: &Arc<Self>) {
        let committer = Committer::new(Arc::clone(self));
        self.tasks.spawn("commits", async move {
            committer.run().await;
            Ok::<(), std::convert::Infallible>(())
        });
        self.every("release", RELEASE_EVERY, |core| async move { core.release().await });
        self.every("checkpoint", CHECKPOINT_EVERY, |core| async move {
            core.checkpoint().await;
        });
        self.every("retention", RETENTION_EVERY, |core| async move { core.enforce_retention().await });
        self.every("remains", RELEASE_EVERY, |core| async move { core.clear_remains().await });
        self.every("recent", DISK_EVERY, |core| async move { core.admission.recent().expire(Instant::now()) });
        self.every("disk", DISK_EVERY, |core| async move { core.look_at_disk().await });
        self.every("reopening", REOPEN_EVERY, |core| async move { core.reopen().await });
        let core = Arc::clone(self);
        self.tasks.spawn("opening", async move {
            core.open_replayed().await;
            Ok::<(), std::convert::Infallible>(())
        });
    }

    fn every<F>(self: &Arc<Self>, name: &'static str, pause: Duration, work: impl Fn(Arc<Self>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let core = Arc::clone(self);
        let stopping = self.tasks.stopping();
        self.tasks.spawn(name, async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stopping.cancelled() => return Ok::<(), std::convert::Infallible>(()),
                }
                work(Arc::clone(&core)).await;
            }
        });
    }

    /// Opens the topics whose records the log still has, those that owe a new epoch and those with indexes, a few at a time.
    async fn open_replayed(self: &Arc<Self>) {
        let unsettled: Vec<TopicName> = self.unsettled.lock().iter().cloned().collect();
        let mut entries: Vec<_> = unsettled.iter().filter_map(|name| self.entry(name)).collect();
        let has_records = |entry: &Arc<Entry>| entry.has_replayed() && entry.broken().is_none();
        // An index may have been left unbuilt.
        let indexed = self.catalog.indexed_topics().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "which topics have indexes is not known");
            Default::default()
        });
        let has_indexes = |entry: &Arc<Entry>| indexed.contains(&entry.row().definition.id);
        entries.extend(self.entries().into_iter().filter(|entry| has_records(entry) || has_indexes(entry)));
        self.open_all(entries).await;
    }

    /// Tries again what could not be opened: nobody may ask for such a topic, while the log has its records, or it owes a new
    /// epoch.
    pub(super) async fn reopen(self: &Arc<Self>) {
        let can_be = |entry: &Arc<Entry>| {
            let has_backend = self.services.registry.get(&entry.row().definition.backend).is_some();
            entry.broken().is_some() && !entry.has_hole() && has_backend
        };
        self.open_all(self.entries().into_iter().filter(can_be).collect()).await;
    }

    async fn open_all(self: &Arc<Self>, entries: Vec<Arc<Entry>>) {
        use futures::StreamExt;
        let stopping = self.tasks.stopping();
        let opening = futures::stream::iter(entries).for_each_concurrent(OPEN_AT_ONCE, |entry| async move {
            if let Err(problem) = self.open(&entry).await {
                tracing::warn!(topic = %entry.row().definition.name, detail = %problem.detail, "a topic cannot be opened");
            }
        });
        tokio::select! {
            () = opening => {}
            () = stopping.cancelled() => {}
        }
    }

    /// The topic's epoch says by now that records may be gone.
    pub(super) fn settle(&self, name: &TopicName) {
        self.unsettled.lock().remove(name);
    }

    /// Whether every topic that may have lost records has begun a new epoch.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.lock().is_empty()
    }

    pub(super) async fn look_at_disk(&self) {
        let (disk, folders, reserve) = (Arc::clone(&self.disk), self.places.on_disk(), Arc::clone(&self.reserve));
        let looked = tokio::task::spawn_blocking(move || {
            reserve.look();
            folders
                .iter()
                .try_fold(u64::MAX, |least, folder| Ok::<_, std::io::Error>(least.min(disk.free_bytes(folder)?)))
        });
        match looked.await {
            Ok(Ok(free)) => {
                // What is acknowledged is still to be written to datasets.
                let left = free.saturating_sub(self.admission.tail().used());
                self.admission.set_disk_at_floor(left < self.options.disk_floor_bytes);
            }
            Ok(Err(err)) => tracing::warn!(error = %err, "free space cannot be looked at"),
            Err(err) => tracing::error!(error = %err, "looking at free space panicked"),
        }
    }

    /// Stores how far datasets, writers and the log have come; false where it could not be.
    pub(super) async fn checkpoint(&self) -> bool {
        self.checkpoint_before_release(None).await
    }

    /// The same, before the log's segments go that end at a log position: what lies before it may be gone from then on.
    async fn checkpoint_before_release(&self, released: Option<u64>) -> bool {
        // What one has taken from a topic and not stored yet is no longer found by the next: that one must not count as whole.
        let mut log_end = self.checkpointing.lock().await;
        let mut topics = self.opened();
        topics.retain(|topic| topic.epoch_rule() == EpochRule::Never || topic.backend().lane().is_some());
        let newest = topics.iter().map(|topic| topic.last_time()).max().unwrap_or_default();
        let taken = join_all(topics.iter().map(|topic| topic.checkpoint())).await;
        let mut gathered: Vec<(Arc<Topic>, TopicCheckpoint)> = Vec::new();
        let mut whole = true;
        for (topic, taken) in topics.into_iter().zip(taken) {
            match taken {
                Ok(Some(checkpoint)) => gathered.push((topic, checkpoint)),
                Ok(None) => {}
                Err(err) => {
                    tracing::warn!(topic = %topic.name(), error = %err, "the state of {} cannot be stored", topic.name());
                    whole = false;
                }
            }
        }
        let rows: Vec<TopicCheckpoint> = gathered.iter().map(|(_, checkpoint)| checkpoint.clone()).collect();
        // What is durable by now; a start whose log has less is refused. What is not stored of a topic, a start finds in the log.
        let released = released.filter(|_| whole);
        let log = LogMark { released: released.unwrap_or(0), end: self.wal.end() };
        if rows.is_empty() && released.is_none() && log.end == *log_end {
            return whole;
        }
        let stored = self.catalog.checkpoint(&rows, newest, log).await;
        for (topic, checkpoint) in gathered {
            match &stored {
                Ok(()) => topic.checkpoint_stored(&checkpoint),
                Err(_) => topic.checkpoint_failed(checkpoint),
            }
        }
        if let Err(err) = stored {
            tracing::error!(error = %err, "the state of topics cannot be stored");
            return false;
        }
        *log_end = log.end;
        whole
    }

    /// Lets the log go of what datasets hold; frees old segments from leftovers.
    async fn release(self: &Arc<Self>) {
        let is_wanted = self.admission.log_is_wanted();
        if is_wanted {
            // The head may hold all that there is, and is never freed.
            let wal = Arc::clone(&self.wal);
            match tokio::task::spawn_blocking(move || wal.seal_head()).await {
                Ok(Ok(())) => {}
                Ok(Err(err)) => tracing::warn!(error = %err, "the log's head cannot be sealed"),
                Err(err) => tracing::error!(error = %err, "sealing the log's head panicked"),
            }
        }
        let segments = self.wal.segments();
        if segments.len() < 2 {
            return;
        }
        // Where somebody waits for room, nothing is held back.
        let target = if is_wanted { 0 } else { self.options.wal_target_bytes };
        let holds = self.holds();
        let needed = |id: TopicId, next: Offset| holds.get(&id).is_some_and(|hold| hold.needs(next));
        let stuck = |id: TopicId| holds.get(&id).is_some_and(|hold| hold.is_stuck);
        match plan(&segments, &needed, &stuck, target, LEFTOVER_BYTES_MAX) {
            Plan::Nothing => {}
            Plan::Release { through } => self.release_through(through, &segments).await,
            Plan::Flush(topics) => self.demand_commits(&topics),
            Plan::Relocate { segment } => {
                let wal = Arc::clone(&self.wal);
                let moved = tokio::task::spawn_blocking(move || {
                    wal.relocate(segment, &|id, _, end| holds.get(&id).is_some_and(|hold| hold.needs(end)))
                });
                match moved.await {
                    Ok(Ok(())) => self.release_through(segment, &segments).await,
                    Ok(Err(err)) => tracing::error!(error = %err, "leftovers in the log cannot be moved"),
                    Err(err) => tracing::error!(error = %err, "moving leftovers panicked"),
                }
            }
        }
    }

    async fn release_through(&self, segment: u64, segments: &[SegmentSummary]) {
        let rest = segments.iter().find(|other| other.segment > segment).or(segments.last());
        if !self.checkpoint_before_release(rest.map(|rest| rest.base)).await {
            return;
        }
        let wal = Arc::clone(&self.wal);
        match tokio::task::spawn_blocking(move || wal.release(segment)).await {
            Ok(Ok(())) => self.admission.log_released(),
            Ok(Err(err)) => tracing::error!(error = %err, "a log segment cannot be removed"),
            Err(err) => tracing::error!(error = %err, "removing a log segment panicked"),
        }
    }

    /// What each living topic needs of the log.
    fn holds(&self) -> HashMap<TopicId, Hold> {
        let entries = self.entries();
        let holds = entries.iter().map(|entry| {
            let id = entry.row().definition.id;
            let hold = match entry.opened() {
                Some(topic) => {
                    let is_stuck = topic.backend().lane().is_some_and(|lane| lane.is_stuck());
                    Hold { from: Some(topic.not_needed_before()), is_stuck }
                }
                // Who wrote what is committed is stored by the first checkpoint after it is opened.
                None if entry.has_replayed() => Hold { from: None, is_stuck: entry.broken().is_some() },
                None => Hold { from: Some(entry.row().next), is_stuck: entry.broken().is_some() },
            };
            (id, hold)
        });
        holds.collect()
    }

    fn demand_commits(self: &Arc<Self>, topics: &[TopicId]) {
        let topics: HashSet<TopicId> = topics.iter().copied().collect();
        for entry in self.entries() {
            if topics.contains(&entry.row().definition.id)
                && let Some(lane) = entry.opened().and_then(|topic| topic.backend().lane())
            {
                lane.demand(lane.levels().now().durable);
            }
        }
    }

    pub(super) fn observe_commit(&self, took: Duration) {
        self.services.metrics.commit_duration.observe(took.as_secs_f64());
    }

    /// Brings the figures up to date that nothing counts as it happens.
    pub(super) fn refresh_metrics(&self) {
        let metrics = &self.services.metrics;
        metrics.wal_bytes.set(gauge(self.wal.bytes()));
        metrics.tail_bytes.set(gauge(self.admission.tail().used()));
        metrics.recent_bytes.set(gauge(self.admission.recent().bytes()));
        metrics.tail_room_bytes.set(gauge(self.admission.tail().room()));
        let (mut shown, mut degraded) = (Vec::new(), 0);
        let mut counts: HashMap<String, i64> =
            self.services.registry.names().into_iter().map(|name| (name, 0)).collect();
        for entry in self.entries() {
            if let Some(count) = counts.get_mut(&entry.row().definition.backend) {
                *count += 1;
            }
            let name = entry.row().definition.name.as_str().to_owned();
            match entry.opened() {
                Some(topic) => {
                    degraded += i64::from(topic.degraded_reason().is_some());
                    shown.extend(topic.figures().map(|figures| (name, figures)));
                }
                None if entry.broken().is_some() => degraded += 1,
                None => shown.extend(self.figures_asleep(&entry).map(|figures| (name, figures))),
            }
        }
        for (backend, count) in counts {
            metrics.topics.with_label_values(&[&backend]).set(count);
        }
        metrics.topics_degraded.set(degraded);
        metrics.show_topics(shown);
    }

    /// What is known of a topic that nobody has used since the start.
    pub(super) fn figures_asleep(&self, entry: &Entry) -> Option<TopicFigures> {
        let TopicRow { definition, next, .. } = entry.row();
        let factory = self.services.registry.get(&definition.backend)?;
        let has_series = factory.capabilities().metrics && factory.topic_metrics(&definition.options);
        let next = next.get();
        has_series.then(|| TopicFigures { tail_offset: next, committed_offset: next, ..TopicFigures::default() })
    }
}

fn gauge(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
