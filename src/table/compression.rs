//! How columns are compressed, beyond the light encodings (bit packing, dictionaries, FSST) that every dataset has.

use std::collections::BTreeMap;

use crate::schema::FieldPath;

/// A general compression of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// The light encodings alone.
    #[default]
    None,
    /// LZ4: fast.
    Lz4,
    /// Zstandard: small.
    Zstd,
}

impl Codec {
    /// The words for them.
    pub const WORDS: &'static [&'static str] = &["none", "lz4", "zstd"];

    /// The codec that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Codec::None),
            "lz4" => Some(Codec::Lz4),
            "zstd" => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// The levels of Zstandard.
pub const LEVELS: std::ops::RangeInclusive<u64> = 1..=22;

/// How a topic's columns are compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// Every column without a codec of its own.
    pub codec: Codec,
    /// The level of Zstandard wherever it is used; none for its own default.
    pub level: Option<u8>,
    /// Columns with a codec of their own, and all that is in them.
    pub fields: BTreeMap<FieldPath, Codec>,
}

impl Compression {
    /// Whether all columns have the light encodings alone.
    pub fn is_plain(&self) -> bool {
        self.codec == Codec::None && self.fields.values().all(|codec| *codec == Codec::None)
    }

    /// The codec of the column at a path, given by its names from the outside in: the innermost that is named.
    pub fn codec_of(&self, path: &[String]) -> Codec {
        let own = (1..=path.len()).rev().find_map(|depth| {
            let outer = path.get(..depth).unwrap_or_default();
            self.fields.iter().find(|(named, _)| named.0 == outer).map(|(_, codec)| *codec)
        });
        own.unwrap_or(self.codec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_name_decides() {
        let path = |text: &str| FieldPath::parse(text).unwrap();
        let fields = BTreeMap::from([(path("a"), Codec::Lz4), (path("a.b"), Codec::None)]);
        let compression = Compression { codec: Codec::Zstd, level: None, fields };
        for (names, expected) in
            [("a", Codec::Lz4), ("a.c", Codec::Lz4), ("a.b", Codec::None), ("a.b.c", Codec::None), ("b", Codec::Zstd)]
        {
            assert_eq!(compression.codec_of(&path(names).0), expected, "{names}");
        }
        assert!(!compression.is_plain());
        assert!(Compression::default().is_plain());
    }
}
