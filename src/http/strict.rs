//! JSON values that tell of a member given twice, which a map alone would hide: the last one would win in silence.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value, with the path to the first member that stands twice in its object.
#[derive(Debug)]
pub(crate) struct Strict {
    pub(crate) value: Value,
    /// Members and indexes, with dots between them.
    pub(crate) repeated: Option<String>,
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

fn scalar<E>(value: impl Into<Value>) -> Result<Strict, E> {
    Ok(Strict { value: value.into(), repeated: None })
}

impl<'de> Visitor<'de> for Reader {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        scalar(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        scalar(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        scalar(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        scalar(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        scalar(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        scalar(value)
    }

    fn visit_string<E>(self, value: String) -> Result<Strict, E> {
        scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Strict, A::Error> {
        let (mut items, mut first) = (Vec::new(), None);
        while let Some(Strict { value, repeated }) = access.next_element()? {
            first = first.or_else(|| repeated.map(|path| format!("{}.{path}", items.len())));
            items.push(value);
        }
        Ok(Strict { value: Value::Array(items), repeated: first })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Strict, A::Error> {
        let (mut members, mut first) = (Map::new(), None);
        while let Some((name, Strict { value, repeated })) = access.next_entry::<String, Strict>()? {
            first = first.or_else(|| repeated.map(|path| format!("{name}.{path}")));
            if members.contains_key(&name) {
                first.get_or_insert(name);
            } else {
                members.insert(name, value);
            }
        }
        Ok(Strict { value: Value::Object(members), repeated: first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_serde_json_reads_them() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5",
            "1e2",
            "\"a\\u0041\"",
            "[1,[],{}]",
            "{\"a\":{\"b\":[null]}}",
        ] {
            let strict: Strict = serde_json::from_str(text).unwrap();
            assert_eq!((strict.value, strict.repeated), (serde_json::from_str(text).unwrap(), None), "{text}");
        }
    }

    #[test]
    fn the_first_repeated_member_is_named_wherever_it_is() {
        for (text, path) in [
            ("{\"a\":1,\"a\":1}", "a"),
            ("{\"a\":1,\"\\u0061\":1}", "a"),
            ("{\"a\":{\"b\":1,\"b\":2}}", "a.b"),
            ("{\"a\":[0,{\"b\":1,\"b\":2}]}", "a.1.b"),
            ("{\"a\":{\"b\":1,\"b\":2},\"a\":1}", "a.b"),
            ("[{\"c\":{}},{\"c\":1,\"c\":1}]", "1.c"),
        ] {
            let strict: Strict = serde_json::from_str(text).unwrap();
            assert_eq!(strict.repeated.as_deref(), Some(path), "{text}");
        }
        let same_name_elsewhere: Strict = serde_json::from_str("{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]}}").unwrap();
        assert_eq!(same_name_elsewhere.repeated, None);
    }
}
