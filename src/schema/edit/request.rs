//! Changes as the API writes them.

use serde_json::{Map, Value};

use super::{ChangeOp, Edit, Field, FieldPath, InvalidSchema, Schema, SchemaChange};

/// The most changes of one request.
const CHANGES_MAX: usize = 1_000;

/// One change that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub(super) path: FieldPath,
    pub(super) what: What,
    /// What the client says that there is; compared where it is given.
    pub(super) from: Option<From>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Add(Field),
    Rename(String),
    Drop,
    /// Another type; whether null is a value of it is as before where it is not said.
    Retype {
        op: ChangeOp,
        to: Field,
        nullable: Option<bool>,
    },
}

/// What a client says that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Name(String),
    Field(Field),
}

/// Why a request is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEdit {
    /// Something in it is not what it takes.
    #[error("{detail}")]
    Malformed {
        /// RFC 6901 pointer inside the request.
        pointer: String,
        /// One sentence that a person can act on.
        detail: String,
        /// What would have been taken, where that is a list.
        allowed: Vec<&'static str>,
    },
    /// A number in it is not one of those that it can be.
    #[error("{detail}")]
    OutOfRange {
        /// RFC 6901 pointer inside the request.
        pointer: String,
        /// One sentence that a person can act on.
        detail: String,
    },
    /// The schema has more leaf columns than a topic can have.
    #[error(transparent)]
    TooManyColumns(InvalidSchema),
}

fn malformed(pointer: impl Into<String>, detail: impl Into<String>) -> InvalidEdit {
    InvalidEdit::Malformed { pointer: pointer.into(), detail: detail.into(), allowed: Vec::new() }
}

fn invalid_schema(at: &str, err: InvalidSchema) -> InvalidEdit {
    match err {
        InvalidSchema::Malformed { pointer, detail } => malformed(format!("{at}{pointer}"), detail),
        InvalidSchema::OutOfRange { pointer, detail } => {
            let pointer = format!("{at}{pointer}");
            InvalidEdit::OutOfRange { detail: format!("{detail} (at {pointer})"), pointer }
        }
        err @ InvalidSchema::TooManyColumns { .. } => InvalidEdit::TooManyColumns(err),
    }
}

impl Asked {
    /// The field that it is about.
    pub fn path(&self) -> &FieldPath {
        &self.path
    }
}

/// A difference between two schemas as something to ask for.
pub(super) fn asked_of(change: &SchemaChange) -> Option<Asked> {
    let to = change.to.clone();
    let what = match change.op {
        ChangeOp::Add => What::Add(to?),
        ChangeOp::Rename => What::Rename(to?.name),
        ChangeOp::Drop => What::Drop,
        op @ (ChangeOp::Widen | ChangeOp::Convert) => {
            let to = to?;
            What::Retype { op, nullable: Some(to.nullable), to }
        }
    };
    Some(Asked { path: change.path.clone(), what, from: None })
}

impl Edit {
    /// Reads the members of a request: `fields` or `changes`; a null one is an omitted one.
    ///
    /// # Errors
    /// [`InvalidEdit`], naming the place and what would be right.
    pub fn from_json(fields: Option<Value>, changes: Option<Value>) -> Result<Self, InvalidEdit> {
        match (fields, changes) {
            (Some(fields), None) => {
                let whole = Value::Object(Map::from_iter([("fields".to_owned(), fields)]));
                Schema::from_json(&whole).map(Edit::Whole).map_err(|err| invalid_schema("", err))
            }
            (None, Some(changes)) => {
                let items = changes.as_array().filter(|items| (1..=CHANGES_MAX).contains(&items.len()));
                let detail = format!("`changes` is an array of 1 to {CHANGES_MAX} changes.");
                let items = items.ok_or_else(|| malformed("/changes", detail))?;
                let asked = items.iter().enumerate().map(|(index, item)| parse(item, &format!("/changes/{index}")));
                asked.collect::<Result<_, _>>().map(Edit::Changes)
            }
            _ => Err(InvalidEdit::Malformed {
                pointer: String::new(),
                detail: "The body has either `fields`, the whole new schema, or `changes`.".to_owned(),
                allowed: vec!["fields", "changes"],
            }),
        }
    }
}

fn parse(json: &Value, at: &str) -> Result<Asked, InvalidEdit> {
    let object = json.as_object().ok_or_else(|| malformed(at, "A change is an object with `op` and `path`."))?;
    let words = ["add", "widen", "rename", "drop", "convert"];
    let op = object.get("op").and_then(Value::as_str).and_then(ChangeOp::parse);
    let op = op.ok_or_else(|| InvalidEdit::Malformed {
        pointer: format!("{at}/op"),
        detail: "A change has an `op`: add, widen, rename, drop or convert.".to_owned(),
        allowed: words.to_vec(),
    })?;
    let known: &[&str] = match op {
        ChangeOp::Add => &["op", "path", "to"],
        ChangeOp::Drop => &["op", "path", "from"],
        _ => &["op", "path", "from", "to"],
    };
    if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        let detail = format!("`{key}` is no member of a change with the op {}.", op.as_str());
        return Err(InvalidEdit::Malformed { pointer, detail, allowed: known.to_vec() });
    }
    let path = object.get("path").and_then(Value::as_str);
    let path =
        path.ok_or_else(|| malformed(format!("{at}/path"), "A change has a `path`, written as in `fields=`."))?;
    let path = FieldPath::parse(path).map_err(|err| malformed(format!("{at}/path"), err.to_string()))?;
    let given = |member: &str| object.get(member).filter(|value| !value.is_null());
    let (to_at, from_at) = (format!("{at}/to"), format!("{at}/from"));
    let to = |detail: &str| given("to").ok_or_else(|| malformed(&to_at, detail));
    let what = match op {
        ChangeOp::Drop => What::Drop,
        ChangeOp::Rename => {
            let detail = "A rename has the new last name as `to`, a string.";
            What::Rename(to(detail)?.as_str().ok_or_else(|| malformed(&to_at, detail))?.to_owned())
        }
        ChangeOp::Add => What::Add(field(to("What is added is `to`, a field.")?, &path, &to_at)?),
        op => {
            let to = to("The field as it shall be is `to`.")?;
            let nullable = to.get("nullable").and_then(Value::as_bool);
            What::Retype { op, to: field(to, &path, &to_at)?, nullable }
        }
    };
    let from = match (given("from"), op) {
        (None, _) => None,
        (Some(Value::String(name)), ChangeOp::Rename) => Some(From::Name(name.clone())),
        (Some(_), ChangeOp::Rename) => {
            return Err(malformed(from_at, "A rename has the present last name as `from`, a string."));
        }
        (Some(from), _) => Some(From::Field(field(from, &path, &from_at)?)),
    };
    Ok(Asked { path, what, from })
}

/// A field object whose name may be left out, for the path has it.
fn field(json: &Value, path: &FieldPath, at: &str) -> Result<Field, InvalidEdit> {
    let mut json = json.clone();
    let last = path.0.last().cloned().unwrap_or_default();
    if let Some(object) = json.as_object_mut() {
        object.entry("name").or_insert_with(|| last.as_str().into());
    }
    let field = Field::from_json(&json).map_err(|err| invalid_schema(at, err))?;
    if field.name != last {
        return Err(malformed(format!("{at}/name"), format!("The path ends in {last:?}, which is the field's name.")));
    }
    Ok(field)
}
