//! The rules of exactly-once writing: producers with sequence numbers, and idempotency keys. Pure: no I/O, no locks, time is
//! passed in.
//!
//! Both remember by *offset*: a request that lies before what is known of its writer is known already. So recovery can apply
//! every log entry that is still there, in log order and more than once, over a checkpoint that may be newer: the state never
//! goes back, whatever the clock has done. (Topics that take these headers never give an offset out twice while the state
//! lives.)

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::ProducerRow;
use crate::model::{ProducerWrite, Timestamp};

mod keys;
#[cfg(test)]
mod tests;

pub use crate::catalog::StoredReceipt;
pub use keys::{DirtyKeys, IdempotencyKeys, KeyUndo, KeyVerdict};

/// What is to be done with a producer's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one that comes next.
    New,
    /// It was stored before, with this outcome.
    Duplicate(StoredReceipt),
    /// It was stored before; the outcome is no longer kept.
    DuplicateExpired,
    /// Requests before it are missing.
    Gap {
        /// The sequence number that comes next.
        expected_seq: u64,
    },
    /// A producer of a higher epoch has taken over.
    Fenced {
        /// That epoch.
        current_epoch: u64,
    },
}

/// What has changed of a topic's producers since it was last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirtyProducers {
    /// Producers that have written, as they are now.
    pub changed: Vec<ProducerRow>,
    /// Producers that are forgotten.
    pub removed: Vec<Arc<str>>,
}

/// The producers of one topic.
#[derive(Clone, Debug)]
pub struct Producers {
    known: HashMap<Arc<str>, State>,
    /// Every known producer, longest idle first.
    by_use: BTreeSet<(Timestamp, Arc<str>)>,
    dirty: HashSet<Arc<str>>,
    limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    epoch: u64,
    last_seq: u64,
    /// Outcomes of the last requests of the epoch without a hole, oldest first; the last one is that of `last_seq`.
    receipts: VecDeque<StoredReceipt>,
    last_used: Timestamp,
}

/// What a recorded request has changed, so that it can be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProducerUndo {
    /// Nothing.
    Nothing,
    /// The producer was not known, or stood elsewhere.
    Replaced(Arc<str>, Option<Box<Standing>>),
    /// The request followed the producer's last one, and took the place of its oldest answer.
    Followed(Arc<str>, Option<StoredReceipt>, Timestamp),
}

/// Where a producer stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing(State);

impl Default for Producers {
    fn default() -> Self {
        Self::new()
    }
}

impl Producers {
    /// The most producers that a topic knows; past them the longest idle is forgotten.
    pub const KNOWN_MAX: usize = 10_000;
    /// A producer that has not written for longer is not known any more.
    pub const IDLE_MAX: Duration = Duration::from_hours(7 * 24);
    /// How many requests of a producer's current epoch are answered again.
    pub const RECEIPTS_MAX: usize = 16;

    /// No producer yet.
    pub fn new() -> Self {
        Self::with_limit(Self::KNOWN_MAX)
    }

    fn with_limit(limit: usize) -> Self {
        Self { known: HashMap::new(), by_use: BTreeSet::new(), dirty: HashSet::new(), limit }
    }

    /// The producers that a checkpoint has stored.
    pub fn restore(rows: Vec<ProducerRow>) -> Self {
        let mut producers = Self::new();
        for row in rows {
            let state = State {
                epoch: row.epoch,
                last_seq: row.last_seq,
                receipts: row.receipts.into(),
                last_used: row.last_used,
            };
            producers.put(row.id, state);
        }
        // Only what was dropped for want of room differs from what is stored.
        producers.dirty.retain(|id| !producers.known.contains_key(id));
        producers
    }

    /// How many producers are known, those that are idle too long but not yet dropped included.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What is to be done with a request. Changes nothing, so that a refused request uses up no sequence number and raises no
    /// epoch.
    pub fn look(&self, write: &ProducerWrite, now: Timestamp) -> Verdict {
        let Some(state) = self.known.get(&write.id).filter(|state| !state.is_idle(now)) else {
            return begin(write);
        };
        if write.epoch < state.epoch {
            return Verdict::Fenced { current_epoch: state.epoch };
        }
        if write.epoch > state.epoch {
            return begin(write);
        }
        if write.seq > state.last_seq {
            let expected_seq = state.last_seq.saturating_add(1);
            return if write.seq == expected_seq { Verdict::New } else { Verdict::Gap { expected_seq } };
        }
        let back = usize::try_from(state.last_seq - write.seq).unwrap_or(usize::MAX);
        match state.receipts.iter().rev().nth(back) {
            Some(receipt) => Verdict::Duplicate(*receipt),
            None => Verdict::DuplicateExpired,
        }
    }

    /// The newest epoch of a producer.
    pub fn epoch_of(&self, id: &Arc<str>) -> Option<u64> {
        self.known.get(id).map(|state| state.epoch)
    }

