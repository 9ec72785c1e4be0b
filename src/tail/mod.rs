//! The recent chunks of a topic in memory, and the one value that its waiting readers watch.
//!
//! Readers *pull* by offset: there is no queue for each subscriber, so a slow reader costs nothing and loses nothing.

mod budget;
#[cfg(test)]
mod budget_tests;
mod levels;
mod recent;
mod rounds;

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::codec::Chunk;
use crate::model::{Offset, Timestamp};

pub(crate) use budget::Waiting;
pub use budget::{Budget, BudgetFull, Reservation};
pub use levels::{Ending, Levels, LevelsWatch};
pub(crate) use recent::Recent;

/// Chunks that are taken for a commit under one hold of the lock.
const FRONT_AT_ONCE: usize = 1_024;

/// The recent chunks of one topic: dense, in offset order, immutable.
#[derive(Debug, Default)]
pub struct Tail {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Held>,
    records: u64,
    bytes: u64,
    /// Bytes of text alone.
    text: u64,
}

#[derive(Debug)]
struct Held {
    chunk: Chunk,
    /// When the chunk came in, for flushes by age.
    since: Timestamp,
    /// Gives the memory back when the chunk leaves.
    reservation: Reservation,
}

/// What a tail holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailSize {
    /// Records.
    pub records: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Bytes of the records' text.
    pub text: u64,
    /// When the oldest chunk came in; none where it is empty.
    pub oldest: Option<Timestamp>,
}

impl Tail {
    /// Adds a chunk at the end.
    ///
    /// # Errors
    /// The offset that should have come, where the chunk does not follow the last one: nothing is added then.
    pub fn push(&self, chunk: Chunk, reservation: Reservation) -> Result<(), Offset> {
        let mut inner = self.inner.lock();
        if let Some(last) = inner.chunks.back()
            && last.chunk.next() != chunk.first()
        {
            return Err(last.chunk.next());
        }
        inner.records += chunk.len() as u64;
        inner.bytes += reservation.bytes();
        inner.text += chunk.values().bytes() as u64;
        let since = chunk.last_time();
        inner.chunks.push_back(Held { chunk, since, reservation });
        Ok(())
    }

    /// Where the tail begins; none where it is empty.
    pub fn first(&self) -> Option<Offset> {
        self.inner.lock().chunks.front().map(|held| held.chunk.first())
    }

    /// Where it ends; none where it is empty.
    pub(crate) fn next(&self) -> Option<Offset> {
        self.inner.lock().chunks.back().map(|held| held.chunk.next())
    }

    /// When the last record before an offset came; none where it is not here.
    pub(crate) fn time_before(&self, next: Offset) -> Option<Timestamp> {
        let inner = self.inner.lock();
        let at = inner.chunks.partition_point(|held| held.chunk.next() < next);
        let chunk = inner.chunks.get(at).map(|held| &held.chunk).filter(|chunk| chunk.first() < next)?;
        usize::try_from(next.since(chunk.first()))
            .ok()
            .and_then(|past| past.checked_sub(1))
            .map(|last| chunk.time(last))
    }

    /// What the tail holds.
    pub fn size(&self) -> TailSize {
        let inner = self.inner.lock();
        let oldest = inner.chunks.front().map(|held| held.since);
        TailSize { records: inner.records, bytes: inner.bytes, text: inner.text, oldest }
    }

