//! Tags and forks: a tag shows for ever what it showed when it was answered, and a fork is there whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::TryStreamExt;
use persisting::codec::Chunk;
use persisting::model::{ErrorCode, Problem, TagName, TopicName, Writer};
use persisting::table::Tag;
use persisting::topic::{ForkAt, Moment, ReadRequest, Topic};

use super::model::{Batch, Fate, Known, Producer, TopicModel};
use super::ops::{ALL, Op, Read, records};
use super::run::NAMES;
use super::world::{End, World};

/// Names of tags: few, so that they move.
const TAGS: usize = 3;

/// What is known of a tag.
#[derive(Clone, Debug, Default)]
pub struct Tagged {
    /// The version, its first offset and the one past its last, as answered or seen.
    told: Option<(u64, u64, u64)>,
    /// What was read there.
    shows: Option<Vec<Read>>,
    /// Requests that may have moved it since.
    open: u32,
}

/// A tag as it is served.
pub type SeenTag = (TagName, (u64, u64, u64), Vec<Read>);

fn about(tag: &Tag) -> (u64, u64, u64) {
    (tag.about.version, tag.about.base.get(), tag.about.next.get())
}

/// Reads all tags of a topic, and what they show.
pub async fn observe(topic: &Arc<Topic>) -> Result<Vec<SeenTag>, Problem> {
    let mut seen = Vec::new();
    for tag in topic.tags().await? {
        let at = Some(Moment::Tag(tag.name.clone()));
        let chunks: Vec<Vec<Chunk>> = topic.read_all(ReadRequest { at, ..ALL }).await?.try_collect().await?;
        seen.push((tag.name.clone(), about(&tag), records(&chunks.concat()).collect()));
    }
    Ok(seen)
}

impl TopicModel {
    fn a_tag(&mut self, name: TagName) -> Op {
        self.tags.entry(name.clone()).or_default().open += 1;
        Op::Tag(self.name.clone(), name)
    }

