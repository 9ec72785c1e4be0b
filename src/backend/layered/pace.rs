//! When a topic's next commit is due: by size, by age, because somebody waits; and when it is tried again.

use std::time::{Duration, Instant};

use crate::model::{Offset, Timestamp};
use crate::table::TableError;
use crate::tail::TailSize;

/// Text that is due for a commit however young it is.
const DUE_BYTES: u64 = 32 << 20;
/// Failures in a row that make a topic degraded.
pub(super) const FAILURES_MAX: u32 = 3;
/// The longest pause between two tries of a degraded topic.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Waiters start at most one commit in this time.
const WAITER_PAUSE: Duration = Duration::from_millis(500);

/// Why a commit is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// By size, or because somebody waits.
    Now {
        /// When its oldest record came in.
        since: Timestamp,
    },
    /// By age alone, for so many milliseconds.
    Aged(u64),
    /// Not yet.
    Not,
}

/// What decides when a topic commits.
#[derive(Debug)]
pub(super) struct Pace {
    batch_size: u64,
    flush_interval_ms: u64,
    /// Somebody waits for a commit of everything before it.
    wanted: Offset,
    started: Option<Instant>,
    /// The oldest pending record's time, and since when it is known to be that. Its age counts from there at the latest: the
    /// wall clock may have been put back since, by years.
    oldest: Option<(Timestamp, Instant)>,
    failures: u32,
    retry_at: Option<Instant>,
    reason: Option<&'static str>,
}

impl Pace {
    /// The pace of a topic that commits only when somebody waits or much has gathered.
    pub(super) const fn new() -> Self {
        Self {
            batch_size: u64::MAX,
            flush_interval_ms: u64::MAX,
            wanted: Offset::ZERO,
            started: None,
            oldest: None,
            failures: 0,
            retry_at: None,
            reason: None,
        }
    }

    /// From how many records on, and from which age on, a commit is due.
    pub(super) const fn configure(&mut self, batch_size: u64, flush_interval_ms: u64) {
        self.batch_size = batch_size;
        self.flush_interval_ms = flush_interval_ms;
    }

    /// Somebody waits until everything before `next` is committed.
    pub(super) fn demand(&mut self, next: Offset) {
        self.wanted = self.wanted.max(next);
    }

    /// Whether a commit of what the tail holds is due.
    pub(super) fn due(&mut self, size: TailSize, committed: Offset, now: Instant, wall_ms: u64) -> Due {
        let Some(oldest) = size.oldest else { return Due::Not };
        let (_, since) =
            *self.oldest.insert(self.oldest.filter(|(known, _)| *known == oldest).unwrap_or((oldest, now)));
        if self.retry_at.is_some_and(|at| now < at) {
            return Due::Not;
        }
        let is_wanted = self.wanted > committed;
        let is_rested = self.started.is_none_or(|started| now.duration_since(started) >= WAITER_PAUSE);
        if (is_wanted && is_rested) || size.bytes >= DUE_BYTES || size.records >= self.batch_size {
            return Due::Now { since: oldest };
        }
        let by_wall = wall_ms.saturating_sub(u64::try_from(oldest.as_micros() / 1_000).unwrap_or_default());
        let seen = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let age_ms = by_wall.max(seen);
        if age_ms >= self.flush_interval_ms { Due::Aged(age_ms) } else { Due::Not }
    }

