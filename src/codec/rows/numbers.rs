//! Numbers of one type as exactly the same numbers of another.

use std::sync::Arc;

use arrow_array::builder::PrimitiveBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType as ArrowType;
use half::f16;

use super::faults::{Faults, words};
use crate::codec::fault::Stop;
use crate::model::{ErrorCode, SchemaMode};
use crate::schema::{DataType, FloatType, IntType, NumberKind, Shape};

/// The greatest magnitude up to which floats are looked at as integers: 64 bits hold no more.
const WHOLE_MAX: f64 = 18_446_744_073_709_551_616.0;

/// A number, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// As an integer, if it is one.
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within 65 bits")]
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Number::Int(value) => Some(value),
            Number::Float(value) if value.fract() == 0.0 && value.abs() <= WHOLE_MAX => Some(value as i128),
            Number::Float(_) => None,
        }
    }

    /// As a double, if it is one.
    #[expect(clippy::cast_possible_truncation, reason = "whether something was lost is what is asked")]
    fn f64(self) -> Option<f64> {
        match self {
            Number::Float(value) => Some(value),
            Number::Int(value) => Some(value as f64).filter(|float| *float as i128 == value),
        }
    }

    /// As a float of 32 bits, if it is one.
    #[expect(clippy::cast_possible_truncation, reason = "whether something was lost is what is asked")]
    fn f32(self) -> Option<f32> {
        let value = self.f64()?;
        Some(value as f32).filter(|float| f64::from(*float) == value || value.is_nan())
    }

    /// As a float of 16 bits, if it is one.
    fn f16(self) -> Option<f16> {
        let value = self.f64()?;
        Some(f16::from_f64(value)).filter(|float| float.to_f64() == value || value.is_nan())
    }

    fn words(self) -> String {
        match self {
            Number::Int(value) => format!("the number {value}"),
            Number::Float(value) => format!("the number {value}"),
        }
    }
}

/// The numbers of an array; none where it has none.
pub(super) fn numbers(array: &ArrayRef) -> Option<Box<dyn Fn(usize) -> Number + '_>> {
    fn of<'a, T: ArrowPrimitiveType>(
        array: &'a ArrayRef,
        number: impl Fn(T::Native) -> Number + 'a,
    ) -> Option<Box<dyn Fn(usize) -> Number + 'a>> {
        let array = array.as_primitive_opt::<T>()?;
        Some(Box::new(move |row| number(array.value(row))))
    }
    match array.data_type() {
        ArrowType::Int8 => of::<Int8Type>(array, |value| Number::Int(value.into())),
        ArrowType::Int16 => of::<Int16Type>(array, |value| Number::Int(value.into())),
        ArrowType::Int32 => of::<Int32Type>(array, |value| Number::Int(value.into())),
        ArrowType::Int64 => of::<Int64Type>(array, |value| Number::Int(value.into())),
        ArrowType::UInt8 => of::<UInt8Type>(array, |value| Number::Int(value.into())),
        ArrowType::UInt16 => of::<UInt16Type>(array, |value| Number::Int(value.into())),
        ArrowType::UInt32 => of::<UInt32Type>(array, |value| Number::Int(value.into())),
        ArrowType::UInt64 => of::<UInt64Type>(array, |value| Number::Int(value.into())),
        ArrowType::Float16 => of::<Float16Type>(array, |value| Number::Float(value.to_f64())),
        ArrowType::Float32 => of::<Float32Type>(array, |value| Number::Float(value.into())),
        ArrowType::Float64 => of::<Float64Type>(array, Number::Float),
        _ => None,
    }
}

/// What an array's numbers ask of an integer column.
pub(super) fn see(array: &ArrayRef, shape: &mut Shape) {
    let Some(number) = numbers(array) else { return };
    let holds = |value: &i128| IntType::I64.holds(*value) || IntType::U64.holds(*value);
    for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
        shape.see_number(match number(row) {
            Number::Int(value) => NumberKind::Integer(value),
            number => number.whole().filter(holds).map_or(NumberKind::Fraction, NumberKind::Whole),
        });
    }
}

/// The numbers as those of a column of integers; what is none of them is a fault, and null.
pub(super) fn integers(array: &ArrayRef, int: IntType, mode: SchemaMode, faults: &mut Faults) -> ArrayRef {
    let refuse = |number: Number| {
        let range = format!("an integer from {} to {}", int.min(), int.max());
        let (code, remedy) = match mode {
            SchemaMode::Strict => (ErrorCode::InvalidRecord, format!("send {range}, or declare a type that holds it")),
            SchemaMode::Evolve => (
                ErrorCode::SchemaConflict,
                format!(
                    "the column does not widen to hold it: no integer type does beside the column's own, or the column \
                     has held values past ±2^53 and so cannot become float64; send {range}"
                ),
            ),
        };
        Stop::column(code, int.name().to_owned(), number.words(), remedy)
    };
    macro_rules! build {
        ($type:ty) => {
            build::<$type>(array, faults, |number| number.whole().and_then(|value| value.try_into().ok()), refuse)
        };
    }
    match int {
        IntType::I8 => build!(Int8Type),
        IntType::I16 => build!(Int16Type),
        IntType::I32 => build!(Int32Type),
        IntType::I64 => build!(Int64Type),
        IntType::U8 => build!(UInt8Type),
        IntType::U16 => build!(UInt16Type),
        IntType::U32 => build!(UInt32Type),
        IntType::U64 => build!(UInt64Type),
    }
}

/// The numbers as those of a column of floats, or of vectors of them.
pub(super) fn floats(array: &ArrayRef, float: FloatType, faults: &mut Faults) -> ArrayRef {
    let refuse = |number: Number| {
        let name = float.name();
        let remedy = format!("it is none of {name} exactly; cast the column to {name} before sending, which rounds it");
        Stop::column(ErrorCode::InvalidRecord, words(&DataType::Float(float)), number.words(), remedy)
    };
    match float {
        FloatType::F16 => build::<Float16Type>(array, faults, Number::f16, refuse),
        FloatType::F32 => build::<Float32Type>(array, faults, Number::f32, refuse),
        FloatType::F64 => build::<Float64Type>(array, faults, Number::f64, refuse),
    }
}

fn build<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    faults: &mut Faults,
    exact: impl Fn(Number) -> Option<T::Native>,
    refuse: impl Fn(Number) -> Stop,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(array.len());
    let number = numbers(array);
    for row in 0..array.len() {
        let Some(number) = number.as_ref().filter(|_| array.is_valid(row)).map(|number| number(row)) else {
            builder.append_null();
            continue;
        };
        let value = exact(number);
        if value.is_none() {
            faults.add(row, || refuse(number));
        }
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}
