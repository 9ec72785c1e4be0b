//! Those who append, each in its way of making sure that a retry does not double.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::client::{Answer, Checked, Lost};
use super::ledger::{Closed, State};
use super::random::Random;
use super::values::{self, Shape};
use super::world::{Load, Topic, count};

/// Answers that a producer, and a sender of keys, asks for again later.
const RECEIPTS: usize = 16;

/// How a writer makes sure that its records come once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Producer headers, through the proxy, until there is an answer.
    Producer,
    /// An `Idempotency-Key`, through the proxy, until there is an answer.
    Keyed,
    /// `expected_offset`, until there is an answer.
    Expecting,
    /// One try.
    Plain,
}

/// What makes a request.
#[derive(Clone, Debug)]
struct Pending {
    request: u64,
    body: String,
    headers: Vec<(&'static str, String)>,
    expected: Option<u64>,
    /// Whether a try got no answer.
    lost: bool,
}

/// An answered request that can be asked again.
#[derive(Clone, Debug)]
struct Receipt {
    pending: Pending,
    epoch: u64,
    first: u64,
}

/// One writer; it outlives the server.
#[derive(Debug)]
pub struct Writer {
    number: u32,
    topic: Arc<Topic>,
    manner: Manner,
    ack: Option<&'static str>,
    /// The longest pause between two requests.
    pause_ms: u64,
    random: Random,
    pending: Option<Pending>,
    /// How often the producer had to begin anew under another id.
    incarnation: u32,
    seq: u64,
    /// What the next offset is believed to be.
    next_offset: u64,
    receipts: VecDeque<Receipt>,
}

impl Writer {
    pub fn new(number: u32, topic: &Arc<Topic>, manner: Manner, random: Random) -> Self {
        Self {
            number,
            topic: Arc::clone(topic),
            manner,
            ack: None,
            pause_ms: 12,
            random,
            pending: None,
            incarnation: 0,
            seq: 0,
            next_offset: 0,
            receipts: VecDeque::new(),
        }
    }

    pub fn with_ack(mut self, ack: &'static str) -> Self {
        self.ack = Some(ack);
        self
    }

    pub fn with_pause(mut self, pause_ms: u64) -> Self {
        self.pause_ms = pause_ms;
        self
    }

    fn is_retrying(&self) -> bool {
        self.manner != Manner::Plain
    }

    fn fail(&self, what: &str) -> String {
        format!("topic {}, writer {} ({:?}): {what}", self.topic.name, self.number, self.manner)
    }

