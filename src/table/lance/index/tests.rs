use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::lance::Dataset;
use arrow_array::{Float32Array, RecordBatch, cast::AsArray as _, types::Float32Type, types::UInt64Type};
use futures::TryStreamExt as _;
use lance_index::scalar::FullTextSearchQuery;
use serde_json::{Map, json};

use super::notes::Notes;
use super::*;
use crate::model::IndexName;
use crate::model::Offset;
use crate::schema::{DataType, FieldPath, FloatType, IndexSpec, IndexType, IntType, Schema};
use crate::table::contract::{chunk, field, plain};
use crate::table::lance::table::LanceTable;
use crate::table::lance::tests::{Bench, somebody_else};
use crate::table::lance::{LanceTables, UpkeepPolicy};
use crate::table::{IndexStanding, IndexState};
use crate::table::{Table as _, TableSettings, TableView as _};
use std::path::PathBuf;

const DIM: usize = 8;

/// Merges what it can, and indexes whatever comes at once.
pub(super) const EAGER: UpkeepPolicy =
    UpkeepPolicy { index_idle: Duration::ZERO, history_bytes: 0, ..UpkeepPolicy::USUAL };

pub(super) fn columns() -> crate::schema::Columns {
    let vector = || DataType::Vector { dim: u32::try_from(DIM).unwrap(), item: FloatType::F32 };
    plain(&Schema {
        fields: vec![
            field("n", DataType::Int(IntType::I64)),
            field("k", DataType::String),
            field("tags", DataType::List(Box::new(DataType::String))),
            field("text", DataType::String),
            field("v_flat", vector()),
            field("v_pq", vector()),
            field("v_hnsw", vector()),
        ],
    })
}

/// A number that looks as if by chance.
fn scattered(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn vector(row: u64) -> Vec<f32> {
    (0..DIM as u64).map(|at| f32::from(u16::try_from(scattered(row * 31 + at) % 1_000).unwrap()) / 10.0).collect()
}

fn record(row: u64) -> String {
    let word = scattered(row) % 20;
    let values = json!(vector(row)).to_string().replace(".0,", ",").replace(".0]", "]");
    format!(
        "{{\"n\":{},\"k\":\"k{}\",\"tags\":[\"t{}\",\"u{}\"],\"text\":\"the word w{word} of row r{row}\",\
         \"v_flat\":{values},\"v_pq\":{values},\"v_hnsw\":{values}}}",
        scattered(row) % 50,
        row % 7,
        row % 5,
        row % 3
    )
}

pub(super) async fn append(table: &dyn crate::table::Table, first: u64, rows: u64) {
    let records: Vec<String> = (first..first + rows).map(record).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    table.append(&columns(), vec![chunk(first, i64::try_from(first).unwrap(), &records)]).await.unwrap();
}

pub(super) fn definition(name: &str, kind: IndexType, from: u64) -> IndexDefinition {
    IndexDefinition {
        id: IndexId::fresh(),
        name: IndexName::parse(&format!("{name}_index")).unwrap(),
        columns: vec![FieldPath(vec![name.to_owned()])],
        lineage: Arc::default(),
        spec: IndexSpec::new(kind, Map::new()).unwrap(),
        from: Offset::new(from).unwrap(),
    }
}

fn seven(from: u64) -> Vec<IndexDefinition> {
    [
        ("n", IndexType::BTree),
        ("k", IndexType::Bitmap),
        ("tags", IndexType::LabelList),
        ("text", IndexType::Inverted),
        ("v_flat", IndexType::IvfFlat),
        ("v_pq", IndexType::IvfPq),
        ("v_hnsw", IndexType::IvfHnswSq),
    ]
    .map(|(name, kind)| definition(name, kind, from))
    .to_vec()
}

pub(super) fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.tables = LanceTables::with_policy(Arc::clone(&bench.disk) as _, tokio::runtime::Handle::current(), 8, EAGER);
    bench
}

pub(super) async fn inside(bench: &Bench) -> LanceTable {
    LanceTable::open(Arc::clone(&bench.tables.shared), bench.place(), Offset::ZERO).await.unwrap()
}

pub(super) fn want(table: &LanceTable, indexes: &[IndexDefinition]) {
    table.configure(&TableSettings { indexes: indexes.into(), ..TableSettings::default() });
}

