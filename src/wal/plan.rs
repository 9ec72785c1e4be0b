//! What to do about a log that grows: pure rules.

use std::collections::{HashMap, HashSet};

use super::SegmentSummary;
use crate::model::{Offset, TopicId};

/// The next step that brings the log back to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Release the segments up to this one: nothing in them is needed any more.
    Release {
        /// The newest of them.
        through: u64,
    },
    /// Relocate what is wanted of this segment, the oldest; then it can be released.
    Relocate {
        /// The segment's number.
        segment: u64,
    },
    /// Commit these topics, the one that holds the oldest entries first.
    Flush(Vec<TopicId>),
    /// Nothing: the log is within its target, or only topics that cannot flush hold it.
    Nothing,
}

/// What a topic keeps a sealed segment for.
#[derive(Clone, Copy)]
struct Hold {
    topic: TopicId,
    bytes: u64,
}

/// Plans the next step, oldest log position first.
///
/// `is_needed` tells whether anything of a topic's entries up to an offset is needed: nothing of a topic that is unknown or
/// deleted, else what is not durable elsewhere; `stuck` tells whether a topic cannot flush. Above `target_bytes`, topics with
/// `leftover_bytes_max` bytes or more in the log are asked to flush; smaller leftovers and stuck topics are relocated, but
/// only as long as that frees at least as much as it copies: a log that is full of leftovers is flushed, largest first.
pub fn plan(
    segments: &[SegmentSummary],
    is_needed: &dyn Fn(TopicId, Offset) -> bool,
    stuck: &dyn Fn(TopicId) -> bool,
    target_bytes: u64,
    leftover_bytes_max: u64,
) -> Plan {
    let Some((_, sealed)) = segments.split_last() else { return Plan::Nothing };
    let holds: Vec<Vec<Hold>> = sealed.iter().map(|segment| holds_of(segment, is_needed)).collect();
    let free = holds.iter().take_while(|holds| holds.is_empty()).count();
    if let Some(last) = sealed.get(..free).and_then(<[_]>::last) {
        return Plan::Release { through: last.segment };
    }
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let (Some(oldest), Some(oldest_holds)) = (sealed.first(), holds.first()) else { return Plan::Nothing };
    if total <= target_bytes {
        return Plan::Nothing;
    }
    let mut needed: HashMap<TopicId, u64> = HashMap::new();
    for segment in segments {
        for hold in holds_of(segment, is_needed) {
            *needed.entry(hold.topic).or_default() += hold.bytes;
        }
    }
    let is_large = |topic: TopicId| needed.get(&topic).copied().unwrap_or_default() >= leftover_bytes_max;
    let flushable = |hold: &&Hold| !stuck(hold.topic) && is_large(hold.topic);
    if !oldest_holds.iter().any(|hold| flushable(&hold)) && frees_more_than_it_copies(oldest, sealed, &holds) {
        return Plan::Relocate { segment: oldest.segment };
    }
    let large = distinct(holds.iter().flatten().filter(flushable).map(|hold| hold.topic));
    if !large.is_empty() {
        return Plan::Flush(large);
    }
    let mut leftovers = distinct(holds.iter().flatten().map(|hold| hold.topic).filter(|topic| !stuck(*topic)));
    // A stable sort: of equally large ones the oldest first. Half of them by number is enough of a step.
    leftovers.sort_by_key(|topic| std::cmp::Reverse(needed.get(topic).copied().unwrap_or_default()));
    leftovers.truncate(leftovers.len().div_ceil(2));
    if leftovers.is_empty() { Plan::Nothing } else { Plan::Flush(leftovers) }
}

/// What a segment is held for.
fn holds_of(segment: &SegmentSummary, is_needed: &dyn Fn(TopicId, Offset) -> bool) -> Vec<Hold> {
    let held = segment.topics.iter().filter(|(topic, next, _)| is_needed(*topic, *next));
    held.map(|(topic, _, bytes)| Hold { topic: *topic, bytes: *bytes }).collect()
}

/// Whether relocating is worth it: in the oldest segment alone, or over one round through all sealed ones. Without this a
/// log that is full of leftovers would be copied round and round.
fn frees_more_than_it_copies(oldest: &SegmentSummary, sealed: &[SegmentSummary], holds: &[Vec<Hold>]) -> bool {
    let copied = |holds: &[Hold]| holds.iter().map(|hold| hold.bytes).sum::<u64>();
    let in_oldest = holds.first().map_or(0, |holds| copied(holds));
    let in_all: u64 = holds.iter().map(|holds| copied(holds)).sum();
    let bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
    in_oldest <= oldest.bytes / 2 || in_all <= bytes / 2
}

