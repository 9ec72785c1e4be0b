//! Checkpoints: committed offsets and the state of writers, for thousands of topics at once.
//!
//! Rows are handed to SQLite as JSON arrays, many to a statement: one statement for each row would cost a hop between
//! threads each.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};

use crate::catalog::decode::{Reader, to_json, to_sql};
use crate::catalog::writer::Change;
use crate::catalog::{CatalogError, KeyRow, ProducerRow, StoredReceipt, TopicCheckpoint, WriterRows};
use crate::model::{LogMark, Offset, SchemaVersion, Timestamp, TopicId};

/// The most rows in one statement; bounds the memory of their JSON.
const ROWS_MAX: usize = 2_000;

const TOPICS: &str = "UPDATE topics SET next_offset = max(next_offset, j.value ->> 1), wide = j.value ->> 2
    FROM json_each(?) AS j WHERE topics.id = j.value ->> 0 AND deleted = 0";

const NEWEST: &str = "UPDATE meta SET newest = max(newest, CAST(? AS INTEGER))";

const LOG: &str = "UPDATE meta SET log_released = max(coalesce(log_released, 0), ?1 ->> 0),
    log_end = max(coalesce(log_end, 0), ?1 ->> 1)";

const PRODUCERS: &str = "INSERT INTO producers (topic, producer, epoch, last_seq, receipts, last_used)
    SELECT topics.id, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4, j.value ->> 5
    FROM json_each(?) AS j CROSS JOIN topics ON topics.id = j.value ->> 0 AND deleted = 0 WHERE true
    ON CONFLICT (topic, producer) DO UPDATE SET epoch = excluded.epoch, last_seq = excluded.last_seq,
        receipts = excluded.receipts, last_used = excluded.last_used";

const PRODUCERS_GONE: &str = "DELETE FROM producers WHERE (topic, producer) IN (
    SELECT j.value ->> 0, j.value ->> 1 FROM json_each(?) AS j)";

const KEYS: &str =
    "INSERT INTO idempotency_keys (topic, key, body_hash, first_offset, count, schema_version, created_at, quarantined)
    SELECT topics.id, j.value ->> 1, unhex(j.value ->> 2), j.value ->> 3, j.value ->> 4, j.value ->> 5, j.value ->> 6,
        j.value ->> 7
    FROM json_each(?) AS j CROSS JOIN topics ON topics.id = j.value ->> 0 AND deleted = 0 WHERE true
    ON CONFLICT (topic, key) DO UPDATE SET body_hash = excluded.body_hash, first_offset = excluded.first_offset,
        count = excluded.count, schema_version = excluded.schema_version, created_at = excluded.created_at,
        quarantined = excluded.quarantined";

const KEYS_GONE: &str = "DELETE FROM idempotency_keys WHERE (topic, key) IN (
    SELECT j.value ->> 0, j.value ->> 1 FROM json_each(?) AS j)";

/// Notes how far the log has come.
pub(super) async fn note_log(connection: &mut SqliteConnection, log: LogMark) -> Result<(), CatalogError> {
    sqlx::query(LOG).bind(log_to_json(log)?).execute(connection).await?;
    Ok(())
}

fn log_to_json(log: LogMark) -> Result<String, CatalogError> {
    to_json(&(to_sql(log.released)?, to_sql(log.end)?))
}

