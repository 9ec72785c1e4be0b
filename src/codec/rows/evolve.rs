//! The schema that rows ask for.

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_schema::DataType as ArrowType;

use super::incoming::{Incoming, Member, fields};
use super::numbers;
use crate::schema::{DataType, Field, IntType, Members, Schema, Shape, WideColumns, evolve};

/// The schema of a first batch: a column of its own type for each that has one.
pub(super) fn declared(members: &[Member]) -> Schema {
    Schema { fields: fields(members, 1, true) }
}

/// The schema that holds what `schema` holds and, as far as the rules allow, what the rows bring: new columns of their own
/// type behind the others, wider integers.
pub(super) fn evolved(schema: &Schema, members: &[Member], columns: &[ArrayRef], wide: &WideColumns) -> Schema {
    let mut seen = Members::default();
    see_members(&schema.fields, members, columns, &mut seen);
    let mut evolved = evolve(schema, &seen, wide);
    graft(&mut evolved.fields, members, 1);
    evolved
}

/// Gathers what known integer columns are to take.
fn see_members(known: &[Field], members: &[Member], columns: &[ArrayRef], seen: &mut Members) {
    for member in members {
        let field = known.iter().find(|field| field.name == member.key);
        let (Some(field), Some(column)) = (field, columns.get(member.at)) else { continue };
        if is_concerned(&field.data_type, &member.incoming) {
            see(&field.data_type, &member.incoming, column, seen.entry(&member.key));
        }
    }
}

/// Whether values can change the type.
fn is_concerned(known: &DataType, incoming: &Incoming) -> bool {
    match (known, incoming) {
        (DataType::Int(int), Incoming::Plain(DataType::Int(brought))) => {
            !(int.holds(brought.min()) && int.holds(brought.max()))
        }
        (DataType::Int(_), Incoming::Plain(DataType::Float(_))) => true,
        (DataType::List(item), Incoming::List(brought)) => is_concerned(item, brought),
        (DataType::List(item), Incoming::Vector { .. }) => matches!(**item, DataType::Int(_)),
        (DataType::Struct(fields), Incoming::Struct(members)) => members.iter().any(|member| {
            fields.iter().any(|field| field.name == member.key && is_concerned(&field.data_type, &member.incoming))
        }),
        _ => false,
    }
}

fn see(known: &DataType, incoming: &Incoming, array: &ArrayRef, shape: &mut Shape) {
    match (known, incoming) {
        (DataType::Int(_), Incoming::Plain(DataType::Int(_) | DataType::Float(_))) => numbers::see(array, shape),
        (DataType::List(item), Incoming::List(brought)) => {
            if let (Some(shape), Some(lists)) = (shape.see_list(), array.as_list_opt::<i32>()) {
                see(item, brought, lists.values(), shape);
            }
        }
        (DataType::List(_), Incoming::Vector { .. }) => {
            if let (Some(shape), Some(vectors)) = (shape.see_list(), array.as_fixed_size_list_opt()) {
                numbers::see(vectors.values(), shape);
            }
        }
        (DataType::Struct(fields), Incoming::Struct(members)) => {
            if let (Some(seen), ArrowType::Struct(_)) = (shape.see_object(), array.data_type()) {
                see_members(fields, members, array.as_struct().columns(), seen);
            }
        }
        _ => {}
    }
}

/// Adds the columns that are not there yet, at every depth.
fn graft(known: &mut Vec<Field>, members: &[Member], level: usize) {
    for member in members {
        match known.iter_mut().find(|field| field.name == member.key) {
            Some(field) => graft_within(&mut field.data_type, &member.incoming, level),
            None => known.extend(fields(std::slice::from_ref(member), level, false)),
        }
    }
}

fn graft_within(known: &mut DataType, incoming: &Incoming, level: usize) {
    match (known, incoming) {
        (DataType::List(item), Incoming::List(brought)) => graft_within(item, brought, level + 1),
        (DataType::Struct(fields), Incoming::Struct(members)) => graft(fields, members, level + 1),
        _ => {}
    }
}

/// Whether every integer of a type is within ±2^53.
pub(super) fn is_never_wide(int: IntType) -> bool {
    int.bits() <= 32
}
