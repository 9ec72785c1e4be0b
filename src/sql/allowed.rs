//! The syntax that queries may use. What is not named here is refused: most of what the parser knows belongs to other
//! databases, and some of it would be ignored by the planner in silence.

use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, CeilFloorKind, DataType, Distinct, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, ObjectNamePart, Query, Select, SelectItem, TableFactor,
    UnaryOperator, Value,
};

use crate::model::Problem;
use crate::sql::functions;
use crate::sql::limits::{CUBE_MAX, GROUPING_SETS_MAX, IN_LIST_MAX};
use crate::sql::patterns::{Patterns, check_like, check_number, check_pattern, check_sought};
use crate::sql::text::refused;

/// How deep the type of an array may be.
const ARRAY_DEPTH_MAX: usize = 8;

/// Refuses the clauses of a query that are not served.
pub(super) fn query(query: &Query) -> Result<(), String> {
    let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
    for (given, clause) in [
        (recursive, "WITH RECURSIVE"),
        (!query.locks.is_empty(), "FOR UPDATE"),
        (query.for_clause.is_some(), "FOR XML"),
        (query.settings.is_some(), "SETTINGS"),
        (query.format_clause.is_some(), "FORMAT"),
        (!query.pipe_operators.is_empty(), "|>"),
    ] {
        if given {
            return Err(format!("{clause} is not served."));
        }
    }
    Ok(())
}

