//! Literals as values of columns that are not numbers, and of lists' items.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{LargeStringArray, Scalar};
use datafusion::arrow::compute::like;
use datafusion::common::ScalarValue;

use super::ast::{Literal, Value};
use super::compare::{NumberColumn, Numbers, never};
use super::{Fault, fault, refused};
use crate::codec::columns::UTC;
use crate::codec::encode::calendar::read_date;
use crate::model::Timestamp;
use crate::schema::DataType;

/// A type whose values are written as one kind of literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Bool,
    Binary,
    Date,
    Time,
}

/// A type, as a refusal names it.
pub(super) fn described(data_type: &DataType) -> String {
    match data_type {
        DataType::List(_) => "a list, which array_has looks into".to_owned(),
        DataType::Json => "json, which filters do not look into".to_owned(),
        other => other.name().to_owned(),
    }
}

/// Another kind of literal belongs there.
pub(super) fn wrong(literal: &Literal, expected: &str) -> Fault {
    fault(literal.at, format!("The column is compared with {expected}."), [expected, "NULL"])
}

impl Plain {
    pub(super) const fn described(self) -> &'static str {
        match self {
            Plain::Bool => "a bool",
            Plain::Binary => "a binary column",
            Plain::Date => "a date",
            Plain::Time => "a timestamp",
        }
    }

    /// The value that a literal stands for.
    pub(super) fn read(self, literal: &Literal) -> Result<ScalarValue, Fault> {
        match (self, &literal.value) {
            (Plain::Bool, Value::Bool(value)) => Ok(ScalarValue::Boolean(Some(*value))),
            (Plain::Bool, _) => {
                Err(fault(literal.at, "The column is compared with TRUE or FALSE.", ["TRUE", "FALSE", "NULL"]))
            }
            (Plain::Binary, Value::Text(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Ok(ScalarValue::LargeBinary(Some(bytes))),
                Err(_) => Err(wrong(literal, "a string of padded base64")),
            },
            (Plain::Binary, _) => Err(wrong(literal, "a string of padded base64")),
            (Plain::Date, Value::Text(text)) => match read_date(text.as_bytes()) {
                Some(days) => Ok(ScalarValue::Date32(Some(days))),
                None => Err(wrong(literal, "a string 'YYYY-MM-DD'")),
            },
            (Plain::Date, _) => Err(wrong(literal, "a string 'YYYY-MM-DD'")),
            (Plain::Time, Value::Text(text)) => match time(text) {
                Some(time) => Ok(ScalarValue::TimestampMicrosecond(Some(time.as_micros()), Some(UTC.into()))),
                None => Err(wrong(literal, "an RFC 3339 string, as in '2026-11-23T09:00:00.000001Z'")),
            },
            (Plain::Time, _) => Err(wrong(literal, "an RFC 3339 string, as in '2026-11-23T09:00:00.000001Z'")),
        }
    }
}

/// A time; the `+` of its zone may have become a space on its way through a query string.
fn time(text: &str) -> Option<Timestamp> {
    let mended = match text.len().checked_sub("+00:00".len()).and_then(|at| Some((text.get(..at)?, text.get(at..)?))) {
        Some((head, zone)) if zone.starts_with(' ') => format!("{head}+{}", zone.trim_start()),
        _ => text.to_owned(),
    };
    Timestamp::parse_rfc3339(&mended).ok()
}

/// The values of a list's items that a literal equals.
pub(super) fn items(item: &DataType, literal: &Literal) -> Result<Vec<ScalarValue>, Fault> {
    let plain = |plain: Plain| plain.read(literal).map(|value| vec![value]);
    let number = |numbers| match &literal.value {
        Value::Number(number) => {
            let mut values = Vec::new();
            NumberColumn { column: never(), numbers, absolute: false }.equals(number, &mut values);
            Ok(values)
        }
        _ => Err(wrong(literal, "a number")),
    };
    match item {
        DataType::Int(int) => number(Numbers::Int(*int)),
        DataType::Float(float) => number(Numbers::Float(*float)),
        DataType::String => match &literal.value {
            Value::Text(text) => Ok(vec![ScalarValue::LargeUtf8(Some(text.clone()))]),
            _ => Err(wrong(literal, "a string")),
        },
        DataType::Bool => plain(Plain::Bool),
        DataType::Binary => plain(Plain::Binary),
        DataType::Date32 => plain(Plain::Date),
        DataType::Timestamp => plain(Plain::Time),
        DataType::Json | DataType::List(_) | DataType::Struct(_) | DataType::Vector { .. } => {
            let detail = format!("array_has looks for single values: the items of this list are {}.", item.name());
            Err(refused(literal.at, detail))
        }
    }
}

/// Refuses a pattern that cannot be looked for.
pub(super) fn check_pattern(pattern: &str, at: usize) -> Result<(), Fault> {
    let (text, pattern) = (LargeStringArray::from(vec![""]), Scalar::new(LargeStringArray::from(vec![pattern])));
    like(&text, &pattern).map_err(|_| refused(at, "The pattern is too large."))?;
    Ok(())
}
