//! Records by the batch: as many as take a bounded room as columns, however short their text is. A record without members takes
//! its row in every column, an empty item of a list its row in every column of items.

use arrow_array::RecordBatch;

use super::{ColumnsError, OWN_BYTES, lay_out};
use crate::codec::Chunk;
use crate::schema::Schema;

/// A batch is laid out of about so much text.
pub(super) const TEXT_BYTES: usize = 8 << 20;
/// The columns of a batch take about so many bytes, beside its texts.
pub(super) const COLUMNS_BYTES: usize = 16 << 20;

/// How many rows of a schema take a batch's room, at least one.
fn rows_at_once(schema: &Schema) -> usize {
    COLUMNS_BYTES.checked_div(schema.row_bytes().saturating_add(OWN_BYTES)).unwrap_or(0).max(1)
}

/// How far chunks have been laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    rows_max: usize,
    chunk: usize,
    record: usize,
}

impl Runs {
    /// Before the first record.
    pub(crate) fn new(schema: &Schema) -> Self {
        Self { rows_max: rows_at_once(schema), chunk: 0, record: 0 }
    }

    /// The next batch of the same chunks; none behind the last record.
    pub(crate) fn next_batch(
        &mut self,
        schema: &Schema,
        chunks: &[Chunk],
    ) -> Option<Result<RecordBatch, ColumnsError>> {
        let before = *self;
        let run = self.next(chunks)?;
        let laid_out = lay_out(schema, |_| true, &run, COLUMNS_BYTES);
        if let Ok(batch) = &laid_out
            && batch.num_rows() < run.iter().map(Chunk::len).sum()
        {
            *self = before;
            self.skip(chunks, batch.num_rows());
        }
        Some(laid_out)
    }

    fn skip(&mut self, chunks: &[Chunk], mut records: usize) {
        while let Some(chunk) = chunks.get(self.chunk) {
            let rest = chunk.len() - self.record;
            if records < rest {
                self.record += records;
                break;
            }
            (self.chunk, self.record, records) = (self.chunk + 1, 0, records - rest);
        }
    }

    /// The next records that may be laid out at once.
    fn next(&mut self, chunks: &[Chunk]) -> Option<Vec<Chunk>> {
        let (mut run, mut rows, mut text) = (Vec::new(), 0, 0);
        while let Some(chunk) = chunks.get(self.chunk).filter(|_| rows < self.rows_max && text < TEXT_BYTES) {
            let rest = chunk.slice(self.record, self.rows_max - rows);
            let part = rest.slice(0, rows_within(&rest, TEXT_BYTES - text, run.is_empty()));
            (rows, text) = (rows + part.len(), text + part.values().bytes());
            self.record += part.len();
            let is_whole = self.record == chunk.len();
            if is_whole {
                (self.chunk, self.record) = (self.chunk + 1, 0);
            }
            if !part.is_empty() {
                run.push(part);
            }
            if !is_whole {
                break;
            }
        }
        Some(run).filter(|run| !run.is_empty())
    }
}

/// Lays out chunks in batches that take a bounded room each, where a single record does not take more.
pub fn batches(schema: &Schema, chunks: &[Chunk]) -> impl Iterator<Item = Result<RecordBatch, ColumnsError>> {
    let mut runs = Runs::new(schema);
    std::iter::from_fn(move || runs.next_batch(schema, chunks))
}

/// How many of the first records have at most so much text; at least one if asked so.
fn rows_within(chunk: &Chunk, bytes: usize, at_least_one: bool) -> usize {
    let (mut least, mut most) = (usize::from(at_least_one && !chunk.is_empty()), chunk.len());
    while least < most {
        let middle = (least + most).div_ceil(2);
        if chunk.slice(0, middle).values().bytes() <= bytes { least = middle } else { most = middle - 1 }
    }
    least
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt64Type;
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::codec::Values;
    use crate::model::{Offset, Timestamp};

    fn chunks(texts: &[String]) -> Vec<Chunk> {
        let mut next = Offset::ZERO;
        let chunk = |text: &String| {
            let values = Values::from_text(Bytes::from(text.clone())).unwrap();
            let chunk = Chunk::new(next, Timestamp::default(), values);
            next = chunk.next();
            chunk
        };
        texts.iter().map(chunk).collect()
    }

    fn schema(columns: usize) -> Schema {
        let fields: Vec<_> = (0..columns).map(|at| json!({"name": format!("c{at}"), "type": "int64"})).collect();
        Schema::from_json(&json!({ "fields": fields })).unwrap()
    }

    /// The rows of the batches, which are checked to be all records in order.
    fn lengths(schema: &Schema, chunks: &[Chunk]) -> Vec<usize> {
        let mut next = 0;
        let rows = |batch: Result<RecordBatch, ColumnsError>| {
            let batch = batch.unwrap();
            let offsets = batch.column(0).as_primitive::<UInt64Type>().values();
            assert!(offsets.iter().copied().eq(next..next + offsets.len() as u64));
            next += offsets.len() as u64;
            offsets.len()
        };
        let lengths = batches(schema, chunks).map(rows).collect();
        assert_eq!(next, chunks.last().map_or(0, |chunk| chunk.next().get()));
        lengths
    }

    #[test]
    fn runs_end_by_the_room_that_their_rows_take() {
        let wide = schema(1_000);
        let rows = rows_at_once(&wide);
        assert_eq!(rows, (16 << 20) / 8_016);
        let empty = chunks(&["{}\n".repeat(2 * rows + 5), String::new(), "{}\n".repeat(3)]);
        assert_eq!(lengths(&wide, &empty), [rows, rows, 8]);
        assert_eq!(lengths(&schema(1), &empty), [2 * rows + 8]);
        assert!(lengths(&wide, &[]).is_empty() && lengths(&wide, &chunks(&[String::new()])).is_empty());
    }

    #[test]
    fn batches_end_by_the_room_that_items_take() {
        let members: Vec<_> = (0..1_000).map(|at| json!({"name": format!("m{at}"), "type": "int64"})).collect();
        let items = json!({"type": "struct", "fields": members});
        let fields = json!([{"name": "l", "type": "list", "items": items}]);
        let nested = Schema::from_json(&json!({ "fields": fields })).unwrap();
        // 100 items of 8,000 bytes in each; a batch ends with the record that fills it.
        let record = format!("{{\"l\":[{}{{}}]}}\n", "{},".repeat(99));
        assert_eq!(lengths(&nested, &chunks(&[record.repeat(30), record.repeat(15)])), [21, 21, 3]);
        let vectors = json!({"type": "vector", "dim": 65_536});
        let fields = json!([{"name": "l", "type": "list", "items": vectors}]);
        let vectors = Schema::from_json(&json!({ "fields": fields })).unwrap();
        let record = format!("{{\"l\":[{}null]}}\n", "null,".repeat(39));
        assert_eq!(lengths(&vectors, &chunks(&[record.repeat(5)])), [2, 2, 1]);
    }

    #[test]
    fn runs_end_by_their_text_and_have_one_record_at_least() {
        let record = |bytes: usize| format!("{{\"s\":\"{}\"}}\n", "x".repeat(bytes));
        let given = chunks(&[record(3 << 20).repeat(3), record(9 << 20), record(1), record(5 << 20).repeat(2)]);
        let texts = Schema::from_json(&json!({"fields": [{"name": "s", "type": "string"}]})).unwrap();
        assert_eq!(lengths(&texts, &given), [2, 1, 1, 2, 1]);
    }
}
