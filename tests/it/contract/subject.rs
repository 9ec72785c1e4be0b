//! The seven operations of a backend, reached in two ways.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use persisting::backend::{Sequenced, StorageBackend, StorageError};
use persisting::codec::{Chunk, Values};
use persisting::model::{Ack, Offset, Timestamp, TopicName};
use persisting::topic::CreateTopic;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::support::api::Topic;
use crate::support::local::{Local, shared};
use crate::support::sse::Sse;

/// A record as a reader sees it.
pub type Record = (u64, String);

/// What a case needs of a topic's backend.
#[async_trait]
pub trait Subject: Send + Sync {
    fn backend(&self) -> &'static str;
    /// Stores one record; its offset.
    async fn put(&self, value: &str) -> u64;
    /// Stores a batch; the offset of its first record.
    async fn put_batch(&self, values: &[String]) -> u64;
    /// None below the earliest offset.
    async fn get(&self, offset: u64, limit: usize) -> Option<Vec<Record>>;
    async fn get_stream(&self, offset: u64, limit: Option<u64>, block: bool) -> BoxStream<'static, Record>;
    /// The committed offset; none where nothing is ever committed.
    async fn flush(&self) -> Option<u64>;
    /// As the API tells them.
    async fn stats(&self) -> Value;
    async fn total_count(&self) -> u64;
    async fn trim(&self, before: u64);
}

/// The columns of every topic of a case.
fn schema() -> Value {
    json!({"fields": [{"name": "n", "type": "int64"}, {"name": "t", "type": "string"}]})
}

/// Through the trait, in an engine with real datasets.
pub struct ByTrait {
    name: &'static str,
    backend: Arc<dyn StorageBackend>,
    next: Mutex<u64>,
    _server: Local,
    _folder: TempDir,
}

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn records(chunks: &[Chunk]) -> Vec<Record> {
    let of = |chunk: &Chunk| -> Vec<Record> {
        let text = |index| String::from_utf8(chunk.value(index).to_vec()).unwrap();
        (0..chunk.len()).map(|index| (chunk.first().get() + index as u64, text(index))).collect()
    };
    chunks.iter().flat_map(of).collect()
}

impl ByTrait {
    pub async fn new(name: &'static str) -> Self {
        let (server, folder) = Local::fresh().await;
        let topic = TopicName::parse("case").unwrap();
        let schema = (name != "memory").then(schema);
        let ask = CreateTopic { backend: Some(name.to_owned()), schema, ..CreateTopic::default() };
        server.engine().create(&topic, ask).await.unwrap();
        let backend = Arc::clone(server.engine().topic(&topic).await.unwrap().backend());
        Self { name, backend, next: Mutex::new(0), _server: server, _folder: folder }
    }

    fn sequenced(first: u64, values: &[String]) -> Sequenced {
        let text: String = values.iter().map(|value| format!("{value}\n")).collect();
        let values = Values::from_text(text.into()).unwrap();
        Sequenced::for_tests(offset(first), Timestamp::from_micros(1), values)
    }
}

