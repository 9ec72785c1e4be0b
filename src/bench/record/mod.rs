//! The records that are sent. Everything that stays the same is laid out once; what differs are digits written over it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::bench::BenchError;
use crate::bench::marker::{NANOS, SEQUENCE, write_digits};
use crate::bench::options::{Format, Options};

/// Texts that are laid out: neighbours differ in more than digits.
const VARIANTS: u64 = 64;
const NAMES: [&str; 9] = ["n", "price", "ok", "kind", "user", "lat", "count", "at", "ratio"];
const KINDS: [&str; 8] = ["view", "click", "order", "refund", "search", "login", "logout", "share"];
const WORDS: [&str; 16] = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "kelp", "ledge", "marsh",
    "north", "oasis", "pier",
];

/// Bodies of appends.
#[derive(Debug)]
pub(super) struct Shape {
    variants: Vec<Variant>,
    between: Vec<u8>,
    before: String,
    after: String,
    batch: u64,
    body_bytes: usize,
}

/// One record's text, and where its digits stand.
#[derive(Debug, Default)]
struct Variant {
    text: Vec<u8>,
    mark: usize,
    numbers: Vec<(usize, usize)>,
}

/// The bodies of one topic.
#[derive(Clone, Debug)]
pub(super) struct Wrap {
    before: Bytes,
    after: Bytes,
}

impl Shape {
    /// What the options ask for.
    ///
    /// # Errors
    /// [`BenchError::Option`] where a record is too short for its members.
    pub(super) fn new(options: &Options) -> Result<Self, BenchError> {
        let (load, peer) = (&options.load, &options.peer);
        let variants = (0..VARIANTS).map(|number| Variant::new(number, options)).collect::<Result<Vec<_>, _>>()?;
        let (before, separator, after) = match (load.format, load.batch) {
            (Format::Json, 1) => ("", "", ""),
            (Format::Json, _) => ("[", ",", "]"),
            (Format::Ndjson, _) => ("", "\n", "\n"),
            (Format::Sse, _) => {
                return Err(BenchError::Option("--format sse is for catchup: nothing can be appended so".to_owned()));
            }
        };
        let given = |text: &Option<String>, default: &str| text.as_deref().map_or(default.to_owned(), unescape);
        let between = given(&peer.record_separator, separator).into_bytes();
        let longest = variants.iter().map(|variant| variant.text.len()).max().unwrap_or(0) + between.len();
        Ok(Self {
            variants,
            between,
            before: given(&peer.body_prefix, before),
            after: given(&peer.body_suffix, after),
            batch: u64::from(load.batch),
            body_bytes: longest * load.batch as usize,
        })
    }

    /// The frame of a topic's bodies.
    pub(super) fn wrap(&self, topic: &str) -> Wrap {
        let fill = |text: &str| Bytes::from(text.replace("{topic}", topic));
        Wrap { before: fill(&self.before), after: fill(&self.after) }
    }

    /// Records in a body.
    pub(super) fn batch(&self) -> u64 {
        self.batch
    }

    /// A body whose first record has this sequence number; all of them carry this time.
    pub(super) fn body(&self, wrap: &Wrap, first: u64, nanos: u64, room: &mut BytesMut) -> Bytes {
        room.reserve(self.body_bytes + wrap.before.len() + wrap.after.len());
        room.put_slice(&wrap.before);
        for sequence in first..first + self.batch {
            if sequence > first {
                room.put_slice(&self.between);
            }
            self.variants[(sequence % VARIANTS) as usize].write(sequence, nanos, room);
        }
        room.put_slice(&wrap.after);
        room.split().freeze()
    }
}

