//! The offsets and times that filters leave, so that nothing else is read. What a filter says is tested on the rows as well:
//! a filter that is not understood here costs time, not truth.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN};
use crate::model::Timestamp;

/// What is left of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    /// The least and the greatest offset.
    pub(super) offsets: (Option<u64>, Option<u64>),
    /// The least time, and the first one that is not in it.
    pub(super) times: (Option<Timestamp>, Option<Timestamp>),
}

/// The range that all of the filters leave.
pub(super) fn of(filters: &[Expr]) -> Range {
    let mut range = Range::default();
    for filter in filters {
        narrow(&mut range, filter);
    }
    range
}

fn narrow(range: &mut Range, filter: &Expr) {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return };
    let (column, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::BinaryExpr(_), Expr::BinaryExpr(_)) if *op == Operator::And => {
            narrow(range, left);
            narrow(range, right);
            return;
        }
        (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => {
            let Some(swapped) = op.swap() else { return };
            (column, swapped, value)
        }
        _ => return,
    };
    match column.name.as_str() {
        OFFSET_COLUMN => narrow_offsets(range, op, value),
        TIMESTAMP_COLUMN => narrow_times(range, op, value),
        _ => {}
    }
}

fn narrow_offsets(range: &mut Range, op: Operator, value: &ScalarValue) {
    let ScalarValue::Int64(Some(value)) = value else { return };
    let (least, most) = match op {
        Operator::Eq => (Some(*value), Some(*value)),
        Operator::Gt => (value.checked_add(1), None),
        Operator::GtEq => (Some(*value), None),
        Operator::Lt => (None, value.checked_sub(1)),
        Operator::LtEq => (None, Some(*value)),
        _ => (None, None),
    };
    if let Some(least) = least {
        range.offsets.0 = range.offsets.0.max(Some(u64::try_from(least).unwrap_or(0)));
    }
    match most.map(u64::try_from) {
        Some(Ok(most)) => range.offsets.1 = Some(range.offsets.1.map_or(most, |known| known.min(most))),
        // Below zero: nothing is left, which the least says where the greatest cannot.
        Some(Err(_)) => range.offsets.0 = Some(u64::MAX),
        None => {}
    }
}

fn narrow_times(range: &mut Range, op: Operator, value: &ScalarValue) {
    // The microsecond that a time lies in, and whether it lies at its beginning.
    let (micros, is_exact) = match value {
        ScalarValue::TimestampMicrosecond(Some(micros), _) => (*micros, true),
        ScalarValue::TimestampNanosecond(Some(nanos), _) => (nanos.div_euclid(1_000), nanos.rem_euclid(1_000) == 0),
        _ => return,
    };
    let next = micros.saturating_add(1);
    let (least, end) = match op {
        Operator::Eq => (Some(micros), Some(next)),
        Operator::Gt => (Some(if is_exact { next } else { micros }), None),
        Operator::GtEq => (Some(micros), None),
        Operator::Lt => (None, Some(if is_exact { micros } else { next })),
        Operator::LtEq => (None, Some(next)),
        _ => (None, None),
    };
    if let Some(least) = least.map(Timestamp::from_micros) {
        range.times.0 = range.times.0.max(Some(least));
    }
    if let Some(end) = end.map(Timestamp::from_micros) {
        range.times.1 = Some(range.times.1.map_or(end, |known| known.min(end)));
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn comparisons_with_constants_narrow_the_range() {
        let offset = || col(OFFSET_COLUMN);
        for (filter, expected) in [
            (offset().gt(lit(4_i64)), (Some(5), None)),
            (offset().gt_eq(lit(4_i64)).and(offset().lt(lit(9_i64))), (Some(4), Some(8))),
            (lit(4_i64).gt_eq(offset()), (None, Some(4))),
            (offset().eq(lit(7_i64)), (Some(7), Some(7))),
            (offset().gt(lit(-3_i64)), (Some(0), None)),
            (offset().lt(lit(-3_i64)), (Some(u64::MAX), None)),
            (offset().not_eq(lit(7_i64)), (None, None)),
            (offset().gt(lit(4_i64)).or(offset().lt(lit(2_i64))), (None, None)),
            (col("n").gt(lit(4_i64)), (None, None)),
        ] {
            assert_eq!(of(std::slice::from_ref(&filter)).offsets, expected, "{filter}");
        }
    }

    #[test]
    fn times_narrow_it_to_the_microsecond() {
        let time = |value: ScalarValue| Expr::Literal(value, None);
        let micros = |micros| time(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        let nanos = |nanos| time(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())));
        let stamp = || col(TIMESTAMP_COLUMN);
        for (filter, least, end) in [
            (stamp().gt(micros(5)), Some(6), None),
            (stamp().gt_eq(micros(5)), Some(5), None),
            (stamp().lt(micros(5)), None, Some(5)),
            (stamp().lt_eq(micros(5)), None, Some(6)),
            (stamp().gt(nanos(5_001)), Some(5), None),
            (stamp().lt(nanos(5_001)), None, Some(6)),
            (stamp().lt(nanos(5_000)), None, Some(5)),
        ] {
            let expected = (least.map(Timestamp::from_micros), end.map(Timestamp::from_micros));
            assert_eq!(of(std::slice::from_ref(&filter)).times, expected, "{filter}");
        }
    }
}
