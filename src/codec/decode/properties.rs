//! Promises that hold for any records.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::tests::{LIMITS, texts};
use super::*;

/// Any JSON value. Its floats are short, for the other parser rounds long ones wrongly; and none is an integer past ±2^53,
/// which prints without fraction and would be read again as an integer that float64 refuses.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1000..1000_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1_000_000..1_000_000_i64).prop_map(|number| Value::from(number as f64 / 64.0)),
        "[a-c\"\\\\\n\u{1}é😀]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner).prop_map(Value::Object),
        ]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[a-d.\"%]{0,1}", inner, 0..5).prop_map(Map::from_iter)
}

fn batch() -> impl Strategy<Value = Vec<Map<String, Value>>> {
    prop::collection::vec(object(value()), 1..6)
}

fn body(records: &[Map<String, Value>]) -> String {
    records.iter().map(|record| Value::Object(record.clone()).to_string() + "\n").collect()
}

fn columns<'a>(schema: Option<&'a PreparedSchema>, mode: SchemaMode, wide: &'a WideColumns) -> Target<'a> {
    Target::Columns { schema, mode, wide }
}

fn prepared(schema: &Schema) -> PreparedSchema {
    PreparedSchema::new(Arc::new(schema.clone()))
}

/// What a schema makes of a batch, evolving.
fn evolved(text: &str, schema: Option<&Schema>) -> Result<(Schema, Records), DecodeError> {
    let wide = WideColumns::default();
    match decode(
        text.as_bytes(),
        Form::Ndjson,
        columns(schema.map(prepared).as_ref(), SchemaMode::Evolve, &wide),
        &LIMITS,
    )? {
        Decoded::Fits(records) => Ok((schema.cloned().unwrap_or_default(), records)),
        Decoded::Evolves(evolution) => Ok((evolution.schema, evolution.records)),
    }
}

/// The same record with members in another order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{} : {}", Value::from(key.as_str()), reversed(value)))
                .collect();
            members.reverse();
            format!("{{{}}}", members.join(" ,\t"))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(" , ")),
        scalar => scalar.to_string(),
    }
}

/// Without nulls, at every depth of objects; numbers as doubles, as far as that tells them apart.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 => Value::from(float as i64),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

/// Every type, under the keys that the values come with.
fn every_type() -> Schema {
    super::tests::schema(json!([
        {"name": "a", "type": "struct", "fields": [{"name": "a", "type": "int8"}, {"name": "b", "type": "date32"},
            {"name": "c", "type": "vector", "dim": 2}, {"name": "d", "type": "timestamp"}]},
        {"name": "b", "type": "list", "items": {"type": "uint16"}},
        {"name": "c", "type": "float32"},
        {"name": "d", "type": "list", "items": {"type": "struct", "fields": [{"name": "a", "type": "binary"}]}},
        {"name": ".", "type": "int64"},
        {"name": "%", "type": "bool"},
        {"name": "", "type": "json"},
    ]))
}

