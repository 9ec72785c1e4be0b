use bytes::Bytes;
use serde_json::{Value, json};

use super::super::columns::to_batch;
use super::*;
use crate::codec::Values;
use crate::model::{Offset, SchemaVersion, Timestamp};
use crate::schema::{Edit, Lineage, WideColumns, plan};

fn schema(fields: Value) -> Schema {
    Schema::from_json(&json!({ "fields": fields })).unwrap()
}

fn chunk(records: &[&str]) -> Chunk {
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    let values = Values::from_text(Bytes::from(text)).unwrap();
    Chunk::new(Offset::new(7).unwrap(), Timestamp::from_micros(5), values)
}

/// A posted version of these changes, and the schema that it leads to.
fn posted(number: u32, before: &Schema, changes: Value) -> (Posted, Schema) {
    let edit = Edit::from_json(None, Some(changes)).unwrap();
    let planned = plan(Some(before), &edit, &WideColumns::default(), true).unwrap();
    let version = SchemaVersion::new(number).unwrap();
    (Posted { version, before: Arc::new(before.clone()), moves: planned.moves() }, planned.schema)
}

fn texts(chunk: &Chunk) -> Vec<String> {
    (0..chunk.len()).map(|index| String::from_utf8(chunk.value(index).to_vec()).unwrap()).collect()
}

