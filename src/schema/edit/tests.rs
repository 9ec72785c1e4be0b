use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::{DataType, FloatType, IntType};

fn schema(fields: Value) -> Schema {
    Schema::from_json(&json!({ "fields": fields })).unwrap()
}

fn present() -> Schema {
    schema(json!([
        {"name": "i", "type": "int32"},
        {"name": "big", "type": "int64"},
        {"name": "u", "type": "uint64"},
        {"name": "f", "type": "float32"},
        {"name": "j", "type": "json"},
        {"name": "t", "type": "string"},
        {"name": "need", "type": "string", "nullable": false},
        {"name": "v", "type": "vector", "dim": 2},
        {"name": "nums", "type": "list", "items": {"type": "float64"}},
        {"name": "texts", "type": "list", "items": {"type": "string"}},
        {"name": "s", "type": "struct", "fields": [
            {"name": "x", "type": "int8"}, {"name": "only", "type": "struct", "fields": [{"name": "y", "type": "json"}]}]},
        {"name": "l", "type": "list", "items": {"type": "struct", "fields": [
            {"name": "a.b", "type": "int16"}, {"name": "k", "type": "bool"}]}},
    ]))
}

fn wide() -> WideColumns {
    let mut wide = WideColumns::default();
    wide.insert(&FieldPath::parse("big").unwrap());
    wide
}

fn changes(changes: Value) -> Edit {
    Edit::from_json(None, Some(changes)).unwrap()
}

fn tried(change: Value) -> Result<Planned, Vec<Obstacle>> {
    plan(Some(&present()), &changes(json!([change])), &wide(), true)
}

#[test]
fn what_can_be_had_of_one_field_is_one_change() {
    let cases = [
        (json!({"op": "add", "path": "n", "to": {"type": "int64"}}), "add n"),
        (json!({"op": "add", "path": "s.n", "to": {"name": "n", "type": "json"}}), "add s.n"),
        (json!({"op": "add", "path": "l.n", "to": {"type": "list", "items": {"type": "bool"}}}), "add l.n"),
        (json!({"op": "rename", "path": "t", "to": "text"}), "rename t"),
        (json!({"op": "rename", "path": "l.\"a.b\"", "from": "a.b", "to": "_offset"}), "rename l.\"a.b\""),
        (json!({"op": "drop", "path": "s.only"}), "drop s.only"),
        (json!({"op": "drop", "path": "v", "from": {"type": "vector", "dim": 2}}), "drop v"),
        (json!({"op": "widen", "path": "i", "to": {"type": "int64"}}), "widen i"),
        (json!({"op": "widen", "path": "i", "to": {"type": "float64"}}), "widen i"),
        (json!({"op": "widen", "path": "u", "to": {"type": "float64"}}), "widen u"),
        (json!({"op": "widen", "path": "f", "to": {"type": "float64"}}), "widen f"),
        (json!({"op": "widen", "path": "s.x", "to": {"type": "int16"}}), "widen s.x"),
        (json!({"op": "widen", "path": "v", "to": {"type": "vector", "dim": 2, "item": "float64"}}), "widen v"),
        (json!({"op": "convert", "path": "i", "to": {"type": "int64"}}), "widen i"),
        (json!({"op": "convert", "path": "nums", "to": {"type": "vector", "dim": 3}}), "convert nums"),
        (json!({"op": "convert", "path": "j", "to": {"type": "timestamp"}}), "convert j"),
        (
            json!({"op": "convert", "path": "s.only.y", "to": {"type": "list", "items": {"type": "json"}}}),
            "convert s.only.y",
        ),
        (json!({"op": "convert", "path": "need", "to": {"type": "string", "nullable": true}}), "convert need"),
    ];
    for (change, expected) in cases {
        let planned = tried(change.clone()).unwrap_or_else(|found| panic!("{change}: {found:?}"));
        let found: Vec<String> =
            planned.changes.iter().map(|change| format!("{} {}", change.op.as_str(), change.path)).collect();
        assert_eq!(found, [expected]);
        assert_ne!(planned.schema, present());
    }
}

