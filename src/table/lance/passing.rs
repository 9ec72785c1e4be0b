//! Rows that pass a filter: its columns are read first, and of the others only what passes.

use futures::{StreamExt as _, TryStreamExt as _};
use lance::Dataset;
use lance::dataset::fragment::FragReadConfig;
use lance_core::datatypes::Schema as LanceSchema;

use super::error::foreign;
use super::offsets::Placed;
use super::open::Version;
use super::posted::pending_steps;
use super::read::{projection, prune, read_part};
use crate::codec::Chunk;
use crate::codec::encode::{check_offsets, to_chunks};
use crate::codec::reshape::reshape;
use crate::filter::{Passing, Reach, Sieve};
use crate::model::Offset;
use crate::schema::{Columns, Move};
use crate::table::TableError;

/// Rows whose filter's columns are read before the others of those that pass.
const STEP_ROWS: u64 = 65_536;
/// Rows that are fetched at once: the first few tell how large they are.
const FETCH_ROWS_AT_FIRST: usize = 64;
const FETCH_ROWS_MAX: usize = 8_192;
/// About how many bytes of text are fetched at once.
const FETCH_BYTES: usize = 1 << 20;

/// What is read of a version.
struct Source<'a> {
    dataset: &'a Dataset,
    columns: &'a Columns,
    sieve: &'a Sieve,
    /// The filter's columns, and the steps that they have not taken yet.
    tested: (LanceSchema, Vec<Move>),
    /// All columns.
    whole: (LanceSchema, Vec<Move>),
}

/// See [`crate::table::TableView::read_passing`].
pub(super) async fn passing(
    version: &Version,
    columns: &Columns,
    sieve: &Sieve,
    from: Offset,
    reach: Reach,
) -> Result<Passing, TableError> {
    let Version { dataset, layout } = version;
    let source = Source::new(dataset, columns, sieve)?;
    let mut found = Passing { chunks: Vec::new(), next: from.max(layout.base) };
    let (mut records_left, mut bytes_left) = (reach.records, reach.bytes);
    let mut looked_at_left = (reach.looked_at as u64).max(1);
    let mut fetch_rows = FETCH_ROWS_AT_FIRST;
    while records_left > 0 && looked_at_left > 0 && (bytes_left > 0 || found.chunks.is_empty()) {
        let Some(placed) = layout.holding(found.next).filter(|_| found.next < reach.until) else { break };
        let until = placed.next.min(reach.until);
        let rows = until.since(found.next).min(looked_at_left).min(STEP_ROWS);
        let (passing, mut next) = source.test(placed, found.next, rows, records_left).await?;
        looked_at_left -= next.since(found.next).min(looked_at_left);
        let mut rest = passing.as_slice();
        while !rest.is_empty() {
            let (some, more) = rest.split_at(rest.len().min(fetch_rows));
            rest = more;
            let chunks = source.fetch(placed, some).await?;
            let bytes: usize = chunks.iter().map(|chunk| chunk.values().bytes()).sum();
            fetch_rows = (FETCH_BYTES / (bytes / some.len().max(1)).max(1)).clamp(1, FETCH_ROWS_MAX);
            for chunk in chunks {
                let part = cut(&chunk, bytes_left, found.chunks.is_empty());
                records_left -= part.len().min(records_left);
                let is_whole = part.len() == chunk.len();
                bytes_left = if is_whole { bytes_left.saturating_sub(part.values().bytes()) } else { 0 };
                if !is_whole {
                    next = chunk.first().saturating_after(part.len() as u64);
                }
                if !part.is_empty() {
                    found.chunks.push(part);
                }
                if !is_whole {
                    break;
                }
            }
            if bytes_left == 0 {
                // What was not fetched is looked at again.
                if let Some(row) = rest.first() {
                    next = next.min(placed.first.saturating_after(u64::from(*row)));
                }
                break;
            }
        }
        if next <= found.next && bytes_left > 0 {
            return Err(foreign(format!("fragment {} has no row for offset {}", placed.id, found.next)));
        }
        found.next = next;
    }
    Ok(found)
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

impl<'a> Source<'a> {
    fn new(dataset: &'a Dataset, columns: &'a Columns, sieve: &'a Sieve) -> Result<Self, TableError> {
        let to_read = sieve.set().to_read(columns);
        let steps = pending_steps(dataset, &to_read)?;
        let mut tested = projection(dataset, &to_read.schema, &steps);
        if steps.is_empty() {
            prune(&mut tested.fields, &to_read.schema.fields, true);
        }
        let moves = pending_steps(dataset, columns)?;
        let whole = projection(dataset, &columns.schema, &moves);
        Ok(Self { dataset, columns, sieve, tested: (tested, steps), whole: (whole, moves) })
    }

    /// Which rows of a fragment pass, by their number in it, of those from an offset on; about where it has enough of them it
    /// stops. And the first offset that was not looked at.
    async fn test(
        &self,
        placed: Placed,
        from: Offset,
        rows: u64,
        enough: usize,
    ) -> Result<(Vec<u32>, Offset), TableError> {
        let (projection, steps) = &self.tested;
        let (mut passing, mut at) = (Vec::new(), from);
        read_part(self.dataset, projection, placed, from.since(placed.first), rows, |batch| {
            check_offsets(&batch, at)?;
            let batch = if steps.is_empty() { batch } else { reshape(&batch, steps)? };
            let batch = self.sieve.set().take(&batch, self.columns)?;
            let mask = self.sieve.mask(&batch).map_err(|error| TableError::Failed { cause: error.to_string() })?;
            let first = at.since(placed.first);
            for row in mask.values().set_indices().take(enough - passing.len()) {
                let row = first.saturating_add(row as u64);
                passing.push(u32::try_from(row).map_err(|_| foreign("a fragment has more than 2^32 rows"))?);
            }
            at = at.saturating_after(batch.num_rows() as u64);
            Ok(passing.len() < enough)
        })
        .await?;
        let next = match passing.last() {
            // There may be more behind the last one.
            Some(last) if passing.len() >= enough => placed.first.saturating_after(u64::from(*last) + 1),
            _ => at,
        };
        Ok((passing, next))
    }

    /// Rows of a fragment as records.
    async fn fetch(&self, placed: Placed, rows: &[u32]) -> Result<Vec<Chunk>, TableError> {
        let (projection, moves) = &self.whole;
        let id = usize::try_from(placed.id).map_err(|_| foreign("a fragment's id is out of range"))?;
        let fragment = self.dataset.get_fragment(id).ok_or_else(|| foreign(format!("fragment {id} is gone")))?;
        let reader = fragment.open(projection, FragReadConfig::default()).await?;
        let size = u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1);
        let batches: Vec<_> = reader.take(rows, size, None).await?.buffered(1).try_collect().await?;
        let mut chunks = Vec::new();
        for batch in batches {
            let batch = if moves.is_empty() { batch } else { reshape(&batch, moves)? };
            chunks.extend(to_chunks(&self.columns.schema, &batch)?);
        }
        let mut expected = rows.iter().map(|row| placed.first.saturating_after(u64::from(*row)));
        let mut offsets =
            chunks.iter().flat_map(|chunk| (0..chunk.len()).map(|index| chunk.first().saturating_after(index as u64)));
        let are_those = offsets.by_ref().all(|offset| expected.next() == Some(offset)) && expected.next().is_none();
        drop(offsets);
        if are_those { Ok(chunks) } else { Err(foreign(format!("fragment {id} gave other rows than were asked for"))) }
    }
}
