//! Values in the shape of an earlier schema version.
//!
//! Records are kept and read under the newest schema. Seen as an earlier version they have its fields only, in its order and
//! under its names. What was dropped since is gone; what was converted since reads as it does today: a vector is the list of
//! numbers that it was made of, a typed value of a `json` field the JSON that it prints as.

use std::collections::HashMap;

use jiter::Peek;

use crate::codec::encode::scalar::{write_f16, write_f32, write_str};
use crate::codec::number;
use crate::codec::read::{Malformed, Reader};
use crate::codec::text::unescape;
use crate::codec::{Chunk, Unmappable};
use crate::schema::{DataType, Field, FloatType, Move, Posted, Schema};

/// What one schema version shows of records in the form of a later one.
#[derive(Clone, Debug)]
pub struct SchemaView {
    root: Members,
}

/// The members of an object that a version has, in its order.
#[derive(Clone, Debug)]
struct Members {
    fields: Vec<Member>,
    /// Where the member is that has this name today.
    places: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Member {
    /// Its key under the version, as it prints, with the colon.
    label: Vec<u8>,
    shape: Shape,
}

/// What a version shows of a value; of a list it is what is shown of each item.
#[derive(Clone, Debug)]
enum Shape {
    /// All of it, as it is.
    Whole,
    /// The numbers, which have been widened from this type since.
    Narrow(FloatType),
    /// These members of the objects.
    Members(Members),
}

/// A member while a view is made.
struct Traced {
    key: String,
    /// The name that it has by now; none once it is dropped.
    today: Option<String>,
    shape: TracedShape,
}

enum TracedShape {
    Whole,
    Float { item: FloatType, widened: bool },
    Members(Vec<Traced>),
}

impl Traced {
    fn all(fields: &[Field]) -> Vec<Self> {
        let traced = |field: &Field| {
            let shape = TracedShape::of(&field.data_type);
            Self { key: field.name.clone(), today: Some(field.name.clone()), shape }
        };
        fields.iter().map(traced).collect()
    }

    /// What a step makes of the members that it finds; it passes over what the version does not have.
    fn follow(members: &mut [Self], step: &Move, path: &[String]) {
        let Some((key, rest)) = path.split_first() else { return };
        let Some(member) = members.iter_mut().find(|member| member.today.as_ref() == Some(key)) else { return };
        if !rest.is_empty() {
            if let TracedShape::Members(members) = &mut member.shape {
                Self::follow(members, step, rest);
            }
            return;
        }
        match step {
            Move::Rename { to, .. } => member.today = Some(to.clone()),
            Move::Drop { .. } => member.today = None,
            Move::Retype { to, .. } => {
                if let (TracedShape::Float { item, widened }, Some(now)) = (&mut member.shape, float_of(&to.data_type))
                {
                    *widened |= item.bits() < now.bits();
                }
            }
        }
    }
}

impl TracedShape {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Struct(fields) => TracedShape::Members(Traced::all(fields)),
            DataType::List(item) => Self::of(item),
            other => float_of(other).map_or(TracedShape::Whole, |item| TracedShape::Float { item, widened: false }),
        }
    }
}

/// The floats that values of a type are made of.
fn float_of(data_type: &DataType) -> Option<FloatType> {
    match data_type {
        DataType::Float(float) => Some(*float),
        DataType::Vector { item, .. } => Some(*item),
        DataType::List(item) => float_of(item),
        _ => None,
    }
}

impl From<Vec<Traced>> for Members {
    fn from(traced: Vec<Traced>) -> Self {
        let mut members = Members { fields: Vec::new(), places: HashMap::new() };
        for Traced { key, today, shape } in traced {
            let Some(today) = today else { continue };
            let mut label = Vec::new();
            write_str(&key, &mut label);
            label.push(b':');
            let shape = match shape {
                TracedShape::Float { item, widened: true } => Shape::Narrow(item),
                TracedShape::Whole | TracedShape::Float { .. } => Shape::Whole,
                TracedShape::Members(members) => Shape::Members(members.into()),
            };
            members.places.insert(today, members.fields.len());
            members.fields.push(Member { label, shape });
        }
        members
    }
}

