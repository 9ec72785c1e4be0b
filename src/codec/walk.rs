//! The records of a body, one after the other.

use std::ops::Range;

use jiter::Peek;

use crate::codec::copy::Copier;
use crate::codec::fault::{Fault, Stop};
use crate::codec::read::{Malformed, Reader};
use crate::codec::{DecodeError, DecodeLimits, Form};
use crate::model::RecordError;

/// What takes records.
pub(super) trait Sink<'j> {
    /// Takes the object that was peeked. After [`Stop::Fault`] the reader may stand anywhere.
    fn record(&mut self, reader: &mut Reader<'j>) -> Result<(), Stop>;
}

/// How a walk ended.
pub(super) enum Walked {
    /// All records were taken.
    Whole,
    /// The sink has asked for another schema.
    Evolve,
}

/// Why a walk breaks off.
enum Break {
    Error(DecodeError),
    Malformed(Malformed),
    Evolve,
}

impl From<Malformed> for Break {
    fn from(malformed: Malformed) -> Self {
        Break::Malformed(malformed)
    }
}

struct Walk<'a, 'l> {
    text: &'a str,
    limits: &'l DecodeLimits,
    records: u64,
    errors: Vec<RecordError>,
    /// Where the first refused record begins.
    first_refused: usize,
    /// Where each record begins and ends, where that is wanted.
    spans: Option<Vec<Range<usize>>>,
}

/// Gives each record of a body to a sink. Refused records do not stop it, so that a client learns of many at once, and
/// that malformed text behind them is found.
pub(super) fn walk<'j>(
    text: &'j str,
    form: Form,
    limits: &DecodeLimits,
    sink: &mut impl Sink<'j>,
) -> Result<Walked, DecodeError> {
    let mut walk = Walk { text, limits, records: 0, errors: Vec::new(), first_refused: 0, spans: None };
    match walk.all(form, sink) {
        Ok(()) if !walk.errors.is_empty() => {
            Err(DecodeError::InvalidRecords { errors: walk.errors, line: line_of(text, walk.first_refused) })
        }
        Ok(()) if walk.records == 0 => Err(DecodeError::EmptyBatch),
        Ok(()) => Ok(Walked::Whole),
        Err(Break::Evolve) => Ok(Walked::Evolve),
        Err(Break::Error(error)) => Err(error),
        Err(Break::Malformed(malformed)) => Err(invalid_json(text.as_bytes(), malformed)),
    }
}

/// Where each record of a body begins and ends, the refused ones too; of a body that is no JSON those before the fault.
pub(super) fn spans(text: &str, form: Form, limits: &DecodeLimits) -> Vec<Range<usize>> {
    struct Skip;
    impl<'j> Sink<'j> for Skip {
        fn record(&mut self, reader: &mut Reader<'j>) -> Result<(), Stop> {
            Ok(reader.skip()?)
        }
    }
    let mut walk = Walk { text, limits, records: 0, errors: Vec::new(), first_refused: 0, spans: Some(Vec::new()) };
    // Whatever ends it was told when the body was decoded.
    drop(walk.all(form, &mut Skip));
    walk.spans.unwrap_or_default()
}

/// The error for malformed text in a body.
pub(super) fn invalid_json(body: &[u8], malformed: Malformed) -> DecodeError {
    let before = body.get(..malformed.at.min(body.len())).unwrap_or_default();
    let line = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
    let line_begin = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let in_line = before.get(line_begin..).unwrap_or_default();
    // Bytes that go on a character do not count.
    let column = in_line.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64 + 1;
    DecodeError::InvalidJson { line, column, reason: malformed.reason }
}

fn line_of(text: &str, at: usize) -> u64 {
    memchr::memchr_iter(b'\n', text.as_bytes().get(..at).unwrap_or_default()).count() as u64 + 1
}

/// What is wrong with a refused record's text itself, whatever the columns are: that outranks what they say of it.
fn text_fault(reader: &mut Reader<'_>, peek: Peek, from: usize) -> Result<Option<Box<Fault>>, Malformed> {
    if peek != Peek::Object {
        return Ok(None);
    }
    reader.seek(from);
    reader.peek()?;
    match Copier::default().object(reader, 1) {
        Err(Stop::Fault(fault)) => Ok(Some(fault)),
        Err(Stop::Malformed(malformed)) => Err(malformed),
        Ok(()) | Err(Stop::Evolve) => Ok(None),
    }
}

