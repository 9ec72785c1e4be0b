//! Schemas as the API writes them.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::schema::{COLUMNS_MAX, DataType, Field, FloatType, IntType, LEVELS_MAX, Schema, VECTOR_ITEMS_MAX};

/// Why a JSON value is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchema {
    /// Something in it is not what a schema has.
    #[error("{detail}")]
    Malformed {
        /// RFC 6901 pointer inside the schema object.
        pointer: String,
        /// One sentence that a person can act on.
        detail: String,
    },
    /// A number in it is not one of those that it can be.
    #[error("{detail}")]
    OutOfRange {
        /// RFC 6901 pointer inside the schema object.
        pointer: String,
        /// One sentence that a person can act on.
        detail: String,
    },
    /// It has more leaf columns than a topic can have.
    #[error("The schema has {count} leaf columns; a topic can have {COLUMNS_MAX}.")]
    TooManyColumns {
        /// How many it has.
        count: usize,
    },
}

fn malformed(pointer: &str, detail: impl Into<String>) -> InvalidSchema {
    InvalidSchema::Malformed { pointer: pointer.to_owned(), detail: detail.into() }
}

fn out_of_range(pointer: &str, detail: impl Into<String>) -> InvalidSchema {
    InvalidSchema::OutOfRange { pointer: pointer.to_owned(), detail: detail.into() }
}

impl Schema {
    /// Reads `{"fields": […]}`.
    ///
    /// # Errors
    /// [`InvalidSchema`], naming the place and what would be right.
    pub fn from_json(json: &Value) -> Result<Self, InvalidSchema> {
        let schema = Self::from_stored(json)?;
        match schema.leaf_count() {
            count if count > COLUMNS_MAX => Err(InvalidSchema::TooManyColumns { count }),
            _ if schema.vector_items() > VECTOR_ITEMS_MAX => Err(out_of_range("/fields", wide_vectors())),
            _ => Ok(schema),
        }
    }

    /// Reads a schema that was taken before, whatever may be taken now.
    ///
    /// # Errors
    /// [`InvalidSchema`].
    pub fn from_stored(json: &Value) -> Result<Self, InvalidSchema> {
        let object = json.as_object().ok_or_else(|| malformed("", "A schema is an object with `fields`."))?;
        known_members(object, &["fields"], "")?;
        Ok(Self { fields: parse_fields(object.get("fields"), "", 1)? })
    }

    /// `{"fields": […]}`, which [`Schema::from_json`] reads.
    pub fn to_json(&self) -> Value {
        Value::Object(Map::from_iter([("fields".to_owned(), fields_json(&self.fields))]))
    }

