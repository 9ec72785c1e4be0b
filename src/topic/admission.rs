//! Bytes in flight: what requests hold in memory between the first byte of a body and its answer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::{ErrorCode, Problem};

/// The bytes that all requests together may hold. A request that holds them alone is never refused, however large it is:
/// its own limits bound it.
#[derive(Debug)]
pub struct InflightBudget {
    bytes_max: u64,
    patience: Duration,
    used: Mutex<u64>,
    freed: Notify,
}

/// What one request holds; given back on drop.
#[derive(Debug)]
pub struct InflightPermit {
    budget: Arc<InflightBudget>,
    held: u64,
}

impl InflightBudget {
    /// How long a request waits for room before it is refused.
    pub const PATIENCE: Duration = Duration::from_secs(2);

    /// A budget of this many bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Self::with_patience(bytes_max, Self::PATIENCE)
    }

    /// A budget whose requests wait this long for room.
    pub fn with_patience(bytes_max: u64, patience: Duration) -> Arc<Self> {
        Arc::new(Self { bytes_max, patience, used: Mutex::new(0), freed: Notify::new() })
    }

    /// A permit that holds nothing yet.
    pub fn open(self: &Arc<Self>) -> InflightPermit {
        InflightPermit { budget: Arc::clone(self), held: 0 }
    }

    /// Bytes held by all permits.
    pub fn used(&self) -> u64 {
        *self.used.lock()
    }

    /// Takes the bytes if they fit, or if nobody else holds any.
    fn try_take(&self, held: u64, bytes: u64) -> bool {
        let mut used = self.used.lock();
        let after = used.saturating_add(bytes);
        let fits = after <= self.bytes_max || *used == held;
        if fits {
            *used = after;
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let mut used = self.used.lock();
            *used = used.saturating_sub(bytes);
            drop(used);
            self.freed.notify_waiters();
        }
    }
}

impl InflightPermit {
    /// Bytes held.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Holds this many bytes more, waiting for room as long as the budget's patience lasts. Dropping the future takes
    /// nothing.
    ///
    /// # Errors
    /// `overloaded` when there was no room in time.
    pub async fn grow(&mut self, bytes: u64) -> Result<(), Problem> {
        if self.budget.try_take(self.held, bytes) {
            self.held = self.held.saturating_add(bytes);
            return Ok(());
        }
        let budget = Arc::clone(&self.budget);
        let held = self.held;
        let taken = tokio::time::timeout(budget.patience, async {
            loop {
                let freed = budget.freed.notified();
                tokio::pin!(freed);
                // Listening begins before the look, so that bytes freed in between are not missed.
                freed.as_mut().enable();
                if budget.try_take(held, bytes) {
                    return;
                }
                freed.await;
            }
        })
        .await;
        match taken {
            Ok(()) => {
                self.held = self.held.saturating_add(bytes);
                Ok(())
            }
            Err(_) => Err(Problem::new(
                ErrorCode::Overloaded,
                "The requests in flight fill the server's memory budget; send the request again after a pause.",
            )
            .with_limit(self.budget.bytes_max)),
        }
    }
}

impl Drop for InflightPermit {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_alone_is_admitted_however_large() {
        let budget = InflightBudget::new(10);
        let mut alone = budget.open();
        alone.grow(8).await.unwrap();
        alone.grow(100).await.unwrap();
        assert_eq!((alone.held(), budget.used()), (108, 108));
        drop(alone);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_request_without_room_is_refused_after_its_patience() {
        let budget = InflightBudget::with_patience(10, Duration::ZERO);
        let mut first = budget.open();
        first.grow(6).await.unwrap();
        let mut second = budget.open();
        let refusal = second.grow(5).await.unwrap_err();
        assert_eq!((refusal.code, refusal.limit), (ErrorCode::Overloaded, Some(10)));
        assert_eq!((second.held(), budget.used()), (0, 6));
    }

    #[tokio::test]
    async fn a_waiting_request_goes_on_when_room_is_freed() {
        let budget = InflightBudget::with_patience(10, Duration::MAX);
        let mut first = budget.open();
        first.grow(10).await.unwrap();
        let mut second = budget.open();
        let waiting = tokio::spawn(async move { second.grow(10).await.map(|()| second.held()) });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(10));
        assert_eq!(budget.used(), 0);
    }
}
