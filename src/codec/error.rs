//! Why a body is refused.

use crate::model::{ErrorCode, Problem, RecordError};
use crate::schema::COLUMNS_MAX;

/// Why a body is refused. Lines and columns count from 1 in the decoded body; a column counts characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is no JSON. Wins over errors of records: what is no JSON has no records.
    #[error("The body is not JSON at line {line}, column {column}: {reason}.")]
    InvalidJson {
        /// The line.
        line: u64,
        /// The column.
        column: u64,
        /// What is wrong there, a clause.
        reason: &'static str,
    },
    /// Records that the topic cannot take.
    #[error("{}", summary(.errors))]
    InvalidRecords {
        /// The first error of each record, in order, at most [`Problem::ERRORS_MAX`], at least one.
        errors: Vec<RecordError>,
        /// The line at which the first of them begins.
        line: u64,
    },
    /// A record's text is over its limit.
    #[error("Record {record} is larger than {limit} bytes.")]
    RecordTooLarge {
        /// Bytes allowed.
        limit: u64,
        /// The record's index.
        record: u64,
        /// The line at which it begins.
        line: u64,
    },
    /// More records than one request can have.
    #[error("The body has more than {limit} records: send it in several requests.")]
    TooManyRecords {
        /// How many are allowed.
        limit: u64,
    },
    /// The records' text in its one form is over what one append can hold.
    #[error("The records take more than {limit} bytes as they are kept: send them in several requests.")]
    BatchTooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// There is no record.
    #[error("The body has no record.")]
    EmptyBatch,
    /// The batch would bring the topic over its columns, by which record is not known.
    #[error(
        "The topic would have more than {COLUMNS_MAX} leaf columns: declare objects with many different keys as `json`."
    )]
    TooManyColumns,
}

fn summary(errors: &[RecordError]) -> String {
    match errors {
        [] => "A record is refused.".to_owned(),
        [first] => format!("Record {}: {}", first.record, first.detail),
        [first, rest @ ..] => {
            let bound = if errors.len() < Problem::ERRORS_MAX { "" } else { "at least " };
            format!("Record {}: {} ({bound}{} more records are refused.)", first.record, first.detail, rest.len())
        }
    }
}

impl DecodeError {
    /// The API's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            DecodeError::InvalidJson { .. } => ErrorCode::InvalidJson,
            DecodeError::InvalidRecords { errors, .. } => {
                errors.first().map_or(ErrorCode::InvalidRecord, |error| error.code)
            }
            DecodeError::RecordTooLarge { .. } => ErrorCode::RecordTooLarge,
            DecodeError::TooManyRecords { .. } => ErrorCode::TooManyRecords,
            DecodeError::BatchTooLarge { .. } => ErrorCode::BodyTooLarge,
            DecodeError::EmptyBatch => ErrorCode::EmptyBatch,
            DecodeError::TooManyColumns => ErrorCode::TooManyColumns,
        }
    }

    /// The error of a piece as one of the whole body: `lines` and `records` lie before the piece.
    #[must_use]
    pub fn behind(mut self, lines: u64, records: u64) -> Self {
        match &mut self {
            DecodeError::InvalidJson { line, .. } => *line += lines,
            DecodeError::InvalidRecords { errors, line } => {
                *line += lines;
                errors.iter_mut().for_each(|error| error.record += records);
            }
            DecodeError::RecordTooLarge { record, line, .. } => {
                *line += lines;
                *record += records;
            }
            DecodeError::TooManyRecords { .. }
            | DecodeError::BatchTooLarge { .. }
            | DecodeError::EmptyBatch
            | DecodeError::TooManyColumns => {}
        }
        self
    }

    /// The answer to the client.
    pub fn into_problem(self) -> Problem {
        let mut problem = Problem::new(self.code(), self.to_string());
        match self {
            DecodeError::InvalidJson { line, column, .. } => problem = problem.at(line, column),
            DecodeError::InvalidRecords { errors, line } => {
                if problem.code == ErrorCode::TooManyColumns {
                    problem.limit = Some(COLUMNS_MAX as u64);
                }
                problem.errors = errors;
                problem.line = Some(line);
            }
            DecodeError::RecordTooLarge { limit, line, .. } => {
                problem.limit = Some(limit);
                problem.line = Some(line);
            }
            DecodeError::TooManyRecords { limit } | DecodeError::BatchTooLarge { limit } => {
                problem.limit = Some(limit);
            }
            DecodeError::TooManyColumns => problem.limit = Some(COLUMNS_MAX as u64),
            DecodeError::EmptyBatch => {}
        }
        problem
    }
}
