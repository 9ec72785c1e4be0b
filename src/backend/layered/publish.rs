//! The near end of a lane: records come in and whoever waits for them is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backend::layered::Lane;
use crate::codec::Chunk;
use crate::model::ErrorCode;
use crate::tail::{Levels, Reservation};
use crate::wal::{Group, GroupEnd};

impl GroupEnd for Lane {
    fn group_ended(&self) {
        // First, so that records of the next group are told of at that one's end.
        self.in_group.store(false, Ordering::Release);
        self.levels.tell();
    }
}

impl Lane {
    /// Takes records that are as safe as the log makes them, in offset order; false where they do not follow.
    pub(super) fn publish(self: &Arc<Self>, chunk: Chunk, reservation: Reservation) -> bool {
        let follows = self.take(chunk, reservation, true);
        if follows {
            self.enqueue();
        }
        follows
    }

    /// As [`Lane::publish`], for records that the log has made durable; those who wait for them are woken once for all of
    /// the group.
    pub(super) fn publish_in(self: &Arc<Self>, group: &mut Group, chunk: Chunk, reservation: Reservation) -> bool {
        let follows = self.take(chunk, reservation, false);
        if follows {
            if !self.in_group.swap(true, Ordering::AcqRel) {
                group.at_end(Arc::clone(self) as Arc<dyn GroupEnd>);
            }
            self.enqueue();
        }
        follows
    }

    /// Lets the records be committed. Called when the topic is open, if it was opened with some.
    pub(crate) fn enqueue(self: &Arc<Self>) {
        if self.tail.first().is_some() && !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.add(Arc::clone(self));
        }
    }

    /// Takes what the log had kept at the start of the server; nothing is committed before [`Lane::enqueue`].
    pub(super) fn restore(&self, chunk: Chunk, reservation: Reservation) -> bool {
        self.expect_up_to(chunk.next());
        self.take(chunk, reservation, true)
    }

    /// Takes records behind those that are there, and tells whoever waits, or leaves that to somebody else.
    fn take(&self, chunk: Chunk, reservation: Reservation, tell: bool) -> bool {
        let next = chunk.next();
        if let Err(expected) = self.tail.push(chunk, reservation) {
            tracing::error!(topic = %self.name(), %expected, "records do not follow the last ones of {}", self.name());
            self.fail(ErrorCode::Internal);
            return false;
        }
        let advance = |levels: &mut Levels| {
            levels.durable = next;
            self.settle_readable(levels);
        };
        if tell {
            self.levels.change(advance);
        } else {
            self.levels.change_unheard(advance);
        }
        true
    }
}
