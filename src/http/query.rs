//! Query strings, read strictly: a typo in `offset` must not read everything.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::codec::FieldSelection;
use crate::filter::Filter;
use crate::http::routes::Route;
use crate::model::{
    CursorName, ErrorCode, IndexName, InvalidTimestamp, MAX_SAFE_INTEGER, Offset, Problem, TagName, Timestamp,
};
use crate::topic::{Moment, Start};

/// The query parameters of a request: each known to its operation, given once and not empty.
#[derive(Debug)]
pub(crate) struct StrictQuery {
    known: &'static [&'static str],
    given: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for StrictQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let route = parts.extensions.get::<&'static Route>().ok_or_else(Problem::internal)?;
        Self::parse(parts.uri.query().unwrap_or_default(), route.query)
    }
}

impl StrictQuery {
    /// Reads a query string as forms write it: `+` is a space.
    pub(crate) fn parse(text: &str, known: &'static [&'static str]) -> Result<Self, Problem> {
        let mut query = Self { known, given: Vec::new() };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = query.decode(name)?;
            if !known.contains(&name.as_str()) {
                let name = shown(&name);
                return Err(Problem::new(
                    ErrorCode::UnknownParameter,
                    format!("The operation has no query parameter \"{name}\"."),
                )
                .allowing(known.iter().copied()));
            }
            let value = query.decode(value)?;
            if value.is_empty() {
                return Err(
                    query.refuse(format!("The query parameter \"{name}\" is empty; leave it out or give it a value."))
                );
            }
            if query.text(&name).is_some() {
                return Err(query.refuse(format!("The query parameter \"{name}\" is given more than once.")));
            }
            query.given.push((name, value));
        }
        Ok(query)
    }

    fn decode(&self, text: &str) -> Result<String, Problem> {
        let mut rest = text.as_bytes();
        while let Some(at) = memchr::memchr(b'%', rest) {
            let digits = rest.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            if digits.is_none() {
                return Err(self.refuse("A % in the query is not followed by two hexadecimal digits; write it as %25."));
            }
            rest = rest.get(at + 3..).unwrap_or_default();
        }
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| self.refuse("The query is not UTF-8 after percent-decoding."))
    }

    fn refuse(&self, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
        Problem::new(ErrorCode::InvalidParameter, detail).allowing(self.known.iter().copied())
    }

    /// A parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match digits(text).filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(format!(
                "{name} is a whole number from {} to {}, not \"{}\".",
                range.start(),
                range.end(),
                shown(text)
            ))),
        }
    }

    /// A number of records, at least one.
    pub(crate) fn count(&self, name: &str, max: u64) -> Result<Option<NonZeroU64>, Problem> {
        Ok(self.integer(name, 1..=max)?.and_then(NonZeroU64::new))
    }

    /// A number of whole seconds.
    pub(crate) fn seconds(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<Duration>, Problem> {
        Ok(self.integer(name, range)?.map(Duration::from_secs))
    }

    /// An offset.
    pub(crate) fn offset(&self, name: &str) -> Result<Option<Offset>, Problem> {
        Ok(self.integer(name, 0..=MAX_SAFE_INTEGER)?.and_then(Offset::new))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.word(name, &["true", "false"]).map(|word| word.map(|word| word == "true"))
    }

    /// One of a few words.
    pub(crate) fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        words
            .iter()
            .copied()
            .find(|word| *word == text)
            .map(Some)
            .ok_or_else(|| invalid(format!("{name} cannot be \"{}\".", shown(text))).allowing(words.iter().copied()))
    }

    /// Where to begin: one of `offset`, `since` and `cursor`; none for the operation's default.
    pub(crate) fn start(&self) -> Result<Option<Start>, Problem> {
        match (self.text("offset"), self.text("since"), self.text("cursor")) {
            (Some(text), None, None) => position(text).map(Some),
            (None, Some(text), None) => time("since", text, Timestamp::not_before).map(|time| Some(Start::Since(time))),
            (None, None, Some(text)) => cursor_name(text).map(|name| Some(Start::Cursor(name))),
            (None, None, None) => Ok(None),
            _ => Err(invalid("Give only one of offset, since and cursor.")),
        }
    }

    /// When to look: one of `version`, `tag` and `as_of`; none for now.
    pub(crate) fn moment(&self) -> Result<Option<Moment>, Problem> {
        match (self.integer("version", 1..=MAX_SAFE_INTEGER)?, self.text("tag"), self.text("as_of")) {
            (Some(version), None, None) => Ok(Some(Moment::Version(version))),
            (None, Some(text), None) => tag_name(text).map(|name| Some(Moment::Tag(name))),
            (None, None, Some(text)) => time("as_of", text, Timestamp::not_after).map(|time| Some(Moment::AsOf(time))),
            (None, None, None) => Ok(None),
            _ => Err(invalid("Give only one of version, tag and as_of.")),
        }
    }

    /// The choice of fields.
    pub(crate) fn fields(&self) -> Result<Option<FieldSelection>, Problem> {
        self.text("fields").map(FieldSelection::parse).transpose().map_err(|error| invalid(error.detail))
    }

    /// What records must pass.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, Problem> {
        self.text("filter").map(Filter::parse).transpose().map_err(|error| error.to_problem())
    }
}

/// A parameter or header with a value that it cannot have.
pub(crate) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidParameter, detail)
}

/// The name of a cursor.
pub(crate) fn cursor_name(text: &str) -> Result<CursorName, Problem> {
    CursorName::parse(text).map_err(|error| invalid(format!("\"{}\" cannot be a cursor: {error}.", shown(text))))
}

/// The name of an index.
pub(crate) fn index_name(text: &str) -> Result<IndexName, Problem> {
    IndexName::parse(text).map_err(|error| invalid(format!("\"{}\" cannot be an index: {error}.", shown(text))))
}

