//! Rows by offset and by time, fragment by fragment, without a query plan.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use lance::Dataset;
use lance::dataset::fragment::FragReadConfig;
use lance_core::datatypes::{Field as LanceField, Schema as LanceSchema};
use lance_file::reader::FileReaderOptions;
use lance_io::scheduler::{ScanScheduler, SchedulerConfig};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};

use super::at_once::rows_at_once;
use super::error::foreign;
use super::offsets::{Layout, Placed};
use super::open::Version;
use super::posted::{edited, pending_steps};
use crate::codec::Chunk;
use crate::codec::columns::{ColumnSet, OFFSET_COLUMN, TIMESTAMP_COLUMN, batch_bytes, column_name};
use crate::codec::encode::{check_offsets, to_chunk};
use crate::codec::reshape::reshape;
use crate::model::{Offset, Timestamp};
use crate::schema::{Columns, DataType, Field, Move, Schema};
use crate::table::TableError;

/// About how many bytes of columns are decoded at once.
pub(super) const BATCH_BYTES: u64 = 2 << 20;
/// How many bytes of files are read ahead of what is decoded. Lance's own bound is 32 MiB for each of its threads: whoever is
/// slower than the disk would hold large fragments whole.
const READ_AHEAD_BYTES: u64 = 16 << 20;
/// How many times are looked at in one read, at the end of a search.
const TIMES_AT_ONCE: u64 = 8_192;

/// Which row of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    First,
    Last,
    /// The row of this number.
    Row(u64),
}

/// What the service's own columns say of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EdgeRow {
    pub(super) offset: Offset,
    pub(super) time: Timestamp,
}

/// The service's columns and those that `schema` names after the steps that the dataset has not followed yet, as far as it
/// has them.
pub(super) fn projection(dataset: &Dataset, schema: &Schema, moves: &[Move]) -> LanceSchema {
    let names: Vec<String> = schema.fields.iter().map(|field| column_name(&field.name, true)).collect();
    let wanted = |name: &str| name == OFFSET_COLUMN || name == TIMESTAMP_COLUMN || names.iter().any(|it| it == name);
    let all = dataset.schema();
    let after = edited(all, moves);
    let kept = |id: i32| after.fields.iter().any(|field| field.id == id && wanted(&field.name));
    LanceSchema {
        fields: all.fields.iter().filter(|field| kept(field.id)).cloned().collect(),
        metadata: all.metadata.clone(),
    }
}

/// The service's columns alone.
fn own_columns(dataset: &Dataset) -> LanceSchema {
    projection(dataset, &Schema::default(), &[])
}

/// What reads a dataset's files, not too far ahead.
pub(super) async fn scheduler(dataset: &Dataset) -> Result<Arc<ScanScheduler>, TableError> {
    Ok(ScanScheduler::new(dataset.object_store(None).await?, SchedulerConfig::new(READ_AHEAD_BYTES)))
}

/// The batches of a part of one fragment, in order.
pub(super) async fn part(
    dataset: &Dataset,
    projection: &LanceSchema,
    placed: Placed,
    from: u64,
    rows: u64,
) -> Result<impl Stream<Item = Result<RecordBatch, lance::Error>> + Send + use<>, TableError> {
    let row = |number: u64| u32::try_from(number).map_err(|_| foreign("a fragment has more than 2^32 rows"));
    let id = usize::try_from(placed.id).map_err(|_| foreign("a fragment's id is out of range"))?;
    let fragment = dataset.get_fragment(id).ok_or_else(|| foreign(format!("fragment {id} is gone")))?;
    let options = FileReaderOptions { batch_size_bytes: Some(BATCH_BYTES), ..FileReaderOptions::default() };
    let ahead = scheduler(dataset).await?;
    let range = row(from)?..row(from + rows)?;
    let at_once = rows_at_once(&fragment, projection, &range, &ahead).await?;
    let config =
        FragReadConfig { scan_scheduler: Some(ahead), file_reader_options: Some(options), ..FragReadConfig::default() };
    let reader = fragment.open(projection, config).await?;
    let batches = reader.read_range(range, row(rows.clamp(1, u64::from(at_once)))?).await?;
    Ok(batches.buffered(1))
}

/// Reads a part of one fragment, batch by batch, until `each` has enough.
pub(super) async fn read_part(
    dataset: &Dataset,
    projection: &LanceSchema,
    placed: Placed,
    from: u64,
    rows: u64,
    mut each: impl FnMut(RecordBatch) -> Result<bool, TableError>,
) -> Result<(), TableError> {
    let batches = part(dataset, projection, placed, from, rows).await?;
    futures::pin_mut!(batches);
    while let Some(batch) = batches.try_next().await? {
        if !each(batch)? {
            break;
        }
    }
    Ok(())
}