#[test]
fn what_cannot_be_had_says_what_and_where() {
    let cases = [
        (json!({"op": "add", "path": "t", "to": {"type": "int64"}}), "already"),
        (json!({"op": "add", "path": "n", "to": {"type": "int64", "nullable": false}}), "nullable"),
        (
            json!({"op": "add", "path": "n", "to": {"type": "struct", "fields": [{"name": "m", "type": "bool", "nullable": false}]}}),
            "nullable",
        ),
        (json!({"op": "add", "path": "t.n", "to": {"type": "int64"}}), "no members"),
        (json!({"op": "add", "path": "no.n", "to": {"type": "int64"}}), "no field no"),
        (json!({"op": "rename", "path": "no", "to": "x"}), "no field"),
        (json!({"op": "rename", "path": "t", "to": "i"}), "of that name"),
        (json!({"op": "rename", "path": "t", "to": "_offset"}), "reserved"),
        (json!({"op": "rename", "path": "t", "from": "text", "to": "x"}), "not \"text\""),
        (json!({"op": "drop", "path": "s.only.y"}), "last one"),
        (json!({"op": "drop", "path": "t", "from": {"type": "json"}}), "not what `from` says"),
        (json!({"op": "widen", "path": "i", "to": {"type": "int16"}}), "cannot become int16 from int32"),
        (json!({"op": "widen", "path": "i", "to": {"type": "uint64"}}), "cannot become"),
        (json!({"op": "widen", "path": "i", "to": {"type": "float32"}}), "cannot become"),
        (json!({"op": "widen", "path": "big", "to": {"type": "float64"}}), "2^53"),
        (json!({"op": "widen", "path": "j", "to": {"type": "int64"}}), "converts"),
        (json!({"op": "widen", "path": "i", "to": {"type": "int64", "nullable": false}}), "stays so"),
        (json!({"op": "convert", "path": "t", "to": {"type": "int64"}}), "a field to add and one to drop"),
        (json!({"op": "convert", "path": "i", "to": {"type": "json"}}), "cannot become json from int32"),
        (json!({"op": "convert", "path": "texts", "to": {"type": "vector", "dim": 2}}), "list of string"),
        (json!({"op": "convert", "path": "v", "to": {"type": "vector", "dim": 3}}), "vector of 2 float32"),
        (
            json!({"op": "convert", "path": "s", "to": {"type": "struct", "fields": [{"name": "x", "type": "int8"}]}}),
            "member by member",
        ),
        (json!({"op": "convert", "path": "t", "to": {"type": "string", "nullable": false}}), "stays so"),
    ];
    for (change, expected) in cases {
        let found = tried(change.clone()).unwrap_err();
        assert!(found.len() == 1 && found[0].detail.contains(expected), "{change}: {found:?}");
        assert_eq!((found[0].pointer.as_str(), found[0].code), ("/changes/0", ErrorCode::SchemaConflict));
    }
}

#[test]
fn requests_that_are_none_name_the_place() {
    let cases = [
        (None, None, ""),
        (Some(json!([])), Some(json!([])), ""),
        (Some(json!([])), None, "/fields"),
        (Some(json!([{"name": "a", "type": "x"}])), None, "/fields/0/type"),
        (None, Some(json!({})), "/changes"),
        (None, Some(json!([])), "/changes"),
        (None, Some(json!([1])), "/changes/0"),
        (None, Some(json!([{"op": "Add"}])), "/changes/0/op"),
        (None, Some(json!([{"op": "drop"}])), "/changes/0/path"),
        (None, Some(json!([{"op": "drop", "path": "a..b"}])), "/changes/0/path"),
        (None, Some(json!([{"op": "drop", "path": "a", "to": "b"}])), "/changes/0/to"),
        (None, Some(json!([{"op": "drop", "path": "a", "cascade": true}])), "/changes/0/cascade"),
        (None, Some(json!([{"op": "rename", "path": "a"}])), "/changes/0/to"),
        (None, Some(json!([{"op": "rename", "path": "a", "to": {}}])), "/changes/0/to"),
        (None, Some(json!([{"op": "rename", "path": "a", "from": {}, "to": "b"}])), "/changes/0/from"),
        (None, Some(json!([{"op": "add", "path": "a"}])), "/changes/0/to"),
        (None, Some(json!([{"op": "add", "path": "a", "to": {"name": "b", "type": "bool"}}])), "/changes/0/to/name"),
        (
            None,
            Some(json!([{"op": "drop", "path": "a"}, {"op": "widen", "path": "a", "to": {"type": "int"}}])),
            "/changes/1/to/type",
        ),
    ];
    for (fields, changes, place) in cases {
        match Edit::from_json(fields.clone(), changes.clone()) {
            Err(InvalidEdit::Malformed { pointer, .. }) => assert_eq!(pointer, place, "{fields:?} {changes:?}"),
            other => panic!("{fields:?} {changes:?}: {other:?}"),
        }
    }
}

#[test]
fn changes_build_on_those_before_them_and_all_that_is_wrong_is_told() {
    let edit = changes(json!([
        {"op": "rename", "path": "big", "to": "huge"},
        {"op": "widen", "path": "huge", "to": {"type": "float64"}},
        {"op": "drop", "path": "t"},
        {"op": "add", "path": "t", "to": {"type": "bool"}},
        {"op": "drop", "path": "no"},
    ]));
    let found = plan(Some(&present()), &edit, &wide(), true).unwrap_err();
    let pointers: Vec<&str> = found.iter().map(|obstacle| obstacle.pointer.as_str()).collect();
    assert_eq!(pointers, ["/changes/1", "/changes/4"]);
    assert!(found[0].detail.contains("2^53"), "the name leads to the column that has held them");
}

