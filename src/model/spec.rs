//! Words of a topic's configuration.

/// Whether appends may bring new columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaMode {
    /// The declared schema, or that of the first batch that brings a column, and nothing else.
    Strict,
    /// New keys become nullable columns; integer columns widen.
    Evolve,
}

impl SchemaMode {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            SchemaMode::Strict => "strict",
            SchemaMode::Evolve => "evolve",
        }
    }

    /// The mode that a word of the API names.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "strict" => Some(SchemaMode::Strict),
            "evolve" => Some(SchemaMode::Evolve),
            _ => None,
        }
    }
}

/// What becomes of records that do not fit a topic's columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnInvalid {
    /// The request is refused.
    #[default]
    Reject,
    /// They are kept in the topic's quarantine, and the others are stored.
    Quarantine,
}

impl OnInvalid {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnInvalid::Reject => "reject",
            OnInvalid::Quarantine => "quarantine",
        }
    }

    /// The choice that a word of the API names.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "reject" => Some(OnInvalid::Reject),
            "quarantine" => Some(OnInvalid::Quarantine),
            _ => None,
        }
    }
}

/// How long records are kept; each bound that is absent does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The greatest age of a record, in seconds.
    #[serde(default)]
    pub max_age_secs: Option<u64>,
    /// The greatest number of records.
    #[serde(default)]
    pub max_records: Option<u64>,
    /// The greatest number of stored bytes.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// Whether nothing is ever removed.
    pub const fn is_unbounded(&self) -> bool {
        self.max_age_secs.is_none() && self.max_records.is_none() && self.max_bytes.is_none()
    }
}
