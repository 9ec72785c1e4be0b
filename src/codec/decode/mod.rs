//! Bodies to records.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::copy::Copier;
use crate::codec::fault::Stop;
use crate::codec::observe::Observer;
use crate::codec::plan::{Plan, StructPlan};
use crate::codec::read::{Malformed, Reader};
use crate::codec::transcode::Transcoder;
use crate::codec::values::Rules;
use crate::codec::walk::{Sink, Walked, invalid_json, walk};
use crate::codec::{DecodeError, Form, PreparedSchema, Values};
use crate::model::SchemaMode;
use crate::schema::{COLUMNS_MAX, Members, Schema, SchemaChange, WideColumns, diff, evolve, infer};

/// Bounds of a body's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The most bytes of one record's text as sent.
    pub record_bytes_max: u64,
    /// The most records.
    pub records_max: u64,
    /// The most refused records that are told of.
    pub errors_max: usize,
}

/// What records are decoded for.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A backend without columns: each record's text is kept less white space between tokens.
    Documents,
    /// Columns.
    Columns {
        /// The newest schema; none before the first.
        schema: Option<&'a PreparedSchema>,
        /// Whether it may change. Before the first schema either mode infers one.
        mode: SchemaMode,
        /// The integer columns that have held values past ±2^53.
        wide: &'a WideColumns,
    },
}

/// Records in their one form.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The values.
    pub values: Values,
    /// The integer columns that hold a value past ±2^53 in these records and have held none before.
    pub wide: WideColumns,
}

/// A schema that a batch asks for.
#[derive(Clone, Debug)]
pub struct Evolution {
    /// The schema, which holds all that the old one held.
    pub schema: Schema,
    /// What is different, at least one change.
    pub changes: Vec<SchemaChange>,
    /// The records in the form of the new schema.
    pub records: Records,
}

/// A body that can be stored.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// The schema holds the records.
    Fits(Records),
    /// Another one has to be made first; if it meanwhile has become yet another, decode again.
    Evolves(Box<Evolution>),
}

/// Decodes a body, whole or not at all. One walk where the schema holds the records; where it does not, one that gathers
/// what they ask for and one under the new schema.
///
/// # Errors
/// [`DecodeError`]; malformed JSON anywhere wins over refused records.
pub fn decode(body: &[u8], form: Form, target: Target<'_>, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|err| {
        let reason = "bytes there are not UTF-8";
        invalid_json(body, Malformed { at: err.valid_up_to(), reason })
    })?;
    let (schema, mode, wide) = match target {
        Target::Documents => return documents(text, form, limits).map(Decoded::Fits),
        Target::Columns { schema, mode, wide } => (schema, mode, wide),
    };
    let none;
    let prepared = match schema {
        Some(schema) => schema,
        None => {
            none = PreparedSchema::new(Arc::default());
            &none
        }
    };
    let known = prepared.schema();
    let evolve = |members: &Members| match schema {
        Some(_) => evolve(known, members, wide),
        None => infer(members),
    };
    let ask = |plan: &Plan| {
        ask(text, form, plan, limits, evolve).map_err(|error| match error {
            DecodeError::TooManyColumns => overfull_record(text, form, plan, limits, evolve, known.leaf_count()),
            error => error,
        })
    };
    let mut evolved = match schema {
        Some(_) => None,
        None => Some(ask(prepared.plan())?),
    };
    loop {
        let made = evolved.as_ref().map(Plan::new);
        let plan = made.as_ref().unwrap_or(prepared.plan());
        let rules = Rules { may_evolve: mode == SchemaMode::Evolve && evolved.is_none(), mode };
        match transcode(text, form, plan, rules, wide, limits)? {
            Transcoded::Fits(records) => return Ok(decoded(records, known, evolved)),
            Transcoded::Evolve => evolved = Some(ask(plan)?),
        }
    }
}

fn decoded(records: Records, known: &Schema, evolved: Option<Schema>) -> Decoded {
    match evolved.map(|schema| (diff(known, &schema), schema)) {
        Some((changes, schema)) if !changes.is_empty() => {
            Decoded::Evolves(Box::new(Evolution { schema, changes, records }))
        }
        _ => Decoded::Fits(records),
    }
}

/// The schema that a batch asks for, as `evolve` makes it of what was seen.
fn ask(
    text: &str,
    form: Form,
    known: &Plan,
    limits: &DecodeLimits,
    evolve: impl Fn(&Members) -> Schema,
) -> Result<Schema, DecodeError> {
    let mut observer = Observer::new(&known.root);
    match walk(text, form, limits, &mut observer) {
        // Decoding under the schema finds these again, with all others.
        Ok(_) | Err(DecodeError::InvalidRecords { .. }) => {}
        Err(error) => return Err(error),
    }
    if observer.is_overfull() {
        return Err(DecodeError::TooManyColumns);
    }
    let evolved = evolve(&observer.members);
    if evolved.leaf_count() > COLUMNS_MAX { Err(DecodeError::TooManyColumns) } else { Ok(evolved) }
}

