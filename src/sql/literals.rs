//! Literals in the type of the column that they are compared with. The planner compares times in nanoseconds, which end in
//! 2262, and a short float with the nearest double of what is written, which it is not.

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Cast, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

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
            let left = fit(*left, left_type.as_ref(), right_type.as_ref());
            let right = fit(*right, right_type.as_ref(), left_type.as_ref());
            let changed = left.transformed || right.transformed;
            let compared = BinaryExpr { left: Box::new(left.data), op, right: Box::new(right.data) };
            Transformed::new_transformed(Expr::BinaryExpr(compared), changed)
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let of = type_of(&expr, schema);
            let (low_type, high_type) = (type_of(&low, schema), type_of(&high, schema));
            let low = fit(*low, low_type.as_ref(), of.as_ref());
            let high = fit(*high, high_type.as_ref(), of.as_ref());
            let changed = low.transformed || high.transformed;
            let between = Between { expr, negated, low: Box::new(low.data), high: Box::new(high.data) };
            Transformed::new_transformed(Expr::Between(between), changed)
        }
        Expr::InList(InList { expr, list, negated }) => {
            let of = type_of(&expr, schema);
            let mut changed = false;
            let fitted = list.into_iter().map(|one| {
                let one_type = type_of(&one, schema);
                let one = fit(one, one_type.as_ref(), of.as_ref());
                changed |= one.transformed;
                one.data
            });
            let list = fitted.collect();
            Transformed::new_transformed(Expr::InList(InList { expr, list, negated }), changed)
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
fn fit(value: Expr, own: Option<&DataType>, of: Option<&DataType>) -> Transformed<Expr> {
    let fitted = match of {
        Some(of @ DataType::Timestamp(TimeUnit::Microsecond, _)) => match own {
            Some(DataType::Date32) => {
                return Transformed::yes(Expr::Cast(Cast::new(Box::new(value), of.clone())));
            }
            _ => written_time(&value).and_then(|text| time(text, of)),
        },
        Some(DataType::Float32) => short_float(&value),
        _ => None,
    };
    match fitted {
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

#[expect(clippy::cast_possible_truncation, reason = "the nearest short float is what is asked for")]
fn short_float(value: &Expr) -> Option<ScalarValue> {
    let Expr::Literal(ScalarValue::Float64(Some(double)), _) = value else { return None };
    let short = *double as f32;
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
}
