//! The builder of one column.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, LargeBinaryBuilder, PrimitiveBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, FixedSizeListArray, ListArray, NullArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{FieldRef, Fields};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use half::f16;

use super::cursor::Cursor;
use super::members::Members;
use super::texts::Texts;
use super::{ColumnsError, UTC, arrow_type};
use crate::codec::encode::calendar::{read_date, read_timestamp};
use crate::schema::{DataType, FloatType, IntType};

/// The column of one field or item.
#[derive(Debug)]
pub(super) enum Column {
    Bool(BooleanBuilder),
    I8(PrimitiveBuilder<Int8Type>),
    I16(PrimitiveBuilder<Int16Type>),
    I32(PrimitiveBuilder<Int32Type>),
    I64(PrimitiveBuilder<Int64Type>),
    U8(PrimitiveBuilder<UInt8Type>),
    U16(PrimitiveBuilder<UInt16Type>),
    U32(PrimitiveBuilder<UInt32Type>),
    U64(PrimitiveBuilder<UInt64Type>),
    F16(PrimitiveBuilder<Float16Type>),
    F32(PrimitiveBuilder<Float32Type>),
    F64(PrimitiveBuilder<Float64Type>),
    Text(Texts),
    Json(Texts),
    Binary {
        bytes: LargeBinaryBuilder,
        scratch: Vec<u8>,
    },
    Date(Date32Builder),
    Time(TimestampMicrosecondBuilder),
    List {
        item: Box<Column>,
        /// What an item takes at least.
        item_bytes: usize,
        field: FieldRef,
        offsets: Vec<i32>,
        nulls: NullBufferBuilder,
    },
    Vector {
        item: Box<Column>,
        field: FieldRef,
        dim: usize,
        nulls: NullBufferBuilder,
    },
    Struct {
        members: Members,
        fields: Fields,
        nulls: NullBufferBuilder,
    },
    /// One that nobody wants.
    Skipped,
}

