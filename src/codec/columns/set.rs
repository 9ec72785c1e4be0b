//! The columns of one long read: fixed when it begins, whatever becomes of the topic's schema meanwhile.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::SchemaRef;

use super::runs::COLUMNS_BYTES;
use super::{arrow_schema, lay_out};
use crate::codec::reshape::{ReshapeError, recast, reshape};
use crate::codec::{Chunk, FieldSelection};
use crate::model::SchemaVersion;
use crate::schema::{Columns, Field, FieldPath, Schema};

/// The columns of one long read.
#[derive(Clone, Debug)]
pub struct ColumnSet {
    schema: Arc<Schema>,
    arrow: SchemaRef,
    /// The newest posted version when the read began.
    posted: Option<SchemaVersion>,
}

impl ColumnSet {
    /// The columns of now, or those of them that are chosen.
    pub fn new(columns: &Columns, fields: Option<&FieldSelection>) -> Self {
        let schema = match fields {
            Some(fields) => Arc::new(fields.columns(&columns.schema)),
            None => Arc::clone(&columns.schema),
        };
        let arrow = Arc::new(arrow_schema(&schema));
        Self { schema, arrow, posted: columns.lineage.newest() }
    }

    /// The columns as Arrow has them: `_offset`, `_timestamp`, then one for each field.
    pub const fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Whether nothing was posted between these and the topic's columns of now.
    pub fn is_of(&self, now: &Columns) -> bool {
        now.lineage.newest() == self.posted
    }

    /// Whether values of these columns were dropped or took another type by what was posted since: they may not be had as they
    /// were.
    #[must_use]
    pub fn has_changed(&self, now: &Columns) -> bool {
        self.paths().any(|path| now.lineage.has_changed(&path, self.posted))
    }

    /// Whether values of these columns were dropped since: of what took another type, [`ColumnSet::take`] makes what it was.
    #[must_use]
    pub fn has_lost(&self, now: &Columns) -> bool {
        self.paths().any(|path| now.lineage.has_dropped(&path, self.posted))
    }

    fn paths(&self) -> impl Iterator<Item = FieldPath> {
        self.schema.fields.iter().map(|field| FieldPath(vec![field.name.clone()]))
    }

    /// What must be read to have them, with the topic's columns of now. All that there is where a version was posted since:
    /// names may have changed.
    #[must_use]
    pub fn to_read(&self, now: &Columns) -> Columns {
        if self.is_of(now) {
            Columns { schema: Arc::clone(&self.schema), lineage: Arc::clone(&now.lineage), version: now.version }
        } else {
            now.clone()
        }
    }

    /// Rows read under the topic's columns of now, in these. What was posted since the read began is taken back: fields have
    /// their old names and types, and one that was dropped is null. What appends have changed they have widened, so that
    /// the rows of before are cast back exactly.
    ///
    /// # Errors
    /// [`ReshapeError`] where a value has no place any more: a field that was dropped and has no null.
    pub fn take(&self, batch: &RecordBatch, now: &Columns) -> Result<RecordBatch, ReshapeError> {
        let undo = now.lineage.back_to(self.posted);
        let batch = if undo.is_empty() { batch.clone() } else { reshape(batch, &undo)? };
        self.narrow(&batch)
    }

    /// These columns of rows that have them, and others besides.
    ///
    /// # Errors
    /// [`ReshapeError`] where a column is of another type.
    pub fn narrow(&self, batch: &RecordBatch) -> Result<RecordBatch, ReshapeError> {
        let columns = self.arrow.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => recast(column, field),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.arrow), columns)?)
    }

    /// The same of records that are still text, in the form of the topic's columns of now: of the first ones, as many as take a
    /// bounded room, at least one.
    ///
    /// # Errors
    /// [`ReshapeError`], also where the text is in another form.
    pub fn take_chunks(&self, chunks: &[Chunk], now: &Columns) -> Result<RecordBatch, ReshapeError> {
        self.take_within(chunks, now, COLUMNS_BYTES)
    }

    /// The same of all records, whatever room they take.
    ///
    /// # Errors
    /// As [`ColumnSet::take_chunks`].
    pub fn take_all(&self, chunks: &[Chunk], now: &Columns) -> Result<RecordBatch, ReshapeError> {
        self.take_within(chunks, now, usize::MAX)
    }

    fn take_within(&self, chunks: &[Chunk], now: &Columns, bytes: usize) -> Result<RecordBatch, ReshapeError> {
        // Where a version was posted since, names may have changed.
        let wanted = |field: &Field| !self.is_of(now) || self.schema.field(&field.name).is_some();
        let batch =
            lay_out(&now.schema, wanted, chunks, bytes).map_err(|error| ReshapeError::Shape(error.to_string()))?;
        self.take(&batch, now)
    }
}
