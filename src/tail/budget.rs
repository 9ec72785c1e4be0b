//! Memory that is counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// One passes another that waits for so many times as much at least.
const PASSING_FACTOR: u64 = 16;
/// The part of the limit that may pass one who waits, all together.
const PASSING_PART: u64 = 8;
/// The part of its patience for which one who waits is in the way of others: what it wishes may not come in time.
const IN_THE_WAY_PART: u32 = 4;

/// A bound on bytes in memory that many tails share.
///
/// Who holds nothing yet is met in the order of coming, so that a large wish has its turn however many small ones there are. Small
/// ones still pass one that does not fit, up to a bound, for it may wait long; and it is in the way of others for a part of its
/// patience only. Who holds some goes before all: it is its end that gives room.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    /// What of the limit is not to be had at present.
    kept_back: AtomicU64,
    used: AtomicU64,
    /// How many wait for room.
    waiting: AtomicU64,
    queue: Mutex<Queue>,
    freed: Notify,
}

/// Those who wait for room: who holds some first, then in the order of coming.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    next_id: u64,
    /// Who was passed last, and by how many bytes.
    passed: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    held: u64,
    bytes: u64,
    /// Whether it is in nobody's way.
    is_aside: bool,
    /// Told when the bytes are taken in its name.
    tell: oneshot::Sender<()>,
}

/// The first waiter that is in the way of those behind it.
#[derive(Clone, Copy)]
struct Blocker {
    id: u64,
    bytes: u64,
}

/// A place in the queue; who leaves it before the bytes are had has nothing.
struct Place<'a> {
    budget: &'a Budget,
    id: u64,
    bytes: u64,
    told: oneshot::Receiver<()>,
    is_had: bool,
}

impl Queue {
    fn blocker(&self) -> Option<Blocker> {
        let blocking = self.waiters.iter().find(|waiter| !waiter.is_aside)?;
        Some(Blocker { id: blocking.id, bytes: blocking.bytes })
    }

    /// How many bytes will have passed the one in the way with these; none where they are too many.
    fn passing(&self, blocker: Blocker, bytes: u64, limit: u64) -> Option<u64> {
        let before = self.passed.filter(|(id, _)| *id == blocker.id).map_or(0, |(_, passed)| passed);
        let passed = before.saturating_add(bytes);
        (bytes <= blocker.bytes / PASSING_FACTOR && passed <= limit / PASSING_PART).then_some(passed)
    }
}

impl Place<'_> {
    /// Is in nobody's way from now on; its own turn stays.
    fn step_aside(&self) {
        if let Some(waiter) = self.budget.queue.lock().waiters.iter_mut().find(|waiter| waiter.id == self.id) {
            waiter.is_aside = true;
        }
        self.budget.admit();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_had {
            return;
        }
        let mut queue = self.budget.queue.lock();
        let place = queue.waiters.iter().position(|waiter| waiter.id == self.id);
        if let Some(place) = place {
            drop(queue.waiters.remove(place));
            self.budget.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        drop(queue);
        match place {
            Some(_) => self.budget.admit(),
            // They were taken in its name meanwhile.
            None => self.budget.give_back(self.bytes),
        }
    }
}

