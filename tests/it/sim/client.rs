//! The client: what it sends next, and what it makes of the answers.

use bytes::Bytes;
use persisting::codec::{Body, Form};
use persisting::io::fault::Random;
use persisting::model::{Ack, ErrorCode, KeyedWrite, Offset, OnInvalid, Problem, ProducerWrite, Writer};
use persisting::topic::{AppendRequest, CreateTopic, Description, Receipt};
use serde_json::{Map, json};

use super::lance_disk::OWN;
use super::model::{Batch, Fate, Kind, Known, TopicModel};
use super::ops::Op;
use super::values::{body, declared, is_wide};

/// Requests of a producer that are answered again for sure.
const ANSWERED_AGAIN: usize = 16;

/// A creation of a topic of this kind. With real datasets some lie in folders of their own.
pub fn creation(kind: Kind, quarantines: bool, real: bool, random: &mut Random) -> CreateTopic {
    let batch_size = [1, 1, 2, 4, 1_000][random.below(5)];
    let interval = [1, 500, 5_000][random.below(3)];
    let mut options = Map::new();
    options.insert("batch_size".to_owned(), json!(batch_size));
    options.insert("flush_interval_ms".to_owned(), json!(interval));
    match kind {
        Kind::Wal | Kind::Lance => {}
        Kind::WalCommitted => drop(options.insert("ack".to_owned(), json!("committed"))),
        Kind::NoWal => {
            options.insert("ack".to_owned(), json!("committed"));
            options.insert("enable_wal".to_owned(), json!(false));
        }
    }
    let declares = kind == Kind::Lance;
    CreateTopic {
        backend: Some(if declares { "lance" } else { "persisting" }.to_owned()),
        backend_options: options,
        storage_path: (real && random.chance(0.25)).then(|| format!("{OWN}/{}", random.below(3))),
        schema: (declares || quarantines).then(declared),
        schema_mode: None,
        retention: None,
        on_invalid: quarantines.then_some(OnInvalid::Quarantine),
    }
}

impl TopicModel {
    /// The next append: mostly new records, else a retry.
    pub fn next_append(&mut self, serials: &mut u64, random: &mut Random) -> Option<Op> {
        let writer = match random.below(20) {
            _ if !self.kind.has_wal() => Writer::Plain,
            0..9 => return self.next_of_producer(serials, random),
            9..12 => {
                if let Some(number) = self.keyed_again(random) {
                    return Some(self.again(number));
                }
                let key = format!("key-{}", self.batches.len());
                Writer::Keyed(KeyedWrite { key: key.into(), body_hash: [0; 32] })
            }
            _ => Writer::Plain,
        };
        let number = self.compose(writer, serials, random);
        Some(self.request(number, random.chance(0.1)))
    }

    fn next_of_producer(&mut self, serials: &mut u64, random: &mut Random) -> Option<Op> {
        let at = random.below(self.producers.len());
        let producer = self.producers[at].clone();
        if let Some(pending) = producer.pending {
            return (self.batches[pending].fate != Fate::InFlight).then(|| self.again(pending));
        }
        let recent = producer.stored.len().saturating_sub(ANSWERED_AGAIN);
        if !producer.stored.is_empty() && random.chance(0.15) {
            let number = producer.stored[recent + random.below(producer.stored.len() - recent)];
            return Some(self.again(number));
        }
        if producer.seq > 0 && random.chance(0.04) {
            let producer = &mut self.producers[at];
            (producer.epoch, producer.seq) = (producer.epoch + 1, 0);
            producer.stored.clear();
        }
        let producer = self.producers.get(at)?;
        let write = ProducerWrite { id: format!("producer-{at}").into(), epoch: producer.epoch, seq: producer.seq };
        let number = self.compose(Writer::Producer(write), serials, random);
        self.producers[at].pending = Some(number);
        Some(self.request(number, false))
    }

    fn keyed_again(&self, random: &mut Random) -> Option<usize> {
        let keyed: Vec<usize> = (0..self.batches.len())
            .filter(|number| {
                let batch = &self.batches[*number];
                let open = matches!(batch.fate, Fate::Stored { .. } | Fate::Unknown | Fate::Gone { .. });
                open && matches!(batch.writer, Writer::Keyed(_))
            })
            .collect();
        (!keyed.is_empty() && random.coin()).then(|| keyed[random.below(keyed.len())])
    }

