//! Memory that is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

/// One passes another that waits for so many times as much at least.
const PASSING_FACTOR: u64 = 16;
/// The part of the limit that may pass one who waits, all together.
const PASSING_PART: u64 = 8;
/// The part of its patience for which one who waits is in the way of others: what it wishes may not come in time.
const IN_THE_WAY_PART: u32 = 4;

/// A bound on bytes in memory that many tails share.
///
/// Who holds nothing yet waits in the order of coming, so that a large wish is met however many small ones there are; the
/// small ones that come meanwhile still pass it, up to a bound, for it may wait long; and it is in the way of others for a part
/// of its patience only. Who holds some goes before all: it is its end that gives room.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// How many wait for room.
    waiting: AtomicU64,
    freed: Notify,
    /// Held by the first of those who hold nothing yet and wait.
    first: Semaphore,
    /// What the first one wishes; 0 for none.
    wish: AtomicU64,
    /// How much has passed the first one.
    passed: AtomicU64,
}

/// The first of those who wait, for as long as it lives.
struct First<'a>(&'a Budget);

impl<'a> First<'a> {
    fn wishing(budget: &'a Budget, bytes: u64) -> Self {
        budget.passed.store(0, Ordering::Relaxed);
        budget.wish.store(bytes.max(1), Ordering::Relaxed);
        Self(budget)
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.0.wish.store(0, Ordering::Relaxed);
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
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            freed: Notify::new(),
            first: Semaphore::new(1),
            wish: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        })
    }

    /// Its limit in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
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
        let fits = |used: u64| {
            let after = used.saturating_add(bytes);
            (used == held || after <= self.limit).then_some(after)
        };
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    /// The same for somebody who comes now and may find others waiting.
    fn try_come(&self, held: u64, bytes: u64) -> bool {
        if held > 0 || bytes == 0 || self.wish.load(Ordering::Relaxed) == 0 {
            return self.try_take(held, bytes);
        }
        self.try_pass(bytes)
    }

    /// The same for somebody who holds nothing yet and goes before one who waits, which small ones may up to a bound.
    fn try_pass(&self, bytes: u64) -> bool {
        let within = |passed: u64| {
            passed.checked_add(bytes).filter(|passed| *passed <= self.limit / PASSING_PART && self.passes(bytes))
        };
        if self.passed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return false;
        }
        let is_taken = self.try_take(0, bytes);
        if !is_taken {
            let back = |passed: u64| Some(passed.saturating_sub(bytes));
            let _: Result<u64, u64> = self.passed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
        }
        is_taken
    }

    /// Whether a wish is so small that it may pass the one who waits.
    fn passes(&self, bytes: u64) -> bool {
        bytes <= self.wish.load(Ordering::Relaxed) / PASSING_FACTOR
    }

    /// Returns when a try has taken the bytes; tries whenever some are given back.
    async fn taken(&self, mut try_it: impl FnMut() -> bool) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Listening begins before the look, so that bytes freed in between are not missed.
            freed.as_mut().enable();
            if try_it() {
                return;
            }
            freed.await;
        }
    }

    /// Waits behind those who came before, then as the first of all, in the way of others, for so long at most; whether the
    /// bytes were taken.
    async fn taken_in_turn(&self, bytes: u64, longest: Duration) -> bool {
        let Ok(_turn) = self.first.acquire().await else { return false };
        let _first = First::wishing(self, bytes);
        tokio::time::timeout(longest, self.taken(|| self.try_take(0, bytes))).await.is_ok()
    }

    /// As [`Budget::try_take`], waiting for room for as long as patience lasts. Dropping the future takes nothing.
    async fn take(&self, held: u64, bytes: u64, patience: Duration) -> Result<(), BudgetFull> {
        if self.try_come(held, bytes) {
            return Ok(());
        }
        let waiting = async {
            if held == 0 {
                let passes = self.passes(bytes);
                let in_turn = self.taken_in_turn(bytes, patience / IN_THE_WAY_PART);
                let is_taken = tokio::select! {
                    is_taken = in_turn => is_taken,
                    () = self.taken(|| self.try_come(0, bytes)), if passes => true,
                };
                if is_taken {
                    return;
                }
            }
            self.taken(|| self.try_take(held, bytes)).await;
        };
        let _waiting = Waiting::counted(&self.waiting);
        tokio::time::timeout(patience, waiting).await.map_err(|_| BudgetFull { limit: self.limit })
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::AcqRel);
            self.freed.notify_waiters();
        }
    }

    /// Whether somebody waits for room.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
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