    /// The chunks from `from` on and before `until`, at most `records` records and about `bytes` bytes of text, but at
    /// least one record. None where `from` lies before what the tail holds: it is to be read from the table then.
    pub fn read(&self, from: Offset, until: Offset, records: usize, bytes: usize) -> Option<Vec<Chunk>> {
        let inner = self.inner.lock();
        let first = inner.chunks.front()?.chunk.first();
        if from < first {
            return None;
        }
        let begin = inner.chunks.partition_point(|held| held.chunk.next() <= from);
        let mut found = Vec::new();
        let (mut records_left, mut bytes_left) = (records, bytes);
        for held in inner.chunks.range(begin..) {
            if records_left == 0 || held.chunk.first() >= until || (bytes_left == 0 && !found.is_empty()) {
                break;
            }
            let span = usize::try_from(until.since(held.chunk.first().max(from))).unwrap_or(usize::MAX);
            let mut part = held.chunk.from_offset(from.max(held.chunk.first()), records_left.min(span));
            if part.values().bytes() > bytes_left {
                part = cut_at_bytes(&part, bytes_left, found.is_empty());
                bytes_left = 0;
            } else {
                bytes_left -= part.values().bytes();
            }
            records_left -= part.len();
            if part.is_empty() {
                break;
            }
            found.push(part);
        }
        Some(found)
    }

    /// The first offset whose record came at or after `time`; none where the first record held did already (an earlier one
    /// may have as well) and where the tail is empty.
    pub fn seek_time(&self, time: Timestamp) -> Option<Offset> {
        let inner = self.inner.lock();
        if inner.chunks.front()?.chunk.time(0) >= time {
            return None;
        }
        let at = inner.chunks.partition_point(|held| held.chunk.last_time() < time);
        match inner.chunks.get(at) {
            None => inner.chunks.back().map(|held| held.chunk.next()),
            Some(held) => {
                let within = (0..held.chunk.len()).find(|index| held.chunk.time(*index) >= time).unwrap_or_default();
                Some(held.chunk.first().saturating_after(within as u64))
            }
        }
    }

    /// Whole chunks from the front and before `until`, at most about `bytes` of text but at least one chunk.
    pub fn front(&self, until: Offset, bytes: usize) -> Vec<Chunk> {
        let (mut chunks, mut taken): (Vec<Chunk>, usize) = (Vec::new(), 0);
        loop {
            // Some at a time: those who append wait for the lock.
            let inner = self.inner.lock();
            let from =
                chunks.last().map_or(0, |last| inner.chunks.partition_point(|held| held.chunk.first() < last.next()));
            let before = chunks.len();
            for held in inner.chunks.range(from..).take(FRONT_AT_ONCE) {
                taken += held.chunk.values().bytes();
                if held.chunk.next() > until || (taken > bytes && !chunks.is_empty()) {
                    return chunks;
                }
                chunks.push(held.chunk.clone());
            }
            if chunks.len() - before < FRONT_AT_ONCE {
                return chunks;
            }
        }
    }

    /// Puts other text in the place of what is held, offset by offset; the times are those of what comes. Meanwhile nothing
    /// may be added, and what has left since the text was made stays away.
    pub(crate) fn rewrite(&self, chunks: &[Chunk]) {
        let mut inner = self.inner.lock();
        // The difference alone: what is on its way out is still counted, and is taken off by who lets go of it.
        let (mut bytes, mut text) = (0_i64, 0_i64);
        let size = |held: &Held| (held.reservation.bytes().cast_signed(), held.chunk.values().bytes() as i64);
        for held in &mut inner.chunks {
            let before = size(held);
            let at = chunks.partition_point(|chunk| chunk.next() <= held.chunk.first());
            if let Some(chunk) = chunks.get(at) {
                let chunk = chunk.from_offset(held.chunk.first(), held.chunk.len());
                if chunk.len() == held.chunk.len() {
                    held.chunk = chunk;
                    held.reservation.resize(held.chunk.bytes() as u64);
                }
            }
            let after = size(held);
            (bytes, text) = (bytes + after.0 - before.0, text + after.1 - before.1);
        }
        inner.bytes = inner.bytes.saturating_add_signed(bytes);
        inner.text = inner.text.saturating_add_signed(text);
    }

