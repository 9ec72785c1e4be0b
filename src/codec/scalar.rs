//! Days, times and bytes in strings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveDate;

use crate::model::Timestamp;

/// The moments that RFC 3339 can write in UTC: the years 0 to 9999.
const FIRST_MICROS: i64 = -62_167_219_200_000_000;
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// Reads an RFC 3339 time with any offset and at most six digits of a fraction that count.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    // The library reads some texts that the RFC does not write.
    if !text.is_ascii() || !matches!(bytes.get(10), Some(b'T' | b't')) {
        return None;
    }
    let time = Timestamp::parse_rfc3339(text).ok()?;
    (FIRST_MICROS..=LAST_MICROS).contains(&time.as_micros()).then_some(time)
}

/// Whether a text is a day, `YYYY-MM-DD`.
pub(super) fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    let part = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u32>().ok());
    let day = || NaiveDate::from_ymd_opt(i32::try_from(part(0, 4)?).ok()?, part(5, 7)?, part(8, 10)?);
    shaped && day().is_some()
}

/// Whether a text is canonical base64: the standard alphabet, padded, no loose bits. `scratch` is overwritten.
pub(super) fn is_base64(text: &str, scratch: &mut Vec<u8>) -> bool {
    scratch.clear();
    STANDARD.decode_vec(text, scratch).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_within_its_years_and_to_the_microsecond() {
        let cases = [
            ("2026-11-23T10:00:00+01:00", Some("2026-11-23T09:00:00.000000Z")),
            ("2026-11-23t10:00:00.1z", Some("2026-11-23T10:00:00.100000Z")),
            ("2026-11-23T10:00:00.123456000000000Z", Some("2026-11-23T10:00:00.123456Z")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00.000000Z")),
            ("9999-12-31T23:59:59.999999Z", Some("9999-12-31T23:59:59.999999Z")),
            ("1969-12-31T23:59:59.999999-00:00", Some("1969-12-31T23:59:59.999999Z")),
            ("2026-11-23T10:00:00.1234567Z", None),
            ("2026-11-23T10:00:00.0000000001Z", None),
            ("9999-12-31T23:59:59-01:00", None),
            ("0000-01-01T00:00:00+01:00", None),
            ("2020-01-01T12:34:60Z", None),
            ("2016-12-31T23:59:60Z", None),
            ("2026-11-23 10:00:00Z", None),
            ("2026-11-23T10:00:00", None),
            ("2026-11-23", None),
            ("2026-13-01T00:00:00Z", None),
            ("+2026-11-23T10:00:00Z", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(timestamp(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn days_exist() {
        for text in ["2024-02-29", "0000-01-01", "9999-12-31"] {
            assert!(is_date(text), "{text}");
        }
        for text in ["2023-02-29", "2024-2-9", "2024-02-30", "24-02-02", "2024-02-29T", "2024/02/02", "", "２024-02-2"]
        {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn bytes_are_canonical_base64() {
        let mut scratch = Vec::new();
        for text in ["", "QQ==", "QUI=", "QUJD", "+/+/"] {
            assert!(is_base64(text, &mut scratch), "{text}");
        }
        for text in ["QQ", "QQ=", "QR==", "Q", "-_-_", "QQ==\n", "QUJD QUJD", "é"] {
            assert!(!is_base64(text, &mut scratch), "{text}");
        }
    }
}
