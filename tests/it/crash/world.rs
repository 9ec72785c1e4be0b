//! What all parts of the test share: topics, counters, the way to the present server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::client::Api;
use super::ledger::Ledger;
use super::values;

/// What a topic is, and what is done to it.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub lance: bool,
    /// Whether it is deleted, made again and closed.
    pub churns: bool,
    pub trims: bool,
    pub flushes: bool,
    /// Whether readers follow it up to the kill.
    pub followed: bool,
    /// `backend_options`
    pub options: Value,
    pub ledger: Mutex<Ledger>,
}

impl Topic {
    pub fn new(name: &str, lance: bool, options: Value) -> Self {
        Self {
            name: name.to_owned(),
            lance,
            churns: false,
            trims: false,
            flushes: false,
            followed: false,
            options,
            ledger: Mutex::new(Ledger::new()),
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/topics/{}{rest}", self.name)
    }

    /// The body that makes it.
    pub fn definition(&self) -> String {
        if self.lance {
            let schema = values::strict_schema();
            json!({"backend": "lance", "backend_options": self.options, "schema": schema}).to_string()
        } else {
            json!({"backend": "persisting", "backend_options": self.options}).to_string()
        }
    }
}

/// Numbers of the whole run.
#[derive(Debug, Default)]
pub struct Counters {
    pub cycles: AtomicU64,
    pub kills_serving: AtomicU64,
    pub kills_recovering: AtomicU64,
    pub stops: AtomicU64,
    pub acknowledged: AtomicU64,
    pub accepted: AtomicU64,
    pub retried: AtomicU64,
    pub duplicates: AtomicU64,
    pub refused: AtomicU64,
    pub overloaded: AtomicU64,
    pub unanswered: AtomicU64,
    pub survived: AtomicU64,
    pub records: AtomicU64,
    pub reads: AtomicU64,
    pub promised: AtomicU64,
    pub created: AtomicU64,
    pub deleted: AtomicU64,
    pub closed: AtomicU64,
    pub trims: AtomicU64,
    pub flushes: AtomicU64,
    pub cursors: AtomicU64,
    pub pylance: AtomicU64,
}

impl Counters {
    pub fn print(&self) {
        let shown = [
            ("cycles", &self.cycles),
            ("kills while serving", &self.kills_serving),
            ("kills during recovery", &self.kills_recovering),
            ("orderly stops", &self.stops),
            ("appends acknowledged", &self.acknowledged),
            ("appends accepted (202)", &self.accepted),
            ("appends retried", &self.retried),
            ("duplicates answered", &self.duplicates),
            ("appends refused", &self.refused),
            ("of them overloaded", &self.overloaded),
            ("appends given up unanswered", &self.unanswered),
            ("of them stored", &self.survived),
            ("records checked", &self.records),
            ("record reads compared", &self.reads),
            ("records followed to a kill", &self.promised),
            ("topics created", &self.created),
            ("topics deleted", &self.deleted),
            ("topics closed", &self.closed),
            ("trims", &self.trims),
            ("flushes", &self.flushes),
            ("cursors moved", &self.cursors),
            ("pylance checks", &self.pylance),
        ];
        for (name, counter) in shown {
            println!("{name:>28}: {}", counter.load(Ordering::Relaxed));
        }
    }
}

/// How the server before this one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a kill: what only memory had is gone.
    Killed,
    /// In order: nothing is gone.
    Stopped,
    /// In order, but a later one was killed before it was ready.
    StoppedThenKilled,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One run of the server, for those who load it.
#[derive(Clone, Debug)]
pub struct Load {
    pub direct: Api,
    pub proxied: Api,
    pub cycle: u64,
    pub counters: Arc<Counters>,
    /// Numbers requests over the whole run.
    pub next_request: Arc<AtomicU64>,
    stop: Arc<Stop>,
}

#[derive(Debug)]
struct Stop {
    killing: AtomicBool,
    /// Answers still to come before the kill.
    answers_left: AtomicU64,
    due: Notify,
}

impl Load {
    /// A load that wants to be stopped after so many answers.
    pub fn new(
        direct: Api,
        proxied: Api,
        cycle: u64,
        counters: Arc<Counters>,
        next_request: Arc<AtomicU64>,
        answers: u64,
    ) -> Self {
        let stop = Stop { killing: AtomicBool::new(false), answers_left: AtomicU64::new(answers), due: Notify::new() };
        Self { direct, proxied, cycle, counters, next_request, stop: Arc::new(stop) }
    }

    /// Whether the server is being killed: no answer is to be expected any more.
    pub fn stopping(&self) -> bool {
        self.stop.killing.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.stop.killing.store(true, Ordering::SeqCst);
    }

    /// Counts an answer; the last one that was waited for makes the kill due.
    pub fn answered(&self) {
        let left = self.stop.answers_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) {
            self.stop.due.notify_one();
        }
    }

    /// Makes the kill due now.
    pub fn provoke(&self) {
        self.stop.due.notify_one();
    }

    /// Returns when enough answers have come, or somebody has provoked the kill.
    pub async fn due(&self) {
        self.stop.due.notified().await;
    }

    pub fn fresh_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }
}
