//! Plain arrays as columns of a schema, exactly or not at all.

use std::sync::Arc;

use arrow_array::builder::LargeStringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, ListArray, StructArray, new_null_array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, Field as ArrowField, Fields};

use super::faults::{Faults, misfit, null_in_required, words};
use super::incoming::{Incoming, Member};
use super::plain::{Budget, shape};
use super::{json, numbers};
use crate::codec::DecodeError;
use crate::codec::columns::{column_name, column_type};
use crate::codec::fault::Stop;
use crate::model::{ErrorCode, SchemaMode};
use crate::schema::{DataType, Field};

/// What all columns are fitted by.
pub(super) struct Fitting<'a> {
    pub(super) mode: SchemaMode,
    pub(super) budget: &'a mut Budget,
    /// The most bytes of a record's text.
    pub(super) record_bytes_max: u64,
}

/// Columns beside each other, those of a schema that have come.
#[derive(Default)]
pub(super) struct Fitted {
    pub(super) fields: Vec<ArrowField>,
    pub(super) columns: Vec<ArrayRef>,
}

impl Fitting<'_> {
    /// Brings members to the fields of a schema. A column without a field is refused where it has a value; a field without
    /// a column is null, which it may have to be able to be.
    pub(super) fn members(
        &mut self,
        wanted: &[Field],
        members: &[Member],
        columns: &[ArrayRef],
        rows: (usize, Option<&NullBuffer>),
        top_level: bool,
        faults: &mut Faults,
    ) -> Result<Fitted, DecodeError> {
        let mut fitted = Fitted::default();
        let (rows, present) = rows;
        let present = |row: &usize| present.is_none_or(|present| present.is_valid(*row));
        for field in wanted {
            let member = members.iter().find(|member| member.key == field.name);
            let column = member.and_then(|member| Some((member, columns.get(member.at)?)));
            let mut inner = Faults::default();
            let array = match column {
                Some((member, array)) if member.incoming != Incoming::Null => {
                    Some(self.column(&field.data_type, &member.incoming, array, &mut inner)?)
                }
                _ => None,
            };
            if !field.nullable {
                let is_null = |row: &usize| array.as_ref().is_none_or(|array| array.is_null(*row));
                for row in (0..rows).filter(present).filter(is_null) {
                    inner.add(row, || null_in_required(&field.data_type));
                }
            }
            faults.absorb_member(inner, &field.name);
            if let Some(array) = array {
                let name = column_name(&field.name, top_level);
                fitted
                    .fields
                    .push(super::marked(ArrowField::new(name, array.data_type().clone(), true), &field.data_type));
                fitted.columns.push(array);
            }
        }
        for member in members.iter().filter(|member| wanted.iter().all(|field| field.name != member.key)) {
            let Some(array) = columns.get(member.at).filter(|array| array.data_type() != &ArrowType::Null) else {
                continue;
            };
            let mut inner = Faults::default();
            (0..rows).filter(|row| array.is_valid(*row)).take(crate::model::Problem::ERRORS_MAX).for_each(|row| {
                inner.add(row, Stop::unknown_key);
            });
            faults.absorb_member(inner, &member.key);
        }
        Ok(fitted)
    }

    /// Brings one array to a column's type.
    fn column(
        &mut self,
        wanted: &DataType,
        incoming: &Incoming,
        array: &ArrayRef,
        faults: &mut Faults,
    ) -> Result<ArrayRef, DecodeError> {
        match (wanted, incoming) {
            (_, Incoming::Null) => self.nulls(wanted, array.len()),
            (DataType::Json, Incoming::Plain(DataType::Json | DataType::String)) => json::texts(array, faults),
            (DataType::Json, _) => json::printed(incoming, array, self.record_bytes_max, self.budget, faults),
            (DataType::Vector { dim, item }, Incoming::Vector { dim: found, item: width }) if dim == found => {
                let vectors = array.as_fixed_size_list();
                let mut inner = Faults::default();
                let items = if item == width {
                    Arc::clone(vectors.values())
                } else {
                    self.charge_numbers(vectors.values())?;
                    numbers::floats(vectors.values(), *item, &mut inner)
                };
                let dim = usize::try_from(*dim).unwrap_or(usize::MAX);
                vector(&items, vectors.nulls(), vectors.len(), (dim, wanted), inner, faults)
            }
            (DataType::Vector { dim, item }, Incoming::List(brought)) => {
                self.list_to_vector((*dim, *item), wanted, brought, array, faults)
            }
            (DataType::List(item), Incoming::List(brought)) => {
                let lists = array.as_list::<i32>();
                if matches!(**item, DataType::Struct(_) | DataType::Vector { .. }) {
                    // Members that the rows do not bring take their room all the same.
                    self.budget.admit((lists.values().len() as u64).saturating_mul(item.row_bytes() as u64))?;
                }
                let mut inner = Faults::default();
                let items = self.column(item, brought, lists.values(), &mut inner);
                let items = items.map_err(|error| of_list(error, lists.offsets()))?;
                faults.absorb_items(inner, lists.offsets());
                listed(item, lists.offsets().clone(), items, lists.nulls())
            }
            (DataType::List(item), Incoming::Vector { item: width, .. }) => {
                let vectors = array.as_fixed_size_list();
                self.charge_numbers(vectors.values())?;
                let lists = unfixed(vectors)?;
                let brought = Incoming::Plain(DataType::Float(*width));
                let mut inner = Faults::default();
                let items = self.column(item, &brought, lists.values(), &mut inner);
                let items = items.map_err(|error| of_list(error, lists.offsets()))?;
                faults.absorb_items(inner, lists.offsets());
                listed(item, lists.offsets().clone(), items, lists.nulls())
            }
            (DataType::Struct(fields), Incoming::Struct(members)) => {
                let structs = array.as_struct();
                let rows = (structs.len(), structs.nulls());
                let fitted = self.members(fields, members, structs.columns(), rows, false, faults)?;
                let nulls = structs.nulls().cloned();
                let length = structs.len();
                let fields: Fields = fitted.fields.into();
                let structs = StructArray::try_new_with_length(fields, fitted.columns, nulls, length);
                Ok(Arc::new(structs.map_err(|error| shape(&error))?))
            }
            (DataType::Int(int), Incoming::Plain(DataType::Int(found))) if int == found => Ok(Arc::clone(array)),
            (DataType::Int(int), Incoming::Plain(DataType::Int(_) | DataType::Float(_))) => {
                self.charge_numbers(array)?;
                Ok(numbers::integers(array, *int, self.mode, faults))
            }
            (DataType::Float(float), Incoming::Plain(DataType::Float(found))) if float == found => {
                // Also of 16 bits, which count as 32.
                if array.data_type() == &column_type(wanted) {
                    Ok(Arc::clone(array))
                } else {
                    self.charge_numbers(array)?;
                    Ok(numbers::floats(array, *float, faults))
                }
            }
            (DataType::Float(float), Incoming::Plain(DataType::Int(_) | DataType::Float(_))) => {
                self.charge_numbers(array)?;
                Ok(numbers::floats(array, *float, faults))
            }
            (wanted, Incoming::Plain(found)) if wanted == found => Ok(Arc::clone(array)),
            _ => {
                self.mismatch(wanted, incoming, array, faults);
                self.nulls(wanted, array.len())
            }
        }
    }

    /// Numbers that are written anew, which may be those of a byte in eight.
    fn charge_numbers(&mut self, array: &ArrayRef) -> Result<(), DecodeError> {
        self.budget.charge(8 * array.len() as u64)
    }

    /// A column without values.
    fn nulls(&mut self, wanted: &DataType, rows: usize) -> Result<ArrayRef, DecodeError> {
        self.budget.charge(null_bytes(wanted).saturating_mul(rows as u64))?;
        Ok(new_null_array(&column_type(wanted), rows))
    }

    /// Every row that has a value has the wrong one.
    fn mismatch(&mut self, wanted: &DataType, incoming: &Incoming, array: &ArrayRef, faults: &mut Faults) {
        let code = match (wanted, incoming) {
            (DataType::Vector { .. }, Incoming::Vector { .. }) => ErrorCode::InvalidRecord,
            _ => ErrorCode::SchemaConflict,
        };
        let rows = (0..array.len()).filter(|row| array.is_valid(*row)).take(crate::model::Problem::ERRORS_MAX);
        for row in rows {
            faults.add(row, || {
                let remedy = format!(
                    "cast the column to {} before sending; a column's type does not change by itself in this way",
                    words(wanted)
                );
                Stop::column(code, words(wanted), incoming.words(), remedy)
            });
        }
    }

    fn list_to_vector(
        &mut self,
        (dim, item): (u32, crate::schema::FloatType),
        wanted: &DataType,
        brought: &Incoming,
        array: &ArrayRef,
        faults: &mut Faults,
    ) -> Result<ArrayRef, DecodeError> {
        if !matches!(brought, Incoming::Null | Incoming::Plain(DataType::Int(_) | DataType::Float(_))) {
            self.mismatch(wanted, &Incoming::List(Box::new(brought.clone())), array, faults);
            return self.nulls(wanted, array.len());
        }
        let lists = array.as_list::<i32>();
        let dim = usize::try_from(dim).unwrap_or(usize::MAX);
        let before = faults.is_empty();
        let mut counted = Faults::default();
        for (row, count) in lists.offsets().lengths().enumerate() {
            if lists.is_valid(row) && count != dim {
                counted
                    .add(row, || misfit(wanted, &format!("{count} numbers"), "send exactly as many as the column has"));
            }
        }
        if !counted.is_empty() {
            faults.absorb(counted, |row, stop| Some((row, stop)));
            return Ok(Arc::clone(array));
        }
        let mut inner = Faults::default();
        self.charge_numbers(lists.values())?;
        let items = numbers::floats(lists.values(), item, &mut inner);
        let mut own = Faults::default();
        // Nulls have no items: they get some.
        let full = lists.null_count() == 0;
        let items = if full {
            items
        } else {
            self.budget.charge(null_bytes(wanted).saturating_mul(lists.len() as u64))?;
            spread(lists, &items, dim)?
        };
        let vectors = vector(&items, lists.nulls(), lists.len(), (dim, wanted), Faults::default(), &mut own)?;
        faults.absorb_items(inner, lists.offsets());
        faults.absorb(own, |row, stop| Some((row, stop)));
        debug_assert!(before || !faults.is_empty());
        Ok(vectors)
    }
}

