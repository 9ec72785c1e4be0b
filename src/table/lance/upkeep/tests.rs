use std::fs;

use super::*;
use crate::table::lance::LanceTables;
use crate::table::lance::tests::{Bench, append, files, numbers, schema, somebody_else};
use crate::table::{Table as _, TableView as _, Tables as _};

fn data_bytes(bench: &Bench) -> u64 {
    files(&bench.place().dataset.join("data")).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

/// Records from an offset on.
fn chunk_of(first: u64, records: &[String]) -> crate::codec::Chunk {
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    crate::table::contract::chunk(first, i64::try_from(first).unwrap(), &records)
}

/// Merges when a few fragments are there.
const EAGER: UpkeepPolicy = UpkeepPolicy { tiny_bytes: 64 << 10, tiny_count: 3, count: 3, ..UpkeepPolicy::USUAL };

fn bench_with(policy: UpkeepPolicy) -> Bench {
    let mut bench = Bench::new();
    bench.tables = LanceTables::with_policy(Arc::clone(&bench.disk) as _, tokio::runtime::Handle::current(), 8, policy);
    bench
}

#[tokio::test]
async fn fragments_and_versions_stay_few_and_no_row_moves() {
    let mut bench = bench_with(EAGER);
    let table = bench.filled(70).await;
    bench.upkept().await;
    let head = table.head();
    assert!(head.fragments.len() <= 3, "{} fragments", head.fragments.len());
    assert_eq!(numbers(&*table).await, (0..70).collect::<Vec<_>>());
    let usage = table.usage().await.unwrap();
    assert!(usage.versions <= VERSIONS_MAX, "{} versions", usage.versions);
    assert!(usage.last_upkeep.is_some(), "{usage:?}");
    drop(table);
    assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, (0..70).collect::<Vec<_>>());
    assert_eq!(somebody_else(&bench).await.count_rows(None).await.unwrap(), 70);
}

#[tokio::test]
async fn asked_to_it_merges_what_is_not_due() {
    let mut bench = Bench::new();
    let table = bench.filled(5).await;
    assert_eq!(table.head().fragments.len(), 5);
    table.compact();
    bench.upkept().await;
    assert_eq!(table.head().fragments.len(), 1);
    append(&*table, 5).await.unwrap();
    assert_eq!(numbers(&*table).await, [0, 1, 2, 3, 4, 5]);
}

/// The inside of the bench's table.
async fn inside(bench: &Bench) -> crate::table::lance::table::LanceTable {
    crate::table::lance::table::LanceTable::open(Arc::clone(&bench.tables.shared), bench.place(), Offset::ZERO)
        .await
        .unwrap()
}

