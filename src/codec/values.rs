//! What one value of a column must be, and how it prints.

use std::borrow::Cow;

use jiter::Peek;

use crate::codec::encode::scalar::{write_f16, write_f32, write_f64, write_str};
use crate::codec::fault::{Stop, excerpt, kind_words};
use crate::codec::number;
use crate::codec::plan::ValuePlan;
use crate::codec::read::Reader;
use crate::codec::scalar;
use crate::codec::text::unescape;
use crate::model::{ErrorCode, SchemaMode};
use crate::schema::{EXACT_INTEGER_MAX, FloatType, IntType, NumberKind};

/// What happens to a value that does not fit its column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether the schema may still be evolved for this batch.
    pub(super) may_evolve: bool,
    /// The topic's mode.
    pub(super) mode: SchemaMode,
}

impl Rules {
    /// A key without a column has a value.
    pub(super) fn unknown_key(&self) -> Stop {
        if self.may_evolve { Stop::Evolve } else { Stop::unknown_key() }
    }

    /// A number that an integer column does not hold. In `strict` the value is at fault; in `evolve` the column would have
    /// widened if the rules allowed it.
    fn unfit_number(&self, literal: &str, int: IntType) -> Stop {
        if self.may_evolve {
            return Stop::Evolve;
        }
        let range = || format!("an integer from {} to {}", int.min(), int.max());
        let (code, remedy) = match self.mode {
            SchemaMode::Strict => (ErrorCode::InvalidRecord, format!("send {}, or declare a wider type", range())),
            SchemaMode::Evolve => (
                ErrorCode::SchemaConflict,
                format!(
                    "the column does not widen to hold it: no integer type holds it beside the column's own, or the column \
                     has held values past ±2^53 and so cannot become float64; send {}",
                    range()
                ),
            ),
        };
        Stop::column(code, int.name().to_owned(), format!("the number {}", excerpt(literal)), remedy)
    }
}

/// Appends a number to an integer column; its value.
pub(super) fn integer(literal: &str, int: IntType, rules: &Rules, out: &mut Vec<u8>) -> Result<i128, Stop> {
    let plain = number::is_integer(literal);
    // Eighteen digits fit 64 bits; what is longer, or no integer literal, is looked at exactly.
    let value = match literal.parse::<i64>() {
        Ok(value) if plain => i128::from(value),
        _ => match number::kind(literal) {
            NumberKind::Integer(value) | NumberKind::Whole(value) | NumberKind::Printed(Some(value)) => value,
            NumberKind::Printed(None) | NumberKind::HugeInteger | NumberKind::Fraction | NumberKind::PastFloat64 => {
                return Err(rules.unfit_number(literal, int));
            }
        },
    };
    if !int.holds(value) {
        return Err(rules.unfit_number(literal, int));
    }
    if plain && value != 0 {
        out.extend_from_slice(literal.as_bytes());
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
    Ok(value)
}

fn invalid(plan: &ValuePlan, cannot: String, remedy: String) -> Stop {
    Stop::column(ErrorCode::InvalidRecord, plan.type_words(), cannot, remedy)
}

/// Appends a number to a float column or a vector.
pub(super) fn float(literal: &str, float: FloatType, plan: &ValuePlan, out: &mut Vec<u8>) -> Result<(), Stop> {
    let overflow = || {
        let remedy = format!("send a number in the range of {}", float.name());
        Err(invalid(plan, format!("the number {}", excerpt(literal)), remedy))
    };
    match float {
        FloatType::F64 if number::is_printed_decimal(literal) => out.extend_from_slice(literal.as_bytes()),
        FloatType::F64 => {
            // Fifteen digits are exact.
            if literal.len() > 15 && number::is_integer(literal) && !is_kept(literal) {
                let remedy = "it is past ±2^53, where float64 skips integers; send it with a fraction or exponent if \
                              the nearest double will do, or use an integer, string or json column";
                return Err(invalid(plan, format!("the integer {}", excerpt(literal)), remedy.to_owned()));
            }
            match number::float64(literal) {
                value if value.is_finite() => write_f64(value, out),
                _ => return overflow(),
            }
        }
        FloatType::F32 => match number::float32(literal) {
            value if value.is_finite() => write_f32(value, out),
            _ => return overflow(),
        },
        FloatType::F16 => match number::float16(literal) {
            value if value.is_finite() => write_f16(value, out),
            _ => return overflow(),
        },
    }
    Ok(())
}

/// Whether whoever reads the nearest double of an integer finds that integer, and so what an export has written of a column
/// can be appended to it again.
fn is_kept(literal: &str) -> bool {
    match number::kind(literal) {
        NumberKind::Integer(value) => value.abs() <= EXACT_INTEGER_MAX,
        kind => matches!(kind, NumberKind::Printed(_)),
    }
}

/// Appends one number of a vector.
pub(super) fn vector_item<'j>(
    reader: &mut Reader<'j>,
    peek: Peek,
    plan: &ValuePlan,
    out: &mut Vec<u8>,
) -> Result<(), Stop> {
    let item = if let ValuePlan::Vector(_, item) = plan { *item } else { FloatType::F64 };
    if peek.is_num() {
        return float(reader.number(peek)?, item, plan, out);
    }
    if matches!(peek, Peek::Array | Peek::Object) {
        return Err(mismatch(plan, peek, ""));
    }
    let from = reader.index();
    reader.skip_scalar(peek)?;
    Err(match peek {
        Peek::Null => {
            let remedy = "a vector has no nulls; send a number, or leave the whole vector out";
            invalid(plan, "a null item".to_owned(), remedy.to_owned())
        }
        _ => mismatch(plan, peek, reader.slice(from, reader.index())),
    })
}

/// A vector has another length.
pub(super) fn wrong_length(plan: &ValuePlan, count: usize) -> Stop {
    invalid(plan, format!("{count} numbers"), "send exactly as many as the column has".to_owned())
}

/// Appends a string to a column whose values are strings in JSON; `raw` is the text between the quotes.
pub(super) fn string(raw: &str, plan: &ValuePlan, out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), Stop> {
    let text = unescape(raw);
    let sound = match plan {
        ValuePlan::Binary => scalar::is_base64(&text, scratch),
        ValuePlan::Date32 => scalar::is_date(&text),
        ValuePlan::Timestamp => match scalar::timestamp(&text) {
            Some(time) => {
                out.push(b'"');
                time.write_to(out);
                out.push(b'"');
                return Ok(());
            }
            None => false,
        },
        _ => true,
    };
    if !sound {
        return Err(invalid(plan, format!("the string {:?}", excerpt(&text)), format!("send {}", plan.expected())));
    }
    match text {
        // Without an escape the text stands as it prints.
        Cow::Borrowed(text) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        Cow::Owned(text) => write_str(&text, out),
    }
    Ok(())
}

/// A value of a kind that the column never takes; `text` is a scalar's.
pub(super) fn mismatch(plan: &ValuePlan, peek: Peek, text: &str) -> Stop {
    let cannot = match kind_words(peek).split_once(' ') {
        Some((_, kind)) if !text.is_empty() => format!("the {kind} {}", excerpt(text)),
        _ => kind_words(peek).to_owned(),
    };
    let remedy = format!("send {}; a column's type does not change by itself in this way", plan.expected());
    Stop::column(ErrorCode::SchemaConflict, plan.type_words(), cannot, remedy)
}

/// Null, or nothing, for a column that is not nullable.
pub(super) fn null_in_required(plan: &ValuePlan) -> Stop {
    let remedy = format!("it is not nullable; send {}", plan.expected());
    invalid(plan, "null or be absent".to_owned(), remedy)
}
