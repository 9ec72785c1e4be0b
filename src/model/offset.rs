//! Positions in a topic.

use std::fmt;

/// The largest integer that every JSON reader keeps exactly, 2^53 − 1: the bound of offsets, epochs and counts.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The position of a record in its topic: dense from 0, never renumbered, never reused within an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every topic.
    pub const ZERO: Offset = Offset(0);
    /// The largest offset.
    pub const MAX: Offset = Offset(MAX_SAFE_INTEGER);

    /// The offset with this number, at most [`MAX_SAFE_INTEGER`].
    pub const fn new(number: u64) -> Option<Self> {
        if number > MAX_SAFE_INTEGER { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `count` records further on; none past [`MAX_SAFE_INTEGER`].
    pub const fn after(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(number) => Self::new(number),
            None => None,
        }
    }

    /// The offset `count` records further on, held at [`Offset::MAX`].
    pub fn saturating_after(self, count: u64) -> Self {
        Self(self.0.saturating_add(count).min(MAX_SAFE_INTEGER))
    }

    /// The offset `count` records before, held at 0.
    pub const fn saturating_before(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }

    /// How many records lie from `earlier` to here; 0 where `earlier` is not before.
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of a topic in which no offset is used twice, from a counter that no two topics share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with this number, at most [`MAX_SAFE_INTEGER`].
    pub const fn new(number: u64) -> Option<Self> {
        if number > MAX_SAFE_INTEGER { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
