//! From SQLite's values to the crate's words and back. What does not fit is a damaged row, never a panic.

use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};

use crate::catalog::CatalogError;
use crate::model::{Epoch, Offset, SchemaVersion, Timestamp, TopicId};

/// A row with the name of its table, for messages.
pub(super) struct Reader<'r> {
    table: &'static str,
    row: &'r SqliteRow,
}

impl<'r> Reader<'r> {
    pub(super) fn new(table: &'static str, row: &'r SqliteRow) -> Self {
        Self { table, row }
    }

    pub(super) fn damaged(&self, column: &str, what: impl std::fmt::Display) -> CatalogError {
        CatalogError::damaged(format!("{}.{column}: {what}", self.table))
    }

    /// The value of a column as SQLite's own type.
    pub(super) fn plain<T: Decode<'r, Sqlite> + Type<Sqlite>>(&self, column: &str) -> Result<T, CatalogError> {
        self.row.try_get(column).map_err(|error| self.damaged(column, error))
    }

    pub(super) fn flag(&self, column: &str) -> Result<bool, CatalogError> {
        Ok(self.plain::<i64>(column)? != 0)
    }

    pub(super) fn count(&self, column: &str) -> Result<u64, CatalogError> {
        let number: i64 = self.plain(column)?;
        u64::try_from(number).map_err(|_| self.damaged(column, "negative"))
    }

    pub(super) fn offset(&self, column: &str) -> Result<Offset, CatalogError> {
        Offset::new(self.count(column)?).ok_or_else(|| self.damaged(column, "past the largest offset"))
    }

    pub(super) fn epoch(&self, column: &str) -> Result<Epoch, CatalogError> {
        Epoch::new(self.count(column)?).ok_or_else(|| self.damaged(column, "past the largest epoch"))
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, CatalogError> {
        Ok(Timestamp::from_micros(self.plain(column)?))
    }

    pub(super) fn topic(&self, column: &str) -> Result<TopicId, CatalogError> {
        TopicId::parse(self.plain(column)?).ok_or_else(|| self.damaged(column, "no UUID"))
    }

    pub(super) fn version(&self, column: &str) -> Result<Option<SchemaVersion>, CatalogError> {
        let Some(number) = self.plain::<Option<i64>>(column)? else { return Ok(None) };
        let version = u32::try_from(number).ok().and_then(SchemaVersion::new);
        version.map(Some).ok_or_else(|| self.damaged(column, "no schema version"))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, CatalogError> {
        serde_json::from_str(self.plain(column)?).map_err(|error| self.damaged(column, error))
    }
}

/// A number that SQLite can hold.
pub(super) fn to_sql(number: u64) -> Result<i64, CatalogError> {
    i64::try_from(number).map_err(|_| CatalogError::failed("a number is past 63 bits"))
}

/// Offsets are below 2^53.
pub(super) fn offset_to_sql(offset: Offset) -> Result<i64, CatalogError> {
    to_sql(offset.get())
}

/// A value as JSON text.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, CatalogError> {
    serde_json::to_string(value).map_err(|error| CatalogError::failed(error.to_string()))
}
