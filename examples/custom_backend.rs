//! A backend written outside the crate: it keeps each topic's chunks in a list in memory.
//!
//! ```sh
//! cargo run --example custom_backend
//! curl -X PUT http://127.0.0.1:8080/v1/topics/mine -d '{"backend": "chunks"}'
//! ```
//!
//! `docs/backends/custom.md` says what each method has to promise.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use persisting::backend::{
    BackendFactory, BackendStats, Capabilities, Commit, Flushed, OpenTopic, Opened, Sequenced, StorageBackend,
    StorageError,
};
use persisting::codec::Chunk;
use persisting::model::{Ack, Offset};
use persisting::tail::{Levels, LevelsWatch};
use persisting::{bench, cli, server};

/// Makes topics of the backend `chunks`.
pub struct ChunksFactory;

/// The records of one topic.
struct Chunks {
    chunks: Mutex<Vec<Chunk>>,
    levels: LevelsWatch,
}

#[async_trait]
impl BackendFactory for ChunksFactory {
    fn name(&self) -> &str {
        "chunks"
    }

    fn description(&self) -> &str {
        "Records in a list in memory, gone with the process: for showing how a backend is written."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn open(&self, topic: OpenTopic) -> Result<Opened, StorageError> {
        // Nothing survives: an empty topic at offset 0, in an epoch of its own.
        let mut levels = Levels::at(Offset::ZERO, Offset::ZERO);
        levels.closed = topic.closed;
        let backend = Chunks { chunks: Mutex::default(), levels: LevelsWatch::new(levels) };
        Ok(Opened { backend: Arc::new(backend), next: Offset::ZERO, last_time: None })
    }
}

#[async_trait]
impl StorageBackend for Chunks {
    fn put_batch(&self, batch: Sequenced, ack: Ack) -> Commit {
        let chunk = batch.chunk().clone();
        let next = chunk.next();
        self.chunks.lock().push(chunk);
        // Wakes readers and whoever waits for an acknowledgement.
        self.levels.change(|levels| {
            levels.readable = next;
            levels.durable = next;
        });
        self.reached(next, ack)
    }

    async fn get(&self, offset: Offset, limit: usize, bytes: usize) -> Result<Vec<Chunk>, StorageError> {
        let Levels { earliest, readable, .. } = self.levels.now();
        if offset < earliest {
            return Err(StorageError::Expired { earliest });
        }
        let chunks = self.chunks.lock();
        // Chunks are in offset order, without holes between them.
        let begin = chunks.partition_point(|chunk| chunk.next() <= offset);
        let (mut next, mut left, mut found) = (offset, limit, Vec::new());
        let mut taken = 0;
        for chunk in chunks.iter().skip(begin) {
            let part = chunk.from_offset(next, left);
            if part.is_empty() || next >= readable || (taken > 0 && taken + part.bytes() > bytes) {
                break;
            }
            (next, left, taken) = (part.next(), left - part.len(), taken + part.bytes());
            found.push(part);
        }
        Ok(found)
    }

    async fn flush(&self) -> Result<Flushed, StorageError> {
        Ok(Flushed { committed_offset: None, version: None })
    }

    async fn stats(&self) -> Result<BackendStats, StorageError> {
        let chunks = self.chunks.lock();
        Ok(BackendStats {
            buffered_records: Some(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            buffered_bytes: Some(chunks.iter().map(|chunk| chunk.bytes() as u64).sum()),
            ..BackendStats::default()
        })
    }

    fn levels(&self) -> &LevelsWatch {
        &self.levels
    }

    async fn trim(&self) -> Result<(), StorageError> {
        let earliest = self.levels.now().earliest;
        self.chunks.lock().retain(|chunk| chunk.next() > earliest);
        Ok(())
    }
}

fn main() -> ExitCode {
    let config = match cli::parse() {
        Ok(cli::Command::Serve(config)) => config,
        Ok(cli::Command::Bench(options)) => return bench::main(&options),
        Err(error) => return ExitCode::from(error.report()),
    };
    if let Err(error) = cli::start_logging(config.log_format) {
        return ExitCode::from(error.report());
    }
    let served =
        server::Claim::take(&config).and_then(|claim| server::serve(&config, claim, vec![Arc::new(ChunksFactory)]));
    match served {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the server cannot serve");
            ExitCode::FAILURE
        }
    }
}