    fn compose(&mut self, writer: Writer, serials: &mut u64, random: &mut Random) -> usize {
        let count = if random.chance(0.6) { 1 } else { 1 + random.below(6) };
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            *serials += 1;
            records.push(self.shape.record(*serials, random));
        }
        let misfit = random.chance(if self.quarantines { 0.4 } else { 0.03 });
        let (bad, aside) = (misfit && !self.quarantines, (misfit && self.quarantines).then(|| *serials + 1));
        *serials += u64::from(aside.is_some());
        let lines = || records.iter().map(|record| format!("{record}\n")).collect::<String>();
        let (text, form) = match aside {
            _ if bad => (format!("{}\n17\n", records[0]), Form::Ndjson),
            Some(serial) if random.coin() => (format!("{serial}\n{}", lines()), Form::Ndjson),
            Some(serial) => (format!("{}{serial}\n", lines()), Form::Sequence),
            None => body(&records, random),
        };
        let bytes = Bytes::from(text);
        let writer = match writer {
            Writer::Keyed(write) => Writer::Keyed(KeyedWrite { body_hash: blake3::hash(&bytes).into(), ..write }),
            other => other,
        };
        let ack = match (self.kind, random.below(10)) {
            (Kind::Lance | Kind::NoWal, 0..6) => Some(Ack::Committed),
            (Kind::Wal | Kind::WalCommitted, 0) => Some(Ack::Committed),
            (Kind::Wal | Kind::WalCommitted, 1..4) => Some(Ack::Wal),
            (_, 4) if writer == Writer::Plain => Some(Ack::Accepted),
            _ => None,
        };
        let expected_offset = (writer == Writer::Plain && random.chance(0.1)).then(|| self.tail());
        let close = random.chance(0.01);
        if close {
            self.closed = self.closed.max(Known::Maybe);
        }
        let not_before = self.tail();
        let (attempts, fate) = (0, Fate::InFlight);
        self.send(Batch {
            records,
            body: bytes,
            form,
            ack,
            expected_offset,
            close,
            writer,
            not_before,
            bad,
            aside,
            attempts,
            fate,
        })
    }

    /// The request that sends a batch again.
    fn again(&mut self, number: usize) -> Op {
        self.request(number, false)
    }

    fn request(&mut self, number: usize, loads: bool) -> Op {
        let batch = &mut self.batches[number];
        batch.attempts += 1;
        if matches!(batch.fate, Fate::Gone { .. }) {
            batch.fate = Fate::Unknown;
        }
        if batch.close {
            self.closed = self.closed.max(Known::Maybe);
        }
        let plain = batch.writer == Writer::Plain && batch.expected_offset.is_none() && !batch.close;
        // A load may be stored in part: its pieces are the server's choice.
        if loads && plain && batch.aside.is_none() && batch.form != Form::Json {
            return Op::Load(self.name.clone(), number, batch.body.clone(), batch.form, batch.ack);
        }
        let ask = AppendRequest {
            body: Body::text(batch.body.clone(), batch.form),
            ack: batch.ack,
            expected_offset: batch.expected_offset.and_then(Offset::new),
            close: batch.close,
            writer: batch.writer.clone(),
        };
        Op::Append(self.name.clone(), number, Box::new(ask))
    }

    /// Learns what a creation has made.
    pub fn created(&mut self, made: &Description) -> Result<(), String> {
        if self.id.is_some_and(|id| id != made.id) {
            return Err(format!("its creation was answered with another topic, {}", made.id));
        }
        if self.epoch != 0 && self.kind.has_wal() && self.epoch != made.epoch.get() {
            return Err(format!("its epoch was {} and is {}", self.epoch, made.epoch));
        }
        self.exists = Known::Yes;
        self.id = Some(made.id);
        self.epoch = made.epoch.get();
        self.link.clone_from(&made.dataset_uri);
        Ok(())
    }

    /// Learns the answer to an append; whether the log has acknowledged something new.
    pub fn appended(&mut self, number: usize, answer: Result<Receipt, Problem>) -> Result<bool, String> {
        match answer {
            Ok(receipt) => self.acknowledged(number, &receipt),
            Err(problem) => self.refused(number, &problem).map(|()| false),
        }
    }

    fn acknowledged(&mut self, number: usize, receipt: &Receipt) -> Result<bool, String> {
        let default = match self.kind {
            Kind::Wal => Ack::Wal,
            Kind::WalCommitted | Kind::NoWal => Ack::Committed,
            Kind::Lance => Ack::Accepted,
        };
        let batch = &mut self.batches[number];
        let (first, count) = (receipt.first_offset.get(), batch.records.len() as u64);
        let aside = u64::from(batch.aside.is_some());
        if batch.bad
            || receipt.count != count
            || receipt.quarantined != aside
            || receipt.last_offset.get() + 1 != first + count
        {
            return Err(format!("{count} records were acknowledged as {receipt:?}"));
        }
        if receipt.durability < batch.ack.unwrap_or(default) {
            return Err(format!("an append was acknowledged as {} only", receipt.durability));
        }
        if receipt.epoch.get() != self.epoch {
            return Err(format!("an append was acknowledged in epoch {}, not {}", receipt.epoch, self.epoch));
        }
        if receipt.duplicate && batch.attempts < 2 {
            return Err(format!("a new append was answered as a duplicate: {receipt:?}"));
        }
        match batch.fate {
            Fate::Stored { first: told, .. } if told != first || !receipt.duplicate => {
                return Err(format!("what was stored at {told} was sent again, and the answer is {receipt:?}"));
            }
            _ if !receipt.duplicate && first < batch.not_before => {
                return Err(format!("an append got offset {first}, though {} was stored before it", batch.not_before));
            }
            _ => {}
        }
        let was_sure = matches!(batch.fate, Fate::Stored { sure: true, .. });
        let durable = receipt.durability >= Ack::Wal;
        // What the log has not taken yet it can still refuse, when the disk is full.
        batch.fate = match durable || was_sure || !self.kind.has_wal() {
            true => Fate::Stored { first, sure: durable || was_sure },
            false => Fate::Unknown,
        };
        if receipt.durability == Ack::Committed {
            self.committed = self.committed.max(first + count);
        }
        if batch.close {
            self.closed = Known::Yes;
        }
        if let Some(producer) = self.producers.iter_mut().find(|producer| producer.pending == Some(number)) {
            producer.pending = None;
            producer.seq += 1;
            producer.stored.push(number);
        }
        Ok(durable && self.kind.has_wal() && !receipt.duplicate)
    }

    fn refused(&mut self, number: usize, problem: &Problem) -> Result<(), String> {
        let batch = &mut self.batches[number];
        let expected = match problem.code {
            ErrorCode::TopicNotFound => self.exists != Known::Yes,
            ErrorCode::TopicClosed => self.closed != Known::No,
            ErrorCode::OffsetMismatch => batch.expected_offset.is_some(),
            ErrorCode::InvalidRecord => batch.bad || batch.records.iter().any(is_wide),
            ErrorCode::SchemaConflict => true,
            code => code.status() >= 500,
        };
        if !expected {
            return Err(format!("an append of {} was refused: {:?}", batch.records[0], problem));
        }
        let is_definite = match problem.code {
            ErrorCode::TopicNotFound => false,
            // What was sent before may be stored all the same.
            ErrorCode::DiskFull | ErrorCode::Overloaded => batch.attempts == 1,
            code => code.status() < 500,
        };
        if matches!(batch.fate, Fate::Stored { .. }) {
            if problem.code.status() < 500 && self.exists == Known::Yes {
                return Err(format!("what was stored was sent again, and refused: {problem:?}"));
            }
            return Ok(());
        }
        batch.fate = if is_definite { Fate::Refused } else { Fate::Unknown };
        if batch.close && !is_definite {
            self.closed = self.closed.max(Known::Maybe);
        }
        if is_definite
            && let Some(producer) = self.producers.iter_mut().find(|producer| producer.pending == Some(number))
        {
            producer.pending = None;
        }
        Ok(())
    }

    /// Nobody waits for the answer any more.
    pub fn unanswered(&mut self, number: usize) {
        if self.batches[number].fate == Fate::InFlight {
            self.batches[number].fate = Fate::Unknown;
        }
    }
}
