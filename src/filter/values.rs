//! Literals as values of columns that are not numbers, and of lists' items.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{LargeStringArray, Scalar};
use datafusion::arrow::compute::like;
use datafusion::common::ScalarValue;
use datafusion::prelude::Expr;

use super::ast::{Literal, Value};
use super::compare::{NumberColumn, Numbers, compared, known, never};
use super::lex::Operator;
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

    /// A test of a column; a time between two moments that the column can have is compared as what it is.
    pub(super) fn compare(self, column: Expr, operator: Operator, literal: &Literal) -> Result<Expr, Fault> {
        let Some(below) = self.between(literal) else { return Ok(compared(column, operator, self.read(literal)?)) };
        Ok(match operator {
            Operator::Eq => never(),
            Operator::Ne => known(column),
            Operator::Lt | Operator::Le => compared(column, Operator::Le, moment(below)),
            Operator::Gt | Operator::Ge => compared(column, Operator::Gt, moment(below)),
        })
    }

    /// The values that equal a literal: one or none.
    pub(super) fn equals(self, literal: &Literal) -> Result<Option<ScalarValue>, Fault> {
        if self.between(literal).is_some() { Ok(None) } else { self.read(literal).map(Some) }
    }

    /// The last moment before a time that is finer than the column's.
    fn between(self, literal: &Literal) -> Option<Timestamp> {
        match (self, &literal.value) {
            (Plain::Time, Value::Text(text)) if time(text).is_none() => Timestamp::not_after(&mended(text)).ok(),
            _ => None,
        }
    }

    /// The value that a literal stands for.
    fn read(self, literal: &Literal) -> Result<ScalarValue, Fault> {
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
                Some(time) => Ok(moment(time)),
                None => Err(wrong(literal, "an RFC 3339 string, as in '2026-11-23T09:00:00.000001Z'")),
            },
            (Plain::Time, _) => Err(wrong(literal, "an RFC 3339 string, as in '2026-11-23T09:00:00.000001Z'")),
        }
    }
}

fn moment(time: Timestamp) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time.as_micros()), Some(UTC.into()))
}

/// A time that a column can have.
fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(&mended(text)).ok()
}

/// The text of a time: the `+` of its zone may have become a space on its way through a query string.
fn mended(text: &str) -> String {
    match text.len().checked_sub("+00:00".len()).and_then(|at| Some((text.get(..at)?, text.get(at..)?))) {
        Some((head, zone)) if zone.starts_with(' ') => format!("{head}+{}", zone.trim_start()),
        _ => text.to_owned(),
    }
}

/// The values of a list's items that a literal equals.
pub(super) fn items(item: &DataType, literal: &Literal) -> Result<Vec<ScalarValue>, Fault> {
    let plain = |plain: Plain| plain.equals(literal).map(|value| value.into_iter().collect());
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
