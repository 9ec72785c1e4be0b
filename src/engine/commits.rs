//! Which topic commits when: by size, by age, because somebody waits, because memory or the log runs short.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::backend::{Due, Lane};
use crate::engine::Core;
use crate::runtime::Tasks;

/// How often lanes are looked at while one has something to commit.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The shortest time between two looks, and how many times longer than a look it is at least: a look at 10,000 lanes takes some
/// milliseconds.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
const LOOK_SHARE: u32 = 30;
/// Commits that run at the same time.
const COMMITS_AT_ONCE: usize = 2;
/// A commit by age alone is followed by a pause of so many times its length: they take a fifth of the time at most.
const AGED_PAUSE: u32 = 4;

/// Runs commits until it is stopped.
pub(super) struct Committer {
    core: Arc<Core>,
    slots: Arc<Semaphore>,
    aged_after: Arc<parking_lot::Mutex<Instant>>,
    running: Tasks,
}

impl Committer {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let running = core.tasks.child();
        let slots = Arc::new(Semaphore::new(COMMITS_AT_ONCE));
        Self { core, slots, aged_after: Arc::new(parking_lot::Mutex::new(Instant::now())), running }
    }

    pub(super) async fn run(self) {
        let stopping = self.running.stopping();
        loop {
            let pause = if self.core.queue.is_empty() { Duration::from_secs(3_600) } else { LOOK_EVERY };
            tokio::select! {
                () = self.core.queue.woken() => {}
                () = tokio::time::sleep(pause) => {}
                () = stopping.cancelled() => break,
            }
            let began = Instant::now();
            self.look();
            // Looking takes longer the more lanes wait: a thirtieth of the time at most goes there, whoever wakes.
            let rest = (began.elapsed() * LOOK_SHARE).max(LOOK_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stopping.cancelled() => break,
            }
        }
        self.running.finish().await;
    }

    /// Starts what is due, as far as there are slots.
    fn look(&self) {
        let now = Instant::now();
        let wall_ms = u64::try_from(self.core.services.clock.now().as_micros() / 1_000).unwrap_or_default();
        let mut due = Vec::new();
        let mut aged: Option<(u64, Arc<Lane>)> = None;
        let mut largest: Option<(u64, Arc<Lane>)> = None;
        for lane in self.core.queue.pending() {
            match lane.due(now, wall_ms) {
                Due::Now { since } => due.push((since, Arc::clone(&lane))),
                Due::Aged(age) if aged.as_ref().is_none_or(|(oldest, _)| age > *oldest) => {
                    aged = Some((age, Arc::clone(&lane)))
                }
                Due::Aged(_) | Due::Not => {}
            }
            let bytes = lane.pending_bytes();
            if !lane.is_stuck() && !lane.is_running() && largest.as_ref().is_none_or(|(most, _)| bytes > *most) {
                largest = Some((bytes, lane));
            }
        }
        due.sort_unstable_by_key(|(since, _)| *since);
        for (_, lane) in due {
            self.start(lane, false);
        }
        let tail = self.core.admission.tail();
        let is_pressed = tail.used() > tail.limit() / 2 || tail.is_wanted() || self.core.admission.log_is_wanted();
        if is_pressed && let Some((_, lane)) = largest {
            self.start(lane, false);
        }
        if let Some((_, lane)) = aged
            && now >= *self.aged_after.lock()
        {
            self.start(lane, true);
        }
    }

    fn start(&self, lane: Arc<Lane>, by_age: bool) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return };
        if !lane.begin() {
            return;
        }
        let aged_after = Arc::clone(&self.aged_after);
        if by_age {
            // No second one by age while this one runs.
            *aged_after.lock() = Instant::now() + Duration::from_secs(60);
        }
        let core = Arc::clone(&self.core);
        self.running.spawn("commit", async move {
            let began = Instant::now();
            let committed = lane.commit().await;
            let took = began.elapsed();
            if committed {
                core.observe_commit(took);
            }
            if by_age {
                *aged_after.lock() = Instant::now() + took * AGED_PAUSE;
            }
            drop(slot);
            core.queue.wake();
            Ok::<(), std::convert::Infallible>(())
        });
    }
}
