//! Appends: bodies, answers, order of checks.

use serde_json::{Value, json};

use crate::support::api::{Headers, JSON, NDJSON, Topic};
use crate::support::local::shared;

const FORM: Headers<'static> = &[("content-type", "application/x-www-form-urlencoded")];
const SUFFIX: Headers<'static> = &[("content-type", "application/vnd.x+json; charset=utf-8")];
const JSONL: Headers<'static> = &[("content-type", "application/jsonl")];

#[tokio::test]
async fn the_answer_is_as_the_contract_shows_it() {
    let topic = shared().await.topic("persisting").await;
    let epoch = topic.get("").await.json()["epoch"].clone();
    let answer =
        topic.call("POST", "records?ack=wal", FORM, r#"[{"id":"1"},{"id":"2"},{"id":"3","n":1.0}]"#).await.expect(200);
    let name = &topic.name;
    assert_eq!(
        answer.text(),
        format!(
            "{{\"topic\":\"{name}\",\"epoch\":{epoch},\"first_offset\":0,\"last_offset\":2,\"next_offset\":3,\"count\":3,\
             \"schema_version\":1,\"durability\":\"wal\"}}"
        )
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(topic.values(2).await, [r#"{"id":"3","n":1}"#]);
    let memory = shared().await.topic("memory").await;
    let answer = memory.post("records", "{}").await.expect(200).json();
    assert_eq!((&answer["schema_version"], &answer["durability"]), (&Value::Null, &json!("accepted")));
}

#[tokio::test]
async fn records_stand_in_bodies_by_media_type() {
    let api = shared().await;
    let cases: [(Headers, &str, u64); 17] = [
        (JSON, r#"{"a":1}"#, 1),
        (JSON, "[{\"a\":1},\n {\"a\":2}]\n", 2),
        (SUFFIX, r#"[{"a":1}]"#, 1),
        (NDJSON, "{\"a\":1}\n\n \r\n{\"a\":2}\r\n{\"a\":3}", 3),
        (JSONL, "\n{\"a\":1}\n", 1),
        (&[], r#"{"a":1}"#, 1),
        (&[], r#"[{"a":1},{"a":2}]"#, 2),
        (&[], "{\"a\":1}\n{\"a\":2}\n", 2),
        (&[], r#"{"a":1}{"a":2} {"a":3}"#, 3),
        (FORM, "{\"a\":1}\n{\"a\":2}\n", 2),
        (FORM, r#"{"a":1}{"a":2}"#, 2),
        (FORM, " [ ] ", 0),
        (FORM, "{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n", 2),
        (JSON, "[]", 0),
        (NDJSON, "\n\n", 0),
        (&[], " ", 0),
        (&[], "", 0),
    ];
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        for (headers, body, count) in cases {
            if count == 0 {
                topic.refuse("", headers, body, (400, "empty_batch")).await;
                continue;
            }
            let answer = topic.append_with(headers, body).await;
            assert!(answer.status.is_success(), "{body}: {answer}");
            assert_eq!(answer.json()["count"], count, "{backend} {headers:?} {body}");
            topic.wait_for_tail(answer.json()["next_offset"].as_u64().unwrap()).await;
        }
        let values = topic.values(0).await;
        assert!(values.iter().all(|value| value.len() == 7), "{values:?}");
    }
}

#[tokio::test]
async fn expected_offset_is_compared_with_the_next_offset() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let append = async |expected: &str| {
            topic.call("POST", &format!("records?expected_offset={expected}"), &[], "{}{}").await
        };
        assert!(append("0").await.status.is_success());
        topic.wait_for_tail(2).await;
        for wrong in ["0", "1", "3", "9007199254740991"] {
            let problem = append(wrong).await.problem(412, "offset_mismatch");
            assert_eq!(problem["tail_offset"], 2);
        }
        for word in ["-1", "latest", "1.0", "9007199254740992", "+2"] {
            append(word).await.problem(400, "invalid_parameter");
        }
        assert_eq!(topic.tail().await, 2);
        assert_eq!(append("2").await.json()["first_offset"], 2);
        topic.wait_for_tail(4).await;
    }
}

#[tokio::test]
async fn of_writers_that_expect_one_offset_one_wins() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let tries = (0..8).map(|index| {
        let topic = topic.clone();
        tokio::spawn(async move {
            topic.call("POST", "records?expected_offset=0", JSON, json!({"w": index}).to_string()).await
        })
    });
    let mut statuses = Vec::new();
    for answer in futures::future::join_all(tries).await {
        let answer = answer.unwrap();
        if answer.status == 412 {
            assert_eq!(answer.problem(412, "offset_mismatch")["tail_offset"], 1);
        }
        statuses.push(answer.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(topic.tail().await, 1);
}

#[tokio::test]
async fn close_with_an_append_is_one_step() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        // A refused append does not close.
        topic.refuse("?close=true", JSON, "[1]", (422, "invalid_record")).await;
        topic.refuse("?close=true&expected_offset=7", JSON, "{}", (412, "offset_mismatch")).await;
        topic.append("{}").await;
        let answer = topic.call("POST", "records?close=true", &[], "{}").await;
        assert!(answer.status.is_success(), "{answer}");
        assert_eq!(answer.json()["last_offset"], 1);
        assert_eq!(topic.get("").await.json()["state"], "closed");
        topic.wait_for_tail(2).await;
        for (query, body) in [
            ("", "{}"),
            ("?close=true", "{}"),
            ("?expected_offset=0", "{}"),
            ("?ack=accepted", "{}"),
            ("?atomic=false", "{}"),
        ] {
            let problem = topic.refuse(query, &[], body, (409, "topic_closed")).await;
            assert!(problem.get("tail_offset").is_none_or(|tail| *tail == 2), "{problem}");
        }
        assert_eq!(topic.post("close", "").await.expect(200).json(), json!({"state": "closed", "next_offset": 2}));
        for word in ["1", "yes", "TRUE"] {
            topic.refuse(&format!("?close={word}"), &[], "{}", (400, "invalid_parameter")).await;
        }
    }
}

#[tokio::test]
async fn an_append_to_a_closed_topic_is_409_before_its_records_are_looked_at() {
    let topic = shared().await.topic("persisting").await;
    topic.post("close", "").await.expect(200);
    topic.refuse("", JSON, "{\"a\":", (409, "topic_closed")).await;
    topic.refuse("", JSON, "[]", (409, "topic_closed")).await;
    topic.refuse("?expected_offset=4", JSON, "{}", (409, "topic_closed")).await;
}

#[tokio::test]
async fn expected_offset_is_checked_before_the_records() {
    let topic = shared().await.topic("persisting").await;
    topic.refuse("?expected_offset=4", JSON, "{\"a\":", (412, "offset_mismatch")).await;
    topic.refuse("?expected_offset=0", JSON, "{\"a\":", (400, "invalid_json")).await;
}

#[tokio::test]
async fn timestamps_are_the_servers_and_never_decrease() {
    let topic = shared().await.topic("persisting").await;
    for _ in 0..5 {
        topic.append("{\"a\":1}{\"a\":2}").await;
    }
    let page = topic.get("records").await.json();
    let times: Vec<&str> =
        page["records"].as_array().unwrap().iter().map(|record| record["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|time| time.len() == 27 && time.ends_with('Z')), "{times:?}");
}

#[tokio::test]
async fn offsets_are_dense_with_many_writers_and_each_batch_is_whole() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic: Topic = api.topic(backend).await;
        let writers = (0..6).map(|writer| {
            let topic = topic.clone();
            tokio::spawn(async move {
                for turn in 0..10 {
                    let record = json!({"w": writer, "t": turn}).to_string();
                    let receipt = topic.append(record.repeat(3)).await;
                    assert_eq!(receipt["last_offset"].as_u64().unwrap(), receipt["first_offset"].as_u64().unwrap() + 2);
                }
            })
        });
        for writer in futures::future::join_all(writers).await {
            writer.unwrap();
        }
        topic.wait_for_tail(180).await;
        let values = topic.values(0).await;
        assert_eq!(values.len(), 180);
        let mut batches: Vec<&[String]> = values.chunks(3).collect();
        assert!(batches.iter().all(|batch| batch[0] == batch[1] && batch[1] == batch[2]));
        batches.sort();
        batches.dedup();
        assert_eq!(batches.len(), 60);
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await, values);
    }
}
