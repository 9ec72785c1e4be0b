//! Records to their one form, in one walk of the text.

use std::borrow::Cow;

use jiter::Peek;

use crate::codec::copy::Copier;
use crate::codec::fault::{NESTING_MAX, Stop};
use crate::codec::keys::KeyFrame;
use crate::codec::plan::{MemberPlan, StructPlan, ValuePlan};
use crate::codec::read::Reader;
use crate::codec::values;
use crate::schema::EXACT_INTEGER_MAX;

/// A member whose text has been written.
struct Placed {
    slot: usize,
    from: usize,
    to: usize,
}

/// What the structs and vectors in the lists of one record may take in columns whatever its text, and how many times as much as
/// its text beyond. An empty item takes as much there as a full one: three bytes may become thousands, and whoever reads
/// records by the page counts their text.
const SPREAD_BYTES: u64 = 1 << 20;
const SPREAD_TIMES: u64 = 128;

/// Writes values in their one form. Members are written where they come; a struct whose keys do not come in the schema's
/// order is put in order when it ends.
pub(super) struct Transcoder<'j> {
    /// Where the text goes.
    pub(super) copier: Copier<'j>,
    /// What the rules say of values that do not fit.
    pub(super) rules: values::Rules,
    /// For each integer column, whether it has taken a value past ±2^53.
    pub(super) wide: Vec<bool>,
    /// Written members of all open structs.
    placed: Vec<Placed>,
    /// For all open structs, a bit for each member: whether its key has come.
    come: Vec<u64>,
    scratch: Vec<u8>,
    /// What structs and vectors in lists of the record take in columns.
    spread: u64,
}

/// Where the parts of an open struct begin.
struct Frame<'j> {
    out: usize,
    placed: usize,
    come: usize,
    /// Keys without a column.
    others: KeyFrame<'j>,
}

impl<'j> Transcoder<'j> {
    /// A transcoder for a plan with so many integer columns.
    pub(super) fn new(integers: usize, rules: values::Rules, room: usize) -> Self {
        let mut copier = Copier::default();
        copier.out.reserve(room);
        let (placed, come, scratch) = (Vec::new(), Vec::new(), Vec::new());
        Self { copier, rules, wide: vec![false; integers], placed, come, scratch, spread: 0 }
    }

    /// Writes the object that was peeked as a record; after an error nothing of it is left.
    pub(super) fn record(&mut self, reader: &mut Reader<'j>, plan: &StructPlan) -> Result<(), Stop> {
        let begin = self.copier.out.len();
        self.spread = 0;
        let done = self.structure(reader, plan, 1).and_then(|()| {
            let spread_max = SPREAD_BYTES + SPREAD_TIMES * (self.copier.out.len() - begin) as u64;
            if self.spread > spread_max { Err(Stop::too_wide(spread_max)) } else { Ok(()) }
        });
        if done.is_err() {
            self.copier.out.truncate(begin);
            self.copier.keys.clear();
            self.placed.clear();
            self.come.clear();
        }
        done
    }

    fn structure(&mut self, reader: &mut Reader<'j>, plan: &StructPlan, depth: usize) -> Result<(), Stop> {
        if depth > NESTING_MAX {
            return Err(Stop::too_deep());
        }
        let mut frame = Frame {
            out: self.copier.out.len(),
            placed: self.placed.len(),
            come: self.come.len(),
            others: self.copier.keys.open(),
        };
        self.come.resize(frame.come + plan.members.len().div_ceil(64), 0);
        self.copier.out.push(b'{');
        let (mut guess, mut first) = (0, true);
        loop {
            // Most members come in the schema's order.
            if let Some(member) = plan.members.get(guess)
                && reader.skip_key(first, &member.prefix)
            {
                if self.has_come(frame.come, guess) {
                    return Err(Stop::duplicate_key(&member.key));
                }
                self.member(reader, &frame, guess, member, depth).map_err(|stop| stop.under_key(&member.key))?;
                (guess, first) = (guess + 1, false);
                continue;
            }
            let Some(name) = (if first { reader.first_key()? } else { reader.next_key()? }) else { break };
            first = false;
            match plan.slot(&name, guess).and_then(|slot| plan.members.get(slot).map(|member| (slot, member))) {
                Some((slot, member)) => {
                    guess = slot + 1;
                    if self.has_come(frame.come, slot) {
                        return Err(Stop::duplicate_key(&name));
                    }
                    self.member(reader, &frame, slot, member, depth).map_err(|stop| stop.under_key(&name))?;
                }
                None => self.unknown(reader, &mut frame, name)?,
            }
        }
        if plan.has_required {
            self.require(plan, &frame)?;
        }
        self.put_in_order(&frame);
        self.copier.out.push(b'}');
        self.placed.truncate(frame.placed);
        self.come.truncate(frame.come);
        self.copier.keys.close(frame.others);
        Ok(())
    }

    /// Notes that a member's key has come; whether it had before.
    fn has_come(&mut self, base: usize, slot: usize) -> bool {
        let bit = 1_u64 << (slot % 64);
        match self.come.get_mut(base + slot / 64) {
            Some(word) => std::mem::replace(word, *word | bit) & bit != 0,
            None => false,
        }
    }

