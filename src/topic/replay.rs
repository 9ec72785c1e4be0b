//! Quarantined records, tried again.
//!
//! A replay goes through the quarantine from its earliest record to the tail that it finds, a run at a time. What fits by now
//! is appended to the topic, what does not goes back to the quarantine's end with today's reason, both in one entry of the
//! log; then the run is trimmed. The entry's writer is a producer that no client can be, whose epoch is the offset past the
//! run: so the topic's own state of producers says how far replays have come, and a crash between entry and trim repeats
//! nothing.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::backend::StorageError;
use crate::codec::{Body, Chunk, Decoded, Form, Sifted};
use crate::model::{ErrorCode, Offset, Problem, ProducerWrite, Timestamp, TopicId, Writer};
use crate::topic::producers::Producers;
use crate::topic::quarantine::{Misfits, Origin};
use crate::topic::{AppendRequest, InflightPermit, Topic};

/// How much of a quarantine is tried at once.
const RUN_RECORDS: usize = 1_000;
const RUN_BYTES: usize = 1 << 20;
/// How often it is looked anew whether an earlier replay is durable, where the log has refused something meanwhile.
const FINISHED_TRIES: u32 = 8;

/// What became of quarantined records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many are in the topic now.
    pub replayed: u64,
    /// How many are still in the quarantine.
    pub left: u64,
}

/// Some quarantined records.
struct Run {
    body: Bytes,
    origins: Arc<[Origin]>,
    /// The offset past them in the quarantine.
    next: Offset,
}

impl Run {
    /// The records of some chunks of a quarantine.
    fn of(chunks: &[Chunk], from: Offset) -> Option<Self> {
        let (mut body, mut origins) = (Vec::new(), Vec::new());
        let mut next = from;
        for chunk in chunks {
            for index in 0..chunk.len() {
                let kept: Value = serde_json::from_slice(chunk.value(index)).ok()?;
                body.push(if origins.is_empty() { b'[' } else { b',' });
                body.extend_from_slice(kept.get("body")?.as_str()?.as_bytes());
                let quarantined_at = kept.get("quarantined_at").and_then(Value::as_str).unwrap_or_default();
                origins.push(Origin {
                    record: kept.get("record").and_then(Value::as_u64).unwrap_or_default(),
                    quarantined_at: Timestamp::parse_rfc3339(quarantined_at).unwrap_or(chunk.time(index)),
                });
            }
            next = chunk.next();
        }
        body.push(b']');
        Some(Self { body: Bytes::from(body), origins: origins.into(), next })
    }
}

/// The producer that replays of a quarantine write as. The space keeps every client from being it.
fn replayer(quarantine: TopicId) -> Arc<str> {
    format!("quarantine {quarantine}").into()
}

fn replayed_through(producers: &Producers, quarantine: TopicId) -> Option<Offset> {
    producers.epoch_of(&replayer(quarantine)).and_then(Offset::new)
}

impl Topic {
    /// Tries the records of the topic's quarantine again, each once.
    ///
    /// # Errors
    /// `unsupported_by_backend` where there can be no quarantine; `topic_closed`; what refuses an append. What was replayed
    /// before stays so, and a later call goes on.
    pub async fn replay_quarantine(self: &Arc<Self>) -> Result<Replayed, Problem> {
        if let Some(of) = self.name.quarantined() {
            let detail = format!("This is the quarantine of {of}: replay it at /v1/topics/{of}/quarantine/replay.");
            return Err(Problem::new(ErrorCode::UnsupportedByBackend, detail));
        }
        if self.told_on_invalid().is_none() {
            return Err(self.services.no_quarantine());
        }
        let topic = Arc::clone(self);
        self.services.detach(async move { topic.replay_alone().await }).await
    }