    /// The BLAKE3 hash of the schema's JSON text with sorted members, in hexadecimal digits: equal for equal schemas, in
    /// every release.
    pub fn fingerprint(&self) -> String {
        let mut text = String::from("{\"fields\":");
        sorted_text(&fields_json(&self.fields), &mut text);
        text.push('}');
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

/// JSON text with members sorted by key, whatever order the map has them in.
fn sorted_text(json: &Value, out: &mut String) {
    match json {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                sorted_text(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                sorted_text(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn fields_json(fields: &[Field]) -> Value {
    Value::Array(fields.iter().map(Field::to_json).collect())
}

impl Field {
    /// The field object: `name`, `type`, `nullable` and what the type has.
    pub fn to_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("name".to_owned(), self.name.as_str().into());
        type_json(&self.data_type, &mut json);
        json.insert("nullable".to_owned(), self.nullable.into());
        Value::Object(json)
    }

    /// Reads a field object as [`Schema::from_json`] does.
    ///
    /// # Errors
    /// [`InvalidSchema`], with a pointer inside the field object.
    pub fn from_json(json: &Value) -> Result<Self, InvalidSchema> {
        parse_field(json, "", 1)
    }
}

fn type_json(data_type: &DataType, json: &mut Map<String, Value>) {
    json.insert("type".to_owned(), data_type.name().into());
    match data_type {
        DataType::List(item) => {
            let mut items = Map::new();
            type_json(item, &mut items);
            json.insert("items".to_owned(), Value::Object(items));
        }
        DataType::Struct(fields) => {
            json.insert("fields".to_owned(), fields_json(fields));
        }
        DataType::Vector { dim, item } => {
            json.insert("dim".to_owned(), (*dim).into());
            json.insert("item".to_owned(), item.name().into());
        }
        _ => {}
    }
}

fn known_members(object: &Map<String, Value>, known: &[&str], pointer: &str) -> Result<(), InvalidSchema> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            Err(malformed(
                &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
                format!("`{key}` is not known here; known are {}.", known.join(", ")),
            ))
        }
    }
}

/// A member that is there and not null.
fn given<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn parse_fields(json: Option<&Value>, pointer: &str, level: usize) -> Result<Vec<Field>, InvalidSchema> {
    let pointer = format!("{pointer}/fields");
    let items = json.and_then(Value::as_array).ok_or_else(|| malformed(&pointer, "`fields` is an array of fields."))?;
    if items.is_empty() {
        return Err(malformed(&pointer, "`fields` has at least one field."));
    }
    if items.len() > COLUMNS_MAX {
        return Err(InvalidSchema::TooManyColumns { count: items.len() });
    }
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let field = parse_field(item, &pointer, level)?;
        if !names.insert(field.name.clone()) {
            return Err(malformed(&pointer, format!("The name {:?} stands twice.", field.name)));
        }
        fields.push(field);
    }
    Ok(fields)
}

fn parse_field(json: &Value, pointer: &str, level: usize) -> Result<Field, InvalidSchema> {
    let object = json.as_object().ok_or_else(|| malformed(pointer, "A field is an object with `name` and `type`."))?;
    let name = object.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| malformed(&format!("{pointer}/name"), "A field has a `name`, a string."))?;
    let data_type = parse_type(object, &["name", "type", "nullable"], pointer, level)?;
    let nullable = parse_nullable(object, pointer)?;
    Ok(Field { name: name.to_owned(), data_type, nullable })
}

fn parse_nullable(object: &Map<String, Value>, pointer: &str) -> Result<bool, InvalidSchema> {
    match given(object, "nullable") {
        None => Ok(true),
        Some(Value::Bool(nullable)) => Ok(*nullable),
        Some(_) => Err(malformed(&format!("{pointer}/nullable"), "`nullable` is true or false.")),
    }
}

/// The words of the types that have no members of their own.
fn plain_type(word: &str) -> Option<DataType> {
    Some(match word {
        "bool" => DataType::Bool,
        "float32" => DataType::Float(FloatType::F32),
        "float64" => DataType::Float(FloatType::F64),
        "string" => DataType::String,
        "binary" => DataType::Binary,
        "date32" => DataType::Date32,
        "timestamp" => DataType::Timestamp,
        "json" => DataType::Json,
        _ => return IntType::ALL.into_iter().find(|int| int.name() == word).map(DataType::Int),
    })
}

const TYPES: &str = "`bool`, `int8`, `int16`, `int32`, `int64`, `uint8`, `uint16`, `uint32`, `uint64`, `float32`, \
                     `float64`, `string`, `binary`, `date32`, `timestamp`, `json`, `list`, `struct`, `vector`";

