//! Start, check, load, kill; again and again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use super::client::{Api, Checked};
use super::proxy::Proxy;
use super::random::Random;
use super::world::{Counters, Ended, Load, Topic, count};
use super::writers::{Manner, Writer};
use super::{keepers, pylance, reading, verify};
use crate::support::process::{Launch, PATIENCE, Server};

/// Every so many cycles everything is read, in all ways, and pylance looks.
const WHOLE_EVERY: u64 = 15;
/// The longest load before a kill.
const LOAD_MS: u64 = 1_300;

/// An orderly stop takes less, slow machines included.
const STOP_LASTS: Duration = Duration::from_secs(12);

struct Run {
    launch: Launch,
    proxy: Proxy,
    random: Random,
    topics: Vec<Arc<Topic>>,
    writers: Vec<Writer>,
    counters: Arc<Counters>,
    next_request: Arc<AtomicU64>,
    epochs: HashSet<u64>,
    ended: Ended,
    python: Option<String>,
    cycle: u64,
    cycles: u64,
}

/// Runs all cycles; panics where anything is wrong.
pub async fn run(seed: u64, cycles: u64) {
    println!("PERSISTING_CRASH_SEED={seed} PERSISTING_CRASH_CYCLES={cycles}");
    let began = Instant::now();
    let folder = tempfile::Builder::new().prefix("persisting-crash-").tempdir().expect("a folder");
    let mut run = Run::new(seed, cycles, &folder.path().join("data")).await;
    let outcome = run.all().await;
    run.counters.print();
    println!("{:>28}: {}", "answers lost by the proxy", run.proxy.lost());
    println!("{:>28}: {:.1} s", "time", began.elapsed().as_secs_f64());
    if let Err(what) = outcome {
        let kept = folder.keep();
        panic!("seed {seed}, cycle {}: {what}\nthe data folder is kept: {}", run.cycle, kept.join("data").display());
    }
}

fn topics() -> Vec<Arc<Topic>> {
    let eager = json!({"batch_size": 150, "flush_interval_ms": 80});
    let plain = Topic { flushes: true, followed: true, ..Topic::new("default", false, json!({})) };
    let eagerly = Topic { trims: true, flushes: true, ..Topic::new("eager", false, eager.clone()) };
    let lazy = Topic { followed: true, ..Topic::new("lazy", false, json!({"flush_interval_ms": 60_000})) };
    let rare = Topic::new("rare", false, json!({"flush_interval_ms": 3_600_000}));
    let committed = json!({"ack": "committed", "flush_interval_ms": 50});
    let committed = Topic { followed: true, ..Topic::new("committed", false, committed) };
    let lance = Topic { flushes: true, ..Topic::new("lance", true, json!({"flush_interval_ms": 60})) };
    let trimmed = Topic { trims: true, ..Topic::new("lance-trimmed", true, json!({"batch_size": 100})) };
    let churned = Topic { churns: true, ..Topic::new("churned", false, eager.clone()) };
    let quiet = Topic { churns: true, ..Topic::new("churned-quiet", false, json!({})) };
    let churned_lance = Topic { churns: true, ..Topic::new("churned-lance", true, eager) };
    [plain, eagerly, lazy, rare, committed, lance, trimmed, churned, quiet, churned_lance].map(Arc::new).into()
}

