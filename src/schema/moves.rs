//! What a posted change does to values that are stored already.

use serde_json::Value;

use crate::schema::{ChangeOp, DataType, Field, FieldPath, InvalidPath, InvalidSchema, SchemaChange};

/// One step of a posted change, as far as stored values feel it: a new field has none. Steps are taken one after the
/// other, so that each path is the one that holds after the steps before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// The field has another last name.
    Rename {
        /// The field.
        path: FieldPath,
        /// Its new last name.
        to: String,
    },
    /// The field goes, with all its values.
    Drop {
        /// The field.
        path: FieldPath,
    },
    /// The values take another type.
    Retype {
        /// The field.
        path: FieldPath,
        /// What they were.
        from: DataType,
        /// The field as it will be.
        to: Field,
    },
}

/// Why a stored change cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMove {
    /// It has a path that is none.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// It has a field that is none.
    #[error(transparent)]
    Field(#[from] InvalidSchema),
    /// It lacks something.
    #[error("a change lacks its {0}")]
    Lacks(&'static str),
}

impl Move {
    /// The step that a change takes; none for a new field.
    pub fn of(change: &SchemaChange) -> Option<Self> {
        let path = change.path.clone();
        match (change.op, &change.from, &change.to) {
            (ChangeOp::Rename, _, Some(to)) => Some(Move::Rename { path, to: to.name.clone() }),
            (ChangeOp::Drop, ..) => Some(Move::Drop { path }),
            (ChangeOp::Widen | ChangeOp::Convert, Some(from), Some(to)) => {
                Some(Move::Retype { path, from: from.data_type.clone(), to: to.clone() })
            }
            _ => None,
        }
    }

    /// Reads the object that [`SchemaChange::to_json`] writes.
    ///
    /// # Errors
    /// [`InvalidMove`] where it is none.
    pub fn of_json(json: &Value) -> Result<Option<Self>, InvalidMove> {
        let text = |member: &'static str| {
            json.get(member).and_then(Value::as_str).ok_or(InvalidMove::Lacks(member)).map(str::to_owned)
        };
        let field = |member: &'static str| -> Result<Field, InvalidMove> {
            Ok(Field::from_json(json.get(member).ok_or(InvalidMove::Lacks(member))?)?)
        };
        let op = ChangeOp::parse(&text("op")?).ok_or(InvalidMove::Lacks("op"))?;
        let path = FieldPath::parse(&text("path")?)?;
        Ok(match op {
            ChangeOp::Add => None,
            ChangeOp::Drop => Some(Move::Drop { path }),
            ChangeOp::Rename => Some(Move::Rename { path, to: text("to")? }),
            ChangeOp::Widen | ChangeOp::Convert => {
                Some(Move::Retype { path, from: field("from")?.data_type, to: field("to")? })
            }
        })
    }

    /// The field that it is about, under the name that it had.
    pub const fn path(&self) -> &FieldPath {
        match self {
            Move::Rename { path, .. } | Move::Drop { path } | Move::Retype { path, .. } => path,
        }
    }

    /// The steps that take it back, as far as there is a way: what was dropped is not there any more.
    pub(super) fn undone(&self) -> Vec<Self> {
        match self {
            Move::Rename { path, to } => {
                let mut renamed = path.clone();
                let from = renamed.0.pop().unwrap_or_default();
                renamed.0.push(to.clone());
                vec![Move::Drop { path: path.clone() }, Move::Rename { path: renamed, to: from }]
            }
            Move::Drop { path } => vec![Move::Drop { path: path.clone() }],
            Move::Retype { path, from, to } => {
                let field = Field { name: to.name.clone(), data_type: from.clone(), nullable: true };
                vec![Move::Retype { path: path.clone(), from: to.data_type.clone(), to: field }]
            }
        }
    }

    /// Whether a stored value may refuse it.
    pub fn can_be_refused(&self) -> bool {
        matches!(self, Move::Retype { from, to, .. } if converts(from, &to.data_type))
    }
}

