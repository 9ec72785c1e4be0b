//! Memory that is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

/// One passes another that waits for so many times as much at least.
const PASSING_FACTOR: u64 = 16;
/// The part of the limit that may pass one who waits, all together.
const PASSING_PART: u64 = 8;

/// A bound on bytes in memory that many tails share.
///
/// Who holds nothing yet waits in the order of coming, so that a large wish is met however many small ones there are; the
/// small ones that come meanwhile still pass it, up to a bound, for it may wait long. Who holds some goes before all: it is its
/// end that gives room.
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
        (held > 0 || self.may_pass(bytes)) && self.try_take(held, bytes)
    }

    /// Whether somebody who holds nothing yet may go before those who wait.
    fn may_pass(&self, bytes: u64) -> bool {
        let wish = self.wish.load(Ordering::Relaxed);
        wish == 0
            || (bytes <= wish / PASSING_FACTOR
                && self.passed.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limit / PASSING_PART)
    }

    /// As [`Budget::try_take`], waiting for room for as long as patience lasts. Dropping the future takes nothing.
    async fn take(&self, held: u64, bytes: u64, patience: Duration) -> Result<(), BudgetFull> {
        if self.try_come(held, bytes) {
            return Ok(());
        }
        let waiting = async {
            let turn = if held == 0 { self.first.acquire().await.ok() } else { None };
            let _first = turn.as_ref().map(|_| First::wishing(self, bytes));
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Listening begins before the look, so that bytes freed in between are not missed.
                freed.as_mut().enable();
                if self.try_take(held, bytes) {
                    return;
                }
                freed.await;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_gets_what_is_given_back() {
        let budget = Budget::new(10);
        let held = budget.try_reserve(8).unwrap();
        assert!(budget.try_reserve(3).is_err());
        let waiter = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(3, Duration::from_secs(60)).await.map(|r| r.bytes()) }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(waiter.await.unwrap(), Ok(3));
    }

    #[tokio::test]
    async fn patience_ends() {
        let budget = Budget::new(10);
        let _held = budget.try_reserve(8).unwrap();
        assert!(budget.reserve(3, Duration::ZERO).await.is_err());
    }

    #[tokio::test]
    async fn a_large_wish_is_met_before_those_that_come_after_it() {
        let forever = Duration::from_secs(3_600);
        let budget = Budget::new(1_600);
        let held = budget.try_reserve(1_000).unwrap();
        let large = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(800, forever).await.map(|reservation| reservation.bytes()) }
        });
        tokio::task::yield_now().await;
        // There is room for all of these, but it is not theirs.
        assert!(budget.try_reserve(51).is_err());
        let late = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(500, forever).await.map(|reservation| reservation.bytes()) }
        });
        // Small ones pass, an eighth of the limit together.
        let small: Vec<_> = (0..4).map(|_| budget.try_reserve(50).unwrap()).collect();
        assert!(budget.try_reserve(50).is_err());
        // Whoever holds some is not held up.
        let mut holder = small.into_iter().next().unwrap();
        holder.grow(100, Duration::ZERO).await.unwrap();
        assert!(!large.is_finished() && !late.is_finished());
        drop((held, holder));
        assert_eq!((large.await.unwrap(), late.await.unwrap()), (Ok(800), Ok(500)));
        assert!(!budget.is_wanted());
        assert_eq!(budget.used(), 0);
        assert!(budget.try_reserve(1_600).is_ok());
    }

    #[tokio::test]
    async fn whoever_gives_up_is_no_longer_in_the_way() {
        let budget = Budget::new(100);
        let _held = budget.try_reserve(50).unwrap();
        assert!(budget.reserve(80, Duration::ZERO).await.is_err());
        assert!(budget.try_reserve(50).is_ok());
    }

    #[test]
    fn one_request_larger_than_the_budget_is_admitted_alone() {
        let budget = Budget::new(10);
        let large = budget.try_reserve(100).unwrap();
        assert!(budget.try_reserve(1).is_err());
        drop(large);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_is_alone_grows_past_the_limit_and_nobody_else_does() {
        let budget = Budget::new(10);
        let mut alone = budget.open();
        alone.grow(8, Duration::ZERO).await.unwrap();
        alone.grow(100, Duration::ZERO).await.unwrap();
        assert_eq!((alone.bytes(), budget.used()), (108, 108));
        let mut other = budget.open();
        assert_eq!(other.grow(1, Duration::ZERO).await, Err(BudgetFull { limit: 10 }));
        assert_eq!((other.bytes(), budget.used()), (0, 108));
        drop(alone);
        assert_eq!(budget.used(), 0);
    }
}
