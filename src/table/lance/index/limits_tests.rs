use ::lance::index::DatasetIndexExt as _;
use serde_json::{Value, json};

use super::make::TOO_MANY_VALUES;
use super::tests::{append, bench, columns, definition, inside, settled, standing, want};
use super::*;
use crate::schema::{FieldPath, IndexSpec, IndexType, Lineage, Move, Posted, Schema};
use crate::table::contract::chunk;
use crate::table::lance::table::LanceTable;
use crate::table::lance::tests::somebody_else;
use crate::table::{IndexState, Table as _, TableError, TableView as _};

fn with_params(name: &str, kind: IndexType, params: &Value) -> IndexDefinition {
    let spec = IndexSpec::new(kind, params.as_object().unwrap().clone()).unwrap();
    IndexDefinition { spec, ..definition(name, kind, 0) }
}

async fn append_texts(table: &LanceTable, first: u64, records: &[String]) {
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    table.append(&columns(), vec![chunk(first, i64::try_from(first).unwrap(), &records)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_cannot_be_measured_keeps_its_fragment_out_and_no_other() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    append_texts(&table, 20, &["{\"v_flat\":[1e+30,0,0,0,0,0,0,0]}".to_owned()]).await;
    append(&table, 21, 9).await;
    let wanted = ["l2", "dot"].map(|metric| with_params("v_flat", IndexType::IvfFlat, &json!({"metric": metric})));
    for wanted in &wanted {
        want(&table, std::slice::from_ref(wanted));
        settled(&bench, &table).await;
        let now = standing(&table).await;
        assert_eq!((now[0].state, now[0].rows, &now[0].error), (IndexState::Ready, 29, &None));
    }
    append(&table, 30, 5).await;
    settled(&bench, &table).await;
    assert_eq!(standing(&table).await[0].rows, 34);
    table.compact();
    settled(&bench, &table).await;
    assert_eq!((table.head().fragments.len(), standing(&table).await[0].rows), (3, 34), "a merge takes no other along");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_without_a_direction_are_nothing_to_a_cosine_index() {
    let bench = bench();
    let table = inside(&bench).await;
    append_texts(&table, 0, &vec!["{\"v_flat\":[0,0,0,0,0,0,0,0]}".to_owned(); 300]).await;
    want(&table, &[with_params("v_flat", IndexType::IvfFlat, &json!({"metric": "cosine"}))]);
    settled(&bench, &table).await;
    let now = standing(&table).await;
    assert_eq!((now[0].state, now[0].rows, &now[0].error), (IndexState::Ready, 0, &None));
    append(&table, 300, 20).await;
    settled(&bench, &table).await;
    assert_eq!(standing(&table).await[0].rows, 320);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_as_many_as_can_be_built_and_filled() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    let many = json!({"num_partitions": 100});
    want(
        &table,
        &[
            with_params("v_flat", IndexType::IvfFlat, &many),
            with_params("v_hnsw", IndexType::IvfHnswSq, &json!({"num_partitions": 1})),
        ],
    );
    settled(&bench, &table).await;
    let partitions = async |index: &str| {
        let statistics = somebody_else(&bench).await.index_statistics(index).await.unwrap();
        let statistics: Value = serde_json::from_str(&statistics).unwrap();
        statistics["indices"][0]["num_partitions"].as_u64()
    };
    assert_eq!((partitions("v_flat_index").await, partitions("v_hnsw_index").await), (Some(20), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_would_be_read_as_a_whole_is_refused_past_a_size() {
    let bench = bench();
    let table = inside(&bench).await;
    let mut seed = 1_u64;
    let mut text = || -> String {
        let letters = (0..60_000).map(|_| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            char::from(b'0' + u8::try_from((seed >> 33) % 70).unwrap())
        });
        letters.filter(|letter| *letter != '\\').collect()
    };
    let records: Vec<String> = (0..30).map(|_| format!("{{\"k\":\"{}\"}}", text())).collect();
    append_texts(&table, 0, &records).await;
    want(&table, &[definition("k", IndexType::Bitmap, 0)]);
    settled(&bench, &table).await;
    let now = standing(&table).await;
    assert_eq!(now[0].error.as_deref(), Some(TOO_MANY_VALUES));
    assert!(somebody_else(&bench).await.load_indices().await.unwrap().is_empty());
}

#[test]
fn a_client_is_told_of_values_that_are_too_long_to_be_sorted() {
    let told = |cause: &str| keep::told(&TableError::Failed { cause: cause.to_owned() });
    assert!(told("LanceError(IO): Resources exhausted: no memory for ExternalSorterMerge[0]").contains("too long"));
    assert!(!told("LanceError(IO): /data/x is gone").contains("too long"));
    assert_eq!(told(TOO_MANY_VALUES), TOO_MANY_VALUES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_column_keeps_its_segments_before_the_dataset_has_followed_and_after() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    let mut wanted = [definition("n", IndexType::BTree, 20), definition("k", IndexType::BTree, 20)];
    want(&table, &wanted[..1]);
    settled(&bench, &table).await;
    let segments = async || {
        let segments = somebody_else(&bench).await.load_indices().await.unwrap();
        segments.iter().map(|segment| segment.uuid).collect::<Vec<_>>()
    };
    let before = segments().await;
    let mut columns = columns();
    let to = "m".to_owned();
    let path = FieldPath(vec!["n".to_owned()]);
    let posted = Posted {
        version: crate::model::SchemaVersion::FIRST.next(),
        before: Arc::clone(&columns.schema),
        moves: vec![Move::Rename { path, to: to.clone() }],
    };
    columns.lineage = Arc::new(Lineage::default().with(posted));
    let mut fields = columns.schema.fields.clone();
    fields[0].name = to.clone();
    columns.schema = Arc::new(Schema { fields });
    for definition in &mut wanted {
        definition.lineage = Arc::clone(&columns.lineage);
    }
    wanted[0].columns = vec![FieldPath(vec![to])];
    want(&table, &wanted);
    settled(&bench, &table).await;
    assert!(segments().await.contains(&before[0]), "the dataset has the old name");
    assert_eq!(standing(&table).await.iter().map(|it| it.rows).collect::<Vec<_>>(), [20, 20]);
    table.append(&columns, vec![chunk(20, 20, &["{\"m\":1}"])]).await.unwrap();
    assert!(segments().await.contains(&before[0]), "the dataset has the new name");
    settled(&bench, &table).await;
    assert_eq!(standing(&table).await.iter().map(|it| it.rows).collect::<Vec<_>>(), [21, 21]);
}
