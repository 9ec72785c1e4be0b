//! Which fragments are to become one: pure rules.
//!
//! Fragments are merged in tiers of size, as segments of a log-structured merge tree are, but only neighbours, because
//! their order is the order of offsets (Lucene's `LogUpkeepPolicy` merges so). A row is rewritten once or a few times for
//! each tier that it climbs, whatever the topic's length; a fragment that is large enough is never merged again.

use std::ops::Range;
use std::time::Duration;

use crate::model::Offset;
use crate::table::lance::offsets::{Layout, Placed};

/// When fragments are merged, and what old versions may hold.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepPolicy {
    /// Fragments below this size are of the lowest tier.
    pub tiny_bytes: u64,
    /// How many of the lowest tier at the end are merged. More than versions are kept, so that what merging replaces is
    /// gone before the next merge.
    pub tiny_count: usize,
    /// How many of any other tier at the end are merged.
    pub count: usize,
    /// A fragment from this size on is left as it is.
    pub whole_bytes: u64,
    /// What one merge reads, at most, where more than two fragments would be merged.
    pub merge_bytes: u64,
    /// What older versions may hold beyond the newest, as long as that holds less itself. Past it those go first that have rows
    /// which were dropped since, the oldest before the others: else these would stay for as long as a topic is quiet.
    pub history_bytes: u64,
    /// How long nothing has to come before indexes take what is less than they wait for otherwise.
    pub index_idle: Duration,
}

impl UpkeepPolicy {
    /// What holds unless it is said otherwise.
    pub const USUAL: Self = Self {
        tiny_bytes: 64 << 10,
        tiny_count: 24,
        count: 4,
        whole_bytes: 128 << 20,
        merge_bytes: 256 << 20,
        history_bytes: 16 << 20,
        index_idle: Duration::from_secs(2),
    };
}

impl Default for UpkeepPolicy {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Each tier begins at this many times the size at which the one below begins.
const TIER_RATIO: u64 = 8;

/// What one merge makes rows of, at most: a fragment's rows are counted in 32 bits.
const MERGE_ROWS: u64 = 1 << 30;

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeal {
    /// What has piled up.
    Due,
    /// All that can be merged of what lies before an offset: what comes meanwhile waits until it is due.
    All(Offset),
}

/// Neighbours to be made one, by their place in the layout.
pub(super) type Run = Range<usize>;

impl UpkeepPolicy {
    fn tier(&self, placed: Placed) -> u32 {
        let (mut tier, mut from) = (0, self.tiny_bytes.max(1));
        while placed.bytes >= from {
            tier += 1;
            from = from.saturating_mul(TIER_RATIO);
        }
        tier
    }

    fn limit(&self, tier: u32) -> usize {
        if tier == 0 { self.tiny_count.max(2) } else { self.count.max(2) }
    }

    /// The next run to merge; none where nothing is due. `expired`: records before it are not kept.
    pub(super) fn next_run(&self, layout: &Layout, expired: Offset, zeal: Zeal) -> Option<Run> {
        let fragments = &layout.fragments;
        if let Some(front) = mostly_expired(fragments, expired) {
            return Some(front);
        }
        let mut begin = 0;
        for (place, placed) in fragments.iter().enumerate() {
            if placed.bytes >= self.whole_bytes {
                if let Some(run) = self.shortened(fragments, begin..place) {
                    return Some(run);
                }
                begin = place + 1;
            }
        }
        let end = begin..fragments.len();
        match zeal {
            Zeal::All(until) => {
                let asked = fragments.partition_point(|placed| placed.next <= until);
                self.shortened(fragments, end.start..asked.max(end.start))
            }
            Zeal::Due => {
                let due = self.left_behind(fragments, end.clone()).or_else(|| self.piled_up(fragments, end));
                due.and_then(|run| self.shortened(fragments, run))
            }
        }
    }