/// Topics in the order in which they first come.
fn distinct(topics: impl Iterator<Item = TopicId>) -> Vec<TopicId> {
    let mut seen = HashSet::new();
    topics.filter(|topic| seen.insert(*topic)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn topic(number: u8) -> TopicId {
        TopicId::from_bytes([number; 16])
    }

    fn segment(segment: u64, topics: &[(u8, u64, u64)]) -> SegmentSummary {
        let topics = topics.iter().map(|(number, next, bytes)| (topic(*number), Offset::new(*next).unwrap(), *bytes));
        SegmentSummary { segment, base: 0, bytes: 64 * MIB, topics: topics.collect() }
    }

    /// Plans with a target of two segments, where topic `n` is committed up to `committed[n]`.
    fn step(segments: &[SegmentSummary], committed: &[u64], stuck: &[u8]) -> Plan {
        let committed = |id: TopicId, next: Offset| {
            committed.get(usize::from(id.to_bytes()[0])).is_some_and(|committed| *committed < next.get())
        };
        let stuck = |id: TopicId| stuck.contains(&id.to_bytes()[0]);
        plan(segments, &committed, &stuck, 2 * 64 * MIB, MIB)
    }

    #[test]
    fn an_empty_log_and_one_within_its_target_need_nothing() {
        assert_eq!(step(&[], &[], &[]), Plan::Nothing);
        let segments = [segment(1, &[(0, 10, 60 * MIB)]), segment(2, &[(0, 20, 60 * MIB)])];
        assert_eq!(step(&segments, &[0], &[]), Plan::Nothing);
    }

    #[test]
    fn what_nobody_needs_is_released_even_below_the_target_but_never_the_head() {
        let segments = [segment(1, &[(0, 10, MIB)]), segment(2, &[(0, 20, MIB)]), segment(3, &[(0, 30, MIB)])];
        assert_eq!(step(&segments, &[10], &[]), Plan::Release { through: 1 });
        assert_eq!(step(&segments, &[30], &[]), Plan::Release { through: 2 });
        assert_eq!(step(&segments[2..], &[30], &[]), Plan::Nothing);
    }

    #[test]
    fn a_topic_that_is_gone_holds_nothing() {
        let segments = [segment(1, &[(7, 10, MIB)]), segment(2, &[])];
        assert_eq!(step(&segments, &[], &[]), Plan::Release { through: 1 });
    }

    #[test]
    fn a_held_segment_keeps_the_younger_ones() {
        let segments = [segment(1, &[(0, 10, MIB)]), segment(2, &[(1, 10, MIB)]), segment(3, &[])];
        assert_eq!(step(&segments[..2], &[9, 10], &[]), Plan::Nothing);
    }

    #[test]
    fn past_the_target_large_holders_are_flushed_oldest_first() {
        let segments = [
            segment(1, &[(0, 10, 60 * MIB), (2, 1, 100)]),
            segment(2, &[(1, 10, 60 * MIB), (0, 20, MIB)]),
            segment(3, &[]),
        ];
        assert_eq!(step(&segments, &[0, 0, 0], &[]), Plan::Flush(vec![topic(0), topic(1)]));
    }

    #[test]
    fn leftovers_and_stuck_topics_are_relocated() {
        let segments = [
            segment(1, &[(0, 10, 1_000), (1, 10, 30 * MIB), (2, 5, 20 * MIB)]),
            segment(2, &[(2, 10, 60 * MIB)]),
            segment(3, &[]),
        ];
        assert_eq!(step(&segments, &[0, 0, 5], &[1]), Plan::Relocate { segment: 1 });
    }

    #[test]
    fn a_small_part_of_a_topic_that_has_much_elsewhere_is_no_leftover() {
        let segments = [segment(1, &[(0, 10, 1_000)]), segment(2, &[(0, 20, 60 * MIB)]), segment(3, &[])];
        assert_eq!(step(&segments, &[0], &[]), Plan::Flush(vec![topic(0)]));
    }

    #[test]
    fn a_log_full_of_leftovers_is_flushed_not_copied_round_and_round() {
        let full: Vec<(u8, u64, u64)> = (0..100).map(|number| (number, 10, MIB / 3)).collect();
        let mut segments = [segment(1, &full), segment(2, &full), segment(3, &[])];
        for segment in &mut segments {
            segment.bytes = 50 * MIB;
        }
        let Plan::Flush(topics) = plan(&segments, &|_, next| next > Offset::ZERO, &|_| false, 100 * MIB, MIB) else {
            panic!("leftovers were not flushed")
        };
        assert_eq!(topics.len(), 50);
    }

    #[test]
    fn a_stuck_topic_that_fills_the_log_does_not_keep_others_from_flushing() {
        let stuck = segment(1, &[(0, 10, 60 * MIB)]);
        let segments = [stuck.clone(), segment(2, &[(1, 10, 60 * MIB)]), segment(3, &[])];
        assert_eq!(step(&segments, &[0, 0], &[0]), Plan::Flush(vec![topic(1)]));
        // What is left then is half of the log, and moving it once frees the other half.
        assert_eq!(step(&segments, &[0, 10], &[0]), Plan::Relocate { segment: 1 });
        let segments = [stuck.clone(), SegmentSummary { segment: 2, ..stuck }, segment(3, &[])];
        assert_eq!(step(&segments, &[0], &[0]), Plan::Nothing);
    }
}
