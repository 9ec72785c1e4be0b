//! The cases.

use std::time::Duration;

use futures::StreamExt;

use crate::contract::subject::{Record, Subject};

fn value(n: u64) -> String {
    format!("{{\"n\":{n},\"t\":\"é{n}\"}}")
}

fn values(from: u64, to: u64) -> Vec<String> {
    (from..to).map(value).collect()
}

fn expected(from: u64, to: u64) -> Vec<Record> {
    (from..to).map(|n| (n, value(n))).collect()
}

/// Everything from an offset on, however many calls it takes.
async fn all_from(subject: &dyn Subject, mut next: u64) -> Vec<Record> {
    let mut found = Vec::new();
    loop {
        let more = subject.get(next, 10_000).await.unwrap();
        let Some(last) = more.last() else { return found };
        next = last.0 + 1;
        found.extend(more);
    }
}

pub async fn offsets_follow_each_other(subject: &dyn Subject) {
    assert_eq!(subject.put(&value(0)).await, 0);
    assert_eq!(subject.put(&value(1)).await, 1);
    assert_eq!(subject.put_batch(&values(2, 7)).await, 2);
    assert_eq!(subject.put(&value(7)).await, 7);
    assert_eq!(subject.total_count().await, 8);
    assert_eq!(all_from(subject, 0).await, expected(0, 8));
}

pub async fn get_gives_what_was_put_in_order(subject: &dyn Subject) {
    assert_eq!(subject.get(0, 10).await, Some(vec![]));
    subject.put_batch(&values(0, 10)).await;
    assert_eq!(all_from(subject, 0).await, expected(0, 10));
    assert_eq!(subject.get(3, 4).await, Some(expected(3, 7)));
    assert_eq!(subject.get(9, 10_000).await, Some(expected(9, 10)));
    assert_eq!(subject.get(10, 1).await, Some(vec![]), "at the tail");
}

pub async fn get_below_the_earliest_is_expired(subject: &dyn Subject) {
    for flushed in [false, true] {
        let first = subject.put_batch(&values(0, 10)).await;
        if flushed {
            subject.flush().await;
        }
        subject.trim(first + 4).await;
        assert_eq!(subject.get(first + 3, 10).await, None);
        assert_eq!(subject.get(0, 10).await, None);
        let kept: Vec<Record> = (4..10).map(|n| (first + n, value(n))).collect();
        assert_eq!(subject.get(first + 4, 10).await, Some(kept));
    }
}

pub async fn a_stream_that_does_not_block_ends_at_the_tail(subject: &dyn Subject) {
    assert_eq!(subject.get_stream(0, None, false).await.count().await, 0);
    subject.put_batch(&values(0, 5_000)).await;
    let found: Vec<Record> = subject.get_stream(0, None, false).await.collect().await;
    assert_eq!(found, expected(0, 5_000));
    let found: Vec<Record> = subject.get_stream(4_990, None, false).await.collect().await;
    assert_eq!(found, expected(4_990, 5_000));
    assert_eq!(subject.get_stream(5_000, None, false).await.count().await, 0);
}

