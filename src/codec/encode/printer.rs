//! Typed views of columns that print their rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, LargeBinaryArray, LargeStringArray, ListArray, PrimitiveArray,
    StructArray,
};
use arrow_schema::{DataType as ArrowType, Field as ArrowField, FieldRef, TimeUnit};

use super::EncodeError;
use super::calendar::{write_date, write_timestamp};
use super::scalar::{write_binary, write_f16, write_f32, write_f64, write_int, write_str};
use crate::codec::columns::{TYPE_JSON, TYPE_KEY, column_name};
use crate::codec::nonfinite::{store_f32, store_f64};
use crate::schema::{DataType, Field};

/// How numbers that JSON lacks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codec) enum Nonfinite {
    /// As `null`: what readers get.
    Null,
    /// As the words that stored text has for them.
    Stored,
}

/// A column as it lies in the dataset.
#[derive(Debug)]
enum Column<'a> {
    Bool(&'a BooleanArray),
    I8(&'a PrimitiveArray<Int8Type>),
    I16(&'a PrimitiveArray<Int16Type>),
    I32(&'a PrimitiveArray<Int32Type>),
    I64(&'a PrimitiveArray<Int64Type>),
    U8(&'a PrimitiveArray<UInt8Type>),
    U16(&'a PrimitiveArray<UInt16Type>),
    U32(&'a PrimitiveArray<UInt32Type>),
    U64(&'a PrimitiveArray<UInt64Type>),
    F16(&'a PrimitiveArray<Float16Type>),
    F32(&'a PrimitiveArray<Float32Type>, Nonfinite),
    F64(&'a PrimitiveArray<Float64Type>, Nonfinite),
    Text(&'a LargeStringArray),
    Json(&'a LargeStringArray),
    Binary(&'a LargeBinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<TimestampMicrosecondType>),
    List { lists: &'a ListArray, item: Box<Column<'a>> },
    Vector { vectors: &'a FixedSizeListArray, item: Box<Column<'a>> },
    Struct { structs: &'a StructArray, members: Object<'a> },
}

impl<'a> Column<'a> {
    fn new(
        data_type: &DataType,
        field: &ArrowField,
        array: &'a ArrayRef,
        words: Nonfinite,
    ) -> Result<Self, EncodeError> {
        Ok(match (field.data_type(), data_type) {
            (ArrowType::Boolean, _) => Self::Bool(array.as_boolean()),
            (ArrowType::Int8, _) => Self::I8(array.as_primitive()),
            (ArrowType::Int16, _) => Self::I16(array.as_primitive()),
            (ArrowType::Int32, _) => Self::I32(array.as_primitive()),
            (ArrowType::Int64, _) => Self::I64(array.as_primitive()),
            (ArrowType::UInt8, _) => Self::U8(array.as_primitive()),
            (ArrowType::UInt16, _) => Self::U16(array.as_primitive()),
            (ArrowType::UInt32, _) => Self::U32(array.as_primitive()),
            (ArrowType::UInt64, _) => Self::U64(array.as_primitive()),
            (ArrowType::Float16, _) => Self::F16(array.as_primitive()),
            (ArrowType::Float32, _) => Self::F32(array.as_primitive(), words),
            (ArrowType::Float64, _) => Self::F64(array.as_primitive(), words),
            (ArrowType::LargeUtf8, _) if field.metadata().get(TYPE_KEY).is_some_and(|held| held == TYPE_JSON) => {
                Self::Json(array.as_string())
            }
            (ArrowType::LargeUtf8, _) => Self::Text(array.as_string()),
            (ArrowType::LargeBinary, _) => Self::Binary(array.as_binary()),
            (ArrowType::Date32, _) => Self::Date(array.as_primitive()),
            (ArrowType::Timestamp(TimeUnit::Microsecond, _), _) => Self::Time(array.as_primitive()),
            (ArrowType::List(inner), DataType::List(item)) => {
                let lists: &ListArray = array.as_list();
                Self::List { lists, item: Box::new(Self::new(item, inner, lists.values(), words)?) }
            }
            (ArrowType::FixedSizeList(inner, _), DataType::Vector { item, .. }) => {
                let vectors = array.as_fixed_size_list();
                let item = Self::new(&DataType::Float(*item), inner, vectors.values(), words)?;
                Self::Vector { vectors, item: Box::new(item) }
            }
            (ArrowType::Struct(inner), DataType::Struct(fields)) => {
                let structs = array.as_struct();
                Self::Struct { structs, members: Object::new(fields, inner, structs.columns(), false, words)? }
            }
            (other, _) => {
                return Err(EncodeError::Type { column: field.name().clone(), data_type: other.to_string() });
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::I8(array) => array.is_null(row),
            Self::I16(array) => array.is_null(row),
            Self::I32(array) => array.is_null(row),
            Self::I64(array) => array.is_null(row),
            Self::U8(array) => array.is_null(row),
            Self::U16(array) => array.is_null(row),
            Self::U32(array) => array.is_null(row),
            Self::U64(array) => array.is_null(row),
            Self::F16(array) => array.is_null(row),
            Self::F32(array, _) => array.is_null(row),
            Self::F64(array, _) => array.is_null(row),
            Self::Text(array) | Self::Json(array) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::List { lists, .. } => lists.is_null(row),
            Self::Vector { vectors, .. } => vectors.is_null(row),
            Self::Struct { structs, .. } => structs.is_null(row),
        }
    }

    /// Prints a value; false where it would go past `end`, with what is there by then.
    fn print(&self, row: usize, out: &mut Vec<u8>, end: usize) -> bool {
        match self {
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::I8(array) => write_int(array.value(row), out),
            Self::I16(array) => write_int(array.value(row), out),
            Self::I32(array) => write_int(array.value(row), out),
            Self::I64(array) => write_int(array.value(row), out),
            Self::U8(array) => write_int(array.value(row), out),
            Self::U16(array) => write_int(array.value(row), out),
            Self::U32(array) => write_int(array.value(row), out),
            Self::U64(array) => write_int(array.value(row), out),
            Self::F16(array) => write_f16(array.value(row), out),
            Self::F32(array, Nonfinite::Null) => write_f32(array.value(row), out),
            Self::F32(array, Nonfinite::Stored) => store_f32(array.value(row), out),
            Self::F64(array, Nonfinite::Null) => write_f64(array.value(row), out),
            Self::F64(array, Nonfinite::Stored) => store_f64(array.value(row), out),
            // What is never shorter than its value is not begun where that has no room.
            Self::Text(array) | Self::Json(array) if !has_room(array.value(row).len(), out, end) => return false,
            Self::Binary(array) if !has_room(array.value(row).len(), out, end) => return false,
            Self::Text(array) => write_str(array.value(row), out),
            Self::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Binary(array) => write_binary(array.value(row), out),
            Self::Date(array) => {
                out.push(b'"');
                write_date(array.value(row), out);
                out.push(b'"');
            }
            Self::Time(array) => {
                out.push(b'"');
                write_timestamp(array.value(row), out);
                out.push(b'"');
            }
            Self::List { lists, item } => {
                let offsets = lists.value_offsets();
                let bound = |at: usize| offsets.get(at).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
                return item.print_run(bound(row), bound(row + 1), out, end);
            }
            Self::Vector { vectors, item } => {
                let dim = usize::try_from(vectors.value_length()).unwrap_or(0);
                return item.print_run(row * dim, (row + 1) * dim, out, end);
            }
            Self::Struct { members, .. } => return members.print_within(row, out, end),
        }
        out.len() <= end
    }

    fn print_run(&self, from: usize, to: usize, out: &mut Vec<u8>, end: usize) -> bool {
        out.push(b'[');
        for row in from..to {
            if row > from {
                out.push(b',');
            }
            if self.is_null(row) {
                out.extend_from_slice(b"null");
                if out.len() > end {
                    return false;
                }
            } else if !self.print(row, out, end) {
                return false;
            }
        }
        out.push(b']');
        out.len() <= end
    }
}

const fn has_room(bytes: usize, out: &[u8], end: usize) -> bool {
    out.len().saturating_add(bytes) <= end
}

/// The members of a record or of a struct, in the schema's order.
#[derive(Debug)]
pub(in crate::codec) struct Object<'a> {
    members: Vec<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    /// `"key":`
    label: Box<[u8]>,
    column: Column<'a>,
    /// Whether there is a null to look for.
    has_nulls: bool,
}

impl<'a> Object<'a> {
    pub(in crate::codec) fn new(
        fields: &[Field],
        arrow: &[FieldRef],
        columns: &'a [ArrayRef],
        top_level: bool,
        words: Nonfinite,
    ) -> Result<Self, EncodeError> {
        let mut members = Vec::with_capacity(fields.len());
        for field in fields {
            let name = column_name(&field.name, top_level);
            let found = arrow.iter().zip(columns).find(|(candidate, _)| *candidate.name() == name);
            // A column that the dataset does not have yet is null in every row.
            let Some((arrow, array)) = found else { continue };
            let mut label = Vec::new();
            write_str(&field.name, &mut label);
            label.push(b':');
            let column = Column::new(&field.data_type, arrow, array, words)?;
            members.push(Member { label: label.into(), column, has_nulls: array.null_count() > 0 });
        }
        Ok(Self { members })
    }

    pub(in crate::codec) fn print(&self, row: usize, out: &mut Vec<u8>) {
        self.print_within(row, out, usize::MAX);
    }

    /// The same, with `null` for what is null, up to `end`; false where it would go past it, with what is there by then.
    pub(in crate::codec) fn print_whole(&self, row: usize, out: &mut Vec<u8>, end: usize) -> bool {
        out.push(b'{');
        for (at, member) in self.members.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&member.label);
            if member.has_nulls && member.column.is_null(row) {
                out.extend_from_slice(b"null");
            } else if !member.column.print(row, out, end) {
                return false;
            }
        }
        out.push(b'}');
        out.len() <= end
    }

    /// As [`Object::print`], of at most so many bytes; false where it has more: it is left as soon as that is known.
    pub(in crate::codec) fn print_bounded(&self, row: usize, out: &mut Vec<u8>, bytes_max: u64) -> bool {
        let end = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_add(out.len());
        self.print_within(row, out, end)
    }

    fn print_within(&self, row: usize, out: &mut Vec<u8>, end: usize) -> bool {
        out.push(b'{');
        let begin = out.len();
        for member in &self.members {
            if member.has_nulls && member.column.is_null(row) {
                continue;
            }
            if out.len() > begin {
                out.push(b',');
            }
            out.extend_from_slice(&member.label);
            if !member.column.print(row, out, end) {
                return false;
            }
        }
        out.push(b'}');
        out.len() <= end
    }
}
