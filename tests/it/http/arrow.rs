//! Rows in columns: appended, read, refused.

use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::{Float32Type, Float64Type, Int32Type};
use arrow_array::*;
use arrow_schema::DataType as ArrowType;
use futures::StreamExt;
use persisting::model::ErrorCode;
use persisting::topic::{ReadRequest, Start};
use serde_json::{Value, json};

use crate::support::api::{NDJSON, Topic, allowed};
use crate::support::arrow::{SENT, WANTED, batch, column, columns, rows, stream};
use crate::support::local::{Setup, shared};

const COLUMNAR: [&str; 2] = ["lance", "persisting"];

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// Rows with about everything that a column can hold.
fn everything() -> Vec<(&'static str, ArrayRef)> {
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append_value("x");
    words.append_null();
    words.append_value("x");
    let inner: ArrayRef = Arc::new(Float32Array::from(vec![Some(f32::NAN), None, Some(0.1)]));
    let field = Arc::new(arrow_schema::Field::new("f", ArrowType::Float32, true));
    let vectors = vec![Some(vec![Some(1.0), Some(-0.5)]), None, Some(vec![Some(0.1), Some(3.0)])];
    vec![
        ("id", Arc::new(StringViewArray::from(vec!["a", "é\n\"", "a text of more than twelve bytes"]))),
        ("i", Arc::new(Int32Array::from(vec![Some(1), None, Some(i32::MIN)]))),
        ("u", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]))),
        ("f", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(f64::NEG_INFINITY), None]))),
        ("d", Arc::new(words.finish())),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![Some(1_000), None, Some(-1_000)]))),
        ("day", Arc::new(Date32Array::from(vec![Some(0), None, Some(-1)]))),
        ("b", Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), Some(b""), None]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("v", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2))),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
                Some(vec![Some(f64::INFINITY), None, Some(1.0)]),
                Some(vec![]),
                None,
            ])),
        ),
        ("s", Arc::new(StructArray::new(vec![field].into(), vec![inner], Some(vec![true, true, false].into())))),
        ("odd name.%", ints([1, 2, 3])),
        ("none", Arc::new(NullArray::new(3))),
        ("_offset", ints([70, 80, 90])),
    ]
}

const PRINTED: [&str; 3] = [
    r#"{"id":"a","i":1,"u":18446744073709551615,"f":null,"d":"x","t":"1970-01-01T00:00:00.000001Z","day":"1970-01-01","b":"AP8=","ok":true,"v":[1,-0.5],"l":[null,null,1],"s":{"f":null},"odd name.%":1}"#,
    r#"{"id":"é\n\"","f":null,"b":"","l":[],"s":{},"odd name.%":2}"#,
    r#"{"id":"a text of more than twelve bytes","i":-2147483648,"u":0,"d":"x","t":"1969-12-31T23:59:59.999999Z","day":"1969-12-31","ok":false,"v":[0.1,3],"odd name.%":3}"#,
];

fn fields(topic: &Value) -> Value {
    topic["fields"].as_array().unwrap().iter().map(|field| json!([field["name"], field["type"]])).collect()
}

