//! The quarantines of topics: made when first needed, gone with their topics.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::MutexGuard;

use crate::engine::Core;
use crate::engine::entry::Entry;
use crate::model::{ErrorCode, Offset, Problem, SchemaMode, TopicId, TopicName};
use crate::topic::{CreateTopic, Quarantines, Topic, quarantine_schema};

#[async_trait]
impl Quarantines for Core {
    async fn quarantine_of(self: Arc<Self>, topic: &Topic, make: bool) -> Result<Option<Arc<Topic>>, Problem> {
        let Some(name) = topic.name().quarantine() else { return Ok(None) };
        loop {
            if let Some(entry) = self.entry(&name) {
                let opened = self.open(&entry).await?;
                if !opened.is_ending() {
                    return Ok(Some(opened));
                }
                // Its deletion holds the name, and may yet fail.
                drop(self.name_lock(&name).lock().await);
                continue;
            }
            if !make {
                return Ok(None);
            }
            // Making it goes on when the client leaves: one that is half made would be in the way of the next.
            let (core, of, id) = (Arc::clone(&self), topic.name().clone(), topic.id());
            self.services.detach(async move { core.make_quarantine(&of, id).await }).await?;
        }
    }
}

impl Core {
    /// Makes the quarantine of a topic, unless it is there. The topic's name is held meanwhile: one that is being deleted gets
    /// none, and the next of its name not this one.
    async fn make_quarantine(self: &Arc<Self>, of: &TopicName, id: TopicId) -> Result<(), Problem> {
        let Some(name) = of.quarantine() else { return Ok(()) };
        let _alone = self.both_names(of, &name).await;
        if self.entry(of).is_none_or(|entry| entry.row().definition.id != id) {
            return Err(crate::backend::StorageError::Deleted.to_problem());
        }
        let ask = CreateTopic {
            schema: Some(quarantine_schema()),
            schema_mode: Some(SchemaMode::Strict),
            ..CreateTopic::default()
        };
        self.create_alone(&name, ask).await.map(drop)
    }

    /// Which topic is there as the quarantine of a name.
    pub(super) fn quarantine_id(&self, of: &TopicName) -> Option<TopicId> {
        self.entry(&of.quarantine()?).map(|entry| entry.row().definition.id)
    }

    /// The name's lock, for whoever makes a topic of the name. What one before it has left as its quarantine holds records of
    /// that one, and is gone then.
    pub(super) async fn alone_with(self: &Arc<Self>, name: &TopicName) -> Result<MutexGuard<'_, ()>, Problem> {
        loop {
            let alone = self.name_lock(name).lock().await;
            let left = self.quarantine_id(name).filter(|_| self.entry(name).is_none());
            if left.is_none() {
                return Ok(alone);
            }
            // Its own name may share the lock.
            drop(alone);
            self.delete_quarantine(name, left).await?;
        }
    }

    /// Deletes what a topic that is not there any more has left as its quarantine.
    pub(super) async fn delete_quarantine(
        self: &Arc<Self>,
        of: &TopicName,
        which: Option<TopicId>,
    ) -> Result<(), Problem> {
        let (Some(name), Some(id)) = (of.quarantine(), which) else { return Ok(()) };
        match self.delete_one(&name, Some(id), None).await {
            Err(problem) if problem.code != ErrorCode::TopicNotFound => Err(problem),
            _ => Ok(()),
        }
    }

    /// Deletes the quarantines whose topics are gone: a crash came between the two.
    pub(super) async fn delete_orphans(self: &Arc<Self>) {
        let parents = self.entries().into_iter().filter_map(|entry| entry.row().definition.name.quarantined());
        let orphans: Vec<TopicName> = parents.filter(|parent| self.entry(parent).is_none()).collect();
        for parent in orphans {
            if let Err(problem) = self.delete_quarantine(&parent, self.quarantine_id(&parent)).await {
                tracing::warn!(topic = %parent, detail = %problem.detail, "the quarantine of {parent}, which is gone, stays");
            }
        }
    }

    /// Finishes the replay that a crash may have interrupted, now that a topic is open.
    pub(super) fn settle_replay(self: &Arc<Self>, topic: &Arc<Topic>) {
        let quarantine = topic.name().quarantine().and_then(|name| self.entry(&name));
        let is_owed = |entry: &Arc<Entry>| {
            let row = entry.row();
            topic.replayed_through(row.definition.id).is_some_and(|done: Offset| done > row.earliest)
        };
        if quarantine.as_ref().is_some_and(is_owed) {
            let topic = Arc::clone(topic);
            self.tasks.spawn("replay", async move {
                topic.settle_replay().await;
                Ok::<(), std::convert::Infallible>(())
            });
        }
    }
}
