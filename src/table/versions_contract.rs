//! What every table promises of its older versions, as one test that each implementation runs.

use super::contract::{chunk, field, offset, plain, posted, texts};
use super::*;
use crate::model::{SchemaVersion, TagName};
use crate::schema::{DataType, IntType, Schema};

fn schema() -> Schema {
    Schema { fields: vec![field("a", DataType::Int(IntType::I64)), field("b", DataType::String)] }
}

fn versioned(columns: &Columns, number: u32) -> Columns {
    Columns { version: SchemaVersion::new(number), ..columns.clone() }
}

fn tag(name: &str) -> TagName {
    TagName::parse(name).unwrap()
}

async fn rows(view: &dyn TableView, columns: &Columns) -> Vec<String> {
    let chunks = view.read(columns, Offset::ZERO, usize::MAX, usize::MAX).await.unwrap();
    let texts = chunks.iter().flat_map(|chunk| (0..chunk.len()).map(|at| chunk.value(at).to_vec()));
    texts.map(|text| String::from_utf8(text).unwrap()).collect()
}

fn is_gone<T>(outcome: Result<T, TableError>) -> bool {
    matches!(outcome, Err(TableError::VersionGone { .. }))
}

/// Runs the contract on tables made by `tables`, at two places that hold nothing.
pub(super) async fn versions_keep_their_promises(tables: &dyn Tables, place: &TablePlace, other: &TablePlace) {
    what_has_expired_is_in_no_later_version(tables, place, other).await;
    let first = versioned(&plain(&schema()), 1);
    let table = tables.open(place, offset(2)).await.unwrap();
    assert!(is_gone(table.at(1).await) && is_gone(table.put_tag(&tag("t"), None).await));
    assert_eq!((table.versions(None, 9).await.unwrap(), table.tags().await.unwrap()), (Vec::new(), Vec::new()));
    table.append(&first, vec![chunk(2, 10, &[r#"{"a":1,"b":"x"}"#, r#"{"a":2}"#])]).await.unwrap();
    let old = table.head().version;
    let (made, is_new) = table.put_tag(&tag("old"), None).await.unwrap();
    assert_eq!((is_new, made.about.version, made.about.next), (true, old, offset(4)));
    let renamed = serde_json::json!([{"op": "rename", "path": "a", "to": "c"}, {"op": "drop", "path": "b"}]);
    let second = versioned(&posted(&first, 2, renamed), 2);
    table.append(&second, vec![chunk(4, 20, &[r#"{"c":3}"#, r#"{"c":4}"#, r#"{"c":5}"#])]).await.unwrap();
    an_old_version_reads_as_it_was(&*table, &first, old).await;
    tags_move_and_go(&*table, old).await;

    let head = table.head();
    for until in 2..=7 {
        let forked = table.fork(head.version, offset(2)..offset(until), other).await.unwrap();
        assert_eq!((forked.base, forked.next), (offset(2), offset(until)));
        a_fork_goes_its_own_way(tables, &*table, other, &second, until).await;
    }
    // Of the past, which the fork takes along by itself.
    table.fork(old, offset(2)..offset(3), other).await.unwrap();
    let fork = tables.open(other, Offset::ZERO).await.unwrap();
    assert_eq!(texts(&*fork, &first).await, [r#"{"a":1,"b":"x"}"#]);
    fork.append(&second, vec![chunk(3, 30, &[r#"{"c":9}"#])]).await.unwrap();
    tables.remove(place).await.unwrap();
    let fork = tables.open(other, Offset::ZERO).await.unwrap();
    assert_eq!(texts(&*fork, &second).await, [r#"{"c":1}"#, r#"{"c":9}"#]);
    tables.remove(other).await.unwrap();
}

/// Records that were given up before they were committed, or since, in a fragment that has others.
async fn what_has_expired_is_in_no_later_version(tables: &dyn Tables, place: &TablePlace, other: &TablePlace) {
    let columns = versioned(&plain(&schema()), 1);
    let table = tables.open(place, Offset::ZERO).await.unwrap();
    let append = async |from: u64| {
        table
            .append(&columns, vec![chunk(from, 10, &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#])])
            .await
            .unwrap()
            .version
    };
    let expire = |before| table.configure(&TableSettings { expired: offset(before), ..TableSettings::default() });
    let first = append(0).await;
    expire(1);
    let second = append(3).await;
    let bounds = async |table: &dyn Table, version| {
        let about = table.at(version).await.unwrap().about;
        (about.base.get(), about.next.get())
    };
    assert_eq!((bounds(&*table, first).await, bounds(&*table, second).await), ((0, 3), (1, 6)));
    assert_eq!(table.put_tag(&tag("t"), None).await.unwrap().0.about.base, offset(1));
    for (version, range, expected) in [(first, 0..3, (0, 3)), (second, 1..6, (1, 6)), (second, 2..4, (2, 4))] {
        let head = table.fork(version, offset(range.start)..offset(range.end), other).await.unwrap();
        let fork = tables.open(other, Offset::ZERO).await.unwrap();
        assert_eq!(bounds(&*fork, head.version).await, expected);
        drop(fork);
        tables.remove(other).await.unwrap();
    }
    expire(9);
    let third = append(6).await;
    assert_eq!((bounds(&*table, third).await, bounds(&*table, first).await), ((9, 9), (0, 3)));
    drop(table);
    tables.remove(place).await.unwrap();
}

#[tokio::test]
async fn tables_in_memory_keep_the_promises_of_versions() {
    let place = |name: &str| TablePlace { dataset: name.into(), link: format!("/topics/{name}").into() };
    versions_keep_their_promises(&model::ModelTables::default(), &place("/1.lance"), &place("/2.lance")).await;
}

async fn an_old_version_reads_as_it_was(table: &dyn Table, first: &Columns, old: u64) {
    let Past { view, about } = table.at(old).await.unwrap();
    assert_eq!((about.base, about.next, about.schema), (offset(2), offset(4), SchemaVersion::new(1)));
    assert_eq!((about.cause.as_str(), view.head().next), ("append", offset(4)));
    assert_eq!(rows(&*view, first).await, [r#"{"a":1,"b":"x"}"#, r#"{"a":2}"#]);
    assert_eq!(view.seek_time(Timestamp::from_micros(10)).await.unwrap(), offset(2));
    assert_eq!(view.seek_time(Timestamp::from_micros(11)).await.unwrap(), offset(4));
    let newest = table.versions(None, 1).await.unwrap();
    assert_eq!((newest.len(), newest[0].version, newest[0].next), (1, table.head().version, offset(7)));
    assert_eq!(newest[0].schema, SchemaVersion::new(2));
    let older = table.versions(Some(newest[0].version), 99).await.unwrap();
    assert_eq!(older.last(), Some(&about), "down to the first");
    assert!(is_gone(table.at(newest[0].version + 1).await) && is_gone(table.at(0).await));
}

async fn tags_move_and_go(table: &dyn Table, old: u64) {
    assert_eq!(table.tag(&tag("old")).await.unwrap().map(|tag| tag.about.version), Some(old));
    let (again, is_new) = table.put_tag(&tag("old"), Some(old)).await.unwrap();
    assert!(!is_new && again == table.tags().await.unwrap()[0]);
    table.put_tag(&tag("New"), None).await.unwrap();
    let names: Vec<String> = table.tags().await.unwrap().iter().map(|tag| tag.name.to_string()).collect();
    assert_eq!(names, ["New", "old"]);
    assert!(table.delete_tag(&tag("New")).await.unwrap());
    assert!(!table.delete_tag(&tag("New")).await.unwrap());
    assert_eq!(table.tag(&tag("New")).await.unwrap(), None);
}

async fn a_fork_goes_its_own_way(
    tables: &dyn Tables,
    source: &dyn Table,
    other: &TablePlace,
    columns: &Columns,
    until: u64,
) {
    let expected = texts(source, columns).await;
    let fork = tables.open(other, Offset::ZERO).await.unwrap();
    let kept = usize::try_from(until - 2).unwrap();
    assert_eq!(texts(&*fork, columns).await, expected[..kept]);
    assert_eq!(fork.versions(None, 99).await.unwrap().last().unwrap().cause, "fork");
    assert!(fork.tags().await.unwrap().is_empty());
    let last_time = fork.head().last_time;
    assert_eq!(last_time.map(Timestamp::as_micros), [None, Some(10), Some(20)][kept.min(1) + usize::from(kept > 2)]);
    fork.append(columns, vec![chunk(until, 30, &[r#"{"c":7}"#])]).await.unwrap();
    assert_eq!(texts(&*fork, columns).await, [&expected[..kept], &[r#"{"c":7}"#.to_owned()]].concat());
    tables.remove(other).await.unwrap();
    assert_eq!(texts(source, columns).await, expected);
}
