//! Filters at work: on batches and on text.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use parking_lot::Mutex;

use super::{BoundFilter, MaskError};
use crate::codec::encode::offsets_of;
use crate::codec::reshape::ReshapeError;
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::model::Offset;
use crate::schema::Columns;

/// A filter with what must be read to decide on a record.
#[derive(Debug)]
pub struct Sieve {
    bound: BoundFilter,
    set: ColumnSet,
    /// What an index has said, once it was asked.
    candidates: Mutex<Option<Option<Arc<Candidates>>>>,
}

/// The records that may pass, of those that an index knows. Records do not change at their offsets, so that it stays true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// From where to where the index knows all records, ascending.
    known: Vec<(Offset, Offset)>,
    /// Those of them that may pass, ascending.
    offsets: Vec<Offset>,
}

impl Candidates {
    /// Records that may pass, in any order, of those that are known, in ranges that ascend.
    pub fn new(known: impl IntoIterator<Item = (Offset, Offset)>, mut offsets: Vec<Offset>) -> Self {
        let mut joined: Vec<(Offset, Offset)> = Vec::new();
        for (first, next) in known {
            match joined.last_mut() {
                Some(last) if last.1 == first => last.1 = next,
                _ => joined.push((first, next)),
            }
        }
        offsets.sort_unstable();
        offsets.dedup();
        Self { known: joined, offsets }
    }

    /// Where the records end that are known and among which `from` is; none where it is not known.
    pub fn known_until(&self, from: Offset) -> Option<Offset> {
        let at = self.known.partition_point(|(_, next)| *next <= from);
        self.known.get(at).filter(|(first, _)| *first <= from).map(|(_, next)| *next)
    }

    /// The candidates from `from` on and before `until`.
    pub fn between(&self, from: Offset, until: Offset) -> &[Offset] {
        let begin = self.offsets.partition_point(|offset| *offset < from);
        let end = self.offsets.partition_point(|offset| *offset < until);
        self.offsets.get(begin..end).unwrap_or_default()
    }
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

/// How many records are laid out from text at once to see whether they pass.
pub(crate) const LOOK_RECORDS_MAX: usize = 8_192;
/// About how many bytes of their text.
pub(crate) const LOOK_BYTES: usize = 4 << 20;

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

/// The same in columns.
#[derive(Clone, Debug, Default)]
pub struct PassingRows {
    /// The rows that pass, in order.
    pub batches: Vec<RecordBatch>,
    /// Everything before it was looked at; where the look began if there was nothing.
    pub next: Offset,
}

impl Sieve {
    /// A filter that is bound to these columns.
    pub fn new(bound: BoundFilter, columns: &Columns) -> Self {
        let set = ColumnSet::new(columns, Some(&FieldSelection::of(bound.columns())));
        Self { bound, set, candidates: Mutex::new(None) }
    }

    /// What an index has said; none where none was asked yet.
    pub fn candidates(&self) -> Option<Option<Arc<Candidates>>> {
        self.candidates.lock().clone()
    }

    /// Keeps what an index says, unless it was asked before.
    pub fn set_candidates(&self, candidates: Option<Arc<Candidates>>) -> Option<Arc<Candidates>> {
        self.candidates.lock().get_or_insert(candidates).clone()
    }

    /// Lets go of what an index has said: there may be megabytes of it, and a stream that has come to the tail may live for
    /// weeks.
    pub fn forget_candidates(&self) {
        let candidates = self.candidates.lock().take();
        drop(candidates);
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

    /// The rows of dense records that pass, in the columns of a set.
    ///
    /// # Errors
    /// [`SieveError`].
    pub fn sift_rows(
        &self,
        set: &ColumnSet,
        chunks: &[Chunk],
        now: &Columns,
        reach: Reach,
    ) -> Result<PassingRows, SieveError> {
        let tested = self.set.take_chunks(chunks, now)?;
        let rows = set.take_chunks(chunks, now)?;
        // Either may have ended before the last record.
        let both = rows.num_rows().min(tested.num_rows());
        self.pick(rows.slice(0, both), &tested.slice(0, both), reach)
    }

    /// The rows that pass, of dense rows in any columns and the same rows in the columns of the filter's set.
    ///
    /// # Errors
    /// [`SieveError`].
    pub fn pick(&self, rows: RecordBatch, tested: &RecordBatch, reach: Reach) -> Result<PassingRows, SieveError> {
        let mask = self.mask(tested)?;
        let offsets = offsets_of(tested).map_err(|error| ReshapeError::Shape(error.to_string()))?;
        let behind = |offset: &u64| Offset::new(offset.saturating_add(1)).unwrap_or(Offset::MAX);
        let last = mask.values().set_indices().nth(reach.records.saturating_sub(1));
        let (looked_at, next) = match last.and_then(|at| Some((at + 1, offsets.get(at)?))) {
            Some((looked_at, offset)) => (looked_at, behind(offset)),
            None => (mask.len(), offsets.last().map(behind).unwrap_or_default()),
        };
        let passing = filter_record_batch(&rows.slice(0, looked_at), &mask.slice(0, looked_at))
            .map_err(|error| ReshapeError::Shape(error.to_string()))?;
        Ok(PassingRows { batches: vec![passing], next })
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

/// The runs of records that a mask over the first ones of dense chunks lets pass.
fn passing(chunks: &[Chunk], mask: &BooleanArray, reach: Reach) -> Passing {
    let first = chunks.first().map(Chunk::first).unwrap_or_default();
    let next = first.saturating_after(mask.len() as u64);
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
    fn candidates_are_found_in_what_is_known() {
        let range = |first, next| (offset(first), offset(next));
        let offsets = [17, 3, 5, 3].map(offset).to_vec();
        let candidates = Candidates::new([range(2, 6), range(6, 9), range(12, 20)], offsets);
        let known = |from| candidates.known_until(offset(from)).map(Offset::get);
        assert_eq!([1, 2, 8, 9, 12, 19, 20].map(known), [None, Some(9), Some(9), None, Some(20), Some(20), None]);
        assert_eq!(candidates.between(offset(4), offset(17)), [offset(5)]);
        assert_eq!(candidates.between(offset(3), offset(18)), [3, 5, 17].map(offset));
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