fn times(batch: &RecordBatch) -> Result<&[i64], TableError> {
    let column = batch.column_by_name(TIMESTAMP_COLUMN);
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    Ok(times.ok_or_else(|| foreign("the column _timestamp has another type"))?.values())
}

/// The first or last row of a fragment that has rows.
pub(super) async fn edge_row(dataset: &Dataset, placed: Placed, edge: Edge) -> Result<EdgeRow, TableError> {
    let row = match edge {
        Edge::First => 0,
        Edge::Last => placed.rows().saturating_sub(1),
        Edge::Row(row) => row,
    };
    let mut found = None;
    let projection = own_columns(dataset);
    read_part(dataset, &projection, placed, row, 1, |batch| {
        let offsets = batch.column_by_name(OFFSET_COLUMN).and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let offset = offsets.and_then(|offsets| offsets.values().first()).and_then(|offset| Offset::new(*offset));
        found = offset.zip(times(&batch)?.first().map(|micros| Timestamp::from_micros(*micros)));
        Ok(false)
    })
    .await?;
    let (offset, time) = found.ok_or_else(|| foreign(format!("fragment {} has no row {row}", placed.id)))?;
    Ok(EdgeRow { offset, time })
}

/// Rows of one fragment with all of its columns, as they are stored: about so many bytes of them, but at least one batch.
pub(super) async fn rows_as_stored(
    dataset: &Dataset,
    placed: Placed,
    from: u64,
    rows: u64,
    bytes: usize,
) -> Result<Vec<RecordBatch>, TableError> {
    let (mut batches, mut held) = (Vec::new(), 0);
    read_part(dataset, dataset.schema(), placed, from, rows, |batch| {
        held += batch.get_array_memory_size();
        batches.push(batch);
        Ok(held < bytes)
    })
    .await?;
    Ok(batches)
}

/// The first values of a chunk whose text is at most `bytes`, but `least` of them at least.
fn cut(chunk: &Chunk, bytes: usize, least: usize) -> Chunk {
    let mut left = Some(bytes);
    let fitting = (0..chunk.len()).take_while(|index| {
        left = left.and_then(|left| left.checked_sub(chunk.value(*index).len() + 1));
        left.is_some()
    });
    chunk.slice(0, fitting.count().max(least))
}

/// Records from `from` on, in order; see [`crate::table::Table::read`]. `row_bytes` is what a row's text is thought to
/// take, and is learnt.
pub(super) async fn records(
    version: &Version,
    columns: &Columns,
    from: Offset,
    records: usize,
    bytes: usize,
    row_bytes: &mut u64,
) -> Result<Vec<Chunk>, TableError> {
    let Version { dataset, layout } = version;
    let moves = pending_steps(dataset, columns)?;
    let projection = projection(dataset, &columns.schema, &moves);
    let (mut at, mut records_left, mut bytes_left) = (from.max(layout.base), records as u64, bytes);
    let mut chunks: Vec<Chunk> = Vec::new();
    while records_left > 0 && (bytes_left > 0 || chunks.is_empty()) {
        let Some(placed) = layout.holding(at) else { break };
        // A little more than is thought to fit: what lies past the budget is read but not decoded.
        let thought = (bytes_left as u64 / (*row_bytes).max(1)).saturating_mul(5) / 4 + 1;
        let rows = placed.next.since(at).min(records_left).min(thought);
        let (mut printed_rows, mut printed_bytes) = (0, 0);
        read_part(dataset, &projection, placed, at.since(placed.first), rows, |batch| {
            let batch = if moves.is_empty() { batch } else { reshape(&batch, &moves)? };
            let chunk = to_chunk(&columns.schema, &batch, at)?;
            printed_rows += chunk.len() as u64;
            printed_bytes += chunk.values().bytes() as u64;
            let part = cut(&chunk, bytes_left, usize::from(chunks.is_empty()));
            let whole = part.len() == chunk.len();
            at = part.next();
            records_left = records_left.saturating_sub(part.len() as u64);
            bytes_left = if whole { bytes_left.saturating_sub(part.values().bytes()) } else { 0 };
            if !part.is_empty() {
                chunks.push(part);
            }
            Ok(bytes_left > 0)
        })
        .await?;
        if printed_rows == 0 {
            return Err(foreign(format!("fragment {} has no row for offset {at}", placed.id)));
        }
        *row_bytes = printed_bytes.div_ceil(printed_rows).max(1);
    }
    Ok(chunks)
}

