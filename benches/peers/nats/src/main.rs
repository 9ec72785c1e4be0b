//! Drives NATS JetStream with the work that `persisting bench` gives to HTTP servers, and tells it in the same JSON.
//!
//! Each connection publishes to a stream on file storage and waits for JetStream's acknowledgement, which does **not** wait for
//! a sync of the disk. Subscribers are ordered push consumers, each with a connection of its own: what resumes without loss, as
//! an event stream does. With `--core` they are plain subscriptions, which the server hands messages before they are stored.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::{self, consumer::push::OrderedConfig, stream};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

type Fault = Box<dyn std::error::Error + Send + Sync>;

const SUBJECT: &str = "bench.records";
const STREAM: &str = "bench";
/// Records of one connection; numbers of the next one begin behind it.
const WRITER_STEP: u64 = 1_000_000_000_000;
/// Subscriptions that are opened at a time.
const OPENING_MAX: usize = 32;
/// The longest time without any arrival before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    Append,
    Fanout,
    Catchup,
}

/// NATS JetStream under the load of `persisting bench`
#[derive(Parser)]
struct Options {
    #[arg(value_enum)]
    workload: Workload,
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Messages that a connection publishes before it waits for their acknowledgements
    #[arg(long, default_value_t = 1)]
    batch: u64,
    #[arg(long, default_value_t = 200)]
    record_bytes: usize,
    /// Seconds that are measured, unless a count ends it
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Publishes, each of a batch; for fanout and catchup records
    #[arg(long)]
    count: Option<u64>,
    /// Records a second over all connections; latencies then count from when a record was due
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Plain subscriptions instead of consumers
    #[arg(long)]
    core: bool,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What all tasks share.
struct Shared {
    options: Options,
    origin: Instant,
    origin_nanos: u64,
    /// Turns that were taken.
    turns: AtomicU64,
    arrived: AtomicU64,
    deliveries: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    latency: Option<Histogram<u64>>,
    requests: u64,
    records: u64,
    ended: u64,
    failed: u64,
    note: Option<String>,
}

impl Tally {
    fn time(&mut self, nanos: u64) {
        let new = || Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).expect("bounds of a histogram");
        self.latency.get_or_insert_with(new).saturating_record(nanos);
    }

    fn add(&mut self, other: Self) {
        match (&mut self.latency, other.latency) {
            (Some(sum), Some(more)) => sum.add(more).expect("the same bounds"),
            (none @ None, more) => *none = more,
            (Some(_), None) => {}
        }
        self.requests += other.requests;
        self.records += other.records;
        self.ended = self.ended.max(other.ended);
        self.failed += other.failed;
        self.note = self.note.take().or(other.note);
    }

    fn part(&self, name: &str, began: u64, record_bytes: usize) -> Value {
        let seconds = self.ended.saturating_sub(began) as f64 / 1e9;
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let latency = self.latency.as_ref().map(|all| {
            let at = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
            json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": all.max() as f64 / 1e3,
                "mean": all.mean() / 1e3, "count": all.len() })
        });
        json!({ "name": name, "seconds": seconds, "requests": self.requests, "records": self.records,
            "bytes": self.records * record_bytes as u64, "requests_per_second": rate(self.requests),
            "records_per_second": rate(self.records), "mb_per_second": rate(self.records) * record_bytes as f64 / 1e6,
            "latency_us": latency, "unexpected_errors": self.failed, "error_notes": self.note })
    }
}

impl Shared {
    fn nanos(&self) -> u64 {
        self.origin_nanos + u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(0)
    }

    /// When the next turn is due, in nanoseconds since 1970; none where no more are.
    fn turn(&self, began: u64) -> Option<u64> {
        let (turn, each) = (self.turns.fetch_add(1, Ordering::Relaxed), self.options.batch);
        let due = match self.options.rate {
            Some(rate) => began + (turn as f64 * each as f64 * 1e9 / rate) as u64,
            None => self.nanos(),
        };
        let goes_on = match self.options.count {
            Some(count) if self.options.workload == Workload::Append => turn < count,
            Some(count) => turn * each < count,
            None => (due - began.min(due)) as f64 / 1e9 < self.options.seconds,
        };
        goes_on.then_some(due)
    }