/// Waits until nothing is left to be done.
pub(super) async fn settled(bench: &Bench, table: &LanceTable) {
    bench.upkept().await;
    table.inner().look_after_indexes();
    bench.tables.shared.index_turns.ended(&bench.place().dataset, |_| ()).await;
}

/// Nobody builds until it is dropped.
pub(super) async fn held(bench: &Bench) -> crate::table::lance::upkeep::Turn {
    let (turns, dataset) = (&bench.tables.shared.index_turns, bench.place().dataset);
    loop {
        turns.ended(&dataset, |_| ()).await;
        if let Some(turn) = turns.begin(&dataset) {
            return turn;
        }
    }
}

fn offsets(batch: &RecordBatch) -> Vec<u64> {
    batch.column_by_name("_offset").unwrap().as_primitive::<UInt64Type>().values().to_vec()
}

/// What a filter finds, with indices or without.
async fn found(dataset: &Dataset, filter: &str, indexed: bool) -> BTreeSet<u64> {
    let mut scan = dataset.scan();
    scan.filter(filter).unwrap().project(&["_offset"]).unwrap().use_scalar_index(indexed);
    let plan = scan.explain_plan(true).await.unwrap();
    assert_eq!(plan.contains("ScalarIndexQuery"), indexed, "{filter}: {plan}");
    let batch = scan.try_into_batch().await.unwrap();
    let found = offsets(&batch);
    let set: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(set.len(), found.len(), "{filter}: a row is found twice");
    set
}

/// The nearest rows with their distances.
async fn nearest(dataset: &Dataset, column: &str, query: &[f32], indexed: bool) -> BTreeMap<u64, f32> {
    let mut scan = dataset.scan();
    scan.project(&["_offset"]).unwrap();
    scan.nearest(column, &Float32Array::from(query.to_vec()), 10).unwrap();
    scan.nprobes(1_000).refine(30).ef(500).use_index(indexed).prefilter(true);
    let plan = scan.explain_plan(true).await.unwrap();
    assert_eq!(plan.contains("ANNSubIndex"), indexed, "{column}: {plan}");
    let batch = scan.try_into_batch().await.unwrap();
    let distances = batch.column_by_name("_distance").unwrap().as_primitive::<Float32Type>().values().to_vec();
    let found: BTreeMap<u64, f32> = offsets(&batch).into_iter().zip(distances).collect();
    assert_eq!(found.len(), 10, "{column}");
    found
}

/// Compares what indices say with what is so.
async fn check(bench: &Bench, rows: std::ops::Range<u64>) {
    let dataset = somebody_else(bench).await;
    assert_eq!(dataset.count_rows(None).await.unwrap() as u64, rows.end - rows.start);
    for value in [3, 17, 49] {
        let filter = format!("n = {value}");
        assert_eq!(found(&dataset, &filter, true).await, found(&dataset, &filter, false).await, "{filter}");
    }
    for filter in ["n < 10", "k = 'k3'", "k in ('k1', 'k5')", "array_has(tags, 't2')", "array_has(tags, 'u1')"] {
        assert_eq!(found(&dataset, filter, true).await, found(&dataset, filter, false).await, "{filter}");
    }
    for word in [0, 7, 19] {
        let query = FullTextSearchQuery::new(format!("w{word}")).with_column("text".to_owned()).unwrap();
        let mut scan = dataset.scan();
        scan.full_text_search(query).unwrap().project(&["_offset"]).unwrap();
        let batches: Vec<RecordBatch> = scan.try_into_stream().await.unwrap().try_collect().await.unwrap();
        let mut found: Vec<u64> = batches.iter().flat_map(offsets).collect();
        found.sort_unstable();
        let expected: Vec<u64> = rows.clone().filter(|row| scattered(*row) % 20 == word).collect();
        assert_eq!(found, expected, "w{word}");
    }
    for seed in 0..3 {
        let query = vector(1_000_000 + seed);
        for column in ["v_flat", "v_pq", "v_hnsw"] {
            let (found, all) =
                (nearest(&dataset, column, &query, true).await, nearest(&dataset, column, &query, false).await);
            let same = found.iter().filter(|(row, _)| all.contains_key(row)).count();
            assert!(same >= if column == "v_flat" { 10 } else { 8 }, "{column}: {found:?} of {all:?}");
            for (row, distance) in found {
                let is: f32 = vector(row).iter().zip(&query).map(|(one, other)| (one - other).powi(2)).sum();
                assert!((is - distance).abs() <= is / 1_000.0, "{column}: row {row} is {is} away, not {distance}");
            }
        }
    }
}

