//! Causes to [`TableError`]s.

use std::error::Error;
use std::io;

use tokio::task::JoinError;

use crate::codec::columns::ColumnsError;
use crate::codec::encode::EncodeError;
use crate::codec::reshape::ReshapeError;
use crate::table::TableError;

/// Whether the disk was full, wherever in the causes that is said.
fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        if matches!(error.downcast_ref::<TableError>(), Some(TableError::DiskFull)) {
            return true;
        }
        cause = error.source();
    }
    // Some of Lance's errors keep the text of their cause only.
    error.to_string().contains("os error 28")
}

fn failed(error: &(dyn Error + 'static)) -> TableError {
    if is_disk_full(error) { TableError::DiskFull } else { TableError::Failed { cause: error.to_string() } }
}

impl From<lance_core::Error> for TableError {
    fn from(error: lance_core::Error) -> Self {
        failed(&error)
    }
}

impl From<io::Error> for TableError {
    fn from(error: io::Error) -> Self {
        failed(&error)
    }
}

impl From<arrow_schema::ArrowError> for TableError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        failed(&error)
    }
}

impl From<ColumnsError> for TableError {
    fn from(error: ColumnsError) -> Self {
        failed(&error)
    }
}

impl From<EncodeError> for TableError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { .. } => failed(&error),
            _ => foreign(error.to_string()),
        }
    }
}

impl From<ReshapeError> for TableError {
    fn from(error: ReshapeError) -> Self {
        failed(&error)
    }
}

/// What is there is not what this server has written.
pub(super) fn foreign(reason: impl Into<String>) -> TableError {
    TableError::Foreign { reason: reason.into() }
}

/// The outcome of a task; a panic inside Lance is a failure of the call, not of the process.
pub(super) fn joined<T>(outcome: Result<Result<T, TableError>, JoinError>) -> Result<T, TableError> {
    outcome.unwrap_or_else(|error| Err(failed(&error)))
}

/// Runs file operations where they may block.
pub(super) async fn blocking<T, E, F>(work: F) -> Result<T, TableError>
where
    T: Send + 'static,
    E: Into<TableError> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let outcome = tokio::task::spawn_blocking(work).await;
    joined(outcome.map(|result| result.map_err(Into::into)))
}
