//! What ends a query that somebody no longer waits for, or that takes too long: asked wherever rows pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::common::Result;

use crate::model::Problem;
use crate::sql::error::{timed_out, told};
use crate::sql::limits::QueryLimits;

/// Whether a query goes on.
#[derive(Debug)]
pub(super) struct Watch {
    limits: QueryLimits,
    deadline: Instant,
    abandoned: AtomicBool,
}

impl Watch {
    /// The watch of a query that begins now.
    pub(super) fn begin(limits: QueryLimits) -> Self {
        Self { limits, deadline: Instant::now() + limits.timeout, abandoned: AtomicBool::new(false) }
    }

    /// When the query's time is over.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
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
