//! What the process holds, against what its options allow.
//!
//! Budgets count what waits: bodies in flight, records that are not committed. What a commit and a merge lay out, what lies in
//! buffers of connections, and what the allocator keeps is counted nowhere, and follows from how many requests come at a time.
//! So the process is looked at as a whole: while it holds more than is allowed, records wait in less room, down to half of
//! their budget, and more requests wait before they are decoded, or are refused.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::tail::Budget;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The part of what is too much, or of what is free again, that is made up for at a look: a commit, which gives the room back, takes
/// some looks.
const STEP_PART: i64 = 4;

/// Looks until the server stops. `allowed`: bytes of the process; `held`: what it holds.
pub(super) async fn keep_within(
    tail: Arc<Budget>,
    allowed: u64,
    held: impl Fn() -> Option<u64> + Send,
    stopping: CancellationToken,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut kept_back = 0;
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stopping.cancelled() => return,
        }
        let Some(held) = held() else { return };
        let next = step(kept_back, held, allowed, tail.limit() / 2);
        if next != kept_back {
            kept_back = next;
            tail.keep_back(kept_back);
        }
    }
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
    use super::*;

    const MIB: u64 = 1 << 20;

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
        for _ in 0..100 {
            kept_back = step(kept_back, 511 * MIB, 512 * MIB, 128 * MIB);
        }
        assert!(kept_back < 128 * MIB);
    }

    #[tokio::test]
    async fn appends_have_all_of_their_room_again_when_the_process_has_shrunk() {
        let (tail, stopping) = (Budget::new(100), CancellationToken::new());
        let held = Arc::new(std::sync::atomic::AtomicU64::new(10_000));
        let looked_at = Arc::clone(&held);
        let look = move || Some(looked_at.load(std::sync::atomic::Ordering::Relaxed));
        let looking = tokio::spawn(keep_within(Arc::clone(&tail), 100, look, stopping.clone()));
        let small = tail.try_reserve(10).unwrap();
        while tail.room() > 50 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        assert!(tail.try_reserve(50).is_err());
        let waiting = tokio::spawn({
            let tail = Arc::clone(&tail);
            async move { tail.reserve(90, Duration::from_secs(600)).await.map(|room| room.bytes()) }
        });
        held.store(50, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(waiting.await.unwrap(), Ok(90));
        drop(small);
        stopping.cancel();
        looking.await.unwrap();
    }
}
