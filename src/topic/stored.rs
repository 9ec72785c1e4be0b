//! Stored schema versions, read.

use std::sync::Arc;

use crate::backend::VersionedSchema;
use crate::catalog::{SchemaCause, SchemaRow};
use crate::model::Problem;
use crate::schema::{InvalidMove, InvalidSchema, Lineage, Move, Posted, Schema};

/// Why a stored version cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Schema(#[from] InvalidSchema),
    #[error(transparent)]
    Move(#[from] InvalidMove),
}

/// The newest version with all that was posted; `posted` has every posted version and the one before each, oldest first.
pub(crate) fn versioned(newest: &SchemaRow, posted: &[SchemaRow]) -> Result<VersionedSchema, Problem> {
    let read = || {
        let lineage = Arc::new(lineage(posted)?);
        Ok::<_, Unreadable>(VersionedSchema { version: newest.version, schema: Arc::new(schema(newest)?), lineage })
    };
    read().map_err(|err| {
        tracing::error!(error = %err, "a stored schema cannot be read");
        Problem::internal()
    })
}

fn schema(row: &SchemaRow) -> Result<Schema, InvalidSchema> {
    Schema::from_stored(&serde_json::json!({ "fields": row.fields }))
}

fn lineage(rows: &[SchemaRow]) -> Result<Lineage, Unreadable> {
    let mut all = Vec::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.cause == SchemaCause::Posted) {
        let before = index.checked_sub(1).and_then(|before| rows.get(before));
        let before = before.filter(|before| before.version.next() == row.version).map(schema).transpose()?;
        let changes = row.changes.as_array().map(Vec::as_slice).unwrap_or_default();
        let moves = changes.iter().filter_map(|change| Move::of_json(change).transpose());
        all.push(Posted {
            version: row.version,
            before: Arc::new(before.unwrap_or_default()),
            moves: moves.collect::<Result<_, _>>()?,
        });
    }
    Ok(Lineage::new(all))
}
