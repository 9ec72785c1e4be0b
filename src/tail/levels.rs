//! How far a topic has come at each level: the one value that readers and writers wait on.

use tokio::sync::watch;

use crate::model::{Ack, ErrorCode, Offset};
use crate::tail::rounds::Rounds;

/// How far a topic has come. All offsets are exclusive but `earliest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The first offset that is still kept.
    pub earliest: Offset,
    /// Everything before it can be read: it has reached the topic's default level.
    pub readable: Offset,
    /// Everything before it is in the write-ahead log, fsynced; the same as `readable` where there is no log.
    pub durable: Offset,
    /// Everything before it is in the dataset, fsynced.
    pub committed: Offset,
    /// Whether the topic takes no more records, so that `readable` moves no more once it has all.
    pub closed: bool,
    /// Why nothing comes any more.
    pub ending: Option<Ending>,
    /// Whether commits to the dataset keep failing; they are tried again.
    pub degraded: bool,
    /// Why writing has failed for good; records in flight are not acknowledged.
    pub failed: Option<ErrorCode>,
    /// How often records in flight were refused because the disk was full; their offsets are given out again.
    pub refusals: u64,
}

/// Why a topic's readers and writers are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The topic is deleted.
    Deleted,
}

impl Levels {
    /// A topic of which everything from `earliest` to `next` is known at every level.
    pub const fn at(earliest: Offset, next: Offset) -> Self {
        Self {
            earliest,
            readable: next,
            durable: next,
            committed: next,
            closed: false,
            ending: None,
            degraded: false,
            failed: None,
            refusals: 0,
        }
    }

    /// Whether nothing follows what can be read: the topic is closed, and all that it has can be read. Where readers wait for
    /// a level of their own, its last records may still be on their way to it.
    pub fn is_over(&self) -> bool {
        self.closed && self.readable >= self.durable
    }

    /// The offset up to which a level is reached.
    pub const fn reached(&self, level: Ack) -> Offset {
        match level {
            Ack::Accepted | Ack::Wal => self.durable,
            Ack::Committed => self.committed,
        }
    }
}

/// The sending side of a topic's [`Levels`].
#[derive(Debug)]
pub struct LevelsWatch {
    sender: watch::Sender<Levels>,
    rounds: Rounds,
}

impl LevelsWatch {
    /// Begins at these levels.
    pub fn new(levels: Levels) -> Self {
        Self { sender: watch::Sender::new(levels), rounds: Rounds::new(&levels) }
    }

    /// The levels now.
    pub fn now(&self) -> Levels {
        *self.sender.borrow()
    }

    /// Changes the levels and wakes whoever waits, where they differ then.
    pub fn change(&self, change: impl FnOnce(&mut Levels)) {
        let differ = self.sender.send_if_modified(|levels| {
            let before = *levels;
            change(levels);
            before != *levels
        });
        if differ {
            self.rounds.wake(|| self.now());
        }
    }

    /// Changes the levels and wakes nobody: [`LevelsWatch::tell`] must follow.
    pub fn change_unheard(&self, change: impl FnOnce(&mut Levels)) {
        self.sender.send_if_modified(|levels| {
            change(levels);
            false
        });
    }

    /// Wakes whoever waits, to look at the levels again.
    pub fn tell(&self) {
        self.sender.send_modify(|_| {});
        self.rounds.wake(|| self.now());
    }

    /// The receiving side for one of many readers: it is told to look at the levels again where there is something new to read,
    /// or nothing more will come, and where there are very many of them no more often than all can be served.
    pub fn subscribe_in_rounds(&self) -> watch::Receiver<()> {
        self.rounds.subscribe()
    }

    /// The receiving side.
    pub fn subscribe(&self) -> watch::Receiver<Levels> {
        self.sender.subscribe()
    }

    /// Waits until the condition holds.
    pub async fn wait_for(&self, condition: impl FnMut(&Levels) -> bool) -> Levels {
        let mut receiver = self.sender.subscribe();
        match receiver.wait_for(condition).await {
            Ok(levels) => *levels,
            // The sender lives as long as `self` does.
            Err(_) => self.now(),
        }
    }
}
