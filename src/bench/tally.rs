//! What is counted while a workload runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use crate::bench::client::{Answer, Fault};

/// Answers that a server under load may give: they are counted, and no fault.
const EXPECTED: [u16; 3] = [429, 503, 507];
/// How many unexpected answers are kept word for word.
const NOTES_MAX: usize = 5;
const NOTES_OF_A_KIND: u64 = 2;
/// Latencies in nanoseconds are counted to three digits, up to an hour.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// The counts of one part of a workload. Tasks of different threads seldom meet at the same tally.
#[derive(Debug)]
pub(super) struct Meter {
    name: &'static str,
    shards: Box<[Mutex<Tally>]>,
    unsent: AtomicU64,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Tally {
    requests: u64,
    records: u64,
    bytes: u64,
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    unexpected: u64,
    notes: Vec<String>,
    ended: Option<Instant>,
}

/// The figures of one part of a workload.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) requests_per_second: f64,
    pub(super) records_per_second: f64,
    /// Millions of bytes.
    pub(super) mb_per_second: f64,
    pub(super) latency_us: Option<Latency>,
    /// By status, or by a word.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) unexpected_errors: u64,
    /// What the first unexpected errors said.
    pub(super) error_notes: Vec<String>,
    /// Requests that were due, but for which the time did not suffice.
    pub(super) unsent: u64,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
    pub(super) count: u64,
}

/// What came of a request that brought no success.
pub(super) enum Failure<'f> {
    Refused(&'f Answer),
    Fault(&'f Fault),
    /// The server said yes, and something else than it should.
    Wrong(&'f str),
}

impl Meter {
    /// Counts for tasks on so many threads.
    pub(super) fn new(name: &'static str, threads: u32) -> Self {
        let shards = (0..threads).map(|_| Mutex::new(Tally::new())).collect();
        Self { name, shards, unsent: AtomicU64::new(0) }
    }

    /// Counts one success of a task: its records, the bytes of its bodies, and how long it took.
    pub(super) fn success(&self, task: usize, records: u64, bytes: u64, latency: Duration, at: Instant) {
        let mut tally = self.shard(task).lock();
        tally.requests += 1;
        tally.records += records;
        tally.bytes += bytes;
        tally.time(latency);
        tally.ended = tally.ended.max(Some(at));
    }

    /// Counts what a task has read of an answer that goes on.
    pub(super) fn read(&self, task: usize, records: u64, bytes: u64) {
        let at = Instant::now();
        let mut tally = self.shard(task).lock();
        tally.records += records;
        tally.bytes += bytes;
        tally.ended = tally.ended.max(Some(at));
    }

    /// Forgets what was counted, but for errors.
    pub(super) fn begin_anew(&self) {
        for shard in &self.shards {
            let mut tally = shard.lock();
            let before = std::mem::replace(&mut *tally, Tally::new());
            (tally.errors, tally.unexpected, tally.notes) = (before.errors, before.unexpected, before.notes);
        }
    }

    /// Counts what arrived at a task in one piece, with the latency of each record.
    pub(super) fn arrived(&self, task: usize, bytes: u64, latencies: &[Duration], at: Instant) {
        let mut tally = self.shard(task).lock();
        tally.records += latencies.len() as u64;
        tally.bytes += bytes;
        for latency in latencies {
            tally.time(*latency);
        }
        if !latencies.is_empty() {
            tally.ended = tally.ended.max(Some(at));
        }
    }

    /// Counts a request without success. Tells whether a server under load may answer so.
    pub(super) fn failure(&self, task: usize, failure: &Failure<'_>) -> bool {
        let (kind, note) = match failure {
            Failure::Refused(answer) if EXPECTED.contains(&answer.status) => (answer.status.to_string(), None),
            Failure::Refused(answer) => {
                let said = answer.refusal.as_deref().unwrap_or_default().trim();
                (answer.status.to_string(), Some(format!("status {}: {said}", answer.status)))
            }
            Failure::Fault(fault @ Fault::Connect(_)) => ("connect".to_owned(), Some(fault.to_string())),
            Failure::Fault(fault @ Fault::Broken(_)) => ("broken".to_owned(), Some(fault.to_string())),
            Failure::Fault(fault @ Fault::Timeout(_)) => ("timeout".to_owned(), Some(fault.to_string())),
            Failure::Wrong(what) => ("wrong".to_owned(), Some((*what).to_owned())),
        };
        let mut tally = self.shard(task).lock();
        let count = tally.errors.entry(kind).or_default();
        *count += 1;
        let count = *count;
        let expected = note.is_none();
        if let Some(note) = note {
            tally.unexpected += 1;
            // More of a kind say the same.
            if count <= NOTES_OF_A_KIND && tally.notes.len() < NOTES_MAX {
                tally.notes.push(note);
            }
        }
        expected
    }

    /// Counts requests that were due and are not sent any more.
    pub(super) fn unsent(&self, requests: u64) {
        self.unsent.fetch_add(requests, Ordering::Relaxed);
    }

    /// Its name, and requests, records and errors until now.
    pub(super) fn until_now(&self) -> (&'static str, u64, u64, u64) {
        let mut sums = (self.name, 0, 0, 0);
        for shard in &self.shards {
            let tally = shard.lock();
            sums.1 += tally.requests;
            sums.2 += tally.records;
            sums.3 += tally.errors.values().sum::<u64>();
        }
        sums
    }

    /// The figures, for a time that began here and ended with the last success, but not before it had lasted `least`: a server
    /// that takes nothing any more is not the faster for it.
    pub(super) fn part(&self, from: Instant, least: Option<Duration>) -> Part {
        let mut sum = Tally::new();
        for shard in &self.shards {
            sum.add(&shard.lock());
        }
        let lasted = sum.ended.map_or(Duration::ZERO, |ended| ended.saturating_duration_since(from));
        let seconds = lasted.max(least.unwrap_or_default()).as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Part {
            name: self.name,
            seconds,
            requests: sum.requests,
            records: sum.records,
            bytes: sum.bytes,
            requests_per_second: rate(sum.requests),
            records_per_second: rate(sum.records),
            mb_per_second: rate(sum.bytes) / 1e6,
            latency_us: Latency::of(&sum.latency),
            errors: sum.errors,
            unexpected_errors: sum.unexpected,
            error_notes: sum.notes,
            unsent: self.unsent.load(Ordering::Relaxed),
        }
    }

    fn shard(&self, task: usize) -> &Mutex<Tally> {
        &self.shards[task % self.shards.len()]
    }
}

impl Tally {
    fn new() -> Self {
        Self {
            requests: 0,
            records: 0,
            bytes: 0,
            latency: latencies(),
            errors: BTreeMap::new(),
            unexpected: 0,
            notes: Vec::new(),
            ended: None,
        }
    }

    fn time(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_MAX));
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        // Both have the same bounds: this cannot fail.
        self.latency += &other.latency;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.unexpected += other.unexpected;
        self.notes.extend(other.notes.iter().cloned());
        self.notes.truncate(NOTES_MAX);
        self.ended = self.ended.max(other.ended);
    }
}

