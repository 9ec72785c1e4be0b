//! What the planner answers wrongly: mended where that can be, refused where it cannot.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, InSubquery, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use crate::sql::error::told;
use crate::sql::sliding::sliding;
use crate::sql::text::refused;

/// The plan, with aggregates that slide well.
///
/// # Errors
/// For what would be answered wrongly.
pub(super) fn sound(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.apply_with_subqueries(|plan| {
        match plan {
            LogicalPlan::Filter(filter) => check_membership(&filter.predicate, Place::Condition)?,
            plan => {
                plan.apply_expressions(|expr| {
                    check_membership(expr, Place::Value)?;
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let slid = plan.transform_up_with_subqueries(|plan| {
        plan.map_expressions(|expr| {
            expr.transform_down(|expr| match expr {
                Expr::WindowFunction(call) => windowed(call),
                Expr::Not(inner) => Ok(match *inner {
                    Expr::InSubquery(inside) => apart(InSubquery { negated: !inside.negated, ..inside }),
                    inner => Transformed::no(Expr::Not(Box::new(inner))),
                }),
                Expr::InSubquery(inside) => Ok(apart(inside)),
                expr => Ok(Transformed::no(expr)),
            })
        })
    })?;
    Ok(slid.data)
}

fn windowed(mut call: Box<WindowFunction>) -> Result<Transformed<Expr>> {
    let frame = &call.params.window_frame;
    let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
        return Ok(Transformed::no(Expr::WindowFunction(call)));
    };
    let keeps_places = matches!(function.name(), "first_value" | "last_value" | "nth_value");
    if !keeps_places && frame.units == WindowFrameUnits::Range && is_beside(frame) {
        // Such a frame can be empty between others, and what has left it before stays in the result.
        return Err(told(refused(
            "A RANGE frame of an aggregate has the current row in it: BETWEEN … PRECEDING AND CURRENT ROW, or AND … FOLLOWING.",
        )));
    }
    if frame.start_bound.is_unbounded() {
        return Ok(Transformed::no(Expr::WindowFunction(call)));
    }
    call.fun = WindowFunctionDefinition::AggregateUDF(sliding(Arc::clone(function)));
    Ok(Transformed::yes(Expr::WindowFunction(call)))
}

/// A NOT IN whose left side is no column to the planner: what else is asked of a column would be asked of the subquery as well,
/// which would lose its null by that.
fn apart(mut inside: InSubquery) -> Transformed<Expr> {
    if inside.negated {
        let call = ScalarFunction::new_udf(Arc::clone(&ITSELF), vec![*inside.expr]);
        inside.expr = Box::new(Expr::ScalarFunction(call));
    }
    Transformed::yes(Expr::InSubquery(inside))
}

static ITSELF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(Itself { signature: Signature::any(1, Volatility::Immutable) }))
});

/// A value as it is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Itself {
    signature: Signature,
}

impl ScalarUDFImpl for Itself {
    fn name(&self) -> &'static str {
        "itself"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        arg_types.first().cloned().ok_or_else(nothing)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(nothing)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.into_iter().next().ok_or_else(nothing)
    }
}

fn nothing() -> DataFusionError {
    DataFusionError::Internal("itself is of a value".to_owned())
}

/// Whether both ends are before the current row, or both behind it.
fn is_beside(frame: &WindowFrame) -> bool {
    // An unbounded one is null.
    let is_away = |by: &ScalarValue| !by.is_null() && by.to_string() != "0";
    match (&frame.start_bound, &frame.end_bound) {
        (WindowFrameBound::Preceding(from), WindowFrameBound::Preceding(to)) => !from.is_null() && is_away(to),
        (WindowFrameBound::Following(from), WindowFrameBound::Following(to)) => !to.is_null() && is_away(from),
        _ => false,
    }
}

/// Where a condition stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A row is there where it is true.
    Condition,
    /// Behind OR: what is null does there what false would.
    Part,
    /// Its value counts, and whether it is null.
    Value,
}

/// Refuses `IN (SELECT …)` where it makes a difference whether it is false or null: the planner knows true and false alone,
/// but for a NOT IN that is a condition of its own.
fn check_membership(expr: &Expr, place: Place) -> Result<()> {
    let within = |operands: [&Expr; 2], place| operands.iter().try_for_each(|operand| check_membership(operand, place));
    match expr {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            check_membership(expr, Place::Value)?;
            match (negated, place) {
                (false, Place::Condition | Place::Part) => Ok(()),
                // The planner has nothing to join by then.
                (true, Place::Condition) if !expr.any_column_refs() => Err(told(refused(
                    "Before NOT IN (SELECT …) stands what is made of a column: write NOT EXISTS instead.",
                ))),
                (true, Place::Condition) if subquery.outer_ref_columns.is_empty() => Ok(()),
                (true, Place::Condition) => Err(told(refused(
                    "A NOT IN (SELECT …) does not refer to the query around it: write NOT EXISTS instead.",
                ))),
                _ => Err(told(refused(
                    "IN (SELECT …) stands in WHERE, by itself or behind AND and OR, and NOT IN (SELECT …) by itself or behind AND: \
                     write EXISTS, NOT EXISTS or a join instead.",
                ))),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) if place != Place::Value => {
            within([left, right], place)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) if place != Place::Value => {
            within([left, right], Place::Part)
        }
        Expr::Alias(alias) => check_membership(&alias.expr, place),
        Expr::Not(inner) if let Expr::InSubquery(inside) = &**inner => {
            check_membership(&Expr::InSubquery(InSubquery { negated: !inside.negated, ..inside.clone() }), place)
        }
        Expr::IsTrue(inner) => check_membership(inner, Place::Part),
        Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
            for (when, then) in when_then_expr {
                check_membership(when, Place::Part)?;
                check_membership(then, Place::Value)?;
            }
            else_expr.iter().try_for_each(|value| check_membership(value, Place::Value))
        }
        expr => expr
            .apply_children(|child| {
                check_membership(child, Place::Value)?;
                Ok(TreeNodeRecursion::Continue)
            })
            .map(drop),
    }
}
