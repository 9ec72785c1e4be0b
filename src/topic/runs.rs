//! Runs of records that the readers of a topic share, so that what they are sent is written once and not for each of them.
//!
//! Readers that follow a topic stand at the same offsets: the first one to get there finds the records and leaves the run
//! for the others, who go on behind it and so meet again at its end.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::codec::Chunk;
use crate::filter::Passing;
use crate::model::{Epoch, Offset, SchemaVersion};
use crate::tail::{Budget, Reservation};

/// Bytes of text in a run, about; one record may be larger.
pub(super) const RUN_BYTES: usize = 64 << 10;
/// The most runs that are kept for a topic.
const RUNS_MAX: usize = 64;
/// The most bytes that all runs of all topics hold.
pub(crate) const RUNS_BYTES_MAX: u64 = 64 << 20;
/// What a run holds beside its text, in terms of the text: the same again in each of two written forms.
const FORMS: usize = 2;
/// What a record's written form has besides its text, roughly.
const FRAME_BYTES: usize = 120;

/// What a run is of, besides its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunOf {
    /// The posted schema version of its text: a later one has other text for the same records.
    pub(super) posted: Option<SchemaVersion>,
    /// The filter that its records have passed.
    pub(super) filter: Option<Arc<str>>,
}

/// Records of one topic one after the other, and what readers are sent of them.
#[derive(Debug)]
pub struct SharedRun {
    epoch: Epoch,
    of: RunOf,
    chunks: Vec<Chunk>,
    next: Offset,
    written: [OnceLock<Bytes>; FORMS],
    /// Gives the memory back when nobody needs the run any more.
    _reservation: Reservation,
}

impl SharedRun {
    /// The epoch of its records.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its records, in order; dense where no filter was given.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(Chunk::is_empty)
    }

    /// The offset at which whoever is sent it goes on: past its last record, and what a filter has left out behind it.
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// The most records that were left out between two of its records.
    pub(super) fn largest_gap(&self) -> u64 {
        let pairs = self.chunks.iter().zip(self.chunks.iter().skip(1));
        pairs.map(|(chunk, later)| later.first().since(chunk.next())).max().unwrap_or(0)
    }

    /// What readers of one of the two forms are sent; written by the first who asks.
    pub fn written(&self, form: usize, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        match self.written.get(form) {
            Some(written) => written.get_or_init(|| write(self)).clone(),
            None => write(self),
        }
    }
}

/// Where a run begins, and the filter that its records have passed.
type RunKey = (Offset, Option<Arc<str>>);

/// The runs of a topic that were read last.
#[derive(Debug, Default)]
pub(super) struct Runs {
    kept: Mutex<BTreeMap<RunKey, Arc<SharedRun>>>,
}

impl Runs {
    /// The run that begins at an offset and ends at or before another.
    pub(super) fn find(&self, from: Offset, until: Offset, of: &RunOf) -> Option<Arc<SharedRun>> {
        let key = (from, of.filter.clone());
        self.kept.lock().get(&key).filter(|run| run.next() <= until && run.of == *of).cloned()
    }

    /// Makes a run of records that were read from `from` on and before `until`, and keeps it; the one that somebody else has
    /// made meanwhile is taken instead. What it is of was found out before the records were read.
    ///
    /// # Errors
    /// The records, where there is no room for a run, or nothing was read.
    pub(super) fn keep(
        &self,
        epoch: Epoch,
        of: RunOf,
        from: Offset,
        found: Passing,
        until: Offset,
        budget: &Arc<Budget>,
    ) -> Result<Arc<SharedRun>, Passing> {
        if found.next <= from {
            return Err(found);
        }
        let written = |chunk: &Chunk| chunk.values().bytes() + chunk.len() * FRAME_BYTES;
        let bytes: usize = found.chunks.iter().map(|chunk| chunk.bytes() + written(chunk) * FORMS).sum();
        let Ok(reservation) = budget.try_reserve(bytes as u64) else { return Err(found) };
        let chunks = found.chunks.into_iter().map(Chunk::detached).collect();
        let key = (from, of.filter.clone());
        let run =
            SharedRun { epoch, of, chunks, next: found.next, written: Default::default(), _reservation: reservation };
        let mut kept = self.kept.lock();
        let run = match kept.get(&key) {
            Some(there) if there.of == run.of && there.next() <= until => Arc::clone(there),
            Some(there) if there.of == run.of => return Ok(Arc::new(run)),
            _ => {
                let run = Arc::new(run);
                kept.insert(key, Arc::clone(&run));
                run
            }
        };
        let oldest = if kept.len() > RUNS_MAX { kept.pop_first() } else { None };
        drop(kept);
        drop(oldest);
        Ok(run)
    }

