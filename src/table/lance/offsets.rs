//! Which offsets lie in which fragment.
//!
//! The invariant: fragments in ascending order of their ids hold contiguous, ascending runs of offsets, all of their rows.

use std::sync::Arc;

use lance_table::format::Manifest;

use super::error::foreign;
use crate::model::Offset;
use crate::table::{FragmentSummary, TableError};

/// Where a manifest says which offset its first row has.
pub(super) const BASE_KEY: &str = "queue.base_offset";
/// Where a manifest says which offset follows its last row.
pub(super) const NEXT_KEY: &str = "queue.next_offset";
/// Where a manifest says before which offset no record was kept any more when it was written, though rows may be there.
pub(super) const EARLIEST_KEY: &str = "queue.earliest_offset";
/// Where a manifest says which version it was when this server wrote it; a later commit by somebody else inherits it.
pub(super) const VERSION_KEY: &str = "queue.version";
/// Where a manifest says about how many bytes of text its rows had when they came.
pub(super) const RAW_KEY: &str = "queue.raw_bytes";
/// Where a manifest says why this server wrote it.
pub(super) const CAUSE_KEY: &str = "queue.cause";
/// Where a manifest says how far its columns have followed what was posted; none before the first.
pub(super) const POSTED_KEY: &str = "queue.posted";

/// Where a manifest says which schema version its rows read under as they were stored.
pub(super) const SCHEMA_KEY: &str = "queue.schema";

/// Where a manifest says which segments of indexes this server has made.
pub(super) const INDEXES_KEY: &str = "queue.indexes";

/// A number that the manifest carries.
pub(super) fn stored(manifest: &Manifest, key: &str) -> Option<u64> {
    manifest.table_metadata.get(key)?.parse().ok()
}

/// One fragment's run of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) id: u64,
    pub(super) first: Offset,
    pub(super) next: Offset,
    pub(super) bytes: u64,
}

impl Placed {
    pub(super) fn rows(&self) -> u64 {
        self.next.since(self.first)
    }
}

/// Prefix sums over a manifest's fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) fragments: Vec<Placed>,
}

impl Layout {
    /// The layout of a manifest whose first row has the offset `base`.
    pub(super) fn of(manifest: &Manifest, base: Offset) -> Result<Self, TableError> {
        let mut fragments = Vec::with_capacity(manifest.fragments.len());
        let mut first = base;
        let mut last_id = None;
        for fragment in manifest.fragments.iter() {
            if last_id.is_some_and(|last| fragment.id <= last) {
                return Err(foreign(format!("fragment {} stands after a later one", fragment.id)));
            }
            last_id = Some(fragment.id);
            if fragment.deletion_file.is_some() || !fragment.overlays.is_empty() {
                return Err(foreign(format!("rows of fragment {} were deleted or changed", fragment.id)));
            }
            let rows = fragment.physical_rows.and_then(|rows| u64::try_from(rows).ok());
            let next = rows.filter(|rows| u32::try_from(*rows).is_ok()).and_then(|rows| first.after(rows));
            let next = next.ok_or_else(|| foreign(format!("fragment {} does not say its rows", fragment.id)))?;
            let bytes = fragment.files.iter().filter_map(|file| file.file_size_bytes.get()).map(u64::from).sum();
            fragments.push(Placed { id: fragment.id, first, next, bytes });
            first = next;
        }
        Ok(Self { base, next: first, fragments })
    }

    /// The fragment that holds `offset`.
    pub(super) fn holding(&self, offset: Offset) -> Option<Placed> {
        let place = self.fragments.partition_point(|fragment| fragment.next <= offset);
        self.fragments.get(place).filter(|fragment| fragment.first <= offset).copied()
    }

    /// The leading fragments that hold nothing at or past `before`.
    pub(super) fn wholly_before(&self, before: Offset) -> &[Placed] {
        let count = self.fragments.partition_point(|fragment| fragment.next <= before);
        self.fragments.get(..count).unwrap_or_default()
    }

    /// What others are told of the fragments.
    pub(super) fn summaries(&self) -> Arc<[FragmentSummary]> {
        self.fragments.iter().map(|placed| FragmentSummary { next: placed.next, bytes: placed.bytes }).collect()
    }
}
