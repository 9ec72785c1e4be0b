//! Integers of more than 64 bits that are compared. The planner has only the nearest double of such a literal, which may be
//! an integer that a column has; here it is kept as it is written until it is known what it is compared with.

use std::ops::ControlFlow;

use arrow_schema::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType as SqlType, ExactNumberInfo, Expr as SqlExpr, Query, UnaryOperator, Value,
    VisitMut, VisitorMut,
};

/// The most digits of integers that are kept. A longer one is the nearest double, as in filters.
const DIGITS: u8 = 38;
/// What stands before the digits: no other text that is cast to a number has it, for it would be none.
const WORD: &str = "integer ";

/// Puts a mark in the place of each such literal that stands on a side of a comparison, which [`marked`] knows.
pub(super) fn mark(query: &mut Query) {
    let done: ControlFlow<()> = VisitMut::visit(query, &mut Marker);
    debug_assert!(done.is_continue());
}

/// The integer that a mark stands for.
pub(super) fn marked(value: &Expr) -> Option<i128> {
    let Expr::Cast(cast) = value else { return None };
    match (cast.expr.as_ref(), cast.field.data_type()) {
        (Expr::Literal(ScalarValue::Utf8(Some(text)), _), DataType::Decimal128(DIGITS, 0)) => {
            text.strip_prefix(WORD)?.parse().ok()
        }
        _ => None,
    }
}

struct Marker;

impl VisitorMut for Marker {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::BinaryOp { left, op, right } if compares(op) => {
                mark_one(left);
                mark_one(right);
            }
            SqlExpr::IsDistinctFrom(left, right) | SqlExpr::IsNotDistinctFrom(left, right) => {
                mark_one(left);
                mark_one(right);
            }
            SqlExpr::Between { low, high, .. } => {
                mark_one(low);
                mark_one(high);
            }
            SqlExpr::InList { list, .. } => list.iter_mut().for_each(mark_one),
            SqlExpr::Case { operand: Some(_), conditions, .. } => {
                conditions.iter_mut().for_each(|when| mark_one(&mut when.condition));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

const fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
}

fn mark_one(expr: &mut SqlExpr) {
    let is_huge = |number: &i128| *number < i128::from(i64::MIN) || *number > i128::from(u64::MAX);
    let Some(number) = written(expr).filter(is_huge) else { return };
    let text = Value::SingleQuotedString(format!("{WORD}{number}"));
    *expr = SqlExpr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(SqlExpr::value(text)),
        data_type: SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(DIGITS.into(), 0)),
        array: false,
        format: None,
    };
}

/// The value of an integer literal.
fn written(expr: &SqlExpr) -> Option<i128> {
    match expr {
        SqlExpr::Nested(inner) => written(inner),
        SqlExpr::UnaryOp { op: UnaryOperator::Plus, expr } => written(expr),
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => written(expr)?.checked_neg(),
        SqlExpr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(digits.trim_start_matches('0')).filter(|digits| digits.len() <= DIGITS.into())?.parse().ok()
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::text::parse;

    #[test]
    fn integers_past_64_bits_are_marked_where_they_are_compared() {
        let mark = |number: &str| format!("CAST('integer {number}' AS DECIMAL(38,0))");
        let (huge, low) = (mark("18446744073709551616"), mark("-9223372036854775809"));
        for (condition, expected) in [
            ("a < 18446744073709551616", format!("a < {huge}")),
            ("+018446744073709551616 = a", format!("{huge} = a")),
            ("a <> (-9223372036854775809)", format!("a <> {low}")),
            ("a IS DISTINCT FROM -(9223372036854775809)", format!("a IS DISTINCT FROM {low}")),
            ("a BETWEEN -9223372036854775809 AND 18446744073709551616", format!("a BETWEEN {low} AND {huge}")),
            ("a IN (1, 18446744073709551616)", format!("a IN (1, {huge})")),
            ("CASE a WHEN 18446744073709551616 THEN 1 END = 1", format!("CASE a WHEN {huge} THEN 1 END = 1")),
        ] {
            let mut query = parse(&format!("SELECT a FROM t WHERE {condition}")).unwrap();
            super::mark(&mut query);
            assert_eq!(query.to_string(), format!("SELECT a FROM t WHERE {expected}"));
        }
        for condition in [
            "a < 18446744073709551615",
            "a > -9223372036854775808",
            "a < 18446744073709551616.0",
            "a < 1e30",
            "a < 100000000000000000000000000000000000000",
            "a + 18446744073709551616 > b",
            "a LIKE 'integer 18446744073709551616'",
        ] {
            let mut query = parse(&format!("SELECT a FROM t WHERE {condition}")).unwrap();
            super::mark(&mut query);
            assert_eq!(query.to_string(), format!("SELECT a FROM t WHERE {condition}"));
        }
    }
}
