//! What expressions make of a batch of rows before any of it is passed on: no pool of memory counts it. Whichever operator
//! evaluates them, it is measured in this one way.

use std::any::Any;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::expressions::{Column, InListExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::joins::utils::JoinFilter;

use crate::sql::error::told;
use crate::sql::growing::grows;
use crate::sql::limits::{
    JOINED_BYTES_MAX, MADE_BYTES_MAX, MADE_OF_ROW_BYTES_MAX, REPEATED_BATCH_ROWS, REPEATED_ROW_BYTES_MAX,
};
use crate::sql::text::refused;
use crate::sql::width::column_bytes;

/// What a value of no fixed length has besides its bytes, and what a number prints in: about.
const VALUE_BYTES: usize = 32;

/// Expressions that are evaluated on the same rows, and whose values are there at the same time.
#[derive(Clone, Debug)]
pub(super) struct Made(Arc<[Weight]>);

/// An expression by what it makes.
#[derive(Debug)]
enum Weight {
    Column(usize),
    /// A constant of so many bytes.
    Literal(usize),
    Call {
        /// The bytes of a value, where all have the same.
        width: Option<usize>,
        /// Whether it has all that it is made of in it, and not only the longest.
        grows: bool,
        of: Vec<Weight>,
    },
}

/// Bytes of an expression's values, and the most that there are of it while it is evaluated.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    values: usize,
    most: usize,
}

/// What is measured against.
struct Rows<'a> {
    count: usize,
    column: &'a dyn Fn(usize) -> usize,
}

impl Made {
    /// What these expressions make of rows with these columns.
    pub(super) fn by<'a>(expressions: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>, schema: &Schema) -> Self {
        Self(expressions.into_iter().map(|expr| weight(expr.as_ref(), schema)).collect())
    }

    /// Whether nothing is made at all: what is there already is passed on.
    pub(super) fn is_nothing(&self) -> bool {
        self.0.iter().all(|weight| matches!(weight, Weight::Column(_)))
    }

    /// The bytes that are made of a batch.
    pub(super) fn of(&self, batch: &RecordBatch) -> usize {
        let column = |at: usize| batch.columns().get(at).map_or(0, |column| column_bytes(column));
        self.measured(&Rows { count: batch.num_rows(), column: &column })
    }

    fn measured(&self, rows: &Rows<'_>) -> usize {
        let (mut held, mut most) = (0_usize, 0);
        for weight in self.0.iter() {
            let bytes = weight.measured(rows);
            most = most.max(held.saturating_add(bytes.most));
            // A constant fills a column of its own here.
            let is_made = !matches!(weight, Weight::Column(_));
            held = held.saturating_add(if is_made { bytes.values } else { 0 });
        }
        most.max(held)
    }

    /// The first rows of a batch of which no more is made than may be; the rest is left, the last rows first.
    ///
    /// # Errors
    /// `invalid_body` with the limit, where too much is made of one row.
    pub(super) fn first_of(&self, mut batch: RecordBatch, rest: &mut Vec<RecordBatch>) -> Result<RecordBatch> {
        loop {
            let made = self.of(&batch);
            if made <= MADE_BYTES_MAX {
                return Ok(batch);
            }
            if batch.num_rows() <= 1 {
                return if made <= MADE_OF_ROW_BYTES_MAX { Ok(batch) } else { Err(too_much()) };
            }
            let half = batch.num_rows() / 2;
            rest.push(batch.slice(half, batch.num_rows() - half));
            batch = batch.slice(0, half);
        }
    }
}

fn too_much() -> datafusion::common::DataFusionError {
    let detail = format!(
        "The expressions would make more than {MADE_OF_ROW_BYTES_MAX} bytes of one row; use the long values less often."
    );
    told(refused(detail).with_limit(MADE_OF_ROW_BYTES_MAX as u64))
}

impl Weight {
    fn measured(&self, rows: &Rows<'_>) -> Bytes {
        match self {
            Self::Column(at) => Bytes { values: (rows.column)(*at), most: 0 },
            Self::Literal(bytes) => Bytes { values: bytes.saturating_mul(rows.count), most: 0 },
            Self::Call { width, grows, of } => {
                let (mut held, mut most, mut longest, mut all) = (0_usize, 0_usize, 0_usize, 0_usize);
                for one in of {
                    let bytes = one.measured(rows);
                    most = most.max(held.saturating_add(bytes.most));
                    longest = longest.max(bytes.values);
                    all = all.saturating_add(bytes.values);
                    if matches!(one, Self::Call { .. }) {
                        held = held.saturating_add(bytes.values);
                    }
                }
                let values = match width {
                    Some(width) => width.saturating_mul(rows.count),
                    None if *grows => all.saturating_add(VALUE_BYTES * rows.count),
                    None => longest.saturating_add(VALUE_BYTES * rows.count),
                };
                Bytes { values, most: most.max(held.saturating_add(values)) }
            }
        }
    }
}

