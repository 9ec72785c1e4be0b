//! What the log has promised to whom.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::io::fault::Random;
use crate::model::{KeyedWrite, Offset, ProducerWrite, SchemaVersion, Timestamp, TopicId, Writer};
use crate::wal::{WalEntry, WalError};

pub(super) const TOPICS: usize = 4;

/// What is known of a submitted entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Not completed yet.
    InFlight,
    /// Acknowledged, or recovered: it stays.
    Stays,
    /// Refused by a full disk: it must never be seen.
    Refused,
    /// Not known until the next recovery.
    Unknown,
    /// A recovery has not found it: it must never be seen once the log has taken anything else.
    Gone {
        /// The serial number of the next entry then.
        before: usize,
    },
}

#[derive(Debug)]
struct Submitted {
    topic: usize,
    entry: WalEntry,
    fate: Fate,
}

impl Submitted {
    fn next(&self) -> u64 {
        self.entry.first.get() + u64::from(self.entry.count)
    }
}

/// A topic's sequencer, as the engine has one.
#[derive(Clone, Copy, Debug, Default)]
struct Topic {
    next: u64,
    in_flight: usize,
    /// An entry was refused, so nothing gets in until all in flight are.
    refused: bool,
    committed: u64,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) random: Random,
    submitted: Vec<Submitted>,
    topics: [Topic; TOPICS],
    in_order: VecDeque<usize>,
    pub(super) broken: Option<String>,
}

pub(super) fn id(topic: usize) -> TopicId {
    TopicId::from_bytes([u8::try_from(topic).unwrap() + 1; 16])
}

fn number(id: TopicId) -> usize {
    usize::from(id.to_bytes()[0]) - 1
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0xA5A5_5A5A),
            submitted: Vec::new(),
            topics: [Topic::default(); TOPICS],
            in_order: VecDeque::new(),
            broken: None,
        }
    }

    /// The next entry of a topic, unless it has to wait; its time is its serial number.
    pub(super) fn submit(&mut self, topic: usize) -> Option<(usize, WalEntry)> {
        if self.topics[topic].refused {
            return None;
        }
        let serial = self.submitted.len();
        let count = u32::try_from(self.random.below(4)).unwrap();
        let size = if self.random.chance(0.1) { self.random.below(1_500) } else { self.random.below(120) };
        let writer = match self.random.below(3) {
            0 => Writer::Plain,
            1 => Writer::Producer(ProducerWrite { id: "p".into(), epoch: 1, seq: serial as u64 }),
            _ => Writer::Keyed(KeyedWrite { key: format!("k{serial}").into(), body_hash: [7; 32] }),
        };
        let entry = WalEntry {
            beside: None,
            topic: id(topic),
            first: Offset::new(self.topics[topic].next).unwrap(),
            count,
            schema: SchemaVersion::new(1),
            time: Timestamp::from_micros(i64::try_from(serial).unwrap()),
            close: false,
            relocated: false,
            writer,
            values: Bytes::from(vec![b'v'; size]),
        };
        self.topics[topic].next += u64::from(count);
        self.topics[topic].in_flight += 1;
        self.submitted.push(Submitted { topic, entry: entry.clone(), fate: Fate::InFlight });
        self.in_order.push_back(serial);
        Some((serial, entry))
    }

    pub(super) fn complete(&mut self, serial: usize, result: &Result<(), WalError>) {
        if self.in_order.pop_front() != Some(serial) {
            self.breaks(format!("{serial} was completed out of order"));
        }
        let of = self.submitted[serial].topic;
        if result.is_ok() && self.topics[of].refused {
            self.breaks(format!("{serial} got in behind a refused entry"));
        }
        self.submitted[serial].fate = match result {
            Ok(()) => Fate::Stays,
            Err(WalError::DiskFull) => Fate::Refused,
            Err(_) => Fate::Unknown,
        };
        let topic = &mut self.topics[of];
        topic.in_flight -= 1;
        topic.refused |= matches!(result, Err(WalError::DiskFull));
        if topic.refused && topic.in_flight == 0 {
            topic.refused = false;
            self.topics[of].next = self.tail(of);
        }
    }

    pub(super) fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn tail(&self, topic: usize) -> u64 {
        let stays = self.submitted.iter().filter(|entry| entry.topic == topic && entry.fate == Fate::Stays);
        stays.map(Submitted::next).max().unwrap_or_default()
    }

    /// A topic's acknowledged records are durable elsewhere.
    pub(super) fn commit(&mut self, topic: usize) {
        self.topics[topic].committed = self.tail(topic);
    }

    pub(super) fn commit_id(&mut self, id: TopicId) {
        self.commit(number(id));
    }

    pub(super) fn committed(&self) -> impl Fn(TopicId) -> Offset + use<> {
        let topics = self.topics;
        move |id| Offset::new(topics[number(id)].committed).unwrap()
    }

    /// The process has ended.
    pub(super) fn crash(&mut self) {
        self.in_order.clear();
        for topic in &mut self.topics {
            (topic.in_flight, topic.refused) = (0, false);
        }
        for entry in &mut self.submitted {
            if entry.fate == Fate::InFlight {
                entry.fate = Fate::Unknown;
            }
        }
    }

    /// Compares what was recovered with what was promised, and settles what was not known.
    pub(super) fn recover(&mut self, recovered: &[WalEntry]) {
        let mut seen: HashMap<usize, usize> = HashMap::new();
        let mut last = [None; TOPICS];
        for entry in recovered {
            let serial = usize::try_from(entry.time.as_micros()).unwrap_or(usize::MAX);
            let Some(submitted) = self.submitted.get(serial) else {
                return self.breaks(format!("{serial} was invented"));
            };
            let (of, fate) = (submitted.topic, submitted.fate);
            if (WalEntry { relocated: false, ..entry.clone() }) != submitted.entry {
                return self.breaks(format!("{serial} has changed"));
            }
            let superseded = |before| self.submitted.iter().skip(before).any(|entry| entry.fate == Fate::Stays);
            if fate == Fate::Refused || matches!(fate, Fate::Gone { before } if superseded(before)) {
                return self.breaks(format!("{serial} came back, which was {fate:?}"));
            }
            let plain = seen.entry(serial).or_default();
            if !entry.relocated {
                *plain += 1;
                if *plain > 1 {
                    return self.breaks(format!("{serial} was repeated"));
                }
                if last[of].replace(serial) > Some(serial) {
                    return self.breaks(format!("{serial} is out of order"));
                }
            }
        }
        for serial in 0..self.submitted.len() {
            let entry = &self.submitted[serial];
            let needed = entry.fate == Fate::Stays && entry.next() > self.topics[entry.topic].committed;
            match (seen.contains_key(&serial), entry.fate) {
                (false, _) if needed => return self.breaks(format!("{serial} was lost")),
                (true, Fate::Unknown | Fate::Gone { .. }) => self.submitted[serial].fate = Fate::Stays,
                (false, Fate::Unknown) => self.submitted[serial].fate = Fate::Gone { before: self.submitted.len() },
                _ => {}
            }
        }
        self.check_density();
    }

    fn check_density(&mut self) {
        let mut next = [0; TOPICS];
        for entry in self.submitted.iter().filter(|entry| entry.fate == Fate::Stays) {
            if entry.entry.first.get() != next[entry.topic] {
                let what = format!("topic {} has a hole before {}", entry.topic, entry.entry.first);
                return self.breaks(what);
            }
            next[entry.topic] = entry.next();
        }
        for (topic, next) in self.topics.iter_mut().zip(next) {
            topic.next = next;
        }
    }
}
