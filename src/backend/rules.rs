//! What differs between backends by rule.

use crate::model::Ack;

/// How a backend's records are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordForm {
    /// JSON text as given; no columns.
    Documents,
    /// Columns that never change by themselves.
    StrictColumns,
    /// Columns that appends may add to and widen.
    EvolvingColumns,
}

/// When a topic begins a new epoch, because accepted records may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochRule {
    /// After every restart.
    EveryRestart,
    /// After an unclean stop.
    UncleanStop,
    /// Never.
    Never,
}

/// The acknowledgement levels of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckLevels {
    /// Those it can give, weakest first.
    pub available: Vec<Ack>,
    /// The one it gives unasked.
    pub default: Ack,
    /// Whether the default is all that the backend can ever give, so that it is final.
    pub complete: bool,
}