#[async_trait]
impl Subject for ByTrait {
    fn backend(&self) -> &'static str {
        self.name
    }

    async fn put(&self, value: &str) -> u64 {
        let mut next = self.next.lock().await;
        let first = *next;
        let commit = self.backend.put(Self::sequenced(first, &[value.to_owned()]), Ack::Accepted);
        *next += 1;
        drop(next);
        commit.await.unwrap();
        self.backend.levels().wait_for(|levels| levels.readable > offset(first)).await;
        first
    }

    async fn put_batch(&self, values: &[String]) -> u64 {
        let mut next = self.next.lock().await;
        let first = *next;
        let ack = if self.name == "persisting" { Ack::Wal } else { Ack::Accepted };
        let commit = self.backend.put_batch(Self::sequenced(first, values), ack);
        *next += values.len() as u64;
        drop(next);
        assert!(commit.await.unwrap() >= ack);
        first
    }

    async fn get(&self, from: u64, limit: usize) -> Option<Vec<Record>> {
        match self.backend.get(offset(from), limit, usize::MAX).await {
            Ok(chunks) => Some(records(&chunks)),
            Err(StorageError::Expired { earliest }) => {
                assert!(earliest > offset(from));
                None
            }
            Err(err) => panic!("{err}"),
        }
    }

    async fn get_stream(&self, from: u64, limit: Option<u64>, block: bool) -> BoxStream<'static, Record> {
        let chunks = Arc::clone(&self.backend).get_stream(offset(from), limit, block);
        chunks.flat_map(|chunk| futures::stream::iter(records(&[chunk.unwrap()]))).boxed()
    }

    async fn flush(&self) -> Option<u64> {
        let flushed = self.backend.flush().await.unwrap();
        assert_eq!(flushed.committed_offset.is_some(), flushed.version.is_some());
        flushed.committed_offset.map(Offset::get)
    }

    async fn stats(&self) -> Value {
        let stats = self.backend.stats().await.unwrap();
        json!({"buffered_records": stats.buffered_records, "buffered_bytes": stats.buffered_bytes, "stored_bytes": stats.stored_bytes,
            "wal_bytes": stats.wal_bytes, "fragments": stats.fragments, "versions": stats.versions})
    }

    async fn total_count(&self) -> u64 {
        self.backend.total_count()
    }

    async fn trim(&self, before: u64) {
        self.backend.levels().change(|levels| levels.earliest = offset(before));
        self.backend.trim().await.unwrap();
    }
}

/// Over HTTP.
pub struct ByHttp {
    name: &'static str,
    topic: Topic,
}

impl ByHttp {
    pub async fn new(name: &'static str) -> Self {
        let mut configuration = json!({"backend": name});
        if name != "memory" {
            configuration["schema"] = schema();
        }
        Self { name, topic: shared().await.make(configuration).await }
    }
}

fn record(object: &str) -> Record {
    let offset = serde_json::from_str::<Value>(object).unwrap()["offset"].as_u64().unwrap();
    (offset, crate::support::api::values_of(object).remove(0))
}

#[async_trait]
impl Subject for ByHttp {
    fn backend(&self) -> &'static str {
        self.name
    }

    async fn put(&self, value: &str) -> u64 {
        self.put_batch(&[value.to_owned()]).await
    }

    async fn put_batch(&self, values: &[String]) -> u64 {
        let receipt = self.topic.append(values.concat()).await;
        self.topic.wait_for_tail(receipt["next_offset"].as_u64().unwrap()).await;
        receipt["first_offset"].as_u64().unwrap()
    }

    async fn get(&self, from: u64, limit: usize) -> Option<Vec<Record>> {
        let limit = limit.clamp(1, 10_000);
        let lines: &[(&str, &str)] = &[("accept", "application/x-ndjson")];
        let answer = self.topic.call("GET", &format!("records?offset={from}&limit={limit}"), lines, "").await;
        if answer.status == 410 {
            answer.problem(410, "offset_expired");
            return None;
        }
        Some(answer.expect(200).text().lines().map(record).collect())
    }

    async fn get_stream(&self, from: u64, limit: Option<u64>, block: bool) -> BoxStream<'static, Record> {
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let stream = Sse::open(&self.topic, &format!("?offset={from}&block={block}{limit}"), &[]).await;
        futures::stream::unfold(stream, |mut stream| async move {
            loop {
                let event = stream.event().await?;
                let data = event.0.lines().find_map(|line| line.strip_prefix("data: "));
                if let (None, Some(data)) = (event.name(), data) {
                    let found = record(data);
                    assert!(event.id().unwrap().ends_with(&format!(":{}", found.0)));
                    return Some((found, stream));
                }
            }
        })
        .boxed()
    }

    async fn flush(&self) -> Option<u64> {
        self.topic.post("flush", "").await.expect(200).json()["committed_offset"].as_u64()
    }

    async fn stats(&self) -> Value {
        self.topic.get("stats").await.expect(200).json()
    }

    async fn total_count(&self) -> u64 {
        self.topic.get("count").await.expect(200).json()["total_count"].as_u64().unwrap()
    }

    async fn trim(&self, before: u64) {
        self.topic.post("trim", json!({"before": before}).to_string()).await.expect(200);
    }
}
