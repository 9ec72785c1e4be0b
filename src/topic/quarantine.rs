//! Records that do not fit a topic's columns: kept in a topic beside it, in the same entry of the log as those that do.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::backend::{Sequenced, StorageError};
use crate::codec::{Body, Decoded, Form, Records};
use crate::model::{Ack, Durability, ErrorCode, Offset, OnInvalid, Problem, RecordError, Timestamp};
use crate::tail::{Levels, Reservation};
use crate::topic::log::{Aside, Log, Phase};
use crate::topic::producers::StoredReceipt;
use crate::topic::room::bytes_of;
use crate::topic::{AppendRequest, Topic};

/// Makes and opens the quarantines of topics.
#[async_trait]
pub(crate) trait Quarantines: Send + Sync {
    /// The quarantine of a topic; made where there is none and it is to be, else none.
    ///
    /// # Errors
    /// What keeps it from being opened or made.
    async fn quarantine_of(self: Arc<Self>, topic: &Topic, make: bool) -> Result<Option<Arc<Topic>>, Problem>;
}

/// Where a quarantined record comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Its index in its request.
    pub(super) record: u64,
    /// When it was quarantined first.
    pub(super) quarantined_at: Timestamp,
}

/// What becomes of an append's records that do not fit.
#[derive(Clone, Debug)]
pub(super) enum Misfits {
    /// What the topic is set to.
    AsSet,
    /// They go back to the quarantine, where they come from.
    Return(Arc<[Origin]>),
}

/// Records on their way to a topic, with those on their way to its quarantine.
pub(super) struct Batch {
    pub(super) records: Records,
    pub(super) reservation: Reservation,
    pub(super) quarantined: Option<Quarantined>,
}

/// Records on their way to a quarantine.
pub(super) struct Quarantined {
    topic: Arc<Topic>,
    records: Records,
    reservation: Reservation,
}

/// A record of a quarantine.
#[derive(Serialize)]
struct Kept<'a> {
    code: &'static str,
    pointer: String,
    detail: String,
    record: u64,
    body: &'a str,
    #[serde(serialize_with = "as_text")]
    quarantined_at: Timestamp,
}

fn as_text<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// The columns of every quarantine.
pub(crate) fn quarantine_schema() -> Value {
    json!({"fields": [
        {"name": "code", "type": "string"},
        {"name": "pointer", "type": "string"},
        {"name": "detail", "type": "string"},
        {"name": "record", "type": "uint64"},
        {"name": "body", "type": "string"},
        {"name": "quarantined_at", "type": "timestamp"},
    ]})
}

/// What cannot be asked of a quarantine: its records are the service's.
pub(crate) fn is_the_services() -> Problem {
    let detail = "A quarantine's records and columns are the service's own: it can be read, trimmed, deleted and given another \
                  retention.";
    Problem::new(ErrorCode::Immutable, detail)
}

impl Topic {
    /// Whether records that do not fit are kept.
    pub(super) fn quarantines(&self) -> bool {
        self.settings.load().on_invalid == OnInvalid::Quarantine
    }

    /// The topic's quarantine; made where there is none and it is to be.
    pub(super) async fn quarantine(&self, make: bool) -> Result<Option<Arc<Topic>>, Problem> {
        if let Some(known) = self.quarantine.load_full()
            && known.log.lock().phase == Phase::Open
        {
            return Ok(Some(known));
        }
        let engine =
            self.services.quarantines.get().and_then(std::sync::Weak::upgrade).ok_or_else(Problem::internal)?;
        let found = engine.quarantine_of(self, make).await?;
        if let Some(found) = &found {
            self.quarantine.store(Some(Arc::clone(found)));
        }
        Ok(found)
    }

    /// Whether it is being deleted.
    pub(crate) fn is_ending(&self) -> bool {
        self.log.lock().phase == Phase::Deleting
    }

    /// Makes ready what is to be kept of records that do not fit, with room for them and for those that do.
    pub(super) async fn set_aside(
        &self,
        ask: &AppendRequest,
        misfits: &Misfits,
        refused: Vec<(Range<usize>, RecordError)>,
        taken: &Decoded,
    ) -> Result<(Reservation, Quarantined), Problem> {
        let topic = self.quarantine(true).await?.ok_or_else(Problem::internal)?;
        let now = self.services.clock.now();
        let mut lines = Vec::new();
        for (span, error) in refused {
            let index = usize::try_from(error.record).unwrap_or(usize::MAX);
            let origin = match misfits {
                Misfits::Return(origins) => origins.get(index).copied(),
                Misfits::AsSet => None,
            };
            let Origin { record, quarantined_at } =
                origin.unwrap_or(Origin { record: error.record, quarantined_at: now });
            let body = ask.body.as_text().get(span).and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
            let RecordError { code, pointer, detail, .. } = error;
            let kept = Kept { code: code.as_str(), pointer, detail, record, body, quarantined_at };
            serde_json::to_writer(&mut lines, &kept).map_err(|_| Problem::internal())?;
            lines.push(b'\n');
        }
        let basis = topic.basis();
        let kept = AppendRequest::plain(Body::text(Bytes::from(lines), Form::Ndjson));
        let decoded = topic.decode_unbounded(&kept, &basis).await.map_err(|error| {
            tracing::error!(topic = %self.name, %error, "records of {} cannot be quarantined", self.name);
            Problem::internal()
        })?;
        // A quarantine that cannot be written is told.
        drop(topic.reserve(0).await?);
        // The two are stored by one log and in one budget, where the one would be in the way of the other.
        let own = bytes_of(taken);
        let mut both = self.reserve(own.saturating_add(bytes_of(&decoded))).await?;
        let of_topic = both.split(own);
        let Decoded::Fits(records) = decoded else { return Err(Problem::internal()) };
        Ok((of_topic, Quarantined { topic, records, reservation: both }))
    }

