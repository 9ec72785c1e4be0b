//! `lance` and `persisting`: a tail over a table, with or without a write-ahead log in front.

mod admission;
mod columnar;
mod compression;
mod expiry;
mod factory;
mod indexes;
mod kept;
mod lane;
#[cfg(test)]
mod lane_tests;
mod pace;
mod passing;
mod posted;
mod publish;
mod queue;
mod records;
mod versions;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::backend::{BackendStats, Columnar, Commit, Flushed, Sequenced, StorageBackend, StorageError};
use crate::codec::Chunk;
use crate::model::{Ack, Durability, ErrorCode, Offset, Timestamp};
use crate::table::TableError;
use crate::tail::{Levels, LevelsWatch, Reservation};
use crate::wal::{Beside, Group, Wal, WalEntry, WalError};

pub(crate) use admission::Admission;
pub use factory::{LanceFactory, LayeredServices, PersistingFactory};
pub use lane::Lane;
pub(crate) use pace::Due;
pub(crate) use posted::{Still, StoredMisfit};
pub(crate) use queue::CommitQueue;

/// The records of one topic with a dataset. Clones share them.
#[derive(Clone)]
pub(super) struct Layered {
    lane: Arc<Lane>,
    wal: Option<Arc<dyn Wal>>,
    admission: Arc<Admission>,
}

impl Layered {
    /// Hands a batch to the log, and with it one of another topic; what became of them comes through the channel, which knows
    /// this batch from a later one with the same offsets.
    fn append_to_log(
        &self,
        wal: &Arc<dyn Wal>,
        batch: Sequenced,
        beside: Option<(Arc<Lane>, Sequenced)>,
    ) -> oneshot::Receiver<Result<(), ErrorCode>> {
        let (tell, told) = oneshot::channel();
        let Sequenced { chunk, schema, writer, close, reservation } = batch;
        let entry = WalEntry {
            topic: self.lane.id(),
            first: chunk.first(),
            count: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
            schema,
            time: chunk.time(0),
            close,
            relocated: false,
            writer,
            beside: beside.as_ref().map(|(lane, batch)| Box::new(beside_of(lane, batch))),
            values: chunk.values().text(),
        };
        let unanswered = Unanswered(Some(Arc::clone(&self.lane)));
        let beside = beside.map(|(lane, batch)| (Unanswered(Some(lane)), batch.chunk, batch.reservation));
        wal.append(
            entry,
            Box::new(move |outcome, group| {
                let mut taken = settle(&outcome, group, unanswered, chunk, reservation);
                if let Some((unanswered, chunk, reservation)) = beside {
                    taken = taken.and(settle(&outcome, group, unanswered, chunk, reservation));
                }
                if tell.send(taken).is_err() {
                    tracing::trace!("whoever has appended does not wait");
                }
            }),
        );
        told
    }

    /// The strongest level that everything before `next` has reached.
    fn durability(has_wal: bool, levels: &Levels, next: Offset) -> Durability {
        if levels.committed >= next {
            Ack::Committed
        } else if has_wal && levels.durable >= next {
            Ack::Wal
        } else {
            Ack::Accepted
        }
    }

    fn failure(levels: &Levels, ack: Ack) -> Option<StorageError> {
        if levels.ending.is_some() {
            return Some(StorageError::Deleted);
        }
        if let Some(code) = levels.failed {
            return Some(StorageError::Unwritable { code });
        }
        (ack == Ack::Committed && levels.degraded)
            .then_some(StorageError::Unwritable { code: ErrorCode::TopicDegraded })
    }
}

/// How many bytes of text one on the disk stands for.
fn ratio(raw: u64, stored: u64) -> Option<f64> {
    (raw > 0 && stored > 0).then(|| (raw as f64 / stored as f64 * 100.0).round() / 100.0)
}

fn storage_error(err: &TableError) -> StorageError {
    match err {
        TableError::DiskFull => StorageError::Unwritable { code: ErrorCode::DiskFull },
        TableError::VersionGone { version } => StorageError::VersionExpired { version: *version },
        TableError::Failed { .. } | TableError::Foreign { .. } => StorageError::Failed { cause: err.to_string() },
    }
}

impl From<&TableError> for StorageError {
    fn from(err: &TableError) -> Self {
        storage_error(err)
    }
}

/// A batch that the log has not answered yet. If it never does, because its thread has gone, nobody must wait for ever.
struct Unanswered(Option<Arc<Lane>>);

