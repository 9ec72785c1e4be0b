//! The floor of a durable service: reads a body as JSON, appends it to one preallocated file, answers after the `fdatasync`
//! of its group, then hands ready bytes to subscribers. One log without topics, offsets, checksums, recovery or bounds.
//!
//! `bare-log ADDRESS FILE [growing]`

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

/// Bytes of the file; the log begins at its front again when they are full.
const FILE_BYTES: u64 = 512 << 20;

struct Entry {
    body: Bytes,
    done: oneshot::Sender<u64>,
}

/// What requests, the log's thread and subscribers share.
struct Log {
    waiting: Mutex<Vec<Entry>>,
    wake: Condvar,
    /// Events, one piece for each group.
    pieces: RwLock<Vec<Bytes>>,
    /// How many pieces there are.
    published: watch::Sender<usize>,
}

impl Log {
    /// Writes and syncs group by group.
    fn run(&self, file: &File, bytes_max: u64) -> std::io::Result<()> {
        let (mut at, mut offset) = (0_u64, 0_u64);
        let mut buffer = Vec::new();
        loop {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            while waiting.is_empty() {
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let group = std::mem::take(&mut *waiting);
            drop(waiting);
            buffer.clear();
            for entry in &group {
                buffer.extend_from_slice(&entry.body);
                buffer.push(b'\n');
            }
            if at + buffer.len() as u64 > bytes_max {
                at = 0;
            }
            file.write_all_at(&buffer, at)?;
            file.sync_data()?;
            at += buffer.len() as u64;
            let mut events = Vec::with_capacity(buffer.len() + 32 * group.len());
            let first = offset;
            for line in buffer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                write!(events, "id: 1:{offset}\ndata: ")?;
                events.extend_from_slice(line);
                events.extend_from_slice(b"\n\n");
                offset += 1;
            }
            self.pieces.write().unwrap_or_else(PoisonError::into_inner).push(events.into());
            self.published.send_modify(|count| *count += 1);
            for entry in group {
                drop(entry.done.send(first));
            }
        }
    }
}

async fn append(State(log): State<Arc<Log>>, body: Bytes) -> Response {
    let count = match floors::records(&body) {
        Ok(count) => count,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let (done, durable) = oneshot::channel();
    {
        let mut waiting = log.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Entry { body, done });
        if waiting.len() == 1 {
            log.wake.notify_one();
        }
    }
    match durable.await {
        Ok(first) => {
            let text = format!("{{\"first_offset\":{first},\"count\":{count}}}");
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn stream(State(log): State<Arc<Log>>) -> Response {
    let receiver = log.published.subscribe();
    let from = *receiver.borrow();
    let frames = futures::stream::unfold((log, receiver, from), |(log, mut receiver, mut from)| async move {
        while *receiver.borrow_and_update() == from {
            receiver.changed().await.ok()?;
        }
        let ready = log.pieces.read().unwrap_or_else(PoisonError::into_inner).get(from).cloned()?;
        from += 1;
        Some((Ok::<_, Infallible>(ready), (log, receiver, from)))
    });
    let begin = futures::stream::iter([Ok(Bytes::from_static(b"retry: 2000\n\n"))]);
    let body = Body::from_stream(futures::StreamExt::chain(begin, frames));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(2).unwrap_or_else(|| "bare.log".to_owned());
    let growing = std::env::args().nth(3).is_some_and(|word| word == "growing");
    let file = File::create(path)?;
    if !growing {
        // Written, not only allocated: a sync of blocks never written journals that they are.
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
    }
    let log = Arc::new(Log {
        waiting: Mutex::default(),
        wake: Condvar::new(),
        pieces: RwLock::default(),
        published: watch::Sender::new(0),
    });
    let writer = Arc::clone(&log);
    std::thread::spawn(move || writer.run(&file, if growing { u64::MAX } else { FILE_BYTES }));
    let router = Router::new()
        .route("/v1/topics/{topic}", put(|| async { StatusCode::CREATED }))
        .route("/v1/topics/{topic}/records", post(append))
        .route("/v1/topics/{topic}/stream", get(stream))
        .with_state(log);
    floors::serve(router).await
}
