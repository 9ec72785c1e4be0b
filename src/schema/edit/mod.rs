//! Changes of a schema that somebody asks for: read, and tried on the schema that there is.

mod request;
mod step;

use crate::model::ErrorCode;
use crate::schema::{ChangeOp, Field, FieldPath, InvalidSchema, Move, Schema, SchemaChange, WideColumns, diff};

pub use request::InvalidEdit;
use request::{Asked, asked_of};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The whole new schema: what it lacks is dropped, what has another type takes it.
    Whole(Schema),
    /// Changes, one after the other: each is one of what those before it have left.
    Changes(Vec<Asked>),
}

/// What would be made of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The new schema.
    pub schema: Schema,
    /// What is different, one after the other.
    pub changes: Vec<SchemaChange>,
}

/// Why a change cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The API's code.
    pub code: ErrorCode,
    /// The field concerned; none where it is the whole schema.
    pub path: Option<FieldPath>,
    /// RFC 6901 pointer inside the request.
    pub pointer: String,
    /// One sentence that a person can act on.
    pub detail: String,
}

impl Planned {
    /// What stored values feel of it.
    pub fn moves(&self) -> Vec<Move> {
        self.changes.iter().filter_map(Move::of).collect()
    }
}

/// Tries an edit on the newest schema (none before the first); `wide` are the integer columns that have held values past
/// ±2^53, `has_records` whether there was ever a record. Whether stored values take the conversions in it is left to be
/// asked.
///
/// # Errors
/// Every [`Obstacle`] that the schema itself puts in the way, at least one.
pub fn plan(
    present: Option<&Schema>,
    edit: &Edit,
    wide: &WideColumns,
    has_records: bool,
) -> Result<Planned, Vec<Obstacle>> {
    // A record without a value may be there already, so that only a first schema can ask for one.
    let first = present.is_none() && !has_records;
    let mut schema = present.cloned().unwrap_or_default();
    let mut wide = wide.clone();
    let (mut changes, mut obstacles) = (Vec::new(), Vec::new());
    let asked = match edit {
        Edit::Whole(wanted) => diff(&schema, wanted).iter().filter_map(asked_of).collect(),
        Edit::Changes(asked) => asked.clone(),
    };
    for (index, asked) in asked.iter().enumerate() {
        match step::take(&mut schema, asked, &wide, first) {
            Ok(Some(change)) => {
                wide.follow(Move::of(&change).as_slice());
                changes.push(change);
            }
            Ok(None) => {}
            Err((code, detail)) => obstacles.push(Obstacle {
                code,
                path: Some(asked.path().clone()),
                pointer: match edit {
                    Edit::Whole(_) => "/fields".to_owned(),
                    Edit::Changes(_) => format!("/changes/{index}"),
                },
                detail,
            }),
        }
    }
    if let Edit::Whole(wanted) = edit
        && obstacles.is_empty()
    {
        // The same fields; in the order that was asked for.
        schema.clone_from(wanted);
    }
    if obstacles.is_empty() {
        obstacles.extend(unsound(&schema));
    }
    if obstacles.is_empty() { Ok(Planned { schema, changes }) } else { Err(obstacles) }
}

/// What no schema can be: too many columns, too deep.
fn unsound(schema: &Schema) -> Option<Obstacle> {
    let told = |code, detail: String| Obstacle { code, path: None, pointer: String::new(), detail };
    match Schema::from_json(&schema.to_json()) {
        Ok(_) => None,
        Err(err @ InvalidSchema::TooManyColumns { .. }) => Some(told(ErrorCode::TooManyColumns, err.to_string())),
        Err(err) => Some(told(ErrorCode::SchemaConflict, format!("The changed schema cannot be had: {err}"))),
    }
}

#[cfg(test)]
mod tests;
