//! When an index is brought up to date, and which of its segments are made anew with it: pure rules.
//!
//! An index is a few segments, each over fragments of its own. What is not covered gets a segment; smaller and equal segments
//! are made anew together with it, as in a log-structured merge tree, so that segments stay few and each row is indexed a few
//! times only. A segment is always made from rows, never from other segments: what these say of rows that were merged or
//! dropped since is left behind with them.

/// Rows that are not covered wait until they are so many, and one in so many of all, or until nothing has come for a while.
const ROWS_DUE: u64 = 1_000;
const SHARE_DUE: u64 = 10;
/// Segments below this size are made anew with whatever comes: it costs less than to search one more.
const SMALL_ROWS: u64 = 4_096;
/// A segment up to this many times as large as what is made anew is made anew with it.
const RATIO: u64 = 2;
/// How many segments an index has, at most.
pub(super) const SEGMENTS_MAX: usize = 8;

/// What a segment has of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentRows {
    /// Rows that it was made of.
    pub(super) made_of: u64,
    /// Those of them that are where they were.
    pub(super) live: u64,
    /// Whether it stands in for what could not be made of so few rows.
    pub(super) is_makeshift: bool,
}

/// How an index lies over a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Its segments.
    pub(super) segments: Vec<SegmentRows>,
    /// Rows that none of them has.
    pub(super) uncovered: u64,
    /// The most rows of a segment that is not of one fragment, where that is bounded.
    pub(super) rows_max: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// One segment is made of rows that are not covered, all that it can have, and of those of some segments, by their places,
    /// which go.
    Build(Vec<usize>),
    /// Some segments go: they have nothing any more.
    Remove(Vec<usize>),
}

impl Coverage {
    fn rows(&self) -> u64 {
        self.uncovered + self.segments.iter().map(|segment| segment.live).sum::<u64>()
    }

    /// Whether rows wait for being covered.
    pub(super) const fn is_behind(&self) -> bool {
        self.uncovered > 0
    }

    /// What is to be done next; none where nothing is. `idle`: nothing has come for a while.
    pub(super) fn next_task(&self, idle: bool) -> Option<Task> {
        let is_worn = |segment: &SegmentRows| segment.live > 0 && segment.live < segment.made_of.div_ceil(2);
        let is_due = self.uncovered > 0
            && (self.segments.iter().all(|segment| segment.live == 0)
                || idle
                || self.uncovered >= ROWS_DUE.max(self.rows().div_ceil(SHARE_DUE)));
        let worn: Vec<usize> = self.places(is_worn);
        if is_due || !worn.is_empty() || self.segments.len() > self.segments_max() {
            return Some(Task::Build(self.made_anew(worn)));
        }
        let empty = self.places(|segment| segment.live == 0);
        (!empty.is_empty()).then_some(Task::Remove(empty))
    }

    /// How many segments there are, at most. Where they are bounded themselves, no two of so many are too large for one.
    fn segments_max(&self) -> usize {
        let full = self.rows_max.map_or(0, |rows_max| self.rows().div_ceil(rows_max.max(1)));
        SEGMENTS_MAX.saturating_add(usize::try_from(full).unwrap_or(usize::MAX).saturating_mul(2))
    }

    /// How many rows that are not covered have room in a segment beside those of some that go.
    pub(super) fn room_beside(&self, chosen: &[usize]) -> u64 {
        self.rows_max.unwrap_or(u64::MAX).saturating_sub(self.live(chosen))
    }

    /// How many rows some segments have.
    pub(super) fn live(&self, places: &[usize]) -> u64 {
        places.iter().filter_map(|place| self.segments.get(*place)).map(|segment| segment.live).sum()
    }

    fn places(&self, wanted: impl Fn(&SegmentRows) -> bool) -> Vec<usize> {
        let places = self.segments.iter().enumerate().filter(|(_, segment)| wanted(segment));
        places.map(|(place, _)| place).collect()
    }

    /// The segments that go into a new one: those that are worn or empty, and of the others the smallest, as long as they are
    /// no larger than what has come together.
    fn made_anew(&self, worn: Vec<usize>) -> Vec<usize> {
        let mut by_size: Vec<(usize, SegmentRows)> = self.segments.iter().copied().enumerate().collect();
        by_size.sort_by_key(|(_, segment)| segment.live);
        let rows_max = self.rows_max.unwrap_or(u64::MAX);
        let mut chosen: Vec<usize> = Vec::new();
        for place in worn {
            if chosen.is_empty() || self.live(&chosen) + self.live(&[place]) <= rows_max {
                chosen.push(place);
            }
        }
        let mut together = self.live(&chosen) + self.uncovered.min(self.room_beside(&chosen));
        for (place, segment) in by_size {
            if chosen.contains(&place) {
                continue;
            }
            let is_cheap = segment.live <= SMALL_ROWS || segment.live <= together.saturating_mul(RATIO);
            let are_many = self.segments.len() - chosen.len() >= self.segments_max();
            let has_room = segment.live == 0 || together.saturating_add(segment.live) <= rows_max;
            if has_room && (is_cheap || segment.is_makeshift || are_many) {
                together += segment.live;
                chosen.push(place);
            }
        }
        chosen.sort_unstable();
        chosen
    }
}

