//! Reading a topic of ours from its first record on.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use http::header::ACCEPT;

use crate::bench::BenchError;
use crate::bench::client::Client;
use crate::bench::offsets::Offsets;
use crate::bench::options::{Format, Options};
use crate::bench::tally::{Failure, Meter};
use crate::bench::target::{Ask, Call, Target};

/// How a topic is read through.
#[derive(Debug)]
pub(super) struct CatchUp {
    call: Call,
    target: Target,
    format: Format,
    limit: u64,
    meter: Arc<Meter>,
}

impl CatchUp {
    /// Reads of a topic in a form, in pages of so many records where it has pages.
    ///
    /// # Errors
    /// [`BenchError::Option`] where the options make no request that can be sent.
    pub(super) fn new(
        target: &Target,
        topic: &str,
        format: Format,
        options: &Options,
        meter: Arc<Meter>,
    ) -> Result<Self, BenchError> {
        let (path, accept) = match format {
            Format::Json => ("/v1/topics/{topic}/records", "application/json"),
            Format::Ndjson => ("/v1/topics/{topic}/records", "application/x-ndjson"),
            Format::Sse => ("/v1/topics/{topic}/stream", "text/event-stream"),
        };
        let call = target.call("GET", path, topic, options)?.with(ACCEPT, accept)?;
        let limit = if format == Format::Json { options.limit() } else { u64::MAX };
        Ok(Self { call, target: target.clone(), format, limit, meter })
    }

    /// Reads the records of a range of offsets once, as one of the readers. Tells whether they came whole and in order.
    pub(super) async fn pass(&self, reader: usize, range: Range<u64>) -> bool {
        let mut client = Client::for_long_answers(self.target.address());
        let mut offsets = Offsets::of(self.format);
        let count = range.end - range.start;
        while offsets.count() < count {
            let before = offsets.count();
            offsets.begin();
            let began = Instant::now();
            let ask = self.ask(range.start + before, self.limit.min(count - before));
            if !self.read(reader, &mut client, ask, &mut offsets).await {
                return false;
            }
            let now = Instant::now();
            let wrong = if offsets.first().is_some_and(|first| first != range.start) || offsets.jumps() > 0 {
                Some(format!("offsets are not dense before {}", offsets.next()))
            } else if offsets.count() == before || offsets.count() > count {
                Some(format!("{} records came where {count} were to come", offsets.count()))
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.meter.failure(reader, &Failure::Wrong(&wrong));
                return false;
            }
            self.meter.success(reader, 0, 0, now - began, now);
        }
        true
    }

    fn ask(&self, offset: u64, limit: u64) -> Ask {
        self.call.with_query(&format!("offset={offset}&limit={limit}"))
    }

    /// One answer, counted as it comes. Tells whether it came.
    async fn read(&self, reader: usize, client: &mut Client, ask: Ask, offsets: &mut Offsets) -> bool {
        let answer = client.ask(ask, |piece| {
            let before = offsets.count();
            offsets.feed(piece);
            self.meter.read(reader, offsets.count() - before, piece.len() as u64);
        });
        match answer.await {
            Ok(answer) if answer.refusal.is_none() => true,
            Ok(answer) => {
                self.meter.failure(reader, &Failure::Refused(&answer));
                false
            }
            Err(fault) => {
                self.meter.failure(reader, &Failure::Fault(&fault));
                false
            }
        }
    }
}
