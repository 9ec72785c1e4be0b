//! Time of day, behind a seam.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Where the time of day comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present moment; may go backwards as the machine's clock does.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
