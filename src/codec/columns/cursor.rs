//! A position in trusted text.

use memchr::memchr2;

use super::ColumnsError;
use crate::codec::nonfinite::{INFINITY, NAN, NEG_INFINITY};

/// Reads JSON text in its one form from the front: no white space, the shortest escapes.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    record: usize,
    begin: usize,
    scratch: String,
    spread: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, record: usize) -> Self {
        Self { text, at: 0, record, begin: 0, scratch: String::new(), spread: 0 }
    }

    /// Says that the items of a list take so many bytes in columns of their own.
    pub(super) const fn spread_by(&mut self, bytes: usize) {
        self.spread = self.spread.saturating_add(bytes);
    }

    /// What the items of all lists so far take.
    pub(super) const fn spread(&self) -> usize {
        self.spread
    }

    /// Says that a record begins here, for errors.
    pub(super) fn begin(&mut self, record: usize) {
        self.record = record;
        self.begin = self.at;
    }

    pub(super) fn refuse(&self, expected: &'static str) -> ColumnsError {
        ColumnsError::Text { record: self.record, expected, position: self.at.saturating_sub(self.begin) }
    }

    /// Refuses the member whose key stands at a place of the text.
    pub(super) fn unknown(&mut self, at: usize) -> ColumnsError {
        self.at = at;
        match self.raw_string() {
            Ok((key, _)) => ColumnsError::Member { record: self.record, key: key.to_owned() },
            Err(error) => error,
        }
    }

    /// The place of what is next.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// Goes past `byte` where it is next.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    pub(super) fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), ColumnsError> {
        if self.skip(byte) { Ok(()) } else { Err(self.refuse(expected)) }
    }

    /// Goes past `word` where it is next.
    pub(super) fn skip_word(&mut self, word: &[u8]) -> bool {
        let there = self.rest().starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn slice(&self, from: usize, to: usize) -> Result<&'a str, ColumnsError> {
        self.text.get(from..to).ok_or_else(|| self.refuse("character"))
    }

    /// A number that JSON lacks, where its word is next.
    pub(super) fn nonfinite(&mut self) -> Option<f64> {
        match self.peek()? {
            b'N' if self.skip_word(NAN) => Some(f64::NAN),
            b'I' if self.skip_word(INFINITY) => Some(f64::INFINITY),
            b'-' if self.skip_word(NEG_INFINITY) => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }

    /// The digits of a number.
    pub(super) fn number(&mut self) -> Result<&'a str, ColumnsError> {
        let part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest().iter().position(|byte| !part(byte)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.refuse("number"));
        }
        let text = self.slice(self.at, self.at + length)?;
        self.at += length;
        Ok(text)
    }

    /// The text between the quotes of a string, as written, and where its first escape stands.
    fn raw_string(&mut self) -> Result<(&'a str, Option<usize>), ColumnsError> {
        self.take(b'"', "string")?;
        let from = self.at;
        let mut escape = None;
        loop {
            let step = memchr2(b'"', b'\\', self.rest()).ok_or_else(|| self.refuse("end of a string"))?;
            self.at += step;
            if self.skip(b'"') {
                return Ok((self.slice(from, self.at - 1)?, escape));
            }
            escape.get_or_insert(self.at - from);
            self.at += 2;
        }
    }

    /// The text between the quotes of a string, as written.
    pub(super) fn raw_text(&mut self) -> Result<&'a str, ColumnsError> {
        self.raw_string().map(|(text, _)| text)
    }

    /// A string's characters; borrowed until the next call.
    pub(super) fn string(&mut self) -> Result<&str, ColumnsError> {
        let (raw, escape) = self.raw_string()?;
        let Some(first) = escape else { return Ok(raw) };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let outcome = unescape(raw, first, &mut scratch);
        self.scratch = scratch;
        outcome.ok_or_else(|| self.refuse("escape in its shortest form"))?;
        Ok(&self.scratch)
    }

    /// The text of any value, as written.
    pub(super) fn value(&mut self) -> Result<&'a str, ColumnsError> {
        let from = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or_else(|| self.refuse("value"))? {
                b'"' => {
                    self.raw_string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' | b'}' | b']' | b'\n' => return Err(self.refuse("value")),
                _ => self.word(),
            }
            if depth == 0 {
                return self.slice(from, self.at);
            }
        }
    }

    /// Goes past a number or one of the three words.
    fn word(&mut self) {
        let end = |byte: &u8| matches!(byte, b',' | b':' | b'}' | b']' | b'"' | b'{' | b'[' | b'\n');
        self.at += self.rest().iter().position(end).unwrap_or(self.rest().len());
    }
}

fn unescape(raw: &str, first: usize, out: &mut String) -> Option<()> {
    let mut rest = raw;
    let mut at = first;
    loop {
        out.push_str(rest.get(..at)?);
        let letter = *rest.as_bytes().get(at + 1)?;
        let mut length = 2;
        out.push(match letter {
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'f' => '\u{c}',
            b'r' => '\r',
            b'"' => '"',
            b'\\' => '\\',
            b'u' => {
                length = 6;
                char::from_u32(u32::from_str_radix(rest.get(at + 2..at + 6)?, 16).ok()?)?
            }
            _ => return None,
        });
        rest = rest.get(at + length..)?;
        match memchr::memchr(b'\\', rest.as_bytes()) {
            Some(next) => at = next,
            None => {
                out.push_str(rest);
                return Some(());
            }
        }
    }
}