/// Whether every value of one type is one of the other, which a stored value need not be asked for: wider integers, wider
/// floats, integers as `float64` where none is past ±2^53.
pub(super) fn widens(from: &DataType, to: &DataType) -> bool {
    use crate::schema::FloatType::{F32, F64};
    match (from, to) {
        (DataType::Int(from), DataType::Int(to)) => from != to && to.holds(from.min()) && to.holds(from.max()),
        (DataType::Int(_), DataType::Float(F64)) | (DataType::Float(F32), DataType::Float(F64)) => true,
        (DataType::Vector { dim, item }, DataType::Vector { dim: wanted, item: wider }) => {
            dim == wanted && item.bits() < wider.bits()
        }
        (DataType::List(from), DataType::List(to)) => widens(from, to),
        _ => false,
    }
}

/// Whether values of one type can be asked whether they are of the other: numbers of a list as a vector, JSON as anything.
pub(super) fn converts(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Json, to) => *to != DataType::Json,
        (DataType::List(item), DataType::Vector { .. }) => {
            matches!(**item, DataType::Int(_) | DataType::Float(_))
        }
        (DataType::List(from), DataType::List(to)) => converts(from, to),
        _ => false,
    }
}

/// The top-level fields that a stored value may refuse a step for, as they are before the first step.
pub fn questioned<'f>(fields: &'f [Field], moves: &[Move]) -> Vec<&'f Field> {
    let is_questioned = |field: &&Field| {
        let mut name = field.name.as_str();
        for step in moves {
            let [first, rest @ ..] = step.path().0.as_slice() else { continue };
            if first != name {
                continue;
            }
            match step {
                Move::Rename { to, .. } if rest.is_empty() => name = to,
                Move::Drop { .. } if rest.is_empty() => return false,
                _ if step.can_be_refused() => return true,
                _ => {}
            }
        }
        false
    };
    fields.iter().filter(is_questioned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn moves(changes: Value) -> Vec<Move> {
        changes.as_array().unwrap().iter().filter_map(|change| Move::of_json(change).unwrap()).collect()
    }

    #[test]
    fn the_fields_that_may_refuse_are_found_under_their_old_names() {
        let field = |name: &str, data_type| Field { name: name.to_owned(), data_type, nullable: true };
        let fields = [field("a", DataType::Json), field("b", DataType::Json), field("c", DataType::Json)];
        let to = json!({"name": "x", "type": "int64"});
        let from = json!({"name": "x", "type": "json"});
        let changes = json!([
            {"op": "add", "path": "new", "to": to},
            {"op": "rename", "path": "a", "from": "a", "to": "t"},
            {"op": "rename", "path": "b", "from": "b", "to": "a"},
            {"op": "convert", "path": "t", "from": from, "to": to},
            {"op": "drop", "path": "c", "from": from},
            {"op": "convert", "path": "c", "from": from, "to": to},
        ]);
        let names: Vec<&str> = questioned(&fields, &moves(changes)).iter().map(|field| &*field.name).collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn what_is_stored_reads_back_as_it_was_planned() {
        let field = Field { name: "n".to_owned(), data_type: DataType::Json, nullable: true };
        let wider = Field { data_type: DataType::Bool, ..field.clone() };
        let path = FieldPath(vec!["s".to_owned(), "n".to_owned()]);
        for (op, from, to) in [
            (ChangeOp::Add, None, Some(field.clone())),
            (ChangeOp::Drop, Some(field.clone()), None),
            (ChangeOp::Rename, Some(field.clone()), Some(Field { name: "m".to_owned(), ..field.clone() })),
            (ChangeOp::Convert, Some(field), Some(wider)),
        ] {
            let change = SchemaChange { op, path: path.clone(), from, to };
            assert_eq!(Move::of_json(&change.to_json()), Ok(Move::of(&change)));
        }
        assert!(Move::of_json(&json!({"op": "rename", "path": "a"})).is_err());
    }
}
