//! What a filter leaves out of a stream, and when the client must be told where it stands all the same.

use std::time::Duration;

use tokio::time::Instant;

/// So many records that were left out are told at once.
pub(super) const RECORDS_MAX: u64 = 1_000;
/// Fewer are told after so long.
const QUIET: Duration = Duration::from_secs(15);

/// The records that were left out since the client has last been told where it stands.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    records: u64,
    since: Option<Instant>,
}

impl LeftOut {
    /// Counts records that the client does not get.
    pub(super) fn add(&mut self, records: u64, now: Instant) {
        if records > 0 {
            self.records = self.records.saturating_add(records);
            self.since.get_or_insert(now);
        }
    }

    /// The client knows where it stands.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the client knows where it stands.
    pub(super) const fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// When it must be told at the latest.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + QUIET)
    }

    /// Whether it must be told now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.records >= RECORDS_MAX || self.due_at().is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_are_told_at_once_and_one_after_a_while() {
        let (now, mut left_out) = (Instant::now(), LeftOut::default());
        left_out.add(0, now);
        assert!(left_out.due_at().is_none() && !left_out.is_due(now + QUIET));
        left_out.add(RECORDS_MAX - 1, now);
        assert!(!left_out.is_due(now));
        left_out.add(1, now + QUIET / 2);
        assert!(left_out.is_due(now));
        left_out.clear();
        left_out.add(1, now);
        assert!(!left_out.is_due(now + QUIET / 2) && left_out.is_due(now + QUIET));
    }
}
