//! Datasets on the way from one posted version to the next.

use std::collections::BTreeMap;

use super::tests::{Bench, files};
use super::*;
use crate::schema::{Columns, DataType, Field, FloatType, IntType, Schema};
use crate::table::contract::{chunk, field, posted, texts};

fn columns() -> Columns {
    Columns::plain(Schema {
        fields: vec![
            field("a", DataType::Int(IntType::I64)),
            field("b", DataType::Json),
            field("c", DataType::String),
            field("v", DataType::List(Box::new(DataType::Float(FloatType::F64)))),
        ],
    })
}

const ROWS: [&str; 2] = [r#"{"a":1,"b":7,"c":"x","v":[1,0.5]}"#, r#"{"b":8}"#];

async fn filled(bench: &mut Bench) -> Arc<dyn Table> {
    let table = bench.reopened().await.unwrap();
    for (number, row) in ROWS.iter().enumerate() {
        table.append(&columns(), vec![chunk(number as u64, 1, &[row])]).await.unwrap();
    }
    table
}

fn contents(bench: &Bench) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let data = files(&bench.place().dataset.join("data"));
    data.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn names_cost_no_file_and_a_type_one_a_fragment_and_no_byte_of_another_column_changes() {
    let mut bench = Bench::new();
    let table = filled(&mut bench).await;
    let before = contents(&bench);
    assert_eq!(before.len(), 2);
    let renamed = posted(
        &columns(),
        2,
        serde_json::json!([
            {"op": "rename", "path": "a", "to": "t"}, {"op": "rename", "path": "c", "to": "a"},
            {"op": "add", "path": "c", "to": {"type": "bool"}},
        ]),
    );
    table.append(&renamed, Vec::new()).await.unwrap();
    assert_eq!(contents(&bench), before, "metadata only");
    let typed = posted(&renamed, 3, serde_json::json!([{"op": "convert", "path": "b", "to": {"type": "int64"}}]));
    table.append(&typed, Vec::new()).await.unwrap();
    let after = contents(&bench);
    assert_eq!(after.len(), 4, "one more for each fragment");
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    let expected = [r#"{"t":1,"b":7,"a":"x","v":[1,0.5]}"#, r#"{"b":8}"#];
    assert_eq!(texts(&*table, &typed).await, expected);
    let dropped = posted(&typed, 4, serde_json::json!([{"op": "drop", "path": "b"}]));
    table.append(&dropped, Vec::new()).await.unwrap();
    assert_eq!(contents(&bench), after, "what goes stays on disk until its version does");
    assert_eq!(texts(&*table, &dropped).await, [r#"{"t":1,"a":"x","v":[1,0.5]}"#, "{}"]);
}

#[tokio::test]
async fn a_dataset_that_is_left_between_two_steps_is_read_and_goes_on() {
    // The sync that fails: of the manifest of the first commit, or of the files of one that has some.
    for part in ["_versions", "data/"] {
        let mut bench = Bench::new();
        let table = filled(&mut bench).await;
        let newest = posted(
            &columns(),
            2,
            serde_json::json!([
                {"op": "rename", "path": "a", "to": "t"}, {"op": "rename", "path": "b", "to": "a"},
                {"op": "convert", "path": "a", "to": {"type": "int64"}},
                {"op": "rename", "path": "a", "to": "b"}, {"op": "rename", "path": "t", "to": "a"},
                {"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}},
                {"op": "drop", "path": "c"}, {"op": "add", "path": "c", "to": {"type": "int8"}},
            ]),
        );
        let expected = [r#"{"a":1,"b":7,"v":[1,0.5]}"#, r#"{"b":8}"#];
        bench.disk.fail(part);
        assert!(table.append(&newest, Vec::new()).await.is_err(), "{part}");
        assert_eq!(texts(&*table, &newest).await, expected, "{part}");
        let table = bench.reopened().await.unwrap();
        assert_eq!(texts(&*table, &newest).await, expected, "{part}: after a restart");
        let late = r#"{"a":2,"b":9,"v":[0,0],"c":1}"#;
        table.append(&newest, vec![chunk(2, 1, &[late])]).await.unwrap();
        assert_eq!(texts(&*table, &newest).await, [&expected[..], &[late]].concat(), "{part}");
        // Whoever opens it by itself sees the newest columns.
        let dataset = ::lance::Dataset::open(&bench.uri()).await.unwrap();
        let names: Vec<&str> = dataset.schema().fields.iter().map(|field| field.name.as_str()).collect();
        assert!(names.iter().all(|name| ["_offset", "_timestamp", "a", "b", "c", "v"].contains(name)), "{names:?}");
        assert_eq!(names.len(), 6, "{names:?}");
    }
}

#[tokio::test]
async fn a_field_that_the_dataset_lacks_yet_may_have_another_type_by_the_time_it_comes() {
    let mut bench = Bench::new();
    let table = filled(&mut bench).await;
    let changes = serde_json::json!([{"op": "drop", "path": "b"}, {"op": "add", "path": "b", "to": {"type": "json"}}]);
    let anew = posted(&columns(), 2, changes);
    let typed = posted(&anew, 3, serde_json::json!([{"op": "convert", "path": "b", "to": {"type": "int64"}}]));
    // Both at once: between the two the dataset has no such column.
    table.append(&typed, vec![chunk(2, 1, &[r#"{"a":2,"b":9}"#])]).await.unwrap();
    let expected = [r#"{"a":1,"c":"x","v":[1,0.5]}"#, "{}", r#"{"a":2,"b":9}"#];
    let mut members: Vec<serde_json::Value> = Vec::new();
    for text in texts(&*table, &typed).await {
        members.push(serde_json::from_str(&text).unwrap());
    }
    let expected: Vec<serde_json::Value> = expected.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(members, expected);
}

#[tokio::test]
async fn a_struct_stays_where_all_that_a_fragment_has_of_it_is_dropped() {
    let int = |name: &str| field(name, DataType::Int(IntType::I64));
    let of = |members: Vec<Field>, inner: Vec<Field>, items: Vec<Field>, is_nullable: bool| {
        let held = Field { nullable: is_nullable, ..field("s", DataType::Struct(members)) };
        let inner = field("o", DataType::Struct(vec![field("in", DataType::Struct(inner)), int("n")]));
        Schema { fields: vec![int("id"), held, inner, field("l", DataType::List(Box::new(DataType::Struct(items))))] }
    };
    for is_nullable in [true, false] {
        let mut bench = Bench::new();
        let table = bench.reopened().await.unwrap();
        let first = Columns::plain(of(vec![int("a")], vec![int("a")], vec![int("m")], is_nullable));
        let row = r#"{"id":1,"s":{"a":1},"o":{"in":{"a":1},"n":2},"l":[{"m":1},null,{}]}"#;
        table.append(&first, vec![chunk(0, 1, &[row])]).await.unwrap();
        let both = [vec![int("a"), int("b")], vec![int("a"), int("b")], vec![int("m"), int("k")]];
        let [members, inner, items] = both;
        let second = Columns::plain(of(members, inner, items, is_nullable));
        let late = r#"{"id":2,"s":{"b":1},"o":{"in":{"b":1}},"l":[{"k":1}]}"#;
        table.append(&second, vec![chunk(1, 1, &[late])]).await.unwrap();
        let third = posted(
            &second,
            2,
            serde_json::json!([
                {"op": "rename", "path": "id", "to": "number"}, {"op": "drop", "path": "s.a"},
                {"op": "drop", "path": "o.in.a"}, {"op": "drop", "path": "l.m"}, {"op": "rename", "path": "l", "to": "list"},
            ]),
        );
        let expected = [
            r#"{"number":1,"s":{},"o":{"in":{},"n":2},"list":[{},null,{}]}"#,
            r#"{"number":2,"s":{"b":1},"o":{"in":{"b":1}},"list":[{"k":1}]}"#,
        ];
        assert_eq!(texts(&*table, &third).await, expected, "before the dataset has followed");
        table.append(&third, Vec::new()).await.unwrap();
        assert_eq!(texts(&*table, &third).await, expected, "and after, nullable: {is_nullable}");
        let reopened = bench.reopened().await.unwrap();
        assert_eq!(texts(&*reopened, &third).await, expected);
    }
}
