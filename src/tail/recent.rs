//! Committed records that stay in memory where the tail leaves room, for readers close behind it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Budget, Tail};
use crate::codec::Chunk;
use crate::model::Offset;

/// Chunks of less text are joined, up to [`RUN_BYTES`]: a thousand small ones are dear to let go of.
const SMALL_BYTES: usize = 64 << 10;
const RUN_BYTES: usize = 1 << 20;
/// Records stay for so long at most.
pub(crate) const RECENT_FOR: Duration = Duration::from_secs(60);

/// Committed records of many topics in memory: within a limit of their own, and together with what waits for a commit within
/// half of the tail's; a commit takes as much beside. What comes in goes before; the longest there leaves first.
///
/// A topic's records are the chunks of a [`Tail`] of its own, dense up to the last commit.
#[derive(Debug)]
pub(crate) struct Recent {
    /// What waits for a commit.
    tail: Arc<Budget>,
    held: Arc<Budget>,
    runs: Mutex<VecDeque<Run>>,
}

/// Records that came in together and leave together.
#[derive(Debug)]
struct Run {
    of: Weak<Tail>,
    until: Offset,
    since: Instant,
}

impl Recent {
    /// Records in what `tail` leaves free of half of its limit, at most `limit` bytes of them.
    pub(crate) fn new(tail: Arc<Budget>, limit: u64) -> Self {
        Self { tail, held: Budget::new(limit), runs: Mutex::default() }
    }

    /// Bytes of memory that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.held.used()
    }

    /// Keeps chunks of one topic that have been committed, in offset order, as far as there is room.
    pub(crate) fn keep(&self, kept: &Arc<Tail>, chunks: Vec<Chunk>, now: Instant) {
        let bytes = chunks.iter().map(|chunk| chunk.bytes() as u64).sum::<u64>();
        let Some(first) = chunks.first().map(Chunk::first) else { return };
        // They would leave before anybody reads them.
        if bytes > self.held.limit() || self.tail.used().saturating_add(bytes) > self.room() {
            kept.evict(Offset::MAX);
            return;
        }
        if kept.next().is_some_and(|next| next != first) {
            kept.evict(Offset::MAX);
        }
        for run in joined(chunks) {
            let (until, reservation) = (run.next(), self.held.force(run.bytes() as u64));
            if kept.push(run, reservation).is_err() {
                return;
            }
            self.runs.lock().push_back(Run { of: Arc::downgrade(kept), until, since: now });
        }
        self.make_room();
    }

    /// Lets go of as many as are past the limits.
    pub(crate) fn make_room(&self) {
        self.let_go(|_| self.is_over());
    }

    /// Lets go of those that have been there for [`RECENT_FOR`].
    pub(crate) fn expire(&self, now: Instant) {
        self.let_go(|run| now.saturating_duration_since(run.since) >= RECENT_FOR);
    }

    fn is_over(&self) -> bool {
        let held = self.held.used();
        held > 0 && (held > self.held.limit() || held.saturating_add(self.tail.used()) > self.room())
    }

    /// Bytes for them and for what waits for a commit together.
    fn room(&self) -> u64 {
        self.tail.room() / 2
    }

    /// Lets go of the oldest for as long as it says so.
    fn let_go(&self, is_to_go: impl Fn(&Run) -> bool) {
        loop {
            let oldest = {
                let mut runs = self.runs.lock();
                if !runs.front().is_some_and(&is_to_go) {
                    return;
                }
                runs.pop_front()
            };
            if let Some(Run { of, until, .. }) = oldest
                && let Some(kept) = of.upgrade()
            {
                kept.evict(until);
            }
        }
    }
}

