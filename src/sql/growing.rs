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

use crate::sql::limits::{CONSTANT_BYTES_MAX, GROWN_BYTES_MAX, MATCHED_TEXT_BYTES_MAX};

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
        "regexp_match" => matched,
        "array_to_string" => joined,
        _ => return None,
    })
}

/// The function, held to the bound if it needs one.
pub(super) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let nothing = || looks_again(function.name()).then_some((|_| 0) as Growth);
    match growth_of(function.name()).or_else(nothing) {
        Some(growth) => Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function, growth })),
        None => function,
    }
}

/// Whether a call is of constants alone: it makes one value, whatever the rows.
fn is_constant(args: &ScalarFunctionArgs) -> bool {
    args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
}

fn rows(args: &ScalarFunctionArgs) -> u64 {
    if is_constant(args) { 1 } else { args.number_rows as u64 }
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

/// Every group may have found the whole text.
fn matched(args: &ScalarFunctionArgs) -> u64 {
    let groups = match args.args.get(1) {
        Some(ColumnarValue::Scalar(pattern)) => pattern.to_string().matches('(').count() as u64,
        _ => u64::MAX,
    };
    bytes(args, 0).saturating_mul(groups.max(1))
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

/// Refuses a call that would make too much. What is made of constants becomes part of the plan, which is copied and written
/// out often.
fn check(name: &str, args: &ScalarFunctionArgs, growth: u64) -> Result<()> {
    let (most, of) = match is_constant(args) {
        true => (CONSTANT_BYTES_MAX, "constants"),
        false => (GROWN_BYTES_MAX, "some thousand rows"),
    };
    if growth <= most {
        return Ok(());
    }
    let detail = format!("{name} would make more than {most} bytes of {of}; make the texts shorter");
    Err(DataFusionError::Execution(detail))
}

/// Whether a function looks for one match of a pattern after another.
fn looks_again(name: &str) -> bool {
    matches!(name, "regexp_count" | "regexp_instr" | "regexp_replace")
}

/// Refuses texts in which looking for one match after another may take the square of their length.
fn check_length(name: &str, args: &ScalarFunctionArgs) -> Result<()> {
    if !looks_again(name) || lengths(args, 0).1 <= MATCHED_TEXT_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("{name} takes texts of at most {MATCHED_TEXT_BYTES_MAX} bytes; take a part, as by left");
    Err(DataFusionError::Execution(detail))
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
        check(self.name(), &args, (self.growth)(&args))?;
        check_length(self.name(), &args)?;
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
        check(CONCATENATION, &args, all_bytes(&args))?;
        let is_constant = is_constant(&args);
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::LargeStringArray;
    use datafusion::arrow::datatypes::Field;
    use datafusion::config::ConfigOptions;

    use super::*;
    use crate::sql::functions::FUNCTIONS;

    fn constant(text: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::LargeUtf8(Some(text.to_owned())))
    }

    fn column(text: &str, rows: usize) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(LargeStringArray::from(vec![text; rows])))
    }

    fn call(function: &ScalarUDF, args: Vec<ColumnarValue>, rows: usize) -> Result<ColumnarValue> {
        let field = |_: &ColumnarValue| Arc::new(Field::new("a", DataType::LargeUtf8, true));
        function.invoke_with_args(ScalarFunctionArgs {
            arg_fields: args.iter().map(field).collect(),
            args,
            number_rows: rows,
            return_field: Arc::new(Field::new("r", DataType::LargeUtf8, true)),
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    #[test]
    fn what_would_grow_too_much_is_not_made() {
        let long = "x".repeat(20_000);
        for (name, args, fits) in [
            ("concat", vec![column("ab", 4_000), constant("c")], true),
            ("concat", vec![column(&long, 4_000), constant("c")], false),
            ("concat", vec![constant(&long), column("c", 4_000)], false),
            ("concat", vec![constant(&long), constant(&long)], true),
            ("concat", vec![constant(&long.repeat(10)), constant(&long.repeat(10))], false),
            ("replace", vec![column("a,b", 4_000), constant(","), constant(", ")], true),
            ("replace", vec![column(&"x".repeat(200), 4_000), constant("x"), constant(&long)], false),
            ("replace", vec![column(&"x".repeat(200), 4_000), constant(&long), constant("x")], true),
            ("regexp_replace", vec![column("a-b", 4_000), constant("-"), constant("_")], true),
            ("regexp_replace", vec![column("a-b", 4_000), constant(""), constant(&long)], false),
            ("regexp_match", vec![column(&"x".repeat(200), 4_000), constant("((.*))")], true),
            (
                "regexp_match",
                vec![column(&"x".repeat(200), 4_000), constant(&format!("{}.*{}", "(".repeat(200), ")".repeat(200)))],
                false,
            ),
        ] {
            let outcome = call(&FUNCTIONS.scalar[name], args, 4_000);
            assert_eq!(outcome.is_ok(), fits, "{name}: {:?}", outcome.err());
        }
        assert!(call(&Concatenation::udf(), vec![column(&long, 4_000), column("a", 4_000)], 4_000).is_err());
    }

    #[test]
    fn two_bars_join_texts_and_a_null_wins() {
        let joined = call(&Concatenation::udf(), vec![column("a", 2), constant("b")], 2).unwrap();
        assert_eq!(joined.to_array(2).unwrap().as_string::<i64>().value(1), "ab");
        let null = ColumnarValue::Scalar(ScalarValue::LargeUtf8(None));
        let joined = call(&Concatenation::udf(), vec![column("a", 2), null], 2).unwrap();
        assert_eq!(joined.to_array(2).unwrap().null_count(), 2);
    }
}
