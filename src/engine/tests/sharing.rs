//! What streams share.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::super::testing::engine;
use super::{PATIENCE, record};
use crate::codec::{Body, Form};
use crate::model::TopicName;
use crate::topic::{AppendRequest, CreateTopic, SharedRun, Start, StreamItem, StreamRequest};

/// The next run that a stream is sent, whole records of its own being left out.
async fn next_run(stream: &mut BoxStream<'static, StreamItem>) -> Option<Arc<SharedRun>> {
    let next = async {
        loop {
            match stream.next().await {
                Some(StreamItem::Shared(run)) => return Some(run),
                Some(StreamItem::Records { .. }) | None => return None,
                Some(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("something comes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_share_what_they_are_sent_also_after_a_schema_has_come_in_between() {
    let (engine, _folder) = engine().await;
    let name = TopicName::parse("shared").unwrap();
    engine.create(&name, CreateTopic::default()).await.unwrap();
    let topic = engine.topic(&name).await.unwrap();
    let ask = |limit| StreamRequest {
        start: Start::Latest,
        resume: None,
        limit,
        block: true,
        at: None,
        fields: None,
        filter: None,
    };
    let mut first = topic.stream(ask(None)).await.unwrap();
    let mut second = topic.stream(ask(None)).await.unwrap();
    let mut limited = topic.stream(ask(NonZeroU64::new(9))).await.unwrap();
    // The first records bring a schema, of which each stream is told by itself.
    topic.append(record()).await.unwrap();
    assert!(next_run(&mut first).await.is_none() && next_run(&mut second).await.is_none());
    topic.append(record()).await.unwrap();
    let (one, other) = (next_run(&mut first).await.unwrap(), next_run(&mut second).await.unwrap());
    assert!(Arc::ptr_eq(&one, &other) && one.len() == 1);
    // A stream that ends somewhere reads for itself.
    assert!(next_run(&mut limited).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_does_not_hold_the_whole_body_that_its_records_came_in() {
    let (engine, _folder) = engine().await;
    let name = TopicName::parse("large").unwrap();
    engine.create(&name, CreateTopic::default()).await.unwrap();
    let topic = engine.topic(&name).await.unwrap();
    let body = Body::text(Bytes::from("{\"n\":1}\n".repeat(900)), Form::Ndjson);
    topic.append(AppendRequest { body, ..record() }).await.unwrap();
    let (limit, block) = (NonZeroU64::new(9), false);
    let ask =
        StreamRequest { start: Start::Earliest, resume: None, limit, block, at: None, fields: None, filter: None };
    let mut stream = topic.stream(ask).await.unwrap();
    let chunk = loop {
        if let StreamItem::Records { chunk, .. } = stream.next().await.unwrap() {
            break chunk;
        }
    };
    assert_eq!((chunk.len(), chunk.values().held_bytes()), (9, chunk.values().bytes()));
}
