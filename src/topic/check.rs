//! What a change of the schema would do, told without making it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::backend::{Lane, RecordForm, StoredMisfit};
use crate::model::{ErrorCode, Offset, Problem, SchemaVersion};
use crate::schema::{Obstacle, Posted, SchemaChange};
use crate::topic::post::{Basis, fixed_words, read_edit};
use crate::topic::quarantine::is_the_services;
use crate::topic::{SchemaCheck, Topic};

impl Topic {
    /// Tells what posting an edit would do, without doing it.
    ///
    /// # Errors
    /// `unsupported_by_backend` without columns, `invalid_body`, and where records could not be read.
    pub async fn check_schema(&self, fields: Option<Value>, changes: Option<Value>) -> Result<SchemaCheck, Problem> {
        self.check_columns()?;
        let edit = read_edit(fields, changes)?;
        if self.name.is_reserved() {
            let problem = is_the_services();
            return Ok(checked(&[], vec![json!({"code": problem.code.as_str(), "detail": problem.detail})]));
        }
        loop {
            let basis = match self.try_edit(&edit) {
                Ok(basis) => basis,
                Err(obstacles) => return Ok(checked(&[], obstacles.iter().map(obstacle_json).collect())),
            };
            let changes = &basis.planned.changes;
            if !basis.is_unchanged() && self.factory.form() != RecordForm::EvolvingColumns {
                return Ok(checked(changes, changes.iter().map(fixed_json).collect()));
            }
            let Some(lane) = self.backend.lane().filter(|_| basis.asks()) else { return Ok(checked(changes, vec![])) };
            let misfit = match lane.ask_table(&basis.moves, Offset::ZERO).await {
                Ok(Ok(_)) => self.ask_tail(&lane, &basis).await?,
                Ok(Err(misfit)) => Some(misfit),
                Err(_) if !self.is_newest(&basis) => continue,
                Err(err) => return Err(self.storage_problem(&err)),
            };
            let problems = misfit.iter().map(|misfit| {
                json!({
                    "code": ErrorCode::SchemaConflict.as_str(), "path": misfit.path.to_string(),
                    "offset": misfit.offset.get(), "detail": self.misfit_words(misfit),
                })
            });
            return Ok(checked(changes, problems.collect()));
        }
    }

    async fn ask_tail(&self, lane: &Lane, basis: &Basis) -> Result<Option<StoredMisfit>, Problem> {
        let still = lane.stand_still().await;
        if !self.is_newest(basis) {
            return Ok(None);
        }
        let before = basis.present.as_ref().map(|present| Arc::clone(&present.schema)).unwrap_or_default();
        let posted = Posted { version: SchemaVersion::FIRST, before, moves: basis.moves.to_vec() };
        let tail = lane.rewrite_tail(&still, posted, Arc::new(basis.planned.schema.clone())).await;
        Ok(tail.map_err(|err| self.storage_problem(&err))?.err())
    }
}

fn fixed_json(change: &SchemaChange) -> Value {
    json!({
        "code": ErrorCode::SchemaConflict.as_str(), "path": change.path.to_string(), "detail": fixed_words(change),
    })
}

fn obstacle_json(obstacle: &Obstacle) -> Value {
    let mut json = Map::new();
    json.insert("code".to_owned(), obstacle.code.as_str().into());
    if let Some(path) = &obstacle.path {
        json.insert("path".to_owned(), path.to_string().into());
    }
    json.insert("pointer".to_owned(), obstacle.pointer.as_str().into());
    json.insert("detail".to_owned(), obstacle.detail.as_str().into());
    Value::Object(json)
}

fn checked(changes: &[SchemaChange], problems: Vec<Value>) -> SchemaCheck {
    let changes: Vec<Value> = changes.iter().map(SchemaChange::to_json).collect();
    SchemaCheck { json: json!({ "compatible": problems.is_empty(), "changes": changes, "problems": problems }) }
}