/// The same records in fewer chunks.
fn joined(chunks: Vec<Chunk>) -> Vec<Chunk> {
    let (mut runs, mut small, mut bytes) = (Vec::new(), Vec::new(), 0);
    for chunk in chunks {
        let is_small = chunk.values().bytes() < SMALL_BYTES;
        if !small.is_empty() && (!is_small || bytes >= RUN_BYTES) {
            runs.extend(Chunk::joined(std::mem::take(&mut small)));
            bytes = 0;
        }
        if is_small {
            bytes += chunk.values().bytes();
            small.push(chunk);
        } else {
            runs.push(chunk.detached());
        }
    }
    runs.extend(Chunk::joined(small));
    runs
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::Values;
    use crate::model::Timestamp;

    fn offset(n: u64) -> Offset {
        Offset::new(n).unwrap()
    }

    fn chunk(first: u64, count: usize) -> Chunk {
        let text: String = (0..count).map(|i| format!("{{\"i\":{}}}\n", first as usize + i)).collect();
        let values = Values::from_text(Bytes::from(text)).unwrap();
        Chunk::new(offset(first), Timestamp::from_micros(first as i64), values)
    }

    fn read(kept: &Tail, from: u64) -> Vec<u64> {
        let found = kept.read(offset(from), offset(1 << 40), usize::MAX, usize::MAX).unwrap_or_default();
        found.iter().flat_map(|chunk| (0..chunk.len() as u64).map(|i| chunk.first().get() + i)).collect()
    }

    #[test]
    fn small_chunks_become_one_with_their_times() {
        let long = format!("{{\"s\":\"{}\"}}\n", "x".repeat(SMALL_BYTES));
        let long = Chunk::new(offset(5), Timestamp::from_micros(5), Values::from_text(long.into()).unwrap());
        let runs = joined(vec![chunk(0, 2), chunk(2, 1), chunk(3, 2), long, chunk(6, 1)]);
        let spans: Vec<_> = runs.iter().map(|run| (run.first().get(), run.len())).collect();
        assert_eq!(spans, [(0, 5), (5, 1), (6, 1)]);
        let first = runs.first().unwrap();
        let times: Vec<_> = (0..5).map(|at| first.time(at).as_micros()).collect();
        assert_eq!(times, [0, 0, 2, 3, 3]);
        assert_eq!(first.value(2), br#"{"i":2}"#);
        assert_eq!((first.slice(2, 2).time(0).as_micros(), first.slice(2, 2).time(1).as_micros()), (2, 3));
    }

    #[test]
    fn what_waits_for_a_commit_takes_the_room_of_what_is_committed() {
        let tail = Budget::new(10_000);
        let room = 5_000;
        let recent = Recent::new(Arc::clone(&tail), 10_000);
        let (a, b) = (Arc::new(Tail::default()), Arc::new(Tail::default()));
        recent.keep(&a, vec![chunk(0, 100)], Instant::now());
        recent.keep(&b, vec![chunk(0, 100)], Instant::now());
        assert_eq!((read(&a, 0).len(), read(&b, 0).len()), (100, 100));
        let each = recent.bytes() / 2;
        let pending = tail.try_reserve(room - 2 * each).unwrap();
        recent.make_room();
        assert_eq!((read(&a, 0).len(), read(&b, 0).len()), (100, 100));
        let more = tail.try_reserve(1).unwrap();
        recent.make_room();
        assert_eq!((read(&a, 0).len(), read(&b, 0).len(), recent.bytes()), (0, 100, each));
        // With the tail as full as this nothing is kept, and what was there does not stay behind a hole.
        let full = tail.try_reserve(each).unwrap();
        recent.keep(&b, vec![chunk(100, 100)], Instant::now());
        assert_eq!((read(&b, 0).len(), recent.bytes()), (0, 0));
        drop((pending, more, full));
        recent.keep(&b, vec![chunk(200, 1)], Instant::now());
        assert_eq!(read(&b, 200), [200]);
    }

    #[test]
    fn records_do_not_stay_behind_a_hole_nor_past_their_limit_and_time() {
        let recent = Recent::new(Budget::new(1 << 20), 3_000);
        let (kept, now) = (Arc::new(Tail::default()), Instant::now());
        recent.keep(&kept, vec![chunk(0, 10)], now);
        recent.keep(&kept, vec![chunk(11, 10)], now);
        assert_eq!((read(&kept, 0), read(&kept, 11).len()), (vec![], 10));
        recent.keep(&kept, vec![chunk(21, 150)], now);
        recent.keep(&kept, vec![chunk(171, 150)], now);
        assert!(read(&kept, 21).is_empty() && read(&kept, 171).len() == 150 && recent.bytes() <= 3_000);
        recent.keep(&kept, vec![chunk(321, 1_000)], now);
        assert_eq!((read(&kept, 171).len(), recent.bytes()), (0, 0));
        recent.keep(&kept, vec![chunk(1_321, 1)], now);
        recent.expire(now + RECENT_FOR - Duration::from_nanos(1));
        assert!(recent.bytes() > 0);
        recent.expire(now + RECENT_FOR);
        assert_eq!((recent.bytes(), recent.runs.lock().len()), (0, 0));
    }
}
