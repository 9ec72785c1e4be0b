//! Topics as files.

use arrow_array::{Int64Array, RecordBatch, UInt64Array};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use crate::support::api::{Answer, JSON, NDJSON};
use crate::support::arrow::{column, read};
use crate::support::local::shared;

fn parquet(answer: &Answer) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(answer.body.clone())).unwrap();
    let schema = std::sync::Arc::clone(reader.schema());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

#[tokio::test]
async fn lines_are_bare_values_that_can_be_appended_again() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append(r#"[{"a":1,"b":{"c":"x"}},{"a":2},{"a":3}]"#).await;
        topic.wait_for_tail(3).await;
        let lines = "{\"a\":1,\"b\":{\"c\":\"x\"}}\n{\"a\":2}\n{\"a\":3}\n";
        for query in ["", "?format=ndjson"] {
            let answer = topic.get(&format!("export{query}")).await.expect(200);
            assert_eq!((answer.text().as_str(), answer.header("content-type")), (lines, Some("application/x-ndjson")));
            let file = format!("attachment; filename=\"{}.ndjson\"", topic.name);
            assert_eq!(answer.header("content-disposition"), Some(file.as_str()));
        }
        for (query, expected) in [
            ("offset=1&limit=1", "{\"a\":2}\n"),
            ("offset=-1", "{\"a\":3}\n"),
            ("offset=latest", ""),
            ("fields=b.c&limit=2", "{\"b\":{\"c\":\"x\"}}\n{}\n"),
        ] {
            assert_eq!(topic.get(&format!("export?{query}")).await.expect(200).text(), expected, "{backend} {query}");
        }
        let copy = api.topic(backend).await;
        copy.append_with(NDJSON, lines).await;
        copy.wait_for_tail(3).await;
        assert_eq!(copy.get("export").await.text(), lines);
    }
}

#[tokio::test]
async fn floats_that_print_as_integers_can_be_appended_again() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append(r#"[{"x":0.5,"l":[0.5]},{"x":1e17,"l":[1e20,-1e20]},{"x":1152921504606846976.0},{"x":3}]"#).await;
        topic.wait_for_tail(4).await;
        let lines = topic.get("export").await.expect(200).text();
        // To the same topic, and to one that knows nothing of its columns.
        topic.append_with(NDJSON, lines.as_str()).await;
        topic.wait_for_tail(8).await;
        assert_eq!(topic.get("export?offset=4").await.text(), lines, "{backend}");
        let copy = api.topic(backend).await;
        copy.append_with(NDJSON, lines.as_str()).await;
        copy.wait_for_tail(4).await;
        assert_eq!(copy.get("export").await.text(), lines, "{backend}");
        if backend != "memory" {
            assert!(lines.contains("\"x\":100000000000000000,") && lines.contains("1152921504606847000"), "{lines}");
            let fields = [&topic, &copy].map(|topic| topic.get("schemas/latest"));
            let [old, new] = fields;
            assert_eq!(old.await.expect(200).json()["fields"], new.await.expect(200).json()["fields"]);
        }
    }
}