proptest! {
    #[test]
    fn what_a_schema_takes_it_takes_again(records in batch()) {
        let schema = every_type();
        let Ok((schema, once)) = evolved(&body(&records), Some(&schema)) else { return Ok(()) };
        let (last, again) = evolved(std::str::from_utf8(&once.values.text()).unwrap(), Some(&schema)).unwrap();
        prop_assert_eq!((last, again.values.text()), (schema, once.values.text()));
    }

    #[test]
    fn inference_refuses_no_object_and_keeps_every_value(records in batch()) {
        let (_, decoded) = evolved(&body(&records), None).unwrap();
        prop_assert_eq!(decoded.values.len(), records.len());
        for (text, record) in texts(&decoded).iter().zip(&records) {
            let read: Value = serde_json::from_str(text).unwrap();
            prop_assert_eq!(plain(&read), plain(&Value::Object(record.clone())));
        }
    }

    #[test]
    fn the_one_form_decodes_to_itself(records in batch()) {
        let (schema, once) = evolved(&body(&records), None).unwrap();
        let wide = WideColumns::default();
        let text = once.values.text();
        for form in [Form::Ndjson, Form::Sequence] {
            let again = decode(&text, form, columns(Some(&prepared(&schema)), SchemaMode::Strict, &wide), &LIMITS).unwrap();
            let Decoded::Fits(again) = again else { panic!("nothing new") };
            prop_assert_eq!(again.values.text(), text.clone());
        }
    }

    #[test]
    fn the_order_of_members_makes_no_difference(records in batch()) {
        let text = body(&records);
        let (schema, once) = evolved(&text, None).unwrap();
        let other: String = records.iter().map(|record| reversed(&Value::Object(record.clone())) + "\n").collect();
        let (_, shuffled) = evolved(&other, Some(&schema)).unwrap();
        // A json column keeps the text as given.
        if !schema.to_json().to_string().contains("\"json\"") {
            prop_assert_eq!(shuffled.values.text(), once.values.text());
        }
        for (one, other) in texts(&once).iter().zip(&texts(&shuffled)) {
            let (one, other): (Value, Value) = (serde_json::from_str(one).unwrap(), serde_json::from_str(other).unwrap());
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn an_evolution_changes_no_text_that_was_stored(first in batch(), second in batch()) {
        let (before, stored) = evolved(&body(&first), None).unwrap();
        let wide = stored.wide.clone();
        let next = decode(body(&second).as_bytes(), Form::Ndjson, columns(Some(&prepared(&before)), SchemaMode::Evolve, &wide), &LIMITS);
        let Ok(Decoded::Evolves(evolution)) = next else { return Ok(()) };
        prop_assert!(Schema::from_json(&evolution.schema.to_json()).is_ok());
        let now = prepared(&evolution.schema);
        let target = columns(Some(&now), SchemaMode::Strict, &wide);
        let Decoded::Fits(again) = decode(&stored.values.text(), Form::Ndjson, target, &LIMITS).unwrap() else {
            panic!("strict does not evolve")
        };
        prop_assert_eq!(again.values.text(), stored.values.text());
        // The same records bring nothing more.
        let (last, _) = evolved(&body(&second), Some(&evolution.schema)).unwrap();
        prop_assert_eq!(last, evolution.schema);
    }

    #[test]
    fn documents_are_what_another_parser_reads(records in batch()) {
        let text = body(&records);
        let Decoded::Fits(kept) = decode(text.as_bytes(), Form::Ndjson, Target::Documents, &LIMITS).unwrap() else {
            panic!("documents have no schema")
        };
        prop_assert_eq!(kept.values.text(), text.as_bytes());
    }

    #[test]
    fn json_is_what_another_parser_takes_for_json(text in "[\\[\\]{}:,\"\\\\a0-2.eE+\\-nulltruefalse \n]{0,24}") {
        let ours = decode(text.as_bytes(), Form::Json, Target::Documents, &LIMITS);
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        let malformed = matches!(ours, Err(DecodeError::InvalidJson { .. }));
        let blank = text.trim().is_empty();
        prop_assert_eq!(malformed, theirs.is_err() && !blank, "{:?} {:?} {:?}", text, ours, theirs);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}:,\"\\\\u0-9.eE\\-naN \n]{0,40}|(\\{\"[a-d.%]?\":[\\[\\]{}:,\"0-9.eE\\-a]{0,6}\\}){1,3}") {
        let wide = WideColumns::default();
        let all = every_type();
        for body in [bytes.as_slice(), text.as_bytes()] {
            for form in [Form::Json, Form::Ndjson, Form::Sequence] {
                let all = prepared(&all);
                let known = |mode| columns(Some(&all), mode, &wide);
                let (strict, evolving) = (known(SchemaMode::Strict), known(SchemaMode::Evolve));
                for target in [Target::Documents, columns(None, SchemaMode::Evolve, &wide), strict, evolving] {
                    let decoded = decode(body, form, target, &LIMITS);
                    prop_assert!(!matches!(decoded, Ok(Decoded::Fits(records)) if records.values.is_empty()));
                }
            }
        }
    }
}
