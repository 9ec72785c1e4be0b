//! The order of a topic: offsets, times, phase, who has written what. Pure: no I/O, no waiting.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::backend::{Sequenced, StorageBackend, VersionedSchema};
use crate::codec::{Chunk, Records};
use crate::model::{ErrorCode, Offset, Problem, SchemaVersion, Timestamp, Writer};
use crate::schema::WideColumns;
use crate::tail::Reservation;
use crate::topic::AppendRequest;
use crate::topic::producers::{IdempotencyKeys, KeyUndo, KeyVerdict, ProducerUndo, Producers, StoredReceipt, Verdict};

/// Whether a topic takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does.
    Open,
    /// It takes none any more, but the catalog has not heard of it yet; whether an append closes it, so that the log has.
    Closing {
        /// Whether records close it.
        behind_records: bool,
    },
    /// It takes none any more.
    Closed,
    /// It is being deleted.
    Deleting,
}

/// What is decided of an append before its records are looked at.
#[derive(Debug)]
pub(super) enum Ruling {
    /// It goes on.
    Admit,
    /// It has been stored before.
    Duplicate(StoredReceipt),
    /// It is refused; the answer rests on everything sequenced so far.
    Refuse(Problem),
}

/// The order of a topic, under its lock.
#[derive(Debug)]
pub(super) struct Log {
    /// The offset that the next record gets.
    pub(super) next: Offset,
    /// The time of the last record.
    pub(super) last_time: Timestamp,
    /// Whether it takes records.
    pub(super) phase: Phase,
    /// Who writes with producer headers.
    pub(super) producers: Producers,
    /// Which idempotency keys were used.
    pub(super) keys: IdempotencyKeys,
    /// Integer columns that have held more than 2^53.
    pub(super) wide: WideColumns,
    /// Whether a schema version is being made; nothing is sequenced meanwhile.
    pub(super) evolving: bool,
    /// Versions made since the topic was opened, with the offset of their first record.
    pub(super) versions: Vec<(SchemaVersion, Offset)>,
    /// Whether something has changed that the catalog's checkpoint should hold.
    pub(super) dirty: bool,
    /// What requests in flight have changed, oldest first, each with where its records end.
    pub(super) undo: VecDeque<(End, Undo)>,
    /// How often records in flight were refused and what they had changed was taken back. Whoever has looked at the log and
    /// then waited must look again where this has changed.
    pub(super) rewinds: u64,
}

/// Where a request's records end.
pub(super) struct End {
    /// The offset past them.
    next: Offset,
    /// Those that went to the quarantine: what stores them, and the offset past them. They stand or fall together.
    beside: Option<(Arc<dyn StorageBackend>, Offset)>,
}

impl End {
    /// Whether the records are durable, where all before `durable` is.
    fn is_durable(&self, durable: Offset) -> bool {
        let is_there = |(backend, next): &(Arc<dyn StorageBackend>, Offset)| backend.levels().now().durable >= *next;
        self.next <= durable && self.beside.as_ref().is_none_or(is_there)
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("next", &self.next).finish_non_exhaustive()
    }
}

/// The quarantined records of a request.
pub(super) struct Aside {
    /// How many there are.
    pub(super) count: u64,
    /// What stores them.
    pub(super) backend: Arc<dyn StorageBackend>,
    /// The offset past them.
    pub(super) next: Offset,
}

/// What a request has changed beside the offset.
#[derive(Debug)]
pub(super) enum Undo {
    Producer(ProducerUndo),
    Key(KeyUndo),
}

impl Log {
    /// The order of a topic without records.
    pub(super) fn empty() -> Self {
        Self {
            next: Offset::ZERO,
            last_time: Timestamp::default(),
            phase: Phase::Open,
            producers: Producers::new(),
            keys: IdempotencyKeys::new(),
            wide: WideColumns::default(),
            evolving: false,
            versions: Vec::new(),
            dirty: false,
            undo: VecDeque::new(),
            rewinds: 0,
        }
    }