    /// Waits until everything that was sequenced before `next` is in the log; false where it has been refused since
    /// `refusals` were counted, or cannot be known.
    pub(super) async fn is_logged(&self, next: Offset, refusals: u64) -> bool {
        let is_told =
            |levels: &Levels| levels.durable >= next || levels.refusals != refusals || levels.failed.is_some();
        let levels = self.backend.levels().wait_for(is_told).await;
        levels.durable >= next && levels.refusals == refusals
    }

    /// Waits until the log has taken or refused every record that was sequenced, those of the quarantine too; false where it
    /// has failed. For a topic that is being deleted, which sequences nothing more.
    pub(crate) async fn has_settled(&self) -> bool {
        let quarantine = self.quarantine.load_full();
        self.own_have_settled().await
            && match quarantine {
                Some(quarantine) => quarantine.own_have_settled().await,
                None => true,
            }
    }

    async fn own_have_settled(&self) -> bool {
        loop {
            // In this order: a refusal that comes in between shows in the offset.
            let refusals = self.backend.levels().now().refusals;
            let next = self.log.lock().next;
            let is_told =
                |levels: &Levels| levels.durable >= next || levels.refusals != refusals || levels.failed.is_some();
            let levels = self.backend.levels().wait_for(is_told).await;
            if levels.durable >= self.log.lock().next {
                return true;
            }
            if levels.failed.is_some() {
                return false;
            }
        }
    }

    /// What is told of what becomes of records that do not fit; none where there can be no quarantine.
    pub(super) fn told_on_invalid(&self) -> Option<OnInvalid> {
        let settings = self.settings.load();
        let can = self.factory.quarantines(&settings.options) && !self.name.is_reserved();
        can.then_some(settings.on_invalid)
    }

    /// Where the quarantine stands, with the refusals that it had by then; none where none is known.
    pub(super) fn quarantine_position(&self) -> Option<(Arc<Topic>, Offset, u64)> {
        let quarantine = self.quarantine.load_full()?;
        let (next, rewinds) = {
            let log = quarantine.log.lock();
            (log.next, log.rewinds)
        };
        Some((quarantine, next, rewinds))
    }

    /// How durable the quarantined records of an earlier request are, at least as asked; none where something was refused
    /// meanwhile, so that it must be looked for again.
    pub(super) async fn quarantined_reached(&self, ack: Ack) -> Result<Option<Durability>, Problem> {
        if self.quarantine(false).await?.is_none() {
            // Deleted, with the records.
            return Ok(Some(Ack::Committed));
        }
        let Some((quarantine, next, refusals)) = self.quarantine_position() else { return Ok(Some(Ack::Committed)) };
        if !quarantine.is_logged(next, refusals).await {
            // A log that has failed tells nothing more, however often it is asked.
            let failed = quarantine.backend.levels().now().failed;
            return failed.map_or(Ok(None), |code| Err(self.storage_problem(&StorageError::Unwritable { code })));
        }
        match quarantine.settled(next, ack, refusals).await {
            Err(problem) if problem.code == ErrorCode::TopicNotFound => Ok(Some(Ack::Committed)),
            reached => reached,
        }
    }
}

impl Quarantined {
    /// Gives the records of both their offsets and hands them on, under the locks of both; none where the quarantine takes
    /// no more, so that another has to be found.
    pub(super) fn sequence(
        self,
        topic: &Topic,
        log: &mut Log,
        ack: Ack,
        assign: impl FnOnce(&mut Log, Aside) -> Result<(Sequenced, StoredReceipt), Problem>,
    ) -> Option<Result<(StoredReceipt, crate::backend::Commit), Problem>> {
        let Self { topic: quarantine, records, reservation } = self;
        let (count, bytes) = (records.values.len() as u64, records.values.bytes() as u64);
        let mut kept = quarantine.log.lock();
        let lane = quarantine.backend.lane().filter(|_| kept.phase == Phase::Open)?;
        let Some(next) = kept.next.after(count) else {
            return Some(Err(Problem::new(ErrorCode::OffsetOutOfRange, "The quarantine has no offsets left.")));
        };
        let aside = Aside { count, backend: Arc::clone(&quarantine.backend), next };
        let (batch, receipt) = match assign(log, aside) {
            Ok(assigned) => assigned,
            Err(problem) => return Some(Err(problem)),
        };
        let schema = quarantine.schema.load_full();
        let durable = quarantine.backend.levels().now().durable;
        let plain = AppendRequest::plain(Body::text(Bytes::new(), Form::Json));
        let now = topic.services.clock.now();
        let (beside, _) = match kept.assign(&plain, records, schema.as_deref(), reservation, (now, durable), None) {
            Ok(assigned) => assigned,
            // The offsets were counted above.
            Err(problem) => return Some(Err(problem)),
        };
        quarantine.count(count, bytes);
        Some(Ok((receipt, topic.backend.put_beside(batch, (lane, beside), ack))))
    }
}
