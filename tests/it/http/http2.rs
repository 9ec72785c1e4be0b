//! Heads of requests over HTTP/2: as long as over HTTP/1.1, and one that is too long is the end of its stream alone.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::api::{Api, Topic};
use crate::support::local::shared;
use crate::support::process::PATIENCE;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// How a frame ends its stream, and its headers (RFC 9113, section 6.2).
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The longest frame that every side takes.
const FRAME_BYTES: usize = 16_384;

async fn socket(api: &Api) -> TcpStream {
    TcpStream::connect(api.base().strip_prefix("http://").unwrap()).await.unwrap()
}

type Requests = http2::SendRequest<Empty<Bytes>>;

async fn get(requests: &mut Requests, api: &Api, path: &str, header_bytes: usize) -> http::Response<Incoming> {
    let mut request = Request::get(format!("{}{path}", api.base()));
    // No proxy adds one header of such a length, but several together.
    for (index, length) in [header_bytes / 2, header_bytes - header_bytes / 2].into_iter().enumerate() {
        request = request.header(format!("x-long-{index}"), "x".repeat(length));
    }
    let answer = requests.send_request(request.body(Empty::new()).unwrap());
    tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()
}

async fn read_until(stream: &mut Incoming, text: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let frame = tokio::time::timeout(PATIENCE, stream.frame()).await.unwrap();
        seen.extend_from_slice(frame.expect("the stream goes on").unwrap().data_ref().unwrap());
    }
}

#[tokio::test]
async fn a_head_over_http_2_may_be_as_long_as_over_http_1_and_a_longer_one_ends_nothing_else() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let io = TokioIo::new(socket(&api).await);
    let (mut requests, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let running = tokio::spawn(connection);
    let mut stream = get(&mut requests, &api, &topic.at("stream"), 0).await.into_body();
    read_until(&mut stream, "caught-up").await;
    assert_eq!(get(&mut requests, &api, &topic.at("count"), 70 << 10).await.status(), 200);
    assert_eq!(get(&mut requests, &api, &topic.at("count"), 90 << 10).await.status(), 431);
    assert_eq!(get(&mut requests, &api, &topic.at("count"), 100).await.status(), 200);
    topic.append("{\"n\":1}").await;
    read_until(&mut stream, "\"n\":1").await;
    running.abort();
}

/// Frames of HTTP/2 by hand: no library sends a target of such a length.
struct Frames(TcpStream);

impl Frames {
    async fn open(api: &Api) -> Self {
        let mut frames = Self(socket(api).await);
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length.to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Asks for a target, in as many frames as it needs.
    async fn get(&mut self, stream: u32, target: &str) {
        // `:method: GET`, `:scheme: http`, and `:path` with its value as it is (RFC 7541, section 6 and appendix A).
        let mut head = vec![0x82, 0x86, 0x04];
        match target.len().checked_sub(0x7f) {
            None => head.push(u8::try_from(target.len()).unwrap()),
            Some(mut rest) => {
                head.push(0x7f);
                while rest >= 0x80 {
                    head.push(0x80 | u8::try_from(rest % 0x80).unwrap());
                    rest /= 0x80;
                }
                head.push(u8::try_from(rest).unwrap());
            }
        }
        head.extend_from_slice(target.as_bytes());
        let pieces = head.chunks(FRAME_BYTES).count();
        for (index, piece) in head.chunks(FRAME_BYTES).enumerate() {
            let (kind, flags) = if index == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
            let ends = if index + 1 == pieces { END_HEADERS } else { 0 };
            self.send(kind, flags | ends, stream, piece).await;
        }
    }

    /// The next frame of a stream: its kind and what is in it. The connection itself goes on.
    async fn next(&mut self, wanted: u32) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 9];
            tokio::time::timeout(PATIENCE, self.0.read_exact(&mut head)).await.unwrap().unwrap();
            let [a, b, c, kind, _, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            assert_ne!(kind, GOAWAY, "the connection ends: {}", String::from_utf8_lossy(&payload));
            if u32::from_be_bytes(stream) == wanted {
                return (kind, payload);
            }
        }
    }

    async fn read_until(&mut self, stream: u32, text: &str) {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            seen.extend_from_slice(&self.next(stream).await.1);
        }
    }
}

fn target(topic: &Topic, rest: &str, bytes: usize) -> String {
    let path = format!("{}?x=", topic.at(rest));
    format!("{path}{}", "x".repeat(bytes - path.len()))
}

#[tokio::test]
async fn a_target_that_is_too_long_over_http_2_is_the_end_of_its_stream_alone() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let mut frames = Frames::open(&api).await;
    frames.get(1, &topic.at("stream")).await;
    frames.read_until(1, "caught-up").await;
    // The first is longer than the library takes, the second as the whole head may be.
    for (stream, bytes, expected) in [(3, 66_000, RST_STREAM), (5, 90_000, HEADERS), (7, 60_000, HEADERS)] {
        frames.get(stream, &target(&topic, "count", bytes)).await;
        assert_eq!(frames.next(stream).await.0, expected, "{bytes}");
    }
    topic.append("{\"n\":1}").await;
    frames.read_until(1, "\"n\":1").await;
}
