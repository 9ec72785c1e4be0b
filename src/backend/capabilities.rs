//! The comparison table.

use serde::Serialize;

/// What a backend can do. A capability is true once its operations are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Records survive a restart.
    pub persistence: bool,
    /// Acknowledged records survive a crash at any instant, by a write-ahead log.
    pub wal: bool,
    /// Stored records can be compressed by option.
    pub compression: bool,
    /// Topics have storage series of their own on `/metrics`.
    pub metrics: bool,
    /// Appends may bring new columns; null where there are no columns.
    pub schema_evolution: Option<bool>,
    /// Nearest neighbours can be searched.
    pub vector_search: bool,
    /// Versions, tags and forks of the dataset.
    pub version_control: bool,
    /// Reads take a filter.
    pub filter: bool,
    /// Arrow bodies and answers.
    pub arrow: bool,
    /// Producer headers and idempotency keys.
    pub exactly_once: bool,
}
