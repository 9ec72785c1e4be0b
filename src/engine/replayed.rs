//! What the log still had of topics when the server started, until they are opened.

use std::collections::BTreeMap;

use crate::backend::VersionedSchema;
use crate::codec::Chunk;
use crate::codec::reshape::{ReshapeError, to_newest, to_newest_unread};
use crate::engine::writers::ReplayedWriters;
use crate::model::{Offset, SchemaVersion};

/// A run with the schema version that it was written under.
pub(super) type Found = (Option<SchemaVersion>, Chunk);

/// What the log still had of a topic.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Runs by their first offset, each with the schema version that it was written under; relocated copies fall on their
    /// originals.
    pub(super) chunks: BTreeMap<Offset, Found>,
    /// Whether the log has anything of it, be it committed.
    pub(super) is_mentioned: bool,
    /// Who wrote it.
    pub(super) writers: ReplayedWriters,
    /// Whether the topic was closed behind one of them.
    pub(super) closed: bool,
    /// Whether records are missing before them or between them: the topic is left as it is then.
    pub(super) has_hole: bool,
}

impl Replayed {
    /// Its records in the form of the newest schema. Those before `earliest` may have left the dataset before a conversion was
    /// asked of its rows, so that nobody has asked them.
    pub(super) fn newest_form(
        &self,
        schema: Option<&VersionedSchema>,
        earliest: Offset,
    ) -> Result<Vec<Chunk>, ReshapeError> {
        let columns = schema.map(VersionedSchema::columns).unwrap_or_default();
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for (version, chunk) in self.chunks.values() {
            let expired = usize::try_from(earliest.since(chunk.first())).unwrap_or(usize::MAX);
            let (unread, read) = (chunk.slice(0, expired), chunk.slice(expired, usize::MAX));
            if !unread.is_empty() {
                chunks.push(to_newest_unread(&unread, *version, &columns)?);
            }
            if !read.is_empty() {
                chunks.push(to_newest(&read, *version, &columns)?);
            }
        }
        Ok(chunks)
    }
}
