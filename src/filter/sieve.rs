//! Filters at work: on batches, on text, and on columns that change while a read goes on.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use parking_lot::Mutex;

use super::{BoundFilter, Filter, MaskError};
use crate::codec::reshape::ReshapeError;
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::model::Offset;
use crate::schema::Columns;

/// A filter with what must be read to decide on a record.
#[derive(Clone, Debug)]
pub struct Sieve {
    bound: BoundFilter,
    set: ColumnSet,
}

/// Why it could not be told which records pass: a fault of this server.
#[derive(Debug, thiserror::Error)]
pub enum SieveError {
    /// The records could not be had in columns.
    #[error(transparent)]
    Columns(#[from] ReshapeError),
    /// The columns could not be looked at.
    #[error(transparent)]
    Mask(#[from] MaskError),
}

/// How far one look goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Records from here on are not looked at.
    pub until: Offset,
    /// The most records that pass.
    pub records: usize,
    /// About how many bytes of text they have, but at least one record.
    pub bytes: usize,
    /// About how many records are looked at, but at least one.
    pub looked_at: usize,
}

/// What one look has found.
#[derive(Clone, Debug, Default)]
pub struct Passing {
    /// The records that pass, in order.
    pub chunks: Vec<Chunk>,
    /// Everything before it was looked at; where the look began if there was nothing.
    pub next: Offset,
}

impl Sieve {
    /// A filter that is bound to these columns.
    pub fn new(bound: BoundFilter, columns: &Columns) -> Self {
        let set = ColumnSet::new(columns, Some(&FieldSelection::of(bound.columns())));
        Self { bound, set }
    }

    /// The columns that it reads.
    pub const fn set(&self) -> &ColumnSet {
        &self.set
    }

    /// The filter.
    pub const fn bound(&self) -> &BoundFilter {
        &self.bound
    }

    /// Which rows of a batch with the columns of the set, and maybe others, pass.
    ///
    /// # Errors
    /// [`SieveError`].
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, SieveError> {
        Ok(self.bound.mask(batch)?)
    }

    /// The records of dense chunks that pass, as far as the reach goes. The text is in the form of the columns of now.
    ///
    /// # Errors
    /// [`SieveError`].
    pub fn sift(&self, chunks: &[Chunk], now: &Columns, reach: Reach) -> Result<Passing, SieveError> {
        let batch = self.set.take_chunks(chunks, now)?;
        Ok(passing(chunks, &self.mask(&batch)?, reach))
    }
}

/// The runs of records that a mask over all chunks lets pass.
fn passing(chunks: &[Chunk], mask: &BooleanArray, reach: Reach) -> Passing {
    let next = chunks.last().map(Chunk::next).unwrap_or_default();
    let mut found = Passing { chunks: Vec::new(), next };
    let (mut records_left, mut bytes_left) = (reach.records, Some(reach.bytes));
    let mut before = 0;
    for chunk in chunks {
        let part = mask.slice(before, chunk.len().min(mask.len() - before));
        before += part.len();
        for (from, to) in part.values().set_slices() {
            let run = chunk.slice(from, to - from);
            if let Some(run) = cut(&run, &mut records_left, &mut bytes_left, found.chunks.is_empty()) {
                found.chunks.push(run);
            }
            if records_left == 0 || bytes_left.is_none() {
                found.next = found.chunks.last().map_or(chunk.first(), Chunk::next);
                return found;
            }
        }
    }
    found
}

/// As much of a run as fits; what is left of the bytes is none where they have run out.
fn cut(run: &Chunk, records_left: &mut usize, bytes_left: &mut Option<usize>, is_first: bool) -> Option<Chunk> {
    let mut kept = 0;
    while kept < run.len() && *records_left > 0 {
        let left = bytes_left.and_then(|left| left.checked_sub(run.value(kept).len() + 1));
        if left.is_none() && !(is_first && kept == 0) {
            *bytes_left = None;
            break;
        }
        *bytes_left = left;
        *records_left -= 1;
        kept += 1;
    }
    (kept > 0).then(|| run.slice(0, kept))
}

/// A filter that follows a topic's columns.
#[derive(Debug)]
pub struct LiveFilter {
    filter: Filter,
    /// As it is bound now.
    bound: Mutex<(Columns, Arc<Sieve>)>,
}

impl LiveFilter {
    /// A filter that is bound to the columns of now. Where they change, what it names and is gone is null.
    pub fn new(filter: Filter, columns: Columns, bound: BoundFilter) -> Self {
        let sieve = Arc::new(Sieve::new(bound, &columns));
        Self { filter, bound: Mutex::new((columns, sieve)) }
    }

    /// What was asked for.
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The filter on these columns.
    ///
    /// # Errors
    /// [`SieveError`] where it cannot be bound, which is a fault of this server.
    pub fn on(&self, columns: &Columns) -> Result<Arc<Sieve>, SieveError> {
        let mut bound = self.bound.lock();
        if bound.0 != *columns {
            let again = self.filter.bind_to_what_is_there(&columns.schema).map_err(MaskError::from)?;
            *bound = (columns.clone(), Arc::new(Sieve::new(again, columns)));
        }
        Ok(Arc::clone(&bound.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Values;
    use crate::model::Timestamp;

    fn offset(number: u64) -> Offset {
        Offset::new(number).unwrap()
    }

    fn chunk(first: u64, count: usize) -> Chunk {
        let text = "{}\n".repeat(count);
        Chunk::new(offset(first), Timestamp::default(), Values::from_text(text.into()).unwrap())
    }

    fn found(bits: &[bool], records: usize, bytes: usize) -> (Vec<(u64, usize)>, u64) {
        let reach = Reach { until: offset(99), records, bytes, looked_at: 99 };
        let passing = passing(&[chunk(4, 3), chunk(7, 2)], &BooleanArray::from(bits.to_vec()), reach);
        (passing.chunks.iter().map(|chunk| (chunk.first().get(), chunk.len())).collect(), passing.next.get())
    }

    #[test]
    fn what_passes_is_given_in_runs_up_to_the_reach() {
        assert_eq!(found(&[true, true, false, true, true], 9, 99), (vec![(4, 2), (7, 2)], 9));
        assert_eq!(found(&[false; 5], 9, 99), (vec![], 9));
        assert_eq!(found(&[true, false, false, true, false], 2, 99), (vec![(4, 1), (7, 1)], 8));
        assert_eq!(found(&[true, true, false, true, false], 9, 6), (vec![(4, 2)], 6));
        assert_eq!(found(&[false, false, true, true, true], 9, 1), (vec![(6, 1)], 7));
        assert_eq!(found(&[false, true, true, false, false], 1, 99), (vec![(5, 1)], 6));
    }
}
