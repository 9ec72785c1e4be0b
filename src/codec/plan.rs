//! A schema made ready for reading records.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::codec::encode::scalar::write_str;
use crate::schema::{DataType, Field, FieldPath, FloatType, IntType, Schema};

/// Structs with more members than this find them by a map.
const FEW: usize = 8;

/// A schema with what the decoder makes of it, so that it is made once and not for each body.
pub struct PreparedSchema {
    schema: Arc<Schema>,
    plan: Plan,
}

impl PreparedSchema {
    /// Makes a schema ready for [`super::decode`].
    pub fn new(schema: Arc<Schema>) -> Self {
        let plan = Plan::new(&schema);
        Self { schema, plan }
    }

    /// The schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl fmt::Debug for PreparedSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedSchema").field(&self.schema).finish()
    }
}

/// A schema made ready for reading records.
pub(super) struct Plan {
    /// The record itself.
    pub(super) root: StructPlan,
    /// The paths of the integer columns, by their number.
    pub(super) integers: Vec<FieldPath>,
}

/// A struct's members.
pub(super) struct StructPlan {
    /// The members in schema order.
    pub(super) members: Vec<MemberPlan>,
    by_key: Option<HashMap<Box<str>, usize>>,
    /// Whether one of the members cannot be null.
    pub(super) has_required: bool,
}

/// One member.
pub(super) struct MemberPlan {
    /// Its key.
    pub(super) key: Box<str>,
    /// `"key":` as it is printed.
    pub(super) prefix: Box<[u8]>,
    /// What it holds.
    pub(super) value: ValuePlan,
    /// Whether it can be null.
    pub(super) nullable: bool,
}

/// What a column holds.
pub(super) enum ValuePlan {
    /// `bool`
    Bool,
    /// An integer type, and the column's number among the integer columns.
    Int(IntType, usize),
    /// `float32`, `float64`
    Float(FloatType),
    /// `string`
    String,
    /// `binary`
    Binary,
    /// `date32`
    Date32,
    /// `timestamp`
    Timestamp,
    /// `json`
    Json,
    /// `list`, with what an item that is a struct or a vector takes in columns.
    List(Box<ValuePlan>, u64),
    /// `struct`
    Struct(StructPlan),
    /// `vector`
    Vector(u32, FloatType),
}

impl Plan {
    /// Makes a schema ready.
    pub(super) fn new(schema: &Schema) -> Self {
        let mut integers = Vec::new();
        let root = StructPlan::new(&schema.fields, &FieldPath::default(), &mut integers);
        Self { root, integers }
    }
}

impl StructPlan {
    fn new(fields: &[Field], path: &FieldPath, integers: &mut Vec<FieldPath>) -> Self {
        let member = |field: &Field| {
            let mut prefix = Vec::with_capacity(field.name.len() + 3);
            write_str(&field.name, &mut prefix);
            prefix.push(b':');
            let value = ValuePlan::new(&field.data_type, &path.child(&field.name), integers);
            MemberPlan { key: field.name.as_str().into(), prefix: prefix.into(), value, nullable: field.nullable }
        };
        let members: Vec<MemberPlan> = fields.iter().map(member).collect();
        let index = || members.iter().enumerate().map(|(slot, member)| (member.key.clone(), slot)).collect();
        let by_key = (members.len() > FEW).then(index);
        let has_required = members.iter().any(|member| !member.nullable);
        Self { members, by_key, has_required }
    }

    /// The number of the member with a key; `guess` is looked at first.
    pub(super) fn slot(&self, key: &str, guess: usize) -> Option<usize> {
        if self.members.get(guess).is_some_and(|member| *member.key == *key) {
            return Some(guess);
        }
        match &self.by_key {
            Some(by_key) => by_key.get(key).copied(),
            None => self.members.iter().position(|member| *member.key == *key),
        }
    }
}

impl ValuePlan {
    fn new(data_type: &DataType, path: &FieldPath, integers: &mut Vec<FieldPath>) -> Self {
        match data_type {
            DataType::Bool => ValuePlan::Bool,
            DataType::Int(int) => {
                integers.push(path.clone());
                ValuePlan::Int(*int, integers.len() - 1)
            }
            DataType::Float(float) => ValuePlan::Float(*float),
            DataType::String => ValuePlan::String,
            DataType::Binary => ValuePlan::Binary,
            DataType::Date32 => ValuePlan::Date32,
            DataType::Timestamp => ValuePlan::Timestamp,
            DataType::Json => ValuePlan::Json,
            DataType::List(item) => {
                let is_wide = matches!(**item, DataType::Struct(_) | DataType::Vector { .. });
                let bytes = if is_wide { item.row_bytes() as u64 } else { 0 };
                ValuePlan::List(Box::new(ValuePlan::new(item, path, integers)), bytes)
            }
            DataType::Struct(fields) => ValuePlan::Struct(StructPlan::new(fields, path, integers)),
            DataType::Vector { dim, item } => ValuePlan::Vector(*dim, *item),
        }
    }

    /// The type in words.
    pub(super) fn type_words(&self) -> String {
        match self {
            ValuePlan::Bool => DataType::Bool.name().to_owned(),
            ValuePlan::Int(int, _) => int.name().to_owned(),
            ValuePlan::Float(float) => float.name().to_owned(),
            ValuePlan::String => DataType::String.name().to_owned(),
            ValuePlan::Binary => DataType::Binary.name().to_owned(),
            ValuePlan::Date32 => DataType::Date32.name().to_owned(),
            ValuePlan::Timestamp => DataType::Timestamp.name().to_owned(),
            ValuePlan::Json => DataType::Json.name().to_owned(),
            ValuePlan::List(..) => "list".to_owned(),
            ValuePlan::Struct(_) => "struct".to_owned(),
            ValuePlan::Vector(dim, item) => format!("vector of {dim} {}", item.name()),
        }
    }

    /// What it takes, in words.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            ValuePlan::Bool => "true or false",
            ValuePlan::Int(..) => "an integer",
            ValuePlan::Float(_) => "a number",
            ValuePlan::String => "a string",
            ValuePlan::Binary => "a string of padded base64",
            ValuePlan::Date32 => "a string as in \"2026-11-23\"",
            ValuePlan::Timestamp => {
                "a string as in \"2026-11-23T09:00:00.000001Z\", with six digits of a fraction at most"
            }
            ValuePlan::Json => "any value",
            ValuePlan::List(..) => "an array",
            ValuePlan::Struct(_) => "an object",
            ValuePlan::Vector(..) => "an array of numbers",
        }
    }
}