    /// A record that carries its number and a time, as `persisting bench` writes it.
    fn record(&self, sequence: u64, nanos: u64) -> Bytes {
        let mut text = format!(
            "{{\"id\":\"~~{sequence:016}.{nanos:019}~~\",\"n\":1{:09},\"price\":1{:02}.25,\"ok\":{},\"kind\":\"click\",\"user\":\"u{:05}\",\"text\":\"",
            sequence % 999_999_937,
            sequence % 97,
            sequence.is_multiple_of(3),
            sequence % 99_991,
        );
        let end = self.options.record_bytes.saturating_sub(2);
        while text.len() < end {
            text.push_str(&"amber basin cedar delta "[..(end - text.len()).min(24)]);
        }
        text.push_str("\"}");
        text.into()
    }
}

/// The time that a record carries.
fn written_at(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(2).position(|two| two == b"~~")?;
    std::str::from_utf8(payload.get(at + 19..at + 38)?).ok()?.parse().ok()
}

fn main() -> Result<(), Fault> {
    let options = Options::parse();
    let runtime = if options.threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_all().build()?
    };
    let told = runtime.block_on(run(options))?;
    println!("{}", serde_json::to_string_pretty(&told)?);
    // Connections that nobody needs any more would be closed one by one.
    std::process::exit(i32::from(told["ok"] != json!(true)))
}

