//! Memory that is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// A bound on bytes in memory that many tails share.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// How many wait for room.
    waiting: AtomicU64,
    freed: Notify,
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
        Arc::new(Self { limit, used: AtomicU64::new(0), waiting: AtomicU64::new(0), freed: Notify::new() })
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
    /// [`BudgetFull`] where they do not.
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, BudgetFull> {
        let fits =
            |used: u64| (used == 0 || used.saturating_add(bytes) <= self.limit).then(|| used.saturating_add(bytes));
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(Reservation { budget: Some(Arc::clone(self)), bytes }),
            Err(_) => Err(BudgetFull { limit: self.limit }),
        }
    }

    /// Takes bytes as soon as they fit, at most after `patience`.
    ///
    /// # Errors
    /// [`BudgetFull`] when they did not in time.
    pub async fn reserve(self: &Arc<Self>, bytes: u64, patience: Duration) -> Result<Reservation, BudgetFull> {
        let waiting = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if let Ok(reservation) = self.try_reserve(bytes) {
                    return reservation;
                }
                freed.await;
            }
        };
        if let Ok(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let _waiting = Waiting::counted(&self.waiting);
        tokio::time::timeout(patience, waiting).await.map_err(|_| BudgetFull { limit: self.limit })
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

    /// Gives back what is more than `bytes`; how much that was.
    pub(crate) fn shrink_to(&mut self, bytes: u64) -> u64 {
        let given = self.bytes.saturating_sub(bytes);
        self.bytes -= given;
        if let Some(budget) = self.budget.as_ref().filter(|_| given > 0) {
            budget.used.fetch_sub(given, Ordering::AcqRel);
            budget.freed.notify_waiters();
        }
        given
    }

    /// How many bytes are taken.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
            budget.freed.notify_waiters();
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

    #[test]
    fn one_request_larger_than_the_budget_is_admitted_alone() {
        let budget = Budget::new(10);
        let large = budget.try_reserve(100).unwrap();
        assert!(budget.try_reserve(1).is_err());
        drop(large);
        assert_eq!(budget.used(), 0);
    }
}
