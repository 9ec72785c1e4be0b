//! Which topic commits when: by size, by age, because somebody waits, because memory or the log runs short.

use std::cmp::Reverse;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// The longest such pause.
const AGED_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A commit by age that takes longer goes on by itself, and others get their turn.
const AGED_PATIENCE: Duration = Duration::from_secs(10);

/// How many lanes one look leaves to be committed by age, one after the other: where many wait, looks are rare.
const AGED_AT_ONCE: usize = 256;

/// Runs commits until it is stopped.
pub(super) struct Committer {
    core: Arc<Core>,
    slots: Arc<Semaphore>,
    /// Whether one was wanted when all were taken.
    is_short: Arc<AtomicBool>,
    /// Held by the one who commits by age.
    by_age: Arc<Semaphore>,
    running: Tasks,
}

impl Committer {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let running = core.tasks.child();
        let (slots, by_age) = (Semaphore::new(COMMITS_AT_ONCE), Semaphore::new(1));
        Self { core, slots: Arc::new(slots), is_short: Arc::default(), by_age: Arc::new(by_age), running }
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
        let (now, wall_ms) = (Instant::now(), wall_ms(&self.core));
        let tail = self.core.admission.tail();
        let is_pressed = tail.used() > tail.room() / 2 || tail.is_wanted() || self.core.admission.log_is_wanted();
        let (mut due, mut aged) = (Vec::new(), Vec::new());
        let mut largest: Option<(u64, Arc<Lane>)> = None;
        for lane in self.core.queue.pending() {
            match lane.due(now, wall_ms) {
                Due::Now { since } => due.push((since, Arc::clone(&lane))),
                Due::Aged(age) => aged.push((age, Arc::clone(&lane))),
                Due::Not => {}
            }
            if !is_pressed || lane.is_stuck() || lane.is_busy() {
                continue;
            }
            let bytes = lane.pending_bytes();
            if largest.as_ref().is_none_or(|(most, _)| bytes > *most) {
                largest = Some((bytes, lane));
            }
        }
        due.sort_unstable_by_key(|(since, _)| *since);
        for (_, lane) in due {
            self.start(lane);
        }
        if let Some((_, lane)) = largest {
            self.start(lane);
        }
        if !aged.is_empty() {
            self.start_by_age(aged);
        }
    }

    fn start(&self, lane: Arc<Lane>) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.is_short.store(true, Ordering::Release);
            return;
        };
        if !lane.begin() {
            return;
        }
        let core = Arc::clone(&self.core);
        self.running.spawn("commit", async move {
            commit(&core, &lane).await;
            drop(slot);
            core.queue.wake();
            Ok::<(), Infallible>(())
        });
    }

    /// Commits lanes for their age, the oldest first, unless somebody does.
    fn start_by_age(&self, mut aged: Vec<(u64, Arc<Lane>)>) {
        let Ok(turn) = Arc::clone(&self.by_age).try_acquire_owned() else { return };
        aged.sort_unstable_by_key(|(age, _)| Reverse(*age));
        aged.truncate(AGED_AT_ONCE);
        let (core, slots, stopping) = (Arc::clone(&self.core), Arc::clone(&self.slots), self.running.stopping());
        let (is_short, running) = (Arc::clone(&self.is_short), self.running.clone());
        self.running.spawn("commits by age", async move {
            for (_, lane) in aged {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
                // Another commit may have taken its records meanwhile, and new ones are younger.
                let is_due = matches!(lane.due(Instant::now(), wall_ms(&core)), Due::Aged(_));
                if stopping.is_cancelled() {
                    break;
                }
                if !is_due || !lane.begin() {
                    continue;
                }
                let (began, is_short, committing) = (Instant::now(), Arc::clone(&is_short), Arc::clone(&core));
                let commit = running.spawn("commit", async move {
                    commit(&committing, &lane).await;
                    drop(slot);
                    if is_short.swap(false, Ordering::AcqRel) {
                        committing.queue.wake();
                    }
                    Ok::<(), Infallible>(())
                });
                if tokio::time::timeout(AGED_PATIENCE, commit).await.is_err() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep((began.elapsed() * AGED_PAUSE).min(AGED_PAUSE_MAX)) => {}
                    () = stopping.cancelled() => break,
                }
            }
            drop(turn);
            core.queue.wake();
            Ok::<(), Infallible>(())
        });
    }
}

/// Commits what waits in a lane.
async fn commit(core: &Core, lane: &Arc<Lane>) {
    let began = Instant::now();
    if lane.commit().await {
        core.observe_commit(began.elapsed());
    }
}

fn wall_ms(core: &Core) -> u64 {
    u64::try_from(core.services.clock.now().as_micros() / 1_000).unwrap_or_default()
}