/// The fragments that a number has named so far: one each.
#[derive(Default)]
struct Named(HashMap<u64, String>);

impl Named {
    fn look(&mut self, table: &LanceTable) {
        for fragment in table.inner().open_version().unwrap().dataset.fragments().iter() {
            let path = fragment.files[0].path.clone();
            let known = self.0.entry(fragment.id).or_insert_with(|| path.clone());
            assert_eq!(*known, path, "number {} is used twice", fragment.id);
        }
    }
}

pub(super) async fn standing(table: &LanceTable) -> Vec<IndexStanding> {
    table.inner().standing(Offset::ZERO).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_by_an_index_is_what_is_there_whatever_became_of_the_fragments() {
    let mut bench = bench();
    let table = inside(&bench).await;
    let mut named = Named::default();
    for first in [0, 150, 300] {
        append(&table, first, 150).await;
    }
    let indexes = seven(450);
    want(&table, &indexes);
    settled(&bench, &table).await;
    named.look(&table);
    for standing in standing(&table).await {
        assert_eq!((standing.state, standing.rows, standing.error), (IndexState::Ready, 450, None));
    }
    check(&bench, 0..450).await;
    // Brought up to date as rows come.
    append(&table, 450, 300).await;
    settled(&bench, &table).await;
    named.look(&table);
    assert!(standing(&table).await.iter().all(|standing| standing.rows == 750));
    check(&bench, 0..750).await;
    // Merged, and looked at before the indexes have followed.
    let hold = held(&bench).await;
    table.compact();
    bench.upkept().await;
    named.look(&table);
    assert_eq!(table.head().fragments.len(), 1);
    assert!(standing(&table).await.iter().all(|standing| standing.rows == 0 && standing.state == IndexState::Ready));
    check_unindexed(&bench, 0..750).await;
    for first in [750, 760, 770] {
        append(&table, first, 10).await;
    }
    drop(hold);
    settled(&bench, &table).await;
    assert!(standing(&table).await.iter().all(|standing| standing.rows == 780));
    check(&bench, 0..780).await;
    // Part of it expires, part of it is merged again.
    let hold = held(&bench).await;
    table.compact();
    bench.upkept().await;
    append(&table, 780, 400).await;
    append(&table, 1_180, 20).await;
    table.drop_before(Offset::new(780).unwrap()).await.unwrap();
    bench.upkept().await;
    named.look(&table);
    drop(hold);
    settled(&bench, &table).await;
    named.look(&table);
    assert_eq!(table.head().base.get(), 780);
    check(&bench, 780..1_200).await;
    // And again from what is on the disk.
    drop(table);
    drop(bench.reopened().await.unwrap());
    let table = inside(&bench).await;
    want(&table, &indexes);
    append(&table, 1_200, 5).await;
    settled(&bench, &table).await;
    check(&bench, 780..1_205).await;
    let segments = somebody_else(&bench).await;
    let segments = ::lance::index::DatasetIndexExt::load_indices(&segments).await.unwrap();
    assert_eq!(segments.len(), 7, "each has one segment at this size");
}

/// The same where no fragment is covered: scalar indices are not asked, the others must not answer from the past.
async fn check_unindexed(bench: &Bench, rows: std::ops::Range<u64>) {
    let dataset = somebody_else(bench).await;
    for filter in ["n = 17", "k = 'k3'", "array_has(tags, 't2')"] {
        let mut with = dataset.scan();
        let with = with.filter(filter).unwrap().project(&["_offset"]).unwrap().try_into_batch().await.unwrap();
        let with: BTreeSet<u64> = offsets(&with).into_iter().collect();
        assert_eq!(with, found(&dataset, filter, false).await, "{filter}");
    }
    let query = FullTextSearchQuery::new("w7".to_owned()).with_column("text".to_owned()).unwrap();
    let mut scan = dataset.scan();
    scan.full_text_search(query).unwrap().project(&["_offset"]).unwrap();
    let batches: Vec<RecordBatch> = scan.try_into_stream().await.unwrap().try_collect().await.unwrap();
    let mut found: Vec<u64> = batches.iter().flat_map(offsets).collect();
    found.sort_unstable();
    assert_eq!(found, rows.filter(|row| scattered(*row) % 20 == 7).collect::<Vec<_>>());
    for column in ["v_flat", "v_pq", "v_hnsw"] {
        let query = Float32Array::from(vector(1_000_000));
        let nearest = |indexed: bool| {
            let mut scan = dataset.scan();
            scan.project(&["_offset"]).unwrap();
            scan.nearest(column, &query, 10).unwrap().use_index(indexed).prefilter(true);
            async move { offsets(&scan.try_into_batch().await.unwrap()) }
        };
        assert_eq!(nearest(true).await, nearest(false).await, "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_no_more_goes_and_what_is_defined_anew_is_built_anew() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    let mut indexes = vec![definition("n", IndexType::BTree, 20), definition("text", IndexType::Inverted, 20)];
    want(&table, &indexes);
    settled(&bench, &table).await;
    let names = async || {
        let dataset = somebody_else(&bench).await;
        let segments = ::lance::index::DatasetIndexExt::load_indices(&dataset).await.unwrap();
        segments.iter().map(|segment| (segment.name.clone(), segment.uuid)).collect::<BTreeMap<_, _>>()
    };
    let before = names().await;
    assert_eq!(before.keys().collect::<Vec<_>>(), ["n_index", "text_index"]);
    indexes[0].id = IndexId::fresh();
    want(&table, &indexes[..1]);
    settled(&bench, &table).await;
    let after = names().await;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["n_index"]);
    assert_ne!(before["n_index"], after["n_index"]);
    want(&table, &[]);
    settled(&bench, &table).await;
    assert!(names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_segment_are_synced_before_its_manifest_and_a_failed_sync_is_tried_again() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    bench.disk.synced.lock().clear();
    want(&table, &[definition("n", IndexType::BTree, 20)]);
    settled(&bench, &table).await;
    let synced = bench.disk.synced.lock().clone();
    let place = |part: &str, ending: &str| {
        let is_it = |path: &&PathBuf| path.to_string_lossy().contains(part) && path.to_string_lossy().ends_with(ending);
        synced.iter().rposition(|path| is_it(&path)).unwrap_or_else(|| panic!("{part} is synced: {synced:?}"))
    };
    let manifest = place("_versions/", ".manifest");
    assert!(place("_indices/", ".lance") < manifest && place("", "_indices") < manifest);
    bench.disk.fail("_indices");
    want(&table, &[definition("n", IndexType::BTree, 20)]);
    settled(&bench, &table).await;
    let failed = standing(&table).await;
    assert_eq!(failed[0].state, IndexState::Failed);
    assert!(failed[0].error.as_deref().is_some_and(|error| !error.contains('/')), "{failed:?}");
    table.inner().indexes.known.lock().clear();
    settled(&bench, &table).await;
    assert_eq!(standing(&table).await[0].state, IndexState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_vectors_are_kept_as_they_are_and_none_are_not_indexed() {
    let bench = bench();
    let table = inside(&bench).await;
    let columns = columns();
    let empty: Vec<String> = (0..10).map(|row| format!("{{\"n\":{row}}}")).collect();
    let empty: Vec<&str> = empty.iter().map(String::as_str).collect();
    table.append(&columns, vec![chunk(0, 0, &empty)]).await.unwrap();
    want(&table, &[definition("v_pq", IndexType::IvfPq, 10)]);
    settled(&bench, &table).await;
    let now = standing(&table).await;
    assert_eq!((now[0].state, now[0].rows), (IndexState::Ready, 0));
    // More of the same does not make it less ready.
    let hold = held(&bench).await;
    table.append(&columns, vec![chunk(10, 10, &empty)]).await.unwrap();
    let now = standing(&table).await;
    assert_eq!((now[0].state, now[0].rows), (IndexState::Ready, 0));
    drop(hold);
    settled(&bench, &table).await;
    append(&table, 20, 50).await;
    settled(&bench, &table).await;
    let notes = || Notes::of(table.inner().open_version().unwrap().dataset.manifest()).to_stored();
    assert_eq!(standing(&table).await[0].rows, 70);
    assert!(notes().contains("makeshift"));
    append(&table, 70, 300).await;
    settled(&bench, &table).await;
    assert_eq!(standing(&table).await[0].rows, 370);
    assert!(!notes().contains("makeshift"), "{}", notes());
}
