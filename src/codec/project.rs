//! A choice of fields.

use std::sync::Arc;

use bytes::Bytes;
use jiter::Peek;

use crate::codec::read::{Malformed, Reader};
use crate::codec::text::unescape;
use crate::codec::{Chunk, Values};
use crate::schema::{Columns, DataType, Field, FieldPath, Schema};

/// The fields to keep of each value, as `fields=a,b.c` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSelection {
    root: Chosen,
}

/// A list of fields that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InvalidFields {
    /// One sentence that a person can act on.
    pub detail: String,
}

/// The chosen members of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chosen {
    /// By key; none below it for the whole value.
    members: Vec<(String, Option<Chosen>)>,
}

impl Chosen {
    fn add(&mut self, keys: &[String]) {
        let Some((key, rest)) = keys.split_first() else { return };
        let at = match self.members.iter().position(|(known, _)| known == key) {
            Some(at) => at,
            None => {
                self.members.push((key.clone(), Some(Chosen::default())));
                self.members.len() - 1
            }
        };
        match self.members.get_mut(at) {
            Some((_, below)) if rest.is_empty() => *below = None,
            Some((_, Some(below))) => below.add(rest),
            // The whole value is chosen already.
            _ => {}
        }
    }
}

impl FieldSelection {
    /// Reads `a,b.c,"odd name".x`: names, bare or in double quotes (doubled inside), nested by `.`.
    ///
    /// # Errors
    /// [`InvalidFields`] for an empty name, an unclosed quote, or a bare name with white space or quotes in it.
    pub fn parse(text: &str) -> Result<Self, InvalidFields> {
        let paths = FieldPath::parse_list(text).map_err(|err| InvalidFields { detail: err.detail })?;
        Ok(Self::of(&paths))
    }

    /// These fields.
    pub fn of(paths: &[FieldPath]) -> Self {
        Self { root: Chosen::default() }.and(paths)
    }

    /// These fields besides.
    #[must_use]
    pub fn and(&self, paths: &[FieldPath]) -> Self {
        let mut root = self.root.clone();
        paths.iter().for_each(|path| root.add(&path.0));
        Self { root }
    }

    /// The chunk with only the chosen fields of each value, in the value's own order; offsets and times are kept. A path
    /// leads through the objects of an array; what it leads to nothing in is left out.
    #[must_use]
    pub fn apply(&self, chunk: &Chunk) -> Chunk {
        let mut out = Vec::new();
        let mut ends = Vec::with_capacity(chunk.len());
        for index in 0..chunk.len() {
            let begin = out.len();
            let kept = std::str::from_utf8(chunk.value(index)).ok().map(|text| self.keep(text, &mut out));
            if !matches!(kept, Some(Ok(()))) {
                // Stored values are JSON objects; what is none has no fields.
                out.truncate(begin);
                out.extend_from_slice(b"{}");
            }
            out.push(b'\n');
            // What is left of a chunk is no longer than the chunk.
            ends.push(u32::try_from(out.len()).unwrap_or(u32::MAX));
        }
        let values = Values::new(Bytes::from(out), ends);
        // Times do not decrease, so equal ends are one time.
        match chunk.time(0) {
            time if time == chunk.last_time() => Chunk::new(chunk.first(), time, values),
            _ => Chunk::with_times(chunk.first(), (0..chunk.len()).map(|index| chunk.time(index)).collect(), values),
        }
    }

    /// The columns of a schema that are chosen, whole or in parts, in the schema's own order. What is inside of JSON is no
    /// column: such a column comes whole; a struct of which nothing is chosen is left out.
    pub fn columns(&self, schema: &Schema) -> Schema {
        Schema { fields: chosen_fields(&schema.fields, &self.root) }
    }

    /// The top-level columns that anything is chosen of, whole: what must be read before the choice is made. All of them where
    /// nothing is named.
    #[must_use]
    pub fn to_read(fields: Option<&Self>, columns: &Columns) -> Columns {
        let Some(Self { root, .. }) = fields else { return columns.clone() };
        let is_chosen = |field: &&Field| root.members.iter().any(|(key, _)| *key == field.name);
        let fields = columns.schema.fields.iter().filter(is_chosen).cloned().collect();
        Columns { schema: Arc::new(Schema { fields }), lineage: Arc::clone(&columns.lineage), version: columns.version }
    }

    fn keep(&self, text: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut reader = Reader::new(text, 0, text.len());
        reader.peek()?;
        keep_members(&mut reader, &self.root, out)
    }
}

fn chosen_fields(fields: &[Field], chosen: &Chosen) -> Vec<Field> {
    let keep = |field: &Field| {
        let (_, below) = chosen.members.iter().find(|(key, _)| *key == field.name)?;
        let data_type = match below {
            None => field.data_type.clone(),
            Some(below) => chosen_part(&field.data_type, below)?,
        };
        Some(Field { data_type, ..field.clone() })
    };
    fields.iter().filter_map(keep).collect()
}

/// What is chosen of a type; none where it has no such part.
fn chosen_part(data_type: &DataType, chosen: &Chosen) -> Option<DataType> {
    match data_type {
        DataType::Struct(fields) => {
            let kept = chosen_fields(fields, chosen);
            (!kept.is_empty()).then_some(DataType::Struct(kept))
        }
        DataType::List(item) => Some(DataType::List(Box::new(chosen_part(item, chosen)?))),
        DataType::Json => Some(DataType::Json),
        _ => None,
    }
}

