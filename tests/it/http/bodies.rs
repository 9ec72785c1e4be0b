//! Bodies: encodings, limits, bodies cut short.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::api::{Answer, JSON, NDJSON, allowed};
use crate::support::local::{Local, Setup, shared};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).unwrap()
}

/// A server with small limits.
async fn small() -> (Local, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.http.max_body_bytes = 10_000;
    setup.engine.record_bytes_max = 1_000;
    setup.engine.batch_records_max = 20;
    (setup.start().await, folder)
}

#[tokio::test]
async fn encoded_bodies_are_decoded() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let mut members = gzip(b"{\"a\":1}\n");
    members.extend(gzip(b"{\"a\":2}\n"));
    let mut frames = zstd(b"{\"a\":1}\n");
    frames.extend(zstd(b"{\"a\":2}\n"));
    for (encoding, body) in [
        ("gzip", gzip(b"{\"a\":1}{\"a\":2}")),
        ("x-gzip", gzip(b"{\"a\":1}{\"a\":2}")),
        ("zstd", zstd(b"{\"a\":1}{\"a\":2}")),
        ("GZIP", members),
        ("zstd", frames),
        ("identity", b"{\"a\":1}{\"a\":2}".to_vec()),
    ] {
        let next = topic.tail().await;
        let answer = topic.append_with(&[("content-encoding", encoding)], body).await.expect(200);
        assert_eq!((answer.json()["first_offset"].as_u64(), &answer.json()["count"]), (Some(next), &2.into()));
        assert_eq!(topic.values(next).await, ["{\"a\":1}", "{\"a\":2}"], "{encoding}");
    }
    let before = gzip(b"{\"before\":1}");
    topic.call("POST", "trim", &[("content-encoding", "gzip")], before).await.expect(200);
}

#[tokio::test]
async fn other_encodings_are_415_and_broken_ones_400() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        for encoding in ["br", "deflate", "gzip, gzip", "zstd, gzip", "nonsense"] {
            let unsupported = (415, "unsupported_media_type");
            let problem = topic.refuse("", &[("content-encoding", encoding)], gzip(b"{}"), unsupported).await;
            assert!(allowed(&problem).contains(&"zstd"));
        }
        let (whole_gzip, whole_zstd) = (gzip(b"{\"a\":1}{\"a\":2}"), zstd(b"{\"a\":1}{\"a\":2}"));
        let mut spoilt = whole_gzip.clone();
        let at = spoilt.len() - 6;
        spoilt[at] ^= 0xff;
        for (encoding, body) in [
            ("gzip", b"{}".to_vec()),
            ("zstd", b"{}".to_vec()),
            ("gzip", whole_gzip[..whole_gzip.len() - 1].to_vec()),
            ("gzip", whole_gzip[..12].to_vec()),
            ("gzip", spoilt),
            ("zstd", whole_zstd[..whole_zstd.len() - 1].to_vec()),
        ] {
            for query in ["", "?atomic=false"] {
                topic.refuse(query, &[("content-encoding", encoding)], body.clone(), (400, "invalid_body")).await;
            }
        }
        assert_eq!(topic.append("{\"a\":1}").await["first_offset"], 0);
    }
}

#[tokio::test]
async fn limits_count_decoded_bytes_so_that_a_bomb_is_413() {
    let (server, _folder) = small().await;
    let api = server.api();
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let bomb = vec![b' '; 4 << 20];
        for (headers, body) in [
            (&[] as &[_], bomb.clone()),
            (&[("content-encoding", "gzip")], gzip(&bomb)),
            (&[("content-encoding", "zstd")], zstd(&bomb)),
        ] {
            let problem = topic.refuse("", headers, body, (413, "body_too_large")).await;
            assert_eq!(problem["limit"], 10_000);
        }
        let big = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
        let problem = topic.refuse("", JSON, format!("[{{}},\n{big}]"), (413, "record_too_large")).await;
        assert_eq!(problem["limit"], 1_000);
        let problem = topic.refuse("", NDJSON, "{}\n".repeat(21), (413, "too_many_records")).await;
        assert_eq!(problem["limit"], 20);
        let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000 - 8));
        assert_eq!(topic.append(format!("[{fits},{}]", "{},".repeat(18) + "{}")).await["count"], 20);
        // Neither of two of them with atomic=false.
        let many = format!("{fits}\n").repeat(30);
        let loaded = topic.call("POST", "records?atomic=false", NDJSON, many).await;
        assert!(loaded.status.is_success(), "{loaded}");
        assert_eq!(loaded.json()["count"], 30);
        topic.wait_for_tail(50).await;
        let problem = topic.refuse("?atomic=false", NDJSON, big, (413, "record_too_large")).await;
        assert_eq!((&problem["limit"], &problem["count"], &problem["line"]), (&1_000.into(), &0.into(), &1.into()));
    }
    api.put("/v1/topics/huge", vec![b' '; 20_000]).await.problem(413, "body_too_large");
    api.put("/v1/topics/huge", "").await.expect(201);
}

/// Sends bytes as they are; what comes back until the server closes, or for a moment.
async fn raw(server: &str, text: &[u8], shut: bool) -> String {
    let mut socket = TcpStream::connect(server.strip_prefix("http://").unwrap()).await.unwrap();
    socket.write_all(text).await.unwrap();
    if shut {
        socket.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    let reading = socket.read_to_end(&mut answer);
    drop(tokio::time::timeout(std::time::Duration::from_secs(5), reading).await);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_cut_short_stores_nothing() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    for framing in [
        "Content-Length: 100\r\n\r\n{\"a\":1}\n{\"a\":2}\n",
        "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"a\":1}\n\r\n5\r\n{\"a",
    ] {
        let head =
            format!("POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}", topic.at("records"));
        let answer = raw(api.base(), head.as_bytes(), true).await;
        // The client may have gone before it could be told.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.is_empty() || answer.contains("\"invalid_body\""), "{answer}");
    }
    assert_eq!(topic.tail().await, 0);
    let whole = "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"a\":1}\n\r\n7\r\n{\"a\":2}\r\n0\r\n\r\n";
    let head = format!("POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{whole}", topic.at("records"));
    let answer = raw(api.base(), head.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"count\":2"), "{answer}");
}

#[tokio::test]
async fn a_declared_length_past_the_limit_is_refused_before_the_body_comes() {
    let (server, _folder) = small().await;
    let topic = server.api().topic("memory").await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n",
        topic.at("records")
    );
    let answer = raw(topic.api.base(), head.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"body_too_large\""), "{answer}");
    // A limit comes before existence.
    let answer = raw(topic.api.base(), head.replace(&topic.name, "nobody").as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn an_answer_is_json_of_the_right_length() {
    let api = shared().await;
    let answer: Answer = api.topic("memory").await.get("").await;
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