/// What is wrong with an item, told of the list that it is in.
fn of_list(mut error: DecodeError, offsets: &OffsetBuffer<i32>) -> DecodeError {
    if let DecodeError::RecordTooLarge { record, .. } = &mut error {
        let is_before = |offset: &i32| u64::try_from(*offset).is_ok_and(|offset| offset <= *record);
        *record = offsets.partition_point(is_before).saturating_sub(1) as u64;
    }
    error
}

/// What a null takes in a column, roughly.
fn null_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Vector { dim, .. } => 16 * u64::from(*dim),
        DataType::Struct(fields) => fields.iter().map(|field| null_bytes(&field.data_type)).sum(),
        _ => 16,
    }
}

/// The items of lists with as many for each that is null.
fn spread(lists: &ListArray, items: &ArrayRef, dim: usize) -> Result<ArrayRef, DecodeError> {
    let starts = lists.value_offsets();
    let places = (0..lists.len()).flat_map(|row| {
        let start = starts.get(row).and_then(|start| u64::try_from(*start).ok()).unwrap_or(0);
        (0..dim as u64).map(move |item| lists.is_valid(row).then_some(start + item))
    });
    let places: arrow_array::UInt64Array = places.collect();
    arrow_select::take::take(items, &places, None).map_err(|error| shape(&error))
}