#[tokio::test]
async fn rows_read_the_same_before_and_after_a_flush_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let mut seen = Vec::new();
    for backend in COLUMNAR {
        let topic = server.api().topic(backend).await;
        let receipt = topic.append_with(SENT, rows(&everything())).await;
        assert!(receipt.status.is_success(), "{receipt}");
        topic.wait_for_tail(3).await;
        assert_eq!(topic.values(0).await, PRINTED, "{backend}");
        let schema = topic.get("schemas/latest").await.expect(200).json();
        let expected = json!([
            ["id", "string"],
            ["i", "int32"],
            ["u", "uint64"],
            ["f", "float64"],
            ["d", "string"],
            ["t", "timestamp"],
            ["day", "date32"],
            ["b", "binary"],
            ["ok", "bool"],
            ["v", "vector"],
            ["l", "list"],
            ["s", "struct"],
            ["odd name.%", "int64"]
        ]);
        assert_eq!(fields(&schema), expected);
        let read = columns(&topic, "").await;
        assert_eq!(column::<UInt64Array>(&read, "_offset").values().as_ref(), [0, 1, 2]);
        assert_eq!(read.schema().field(1).data_type().to_string(), "Timestamp(µs, \"UTC\")");
        let floats = column::<Float64Array>(&read, "f");
        assert!(floats.value(0).is_nan() && floats.value(1) == f64::NEG_INFINITY && floats.is_null(2));
        assert_eq!(column::<Int64Array>(&read, "odd name%2E%25").values().as_ref(), [1, 2, 3]);
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await, PRINTED, "{backend} after a flush");
        assert_eq!(format!("{:?}", columns(&topic, "").await), format!("{read:?}"), "{backend} after a flush");
        // Behind what is committed is something that is not: on `persisting` the log has it at the next start.
        topic.append_with(SENT, rows(&everything())).await;
        topic.wait_for_tail(6).await;
        seen.push((topic.name.clone(), format!("{:?}", columns(&topic, "").await)));
    }
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    for (name, before) in seen {
        let topic = server.api().named(&name);
        topic.wait_for_tail(6).await;
        assert_eq!(topic.values(3).await, PRINTED, "{name} after a restart");
        assert_eq!(format!("{:?}", columns(&topic, "").await), before, "{name} after a restart");
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(3).await, PRINTED);
    }
}

#[tokio::test]
async fn what_is_read_in_columns_can_be_appended_again() {
    let api = shared().await;
    for backend in COLUMNAR {
        let (topic, copy) = (api.topic(backend).await, api.topic(backend).await);
        topic.append_with(SENT, rows(&everything())).await;
        topic.wait_for_tail(3).await;
        let answer = topic.call("GET", "records", WANTED, "").await.expect(200);
        let appended = copy.append_with(SENT, answer.body).await;
        assert!(appended.status.is_success(), "{appended}");
        copy.wait_for_tail(3).await;
        assert_eq!(copy.values(0).await, PRINTED);
        let schemas = (topic.get("schemas/latest").await.json(), copy.get("schemas/latest").await.json());
        assert_eq!(schemas.0["fields"], schemas.1["fields"]);
    }
}

#[tokio::test]
async fn memory_has_no_columns() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    topic.append("{\"a\":1}").await;
    for answer in [
        topic.call("POST", "records", SENT, rows(&[("a", ints([1]))])).await,
        topic.call("POST", "records?atomic=false", SENT, rows(&[("a", ints([1]))])).await,
        topic.call("GET", "records", WANTED, "").await,
        topic.get("export?format=arrow").await,
        topic.get("export?format=parquet").await,
    ] {
        let problem = answer.problem(400, "unsupported_by_backend");
        assert_eq!((&problem["capability"], allowed(&problem)), (&json!("arrow"), COLUMNAR.to_vec()));
    }
    assert_eq!(topic.values(0).await, ["{\"a\":1}"]);
}

#[tokio::test]
async fn a_read_has_its_range_and_its_fields() {
    let topic = shared().await.topic("persisting").await;
    let empty = columns(&topic, "").await;
    assert_eq!((empty.num_rows(), empty.num_columns()), (0, 2));
    topic.append(r#"[{"a":1,"o":{"x":1,"y":"q"},"l":[{"m":1,"n":2}]},{"a":2},{"o":{"x":3}}]"#).await;
    for flushed in [false, true] {
        let read = columns(&topic, "?offset=1&limit=1").await;
        assert_eq!(column::<UInt64Array>(&read, "_offset").values().as_ref(), [1]);
        let read = columns(&topic, "?fields=l.m,o.x,none&offset=-3").await;
        let names: Vec<&str> = read.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["_offset", "_timestamp", "o", "l"], "flushed: {flushed}");
        let members = column::<StructArray>(&read, "o");
        assert_eq!((members.num_columns(), members.column(0).len()), (1, 3));
        assert_eq!(members.column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(2), 3);
        let lists = column::<ListArray>(&read, "l");
        assert_eq!(lists.values().data_type().to_string(), "Struct(\"m\": Int64)");
        topic.post("flush", "").await.expect(200);
    }
    topic.call("GET", "records?offset=4", WANTED, "").await.problem(416, "offset_out_of_range");
    assert_eq!(columns(&topic, "?offset=3").await.num_rows(), 0);
    topic.post("trim", json!({"before": 1}).to_string()).await.expect(200);
    topic.call("GET", "records?offset=0", WANTED, "").await.problem(410, "offset_expired");
    assert_eq!(columns(&topic, "").await.num_rows(), 2);
}

