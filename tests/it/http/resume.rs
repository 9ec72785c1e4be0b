//! `Last-Event-ID`: where a reader goes on.

use serde_json::json;

use crate::support::api::Topic;
use crate::support::local::{Setup, shared};
use crate::support::sse::{Block, Sse};

async fn filled(topic: &Topic, count: u64) {
    let records: String = (0..count).map(|index| format!("{{\"n\":{index}}}")).collect();
    topic.append(records).await;
    topic.wait_for_tail(count).await;
}

async fn epoch_of(topic: &Topic) -> u64 {
    topic.get("").await.json()["epoch"].as_u64().unwrap()
}

async fn resume(topic: &Topic, query: &str, id: &str) -> Vec<Block> {
    let mut stream = Sse::open(topic, &format!("?block=false{query}"), &[("last-event-id", id)]).await;
    assert_eq!(stream.status, 200, "{id}");
    stream.rest().await
}

fn offsets(events: &[Block]) -> Vec<u64> {
    events
        .iter()
        .skip(1)
        .filter(|event| event.name().is_none())
        .map(|event| event.data()["offset"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn the_present_epoch_goes_on_after_what_was_seen() {
    let api = shared().await;
    for backend in crate::http::BACKENDS {
        let topic = api.topic(backend).await;
        filled(&topic, 6).await;
        let epoch = epoch_of(&topic).await;
        for (id, expected) in [
            (format!("{epoch}:-1"), (0..6).collect::<Vec<u64>>()),
            (format!("{epoch}:0"), (1..6).collect()),
            (format!("{epoch}:4"), vec![5]),
            (format!("{epoch}:5"), vec![]),
            // A bare number is an offset of the present epoch.
            ("2".to_owned(), vec![3, 4, 5]),
            ("0".to_owned(), (1..6).collect()),
        ] {
            for query in ["", "&offset=0", "&offset=latest", "&since=1970-01-01T00:00:00Z"] {
                let events = resume(&topic, query, &id).await;
                assert_eq!(offsets(&events), expected, "{id} wins over {query}");
                assert_eq!(events[1].name(), Some("position"), "no gap");
            }
        }
        let mut past = Sse::open(&topic, "", &[("last-event-id", &format!("{epoch}:8"))]).await;
        assert_eq!(past.events(2).await[1].data(), json!({"epoch": epoch, "next_offset": 9, "tail_offset": 6}));
        topic.post("trim", "{\"before\":3}").await.expect(200);
        let events = resume(&topic, "", &format!("{epoch}:0")).await;
        assert_eq!(
            events[1].0,
            format!("event: gap\nid: {epoch}:2\ndata: {{\"from\":1,\"to\":3,\"reason\":\"retention\"}}")
        );
        assert_eq!(offsets(&events), [3, 4, 5]);
    }
}

#[tokio::test]
async fn end_is_204_always() {
    let topic = shared().await.topic("memory").await;
    for rest in ["stream", "stream?offset=0", "stream?block=false"] {
        let answer = topic.call("GET", rest, &[("last-event-id", "end")], "").await.expect(204);
        assert!(answer.body.is_empty());
    }
    topic.call("DELETE", "", &[], "").await.expect(204);
    topic.call("GET", "stream", &[("last-event-id", "end")], "").await.expect(204);
    shared().await.named("never-was").call("GET", "stream", &[("last-event-id", "end")], "").await.expect(204);
}

#[tokio::test]
async fn what_is_no_id_is_400() {
    let topic = shared().await.topic("memory").await;
    let epoch = epoch_of(&topic).await;
    for id in [
        "x",
        "",
        "-1",
        "-2",
        "1.5",
        "1:",
        ":1",
        "1:x",
        "x:1",
        "1:2:3",
        "1:-2",
        "END",
        "+1",
        "1: 2",
        "9007199254740992",
        "1:9007199254740992",
    ] {
        topic.call("GET", "stream", &[("last-event-id", id)], "").await.problem(400, "invalid_parameter");
    }
    topic.call("GET", "stream?block=false", &[("last-event-id", &format!("{epoch}:-1"))], "").await.expect(200);
}

#[tokio::test]
async fn an_epoch_that_is_not_of_the_topic_is_a_reset_to_earliest() {
    let api = shared().await;
    for backend in crate::http::BACKENDS {
        let (other, topic) = (api.topic("memory").await, api.topic(backend).await);
        filled(&topic, 5).await;
        topic.post("trim", "{\"before\":2}").await.expect(200);
        let (foreign, epoch) = (epoch_of(&other).await, epoch_of(&topic).await);
        for (id, from) in [
            (format!("{foreign}:3"), 4),
            (format!("{foreign}:-1"), 0),
            (format!("{foreign}:1"), 2),
            (format!("{foreign}:99"), 100),
            ("0:3".to_owned(), 4),
            ("9007199254740991:3".to_owned(), 4),
        ] {
            let events = resume(&topic, "", &id).await;
            let gap = format!("event: gap\nid: {epoch}:1\ndata: {{\"from\":{from},\"to\":2,\"reason\":\"reset\"}}");
            assert_eq!(events[1].0, gap, "{id}");
            assert_eq!(events[2].data()["next_offset"], 2);
            assert_eq!(offsets(&events), [2, 3, 4]);
        }
    }
}

#[tokio::test]
async fn an_older_epoch_is_a_reset_to_where_the_knowledge_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().topic("memory").await;
    let name = topic.name.clone();
    filled(&topic, 5).await;
    let old = epoch_of(&topic).await;
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().named(&name);
    let new = epoch_of(&topic).await;
    assert!(new > old);
    filled(&topic, 3).await;
    for (id, from) in [(format!("{old}:4"), 5), (format!("{old}:-1"), 0), (format!("{old}:1"), 2)] {
        let events = resume(&topic, "", &id).await;
        assert_eq!(
            events[1].0,
            format!("event: gap\nid: {new}:-1\ndata: {{\"from\":{from},\"to\":0,\"reason\":\"reset\"}}")
        );
        assert_eq!(offsets(&events), [0, 1, 2]);
    }
    topic.get(&format!("records?epoch={old}")).await.problem(409, "epoch_changed");
    server.stop().await;
}

#[tokio::test]
async fn a_lossless_stop_keeps_the_epoch_of_what_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let mut topics = Vec::new();
    for backend in ["lance", "persisting"] {
        let topic = server.api().topic(backend).await;
        filled(&topic, 5).await;
        topics.push((topic.name.clone(), epoch_of(&topic).await));
    }
    assert_eq!(server.stop().await, 0);
    let server = Setup::new(folder.path()).start().await;
    for (name, epoch) in topics {
        let topic = server.api().named(&name);
        assert_eq!(epoch_of(&topic).await, epoch);
        assert_eq!(offsets(&resume(&topic, "", &format!("{epoch}:2")).await), [3, 4]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_resumes_with_every_last_id_loses_and_repeats_nothing() {
    let topic = shared().await.topic("persisting").await;
    filled(&topic, 10).await;
    let mut id = None::<String>;
    let mut seen = Vec::new();
    for turn in 0.. {
        let headers: Vec<(&str, &str)> = id.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let mut stream = Sse::open(&topic, "?offset=0", &headers).await;
        // The connection is lost after so many events, the first time before any record.
        for event in stream.events(2 + turn % 3).await {
            if event.name().is_none() && event.id().is_some() {
                seen.push(event.data()["offset"].as_u64().unwrap());
            }
            id = event.id().map(str::to_owned).or(id);
        }
        if seen.len() >= 9 {
            break;
        }
    }
    assert!(seen.iter().copied().eq(0..seen.len() as u64), "{seen:?}");
}
