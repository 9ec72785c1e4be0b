//! Pages of a topic of ours, at random offsets.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::bench::BenchError;
use crate::bench::client::Client;
use crate::bench::offsets::Offsets;
use crate::bench::options::{Format, Options};
use crate::bench::pace::Pace;
use crate::bench::tally::{Failure, Meter};
use crate::bench::target::{Call, Target};

/// The server cuts a page at 8 MiB: past half of that it may hold fewer records than were asked for.
const CUT_BYTES: u64 = 4 << 20;

/// Pages of one topic.
#[derive(Debug)]
pub(super) struct Pages {
    call: Call,
    target: Target,
    limit: u64,
    /// Nothing before it is kept.
    earliest: u64,
    /// The topic has all records from there up to this at least.
    tail: AtomicU64,
    meter: Arc<Meter>,
}

impl Pages {
    /// Pages of a topic that has the records with these offsets.
    ///
    /// # Errors
    /// [`BenchError::Option`] where the options make no request that can be sent.
    pub(super) fn new(
        target: &Target,
        topic: &str,
        limit: u64,
        kept: Range<u64>,
        options: &Options,
        meter: Arc<Meter>,
    ) -> Result<Self, BenchError> {
        let call = target.call("GET", "/v1/topics/{topic}/records", topic, options)?;
        Ok(Self { call, target: target.clone(), limit, earliest: kept.start, tail: AtomicU64::new(kept.end), meter })
    }

    /// The topic has grown.
    pub(super) fn set_tail(&self, tail: u64) {
        self.tail.fetch_max(tail, Ordering::Relaxed);
    }

    /// Records in a page.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The offsets of the records that the topic is known to have.
    pub(super) fn kept(&self) -> Range<u64> {
        self.earliest..self.tail.load(Ordering::Relaxed)
    }

    /// Gets pages as one of the connections, until the pace ends.
    pub(super) async fn run(&self, connection: usize, pace: &Pace) {
        let mut client = Client::new(self.target.address());
        let mut turns = pace.turns(connection);
        let mut state = connection as u64;
        while let Some(turn) = turns.next(&self.meter).await {
            let kept = self.kept();
            let tail = kept.end;
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let offset = kept.start + (state >> 16) % (tail - kept.start).max(1);
            let (mut offsets, mut bytes) = (Offsets::of(Format::Json), 0);
            let ask = self.call.with_query(&format!("offset={offset}&limit={}", self.limit));
            let answer = client.ask(ask, |piece| {
                offsets.feed(piece);
                bytes += piece.len() as u64;
            });
            match answer.await {
                Ok(answer) if answer.refusal.is_some() => {
                    self.meter.failure(connection, &Failure::Refused(&answer));
                }
                Ok(_) => match self.fault(&offsets, offset, tail, bytes) {
                    Some(wrong) => {
                        self.meter.failure(connection, &Failure::Wrong(&wrong));
                    }
                    None if turn.measured => {
                        let now = Instant::now();
                        let latency = now.saturating_duration_since(turn.from);
                        self.meter.success(connection, offsets.count(), bytes, latency, now);
                    }
                    None => {}
                },
                Err(fault) => {
                    self.meter.failure(connection, &Failure::Fault(&fault));
                    return;
                }
            }
        }
    }

    /// What is wrong with a page, if anything is.
    fn fault(&self, page: &Offsets, offset: u64, tail: u64, bytes: u64) -> Option<String> {
        let least = if bytes > CUT_BYTES { 1 } else { self.limit.min(tail.saturating_sub(offset)) };
        if tail == self.earliest && page.count() == 0 {
            return None;
        }
        if page.first() != Some(offset) || page.jumps() > 0 {
            return Some(format!("a page from {offset} on begins with {:?} or is not dense", page.first()));
        }
        let whole = (least..=self.limit).contains(&page.count());
        (!whole).then(|| format!("a page of {} at {offset} of {tail} has {} records", self.limit, page.count()))
    }
}
