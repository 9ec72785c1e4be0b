//! What the planner and its operators answer, in the API's terms: what a person can act on, and nothing of the inside.

use datafusion::common::diagnostic::Diagnostic;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::model::Problem;
use crate::sql::limits::QueryLimits;
use crate::sql::text::{refused, refused_at, shortened};

/// A problem on its way through operators.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub(super) struct Told(pub(super) Problem);

/// A problem as operators hand it on.
pub(super) fn told(problem: Problem) -> DataFusionError {
    DataFusionError::External(Box::new(Told(problem)))
}

/// The problem of a query that takes too long.
pub(super) fn timed_out(limits: &QueryLimits) -> Problem {
    let seconds = limits.timeout.as_secs();
    let detail =
        format!("The query took longer than {seconds} s; ask for less, as by a range of _offset or _timestamp.");
    refused(detail).with_limit(seconds)
}

/// The problem of a query whose answer nobody takes.
pub(super) fn untaken(limits: &QueryLimits) -> Problem {
    let seconds = limits.reader_patience.as_secs_f32();
    refused(format!("The query was ended, as nothing of its answer was taken for {seconds} s; read it as it comes."))
}

fn out_of_memory(limits: &QueryLimits) -> Problem {
    let bytes = limits.memory_bytes;
    let detail = format!(
        "The query needs more than {bytes} bytes of memory for its groups, joins, sorts and windows; ask for less."
    );
    refused(detail).with_limit(bytes)
}

/// The problem that an error is for the client.
pub(super) fn problem(sql: &str, limits: &QueryLimits, error: &DataFusionError) -> Problem {
    let place = error.iter().find_map(place_of);
    match inner(error) {
        DataFusionError::External(cause) => match cause.downcast_ref::<Told>() {
            Some(Told(problem)) => problem.clone(),
            None => fault(error),
        },
        DataFusionError::ResourcesExhausted(_) => out_of_memory(limits),
        DataFusionError::ArrowError(cause, _) => match &**cause {
            datafusion::arrow::error::ArrowError::ExternalError(inside) => match inside.downcast_ref::<Told>() {
                Some(Told(problem)) => problem.clone(),
                None => fault(error),
            },
            datafusion::arrow::error::ArrowError::MemoryError(_) => out_of_memory(limits),
            cause => refused(format!("The query fails on its values: {}.", shortened(&cause.to_string()))),
        },
        DataFusionError::Plan(message) | DataFusionError::Configuration(message) => {
            placed(sql, place, format!("The query cannot be run: {}.", without_internals(message)))
        }
        DataFusionError::SchemaError(cause, _) => placed(sql, place, unknown(cause)),
        DataFusionError::SQL(cause, _) => {
            placed(sql, place, format!("The query cannot be run: {}.", shortened(&cause.to_string())))
        }
        DataFusionError::NotImplemented(message) => {
            placed(sql, place, format!("The query asks for what is not served: {}.", unserved(message)))
        }
        DataFusionError::Execution(message) => {
            refused(format!("The query fails on its values: {}.", without_internals(message)))
        }
        // What it says of lists of lists, of structs or of vectors.
        DataFusionError::Internal(message) if message.starts_with("Uncomparable values") => refused(
            "The query compares lists of lists, of structs or of vectors, as by min or max: these have no order.",
        ),
        _ => fault(error),
    }
}

/// An error of a step that says what a statement means and which types its expressions have: where the planner has no type
/// for what is asked, it calls that internal, and it is the statement that is wrong.
pub(super) fn mistaken(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Internal(message) => DataFusionError::Plan(message),
        DataFusionError::Context(about, inside) => DataFusionError::Context(about, Box::new(mistaken(*inside))),
        DataFusionError::Diagnostic(place, inside) => DataFusionError::Diagnostic(place, Box::new(mistaken(*inside))),
        DataFusionError::Collection(errors) => DataFusionError::Collection(errors.into_iter().map(mistaken).collect()),
        error => error,
    }
}

