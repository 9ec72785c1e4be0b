//! Filters on datasets: with and without an index, wherever it ends.

use ::lance::index::DatasetIndexExt as _;
use lance_index::IndexType;
use lance_index::scalar::{BuiltinIndexType, ScalarIndexParams};

use super::tests::{Bench, somebody_else};
use super::*;
use crate::codec::Chunk;
use crate::filter::{Filter, Reach, Sieve};
use crate::model::Offset;
use crate::schema::{Columns, Schema};
use crate::table::Table;
use crate::table::contract::{chunk, offset};

const FILTERS: [&str; 16] = [
    r"s LIKE 'k\1%'",
    r"s LIKE '\k\1_'",
    "s = 'k17'",
    "s IN ('k3', 'k17', 'k399', 'k455', 'none')",
    "n = 3 AND m > 20",
    "n = 3 OR s = 'k8'",
    "n = 3 OR m = 8",
    "n >= 5.5 AND n <= 6",
    "NOT n > 0",
    "n IS NULL",
    "n IS NULL AND s LIKE 'k4%'",
    "s LIKE 'k45%'",
    "starts_with(s, 'k39')",
    "m = 17",
    "_offset BETWEEN 390 AND 410 AND n != 2",
    "s = 'none'",
];

fn columns() -> Columns {
    let field = |name: &str, word: &str| serde_json::json!({"name": name, "type": word});
    let fields = [field("n", "int64"), field("m", "int32"), field("s", "string"), field("pad", "string")];
    Columns::plain(Schema::from_json(&serde_json::json!({"fields": fields})).unwrap())
}

async fn append(table: &dyn Table, count: u64) {
    let first = table.head().next.get();
    let record = |number: u64| match number % 10 {
        9 => format!("{{\"m\":{number},\"s\":\"k{number}\"}}"),
        rest => format!("{{\"n\":{rest},\"m\":{number},\"s\":\"k{number}\",\"pad\":\"xxxxxxxxxxxxxxxx\"}}"),
    };
    let records: Vec<String> = (first..first + count).map(record).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    table.append(&columns(), vec![chunk(first, 1, &records)]).await.unwrap();
}

fn sieve(filter: &str) -> Arc<Sieve> {
    let columns = columns();
    Arc::new(Sieve::new(Filter::parse(filter).unwrap().bind(&columns.schema).unwrap(), &columns))
}

/// The offsets that pass, each with its text, found in looks of a reach.
async fn found(table: &dyn Table, sieve: &Arc<Sieve>, from: u64, reach: Reach) -> Vec<(u64, String)> {
    let (mut next, mut found) = (offset(from), Vec::new());
    while next < table.head().next {
        let passing = table.read_passing(&columns(), sieve, next, reach).await.unwrap();
        assert!(passing.next > next, "each look goes on");
        assert!(passing.chunks.iter().map(Chunk::len).sum::<usize>() <= reach.records);
        for chunk in &passing.chunks {
            assert!(chunk.first() >= next && chunk.next() <= passing.next);
            let text = |index: usize| String::from_utf8(chunk.value(index).to_vec()).unwrap();
            found.extend((0..chunk.len()).map(|index| (chunk.first().get() + index as u64, text(index))));
        }
        next = passing.next;
    }
    found
}

/// The same by laying out all text.
async fn sifted(table: &dyn Table, sieve: &Arc<Sieve>, from: u64) -> Vec<(u64, String)> {
    let reach = Reach { until: Offset::MAX, records: usize::MAX, bytes: usize::MAX, looked_at: usize::MAX };
    let chunks = table.read(&columns(), offset(from), usize::MAX, usize::MAX).await.unwrap();
    let passing = sieve.sift(&chunks, &columns(), reach).unwrap();
    let text = |chunk: &Chunk, index: usize| String::from_utf8(chunk.value(index).to_vec()).unwrap();
    let of = |chunk: &Chunk| {
        (0..chunk.len()).map(|index| (chunk.first().get() + index as u64, text(chunk, index))).collect::<Vec<_>>()
    };
    passing.chunks.iter().flat_map(of).collect()
}