    /// Bytes of the text of the records before an offset.
    pub fn text_before(&self, before: Offset) -> u64 {
        let held = self.first().and_then(|first| self.read(first, before, usize::MAX, usize::MAX));
        held.unwrap_or_default().iter().map(|chunk| chunk.values().bytes() as u64).sum()
    }

    /// Lets go of everything before `until`; a chunk that reaches over it is cut.
    pub fn evict(&self, until: Offset) {
        drop(self.take_before(until));
    }

    /// The same; the whole chunks that have left, their memory given back.
    pub(crate) fn take_before(&self, until: Offset) -> Vec<Chunk> {
        let mut inner = self.inner.lock();
        let count = inner.chunks.partition_point(|held| held.chunk.next() <= until);
        // Those who append wait for the lock: what goes is parted from the rest at once, and counted when nobody waits.
        let gone = if count > 0 {
            let rest = inner.chunks.split_off(count);
            std::mem::replace(&mut inner.chunks, rest)
        } else {
            VecDeque::new()
        };
        let (mut records, mut bytes, mut text) = (0, 0, 0);
        if let Some(front) = inner.chunks.front_mut()
            && front.chunk.first() < until
        {
            records = until.since(front.chunk.first());
            let left = front.chunk.from_offset(until, usize::MAX);
            text = (front.chunk.values().bytes() - left.values().bytes()) as u64;
            // Text that nobody reads any more is not held for the sake of what is left of it.
            let is_small = left.values().bytes() < front.chunk.values().held_bytes() / 2;
            front.chunk = if is_small { left.compacted() } else { left };
            bytes = front.reservation.shrink_to(front.chunk.bytes() as u64);
        }
        drop(inner);
        records += gone.iter().map(|held| held.chunk.len() as u64).sum::<u64>();
        bytes += gone.iter().map(|held| held.reservation.bytes()).sum::<u64>();
        text += gone.iter().map(|held| held.chunk.values().bytes() as u64).sum::<u64>();
        let mut inner = self.inner.lock();
        inner.records = inner.records.saturating_sub(records);
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.text = inner.text.saturating_sub(text);
        drop(inner);
        gone.into_iter().map(|held| held.chunk).collect()
    }

    /// How many bytes of memory the tail holds.
    pub fn bytes(&self) -> u64 {
        self.inner.lock().bytes
    }

    /// The lowest offset at which no more than `bytes` of memory are held from there on.
    pub fn offset_within_bytes(&self, bytes: u64) -> Option<Offset> {
        let inner = self.inner.lock();
        let mut over = inner.bytes.checked_sub(bytes).filter(|over| *over > 0)?;
        for held in &inner.chunks {
            let size = held.reservation.bytes();
            if size < over {
                over -= size;
                continue;
            }
            // As many of its records as hold at least so much.
            let overhead = held.chunk.bytes().saturating_sub(held.chunk.values().bytes()) / held.chunk.len().max(1);
            let mut gone = 0;
            let records = (0..held.chunk.len())
                .take_while(|index| {
                    let is_needed = gone < over;
                    gone += (held.chunk.value(*index).len() + 1 + overhead) as u64;
                    is_needed
                })
                .count();
            return Some(held.chunk.first().saturating_after(records as u64));
        }
        inner.chunks.back().map(|held| held.chunk.next())
    }
}

