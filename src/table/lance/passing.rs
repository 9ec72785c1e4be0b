//! Rows that pass a filter: its columns are read first, and of the others only what passes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{StreamExt as _, TryStreamExt as _};
use lance::dataset::fragment::FragReadConfig;
use lance_core::datatypes::Schema as LanceSchema;
use lance_file::reader::FileReaderOptions;

use super::at_once::rows_at_once;
use super::candidates::candidates;
use super::error::foreign;
use super::offsets::Placed;
use super::open::Version;
use super::posted::pending_steps;
use super::read::{BATCH_BYTES, projection, prune, read_part, scheduler};
use crate::codec::columns::batch_bytes;
use crate::codec::encode::{check_offsets, offsets_of, to_chunks};
use crate::codec::reshape::reshape;
use crate::codec::{Chunk, ColumnSet};
use crate::filter::{Candidates, Passing, PassingRows, Reach, Sieve};
use crate::model::Offset;
use crate::schema::{Columns, Move};
use crate::table::TableError;

/// Rows whose filter's columns are read before the others of those that pass.
const STEP_ROWS: u64 = 65_536;
/// Candidates of an index that are tested at once.
const CANDIDATES_AT_ONCE: usize = 4_096;
/// Rows that are fetched at once: the first few tell how large they are.
const FETCH_ROWS_AT_FIRST: usize = 64;
const FETCH_ROWS_MAX: usize = 8_192;
/// About how many bytes are fetched at once.
const FETCH_BYTES: usize = 1 << 20;

/// Columns that are read, and the steps that the dataset has not taken yet with them.
struct Source {
    projection: LanceSchema,
    steps: Vec<Move>,
}

impl Source {
    /// The columns of a set.
    fn of_set(version: &Version, set: &ColumnSet, columns: &Columns) -> Result<Self, TableError> {
        let to_read = set.to_read(columns);
        let steps = pending_steps(&version.dataset, &to_read)?;
        let mut projection = projection(&version.dataset, &to_read.schema, &steps);
        if steps.is_empty() {
            prune(&mut projection.fields, &to_read.schema.fields, true);
        }
        Ok(Self { projection, steps })
    }

    /// The first of some rows of a fragment: as many as may be decoded at once.
    async fn take(&self, version: &Version, placed: Placed, rows: &[u32]) -> Result<Vec<RecordBatch>, TableError> {
        let id = usize::try_from(placed.id).map_err(|_| foreign("a fragment's id is out of range"))?;
        let fragment = version.dataset.get_fragment(id).ok_or_else(|| foreign(format!("fragment {id} is gone")))?;
        let options = FileReaderOptions { batch_size_bytes: Some(BATCH_BYTES), ..FileReaderOptions::default() };
        let ahead = scheduler(&version.dataset).await?;
        let range = rows.first().copied().unwrap_or(0)..rows.last().map_or(0, |last| last.saturating_add(1));
        let at_once = rows_at_once(&fragment, &self.projection, &range, &ahead).await?;
        let rows = rows.get(..usize::try_from(at_once).unwrap_or(usize::MAX)).unwrap_or(rows);
        let config = FragReadConfig {
            scan_scheduler: Some(ahead),
            file_reader_options: Some(options),
            ..FragReadConfig::default()
        };
        let reader = fragment.open(&self.projection, config).await?;
        let size = u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1);
        let batches: Vec<RecordBatch> = reader.take(rows, size, None).await?.buffered(1).try_collect().await?;
        let mut expected = rows.iter().map(|row| placed.first.saturating_after(u64::from(*row)).get());
        for batch in &batches {
            if offsets_of(batch)?.iter().any(|offset| expected.next() != Some(*offset)) {
                return Err(foreign(format!("fragment {id} gave other rows than were asked for")));
            }
        }
        if expected.next().is_some() {
            return Err(foreign(format!("fragment {id} gave fewer rows than were asked for")));
        }
        if self.steps.is_empty() {
            return Ok(batches);
        }
        let reshaped = batches.iter().map(|batch| reshape(batch, &self.steps));
        Ok(reshaped.collect::<Result<_, _>>()?)
    }
}

/// One look at a version.
struct Look<'a> {
    version: &'a Version,
    columns: &'a Columns,
    sieve: &'a Sieve,
    tested: Source,
    candidates: Option<Arc<Candidates>>,
    reach: Reach,
    /// The first offset not looked at.
    next: Offset,
    records_left: usize,
    looked_at_left: u64,
}

/// Rows of one fragment that pass, by their number in it.
struct Found {
    placed: Placed,
    rows: Vec<u32>,
    /// The first offset not looked at for them.
    next: Offset,
}

