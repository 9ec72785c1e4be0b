//! Topic names.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a topic: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// A text that names no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic name is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and begins with a letter or digit")]
pub struct InvalidTopicName;

impl TopicName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;
    /// The ending that the service keeps for itself.
    pub const QUARANTINE_ENDING: &'static str = ".quarantine";

    /// Checks a name as a client wrote it.
    ///
    /// # Errors
    /// [`InvalidTopicName`] for everything that the pattern does not match.
    pub fn parse(text: &str) -> Result<Self, InvalidTopicName> {
        let bytes = text.as_bytes();
        let head = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let rest = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if head && rest && bytes.len() <= Self::BYTES_MAX { Ok(Self(text.into())) } else { Err(InvalidTopicName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the ending is the service's own, so that nobody else can create the topic.
    pub fn is_reserved(&self) -> bool {
        self.0.ends_with(Self::QUARANTINE_ENDING)
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
            assert!(TopicName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "é", "a\0", "a%2e", &"x".repeat(129)] {
            assert!(TopicName::parse(bad).is_err(), "{bad}");
        }
    }
}