impl Unanswered {
    fn answered(mut self) -> Option<Arc<Lane>> {
        self.0.take()
    }
}

/// Waits for what the log says of a batch.
async fn logged(told: oneshot::Receiver<Result<(), ErrorCode>>) -> Result<(), StorageError> {
    // A log that says nothing any more has failed.
    told.await.unwrap_or(Err(ErrorCode::LogFailed)).map_err(|code| StorageError::Unwritable { code })
}

/// The part of an entry that belongs to another topic.
fn beside_of(lane: &Lane, batch: &Sequenced) -> Beside {
    Beside {
        topic: lane.id(),
        first: batch.chunk.first(),
        count: u32::try_from(batch.chunk.len()).unwrap_or(u32::MAX),
        schema: batch.schema,
        time: batch.chunk.time(0),
        values: batch.chunk.values().text(),
    }
}

/// Lets a topic know what has become of its records in the log.
fn settle(
    outcome: &Result<(), WalError>,
    group: &mut Group,
    unanswered: Unanswered,
    chunk: Chunk,
    reservation: Reservation,
) -> Result<(), ErrorCode> {
    let Some(lane) = unanswered.answered() else { return Ok(()) };
    match outcome {
        // An entry may have nothing but its writer, and records of another topic.
        Ok(()) if chunk.is_empty() || lane.publish_in(group, chunk, reservation) => Ok(()),
        Ok(()) => Err(ErrorCode::Internal),
        Err(WalError::DiskFull) => {
            lane.refuse();
            Err(ErrorCode::DiskFull)
        }
        Err(_) => {
            lane.fail(ErrorCode::LogFailed);
            Err(ErrorCode::LogFailed)
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(lane) = self.0.take() {
            lane.fail(ErrorCode::LogFailed);
        }
    }
}

#[async_trait]
impl StorageBackend for Layered {
    fn put_batch(&self, batch: Sequenced, ack: Ack) -> Commit {
        let next = batch.chunk.next();
        let Some(wal) = &self.wal else {
            self.lane.publish(batch.chunk, batch.reservation);
            return self.reached(next, ack);
        };
        let told = self.append_to_log(wal, batch, None);
        // Nearly every append waits for this one, and clones no more than it needs.
        if ack == Ack::Wal {
            let lane = Arc::clone(&self.lane);
            return Box::pin(async move {
                logged(told).await?;
                Ok(Self::durability(true, &lane.levels().now(), next))
            });
        }
        if ack == Ack::Accepted {
            return self.reached(next, ack);
        }
        let this = self.clone();
        Box::pin(async move {
            logged(told).await?;
            this.reached(next, ack).await
        })
    }

    fn put_beside(&self, batch: Sequenced, (lane, beside): (Arc<Lane>, Sequenced), ack: Ack) -> Commit {
        let (next, beside_next) = (batch.chunk.next(), beside.chunk.next());
        let Some(wal) = &self.wal else {
            let cause = "entries of two topics need the log".to_owned();
            return Box::pin(std::future::ready(Err(StorageError::Failed { cause })));
        };
        let other = Self { lane: Arc::clone(&lane), ..self.clone() };
        let told = self.append_to_log(wal, batch, Some((lane, beside)));
        let this = self.clone();
        Box::pin(async move {
            // At any level: offsets alone do not tell whether an entry without records of its own is there.
            logged(told).await?;
            let level = if ack == Ack::Committed { ack } else { Ack::Accepted };
            Ok(this.reached(next, level).await?.min(other.reached(beside_next, level).await?))
        })
    }

    async fn get(&self, offset: Offset, limit: usize, bytes: usize) -> Result<Vec<Chunk>, StorageError> {
        self.get_records(None, offset, limit, bytes).await
    }

    async fn flush(&self) -> Result<Flushed, StorageError> {
        let levels = self.lane.levels().now();
        let target = levels.durable;
        if levels.committed < target {
            self.reached(target, Ack::Committed).await?;
        }
        self.lane.follow_posted().await?;
        let version = self.lane.version().await?;
        Ok(Flushed { committed_offset: Some(self.lane.levels().now().committed), version })
    }

    async fn stats(&self) -> Result<BackendStats, StorageError> {
        let size = self.lane.tail().size();
        let table = match self.lane.table().await {
            Ok(table) => Some(table),
            Err(_) if self.lane.levels().now().degraded => None,
            Err(err) => return Err(err),
        };
        let usage = match &table {
            Some(table) => Some(table.usage().await.map_err(|err| storage_error(&err))?),
            None => None,
        };
        let head = table.map(|table| table.head());
        Ok(BackendStats {
            buffered_records: Some(size.records),
            buffered_bytes: Some(size.bytes),
            raw_bytes: Some(size.text + usage.map_or(0, |usage| usage.raw_bytes)),
            compression_ratio: usage.and_then(|usage| ratio(usage.raw_bytes, usage.live_bytes)),
            stored_bytes: head.as_ref().map(|head| head.fragments.iter().map(|fragment| fragment.bytes).sum()),
            wal_bytes: self.wal.as_ref().map(|wal| wal.topic_bytes(self.lane.id())),
            fragments: head.as_ref().map(|head| head.fragments.len() as u64),
            versions: usage.map(|usage| usage.versions),
            live_bytes: usage.map(|usage| usage.live_bytes),
            dead_bytes: usage.map(|usage| usage.dead_bytes),
            last_upkeep: usage.and_then(|usage| usage.last_upkeep),
        })
    }

    fn levels(&self) -> &LevelsWatch {
        self.lane.levels()
    }

    async fn reserve(&self, bytes: u64) -> Result<Reservation, StorageError> {
        if let Some(failure) = Self::failure(&self.lane.levels().now(), Ack::Committed) {
            return Err(failure);
        }
        if self.lane.is_stuck() {
            self.admission.check_stuck(bytes)?;
        }
        self.admission.reserve(bytes, self.wal.as_deref()).await
    }

    fn reached(&self, next: Offset, ack: Ack) -> Commit {
        self.reached_since(next, ack, self.lane.levels().now().refusals)
    }

    fn reached_since(&self, next: Offset, ack: Ack, refusals: u64) -> Commit {
        let has_wal = self.wal.is_some();
        if ack == Ack::Accepted {
            let durability = Self::durability(has_wal, &self.lane.levels().now(), next);
            return Box::pin(std::future::ready(Ok(durability)));
        }
        let lane = Arc::clone(&self.lane);
        Box::pin(async move {
            if ack == Ack::Committed {
                // What is not durable yet cannot be committed: the demand stands until it is.
                lane.demand(next);
            }
            let levels = lane
                .levels()
                .wait_for(|levels| {
                    let is_refused = levels.refusals != refusals && levels.durable < next;
                    levels.reached(ack) >= next || is_refused || Self::failure(levels, ack).is_some()
                })
                .await;
            if levels.reached(ack) >= next {
                return Ok(Self::durability(has_wal, &levels, next));
            }
            if levels.durable < next && levels.refusals != refusals {
                return Err(StorageError::Unwritable { code: ErrorCode::DiskFull });
            }
            Err(Self::failure(&levels, ack).unwrap_or(StorageError::Deleted))
        })
    }

    async fn seek_time(&self, time: Timestamp) -> Result<Offset, StorageError> {
        let levels = self.lane.levels().now();
        let clip = |offset: Offset| offset.max(levels.earliest).min(levels.readable.max(levels.earliest));
        if let Some(offset) = self.lane.tail().seek_time(time) {
            return Ok(clip(offset));
        }
        let table = self.lane.table().await?;
        table.seek_time(time).await.map(clip).map_err(|err| storage_error(&err))
    }

    async fn trim(&self) -> Result<(), StorageError> {
        self.lane.drop_expired().await
    }

    fn hold(&self, bytes: Option<u64>) {
        self.lane.store_as(|settings| settings.held_bytes = bytes);
    }

    async fn bytes_before(&self, before: Offset) -> Result<u64, StorageError> {
        self.lane.bytes_before(before).await
    }

    async fn compact(&self) -> Result<Option<u64>, StorageError> {
        let table = self.lane.table().await?;
        table.compact();
        Ok(Some(table.head().fragments.len() as u64))
    }

    async fn offset_within_bytes(&self, bytes: u64) -> Result<Option<Offset>, StorageError> {
        self.lane.offset_within_bytes(bytes).await
    }

    fn columnar(&self) -> Option<&dyn Columnar> {
        Some(self)
    }

    fn lane(&self) -> Option<Arc<Lane>> {
        Some(Arc::clone(&self.lane))
    }
}