/// Refuses the clauses of a SELECT that are not served.
pub(super) fn select(select: &Select) -> Result<(), String> {
    let by_pattern = |item: &SelectItem| match item {
        SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => options.opt_ilike.is_some(),
        _ => false,
    };
    for (given, clause) in [
        (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
        (select.projection.iter().any(by_pattern), "* ILIKE"),
        (select.into.is_some(), "SELECT INTO"),
        (select.top.is_some(), "TOP"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.value_table_mode.is_some(), "SELECT AS VALUE"),
    ] {
        if given {
            return Err(format!("{clause} is not served."));
        }
    }
    grouping(&select.group_by)
}

/// Bounds the sets that are grouped by: CUBE has one for each subset of its columns, and several of them multiply.
fn grouping(group_by: &GroupByExpr) -> Result<(), String> {
    let (expressions, modifiers) = match group_by {
        GroupByExpr::All(modifiers) => (&[][..], modifiers),
        GroupByExpr::Expressions(expressions, modifiers) => (expressions.as_slice(), modifiers),
    };
    if !modifiers.is_empty() {
        return Err(
            "GROUP BY ... WITH is not served; write ROLLUP (...), CUBE (...) or GROUPING SETS (...).".to_owned()
        );
    }
    let sets =
        expressions.iter().filter(|expr| matches!(expr, Expr::Cube(_) | Expr::Rollup(_) | Expr::GroupingSets(_)));
    if sets.count() > 1 {
        return Err("GROUP BY has at most one of ROLLUP, CUBE and GROUPING SETS.".to_owned());
    }
    for expression in expressions {
        match expression {
            Expr::Cube(columns) if columns.len() > CUBE_MAX => {
                return Err(format!("CUBE has at most {CUBE_MAX} columns."));
            }
            Expr::Rollup(sets) | Expr::GroupingSets(sets) if sets.len() > GROUPING_SETS_MAX => {
                return Err(format!("At most {GROUPING_SETS_MAX} sets can be grouped by."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses what is no topic, no subquery and no join.
pub(super) fn table(table: &TableFactor) -> Result<(), String> {
    match table {
        TableFactor::Table {
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } => {
            if args.is_some() {
                return Err("There are no table functions: tables are topics.".to_owned());
            }
            let odd = !with_hints.is_empty()
                || version.is_some()
                || *with_ordinality
                || !partitions.is_empty()
                || json_path.is_some()
                || sample.is_some()
                || !index_hints.is_empty();
            if odd {
                Err("A table is a topic's name, and an alias; nothing else is served.".to_owned())
            } else {
                Ok(())
            }
        }
        TableFactor::Derived { lateral: false, sample: None, .. } | TableFactor::NestedJoin { .. } => Ok(()),
        TableFactor::Derived { .. } => Err("LATERAL and TABLESAMPLE are not served.".to_owned()),
        TableFactor::UNNEST { .. } => {
            Err("UNNEST is not served; use array_element, array_has and the like.".to_owned())
        }
        _ => Err("There are no table functions, PIVOT or the like: tables are topics.".to_owned()),
    }
}

/// Refuses an expression that is not served; what is inside it is looked at on its own.
pub(super) fn expression(expr: &Expr, patterns: &mut Patterns) -> Result<(), Problem> {
    let not_served = |what: &str| Err(refused(format!("{what} is not served.")));
    match expr {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::CompoundFieldAccess { .. }
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::AtTimeZone { .. }
        | Expr::Extract { .. }
        | Expr::Ceil { field: CeilFloorKind::DateTimeField(_), .. }
        | Expr::Floor { field: CeilFloorKind::DateTimeField(_), .. }
        | Expr::Substring { .. }
        | Expr::Nested(_)
        | Expr::Case { .. }
        | Expr::Exists { .. }
        | Expr::Subquery(_)
        | Expr::GroupingSets(_)
        | Expr::Cube(_)
        | Expr::Rollup(_)
        | Expr::Tuple(_)
        | Expr::Interval(_)
        | Expr::Array(Array { .. }) => Ok(()),
        Expr::InList { list, .. } if list.len() > IN_LIST_MAX => {
            Err(refused(format!("A list of IN has at most {IN_LIST_MAX} values.")).with_limit(IN_LIST_MAX as u64))
        }
        Expr::InList { .. } => Ok(()),
        Expr::Position { expr, .. } => check_sought("position", expr),
        Expr::Trim { trim_what, trim_characters, .. } => trim_what
            .iter()
            .map(AsRef::as_ref)
            .chain(trim_characters.iter().flatten())
            .try_for_each(|what| check_sought("trim", what)),
        Expr::BinaryOp { op, right, .. } => binary(op, right, patterns),
        Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, .. } => Ok(()),
        Expr::SimilarTo { pattern, .. } => check_pattern(pattern, patterns),
        Expr::Like { any: false, pattern, .. } | Expr::ILike { any: false, pattern, .. } => {
            check_like(pattern, patterns)
        }
        Expr::Cast { kind, data_type, format: None, array: false, .. } => match kind {
            CastKind::Cast | CastKind::TryCast | CastKind::DoubleColon => cast(data_type, 0),
            CastKind::SafeCast => not_served("SAFE_CAST"),
        },
        Expr::TypedString(typed) => cast(&typed.data_type, 0),
        Expr::Value(value) => match &value.value {
            Value::Number(..)
            | Value::SingleQuotedString(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::HexStringLiteral(_) => Ok(()),
            _ => not_served("This kind of literal"),
        },
        Expr::Function(function) => call(function, patterns),
        Expr::UnaryOp { op, .. } => not_served(&format!("The operator {op}")),
        other => {
            let written: String = other.to_string().chars().take(60).collect();
            not_served(&format!("The syntax of \"{written}\""))
        }
    }
}

fn binary(op: &BinaryOperator, right: &Expr, patterns: &mut Patterns) -> Result<(), Problem> {
    use BinaryOperator as Op;
    match op {
        Op::Plus
        | Op::Minus
        | Op::Multiply
        | Op::Divide
        | Op::Modulo
        | Op::StringConcat
        | Op::Gt
        | Op::Lt
        | Op::GtEq
        | Op::LtEq
        | Op::Eq
        | Op::NotEq
        | Op::And
        | Op::Or
        | Op::BitwiseOr
        | Op::BitwiseAnd
        | Op::BitwiseXor
        | Op::PGBitwiseShiftLeft
        | Op::PGBitwiseShiftRight => Ok(()),
        Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch => {
            check_pattern(right, patterns)
        }
        other => Err(refused(format!("The operator {other} is not served."))),
    }
}

/// Types without a length of their own: some of those make a value as large as they say.
fn cast(data_type: &DataType, depth: usize) -> Result<(), Problem> {
    match data_type {
        DataType::Text
        | DataType::String(None)
        | DataType::Varchar(None)
        | DataType::Char(None)
        | DataType::TinyInt(None)
        | DataType::SmallInt(None)
        | DataType::Int2(None)
        | DataType::Int(None)
        | DataType::Int4(None)
        | DataType::Integer(None)
        | DataType::Int8(None)
        | DataType::BigInt(None)
        | DataType::TinyIntUnsigned(None)
        | DataType::SmallIntUnsigned(None)
        | DataType::IntUnsigned(None)
        | DataType::IntegerUnsigned(None)
        | DataType::BigIntUnsigned(None)
        | DataType::Real
        | DataType::Float4
        | DataType::Float8
        | DataType::Float(_)
        | DataType::Double(_)
        | DataType::DoublePrecision
        | DataType::Decimal(_)
        | DataType::Numeric(_)
        | DataType::Bool
        | DataType::Boolean
        | DataType::Date
        | DataType::Timestamp(..)
        | DataType::Time(..)
        | DataType::Bytea
        | DataType::Interval { .. } => Ok(()),
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, None) | ArrayElemTypeDef::AngleBracket(item))
            if depth < ARRAY_DEPTH_MAX =>
        {
            cast(item, depth + 1)
        }
        other => Err(refused(format!("The type {other} is not served.")).allowing([
            "BOOLEAN",
            "SMALLINT",
            "INT",
            "BIGINT",
            "BIGINT UNSIGNED",
            "REAL",
            "DOUBLE",
            "DECIMAL(p, s)",
            "TEXT",
            "BYTEA",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "INTERVAL",
            "type[]",
        ])),
    }
}

fn call(function: &Function, patterns: &mut Patterns) -> Result<(), Problem> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return Err(refused(format!("There is no function {}.", function.name)));
    };
    if !functions::is_known(&name.value) {
        let detail = format!("There is no function {}, or it is not allowed in queries.", function.name);
        return Err(refused(detail).allowing(functions::names()));
    }
    if function.uses_odbc_syntax || !matches!(function.parameters, FunctionArguments::None) {
        return Err(refused("A function is called as name(arguments)."));
    }
    if function.over.is_some() && name.value == "array_agg" {
        return Err(refused("array_agg over a window would have a list of all rows for each row: it is not served."));
    }
    if function.over.is_some() && functions::sorts_its_frame(&name.value) {
        let detail =
            format!("{name} over a window would sort the whole frame for each row: it is served for groups only.");
        return Err(refused(detail));
    }
    if name.value.starts_with("approx_percentile_cont")
        && let FunctionArguments::List(list) = &function.args
        && list.args.len() + list.clauses.len() + function.within_group.len() > 2
    {
        // Room for all of them is made before there is a value.
        return Err(refused(format!("{name} has no number of centroids: it is called with a value and a fraction.")));
    }
    let second = argument(function, 1);
    if functions::has_pattern(&name.value) {
        match second {
            Some(pattern) => check_pattern(pattern, patterns)?,
            None => return Err(refused(format!("{name}(text, pattern) has a pattern as its second argument."))),
        }
    }
    match (name.value.as_str(), second) {
        (function, Some(sought)) if functions::seeks(function) => check_sought(function, sought),
        ("nth_value", Some(place)) => check_number("The second argument of nth_value", place),
        ("array_slice" | "list_slice", Some(_)) => match argument(function, 3) {
            Some(step) => check_number("The step of array_slice", step),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn argument(function: &Function, at: usize) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.get(at)? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}
