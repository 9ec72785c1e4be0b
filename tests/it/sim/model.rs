//! What the client knows of a topic: what it has sent, and what it was told.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use persisting::codec::Form;
use persisting::model::{Ack, TagName, TopicId, TopicName, Writer};
use serde_json::Value;

use super::past::Tagged;
use super::values::Shape;

/// What kind of topic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `persisting` as it comes.
    Wal,
    /// `persisting` whose records can be read once they are committed.
    WalCommitted,
    /// `persisting` without a log, whose records can be read once they are committed.
    NoWal,
    /// `lance`.
    Lance,
}

impl Kind {
    /// Whether appends go through the write-ahead log.
    pub fn has_wal(self) -> bool {
        matches!(self, Kind::Wal | Kind::WalCommitted)
    }

    /// Whether a record that was read can never vanish.
    pub fn reads_stay(self) -> bool {
        self != Kind::Lance
    }

    /// Whether records are hidden until they are committed.
    pub fn hides_uncommitted(self) -> bool {
        matches!(self, Kind::WalCommitted | Kind::NoWal)
    }
}

/// What is known of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet.
    InFlight,
    /// It is stored from this offset on. If it is sure, nothing may take it away any more.
    Stored { first: u64, sure: bool },
    /// It was refused: it must never be seen.
    Refused,
    /// The answer leaves open whether it is stored.
    Unknown,
    /// A restart has not found it: it must never be seen again, once the log has taken anything else.
    Gone { log_acks: u64 },
}

/// Something that is known, or open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    No,
    Maybe,
    Yes,
}

/// One append.
#[derive(Clone, Debug)]
pub struct Batch {
    pub records: Vec<Value>,
    pub body: Bytes,
    pub form: Form,
    pub ack: Option<Ack>,
    pub expected_offset: Option<u64>,
    pub close: bool,
    pub writer: Writer,
    /// Everything acknowledged before it was sent lies before this offset.
    pub not_before: u64,
    /// Whether one of the records is none.
    pub bad: bool,
    /// The serial number of one that does not fit and is to be set aside.
    pub aside: Option<u64>,
    /// How often it was sent.
    pub attempts: u32,
    pub fate: Fate,
}

/// A producer of a topic.
#[derive(Clone, Debug)]
pub struct Producer {
    pub epoch: u64,
    pub seq: u64,
    /// The batch that it has to send again until it knows.
    pub pending: Option<usize>,
    /// Its stored batches of this epoch, oldest first.
    pub stored: Vec<usize>,
}

/// What the client knows of one topic, from its creation to its deletion.
#[derive(Clone, Debug)]
pub struct TopicModel {
    pub name: TopicName,
    pub kind: Kind,
    /// Whether it was made; its end is an answered deletion.
    pub exists: Known,
    pub id: Option<TopicId>,
    pub epoch: u64,
    /// The path of its symlink.
    pub link: Option<String>,
    pub shape: Shape,
    pub batches: Vec<Batch>,
    /// By serial number: the batch, and the place in it.
    pub sent: HashMap<u64, (usize, usize)>,
    /// By offset: the text and time that were read there.
    pub seen: BTreeMap<u64, (String, i64)>,
    pub earliest: u64,
    /// The highest offset before which records were asked to be dropped.
    pub earliest_asked: u64,
    pub closed: Known,
    /// Everything before it is committed, as an answer has said.
    pub committed: u64,
    pub producers: Vec<Producer>,
    pub tags: BTreeMap<TagName, Tagged>,
    /// The offsets at which it, and what it was forked from, ended when it was forked.
    pub cuts: Vec<u64>,
    /// Whether records that do not fit are kept, in a topic of their own, which it is once that is known.
    pub quarantines: bool,
    pub quarantine: Option<TopicId>,
}

impl TopicModel {
    /// A topic whose creation is asked for.
    pub fn new(name: TopicName, kind: Kind) -> Self {
        let shape = if kind == Kind::Lance { Shape::strict() } else { Shape::default() };
        let producer = Producer { epoch: 0, seq: 0, pending: None, stored: Vec::new() };
        Self {
            name,
            kind,
            exists: Known::Maybe,
            id: None,
            epoch: 0,
            link: None,
            shape,
            batches: Vec::new(),
            sent: HashMap::new(),
            seen: BTreeMap::new(),
            earliest: 0,
            earliest_asked: 0,
            closed: Known::No,
            committed: 0,
            producers: vec![producer; 2],
            tags: BTreeMap::new(),
            cuts: Vec::new(),
            quarantines: false,
            quarantine: None,
        }
    }

    /// The offset past everything that is known to be stored.
    pub fn tail(&self) -> u64 {
        let end = |batch: &Batch| match batch.fate {
            Fate::Stored { first, .. } => first + batch.records.len() as u64,
            _ => 0,
        };
        self.batches.iter().map(end).max().unwrap_or_default()
    }

    /// The offset past a batch that begins at `first`: a fork has only the part of it before its cut.
    pub fn end_of(&self, first: u64, length: u64) -> u64 {
        self.cuts.iter().copied().filter(|cut| *cut > first).fold(first + length, u64::min)
    }

    /// Notes a batch that is about to be sent; its number.
    pub fn send(&mut self, batch: Batch) -> usize {
        let number = self.batches.len();
        for (place, record) in batch.records.iter().enumerate() {
            if let Some(serial) = record.get(super::values::SERIAL).and_then(Value::as_u64) {
                self.sent.insert(serial, (number, place));
            }
        }
        self.batches.push(batch);
        number
    }

    /// Learns the answer to a flush, which was asked when everything before `before` had been acknowledged.
    pub fn flushed(&mut self, before: u64, committed: u64) -> Result<(), String> {
        if committed < before {
            return Err(format!("a flush has committed up to {committed} only, not {before}"));
        }
        self.committed = self.committed.max(committed);
        for batch in &mut self.batches {
            if let Fate::Stored { first, sure } = &mut batch.fate {
                *sure |= *first + batch.records.len() as u64 <= committed;
            }
        }
        Ok(())
    }

    /// Learns the answer to a trim.
    pub fn trimmed(&mut self, before: u64, earliest: u64) -> Result<(), String> {
        if earliest < before.max(self.earliest) {
            return Err(format!("a trim to {before} has left {earliest} as the earliest offset"));
        }
        self.earliest = earliest;
        Ok(())
    }

    /// Learns the answer to a close.
    pub fn learn_closed(&mut self, next: u64) -> Result<(), String> {
        if next < self.tail() {
            return Err(format!("it was closed at {next}, with records up to {}", self.tail()));
        }
        self.closed = Known::Yes;
        Ok(())
    }

    /// The process has ended: what had no answer will get none.
    pub fn crash(&mut self) {
        for batch in self.batches.iter_mut().filter(|batch| batch.fate == Fate::InFlight) {
            batch.fate = Fate::Unknown;
        }
    }
}