async fn run(options: Options) -> Result<Value, Fault> {
    let origin_nanos = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let shared = Arc::new(Shared {
        options,
        origin: Instant::now(),
        origin_nanos,
        turns: AtomicU64::new(0),
        arrived: AtomicU64::new(0),
        deliveries: Mutex::default(),
    });
    let options = &shared.options;
    let context = jetstream::new(async_nats::connect(&options.url).await?);
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        storage: stream::StorageType::File,
        ..Default::default()
    };
    let mut log = context.get_or_create_stream(config).await?;
    if options.workload == Workload::Catchup {
        return catch_up(&shared).await;
    }
    let before = log.info().await?.state.messages;

    let subscribers = if options.workload == Workload::Fanout { options.subscribers } else { 0 };
    let opening = (0..subscribers).map(|_| open(Arc::clone(&shared)));
    let mut opening = futures_util::stream::iter(opening).buffer_unordered(OPENING_MAX);
    let mut following = JoinSet::new();
    while let Some(messages) = opening.next().await {
        following.spawn(follow(Arc::clone(&shared), messages?));
    }
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        clients.push(jetstream::new(async_nats::connect(&options.url).await?));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;

    let began = shared.nanos();
    let mut writing = JoinSet::new();
    for (writer, client) in clients.into_iter().enumerate() {
        writing.spawn(publish(Arc::clone(&shared), writer as u64, client, began));
    }
    let mut appends = Tally::default();
    while let Some(tally) = writing.join_next().await {
        appends.add(tally?);
    }
    let awaited = appends.records * subscribers as u64;
    let (mut last, mut since) = (0, Instant::now());
    while shared.arrived.load(Ordering::Relaxed) < awaited && since.elapsed() < PATIENCE {
        let arrived = shared.arrived.load(Ordering::Relaxed);
        if arrived > last {
            (last, since) = (arrived, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stored = log.info().await?.state.messages - before;
    let mut parts = vec![appends.part("append", began, options.record_bytes)];
    let arrived = shared.arrived.load(Ordering::Relaxed);
    if subscribers > 0 {
        let deliveries = shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(deliveries.part("deliver", began, options.record_bytes));
    }
    let lost = awaited.saturating_sub(arrived);
    let sound = appends.failed == 0 && stored >= appends.records && arrived == awaited && appends.records > 0;
    Ok(json!({ "ok": sound, "parts": parts, "verification": { "stored": stored, "lost": lost,
        "doubled": arrived.saturating_sub(awaited) } }))
}

/// Publishes batch after batch, each acknowledged before the next.
async fn publish(shared: Arc<Shared>, writer: u64, client: jetstream::Context, began: u64) -> Tally {
    let (mut tally, mut number) = (Tally::default(), writer * WRITER_STEP);
    while let Some(due) = shared.turn(began) {
        if let Some(early) = due.checked_sub(shared.nanos()) {
            tokio::time::sleep(Duration::from_nanos(early)).await;
        }
        let nanos = if shared.options.rate.is_some() { due } else { shared.nanos() };
        let mut waiting = Vec::with_capacity(shared.options.batch as usize);
        let mut outcome = Ok(());
        for _ in 0..shared.options.batch {
            match client.publish(SUBJECT, shared.record(number, nanos)).await {
                Ok(acknowledgement) => waiting.push(acknowledgement),
                Err(error) => outcome = Err(error),
            }
            number += 1;
        }
        for acknowledgement in waiting {
            if let Err(error) = acknowledgement.await {
                outcome = Err(error);
            }
        }
        if let Err(error) = outcome {
            tally.failed += 1;
            tally.note.get_or_insert(error.to_string());
            continue;
        }
        let now = shared.nanos();
        tally.time(now - nanos.min(now));
        tally.requests += 1;
        tally.records += shared.options.batch;
        tally.ended = now;
    }
    tally
}

enum Messages {
    Consumer(Box<jetstream::consumer::push::Ordered>),
    Core(async_nats::Subscriber),
}

/// A subscription with a connection of its own.
async fn open(shared: Arc<Shared>) -> Result<Messages, Fault> {
    let client = async_nats::ConnectOptions::new().subscription_capacity(1 << 20).connect(&shared.options.url).await?;
    if shared.options.core {
        let messages = client.subscribe(SUBJECT).await?;
        client.flush().await?;
        return Ok(Messages::Core(messages));
    }
    let deliver_subject = client.new_inbox();
    let stream = jetstream::new(client).get_stream(STREAM).await?;
    let deliver_policy = match shared.options.workload {
        Workload::Catchup => jetstream::consumer::DeliverPolicy::All,
        _ => jetstream::consumer::DeliverPolicy::New,
    };
    let consumer =
        stream.create_consumer(OrderedConfig { deliver_subject, deliver_policy, ..Default::default() }).await?;
    Ok(Messages::Consumer(Box::new(consumer.messages().await?)))
}

/// Takes what arrives, for as long as it runs.
async fn follow(shared: Arc<Shared>, mut messages: Messages) {
    loop {
        let payload = match &mut messages {
            Messages::Consumer(consumer) => {
                consumer.next().await.and_then(Result::ok).map(|message| message.payload.clone())
            }
            Messages::Core(subscriber) => subscriber.next().await.map(|message| message.payload),
        };
        let Some(payload) = payload else { return };
        let now = shared.nanos();
        if let Some(nanos) = written_at(&payload) {
            let mut tally = shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
            tally.time(now.saturating_sub(nanos));
            tally.records += 1;
            tally.ended = now;
            shared.arrived.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the stream from its first record on, as one ordered consumer.
async fn catch_up(shared: &Arc<Shared>) -> Result<Value, Fault> {
    let count = shared.options.count.unwrap_or(1_000_000);
    let began = shared.nanos();
    let Messages::Consumer(mut consumer) = open(Arc::clone(shared)).await? else {
        return Err("--core reads nothing old".into());
    };
    let mut tally = Tally::default();
    while tally.records < count {
        match tokio::time::timeout(PATIENCE, consumer.next()).await {
            Ok(Some(Ok(_))) => tally.records += 1,
            _ => break,
        }
    }
    (tally.requests, tally.ended) = (1, shared.nanos());
    Ok(json!({ "ok": tally.records == count, "parts": [tally.part("catchup", began, shared.options.record_bytes)],
        "verification": { "lost": count - tally.records, "doubled": 0 } }))
}
