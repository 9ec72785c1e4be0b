//! Schema evolution by appends, and the registry.

use serde_json::{Value, json};

use crate::support::api::{JSON, Topic};
use crate::support::local::shared;
use crate::support::sse::Sse;

async fn fields(topic: &Topic) -> Value {
    topic.get("schemas/latest").await.expect(200).json()["fields"].clone()
}

#[tokio::test]
async fn evolve_adds_nullable_columns_and_widens_at_every_depth() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"n":1,"s":{"x":1},"l":[{"y":1}]}"#).await;
    topic.append(r#"{"n":2,"new":true,"s":{"x":2,"z":"t"},"l":[{"y":1.5,"w":[1]}]}"#).await;
    assert_eq!(
        fields(&topic).await,
        json!([
            {"name": "n", "type": "int64", "nullable": true},
            {"name": "s", "type": "struct", "nullable": true, "fields": [
                {"name": "x", "type": "int64", "nullable": true}, {"name": "z", "type": "string", "nullable": true}]},
            {"name": "l", "type": "list", "nullable": true, "items": {"type": "struct", "fields": [
                {"name": "y", "type": "float64", "nullable": true},
                {"name": "w", "type": "list", "nullable": true, "items": {"type": "int64"}}]}},
            {"name": "new", "type": "bool", "nullable": true},
        ])
    );
    let expected =
        [r#"{"n":1,"s":{"x":1},"l":[{"y":1}]}"#, r#"{"n":2,"s":{"x":2,"z":"t"},"l":[{"y":1.5,"w":[1]}],"new":true}"#];
    assert_eq!(topic.values(0).await, expected);
    topic.post("flush", "").await.expect(200);
    assert_eq!(topic.values(0).await, expected);
}

#[tokio::test]
async fn values_never_change_by_automatic_widening() {
    // Some committed before the change, some not.
    for flush_before in [true, false] {
        let topic = shared().await.topic("persisting").await;
        topic.append(r#"{"i":1,"w":-3}{"i":9007199254740992,"w":127}"#).await;
        if flush_before {
            topic.post("flush", "").await.expect(200);
        }
        let before = topic.values(0).await;
        let receipt = topic.append(r#"{"i":0.5}"#).await;
        assert_eq!(receipt["schema_version"], 2);
        assert_eq!(topic.values(0).await[..2], before);
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await[..2], before);
        assert_eq!(topic.values(2).await, [r#"{"i":0.5}"#]);
        assert_eq!(fields(&topic).await[0]["type"], "float64");
    }
}

#[tokio::test]
async fn an_integer_past_2_to_53_keeps_its_column_an_integer() {
    for flushed in [true, false] {
        let topic = shared().await.topic("persisting").await;
        topic.append(r#"{"i":9007199254740993,"j":9007199254740992}"#).await;
        if flushed {
            topic.post("flush", "").await.expect(200);
        }
        topic.refuse("", JSON, r#"{"i":1.5}"#, (422, "schema_conflict")).await;
        topic.append(r#"{"i":1.0,"j":1.5}"#).await;
        assert_eq!(topic.values(1).await, [r#"{"i":1,"j":1.5}"#]);
        // Floats take no integer past it.
        topic.refuse("", JSON, r#"{"j":9007199254740993}"#, (422, "invalid_record")).await;
    }
}

#[tokio::test]
async fn declared_narrow_integers_widen_to_the_narrowest_that_holds() {
    let api = shared().await;
    for (from, value, to) in [
        ("int8", "300", "int16"),
        ("int8", "70000", "int32"),
        ("uint8", "-1", "int16"),
        ("uint8", "256", "uint16"),
        ("uint32", "18446744073709551615", "uint64"),
        ("int8", "1.5", "float64"),
        ("int64", "1e30", "float64"),
    ] {
        let topic = api.make(json!({"schema": {"fields": [{"name": "c", "type": from}]}})).await;
        topic.append("{\"c\":7}").await;
        topic.append(format!("{{\"c\":{value}}}")).await;
        assert_eq!(fields(&topic).await[0]["type"], to, "{from} {value}");
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await[0], "{\"c\":7}");
    }
    for (from, value) in [
        ("int64", "9223372036854775808"),
        ("uint64", "-1"),
        ("int64", "\"x\""),
        ("bool", "1"),
        ("string", "{}"),
        ("string", "1"),
    ] {
        let topic = api.make(json!({"schema": {"fields": [{"name": "c", "type": from}]}})).await;
        topic.refuse("", JSON, format!("{{\"c\":{value}}}"), (422, "schema_conflict")).await;
        assert_eq!(fields(&topic).await[0]["type"], from);
    }
}

#[tokio::test]
async fn strict_takes_the_declared_schema_or_that_of_the_first_batch_and_nothing_else() {
    let api = shared().await;
    for configuration in [json!({"backend": "lance"}), json!({"schema_mode": "strict"})] {
        let topic = api.make(configuration).await;
        topic.append("{}{\"gone\":null}").await;
        topic.append(r#"{"a":1}{"b":"x"}"#).await;
        topic.append(r#"{"b":"y","a":2,"c":null}"#).await;
        topic.wait_for_tail(5).await;
        assert_eq!(topic.values(2).await, [r#"{"a":1}"#, r#"{"b":"x"}"#, r#"{"a":2,"b":"y"}"#]);
        topic.refuse("", JSON, r#"{"c":1}"#, (422, "schema_conflict")).await;
        topic.refuse("", JSON, r#"{"a":1.5}"#, (422, "invalid_record")).await;
        topic.refuse("", JSON, r#"{"a":"x"}"#, (422, "schema_conflict")).await;
        topic.append(r#"{"a":3.0}"#).await;
        assert_eq!(topic.get("").await.json()["schema_version"], 1);
    }
}

#[tokio::test]
async fn the_registry_tells_every_version() {
    let topic = shared().await.make(json!({"schema": {"fields": [{"name": "a", "type": "int8"}]}})).await;
    topic.append(r#"{"a":1}"#).await;
    topic.append(r#"{"a":300,"odd name":true}"#).await;
    let listed = topic.get("schemas").await.expect(200).json();
    let schemas = listed["schemas"].as_array().unwrap();
    assert_eq!(schemas.len(), 2);
    for (schema, (version, cause)) in schemas.iter().zip([(1, "declared"), (2, "evolved")]) {
        assert_eq!((&schema["version"], &schema["cause"]), (&json!(version), &json!(cause)));
        assert!(
            !schema["fingerprint"].as_str().unwrap().is_empty() && schema["created_at"].as_str().unwrap().len() == 27
        );
        assert_eq!(topic.get(&format!("schemas/{version}")).await.expect(200).json(), *schema);
    }
    assert_eq!(schemas[0]["changes"], json!([]));
    assert_eq!(
        schemas[1]["changes"],
        json!([
            {"op": "widen", "path": "a", "from": {"name": "a", "type": "int8", "nullable": true}, "to": {"name": "a", "type": "int16", "nullable": true}},
            {"op": "add", "path": "\"odd name\"", "to": {"name": "odd name", "type": "bool", "nullable": true}},
        ])
    );
    let latest = topic.get("schemas/latest").await;
    assert_eq!(latest.json(), schemas[1]);
    assert!(latest.header("etag").unwrap().starts_with('"'));
    assert_ne!(latest.header("etag"), topic.get("schemas/1").await.header("etag"));
    for version in ["3", "0", "99999999999"] {
        topic.get(&format!("schemas/{version}")).await.problem(404, "not_found");
    }
    for version in ["x", "-1", "1.0", "Latest"] {
        topic.get(&format!("schemas/{version}")).await.problem(400, "invalid_parameter");
    }
    let empty = shared().await.topic("persisting").await;
    assert_eq!(empty.get("schemas").await.expect(200).json(), json!({"schemas": []}));
    empty.get("schemas/latest").await.problem(404, "not_found");
    empty.append(r#"{"a":1}"#).await;
    assert_eq!(empty.get("schemas/latest").await.json()["cause"], "inferred");
}

#[tokio::test]
async fn appends_that_evolve_at_once_all_find_their_place() {
    let topic = shared().await.topic("persisting").await;
    let writers = (0..12).map(|writer| {
        let topic = topic.clone();
        tokio::spawn(async move { topic.append(format!("{{\"k{writer}\":{writer},\"common\":{writer}}}")).await })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let values = topic.values(0).await;
    assert_eq!(values.len(), 12);
    for value in &values {
        let value: Value = serde_json::from_str(value).unwrap();
        let writer = value["common"].as_u64().unwrap();
        assert_eq!(value[format!("k{writer}")], writer);
        assert_eq!(value.as_object().unwrap().len(), 2);
    }
    assert_eq!(fields(&topic).await.as_array().unwrap().len(), 13);
    topic.post("flush", "").await.expect(200);
    let again: Vec<Value> = topic.values(0).await.iter().map(|value| serde_json::from_str(value).unwrap()).collect();
    let first: Vec<Value> = values.iter().map(|value| serde_json::from_str(value).unwrap()).collect();
    assert_eq!(again, first);
}

#[tokio::test]
async fn two_writers_evolve_one_topic_while_a_reader_streams() {
    const ROUNDS: u64 = 20;
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"writer":"none"}"#).await;
    let mut stream = Sse::open(&topic, &format!("?offset=0&limit={}", 1 + 2 * ROUNDS), &[]).await;
    let writing = ["left", "right"].map(|writer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for round in 0..ROUNDS {
                // Each record has a field of its own, a member of its own in the struct that both share, and a wider number.
                let record = json!({"writer": writer, (format!("{writer}{round}")): round, "s": {(format!("{writer}{round}")): true},
                    "n": if round == ROUNDS / 2 { json!(0.5) } else { json!(round) }});
                let receipt = topic.append(record.to_string()).await;
                sent.push((receipt["first_offset"].as_u64().unwrap(), receipt["schema_version"].as_u64().unwrap(), record));
            }
            sent
        })
    });
    let mut sent = Vec::new();
    for writer in writing {
        sent.extend(writer.await.unwrap());
    }
    sent.sort_by_key(|(offset, ..)| *offset);
    // Each record at the offset that its writer was told, under a version that never goes back.
    assert!(sent.iter().map(|(offset, ..)| *offset).eq(1..=2 * ROUNDS));
    assert!(sent.is_sorted_by_key(|(_, version, _)| *version));
    let events = stream.rest().await;
    let records: Vec<Value> = events
        .iter()
        .filter(|event| event.name().is_none() && event.id().is_some())
        .map(|event| event.data())
        .collect();
    assert!(records[1..].iter().map(|record| &record["value"]).eq(sent.iter().map(|(.., record)| record)));
    let told: Vec<u64> = events
        .iter()
        .filter(|event| event.name() == Some("schema"))
        .map(|event| event.data()["schema_version"].as_u64().unwrap())
        .collect();
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    // Versions are dense, each with something new, and the last has all fields.
    let schemas = topic.get("schemas").await.json()["schemas"].as_array().unwrap().clone();
    let newest = sent.last().unwrap().1;
    assert!(schemas.iter().map(|schema| schema["version"].as_u64().unwrap()).eq(1..=newest));
    assert!(schemas[1..].iter().all(|schema| !schema["changes"].as_array().unwrap().is_empty()));
    let all = fields(&topic).await;
    assert_eq!(all.as_array().unwrap().len() as u64, 3 + 2 * ROUNDS);
    let members = all.as_array().unwrap().iter().find(|field| field["name"] == "s").unwrap();
    assert_eq!(members["fields"].as_array().unwrap().len() as u64, 2 * ROUNDS);
    for _ in 0..2 {
        let values: Vec<Value> =
            topic.values(1).await.iter().map(|value| serde_json::from_str(value).unwrap()).collect();
        assert!(values.iter().eq(sent.iter().map(|(.., record)| record)));
        topic.post("flush", "").await.expect(200);
    }
}