#[test]
fn a_whole_schema_is_what_it_says_in_its_order() {
    let old =
        schema(json!([{"name": "a", "type": "int8"}, {"name": "b", "type": "string"}, {"name": "c", "type": "json"}]));
    let new = schema(
        json!([{"name": "d", "type": "bool"}, {"name": "c", "type": "int64"}, {"name": "a", "type": "float64"}]),
    );
    let planned = plan(Some(&old), &Edit::Whole(new.clone()), &WideColumns::default(), true).unwrap();
    let ops: Vec<&str> = planned.changes.iter().map(|change| change.op.as_str()).collect();
    assert_eq!((planned.schema, ops), (new, vec!["widen", "drop", "convert", "add"]));
    // The same fields in another order are another schema, without a change of any field.
    let mut turned = old.clone();
    turned.fields.reverse();
    let planned = plan(Some(&old), &Edit::Whole(turned.clone()), &WideColumns::default(), true).unwrap();
    assert_eq!((planned.schema, planned.changes.len()), (turned, 0));
    let required = schema(json!([{"name": "a", "type": "int8", "nullable": false}]));
    let first = |has_records| plan(None, &Edit::Whole(required.clone()), &WideColumns::default(), has_records);
    assert_eq!(first(false).unwrap().schema, required);
    assert!(first(true).unwrap_err()[0].detail.contains("nullable"));
}

#[test]
fn no_schema_grows_past_its_bounds() {
    let many: Vec<Value> = (0..999).map(|n| json!({"name": n.to_string(), "type": "bool"})).collect();
    let full = schema(json!(many));
    let two = changes(json!([
        {"op": "add", "path": "a", "to": {"type": "bool"}}, {"op": "add", "path": "b", "to": {"type": "bool"}}]));
    let found = plan(Some(&full), &two, &WideColumns::default(), true).unwrap_err();
    assert_eq!((found[0].code, found.len()), (ErrorCode::TooManyColumns, 1));
    let nest =
        |depth: usize| (0..depth).fold(json!({"type": "bool"}), |inner, _| json!({"type": "list", "items": inner}));
    let add = |depth| changes(json!([{"op": "add", "path": "s.only.d", "to": nest(depth)}]));
    assert!(plan(Some(&present()), &add(13), &wide(), true).is_ok());
    assert!(plan(Some(&present()), &add(14), &wide(), true).unwrap_err()[0].detail.contains("nest"));
}

fn data_types() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        Just(DataType::Bool),
        Just(DataType::Json),
        Just(DataType::String),
        (0..8_usize).prop_map(|n| DataType::Int(IntType::ALL[n])),
        Just(DataType::Float(FloatType::F32)),
        Just(DataType::Float(FloatType::F64)),
        Just(DataType::Vector { dim: 2, item: FloatType::F32 }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| DataType::List(Box::new(item))),
            fields(inner).prop_map(DataType::Struct),
        ]
    })
}

fn fields(data_type: impl Strategy<Value = DataType> + 'static) -> impl Strategy<Value = Vec<Field>> {
    prop::collection::btree_map("[abc.]", data_type, 1..4).prop_map(|members| {
        members.into_iter().map(|(name, data_type)| Field { name, data_type, nullable: true }).collect()
    })
}

fn schemas() -> impl Strategy<Value = Schema> {
    fields(data_types()).prop_map(|fields| Schema { fields })
}

fn names(fields: &[Field]) -> std::collections::BTreeSet<&str> {
    fields.iter().map(|field| field.name.as_str()).collect()
}

proptest! {
    #[test]
    fn a_plan_leads_to_what_was_asked_and_its_stored_form_to_the_same(old in schemas(), new in schemas()) {
        let wide = WideColumns::default();
        match plan(Some(&old), &Edit::Whole(new.clone()), &wide, true) {
            Ok(planned) => {
                prop_assert_eq!(&planned.schema, &new);
                // The listed changes, posted one by one or read from the catalog, say the same.
                let listed: Vec<Value> = planned.changes.iter().map(SchemaChange::to_json).collect();
                let stored: Vec<Move> = listed.iter().filter_map(|change| Move::of_json(change).unwrap()).collect();
                prop_assert_eq!(&stored, &planned.moves());
                if !listed.is_empty() {
                    let again = plan(Some(&old), &changes(json!(listed)), &wide, true).unwrap();
                    prop_assert_eq!(names(&again.schema.fields), names(&new.fields));
                    prop_assert_eq!(again.changes, planned.changes);
                }
                let back = plan(Some(&new), &Edit::Whole(new.clone()), &wide, true).unwrap();
                prop_assert!(back.changes.is_empty());
            }
            Err(obstacles) => prop_assert!(!obstacles.is_empty() && obstacles.iter().all(|it| !it.detail.is_empty())),
        }
    }

    #[test]
    fn a_rename_and_back_is_nothing(old in schemas(), at in 0..3_usize) {
        let name = &old.fields[at % old.fields.len()].name;
        let path = |name: &str| FieldPath(vec![name.to_owned()]).to_string();
        let there_and_back = changes(json!([
            {"op": "rename", "path": path(name), "to": "elsewhere"},
            {"op": "rename", "path": "elsewhere", "to": name},
        ]));
        let planned = plan(Some(&old), &there_and_back, &WideColumns::default(), true).unwrap();
        prop_assert_eq!((planned.schema, planned.changes.len()), (old, 2));
    }
}
