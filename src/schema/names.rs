//! Keys of records to names of columns and back.
//!
//! A column is named as its key, except where Lance or this service could not keep it apart: `%`, `.`, the backtick and
//! U+0000–001F are percent-encoded, the empty key is `%`, and a reserved top-level key has its first byte encoded. The
//! mapping is one to one, so a name leads back to its key. Case counts.

use std::borrow::Cow;
use std::fmt::Write;

/// The column that holds each record's offset.
pub const OFFSET_COLUMN: &str = "_offset";
/// The column that holds each record's timestamp.
pub const TIMESTAMP_COLUMN: &str = "_timestamp";

/// Names that Lance or this service gives a meaning at the top level.
pub const RESERVED: [&str; 10] = [
    "_rowid",
    "_rowaddr",
    "_rowoffset",
    "_row_created_at_version",
    "_row_last_updated_at_version",
    OFFSET_COLUMN,
    TIMESTAMP_COLUMN,
    "_distance",
    "_score",
    "_relevance_score",
];

const fn is_encoded(c: char) -> bool {
    matches!(c, '%' | '.' | '`' | '\0'..='\x1f')
}

/// The name of the top-level column of `key`.
pub fn column_name(key: &str) -> Cow<'_, str> {
    match key.strip_prefix('_') {
        Some(rest) if RESERVED.contains(&key) => Cow::Owned(format!("%5F{rest}")),
        _ => member_name(key),
    }
}

/// The name of the struct member of `key`: as at the top level, but nothing is reserved.
pub fn member_name(key: &str) -> Cow<'_, str> {
    if key.is_empty() {
        return Cow::Borrowed("%");
    }
    if !key.contains(is_encoded) {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len() + 8);
    for c in key.chars() {
        if is_encoded(c) {
            // Writing into a string cannot fail.
            write!(name, "%{:02X}", u32::from(c)).unwrap_or_default();
        } else {
            name.push(c);
        }
    }
    Cow::Owned(name)
}

/// The key of a column or member that this service has named. What it cannot have named is taken as it is.
pub fn key_of(name: &str) -> Cow<'_, str> {
    if name == "%" {
        return Cow::Borrowed("");
    }
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    Cow::Owned(percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_and_reserved_keys_have_the_names_of_the_contract() {
        let cases = [
            ("a", "a"),
            ("A b-ü", "A b-ü"),
            ("", "%"),
            ("%", "%25"),
            ("a.b", "a%2Eb"),
            ("`", "%60"),
            ("a\n\0\u{1f}", "a%0A%00%1F"),
            ("_offset", "%5Foffset"),
            ("_Offset", "_Offset"),
            ("_rowid", "%5Frowid"),
            ("%5Foffset", "%255Foffset"),
            ("_offset2", "_offset2"),
        ];
        for (key, name) in cases {
            assert_eq!(column_name(key), name);
            assert_eq!(key_of(name), key);
        }
        assert_eq!(member_name("_offset"), "_offset");
    }

    proptest! {
        #[test]
        fn every_key_comes_back_and_no_two_share_a_name(a in "\\PC{0,6}|[%.`\0-\x1f5FE]{0,6}", b in "[%.`2E56F]{0,6}") {
            for name in [column_name(&a), member_name(&a)] {
                prop_assert_eq!(key_of(&name), a.as_str());
            }
            prop_assert_eq!(a == b, column_name(&a) == column_name(&b));
        }
    }
}
