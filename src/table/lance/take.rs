//! Single rows by their offsets.

use futures::{StreamExt as _, TryStreamExt as _};
use lance::Dataset;
use lance::dataset::fragment::FragReadConfig;
use lance_core::datatypes::Schema as LanceSchema;

use arrow_array::RecordBatch;

use super::error::foreign;
use super::offsets::Placed;
use super::open::Version;
use super::posted::pending_steps;
use super::read::projection;
use crate::codec::Chunk;
use crate::codec::encode::to_chunk;
use crate::codec::reshape::reshape;
use crate::model::Offset;
use crate::schema::Columns;
use crate::table::TableError;

/// How many fragments are read at a time.
const FRAGMENTS_AT_ONCE: usize = 4;

/// The records at ascending offsets, each in a chunk of its own; see [`crate::table::TableView::take`].
pub(super) async fn records_at(
    version: &Version,
    columns: &Columns,
    offsets: &[Offset],
) -> Result<Vec<Chunk>, TableError> {
    let Version { dataset, layout } = version;
    let moves = pending_steps(dataset, columns)?;
    let projection = projection(dataset, &columns.schema, &moves);
    let mut rest = offsets;
    let mut parts: Vec<(Placed, Vec<Offset>)> = Vec::new();
    while let Some((first, behind)) = rest.split_first() {
        let Some(placed) = layout.holding(*first).filter(|placed| *first >= placed.first) else {
            rest = behind;
            continue;
        };
        let (within, behind) = rest.split_at(rest.partition_point(|offset| *offset < placed.next));
        parts.push((placed, within.to_vec()));
        rest = behind;
    }
    let taken = parts.into_iter().map(|(placed, within)| {
        let projection = &projection;
        async move { rows_at(dataset, projection, placed, &within).await.map(|batch| (batch, within)) }
    });
    let mut taken = futures::stream::iter(taken).buffered(FRAGMENTS_AT_ONCE);
    let mut found = Vec::with_capacity(offsets.len());
    while let Some((batch, within)) = taken.try_next().await? {
        let batch = if moves.is_empty() { batch } else { reshape(&batch, &moves)? };
        for (row, offset) in within.into_iter().enumerate() {
            found.push(to_chunk(&columns.schema, &batch.slice(row, 1), offset)?);
        }
    }
    Ok(found)
}

/// Rows of one fragment.
async fn rows_at(
    dataset: &Dataset,
    projection: &LanceSchema,
    placed: Placed,
    offsets: &[Offset],
) -> Result<RecordBatch, TableError> {
    let id = usize::try_from(placed.id).map_err(|_| foreign("a fragment's id is out of range"))?;
    let fragment = dataset.get_fragment(id).ok_or_else(|| foreign(format!("fragment {id} is gone")))?;
    let row = |offset: &Offset| u32::try_from(offset.since(placed.first));
    let rows: Result<Vec<u32>, _> = offsets.iter().map(row).collect();
    let rows = rows.map_err(|_| foreign("a fragment has more than 2^32 rows"))?;
    let reader = fragment.open(projection, FragReadConfig::default()).await?;
    let batch = reader.take_as_batch(&rows, None).await?;
    if batch.num_rows() == offsets.len() {
        return Ok(batch);
    }
    Err(foreign(format!("fragment {id} gave {} rows for {} offsets", batch.num_rows(), offsets.len())))
}
