use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::bench::marker::{Scanner, sequence};
use crate::bench::testing::options;

fn bodies(arguments: &[&str], first: u64, count: u64) -> Vec<String> {
    let shape = Shape::new(&options("append", arguments)).unwrap();
    let (wrap, mut room) = (shape.wrap("t"), BytesMut::new());
    let body = |step| shape.body(&wrap, first + step * shape.batch(), 1_764_104_662_000_000_000, &mut room);
    (0..count).map(body).map(|body| String::from_utf8(body.to_vec()).unwrap()).collect()
}

#[test]
fn a_record_has_its_length_and_its_members_and_differs_from_all_others() {
    for (length, fields) in [(200, 10), (64, 2), (50, 1), (1_024, 10), (4_096, 60)] {
        let arguments = [format!("--record-bytes={length}"), format!("--fields={fields}")];
        let bodies = bodies(&arguments.each_ref().map(String::as_str), 7, 500);
        for body in &bodies {
            assert_eq!(body.len(), length, "{body}");
            let value: Value = serde_json::from_str(body).unwrap();
            assert_eq!(value.as_object().unwrap().len(), fields, "{body}");
        }
        assert_eq!(bodies.iter().collect::<BTreeSet<_>>().len(), 500);
    }
}

#[test]
fn the_members_are_of_mixed_types() {
    let value: Value = serde_json::from_str(&bodies(&[], 3, 1)[0]).unwrap();
    let types: Vec<_> = ["n", "price", "ok", "kind", "user", "lat", "count", "at", "text"]
        .map(|name| match &value[name] {
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_u64() => "integer",
            Value::Number(_) => "float",
            Value::String(_) => "string",
            _ => "nothing",
        })
        .into();
    assert_eq!(types, ["integer", "float", "bool", "string", "string", "float", "integer", "integer", "string"]);
}

#[test]
fn a_record_that_is_too_short_for_its_members_is_refused() {
    let shape = Shape::new(&options("append", &["--record-bytes=100"]));
    let fault = shape.unwrap_err().to_string();
    assert!(fault.contains("10 members take") && fault.contains("--record-bytes 100"), "{fault}");
}

#[test]
fn batches_are_arrays_or_lines() {
    let array: Value = serde_json::from_str(&bodies(&["--batch=3"], 0, 1)[0]).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 3);
    let lines = &bodies(&["--batch=3", "--format=ndjson"], 0, 1)[0];
    assert!(lines.ends_with('\n'));
    let ids: Vec<_> = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert!(
        ids.len() == 3 && ids[2].as_str().unwrap().starts_with("~~0000000000000002.1764104662000000000"),
        "{ids:?}"
    );
}

#[test]
fn other_servers_get_their_own_frames_with_escaped_records() {
    let arguments = [
        "--batch=2",
        "--escape",
        r#"--body-prefix={"to":"{topic}","records":["#,
        r"--body-suffix=]}\n",
        r#"--record-prefix={"body":""#,
        r#"--record-suffix="}"#,
        "--record-separator=, ",
    ];
    let body = bodies(&arguments, sequence(3, 5), 1).remove(0);
    assert!(body.ends_with("]}\n"), "{body}");
    let outer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((outer["to"].as_str(), outer["records"].as_array().unwrap().len()), (Some("t"), 2));
    let inner = outer["records"][1]["body"].as_str().unwrap();
    assert_eq!(inner.len(), 200);
    assert!(serde_json::from_str::<Value>(inner).unwrap().is_object());
    let mut found = Vec::new();
    Scanner::default().feed(body.as_bytes(), |mark| found.push((mark.writer(), mark.number())));
    assert_eq!(found, [(3, 5), (3, 6)]);
}

#[test]
fn a_backslash_is_read_where_it_stands_for_something() {
    assert_eq!(unescape(r#"a\nb\r\t\\n\"\q\"#), "a\nb\r\t\\n\\\"\\q\\");
}
