//! The best so many of a stream of records.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A record with what it is ranked by: less is better, and of equals the older record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    pub(super) key: f32,
    pub(super) offset: u64,
}

impl Ranked {
    /// `−0` counts as `0`: both print alike.
    pub(super) fn new(key: f32, offset: u64) -> Self {
        Self { key: key + 0.0, offset }
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.total_cmp(&other.key).then(self.offset.cmp(&other.offset))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The best `k` of what it was given, in whatever order that came.
#[derive(Clone, Debug)]
pub(super) struct Top {
    k: usize,
    heap: BinaryHeap<Ranked>,
}

impl Top {
    pub(super) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Considers a record. What is no finite number ranks nowhere: it is past what can be measured, in whichever direction.
    pub(super) fn push(&mut self, record: Ranked) {
        if !record.key.is_finite() {
            return;
        }
        if self.heap.len() < self.k {
            self.heap.push(record);
        } else if self.heap.peek().is_some_and(|worst| record < *worst) {
            self.heap.pop();
            self.heap.push(record);
        }
    }

    /// Considers all that others have found.
    pub(super) fn merge(&mut self, others: impl IntoIterator<Item = Ranked>) {
        others.into_iter().for_each(|record| self.push(record));
    }

    /// Best first.
    pub(super) fn into_ranking(self) -> Vec<Ranked> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(k: usize, keys: &[(f32, u64)]) -> Vec<u64> {
        let mut top = Top::new(k);
        top.merge(keys.iter().map(|(key, offset)| Ranked::new(*key, *offset)));
        top.into_ranking().into_iter().map(|ranked| ranked.offset).collect()
    }

    #[test]
    fn the_best_are_kept_in_order_and_equals_by_offset_whatever_order_they_come_in() {
        let records = [
            (0.5, 4),
            (0.0, 9),
            (-0.0, 2),
            (0.5, 1),
            (f32::NAN, 0),
            (f32::INFINITY, 7),
            (-1.0, 8),
            (0.5, 3),
            (f32::NEG_INFINITY, 5),
        ];
        let sorted = [8, 2, 9, 1, 3, 4];
        for turn in 0..records.len() {
            let mut records = records;
            records.rotate_left(turn);
            for k in 0..=records.len() {
                assert_eq!(ranking(k, &records), sorted[..k.min(sorted.len())], "{k} of {records:?}");
            }
        }
    }
}