impl<'a> Walk<'a, '_> {
    fn all(&mut self, form: Form, sink: &mut impl Sink<'a>) -> Result<(), Break> {
        match form {
            Form::Json => self.json(self.text, sink),
            Form::Ndjson => self.lines(self.text, sink),
            Form::Sequence => self.sequence(self.text, sink),
        }
    }

    /// An object, or an array of them.
    fn json<'j>(&mut self, text: &'j str, sink: &mut impl Sink<'j>) -> Result<(), Break> {
        let mut reader = Reader::new(text, 0, text.len());
        if reader.is_at_end() {
            return Ok(());
        }
        match reader.peek()? {
            Peek::Array => self.array(&mut reader, sink)?,
            peek => self.one(&mut reader, peek, sink)?,
        }
        Ok(reader.finish()?)
    }

    /// One array, or objects one after the other.
    fn sequence<'j>(&mut self, text: &'j str, sink: &mut impl Sink<'j>) -> Result<(), Break> {
        let mut reader = Reader::new(text, 0, text.len());
        if !reader.is_at_end() && reader.peek()? == Peek::Array {
            self.array(&mut reader, sink)?;
            return Ok(reader.finish()?);
        }
        while !reader.is_at_end() {
            let peek = reader.peek()?;
            self.one(&mut reader, peek, sink)?;
        }
        Ok(())
    }

    /// An object a line.
    fn lines<'j>(&mut self, text: &'j str, sink: &mut impl Sink<'j>) -> Result<(), Break> {
        let mut from = 0;
        while from < text.len() {
            let rest = text.as_bytes().get(from..).unwrap_or_default();
            let to = memchr::memchr(b'\n', rest).map_or(text.len(), |at| from + at);
            let mut reader = Reader::new(text, from, to);
            if !reader.is_at_end() {
                let peek = reader.peek()?;
                self.one(&mut reader, peek, sink)?;
                reader.finish()?;
            }
            from = to + 1;
        }
        Ok(())
    }

    fn array<'j>(&mut self, reader: &mut Reader<'j>, sink: &mut impl Sink<'j>) -> Result<(), Break> {
        let mut item = reader.first_item()?;
        while let Some(peek) = item {
            self.one(reader, peek, sink)?;
            item = reader.next_item()?;
        }
        Ok(())
    }

    /// The value that was peeked, which should be a record.
    fn one<'j>(&mut self, reader: &mut Reader<'j>, peek: Peek, sink: &mut impl Sink<'j>) -> Result<(), Break> {
        let from = reader.index();
        let record = self.records;
        self.records += 1;
        if self.records > self.limits.records_max {
            return Err(Break::Error(DecodeError::TooManyRecords { limit: self.limits.records_max }));
        }
        if self.errors.len() >= self.limits.errors_max {
            reader.skip()?;
        } else {
            let taken = if peek == Peek::Object { sink.record(reader) } else { Err(Stop::no_object(peek)) };
            match taken {
                Ok(()) => {}
                Err(Stop::Malformed(malformed)) => return Err(Break::Malformed(malformed)),
                Err(Stop::Evolve) => return Err(Break::Evolve),
                Err(Stop::Fault(fault)) => {
                    let fault = text_fault(reader, peek, from)?.unwrap_or(fault);
                    self.refuse(reader, *fault, record, from)?;
                }
            }
        }
        if let Some(spans) = &mut self.spans {
            spans.push(from..reader.index());
        }
        let limit = self.limits.record_bytes_max;
        if (reader.index() - from) as u64 > limit {
            let line = line_of(self.text, from);
            return Err(Break::Error(DecodeError::RecordTooLarge { limit, record, line }));
        }
        Ok(())
    }

    /// Notes a refused record and goes on behind it.
    fn refuse(&mut self, reader: &mut Reader<'_>, fault: Fault, record: u64, from: usize) -> Result<(), Break> {
        if self.errors.is_empty() {
            self.first_refused = from;
        }
        self.errors.push(fault.into_error(record));
        reader.seek(from);
        Ok(reader.skip()?)
    }
}