    fn member(
        &mut self,
        reader: &mut Reader<'j>,
        frame: &Frame<'j>,
        slot: usize,
        member: &MemberPlan,
        depth: usize,
    ) -> Result<(), Stop> {
        let peek = reader.peek()?;
        if peek == Peek::Null {
            reader.null()?;
            return if member.nullable { Ok(()) } else { Err(values::null_in_required(&member.value)) };
        }
        if self.placed.len() > frame.placed {
            self.copier.out.push(b',');
        }
        let from = self.copier.out.len();
        self.copier.out.extend_from_slice(&member.prefix);
        self.value(reader, peek, &member.value, depth)?;
        self.placed.push(Placed { slot, from, to: self.copier.out.len() });
        Ok(())
    }

    /// A key without a column: null is dropped, anything else asks for a column.
    fn unknown(&mut self, reader: &mut Reader<'j>, frame: &mut Frame<'j>, name: Cow<'j, str>) -> Result<(), Stop> {
        let peek = reader.peek()?;
        if peek != Peek::Null {
            return Err(self.rules.unknown_key().under_key(&name));
        }
        reader.null()?;
        self.copier.note_key(&mut frame.others, name)
    }

    /// Refuses a struct that lacks a member which cannot be null.
    fn require(&self, plan: &StructPlan, frame: &Frame<'j>) -> Result<(), Stop> {
        for (slot, member) in plan.members.iter().enumerate() {
            let come = self.come.get(frame.come + slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1);
            if !member.nullable && !come {
                return Err(values::null_in_required(&member.value).under_key(&member.key));
            }
        }
        Ok(())
    }

    fn put_in_order(&mut self, frame: &Frame<'j>) {
        let Some(placed) = self.placed.get_mut(frame.placed..) else { return };
        if placed.is_sorted_by_key(|member| member.slot) {
            return;
        }
        placed.sort_unstable_by_key(|member| member.slot);
        self.scratch.clear();
        for (index, member) in placed.iter().enumerate() {
            if index > 0 {
                self.scratch.push(b',');
            }
            self.scratch.extend_from_slice(self.copier.out.get(member.from..member.to).unwrap_or_default());
        }
        self.copier.out.truncate(frame.out + 1);
        self.copier.out.extend_from_slice(&self.scratch);
    }

    /// Writes the value that was peeked; `depth` containers are open around it.
    fn value(&mut self, reader: &mut Reader<'j>, peek: Peek, plan: &ValuePlan, depth: usize) -> Result<(), Stop> {
        match (plan, peek) {
            (ValuePlan::Json, _) => self.copier.value(reader, peek, depth),
            (ValuePlan::Struct(plan), Peek::Object) => self.structure(reader, plan, depth + 1),
            (ValuePlan::List(item, bytes), Peek::Array) => self.list(reader, item, *bytes, depth + 1),
            (ValuePlan::Vector(dim, _), Peek::Array) => self.vector(reader, plan, *dim, depth + 1),
            (ValuePlan::Int(int, column), number) if number.is_num() => {
                let value = values::integer(reader.number(number)?, *int, &self.rules, &mut self.copier.out)?;
                if value.abs() > EXACT_INTEGER_MAX
                    && let Some(wide) = self.wide.get_mut(*column)
                {
                    *wide = true;
                }
                Ok(())
            }
            (ValuePlan::Float(float), number) if number.is_num() => {
                values::float(reader.number(number)?, *float, plan, &mut self.copier.out)
            }
            (ValuePlan::Bool, Peek::True | Peek::False) => {
                let text: &[u8] = if reader.boolean(peek)? { b"true" } else { b"false" };
                self.copier.out.extend_from_slice(text);
                Ok(())
            }
            (ValuePlan::String | ValuePlan::Binary | ValuePlan::Date32 | ValuePlan::Timestamp, Peek::String) => {
                values::string(reader.string()?, plan, &mut self.copier.out, &mut self.scratch)
            }
            (_, Peek::Array | Peek::Object) => Err(values::mismatch(plan, peek, "")),
            _ => {
                // Read first, so that what is no value at all is malformed and not refused.
                let from = reader.index();
                reader.skip_scalar(peek)?;
                Err(values::mismatch(plan, peek, reader.slice(from, reader.index())))
            }
        }
    }

    fn list(&mut self, reader: &mut Reader<'j>, plan: &ValuePlan, bytes: u64, depth: usize) -> Result<(), Stop> {
        if depth > NESTING_MAX {
            return Err(Stop::too_deep());
        }
        self.copier.out.push(b'[');
        let mut index = 0;
        let mut item = reader.first_item()?;
        while let Some(peek) = item {
            self.spread = self.spread.saturating_add(bytes);
            if index > 0 {
                self.copier.out.push(b',');
            }
            if peek == Peek::Null {
                reader.null()?;
                self.copier.out.extend_from_slice(b"null");
            } else {
                self.value(reader, peek, plan, depth).map_err(|stop| stop.under_item(index))?;
            }
            index += 1;
            item = reader.next_item()?;
        }
        self.copier.out.push(b']');
        Ok(())
    }

    fn vector(&mut self, reader: &mut Reader<'j>, plan: &ValuePlan, dim: u32, depth: usize) -> Result<(), Stop> {
        if depth > NESTING_MAX {
            return Err(Stop::too_deep());
        }
        self.copier.out.push(b'[');
        let mut count = 0;
        let mut item = reader.first_item()?;
        while let Some(peek) = item {
            if count > 0 {
                self.copier.out.push(b',');
            }
            values::vector_item(reader, peek, plan, &mut self.copier.out).map_err(|stop| stop.under_item(count))?;
            count += 1;
            item = reader.next_item()?;
        }
        self.copier.out.push(b']');
        if count == dim as usize { Ok(()) } else { Err(values::wrong_length(plan, count)) }
    }
}