#[test]
fn names_go_with_values_and_a_name_that_comes_back_has_none() {
    let before = schema(json!([
        {"name": "a", "type": "int64"}, {"name": "b", "type": "string"},
        {"name": "s", "type": "struct", "fields": [{"name": "x", "type": "int64"}, {"name": "y", "type": "bool"}]},
        {"name": "l", "type": "list", "items": {"type": "struct", "fields": [
            {"name": "m", "type": "int64"}, {"name": "n", "type": "bool"}]}},
    ]));
    let (step, after) = posted(
        2,
        &before,
        json!([
            {"op": "rename", "path": "a", "to": "t"}, {"op": "rename", "path": "b", "to": "a"},
            {"op": "rename", "path": "t", "to": "b"},
            {"op": "rename", "path": "s.x", "to": "z.z"}, {"op": "drop", "path": "s.y"},
            {"op": "add", "path": "s.y", "to": {"type": "string"}},
            {"op": "drop", "path": "l.m"}, {"op": "rename", "path": "l.n", "to": "m"}, {"op": "rename", "path": "l", "to": "L"},
        ]),
    );
    let old =
        chunk(&[r#"{"a":1,"b":"x","s":{"x":2,"y":true},"l":[{"m":3,"n":false},null,{}]}"#, "{}", r#"{"s":{},"l":[]}"#]);
    let new = reshape_chunk(&old, &[step], &after).unwrap();
    assert_eq!(texts(&new), [r#"{"b":1,"a":"x","s":{"z.z":2},"L":[{"m":false},null,{}]}"#, "{}", r#"{"s":{},"L":[]}"#]);
    assert_eq!((new.first(), new.time(2)), (old.first(), old.time(2)));
}

#[test]
fn wider_types_and_conversions_reach_every_depth() {
    let before = schema(json!([
        {"name": "i", "type": "int64"}, {"name": "f", "type": "float32"}, {"name": "j", "type": "json"},
        {"name": "s", "type": "struct", "fields": [{"name": "j", "type": "json"}, {"name": "i", "type": "int8"}]},
        {"name": "l", "type": "list", "items": {"type": "struct", "fields": [{"name": "j", "type": "json"}]}},
        {"name": "v", "type": "list", "items": {"type": "float64"}},
    ]));
    let (step, after) = posted(
        2,
        &before,
        json!([
            {"op": "widen", "path": "i", "to": {"type": "float64"}}, {"op": "widen", "path": "f", "to": {"type": "float64"}},
            {"op": "convert", "path": "j", "to": {"type": "struct", "fields": [
                {"name": "b", "type": "string"}, {"name": "a", "type": "int64"}]}},
            {"op": "convert", "path": "s.j", "to": {"type": "int64"}}, {"op": "widen", "path": "s.i", "to": {"type": "int32"}},
            {"op": "convert", "path": "l.j", "to": {"type": "timestamp"}},
            {"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}},
        ]),
    );
    let old = chunk(&[
        r#"{"i":-3,"f":0.1,"j":{"a":1.0,"b":"x"},"s":{"j":9007199254740993,"i":1},"l":[{"j":"2026-01-01T01:00:00+01:00"},{},null],"v":[0.1,-2]}"#,
        r#"{"s":{"i":-1}}"#,
        "{}",
        r#"{"j":{},"s":{},"l":[],"v":[1,2]}"#,
    ]);
    let new = reshape_chunk(&old, &[step], &after).unwrap();
    assert_eq!(
        texts(&new),
        [
            r#"{"i":-3,"f":0.10000000149011612,"j":{"b":"x","a":1},"s":{"j":9007199254740993,"i":1},"l":[{"j":"2026-01-01T00:00:00.000000Z"},{},null],"v":[0.1,-2]}"#,
            r#"{"s":{"i":-1}}"#,
            "{}",
            r#"{"j":{},"s":{},"l":[],"v":[1,2]}"#,
        ]
    );
}

#[test]
fn the_first_row_that_does_not_fit_is_named() {
    let before = schema(json!([
        {"name": "v", "type": "list", "items": {"type": "float64"}},
        {"name": "l", "type": "list", "items": {"type": "struct", "fields": [{"name": "j", "type": "json"}]}},
    ]));
    let cases = [
        (json!([{"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}}]), Some(4), "v"),
        (json!([{"op": "convert", "path": "v", "to": {"type": "vector", "dim": 3}}]), Some(1), "v"),
        (json!([{"op": "convert", "path": "l.j", "to": {"type": "int64"}}]), Some(3), "l.j"),
        (
            json!([
                {"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}},
                {"op": "convert", "path": "l.j", "to": {"type": "int64"}},
            ]),
            Some(3),
            "l.j",
        ),
        (json!([{"op": "convert", "path": "l.j", "to": {"type": "list", "items": {"type": "json"}}}]), Some(2), "l.j"),
        (json!([{"op": "rename", "path": "l.j", "to": "k"}]), None, ""),
    ];
    let rows = chunk(&[
        "{}",
        r#"{"v":[1,2]}"#,
        r#"{"l":[{},{"j":1}]}"#,
        r#"{"l":[{"j":1},{"j":2.5}]}"#,
        r#"{"v":[1]}"#,
        r#"{"v":[3,4]}"#,
    ]);
    for (changes, row, path) in cases {
        let (step, after) = posted(2, &before, changes.clone());
        let batch = to_batch(&before, std::slice::from_ref(&rows)).unwrap();
        let found = misfit(&batch, &step.moves).unwrap();
        assert_eq!(found.as_ref().map(|found| found.row), row, "{changes}: {found:?}");
        if let Some(found) = found {
            assert_eq!(found.path.to_string(), path);
            assert!(!found.detail.is_empty());
            // The same of a part that begins elsewhere.
            let part = misfit(&batch.slice(1, batch.num_rows() - 1), &step.moves).unwrap();
            assert_eq!(part.map(|part| part.row + 1), row);
        }
        assert_eq!(reshape_chunk(&rows, &[step], &after).is_err(), row.is_some());
    }
}

#[test]
fn text_of_any_version_is_taken_through_all_that_was_posted_since() {
    let first = schema(json!([{"name": "a", "type": "int8"}, {"name": "b", "type": "string"}]));
    let (two, second) =
        posted(2, &first, json!([{"op": "rename", "path": "a", "to": "c"}, {"op": "drop", "path": "b"}]));
    // Made by an append: the old name again, and a wider integer.
    let third =
        schema(json!([{"name": "c", "type": "int64"}, {"name": "a", "type": "bool"}, {"name": "b", "type": "bool"}]));
    let (four, newest) = posted(4, &third, json!([{"op": "rename", "path": "a", "to": "d"}]));
    let columns = Columns { schema: Arc::new(newest), lineage: Arc::new(Lineage::new(vec![two, four])), version: None };
    let version = SchemaVersion::new;
    let read = |text: &str, number| texts(&to_newest(&chunk(&[text]), version(number), &columns).unwrap());
    assert_eq!(read(r#"{"a":1,"b":"x"}"#, 1), [r#"{"c":1}"#]);
    assert_eq!(read(r#"{"c":1}"#, 2), [r#"{"c":1}"#]);
    assert_eq!(read(r#"{"c":300,"a":true,"b":true}"#, 3), [r#"{"c":300,"d":true,"b":true}"#]);
    assert_eq!(read(r#"{"c":300,"d":true}"#, 4), [r#"{"c":300,"d":true}"#]);
    assert_eq!(read(r#"{"c":300,"d":true}"#, 5), [r#"{"c":300,"d":true}"#]);
    assert_eq!(texts(&to_newest(&chunk(&["{}"]), None, &columns).unwrap()), ["{}"]);
    assert_eq!(second.fields.len(), 1);
}

#[test]
fn records_that_nobody_reads_any_more_hold_up_no_conversion() {
    let before = schema(json!([{"name": "a", "type": "json"}, {"name": "b", "type": "int8"}]));
    let (step, after) = posted(2, &before, json!([{"op": "convert", "path": "a", "to": {"type": "int64"}}]));
    let columns = Columns { schema: Arc::new(after), lineage: Arc::new(Lineage::new(vec![step])), version: None };
    let rows = chunk(&[r#"{"a":"x","b":1}"#, r#"{"a":2}"#]);
    assert!(matches!(to_newest(&rows, SchemaVersion::new(1), &columns), Err(ReshapeError::Misfit { .. })));
    let unread = |rows: &Chunk| texts(&to_newest_unread(rows, SchemaVersion::new(1), &columns).unwrap());
    assert_eq!(unread(&rows), [r#"{"b":1}"#, "{}"]);
    assert_eq!(unread(&rows.slice(1, 1)), [r#"{"a":2}"#]);
}

#[test]
fn what_lies_under_a_null_struct_is_nobodys_value() {
    let before = schema(json!([{"name": "s", "type": "struct", "fields": [{"name": "j", "type": "json"}]}]));
    let (step, _) = posted(2, &before, json!([{"op": "convert", "path": "s.j", "to": {"type": "int64"}}]));
    let batch = to_batch(&before, &[chunk(&[r#"{"s":{"j":1}}"#, r#"{"s":{"j":"x"}}"#])]).unwrap();
    let structs = batch.column(2).as_struct();
    let hidden = StructArray::new(
        structs.fields().clone(),
        structs.columns().to_vec(),
        Some(NullBuffer::from(vec![true, false])),
    );
    let mut columns = batch.columns().to_vec();
    columns[2] = Arc::new(hidden);
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    assert_eq!(misfit(&batch, &step.moves).unwrap(), None);
}

#[test]
fn a_vector_takes_every_finite_number_of_a_list() {
    for (item, into, list, taken) in [
        ("float64", "float64", "[1e17,1.5]", Ok("[100000000000000000,1.5]")),
        ("float64", "float32", "[1e17,0.1]", Ok("[100000000000000000,0.1]")),
        ("float32", "float64", "[0.1,1e20]", Ok("[0.1,100000000000000000000]")),
        ("float32", "float64", "[-1.2345679e19,3.4028235e38]", Ok("[-12345679000000000000,3.4028235e+38]")),
        ("int64", "float64", "[9007199254740992,1]", Ok("[9007199254740992,1]")),
        ("int64", "float64", "[9007199254740993,1]", Err("past ±2^53")),
        ("float64", "float32", "[1e39,1]", Err("1e+39")),
        ("float64", "float64", "[null,1]", Err("a vector has no nulls")),
        ("float64", "float64", "[1,NaN]", Err("has NaN or an infinity in a list: a vector has finite numbers only")),
        ("float32", "float64", "[-Infinity,1]", Err("has NaN or an infinity in a list")),
    ] {
        let before = schema(json!([{"name": "v", "type": "list", "items": {"type": item}}]));
        let to = json!({"type": "vector", "dim": 2, "item": into});
        let (step, after) = posted(2, &before, json!([{"op": "convert", "path": "v", "to": to}]));
        let rows = chunk(&["{}", &format!("{{\"v\":{list}}}")]);
        let found = misfit(&to_batch(&before, std::slice::from_ref(&rows)).unwrap(), &step.moves).unwrap();
        match (reshape_chunk(&rows, &[step], &after), taken) {
            (Ok(new), Ok(text)) => assert_eq!(texts(&new), ["{}".to_owned(), format!("{{\"v\":{text}}}")]),
            (Err(_), Err(words)) => {
                let found = found.unwrap();
                assert!(found.row == 1 && found.detail.contains(words), "{list}: {}", found.detail);
            }
            (outcome, _) => panic!("{list}: {:?}", outcome.map(|new| texts(&new))),
        }
    }
}