fn parse_type(
    object: &Map<String, Value>,
    common: &[&str],
    pointer: &str,
    level: usize,
) -> Result<DataType, InvalidSchema> {
    let at = format!("{pointer}/type");
    let word = object.get("type").and_then(Value::as_str);
    let word = word.ok_or_else(|| malformed(&at, format!("A field has a `type`, one of {TYPES}.")))?;
    let own: &[&str] = match word {
        "list" => &["items"],
        "struct" => &["fields"],
        "vector" => &["dim", "item"],
        _ => &[],
    };
    if level > LEVELS_MAX {
        return Err(malformed(pointer, format!("Columns nest {LEVELS_MAX} levels at most; use `json` below.")));
    }
    let parsed = match word {
        "list" => DataType::List(Box::new(parse_items(object.get("items"), pointer, level + 1)?)),
        "struct" => DataType::Struct(parse_fields(object.get("fields"), pointer, level + 1)?),
        "vector" => parse_vector(object, pointer)?,
        "float16" => return Err(malformed(&at, "`float16` is only the `item` of a `vector`; use `float32`.")),
        _ => plain_type(word).ok_or_else(|| malformed(&at, format!("`{word}` is no type; types are {TYPES}.")))?,
    };
    known_members(object, &[common, own].concat(), pointer)?;
    Ok(parsed)
}

fn parse_items(json: Option<&Value>, pointer: &str, level: usize) -> Result<DataType, InvalidSchema> {
    let pointer = format!("{pointer}/items");
    let object = json
        .and_then(Value::as_object)
        .ok_or_else(|| malformed(&pointer, "A `list` has `items`, an object with the `type` of its items."))?;
    let item = parse_type(object, &["type", "nullable"], &pointer, level)?;
    if parse_nullable(object, &pointer)? {
        Ok(item)
    } else {
        Err(malformed(&format!("{pointer}/nullable"), "The items of a `list` are always nullable."))
    }
}

fn wide_vectors() -> String {
    format!("The vectors of a row have at most {VECTOR_ITEMS_MAX} items together.")
}

