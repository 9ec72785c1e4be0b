//! What the inner parts cost: `cargo bench --bench parts`.
//!
//! Each figure is for records of ten fields and about 200 bytes, as `persisting bench` sends them.

#![allow(missing_docs, reason = "criterion's macros write functions without")]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot be set up has nothing better to do")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use persisting::codec::columns::to_batch;
use persisting::codec::encode::to_chunk;
use persisting::codec::{Chunk, DecodeLimits, Decoded, Form, PreparedSchema, Target, Values, decode};
use persisting::io::RealDisk;
use persisting::model::{Offset, SchemaMode, SchemaVersion, Timestamp, TopicId, Writer};
use persisting::schema::{Columns, Schema, WideColumns};
use persisting::table::lance::LanceTables;
use persisting::table::{TablePlace, Tables};
use persisting::tail::{Reservation, Tail};
use persisting::wal::{SegmentedWal, Wal, WalEntry, WalOptions};

const LIMITS: DecodeLimits = DecodeLimits { record_bytes_max: 1 << 20, records_max: 1 << 20, errors_max: 100 };

fn record(number: usize) -> String {
    format!(
        "{{\"id\":\"evt-{number:010}\",\"user\":{},\"kind\":\"click\",\"ok\":{},\"score\":{}.5,\"lat\":52.5,\"lon\":13.4,\
         \"n\":{number},\"at\":\"2026-11-25T10:00:00Z\",\"text\":\"{}\"}}\n",
        number % 10_000,
        number.is_multiple_of(2),
        number % 100,
        "x".repeat(60)
    )
}

fn records(count: usize) -> String {
    (0..count).map(record).collect()
}

fn evolved(text: &str) -> (Schema, Values) {
    let target = Target::Columns { schema: None, mode: SchemaMode::Evolve, wide: &WideColumns::default() };
    match decode(text.as_bytes(), Form::Ndjson, target, &LIMITS) {
        Ok(Decoded::Evolves(evolution)) => (evolution.schema, evolution.records.values),
        other => panic!("the first records bring a schema, not {other:?}"),
    }
}

fn chunk(first: u64, values: Values) -> Chunk {
    Chunk::new(Offset::new(first).expect("small"), Timestamp::from_micros(1), values)
}

fn decoding(criterion: &mut Criterion) {
    let wide = WideColumns::default();
    for count in [1, 1_000] {
        let text = records(count);
        let (schema, values) = evolved(&text);
        let prepared = PreparedSchema::new(Arc::new(schema.clone()));
        let mut group = criterion.benchmark_group(format!("{count} records"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("decode", |bencher| {
            let target = Target::Columns { schema: Some(&prepared), mode: SchemaMode::Evolve, wide: &wide };
            bencher.iter(|| decode(black_box(text.as_bytes()), Form::Ndjson, target, &LIMITS));
        });
        group.bench_function("decode as documents", |bencher| {
            bencher.iter(|| decode(black_box(text.as_bytes()), Form::Ndjson, Target::Documents, &LIMITS));
        });
        let chunks = [chunk(0, values)];
        group.bench_function("text to columns", |bencher| bencher.iter(|| to_batch(&schema, black_box(&chunks))));
        let batch = to_batch(&schema, &chunks).expect("just decoded");
        group.bench_function("columns to text", |bencher| {
            bencher.iter(|| to_chunk(&schema, black_box(&batch), Offset::ZERO));
        });
        group.finish();
    }
}

fn entry(number: u64, values: &Values) -> WalEntry {
    WalEntry {
        beside: None,
        topic: TopicId::from_bytes([7; 16]),
        first: Offset::new(number).expect("small"),
        count: 1,
        schema: Some(SchemaVersion::FIRST),
        time: Timestamp::from_micros(1),
        close: false,
        relocated: false,
        writer: Writer::Plain,
        values: values.text(),
    }
}

/// Entries a second with so many submitters, each of whom waits for its own before it goes on.
fn logging(criterion: &mut Criterion) {
    let values = Values::from_text(Bytes::from(record(0))).expect("lines");
    let mut group = criterion.benchmark_group("log");
    group.measurement_time(Duration::from_secs(3)).sample_size(10);
    for size in [1_u64, 64] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("a group of {size}, written and synced"), |bencher| {
            let folder = tempfile::tempdir().expect("a folder");
            let (log, _) =
                SegmentedWal::open(Arc::new(RealDisk), folder.path(), WalOptions::default(), &mut |_| Ok(()))
                    .expect("a log");
            let mut number = 0;
            bencher.iter_custom(|groups| {
                let begun = Instant::now();
                for _ in 0..groups {
                    let (done, durable) = mpsc::channel();
                    for _ in 0..size {
                        let done = done.clone();
                        log.append(entry(number, &values), Box::new(move |outcome, _| drop(done.send(outcome))));
                        number += 1;
                    }
                    drop(done);
                    durable.iter().for_each(|outcome| outcome.expect("a sound disk"));
                    // What is released would otherwise fill the disk.
                    let newest = log.segments().last().map_or(0, |segment| segment.segment);
                    log.release(newest.saturating_sub(2)).expect("a sound disk");
                }
                begun.elapsed()
            });
        });
    }
    group.finish();
}

fn tail(criterion: &mut Criterion) {
    let held = Tail::default();
    let values = Values::from_text(Bytes::from(record(0))).expect("lines");
    for number in 0..100_000 {
        held.push(chunk(number, values.clone()), Reservation::none()).expect("dense");
    }
    let until = Offset::new(100_000).expect("small");
    let mut group = criterion.benchmark_group("tail of 100,000 appends");
    for records in [1, 1_000] {
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("read {records}"), |bencher| {
            let from = Offset::new(50_000).expect("small");
            bencher.iter(|| held.read(black_box(from), until, records, 1 << 20));
        });
    }
    group.finish();
}

fn committing(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("dataset");
    group.measurement_time(Duration::from_secs(5)).sample_size(10);
    for count in [1_000, 100_000] {
        let (schema, values) = evolved(&records(count));
        let columns = Columns::plain(schema);
        let tables = LanceTables::new(Arc::new(RealDisk), runtime.handle().clone(), 16);
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| TablePlace {
            dataset: folder.path().join(format!("{name}.lance")),
            link: folder.path().join("links").join(Path::new(name).with_extension("lance")),
        };
        let mut made = 0;
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("commit {count} records, synced"), |bencher| {
            let open = || {
                made += 1;
                runtime.block_on(tables.open(&place(&made.to_string()), Offset::ZERO)).expect("a table")
            };
            let append = |table: Arc<dyn persisting::table::Table>| {
                runtime.block_on(table.append(&columns, vec![chunk(0, values.clone())])).expect("a commit")
            };
            bencher.iter_batched(open, append, BatchSize::PerIteration);
        });
        let table = runtime.block_on(tables.open(&place("read"), Offset::ZERO)).expect("a table");
        runtime.block_on(table.append(&columns, vec![chunk(0, values.clone())])).expect("a commit");
        group.throughput(Throughput::Elements(100));
        group.bench_function(format!("read 100 of {count} records"), |bencher| {
            let from = Offset::new(count as u64 / 2).expect("small");
            bencher.iter(|| runtime.block_on(table.read(&columns, from, 100, 1 << 20)).expect("rows"));
        });
    }
    group.finish();
}

criterion_group!(parts, decoding, logging, tail, committing);
criterion_main!(parts);
