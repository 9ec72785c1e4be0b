//! Server time: microseconds in UTC.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Timelike, Utc};

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339, as in 2026-11-23T09:00:00.000001Z")]
pub struct InvalidTimestamp;

/// Nanoseconds of a second.
const NANOS: u32 = 1_000_000_000;

impl Timestamp {
    /// The moment this many microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time with any offset; digits past the microsecond are refused unless they are zero.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] for any other text, and for a time that microseconds cannot hold, leap seconds among them.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        if is_finer(text) { Err(InvalidTimestamp) } else { Self::not_after(text) }
    }

    /// Reads an RFC 3339 time as the first moment that is not before it, for what is to be found from a time on.
    ///
    /// # Errors
    /// As [`Timestamp::parse_rfc3339`], of any number of digits.
    pub fn not_before(text: &str) -> Result<Self, InvalidTimestamp> {
        let Self(micros) = Self::not_after(text)?;
        micros.checked_add(i64::from(is_finer(text))).map(Self).ok_or(InvalidTimestamp)
    }

    /// Reads an RFC 3339 time as the last moment that is not after it, for what was there at a time.
    ///
    /// # Errors
    /// As [`Timestamp::parse_rfc3339`], of any number of digits.
    pub fn not_after(text: &str) -> Result<Self, InvalidTimestamp> {
        match DateTime::parse_from_rfc3339(text) {
            // Microseconds since the epoch have no leap second: it would read back as the one after it. The library takes
            // one in any minute, as a second of more than a billion nanoseconds.
            Ok(time) if time.nanosecond() < NANOS => Ok(Self(time.timestamp_micros())),
            _ => Err(InvalidTimestamp),
        }
    }

    /// Appends the API's form: RFC 3339, UTC, always six fractional digits and `Z`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_string().as_bytes());
    }
}

/// Whether a time has digits past the microsecond that are not zero; the library drops those past the ninth.
fn is_finer(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.bytes().take_while(u8::is_ascii_digit).skip(6).any(|digit| digit != b'0')
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_six_digits_and_z() {
        let time = Timestamp::parse_rfc3339("2026-11-23T10:00:00+01:00").unwrap();
        assert_eq!(time.to_string(), "2026-11-23T09:00:00.000000Z");
        assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Ok(time));
    }

    #[test]
    fn digits_past_the_microsecond_are_not_dropped_silently() {
        assert!(Timestamp::parse_rfc3339("2026-11-23T09:00:00.0000001Z").is_err());
        assert!(Timestamp::parse_rfc3339("2026-11-23T09:00:00.00000000000001+01:00").is_err());
        assert!(Timestamp::parse_rfc3339("2026-11-23T09:00:00.000001000Z").is_ok());
    }

    #[test]
    fn a_bound_finer_than_a_microsecond_is_that_of_the_moments_within_it() {
        for (text, first, last) in [
            ("1970-01-01T00:00:01.0000015Z", 1_000_002, 1_000_001),
            ("1970-01-01T00:00:01.000001Z", 1_000_001, 1_000_001),
            ("1970-01-01T00:00:00.999999999+00:00", 1_000_000, 999_999),
            ("1969-12-31T23:59:59.9999999Z", 0, -1),
            ("1970-01-01T00:00:01.0000010000000000000001Z", 1_000_002, 1_000_001),
            ("1970-01-01T00:00:01.000001000000000000000Z", 1_000_001, 1_000_001),
        ] {
            let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(last));
            assert_eq!((Timestamp::not_before(text), Timestamp::not_after(text)), (Ok(first), Ok(last)), "{text}");
        }
        for text in ["2020-01-01T12:34:60Z", "2016-12-31T23:59:60Z", "2016-12-31T18:59:60.5-05:00"] {
            let read = (Timestamp::parse_rfc3339(text), Timestamp::not_before(text), Timestamp::not_after(text));
            assert_eq!(read, (Err(InvalidTimestamp), Err(InvalidTimestamp), Err(InvalidTimestamp)), "{text}");
        }
        assert!(Timestamp::not_before("yesterday").is_err() && Timestamp::not_after("").is_err());
    }
}
