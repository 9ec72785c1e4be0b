//! When requests are sent: as fast as answers come, or by a schedule that does not wait for a server that stalls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::tally::Meter;

/// A timer wakes a task up to this much late by itself. A start that is later than that is late because its connection was
/// busy, or the generator was, and counts from when it was due.
const TIMER_SLACK: Duration = Duration::from_micros(2_500);

/// When the connections of a part send, and until when.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    measure_from: Instant,
    until: Option<Instant>,
    left: Option<AtomicU64>,
    rate: Option<Rate>,
    connections: u64,
}

/// How often requests are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Units a second, over all connections.
    pub(super) units: u64,
    /// Units of one request.
    pub(super) each: u64,
}

/// What a pace is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) warmup: Duration,
    /// Time after the warm-up; none is no end.
    pub(super) measured: Option<Duration>,
    /// Requests after the warm-up; none is no end.
    pub(super) count: Option<u64>,
    /// None is as fast as answers come.
    pub(super) rate: Option<Rate>,
    pub(super) connections: u32,
}

/// One request's turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// From when its latency counts.
    pub(super) from: Instant,
    /// Whether it is past the warm-up.
    pub(super) measured: bool,
}

/// The turns of one connection.
#[derive(Debug)]
pub(super) struct Turns<'p> {
    pace: &'p Pace,
    connection: u64,
    taken: u64,
}

impl Pace {
    /// A pace that begins now.
    pub(super) fn start(plan: Plan) -> Self {
        let start = Instant::now();
        let measure_from = start + plan.warmup;
        Self {
            start,
            measure_from,
            until: plan.measured.map(|time| measure_from + time),
            left: plan.count.map(AtomicU64::new),
            rate: plan.rate,
            connections: u64::from(plan.connections),
        }
    }

    /// When the warm-up ends.
    pub(super) fn measure_from(&self) -> Instant {
        self.measure_from
    }

    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether a refused request is sent again: at a rate the next one is due instead.
    pub(super) fn is_flood(&self) -> bool {
        self.rate.is_none()
    }

    /// The turns of a connection; they are spread evenly over all of them.
    pub(super) fn turns(&self, connection: usize) -> Turns<'_> {
        Turns { pace: self, connection: connection as u64, taken: 0 }
    }

    /// When the turn of this number is due, over all connections.
    fn due(&self, rate: Rate, number: u64) -> Instant {
        let nanos = u128::from(number) * u128::from(rate.each) * 1_000_000_000 / u128::from(rate.units);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many turns of a connection are due before the end, from one of its turns on.
    fn due_until(&self, until: Instant, rate: Rate, connection: u64, taken: u64) -> u64 {
        let nanos = until.saturating_duration_since(self.start).as_nanos();
        let all = nanos * u128::from(rate.units) / (1_000_000_000 * u128::from(rate.each));
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        let own = all.saturating_sub(connection).div_ceil(self.connections);
        own.saturating_sub(taken)
    }
}

impl Turns<'_> {
    /// Waits for the next turn; none is left at the end.
    pub(super) async fn next(&mut self, meter: &Meter) -> Option<Turn> {
        let from = match self.pace.rate {
            None => Instant::now(),
            Some(rate) => self.scheduled(rate, meter).await?,
        };
        if self.pace.until.is_some_and(|until| from >= until) {
            return None;
        }
        let measured = from >= self.pace.measure_from;
        if measured && let Some(left) = &self.pace.left {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        }
        self.taken += 1;
        Some(Turn { from, measured })
    }

    async fn scheduled(&self, rate: Rate, meter: &Meter) -> Option<Instant> {
        let due = self.pace.due(rate, self.taken * self.pace.connections + self.connection);
        let now = Instant::now();
        if let Some(until) = self.pace.until
            && now >= until
        {
            meter.unsent(self.pace.due_until(until, rate, self.connection, self.taken));
            return None;
        }
        if due <= now {
            return Some(due);
        }
        tokio::time::sleep_until(due.into()).await;
        let woken = Instant::now();
        Some(if woken < due + TIMER_SLACK { woken } else { due })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { units: 10_000, each: 10 };

    fn plan() -> Plan {
        Plan { connections: 2, ..Plan::default() }
    }

    #[tokio::test]
    async fn a_count_is_shared_by_the_connections() {
        let (pace, meter) = (Pace::start(Plan { count: Some(5), ..plan() }), Meter::new("append", 1));
        let (mut first, mut second) = (pace.turns(0), pace.turns(1));
        for _ in 0..2 {
            assert!(first.next(&meter).await.unwrap().measured);
            assert!(second.next(&meter).await.is_some());
        }
        assert!(second.next(&meter).await.is_some());
        assert!(first.next(&meter).await.is_none() && second.next(&meter).await.is_none());
        assert!(pace.is_flood() && !pace.is_over());
    }

    #[tokio::test]
    async fn the_warm_up_is_not_measured_and_uses_up_no_count() {
        let plan = Plan { warmup: Duration::from_secs(3_600), count: Some(1), ..plan() };
        let (pace, meter) = (Pace::start(plan), Meter::new("append", 1));
        let mut turns = pace.turns(0);
        for _ in 0..3 {
            assert!(!turns.next(&meter).await.unwrap().measured);
        }
    }

    #[tokio::test]
    async fn a_late_turn_counts_from_when_it_was_due() {
        let mut pace = Pace::start(Plan { rate: Some(RATE), count: Some(10), ..plan() });
        // A server that has stalled for a minute.
        pace.start -= Duration::from_secs(60);
        pace.measure_from = pace.start;
        let meter = Meter::new("append", 1);
        let mut turns = pace.turns(1);
        for turn in 0..3 {
            let due = pace.start + Duration::from_millis(turn * 2 + 1);
            assert_eq!(turns.next(&meter).await.unwrap().from, due);
        }
    }

    #[tokio::test]
    async fn what_was_due_and_is_not_sent_is_counted() {
        let plan = Plan { rate: Some(RATE), measured: Some(Duration::from_secs(1)), ..plan() };
        let (mut pace, meter) = (Pace::start(plan), Meter::new("append", 1));
        let mut turns = pace.turns(1);
        assert!(turns.next(&meter).await.is_some());
        pace.until = Some(pace.start + Duration::from_millis(11));
        tokio::time::sleep_until((pace.start + Duration::from_millis(12)).into()).await;
        let mut late = Turns { pace: &pace, connection: 1, taken: 1 };
        assert!(late.next(&meter).await.is_none());
        // 11 turns are due in 11 ms: 0, 2, … 10 of the first connection, 1, 3, … 9 of the second.
        assert_eq!(meter.part(pace.start, None).unsent, 4);
        assert_eq!(pace.due_until(pace.start + Duration::from_millis(11), RATE, 0, 0), 6);
    }
}
