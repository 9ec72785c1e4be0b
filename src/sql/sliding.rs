//! Aggregates over frames that move on, with nothing left of what has left the frame.
//!
//! The planner's own take values back one by one, and some keep what they had when the last one goes: `min` its value, a
//! variance a division by zero, others a 0 where there is no value. Here they begin anew whenever a frame has no value.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, Signature};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// Those that leave nulls out, and can take values back.
const WRAPPED: &[&str] = &["bit_xor", "min", "stddev", "stddev_pop", "sum", "var", "var_pop"];

/// The aggregate for a frame whose begin moves on.
pub(super) fn sliding(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    if WRAPPED.contains(&function.name()) { Arc::new(AggregateUDF::new_from_impl(Sliding(function))) } else { function }
}

/// An aggregate that is the planner's in everything but how it slides.
#[derive(Debug)]
struct Sliding(Arc<AggregateUDF>);

impl PartialEq for Sliding {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Sliding {}

impl Hash for Sliding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl AggregateUDFImpl for Sliding {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.0.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.0.return_field(arg_fields)
    }

    fn is_nullable(&self) -> bool {
        self.0.is_nullable()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.0.default_value(data_type)
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.0.schema_name(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.0.display_name(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.0.window_function_schema_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.0.window_function_display_name(params)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.0.simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.0.reverse_udf() {
            ReversedUDAF::Reversed(other) => ReversedUDAF::Reversed(sliding(other)),
            same => same,
        }
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.0.supports_null_handling_clause()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.0.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let make = Make::new(&self.0, &args);
        let of_frame = make.make()?;
        Ok(if of_frame.supports_retract_batch() { Box::new(Slid { make, of_frame, values: 0 }) } else { of_frame })
    }
}

/// What makes accumulators of an aggregate.
#[derive(Debug)]
struct Make {
    function: Arc<AggregateUDF>,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Make {
    fn new(function: &Arc<AggregateUDF>, args: &AccumulatorArgs<'_>) -> Self {
        Self {
            function: Arc::clone(function),
            return_field: Arc::clone(&args.return_field),
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        }
    }

    fn make(&self) -> Result<Box<dyn Accumulator>> {
        self.function.create_sliding_accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

/// The values of a frame that moves on.
#[derive(Debug)]
struct Slid {
    make: Make,
    of_frame: Box<dyn Accumulator>,
    /// How many values are in the frame; nulls are none.
    values: usize,
}

impl Accumulator for Slid {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values += count(values);
        self.of_frame.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values = self.values.saturating_sub(count(values));
        if self.values == 0 {
            self.of_frame = self.make.make()?;
            return Ok(());
        }
        self.of_frame.retract_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values == 0 {
            return self.make.function.default_value(self.make.return_field.data_type());
        }
        self.of_frame.evaluate()
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.of_frame.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.of_frame.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.of_frame.merge_batch(states)
    }
}

fn count(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |values| values.len() - values.logical_null_count())
}