    /// Remembers a stored request; `now` is the time of its log entry. What is known already changes nothing.
    ///
    /// The state is ahead of the log until the request's entry is durable: see [`Producers::take_dirty`].
    pub fn record(&mut self, write: &ProducerWrite, receipt: StoredReceipt, now: Timestamp) -> ProducerUndo {
        let id = Arc::clone(&write.id);
        let mut state =
            State { epoch: write.epoch, last_seq: write.seq, receipts: VecDeque::from([receipt]), last_used: now };
        let undo = match self.known.get_mut(&write.id) {
            None => ProducerUndo::Replaced(id, None),
            Some(known) if !known.is_idle(now) && known.covers(write, &receipt) => return ProducerUndo::Nothing,
            Some(known) if known.epoch == write.epoch && known.last_seq.checked_add(1) == Some(write.seq) => {
                state.receipts = std::mem::take(&mut known.receipts);
                let excess = state.receipts.len() >= Self::RECEIPTS_MAX;
                let oldest = if excess { state.receipts.pop_front() } else { None };
                state.receipts.push_back(receipt);
                ProducerUndo::Followed(id, oldest, known.last_used)
            }
            // It was let in after the producer had been forgotten, or in a higher epoch: the log is the truth.
            Some(known) => ProducerUndo::Replaced(id, Some(Box::new(Standing(known.clone())))),
        };
        self.put(Arc::clone(&write.id), state);
        undo
    }

    /// Takes back the request that was recorded last, because its records were refused. A producer that was forgotten for
    /// want of room stays forgotten.
    pub fn take_back(&mut self, undo: ProducerUndo) {
        match undo {
            ProducerUndo::Nothing => {}
            ProducerUndo::Replaced(id, None) => self.remove(&id),
            ProducerUndo::Replaced(id, Some(standing)) => self.put(id, standing.0),
            ProducerUndo::Followed(id, oldest, last_used) => {
                let Some(mut state) = self.known.get(&id).cloned() else { return };
                state.receipts.pop_back();
                if let Some(oldest) = oldest {
                    state.receipts.push_front(oldest);
                }
                state.last_seq = state.last_seq.saturating_sub(1);
                state.last_used = last_used;
                self.put(id, state);
            }
        }
    }

    /// Forgets the producers that are idle too long; `now` as for [`Producers::look`].
    pub fn expire(&mut self, now: Timestamp) {
        while let Some((last_used, id)) = self.by_use.first()
            && is_over(*last_used, now, Self::IDLE_MAX)
        {
            let id = Arc::clone(id);
            self.remove(&id);
        }
    }

    /// What has changed since the last call. These rows rest on every request that was recorded: the log must be synced past
    /// all of them before the rows are stored, else a crash would leave answers to requests whose records are gone.
    pub fn take_dirty(&mut self) -> DirtyProducers {
        let mut dirty = DirtyProducers::default();
        for id in std::mem::take(&mut self.dirty) {
            match self.known.get(&id) {
                Some(state) => dirty.changed.push(state.to_row(id)),
                None => dirty.removed.push(id),
            }
        }
        dirty
    }

    /// Gives back what could not be stored; the next [`Producers::take_dirty`] has it again, as it is by then.
    pub fn give_back(&mut self, dirty: DirtyProducers) {
        self.dirty.extend(dirty.changed.into_iter().map(|row| row.id).chain(dirty.removed));
    }

    fn put(&mut self, id: Arc<str>, state: State) {
        let last_used = state.last_used;
        self.by_use.insert((last_used, Arc::clone(&id)));
        self.dirty.insert(Arc::clone(&id));
        if let Some(before) = self.known.insert(Arc::clone(&id), state)
            && before.last_used != last_used
        {
            self.by_use.remove(&(before.last_used, id));
        }
        // The longest idle ones come first, so those that are idle too long go before any other.
        while self.known.len() > self.limit
            && let Some((_, id)) = self.by_use.first()
        {
            let id = Arc::clone(id);
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &Arc<str>) {
        if let Some(state) = self.known.remove(id) {
            self.by_use.remove(&(state.last_used, Arc::clone(id)));
            self.dirty.insert(Arc::clone(id));
        }
    }
}

impl State {
    fn is_idle(&self, now: Timestamp) -> bool {
        is_over(self.last_used, now, Producers::IDLE_MAX)
    }

    /// Whether a request lies in the past of this state.
    fn covers(&self, write: &ProducerWrite, receipt: &StoredReceipt) -> bool {
        let Some(newest) = self.receipts.back() else { return false };
        // A request without records shares its offset with the one that follows it.
        let same_place = receipt.first == newest.first;
        let not_after = (write.epoch, write.seq) <= (self.epoch, self.last_seq);
        receipt.first < newest.first || (same_place && not_after)
    }

    fn to_row(&self, id: Arc<str>) -> ProducerRow {
        ProducerRow {
            id,
            epoch: self.epoch,
            last_seq: self.last_seq,
            receipts: self.receipts.iter().copied().collect(),
            last_used: self.last_used,
        }
    }
}

/// How a producer that is not known, or one in a higher epoch, begins.
fn begin(write: &ProducerWrite) -> Verdict {
    if write.seq == 0 { Verdict::New } else { Verdict::Gap { expected_seq: 0 } }
}

/// Whether more than `span` has gone by; never where the clock was set back.
fn is_over(since: Timestamp, now: Timestamp, span: Duration) -> bool {
    let gone = now.as_micros().saturating_sub(since.as_micros());
    u128::try_from(gone).is_ok_and(|gone| gone > span.as_micros())
}