    /// A commit has begun.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.started = Some(now);
        // With the clock behind, the records that follow have the same time.
        self.oldest = None;
    }

    /// A commit has held.
    pub(super) const fn succeed(&mut self) {
        self.failures = 0;
        self.retry_at = None;
        self.reason = None;
    }

    /// A commit has failed; the how manieth in a row. The next one is tried after a pause.
    pub(super) fn fail(&mut self, err: &TableError, now: Instant) -> u32 {
        self.failures = match err {
            TableError::Foreign { .. } => self.failures.max(FAILURES_MAX - 1) + 1,
            TableError::Failed { .. } | TableError::DiskFull | TableError::VersionGone { .. } => {
                self.failures.saturating_add(1)
            }
        };
        let pause = Duration::from_millis(250).saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.retry_at = Some(now + pause);
        self.reason = Some(match err {
            TableError::Foreign { .. } => "its dataset is not what was written",
            TableError::DiskFull => "the disk is full",
            TableError::Failed { .. } | TableError::VersionGone { .. } => "its dataset cannot be written",
        });
        self.failures
    }

    /// Whether the last commit has failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Why it has, in a sentence.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(records: u64, bytes: u64) -> TailSize {
        TailSize { records, bytes, text: bytes, oldest: Some(Timestamp::from_micros(1_000_000)) }
    }

    #[test]
    fn a_commit_is_due_by_size_by_age_or_for_somebody_who_waits() {
        let now = Instant::now();
        let since = Timestamp::from_micros(1_000_000);
        let mut pace = Pace::new();
        pace.configure(10, 500);
        let due = |pace: &mut Pace, size, wall_ms| pace.due(size, Offset::ZERO, now, wall_ms);
        assert_eq!(due(&mut pace, TailSize::default(), 9_000), Due::Not);
        assert_eq!(due(&mut pace, held(9, 1), 1_499), Due::Not);
        assert_eq!(due(&mut pace, held(9, 1), 1_500), Due::Aged(500));
        assert_eq!(due(&mut pace, held(10, 1), 1_000), Due::Now { since });
        assert_eq!(due(&mut pace, held(1, DUE_BYTES), 1_000), Due::Now { since });
        pace.demand(Offset::MAX);
        assert_eq!(due(&mut pace, held(1, 1), 1_000), Due::Now { since });
        pace.begin(now);
        assert_eq!(due(&mut pace, held(1, 1), 1_000), Due::Not);
        assert_eq!(pace.due(held(1, 1), Offset::ZERO, now + WAITER_PAUSE, 1_000), Due::Now { since });
    }

    #[test]
    fn with_the_clock_put_back_age_is_what_has_gone_by() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut pace = Pace::new();
        pace.configure(10, 1_500);
        // The record is of a second that is still to come.
        let due = |pace: &mut Pace, at| pace.due(held(1, 1), Offset::ZERO, at, 0);
        assert_eq!(due(&mut pace, now), Due::Not);
        assert_eq!(due(&mut pace, now + second), Due::Not);
        assert_eq!(due(&mut pace, now + 2 * second), Due::Aged(2_000));
        pace.begin(now + 2 * second);
        pace.succeed();
        assert_eq!(due(&mut pace, now + 3 * second), Due::Not, "another record of the same time");
    }

    #[test]
    fn a_commit_that_failed_is_tried_after_ever_longer_pauses() {
        let now = Instant::now();
        let mut pace = Pace::new();
        pace.configure(1, 0);
        let failed = TableError::Failed { cause: String::new() };
        let due_after = |pace: &mut Pace, pause| pace.due(held(1, 1), Offset::ZERO, now + pause, 1_000) != Due::Not;
        assert_eq!((pace.fail(&failed, now), pace.fail(&TableError::DiskFull, now)), (1, 2));
        assert!(pace.is_failing() && pace.reason().as_deref() == Some("the disk is full"));
        assert!(!due_after(&mut pace, Duration::from_millis(999)) && due_after(&mut pace, Duration::from_secs(1)));
        assert!((0..40).all(|_| pace.fail(&failed, now) >= FAILURES_MAX));
        assert!(!due_after(&mut pace, BACKOFF_MAX - Duration::from_millis(1)) && due_after(&mut pace, BACKOFF_MAX));
        pace.succeed();
        assert!(!pace.is_failing() && pace.reason().is_none() && due_after(&mut pace, Duration::ZERO));
        // What is not ours is no matter of tries.
        assert_eq!(pace.fail(&TableError::Foreign { reason: String::new() }, now), FAILURES_MAX);
    }
}
