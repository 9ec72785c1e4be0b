//! Numbers of float columns that JSON lacks. In the text that is stored they are bare words, which no JSON has, so that they
//! come into the dataset as they were sent; every reader of text gets `null`.

use super::encode::scalar::{write_f32, write_f64};

/// The three words. The sign of a NaN and its bits are nobody's value.
pub(super) const NAN: &[u8] = b"NaN";
pub(super) const INFINITY: &[u8] = b"Infinity";
pub(super) const NEG_INFINITY: &[u8] = b"-Infinity";

/// Whether one of the words may be in a text; strings can hold them too.
pub(super) fn may_have(text: &[u8]) -> bool {
    memchr::memmem::find(text, NAN).is_some() || memchr::memmem::find(text, INFINITY).is_some()
}

/// The word for a number; none for those that JSON has.
const fn word(value: f64) -> Option<&'static [u8]> {
    if value.is_nan() {
        Some(NAN)
    } else if value.is_infinite() {
        Some(if value > 0.0 { INFINITY } else { NEG_INFINITY })
    } else {
        None
    }
}

/// Appends a double as it is stored.
pub(super) fn store_f64(value: f64, out: &mut Vec<u8>) {
    match word(value) {
        Some(word) => out.extend_from_slice(word),
        None => write_f64(value, out),
    }
}

/// The same for 32 bits.
pub(super) fn store_f32(value: f32, out: &mut Vec<u8>) {
    match word(value.into()) {
        Some(word) => out.extend_from_slice(word),
        None => write_f32(value, out),
    }
}

/// Appends a stored value as it is read: each word outside of strings is `null`.
pub(super) fn print(stored: &[u8], out: &mut Vec<u8>) {
    let mut rest = stored;
    let mut from = 0;
    let mut in_string = false;
    while let Some(byte) = rest.get(from) {
        let word = match byte {
            b'"' => {
                in_string = !in_string;
                None
            }
            b'\\' if in_string => {
                from += 1;
                None
            }
            b'N' | b'I' | b'-' if !in_string => [NAN, INFINITY, NEG_INFINITY]
                .into_iter()
                .find(|word| rest.get(from..).is_some_and(|at| at.starts_with(word))),
            _ => None,
        };
        match word {
            Some(word) => {
                out.extend_from_slice(rest.get(..from).unwrap_or_default());
                out.extend_from_slice(b"null");
                rest = rest.get(from + word.len()..).unwrap_or_default();
                from = 0;
            }
            None => from += 1,
        }
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(stored: &str) -> String {
        let mut out = Vec::new();
        print(stored.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn words_are_null_outside_of_strings_only() {
        for (stored, expected) in [
            (r#"{"a":NaN,"b":-Infinity,"c":[Infinity,-1,NaN]}"#, r#"{"a":null,"b":null,"c":[null,-1,null]}"#),
            (r#"{"NaN":"Infinity","b":"\\\"NaN\\"}"#, r#"{"NaN":"Infinity","b":"\\\"NaN\\"}"#),
            (r#"{"NaN":NaN}"#, r#"{"NaN":null}"#),
            ("{}", "{}"),
        ] {
            assert_eq!(printed(stored), expected);
        }
    }

    #[test]
    fn stored_words_are_told_from_numbers() {
        let mut out = Vec::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5] {
            store_f64(value, &mut out);
            out.push(b' ');
        }
        store_f32(f32::NEG_INFINITY, &mut out);
        assert_eq!(out, b"NaN Infinity -Infinity 1.5 -Infinity");
        assert!(may_have(&out) && !may_have(b"{\"a\":-1}"));
    }
}