    /// Fragments that a larger one follows: no more of their size will come to them.
    fn left_behind(&self, fragments: &[Placed], within: Run) -> Option<Run> {
        let tiers: Vec<u32> = fragments.get(within.clone())?.iter().map(|placed| self.tier(*placed)).collect();
        tiers.iter().enumerate().find_map(|(place, tier)| {
            let smaller = tiers.iter().take(place).rev().take_while(|before| *before < tier).count();
            (smaller >= 2).then(|| within.start + place - smaller..within.start + place)
        })
    }

    /// The end of the topic from where enough fragments of one size, and smaller ones, have piled up; the longest such.
    fn piled_up(&self, fragments: &[Placed], within: Run) -> Option<Run> {
        let tiers: Vec<u32> = fragments.get(within.clone())?.iter().map(|placed| self.tier(*placed)).collect();
        let highest = tiers.iter().copied().max()?;
        (0..=highest).rev().find_map(|tier| {
            let begin = tiers.iter().rposition(|other| *other > tier).map_or(0, |larger| larger + 1);
            let of_it = tiers.iter().skip(begin).filter(|other| **other == tier).count();
            (of_it >= self.limit(tier)).then(|| within.start + begin..within.end)
        })
    }

    /// The run, or as much of its beginning as one merge takes; none of fewer than two.
    fn shortened(&self, fragments: &[Placed], run: Run) -> Option<Run> {
        let (mut bytes, mut rows) = (0_u64, 0_u64);
        let parts = fragments.get(run.clone())?;
        let fitting = parts.iter().enumerate().take_while(|(count, placed)| {
            bytes = bytes.saturating_add(placed.bytes);
            rows = rows.saturating_add(placed.rows());
            rows <= MERGE_ROWS && (*count < 2 || bytes <= self.merge_bytes)
        });
        let fitting = fitting.count();
        (fitting >= 2).then(|| run.start..run.start + fitting)
    }
}

/// The first fragment where what has expired of it is more than all that the dataset keeps: rewriting it then costs less
/// than it frees.
fn mostly_expired(fragments: &[Placed], expired: Offset) -> Option<Run> {
    let first = fragments.first().filter(|first| first.first < expired && expired < first.next)?;
    let dead = expired_bytes(*first, expired);
    let all: u64 = fragments.iter().map(|placed| placed.bytes).sum();
    (dead > all.saturating_sub(dead)).then_some(0..1)
}

/// About how many bytes of a fragment belong to records before an offset.
pub(super) fn expired_bytes(placed: Placed, expired: Offset) -> u64 {
    let rows = expired.min(placed.next).since(placed.first.min(expired));
    let share = u128::from(placed.bytes) * u128::from(rows) / u128::from(placed.rows().max(1));
    u64::try_from(share).unwrap_or(placed.bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::clean::VERSIONS_KEPT;
    use super::*;

    const POLICY: UpkeepPolicy = UpkeepPolicy::USUAL;

    /// A row is so many bytes.
    const ROW: u64 = 1 << 10;

    fn layout(sizes: &[u64]) -> Layout {
        let mut first = Offset::ZERO;
        let fragments = sizes.iter().enumerate().map(|(id, bytes)| {
            let next = first.after(bytes.div_ceil(ROW)).unwrap();
            let placed = Placed { id: id as u64, first, next, bytes: *bytes };
            first = next;
            placed
        });
        let fragments: Vec<_> = fragments.collect();
        Layout { base: Offset::ZERO, next: first, fragments }
    }

    fn run(sizes: &[u64], zeal: Zeal) -> Option<Run> {
        POLICY.next_run(&layout(sizes), Offset::ZERO, zeal)
    }

    /// Appends fragments of these sizes, merging what is due after each: the sizes then, bytes appended, bytes rewritten.
    fn grown(appended: impl IntoIterator<Item = u64>) -> (Vec<u64>, u64, u64, usize) {
        let (mut sizes, mut bytes, mut rewritten, mut most) = (Vec::new(), 0, 0, 0);
        for size in appended {
            sizes.push(size);
            bytes += size;
            while let Some(run) = run(&sizes, Zeal::Due) {
                let merged: u64 = sizes[run.clone()].iter().sum();
                rewritten += merged;
                sizes.splice(run, [merged]);
            }
            most = most.max(sizes.len());
        }
        (sizes, bytes, rewritten, most)
    }

    #[test]
    fn many_small_commits_stay_few_fragments_and_each_row_is_rewritten_a_few_times() {
        let (sizes, bytes, rewritten, most) = grown(std::iter::repeat_n(5 << 10, 20_000));
        assert!(most <= 40, "{most} fragments: {sizes:?}");
        assert!(rewritten <= 6 * bytes, "{rewritten} of {bytes}");
    }

    #[test]
    fn what_is_large_enough_is_left_alone_and_what_lies_between_is_merged_once() {
        let whole = POLICY.whole_bytes;
        assert_eq!(run(&[whole, whole, whole], Zeal::All(Offset::MAX)), None);
        assert_eq!(run(&[whole, 1 << 20, 1 << 10, whole, 1], Zeal::Due), Some(1..3));
        assert_eq!(run(&[whole, 1 << 20, whole, 1], Zeal::Due), None);
    }

    #[test]
    fn asked_for_all_it_merges_any_two_neighbours_but_no_more_than_one_merge_takes() {
        assert_eq!(run(&[1, 1], Zeal::Due), None);
        assert_eq!(run(&[1, 1], Zeal::All(Offset::MAX)), Some(0..2));
        assert_eq!(run(&[1], Zeal::All(Offset::MAX)), None);
        let large = 100 << 20;
        assert_eq!(run(&[large, large, large], Zeal::All(Offset::MAX)), Some(0..2));
    }

    #[test]
    fn a_fragment_is_rewritten_when_more_of_it_has_expired_than_the_dataset_keeps() {
        let layout = layout(&[100 * ROW, 10 * ROW]);
        let at = |offset| POLICY.next_run(&layout, Offset::new(offset).unwrap(), Zeal::Due);
        assert_eq!(at(55), None);
        assert_eq!(at(56), Some(0..1));
        assert_eq!(at(100), None, "it is dropped whole");
    }

    proptest! {
        // Twenty versions are kept whatever they hold, if they have no other rows than the newest.
        #[test]
        fn what_merges_have_replaced_in_twenty_versions_is_a_few_times_what_there_is(sizes in prop::collection::vec(
            prop_oneof![4 => 1_u64..(64 << 10), 2 => (64_u64 << 10)..(4 << 20), 1 => (4_u64 << 20)..(200 << 20)], 1..400,
        )) {
            let (mut live, mut replaced) = (Vec::new(), VecDeque::new());
            for size in sizes {
                live.push(size);
                replaced.push_back(0);
                while let Some(run) = run(&live, Zeal::Due) {
                    let merged: u64 = live[run.clone()].iter().sum();
                    live.splice(run, [merged]);
                    replaced.push_back(merged);
                    let older = replaced.iter().rev().take(VERSIONS_KEPT - 1).sum::<u64>();
                    prop_assert!(older <= 3 * live.iter().sum::<u64>(), "{older} beside {live:?}");
                }
            }
        }

        #[test]
        fn fragments_stay_few_whatever_the_sizes(sizes in prop::collection::vec(
            prop_oneof![4 => 1_u64..(64 << 10), 2 => (64_u64 << 10)..(4 << 20), 1 => (4_u64 << 20)..(200 << 20)], 1..400,
        )) {
            let (left, bytes, rewritten, _) = grown(sizes);
            let whole = left.iter().filter(|size| **size >= POLICY.whole_bytes).count();
            prop_assert!(left.len() <= 48 + 2 * whole, "{left:?}");
            prop_assert!(rewritten <= 10 * bytes, "{rewritten} of {bytes}");
            prop_assert_eq!(left.iter().sum::<u64>(), bytes);
        }
    }
}
