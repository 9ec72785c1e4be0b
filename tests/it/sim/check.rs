//! Whether what is served is what was promised.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{Fate, Known, TopicModel};
use super::ops::Observed;
use super::past::cut_short;
use super::values::{SERIAL, is_same};

/// When the look is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While requests may still be on their way.
    Running,
    /// After an orderly stop that has left nothing behind.
    AfterStop,
    /// After a stop in which something went wrong.
    AfterTrouble,
    /// After a sudden end.
    AfterCrash,
}

impl When {
    fn is_restart(self) -> bool {
        self != When::Running
    }

    fn may_lose(self) -> bool {
        matches!(self, When::AfterTrouble | When::AfterCrash)
    }
}

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub when: When,
    /// Whether it is the first one after the restart.
    pub first: bool,
    /// Whether nothing stored is hidden.
    pub all: bool,
    /// How many appends the log has acknowledged so far.
    pub log_acks: u64,
}

/// Where a batch was found.
struct Found {
    first: u64,
    count: u64,
}

impl TopicModel {
    /// Compares the topic as it is served with what the client knows, and learns from it what was open.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn check(&mut self, mut seen: Observed, look: Look) -> Result<(), String> {
        let before = self.epoch;
        let (tags, aside) = (std::mem::take(&mut seen.tags), seen.aside.take());
        let seen = &seen;
        self.check_identity(seen, if look.first { look.when } else { When::Running })?;
        self.check_earliest(seen)?;
        let found = self.check_records(seen, look.log_acks)?;
        if look.first && look.when.may_lose() && !self.kind.reads_stay() {
            self.forget_what_may_be_lost();
        }
        self.check_bytes(seen)?;
        self.check_tags(tags, look.when.is_restart())?;
        let lost = self.settle(seen, &found, look)?;
        if lost && before == self.epoch {
            return Err(format!("accepted records are gone, and the epoch is still {before}"));
        }
        self.check_aside(aside, look.when)?;
        self.check_closed(seen, look)
    }

    fn check_identity(&mut self, seen: &Observed, when: When) -> Result<(), String> {
        let id = *self.id.get_or_insert(seen.id);
        if id != seen.id {
            return Err(format!("it is topic {} instead of {id}", seen.id));
        }
        if self.epoch == 0 {
            self.epoch = seen.epoch;
            return Ok(());
        }
        let same = self.epoch == seen.epoch;
        let expected = match when {
            When::Running => same,
            _ if self.kind.has_wal() => same,
            When::AfterStop | When::AfterTrouble => true,
            When::AfterCrash => !same,
        };
        if !expected {
            return Err(format!("its epoch was {} and is {} ({when:?})", self.epoch, seen.epoch));
        }
        self.epoch = seen.epoch;
        Ok(())
    }

    fn check_earliest(&mut self, seen: &Observed) -> Result<(), String> {
        // Records that only memory had can be gone although what lay before them was dropped.
        let least = if self.kind.has_wal() { self.earliest } else { self.earliest.min(seen.tail) };
        if seen.earliest < least || seen.earliest > self.earliest_asked {
            let (least, asked) = (self.earliest, self.earliest_asked);
            return Err(format!("its earliest offset is {}, not from {least} to {asked}", seen.earliest));
        }
        self.earliest = seen.earliest;
        Ok(())
    }

    /// Dense, in order, none invented, none twice, each batch whole; where each batch was found.
    fn check_records(&self, seen: &Observed, log_acks: u64) -> Result<BTreeMap<usize, Found>, String> {
        let mut found: BTreeMap<usize, Found> = BTreeMap::new();
        let (mut next, mut time) = (seen.earliest, i64::MIN);
        for (offset, text, at) in &seen.records {
            if *offset != next {
                return Err(format!("offset {offset} comes where {next} was to come"));
            }
            if *at < time {
                return Err(format!("the time of offset {offset} goes back"));
            }
            (next, time) = (next + 1, *at);
            let read: Value =
                serde_json::from_str(text).map_err(|error| format!("offset {offset}: {error}: {text}"))?;
            let serial = read.get(SERIAL).and_then(Value::as_u64).unwrap_or(u64::MAX);
            let Some((number, place)) = self.sent.get(&serial).copied() else {
                return Err(format!("offset {offset} holds record {serial}, which was never sent: {text}"));
            };
            let batch = &self.batches[number];
            if !is_same(&batch.records[place], &read) {
                return Err(format!("offset {offset} holds {text}, but {} was sent", batch.records[place]));
            }
            let first = offset.checked_sub(place as u64).ok_or_else(|| format!("record {serial} is at {offset}"))?;
            let here = found.entry(number).or_insert(Found { first, count: 0 });
            here.count += 1;
            if here.first != first {
                return Err(format!("record {serial} is at {offset}, and its batch also begins at {}", here.first));
            }
            match batch.fate {
                Fate::Refused => return Err(format!("offset {offset} holds record {serial}, which was refused")),
                Fate::Gone { log_acks: then } if !self.kind.has_wal() || then != log_acks => {
                    return Err(format!("offset {offset} holds record {serial}, which an earlier start had not found"));
                }
                Fate::Stored { first: told, .. } if told != first => {
                    return Err(format!("record {serial} is at {offset}, but its batch was acknowledged at {told}"));
                }
                _ if first < batch.not_before => {
                    return Err(format!("record {serial} is at {offset}, before what was acknowledged before it"));
                }
                _ => {}
            }
        }
        if next != seen.tail {
            return Err(format!("the records end at {next}, the tail is {}", seen.tail));
        }
        for (number, here) in &found {
            let length = self.batches[*number].records.len() as u64;
            let kept = self.end_of(here.first, length).saturating_sub(here.first.max(seen.earliest));
            if here.count != kept {
                return Err(format!("the batch at {} has {} of {kept} records", here.first, here.count));
            }
        }
        Ok(found)
    }

    /// What only memory had may be gone, and its offsets given out again.
    fn forget_what_may_be_lost(&mut self) {
        let unsure = self.batches.iter().filter_map(|batch| match batch.fate {
            Fate::Stored { first, sure: false } => Some(first..first + batch.records.len() as u64),
            _ => None,
        });
        for range in unsure.collect::<Vec<_>>() {
            self.seen.retain(|offset, _| !range.contains(offset));
        }
    }

    /// One value, one form, for ever.
    fn check_bytes(&mut self, seen: &Observed) -> Result<(), String> {
        for (offset, text, time) in &seen.records {
            let now = (text.clone(), *time);
            let before = self.seen.entry(*offset).or_insert_with(|| now.clone());
            if *before != now {
                return Err(format!("offset {offset} was {before:?} and is {now:?}"));
            }
        }
        if let Some((offset, (text, _))) = self.seen.range(seen.tail..).next()
            && self.kind.reads_stay()
        {
            return Err(format!("offset {offset} was read as {text}, and the tail is {} now", seen.tail));
        }
        Ok(())
    }

    /// Nothing acknowledged is lost; what was open is known from here on. Whether records that were only accepted are gone.
    fn settle(&mut self, seen: &Observed, found: &BTreeMap<usize, Found>, look: Look) -> Result<bool, String> {
        let Look { when, all, log_acks, .. } = look;
        let restarted = when.is_restart();
        let mut lost = false;
        // Where it lay was not known when the topic was forked.
        for (number, here) in found {
            let end = self.end_of(here.first, self.batches[*number].records.len() as u64);
            cut_short(&mut self.sent, *number, &mut self.batches[*number], end - here.first);
        }
        for (number, batch) in self.batches.iter_mut().enumerate() {
            let length = batch.records.len() as u64;
            if let Some(here) = found.get(&number) {
                let was_sure = matches!(batch.fate, Fate::Stored { sure: true, .. });
                let sure = was_sure || restarted || self.kind.reads_stay();
                batch.fate = Fate::Stored { first: here.first, sure };
                continue;
            }
            match batch.fate {
                Fate::Stored { first, .. } if first + length <= seen.earliest => {}
                Fate::Stored { first, .. } if !all && first >= seen.tail => {}
                Fate::Stored { first, sure: true } => {
                    let last = first + length - 1;
                    return Err(format!("acknowledged records {first} to {last} are lost: {}", batch.records[0]));
                }
                Fate::Stored { first, sure: false } if when == When::AfterStop => {
                    return Err(format!("accepted records from {first} on are lost in an orderly stop"));
                }
                Fate::Stored { sure: false, .. } | Fate::Unknown if restarted && all => {
                    lost |= batch.fate != Fate::Unknown && !self.kind.has_wal();
                    batch.fate = Fate::Gone { log_acks };
                }
                Fate::InFlight | Fate::Refused | Fate::Unknown | Fate::Gone { .. } | Fate::Stored { .. } => {}
            }
        }
        Ok(lost)
    }

    fn check_closed(&mut self, seen: &Observed, look: Look) -> Result<(), String> {
        let by_append = self.batches.iter().any(|batch| batch.close && matches!(batch.fate, Fate::Stored { .. }));
        let restarted = look.when.is_restart();
        match (self.closed, seen.closed) {
            // Readers are told when they can have all of it.
            (_, false) if !look.all => {}
            (Known::Yes, false) => return Err("it was closed, and is open".to_owned()),
            (Known::No, true) => return Err("nobody has closed it, and it is closed".to_owned()),
            (Known::Maybe, false) if by_append && self.kind.has_wal() && restarted => {
                return Err("the records of an append that closes are there, and it is open".to_owned());
            }
            (Known::Maybe, true) => self.closed = Known::Yes,
            (Known::Maybe, false) if restarted => self.closed = Known::No,
            _ => {}
        }
        Ok(())
    }
}
