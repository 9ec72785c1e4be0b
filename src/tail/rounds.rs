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

use super::{Ending, Levels};
use crate::model::Offset;

/// What it takes one processor to wake a reader and send it something, about: measured over loopback, both ends included.
const DELIVERY: Duration = Duration::from_micros(20);
/// A shorter distance is not kept: timers are no finer.
const DISTANCE_MIN: Duration = Duration::from_millis(1);
/// The longest distance, however many readers there are.
const DISTANCE_MAX: Duration = Duration::from_millis(100);

/// What a reader at the tail waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct News {
    earliest: Offset,
    readable: Offset,
    is_over: bool,
    ending: Option<Ending>,
}

impl News {
    fn of(levels: &Levels) -> Self {
        let &Levels { earliest, readable, ending, .. } = levels;
        Self { earliest, readable, is_over: levels.is_over(), ending }
    }
}

#[derive(Debug)]
struct State {
    /// What readers were woken for last, or are going to be.
    told: News,
    last: Option<Instant>,
    is_due: bool,
}

/// Wakes the readers of one topic, at once where there are few, and else no more often than they can be served.
#[derive(Debug)]
pub(super) struct Rounds {
    readers: watch::Sender<()>,
    state: Arc<Mutex<State>>,
    /// Where a wake-up waits for its time; without a runtime none does.
    runtime: Option<Handle>,
}

impl Rounds {
    pub(super) fn new(levels: &Levels) -> Self {
        let state = State { told: News::of(levels), last: None, is_due: false };
        let readers = watch::Sender::new(());
        Self { readers, state: Arc::new(Mutex::new(state)), runtime: Handle::try_current().ok() }
    }

    /// What is marked as changed when a reader is to look at the levels again.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.readers.subscribe()
    }

    /// Wakes the readers, now or after a while, where there is something new for them in the levels as they are now; whatever
    /// was changed before the call is seen then.
    pub(super) fn wake(&self, now: impl FnOnce() -> Levels) {
        self.wake_at(distance(self.readers.receiver_count()), now);
    }

    fn wake_at(&self, distance: Duration, now: impl FnOnce() -> Levels) {
        let mut state = self.state.lock();
        // Under the lock, so that nobody goes back behind what another has told.
        let news = News::of(&now());
        if news == state.told {
            return;
        }
        state.told = news;
        if state.is_due {
            return;
        }
        let since = state.last.map_or(Duration::MAX, |last| last.elapsed());
        match &self.runtime {
            Some(runtime) if distance >= DISTANCE_MIN && since < distance => {
                state.is_due = true;
                drop(state);
                runtime.spawn(self.round_after(distance - since));
            }
            _ => {
                state.last = Some(Instant::now());
                drop(state);
                self.readers.send_replace(());
            }
        }
    }

    fn round_after(&self, rest: Duration) -> impl Future<Output = ()> + use<> {
        let (readers, state) = (self.readers.clone(), Arc::clone(&self.state));
        async move {
            tokio::time::sleep(rest).await;
            {
                let mut state = state.lock();
                // First, so that what is changed from here on has a wake-up of its own.
                state.is_due = false;
                state.last = Some(Instant::now());
            }
            readers.send_replace(());
        }
    }
}

/// How long it takes all processors to serve so many readers once.
fn distance(readers: usize) -> Duration {
    static PROCESSORS: OnceLock<u32> = OnceLock::new();
    let processors = *PROCESSORS.get_or_init(|| {
        let known = std::thread::available_parallelism().map_or(1, usize::from);
        u32::try_from(known).unwrap_or(u32::MAX)
    });
    let round = DELIVERY.saturating_mul(u32::try_from(readers).unwrap_or(u32::MAX)) / processors;
    round.min(DISTANCE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(3_600);
    const PATIENCE: Duration = Duration::from_secs(20);

    fn levels(next: u64) -> Levels {
        Levels::at(Offset::ZERO, Offset::new(next).unwrap())
    }

    fn is_woken(reader: &mut watch::Receiver<()>) -> bool {
        let is_woken = reader.has_changed().unwrap();
        reader.mark_unchanged();
        is_woken
    }

    #[tokio::test]
    async fn few_readers_are_woken_each_time() {
        let rounds = Rounds::new(&levels(0));
        let mut reader = rounds.subscribe();
        for next in 1..10 {
            rounds.wake(|| levels(next));
            assert!(is_woken(&mut reader));
        }
    }

    #[tokio::test]
    async fn many_readers_are_woken_at_once_after_a_pause_and_then_keep_their_distance() {
        let rounds = Rounds::new(&levels(0));
        // So many that their round is longer than this test, on any machine.
        let mut readers: Vec<_> = (0..200_000).map(|_| rounds.subscribe()).collect();
        let reader = readers.first_mut().unwrap();
        rounds.wake(|| levels(1));
        assert!(is_woken(reader));
        rounds.state.lock().last = Some(Instant::now() + FAR);
        for next in 2..10 {
            rounds.wake(|| levels(next));
            assert!(!is_woken(reader));
        }
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
    }

    #[tokio::test]
    async fn what_is_no_news_to_readers_neither_wakes_them_nor_takes_their_turn() {
        let rounds = Rounds::new(&levels(5));
        let mut reader = rounds.subscribe();
        let mut now = levels(5);
        now.durable = Offset::new(9).unwrap();
        now.committed = Offset::new(4).unwrap();
        rounds.wake_at(FAR, || now);
        assert!(!is_woken(&mut reader));
        now.readable = Offset::new(9).unwrap();
        rounds.wake_at(FAR, || now);
        assert!(is_woken(&mut reader));
        // No more records come: that is news.
        now.closed = true;
        rounds.wake_at(Duration::ZERO, || now);
        assert!(is_woken(&mut reader));
    }

    #[tokio::test]
    async fn what_comes_between_two_rounds_is_told_of_in_the_next() {
        let sender = watch::Sender::new(levels(0));
        let rounds = Rounds::new(&levels(0));
        let mut reader = rounds.subscribe();
        for round in 0..5 {
            for next in round * 10 + 1..=round * 10 + 10 {
                sender.send_replace(levels(next));
                rounds.wake_at(Duration::from_millis(2), || *sender.borrow());
            }
            let told = async {
                reader.changed().await.unwrap();
                while *sender.borrow() != levels(round * 10 + 10) {
                    reader.changed().await.unwrap();
                }
            };
            tokio::time::timeout(PATIENCE, told).await.unwrap();
        }
    }

    #[test]
    fn the_distance_grows_with_the_readers_up_to_a_bound() {
        assert!(distance(1) < DISTANCE_MIN);
        assert_eq!(distance(0), Duration::ZERO);
        assert_eq!(distance(usize::MAX), DISTANCE_MAX);
    }
}