    /// Lets go of all runs: nobody shares them any more.
    pub(super) fn clear(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        drop(kept);
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

    fn chunks(first: u64) -> Passing {
        let values = Values::from_text(Bytes::from_static(b"{}\n{}\n")).unwrap();
        let chunk = Chunk::new(offset(first), Timestamp::default(), values);
        Passing { next: chunk.next(), chunks: vec![chunk] }
    }

    fn of(posted: Option<SchemaVersion>) -> RunOf {
        RunOf { posted, filter: None }
    }

    #[test]
    fn a_run_is_found_where_it_begins_and_not_past_what_can_be_read() {
        let (runs, budget) = (Runs::default(), Budget::new(1 << 20));
        let run = runs.keep(Epoch::new(1).unwrap(), of(None), offset(4), chunks(4), offset(9_999), &budget).unwrap();
        assert_eq!((run.len(), run.next()), (2, offset(6)));
        assert!(runs.find(offset(4), offset(6), &of(None)).is_some());
        assert!(runs.find(offset(4), offset(5), &of(None)).is_none());
        assert!(runs.find(offset(5), offset(9), &of(None)).is_none());
        let again = runs.keep(Epoch::new(1).unwrap(), of(None), offset(4), chunks(4), offset(9_999), &budget).unwrap();
        assert!(Arc::ptr_eq(&run, &again));
        // What was posted since has other text for them.
        let posted = SchemaVersion::new(2);
        assert!(runs.find(offset(4), offset(6), &of(posted)).is_none());
        let newer =
            runs.keep(Epoch::new(1).unwrap(), of(posted), offset(4), chunks(4), offset(9_999), &budget).unwrap();
        assert!(!Arc::ptr_eq(&run, &newer) && runs.find(offset(4), offset(6), &of(None)).is_none());
    }

    #[test]
    fn runs_of_a_filter_are_their_own_and_go_on_past_what_it_leaves_out() {
        let (runs, budget) = (Runs::default(), Budget::new(1 << 20));
        let filtered = || RunOf { posted: None, filter: Some("n = 1".into()) };
        let found = Passing { next: offset(9), ..chunks(6) };
        let run = runs.keep(Epoch::new(1).unwrap(), filtered(), offset(4), found, offset(9_999), &budget).unwrap();
        assert_eq!((run.len(), run.next(), run.largest_gap()), (2, offset(9), 0));
        assert!(runs.find(offset(4), offset(9), &filtered()).is_some());
        assert!(runs.find(offset(4), offset(8), &filtered()).is_none());
        assert!(runs.find(offset(4), offset(9), &of(None)).is_none());
        let nothing = Passing { chunks: Vec::new(), next: offset(4) };
        assert!(runs.keep(Epoch::new(1).unwrap(), filtered(), offset(4), nothing, offset(9_999), &budget).is_err());
    }

    #[test]
    fn a_form_is_written_once() {
        let (runs, budget) = (Runs::default(), Budget::new(1 << 20));
        let run = runs.keep(Epoch::new(1).unwrap(), of(None), offset(0), chunks(0), offset(9_999), &budget).unwrap();
        assert_eq!(run.written(0, |_| Bytes::from_static(b"first")), "first");
        assert_eq!(run.written(0, |_| Bytes::from_static(b"second")), "first");
        assert_eq!(run.written(1, |_| Bytes::from_static(b"other")), "other");
    }

    #[test]
    fn runs_are_bounded_in_number_and_bytes() {
        let (runs, budget) = (Runs::default(), Budget::new(1 << 20));
        for first in 0..RUNS_MAX as u64 + 9 {
            runs.keep(Epoch::new(1).unwrap(), of(None), offset(2 * first), chunks(2 * first), offset(9_999), &budget)
                .unwrap();
        }
        assert!(
            runs.find(offset(16), offset(99), &of(None)).is_none()
                && runs.find(offset(18), offset(99), &of(None)).is_some()
        );
        let held = budget.used();
        runs.clear();
        assert!(held > 0 && budget.used() == 0);
        let narrow = Budget::new(1);
        let first = runs.keep(Epoch::new(1).unwrap(), of(None), offset(0), chunks(0), offset(9_999), &narrow);
        assert!(
            first.is_ok()
                && runs.keep(Epoch::new(1).unwrap(), of(None), offset(2), chunks(2), offset(9_999), &narrow).is_err()
        );
    }
}
