//! Which of a dataset's index segments this server has made, and of what: noted in the same manifest.

use std::collections::BTreeMap;

use lance_table::format::{IndexMetadata, Manifest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::IndexId;
use crate::table::lance::offsets::INDEXES_KEY;

/// What is noted of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The definition that it was made for.
    index: String,
    /// Which of its columns.
    pub(super) column: usize,
    /// How many rows it was made of.
    pub(super) rows: u64,
    /// Whether it stands in for what could not be made of so few rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) makeshift: bool,
    /// Whether more of what the index is to begin with was still to come when it was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) partial: bool,
}

impl Note {
    pub(super) fn new(index: IndexId, column: usize, rows: u64) -> Self {
        Self { index: index.to_string(), column, rows, makeshift: false, partial: false }
    }

    /// Whether it was made for a column of a definition.
    pub(super) fn is_of(&self, index: IndexId, column: usize) -> bool {
        self.column == column && IndexId::parse(&self.index) == Some(index)
    }
}

/// The notes of one version, by segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes(BTreeMap<String, Note>);

impl Notes {
    /// The notes of a manifest. What cannot be read was not written by this server, and makes none of the segments ours.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let stored = manifest.table_metadata.get(INDEXES_KEY);
        Self(stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    pub(super) fn get(&self, segment: Uuid) -> Option<&Note> {
        self.0.get(&segment.to_string())
    }

    /// The notes after a change, of what is still there.
    pub(super) fn changed(&self, present: &[IndexMetadata], gone: &[Uuid], new: Option<(Uuid, Note)>) -> Self {
        let kept = present.iter().filter(|segment| !gone.contains(&segment.uuid));
        let kept = kept.filter_map(|segment| Some((segment.uuid.to_string(), self.get(segment.uuid)?.clone())));
        Self(kept.chain(new.map(|(segment, note)| (segment.to_string(), note))).collect())
    }

    pub(super) fn to_stored(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}