impl Variant {
    fn new(number: u64, options: &Options) -> Result<Self, BenchError> {
        let (load, peer) = (&options.load, &options.peer);
        let length = usize::try_from(load.record_bytes).unwrap_or(usize::MAX);
        let mut variant = Self { text: unescape(&peer.record_prefix).into_bytes(), ..Self::default() };
        let mut written = Pen { variant: &mut variant, escape: peer.escape, written: 0 };
        written.text("{\"id\":\"");
        written.mark();
        written.text("\"");
        for at in 1..load.fields as usize - usize::from(load.fields > 1) {
            written.member(at, number);
        }
        if load.fields > 1 {
            written.text(",\"text\":\"");
            let end = length.saturating_sub("\"}".len());
            written.fill(number, end);
            written.text("\"");
        }
        written.text("}");
        let natural = written.written;
        if natural > length {
            let fault = format!("{} members take {natural} bytes, more than --record-bytes {length}", load.fields);
            return Err(BenchError::Option(fault));
        }
        // Without a text that fills it up, white space does.
        let rest = " ".repeat(length - natural);
        written.text(&rest);
        variant.text.extend_from_slice(unescape(&peer.record_suffix).as_bytes());
        Ok(variant)
    }

    fn write(&self, sequence: u64, nanos: u64, into: &mut BytesMut) {
        let from = into.len();
        into.put_slice(&self.text);
        let text = &mut into[from..];
        let at = |(place, length): (usize, usize)| self.mark + place..self.mark + place + length;
        write_digits(sequence, &mut text[at(SEQUENCE)]);
        write_digits(nanos, &mut text[at(NANOS)]);
        // Numbers that look like any: a step of a known good generator for each.
        let mut state = sequence.wrapping_add(1);
        for (place, length) in &self.numbers {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write_digits(state >> 20, &mut text[*place..place + length]);
        }
    }
}

/// Writes a variant, and counts what it would be without escapes.
struct Pen<'v> {
    variant: &'v mut Variant,
    escape: bool,
    written: usize,
}

impl Pen<'_> {
    fn text(&mut self, text: &str) {
        self.written += text.len();
        for byte in text.bytes() {
            if self.escape && matches!(byte, b'"' | b'\\') {
                self.variant.text.push(b'\\');
            }
            self.variant.text.push(byte);
        }
    }

    fn mark(&mut self) {
        self.variant.mark = self.variant.text.len();
        self.text("~~0000000000000000.0000000000000000000~~");
    }

    /// Digits that each record has its own of.
    fn digits(&mut self, count: usize) {
        self.variant.numbers.push((self.variant.text.len(), count));
        self.text(&"0".repeat(count));
    }

    /// A member of a kind that its place in the record tells.
    fn member(&mut self, at: usize, number: u64) {
        match NAMES.get(at - 1) {
            Some(name) => self.text(&format!(",\"{name}\":")),
            None => self.text(&format!(",\"f{at}\":")),
        }
        let (before, digits, after) = match (at - 1) % NAMES.len() {
            0 => ("1", 9, ""),
            1 => ("1", 2, ".25"),
            2 => (if number.is_multiple_of(3) { "false" } else { "true" }, 0, ""),
            3 => ("\"", 0, "\""),
            4 => ("\"u", 5, "\""),
            5 => ("5", 1, ".125"),
            6 => ("4", 1, ""),
            7 => ("17", 8, ""),
            _ => ("0.5", 3, "5"),
        };
        self.text(before);
        if before == "\"" {
            self.text(KINDS[number as usize % KINDS.len()]);
        }
        if digits > 0 {
            self.digits(digits);
        }
        self.text(after);
    }

    /// Words, until so much is written.
    fn fill(&mut self, number: u64, end: usize) {
        let mut state = number;
        while self.written < end {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = WORDS[(state >> 40) as usize % WORDS.len()];
            let room = end - self.written;
            self.text(&word[..word.len().min(room)]);
            if self.written < end {
                self.text(" ");
            }
        }
    }
}

/// A text as it was given, with `\n`, `\r`, `\t` and `\\` read; any other backslash stays.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let read = match letters.peek() {
            Some('n') if letter == '\\' => Some('\n'),
            Some('r') if letter == '\\' => Some('\r'),
            Some('t') if letter == '\\' => Some('\t'),
            Some('\\') if letter == '\\' => Some('\\'),
            _ => None,
        };
        if read.is_some() {
            letters.next();
        }
        out.push(read.unwrap_or(letter));
    }
    out
}

#[cfg(test)]
mod tests;