/// The error that names the record with which a body asks for too many columns; one that names none where that takes long.
fn overfull_record(
    text: &str,
    form: Form,
    known: &Plan,
    limits: &DecodeLimits,
    evolve: impl Fn(&Members) -> Schema,
    columns: usize,
) -> DecodeError {
    let observer = Observer::new(&known.root);
    let mut sink = Overfull { observer, evolve, columns, places: 0, looks_left: OVERFULL_LOOKS_MAX };
    match walk(text, form, limits, &mut sink) {
        Ok(_) => DecodeError::TooManyColumns,
        Err(error) => error,
    }
}

/// How often a schema is made to find the record that asks for too much of it.
const OVERFULL_LOOKS_MAX: u32 = 100;

/// Looks for the record with which there are too many columns.
struct Overfull<'s, F> {
    observer: Observer<'s>,
    evolve: F,
    /// The columns that the topic has.
    columns: usize,
    /// How many keys without a column had been seen at the last look.
    places: usize,
    /// No look is left once the record is found.
    looks_left: u32,
}

impl<'j, F: Fn(&Members) -> Schema> Sink<'j> for Overfull<'_, F> {
    fn record(&mut self, reader: &mut Reader<'j>) -> Result<(), Stop> {
        if self.looks_left == 0 {
            return Ok(reader.skip()?);
        }
        self.observer.see(reader)?;
        let places = self.observer.places();
        if places == self.places || self.columns + places <= COLUMNS_MAX {
            return Ok(());
        }
        self.places = places;
        self.looks_left -= 1;
        if !self.observer.is_overfull() && (self.evolve)(&self.observer.members).leaf_count() <= COLUMNS_MAX {
            return Ok(());
        }
        self.looks_left = 0;
        Err(Stop::too_many_columns())
    }
}

enum Transcoded {
    Fits(Records),
    /// A record asks for another schema; only where the rules let it.
    Evolve,
}

fn transcode(
    text: &str,
    form: Form,
    plan: &Plan,
    rules: Rules,
    wide: &WideColumns,
    limits: &DecodeLimits,
) -> Result<Transcoded, DecodeError> {
    let transcoder = Transcoder::new(plan.integers.len(), rules, text.len());
    let mut sink = Transcoding { transcoder, plan: &plan.root, ends: Vec::new() };
    if let Walked::Evolve = walk(text, form, limits, &mut sink)? {
        return Ok(Transcoded::Evolve);
    }
    let Transcoding { transcoder, ends, .. } = sink;
    let mut newly_wide = WideColumns::default();
    for (path, _) in plan.integers.iter().zip(&transcoder.wide).filter(|(_, is_wide)| **is_wide) {
        if !wide.contains(path) {
            newly_wide.insert(path);
        }
    }
    Ok(Transcoded::Fits(Records { values: values(transcoder.copier.out, ends)?, wide: newly_wide }))
}

fn documents(text: &str, form: Form, limits: &DecodeLimits) -> Result<Records, DecodeError> {
    let mut sink = Copying { copier: Copier::default(), ends: Vec::new() };
    sink.copier.out.reserve(text.len());
    walk(text, form, limits, &mut sink)?;
    Ok(Records { values: values(sink.copier.out, sink.ends)?, wide: WideColumns::default() })
}

/// Values whose ends have been noted; they count in 32 bits.
fn values(mut text: Vec<u8>, ends: Vec<usize>) -> Result<Values, DecodeError> {
    let narrow: Result<Vec<u32>, _> = ends.into_iter().map(u32::try_from).collect();
    let ends = narrow.map_err(|_| DecodeError::BatchTooLarge { limit: u32::MAX.into() })?;
    // The text stays for long: what white space and nulls have left free goes back.
    if text.capacity() - text.len() > text.len() / 8 {
        text.shrink_to_fit();
    }
    Ok(Values::new(Bytes::from(text), ends))
}

struct Transcoding<'j, 'p> {
    transcoder: Transcoder<'j>,
    plan: &'p StructPlan,
    ends: Vec<usize>,
}

impl<'j> Sink<'j> for Transcoding<'j, '_> {
    fn record(&mut self, reader: &mut Reader<'j>) -> Result<(), Stop> {
        self.transcoder.record(reader, self.plan)?;
        self.transcoder.copier.out.push(b'\n');
        self.ends.push(self.transcoder.copier.out.len());
        Ok(())
    }
}

struct Copying<'j> {
    copier: Copier<'j>,
    ends: Vec<usize>,
}

impl<'j> Sink<'j> for Copying<'j> {
    fn record(&mut self, reader: &mut Reader<'j>) -> Result<(), Stop> {
        let begin = self.copier.out.len();
        if let Err(stop) = self.copier.object(reader, 1) {
            self.copier.out.truncate(begin);
            self.copier.keys.clear();
            return Err(stop);
        }
        self.copier.out.push(b'\n');
        self.ends.push(self.copier.out.len());
        Ok(())
    }
}

impl<'j> Sink<'j> for Observer<'_> {
    fn record(&mut self, reader: &mut Reader<'j>) -> Result<(), Stop> {
        self.see(reader)
    }
}

#[cfg(test)]
mod columns_tests;
#[cfg(test)]
mod evolution_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