#[tokio::test]
async fn tables_have_the_columns_of_the_dataset() {
    let api = shared().await;
    for backend in ["lance", "persisting"] {
        let topic = api.topic(backend).await;
        for (format, columns) in [("arrow", 2), ("parquet", 2)] {
            let answer = topic.get(&format!("export?format={format}")).await.expect(200);
            let table = if format == "arrow" { read(&answer) } else { parquet(&answer) };
            assert_eq!((table.num_rows(), table.num_columns()), (0, columns), "{format} of nothing");
        }
        topic.append(r#"[{"a":1,"j":{},"v":[0.5]},{"a":2}]"#).await;
        topic.wait_for_tail(2).await;
        topic.post("flush", "").await.expect(200);
        topic.append(r#"{"a":3}"#).await;
        topic.wait_for_tail(3).await;
        let arrow = topic.get("export?format=arrow").await.expect(200);
        let file = topic.get("export?format=parquet").await.expect(200);
        assert_eq!(arrow.header("content-type"), Some("application/vnd.apache.arrow.stream"));
        assert_eq!(file.header("content-type"), Some("application/vnd.apache.parquet"));
        assert!(file.header("content-disposition").unwrap().ends_with(".parquet\""));
        let (arrow, file) = (read(&arrow), parquet(&file));
        assert_eq!(arrow, file);
        assert_eq!(column::<UInt64Array>(&file, "_offset").values().as_ref(), [0, 1, 2]);
        assert_eq!(column::<Int64Array>(&file, "a").values().as_ref(), [1, 2, 3]);
        assert_eq!(file.schema().field_with_name("j").unwrap().metadata()["persisting:type"], "json");
        let part = parquet(&topic.get("export?format=parquet&offset=1&limit=1&fields=a").await.expect(200));
        assert_eq!((part.num_columns(), column::<Int64Array>(&part, "a").values().as_ref()), (3, &[2][..]));
    }
}

#[tokio::test]
async fn an_export_is_refused_as_a_read_is() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"[{"a":1},{"a":2}]"#).await;
    let problem = topic.get("export?format=csv").await.problem(400, "invalid_parameter");
    assert_eq!(problem["allowed"], json!(["ndjson", "arrow", "parquet"]));
    topic.post("trim", json!({"before": 1}).to_string()).await.expect(200);
    for format in ["ndjson", "arrow", "parquet"] {
        topic.get(&format!("export?format={format}&offset=0")).await.problem(410, "offset_expired");
        topic.get(&format!("export?format={format}&offset=3")).await.problem(416, "offset_out_of_range");
        let head = topic.call("HEAD", &format!("export?format={format}"), &[], "").await.expect(200);
        assert!(head.body.is_empty() && head.header("content-disposition").is_some());
        let accept = [("accept", "image/png")];
        topic.call("GET", &format!("export?format={format}"), &accept, "").await.problem(406, "not_acceptable");
    }
    topic.get("export?since=2026-01-01T00:00:00Z").await.problem(400, "unknown_parameter");
    topic.get("export?version=1").await.problem(410, "version_expired");
    topic.get("export?tag=none").await.problem(404, "not_found");
    topic.get("export?filter=nope%3D1").await.problem(400, "invalid_parameter");
    shared().await.named("nobody").get("export").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn an_export_shows_the_past_as_it_was() {
    for backend in ["lance", "persisting"] {
        let topic = shared().await.topic(backend).await;
        topic.append(r#"[{"a":1},{"a":2}]"#).await;
        let version = topic.call("PUT", "tags/then", JSON, "{}").await.expect(201).json()["version"].clone();
        let formats = ["ndjson", "arrow", "parquet"];
        let mut before = Vec::new();
        for format in formats {
            before.push(topic.get(&format!("export?format={format}")).await.expect(200).body);
        }
        // A later column and a wider one, where the mode allows it.
        let later = if backend == "lance" { r#"{"a":3}"# } else { r#"{"a":3.5,"b":"x"}"# };
        topic.append(later).await;
        topic.post("flush", "").await.expect(200);
        topic.post("trim", json!({"before": 1}).to_string()).await.expect(200);
        for (format, before) in formats.iter().zip(&before) {
            for when in [format!("version={version}"), "tag=then".to_owned()] {
                let past = topic.get(&format!("export?format={format}&{when}")).await.expect(200);
                assert_eq!(&past.body, before, "{backend} {format} {when}");
            }
        }
        let rows = |body: &[u8]| String::from_utf8_lossy(body).lines().count();
        let now = topic.get("records").await.json()["records"][0]["timestamp"].as_str().unwrap().to_owned();
        assert_eq!(rows(&topic.get(&format!("export?as_of={now}")).await.expect(200).body), 1);
        topic.get(&format!("export?as_of={now}&tag=then")).await.problem(400, "invalid_parameter");
        let arrow = [("accept", "application/vnd.apache.arrow.stream")];
        let read = topic.call("GET", "records?tag=then", &arrow, "").await.expect(200);
        assert_eq!(read.body.len(), before[1].len(), "the same stream as an export's");
        topic.get("records?tag=then&schema_version=1").await.problem(400, "invalid_parameter");
    }
}