fn read_number<T>(cursor: &mut Cursor<'_>, builder: &mut PrimitiveBuilder<T>) -> Result<(), ColumnsError>
where
    T: ArrowPrimitiveType,
    T::Native: std::str::FromStr,
{
    let text = cursor.number()?;
    builder.append_value(text.parse().map_err(|_| cursor.refuse("number of the column's type"))?);
    Ok(())
}

impl Column {
    pub(super) fn new(data_type: &DataType, arrow: &arrow_schema::DataType, rows: usize) -> Self {
        match data_type {
            DataType::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int(int) => Self::int(*int, rows),
            DataType::Float(float) => Self::float(*float, rows),
            DataType::String => Self::Text(Texts::new(rows)),
            DataType::Json => Self::Json(Texts::new(rows)),
            DataType::Binary => Self::Binary { bytes: LargeBinaryBuilder::with_capacity(rows, 0), scratch: Vec::new() },
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(rows)),
            DataType::Timestamp => Self::Time(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone(UTC)),
            DataType::List(item) => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                let item_bytes = item.row_bytes();
                // How many items there will be, the number of rows does not tell.
                let item = Box::new(Self::new(item, &arrow_type(item, true), 0));
                Self::List { item, item_bytes, field: inner_field(arrow), offsets, nulls: NullBufferBuilder::new(rows) }
            }
            DataType::Vector { dim, item } => {
                let dim = *dim as usize;
                let item = Box::new(Self::float(*item, rows.saturating_mul(dim)));
                Self::Vector { item, field: inner_field(arrow), dim, nulls: NullBufferBuilder::new(rows) }
            }
            DataType::Struct(members) => {
                let fields = match arrow {
                    arrow_schema::DataType::Struct(fields) => fields.clone(),
                    _ => Fields::empty(),
                };
                let members = Members::new(members, &fields, rows);
                Self::Struct { members, fields, nulls: NullBufferBuilder::new(rows) }
            }
        }
    }

    fn int(int: IntType, rows: usize) -> Self {
        match int {
            IntType::I8 => Self::I8(PrimitiveBuilder::with_capacity(rows)),
            IntType::I16 => Self::I16(PrimitiveBuilder::with_capacity(rows)),
            IntType::I32 => Self::I32(PrimitiveBuilder::with_capacity(rows)),
            IntType::I64 => Self::I64(PrimitiveBuilder::with_capacity(rows)),
            IntType::U8 => Self::U8(PrimitiveBuilder::with_capacity(rows)),
            IntType::U16 => Self::U16(PrimitiveBuilder::with_capacity(rows)),
            IntType::U32 => Self::U32(PrimitiveBuilder::with_capacity(rows)),
            IntType::U64 => Self::U64(PrimitiveBuilder::with_capacity(rows)),
        }
    }

    fn float(float: FloatType, rows: usize) -> Self {
        match float {
            FloatType::F16 => Self::F16(PrimitiveBuilder::with_capacity(rows)),
            FloatType::F32 => Self::F32(PrimitiveBuilder::with_capacity(rows)),
            FloatType::F64 => Self::F64(PrimitiveBuilder::with_capacity(rows)),
        }
    }

    pub(super) fn null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::I8(builder) => builder.append_null(),
            Self::I16(builder) => builder.append_null(),
            Self::I32(builder) => builder.append_null(),
            Self::I64(builder) => builder.append_null(),
            Self::U8(builder) => builder.append_null(),
            Self::U16(builder) => builder.append_null(),
            Self::U32(builder) => builder.append_null(),
            Self::U64(builder) => builder.append_null(),
            Self::F16(builder) => builder.append_null(),
            Self::F32(builder) => builder.append_null(),
            Self::F64(builder) => builder.append_null(),
            Self::Text(builder) | Self::Json(builder) => builder.append_null(),
            Self::Binary { bytes, .. } => bytes.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::List { offsets, nulls, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                nulls.append_null();
            }
            Self::Vector { item, dim, nulls, .. } => {
                (0..*dim).for_each(|_| item.null());
                nulls.append_null();
            }
            Self::Struct { members, nulls, .. } => {
                members.null();
                nulls.append_null();
            }
            Self::Skipped => {}
        }
    }

    /// A member's value. Null members are not printed, so a printed null is a float that JSON has no number for.
    pub(super) fn read_member(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ColumnsError> {
        if cursor.peek() == Some(b'n') && cursor.skip_word(b"null") {
            match self {
                Self::F16(builder) => builder.append_value(f16::NAN),
                Self::F32(builder) => builder.append_value(f32::NAN),
                Self::F64(builder) => builder.append_value(f64::NAN),
                _ => self.null(),
            }
            return Ok(());
        }
        self.read(cursor)
    }

    fn read_item(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ColumnsError> {
        if cursor.peek() == Some(b'n') && cursor.skip_word(b"null") {
            self.null();
            return Ok(());
        }
        self.read(cursor)
    }

    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ColumnsError> {
        match self {
            Self::Bool(builder) => {
                let value = cursor.skip_word(b"true");
                if !value && !cursor.skip_word(b"false") {
                    return Err(cursor.refuse("boolean"));
                }
                builder.append_value(value);
            }
            Self::I8(builder) => read_number(cursor, builder)?,
            Self::I16(builder) => read_number(cursor, builder)?,
            Self::I32(builder) => read_number(cursor, builder)?,
            Self::I64(builder) => read_number(cursor, builder)?,
            Self::U8(builder) => read_number(cursor, builder)?,
            Self::U16(builder) => read_number(cursor, builder)?,
            Self::U32(builder) => read_number(cursor, builder)?,
            Self::U64(builder) => read_number(cursor, builder)?,
            Self::F32(builder) => match cursor.nonfinite() {
                Some(value) => builder.append_value(value as f32),
                None => read_number(cursor, builder)?,
            },
            Self::F64(builder) => match cursor.nonfinite() {
                Some(value) => builder.append_value(value),
                None => read_number(cursor, builder)?,
            },
            Self::F16(builder) => {
                // By way of a double: no decimal of so few digits lies so near the middle of two that rounding twice tells.
                let wide: f64 = cursor.number()?.parse().map_err(|_| cursor.refuse("number"))?;
                builder.append_value(f16::from_f64(wide));
            }
            Self::Text(builder) => builder.append_value(cursor.string()?),
            Self::Json(builder) => builder.append_value(cursor.value()?),
            Self::Binary { bytes, scratch } => {
                scratch.clear();
                let text = cursor.raw_text()?;
                STANDARD.decode_vec(text, scratch).map_err(|_| cursor.refuse("base64"))?;
                bytes.append_value(scratch);
            }
            Self::Date(builder) => {
                let text = cursor.raw_text()?.as_bytes();
                builder.append_value(read_date(text).ok_or_else(|| cursor.refuse("date"))?);
            }
            Self::Time(builder) => {
                let text = cursor.raw_text()?.as_bytes();
                builder.append_value(read_timestamp(text).ok_or_else(|| cursor.refuse("time"))?);
            }
            Self::List { item, item_bytes, offsets, nulls, .. } => {
                let count = read_items(item, cursor)?;
                cursor.spread_by(count.saturating_mul(*item_bytes));
                let end = offsets.last().copied().unwrap_or(0);
                let end = i32::try_from(count).ok().and_then(|count| end.checked_add(count));
                offsets.push(end.ok_or_else(|| cursor.refuse("fewer than 2^31 items in one batch"))?);
                nulls.append_non_null();
            }
            Self::Vector { item, dim, nulls, .. } => {
                if read_items(item, cursor)? != *dim {
                    return Err(cursor.refuse("vector of the column's length"));
                }
                nulls.append_non_null();
            }
            Self::Struct { members, nulls, .. } => {
                members.read(cursor)?;
                nulls.append_non_null();
            }
            Self::Skipped => {
                cursor.value()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ColumnsError> {
        Ok(match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::I8(mut builder) => Arc::new(builder.finish()),
            Self::I16(mut builder) => Arc::new(builder.finish()),
            Self::I32(mut builder) => Arc::new(builder.finish()),
            Self::I64(mut builder) => Arc::new(builder.finish()),
            Self::U8(mut builder) => Arc::new(builder.finish()),
            Self::U16(mut builder) => Arc::new(builder.finish()),
            Self::U32(mut builder) => Arc::new(builder.finish()),
            Self::U64(mut builder) => Arc::new(builder.finish()),
            Self::F16(mut builder) => Arc::new(builder.finish()),
            Self::F32(mut builder) => Arc::new(builder.finish()),
            Self::F64(mut builder) => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Json(builder) => Arc::new(builder.finish()),
            Self::Binary { mut bytes, .. } => Arc::new(bytes.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::List { item, field, offsets, mut nulls, .. } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::try_new(field, offsets, item.finish()?, nulls.finish()).map_err(shape)?)
            }
            Self::Vector { item, field, dim, mut nulls } => {
                let dim = i32::try_from(dim).map_err(|error| ColumnsError::Shape(error.to_string()))?;
                Arc::new(FixedSizeListArray::try_new(field, dim, item.finish()?, nulls.finish()).map_err(shape)?)
            }
            Self::Struct { members, fields, mut nulls } => {
                let rows = nulls.len();
                let columns = members.finish()?;
                let nulls = nulls.finish();
                Arc::new(if fields.is_empty() {
                    StructArray::new_empty_fields(rows, nulls)
                } else {
                    StructArray::try_new(fields, columns, nulls).map_err(shape)?
                })
            }
            Self::Skipped => Arc::new(NullArray::new(0)),
        })
    }
}

fn shape(error: arrow_schema::ArrowError) -> ColumnsError {
    ColumnsError::Shape(error.to_string())
}

/// The field of the items of a list or vector type.
fn inner_field(arrow: &arrow_schema::DataType) -> FieldRef {
    match arrow {
        arrow_schema::DataType::List(field) | arrow_schema::DataType::FixedSizeList(field, _) => Arc::clone(field),
        other => Arc::new(arrow_schema::Field::new("item", other.clone(), true)),
    }
}

fn read_items(item: &mut Column, cursor: &mut Cursor<'_>) -> Result<usize, ColumnsError> {
    cursor.take(b'[', "array")?;
    if cursor.skip(b']') {
        return Ok(0);
    }
    let mut count = 0;
    loop {
        item.read_item(cursor)?;
        count += 1;
        if cursor.skip(b']') {
            return Ok(count);
        }
        cursor.take(b',', "next item")?;
    }
}