impl SchemaView {
    /// What a version with this schema shows of records that have been taken through everything `posted` since.
    pub fn new(schema: &Schema, posted: &[Posted]) -> Self {
        let mut traced = Traced::all(&schema.fields);
        for step in posted.iter().flat_map(|posted| &posted.moves) {
            Traced::follow(&mut traced, step, &step.path().0);
        }
        Self { root: traced.into() }
    }

    /// The chunk with each value in the version's shape; offsets and times are kept.
    ///
    /// # Errors
    /// [`Unmappable`] where a value is no JSON object, which stored ones are.
    pub fn apply(&self, chunk: &Chunk) -> Result<Chunk, Unmappable> {
        let mut places = Vec::new();
        chunk.map_values(|text, out| {
            let mut reader = Reader::new(text, 0, text.len());
            let shown = reader.peek().and_then(|_| self.root.show(&mut reader, &mut places, out));
            shown.is_ok()
        })
    }
}

/// Where a member has been written, and its place in the version's order.
struct Placed {
    place: usize,
    from: usize,
    to: usize,
}

impl Members {
    /// Writes the members of the object that was peeked; `placed` is for the levels to note theirs, each above the last.
    fn show(&self, reader: &mut Reader<'_>, placed: &mut Vec<Placed>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.push(b'{');
        let (begin, level) = (out.len(), placed.len());
        let mut key = reader.first_raw_key()?;
        while let Some(raw) = key {
            let place = self.places.get(unescape(raw).as_ref()).copied();
            match place.and_then(|place| Some((place, self.fields.get(place)?))) {
                None => reader.skip()?,
                Some((place, member)) => {
                    if out.len() > begin {
                        out.push(b',');
                    }
                    let from = out.len();
                    out.extend_from_slice(&member.label);
                    let peek = reader.peek()?;
                    member.shape.show(reader, peek, placed, out)?;
                    placed.push(Placed { place, from, to: out.len() });
                }
            }
            key = reader.next_raw_key()?;
        }
        put_in_order(placed.get_mut(level..).unwrap_or_default(), begin, out);
        placed.truncate(level);
        out.push(b'}');
        Ok(())
    }
}

/// Puts the members that were written from `begin` on into the version's order, which most are in.
fn put_in_order(placed: &mut [Placed], begin: usize, out: &mut Vec<u8>) {
    if placed.is_sorted_by_key(|member| member.place) {
        return;
    }
    placed.sort_unstable_by_key(|member| member.place);
    let written = out.split_off(begin);
    for member in placed {
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(written.get(member.from - begin..member.to - begin).unwrap_or_default());
    }
}

impl Shape {
    /// Writes what is shown of the value that was peeked.
    fn show(
        &self,
        reader: &mut Reader<'_>,
        peek: Peek,
        placed: &mut Vec<Placed>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match (self, peek) {
            (Shape::Members(members), Peek::Object) => members.show(reader, placed, out),
            (Shape::Members(_) | Shape::Narrow(_), Peek::Array) => self.show_items(reader, placed, out),
            (Shape::Narrow(float), number) if number.is_num() => {
                write_narrow(reader.number(number)?, *float, out);
                Ok(())
            }
            _ => {
                let from = reader.index();
                reader.skip()?;
                out.extend_from_slice(reader.slice(from, reader.index()).as_bytes());
                Ok(())
            }
        }
    }

    fn show_items(
        &self,
        reader: &mut Reader<'_>,
        placed: &mut Vec<Placed>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        out.push(b'[');
        let begin = out.len();
        let mut item = reader.first_item()?;
        while let Some(peek) = item {
            if out.len() > begin {
                out.push(b',');
            }
            self.show(reader, peek, placed, out)?;
            item = reader.next_item()?;
        }
        out.push(b']');
        Ok(())
    }
}

/// Writes a number of a wider type as the narrower one prints it, where it is one of that, else as it stands.
fn write_narrow(literal: &str, float: FloatType, out: &mut Vec<u8>) {
    let value = number::float64(literal);
    let (single, half) = (number::float32(literal), number::float16(literal));
    match float {
        FloatType::F32 if f64::from(single) == value => write_f32(single, out),
        FloatType::F16 if f64::from(half) == value => write_f16(half, out),
        _ => out.extend_from_slice(literal.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