impl<'a> Look<'a> {
    async fn new(
        version: &'a Version,
        columns: &'a Columns,
        sieve: &'a Sieve,
        from: Offset,
        reach: Reach,
    ) -> Result<Self, TableError> {
        let tested = Source::of_set(version, sieve.set(), columns)?;
        let candidates = match sieve.candidates() {
            Some(candidates) => candidates,
            None => {
                // An index knows the values that are stored, not those that they are going to be.
                let is_followed = sieve.set().is_of(columns) && pending_steps(&version.dataset, columns)?.is_empty();
                let found = match candidates(version, sieve.bound()).await {
                    _ if !is_followed => None,
                    Ok(found) => found,
                    // All rows can be looked at without it.
                    Err(error) => {
                        tracing::warn!(%error, "an index could not be asked for the rows that pass a filter");
                        None
                    }
                };
                sieve.set_candidates(found.map(Arc::new))
            }
        };
        let next = from.max(version.layout.base);
        let (records_left, looked_at_left) = (reach.records, (reach.looked_at as u64).max(1));
        Ok(Self { version, columns, sieve, tested, candidates, reach, next, records_left, looked_at_left })
    }

    /// The next rows that pass, maybe none; none at all where the look has gone as far as it reaches. Whoever has dealt with
    /// them says how far ([`Look::gone`]).
    async fn step(&mut self) -> Result<Option<Found>, TableError> {
        loop {
            if self.records_left == 0 || self.looked_at_left == 0 || self.next >= self.reach.until {
                return Ok(None);
            }
            let Some(placed) = self.version.layout.holding(self.next) else { return Ok(None) };
            let until = placed.next.min(self.reach.until);
            let known =
                self.candidates.as_ref().and_then(|found| Some((Arc::clone(found), found.known_until(self.next)?)));
            let Some((candidates, known)) = known else {
                let rows = until.since(self.next).min(self.looked_at_left).min(STEP_ROWS);
                let (rows, next) = self.test_all(placed, rows).await?;
                self.looked_at_left -= next.since(self.next).min(self.looked_at_left);
                return Ok(Some(Found { placed, rows, next }));
            };
            let rest = candidates.between(self.next, known.min(self.reach.until));
            let here = rest.partition_point(|offset| *offset < until).min(CANDIDATES_AT_ONCE);
            let (here, behind) = rest.split_at(here);
            let next = behind.first().copied().unwrap_or(known).min(self.reach.until);
            if here.is_empty() {
                // All up to there are known to fail, in the fragments behind as well.
                self.next = next;
                continue;
            }
            self.looked_at_left -= (here.len() as u64).min(self.looked_at_left);
            let (rows, cut) = self.test_some(placed, here).await?;
            return Ok(Some(Found { placed, rows, next: cut.unwrap_or(next) }));
        }
    }

    /// So many records have been taken over, and everything before `next` is done.
    fn gone(&mut self, records: usize, next: Offset) {
        self.records_left -= records.min(self.records_left);
        self.next = next;
    }

    fn mask(&self, batch: &RecordBatch) -> Result<Vec<usize>, TableError> {
        let batch = self.sieve.set().take(batch, self.columns)?;
        let mask = self.sieve.mask(&batch).map_err(|error| TableError::Failed { cause: error.to_string() })?;
        Ok(mask.values().set_indices().collect())
    }

    /// Which of the next rows pass, and the first offset that was not looked at.
    async fn test_all(&self, placed: Placed, rows: u64) -> Result<(Vec<u32>, Offset), TableError> {
        let Source { projection, steps } = &self.tested;
        let (mut passing, mut at) = (Vec::new(), self.next);
        let enough = self.records_left;
        read_part(&self.version.dataset, projection, placed, at.since(placed.first), rows, |batch| {
            check_offsets(&batch, at)?;
            let count = batch.num_rows() as u64;
            let batch = if steps.is_empty() { batch } else { reshape(&batch, steps)? };
            let first = at.since(placed.first);
            for row in self.mask(&batch)?.into_iter().take(enough - passing.len()) {
                let row = first.saturating_add(row as u64);
                passing.push(u32::try_from(row).map_err(|_| foreign("a fragment has more than 2^32 rows"))?);
            }
            at = at.saturating_after(count);
            Ok(passing.len() < enough)
        })
        .await?;
        if at <= self.next {
            return Err(foreign(format!("fragment {} has no row for offset {at}", placed.id)));
        }
        let next = match passing.last() {
            // There may be more behind the last one.
            Some(last) if passing.len() >= enough => placed.first.saturating_after(u64::from(*last) + 1),
            _ => at,
        };
        Ok((passing, next))
    }

