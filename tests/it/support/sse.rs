//! A reader of event streams, byte for byte.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use http::HeaderMap;
use serde_json::Value;

use crate::support::api::{Headers, Topic};
use crate::support::process::PATIENCE;

/// An open stream.
pub struct Sse {
    pub status: u16,
    pub headers: HeaderMap,
    body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    held: Vec<u8>,
}

/// One block of a stream: what stands before an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(pub String);

impl Sse {
    /// Opens a topic's stream.
    pub async fn open(topic: &Topic, query: &str, headers: Headers<'_>) -> Self {
        let response = topic.api.open("GET", &topic.at(&format!("stream{query}")), headers, "").await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes_stream().boxed(), held: Vec::new() }
    }

    /// The next block; none where the stream has ended.
    pub async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.held.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.held.drain(..end + 2).collect();
                return Some(Block(String::from_utf8(block[..end].to_vec()).unwrap()));
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("the stream goes on");
            match piece {
                Some(piece) => self.held.extend_from_slice(&piece.expect("the stream is not cut")),
                None => {
                    assert!(self.held.is_empty(), "cut short: {:?}", String::from_utf8_lossy(&self.held));
                    return None;
                }
            }
        }
    }

    /// The next block that is no comment.
    pub async fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.next().await?;
            if !block.0.starts_with(':') {
                return Some(block);
            }
        }
    }

    /// The next so many blocks that are no comments.
    pub async fn events(&mut self, count: usize) -> Vec<Block> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.event().await.unwrap_or_else(|| panic!("ended after {events:?}")));
        }
        events
    }

    /// The rest of a stream that ends.
    pub async fn rest(&mut self) -> Vec<Block> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    /// Whether nothing comes for a moment.
    pub async fn is_quiet(&mut self) -> bool {
        self.held.is_empty() && tokio::time::timeout(Duration::from_millis(150), self.body.next()).await.is_err()
    }
}

impl Block {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The event's name; none for a record, or `retry`.
    pub fn name(&self) -> Option<&str> {
        self.field("event")
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.field("id")
    }

    /// Its data.
    #[track_caller]
    pub fn data(&self) -> Value {
        serde_json::from_str(self.field("data").unwrap_or_else(|| panic!("{self:?}"))).unwrap()
    }
}