#[tokio::test]
async fn rows_that_come_while_a_merge_is_written_stand_behind_it() {
    let mut bench = Bench::new();
    drop(bench.filled(4).await);
    let table = inside(&bench).await;
    let inner = Arc::clone(table.inner());
    let version = inner.version().await.unwrap().unwrap();
    let go_on = CancellationToken::new();
    let merged =
        merge::write_merged(&version, 1..3, Offset::ZERO, inner.merge_params(version.dataset.schema()), &go_on)
            .await
            .unwrap();
    append(&table, 4).await.unwrap();
    append(&table, 5).await.unwrap();
    assert!(inner.commit_merged(&merged, &go_on).await.unwrap());
    assert_eq!(table.head().fragments.len(), 5);
    assert_eq!(numbers(&table).await, [0, 1, 2, 3, 4, 5]);
    drop((table, inner));
    assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_merge_of_fragments_that_have_changed_is_not_committed() {
    let mut bench = Bench::new();
    drop(bench.filled(4).await);
    let table = inside(&bench).await;
    let inner = Arc::clone(table.inner());
    let version = inner.version().await.unwrap().unwrap();
    let go_on = CancellationToken::new();
    let write =
        |run| merge::write_merged(&version, run, Offset::ZERO, inner.merge_params(version.dataset.schema()), &go_on);
    let (one, other) = (write(0..2).await.unwrap(), write(1..3).await.unwrap());
    assert!(inner.commit_merged(&one, &CancellationToken::new()).await.unwrap());
    assert!(!inner.commit_merged(&other, &go_on).await.unwrap());
    inner.forget_merged(&other).await;
    assert_eq!(numbers(&table).await, [0, 1, 2, 3]);
    go_on.cancel();
    assert!(write(0..1).await.is_err(), "a merge that is told to stop stops");
}

#[tokio::test]
async fn what_has_expired_leaves_the_disk() {
    let bench = bench_with(UpkeepPolicy { history_bytes: 0, ..UpkeepPolicy::USUAL });
    let table = bench.tables.open(&bench.place(), Offset::ZERO).await.unwrap();
    // One fragment with much, of which little is kept, and two small ones.
    let filler = "x".repeat(1 << 10);
    let records: Vec<String> = (0..40_000).map(|n| format!("{{\"n\":{n},\"s\":\"{n}{filler}\"}}")).collect();
    let columns = schema_with_text();
    table.append(&columns, vec![chunk_of(0, &records)]).await.unwrap();
    for next in 40_000..40_002 {
        table.append(&columns, vec![chunk_of(next, &[format!("{{\"n\":{next},\"s\":\"\"}}")])]).await.unwrap();
    }
    let before = data_bytes(&bench);
    table.drop_before(Offset::new(39_990).unwrap()).await.unwrap();
    bench.upkept().await;
    assert_eq!(table.head().base, Offset::new(39_990).unwrap());
    let usage = table.usage().await.unwrap();
    assert_eq!(usage.live_bytes + usage.dead_bytes, data_bytes(&bench));
    let last = usage.last_upkeep.unwrap();
    assert!(last.merges == 1, "{last:?}");
    assert!(usage.dead_bytes <= usage.live_bytes, "{usage:?} of {before}");
    assert!(data_bytes(&bench) < before / 100, "{usage:?} of {before}");
    let read = table.read(&columns, Offset::ZERO, 100, usize::MAX).await.unwrap();
    let offsets: Vec<u64> =
        read.iter().flat_map(|chunk| (chunk.first().get()..chunk.next().get()).collect::<Vec<_>>()).collect();
    assert_eq!(offsets, (39_990..40_002).collect::<Vec<_>>());
    drop(table);
}

fn schema_with_text() -> crate::schema::Columns {
    use crate::schema::DataType;
    let mut schema = schema();
    schema.fields.push(crate::table::contract::field("s", DataType::String));
    crate::table::contract::plain(&schema)
}

#[tokio::test]
async fn what_a_crash_has_left_is_removed_and_what_counts_is_not() {
    let mut bench = Bench::new();
    drop(bench.filled(3).await);
    let stray = bench.place().dataset.join("data").join("0101stray.lance");
    fs::write(&stray, vec![7; 1_000]).unwrap();
    let table = bench.reopened().await.unwrap();
    table.compact();
    bench.upkept().await;
    for number in 3..30 {
        append(&*table, number).await.unwrap();
    }
    bench.upkept().await;
    assert!(!stray.exists());
    assert_eq!(numbers(&*table).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dataset_that_is_removed_stays_removed() {
    let mut bench = bench_with(EAGER);
    let table = bench.filled(9).await;
    table.compact();
    bench.tables.remove(&bench.place()).await.unwrap();
    bench.upkept().await;
    assert!(!bench.place().dataset.exists());
}

#[tokio::test]
async fn a_widened_column_is_merged_and_older_versions_go() {
    use crate::schema::{DataType, FloatType, IntType, Schema};
    use crate::table::contract::{field, offset, plain};
    let mut bench = bench_with(UpkeepPolicy { history_bytes: 0, ..EAGER });
    let table = bench.tables.open(&bench.place(), Offset::ZERO).await.unwrap();
    let ints = plain(&Schema { fields: vec![field("n", DataType::Int(IntType::I64))] });
    let floats = plain(&Schema { fields: vec![field("n", DataType::Float(FloatType::F64))] });
    for number in 0..2 {
        table.append(&ints, vec![chunk_of(number, &[format!("{{\"n\":{number}}}")])]).await.unwrap();
    }
    table.append(&floats, vec![chunk_of(2, &["{\"n\":2.5}".to_owned()])]).await.unwrap();
    bench.upkept().await;
    for _ in 0..2 {
        let read = table.read(&floats, offset(0), 100, usize::MAX).await.unwrap();
        let texts: Vec<String> = read
            .iter()
            .flat_map(|chunk| (0..chunk.len()).map(|at| String::from_utf8_lossy(chunk.value(at)).into_owned()))
            .collect();
        assert_eq!(texts, ["{\"n\":0}", "{\"n\":1}", "{\"n\":2.5}"]);
    }
    drop(table);
    let table = bench.reopened().await.unwrap();
    assert_eq!(
        table.read(&floats, offset(0), 100, usize::MAX).await.unwrap().iter().map(|chunk| chunk.len()).sum::<usize>(),
        3
    );
}

#[tokio::test]
async fn a_dataset_has_one_table_however_often_it_is_opened() {
    let bench = Bench::new();
    let place = bench.place();
    let open = || bench.tables.open(&place, Offset::ZERO);
    let (one, other) = tokio::join!(open(), open());
    let (one, other) = (one.unwrap(), other.unwrap());
    for number in 0..3 {
        append(&*one, number).await.unwrap();
    }
    one.compact();
    bench.upkept().await;
    assert_eq!(other.head(), one.head());
    assert_eq!(numbers(&*open().await.unwrap()).await, [0, 1, 2]);
}

#[tokio::test]
async fn the_first_fragment_alone_is_rewritten_in_front_of_rows_that_came_meanwhile() {
    let mut bench = Bench::new();
    let columns = crate::table::contract::plain(&schema());
    let table = inside(&bench).await;
    let records: Vec<String> = (0..10).map(|n| format!("{{\"n\":{n}}}")).collect();
    table.append(&columns, vec![chunk_of(0, &records)]).await.unwrap();
    let inner = Arc::clone(table.inner());
    let version = inner.version().await.unwrap().unwrap();
    let (expired, go_on) = (Offset::new(8).unwrap(), CancellationToken::new());
    let merged = merge::write_merged(&version, 0..1, expired, inner.merge_params(version.dataset.schema()), &go_on)
        .await
        .unwrap();
    append(&table, 10).await.unwrap();
    assert!(inner.commit_merged(&merged, &go_on).await.unwrap());
    assert_eq!(numbers(&table).await, [8, 9, 10]);
    table.drop_before(expired).await.unwrap();
    bench.upkept().await;
    assert_eq!(table.head().base, expired);
    assert_eq!(numbers(&table).await, [8, 9, 10]);
    drop((table, inner, version));
    assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, [8, 9, 10]);
}

#[tokio::test]
async fn what_has_expired_before_it_is_committed_goes_and_holds_up_no_merge() {
    let bench = bench_with(EAGER);
    let table = bench.tables.open(&bench.place(), Offset::ZERO).await.unwrap();
    let expired = Offset::new(5).unwrap();
    table.configure(&crate::table::TableSettings { expired, ..Default::default() });
    for number in 0..9 {
        append(&*table, number).await.unwrap();
    }
    bench.upkept().await;
    assert_eq!((table.head().base, table.head().fragments.len() <= 3), (expired, true));
    assert_eq!(numbers(&*table).await, [5, 6, 7, 8]);
}

#[tokio::test]
async fn a_version_whose_files_are_gone_cannot_be_tagged() {
    let mut bench = Bench::new();
    let table = bench.filled(3).await;
    table.compact();
    bench.upkept().await;
    // As where a crash has cut a clean-up short: files go before manifests.
    let named: Vec<_> = somebody_else(&bench).await.fragments().iter().flat_map(|it| it.files.clone()).collect();
    for file in files(&bench.place().dataset.join("data")) {
        if named.iter().all(|named| !file.ends_with(&named.path)) {
            fs::remove_file(file).unwrap();
        }
    }
    let name = crate::model::TagName::parse("old").unwrap();
    let gone = |outcome: Result<_, TableError>| matches!(outcome, Err(TableError::VersionGone { version: 3 }));
    assert!(gone(table.put_tag(&name, Some(3)).await.map(drop)));
    assert!(gone(table.at(3).await.map(drop)));
    assert!(table.put_tag(&name, None).await.is_ok());
}

#[tokio::test]
async fn versions_with_the_rows_of_today_stay_whatever_they_hold_beside() {
    let bench = bench_with(UpkeepPolicy { history_bytes: 0, ..EAGER });
    let table = bench.tables.open(&bench.place(), Offset::ZERO).await.unwrap();
    for number in 0..9 {
        append(&*table, number).await.unwrap();
        bench.upkept().await;
    }
    table.compact();
    bench.upkept().await;
    let versions = async || table.versions(None, 99).await.unwrap();
    assert_eq!(versions().await.len() as u64, table.head().version, "none has gone");
    let usage = table.usage().await.unwrap();
    assert!(usage.dead_bytes > usage.live_bytes, "{usage:?}");
    // What is dropped from the newest goes from the others, which hold more than they may.
    append(&*table, 9).await.unwrap();
    table.drop_before(Offset::new(9).unwrap()).await.unwrap();
    bench.upkept().await;
    let left = versions().await;
    assert!(left.iter().all(|version| version.base == Offset::new(9).unwrap()), "{left:?}");
}

#[tokio::test]
async fn a_torn_tag_of_another_tool_is_set_aside_and_hinders_no_upkeep() {
    for torn in ["", "{\"version\": 1", "\0\0\0\0"] {
        let mut bench = bench_with(EAGER);
        let table = bench.filled(2).await;
        somebody_else(&bench).await.tags().create("theirs", 1).await.unwrap();
        let tag = bench.place().dataset.join("_refs/tags/bad.json");
        fs::write(&tag, torn).unwrap();
        for number in 2..60 {
            append(&*table, number).await.unwrap();
        }
        bench.upkept().await;
        let usage = table.usage().await.unwrap();
        assert!(table.head().fragments.len() <= 3 && usage.versions <= VERSIONS_MAX + 1, "{usage:?}");
        let aside = files(&bench.place().dataset.join("_torn"));
        assert!(!tag.exists() && aside.len() == 1, "{aside:?}");
        assert!(table.at(1).await.is_ok(), "a tag that can be read holds its version");
    }
}

#[tokio::test]
async fn fragments_are_merged_though_a_clean_up_fails() {
    let mut bench = bench_with(EAGER);
    let table = bench.filled(2).await;
    // JSON that is no tag is somebody's, and Lance's clean-up stops at it.
    fs::create_dir_all(bench.place().dataset.join("_refs/tags")).unwrap();
    fs::write(bench.place().dataset.join("_refs/tags/odd.json"), "[]").unwrap();
    for number in 2..40 {
        append(&*table, number).await.unwrap();
    }
    table.compact();
    bench.upkept().await;
    assert!(table.usage().await.unwrap().versions > VERSIONS_MAX);
    assert!(table.head().fragments.len() <= 3, "{} fragments", table.head().fragments.len());
    assert_eq!(numbers(&*table).await, (0..40).collect::<Vec<_>>());
}
