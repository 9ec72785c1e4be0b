//! What the records of a batch ask of the schema.

use jiter::Peek;

use crate::codec::fault::Stop;
use crate::codec::number;
use crate::codec::plan::{StructPlan, ValuePlan};
use crate::codec::read::{Malformed, Reader};
use crate::schema::{LEVELS_MAX, Members, Shape};

/// The most places of values that are looked at apart. A batch with more of them that still fits a schema would have to
/// mix objects with tens of thousands of keys with other values under one key.
const PLACES_MAX: usize = 65_536;

/// Gathers what values have been, key by key.
pub(super) struct Observer<'s> {
    known: &'s StructPlan,
    /// What has been seen in all records.
    pub(super) members: Members,
    places: usize,
}

impl<'s> Observer<'s> {
    /// An observer of records for the given columns.
    pub(super) fn new(known: &'s StructPlan) -> Self {
        Self { known, members: Members::default(), places: 0 }
    }

    /// Whether there were more keys than can be told apart, and some were not looked at.
    pub(super) fn is_overfull(&self) -> bool {
        self.places > PLACES_MAX
    }

    /// How many keys have been seen; each that has a column of its own is one of them.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Adds the object that was peeked.
    pub(super) fn see(&mut self, reader: &mut Reader<'_>) -> Result<(), Stop> {
        let mut members = std::mem::take(&mut self.members);
        let done = self.object(reader, &mut members, Some(self.known), 1);
        self.members = members;
        done.map_err(Stop::from)
    }

    /// Adds an object whose members are at `level`; those that `known` has have columns.
    fn object(
        &mut self,
        reader: &mut Reader<'_>,
        members: &mut Members,
        known: Option<&StructPlan>,
        level: usize,
    ) -> Result<(), Malformed> {
        let mut guess = 0;
        let mut key = reader.first_key()?;
        while let Some(name) = key {
            let peek = reader.peek()?;
            let slot = known.and_then(|known| known.slot(&name, guess));
            guess = slot.map_or(guess, |slot| slot + 1);
            let column = slot.and_then(|slot| known?.members.get(slot)).map(|member| &member.value);
            if peek == Peek::Null {
                reader.null()?;
            } else if column.is_some_and(is_settled) {
                reader.skip()?;
            } else {
                let before = members.len();
                if self.places > PLACES_MAX && members.get(&name).is_none() {
                    reader.skip()?;
                } else {
                    let shape = members.entry(&name);
                    self.value(reader, peek, shape, column, level)?;
                }
                self.places += members.len() - before;
            }
            key = reader.next_key()?;
        }
        Ok(())
    }

    /// Adds the value that was peeked, which is at `level`.
    fn value(
        &mut self,
        reader: &mut Reader<'_>,
        peek: Peek,
        shape: &mut Shape,
        column: Option<&ValuePlan>,
        level: usize,
    ) -> Result<(), Malformed> {
        if matches!(shape, Shape::Any) || column.is_some_and(|column| !may_take(column, peek)) {
            return reader.skip();
        }
        match peek {
            Peek::Null => reader.null(),
            Peek::True | Peek::False => reader.boolean(peek).map(|_| shape.see_bool()),
            Peek::String => reader.string().map(|_| shape.see_string()),
            Peek::Array | Peek::Object if level >= LEVELS_MAX => {
                shape.see_any();
                reader.skip()
            }
            Peek::Object => match shape.see_object() {
                Some(members) => self.object(reader, members, members_of(column), level + 1),
                None => reader.skip(),
            },
            Peek::Array => match shape.see_list() {
                Some(items) => self.array(reader, items, column, level),
                None => reader.skip(),
            },
            _ => reader.number(peek).map(|literal| shape.see_number(number::kind(literal))),
        }
    }

    fn array(
        &mut self,
        reader: &mut Reader<'_>,
        items: &mut Shape,
        column: Option<&ValuePlan>,
        level: usize,
    ) -> Result<(), Malformed> {
        let column = if let Some(ValuePlan::List(item, _)) = column { Some(item.as_ref()) } else { None };
        let mut item = reader.first_item()?;
        while let Some(peek) = item {
            self.value(reader, peek, items, column, level + 1)?;
            item = reader.next_item()?;
        }
        Ok(())
    }
}

fn members_of(column: Option<&ValuePlan>) -> Option<&StructPlan> {
    if let Some(ValuePlan::Struct(members)) = column { Some(members) } else { None }
}

/// Whether no value changes the type.
fn is_settled(column: &ValuePlan) -> bool {
    !matches!(column, ValuePlan::Int(..) | ValuePlan::List(..) | ValuePlan::Struct(_))
}

/// Whether a value of this kind can change the type; others fit or are refused as they are.
fn may_take(column: &ValuePlan, peek: Peek) -> bool {
    match column {
        ValuePlan::Int(..) => peek.is_num(),
        ValuePlan::List(..) => peek == Peek::Array,
        ValuePlan::Struct(_) => peek == Peek::Object,
        _ => false,
    }
}
