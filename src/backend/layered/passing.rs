//! The records that pass a filter: those of the tail are laid out in the filter's columns, older ones come from the dataset.

use super::posted::aside;
use super::{Layered, storage_error};
use crate::backend::StorageError;
use crate::codec::Chunk;
use crate::filter::{LiveFilter, Passing, Reach, SieveError};
use crate::model::Offset;
use crate::schema::Columns;

/// How many records of the tail are looked at at once.
const LOOK_RECORDS_MAX: usize = 8_192;
/// About how many bytes of their text.
const LOOK_BYTES: usize = 4 << 20;
/// Text that is looked at in place: handing it over would cost more.
const IN_PLACE_BYTES: usize = 64 << 10;

impl Layered {
    /// One try under the columns `before`.
    pub(super) async fn try_passing(
        &self,
        filter: &LiveFilter,
        before: &Columns,
        offset: Offset,
        reach: Reach,
    ) -> Result<Passing, StorageError> {
        let levels = self.lane.levels().now();
        if offset < levels.earliest {
            return Err(StorageError::Expired { earliest: levels.earliest });
        }
        let until = reach.until.min(levels.readable);
        if offset >= until || reach.records == 0 {
            return Ok(Passing { chunks: Vec::new(), next: offset });
        }
        let looked_at = reach.looked_at.clamp(1, LOOK_RECORDS_MAX);
        if let Some(chunks) = self.lane.tail().read(offset, until, looked_at, LOOK_BYTES) {
            // After the text: it may be of a version that has come since.
            let now = self.lane.columns();
            let sieve = filter.on(&now).map_err(failed)?;
            let bytes: usize = chunks.iter().map(|chunk| chunk.values().bytes()).sum();
            let sift = move || sieve.sift(&chunks, &now, reach);
            let found = if bytes <= IN_PLACE_BYTES { sift() } else { aside(sift).await }.map_err(failed)?;
            let chunks = found.chunks.into_iter().map(Chunk::printed).collect();
            return Ok(Passing { chunks, next: found.next });
        }
        let table = self.lane.table().await?;
        let sieve = filter.on(before).map_err(failed)?;
        let found = table.read_passing(before, &sieve, offset, Reach { until, ..reach }).await;
        let found = found.map_err(|err| storage_error(&err))?;
        let earliest = self.lane.levels().now().earliest;
        if earliest > offset {
            return Err(StorageError::Expired { earliest });
        }
        if found.next <= offset || table.head().base > offset {
            let cause = format!("the dataset has no row where a read of offset {offset} begins");
            return Err(StorageError::Failed { cause });
        }
        Ok(found)
    }
}

fn failed(error: SieveError) -> StorageError {
    StorageError::Failed { cause: error.to_string() }
}