fn parse_vector(object: &Map<String, Value>, pointer: &str) -> Result<DataType, InvalidSchema> {
    let pointer_to_dim = format!("{pointer}/dim");
    let wanted = "A `vector` has a `dim`, an integer above 0.";
    let dim = given(object, "dim").filter(|dim| dim.is_number()).ok_or_else(|| malformed(&pointer_to_dim, wanted))?;
    let dim = dim.as_u64().filter(|dim| *dim > 0).ok_or_else(|| out_of_range(&pointer_to_dim, wanted))?;
    // Lance and Arrow count a fixed-size list's items with an i32.
    let dim =
        i32::try_from(dim).ok().map(i32::unsigned_abs).ok_or_else(|| out_of_range(&pointer_to_dim, wide_vectors()))?;
    let item = match given(object, "item").map(Value::as_str) {
        None => FloatType::F32,
        Some(word) => [FloatType::F16, FloatType::F32, FloatType::F64]
            .into_iter()
            .find(|float| Some(float.name()) == word)
            .ok_or_else(|| malformed(&format!("{pointer}/item"), "`item` is `float16`, `float32` or `float64`."))?,
    };
    Ok(DataType::Vector { dim, item })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_comes_back_from_its_json() {
        let json = json!({"fields": [
            {"name": "id", "type": "string", "nullable": false},
            {"name": "", "type": "list", "items": {"type": "list", "items": {"type": "uint8"}}, "nullable": true},
            {"name": "s", "type": "struct", "nullable": true, "fields": [
                {"name": "v", "type": "vector", "dim": 3, "item": "float16", "nullable": true}]},
        ]});
        let schema = Schema::from_json(&json).unwrap();
        assert_eq!((schema.to_json(), schema.leaf_count()), (json, 3));
        let defaults = json!({"fields": [{"name": "v", "type": "vector", "dim": 1, "nullable": null}]});
        let item = json!({"name": "v", "type": "vector", "dim": 1, "item": "float32", "nullable": true});
        assert_eq!(Schema::from_json(&defaults).unwrap().fields[0].to_json(), item);
        for word in ["bool", "int8", "uint64", "float32", "float64", "binary", "date32", "timestamp", "json"] {
            let field = Field::from_json(&json!({"name": "a", "type": word})).unwrap();
            assert_eq!(field.data_type.name(), word);
        }
    }

    #[test]
    fn a_fingerprint_never_changes() {
        let schema = |name: &str| Schema::from_json(&json!({"fields": [{"name": name, "type": "int64"}]})).unwrap();
        let text = r#"{"fields":[{"name":"a","nullable":true,"type":"int64"}]}"#;
        assert_eq!(schema("a").fingerprint(), blake3::hash(text.as_bytes()).to_hex().to_string());
        assert_ne!(schema("a").fingerprint(), schema("b").fingerprint());
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        let mut deep = json!({"type": "int8"});
        for _ in 0..16 {
            deep = json!({"type": "list", "items": deep});
        }
        deep["name"] = "d".into();
        let cases = [
            (json!([]), ""),
            (json!({}), "/fields"),
            (json!({"fields": []}), "/fields"),
            (json!({"fields": [1]}), "/fields/0"),
            (json!({"field": []}), "/field"),
            (json!({"fields": [{"type": "bool"}]}), "/fields/0/name"),
            (json!({"fields": [{"name": "a"}]}), "/fields/0/type"),
            (json!({"fields": [{"name": "a", "type": "float16"}]}), "/fields/0/type"),
            (json!({"fields": [{"name": "a", "type": "Int8"}]}), "/fields/0/type"),
            (json!({"fields": [{"name": "a", "type": "bool", "nullable": 1}]}), "/fields/0/nullable"),
            (json!({"fields": [{"name": "a", "type": "bool", "a/b": 1}]}), "/fields/0/a~1b"),
            (json!({"fields": [{"name": "a", "type": "bool", "dim": 1}]}), "/fields/0/dim"),
            (json!({"fields": [{"name": "a", "type": "bool"}, {"name": "a", "type": "bool"}]}), "/fields/1"),
            (json!({"fields": [{"name": "a", "type": "list"}]}), "/fields/0/items"),
            (json!({"fields": [{"name": "a", "type": "list", "items": {"type": "x"}}]}), "/fields/0/items/type"),
            (
                json!({"fields": [{"name": "a", "type": "list", "items": {"type": "bool", "nullable": false}}]}),
                "/fields/0/items/nullable",
            ),
            (json!({"fields": [{"name": "a", "type": "struct", "fields": []}]}), "/fields/0/fields"),
            (json!({"fields": [{"name": "a", "type": "vector", "dim": 0}]}), "/fields/0/dim"),
            (json!({"fields": [{"name": "a", "type": "vector", "dim": 2.0}]}), "/fields/0/dim"),
            (json!({"fields": [{"name": "a", "type": "vector", "dim": 65_537}]}), "/fields"),
            (json!({"fields": [{"name": "a", "type": "vector", "dim": 1_u64 << 33}]}), "/fields/0/dim"),
            (
                json!({"fields": [{"name": "a", "type": "vector", "dim": 65_536}, {"name": "b", "type": "vector", "dim": 1}]}),
                "/fields",
            ),
            (json!({"fields": [{"name": "a", "type": "vector", "dim": 2, "item": "int8"}]}), "/fields/0/item"),
            (json!({"fields": [deep]}), &*format!("/fields/0{}", "/items".repeat(16))),
        ];
        for (json, place) in cases {
            let (pointer, is_number) = match Schema::from_json(&json) {
                Err(InvalidSchema::Malformed { pointer, .. }) => (pointer, false),
                Err(InvalidSchema::OutOfRange { pointer, .. }) => (pointer, true),
                other => panic!("{json}: {other:?}"),
            };
            assert_eq!(pointer, place, "{json}");
            let dim = json.pointer("/fields/0/dim").filter(|_| json["fields"][0]["type"] == "vector");
            let item = json.pointer("/fields/0/item");
            assert_eq!(is_number, dim.is_some_and(serde_json::Value::is_number) && item.is_none(), "{json}");
        }
        let fields: Vec<Value> = (0..1_001).map(|index| json!({"name": index.to_string(), "type": "bool"})).collect();
        assert_eq!(Schema::from_json(&json!({"fields": fields})), Err(InvalidSchema::TooManyColumns { count: 1_001 }));
        assert!(Schema::from_json(&json!({"fields": fields[..1_000]})).is_ok());
    }
}
