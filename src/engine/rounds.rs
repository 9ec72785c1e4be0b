//! Rounds over all topics: retention, and what deleted topics have left. One topic that takes long, because its dataset is
//! being rewritten or cannot be opened, holds up no other.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;

use crate::engine::Core;
use crate::model::TopicId;
use crate::runtime::Tasks;
use crate::table::TablePlace;

/// Topics that are worked on at the same time in a round.
const AT_ONCE: usize = 16;
/// How long a round waits for one topic. What takes longer goes on by itself, and later rounds pass the topic over until it has
/// ended.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the rounds work on.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Topics whose retention is enforced.
    retention: Round,
    /// Deleted topics whose remains are removed.
    remains: Round,
}

/// The topics that some work goes on for.
#[derive(Debug, Default)]
struct Round {
    busy: Arc<Mutex<HashSet<TopicId>>>,
}

/// Work goes on for a topic until it is dropped.
struct Turn {
    busy: Arc<Mutex<HashSet<TopicId>>>,
    id: TopicId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.id);
    }
}

impl Round {
    /// The turn of a topic; none where work goes on for it.
    fn begin(&self, id: TopicId) -> Option<Turn> {
        let is_free = self.busy.lock().insert(id);
        is_free.then(|| Turn { busy: Arc::clone(&self.busy), id })
    }

    /// Does the work of each topic for which none goes on, some at a time, and waits for each with patience.
    async fn go<F>(&self, tasks: &Tasks, name: &'static str, works: impl IntoIterator<Item = (TopicId, F)>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let round = futures::stream::iter(works).for_each_concurrent(AT_ONCE, |(id, work)| async move {
            let Some(turn) = self.begin(id) else { return };
            let working = tasks.spawn(name, async move {
                work.await;
                drop(turn);
                Ok::<(), Infallible>(())
            });
            drop(tokio::time::timeout(PATIENCE, working).await);
        });
        round.await;
    }
}

impl Core {
    pub(super) async fn enforce_retention(self: &Arc<Self>) {
        let now = self.services.clock.now();
        let bounded = self.entries().into_iter().filter(|entry| match entry.opened() {
            Some(topic) => topic.has_retention() || topic.is_closing(),
            None => !entry.row().definition.retention.is_unbounded(),
        });
        let works = bounded.map(|entry| {
            let core = Arc::clone(self);
            let id = entry.row().definition.id;
            let work = async move {
                // One that cannot be opened is tried again the next time.
                if let Ok(topic) = core.open(&entry).await {
                    topic.retry_close().await;
                    topic.enforce_retention(now).await;
                }
            };
            (id, work)
        });
        let works: Vec<_> = works.collect();
        self.rounds.retention.go(&self.tasks, "retention", works).await;
    }

    /// Removes what deleted topics have left, and forgets them once the log does not mention them any more.
    pub(super) async fn clear_remains(self: &Arc<Self>) {
        let ids: Vec<TopicId> = self.remains.lock().keys().copied().collect();
        let works = ids.into_iter().map(|id| {
            let core = Arc::clone(self);
            (id, async move { core.clear_remains_of(id).await })
        });
        let works: Vec<_> = works.collect();
        self.rounds.remains.go(&self.tasks, "remains", works).await;
    }

    async fn clear_remains_of(&self, id: TopicId) {
        let Some((place, topic, removed)) = self.remains.lock().get(&id).map(|remains| {
            let place = remains.tombstone.place.as_ref();
            let place = place.map(|place| TablePlace { dataset: place.dataset.clone(), link: place.link.clone() });
            (place, remains.topic.clone(), remains.removed)
        }) else {
            return;
        };
        if !removed {
            if let Some(topic) = topic
                && let Some(lane) = topic.backend().lane()
            {
                let quiet = async {
                    // An entry that is still on its way to the log would outlive the tombstone, and the next start would not
                    // know whose it is.
                    let has_settled = topic.has_settled().await;
                    if has_settled {
                        lane.quiesce().await;
                    }
                    has_settled
                };
                let stopping = self.tasks.stopping();
                let is_quiet = tokio::select! {
                    is_quiet = quiet => is_quiet,
                    // The next start removes it.
                    () = stopping.cancelled() => false,
                };
                if !is_quiet {
                    return;
                }
            }
            if !self.remove_remains(id, place.as_ref()).await {
                return;
            }
            if let Some(remains) = self.remains.lock().get_mut(&id) {
                remains.removed = true;
                remains.topic = None;
            }
        }
        if self.wal.topic_bytes(id) == 0 && self.catalog.forget(id).await.is_ok() {
            self.remains.lock().remove(&id);
        }
    }

    async fn remove_remains(&self, id: TopicId, place: Option<&TablePlace>) -> bool {
        for factory in self.services.registry.list() {
            if let Err(err) = factory.remove(id, place).await {
                tracing::warn!(topic_id = %id, error = %err, "what a deleted topic has left cannot be removed yet");
                return false;
            }
        }
        true
    }
}
