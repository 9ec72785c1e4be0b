//! How safe a record is.

use std::fmt;

/// A level of durability, from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ack {
    /// In memory.
    Accepted,
    /// In the write-ahead log, fsynced.
    Wal,
    /// In the Lance dataset, fsynced.
    Committed,
}

/// The level that an append has reached, which can be above the one asked for.
pub type Durability = Ack;

impl Ack {
    /// Every level, weakest first.
    pub const ALL: [Ack; 3] = [Ack::Accepted, Ack::Wal, Ack::Committed];

    /// The word of the API for the level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ack::Accepted => "accepted",
            Ack::Wal => "wal",
            Ack::Committed => "committed",
        }
    }

    /// The level that a word of the API names.
    pub fn parse(word: &str) -> Option<Ack> {
        Ack::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
