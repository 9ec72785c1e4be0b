//! What every table promises, as one test that each implementation runs.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use bytes::Bytes;

use super::*;
use crate::codec::encode::to_chunk;
use crate::codec::{FieldSelection, Values};
use crate::model::SchemaVersion;
use crate::schema::{DataType, Edit, Field, FloatType, IntType, Posted, Schema, WideColumns, plan};

pub(super) fn field(name: &str, data_type: DataType) -> Field {
    Field { name: name.to_owned(), data_type, nullable: true }
}

/// Columns of which nothing was posted.
pub(super) fn plain(schema: &Schema) -> Columns {
    Columns::plain(schema.clone())
}

pub(super) fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

/// Records with consecutive offsets and one time.
pub(super) fn chunk(first: u64, time: i64, records: &[&str]) -> Chunk {
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    Chunk::new(offset(first), Timestamp::from_micros(time), Values::from_text(Bytes::from(text)).unwrap())
}

/// All records from an offset on, as `(offset, time, text)`; checks that chunks are dense.
pub(super) async fn all(table: &dyn Table, schema: &Schema, from: u64) -> Vec<(u64, i64, String)> {
    pages(table, schema, from, usize::MAX, 8 << 20).await
}

pub(super) async fn pages(
    table: &dyn Table,
    schema: &Schema,
    from: u64,
    records: usize,
    bytes: usize,
) -> Vec<(u64, i64, String)> {
    let mut found: Vec<(u64, i64, String)> = Vec::new();
    let mut at = offset(from);
    loop {
        let page = table.read(&plain(schema), at, records, bytes).await.unwrap();
        if page.is_empty() {
            return found;
        }
        let count: usize = page.iter().map(Chunk::len).sum();
        assert!(count <= records && count > 0, "{count} records");
        let text: usize = page.iter().map(|chunk| chunk.values().bytes()).sum();
        assert!(text <= bytes || count == 1, "{text} bytes");
        for chunk in &page {
            for index in 0..chunk.len() {
                let text = String::from_utf8(chunk.value(index).to_vec()).unwrap();
                found.push((chunk.first().get() + index as u64, chunk.time(index).as_micros(), text));
            }
            at = chunk.next();
        }
        assert!(found.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "dense");
    }
}

fn nested(count: IntType, more: bool) -> Schema {
    let mut member = vec![field("n", DataType::Int(count)), field("s", DataType::String)];
    if more {
        member.push(field("added", DataType::Bool));
    }
    let mut fields = vec![
        field("id", DataType::String),
        field("n", DataType::Int(count)),
        field("o", DataType::Struct(member.clone())),
        field("l", DataType::List(Box::new(DataType::Struct(member)))),
    ];
    if more {
        fields.push(field("odd name.%`\"", DataType::Vector { dim: 2, item: FloatType::F32 }));
    }
    Schema { fields }
}

/// Runs the contract on tables made by `tables`, at a place that holds nothing.
pub(super) async fn tables_keep_their_promises(tables: &dyn Tables, place: &TablePlace) {
    a_table_without_dataset_is_empty_from_its_base(tables, place).await;
    rows_read_back_across_fragments_and_pages(tables, place).await;
    columns_follow_the_schema_and_no_byte_changes(tables, place).await;
    leading_fragments_go_as_a_whole(tables, place).await;
    a_place_can_be_removed_twice(tables, place).await;
}

async fn a_table_without_dataset_is_empty_from_its_base(tables: &dyn Tables, place: &TablePlace) {
    let table = tables.open(place, offset(5)).await.unwrap();
    let head = table.head();
    assert_eq!((head.base, head.next, head.version, head.fragments.len()), (offset(5), offset(5), 0, 0));
    assert!(table.read(&Columns::default(), offset(0), 10, 10).await.unwrap().is_empty());
    assert_eq!(table.seek_time(Timestamp::from_micros(0)).await.unwrap(), offset(5));
    assert_eq!(table.drop_before(offset(9)).await.unwrap().version, 0);
}

