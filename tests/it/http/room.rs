//! What requests become beyond their bodies is counted, and waits for room.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::api::{Headers, NDJSON, Topic};
use crate::support::arrow::{SENT, batch, rows};
use crate::support::local::{Local, Setup};

/// A server with so much room for requests.
async fn server(folder: &tempfile::TempDir, inflight_bytes: u64) -> Local {
    let mut setup = Setup::new(folder.path());
    setup.inflight_bytes = inflight_bytes;
    setup.start().await
}

/// Refused while another request holds a quarter of the room, and admitted alone.
async fn waits_for_room(
    topic: &Topic,
    (query, inflight_bytes): (&str, usize),
    headers: Headers<'_>,
    body: &[u8],
    status: u16,
) {
    let mut other = TcpStream::connect(topic.api.base().strip_prefix("http://").unwrap()).await.unwrap();
    let head =
        format!("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {inflight_bytes}\r\n\r\n", topic.at("records"));
    other.write_all(head.as_bytes()).await.unwrap();
    other.write_all(&vec![b' '; inflight_bytes / 4]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    topic.refuse(query, headers, body, (503, "overloaded")).await;
    drop(other);
    let again = async || topic.call("POST", &format!("records{query}"), headers, body).await.status == status;
    crate::support::api::until("room is there again", again).await;
}

/// 8 MB of text in a few hundred bytes.
fn compressed() -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 8]));
    let batch = batch(&[("s", texts)]);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    let stream = writer.into_inner().unwrap();
    assert!(stream.len() < 10_000);
    stream
}

#[tokio::test]
async fn streams_of_arrow_are_counted_by_what_they_become() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 4 << 20).await;
    let topic = server.api().topic("persisting").await;
    waits_for_room(&topic, ("", 4 << 20), SENT, &compressed(), 200).await;
    // A dictionary of one word, 500 times.
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    (0..500).for_each(|_| words.append_value("x".repeat(10_000)));
    waits_for_room(&topic, ("", 4 << 20), SENT, &rows(&[("s", Arc::new(words.finish()))]), 200).await;
    assert_eq!(topic.tail().await, 508);
}

#[tokio::test]
async fn loads_of_arrow_are_counted_by_what_they_become() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 20 << 20).await;
    let topic = server.api().topic("persisting").await;
    waits_for_room(&topic, ("?atomic=false", 20 << 20), SENT, &compressed(), 200).await;
    assert_eq!(topic.tail().await, 8);
}

#[tokio::test]
async fn what_is_quarantined_is_counted_by_what_is_kept_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 1 << 20).await;
    let fields = json!({"fields": [{"name": "n", "type": "int64"}]});
    let topic = server.api().make(json!({"schema": fields, "on_invalid": "quarantine"})).await;
    // Decoded at once, and on a thread of its own.
    for count in [2_000, 10_000] {
        waits_for_room(&topic, ("", 1 << 20), NDJSON, "{\"n\":\"x\"}\n".repeat(count).as_bytes(), 207).await;
    }
    assert_eq!(topic.api.named(&format!("{}.quarantine", topic.name)).tail().await, 12_000);
}

#[tokio::test]
async fn a_load_that_sends_little_and_seldom_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 1 << 20).await;
    let topic = server.api().topic("persisting").await;
    let mut slow = TcpStream::connect(topic.api.base().strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST {}?atomic=false HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         8\r\n{{\"n\":1}}\n\r\n",
        topic.at("records")
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    topic.append("{\"n\":2}").await;
    slow.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(topic.tail().await, 2);
}
