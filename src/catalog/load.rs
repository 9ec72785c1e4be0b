//! What a start reads.

use std::collections::HashMap;
use std::path::Path;

use sqlx::SqlitePool;

use crate::catalog::decode::Reader;
use crate::catalog::places::place_of;
use crate::catalog::{CatalogError, EpochStart, Loaded, Tombstone, TopicDefinition, TopicRow};
use crate::model::{LogMark, OnInvalid, SchemaMode, TopicId, TopicName};

/// Everything, in one read transaction. The catalog lies in `folder`.
pub(super) async fn load(readers: &SqlitePool, folder: &Path) -> Result<Loaded, CatalogError> {
    let mut transaction = readers.begin().await?;
    let meta =
        sqlx::query("SELECT clean, newest, log_released, log_end FROM meta").fetch_one(&mut *transaction).await?;
    let meta = Reader::new("meta", &meta);
    let (was_clean, newest) = (meta.flag("clean")?, meta.time("newest")?);
    let log = match meta.plain::<Option<i64>>("log_end")? {
        Some(_) => Some(LogMark { released: meta.count("log_released")?, end: meta.count("log_end")? }),
        None => None,
    };
    let epoch_rows = sqlx::query("SELECT topic, epoch, start_offset FROM epochs ORDER BY epoch")
        .fetch_all(&mut *transaction)
        .await?;
    let topic_rows = sqlx::query("SELECT * FROM topics ORDER BY id").fetch_all(&mut *transaction).await?;
    transaction.commit().await?;

    let mut epochs: HashMap<TopicId, Vec<EpochStart>> = HashMap::new();
    for row in &epoch_rows {
        let row = Reader::new("epochs", row);
        let start = EpochStart { epoch: row.epoch("epoch")?, start: row.offset("start_offset")? };
        epochs.entry(row.topic("topic")?).or_default().push(start);
    }
    let mut loaded = Loaded { was_clean, newest, log, ..Loaded::default() };
    for row in &topic_rows {
        let row = Reader::new("topics", row);
        if row.flag("deleted")? {
            let place = place_of(&row, folder)?;
            loaded.tombstones.push(Tombstone { id: row.topic("id")?, name: name_of(&row)?, place });
        } else {
            let epochs = epochs.remove(&row.topic("id")?).ok_or_else(|| row.damaged("id", "a topic without epoch"))?;
            loaded.topics.push(topic_of(&row, epochs, folder)?);
        }
    }
    Ok(loaded)
}

fn topic_of(row: &Reader<'_>, epochs: Vec<EpochStart>, folder: &Path) -> Result<TopicRow, CatalogError> {
    let declared: Option<&str> = row.plain("declared_schema")?;
    let mode: Option<&str> = row.plain("schema_mode")?;
    let mode = mode.map(|word| SchemaMode::parse(word).ok_or_else(|| row.damaged("schema_mode", "an unknown word")));
    let definition = TopicDefinition {
        id: row.topic("id")?,
        name: name_of(row)?,
        backend: row.plain("backend")?,
        options: row.json("options")?,
        storage_path: row.plain("storage_path")?,
        place: place_of(row, folder)?,
        declared_schema: declared.map(|_| row.json("declared_schema")).transpose()?,
        schema_mode: mode.transpose()?,
        retention: row.json("retention")?,
        on_invalid: OnInvalid::parse(row.plain("on_invalid")?)
            .ok_or_else(|| row.damaged("on_invalid", "an unknown word"))?,
        created_at: row.time("created_at")?,
    };
    Ok(TopicRow {
        definition,
        closed: row.flag("closed")?,
        earliest: row.offset("earliest_offset")?,
        next: row.offset("next_offset")?,
        wide: row.plain("wide")?,
        epochs,
        schema_version: row.version("schema_version")?,
    })
}

fn name_of(row: &Reader<'_>) -> Result<TopicName, CatalogError> {
    TopicName::parse(row.plain("name")?).map_err(|error| row.damaged("name", error))
}