pub async fn a_stream_that_blocks_waits_for_more(subject: &dyn Subject) {
    subject.put(&value(0)).await;
    let mut stream = subject.get_stream(0, None, true).await;
    assert_eq!(stream.next().await, Some((0, value(0))));
    for n in 1..4 {
        let quiet = tokio::time::timeout(Duration::from_millis(30), stream.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        subject.put(&value(n)).await;
        assert_eq!(stream.next().await, Some((n, value(n))));
    }
}

pub async fn a_stream_ends_at_its_limit(subject: &dyn Subject) {
    subject.put_batch(&values(0, 10)).await;
    for block in [true, false] {
        let found: Vec<Record> = subject.get_stream(2, Some(5), block).await.collect().await;
        assert_eq!(found, expected(2, 7));
        let found: Vec<Record> = subject.get_stream(5, Some(5), block).await.collect().await;
        assert_eq!(found, expected(5, 10), "at the tail, and not later");
    }
    let found: Vec<Record> = subject.get_stream(8, Some(5), false).await.collect().await;
    assert_eq!(found, expected(8, 10));
}

pub async fn a_flush_commits_all_that_was_put(subject: &dyn Subject) {
    let committed = |offset| (subject.backend() != "memory").then_some(offset);
    assert_eq!(subject.flush().await, committed(0));
    subject.put_batch(&values(0, 10)).await;
    assert_eq!(subject.flush().await, committed(10));
    assert_eq!(subject.flush().await, committed(10), "again: nothing new");
    subject.put(&value(10)).await;
    assert_eq!(subject.flush().await, committed(11));
    assert_eq!(all_from(subject, 0).await, expected(0, 11));
}

pub async fn a_value_is_the_same_before_and_after_a_flush(subject: &dyn Subject) {
    let odd = ["{\"n\":-9223372036854775808}", "{\"t\":\"\"}", "{}", "{\"n\":0,\"t\":\"\\u0000\\\"\\\\/\u{10ffff}\"}"]
        .map(str::to_owned);
    subject.put_batch(&odd).await;
    let before = all_from(subject, 0).await;
    let texts: Vec<&String> = before.iter().map(|(_, text)| text).collect();
    assert_eq!(texts, odd.iter().collect::<Vec<_>>());
    subject.flush().await;
    assert_eq!(all_from(subject, 0).await, before);
    let streamed: Vec<Record> = subject.get_stream(0, None, false).await.collect().await;
    assert_eq!(streamed, before);
}

pub async fn total_count_is_tail_minus_earliest(subject: &dyn Subject) {
    assert_eq!(subject.total_count().await, 0);
    subject.put_batch(&values(0, 10)).await;
    assert_eq!(subject.total_count().await, 10);
    subject.trim(4).await;
    assert_eq!(subject.total_count().await, 6);
    subject.flush().await;
    assert_eq!(subject.total_count().await, 6);
    subject.trim(10).await;
    assert_eq!(subject.total_count().await, 0);
}

pub async fn stats_tell_what_is_held(subject: &dyn Subject) {
    subject.put_batch(&values(0, 10)).await;
    let stats = subject.stats().await;
    assert!(stats["buffered_records"].as_u64().unwrap() <= 10, "{stats}");
    subject.flush().await;
    let stats = subject.stats().await;
    let on_disk = subject.backend() != "memory";
    for member in ["stored_bytes", "fragments", "versions"] {
        assert_eq!(stats[member].as_u64().is_some_and(|figure| figure > 0), on_disk, "{member}: {stats}");
    }
    assert_eq!(stats["wal_bytes"].is_u64(), subject.backend() == "persisting", "{stats}");
}

pub async fn reads_cross_the_border_of_tail_and_table(subject: &dyn Subject) {
    for round in 0..4 {
        subject.put_batch(&values(round * 50, round * 50 + 30)).await;
        subject.flush().await;
        subject.put_batch(&values(round * 50 + 30, round * 50 + 50)).await;
    }
    assert_eq!(all_from(subject, 0).await, expected(0, 200));
    for from in [0, 29, 30, 31, 49, 50, 130, 199] {
        assert_eq!(all_from(subject, from).await, expected(from, 200), "from {from}");
        let streamed: Vec<Record> = subject.get_stream(from, Some(60), false).await.collect().await;
        assert_eq!(streamed, expected(from, 200.min(from + 60)), "from {from}");
    }
}

pub async fn readers_that_follow_many_writers_miss_nothing(subject: &dyn Subject) {
    let reading = async {
        let mut stream = subject.get_stream(0, Some(120), true).await;
        let mut found = Vec::new();
        while let Some(record) = stream.next().await {
            found.push(record);
        }
        found
    };
    let writing = async {
        futures::future::join_all((0..6).map(|writer| async move {
            for turn in 0..10 {
                let texts = values(writer * 1_000 + turn * 2, writer * 1_000 + turn * 2 + 2);
                subject.put_batch(&texts).await;
                if turn == 5 && writer % 3 == 0 {
                    subject.flush().await;
                }
            }
        }))
        .await;
    };
    let (found, ()) = tokio::join!(reading, writing);
    assert!(found.iter().map(|(offset, _)| *offset).eq(0..120));
    let mut texts: Vec<&String> = found.iter().map(|(_, text)| text).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 120);
    assert_eq!(all_from(subject, 0).await, found);
}
