//! One zero. −0 and 0 are one value in SQL, and two where Arrow orders floats, groups them or looks for them in a table. No
//! column of a topic has −0; what an expression may make of it becomes 0 where it is made, so that nothing behind it, however
//! many queries it goes through, has two.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;
use half::f16;

/// Makes 0 of −0, wherever an expression may make one. For a plan whose expressions have their types.
#[derive(Debug)]
pub(super) struct OneZero {
    plus_zero: Arc<ScalarUDF>,
}

impl OneZero {
    /// The rule.
    pub(super) fn rule() -> Self {
        let signature = Signature::any(1, Volatility::Immutable);
        Self { plus_zero: Arc::new(ScalarUDF::new_from_impl(PlusZero { signature })) }
    }

    fn mended(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        if !may_make(&expr, schema) || !expr.get_type(schema).is_ok_and(|made| made.is_floating()) {
            return Transformed::no(expr);
        }
        let call = ScalarFunction::new_udf(Arc::clone(&self.plus_zero), vec![expr]);
        Transformed::yes(Expr::ScalarFunction(call))
    }
}

impl AnalyzerRule for OneZero {
    fn name(&self) -> &'static str {
        "one_zero"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mended = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| Ok(self.mended(expr, &schema)))?;
                Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
            })
        })?;
        Ok(mended.data)
    }
}

/// Whether an expression may make −0 of values that are not: sums and differences do not, and what only passes values on.
fn may_make(whole: &Expr, schema: &DFSchema) -> bool {
    match whole {
        Expr::Literal(value, _) => is_minus_zero(value),
        Expr::Negative(_) => true,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            matches!(op, Operator::Multiply | Operator::Divide | Operator::Modulo)
        }
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => {
            // Of a text, or of a float that is too small for the type. A wider type has each float as it is; a join by it would
            // not know the column again.
            let fits = |of: &DataType, to: &DataType| of.is_floating() && of.primitive_width() <= to.primitive_width();
            let (of, to) = (expr.get_type(schema), whole.get_type(schema));
            !matches!((of, to), (Ok(of), Ok(to)) if of.is_integer() || fits(&of, &to))
        }
        Expr::ScalarFunction(call) => call.func.name() != "get_field",
        _ => false,
    }
}

fn is_minus_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float16(Some(value)) => *value == f16::ZERO && value.is_sign_negative(),
        ScalarValue::Float32(Some(value)) => *value == 0.0 && value.is_sign_negative(),
        ScalarValue::Float64(Some(value)) => *value == 0.0 && value.is_sign_negative(),
        _ => false,
    }
}

/// A float, 0 where it is −0. Called as what it is made of, so that the columns of grouping sets keep their names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PlusZero {
    signature: Signature,
}

impl ScalarUDFImpl for PlusZero {
    fn name(&self) -> &'static str {
        "plus_zero"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        arg_types.first().cloned().ok_or_else(nothing)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(nothing)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first().ok_or_else(nothing)? {
            ColumnarValue::Array(floats) => Ok(ColumnarValue::Array(plus_zero(floats)?)),
            ColumnarValue::Scalar(float) => {
                let float = plus_zero(&float.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&float, 0)?))
            }
        }
    }
}

fn nothing() -> DataFusionError {
    DataFusionError::Internal("plus_zero is of a float".to_owned())
}

/// −0 + 0 is 0, and any other float plus 0 is itself.
fn plus_zero(floats: &ArrayRef) -> Result<ArrayRef> {
    Ok(match floats.data_type() {
        DataType::Float16 => {
            let floats = floats.as_primitive::<Float16Type>();
            Arc::new(floats.unary::<_, Float16Type>(|float| if float == f16::ZERO { f16::ZERO } else { float }))
        }
        DataType::Float32 => Arc::new(floats.as_primitive::<Float32Type>().unary::<_, Float32Type>(|x| x + 0.0)),
        DataType::Float64 => Arc::new(floats.as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x + 0.0)),
        other => return internal_err!("plus_zero of {other}"),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float16Array, Float32Array, Float64Array};

    use super::*;

    #[test]
    fn minus_zero_becomes_zero_and_nothing_else_changes() {
        let halves = [f16::NEG_ZERO, f16::ZERO, f16::NEG_INFINITY].map(Some);
        let halves = plus_zero(&(Arc::new(Float16Array::from_iter(halves)) as ArrayRef)).unwrap();
        let bits: Vec<u16> = halves.as_primitive::<Float16Type>().values().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [0, 0, f16::NEG_INFINITY.to_bits()]);
        let short = plus_zero(&(Arc::new(Float32Array::from(vec![-0.0, 0.0, -1e-45])) as ArrayRef)).unwrap();
        let bits: Vec<u32> = short.as_primitive::<Float32Type>().values().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [0, 0, (-1e-45_f32).to_bits()]);
        let long = plus_zero(&(Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(-5e-324)])) as ArrayRef));
        let long = long.unwrap();
        let long = long.as_primitive::<Float64Type>();
        assert_eq!((long.value(0).to_bits(), long.is_null(1)), (0, true));
        assert_eq!(long.value(2).to_bits(), (-5e-324_f64).to_bits());
    }
}