fn vector(
    items: &ArrayRef,
    nulls: Option<&NullBuffer>,
    rows: usize,
    (dim, wanted): (usize, &DataType),
    inner: Faults,
    faults: &mut Faults,
) -> Result<ArrayRef, DecodeError> {
    let there = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let place = |item: usize| (item.checked_div(dim).unwrap_or(0), item.checked_rem(dim).unwrap_or(0));
    faults.absorb(inner, |item, stop| {
        let (row, at) = place(item);
        there(row).then(|| (row, stop.under_item(at)))
    });
    let number = numbers::numbers(items);
    for item in 0..items.len() {
        let (row, at) = place(item);
        if !there(row) {
            continue;
        }
        let finite = match number.as_ref().filter(|_| items.is_valid(item)).map(|number| number(item)) {
            Some(numbers::Number::Float(value)) => value.is_finite(),
            Some(numbers::Number::Int(_)) => true,
            None => false,
        };
        if !finite {
            let what = if items.is_null(item) { "a null item" } else { "NaN or an infinity" };
            let remedy = "a vector has finite numbers only; leave the whole vector out instead";
            faults.add(row, || misfit(wanted, what, remedy).under_item(at));
        }
    }
    let field = Arc::new(ArrowField::new("item", items.data_type().clone(), true));
    let dim = i32::try_from(dim).unwrap_or(i32::MAX);
    let vectors = FixedSizeListArray::try_new_with_length(field, dim, Arc::clone(items), nulls.cloned(), rows);
    Ok(Arc::new(vectors.map_err(|error| shape(&error))?))
}

fn listed(
    item: &DataType,
    offsets: OffsetBuffer<i32>,
    items: ArrayRef,
    nulls: Option<&NullBuffer>,
) -> Result<ArrayRef, DecodeError> {
    let field = super::marked(ArrowField::new("item", items.data_type().clone(), true), item);
    let lists = ListArray::try_new(Arc::new(field), offsets, items, nulls.cloned());
    Ok(Arc::new(lists.map_err(|error| shape(&error))?))
}

/// Vectors as lists; null ones have no items.
fn unfixed(vectors: &FixedSizeListArray) -> Result<ListArray, DecodeError> {
    let dim = usize::try_from(vectors.value_length()).unwrap_or(0);
    let lengths = (0..vectors.len()).map(|row| if vectors.is_valid(row) { dim } else { 0 });
    let offsets = OffsetBuffer::from_lengths(lengths);
    let items = if vectors.null_count() == 0 {
        Arc::clone(vectors.values())
    } else {
        let places = (0..vectors.len()).filter(|row| vectors.is_valid(*row));
        let places = places.flat_map(|row| (row * dim..(row + 1) * dim).map(|item| item as u64));
        let places = arrow_array::UInt64Array::from_iter_values(places);
        arrow_select::take::take(vectors.values(), &places, None).map_err(|error| shape(&error))?
    };
    let field = Arc::new(ArrowField::new("item", items.data_type().clone(), true));
    ListArray::try_new(field, offsets, items, vectors.nulls().cloned()).map_err(|error| shape(&error))
}

/// The texts of a column of JSON; where a builder is needed.
pub(super) fn texts_builder(rows: usize) -> LargeStringBuilder {
    LargeStringBuilder::with_capacity(rows, 0)
}