/// An empty count of latencies in nanoseconds.
#[expect(clippy::expect_used, reason = "the bounds are constants; every test of a tally makes one")]
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_MAX, 3).expect("bounds of a histogram")
}

impl Latency {
    /// The figures of a count; none of an empty one.
    pub(super) fn of(counted: &Histogram<u64>) -> Option<Self> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile: f64| micros(counted.value_at_quantile(quantile));
        (!counted.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(counted.max()),
            mean: counted.mean() / 1e3,
            count: counted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_threads_are_summed() {
        let (meter, from) = (Meter::new("append", 2), Instant::now());
        let millis = Duration::from_millis;
        for task in 0..10_usize {
            meter.success(task, 2, 100, millis(task as u64 + 1), from + millis(1_000 + task as u64 * 100));
        }
        meter.arrived(3, 50, &[millis(20)], from + millis(2_000));
        meter.arrived(3, 7, &[], from + millis(9_000));
        let lasting = meter.part(from, Some(millis(4_200)));
        assert!((lasting.seconds - 4.2).abs() < 1e-9 && (lasting.records_per_second - 5.0).abs() < 1e-9, "{lasting:?}");
        let part = meter.part(from, Some(millis(1_000)));
        assert_eq!((part.requests, part.records, part.bytes), (10, 21, 1_057));
        assert!((part.seconds - 2.0).abs() < 1e-9 && (part.records_per_second - 10.5).abs() < 1e-9, "{part:?}");
        let latency = part.latency_us.unwrap();
        assert_eq!(latency.count, 11);
        for (figure, expected) in [(latency.p50, 6e3), (latency.p90, 1e4), (latency.p99, 2e4), (latency.max, 2e4)] {
            assert!((figure / expected - 1.0).abs() < 0.002, "{latency:?}");
        }
        assert_eq!(meter.until_now(), ("append", 10, 21, 0));
    }

    #[test]
    fn a_server_under_load_may_refuse_and_anything_else_is_told() {
        let meter = Meter::new("append", 1);
        let answer = |status| Answer { status, refusal: Some(format!("no {status}\n")) };
        for status in [503, 429, 507, 503] {
            assert!(meter.failure(0, &Failure::Refused(&answer(status))));
        }
        assert!(meter.part(Instant::now(), None).error_notes.is_empty());
        for _ in 0..10 {
            assert!(!meter.failure(0, &Failure::Refused(&answer(500))));
        }
        assert!(!meter.failure(0, &Failure::Fault(&Fault::Timeout(Duration::from_secs(1)))));
        let part = meter.part(Instant::now(), None);
        let errors: Vec<_> = part.errors.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(errors, [("429", 1), ("500", 10), ("503", 2), ("507", 1), ("timeout", 1)]);
        assert_eq!((part.unexpected_errors, part.error_notes.len()), (11, 3));
        assert_eq!(part.error_notes[0], "status 500: no 500");
        assert!(part.latency_us.is_none());
    }
}