    /// Which candidates pass, and where to go on if there are more than are asked for.
    async fn test_some(&self, placed: Placed, offsets: &[Offset]) -> Result<(Vec<u32>, Option<Offset>), TableError> {
        let rows = offsets.iter().map(|offset| u32::try_from(offset.since(placed.first)));
        let rows: Result<Vec<u32>, _> = rows.collect();
        let rows = rows.map_err(|_| foreign("a fragment has more than 2^32 rows"))?;
        let (mut passing, mut rest) = (Vec::new(), rows.as_slice());
        while !rest.is_empty() {
            for batch in self.tested.take(self.version, placed, rest).await? {
                let (here, behind) = rest.split_at(batch.num_rows().min(rest.len()));
                passing.extend(self.mask(&batch)?.into_iter().filter_map(|index| here.get(index)));
                rest = behind;
            }
        }
        let is_cut = passing.len() > self.records_left;
        passing.truncate(self.records_left);
        let last = passing.last().filter(|_| is_cut);
        let cut = last.map(|row| placed.first.saturating_after(u64::from(*row) + 1));
        Ok((passing, cut))
    }
}

/// See [`crate::table::TableView::read_passing`].
pub(super) async fn passing(
    version: &Version,
    columns: &Columns,
    sieve: &Sieve,
    from: Offset,
    reach: Reach,
) -> Result<Passing, TableError> {
    let steps = pending_steps(&version.dataset, columns)?;
    let whole = Source { projection: projection(&version.dataset, &columns.schema, &steps), steps };
    let mut look = Look::new(version, columns, sieve, from, reach).await?;
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut bytes_left, mut at_once) = (reach.bytes, FETCH_ROWS_AT_FIRST);
    'look: while bytes_left > 0 || chunks.is_empty() {
        let Some(found) = look.step().await? else { break };
        let mut rest = found.rows.as_slice();
        while !rest.is_empty() {
            let some = rest.get(..at_once).unwrap_or(rest);
            let (mut bytes, mut taken) = (0, 0);
            for batch in whole.take(version, found.placed, some).await? {
                taken += batch.num_rows();
                for chunk in to_chunks(&columns.schema, &batch)? {
                    bytes += chunk.values().bytes();
                    let part = cut(&chunk, bytes_left, chunks.is_empty());
                    bytes_left = bytes_left.saturating_sub(part.values().bytes());
                    look.gone(part.len(), part.next());
                    let is_whole = part.len() == chunk.len();
                    if !part.is_empty() {
                        chunks.push(part);
                    }
                    if !is_whole {
                        break 'look;
                    }
                }
            }
            at_once = (FETCH_BYTES / (bytes / taken.max(1)).max(1)).clamp(1, FETCH_ROWS_MAX);
            rest = rest.get(taken..).unwrap_or_default();
        }
        look.gone(0, found.next);
    }
    Ok(Passing { chunks, next: look.next })
}

/// See [`crate::table::TableView::read_passing_batches`].
pub(super) async fn batches(
    version: &Version,
    set: &ColumnSet,
    columns: &Columns,
    sieve: &Sieve,
    from: Offset,
    reach: Reach,
) -> Result<PassingRows, TableError> {
    let wanted = Source::of_set(version, set, columns)?;
    let mut look = Look::new(version, columns, sieve, from, reach).await?;
    let (mut batches, mut held, mut at_once) = (Vec::new(), 0, FETCH_ROWS_AT_FIRST);
    while held < reach.bytes || batches.is_empty() {
        let Some(found) = look.step().await? else { break };
        let mut rest = found.rows.as_slice();
        while !rest.is_empty() && (held < reach.bytes || batches.is_empty()) {
            let some = rest.get(..at_once).unwrap_or(rest);
            let (before, mut taken) = (held, 0);
            for batch in wanted.take(version, found.placed, some).await? {
                taken += batch.num_rows();
                let batch = set.take(&batch, columns)?;
                held += batch_bytes(&batch);
                batches.push(batch);
            }
            at_once = (FETCH_BYTES / ((held - before) / taken.max(1)).max(1)).clamp(1, FETCH_ROWS_MAX);
            let (done, behind) = rest.split_at(taken.min(rest.len()));
            let last = done.last().map_or(look.next, |row| found.placed.first.saturating_after(u64::from(*row) + 1));
            look.gone(taken, last);
            rest = behind;
        }
        if !rest.is_empty() {
            break;
        }
        look.gone(0, found.next);
    }
    Ok(PassingRows { batches, next: look.next })
}

/// The first values of a chunk that fit into so many bytes, but one at least if asked so.
fn cut(chunk: &Chunk, bytes: usize, at_least_one: bool) -> Chunk {
    let mut left = Some(bytes);
    let fitting = (0..chunk.len()).take_while(|index| {
        left = left.and_then(|left| left.checked_sub(chunk.value(*index).len() + 1));
        left.is_some()
    });
    chunk.slice(0, fitting.count().max(usize::from(at_least_one)))
}
