//! Older versions of a topic's dataset, for whoever reads, names or forks them.

use std::ops::Range;
use std::sync::Arc;

use super::lane::Lane;
use super::storage_error;
use crate::backend::StorageError;
use crate::model::{Offset, TagName};
use crate::table::{Past, TableError, TableHead, TablePlace, Tag, VersionSummary};

fn told<T>(outcome: Result<T, TableError>) -> Result<T, StorageError> {
    outcome.map_err(|err| storage_error(&err))
}

impl Lane {
    /// A version as readers see it.
    ///
    /// # Errors
    /// [`StorageError::VersionExpired`] for one that is not kept.
    pub(crate) async fn at(&self, version: u64) -> Result<Past, StorageError> {
        told(self.table().await?.at(version).await)
    }

    /// At most `limit` of the versions before `below`, newest first.
    ///
    /// # Errors
    /// [`StorageError`] where they could not be read.
    pub(crate) async fn versions(&self, below: Option<u64>, limit: usize) -> Result<Vec<VersionSummary>, StorageError> {
        told(self.table().await?.versions(below, limit).await)
    }

    /// Every tag, by name.
    ///
    /// # Errors
    /// [`StorageError`] where they could not be read.
    pub(crate) async fn tags(&self) -> Result<Vec<Tag>, StorageError> {
        told(self.table().await?.tags().await)
    }

    /// One tag.
    ///
    /// # Errors
    /// [`StorageError`] where it could not be read.
    pub(crate) async fn tag(&self, name: &TagName) -> Result<Option<Tag>, StorageError> {
        told(self.table().await?.tag(name).await)
    }

    /// Names a version, none for the newest, durably; true where the name is new.
    ///
    /// # Errors
    /// [`StorageError::VersionExpired`] for one that is not kept; [`StorageError`] where the tag could not be written.
    pub(crate) async fn put_tag(&self, name: &TagName, version: Option<u64>) -> Result<(Tag, bool), StorageError> {
        told(self.table().await?.put_tag(name, version).await)
    }

    /// Forgets a tag, durably; false where there is none.
    ///
    /// # Errors
    /// [`StorageError`] where that could not be written.
    pub(crate) async fn delete_tag(&self, name: &TagName) -> Result<bool, StorageError> {
        told(self.table().await?.delete_tag(name).await)
    }

    /// Makes a dataset of its own with the records of a version in a range, durably.
    ///
    /// # Errors
    /// [`StorageError`]; what lies at the place then is to be removed.
    pub(crate) async fn fork(
        &self,
        version: u64,
        range: Range<Offset>,
        to: &TablePlace,
    ) -> Result<Arc<TableHead>, StorageError> {
        told(self.table().await?.fork(version, range, to).await)
    }

    /// The dataset's newest version; 0 before the first.
    ///
    /// # Errors
    /// [`StorageError`] where it could not be opened.
    pub(crate) async fn newest_version(&self) -> Result<u64, StorageError> {
        Ok(self.table().await?.head().version)
    }
}
