//! Bytes in flight: what requests hold in memory between the first byte of a body and its answer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::codec::{DecodeError, Room};
use crate::model::{ErrorCode, Problem};
use crate::tail::{Budget, Reservation};

/// The bytes that all requests together may hold. A large request is never refused when the others hold little, however large
/// it is: its own limits bound it, and seven eighths of the budget are counted for it at most, so that small ones get through
/// beside it for as long as it takes.
#[derive(Debug)]
pub struct InflightBudget {
    budget: Arc<Budget>,
    patience: Duration,
}

/// What one request holds; given back on drop.
#[derive(Debug)]
pub struct InflightPermit {
    /// What is counted of it.
    counted: Reservation,
    /// What it holds besides.
    beyond: u64,
    /// The most that is counted of it.
    counted_max: u64,
    patience: Duration,
}

/// The part of the budget that is not counted for any one request.
const OTHERS_PART: u64 = 8;

impl InflightBudget {
    /// How long a request waits for room before it is refused.
    pub const PATIENCE: Duration = Duration::from_secs(2);

    /// A budget of this many bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Self::with_patience(bytes_max, Self::PATIENCE)
    }

    /// A budget whose requests wait this long for room.
    pub fn with_patience(bytes_max: u64, patience: Duration) -> Arc<Self> {
        Arc::new(Self { budget: Budget::new(bytes_max), patience })
    }

    /// A permit that holds nothing yet.
    pub fn open(&self) -> InflightPermit {
        let limit = self.budget.limit();
        InflightPermit {
            counted: self.budget.open(),
            beyond: 0,
            counted_max: limit - limit / OTHERS_PART,
            patience: self.patience,
        }
    }

    /// Bytes held by all permits, as far as they are counted.
    pub fn used(&self) -> u64 {
        self.budget.used()
    }
}

impl InflightPermit {
    /// A permit of no budget, which holds whatever it is asked to.
    pub const fn none() -> Self {
        Self { counted: Reservation::none(), beyond: 0, counted_max: u64::MAX, patience: Duration::ZERO }
    }

    /// Bytes held.
    pub const fn held(&self) -> u64 {
        self.counted.bytes().saturating_add(self.beyond)
    }

    /// Holds this many bytes more, waiting for room as long as the budget's patience lasts. Dropping the future takes
    /// nothing.
    ///
    /// # Errors
    /// `overloaded` when there was no room in time.
    pub async fn grow(&mut self, bytes: u64) -> Result<(), Problem> {
        let counted = bytes.min(self.counted_max.saturating_sub(self.counted.bytes()));
        self.counted.grow(counted, self.patience).await.map_err(|full| {
            let detail =
                "The requests in flight fill the server's memory budget; send the request again after a pause.";
            Problem::new(ErrorCode::Overloaded, detail).with_limit(full.limit)
        })?;
        self.beyond = self.beyond.saturating_add(bytes - counted);
        Ok(())
    }

    /// As [`InflightPermit::grow`], for what a body becomes.
    ///
    /// # Errors
    /// [`DecodeError::NoRoom`] when there was no room in time.
    pub(super) async fn hold(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.grow(bytes).await.map_err(|problem| DecodeError::NoRoom { limit: problem.limit.unwrap_or(0) })
    }

    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        self.beyond = self.beyond.min(bytes.saturating_sub(self.counted.bytes()));
        self.counted.shrink_to(bytes);
    }

    /// Does work on a thread of its own, which holds more as it goes and waits there for room. When the future is dropped,
    /// the work goes on, and what is held is given back at its end.
    pub(super) async fn hold_in<T: Send + 'static>(&mut self, work: impl FnOnce(&Room) -> T + Send + 'static) -> T {
        let held = Arc::new(Mutex::new(std::mem::replace(self, Self::none())));
        let permit = Arc::clone(&held);
        let runtime = tokio::runtime::Handle::current();
        let working = move || {
            let room = Room::new(move |bytes| {
                let mut permit = permit.lock();
                runtime.block_on(permit.hold(bytes))
            });
            work(&room)
        };
        match tokio::task::spawn_blocking(working).await {
            Ok(done) => {
                *self = std::mem::replace(&mut held.lock(), Self::none());
                done
            }
            Err(err) => std::panic::resume_unwind(err.into_panic()),
        }
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
        assert_eq!((alone.held(), budget.used()), (108, 9));
        let mut small = budget.open();
        small.grow(1).await.unwrap();
        alone.shrink_to(20);
        assert_eq!((alone.held(), budget.used()), (20, 10));
        alone.shrink_to(4);
        assert_eq!((alone.held(), budget.used()), (4, 5));
        drop((alone, small));
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