#[tokio::test]
async fn a_read_that_has_begun_goes_on_as_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().topic("persisting").await;
    let count = 150_000;
    let lists = |_| Some(vec![Some(0.5), Some(1.0)]);
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>((0..count).map(lists));
    let columns =
        [("a", ints(0..count)), ("b", ints(0..count)), ("c", ints(0..count)), ("v", Arc::new(lists) as ArrayRef)];
    topic.call("POST", "records?atomic=false", SENT, rows(&columns)).await.expect(200);
    topic.append(r#"{"j":[1]}"#).await;
    for flushed in [false, true] {
        let name = persisting::model::TopicName::parse(&topic.name).unwrap();
        let inner = server.engine().topic(&name).await.unwrap();
        let ask = ReadRequest {
            start: Start::Earliest,
            epoch: None,
            limit: None,
            bytes_max: None,
            wait: None,
            fields: None,
            filter: None,
            version: None,
            at: None,
        };
        let mut read = inner.read_columns(ask).await.unwrap();
        let first = read.batches.next().await.unwrap().unwrap();
        assert!(first.num_rows() < 100_000, "there is more to come");
        let changes = if flushed {
            json!([{"op": "rename", "path": "x", "to": "y"}, {"op": "drop", "path": "c"}])
        } else {
            json!([{"op": "rename", "path": "a", "to": "x"}, {"op": "rename", "path": "b", "to": "a"},
                {"op": "widen", "path": "a", "to": {"type": "float64"}},
                {"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2, "item": "float64"}}])
        };
        topic.post("schemas", json!({ "changes": changes }).to_string()).await.expect(201);
        topic.append(r#"{"b":"new","later":1}"#).await;
        topic.post("flush", "").await.expect(200);
        let (mut next, mut refused) = (first.num_rows() as i64, None);
        let asked = if flushed { "x" } else { "a" };
        while let Some(batch) = read.batches.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(problem) => {
                    refused = Some(problem.code);
                    continue;
                }
            };
            assert_eq!(batch.schema(), read.schema);
            let (rows, values) = (batch.num_rows() as i64, column::<Int64Array>(&batch, asked));
            let expected: Vec<i64> = (next..(next + rows).min(count)).collect();
            assert_eq!(&values.values()[..expected.len()], expected);
            assert_eq!(&column::<Int64Array>(&batch, "c").values()[..expected.len()], expected);
            if !flushed {
                assert_eq!(column::<ListArray>(&batch, "v").value_length(0), 2);
            }
            next += rows;
        }
        if flushed {
            assert_eq!((refused, next < count), (Some(ErrorCode::ColumnsChanged), true), "its values are gone");
        } else {
            assert_eq!((refused, next), (None, count + 1));
        }
    }
}

#[tokio::test]
async fn new_columns_come_where_the_mode_lets_them() {
    let api = shared().await;
    let strict = api.topic("lance").await;
    strict.append_with(SENT, rows(&[("a", Arc::new(Int8Array::from(vec![1])))])).await;
    strict.wait_for_tail(1).await;
    let refused = strict.append_with(SENT, rows(&[("a", ints([1])), ("b", ints([1]))])).await;
    assert_eq!(refused.problem(422, "schema_conflict")["errors"][0]["pointer"], "/b");
    let refused = strict.append_with(SENT, rows(&[("a", ints([300]))])).await;
    assert_eq!(refused.problem(422, "invalid_record")["errors"][0]["pointer"], "/a");
    let evolving = api.topic("persisting").await;
    evolving.append(r#"{"a":1}"#).await;
    let more = [
        ("a", Arc::new(Float64Array::from(vec![0.5])) as ArrayRef),
        ("b", Arc::new(Int16Array::from(vec![7])) as ArrayRef),
    ];
    assert_eq!(evolving.append_with(SENT, rows(&more)).await.expect(200).json()["schema_version"], 2);
    assert_eq!(evolving.values(0).await, [r#"{"a":1}"#, r#"{"a":0.5,"b":7}"#]);
    let changes = evolving.get("schemas/latest").await.json()["changes"].clone();
    assert_eq!((&changes[0]["op"], &changes[1]["to"]["type"]), (&json!("widen"), &json!("int16")));
    let decimal: ArrayRef = Arc::new(Decimal128Array::from(vec![1]));
    let problem = evolving.append_with(SENT, rows(&[("price", decimal)])).await.problem(422, "schema_conflict");
    assert!(
        allowed(&problem).contains(&"float64") && problem["detail"].as_str().unwrap().contains("`price`"),
        "{problem}"
    );
    assert_eq!(evolving.tail().await, 2);
}

#[tokio::test]
async fn a_refused_stream_stores_nothing() {
    let topic = shared().await.topic("persisting").await;
    let sound = rows(&[("v", ints(0..10))]);
    for (body, code) in [
        (b"{\"a\":1}".to_vec(), "invalid_body"),
        (sound[..sound.len() - 20].to_vec(), "invalid_body"),
        ([&sound[..], b"more"].concat(), "invalid_body"),
        (Vec::new(), "empty_batch"),
        (rows(&[("v", ints([]))]), "empty_batch"),
    ] {
        topic.append_with(SENT, body).await.problem(400, code);
    }
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(f32::NAN)])], 1);
    let problem = topic.append_with(SENT, rows(&[("v", Arc::new(vectors))])).await.problem(422, "invalid_record");
    assert_eq!((&problem["errors"][0]["pointer"], &problem["line"]), (&json!("/v/0"), &Value::Null));
    assert_eq!((topic.tail().await, topic.get("schemas").await.json()["schemas"].clone()), (0, json!([])));
}

#[tokio::test]
async fn writers_are_known_and_offsets_compared_as_with_json() {
    let topic = shared().await.topic("persisting").await;
    let body = rows(&[("n", ints([1, 2]))]);
    let keyed = [SENT[0], ("idempotency-key", "k")];
    let first = topic.append_with(&keyed, body.clone()).await.expect(200).json();
    let again = topic.append_with(&keyed, body.clone()).await.expect(200).json();
    assert_eq!((&again["first_offset"], &again["duplicate"]), (&first["first_offset"], &json!(true)));
    topic.append_with(&keyed, rows(&[("n", ints([3]))])).await.problem(422, "idempotency_mismatch");
    let producer = [SENT[0], ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    topic.append_with(&producer, body.clone()).await.expect(200);
    assert_eq!(topic.append_with(&producer, body.clone()).await.expect(200).json()["duplicate"], true);
    topic.call("POST", "records?expected_offset=9", SENT, body.clone()).await.problem(412, "offset_mismatch");
    let receipt = topic.call("POST", "records?expected_offset=4&ack=committed&close=true", SENT, body.clone()).await;
    assert_eq!(receipt.expect(200).json()["durability"], "committed");
    topic.append_with(SENT, body.clone()).await.problem(409, "topic_closed");
    topic.call("POST", "records?atomic=false&close=true", SENT, body).await.problem(400, "invalid_parameter");
}

async fn load(topic: &Topic, body: Vec<u8>) -> crate::support::api::Answer {
    topic.call("POST", "records?atomic=false", SENT, body).await
}

#[tokio::test]
async fn a_load_is_stored_in_pieces() {
    let api = shared().await;
    for backend in COLUMNAR {
        let topic = api.topic(backend).await;
        // Batches smaller and larger than a piece, and rows of which fewer make one.
        let small: Vec<RecordBatch> = (0..300).map(|at| batch(&[("n", ints(at * 7..at * 7 + 7))])).collect();
        let receipt = load(&topic, stream(&small)).await.json();
        assert_eq!((&receipt["count"], &receipt["last_offset"]), (&json!(2_100), &json!(2_099)));
        let receipt = load(&topic, rows(&[("n", ints(2_100..27_000))])).await.json();
        assert_eq!((&receipt["first_offset"], &receipt["count"]), (&json!(2_100), &json!(24_900)));
        topic.wait_for_tail(27_000).await;
        assert_eq!(
            column::<Int64Array>(&columns(&topic, "").await, "n").values().as_ref(),
            (0..27_000).collect::<Vec<_>>()
        );
        let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(3 << 20); 5]));
        let stored = if backend == "lance" { 0 } else { 5 };
        assert_eq!(load(&topic, rows(&[("s", long)])).await.json()["count"], stored, "lance takes no new column");
    }
}

