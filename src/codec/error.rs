//! Why a body is refused.

use crate::model::{ErrorCode, Problem, RecordError};
use crate::schema::{COLUMNS_MAX, FieldPath};

/// The types of Arrow that columns take.
const ARROW_TYPES: [&str; 19] = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "utf8",
    "binary",
    "date32",
    "timestamp",
    "list",
    "fixed_size_list",
    "struct",
];

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
        /// The line at which the first of them begins; 0 where the body has no lines.
        line: u64,
    },
    /// A record's text is over its limit.
    #[error("Record {record} is larger than {limit} bytes.")]
    RecordTooLarge {
        /// Bytes allowed.
        limit: u64,
        /// The record's index.
        record: u64,
        /// The line at which it begins; 0 where the body has no lines.
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
    /// The body is not a stream of Arrow's.
    #[error("The body is not a sound Arrow IPC stream: {reason}.")]
    InvalidArrow {
        /// What is wrong, a clause.
        reason: String,
    },
    /// A message of a stream is over its limit.
    #[error("A message of the Arrow stream has more than {limit} bytes when decompressed: write smaller batches.")]
    MessageTooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// A column of Arrow has a type that no column of a topic has.
    #[error(
        "Column `{path}` has the Arrow type {data_type}, which no column takes: cast it before sending, numbers to float64 or \
         int64, times to timestamp, anything else to string."
    )]
    UnsupportedType {
        /// The column.
        path: FieldPath,
        /// Its type, as Arrow writes it.
        data_type: String,
    },
    /// The server has no memory for what the body becomes.
    #[error("The requests in flight fill the server's memory budget; send the request again after a pause.")]
    NoRoom {
        /// The budget in bytes.
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
            DecodeError::BatchTooLarge { .. } | DecodeError::MessageTooLarge { .. } => ErrorCode::BodyTooLarge,
            DecodeError::InvalidArrow { .. } => ErrorCode::InvalidBody,
            DecodeError::UnsupportedType { .. } => ErrorCode::SchemaConflict,
            DecodeError::NoRoom { .. } => ErrorCode::Overloaded,
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
            | DecodeError::InvalidArrow { .. }
            | DecodeError::MessageTooLarge { .. }
            | DecodeError::UnsupportedType { .. }
            | DecodeError::NoRoom { .. }
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
                problem.line = Some(line).filter(|line| *line > 0);
            }
            DecodeError::RecordTooLarge { limit, line, .. } => {
                problem.limit = Some(limit);
                problem.line = Some(line).filter(|line| *line > 0);
            }
            DecodeError::TooManyRecords { limit }
            | DecodeError::BatchTooLarge { limit }
            | DecodeError::NoRoom { limit }
            | DecodeError::MessageTooLarge { limit } => {
                problem.limit = Some(limit);
            }
            DecodeError::TooManyColumns => problem.limit = Some(COLUMNS_MAX as u64),
            DecodeError::UnsupportedType { path, .. } => {
                problem = problem.allowing(ARROW_TYPES);
                let detail = problem.detail.clone().into_owned();
                problem.errors = vec![RecordError { record: 0, pointer: path.pointer(), code: problem.code, detail }];
            }
            DecodeError::InvalidArrow { .. } | DecodeError::EmptyBatch => {}
        }
        problem
    }
}