async fn check(table: &dyn Table) {
    for filter in FILTERS {
        for from in [0, 150, 399, 450] {
            let expected = sifted(table, &sieve(filter), from).await;
            for (records, bytes, looked_at) in
                [(usize::MAX, usize::MAX, usize::MAX), (1, 999, 7), (3, 50, 64), (9_999, 100, 1)]
            {
                let reach = Reach { until: Offset::MAX, records, bytes, looked_at };
                assert_eq!(
                    found(table, &sieve(filter), from, reach).await,
                    expected,
                    "{filter} from {from}: {reach:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_passes_is_the_same_with_and_without_an_index() {
    let mut bench = Bench::new();
    let table = bench.filled(0).await;
    for _ in 0..4 {
        append(&*table, 100).await;
    }
    check(&*table).await;
    let asked = sieve("s = 'k17'");
    let reach = Reach { until: Offset::MAX, records: 9, bytes: 999, looked_at: 9_999 };
    table.read_passing(&columns(), &asked, Offset::ZERO, reach).await.unwrap();
    assert_eq!(asked.candidates(), Some(None), "nobody has made an index yet");
    drop(table);
    let mut dataset = somebody_else(&bench).await;
    for (column, kind) in [("s", BuiltinIndexType::BTree), ("n", BuiltinIndexType::Bitmap)] {
        let params = ScalarIndexParams::for_builtin(kind);
        dataset.create_index(&[column], IndexType::Scalar, None, &params, true).await.unwrap();
    }
    let table = bench.reopened().await.unwrap();
    check(&*table).await;
    let asked = sieve("s = 'k17'");
    table.read_passing(&columns(), &asked, Offset::ZERO, reach).await.unwrap();
    let candidates = asked.candidates().flatten().expect("the index was asked");
    assert_eq!(candidates.known_until(Offset::ZERO), Some(offset(400)));
    assert_eq!(candidates.between(Offset::ZERO, Offset::MAX), [offset(17)]);
    // What comes later is in no index and found all the same.
    append(&*table, 60).await;
    check(&*table).await;
    // What retention has dropped is gone.
    table.drop_before(offset(100)).await.unwrap();
    let reach = Reach { until: Offset::MAX, records: 99, bytes: 9_999, looked_at: 9_999 };
    let left =
        table.read_passing(&columns(), &sieve("s IN ('k17', 'k117', 'k417')"), offset(100), reach).await.unwrap();
    assert_eq!(left.chunks.iter().map(|chunk| chunk.first().get()).collect::<Vec<_>>(), [117, 417]);
}

#[tokio::test]
async fn an_index_of_an_older_width_is_not_asked() {
    let mut bench = Bench::new();
    let table = bench.filled(0).await;
    append(&*table, 50).await;
    drop(table);
    let params = ScalarIndexParams::for_builtin(BuiltinIndexType::BTree);
    somebody_else(&bench).await.create_index(&["m"], IndexType::Scalar, None, &params, true).await.unwrap();
    let table = bench.reopened().await.unwrap();
    // The topic's column is wider by now, which the dataset does not know yet.
    let mut wider = (*columns().schema).clone();
    wider.fields[1].data_type = crate::schema::DataType::Int(crate::schema::IntType::I64);
    let wider = Columns::plain(wider);
    let sieve = Arc::new(Sieve::new(Filter::parse("m = 17").unwrap().bind(&wider.schema).unwrap(), &wider));
    let reach = Reach { until: Offset::MAX, records: 9, bytes: 999, looked_at: 9_999 };
    let found = table.read_passing(&wider, &sieve, Offset::ZERO, reach).await.unwrap();
    assert_eq!((found.chunks.len(), found.chunks[0].first(), sieve.candidates()), (1, offset(17), Some(None)));
}