async fn rows_read_back_across_fragments_and_pages(tables: &dyn Tables, place: &TablePlace) {
    let schema = nested(IntType::I32, false);
    let table = tables.open(place, offset(5)).await.unwrap();
    let head = table.create(&plain(&schema)).await.unwrap();
    assert_eq!((head.base, head.next, head.fragments.len()), (offset(5), offset(5), 0));
    assert_eq!(table.create(&plain(&schema)).await.unwrap(), head, "made once");
    assert!(all(&*table, &schema, 0).await.is_empty());

    let first = chunk(5, 10, &[r#"{"id":"a","n":-1}"#, "{}", r#"{"o":{},"l":[]}"#]);
    let second = chunk(8, 10, &[r#"{"n":2147483647,"o":{"n":3,"s":"é\n\u0000"},"l":[{"n":1},null,{}]}"#]);
    let head = table.append(&plain(&schema), vec![first, second]).await.unwrap();
    assert_eq!((head.next, head.fragments.len(), head.last_time), (offset(9), 1, Some(Timestamp::from_micros(10))));
    let third = chunk(9, 20, &[r#"{"id":"b"}"#, r#"{"id":"c"}"#]);
    let head = table.append(&plain(&schema), vec![third]).await.unwrap();
    assert_eq!(head.fragments.iter().map(|it| it.next.get()).collect::<Vec<_>>(), [9, 11]);
    assert!(head.fragments.iter().all(|it| it.bytes > 0));
    assert_eq!(table.append(&plain(&schema), Vec::new()).await.unwrap().next, offset(11));
    for wrong in [chunk(10, 30, &["{}"]), chunk(12, 30, &["{}"])] {
        assert!(table.append(&plain(&schema), vec![wrong]).await.is_err(), "neither overlap nor gap");
    }
    assert_eq!(table.head().next, offset(11));

    let expected = expected_rows();
    for table in [table, tables.open(place, offset(5)).await.unwrap()] {
        assert_eq!(all(&*table, &schema, 0).await, expected);
        parts_come_in_columns(&*table, &schema).await;
        assert_eq!(pages(&*table, &schema, 6, 2, 1 << 20).await, expected[1..]);
        assert_eq!(pages(&*table, &schema, 5, 100, 30).await, expected);
        assert!(table.read(&plain(&schema), offset(11), 1, 1).await.unwrap().is_empty());
        assert!(table.read(&plain(&schema), offset(5), 0, 100).await.unwrap().is_empty());
        for (time, found) in [(0, 5), (10, 5), (11, 9), (20, 9), (21, 11)] {
            assert_eq!(table.seek_time(Timestamp::from_micros(time)).await.unwrap(), offset(found), "{time}");
        }
        assert_eq!(table.head().last_time, Some(Timestamp::from_micros(20)));
    }
}

async fn parts_come_in_columns(table: &dyn Table, schema: &Schema) {
    let fields = FieldSelection::parse("o.n,l.s,none").unwrap();
    let set = ColumnSet::new(&plain(schema), Some(&fields));
    for (from, records, bytes, expected) in
        [(0, 99, 1 << 20, 5..11), (7, 2, 1 << 20, 7..9), (8, 99, 1, 8..9), (11, 9, 9, 11..11)]
    {
        let batches = table.read_batches(&set, &plain(schema), offset(from), records, bytes).await.unwrap();
        let offsets = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<UInt64Type>().values().to_vec());
        let offsets: Vec<u64> = offsets.collect();
        assert!(offsets.len() >= expected.clone().count().min(1) && offsets.len() <= records, "{from}: {offsets:?}");
        assert_eq!(offsets, (expected.start..expected.start + offsets.len() as u64).collect::<Vec<_>>());
        for batch in &batches {
            assert_eq!((batch.schema(), batch.num_columns()), (set.arrow().clone(), 4));
        }
    }
}

fn expected_rows() -> Vec<(u64, i64, String)> {
    let rows = [
        (5, 10, r#"{"id":"a","n":-1}"#),
        (6, 10, "{}"),
        (7, 10, r#"{"o":{},"l":[]}"#),
        (8, 10, r#"{"n":2147483647,"o":{"n":3,"s":"é\n\u0000"},"l":[{"n":1},null,{}]}"#),
        (9, 20, r#"{"id":"b"}"#),
        (10, 20, r#"{"id":"c"}"#),
    ];
    rows.map(|(offset, time, text)| (offset, time, text.to_owned())).into()
}

async fn columns_follow_the_schema_and_no_byte_changes(tables: &dyn Tables, place: &TablePlace) {
    let table = tables.open(place, offset(5)).await.unwrap();
    let mut expected = expected_rows();
    // New fields at every depth, then wider integers at every depth, then floats; rows under each.
    let wide = nested(IntType::I64, true);
    let mut float = wide.clone();
    float.fields[1].data_type = DataType::Float(FloatType::F64);
    let steps = [
        (nested(IntType::I32, true), r#"{"o":{"added":true},"l":[{"added":false}],"odd name.%`\"":[0.1,-2]}"#),
        (wide, r#"{"n":9007199254740992,"o":{"n":-4000000000},"l":[{"n":4000000000}]}"#),
        (float.clone(), r#"{"n":0.5,"l":[{"s":"x"}]}"#),
    ];
    for (step, (schema, text)) in steps.iter().enumerate() {
        let first = 11 + step as u64;
        // What the older schema had printed is read under the newer one before the columns follow.
        assert_eq!(all(&*table, schema, 5).await, expected);
        let head = table.append(&plain(schema), vec![chunk(first, 30, &[text])]).await.unwrap();
        assert_eq!(head.next, offset(first + 1));
        expected.push((first, 30, (*text).to_owned()));
        assert_eq!(all(&*table, schema, 5).await, expected);
    }
    let again = tables.open(place, offset(5)).await.unwrap();
    assert_eq!(all(&*again, &float, 5).await, expected);
    // Text under an older schema still fits the newer columns.
    again.append(&plain(&float), vec![chunk(14, 30, &[r#"{"n":7}"#])]).await.unwrap();
    expected.push((14, 30, r#"{"n":7}"#.to_owned()));
    assert_eq!(all(&*again, &float, 5).await, expected);
}

async fn leading_fragments_go_as_a_whole(tables: &dyn Tables, place: &TablePlace) {
    let schema = nested(IntType::I64, true);
    let schema = Schema { fields: schema.fields.into_iter().filter(|field| field.name == "id").collect() };
    let table = tables.open(place, offset(5)).await.unwrap();
    let before = table.head();
    assert_eq!(table.drop_before(offset(8)).await.unwrap(), before, "the first fragment holds 8");
    let head = table.drop_before(offset(10)).await.unwrap();
    assert_eq!((head.base, head.next), (offset(9), offset(15)));
    let rows = all(&*table, &schema, 0).await;
    assert_eq!((rows[0].0, rows[0].2.as_str(), rows.len()), (9, r#"{"id":"b"}"#, 6));
    assert_eq!(table.seek_time(Timestamp::from_micros(0)).await.unwrap(), offset(9));

    let head = table.drop_before(offset(15)).await.unwrap();
    assert_eq!((head.base, head.next, head.fragments.len()), (offset(15), offset(15), 0));
    let table = tables.open(place, offset(5)).await.unwrap();
    let head = table.head();
    assert_eq!((head.base, head.next, head.fragments.len()), (offset(15), offset(15), 0));
    table.append(&plain(&schema), vec![chunk(15, 40, &[r#"{"id":"later"}"#])]).await.unwrap();
    assert_eq!(all(&*table, &schema, 0).await, [(15, 40, r#"{"id":"later"}"#.to_owned())]);
}

async fn a_place_can_be_removed_twice(tables: &dyn Tables, place: &TablePlace) {
    tables.remove(place).await.unwrap();
    tables.remove(place).await.unwrap();
}

#[tokio::test]
async fn tables_in_memory_keep_their_promises() {
    let place = TablePlace { dataset: "/datasets/1.lance".into(), link: "/topics/t.lance".into() };
    let tables = model::ModelTables::default();
    tables_keep_their_promises(&tables, &place).await;
    tables_follow_what_is_posted(&tables, &place).await;
    lists_of_json_are_taken_back(&tables, &place).await;

    let table = tables.open(&place, Offset::ZERO).await.unwrap();
    tables.fail_appends(1);
    assert!(table.append(&Columns::default(), vec![chunk(0, 1, &["{}"])]).await.is_err());
    assert_eq!(table.head().next, Offset::ZERO);
    assert_eq!(table.append(&Columns::default(), vec![chunk(0, 1, &["{}"])]).await.unwrap().next, offset(1));
}

/// Columns after one more posted version, by way of `changes`.
pub(super) fn posted(columns: &Columns, number: u32, changes: serde_json::Value) -> Columns {
    let edit = Edit::from_json(None, Some(changes)).unwrap();
    let planned = plan(Some(&columns.schema), &edit, &WideColumns::default(), true).unwrap();
    let version = SchemaVersion::new(number).unwrap();
    let step = Posted { version, before: Arc::clone(&columns.schema), moves: planned.moves() };
    Columns { schema: Arc::new(planned.schema), lineage: Arc::new(columns.lineage.with(step)), version: None }
}

/// The same columns with more of what an append may bring.
fn grown(columns: &Columns, more: Vec<Field>) -> Columns {
    let mut schema = columns.schema.as_ref().clone();
    schema.fields.extend(more);
    Columns { schema: Arc::new(schema), lineage: Arc::clone(&columns.lineage), version: None }
}

pub(super) async fn texts(table: &dyn Table, columns: &Columns) -> Vec<String> {
    let chunks = table.read(columns, offset(0), usize::MAX, 8 << 20).await.unwrap();
    let texts = texts_of(&chunks);
    assert_eq!(in_columns(table, columns, columns, usize::MAX).await, texts, "in columns");
    texts
}

fn texts_of(chunks: &[Chunk]) -> Vec<String> {
    let records = chunks.iter().flat_map(|chunk| (0..chunk.len()).map(|index| chunk.value(index).to_vec()));
    records.map(|text| String::from_utf8(text).unwrap()).collect()
}

/// The first records as a read in columns has them that began when the columns were `then`.
async fn in_columns(table: &dyn Table, then: &Columns, now: &Columns, records: usize) -> Vec<String> {
    let set = ColumnSet::new(then, None);
    let batches = table.read_batches(&set, now, offset(0), records, 8 << 20).await.unwrap();
    let mut chunks: Vec<Chunk> = Vec::new();
    for batch in batches {
        assert_eq!(batch.schema(), *set.arrow());
        let next = chunks.last().map_or(table.head().base, Chunk::next);
        chunks.push(to_chunk(&then.schema, &batch, next).unwrap());
    }
    texts_of(&chunks)
}

/// Runs what a table promises of posted columns, at a place that holds nothing.
pub(super) async fn tables_follow_what_is_posted(tables: &dyn Tables, place: &TablePlace) {
    let member = vec![field("m", DataType::Int(IntType::I64)), field("k", DataType::Json)];
    let first = Columns::plain(Schema {
        fields: vec![
            field("a", DataType::Int(IntType::I64)),
            field("b", DataType::String),
            field("o", DataType::Struct(member.clone())),
            field("l", DataType::List(Box::new(DataType::Struct(member)))),
            field("v", DataType::List(Box::new(DataType::Float(FloatType::F64)))),
        ],
    });
    let table = tables.open(place, offset(0)).await.unwrap();
    let row = r#"{"a":1,"b":"x","o":{"m":2,"k":[1]},"l":[{"m":3,"k":"t"},null,{}],"v":[0.5,1]}"#;
    table.append(&first, vec![chunk(0, 1, &[row, "{}"])]).await.unwrap();
    table.append(&first, vec![chunk(2, 1, &[r#"{"b":"y","o":{},"l":[]}"#])]).await.unwrap();

    // Names and what goes.
    let second = posted(
        &first,
        2,
        serde_json::json!([
            {"op": "rename", "path": "a", "to": "t"}, {"op": "rename", "path": "b", "to": "a"},
            {"op": "rename", "path": "t", "to": "b"}, {"op": "rename", "path": "o.m", "to": "n"},
            {"op": "drop", "path": "l.m"},
        ]),
    );
    let expected = [
        r#"{"b":1,"a":"x","o":{"n":2,"k":[1]},"l":[{"k":"t"},null,{}],"v":[0.5,1]}"#,
        "{}",
        r#"{"a":"y","o":{},"l":[]}"#,
    ];
    assert_eq!(texts(&*table, &second).await, expected, "read before the dataset has followed");
    table.append(&second, Vec::new()).await.unwrap();
    assert_eq!(texts(&*table, &second).await, expected, "and after");
    assert!(table.read(&first, offset(0), 1, 1).await.is_err(), "columns of before cannot be had any more");

    // A name that comes back has no old values, wherever it comes from; conversions and wider numbers.
    let again = grown(&second, vec![field("t", DataType::Bool)]);
    let third = posted(
        &again,
        4,
        serde_json::json!([
            {"op": "add", "path": "l.m", "to": {"type": "string"}},
            {"op": "drop", "path": "o.n"}, {"op": "add", "path": "o.n", "to": {"type": "int64"}},
            {"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}},
            {"op": "widen", "path": "b", "to": {"type": "float64"}},
            {"op": "convert", "path": "l.k", "to": {"type": "string"}}, {"op": "rename", "path": "l.k", "to": "text"},
            {"op": "rename", "path": "l", "to": "list"},
        ]),
    );
    let expected = [
        r#"{"b":1,"a":"x","o":{"k":[1]},"list":[{"text":"t"},null,{}],"v":[0.5,1]}"#,
        "{}",
        r#"{"a":"y","o":{},"list":[]}"#,
    ];
    assert_eq!(texts(&*table, &third).await, expected);
    let late = r#"{"b":0.5,"a":"z","o":{"k":{},"n":9},"list":[{"text":"u","m":"w"}],"v":[1,2],"t":true}"#;
    table.append(&third, vec![chunk(3, 1, &[late])]).await.unwrap();
    let expected = [&expected[..], &[late]].concat();
    assert_eq!(texts(&*table, &third).await, expected);
    let reopened = tables.open(place, offset(0)).await.unwrap();
    assert_eq!(texts(&*reopened, &third).await, expected);
    // What was posted is taken back for whoever began before: names, types, and no value of a name that came back.
    let began =
        [r#"{"a":1,"b":"x","o":{"k":[1]},"l":[{"k":"t"},null,{}],"v":[0.5,1]}"#, "{}", r#"{"b":"y","o":{},"l":[]}"#];
    assert_eq!(in_columns(&*reopened, &first, &third, 3).await, began);

    // Several at once, of which the dataset has seen none.
    let fourth =
        posted(&third, 5, serde_json::json!([{"op": "drop", "path": "a"}, {"op": "rename", "path": "b", "to": "a"}]));
    let fifth = posted(
        &grown(&fourth, vec![field("b", DataType::Bool)]),
        7,
        serde_json::json!([
            {"op": "rename", "path": "a", "to": "n"}, {"op": "rename", "path": "b", "to": "a"}, {"op": "drop", "path": "list"},
        ]),
    );
    let expected = [
        r#"{"n":1,"o":{"k":[1]},"v":[0.5,1]}"#,
        "{}",
        r#"{"o":{}}"#,
        r#"{"n":0.5,"o":{"k":{},"n":9},"v":[1,2],"t":true}"#,
    ];
    assert_eq!(texts(&*reopened, &fifth).await, expected);
    reopened.append(&fifth, vec![chunk(4, 1, &[r#"{"a":true}"#])]).await.unwrap();
    assert_eq!(texts(&*reopened, &fifth).await, [&expected[..], &[r#"{"a":true}"#]].concat());
    let reopened = tables.open(place, offset(0)).await.unwrap();
    assert_eq!(texts(&*reopened, &fifth).await.len(), 5);
    tables.remove(place).await.unwrap();
}

/// A list of JSON that becomes one of a type while somebody reads it is one of JSON to them.
pub(super) async fn lists_of_json_are_taken_back(tables: &dyn Tables, place: &TablePlace) {
    let list = || DataType::List(Box::new(DataType::Json));
    let first = Columns::plain(Schema { fields: vec![field("j", list()), field("s", list())] });
    let table = tables.open(place, offset(0)).await.unwrap();
    let row = r#"{"j":["a\"b"],"s":[{"x":1},null]}"#;
    table.append(&first, vec![chunk(0, 1, &[row])]).await.unwrap();
    let strings = serde_json::json!({"type": "list", "items": {"type": "string"}});
    let structs =
        serde_json::json!({"type": "list", "items": {"type": "struct", "fields": [{"name": "x", "type": "int64"}]}});
    let changes =
        [("j", strings), ("s", structs)].map(|(path, to)| serde_json::json!({"op": "convert", "path": path, "to": to}));
    let second = posted(&first, 2, changes.into_iter().collect());
    for is_followed in [false, true] {
        if is_followed {
            table.append(&second, Vec::new()).await.unwrap();
        }
        assert_eq!(texts(&*table, &second).await, [row]);
        assert_eq!(in_columns(&*table, &first, &second, 1).await, [row], "followed: {is_followed}");
    }
    tables.remove(place).await.unwrap();
}
