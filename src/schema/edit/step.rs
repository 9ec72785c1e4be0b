//! One change, tried on a schema.

use super::request::{Asked, From, What};
use super::{ChangeOp, Field, FieldPath, Schema, SchemaChange, WideColumns};
use crate::model::ErrorCode;
use crate::schema::moves::{converts, widens};
use crate::schema::names::RESERVED;
use crate::schema::{DataType, FloatType};

type Refused = (ErrorCode, String);

fn refused(detail: impl Into<String>) -> Refused {
    (ErrorCode::SchemaConflict, detail.into())
}

/// The members of a struct, or of the structs that a list holds.
fn members(data_type: &mut DataType) -> Option<&mut Vec<Field>> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item) => members(item),
        _ => None,
    }
}

/// The fields that a path's last name stands among; the place of the one that has no members where the path goes on.
fn siblings<'s>(schema: &'s mut Schema, path: &FieldPath) -> Result<&'s mut Vec<Field>, Refused> {
    let mut fields = &mut schema.fields;
    let Some((_, above)) = path.0.split_last() else { return Err(refused("The path is empty.")) };
    let mut so_far = FieldPath::default();
    for key in above {
        so_far = so_far.child(key);
        let field = fields.iter_mut().find(|field| field.name == *key);
        let field = field.ok_or_else(|| refused(format!("The schema has no field {so_far}.")))?;
        let name = field.data_type.name();
        fields = members(&mut field.data_type)
            .ok_or_else(|| refused(format!("The field {so_far} is a {name} and has no members.")))?;
    }
    Ok(fields)
}

/// Changes the schema; none where it is so already. A schema that is `first` may have fields that are not nullable.
pub(super) fn take(
    schema: &mut Schema,
    asked: &Asked,
    wide: &WideColumns,
    first: bool,
) -> Result<Option<SchemaChange>, Refused> {
    let path = &asked.path;
    let is_top = path.0.len() == 1;
    let fields = siblings(schema, path)?;
    let last = path.0.last().map(String::as_str).unwrap_or_default();
    let at = fields.iter().position(|field| field.name == last);
    let change = |op, from, to| SchemaChange { op, path: path.clone(), from, to };
    if let What::Add(to) = &asked.what {
        if at.is_some() {
            return Err(refused(format!("There is a field {path} already.")));
        }
        if !first && !is_nullable(to) {
            return Err(refused(format!(
                "The field {path} cannot be added unless it and its members are nullable: the records before have no value."
            )));
        }
        fields.push(to.clone());
        return Ok(Some(change(ChangeOp::Add, None, Some(to.clone()))));
    }
    let at = at.ok_or_else(|| refused(format!("The schema has no field {path}.")))?;
    let others = fields.len() - 1;
    let taken = |name: &str| fields.iter().any(|field| field.name == name);
    if let What::Rename(to) = &asked.what
        && to != last
    {
        if taken(to) {
            return Err(refused(format!("The field {path} cannot be named {to:?}: there is a field of that name.")));
        }
        if is_top && RESERVED.contains(&to.as_str()) {
            return Err(refused(format!("The field {path} cannot be named {to:?}: the name is reserved.")));
        }
    }
    let Some(present) = fields.get_mut(at) else { return Ok(None) };
    match &asked.from {
        Some(From::Name(name)) if *name != present.name => {
            return Err(refused(format!("The field {path} has the last name {:?}, not {name:?}.", present.name)));
        }
        Some(From::Field(field)) if field != present => {
            return Err(refused(format!("The field {path} is {}, not what `from` says.", present.to_json())));
        }
        _ => {}
    }
    let from = present.clone();
    match &asked.what {
        What::Rename(to) if *to == present.name => Ok(None),
        What::Rename(to) => {
            present.name.clone_from(to);
            Ok(Some(change(ChangeOp::Rename, Some(from), Some(present.clone()))))
        }
        What::Drop if others == 0 => {
            let whose = if is_top { "schema" } else { "struct" };
            Err(refused(format!("The field {path} is the last one of its {whose}, which cannot be without.")))
        }
        What::Drop => {
            fields.remove(at);
            Ok(Some(change(ChangeOp::Drop, Some(from), None)))
        }
        What::Retype { op, to, nullable } => {
            let to = Field { nullable: nullable.unwrap_or(from.nullable), ..to.clone() };
            if to == from {
                return Ok(None);
            }
            let op = retyped(*op, path, &from, &to, wide)?;
            *present = to.clone();
            Ok(Some(change(op, Some(from), Some(to))))
        }
        What::Add(_) => Ok(None),
    }
}

fn is_nullable(field: &Field) -> bool {
    fn all(data_type: &DataType) -> bool {
        match data_type {
            DataType::Struct(fields) => fields.iter().all(is_nullable),
            DataType::List(item) => all(item),
            _ => true,
        }
    }
    field.nullable && all(&field.data_type)
}

/// What a change of type is, where it can be had.
fn retyped(op: ChangeOp, path: &FieldPath, from: &Field, to: &Field, wide: &WideColumns) -> Result<ChangeOp, Refused> {
    if from.nullable && !to.nullable {
        return Err(refused(format!("The field {path} is nullable and stays so: records may have no value in it.")));
    }
    let (have, want) = (&from.data_type, &to.data_type);
    if widens(have, want) && from.nullable == to.nullable {
        if becomes_float(have, want) && wide.contains(path) {
            return Err(refused(format!(
                "The field {path} cannot become float64: it has held, or may hold, integers past 2^53, which a float64 \
                 cannot tell apart."
            )));
        }
        return Ok(ChangeOp::Widen);
    }
    if op == ChangeOp::Convert && (converts(have, want) || have == want) {
        return Ok(ChangeOp::Convert);
    }
    Err(refused(format!(
        "The field {path} cannot become {} from {}. An integer widens to any type that holds all of its values or to float64, \
         a float to a wider one; a list of numbers converts to a vector, json to any type; a struct changes member by member; \
         anything else is a field to add and one to drop.",
        words(want),
        words(have),
    )))
}

fn becomes_float(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Int(_), DataType::Float(FloatType::F64)) => true,
        (DataType::List(from), DataType::List(to)) => becomes_float(from, to),
        _ => false,
    }
}

fn words(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => format!("list of {}", words(item)),
        DataType::Vector { dim, item } => format!("vector of {dim} {}", item.name()),
        other => other.name().to_owned(),
    }
}
