//! One subscriber: a stream that stays open, and the records that arrive on it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::bench::BenchError;
use crate::bench::client::Client;
use crate::bench::marker::{Clock, Mark, Scanner};
use crate::bench::options::Options;
use crate::bench::tally::{Failure, Meter};
use crate::bench::target::{Call, Target};

/// How many connections are opened at a time.
const OPENING_MAX: usize = 64;
/// How long the server has, after the last subscription was answered, to mean it.
const SETTLE: Duration = Duration::from_millis(200);

/// What all subscribers share.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) meter: Arc<Meter>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    /// Nanoseconds since 1970 from which on records are measured.
    pub(super) measure_from: u64,
    /// Arrivals, those of the warm-up among them.
    pub(super) arrived: AtomicU64,
}

impl Following {
    /// Nothing has arrived; what is written from then on is measured.
    pub(super) fn new(meter: Arc<Meter>, clock: Clock, measure_from: Instant) -> Self {
        let measure_from = clock.nanos(measure_from);
        Self { meter, clock, stop: CancellationToken::new(), measure_from, arrived: AtomicU64::new(0) }
    }
}

/// A subscriber whose subscription was answered.
#[derive(Debug)]
pub(super) struct Subscriber {
    number: usize,
    topic: usize,
    client: Client,
    body: Incoming,
    seen: Seen,
}

/// What a subscriber has seen of one topic, by who has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The number that comes next of each writer.
    next: Vec<u64>,
    pub(super) lost: u64,
    pub(super) doubled: u64,
}

/// Opens all subscriptions, spread over the topics.
///
/// # Errors
/// [`BenchError::Refused`] for an answer that is no success, [`BenchError::Unreachable`] where none comes.
pub(super) async fn subscribe(
    target: &Target,
    topics: &[String],
    options: &Options,
    subscribers: u32,
) -> Result<Vec<Subscriber>, BenchError> {
    let calls = topics.iter().map(|topic| target.subscribe(topic, options)).collect::<Result<Vec<_>, _>>()?;
    let writers = options.connections() as usize;
    let opening = (0..subscribers as usize).map(|number| {
        let topic = number % calls.len();
        Subscriber::open(number, topic, target, &calls[topic], writers)
    });
    let opened = futures::stream::iter(opening).buffer_unordered(OPENING_MAX).try_collect().await?;
    if subscribers > 0 {
        tokio::time::sleep(SETTLE).await;
    }
    Ok(opened)
}

impl Subscriber {
    async fn open(
        number: usize,
        topic: usize,
        target: &Target,
        call: &Call,
        writers: usize,
    ) -> Result<Self, BenchError> {
        let mut client = Client::new(target.address());
        let response = client.begin(call.with_body(Bytes::new())).await.map_err(|fault| BenchError::Unreachable {
            url: target.url().to_owned(),
            cause: format!("subscriber {number}: {fault}"),
        })?;
        let status = response.status();
        if status.as_u16() != 200 {
            let said = format!("{:?}", response.headers());
            let what = format!("subscriber {number} cannot subscribe");
            return Err(BenchError::Refused { what, status: status.as_u16(), said });
        }
        Ok(Self { number, topic, client, body: response.into_body(), seen: Seen::nothing(writers) })
    }

    /// The topic that it subscribes to.
    pub(super) fn topic(&self) -> usize {
        self.topic
    }

    /// Takes what arrives until it is told to stop.
    pub(super) async fn follow(mut self, following: &Following) -> (usize, Seen) {
        let mut stopped = pin!(following.stop.cancelled());
        let mut scanner = Scanner::default();
        let mut latencies = Vec::new();
        loop {
            let piece = tokio::select! {
                biased;
                piece = self.client.piece(&mut self.body) => piece,
                () = &mut stopped => break,
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                ended => {
                    let why = ended.err().map_or("the server ended it".to_owned(), |fault| fault.to_string());
                    let told = format!("the stream of subscriber {} has ended: {why}", self.number);
                    following.meter.failure(self.number, &Failure::Wrong(&told));
                    break;
                }
            };
            let at = Instant::now();
            let now = following.clock.nanos(at);
            let mut arrived = 0;
            scanner.feed(&piece, |mark| {
                arrived += 1;
                self.seen.take(mark);
                if mark.nanos >= following.measure_from {
                    latencies.push(Duration::from_nanos(now.saturating_sub(mark.nanos)));
                }
            });
            following.arrived.fetch_add(arrived, Ordering::Relaxed);
            following.meter.arrived(self.number, measured_part(piece.len(), latencies.len(), arrived), &latencies, at);
            latencies.clear();
        }
        (self.topic, self.seen)
    }
}

/// The bytes of a piece that count, where so many of the records that end in it are measured.
fn measured_part(bytes: usize, measured: usize, arrived: u64) -> u64 {
    let share = bytes as u128 * measured as u128 / u128::from(arrived.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

impl Seen {
    fn nothing(writers: usize) -> Self {
        Self { next: vec![0; writers], lost: 0, doubled: 0 }
    }

    /// Takes a record. One that comes late counts as lost, and when it comes as doubled.
    fn take(&mut self, mark: Mark) {
        let Some(next) = self.next.get_mut(mark.writer()) else {
            self.doubled += 1;
            return;
        };
        if mark.number() < *next {
            self.doubled += 1;
        } else {
            self.lost += mark.number() - *next;
            *next = mark.number() + 1;
        }
    }

    /// Counts as lost what has not come of so many records of each writer.
    pub(super) fn end(&mut self, written: impl Iterator<Item = u64>) {
        for (next, written) in self.next.iter().zip(written) {
            self.lost += written.saturating_sub(*next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::marker::sequence;

    #[test]
    fn lost_doubled_and_late_records_are_told() {
        for (numbers, lost, doubled) in [
            (&[0, 1, 2, 3][..], 0, 0),
            (&[0, 1, 3], 1, 0),
            (&[0, 1, 2], 1, 0),
            (&[], 4, 0),
            (&[0, 1, 1, 2, 3], 0, 1),
            (&[0, 2, 1, 3], 1, 1),
        ] {
            let mut seen = Seen::nothing(2);
            for number in numbers {
                seen.take(Mark { sequence: sequence(1, *number), nanos: 0 });
            }
            seen.end([0, 4].into_iter());
            assert_eq!((seen.lost, seen.doubled), (lost, doubled), "{numbers:?}");
        }
    }

    #[test]
    fn what_comes_in_the_warm_up_is_not_measured() {
        assert_eq!(
            [(500, 0, 5), (500, 2, 5), (500, 5, 5), (13, 0, 0)].map(|(b, m, a)| measured_part(b, m, a)),
            [0, 200, 500, 0]
        );
    }

    #[test]
    fn a_record_of_nobody_is_one_too_many() {
        let mut seen = Seen::nothing(1);
        seen.take(Mark { sequence: sequence(1, 0), nanos: 0 });
        assert_eq!(seen.doubled, 1);
    }
}
