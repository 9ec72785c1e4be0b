//! What a posted change makes of values that are stored already: columns of one schema version to those of a later one.
//!
//! Names change and columns go without a look at values. Wider types are casts. A conversion prints the old values and
//! decodes the text under the new type, so that what a conversion takes is what an append of the same text would take.

mod convert;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, make_array,
    new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType as ArrowType, Field as ArrowField, FieldRef, Schema as ArrowSchema};

use super::Chunk;
use super::columns::{batches, column_name};
use super::encode::to_stored;
use crate::schema::{Columns, Field, FieldPath, Move, Posted, Schema};

/// Why values could not be had under a later schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReshapeError {
    /// A value that a conversion does not take.
    #[error("{path}: {detail}")]
    Misfit {
        /// The field.
        path: FieldPath,
        /// What the value cannot be, a sentence.
        detail: String,
    },
    /// The columns are not what they should be: a fault of this server.
    #[error("the columns could not be changed: {0}")]
    Shape(String),
}

impl From<ArrowError> for ReshapeError {
    fn from(error: ArrowError) -> Self {
        Self::Shape(error.to_string())
    }
}

/// A value that a conversion does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The row's place in what was given.
    pub row: usize,
    /// The field.
    pub path: FieldPath,
    /// What the value cannot be, a sentence.
    pub detail: String,
}

/// Takes rows through the steps of a change. Columns that the rows lack are passed over: they have no value there.
///
/// # Errors
/// [`ReshapeError`]; which row it was, [`misfit`] tells.
pub fn reshape(batch: &RecordBatch, moves: &[Move]) -> Result<RecordBatch, ReshapeError> {
    let mut level = Level { fields: batch.schema().fields().to_vec(), columns: batch.columns().to_vec() };
    for step in moves {
        level.take(step, &step.path().0, true, None)?;
    }
    // Rows may lack all the columns that change, or lose the last one: how many there are is said aside.
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(level.fields)), level.columns, &rows)?)
}

/// The first row that the steps of a change do not take; none where they take all.
///
/// # Errors
/// [`ReshapeError::Shape`].
pub fn misfit(batch: &RecordBatch, moves: &[Move]) -> Result<Option<Misfit>, ReshapeError> {
    let told = |batch: &RecordBatch| match reshape(batch, moves) {
        Ok(_) => Ok(None),
        Err(ReshapeError::Misfit { path, detail }) => Ok(Some((path, detail))),
        Err(error) => Err(error),
    };
    let Some(mut found) = told(batch)? else { return Ok(None) };
    // The first `low` rows are taken, the first `high` are not.
    let (mut low, mut high) = (0, batch.num_rows());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match told(&batch.slice(low, middle - low))? {
            None => low = middle,
            Some(earlier) => (high, found) = (middle, earlier),
        }
    }
    if let Some(alone) = told(&batch.slice(low, high - low))? {
        found = alone;
    }
    let (path, detail) = found;
    Ok(Some(Misfit { row: low, path, detail }))
}

/// Records that were written before `posted`, the first of which has come after them, in the form of the newest schema.
///
/// # Errors
/// [`ReshapeError`]; a conversion was asked for every value before it was accepted.
pub fn reshape_chunk(chunk: &Chunk, posted: &[Posted], newest: &Schema) -> Result<Chunk, ReshapeError> {
    let Some(first) = posted.first().filter(|_| !chunk.is_empty()) else { return Ok(chunk.clone()) };
    let shape = |error: &dyn std::fmt::Display| ReshapeError::Shape(error.to_string());
    let mut made = Vec::new();
    let mut next = chunk.first();
    for batch in batches(&first.before, std::slice::from_ref(chunk)) {
        let mut batch = batch.map_err(|error| shape(&error))?;
        for step in posted {
            batch = reshape(&batch, &step.moves)?;
        }
        let part = to_stored(newest, &batch, next).map_err(|error| shape(&error))?;
        next = part.next();
        made.push(part.values().clone());
    }
    chunk.with_values(made).map_err(|error| shape(&error))
}

/// The same for records of which the version is known.
///
/// # Errors
/// As [`reshape_chunk`].
pub fn to_newest(
    chunk: &Chunk,
    version: Option<crate::model::SchemaVersion>,
    columns: &Columns,
) -> Result<Chunk, ReshapeError> {
    reshape_chunk(chunk, columns.lineage.after(version), &columns.schema)
}

/// The same for records that nobody can read any more: what a conversion does not take has no value then.
///
/// # Errors
/// [`ReshapeError::Shape`].
pub fn to_newest_unread(
    chunk: &Chunk,
    version: Option<crate::model::SchemaVersion>,
    columns: &Columns,
) -> Result<Chunk, ReshapeError> {
    match to_newest(chunk, version, columns) {
        Err(ReshapeError::Misfit { .. }) => {}
        outcome => return outcome,
    }
    let without_values = |posted: &Posted| {
        let drops = posted.moves.iter().map(|step| match step {
            Move::Retype { path, .. } if step.can_be_refused() => Move::Drop { path: path.clone() },
            step => step.clone(),
        });
        Posted { moves: drops.collect(), ..posted.clone() }
    };
    let posted: Vec<Posted> = columns.lineage.after(version).iter().map(without_values).collect();
    reshape_chunk(chunk, &posted, &columns.schema)
}

/// Columns beside each other: of a record, or of a struct.
struct Level {
    fields: Vec<FieldRef>,
    columns: Vec<ArrayRef>,
}

