//! What ends a query that somebody no longer waits for, or that takes too long: asked wherever rows pass.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datafusion::common::Result;

use crate::model::Problem;
use crate::sql::error::{timed_out, told, untaken};
use crate::sql::limits::QueryLimits;

/// Whether a query goes on.
#[derive(Debug)]
pub(super) struct Watch {
    limits: QueryLimits,
    begun: Instant,
    deadline: Instant,
    abandoned: AtomicBool,
    /// When something of the answer was taken the last time, in milliseconds since the query has begun.
    taken_ms: AtomicU64,
}

impl Watch {
    /// The watch of a query that begins now.
    pub(super) fn begin(limits: QueryLimits) -> Self {
        let begun = Instant::now();
        let (abandoned, taken_ms) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { limits, begun, deadline: begun + limits.timeout, abandoned, taken_ms }
    }

    /// When the query's time is over.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes that something of the answer is taken.
    pub(super) fn take(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.taken_ms.store(ms, Ordering::Relaxed);
    }

    /// Until when an answer is held for whoever asked, that waits since then to be taken.
    pub(super) fn held_until(&self, since: Instant) -> Instant {
        let taken = self.begun + Duration::from_millis(self.taken_ms.load(Ordering::Relaxed));
        self.deadline.min(taken.max(since) + self.limits.reader_patience)
    }

    /// Why a query was ended before its answer: by its own time, or as nobody took it.
    pub(super) fn ending(&self) -> Problem {
        if Instant::now() >= self.deadline { timed_out(&self.limits) } else { untaken(&self.limits) }
    }

    /// Nobody waits for the query any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Ends the query where nobody waits for it or its time is over.
    pub(super) fn check(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(told(Problem::internal()));
        }
        if Instant::now() >= self.deadline {
            return Err(told(timed_out(&self.limits)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_held_from_when_something_of_it_was_taken_but_not_beyond_the_time_of_the_query() {
        let seconds = Duration::from_secs;
        let limits = QueryLimits { timeout: seconds(30), reader_patience: seconds(5), ..QueryLimits::default() };
        let watch = Watch::begin(limits);
        let begun = watch.begun;
        assert_eq!(watch.held_until(begun + seconds(2)), begun + seconds(7));
        watch.taken_ms.store(3_000, Ordering::Relaxed);
        assert_eq!(watch.held_until(begun + seconds(2)), begun + seconds(8));
        assert_eq!(watch.held_until(begun + seconds(4)), begun + seconds(9));
        assert_eq!(watch.held_until(begun + seconds(28)), begun + seconds(30));
        watch.take();
        assert!(watch.held_until(begun) < begun + seconds(8), "it was taken just now");
    }
}