/// Somebody who waits, counted for as long as it lives.
pub(crate) struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    pub(crate) fn counted(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There was no room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room within {limit} bytes")]
pub struct BudgetFull {
    /// The budget's limit in bytes.
    pub limit: u64,
}

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Option<Arc<Budget>>,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        let (used, waiting) = (AtomicU64::new(0), AtomicU64::new(0));
        let kept_back = AtomicU64::new(0);
        Arc::new(Self { limit, kept_back, used, waiting, queue: Mutex::default(), freed: Notify::new() })
    }

    /// Its limit in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// What of the limit is to be had at present.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.kept_back.load(Ordering::SeqCst))
    }

    /// Keeps so many bytes of the limit back from now on; what is taken stays so.
    pub fn keep_back(&self, bytes: u64) {
        if self.kept_back.swap(bytes, Ordering::SeqCst) > bytes {
            self.admit();
            self.freed.notify_waiters();
        }
    }

    /// Bytes taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes when they fit, or when nothing is taken at all: one request is admitted however large its decoded form.
    ///
    /// # Errors
    /// [`BudgetFull`] where they do not, and where others wait that are not to be passed.
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, BudgetFull> {
        if self.try_come(0, bytes) {
            Ok(Reservation { budget: Some(Arc::clone(self)), bytes })
        } else {
            Err(BudgetFull { limit: self.limit })
        }
    }

    /// Takes bytes as soon as they fit, at most after `patience`.
    ///
    /// # Errors
    /// [`BudgetFull`] when they did not in time.
    pub async fn reserve(self: &Arc<Self>, bytes: u64, patience: Duration) -> Result<Reservation, BudgetFull> {
        let mut reservation = self.open();
        reservation.grow(bytes, patience).await?;
        Ok(reservation)
    }

    /// A reservation of nothing yet, which can grow.
    pub fn open(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Some(Arc::clone(self)), bytes: 0 }
    }

    /// Takes the bytes for somebody who holds `held` if they fit, or if nobody else holds any.
    fn try_take(&self, held: u64, bytes: u64) -> bool {
        let room = self.room();
        let fits = |used: u64| {
            let after = used.saturating_add(bytes);
            (used == held || after <= room).then_some(after)
        };
        // In one order with the count of those who wait: one of two who meet sees the other.
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }

    /// The same for somebody who comes now and may find others waiting.
    fn try_come(&self, held: u64, bytes: u64) -> bool {
        if held > 0 || bytes == 0 || !self.is_wanted() {
            return self.try_take(held, bytes);
        }
        let mut queue = self.queue.lock();
        let Some(blocker) = queue.blocker() else { return self.try_take(0, bytes) };
        match queue.passing(blocker, bytes, self.limit) {
            Some(passed) if self.try_take(0, bytes) => {
                queue.passed = Some((blocker.id, passed));
                true
            }
            _ => false,
        }
    }

    /// Takes bytes in the name of those who wait, as far as there is room.
    fn admit(&self) {
        let mut queue = self.queue.lock();
        let (mut blocker, mut at): (Option<Blocker>, usize) = (None, 0);
        while let Some(&Waiter { id, held, bytes, is_aside, .. }) = queue.waiters.get(at) {
            let passed = blocker.map(|blocker| (blocker.id, queue.passing(blocker, bytes, self.limit)));
            let may = passed.is_none_or(|(_, passed)| passed.is_some());
            if may && self.try_take(held, bytes) {
                if let Some((id, Some(passed))) = passed {
                    queue.passed = Some((id, passed));
                }
                if let Some(waiter) = queue.waiters.remove(at) {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    // Whoever goes leaves the queue first, so that there is always somebody to tell.
                    if waiter.tell.send(()).is_err() {
                        self.used.fetch_sub(bytes, Ordering::SeqCst);
                    }
                }
                continue;
            }
            if blocker.is_none() && !is_aside {
                blocker = Some(Blocker { id, bytes });
            }
            at += 1;
        }
    }

    /// A place in the queue. Who holds some is before those who do not, and in nobody's way.
    fn line_up(&self, held: u64, bytes: u64) -> Place<'_> {
        let (tell, told) = oneshot::channel();
        let mut queue = self.queue.lock();
        let id = queue.next_id;
        queue.next_id += 1;
        let holds = held > 0;
        let holders = queue.waiters.iter().take_while(|waiter| waiter.held > 0).count();
        let at = if holds { holders } else { queue.waiters.len() };
        queue.waiters.insert(at, Waiter { id, held, bytes, is_aside: holds, tell });
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(queue);
        // Bytes may have been given back before there was somebody to give them to.
        self.admit();
        Place { budget: self, id, bytes, told, is_had: false }
    }

    /// As [`Budget::try_take`], waiting for room for as long as patience lasts. Dropping the future takes nothing.
    async fn take(&self, held: u64, bytes: u64, patience: Duration) -> Result<(), BudgetFull> {
        if self.try_come(held, bytes) {
            return Ok(());
        }
        let mut place = self.line_up(held, bytes);
        let in_the_way = patience / IN_THE_WAY_PART;
        let mut told = tokio::time::timeout(in_the_way, &mut place.told).await;
        if told.is_err() {
            place.step_aside();
            told = tokio::time::timeout(patience - in_the_way, &mut place.told).await;
        }
        place.is_had = matches!(told, Ok(Ok(())));
        if place.is_had { Ok(()) } else { Err(BudgetFull { limit: self.limit }) }
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.is_wanted() {
            self.admit();
        }
        self.freed.notify_waiters();
    }

    /// Whether somebody waits for room.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Returns when bytes are given back after the call.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Takes bytes past the limit where need be: for what a restart finds.
    pub fn force(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Reservation { budget: Some(Arc::clone(self)), bytes }
    }
}

impl Reservation {
    /// Nothing, of no budget.
    pub const fn none() -> Self {
        Self { budget: None, bytes: 0 }
    }

    /// Takes bytes more as soon as they fit, or when nobody else holds any, at most after `patience`. Dropping the future
    /// takes nothing.
    ///
    /// # Errors
    /// [`BudgetFull`] when they did not in time.
    pub async fn grow(&mut self, bytes: u64, patience: Duration) -> Result<(), BudgetFull> {
        if let Some(budget) = &self.budget {
            budget.take(self.bytes, bytes, patience).await?;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Parts with so many of its bytes, as far as it has them.
    pub(crate) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), bytes }
    }

    /// Gives back what is more than `bytes`; how much that was.
    pub(crate) fn shrink_to(&mut self, bytes: u64) -> u64 {
        let given = self.bytes.saturating_sub(bytes);
        self.bytes -= given;
        if let Some(budget) = &self.budget {
            budget.give_back(given);
        }
        given
    }

    /// Takes as many bytes as `bytes` instead, past the limit where need be; those of no budget stay none.
    pub(crate) fn resize(&mut self, bytes: u64) {
        self.shrink_to(bytes);
        if let Some(budget) = self.budget.as_ref().filter(|_| bytes > self.bytes) {
            budget.used.fetch_add(bytes - self.bytes, Ordering::AcqRel);
            self.bytes = bytes;
        }
    }

    /// How many bytes are taken.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.give_back(self.bytes);
        }
    }
}
