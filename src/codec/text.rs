//! Strings of JSON text.

use std::borrow::Cow;

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
    use crate::codec::encode::scalar::write_str;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_come_back_from_any_escapes(text in any::<String>()) {
            let mut out = Vec::new();
            write_str(&text, &mut out);
            prop_assert_eq!(unescape(std::str::from_utf8(&out[1..out.len() - 1]).unwrap()), text.as_str());
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            prop_assert_eq!(unescape(&units), text.as_str());
        }
    }
}
