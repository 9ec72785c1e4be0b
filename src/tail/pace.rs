//! How often many readers are woken.
//!
//! Each reader that is woken is sent what there is by then, which costs about the same for one record as for twenty. Waking
//! thousands more often than they can be served once makes everybody later, so wake-ups keep the distance of one such round;
//! what comes after a pause is told of at once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Levels;

/// What it takes one processor to wake a reader and send it something, about: measured over loopback, both ends included.
const DELIVERY: Duration = Duration::from_micros(20);
/// A shorter distance is not kept: timers are no finer.
const DISTANCE_MIN: Duration = Duration::from_millis(1);

/// When readers were woken last, and whether they will be.
#[derive(Debug, Default)]
struct Rounds {
    last: Option<Instant>,
    is_due: bool,
}

/// Wakes the readers of one topic, at once where there are few, and else no more often than they can be served.
#[derive(Debug)]
pub(super) struct Pace {
    sender: watch::Sender<Levels>,
    rounds: Arc<Mutex<Rounds>>,
    /// Where a wake-up waits for its time; without a runtime none does.
    runtime: Option<Handle>,
}

impl Pace {
    pub(super) fn new(sender: watch::Sender<Levels>) -> Self {
        Self { sender, rounds: Arc::default(), runtime: Handle::try_current().ok() }
    }

    /// Wakes whoever waits, now or after a while; whatever was changed before the call is seen then.
    pub(super) fn wake(&self) {
        let distance = distance(self.sender.receiver_count());
        match &self.runtime {
            Some(runtime) if distance >= DISTANCE_MIN => self.wake_in_turn(runtime, distance),
            _ => wake_all(&self.sender),
        }
    }

    fn wake_in_turn(&self, runtime: &Handle, distance: Duration) {
        let mut rounds = self.rounds.lock();
        if rounds.is_due {
            return;
        }
        let since = rounds.last.map_or(Duration::MAX, |last| last.elapsed());
        if since >= distance {
            rounds.last = Some(Instant::now());
            drop(rounds);
            wake_all(&self.sender);
            return;
        }
        rounds.is_due = true;
        drop(rounds);
        let (sender, rounds) = (self.sender.clone(), Arc::clone(&self.rounds));
        runtime.spawn(async move {
            tokio::time::sleep(distance - since).await;
            // First, so that what is changed from here on has a wake-up of its own.
            *rounds.lock() = Rounds { last: Some(Instant::now()), is_due: false };
            wake_all(&sender);
        });
    }
}

fn wake_all(sender: &watch::Sender<Levels>) {
    sender.send_modify(|_| {});
}

/// How long it takes all processors to serve so many readers once.
fn distance(readers: usize) -> Duration {
    static PROCESSORS: OnceLock<u32> = OnceLock::new();
    let processors = *PROCESSORS.get_or_init(|| {
        let known = std::thread::available_parallelism().map_or(1, usize::from);
        u32::try_from(known).unwrap_or(u32::MAX)
    });
    DELIVERY.saturating_mul(u32::try_from(readers).unwrap_or(u32::MAX)) / processors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Offset;

    fn levels(next: u64) -> Levels {
        Levels::at(Offset::ZERO, Offset::new(next).unwrap())
    }

    fn change(pace: &Pace, next: u64) {
        pace.sender.send_if_modified(|now| {
            *now = levels(next);
            false
        });
    }

    #[tokio::test]
    async fn few_readers_are_woken_each_time() {
        let pace = Pace::new(watch::Sender::new(levels(0)));
        let mut reader = pace.sender.subscribe();
        for next in 1..10 {
            change(&pace, next);
            pace.wake();
            assert!(reader.has_changed().unwrap());
            assert_eq!(*reader.borrow_and_update(), levels(next));
        }
    }

    #[tokio::test]
    async fn many_readers_are_woken_at_once_after_a_pause_and_then_keep_their_distance() {
        let (runtime, far) = (Handle::current(), Duration::from_secs(3_600));
        let pace = Pace::new(watch::Sender::new(levels(0)));
        let mut reader = pace.sender.subscribe();
        change(&pace, 1);
        pace.wake_in_turn(&runtime, far);
        assert!(reader.has_changed().unwrap());
        reader.mark_unchanged();
        for next in 2..10 {
            change(&pace, next);
            pace.wake_in_turn(&runtime, far);
            assert!(!reader.has_changed().unwrap());
        }
        assert_eq!(runtime.metrics().num_alive_tasks(), 1);
    }

    #[tokio::test]
    async fn what_comes_between_two_rounds_is_told_of_in_the_next() {
        let (runtime, near) = (Handle::current(), Duration::from_millis(2));
        let pace = Pace::new(watch::Sender::new(levels(0)));
        let mut reader = pace.sender.subscribe();
        for round in 0..5 {
            for next in round * 10..round * 10 + 10 {
                change(&pace, next);
                pace.wake_in_turn(&runtime, near);
            }
            while *reader.borrow_and_update() != levels(round * 10 + 9) {
                reader.changed().await.unwrap();
            }
        }
    }

    #[test]
    fn the_distance_grows_with_the_readers() {
        assert!(distance(1) < DISTANCE_MIN);
        assert_eq!(distance(0), Duration::ZERO);
        assert!(distance(2_000_000) > distance(1_000_000));
    }
}