/// An error without what was wrapped round it.
fn inner(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inside) | DataFusionError::Diagnostic(_, inside) => inner(inside),
        DataFusionError::Shared(inside) => inner(inside),
        DataFusionError::Collection(errors) => errors.first().map_or(error, inner),
        DataFusionError::External(cause) => cause.downcast_ref::<DataFusionError>().map_or(error, inner),
        DataFusionError::ArrowError(cause, _) => match &**cause {
            datafusion::arrow::error::ArrowError::ExternalError(inside) => {
                inside.downcast_ref::<DataFusionError>().map_or(error, inner)
            }
            _ => error,
        },
        _ => error,
    }
}

fn place_of(error: &DataFusionError) -> Option<Location> {
    let span = error.diagnostic().and_then(|found: &Diagnostic| found.span)?;
    Some(Location::of(span.start.line, span.start.column))
}

fn placed(sql: &str, place: Option<Location>, detail: String) -> Problem {
    match place {
        Some(place) => refused_at(sql, place, detail),
        None => refused(detail),
    }
}

fn unknown(cause: &SchemaError) -> String {
    match cause {
        SchemaError::FieldNotFound { field, valid_fields } if valid_fields.is_empty() => {
            format!("No column can stand where {} does.", shortened(&field.name))
        }
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known: Vec<String> = valid_fields.iter().take(20).map(|field| field.name.clone()).collect();
            format!("There is no column {}; there are: {}.", shortened(&field.name), shortened(&known.join(", ")))
        }
        SchemaError::AmbiguousReference { field } => {
            format!("Several tables have a column {}; write the table before it.", shortened(&field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            format!("Two columns are named {}; give one an alias.", shortened(name))
        }
    }
}

/// A message without what only those understand who know the planner.
fn without_internals(message: &str) -> String {
    let message = message.split("\n\nbacktrace:").next().unwrap_or_default();
    let message = message.split("This issue was likely caused by a bug").next().unwrap_or_default();
    // What each form of a function says of the arguments.
    let message = message.split(", errors: ").next().unwrap_or_default();
    let mut plain = message.replace("Internal error: ", "").replace("Error during planning: ", "");
    // Marks of columns, in the names of types.
    while let Some(begin) = plain.find(", metadata: {")
        && let Some(length) = plain.get(begin..).and_then(|rest| rest.find('}'))
    {
        plain.replace_range(begin..=begin + length, "");
    }
    shortened(&plain)
}

/// What the query asks for that the planner has no operator for.
fn unserved(message: &str) -> String {
    match message.starts_with("Physical plan does not support logical expression") {
        true => {
            "IN (SELECT …) and EXISTS stand in WHERE, and a subquery refers to the query around it by = alone, as in \
                 WHERE b.k = a.k; join instead"
                .to_owned()
        }
        false => without_internals(message),
    }
}

fn fault(error: &DataFusionError) -> Problem {
    tracing::error!(error = %error.strip_backtrace(), "a query failed");
    Problem::internal()
}

/// The problem of an operator that is at fault itself.
pub(super) fn panicked(error: &tokio::task::JoinError) -> Problem {
    if error.is_panic() {
        tracing::error!(%error, "a query panicked");
    }
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorCode;

    #[test]
    fn an_internal_error_is_the_clients_only_where_the_statement_gets_its_meaning() {
        let error = || {
            let message = "Failed to coerce types Boolean and Int64 in BETWEEN expression\n\nbacktrace: 0: src/a.rs";
            let inside = DataFusionError::Internal(message.to_owned()).context("type_coercion");
            DataFusionError::Collection(vec![inside.with_diagnostic(Diagnostic::new_error("wrong", None))])
        };
        let told = |error: &DataFusionError| problem("SELECT 1", &QueryLimits::default(), error);
        assert_eq!(told(&error()).code, ErrorCode::Internal);
        let mistake = told(&mistaken(error()));
        assert_eq!(mistake.code, ErrorCode::InvalidBody);
        let expected = "The query cannot be run: Failed to coerce types Boolean and Int64 in BETWEEN expression.";
        assert_eq!(mistake.detail, expected);
        let whole = DataFusionError::Plan(DataFusionError::Internal("No type".to_owned()).to_string());
        assert_eq!(told(&whole).detail, "The query cannot be run: No type.");
    }
}
