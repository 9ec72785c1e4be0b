//! How one schema differs from another.

use serde_json::{Map, Value};

use crate::schema::moves::widens;
use crate::schema::{DataType, Field, FieldPath, Schema};

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOp {
    /// It is new.
    Add,
    /// Its numbers take a type that holds all of them.
    Widen,
    /// It has another last name.
    Rename,
    /// It goes.
    Drop,
    /// It takes another type.
    Convert,
}

impl ChangeOp {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChangeOp::Add => "add",
            ChangeOp::Widen => "widen",
            ChangeOp::Rename => "rename",
            ChangeOp::Drop => "drop",
            ChangeOp::Convert => "convert",
        }
    }

    /// The change that a word of the API names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Add, Self::Widen, Self::Rename, Self::Drop, Self::Convert].into_iter().find(|op| op.as_str() == word)
    }
}

/// One change of one named field. A change inside a list is one of the field that the list belongs to, except that the
/// members of a list's structs are fields of their own, as in `fields=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// What happens.
    pub op: ChangeOp,
    /// The field, under the name that it had (for `add`, that it gets).
    pub path: FieldPath,
    /// What it was; none for `add`.
    pub from: Option<Field>,
    /// What it will be; none for `drop`.
    pub to: Option<Field>,
}

impl SchemaChange {
    /// The object of the API: `op`, `path`, `from`, `to`, where a rename has names in place of field objects.
    pub fn to_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("op".to_owned(), self.op.as_str().into());
        json.insert("path".to_owned(), self.path.to_string().into());
        let side =
            |field: &Field| if self.op == ChangeOp::Rename { field.name.as_str().into() } else { field.to_json() };
        for (word, field) in [("from", &self.from), ("to", &self.to)] {
            if let Some(field) = field {
                json.insert(word.to_owned(), side(field));
            }
        }
        Value::Object(json)
    }
}

/// What turns `old` into `new`: first what becomes of the old fields, in their order, then the new ones, level by level.
/// Renames cannot be told from a drop and an add, and the order of fields is not compared.
pub fn diff(old: &Schema, new: &Schema) -> Vec<SchemaChange> {
    let mut changes = Vec::new();
    diff_fields(&old.fields, &new.fields, &FieldPath::default(), &mut changes);
    changes
}

fn diff_fields(old: &[Field], new: &[Field], path: &FieldPath, changes: &mut Vec<SchemaChange>) {
    for from in old {
        let path = path.child(&from.name);
        match new.iter().find(|field| field.name == from.name) {
            Some(to) => diff_field(from, to, path, changes),
            None => changes.push(SchemaChange { op: ChangeOp::Drop, path, from: Some(from.clone()), to: None }),
        }
    }
    for to in new.iter().filter(|to| !old.iter().any(|from| from.name == to.name)) {
        let path = path.child(&to.name);
        changes.push(SchemaChange { op: ChangeOp::Add, path, from: None, to: Some(to.clone()) });
    }
}

fn diff_field(from: &Field, to: &Field, path: FieldPath, changes: &mut Vec<SchemaChange>) {
    if from.nullable == to.nullable
        && let Some((old, new)) = members(&from.data_type, &to.data_type)
    {
        return diff_fields(old, new, &path, changes);
    }
    if from == to {
        return;
    }
    let widens = from.nullable == to.nullable && widens(&from.data_type, &to.data_type);
    let op = if widens { ChangeOp::Widen } else { ChangeOp::Convert };
    changes.push(SchemaChange { op, path, from: Some(from.clone()), to: Some(to.clone()) });
}

/// The members of two structs, or of the structs that two lists hold.
fn members<'a>(from: &'a DataType, to: &'a DataType) -> Option<(&'a [Field], &'a [Field])> {
    match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => Some((from, to)),
        (DataType::List(from), DataType::List(to)) => members(from, to),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(fields: Value) -> Schema {
        Schema::from_json(&json!({ "fields": fields })).unwrap()
    }

    fn ops(old: Value, new: Value) -> Vec<String> {
        let changes = diff(&schema(old), &schema(new));
        changes.iter().map(|change| format!("{} {}", change.op.as_str(), change.path)).collect()
    }

    #[test]
    fn every_difference_is_one_change_of_one_field() {
        let old = json!([
            {"name": "same", "type": "bool"}, {"name": "gone", "type": "bool"}, {"name": "w", "type": "int8"},
            {"name": "f", "type": "uint64"}, {"name": "c", "type": "json"}, {"name": "n", "type": "bool"},
            {"name": "l", "type": "list", "items": {"type": "int8"}},
            {"name": "s", "type": "list", "items": {"type": "struct", "fields": [
                {"name": "a.b", "type": "int8"}, {"name": "y", "type": "bool"}]}},
            {"name": "narrow", "type": "int16"},
        ]);
        let new = json!([
            {"name": "new", "type": "bool"}, {"name": "same", "type": "bool"}, {"name": "w", "type": "int64"},
            {"name": "f", "type": "float64"}, {"name": "c", "type": "string"},
            {"name": "n", "type": "bool", "nullable": false},
            {"name": "l", "type": "list", "items": {"type": "float64"}},
            {"name": "s", "type": "list", "items": {"type": "struct", "fields": [
                {"name": "a.b", "type": "int16"}, {"name": "z", "type": "bool"}]}},
            {"name": "narrow", "type": "int8"},
        ]);
        let expected = [
            "drop gone",
            "widen w",
            "widen f",
            "convert c",
            "convert n",
            "widen l",
            "widen s.\"a.b\"",
            "drop s.y",
            "add s.z",
            "convert narrow",
            "add new",
        ];
        assert_eq!(ops(old.clone(), new), expected);
        assert!(ops(old.clone(), old).is_empty());
    }

    #[test]
    fn a_rename_tells_last_names() {
        let field = |name: &str| Some(Field { name: name.to_owned(), data_type: DataType::Bool, nullable: true });
        let path = FieldPath(vec!["s".to_owned(), "a".to_owned()]);
        let change = SchemaChange { op: ChangeOp::Rename, path, from: field("a"), to: field("b") };
        assert_eq!(change.to_json(), json!({"op": "rename", "path": "s.a", "from": "a", "to": "b"}));
        assert_eq!(ChangeOp::parse("rename"), Some(ChangeOp::Rename));
        assert_eq!(ChangeOp::parse("Rename"), None);
    }
}