    /// Learns the answer to a tag's request.
    pub fn tagged(&mut self, name: &TagName, answer: Option<Result<Tag, Problem>>) -> Result<(), String> {
        let tail = self.tail();
        let tag = self.tags.entry(name.clone()).or_default();
        match answer {
            Some(Ok(made)) if tag.open == 1 => {
                (tag.open, tag.told, tag.shows) = (0, Some(about(&made)), None);
                let next = made.about.next.get();
                // Everything that was acknowledged is committed first.
                if next < tail.min(self.committed) {
                    return Err(format!("tag {name} ends at {next}, though {} was committed", self.committed));
                }
            }
            Some(Err(problem)) if problem.code == ErrorCode::VersionExpired && self.committed == 0 => tag.open -= 1,
            Some(Err(problem)) if problem.code == ErrorCode::TopicNotFound && self.exists != Known::Yes => {}
            Some(Err(problem)) if problem.code.status() < 500 => {
                return Err(format!("tag {name} was refused: {problem:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares the tags with what the client knows. A restart settles what was open.
    pub fn check_tags(&mut self, seen: Vec<SeenTag>, restarted: bool) -> Result<(), String> {
        let mut seen: BTreeMap<TagName, _> =
            seen.into_iter().map(|(name, about, read)| (name, (about, read))).collect();
        for (name, tag) in &mut self.tags {
            let Some((about, read)) = seen.remove(name) else {
                if tag.told.is_some() {
                    return Err(format!("tag {name} is gone"));
                }
                if restarted {
                    tag.open = 0;
                }
                continue;
            };
            if tag.open > 0 && !restarted {
                // It may have moved between the look at it and the one at its records.
                continue;
            }
            let moved = tag.told != Some(about);
            if moved && tag.open == 0 {
                return Err(format!("tag {name} was {:?} and is {about:?}", tag.told));
            }
            if let Some(before) = tag.shows.as_ref().filter(|before| !moved && **before != read) {
                return Err(format!("tag {name} showed {before:?} and shows {read:?}"));
            }
            let dense = (about.1..about.2).eq(read.iter().map(|(offset, ..)| *offset));
            if !dense {
                return Err(format!("tag {name} has {about:?} and shows {read:?}"));
            }
            for (offset, text, time) in &read {
                if let Some(known) = self.seen.get(offset).filter(|known| **known != (text.clone(), *time)) {
                    return Err(format!("tag {name} shows {text} at {offset}, where {known:?} was read"));
                }
            }
            (tag.told, tag.shows) = (Some(about), Some(read));
            if restarted {
                tag.open = 0;
            }
        }
        match seen.into_keys().next() {
            Some(name) => Err(format!("there is a tag {name}, which nobody has set")),
            None => Ok(()),
        }
    }

    /// A fork of the topic at an offset, as far as is known: it has what is stored before it, under its offsets, and no
    /// writer's state. A fork of the past may have records that the topic has dropped since.
    fn fork(&self, name: TopicName, cut: u64, past: bool) -> Self {
        let fresh = Producer { epoch: 0, seq: 0, pending: None, stored: Vec::new() };
        let mut fork = Self {
            name,
            exists: Known::Maybe,
            id: None,
            epoch: 0,
            link: None,
            closed: Known::No,
            committed: cut,
            producers: vec![fresh; self.producers.len()],
            tags: BTreeMap::new(),
            quarantine: None,
            ..self.clone()
        };
        drop(fork.seen.split_off(&cut));
        if past {
            fork.earliest = 0;
        }
        // What the source was cut at itself is not there where that lies behind.
        fork.cuts.retain(|before| *before < cut);
        fork.cuts.push(cut);
        fork.earliest = fork.earliest.min(cut);
        fork.earliest_asked = fork.earliest_asked.min(cut);
        for (number, batch) in fork.batches.iter_mut().enumerate() {
            batch.aside = None;
            (batch.close, batch.writer, batch.attempts, batch.not_before) = (false, Writer::Plain, 1, 0);
            batch.fate = match batch.fate {
                Fate::Stored { first, .. } if first < cut => {
                    cut_short(&mut fork.sent, number, batch, cut - first);
                    Fate::Stored { first, sure: true }
                }
                Fate::Stored { .. } | Fate::Refused => Fate::Refused,
                Fate::InFlight | Fate::Unknown | Fate::Gone { .. } => Fate::Unknown,
            };
        }
        fork
    }
}

/// Of a batch only the first `kept` records are there.
pub fn cut_short(sent: &mut HashMap<u64, (usize, usize)>, number: usize, batch: &mut Batch, kept: u64) {
    let kept = usize::try_from(kept).unwrap_or(usize::MAX).min(batch.records.len());
    if kept < batch.records.len() {
        batch.records.truncate(kept);
        sent.retain(|_, (of, place)| *of != number || *place < kept);
    }
}

impl World {
    /// Names the newest version of a topic, sometimes while others write; sometimes the process ends in the midst of it.
    pub fn tag(&mut self) -> Result<(), String> {
        let Some(at) = self.a_topic() else { return Ok(()) };
        let Self { slots, random, serials, .. } = self;
        let Some(topic) = slots[at].topic.as_mut() else { return Ok(()) };
        let name = TagName::parse(&format!("tag{}", random.below(TAGS))).map_err(|error| error.to_string())?;
        let mut ops = vec![topic.a_tag(name)];
        if random.coin() {
            ops.extend(topic.next_append(serials, random));
        }
        self.ask_and_perhaps_end(ops)
    }

    /// Makes a topic that begins as another one.
    pub fn fork(&mut self) -> Result<(), String> {
        let free: Vec<usize> = (0..NAMES).filter(|at| self.slots[*at].topic.is_none()).collect();
        let (Some(from), false) = (self.a_topic(), free.is_empty()) else { return self.tag() };
        let to = free[self.random.below(free.len())];
        let name = self.slots[to].name.clone();
        let Some(source) = self.slots[from].topic.as_ref() else { return Ok(()) };
        let tag =
            source.tags.iter().find_map(|(tag, known)| Some((tag.clone(), known.told?.2)).filter(|_| known.open == 0));
        let (at, cut, past) = match (self.random.below(3), tag) {
            (0 | 1, Some((tag, next))) => (ForkAt::Tag(tag), next, true),
            // What is known to be there to stay, and nothing that may be dropped meanwhile.
            (_, _) if source.committed > source.earliest_asked => {
                let range = usize::try_from(source.committed - source.earliest_asked).unwrap_or(usize::MAX);
                let cut = source.committed - self.random.below(range) as u64;
                (ForkAt::Offset(persisting::model::Offset::new(cut).unwrap_or_default()), cut, false)
            }
            _ => return self.flush_all(),
        };
        let fork = source.fork(name.clone(), cut, past);
        let op = Op::Fork(source.name.clone(), name, at);
        self.slots[to].topic = Some(fork);
        self.ask_and_perhaps_end(vec![op])
    }

    fn ask_and_perhaps_end(&mut self, ops: Vec<Op>) -> Result<(), String> {
        let looks = self.random.chance(0.3).then(|| self.random.below(60));
        self.ask(ops, looks)?;
        // What nobody waits for goes on: only the end of the process settles it.
        let ends = looks.is_some() || self.random.chance(0.3);
        if self.has_crashed() || !ends {
            return Ok(());
        }
        let end = if self.random.chance(0.7) { End::PowerLoss } else { End::Kill };
        self.restart(end)
    }
}
