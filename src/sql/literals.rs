//! Literals in the type of the column that they are compared with. The planner compares times in nanoseconds, which end in
//! 2262, a short float with the nearest double of what is written, which it is not, and an integer with a float as floats or
//! as decimals of few digits, of which neither tells all integers and all floats apart. What the other type does not have is
//! replaced by its neighbour there, on the side that leaves the comparison as it was.

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::schema::EXACT_INTEGER_MAX;
use crate::sql::huge::marked;

/// The digits of the largest integers, and what has as many and is larger.
const FAR_DIGITS: u8 = 20;
const FAR: i128 = 10_i128.pow(FAR_DIGITS as u32) - 1;

/// A float that no value is, and that equals none: of a NaN there is one form only, and it is not this one.
const NO_VALUE: f64 = f64::from_bits(u64::MAX >> 1);

/// Which neighbour stands for a literal that the type it is compared with does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Above,
    Below,
    /// None: what is asked is whether something equals it.
    None,
}

impl Neighbour {
    /// That of a literal which stands behind an operator.
    const fn behind(op: Operator) -> Self {
        match op {
            Operator::Lt | Operator::GtEq => Self::Above,
            Operator::Gt | Operator::LtEq => Self::Below,
            _ => Self::None,
        }
    }

    /// That of a literal which stands before it.
    const fn before(op: Operator) -> Self {
        match Self::behind(op) {
            Self::Above => Self::Below,
            Self::Below => Self::Above,
            Self::None => Self::None,
        }
    }
}

/// The plan with such literals, wherever columns are compared with them.
///
/// # Errors
/// What the planner answers to a plan that it cannot have.
pub(super) fn typed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let typed = plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| Ok(compared(expr, &schema)))?;
            Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
        })?;
        if plan.transformed { plan.map_data(LogicalPlan::recompute_schema) } else { Ok(plan) }
    })?;
    Ok(typed.data)
}

/// A comparison, its literals typed.
fn compared(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (left_type, right_type) = (type_of(&left, schema), type_of(&right, schema));
            let left = fit(*left, left_type.as_ref(), right_type.as_ref(), Neighbour::before(op));
            let right = fit(*right, right_type.as_ref(), left_type.as_ref(), Neighbour::behind(op));
            let changed = left.transformed || right.transformed;
            let compared = BinaryExpr { left: Box::new(left.data), op, right: Box::new(right.data) };
            Transformed::new_transformed(Expr::BinaryExpr(compared), changed)
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let of = type_of(&expr, schema);
            let (low_type, high_type) = (type_of(&low, schema), type_of(&high, schema));
            let low = fit(*low, low_type.as_ref(), of.as_ref(), Neighbour::Above);
            let high = fit(*high, high_type.as_ref(), of.as_ref(), Neighbour::Below);
            let changed = low.transformed || high.transformed;
            let between = Between { expr, negated, low: Box::new(low.data), high: Box::new(high.data) };
            Transformed::new_transformed(Expr::Between(between), changed)
        }
        Expr::InList(InList { expr, list, negated }) => {
            let of = type_of(&expr, schema);
            let mut changed = false;
            let fitted = list.into_iter().map(|one| {
                let one_type = type_of(&one, schema);
                let one = fit(one, one_type.as_ref(), of.as_ref(), Neighbour::None);
                changed |= one.transformed;
                one.data
            });
            let list = fitted.collect();
            Transformed::new_transformed(Expr::InList(InList { expr, list, negated }), changed)
        }
        Expr::Case(Case { expr: Some(expr), when_then_expr, else_expr }) => {
            let of = type_of(&expr, schema);
            let mut changed = false;
            let fitted = when_then_expr.into_iter().map(|(when, then)| {
                let when_type = type_of(&when, schema);
                let when = fit(*when, when_type.as_ref(), of.as_ref(), Neighbour::None);
                changed |= when.transformed;
                (Box::new(when.data), then)
            });
            let when_then_expr = fitted.collect();
            Transformed::new_transformed(Expr::Case(Case { expr: Some(expr), when_then_expr, else_expr }), changed)
        }
        other => Transformed::no(other),
    }
}

const fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// The type of an expression; none of what the planner will refuse.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok()
}

/// A value in the type of what it is compared with.
fn fit(value: Expr, own: Option<&DataType>, of: Option<&DataType>, neighbour: Neighbour) -> Transformed<Expr> {
    let huge = marked(&value);
    let fitted = match of {
        Some(of @ DataType::Timestamp(TimeUnit::Microsecond, _)) => match own {
            Some(DataType::Date32) => {
                return Transformed::yes(Expr::Cast(Cast::new(Box::new(value), of.clone())));
            }
            _ => written_time(&value).and_then(|text| time(text, of)),
        },
        Some(DataType::Float32) => match huge {
            Some(number) => Some(ScalarValue::Float32(Some(number as f32))),
            None => short_float(&value),
        },
        Some(DataType::Float64) => huge.or_else(|| long_integer(&value)).map(|number| exact_float(number, neighbour)),
        Some(of) if of.is_integer() => match huge {
            Some(number) => Some(integer(number, of)),
            None => double(&value).and_then(|double| whole(double, neighbour)).map(|number| integer(number, of)),
        },
        _ => None,
    };
    // Beside anything else it is the float that the planner makes of it.
    match fitted.or_else(|| huge.map(|number| ScalarValue::Float64(Some(number as f64)))) {
        Some(fitted) => Transformed::yes(Expr::Literal(fitted, None)),
        None => Transformed::no(value),
    }
}

