//! The records that pass a filter: those of the tail are laid out in the filter's columns, older ones come from the dataset.

use std::sync::Arc;

use super::posted::aside;
use super::{Layered, storage_error};
use crate::backend::StorageError;
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::filter::{LOOK_BYTES, LOOK_RECORDS_MAX, LiveFilter, Passing, PassingRows, Reach, Sieve, SieveError};
use crate::model::Offset;
use crate::schema::Columns;
use crate::table::Table;

/// Text that is looked at in place: handing it over would cost more.
const IN_PLACE_BYTES: usize = 64 << 10;
/// The same of tests: records are small, and a filter may have a thousand.
const IN_PLACE_TESTS: usize = 50_000;

/// Whether a look is so small that it holds up nobody.
fn is_small(chunks: &[Chunk], tests: usize) -> bool {
    let bytes: usize = chunks.iter().map(|chunk| chunk.values().bytes()).sum();
    let records: usize = chunks.iter().map(Chunk::len).sum();
    bytes <= IN_PLACE_BYTES && records.saturating_mul(tests) <= IN_PLACE_TESTS
}

/// Where the next records lie.
enum Source {
    /// There are none within the reach.
    Nothing,
    Tail(Vec<Chunk>),
    /// With how far it may be read.
    Table(Arc<dyn Table>, Reach),
}

impl Layered {
    async fn source(&self, offset: Offset, reach: Reach) -> Result<Source, StorageError> {
        let levels = self.lane.levels().now();
        if offset < levels.earliest {
            return Err(StorageError::Expired { earliest: levels.earliest });
        }
        let until = reach.until.min(levels.readable);
        if offset >= until || reach.records == 0 {
            return Ok(Source::Nothing);
        }
        // The tail first: it lets go only of what the published table holds.
        let looked_at = reach.looked_at.clamp(1, LOOK_RECORDS_MAX);
        if let Some(chunks) = self.lane.tail().read(offset, until, looked_at, LOOK_BYTES) {
            return Ok(if chunks.is_empty() { Source::Nothing } else { Source::Tail(chunks) });
        }
        Ok(Source::Table(self.lane.table().await?, Reach { until, ..reach }))
    }

    /// Checks that a look at the table has gone on from where it began.
    fn check_looked(&self, table: &dyn Table, offset: Offset, next: Offset) -> Result<(), StorageError> {
        let earliest = self.lane.levels().now().earliest;
        if earliest > offset {
            return Err(StorageError::Expired { earliest });
        }
        if next <= offset || table.head().base > offset {
            let cause = format!("the dataset has no row where a read of offset {offset} begins");
            return Err(StorageError::Failed { cause });
        }
        Ok(())
    }

    /// One try under the columns `before`.
    pub(super) async fn try_passing(
        &self,
        filter: &LiveFilter,
        fields: Option<&FieldSelection>,
        before: &Columns,
        offset: Offset,
        reach: Reach,
    ) -> Result<Passing, StorageError> {
        match self.source(offset, reach).await? {
            Source::Nothing => Ok(Passing { chunks: Vec::new(), next: offset }),
            Source::Tail(chunks) => {
                // After the text: it may be of a version that has come since.
                let now = self.lane.columns();
                let sieve = filter.on(&now).map_err(failed)?;
                sieve.forget_candidates();
                let is_small = is_small(&chunks, sieve.bound().tests());
                let sift = move || sieve.sift(&chunks, &now, reach);
                let found = if is_small { sift() } else { aside(sift).await }.map_err(failed)?;
                let chunks = found.chunks.into_iter().map(Chunk::printed).collect();
                Ok(Passing { chunks, next: found.next })
            }
            Source::Table(table, reach) => {
                let sieve = filter.on(before).map_err(failed)?;
                let columns = FieldSelection::to_read(fields, before);
                let found = table.read_passing(&columns, &sieve, offset, reach).await;
                let found = found.map_err(|err| storage_error(&err))?;
                self.check_looked(&*table, offset, found.next)?;
                Ok(found)
            }
        }
    }

    /// The same in the columns of a set.
    pub(super) async fn try_passing_batches(
        &self,
        set: &ColumnSet,
        sieve: &Arc<Sieve>,
        before: &Columns,
        offset: Offset,
        reach: Reach,
    ) -> Result<PassingRows, StorageError> {
        match self.source(offset, reach).await? {
            Source::Nothing => Ok(PassingRows { batches: Vec::new(), next: offset }),
            Source::Tail(chunks) => {
                let (set, sieve, now) = (set.clone(), Arc::clone(sieve), self.lane.columns());
                aside(move || sieve.sift_rows(&set, &chunks, &now, reach)).await.map_err(failed)
            }
            Source::Table(table, reach) => {
                let found = table.read_passing_batches(set, before, sieve, offset, reach).await;
                let found = found.map_err(|err| storage_error(&err))?;
                self.check_looked(&*table, offset, found.next)?;
                Ok(found)
            }
        }
    }
}

fn failed(error: SieveError) -> StorageError {
    StorageError::Failed { cause: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Values;
    use crate::model::Timestamp;

    #[test]
    fn a_look_in_place_is_small_in_bytes_and_in_tests() {
        let chunk = |text: &str, count: usize| {
            Chunk::new(Offset::ZERO, Timestamp::default(), Values::from_text(text.repeat(count).into()).unwrap())
        };
        let long = format!("{{\"a\":\"{}\"}}\n", "a".repeat(IN_PLACE_BYTES));
        let short = [chunk("{}\n", 1_000), chunk("{}\n", 1_000)];
        let one = short.get(..1).unwrap();
        assert!(is_small(one, 50) && !is_small(one, 51));
        assert!(is_small(&short, 25) && !is_small(&short, 26));
        assert!(!is_small(&[chunk(&long, 1)], 1));
    }
}
