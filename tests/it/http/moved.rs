//! Reads and searches under which columns are changed: they are right, or say that they would not be.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, poll};
use persisting::filter::Filter;
use persisting::model::{ErrorCode, Problem, TopicName};
use persisting::search::text::TextQuery;
use persisting::search::{SearchLimits, SearchRequest, Searches, TextAsk};
use persisting::topic::{ReadRequest, Start, Topic as Inner};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::support::api::{NDJSON, Topic};
use crate::support::local::{Local, Setup};

/// More records than one look at a topic takes.
const RECORDS: usize = 20_000;

struct World {
    topic: Topic,
    inner: Arc<Inner>,
    _server: Local,
    _folder: tempfile::TempDir,
}

impl World {
    /// A topic with records that stay in memory unless it is flushed.
    async fn of(records: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Setup::new(folder.path()).start().await;
        let lazy = json!({"backend_options": {"flush_interval_ms": 3_600_000, "batch_size": 10_000_000}});
        let topic = server.api().make(lazy).await;
        topic.call("POST", "records?atomic=false", NDJSON, records).await.expect(200);
        let inner = server.engine().topic(&TopicName::parse(&topic.name).unwrap()).await.unwrap();
        Self { topic, inner, _server: server, _folder: folder }
    }

    async fn change(&self, change: Value) {
        self.topic.post("schemas", json!({"changes": [change]}).to_string()).await.expect(201);
    }
}

fn ask(filter: &str, wait: Option<Duration>) -> ReadRequest {
    let filter = Some(Filter::parse(filter).unwrap());
    let start = Start::Earliest;
    ReadRequest {
        start,
        epoch: None,
        limit: None,
        bytes_max: None,
        wait,
        fields: None,
        filter,
        version: None,
        at: None,
    }
}

fn assert_changed(problem: &Problem) {
    assert_eq!((problem.code, problem.is_retryable()), (ErrorCode::ColumnsChanged, true), "{problem:?}");
}

fn records() -> String {
    (0..RECORDS).map(|n| format!("{{\"a\":{n},\"o\":{{\"b\":{n},\"c\":1}}}}\n")).collect()
}

#[tokio::test]
async fn a_read_with_a_filter_goes_on_right_through_a_rename_and_ends_where_a_column_goes() {
    let world = World::of(records()).await;
    for flushed in [false, true] {
        if flushed {
            world.topic.post("flush", "").await.expect(200);
            world.change(json!({"op": "rename", "path": "z", "to": "a"})).await;
            world.change(json!({"op": "rename", "path": "o.y", "to": "b"})).await;
        }
        let mut read = world.inner.read_all(ask("a >= 0 AND o.b >= 0", None)).await.unwrap();
        let count = |chunks: Vec<persisting::codec::Chunk>| chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
        let mut found = count(read.next().await.unwrap().unwrap());
        assert!(found < RECORDS, "there is more to come");
        world.change(json!({"op": "rename", "path": "a", "to": "z"})).await;
        world.change(json!({"op": "rename", "path": "o.b", "to": "y"})).await;
        while let Some(chunks) = read.next().await {
            found += count(chunks.unwrap());
        }
        assert_eq!(found, RECORDS, "{flushed}");
    }
    let changes = [
        ("z >= 0", json!({"op": "widen", "path": "z", "to": {"type": "float64"}})),
        ("o.y >= 0", json!({"op": "drop", "path": "o.y"})),
        ("z >= 0", json!({"op": "drop", "path": "z"})),
    ];
    for (filter, change) in changes {
        let mut lines = world.inner.read_all(ask(filter, None)).await.unwrap();
        lines.next().await.unwrap().unwrap();
        let mut columns = world.inner.read_columns(ask(filter, None)).await.unwrap().batches;
        let first = columns.next().await.unwrap().unwrap().num_rows();
        // What is read ahead is right; what is not is not left out.
        world.change(change).await;
        assert_changed(&lines.next().await.unwrap().unwrap_err());
        let rest: Vec<_> = columns.collect().await;
        let rows: usize = rest.iter().flatten().map(|batch| batch.num_rows()).sum();
        match rest.last() {
            Some(Err(problem)) => assert_changed(problem),
            _ => assert_eq!(first + rows, RECORDS, "all had been read ahead"),
        }
    }
}

#[tokio::test]
async fn a_page_waits_for_what_its_filter_meant() {
    let world = World::of("{\"a\":1}\n".to_owned()).await;
    let patience = Some(Duration::from_secs(60));
    let mut page = pin!(world.inner.read(ask("a = 7", patience)));
    assert!(poll!(page.as_mut()).is_pending());
    world.change(json!({"op": "rename", "path": "a", "to": "b"})).await;
    world.topic.append(r#"[{"a":7},{"b":7}]"#).await;
    let found = page.await.unwrap();
    assert_eq!(found.chunks.iter().map(|chunk| chunk.first().get()).collect::<Vec<_>>(), [2]);
    let mut page = pin!(world.inner.read(ask("b = 8", patience)));
    assert!(poll!(page.as_mut()).is_pending());
    world.change(json!({"op": "drop", "path": "b"})).await;
    world.topic.append(r#"{"b":8}"#).await;
    assert_changed(&page.await.unwrap_err());
}

#[tokio::test]
async fn a_read_that_nothing_passes_lets_others_run() {
    let world = World::of("{\"a\":1}\n".repeat(100)).await;
    let mut page = pin!(world.inner.read(ask("a = 2", None)));
    assert!(poll!(page.as_mut()).is_pending(), "others have their turn");
    let mut all = world.inner.read_all(ask("a = 2", None)).await.unwrap();
    assert!(poll!(all.next()).is_pending(), "others have their turn");
    assert_eq!(page.await.unwrap().next_offset.get(), 100);
}

#[tokio::test]
async fn a_search_whose_column_goes_while_it_reads_misses_no_record() {
    let world = World::of("{\"text\":\"needle\",\"n\":1}\n".repeat(10)).await;
    // A runtime that runs when it is told to, one step at a time.
    let stepwise = Builder::new_current_thread().event_interval(1).enable_all().build().unwrap();
    let searches = Searches::new(SearchLimits::default(), stepwise.handle().clone());
    let query = TextQuery::parse("needle").unwrap();
    let text = Some(TextAsk { columns: Vec::new(), query });
    let filter = Some(Filter::parse("n = 1").unwrap());
    let ask = SearchRequest { vector: None, text, k: 10, filter, fields: None, at: None };
    let mut search = pin!(searches.search(&world.inner, ask));
    assert!(poll!(search.as_mut()).is_pending());
    let step = move || {
        stepwise.block_on(tokio::task::yield_now());
        stepwise
    };
    let stepwise = tokio::task::spawn_blocking(step).await.unwrap();
    world.change(json!({"op": "drop", "path": "n"})).await;
    let (running, ended) = tokio::sync::oneshot::channel::<()>();
    let driving = tokio::task::spawn_blocking(move || stepwise.block_on(ended).is_err());
    let refused = search.await.unwrap_err();
    drop(running);
    assert!(driving.await.unwrap());
    assert_eq!(refused.code, ErrorCode::InvalidParameter, "the filter has no column any more: {refused:?}");
}
