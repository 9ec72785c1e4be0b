//! The schema that a batch asks for.

use crate::schema::shape::{Numbers, Span};
use crate::schema::{DataType, Field, FieldPath, FloatType, IntType, Members, Schema, Shape, WideColumns};

/// The schema of a first batch: a nullable column for each key that has a value, in the order in which the keys came.
pub fn infer(seen: &Members) -> Schema {
    Schema { fields: seen.fields() }
}

/// The schema that holds what `schema` holds and, as far as the rules allow, what the batch brings: new keys become
/// nullable columns behind the others, integer columns widen. What the rules forbid stays as it was; decoding the batch
/// under the result then refuses those records.
pub fn evolve(schema: &Schema, seen: &Members, wide: &WideColumns) -> Schema {
    Schema { fields: evolve_fields(&schema.fields, seen, wide, &FieldPath::default()) }
}

fn evolve_fields(fields: &[Field], seen: &Members, wide: &WideColumns, path: &FieldPath) -> Vec<Field> {
    let known = fields.iter().map(|field| {
        let data_type = match seen.get(&field.name) {
            Some(shape) => evolve_type(&field.data_type, shape, wide, &path.child(&field.name)),
            None => field.data_type.clone(),
        };
        Field { name: field.name.clone(), data_type, nullable: field.nullable }
    });
    let mut evolved: Vec<Field> = known.collect();
    // Fields found by name, not by a scan for each key: a batch can bring hundreds to hundreds.
    let names: std::collections::HashSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    evolved.extend(seen.fields().into_iter().filter(|field| !names.contains(field.name.as_str())));
    evolved
}

fn evolve_type(data_type: &DataType, shape: &Shape, wide: &WideColumns, path: &FieldPath) -> DataType {
    match (data_type, shape) {
        (DataType::Int(int), Shape::Numbers(numbers)) => evolve_integer(*int, numbers, wide.contains(path)),
        (DataType::List(item), Shape::List(items)) => DataType::List(Box::new(evolve_type(item, items, wide, path))),
        (DataType::Struct(fields), Shape::Object(members)) => {
            DataType::Struct(evolve_fields(fields, members, wide, path))
        }
        _ => data_type.clone(),
    }
}

/// What an integer column becomes that is to take these numbers. One that has held integers past ±2^53 (`was_wide`) stays one.
fn evolve_integer(int: IntType, numbers: &Numbers, was_wide: bool) -> DataType {
    let Numbers { integers, wholes, fraction, inexact, huge, beyond: _ } = *numbers;
    let widened = |span: Option<Span>| span.map_or(Some(int), |span| int.widened_to(span.min, span.max));
    if !fraction
        && !huge
        && let Some(wider) = widened(Span::join(integers, wholes))
    {
        return DataType::Int(wider);
    }
    let needs_float = fraction || wholes.is_some();
    if needs_float && !was_wide && !inexact {
        return DataType::Float(FloatType::F64);
    }
    DataType::Int(widened(Span::join(integers, wholes)).or_else(|| widened(integers)).unwrap_or(int))
}
