//! What the planner answers wrongly: mended where that can be, refused where it cannot.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{InSubquery, WindowFunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
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
            expr.transform_up(|expr| match expr {
                Expr::WindowFunction(call) => windowed(call),
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

/// Whether both ends are before the current row, or both behind it.
fn is_beside(frame: &WindowFrame) -> bool {
    let is_offset = |bound: &WindowFrameBound| !bound.is_unbounded();
    match (&frame.start_bound, &frame.end_bound) {
        (start @ WindowFrameBound::Preceding(_), end @ WindowFrameBound::Preceding(_))
        | (start @ WindowFrameBound::Following(_), end @ WindowFrameBound::Following(_)) => {
            is_offset(start) && is_offset(end)
        }
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
        expr => expr
            .apply_children(|child| {
                check_membership(child, Place::Value)?;
                Ok(TreeNodeRecursion::Continue)
            })
            .map(drop),
    }
}
