//! `memory`: a tail with a budget of its own.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::{
    BackendFactory, BackendStats, Capabilities, Commit, Flushed, OpenTopic, Opened, Sequenced, StorageBackend,
    StorageError,
};
use crate::codec::Chunk;
use crate::model::{Ack, ErrorCode, Offset, TopicId};
use crate::table::TablePlace;
use crate::tail::{Budget, Levels, LevelsWatch, Reservation, Tail};

/// Makes `memory` topics, all within one budget.
pub struct MemoryFactory {
    budget: Arc<Budget>,
}

impl MemoryFactory {
    /// The name that topics choose.
    pub const NAME: &'static str = "memory";

    /// Topics that share this budget.
    pub const fn new(budget: Arc<Budget>) -> Self {
        Self { budget }
    }
}

#[async_trait]
impl BackendFactory for MemoryFactory {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn description(&self) -> &str {
        "Records in memory, as JSON text, gone with the process: for tests, caches and live fan-out."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { exactly_once: true, ..Capabilities::default() }
    }

    async fn open(&self, topic: OpenTopic) -> Result<Opened, StorageError> {
        let mut levels = Levels::at(Offset::ZERO, Offset::ZERO);
        levels.closed = topic.closed;
        let backend =
            MemoryBackend { tail: Tail::default(), levels: LevelsWatch::new(levels), budget: Arc::clone(&self.budget) };
        Ok(Opened { backend: Arc::new(backend), next: Offset::ZERO, last_time: None })
    }

    async fn remove(&self, _id: TopicId, _place: Option<&TablePlace>) -> Result<(), StorageError> {
        Ok(())
    }
}

/// The records of one `memory` topic.
struct MemoryBackend {
    tail: Tail,
    levels: LevelsWatch,
    budget: Arc<Budget>,
}

#[async_trait]
impl StorageBackend for MemoryBackend {
    fn put_batch(&self, batch: Sequenced, ack: Ack) -> Commit {
        let next = batch.chunk.next();
        if let Err(expected) = self.tail.push(batch.chunk, batch.reservation) {
            tracing::error!(%expected, "a batch does not follow the last one");
            self.levels.change(|levels| levels.failed = Some(ErrorCode::Internal));
            return self.reached(next, ack);
        }
        self.levels.change(|levels| {
            levels.readable = next;
            levels.durable = next;
        });
        // There is no other level.
        Box::pin(std::future::ready(Ok(Ack::Accepted)))
    }

    async fn get(&self, offset: Offset, limit: usize, bytes: usize) -> Result<Vec<Chunk>, StorageError> {
        let levels = self.levels.now();
        if offset < levels.earliest {
            return Err(StorageError::Expired { earliest: levels.earliest });
        }
        match self.tail.read(offset, levels.readable, limit, bytes) {
            Some(chunks) => Ok(chunks),
            None if offset >= levels.readable => Ok(Vec::new()),
            // Trimmed between the two looks.
            None => Err(StorageError::Expired { earliest: self.levels.now().earliest }),
        }
    }

    async fn flush(&self) -> Result<Flushed, StorageError> {
        Ok(Flushed { committed_offset: None, version: None })
    }

    async fn stats(&self) -> Result<BackendStats, StorageError> {
        let size = self.tail.size();
        Ok(BackendStats {
            buffered_records: Some(size.records),
            buffered_bytes: Some(size.bytes),
            raw_bytes: Some(size.text),
            ..BackendStats::default()
        })
    }

    fn levels(&self) -> &LevelsWatch {
        &self.levels
    }

    async fn reserve(&self, bytes: u64) -> Result<Reservation, StorageError> {
        let limit = self.budget.limit();
        // No batch is larger than the budget here: nothing but a deletion or retention would free it again.
        if bytes > limit {
            return Err(StorageError::Full { code: ErrorCode::MemoryFull, limit });
        }
        self.budget
            .try_reserve(bytes)
            .map_err(|full| StorageError::Full { code: ErrorCode::MemoryFull, limit: full.limit })
    }

    async fn trim(&self) -> Result<(), StorageError> {
        self.tail.evict(self.levels.now().earliest);
        Ok(())
    }

    async fn bytes_before(&self, before: Offset) -> Result<u64, StorageError> {
        Ok(self.tail.text_before(before))
    }

    async fn offset_within_bytes(&self, bytes: u64) -> Result<Option<Offset>, StorageError> {
        Ok(self.tail.offset_within_bytes(bytes))
    }
}
