//! Names of topics, of cursors, of tags and of indexes.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a topic: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// The name of a cursor, of the same pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorName(Arc<str>);

/// The name of an index, of the same pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexName(Arc<str>);

/// The name of a tag: as of a topic, but with what Lance forbids: it has no `..` and ends neither in `.` nor in `.lock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagName(Arc<str>);

/// The longest name, in bytes.
const BYTES_MAX: usize = 128;

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let head = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let rest = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    head && rest && bytes.len() <= BYTES_MAX
}

/// A text that names no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic name is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and begins with a letter or digit")]
pub struct InvalidTopicName;

/// A text that names no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor's name is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and begins with a letter or digit")]
pub struct InvalidCursorName;

/// A text that names no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an index's name is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and begins with a letter or digit")]
pub struct InvalidIndexName;

/// A text that names no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tag's name is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', begins with a letter or digit, has no '..', \
     and ends neither in '.' nor in '.lock'"
)]
pub struct InvalidTagName;

impl TagName {
    /// Checks a name as a client wrote it.
    ///
    /// # Errors
    /// [`InvalidTagName`] for everything that cannot be one.
    pub fn parse(text: &str) -> Result<Self, InvalidTagName> {
        let is_refused = text.contains("..") || text.ends_with('.') || text.ends_with(".lock");
        if is_name(text) && !is_refused { Ok(Self(text.into())) } else { Err(InvalidTagName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TopicName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = BYTES_MAX;
    /// The ending that the service keeps for itself.
    pub const QUARANTINE_ENDING: &'static str = ".quarantine";

    /// Checks a name as a client wrote it.
    ///
    /// # Errors
    /// [`InvalidTopicName`] for everything that the pattern does not match.
    pub fn parse(text: &str) -> Result<Self, InvalidTopicName> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidTopicName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the topic's quarantine; none where it would be too long.
    pub fn quarantine(&self) -> Option<Self> {
        Self::parse(&format!("{}{}", self.0, Self::QUARANTINE_ENDING)).ok()
    }

    /// The topic whose quarantine has this name; none for all other names.
    pub fn quarantined(&self) -> Option<Self> {
        Self::parse(self.0.strip_suffix(Self::QUARANTINE_ENDING)?).ok()
    }

    /// Whether the ending is the service's own, so that nobody else can create the topic.
    pub fn is_reserved(&self) -> bool {
        self.0.ends_with(Self::QUARANTINE_ENDING)
    }
}

impl CursorName {
    /// Checks a name as a client wrote it.
    ///
    /// # Errors
    /// [`InvalidCursorName`] for everything that the pattern does not match.
    pub fn parse(text: &str) -> Result<Self, InvalidCursorName> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidCursorName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl IndexName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = BYTES_MAX;

    /// Checks a name as a client wrote it.
    ///
    /// # Errors
    /// [`InvalidIndexName`] for everything that the pattern does not match.
    pub fn parse(text: &str) -> Result<Self, InvalidIndexName> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidIndexName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CursorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_or_refused_by_the_pattern() {
        for good in ["a", "0", "my-topic", "a.b_c-d", &"x".repeat(128)] {
            assert!(TopicName::parse(good).is_ok() && CursorName::parse(good).is_ok(), "{good}");
            assert!(IndexName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "é", "a\0", "a%2e", &"x".repeat(129)] {
            assert!(TopicName::parse(bad).is_err() && CursorName::parse(bad).is_err(), "{bad}");
            assert!(TagName::parse(bad).is_err(), "{bad}");
        }
        for (name, taken) in [("v1.0", true), ("a", true), ("a..b", false), ("a.", false), ("a.lock", false)] {
            assert_eq!(TagName::parse(name).is_ok(), taken, "{name}");
        }
    }
}
