//! What the log still had of topics when the server started, until they are opened.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::backend::VersionedSchema;
use crate::codec::Chunk;
use crate::codec::reshape::{ReshapeError, to_newest, to_newest_unread};
use crate::model::{Offset, SchemaVersion, Timestamp, Writer};
use crate::topic::producers::StoredReceipt;

/// A run with the schema version that it was written under.
pub(super) type Found = (Option<SchemaVersion>, Chunk);

/// What the log still had of a topic.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Runs by their first offset, each with the schema version that it was written under; relocated copies fall on their
    /// originals.
    pub(super) chunks: BTreeMap<Offset, Found>,
    /// Who wrote them, in log order.
    pub(super) writers: Vec<(Writer, StoredReceipt, Timestamp)>,
    /// Whether the topic was closed behind one of them.
    pub(super) closed: bool,
    /// Whether records are missing before them or between them: the topic is left as it is then.
    pub(super) has_hole: bool,
}

/// What the log had of a topic that is being opened: where that fails, the next try finds it where it was.
pub(super) struct Taken<'e> {
    place: &'e Mutex<Option<Replayed>>,
    replayed: Option<Replayed>,
}

impl<'e> Taken<'e> {
    /// Takes what is there.
    pub(super) fn from(place: &'e Mutex<Option<Replayed>>) -> Self {
        Self { place, replayed: place.lock().take() }
    }

    /// Its records in the form of the newest schema. Those before `earliest` may have left the dataset before a conversion was
    /// asked of its rows, so that nobody has asked them.
    pub(super) fn newest_form(
        &self,
        schema: Option<&VersionedSchema>,
        earliest: Offset,
    ) -> Result<Vec<Chunk>, ReshapeError> {
        let Some(replayed) = &self.replayed else { return Ok(Vec::new()) };
        let columns = schema.map(VersionedSchema::columns).unwrap_or_default();
        let mut chunks = Vec::with_capacity(replayed.chunks.len());
        for (version, chunk) in replayed.chunks.values() {
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

    /// The topic has its records; who wrote them, in the order of their offsets.
    pub(super) fn used(mut self) -> Vec<(Writer, StoredReceipt, Timestamp)> {
        let mut writers = self.replayed.take().map(|replayed| replayed.writers).unwrap_or_default();
        // A relocated copy stands behind entries that came after its original, which may be gone: by its place in the log a
        // producer's earlier request would come last, and the receipts between would be forgotten. The sort is stable.
        writers.sort_by_key(|(_, receipt, _)| receipt.first);
        writers
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(replayed) = self.replayed.take() {
            *self.place.lock() = Some(replayed);
        }
    }
}
