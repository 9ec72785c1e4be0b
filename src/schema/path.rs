//! Paths of fields as `fields=` writes them.

use std::fmt;

/// The keys that lead to a field, through structs and, without a step of their own, through lists. Printed as `fields=`
/// takes it: names nested by `.`, in double quotes (doubled inside) unless they are made of letters, digits and `_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(pub Vec<String>);

/// A path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InvalidPath {
    /// One sentence that a person can act on.
    pub detail: String,
}

fn invalid(detail: impl Into<String>) -> InvalidPath {
    InvalidPath { detail: detail.into() }
}

impl FieldPath {
    /// The path one key further.
    #[must_use]
    pub fn child(&self, key: &str) -> Self {
        let mut keys = Vec::with_capacity(self.0.len() + 1);
        keys.extend_from_slice(&self.0);
        keys.push(key.to_owned());
        Self(keys)
    }

    /// As an RFC 6901 pointer into a record.
    pub fn pointer(&self) -> String {
        self.0.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
    }

    /// Reads one path.
    ///
    /// # Errors
    /// [`InvalidPath`] where the text is none or more than one.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let mut paths = Self::parse_list(text)?;
        match (paths.pop(), paths.is_empty()) {
            (Some(path), true) => Ok(path),
            _ => Err(invalid("One field name is expected; a name with a comma stands in double quotes.")),
        }
    }

    /// Reads paths separated by commas; white space around names is ignored.
    ///
    /// # Errors
    /// [`InvalidPath`] for an empty name, an unclosed quote, or a character that only a quoted name can have.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidPath> {
        let mut paths = Vec::new();
        let mut keys = Vec::new();
        let mut rest = text;
        loop {
            let (key, behind) = parse_name(rest.trim_start())?;
            keys.push(key);
            rest = behind.trim_start();
            let mut chars = rest.chars();
            match chars.next() {
                None => break,
                Some('.') => rest = chars.as_str(),
                Some(',') => {
                    rest = chars.as_str();
                    paths.push(Self(std::mem::take(&mut keys)));
                }
                Some(c) => {
                    return Err(invalid(format!("A field name ends before {c:?}: put odd names in double quotes.")));
                }
            }
        }
        paths.push(Self(keys));
        Ok(paths)
    }
}

/// One name at the beginning of `text`, and what stands behind it.
fn parse_name(text: &str) -> Result<(String, &str), InvalidPath> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c.is_whitespace() || matches!(c, '.' | ',' | '"' | '\'')).unwrap_or(text.len());
        if end == 0 {
            return Err(invalid("A field name is empty: the empty key is written as \"\"."));
        }
        let (name, rest) = text.split_at(end);
        return Ok((name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    while let Some((before, behind)) = rest.split_once('"') {
        name.push_str(before);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return Ok((name, behind)),
        }
    }
    Err(invalid("A double quote is not closed."))
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_') {
                f.write_str(key)?;
            } else {
                write!(f, "\"{}\"", key.replace('"', "\"\""))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> Option<Vec<Vec<String>>> {
        FieldPath::parse_list(text).ok().map(|paths| paths.into_iter().map(|path| path.0).collect())
    }

    #[test]
    fn names_are_bare_or_quoted_and_nested_by_dots() {
        let odd = list(r#"a,b.c,"odd name".x,"","say ""hi""".y"#).unwrap();
        assert_eq!(odd, [vec!["a"], vec!["b", "c"], vec!["odd name", "x"], vec![""], vec!["say \"hi\"", "y"]]);
        assert_eq!(list(" a , b ").unwrap(), [vec!["a"], vec!["b"]]);
        assert_eq!(list("a-b,ü,_x,1").unwrap().len(), 4);
    }

    #[test]
    fn malformed_lists_are_refused() {
        for text in
            ["", ",", "a,", ",a", "a..b", ".a", "a.", "\"a", "a b", "a\"b\"", "\"a\"b", "'a'", "a,,b", "\"a\"\"", " "]
        {
            assert!(FieldPath::parse_list(text).is_err(), "{text:?}");
        }
        assert!(FieldPath::parse("a,b").is_err());
    }

    proptest! {
        #[test]
        fn every_path_reads_back_as_written(keys in prop::collection::vec("[a\"., _\\-é]{0,4}", 1..4)) {
            let path = FieldPath(keys);
            prop_assert_eq!(FieldPath::parse(&path.to_string()), Ok(path));
        }
    }
}
