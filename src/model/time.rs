//! Server time: microseconds in UTC.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339, as in 2026-11-23T09:00:00.000001Z")]
pub struct InvalidTimestamp;

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
    /// [`InvalidTimestamp`] for any other text, and for a time that microseconds cannot hold.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| InvalidTimestamp)?;
        if time.timestamp_subsec_nanos() % 1_000 != 0 {
            return Err(InvalidTimestamp);
        }
        Ok(Self(time.timestamp_micros()))
    }

    /// Appends the API's form: RFC 3339, UTC, always six fractional digits and `Z`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_string().as_bytes());
    }
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
        assert!(Timestamp::parse_rfc3339("2026-11-23T09:00:00.000001000Z").is_ok());
    }
}
