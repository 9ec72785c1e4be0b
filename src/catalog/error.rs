//! Why the catalog cannot do what it was asked to.

use sqlx::migrate::MigrateError;

/// Why the catalog cannot do what it was asked to. Nothing of the change is stored then, except where
/// [`CatalogError::Failed`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A living topic has the name.
    #[error("a topic of this name exists")]
    NameTaken,
    /// The schema version is not the one that comes next: somebody else has stored it.
    #[error("the schema version is taken")]
    VersionTaken,
    /// The cursor stands elsewhere by now, or is not there.
    #[error("the cursor stands elsewhere")]
    CursorMoved,
    /// The topic has as many cursors as it may.
    #[error("the topic has no room for another cursor")]
    TooManyCursors,
    /// The topic has as many indexes as it may.
    #[error("the topic has no room for another index")]
    TooManyIndexes,
    /// There is no such living topic, or no such tombstone.
    #[error("the topic is not in the catalog")]
    NotFound,
    /// The disk is full; the catalog goes on when there is room.
    #[error("the disk of the catalog is full")]
    DiskFull,
    /// A row holds what this server has not written.
    #[error("the catalog is damaged: {what}")]
    Damaged {
        /// Which value, and what is wrong with it.
        what: String,
    },
    /// The file is of another version of the service.
    #[error("the catalog cannot be used by this version of the service: {reason}")]
    Unsupported {
        /// What is different.
        reason: String,
    },
    /// SQLite failed. After a failed commit the change may come to light at the next start; until then it is not seen.
    #[error("the catalog failed: {cause}")]
    Failed {
        /// What SQLite answered.
        cause: String,
    },
}

/// SQLite's `SQLITE_FULL`.
const SQLITE_FULL: i32 = 13;

impl CatalogError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    pub(super) fn failed(cause: impl Into<String>) -> Self {
        Self::Failed { cause: cause.into() }
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        // The lowest byte is the primary code of an extended one.
        if code.is_some_and(|code| code & 0xff == SQLITE_FULL) {
            return Self::DiskFull;
        }
        Self::Failed { cause: error.to_string() }
    }
}

impl From<MigrateError> for CatalogError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Unsupported { reason: other.to_string() },
        }
    }
}