fn writers(topics: &[Arc<Topic>], random: &mut Random) -> Vec<Writer> {
    use Manner::{Expecting, Keyed, Plain, Producer};
    // Which topic, in which manner, at which level if not the default one, with which pause.
    let all: [(usize, Manner, Option<&'static str>, u64); 25] = [
        (0, Producer, None, 12),
        (0, Producer, Some("committed"), 12),
        (0, Keyed, None, 12),
        (0, Plain, None, 12),
        (0, Plain, Some("accepted"), 20),
        (1, Producer, None, 12),
        (1, Keyed, Some("committed"), 12),
        (1, Plain, Some("wal"), 20),
        (2, Expecting, None, 5),
        (2, Producer, None, 12),
        (3, Producer, None, 900),
        (3, Keyed, None, 900),
        (4, Producer, None, 12),
        (4, Expecting, None, 12),
        (4, Plain, None, 12),
        (4, Plain, Some("accepted"), 20),
        (5, Expecting, Some("committed"), 12),
        (5, Plain, Some("committed"), 12),
        (5, Plain, None, 40),
        (6, Expecting, Some("committed"), 12),
        (7, Producer, None, 12),
        (7, Plain, None, 12),
        (8, Keyed, None, 60),
        (8, Producer, None, 60),
        (9, Plain, Some("committed"), 12),
    ];
    let numbered = all.into_iter().zip(0..);
    numbered
        .map(|((topic, manner, ack, pause), number)| {
            let writer = Writer::new(number, &topics[topic], manner, random.fork()).with_pause(pause);
            if let Some(ack) = ack { writer.with_ack(ack) } else { writer }
        })
        .collect()
}

impl Run {
    async fn new(seed: u64, cycles: u64, data: &Path) -> Self {
        let mut random = Random::new(seed);
        let topics = topics();
        let writers = writers(&topics, &mut random);
        let launch = Launch::new(data).with(&["--disk-floor-bytes", "1MiB"]);
        Self {
            launch,
            proxy: Proxy::start().await,
            random,
            topics,
            writers,
            counters: Arc::default(),
            next_request: Arc::new(AtomicU64::new(1)),
            epochs: HashSet::new(),
            ended: Ended::Killed,
            python: pylance::interpreter(),
            cycle: 0,
            cycles,
        }
    }

    async fn all(&mut self) -> Checked {
        for cycle in 0..self.cycles {
            self.cycle = cycle;
            let began = Instant::now();
            self.kill_in_recovery().await;
            let server = self.launch().start();
            self.read_early(&server).await?;
            server.ready().await;
            let ready = began.elapsed();
            let whole = cycle % WHOLE_EVERY == WHOLE_EVERY - 1;
            self.check(&server, whole).await?;
            let checked = began.elapsed();
            self.load_and_kill(server).await?;
            count(&self.counters.cycles);
            if cycle % WHOLE_EVERY == WHOLE_EVERY - 1 {
                let acknowledged = self.counters.acknowledged.load(Ordering::Relaxed);
                println!(
                    "cycle {cycle}: ready {ready:.1?}, checked {checked:.1?}, {acknowledged} appends acknowledged"
                );
            }
        }
        self.cycle = self.cycles;
        let server = self.launch.start_ready().await;
        self.check(&server, true).await?;
        self.check_remains(&server).await
    }

    /// Every server has bounds of its own: small ones, so that release, relocation and commits go on all the time, memory runs
    /// short, and datasets are closed and opened again.
    fn launch(&mut self) -> Launch {
        let segment = *self.random.pick(&["8KiB", "64KiB", "64KiB", "256KiB"]);
        let target = *self.random.pick(&["64KiB", "256KiB", "256KiB", "1MiB"]);
        let tail = *self.random.pick(&["256KiB", "1MiB", "256MiB"]);
        let open = *self.random.pick(&["1", "4", "256"]);
        self.launch.clone().with(&[
            "--wal-segment-bytes",
            segment,
            "--wal-target-bytes",
            target,
            "--tail-bytes",
            tail,
            "--max-open-datasets",
            open,
        ])
    }

    /// Now and then the server is killed again while it recovers.
    async fn kill_in_recovery(&mut self) {
        while self.random.once_in(2) {
            // The instant is random by design: in the first milliseconds of the process, in those of recovery, or when topics
            // are being opened behind it.
            match self.random.below(3) {
                0 => {
                    let after = Duration::from_micros(self.random.below(60_000));
                    self.launch().start_and_kill(after);
                }
                1 => self.kill_after(5_000).await,
                _ => self.kill_after(150_000).await,
            }
            count(&self.counters.kills_recovering);
            if self.ended == Ended::Stopped {
                self.ended = Ended::StoppedThenKilled;
            }
        }
    }

    async fn kill_after(&mut self, micros: u64) {
        let server = self.launch().start();
        tokio::time::sleep(Duration::from_micros(self.random.below(micros))).await;
        server.kill();
    }

    /// A stream that is asked for while the server recovers waits, and gives what a later check will find.
    async fn read_early(&mut self, server: &Server) -> Checked {
        let topic = self.topics.iter().find(|topic| topic.followed && !topic.churns);
        let tail = topic.and_then(|topic| topic.ledger.lock().life.as_ref().map(|life| life.tail));
        if let (Some(topic), Some(tail)) = (topic, tail) {
            let read = reading::read(&Api::direct(server.base()), topic, tail, reading::Way::Sse).await?;
            if let Some(life) = &mut topic.ledger.lock().life {
                life.promised.extend(read);
            }
        }
        Ok(())
    }

    fn load(&mut self, server: &Server, answers: u64) -> Load {
        self.proxy.aim(server.base());
        let (direct, proxied) = (Api::direct(server.base()), Api::by_proxy(self.proxy.base()));
        let (counters, next_request) = (Arc::clone(&self.counters), Arc::clone(&self.next_request));
        Load::new(direct, proxied, self.cycle, counters, next_request, answers)
    }

    async fn check(&mut self, server: &Server, whole: bool) -> Checked {
        let load = self.load(server, 0);
        for topic in self.topics.clone() {
            let (random, used, ended) = (&mut self.random, &mut self.epochs, self.ended);
            verify::check(&topic, &load, verify::Task { random, whole, used, ended }).await?;
            if let Some(python) = &self.python
                && whole
            {
                pylance::check(&topic, &load, self.launch.data_dir(), python, &mut self.random).await?;
            }
        }
        let ready = load.direct.fetch("/readyz?verbose").await?.json();
        if ready["status"] != "ready" {
            return Err(format!("not ready: {ready}"));
        }
        for writer in &mut self.writers {
            writer.ask_again(&load).await?;
        }
        Ok(())
    }

    /// Everybody works until the kill, whose instant is random: after some time, or right behind some answer.
    async fn load_and_kill(&mut self, server: Server) -> Checked {
        let by_answers = self.random.once_in(2);
        let answers = if by_answers { self.random.between(1, 600) } else { u64::MAX };
        let load = self.load(&server, answers);
        for topic in &self.topics {
            let is_absent = topic.ledger.lock().life.is_none();
            if is_absent && (!topic.churns || self.random.once_in(2)) {
                keepers::create(topic, &load).await?;
            }
        }
        let (mut writing, mut keeping, mut following) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        for writer in std::mem::take(&mut self.writers) {
            writing.spawn(writer.run(load.clone()));
        }
        for (topic, number) in self.topics.iter().zip(0..) {
            if topic.churns || topic.trims || topic.flushes {
                keeping.spawn(keepers::keep(Arc::clone(topic), number, load.clone(), self.random.fork()));
            }
            let tail = topic.ledger.lock().life.as_ref().map(|life| life.tail);
            if let (true, Some(tail)) = (topic.followed, tail) {
                let (topic, load) = (Arc::clone(topic), load.clone());
                following.spawn(async move { reading::follow(&topic, &load, tail).await.map(|read| (topic, read)) });
            }
        }
        let longest = Duration::from_millis(self.random.between(20, LOAD_MS));
        tokio::select! {
            () = load.due() => {
                let micros = if self.random.once_in(2) { 0 } else { self.random.below(4_000) };
                tokio::time::sleep(Duration::from_micros(micros)).await;
            }
            () = tokio::time::sleep(longest) => {}
            Some(failed) = failure(&mut writing) => return Err(failed),
        }
        load.stop();
        self.end(server)?;
        while let Some(written) = writing.join_next().await {
            self.writers.push(written.map_err(|err| err.to_string())??);
        }
        while let Some(kept) = keeping.join_next().await {
            kept.map_err(|err| err.to_string())??;
        }
        while let Some(followed) = following.join_next().await {
            let (topic, read) = followed.map_err(|err| err.to_string())??;
            if let Some(life) = &mut topic.ledger.lock().life {
                life.promised.extend(read);
            }
        }
        Ok(())
    }

    /// Ends the server, mostly by a kill, now and then in order.
    fn end(&mut self, mut server: Server) -> Checked {
        if !self.random.once_in(8) {
            server.kill();
            count(&self.counters.kills_serving);
            self.ended = Ended::Killed;
            return Ok(());
        }
        let began = Instant::now();
        server.signal(Signal::TERM);
        let status = server.wait();
        count(&self.counters.stops);
        self.ended = Ended::Stopped;
        if status.success() && began.elapsed() < STOP_LASTS {
            return Ok(());
        }
        Err(format!("a stop took {:?} and ended with {status}", began.elapsed()))
    }

    /// At the end: the folders of deleted topics go, and so does the log of what is committed.
    async fn check_remains(&mut self, server: &Server) -> Checked {
        let load = self.load(server, 0);
        let mut living: HashSet<String> = HashSet::new();
        for topic in &self.topics {
            if topic.ledger.lock().life.is_some() {
                keepers::flush(topic, &load).await?;
            }
            living.extend(topic.ledger.lock().life.as_ref().map(|life| format!("{}.lance", life.id)));
        }
        let data = self.launch.data_dir().to_owned();
        let until = Instant::now() + PATIENCE;
        loop {
            let found = names(&data.join("datasets"));
            let strangers: Vec<&String> = found.iter().filter(|name| !living.contains(*name)).collect();
            let segments = names(&data.join("wal"));
            if strangers.is_empty() && segments.len() <= 3 {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("left behind: datasets {strangers:?}, log segments {segments:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The first writer that fails; the others are not waited for. None when all have ended.
async fn failure(writing: &mut JoinSet<Checked<Writer>>) -> Option<String> {
    match writing.join_next().await? {
        Ok(Err(what)) => Some(what),
        Ok(Ok(_)) => Some("a writer has ended before the kill".to_owned()),
        Err(err) => Some(err.to_string()),
    }
}

fn names(folder: &PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
