//! Paths that lead to a column without quotes. Lance reads values for indexes by the path as SQL; it puts quotes round names
//! that have other characters than letters, digits and `_`, and round no others.

use crate::schema::FieldPath;

/// Words that are no names of columns in SQL.
const WORDS: [&str; 12] = [
    "current_catalog",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "false",
    "localtime",
    "localtimestamp",
    "null",
    "session_user",
    "true",
    "user",
];
/// Words that are none at the beginning of a path.
const FIRST_WORDS: [&str; 6] = ["all", "distinct", "exists", "interval", "top", "trim"];

/// Whether the path is understood. A single name always is.
pub(super) fn is_nameable(path: &FieldPath) -> bool {
    let is_word = |key: &str, words: &[&str]| words.iter().any(|word| key.eq_ignore_ascii_case(word));
    let is_understood = |(level, key): (usize, &String)| {
        let has_quotes = key.is_empty() || key.chars().any(|c| !c.is_alphanumeric() && c != '_');
        has_quotes
            || (key.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && key.chars().all(|c| c.is_alphabetic() || c.is_ascii_digit() || c == '_')
                && !is_word(key, &WORDS)
                && (level > 0 || !is_word(key, &FIRST_WORDS)))
    };
    path.0.len() == 1 || path.0.iter().enumerate().all(is_understood)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_understood_where_each_of_its_names_is_one_in_sql() {
        for (path, expected) in [
            ("1a", true),
            ("user", true),
            ("a.t", true),
            ("\u{e9}.\u{6771}", true),
            ("\"a b\".\"1 a\"", true),
            ("a.all", true),
            ("_1.a1", true),
            ("1a.t", false),
            ("a.1", false),
            ("a.b\u{bd}", false),
            ("user.name", false),
            ("a.NULL", false),
            ("All.a", false),
        ] {
            assert_eq!(is_nameable(&FieldPath::parse(path).unwrap()), expected, "{path}");
        }
    }
}