/// Writes the chosen members of the object that was peeked.
fn keep_members(reader: &mut Reader<'_>, chosen: &Chosen, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'{');
    let begin = out.len();
    let mut key = reader.first_raw_key()?;
    while let Some(raw) = key {
        let name = unescape(raw);
        match chosen.members.iter().find(|(key, _)| *key == name) {
            None => reader.skip()?,
            Some((_, below)) => {
                let before = out.len();
                out.extend_from_slice(if before > begin { b",\"" } else { b"\"" });
                out.extend_from_slice(raw.as_bytes());
                out.extend_from_slice(b"\":");
                let peek = reader.peek()?;
                if !keep_value(reader, peek, below.as_ref(), out)? {
                    out.truncate(before);
                }
            }
        }
        key = reader.next_raw_key()?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes what is chosen of the value that was peeked; false, and nothing that counts, where nothing in it can be.
fn keep_value(
    reader: &mut Reader<'_>,
    peek: Peek,
    chosen: Option<&Chosen>,
    out: &mut Vec<u8>,
) -> Result<bool, Malformed> {
    let Some(chosen) = chosen else {
        let from = reader.index();
        reader.skip()?;
        out.extend_from_slice(reader.slice(from, reader.index()).as_bytes());
        return Ok(true);
    };
    match peek {
        Peek::Object => keep_members(reader, chosen, out).map(|()| true),
        Peek::Array => keep_items(reader, chosen, out),
        _ => reader.skip().map(|()| false),
    }
}

/// Writes what is chosen of an array's items: of objects their members; nulls hold their places; other scalars go.
fn keep_items(reader: &mut Reader<'_>, chosen: &Chosen, out: &mut Vec<u8>) -> Result<bool, Malformed> {
    out.push(b'[');
    let begin = out.len();
    let mut is_empty = true;
    let mut item = reader.first_item()?;
    while let Some(peek) = item {
        is_empty = false;
        let before = out.len();
        if before > begin {
            out.push(b',');
        }
        let kept = if peek == Peek::Null {
            reader.null()?;
            out.extend_from_slice(b"null");
            true
        } else {
            keep_value(reader, peek, Some(chosen), out)?
        };
        if !kept {
            out.truncate(before);
        }
        item = reader.next_item()?;
    }
    let kept = is_empty || out.len() > begin;
    out.push(b']');
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, Timestamp};

    fn chunk(lines: &str) -> Chunk {
        let values = Values::from_text(Bytes::from(lines.to_owned())).unwrap();
        Chunk::new(Offset::new(3).unwrap(), Timestamp::from_micros(9), values)
    }

    #[test]
    fn chosen_members_stay_in_the_order_of_the_value() {
        let value =
            r#"{"a":1,"b":{"c":[1,{"x":2}],"d":"x,}","e":null},"odd name":{"x":1},"l":[{"b":1,"c":2},null,{"c":3},7]}"#;
        let cases = [
            ("a", r#"{"a":1}"#),
            ("b.d,a", r#"{"a":1,"b":{"d":"x,}"}}"#),
            ("b,b.c", r#"{"b":{"c":[1,{"x":2}],"d":"x,}","e":null}}"#),
            ("b.c,b", r#"{"b":{"c":[1,{"x":2}],"d":"x,}","e":null}}"#),
            ("b.e", r#"{"b":{"e":null}}"#),
            ("b.none", r#"{"b":{}}"#),
            ("a.none", "{}"),
            ("none,A", "{}"),
            ("\"odd name\".x", r#"{"odd name":{"x":1}}"#),
            ("l.b", r#"{"l":[{"b":1},null,{}]}"#),
            ("b.c.x", r#"{"b":{"c":[{"x":2}]}}"#),
        ];
        for (fields, expected) in cases {
            let kept = FieldSelection::parse(fields).unwrap().apply(&chunk(&format!("{value}\n")));
            assert_eq!(std::str::from_utf8(kept.value(0)).unwrap(), expected, "{fields}");
        }
    }

    #[test]
    fn keys_are_compared_as_text_not_as_spelled() {
        let kept = FieldSelection::parse("a").unwrap().apply(&chunk("{\"\\u0061\":1,\"n\":[1,2]}\n"));
        assert_eq!(kept.value(0), br#"{"\u0061":1}"#);
        let none = FieldSelection::parse("n.x").unwrap().apply(&chunk("{\"n\":[1,2]}\n"));
        assert_eq!(none.value(0), b"{}");
    }

    #[test]
    fn offsets_and_times_are_kept() {
        let values = Values::from_text(Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n")).unwrap();
        let times = vec![Timestamp::from_micros(1), Timestamp::from_micros(2)];
        let whole = Chunk::with_times(Offset::new(3).unwrap(), times, values);
        let kept = FieldSelection::parse("b").unwrap().apply(&whole);
        assert_eq!((kept.first().get(), kept.len(), kept.time(0).as_micros(), kept.time(1).as_micros()), (3, 2, 1, 2));
        assert_eq!((kept.value(0), kept.value(1)), (&b"{}"[..], &b"{\"b\":2}"[..]));
        assert!(FieldSelection::parse("b").unwrap().apply(&whole.slice(2, 0)).is_empty());
    }
}