/// The name of a tag.
pub(crate) fn tag_name(text: &str) -> Result<TagName, Problem> {
    TagName::parse(text).map_err(|error| invalid(format!("\"{}\" cannot be a tag: {error}.", shown(text))))
}

/// A number up to 2^53 − 1 of digits alone: no sign, no space.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().filter(|number| *number <= MAX_SAFE_INTEGER) } else { None }
}

/// What a client sent, cut short where it is long.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    text.chars().take(CHARS_MAX).collect()
}

fn position(text: &str) -> Result<Start, Problem> {
    let named = match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        _ => match text.strip_prefix('-') {
            Some(count) => digits(count).map(Start::Last),
            None => digits(text).and_then(Offset::new).map(Start::At),
        },
    };
    named.ok_or_else(|| {
        invalid(format!(
            "offset is a number up to 2^53 - 1, -N for the last N records, earliest or latest, not \"{}\".",
            shown(text)
        ))
    })
}

/// Reads a time. The `+` of `+01:00`, which forms write as `%2B`, has become a space if it was sent as it is.
fn time(name: &str, text: &str, parse: fn(&str) -> Result<Timestamp, InvalidTimestamp>) -> Result<Timestamp, Problem> {
    let plus = text.len().checked_sub("+00:00".len()).filter(|at| text.as_bytes().get(*at) == Some(&b' '));
    let mended = match plus.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
        Some((head, zone)) => format!("{head}+{zone}"),
        None => text.to_owned(),
    };
    parse(&mended).map_err(|error| invalid(format!("{name} cannot be \"{}\": {error}.", shown(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["offset", "since", "cursor", "limit", "close", "fields"];

    fn code(text: &str) -> Option<ErrorCode> {
        StrictQuery::parse(text, KNOWN)
            .and_then(|query| {
                query.start()?;
                query.integer("limit", 1..=1_000)?;
                query.boolean("close")?;
                query.fields()?;
                Ok(())
            })
            .err()
            .map(|problem| problem.code)
    }

    #[test]
    fn a_parameter_is_known_given_once_and_not_empty() {
        for (text, expected) in [
            ("", None),
            ("offset=3&limit=5&close=true", None),
            ("ofset=3", Some(ErrorCode::UnknownParameter)),
            ("Offset=3", Some(ErrorCode::UnknownParameter)),
            ("=3", Some(ErrorCode::UnknownParameter)),
            ("offset=1&offset=1", Some(ErrorCode::InvalidParameter)),
            ("offset=", Some(ErrorCode::InvalidParameter)),
            ("offset", Some(ErrorCode::InvalidParameter)),
            ("offset=%zz", Some(ErrorCode::InvalidParameter)),
            ("offset=1%", Some(ErrorCode::InvalidParameter)),
            ("offset=%ff", Some(ErrorCode::InvalidParameter)),
            ("%6fffset=latest", None),
            ("%6ffset=latest", Some(ErrorCode::UnknownParameter)),
            ("limit=0", Some(ErrorCode::InvalidParameter)),
            ("limit=1001", Some(ErrorCode::InvalidParameter)),
            ("limit=+1", Some(ErrorCode::InvalidParameter)),
            ("limit=1.0", Some(ErrorCode::InvalidParameter)),
            ("limit=99999999999999999999999", Some(ErrorCode::InvalidParameter)),
            ("close=1", Some(ErrorCode::InvalidParameter)),
            ("fields=a,,b", Some(ErrorCode::InvalidParameter)),
            ("offset=1&since=2026-11-23T09:00:00Z", Some(ErrorCode::InvalidParameter)),
            ("cursor=billing", None),
            ("cursor=-billing", Some(ErrorCode::InvalidParameter)),
            ("cursor=billing&offset=1", Some(ErrorCode::InvalidParameter)),
            ("cursor=billing&since=2026-11-23T09:00:00Z", Some(ErrorCode::InvalidParameter)),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_parameter_names_the_known_ones() {
        let problem = StrictQuery::parse("x=1", KNOWN).unwrap_err();
        assert_eq!(problem.allowed.as_ref().unwrap(), KNOWN);
    }

    #[test]
    fn positions_are_numbers_counts_from_the_end_or_words() {
        for (text, expected) in [
            ("7", Some(Start::At(Offset::new(7).unwrap()))),
            ("-3", Some(Start::Last(3))),
            ("-0", Some(Start::Last(0))),
            ("earliest", Some(Start::Earliest)),
            ("latest", Some(Start::Latest)),
            ("9007199254740991", Some(Start::At(Offset::MAX))),
            ("9007199254740992", None),
            ("--3", None),
            ("+3", None),
            ("now", None),
        ] {
            assert_eq!(position(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_plus_of_a_time_zone_may_come_raw_or_encoded() {
        let expected = Start::Since(Timestamp::parse_rfc3339("2026-11-23T09:00:00Z").unwrap());
        for text in ["2026-11-23T10:00:00%2B01:00", "2026-11-23T10:00:00+01:00", "2026-11-23T09:00:00Z"] {
            let query = StrictQuery::parse(&format!("since={text}"), KNOWN).unwrap();
            assert_eq!(query.start(), Ok(Some(expected.clone())), "{text}");
        }
        let finer = StrictQuery::parse("since=2026-11-23T08:59:59.999999001Z", KNOWN).unwrap();
        assert_eq!(finer.start(), Ok(Some(expected)));
        assert!(StrictQuery::parse("since=yesterday", KNOWN).unwrap().start().is_err());
        assert!(StrictQuery::parse("since=%C3%A4%C3%A4%C3%A4%C3%A4", KNOWN).unwrap().start().is_err());
    }
}
