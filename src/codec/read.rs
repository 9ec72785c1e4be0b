//! Pulling JSON tokens out of a body.

use std::borrow::Cow;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use crate::codec::text::unescape;

/// Where text is no JSON, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Position in the body, in bytes.
    pub(super) at: usize,
    /// What is wrong there, a clause.
    pub(super) reason: &'static str,
}

/// A pull parser over a part of a body. Positions are those of the body.
pub(super) struct Reader<'j> {
    text: &'j str,
    /// Where the part ends.
    to: usize,
    /// Where the data of `jiter` begins.
    base: usize,
    jiter: Jiter<'j>,
}

impl<'j> Reader<'j> {
    /// A reader of `text` from `from` to before `to`.
    pub(super) fn new(text: &'j str, from: usize, to: usize) -> Self {
        let data = text.as_bytes().get(from..to).unwrap_or_default();
        Self { text, to, base: from, jiter: Jiter::new(data) }
    }

    /// Where the next token, or the white space before it, begins; after [`Reader::peek`] it is the token.
    pub(super) fn index(&self) -> usize {
        self.base + self.jiter.current_index()
    }

    /// Goes on reading at `at`.
    pub(super) fn seek(&mut self, at: usize) {
        let data = self.text.as_bytes().get(at..self.to).unwrap_or_default();
        self.jiter = Jiter::new(data);
        self.base = at;
    }

    /// The text of a range of the body.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'j str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.jiter.finish().is_ok()
    }

    /// Refuses anything but white space up to the end.
    pub(super) fn finish(&mut self) -> Result<(), Malformed> {
        self.jiter.finish().map_err(|err| self.malformed(err))
    }

    fn malformed(&self, err: JiterError) -> Malformed {
        Malformed { at: self.base + err.index, reason: reason(&err.error_type) }
    }

    /// The kind of the next value.
    pub(super) fn peek(&mut self) -> Result<Peek, Malformed> {
        self.jiter.peek().map_err(|err| self.malformed(err))
    }

    /// Takes the `null` that was peeked.
    pub(super) fn null(&mut self) -> Result<(), Malformed> {
        self.jiter.known_null().map_err(|err| self.malformed(err))
    }

    /// Takes the boolean that was peeked.
    pub(super) fn boolean(&mut self, peek: Peek) -> Result<bool, Malformed> {
        self.jiter.known_bool(peek).map_err(|err| self.malformed(err))
    }

    /// Takes the string that was peeked; its text with escapes, between the quotes.
    pub(super) fn string(&mut self) -> Result<&'j str, Malformed> {
        let from = self.index();
        match self.jiter.known_bytes() {
            Ok(_) => Ok(self.slice(from + 1, self.index() - 1)),
            Err(err) => Err(self.malformed(err)),
        }
    }

    /// Takes the number that was peeked, or refuses what begins no value.
    pub(super) fn number(&mut self, peek: Peek) -> Result<&'j str, Malformed> {
        let from = self.index();
        let taken = self.jiter.known_number_bytes(peek).map(|_| ());
        match taken {
            Ok(()) => {}
            // The parser gives up on thousands of digits, which are still JSON.
            Err(err) if err.error_type == JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => {
                let end = number_end(self.text.as_bytes().get(..self.to).unwrap_or_default(), from)?;
                self.seek(end);
            }
            Err(err) => return Err(self.malformed(err)),
        }
        Ok(self.slice(from, self.index()))
    }

    /// Enters the array that was peeked; the kind of its first item.
    pub(super) fn first_item(&mut self) -> Result<Option<Peek>, Malformed> {
        self.jiter.known_array().map_err(|err| self.malformed(err))
    }

    /// The kind of the next item; none where the array has ended.
    pub(super) fn next_item(&mut self) -> Result<Option<Peek>, Malformed> {
        self.jiter.array_step().map_err(|err| self.malformed(err))
    }

    /// Enters the object that was peeked; its first key, between the quotes with escapes.
    pub(super) fn first_raw_key(&mut self) -> Result<Option<&'j str>, Malformed> {
        let from = self.index();
        let taken = self.jiter.next_object_bytes().map(|key| key.map(<[u8]>::len));
        self.raw_key(from, taken)
    }

    /// The next key of the object; none where it has ended.
    pub(super) fn next_raw_key(&mut self) -> Result<Option<&'j str>, Malformed> {
        let from = self.index();
        let taken = self.jiter.next_key_bytes().map(|key| key.map(<[u8]>::len));
        self.raw_key(from, taken)
    }

    /// Goes past the next key of an object where it stands as `prefix` (`"key":`) has it, with a space before or behind it at
    /// most: nearly every writer writes so. `first`: the object was peeked and not entered.
    pub(super) fn skip_key(&mut self, first: bool, prefix: &[u8]) -> bool {
        let from = self.jiter.current_index() + self.base;
        let rest = self.text.as_bytes().get(from..self.to).unwrap_or_default();
        let Some(rest) = rest.strip_prefix(if first { b"{" } else { b"," }) else { return false };
        let behind = rest.strip_prefix(prefix).or_else(|| rest.strip_prefix(b" ")?.strip_prefix(prefix));
        let Some(behind) = behind else { return false };
        self.seek(self.to - behind.len());
        true
    }

    fn raw_key(&self, from: usize, taken: Result<Option<usize>, JiterError>) -> Result<Option<&'j str>, Malformed> {
        let Some(length) = taken.map_err(|err| self.malformed(err))? else { return Ok(None) };
        // Before the key there are only a brace or comma and white space.
        let quote = memchr::memchr(b'"', self.text.as_bytes().get(from..).unwrap_or_default()).unwrap_or_default();
        let begin = from + quote + 1;
        Ok(Some(self.slice(begin, begin + length)))
    }

    /// Enters the object that was peeked; its first key.
    pub(super) fn first_key(&mut self) -> Result<Option<Cow<'j, str>>, Malformed> {
        Ok(self.first_raw_key()?.map(unescape))
    }

    /// The next key of the object; none where it has ended.
    pub(super) fn next_key(&mut self) -> Result<Option<Cow<'j, str>>, Malformed> {
        Ok(self.next_raw_key()?.map(unescape))
    }

    /// Takes the next value, whatever it is and however deep, checking nothing but its syntax.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        let mut open_objects: Vec<bool> = Vec::new();
        let mut peek = self.peek()?;
        loop {
            match peek {
                Peek::Array => {
                    if let Some(item) = self.first_item()? {
                        open_objects.push(false);
                        peek = item;
                        continue;
                    }
                }
                Peek::Object => {
                    if self.first_raw_key()?.is_some() {
                        open_objects.push(true);
                        peek = self.peek()?;
                        continue;
                    }
                }
                scalar => self.skip_scalar(scalar)?,
            }
            peek = loop {
                let next = match open_objects.last() {
                    None => return Ok(()),
                    Some(true) if self.next_raw_key()?.is_some() => Some(self.peek()?),
                    Some(true) => None,
                    Some(false) => self.next_item()?,
                };
                match next {
                    Some(next) => break next,
                    None => open_objects.pop(),
                };
            };
        }
    }

    /// Takes the peeked value, which is neither array nor object.
    pub(super) fn skip_scalar(&mut self, peek: Peek) -> Result<(), Malformed> {
        match peek {
            Peek::Null => self.null(),
            Peek::True | Peek::False => self.boolean(peek).map(drop),
            Peek::String => self.string().map(drop),
            _ => self.number(peek).map(drop),
        }
    }
}

