//! The far end of a lane: what is committed and still in memory.

use std::sync::Arc;
use std::time::Instant;

use super::lane::Lane;
use super::posted::aside;
use crate::codec::Chunk;
use crate::model::Offset;
use crate::tail::{Recent, Tail};

/// Chunks that are put away in place: handing them over would cost more.
const IN_PLACE_CHUNKS: usize = 1_000;

/// One topic's part of what is [`Recent`]: it ends where the tail begins, or is empty.
#[derive(Debug)]
pub(super) struct Kept {
    all: Arc<Recent>,
    own: Arc<Tail>,
}

impl Kept {
    pub(super) fn of(all: Arc<Recent>) -> Self {
        Self { all, own: Arc::default() }
    }

    /// Lets go of what lies before an offset.
    pub(super) fn evict(&self, until: Offset) {
        self.own.evict(until);
    }
}

impl Lane {
    /// Keeps what has left the tail for readers close behind it. Called by whoever writes, who is alone.
    pub(super) async fn keep(&self, chunks: Vec<Chunk>) {
        let (all, own) = (Arc::clone(&self.kept.all), Arc::clone(&self.kept.own));
        if chunks.len() <= IN_PLACE_CHUNKS {
            return all.keep(&own, chunks, Instant::now());
        }
        aside(move || all.keep(&own, chunks, Instant::now())).await;
    }

    /// Records that are in memory as text, whether or not they are committed, as [`Tail::read`] gives them; none where they
    /// have to be read from the table.
    pub(super) fn in_memory(&self, from: Offset, until: Offset, records: usize, bytes: usize) -> Option<Vec<Chunk>> {
        // The tail first: it lets go only of what the published table holds.
        let found = self.tail.read(from, until, records, bytes);
        found.or_else(|| self.kept.own.read(from, until, records, bytes).filter(|chunks| !chunks.is_empty()))
    }
}
