//! Functions whose values can be larger than what they are made of, held to a bound: it is looked at before the memory is
//! taken, which no pool of memory counts.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::concat_elements::concat_elements_utf8;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::sql::limits::GROWN_BYTES_MAX;

/// The most bytes that a call makes of its arguments.
type Growth = fn(&ScalarFunctionArgs) -> u64;

/// The name of the operator `||` as a function.
pub(super) const CONCATENATION: &str = "||";

/// Whether a call of this function counts as one that makes text longer.
pub(super) fn grows(name: &str) -> bool {
    name == CONCATENATION || growth_of(name).is_some()
}

fn growth_of(name: &str) -> Option<Growth> {
    Some(match name {
        "concat" | "concat_ws" | "make_array" => all_bytes,
        "encode" => |args| all_bytes(args).saturating_mul(2),
        "replace" => replaced,
        "regexp_replace" => replaced_by_pattern,
        "to_char" => |args| bytes(args, 1).saturating_mul(8).max(rows(args).saturating_mul(64)),
        "array_to_string" => joined,
        _ => return None,
    })
}

/// The function, held to the bound if it needs one.
pub(super) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match growth_of(function.name()) {
        Some(growth) => Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function, growth })),
        None => function,
    }
}

fn rows(args: &ScalarFunctionArgs) -> u64 {
    args.number_rows as u64
}

/// The bytes of an argument's values, those of a constant for each row.
fn bytes(args: &ScalarFunctionArgs, at: usize) -> u64 {
    match args.args.get(at) {
        Some(ColumnarValue::Array(array)) => array_bytes(array),
        Some(ColumnarValue::Scalar(value)) => (value.size() as u64).saturating_mul(rows(args)),
        None => 0,
    }
}

/// The bytes of an array's values: those of the rows it has, not of the buffers that it may share with others.
fn array_bytes(array: &ArrayRef) -> u64 {
    array.to_data().get_slice_memory_size().map_or(u64::MAX, |size| size as u64)
}

/// The shortest and the longest text of an argument.
fn lengths(args: &ScalarFunctionArgs, at: usize) -> (u64, u64) {
    let texts = match args.args.get(at) {
        Some(ColumnarValue::Array(array)) => cast(array, &DataType::LargeUtf8),
        Some(ColumnarValue::Scalar(value)) => value
            .to_array()
            .map_err(|_| ())
            .and_then(|one| cast(&one, &DataType::LargeUtf8).map_err(|_| ()))
            .map_err(|()| datafusion::arrow::error::ArrowError::CastError("no text".to_owned())),
        None => return (0, 0),
    };
    let Ok(texts) = texts else { return (0, u64::MAX) };
    let lengths = texts.as_string::<i64>().iter().flatten().map(|text| text.len() as u64);
    lengths.fold((u64::MAX, 0), |(least, most), length| (least.min(length), most.max(length)))
}

fn all_bytes(args: &ScalarFunctionArgs) -> u64 {
    (0..args.args.len()).fold(0, |sum, at| sum.saturating_add(bytes(args, at)))
}

fn replaced(args: &ScalarFunctionArgs) -> u64 {
    let (text, (from, _), (_, to)) = (bytes(args, 0), lengths(args, 1), lengths(args, 2));
    if to <= from {
        return text;
    }
    // An empty text is found between all characters.
    let places = (text / from.max(1)).saturating_add(rows(args));
    text.saturating_add(places.saturating_mul(to))
}

fn replaced_by_pattern(args: &ScalarFunctionArgs) -> u64 {
    let (text, (_, to)) = (bytes(args, 0), lengths(args, 2));
    // A pattern may match nothing between all characters; and what is put there may name what was found, `\1`, often.
    let places = text.saturating_add(rows(args));
    text.saturating_add(places.saturating_mul(to)).saturating_add(text.saturating_mul(to / 2))
}

fn joined(args: &ScalarFunctionArgs) -> u64 {
    let (values, (_, between), (_, null)) = (bytes(args, 0), lengths(args, 1), lengths(args, 2));
    let items = match args.args.first() {
        Some(ColumnarValue::Array(array)) => items_in(array),
        Some(ColumnarValue::Scalar(value)) => {
            value.to_array().map_or(u64::MAX, |one| items_in(&one)).saturating_mul(rows(args))
        }
        None => 0,
    };
    // A number prints in at most four times its bytes.
    values.saturating_mul(4).saturating_add(items.saturating_mul(between.saturating_add(null)))
}

/// How many items the lists of an array have, those of inner lists included.
fn items_in(array: &ArrayRef) -> u64 {
    let (count, values) = match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let offsets = lists.value_offsets();
            let count = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| last.abs_diff(*first));
            (u64::from(count), lists.values())
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let offsets = lists.value_offsets();
            (offsets.last().zip(offsets.first()).map_or(0, |(last, first)| last.abs_diff(*first)), lists.values())
        }
        DataType::FixedSizeList(..) => {
            let lists = array.as_fixed_size_list();
            (lists.values().len() as u64, lists.values())
        }
        _ => return 0,
    };
    count.saturating_add(items_in(values))
}

/// A function that is asked first what it would make.
#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

/// What says that a value would be too large.
fn too_large(name: &str) -> DataFusionError {
    DataFusionError::Execution(format!(
        "{name} would make more than {GROWN_BYTES_MAX} bytes of some thousand rows; make the texts shorter"
    ))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if (self.growth)(&args) > GROWN_BYTES_MAX {
            return Err(too_large(self.name()));
        }
        self.inner.invoke_with_args(args)
    }
}

/// `a || b` on texts: null where one of them is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Concatenation {
    signature: Signature,
}

impl Concatenation {
    /// The function.
    pub(super) fn udf() -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(Self { signature: Signature::any(2, Volatility::Immutable) }))
    }
}

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &str {
        CONCATENATION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types.iter().find(|given| given.is_nested()) {
            None => Ok(DataType::LargeUtf8),
            Some(_) => Err(DataFusionError::Plan("|| joins texts; lists and structs cannot be joined".to_owned())),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if all_bytes(&args) > GROWN_BYTES_MAX {
            return Err(too_large(CONCATENATION));
        }
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let text = |at: usize| -> Result<ArrayRef> {
            let array = match args.args.get(at) {
                Some(arg) => arg.to_array(rows)?,
                None => return Err(DataFusionError::Internal("|| has two sides".to_owned())),
            };
            Ok(cast(&array, &DataType::LargeUtf8)?)
        };
        let (left, right) = (text(0)?, text(1)?);
        let joined: ArrayRef = Arc::new(concat_elements_utf8(left.as_string::<i64>(), right.as_string::<i64>())?);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(joined))
    }
}
