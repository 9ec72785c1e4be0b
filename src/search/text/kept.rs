//! What is kept of records that match until the statistics of all texts are known.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::analysis::Bound;
use super::bm25::Scale;
use super::count::Counted;
use crate::search::top::{Ranked, Top};

/// The memory for it, which all readings of one search share. Where it does not suffice nothing is kept, and texts are read a
/// second time.
#[derive(Debug)]
pub(in crate::search) struct Room {
    bytes_max: usize,
    used: AtomicUsize,
}

impl Room {
    pub(in crate::search) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: AtomicUsize::new(0) }
    }

    fn take(&self, bytes: usize) -> bool {
        !self.is_over() && self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bytes_max
    }

    /// Whether it did not suffice.
    pub(in crate::search) fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.bytes_max
    }
}

/// Records that match, each with the columns in which it does, one after the other.
#[derive(Debug)]
pub(super) struct Kept {
    room: Arc<Room>,
    rows: Vec<Row>,
    /// As many for each row as there are terms.
    counts: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    offset: u64,
    found: u64,
    column: u32,
    length: u32,
}

impl Kept {
    pub(super) const fn new(room: Arc<Room>) -> Self {
        Self { room, rows: Vec::new(), counts: Vec::new() }
    }

    pub(super) fn push(&mut self, offset: u64, column: usize, counted: &Counted) {
        if self.room.take(size_of::<Row>() + size_of_val(&*counted.counts)) {
            let column = u32::try_from(column).unwrap_or(u32::MAX);
            self.rows.push(Row { offset, found: counted.found, column, length: counted.length });
            self.counts.extend_from_slice(&counted.counts);
        } else {
            (self.rows, self.counts) = (Vec::new(), Vec::new());
        }
    }

    /// Ranks them, each by its best column.
    pub(super) fn rank(&self, bound: &Bound, scales: &[Scale], best: &mut Top) {
        let mut last: Option<Ranked> = None;
        for (row, counts) in self.rows.iter().zip(self.counts.chunks_exact(bound.terms.len().max(1))) {
            let scale = usize::try_from(row.column).ok().and_then(|column| scales.get(column));
            let Some(scale) = scale else { continue };
            let ranked = Ranked::new(-bound.score(scale, row.length, counts, row.found), row.offset);
            match &mut last {
                Some(last) if last.offset == ranked.offset => *last = (*last).min(ranked),
                last => {
                    if let Some(whole) = last.replace(ranked) {
                        best.push(whole);
                    }
                }
            }
        }
        if let Some(whole) = last {
            best.push(whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_several_places_has_one_bound_together() {
        let counted = Counted { length: 1, counts: vec![1; 4], found: 1 };
        let of_one = size_of::<Row>() + 16;
        let room = Arc::new(Room::new(of_one * 3));
        let (mut one, mut other) = (Kept::new(Arc::clone(&room)), Kept::new(Arc::clone(&room)));
        one.push(0, 0, &counted);
        one.push(0, 1, &counted);
        other.push(9, 0, &counted);
        assert!(!room.is_over() && one.rows.len() + other.rows.len() == 3);
        other.push(10, 0, &counted);
        assert!(room.is_over() && other.rows.capacity() + other.counts.capacity() == 0);
        one.push(1, 0, &counted);
        assert_eq!(one.rows.capacity() + one.counts.capacity(), 0);
    }
}
