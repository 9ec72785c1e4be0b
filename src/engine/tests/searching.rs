//! Searches beside what happens to their topics.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::super::testing::engine;
use super::record;
use crate::model::{ErrorCode, TopicName};
use crate::schema::FieldPath;
use crate::search::{Effort, SearchLimits, SearchRequest, Searches, VectorAsk};
use crate::topic::CreateTopic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_in_a_topic_that_was_deleted_meanwhile_says_so() {
    let (engine, _folder) = engine().await;
    let name = TopicName::parse("short-lived").unwrap();
    let schema = r#"{"fields":[{"name":"n","type":"int64"},{"name":"v","type":"vector","dim":1,"item":"float32"}]}"#;
    let schema = serde_json::from_str(schema).unwrap();
    engine.create(&name, CreateTopic { schema: Some(schema), ..CreateTopic::default() }).await.unwrap();
    let topic = engine.topic(&name).await.unwrap();
    topic.append(record()).await.unwrap();
    engine.delete(&name).await.unwrap();
    let column = FieldPath::parse("v").unwrap();
    let vector = VectorAsk { column, query: vec![1.0], metric: None, effort: Effort::default() };
    let ask = SearchRequest { vector: Some(vector), text: None, k: 1, filter: None, fields: None, at: None };
    let searches = Searches::new(SearchLimits::default(), Handle::current());
    let problem = searches.search(&Arc::clone(&topic), ask).await.unwrap_err();
    assert_eq!(problem.code, ErrorCode::TopicNotFound);
}
