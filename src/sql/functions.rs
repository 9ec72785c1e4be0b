//! The functions that queries may call. The list is of names that are in, not of those that are out: what a new version of
//! the planner brings is not called before somebody has looked at what it can be made to do.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use crate::sql::growing;

/// Functions of one row.
const SCALAR: &[&str] = &[
    // Any value.
    "coalesce",
    "nullif",
    "nvl",
    "nvl2",
    "greatest",
    "least",
    "arrow_typeof",
    // Numbers.
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nanvl",
    "pi",
    "power",
    "radians",
    "random",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    // Text.
    "ascii",
    "bit_length",
    "btrim",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "find_in_set",
    "initcap",
    "left",
    "lower",
    "ltrim",
    "octet_length",
    "replace",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substring",
    "substr_index",
    "to_hex",
    "translate",
    "upper",
    "encode",
    "decode",
    "md5",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "digest",
    // Patterns.
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    // Times.
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "make_time",
    "now",
    "to_char",
    "to_date",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    // Lists, vectors and structs.
    "array_distance",
    "array_distinct",
    "array_element",
    "array_has",
    "array_length",
    "array_max",
    "array_min",
    "array_position",
    "array_reverse",
    "array_slice",
    "array_sort",
    "array_to_string",
    "cardinality",
    "cosine_distance",
    "empty",
    "flatten",
    "get_field",
    "inner_product",
    "make_array",
];

/// Functions of many rows.
const AGGREGATE: &[&str] = &[
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Functions of a window.
const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// All functions, by every name that they have.
pub(super) struct Functions {
    pub(super) scalar: HashMap<String, Arc<ScalarUDF>>,
    pub(super) aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub(super) window: HashMap<String, Arc<WindowUDF>>,
    names: Vec<String>,
}

/// The functions of this server.
pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut functions =
        Functions { scalar: HashMap::new(), aggregate: HashMap::new(), window: HashMap::new(), names: Vec::new() };
    let mut names = BTreeSet::new();
    for function in SessionStateDefaults::default_scalar_functions() {
        if SCALAR.contains(&function.name()) {
            let function = growing::bounded(function);
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                functions.scalar.insert(name.to_owned(), Arc::clone(&function));
                names.insert(name.to_owned());
            }
        }
    }
    for function in SessionStateDefaults::default_aggregate_functions() {
        if AGGREGATE.contains(&function.name()) {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                functions.aggregate.insert(name.to_owned(), Arc::clone(&function));
                names.insert(name.to_owned());
            }
        }
    }
    for function in SessionStateDefaults::default_window_functions() {
        if WINDOW.contains(&function.name()) {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                functions.window.insert(name.to_owned(), Arc::clone(&function));
                names.insert(name.to_owned());
            }
        }
    }
    functions.names = names.into_iter().collect();
    functions
});

/// Whether queries may call a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    FUNCTIONS.names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
}

/// Every name of a function, ascending.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.names.iter().map(String::as_str)
}

/// Whether an aggregate function looks at all values again for each answer.
pub(super) fn sorts_its_frame(name: &str) -> bool {
    matches!(name, "median" | "percentile_cont" | "quantile_cont")
}

/// Whether a function's second argument is a regular expression.
pub(super) fn has_pattern(name: &str) -> bool {
    name.starts_with("regexp_")
}

/// Whether a function looks for its second argument at every place of its first, or for every character of it.
pub(super) fn seeks(name: &str) -> bool {
    matches!(name, "strpos" | "instr" | "position" | "btrim" | "trim" | "ltrim" | "rtrim")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_lists_is_there() {
        for name in SCALAR.iter().chain(AGGREGATE).chain(WINDOW) {
            assert!(is_known(name), "{name}");
        }
    }

    #[test]
    fn what_makes_much_of_little_reads_files_or_tells_of_the_server_is_not() {
        for name in [
            "repeat",
            "lpad",
            "rpad",
            "space",
            "range",
            "generate_series",
            "array_repeat",
            "array_resize",
            "string_agg",
            "read_csv",
            "read_parquet",
            "version",
            "uuid",
            "overlay",
            "levenshtein",
            "arrow_cast",
            "array_concat",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn the_documentation_lists_them_all() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sql.md")).unwrap();
        for name in names() {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }
}
