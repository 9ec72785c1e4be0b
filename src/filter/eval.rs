//! Which rows of a batch pass.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow_schema::{ArrowError, DataType as ArrowType, Field, FieldRef, Schema as ArrowSchema};
use arrow_select::nullif::nullif;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::context::ExecutionProps;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::prelude::Expr;

use super::{BoundFilter, FilterError};

/// One column that a filter reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The names that lead to it, through structs.
    pub(super) names: Vec<String>,
    pub(super) data_type: ArrowType,
}

/// Why rows could not be looked at: a fault of this server.
#[derive(Debug, thiserror::Error)]
#[error("a filter could not be evaluated: {0}")]
pub struct MaskError(#[from] DataFusionError);

impl From<FilterError> for MaskError {
    fn from(error: FilterError) -> Self {
        Self(DataFusionError::Plan(error.detail))
    }
}

impl From<ArrowError> for MaskError {
    fn from(error: ArrowError) -> Self {
        Self(error.into())
    }
}

/// The name under which an expression finds a slot.
pub(super) fn slot_name(slot: usize) -> String {
    slot.to_string()
}

fn slot_field(slot: usize, data_type: ArrowType) -> FieldRef {
    Arc::new(Field::new(slot_name(slot), data_type, true))
}

/// An expression over slots, ready to be evaluated.
pub(super) fn prepared(expr: &Expr, slots: &[Slot]) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let fields = slots.iter().enumerate().map(|(slot, it)| slot_field(slot, it.data_type.clone()));
    let schema = DFSchema::try_from(ArrowSchema::new(fields.collect::<Vec<_>>()))?;
    create_physical_expr(expr, &schema, &ExecutionProps::new())
}

impl Slot {
    /// Its values in a batch: those of an older width are brought to the slot's, and what a null struct holds is null.
    fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let missing = || new_null_array(&self.data_type, batch.num_rows());
        let mut names = self.names.iter();
        let Some(mut found) = names.next().and_then(|name| batch.column_by_name(name)).map(Arc::clone) else {
            return Ok(missing());
        };
        for name in names {
            let Some(parent) = found.as_any().downcast_ref::<StructArray>() else { return Ok(missing()) };
            let Some(child) = parent.column_by_name(name) else { return Ok(missing()) };
            found = match parent.nulls().filter(|nulls| nulls.null_count() > 0) {
                Some(nulls) => nullif(child, &BooleanArray::new(!nulls.inner(), None))?,
                None => Arc::clone(child),
            };
        }
        let differs = found.data_type() != &self.data_type && !self.data_type.is_nested();
        if differs { arrow_cast::cast(&found, &self.data_type) } else { Ok(found) }
    }
}

impl BoundFilter {
    /// The columns that it reads, as the names that lead to each and its type.
    pub fn reads(&self) -> impl Iterator<Item = (&[String], &ArrowType)> {
        self.slots.iter().map(|slot| (slot.names.as_slice(), &slot.data_type))
    }

    /// Which rows of a batch pass, as true; the others are false. The batch has the columns of the schema that the filter is
    /// bound to, or of an earlier one: what it lacks is null.
    ///
    /// # Errors
    /// [`MaskError`] where the batch has columns of other types.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, MaskError> {
        let columns: Vec<ArrayRef> = self.slots.iter().map(|slot| slot.values(batch)).collect::<Result<_, _>>()?;
        let fields = columns.iter().enumerate().map(|(slot, column)| slot_field(slot, column.data_type().clone()));
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let flat = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let passing = self.physical.evaluate(&flat)?.into_array(flat.num_rows())?;
        let passing = passing.as_boolean_opt().ok_or_else(|| {
            DataFusionError::Internal(format!("a filter gave {} instead of true or false", passing.data_type()))
        })?;
        Ok(match passing.nulls() {
            Some(nulls) => BooleanArray::new(passing.values() & nulls.inner(), None),
            None => passing.clone(),
        })
    }
}
