//! Pull and wait: what every backend gets for free from `get` and the levels.

use std::sync::Arc;

use futures::stream::BoxStream;

use crate::backend::{StorageBackend, StorageError};
use crate::codec::Chunk;
use crate::model::{Offset, Timestamp};

/// How much one pull asks for.
const PULL_RECORDS: usize = 4_096;
const PULL_BYTES: usize = 1 << 20;

/// The stream behind [`StorageBackend::get_stream`].
pub(super) fn follow<B: StorageBackend + ?Sized + 'static>(
    backend: Arc<B>,
    offset: Offset,
    limit: Option<u64>,
    block: bool,
) -> BoxStream<'static, Result<Chunk, StorageError>> {
    Box::pin(async_stream::try_stream! {
        let mut next = offset;
        let mut left = limit.unwrap_or(u64::MAX);
        let end = backend.levels().now().readable;
        let mut levels = backend.levels().subscribe();
        while left > 0 && (block || next < end) {
            let records = PULL_RECORDS.min(usize::try_from(left).unwrap_or(usize::MAX));
            let records = if block { records } else { records.min(usize::try_from(end.since(next)).unwrap_or(records)) };
            let chunks = backend.get(next, records, PULL_BYTES).await?;
            for chunk in chunks {
                next = chunk.next();
                left -= chunk.len() as u64;
                yield chunk;
            }
            let now = *levels.borrow_and_update();
            if left == 0 || now.ending.is_some() || (now.is_over() && next >= now.readable) {
                break;
            }
            if block && next >= now.readable && levels.changed().await.is_err() {
                break;
            }
        }
    })
}

/// The search behind [`StorageBackend::seek_time`]: times never decrease with offsets.
pub(super) async fn seek_time<B: StorageBackend + ?Sized>(
    backend: &B,
    time: Timestamp,
) -> Result<Offset, StorageError> {
    loop {
        let levels = backend.levels().now();
        match search(backend, levels.earliest, levels.readable, time).await {
            // The records at the front have gone meanwhile: look again among those that are left.
            Err(StorageError::Expired { .. }) => {}
            found => return found,
        }
    }
}

async fn search<B: StorageBackend + ?Sized>(
    backend: &B,
    mut low: Offset,
    mut high: Offset,
    time: Timestamp,
) -> Result<Offset, StorageError> {
    while low < high {
        let middle = low.saturating_after(high.since(low) / 2);
        let found = backend.get(middle, 1, 1).await?;
        match found.first() {
            Some(chunk) if chunk.time(0) < time => low = middle.saturating_after(1),
            _ => high = middle,
        }
    }
    Ok(low)
}