/// Where the number that begins at `from` ends.
fn number_end(bytes: &[u8], from: usize) -> Result<usize, Malformed> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let digits = |mut at: usize| {
        let begin = at;
        while byte(at).is_ascii_digit() {
            at += 1;
        }
        if at > begin { Ok(at) } else { Err(Malformed { at, reason: INVALID_NUMBER }) }
    };
    let mut at = digits(if byte(from) == b'-' { from + 1 } else { from })?;
    if byte(at) == b'.' {
        at = digits(at + 1)?;
    }
    if matches!(byte(at), b'e' | b'E') {
        at += if matches!(byte(at + 1), b'+' | b'-') { 2 } else { 1 };
        at = digits(at)?;
    }
    Ok(at)
}

const INVALID_NUMBER: &str = "a number is malformed";

fn reason(error: &JiterErrorType) -> &'static str {
    use JsonErrorType as E;
    match error {
        JiterErrorType::WrongType { .. } => "a value was expected",
        JiterErrorType::JsonError(error) => match error {
            E::EofWhileParsingList => "an array is not closed",
            E::EofWhileParsingObject => "an object is not closed",
            E::EofWhileParsingString => "a string is not closed",
            E::EofWhileParsingValue => "the text ends where a value was expected",
            E::ExpectedColon => "a colon was expected",
            E::ExpectedListCommaOrEnd => "a comma or the array's end was expected",
            E::ExpectedObjectCommaOrEnd => "a comma or the object's end was expected",
            E::ExpectedSomeIdent => "only the words true, false and null are values",
            E::InvalidEscape => "an escape in a string is malformed",
            E::InvalidNumber | E::NumberOutOfRange | E::FloatExpectingInt => INVALID_NUMBER,
            E::InvalidUnicodeCodePoint => "an escape in a string is no character",
            E::ControlCharacterWhileParsingString => "a control character in a string is not escaped",
            E::KeyMustBeAString => "a key in double quotes was expected",
            E::LoneLeadingSurrogateInHexEscape | E::UnexpectedEndOfHexEscape => "a surrogate in a string stands alone",
            E::TrailingComma => "a comma stands before the end",
            E::TrailingCharacters => "something follows the value",
            E::RecursionLimitExceeded => "it nests too deep",
            E::ExpectedSomeValue | E::DuplicateKey(_) | E::InternalError(_) => "a value was expected",
        },
    }
}