fn cut_at_bytes(part: &Chunk, bytes: usize, at_least_one: bool) -> Chunk {
    let mut taken = 0;
    let mut count = 0;
    while count < part.len() {
        taken += part.value(count).len() + 1;
        if taken > bytes {
            break;
        }
        count += 1;
    }
    part.slice(0, count.max(usize::from(at_least_one)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::Values;

    fn chunk(first: u64, count: usize) -> Chunk {
        let text: String = (0..count).map(|i| format!("{{\"i\":{}}}\n", first as usize + i)).collect();
        let values = Values::from_text(Bytes::from(text)).unwrap();
        Chunk::new(Offset::new(first).unwrap(), Timestamp::from_micros(first as i64), values)
    }

    fn offset(n: u64) -> Offset {
        Offset::new(n).unwrap()
    }

    fn tail() -> Tail {
        let tail = Tail::default();
        for (first, count) in [(10, 3), (13, 1), (14, 4)] {
            tail.push(chunk(first, count), Reservation::none()).unwrap();
        }
        tail
    }

    fn offsets(chunks: &[Chunk]) -> Vec<u64> {
        chunks.iter().flat_map(|c| (0..c.len() as u64).map(|i| c.first().get() + i)).collect()
    }

    #[test]
    fn a_chunk_that_leaves_a_hole_is_refused() {
        assert_eq!(tail().push(chunk(19, 1), Reservation::none()), Err(offset(18)));
    }

    #[test]
    fn what_is_on_its_way_out_is_taken_off_once_though_the_rest_is_rewritten() {
        let tail = tail();
        let text = |tail: &Tail| tail.size().text;
        // As by `take_before`, between its two holds of the lock.
        let gone = tail.inner.lock().chunks.pop_front().unwrap();
        let before = text(&tail);
        tail.rewrite(&[chunk(13, 1), chunk(14, 4)]);
        assert_eq!(text(&tail), before);
        assert_eq!(before, gone.chunk.values().bytes() as u64 + tail.text_before(offset(18)));
    }

    #[test]
    fn reads_are_dense_and_bounded() {
        let tail = tail();
        let all = tail.read(offset(11), offset(17), 100, 1 << 20).unwrap();
        assert_eq!(offsets(&all), (11..17).collect::<Vec<_>>());
        assert_eq!(offsets(&tail.read(offset(11), offset(18), 3, 1 << 20).unwrap()), [11, 12, 13]);
        assert_eq!(offsets(&tail.read(offset(11), offset(18), 9, 1).unwrap()), [11]);
        assert_eq!(offsets(&tail.read(offset(11), offset(18), 9, 19).unwrap()), [11, 12]);
        assert!(tail.read(offset(9), offset(18), 9, 9).is_none());
        assert_eq!(tail.read(offset(18), offset(18), 9, 9).unwrap().len(), 0);
    }

    #[test]
    fn eviction_cuts_at_the_offset() {
        let tail = tail();
        tail.evict(offset(15));
        assert_eq!(tail.first(), Some(offset(15)));
        assert_eq!(tail.size().records, 3);
        tail.evict(offset(99));
        assert_eq!(tail.first(), None);
        assert_eq!(tail.size().records, 0);
    }

    #[test]
    fn a_bound_of_bytes_is_kept_to_the_record_and_then_stands() {
        let tail = Tail::default();
        let budget = Budget::new(1 << 20);
        let whole = chunk(0, 1_000);
        let reservation = budget.try_reserve(whole.bytes() as u64).unwrap();
        tail.push(whole, reservation).unwrap();
        let bound = tail.bytes() / 3;
        let cut = tail.offset_within_bytes(bound).unwrap();
        tail.evict(cut);
        assert!(tail.bytes() <= bound && tail.bytes() > bound - 64, "{} of {bound}", tail.bytes());
        assert_eq!(tail.bytes(), budget.used());
        assert_eq!(tail.offset_within_bytes(bound), None);
        assert_eq!(tail.read(cut, offset(1_000), 1, 1).unwrap()[0].value(0), format!("{{\"i\":{cut}}}").as_bytes());
    }

    #[test]
    fn times_are_sought_in_the_tail_only_behind_its_first_record() {
        let tail = tail();
        assert_eq!(tail.seek_time(Timestamp::from_micros(10)), None);
        assert_eq!(tail.seek_time(Timestamp::from_micros(11)), Some(offset(13)));
        assert_eq!(tail.seek_time(Timestamp::from_micros(14)), Some(offset(14)));
        assert_eq!(tail.seek_time(Timestamp::from_micros(15)), Some(offset(18)));
    }
}
