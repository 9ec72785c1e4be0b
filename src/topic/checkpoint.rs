//! What the catalog keeps of a topic's committed offset and of its writers, so that the log can let go of their entries.

use std::sync::atomic::Ordering;

use crate::backend::StorageError;
use crate::catalog::TopicCheckpoint;
use crate::model::ErrorCode;
use crate::topic::Topic;
use crate::topic::producers::{DirtyKeys, DirtyProducers};

impl Topic {
    /// What the catalog's checkpoint should hold now; none where nothing has changed. The state rests on records that are
    /// durable when this returns. One at a time: what is taken here is believed to be stored unless it is given back.
    ///
    /// # Errors
    /// [`StorageError`] where they could not be made durable; what has changed is kept for the next time.
    pub(crate) async fn checkpoint(&self) -> Result<Option<TopicCheckpoint>, StorageError> {
        // The committed offset of this very moment: records that are sequenced and committed while this waits may be wide,
        // and recovery looks for that only in what lies past it.
        let (next, committed, rewinds, wide, producers, keys, quarantine) = {
            let mut log = self.log.lock();
            let committed = self.backend.levels().now().committed;
            let now = self.services.clock.now();
            log.expire(now);
            if !std::mem::take(&mut log.dirty) && committed.get() == self.checkpointed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let wide = log.wide.to_stored(self.posted());
            let quarantine = self.quarantine_position();
            (log.next, committed, log.rewinds, wide, log.producers.take_dirty(), log.keys.take_dirty(), quarantine)
        };
        // A request may have records there alone.
        let is_logged = match quarantine {
            Some((quarantine, next, refusals)) => quarantine.is_logged(next, refusals).await,
            None => true,
        };
        let reached = self.backend.reached_since(next, self.durable_level(), rewinds).await.and_then(|_| {
            let as_before = self.log.lock().rewinds == rewinds;
            if as_before && is_logged { Ok(()) } else { Err(StorageError::Unwritable { code: ErrorCode::DiskFull }) }
        });
        if let Err(err) = reached {
            let mut log = self.log.lock();
            log.dirty = true;
            log.producers.give_back(producers);
            log.keys.give_back(keys);
            return Err(err);
        }
        Ok(Some(TopicCheckpoint {
            id: self.id,
            next: committed,
            wide,
            producers: producers.changed,
            removed_producers: producers.removed,
            keys: keys.changed,
            removed_keys: keys.removed,
        }))
    }

    /// The catalog has the checkpoint.
    pub(crate) fn checkpoint_stored(&self, checkpoint: &TopicCheckpoint) {
        self.checkpointed.store(checkpoint.next.get(), Ordering::Relaxed);
    }

    /// The checkpoint was not stored: everything in it has to go into the next one.
    pub(crate) fn checkpoint_failed(&self, checkpoint: TopicCheckpoint) {
        let mut log = self.log.lock();
        log.dirty = true;
        let TopicCheckpoint { producers, removed_producers, keys, removed_keys, .. } = checkpoint;
        log.producers.give_back(DirtyProducers { changed: producers, removed: removed_producers });
        log.keys.give_back(DirtyKeys { changed: keys, removed: removed_keys });
    }
}
