//! One connection that appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::bench::BenchError;
use crate::bench::client::{Client, Fault};
use crate::bench::marker::{Clock, sequence};
use crate::bench::options::Options;
use crate::bench::pace::Pace;
use crate::bench::record::{Shape, Wrap};
use crate::bench::tally::{Failure, Meter};
use crate::bench::target::{Call, Target};

/// How long is waited before a refused request is sent again.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// How long one request may be refused by a server under load before its connection gives up.
const REFUSED_MAX: Duration = Duration::from_secs(60);
/// How many requests in a row may have no answer before a connection gives up.
const FAULTS_MAX: u32 = 5;

/// What all appending connections of a part share.
#[derive(Debug)]
pub(super) struct Appending {
    pub(super) topics: Vec<Appended>,
    pub(super) shape: Shape,
    pub(super) pace: Pace,
    pub(super) meter: Arc<Meter>,
    pub(super) clock: Clock,
    pub(super) target: Target,
}

/// A topic that is appended to.
#[derive(Debug)]
pub(super) struct Appended {
    call: Call,
    wrap: Wrap,
    stored: AtomicU64,
    unsure: AtomicU64,
}

impl Appended {
    /// A topic to which nothing has been appended.
    ///
    /// # Errors
    /// [`BenchError::Option`] where the options make no request that can be sent.
    pub(super) fn new(topic: &str, target: &Target, shape: &Shape, options: &Options) -> Result<Self, BenchError> {
        Ok(Self {
            call: target.append(topic, options)?,
            wrap: shape.wrap(topic),
            stored: AtomicU64::new(0),
            unsure: AtomicU64::new(0),
        })
    }

    /// Records whose append was answered with a success, those of the warm-up among them.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Records of requests without an answer: they may be stored.
    pub(super) fn unsure(&self) -> u64 {
        self.unsure.load(Ordering::Relaxed)
    }
}

/// How far an attempt to append has come.
enum Sent {
    Stored,
    Refused,
    Unsure,
    GivenUp,
}

impl Appending {
    /// Appends as one of the connections, until the pace ends. Tells how many numbers of records it has used in each topic.
    pub(super) async fn run(&self, connection: usize) -> Vec<u64> {
        let mut client = Client::new(self.target.address());
        let mut turns = self.pace.turns(connection);
        let mut used = vec![0; self.topics.len()];
        let mut room = BytesMut::new();
        let mut faults = 0;
        let mut at = connection % self.topics.len();
        while let Some(turn) = turns.next(&self.meter).await {
            let topic = &self.topics[at];
            let number = sequence(connection, used[at]);
            let body = self.shape.body(&topic.wrap, number, self.clock.nanos(turn.from), &mut room);
            let bytes = body.len() as u64;
            match self.send(&mut client, topic, body, connection).await {
                Sent::Stored => {
                    faults = 0;
                    used[at] += self.shape.batch();
                    topic.stored.fetch_add(self.shape.batch(), Ordering::Relaxed);
                    if turn.measured {
                        let now = Instant::now();
                        let latency = now.saturating_duration_since(turn.from);
                        self.meter.success(connection, self.shape.batch(), bytes, latency, now);
                    }
                }
                // Nothing is stored, so that the numbers can be used again.
                Sent::Refused => faults = 0,
                Sent::GivenUp => break,
                Sent::Unsure => {
                    used[at] += self.shape.batch();
                    topic.unsure.fetch_add(self.shape.batch(), Ordering::Relaxed);
                    faults += 1;
                    if faults >= FAULTS_MAX {
                        break;
                    }
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
            at = (at + 1) % self.topics.len();
        }
        used
    }

    /// Sends a body; where a server under load refuses it, again and again unless the next is due at its own time.
    async fn send(&self, client: &mut Client, topic: &Appended, body: Bytes, connection: usize) -> Sent {
        let began = Instant::now();
        loop {
            match client.ask(topic.call.with_body(body.clone()), |_| ()).await {
                Ok(answer) if answer.refusal.is_none() => return Sent::Stored,
                Ok(answer) => {
                    let expected = self.meter.failure(connection, &Failure::Refused(&answer));
                    if expected && !self.pace.is_flood() {
                        return Sent::Refused;
                    }
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    if !expected || self.pace.is_over() {
                        return Sent::Refused;
                    }
                    if began.elapsed() >= REFUSED_MAX {
                        let told = format!("refused for {} s, at last with {}", REFUSED_MAX.as_secs(), answer.status);
                        self.meter.failure(connection, &Failure::Wrong(&told));
                        return Sent::GivenUp;
                    }
                }
                Err(fault) => {
                    self.meter.failure(connection, &Failure::Fault(&fault));
                    if !matches!(fault, Fault::Connect(_)) {
                        return Sent::Unsure;
                    }
                    // Nothing was sent.
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    return Sent::Refused;
                }
            }
        }
    }
}
