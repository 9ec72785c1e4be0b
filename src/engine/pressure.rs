//! What the process holds, against what its options allow.
//!
//! Budgets count what waits: bodies in flight, records that are not committed. What a commit and a merge lay out, what lies in
//! buffers of connections, and what the allocator keeps is counted nowhere, and follows from how many requests come at a time.
//! So the process is looked at as a whole: while it holds more than is allowed, records wait in less room, down to half of
//! their budget, and more requests wait before they are decoded, or are refused.
//!
//! What it holds while hardly a record waits is not theirs: open topics, what is kept of indexes, queries. It comes on top of
//! what is allowed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::tail::{Budget, Recent};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The part of what is too much, or of what is free again, that is made up for at a look: a commit, which gives the room back, takes
/// some looks.
const STEP_PART: i64 = 4;
/// The part of what is allowed that a commit and a merge may take before it is looked again.
const SUDDEN_PART: u64 = 8;
/// Hardly a record waits while so small a part of their budget is taken.
const QUIET_PART: u64 = 16;
/// The part of what comes on top that is taken for granted at a look; what is free goes back within a second.
const SETTLING_PART: u64 = 16;

/// What is looked at, and what is done about it.
pub(super) struct Pressure {
    tail: Arc<Budget>,
    recent: Arc<Recent>,
    /// Bytes of records and requests that are allowed.
    allowed: u64,
    /// What the process holds beside them.
    besides: u64,
    kept_back: u64,
}

impl Pressure {
    /// `besides`: what the process holds at its start.
    pub(super) fn new(tail: Arc<Budget>, recent: Arc<Recent>, allowed: u64, besides: u64) -> Self {
        Self { tail, recent, allowed: allowed - allowed / SUDDEN_PART, besides, kept_back: 0 }
    }

    /// Looks until the server stops. `held`: what the process holds.
    pub(super) async fn keep_within(mut self, held: impl Fn() -> Option<u64> + Send, stopping: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = stopping.cancelled() => return,
            }
            let Some(held) = held() else { return };
            self.look(held);
        }
    }

    fn look(&mut self, held: u64) {
        let waiting = self.tail.used();
        if waiting <= self.tail.limit() / QUIET_PART {
            self.besides = settled(self.besides, held.saturating_sub(waiting + self.recent.bytes()));
        }
        let next = step(self.kept_back, held, self.allowed.saturating_add(self.besides), self.tail.limit() / 2);
        if next != self.kept_back {
            self.kept_back = next;
            self.tail.keep_back(next);
            self.recent.make_room();
        }
    }
}

/// What is held besides, after a look: less at once, more bit by bit.
fn settled(besides: u64, seen: u64) -> u64 {
    if seen <= besides { seen } else { besides + (seen - besides).div_ceil(SETTLING_PART) }
}

/// What is kept back of a budget, at most `max`, after a look.
fn step(kept_back: u64, held: u64, allowed: u64, max: u64) -> u64 {
    let over = i64::try_from(held).unwrap_or(i64::MAX).saturating_sub(i64::try_from(allowed).unwrap_or(i64::MAX));
    // Rounded away from 0, so that all of it is given back in the end.
    let change = if over < 0 { over / STEP_PART - 1 } else { over / STEP_PART };
    kept_back.saturating_add_signed(change).min(max)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn pressure(tail: &Arc<Budget>, allowed: u64, besides: u64) -> Pressure {
        Pressure::new(Arc::clone(tail), Arc::new(Recent::new(Arc::clone(tail), 0)), allowed, besides)
    }

    #[test]
    fn what_is_kept_back_follows_what_is_too_much_and_goes_when_nothing_is() {
        let mut kept_back = 0;
        for (held, expected) in [(500, 0), (552, 10), (552, 20), (512, 20), (12, 0), (12, 0)] {
            kept_back = step(kept_back, held * MIB, 512 * MIB, 128 * MIB);
            assert_eq!(kept_back / MIB, expected, "{held}");
        }
        for _ in 0..100 {
            kept_back = step(kept_back, 4_096 * MIB, 512 * MIB, 128 * MIB);
        }
        assert_eq!(kept_back, 128 * MIB);
        kept_back = (0..100).fold(kept_back, |kept_back, _| step(kept_back, 480 * MIB, 512 * MIB, 128 * MIB));
        assert_eq!(kept_back, 0);
    }

    #[test]
    fn what_is_held_while_hardly_a_record_waits_takes_nothing_of_their_room() {
        let tail = Budget::new(256 * MIB);
        let mut pressure = pressure(&tail, 512 * MIB, 20 * MIB);
        // Thousands of topics, a warm cache.
        (0..100).for_each(|_| pressure.look(800 * MIB));
        assert_eq!(tail.room(), tail.limit());
        let waiting = tail.try_reserve(200 * MIB).unwrap();
        (0..100).for_each(|_| pressure.look(1_200 * MIB));
        assert_eq!(tail.room(), tail.limit());
        (0..100).for_each(|_| pressure.look(1_400 * MIB));
        assert_eq!(tail.room(), tail.limit() / 2);
        drop(waiting);
        // They have been closed.
        (0..100).for_each(|_| pressure.look(30 * MIB));
        assert_eq!((tail.room(), pressure.besides), (tail.limit(), 30 * MIB));
    }

    #[tokio::test]
    async fn appends_have_all_of_their_room_again_when_the_process_has_shrunk() {
        let (tail, stopping) = (Budget::new(160), CancellationToken::new());
        let held = Arc::new(AtomicU64::new(10_000));
        let looked_at = Arc::clone(&held);
        let look = move || Some(looked_at.load(Ordering::Relaxed));
        let few = tail.try_reserve(20).unwrap();
        let looking = tokio::spawn(pressure(&tail, 160, 0).keep_within(look, stopping.clone()));
        while tail.room() > 80 {
            tokio::task::yield_now().await;
        }
        assert!(tail.try_reserve(80).is_err());
        let waiting = tokio::spawn({
            let tail = Arc::clone(&tail);
            async move { tail.reserve(140, Duration::from_secs(600)).await.map(|room| room.bytes()) }
        });
        held.store(50, Ordering::Relaxed);
        assert_eq!(waiting.await.unwrap(), Ok(140));
        drop(few);
        stopping.cancel();
        looking.await.unwrap();
    }
}