    /// Decides in the contract's order: duplicate, closed, fence and gap, expected offset.
    pub(super) fn rule(&self, ask: &AppendRequest, now: Timestamp) -> Ruling {
        if self.phase == Phase::Deleting {
            return Ruling::Refuse(topic_gone());
        }
        let verdict = match &ask.writer {
            Writer::Plain => Verdict::New,
            Writer::Producer(write) => self.producers.look(write, now),
            Writer::Keyed(write) => match self.keys.look(write, now) {
                KeyVerdict::New => Verdict::New,
                KeyVerdict::Duplicate(receipt) => Verdict::Duplicate(receipt),
                KeyVerdict::Mismatch => {
                    let detail = "The Idempotency-Key was used before with another body.";
                    return Ruling::Refuse(Problem::new(ErrorCode::IdempotencyMismatch, detail));
                }
            },
        };
        match verdict {
            Verdict::Duplicate(receipt) => return Ruling::Duplicate(receipt),
            Verdict::DuplicateExpired => {
                let detail = "The request was stored before, but its answer is no longer kept.";
                return Ruling::Refuse(Problem::new(ErrorCode::DuplicateExpired, detail));
            }
            Verdict::New | Verdict::Gap { .. } | Verdict::Fenced { .. } => {}
        }
        if self.phase != Phase::Open {
            let detail = format!("The topic is closed at offset {}.", self.next);
            return Ruling::Refuse(Problem::new(ErrorCode::TopicClosed, detail).with_tail(self.next));
        }
        match verdict {
            Verdict::Gap { expected_seq } => {
                let detail = format!("The producer's next sequence number is {expected_seq}.");
                let mut problem = Problem::new(ErrorCode::ProducerGap, detail);
                problem.expected_seq = Some(expected_seq);
                return Ruling::Refuse(problem);
            }
            Verdict::Fenced { current_epoch } => {
                let detail = format!("Another producer of this id writes in epoch {current_epoch}.");
                let mut problem = Problem::new(ErrorCode::ProducerFenced, detail);
                problem.current_epoch = Some(current_epoch);
                return Ruling::Refuse(problem);
            }
            Verdict::New | Verdict::Duplicate(_) | Verdict::DuplicateExpired => {}
        }
        match ask.expected_offset {
            Some(expected) if expected != self.next => {
                let detail = format!("The next offset to be assigned is {}, not {expected}.", self.next);
                Ruling::Refuse(Problem::new(ErrorCode::OffsetMismatch, detail).with_tail(self.next))
            }
            _ => Ruling::Admit,
        }
    }

    /// Gives records their offsets and time, and remembers who wrote them. The ruling has been [`Ruling::Admit`] under the
    /// same lock.
    ///
    /// # Errors
    /// A problem where offsets have run out.
    pub(super) fn assign(
        &mut self,
        ask: &AppendRequest,
        records: Records,
        schema: Option<&VersionedSchema>,
        reservation: Reservation,
        (now, durable): (Timestamp, Offset),
        aside: Option<Aside>,
    ) -> Result<(Sequenced, StoredReceipt), Problem> {
        let count = records.values.len() as u64;
        let Some(next) = self.next.after(count) else {
            return Err(Problem::new(ErrorCode::OffsetOutOfRange, "The topic has no offsets left."));
        };
        let version = schema.map(|versioned| versioned.version);
        let quarantined = aside.as_ref().map_or(0, |aside| aside.count);
        let receipt = StoredReceipt { first: self.next, count, schema: version, quarantined };
        let undo = match &ask.writer {
            Writer::Plain => None,
            Writer::Producer(write) => Some(Undo::Producer(self.producers.record(write, receipt, now))),
            Writer::Keyed(write) => Some(Undo::Key(self.keys.record(write, receipt, now))),
        };
        while self.undo.pop_front_if(|(end, _)| end.is_durable(durable)).is_some() {}
        let end = End { next, beside: aside.map(|aside| (aside.backend, aside.next)) };
        self.undo.extend(undo.map(|undo| (end, undo)));
        self.last_time = self.last_time.max(now);
        let chunk = Chunk::new(self.next, self.last_time, records.values);
        self.wide.union(&records.wide);
        self.next = next;
        self.dirty = true;
        if ask.close {
            self.phase = Phase::Closing { behind_records: true };
        }
        let writer = ask.writer.clone();
        Ok((Sequenced { chunk, schema: version, writer, close: ask.close, reservation }, receipt))
    }
}

impl Log {
    /// Forgets the writers that are idle or too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let before = (self.producers.len(), self.keys.len());
        self.producers.expire(now);
        self.keys.expire(now);
        self.dirty |= before != (self.producers.len(), self.keys.len());
    }

    /// Takes back all that records from `durable` on have changed: they were refused, and nothing of them is stored. Their
    /// offsets were shown to nobody, so that they are given out again.
    pub(super) fn rewind(&mut self, durable: Offset) {
        // A request may have records in the quarantine alone.
        if self.next <= durable && self.undo.iter().all(|(end, _)| end.is_durable(durable)) {
            return;
        }
        self.next = self.next.min(durable);
        self.rewinds += 1;
        self.dirty = true;
        while let Some((_, undo)) = self.undo.pop_back_if(|(end, _)| !end.is_durable(durable)) {
            match undo {
                Undo::Producer(undo) => self.producers.take_back(undo),
                Undo::Key(undo) => self.keys.take_back(undo),
            }
        }
        for (_, first) in &mut self.versions {
            *first = durable.min(*first);
        }
        // Whatever was to close the topic rested on the refused records, or was one of them.
        if matches!(self.phase, Phase::Closing { .. }) {
            self.phase = Phase::Open;
        }
    }
}

/// What is told of a topic that was deleted meanwhile.
pub(super) fn topic_gone() -> Problem {
    Problem::new(ErrorCode::TopicNotFound, "There is no such topic.")
}