#[tokio::test]
async fn a_load_that_stops_tells_what_is_stored() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"s":"x"}"#).await;
    let mut texts = vec![Some("1"); 25_000];
    texts[20_500] = None;
    let sound: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let declared = json!({"changes": [{"op": "add", "path": "j", "to": {"type": "json"}}]});
    topic.post("schemas", declared.to_string()).await.expect(201);
    texts[20_500] = Some("no json");
    let bad: ArrayRef = Arc::new(StringArray::from(texts));
    let problem = load(&topic, rows(&[("j", bad)])).await.problem(422, "invalid_record");
    assert_eq!(problem["errors"][0]["record"], 20_500);
    assert_eq!(
        (&problem["first_offset"], &problem["next_offset"], &problem["count"]),
        (&json!(1), &json!(20_001), &json!(20_000))
    );
    let mut cut = rows(&[("j", sound)]);
    cut.truncate(cut.len() / 2);
    let problem = load(&topic, cut).await.problem(400, "invalid_body");
    assert_eq!((&problem["first_offset"], &problem["count"]), (&Value::Null, &json!(0)));
    load(&topic, Vec::new()).await.problem(400, "empty_batch");
    assert_eq!(topic.tail().await, 20_001);
}

#[tokio::test]
async fn numbers_that_json_lacks_outlive_a_change_of_the_schema() {
    let topic = shared().await.topic("persisting").await;
    topic
        .append_with(SENT, rows(&[("f", Arc::new(Float32Array::from(vec![f32::INFINITY, f32::NAN])))]))
        .await
        .expect(200);
    let changes = json!({"changes": [{"op": "rename", "path": "f", "to": "g"}, {"op": "widen", "path": "g", "to": {"type": "float64"}}]});
    topic.post("schemas", changes.to_string()).await.expect(201);
    for _ in 0..2 {
        assert_eq!(topic.values(0).await, [r#"{"g":null}"#; 2]);
        let floats = column::<Float64Array>(&columns(&topic, "").await, "g");
        assert!(floats.value(0) == f64::INFINITY && floats.value(1).is_nan());
        topic.post("flush", "").await.expect(200);
    }
    // In a stream, and record by record, they are what they are on a page.
    let lines =
        topic.call("GET", "stream?offset=0&block=false", &[("accept", "application/x-ndjson")], "").await.text();
    assert!(lines.contains(r#""value":{"g":null}"#) && !lines.contains("NaN"), "{lines}");
    assert_eq!(topic.get("records/1").await.json()["value"], json!({"g": null}));
    topic.append_with(NDJSON, r#"{"g":null}"#).await.expect(200);
    assert_eq!(topic.values(2).await, ["{}"], "null of JSON is none");
}