fn weight(expr: &dyn PhysicalExpr, schema: &Schema) -> Weight {
    let one: &dyn Any = expr;
    if let Some(column) = one.downcast_ref::<Column>() {
        return Weight::Column(column.index());
    }
    if let Some(literal) = one.downcast_ref::<Literal>() {
        return Weight::Literal(8 + literal.value().size().saturating_sub(size_of::<ScalarValue>()));
    }
    let width = match expr.data_type(schema) {
        Ok(DataType::Boolean | DataType::Null) => Some(1),
        Ok(data_type) => data_type.primitive_width(),
        Err(_) => None,
    };
    let grows = one.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| grows(call.name()));
    let mut of = expr.children();
    if one.is::<InListExpr>() {
        // The list is made once, for all batches.
        of.truncate(1);
    }
    Weight::Call { width, grows, of: of.into_iter().map(|one| weight(one.as_ref(), schema)).collect() }
}

/// The longest row that may be joined on a condition: it is evaluated on rows of both sides put together.
pub(super) fn joined_row_bytes_max(filter: Option<&JoinFilter>) -> usize {
    let copies = filter.map_or(0, |filter| {
        let schema = filter.schema();
        let made = Made::by([filter.expression()], schema);
        let is_long = |at: usize| {
            let data_type = schema.fields().get(at).map(|field| field.data_type());
            usize::from(data_type.is_some_and(|held| !held.is_primitive() && *held != DataType::Boolean))
        };
        made.measured(&Rows { count: 0, column: &is_long })
    });
    REPEATED_ROW_BYTES_MAX.min(JOINED_BYTES_MAX / REPEATED_BATCH_ROWS / copies.max(1))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, LargeStringArray};
    use datafusion::common::config::ConfigOptions;
    use datafusion::physical_expr::expressions::{col, lit};

    use super::*;
    use crate::sql::functions::FUNCTIONS;

    fn call(name: &str, args: Vec<Arc<dyn PhysicalExpr>>, schema: &Schema) -> Arc<dyn PhysicalExpr> {
        let function = Arc::clone(&FUNCTIONS.scalar[name]);
        Arc::new(ScalarFunctionExpr::try_new(function, args, schema, Arc::new(ConfigOptions::default())).unwrap())
    }

    #[test]
    fn what_is_there_at_the_same_time_is_counted_and_batches_are_cut_to_it() {
        let rows = 16;
        let texts: ArrayRef = Arc::new(LargeStringArray::from(vec!["x".repeat(1 << 20); rows]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1; rows]));
        let batch = RecordBatch::try_from_iter([("s", texts), ("k", numbers)]).unwrap();
        let schema = batch.schema();
        let text = || col("s", &schema).unwrap();
        let least = || call("least", vec![text(), lit("a")], &schema);
        let made = |expressions: &[Arc<dyn PhysicalExpr>]| Made::by(expressions, &schema).of(&batch) >> 20;
        assert_eq!(made(&[text(), col("k", &schema).unwrap()]), 0);
        assert!(Made::by(&[text()], &schema).is_nothing());
        assert_eq!(made(&[least()]), 16);
        assert_eq!(made(&[least(), least(), least()]), 48);
        // Arguments are there until the call has ended, those of arguments no longer.
        assert_eq!(made(&[call("least", vec![least(), least()], &schema)]), 48);
        assert_eq!(made(&[call("lower", vec![call("lower", vec![least()], &schema)], &schema)]), 32);
        assert_eq!(made(&[call("octet_length", vec![text()], &schema)]), 0);
        assert_eq!(made(&[call("octet_length", vec![least()], &schema)]), 16);
        assert_eq!(made(&[call("concat", vec![text(), text()], &schema)]), 32);
        let cut = |times: usize| -> Result<Vec<usize>> {
            let made = Made::by(&vec![least(); times], &schema);
            let (mut rest, mut rows) = (vec![batch.clone()], Vec::new());
            while let Some(batch) = rest.pop() {
                rows.push(made.first_of(batch, &mut rest)?.num_rows());
            }
            Ok(rows)
        };
        assert_eq!(cut(3).unwrap(), [16]);
        assert_eq!(cut(5).unwrap(), [8, 8]);
        assert_eq!(cut(100).unwrap(), [1; 16]);
        assert!(cut(200).is_err());
    }
}