/// The text of a time: a string, or what stands behind the word TIMESTAMP.
fn written_time(value: &Expr) -> Option<&ScalarValue> {
    match value {
        Expr::Literal(text @ (ScalarValue::Utf8(Some(_)) | ScalarValue::LargeUtf8(Some(_))), _) => Some(text),
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, None)) => {
            match cast.expr.as_ref() {
                Expr::Literal(..) => written_time(&cast.expr),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A time in microseconds, without the digits behind them; none where it is none.
fn time(text: &ScalarValue, of: &DataType) -> Option<ScalarValue> {
    text.cast_to(of).ok()
}

const fn double(value: &Expr) -> Option<f64> {
    match value {
        Expr::Literal(ScalarValue::Float64(double), _) => *double,
        _ => None,
    }
}

/// An integer that may be no double.
fn long_integer(value: &Expr) -> Option<i128> {
    let number = match value {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => i128::from(*number),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => i128::from(*number),
        _ => return None,
    };
    Some(number).filter(|number| number.abs() > EXACT_INTEGER_MAX)
}

/// An integer past ±2^53 beside floats: itself where it is one of them, or its neighbour.
#[expect(clippy::cast_possible_truncation, reason = "a float this large has no fraction, and i128 holds it")]
fn exact_float(number: i128, neighbour: Neighbour) -> ScalarValue {
    let nearest = number as f64;
    let back = nearest as i128;
    ScalarValue::Float64(Some(match neighbour {
        _ if back == number => nearest,
        Neighbour::None => NO_VALUE,
        Neighbour::Above if back < number => nearest.next_up(),
        Neighbour::Below if back > number => nearest.next_down(),
        Neighbour::Above | Neighbour::Below => nearest,
    }))
}

/// A float beside integers as a whole number: itself where it is one, its neighbour, or one that is beyond all integers; what
/// is beyond them anyway is as good as any that is. None of a NaN.
#[expect(clippy::cast_possible_truncation, reason = "a whole number has nothing to lose, and stops at the largest")]
fn whole(double: f64, neighbour: Neighbour) -> Option<i128> {
    let whole = match neighbour {
        Neighbour::Above => double.ceil(),
        Neighbour::Below => double.floor(),
        Neighbour::None if double.trunc() == double => double,
        Neighbour::None => f64::INFINITY,
    };
    (!double.is_nan()).then_some(whole as i128)
}

/// A whole number as an integer, of the type that it is compared with where that has it, and beyond all integers where it is
/// too large for any.
fn integer(number: i128, of: &DataType) -> ScalarValue {
    let unsigned = u64::try_from(number).ok().filter(|_| *of == DataType::UInt64);
    match (unsigned, i64::try_from(number)) {
        (Some(number), _) => ScalarValue::UInt64(Some(number)),
        (None, Ok(number)) => ScalarValue::Int64(Some(number)),
        // The type that the planner compares signed and unsigned ones in.
        (None, Err(_)) => ScalarValue::Decimal128(Some(number.clamp(-FAR, FAR)), FAR_DIGITS, 0),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest short float is what is asked for")]
fn short_float(value: &Expr) -> Option<ScalarValue> {
    let double = double(value)?;
    let short = double as f32;
    (short.is_finite() && double.is_finite()).then_some(ScalarValue::Float32(Some(short)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_of_the_column() {
        let of = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let micros = |text: &str| match time(&ScalarValue::Utf8(Some(text.to_owned())), &of) {
            Some(ScalarValue::TimestampMicrosecond(micros, zone)) => {
                assert_eq!(zone.as_deref(), Some("UTC"));
                micros
            }
            _ => None,
        };
        assert_eq!(micros("9999-12-31T00:00:00Z"), Some(253_402_214_400_000_000));
        assert_eq!(micros("1970-01-01T00:00:00.000001Z"), Some(1));
        assert_eq!(micros("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(micros("1970-01-02"), Some(86_400_000_000));
        assert_eq!(micros("1970-01-01T00:00:00.0000015Z"), Some(1));
        assert_eq!(micros("tomorrow"), None);
    }

    #[test]
    fn a_float_beside_integers_is_the_integer_that_it_is() {
        let far = |number| ScalarValue::Decimal128(Some(number), FAR_DIGITS, 0);
        let (signed, unsigned) = (DataType::Int64, DataType::UInt64);
        for (written, of, expected) in [
            (2.0, &signed, Some(ScalarValue::Int64(Some(2)))),
            (-0.0, &unsigned, Some(ScalarValue::UInt64(Some(0)))),
            (-1.0, &unsigned, Some(ScalarValue::Int64(Some(-1)))),
            (1e19, &unsigned, Some(ScalarValue::UInt64(Some(10_000_000_000_000_000_000)))),
            (1e19, &signed, Some(far(10_000_000_000_000_000_000))),
            (18_446_744_073_709_551_616.0, &unsigned, Some(far(18_446_744_073_709_551_616))),
            (-1e300, &signed, Some(far(-FAR))),
            (f64::INFINITY, &unsigned, Some(far(FAR))),
            (f64::NAN, &signed, None),
        ] {
            for neighbour in [Neighbour::Above, Neighbour::Below, Neighbour::None] {
                let fitted = whole(written, neighbour).map(|number| integer(number, of));
                assert_eq!(fitted, expected, "{written} beside {of}");
            }
        }
        let around = |double| [Neighbour::Below, Neighbour::Above, Neighbour::None].map(|one| whole(double, one));
        assert_eq!(around(1e-30), [Some(0), Some(1), Some(i128::MAX)]);
        assert_eq!(around(-7.5), [Some(-8), Some(-7), Some(i128::MAX)]);
    }

    #[test]
    fn an_integer_beside_floats_is_itself_or_its_neighbour() {
        let exact = 1_i128 << 53;
        let huge = 1_i128 << 64;
        for (number, below, above) in [
            (exact + 1, exact, exact + 2),
            (exact + 2, exact + 2, exact + 2),
            (-exact - 1, -exact - 2, -exact),
            (huge + 1, huge, huge + 4096),
            (huge - 1, huge - 2048, huge),
            (-huge - 1, -huge - 4096, -huge),
        ] {
            let float = |neighbour| match exact_float(number, neighbour) {
                ScalarValue::Float64(Some(float)) => float,
                other => panic!("{other} is no float"),
            };
            assert_eq!(float(Neighbour::Below) as i128, below, "below {number}");
            assert_eq!(float(Neighbour::Above) as i128, above, "above {number}");
            assert_eq!(float(Neighbour::None).is_nan(), below != above, "{number}");
        }
        assert!(f64::NAN.total_cmp(&NO_VALUE).is_lt());
    }
}
