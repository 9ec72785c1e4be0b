//! Strings of JSON text.

use std::borrow::Cow;

/// Appends a string in quotes with the shortest escapes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
        from = at + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out.push(b'"');
}

/// The text that stands between the quotes of a well-formed JSON string.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else { return Cow::Borrowed(raw) };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut at = Some(first);
    while let Some((before, behind)) = at.and_then(|at| rest.split_at_checked(at)) {
        text.push_str(before);
        let mut chars = behind.chars();
        chars.next();
        match chars.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => chars = push_unicode(&mut text, chars),
            Some(same) => text.push(same),
            None => {}
        }
        rest = chars.as_str();
        at = memchr::memchr(b'\\', rest.as_bytes());
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Appends the character whose `\u` stands right before `chars`; a pair of surrogates is one character.
fn push_unicode<'a>(text: &mut String, mut chars: std::str::Chars<'a>) -> std::str::Chars<'a> {
    let unit = |chars: &mut std::str::Chars<'a>| {
        (0..4).fold(0, |unit, _| unit << 4 | chars.next().and_then(|c| c.to_digit(16)).unwrap_or_default())
    };
    let first = unit(&mut chars);
    let code = if (0xd800..0xdc00).contains(&first) {
        // The parser has accepted the string, so `\u` and the low half follow.
        chars.next();
        chars.next();
        let second = unit(&mut chars);
        0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff)
    } else {
        first
    };
    text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    chars
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_the_shortest() {
        let mut out = Vec::new();
        write_string(&mut out, "a\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}😀");
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}é\u{2028}😀\"");
    }

    proptest! {
        #[test]
        fn strings_come_back_from_any_escapes(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert_eq!(unescape(std::str::from_utf8(&out[1..out.len() - 1]).unwrap()), text.as_str());
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            prop_assert_eq!(unescape(&units), text.as_str());
        }
    }
}