impl Level {
    /// Takes a step at the rest of its path; `absent` are the rows that have no value here at all.
    fn take(
        &mut self,
        step: &Move,
        path: &[String],
        top_level: bool,
        absent: Option<&NullBuffer>,
    ) -> Result<(), ReshapeError> {
        let Some((key, rest)) = path.split_first() else { return Ok(()) };
        let name = column_name(key, top_level);
        let Some(at) = self.fields.iter().position(|field| *field.name() == name) else { return Ok(()) };
        if rest.is_empty() && matches!(step, Move::Drop { .. }) {
            self.fields.remove(at);
            self.columns.remove(at);
            return Ok(());
        }
        let (Some(field), Some(column)) = (self.fields.get_mut(at), self.columns.get_mut(at)) else { return Ok(()) };
        match step {
            Move::Rename { to, .. } if rest.is_empty() => {
                *field = Arc::new(field.as_ref().clone().with_name(column_name(to, top_level)));
            }
            Move::Retype { path, from, to } if rest.is_empty() => {
                (*field, *column) = convert::retype(field, &masked(column, absent)?, from, to, path, top_level)?;
            }
            _ => (*field, *column) = within(field, column, step, rest, absent)?,
        }
        Ok(())
    }
}

/// Takes a step inside a struct, or inside the structs that a list holds.
fn within(
    field: &FieldRef,
    array: &ArrayRef,
    step: &Move,
    path: &[String],
    absent: Option<&NullBuffer>,
) -> Result<(FieldRef, ArrayRef), ReshapeError> {
    let (data_type, array): (ArrowType, ArrayRef) = match array.data_type() {
        ArrowType::Struct(members) => {
            let structs = array.as_struct();
            let absent = NullBuffer::union(structs.nulls(), absent);
            let mut level = Level { fields: members.to_vec(), columns: structs.columns().to_vec() };
            level.take(step, path, false, absent.as_ref())?;
            let members = level.fields.into();
            let nulls = structs.nulls().cloned();
            let changed = StructArray::try_new_with_length(members, level.columns, nulls, structs.len())?;
            (changed.data_type().clone(), Arc::new(changed))
        }
        ArrowType::List(item) => {
            let lists = array.as_list();
            let values = items(lists);
            let (item, values) = within(item, &values, step, path, None)?;
            relisted(lists, item, values)?
        }
        // Planned for other columns than these, which the dataset cannot be: nothing to do.
        _ => return Ok((Arc::clone(field), Arc::clone(array))),
    };
    Ok((Arc::new(field.as_ref().clone().with_data_type(data_type)), array))
}

/// The items of lists, of these lists only.
fn items(lists: &ListArray) -> ArrayRef {
    let bound = |end: Option<&i32>| end.and_then(|end| usize::try_from(*end).ok()).unwrap_or_default();
    let (from, to) = (bound(lists.offsets().first()), bound(lists.offsets().last()));
    lists.values().slice(from, to - from)
}

/// Lists of other items, as many in each.
fn relisted(lists: &ListArray, item: FieldRef, items: ArrayRef) -> Result<(ArrowType, ArrayRef), ReshapeError> {
    let lengths = lists.offsets().lengths();
    let lists = ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), items, lists.nulls().cloned())?;
    Ok((lists.data_type().clone(), Arc::new(lists)))
}

/// A column that is null where there is nothing for it to be in: what lies there is nobody's value.
fn masked(array: &ArrayRef, absent: Option<&NullBuffer>) -> Result<ArrayRef, ReshapeError> {
    if absent.is_none_or(|absent| absent.null_count() == 0) {
        return Ok(Arc::clone(array));
    }
    let nulls = NullBuffer::union(array.nulls(), absent);
    Ok(make_array(array.to_data().into_builder().nulls(nulls).build()?))
}

/// A column in the shape of `wanted`: members it lacks are null, numbers are widened, nulls stay where they are.
///
/// # Errors
/// [`ArrowError`] where a value is none of the wanted type.
pub fn recast(array: &ArrayRef, wanted: &ArrowField) -> Result<ArrayRef, ArrowError> {
    Ok(match (array.data_type(), wanted.data_type()) {
        (have, want) if have == want => Arc::clone(array),
        (ArrowType::Struct(_), ArrowType::Struct(members)) => {
            let structs = array.as_struct();
            let columns = members.iter().map(|member| match structs.column_by_name(member.name()) {
                Some(column) => recast(column, member),
                None => Ok(new_null_array(member.data_type(), structs.len())),
            });
            let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(members.clone(), columns, structs.nulls().cloned())?)
        }
        (ArrowType::List(_), ArrowType::List(item)) => {
            let lists: &ListArray = array.as_list();
            let items = recast(lists.values(), item)?;
            Arc::new(ListArray::try_new(Arc::clone(item), lists.offsets().clone(), items, lists.nulls().cloned())?)
        }
        (ArrowType::FixedSizeList(..), ArrowType::FixedSizeList(item, dim)) => {
            let vectors = array.as_fixed_size_list();
            let items = recast(vectors.values(), item)?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *dim, items, vectors.nulls().cloned())?)
        }
        (_, want) => cast_with_options(array, want, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}

/// A schema of one field, which is nullable whatever was declared.
fn alone(field: &Field) -> Schema {
    Schema { fields: vec![Field { nullable: true, ..field.clone() }] }
}

#[cfg(test)]
mod tests;