/// Rows from `from` on in the columns of a set; see [`crate::table::TableView::read_batches`].
pub(super) async fn batches(
    version: &Version,
    set: &ColumnSet,
    columns: &Columns,
    from: Offset,
    records: usize,
    bytes: usize,
    row_bytes: &mut u64,
) -> Result<Vec<RecordBatch>, TableError> {
    let Version { dataset, layout } = version;
    let to_read = set.to_read(columns);
    let moves = pending_steps(dataset, &to_read)?;
    let mut projection = projection(dataset, &to_read.schema, &moves);
    if moves.is_empty() {
        prune(&mut projection.fields, &to_read.schema.fields, true);
    }
    let (mut at, mut records_left, mut bytes_left) = (from.max(layout.base), records as u64, bytes as u64);
    let mut found: Vec<RecordBatch> = Vec::new();
    while records_left > 0 && (bytes_left > 0 || found.is_empty()) {
        let Some(placed) = layout.holding(at) else { break };
        let thought = bytes_left / (*row_bytes).max(1) + 1;
        let rows = placed.next.since(at).min(records_left).min(thought);
        let (mut read_rows, mut read_bytes) = (0, 0);
        read_part(dataset, &projection, placed, at.since(placed.first), rows, |batch| {
            check_offsets(&batch, at)?;
            let batch = if moves.is_empty() { batch } else { reshape(&batch, &moves)? };
            let batch = set.take(&batch, columns)?;
            at = at.saturating_after(batch.num_rows() as u64);
            read_rows += batch.num_rows() as u64;
            read_bytes += batch_bytes(&batch) as u64;
            found.push(batch);
            Ok(read_bytes < bytes_left)
        })
        .await?;
        if read_rows == 0 {
            return Err(foreign(format!("fragment {} has no row for offset {at}", placed.id)));
        }
        records_left = records_left.saturating_sub(read_rows);
        bytes_left = bytes_left.saturating_sub(read_bytes);
        *row_bytes = read_bytes.div_ceil(read_rows).max(1);
    }
    Ok(found)
}

/// Leaves out the members that are not wanted; a struct of which nothing is there keeps all, so that its nulls are read.
pub(super) fn prune(have: &mut [LanceField], wanted: &[Field], top_level: bool) {
    for field in have {
        if let Some(wanted) = wanted.iter().find(|wanted| column_name(&wanted.name, top_level) == field.name) {
            prune_type(field, &wanted.data_type);
        }
    }
}

fn prune_type(field: &mut LanceField, wanted: &DataType) {
    match wanted {
        DataType::List(item) => {
            if let Some(child) = field.children.first_mut() {
                prune_type(child, item);
            }
        }
        DataType::Struct(members) => {
            let is_wanted =
                |child: &LanceField| members.iter().any(|wanted| column_name(&wanted.name, false) == child.name);
            if field.children.iter().any(is_wanted) {
                field.children.retain(is_wanted);
            }
            prune(&mut field.children, members, false);
        }
        _ => {}
    }
}

/// The first offset whose row was appended at or after `time`; times never decrease.
pub(super) async fn offset_at(version: &Version, time: Timestamp) -> Result<Offset, TableError> {
    let Version { dataset, layout } = version;
    let with_rows: Vec<Placed> = layout.fragments.iter().filter(|placed| placed.rows() > 0).copied().collect();
    let (mut low, mut high) = (0, with_rows.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(placed) = with_rows.get(middle) else { break };
        if edge_row(dataset, *placed, Edge::Last).await?.time < time {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    match with_rows.get(low) {
        Some(placed) => row_at(dataset, layout, *placed, time).await,
        None => Ok(layout.next),
    }
}

async fn row_at(dataset: &Dataset, layout: &Layout, placed: Placed, time: Timestamp) -> Result<Offset, TableError> {
    let projection = own_columns(dataset);
    let (mut low, mut high) = (0, placed.rows());
    // By single rows first, then all that is left at once.
    while high - low > TIMES_AT_ONCE {
        let middle = low + (high - low) / 2;
        let mut earlier = false;
        read_part(dataset, &projection, placed, middle, 1, |batch| {
            earlier = times(&batch)?.first().is_some_and(|micros| *micros < time.as_micros());
            Ok(false)
        })
        .await?;
        if earlier {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let mut earlier = 0;
    read_part(dataset, &projection, placed, low, high - low, |batch| {
        let times = times(&batch)?;
        let before = times.partition_point(|micros| *micros < time.as_micros());
        earlier += before as u64;
        Ok(before == times.len())
    })
    .await?;
    Ok(placed.first.saturating_after(low + earlier).min(layout.next))
}