/// How many fragments of so many rows, from the first one on, have room together: `at_least_one` whatever its size.
pub(super) fn which_fit(rows: impl Iterator<Item = u64>, room: u64, at_least_one: bool) -> usize {
    let sums = rows.scan(0_u64, |sum, rows| {
        *sum = sum.saturating_add(rows);
        Some(*sum)
    });
    sums.enumerate().take_while(|(at, sum)| *sum <= room || (at_least_one && *at == 0)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(live: u64) -> SegmentRows {
        SegmentRows { made_of: live, live, is_makeshift: false }
    }

    fn coverage(segments: &[u64], uncovered: u64) -> Coverage {
        Coverage { segments: segments.iter().map(|live| segment(*live)).collect(), uncovered, rows_max: None }
    }

    #[test]
    fn what_is_new_waits_until_it_is_worth_it_or_nothing_else_comes() {
        assert_eq!(coverage(&[], 0).next_task(true), None);
        assert_eq!(coverage(&[], 1).next_task(false), Some(Task::Build(vec![])));
        assert_eq!(coverage(&[100_000], 9_999).next_task(false), None);
        assert_eq!(coverage(&[100_000], 9_999).next_task(true), Some(Task::Build(vec![])));
        assert_eq!(coverage(&[100_000], 20_000).next_task(false), Some(Task::Build(vec![])));
        assert_eq!(coverage(&[110_000, 30_000, 10], 20_000).next_task(false), Some(Task::Build(vec![1, 2])));
        assert_eq!(coverage(&[5_000], 0).next_task(true), None);
    }

    #[test]
    fn what_is_mostly_gone_is_made_anew_and_what_is_gone_is_removed() {
        let worn = SegmentRows { made_of: 100_000, live: 20_000, is_makeshift: false };
        let mut coverage = coverage(&[100_000, 0], 5);
        assert_eq!(coverage.next_task(false), Some(Task::Remove(vec![1])));
        coverage.segments.push(worn);
        assert_eq!(coverage.next_task(false), Some(Task::Build(vec![1, 2])));
    }

    /// Takes the steps that are due until it comes to rest.
    fn settle(segments: &mut Vec<u64>, fragments: &mut Vec<u64>, rows_max: u64) {
        for _ in 0..1_000 {
            let whole = Coverage { rows_max: Some(rows_max), ..coverage(segments, fragments.iter().sum()) };
            let Some(task) = whole.next_task(false) else { return };
            let Task::Build(gone) = task else { panic!("nothing is gone") };
            let mut sum = whole.live(&gone);
            let taken = which_fit(fragments.iter().copied(), whole.room_beside(&gone), whole.live(&gone) == 0);
            assert!(taken > 0 || !gone.is_empty(), "a step is taken");
            sum += fragments.drain(..taken).sum::<u64>();
            assert!(sum <= rows_max);
            let kept = (0..segments.len()).filter(|place| !gone.contains(place));
            *segments = kept.map(|place| segments[place]).collect();
            segments.push(sum);
        }
        panic!("it does not come to rest: {segments:?} and {fragments:?}");
    }

    proptest! {
        #[test]
        fn segments_that_are_bounded_are_no_more_than_they_must_be(
            batches in prop::collection::vec(1_u64..40_000, 1..300), at_once in 1_usize..20,
        ) {
            const ROWS_MAX: u64 = 100_000;
            let (mut segments, mut fragments) = (Vec::new(), Vec::new());
            for batches in batches.chunks(at_once) {
                fragments.extend(batches);
                settle(&mut segments, &mut fragments, ROWS_MAX);
                let rows: u64 = segments.iter().chain(&fragments).sum();
                let few = SEGMENTS_MAX + 2 * usize::try_from(rows.div_ceil(ROWS_MAX)).unwrap();
                prop_assert!(segments.len() <= few, "{segments:?}");
                prop_assert!(fragments.iter().sum::<u64>() <= 1_000.max(rows / 10 + 1));
            }
        }

        #[test]
        fn segments_stay_few_and_rows_are_indexed_a_few_times(batches in prop::collection::vec(1_u64..40_000, 1..300)) {
            let (mut segments, mut uncovered, mut rows, mut made) = (Vec::<u64>::new(), 0, 0, 0);
            for batch in batches {
                uncovered += batch;
                rows += batch;
                if let Some(task) = coverage(&segments, uncovered).next_task(false) {
                    let Task::Build(gone) = task else { panic!("nothing is gone") };
                    let sum = uncovered + gone.iter().map(|place| segments[*place]).sum::<u64>();
                    let kept = (0..segments.len()).filter(|place| !gone.contains(place));
                    segments = kept.map(|place| segments[place]).collect();
                    segments.push(sum);
                    (made, uncovered) = (made + sum, 0);
                    prop_assert!(coverage(&segments, 0).next_task(true).is_none(), "it comes to rest");
                }
                prop_assert!(segments.len() <= SEGMENTS_MAX, "{segments:?}");
                prop_assert!(uncovered <= 1_000.max(rows / 10 + 1));
            }
            prop_assert!(made <= rows * 12, "{made} of {rows}");
        }
    }
}