    async fn replay_alone(self: Arc<Self>) -> Result<Replayed, Problem> {
        let _alone = self.replaying.lock().await;
        let Some(quarantine) = self.quarantine(false).await? else { return Ok(Replayed::default()) };
        let mut next = self.finish_replay(&quarantine).await?;
        let (end, refusals) = {
            let log = quarantine.log.lock();
            (log.next, log.rewinds)
        };
        // What is in flight is looked at when it is there.
        let end =
            if quarantine.is_logged(end, refusals).await { end } else { quarantine.backend.levels().now().readable };
        // Runs behind the last record that fits stay as they are.
        let end = self.last_fit(&quarantine, next, end).await?;
        let mut replayed = 0;
        while next < end {
            let Some(run) = self.run(&quarantine, next, end).await? else { break };
            let (past, records) = (run.next, run.origins.len() as u64);
            let writer = Writer::Producer(ProducerWrite { id: replayer(quarantine.id), epoch: past.get(), seq: 0 });
            // The run leaves the quarantine for good then: in memory alone it is not in the topic yet.
            let ack = Some(self.settings.load().acks.default.max(self.durable_level()));
            let ask = AppendRequest { ack, writer, ..AppendRequest::plain(Body::text(run.body, Form::Json)) };
            // A run is small.
            let mut permit = InflightPermit::none();
            let receipt = self
                .append_and_settle(ask, Misfits::Return(run.origins), &mut permit, 0)
                .await
                .map_err(Problem::from)?;
            replayed += records - receipt.quarantined.min(records);
            quarantine.trim(past).await?;
            next = past;
        }
        Ok(Replayed { replayed, left: quarantine.backend.total_count() })
    }

    /// Trims what an earlier replay has dealt with; where the next one begins.
    async fn finish_replay(&self, quarantine: &Arc<Topic>) -> Result<Offset, Problem> {
        for _ in 0..FINISHED_TRIES {
            let (done, next, rewinds) = {
                let log = self.log.lock();
                (replayed_through(&log.producers, quarantine.id), log.next, log.rewinds)
            };
            let earliest = quarantine.backend.levels().now().earliest;
            let Some(done) = done.filter(|done| *done > earliest) else { return Ok(earliest) };
            // It was noted when the run's entry was sequenced, which the log may refuse yet, or never have taken.
            if self.settled(next, self.durable_level(), rewinds).await?.is_some() {
                return quarantine.trim(done).await;
            }
        }
        // Something is refused all the time.
        Err(StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem())
    }

    /// How far replays of a quarantine have come, where that is known.
    pub(crate) fn replayed_through(&self, quarantine: TopicId) -> Option<Offset> {
        replayed_through(&self.log.lock().producers, quarantine)
    }

    /// Trims what a replay has dealt with before a crash, so that what is known of it may be forgotten.
    pub(crate) async fn settle_replay(self: &Arc<Self>) {
        let _alone = self.replaying.lock().await;
        let settled = async {
            match self.quarantine(false).await? {
                Some(quarantine) => self.finish_replay(&quarantine).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(problem) = settled.await {
            tracing::warn!(topic = %self.name, detail = %problem.detail, "a replay of {} is to be finished by the next", self.name);
        }
    }

    /// Some records of the quarantine.
    async fn run(&self, quarantine: &Topic, from: Offset, end: Offset) -> Result<Option<Run>, Problem> {
        let records = usize::try_from(end.since(from)).unwrap_or(usize::MAX).min(RUN_RECORDS);
        let chunks = quarantine.get(from, records, RUN_BYTES).await?;
        if chunks.is_empty() {
            return Ok(None);
        }
        let run = Run::of(&chunks, from).ok_or_else(|| {
            tracing::error!(topic = %quarantine.name, %from, "what {} holds is no quarantined record", quarantine.name);
            Problem::internal()
        });
        run.map(Some)
    }

    /// The end of the last run that has a record which fits; `from` where there is none.
    async fn last_fit(&self, quarantine: &Topic, from: Offset, end: Offset) -> Result<Offset, Problem> {
        let (mut next, mut fit) = (from, from);
        while next < end {
            let Some(run) = self.run(quarantine, next, end).await? else { break };
            next = run.next;
            let ask = AppendRequest::plain(Body::text(run.body, Form::Json));
            let Sifted { taken, .. } =
                self.decode_again(&ask, &self.basis()).await.map_err(crate::codec::DecodeError::into_problem)?;
            let fits = match &taken {
                Decoded::Fits(records) => !records.values.is_empty(),
                Decoded::Evolves(_) => true,
            };
            if fits {
                fit = next;
            }
        }
        Ok(fit)
    }
}
