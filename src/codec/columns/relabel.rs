//! Columns under other names of their members, at any depth, with the same values.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, ListArray, StructArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef};

/// A field, with the names of its members, at any depth, made anew; its own stays.
pub(crate) fn relabelled(field: &Field, name: &impl Fn(&str) -> String) -> Field {
    let data_type = match field.data_type() {
        DataType::Struct(members) => {
            let named = |member: &FieldRef| relabelled(member, name).with_name(name(member.name()));
            DataType::Struct(members.iter().map(named).collect())
        }
        DataType::List(item) => DataType::List(Arc::new(relabelled(item, name))),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(Arc::new(relabelled(item, name)), *length),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// A column under a field that differs from its own in the names of members only.
///
/// # Errors
/// [`ArrowError::SchemaError`] where it differs in more.
pub(crate) fn relabel(column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    match (column.data_type(), field.data_type()) {
        (DataType::Struct(_), DataType::Struct(members)) => {
            let structs: &StructArray = column.as_struct();
            let columns = structs.columns().iter().zip(members).map(|(column, member)| relabel(column, member));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let nulls = structs.nulls().cloned();
            Ok(Arc::new(StructArray::try_new_with_length(members.clone(), columns, nulls, structs.len())?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let lists: &ListArray = column.as_list();
            let values = relabel(lists.values(), item)?;
            let nulls = lists.nulls().cloned();
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), lists.offsets().clone(), values, nulls)?))
        }
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, length)) => {
            let lists: &FixedSizeListArray = column.as_fixed_size_list();
            let values = relabel(lists.values(), item)?;
            let nulls = lists.nulls().cloned();
            Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *length, values, nulls)?))
        }
        (found, wanted) => Err(ArrowError::SchemaError(format!("a column of {found} where {wanted} belongs"))),
    }
}