/// Statements with their rows, in the order in which they run. Made by the caller, so that the writer only writes.
pub(super) struct Checkpoint(Vec<(&'static str, String)>);

#[async_trait]
impl Change for Checkpoint {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        for (statement, rows) in self.0 {
            sqlx::query(statement).bind(rows).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

impl Checkpoint {
    pub(super) fn of(topics: &[TopicCheckpoint], newest: Timestamp, log: LogMark) -> Result<Self, CatalogError> {
        let mut statements = Self(vec![(NEWEST, newest.as_micros().to_string()), (LOG, log_to_json(log)?)]);
        let topics: Vec<_> = topics.iter().map(|topic| (topic.id.to_string(), topic)).collect();
        statements.add(TOPICS, topics.iter().map(|(id, topic)| (id, topic.next.get(), &topic.wide)))?;
        let gone = topics.iter().flat_map(|(id, topic)| topic.removed_producers.iter().map(move |name| (id, &**name)));
        statements.add(PRODUCERS_GONE, gone)?;
        let gone = topics.iter().flat_map(|(id, topic)| topic.removed_keys.iter().map(move |key| (id, &**key)));
        statements.add(KEYS_GONE, gone)?;
        let producers = topics.iter().flat_map(|(id, topic)| topic.producers.iter().map(move |row| (id, row)));
        let producers = producers.map(|(id, row)| {
            let receipts: Vec<_> = row.receipts.iter().map(ReceiptForm::from).collect();
            (id, &*row.id, row.epoch, row.last_seq, receipts, row.last_used.as_micros())
        });
        statements.add(PRODUCERS, producers)?;
        let keys = topics.iter().flat_map(|(id, topic)| topic.keys.iter().map(move |row| (id, row)));
        let keys = keys.map(|(id, row)| {
            let StoredReceipt { first, count, schema, quarantined } = row.receipt;
            let schema = schema.map(SchemaVersion::get);
            let made = row.created_at.as_micros();
            (id, &*row.key, hex(&row.body_hash), first.get(), count, schema, made, quarantined)
        });
        statements.add(KEYS, keys)?;
        Ok(statements)
    }

    /// Adds a statement over all rows, [`ROWS_MAX`] at a time.
    fn add<R: Serialize>(
        &mut self,
        statement: &'static str,
        rows: impl Iterator<Item = R>,
    ) -> Result<(), CatalogError> {
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let part: Vec<R> = rows.by_ref().take(ROWS_MAX).collect();
            self.0.push((statement, to_json(&part)?));
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// A receipt as stored: first offset, count, schema version, and the number of quarantined records where there are any.
#[derive(Serialize, serde::Deserialize)]
#[serde(untagged)]
enum ReceiptForm {
    Whole(u64, u64, Option<u32>),
    Quarantined(u64, u64, Option<u32>, u64),
}

impl From<&StoredReceipt> for ReceiptForm {
    fn from(receipt: &StoredReceipt) -> Self {
        let StoredReceipt { first, count, schema, quarantined } = *receipt;
        let schema = schema.map(SchemaVersion::get);
        match quarantined {
            0 => Self::Whole(first.get(), count, schema),
            quarantined => Self::Quarantined(first.get(), count, schema, quarantined),
        }
    }
}

impl ReceiptForm {
    fn decode(&self) -> Option<StoredReceipt> {
        let (first, count, schema, quarantined) = match *self {
            Self::Whole(first, count, schema) => (first, count, schema, 0),
            Self::Quarantined(first, count, schema, quarantined) => (first, count, schema, quarantined),
        };
        let schema = match schema {
            Some(number) => Some(SchemaVersion::new(number)?),
            None => None,
        };
        Some(StoredReceipt { first: Offset::new(first)?, count, schema, quarantined })
    }
}

/// The writers of one topic.
pub(super) async fn of_topic(readers: &SqlitePool, id: TopicId) -> Result<WriterRows, CatalogError> {
    let id = id.to_string();
    let mut transaction = readers.begin().await?;
    let producers = sqlx::query("SELECT * FROM producers WHERE topic = ? ORDER BY producer")
        .bind(&id)
        .fetch_all(&mut *transaction)
        .await?;
    let keys = sqlx::query("SELECT * FROM idempotency_keys WHERE topic = ? ORDER BY key")
        .bind(&id)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(WriterRows {
        producers: producers.iter().map(producer_of).collect::<Result<_, _>>()?,
        keys: keys.iter().map(key_of).collect::<Result<_, _>>()?,
    })
}

/// The writers of all topics.
pub(super) async fn of_all(readers: &SqlitePool) -> Result<HashMap<TopicId, WriterRows>, CatalogError> {
    let mut transaction = readers.begin().await?;
    let producers =
        sqlx::query("SELECT * FROM producers ORDER BY topic, producer").fetch_all(&mut *transaction).await?;
    let keys = sqlx::query("SELECT * FROM idempotency_keys ORDER BY topic, key").fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let mut writers: HashMap<TopicId, WriterRows> = HashMap::new();
    for row in &producers {
        let topic = Reader::new("producers", row).topic("topic")?;
        writers.entry(topic).or_default().producers.push(producer_of(row)?);
    }
    for row in &keys {
        let topic = Reader::new("idempotency_keys", row).topic("topic")?;
        writers.entry(topic).or_default().keys.push(key_of(row)?);
    }
    Ok(writers)
}

fn producer_of(row: &SqliteRow) -> Result<ProducerRow, CatalogError> {
    let row = Reader::new("producers", row);
    let receipts: Vec<ReceiptForm> = row.json("receipts")?;
    let receipts: Option<Vec<_>> = receipts.iter().map(ReceiptForm::decode).collect();
    Ok(ProducerRow {
        id: row.plain::<&str>("producer")?.into(),
        epoch: row.count("epoch")?,
        last_seq: row.count("last_seq")?,
        receipts: receipts.filter(|all| !all.is_empty()).ok_or_else(|| row.damaged("receipts", "not as written"))?,
        last_used: row.time("last_used")?,
    })
}

fn key_of(row: &SqliteRow) -> Result<KeyRow, CatalogError> {
    let row = Reader::new("idempotency_keys", row);
    let body_hash = row.plain::<&[u8]>("body_hash")?;
    Ok(KeyRow {
        key: row.plain::<&str>("key")?.into(),
        body_hash: body_hash.try_into().map_err(|_| row.damaged("body_hash", "not 32 bytes"))?,
        receipt: StoredReceipt {
            first: row.offset("first_offset")?,
            count: row.count("count")?,
            schema: row.version("schema_version")?,
            quarantined: row.count("quarantined")?,
        },
        created_at: row.time("created_at")?,
    })
}