    /// Writes until the server is killed.
    pub async fn run(mut self, load: Load) -> Checked<Self> {
        while !load.stopping() {
            self.step(&load).await?;
            let pause = self.random.below(self.pause_ms + 1);
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        Ok(self)
    }

    async fn step(&mut self, load: &Load) -> Checked {
        let pending = match self.pending.take() {
            Some(pending) => {
                count(&load.counters.retried);
                pending
            }
            None => self.compose(load),
        };
        let api = if matches!(self.manner, Manner::Producer | Manner::Keyed) { &load.proxied } else { &load.direct };
        let expected = pending.expected.map(|offset| format!("expected_offset={offset}"));
        let query: Vec<String> = self.ack.map(|ack| format!("ack={ack}")).into_iter().chain(expected).collect();
        let path = self.topic.path(&format!("/records{}{}", if query.is_empty() { "" } else { "?" }, query.join("&")));
        let answer = api.send(Method::POST, &path, &pending.headers, Some(pending.body.clone())).await;
        match answer {
            Ok(answer) => {
                load.answered();
                self.take(load, pending, &answer)
            }
            Err(Lost(err)) => self.unanswered(load, pending, &err),
        }
    }

    fn compose(&mut self, load: &Load) -> Pending {
        let request = load.fresh_request();
        let random = &mut self.random;
        let records = match random.below(10) {
            0..=5 => 1,
            6..=8 => random.between(2, 8),
            // Longer than a segment of the log, and long enough to be decoded aside.
            _ if random.once_in(25) => random.between(500, 900),
            _ => random.between(9, 60),
        };
        let shape = Shape { strict: self.topic.lance, cycle: load.cycle };
        let records = usize::try_from(records).unwrap_or(1);
        let values: Vec<Value> =
            (0..records).map(|index| values::record(random, request, index, self.number, shape)).collect();
        let body = match &*values {
            [one] if random.once_in(2) => one.to_string(),
            all => Value::from(all.to_vec()).to_string(),
        };
        self.topic.ledger.lock().begin(request, self.number, &values, false);
        let headers = match self.manner {
            Manner::Producer => vec![
                ("Producer-Id", format!("producer-{}-{}", self.number, self.incarnation)),
                ("Producer-Epoch", "3".to_owned()),
                ("Producer-Seq", self.seq.to_string()),
            ],
            Manner::Keyed => vec![("Idempotency-Key", format!("key-{request}"))],
            Manner::Expecting | Manner::Plain => vec![],
        };
        let expected = (self.manner == Manner::Expecting).then_some(self.next_offset);
        Pending { request, body, headers, expected, lost: false }
    }

    fn unanswered(&mut self, load: &Load, mut pending: Pending, err: &str) -> Checked {
        let by_proxy = matches!(self.manner, Manner::Producer | Manner::Keyed);
        if !by_proxy && !load.stopping() {
            return Err(self.fail(&format!("request {} got no answer from a living server: {err}", pending.request)));
        }
        pending.lost = true;
        if self.is_retrying() {
            self.pending = Some(pending);
        } else {
            count(&load.counters.unanswered);
            self.topic.ledger.lock().set(pending.request, State::Unknown);
        }
        Ok(())
    }

    fn take(&mut self, load: &Load, pending: Pending, answer: &Answer) -> Checked {
        let (status, json) = (answer.status, answer.json());
        if status == 200 || status == 202 {
            return self.stored(load, pending, status, &json);
        }
        count(&load.counters.refused);
        let code = answer.code();
        if code == "overloaded" {
            count(&load.counters.overloaded);
            self.pending = Some(pending);
            return Ok(());
        }
        if code == "shutting_down" && load.stopping() {
            if self.is_retrying() {
                self.pending = Some(pending);
            } else {
                self.topic.ledger.lock().set(pending.request, State::Refused);
            }
            return Ok(());
        }
        let expected = match (&*code, self.manner) {
            ("offset_mismatch", Manner::Expecting) => {
                self.next_offset = json["tail_offset"].as_u64().ok_or_else(|| self.fail("412 without tail_offset"))?;
                true
            }
            ("topic_not_found" | "topic_closed", _) => self.topic.churns,
            ("producer_gap", Manner::Producer) => self.topic.churns && json["expected_seq"] == 0,
            _ => false,
        };
        if !expected {
            return Err(self.fail(&format!("request {} was refused: {status} {}", pending.request, answer.text)));
        }
        // A try without an answer may have been stored where a topic has gone meanwhile, or where somebody has counted on an
        // offset. Otherwise a refusal says that nothing is stored.
        let may_be_stored = pending.lost && (self.topic.churns || self.manner == Manner::Expecting);
        self.topic.ledger.lock().set(pending.request, if may_be_stored { State::Unknown } else { State::Refused });
        if may_be_stored {
            count(&load.counters.unanswered);
        }
        if code != "offset_mismatch" {
            self.begin_anew();
        }
        Ok(())
    }

    /// The topic that knew the writer is gone or closed.
    fn begin_anew(&mut self) {
        self.incarnation += 1;
        self.seq = 0;
        self.next_offset = 0;
        self.receipts.clear();
    }

    fn stored(&mut self, load: &Load, pending: Pending, status: u16, json: &Value) -> Checked {
        let number = |name: &str| json[name].as_u64();
        let (Some(epoch), Some(first), Some(number_of)) = (number("epoch"), number("first_offset"), number("count"))
        else {
            return Err(self.fail(&format!("an answer lacks members: {json}")));
        };
        self.check_answer(&pending, status, json, first, number_of)?;
        let mut ledger = self.topic.ledger.lock();
        let committed = json["durability"] == "committed";
        let state = if status == 200 {
            State::Acknowledged { epoch, first, committed }
        } else {
            State::Accepted { epoch, first }
        };
        let found = ledger.requests.get(&pending.request).and_then(|request| request.found.clone());
        let present = ledger.life.as_ref().filter(|life| life.epochs.contains(&epoch)).map(|life| life.id.clone());
        ledger.set(pending.request, state);
        let found_count = ledger.requests.get(&pending.request).map(|request| request.values.len() as u64);
        drop(ledger);
        if found_count.is_some_and(|count| count != number_of) {
            return Err(self.fail(&format!("request {} had {found_count:?} records: {json}", pending.request)));
        }
        if let (Some((life, at)), Some(present)) = (found, present)
            && life == present
            && at != first
        {
            return Err(self.fail(&format!("request {} is at offset {at}, but answered {json}", pending.request)));
        }
        count(if status == 200 { &load.counters.acknowledged } else { &load.counters.accepted });
        if json["duplicate"] == true {
            count(&load.counters.duplicates);
        }
        self.seq += 1;
        self.next_offset = first + number_of;
        if matches!(self.manner, Manner::Producer | Manner::Keyed) {
            self.receipts.push_back(Receipt { pending, epoch, first });
            if self.receipts.len() > RECEIPTS {
                self.receipts.pop_front();
            }
        }
        Ok(())
    }

    fn check_answer(&self, pending: &Pending, status: u16, json: &Value, first: u64, number_of: u64) -> Checked {
        let asked = self.ack.or_else(|| self.topic.options["ack"].as_str()).unwrap_or("default");
        let level = json["durability"].as_str().unwrap_or_default();
        let right = match asked {
            "committed" => level == "committed",
            "accepted" => true,
            _ => self.topic.lance || level != "accepted",
        };
        // 202 says that a crash could still lose the records.
        let right = right && (status == 202) == (level == "accepted");
        let dense = json["next_offset"].as_u64() == Some(first + number_of)
            && json["last_offset"].as_u64() == Some(first + number_of - 1);
        let as_expected = pending.expected.is_none_or(|expected| expected == first);
        let duplicate = json["duplicate"] == true && !pending.lost;
        if right && dense && as_expected && !duplicate {
            return Ok(());
        }
        Err(self.fail(&format!("request {} with {:?} was answered {status} {json}", pending.request, self.ack)))
    }

    /// After a restart: what was answered before is answered again, from the same place, and nothing is stored again.
    pub async fn ask_again(&mut self, load: &Load) -> Checked {
        let epoch = self.topic.ledger.lock().epoch();
        // An unanswered request may have been stored and have pushed the oldest one out.
        let newest = RECEIPTS - usize::from(self.pending.is_some());
        let known = self.receipts.iter().rev().take(newest).filter(|known| Some(known.epoch) == epoch);
        let known: Vec<Receipt> = known.cloned().collect();
        if known.is_empty() {
            return Ok(());
        }
        let Receipt { pending, first, .. } = self.random.pick(&known).clone();
        let path = self.topic.path("/records");
        let sent = load.direct.send(Method::POST, &path, &pending.headers, Some(pending.body.clone())).await;
        let answer = sent.map_err(|Lost(err)| self.fail(&format!("no answer to a repeated request: {err}")))?;
        let json = answer.json();
        if answer.status != 200 || json["duplicate"] != true || json["first_offset"] != first {
            let text = answer.text;
            return Err(self.fail(&format!("request {} at offset {first}, sent again: {text}", pending.request)));
        }
        count(&load.counters.duplicates);
        if self.manner == Manner::Producer && self.pending.is_none() {
            self.ask_too_much(load, &pending).await?;
        }
        Ok(())
    }

    /// A sequence number past the next one is refused, and the refusal knows which one is next.
    async fn ask_too_much(&self, load: &Load, like: &Pending) -> Checked {
        let mut headers = like.headers.clone();
        for (name, value) in &mut headers {
            if *name == "Producer-Seq" {
                *value = (self.seq + 1).to_string();
            }
        }
        let sent =
            load.direct.send(Method::POST, &self.topic.path("/records"), &headers, Some(like.body.clone())).await;
        let answer = sent.map_err(|Lost(err)| self.fail(&format!("no answer to a gap: {err}")))?;
        let closed = answer.code() == "topic_closed" && self.topic.churns;
        if closed || (answer.code() == "producer_gap" && answer.json()["expected_seq"] == self.seq) {
            return Ok(());
        }
        Err(self.fail(&format!("seq {} must be next, but seq {} got {}", self.seq, self.seq + 1, answer.text)))
    }
}

/// An append that closes its topic, if it is stored at all. Returns what the topic is then.
pub async fn append_and_close(topic: &Topic, load: &Load, random: &mut Random, writer: u32) -> Checked<Option<Closed>> {
    let request = load.fresh_request();
    let shape = Shape { strict: topic.lance, cycle: load.cycle };
    let values: Vec<Value> = (0..2).map(|index| values::record(random, request, index, writer, shape)).collect();
    topic.ledger.lock().begin(request, writer, &values, true);
    let ack = if topic.lance { "committed" } else { "wal" };
    let path = topic.path(&format!("/records?close=true&ack={ack}"));
    let answer = load.direct.send(Method::POST, &path, &[], Some(Value::from(values).to_string())).await;
    let mut ledger = topic.ledger.lock();
    match answer {
        Err(Lost(_)) if load.stopping() => {
            ledger.set(request, State::Unknown);
            load.counters.unanswered.fetch_add(1, Ordering::Relaxed);
            Ok(Some(Closed::Maybe))
        }
        Err(Lost(err)) => {
            Err(format!("topic {}: a closing append got no answer from a living server: {err}", topic.name))
        }
        Ok(answer) if answer.status == 200 => {
            let json = answer.json();
            let number = |name: &str| json[name].as_u64().unwrap_or_default();
            let (epoch, first) = (number("epoch"), number("first_offset"));
            ledger.set(request, State::Acknowledged { epoch, first, committed: json["durability"] == "committed" });
            count(&load.counters.acknowledged);
            Ok(Some(Closed::At(number("next_offset"))))
        }
        Ok(answer) if answer.code() == "overloaded" || (answer.code() == "shutting_down" && load.stopping()) => {
            ledger.set(request, State::Refused);
            Ok(None)
        }
        Ok(answer) => Err(format!("topic {}: a closing append got {} {}", topic.name, answer.status, answer.text)),
    }
}
