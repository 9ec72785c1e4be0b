use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::codec::Values;
use crate::model::{Offset, SchemaVersion, Timestamp};

fn view(fields: Value, changes: Value) -> SchemaView {
    let schema = Schema::from_json(&json!({ "fields": fields })).unwrap();
    let moves = changes.as_array().unwrap().iter().filter_map(|change| Move::of_json(change).unwrap()).collect();
    let posted = Posted { version: SchemaVersion::new(2).unwrap(), before: std::sync::Arc::default(), moves };
    SchemaView::new(&schema, &[posted])
}

fn shown(view: &SchemaView, value: &str) -> String {
    let values = Values::from_text(Bytes::from(format!("{value}\n"))).unwrap();
    let chunk = view.apply(&Chunk::new(Offset::new(3).unwrap(), Timestamp::from_micros(9), values)).unwrap();
    assert_eq!((chunk.first().get(), chunk.len(), chunk.time(0).as_micros()), (3, 1, 9));
    String::from_utf8(chunk.value(0).to_vec()).unwrap()
}

fn field(name: &str, data_type: Value) -> Value {
    let mut field = data_type;
    field["name"] = name.into();
    field
}

#[test]
fn a_version_has_its_fields_in_its_order() {
    let members = json!([field("y", json!({"type": "bool"})), field("x", json!({"type": "int8"}))]);
    let version = json!([
        field("b", json!({"type": "int64"})),
        field("odd \"name\"", json!({"type": "string"})),
        field("s", json!({"type": "struct", "fields": members})),
        field("l", json!({"type": "list", "items": {"type": "struct", "fields": members}})),
        field("j", json!({"type": "json"})),
        field("v", json!({"type": "vector", "dim": 2})),
    ]);
    let view = view(version, json!([]));
    for (value, expected) in [
        ("{}", "{}"),
        (r#"{"new":1}"#, "{}"),
        (r#"{"new":{"b":1},"b":1.5,"more":[{"b":2}]}"#, r#"{"b":1.5}"#),
        (r#"{"odd \"name\"":"\u001f","b":1}"#, r#"{"b":1,"odd \"name\"":"\u001f"}"#),
        (r#"{"s":{"x":1,"z":2,"y":true}}"#, r#"{"s":{"y":true,"x":1}}"#),
        (r#"{"s":{"z":2}}"#, r#"{"s":{}}"#),
        (
            r#"{"l":[null,{"x":1,"y":false,"z":{}},{"z":1},{}],"s":{"x":1}}"#,
            r#"{"s":{"x":1},"l":[null,{"y":false,"x":1},{},{}]}"#,
        ),
        (r#"{"j":{"new":[1,{"b":null}]},"v":[0.1,2]}"#, r#"{"j":{"new":[1,{"b":null}]},"v":[0.1,2]}"#),
    ] {
        assert_eq!(shown(&view, value), expected, "{value}");
    }
}

#[test]
fn renames_are_undone_and_what_was_dropped_stays_gone() {
    let version = json!([
        field("a", json!({"type": "int64"})),
        field("b", json!({"type": "int64"})),
        field("gone", json!({"type": "bool"})),
        field(
            "s",
            json!({"type": "struct", "fields": [field("x", json!({"type": "int8"})), field("y", json!({"type": "int8"}))]})
        ),
    ]);
    let of = |name: &str| field(name, json!({"type": "int64"}));
    // `a` and `b` change places; `gone` and `s.y` come back as other fields; `s` is another name's by now.
    let changes = json!([
        {"op": "rename", "path": "a", "from": "a", "to": "tmp"}, {"op": "rename", "path": "b", "from": "b", "to": "a"},
        {"op": "rename", "path": "tmp", "from": "tmp", "to": "b"}, {"op": "drop", "path": "gone", "from": of("gone")},
        {"op": "add", "path": "gone", "to": of("gone")}, {"op": "rename", "path": "s", "from": "s", "to": "t"},
        {"op": "rename", "path": "t.x", "from": "x", "to": "z"}, {"op": "drop", "path": "t.y", "from": of("y")},
        {"op": "add", "path": "s", "to": of("s")}, {"op": "rename", "path": "s", "from": "s", "to": "r"},
        {"op": "rename", "path": "gone", "from": "gone", "to": "other"},
    ]);
    let view = view(version, changes);
    for (value, expected) in [
        (r#"{"b":1,"a":2}"#, r#"{"a":1,"b":2}"#),
        (r#"{"a":2,"gone":true,"other":1,"r":4,"s":5}"#, r#"{"b":2}"#),
        (r#"{"t":{"z":1,"y":3,"x":4},"b":0}"#, r#"{"a":0,"s":{"x":1}}"#),
    ] {
        assert_eq!(shown(&view, value), expected, "{value}");
    }
}

#[test]
fn numbers_print_at_the_version_s_width_where_they_are_of_it() {
    let vector = |item: &str| json!({"type": "vector", "dim": 2, "item": item});
    let version = json!([
        field("f", json!({"type": "float32"})),
        field("d", json!({"type": "float64"})),
        field("i", json!({"type": "int8"})),
        field("h", vector("float16")),
        field("l", json!({"type": "list", "items": {"type": "float32"}})),
        field("j", json!({"type": "json"})),
        field("m", json!({"type": "list", "items": {"type": "float64"}})),
    ]);
    let widen = |name: &str, from: Value, to: Value| json!({"op": "widen", "path": name, "from": field(name, from), "to": field(name, to)});
    let convert = |name: &str, from: Value, to: Value| json!({"op": "convert", "path": name, "from": field(name, from), "to": field(name, to)});
    let double = json!({"type": "float64"});
    let changes = json!([
        widen("f", json!({"type": "float32"}), double.clone()),
        widen("i", json!({"type": "int8"}), double.clone()),
        widen("h", vector("float16"), vector("float32")),
        widen("h", vector("float32"), vector("float64")),
        widen(
            "l",
            json!({"type": "list", "items": {"type": "float32"}}),
            json!({"type": "list", "items": {"type": "float64"}})
        ),
        convert("j", json!({"type": "json"}), json!({"type": "float32"})),
        widen("j", json!({"type": "float32"}), double.clone()),
        convert("m", json!({"type": "list", "items": {"type": "float64"}}), vector("float32")),
        widen("m", vector("float32"), vector("float64")),
    ]);
    let view = view(version, changes);
    for (value, expected) in [
        (r#"{"f":0.10000000149011612}"#, r#"{"f":0.1}"#),
        (r#"{"f":0.1}"#, r#"{"f":0.1}"#),
        (r#"{"f":1e+300}"#, r#"{"f":1e+300}"#),
        (r#"{"f":0.30000000000000004}"#, r#"{"f":0.30000000000000004}"#),
        (r#"{"d":0.10000000149011612,"i":1.5}"#, r#"{"d":0.10000000149011612,"i":1.5}"#),
        (r#"{"h":[0.0999755859375,0.1]}"#, r#"{"h":[0.1,0.1]}"#),
        (r#"{"l":[null,0.10000000149011612,3]}"#, r#"{"l":[null,0.1,3]}"#),
        // These had the wide numbers under the version.
        (
            r#"{"j":0.10000000149011612,"m":[0.10000000149011612,1]}"#,
            r#"{"j":0.10000000149011612,"m":[0.10000000149011612,1]}"#,
        ),
    ] {
        assert_eq!(shown(&view, value), expected, "{value}");
    }
}

#[test]
fn what_is_no_object_is_told() {
    let view = view(json!([field("a", json!({"type": "bool"}))]), json!([]));
    for value in ["1", "{\"a\":", "[]"] {
        let values = Values::from_text(Bytes::from(format!("{value}\n"))).unwrap();
        let chunk = Chunk::new(Offset::ZERO, Timestamp::from_micros(9), values);
        assert!(view.apply(&chunk).is_err(), "{value}");
    }
}
