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

    /// The dataset's newest version as readers see it; none before the first.
    ///
    /// # Errors
    /// [`StorageError`] where it could not be opened.
    pub(crate) async fn newest(&self) -> Result<Option<Past>, StorageError> {
        let table = self.table().await?;
        told(newest(|| table.head().version, |version| table.at(version)).await)
    }
}

/// What is the newest of versions, by how they are numbered and opened; none where the newest is 0.
async fn newest<T, F: Future<Output = Result<T, TableError>>>(
    number: impl Fn() -> u64,
    open: impl Fn(u64) -> F,
) -> Result<Option<T>, TableError> {
    let mut version = number();
    while version > 0 {
        match open(version).await {
            // Commits and a clean-up have come in between.
            Err(TableError::VersionGone { .. }) if number() != version => version = number(),
            opened => return opened.map(Some),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn the_newest_version_is_there_whatever_is_cleaned_up_meanwhile() {
        let head = Cell::new(3);
        // A commit and a clean-up come before the first two looks.
        let open = |version: u64| {
            if version < 5 {
                head.set(version + 1);
            }
            let is_kept = head.get() == version;
            async move { if is_kept { Ok(version) } else { Err(TableError::VersionGone { version }) } }
        };
        assert!(matches!(newest(|| head.get(), open).await, Ok(Some(5))));
        assert!(matches!(newest(|| 0, open).await, Ok(None)));
        let gone = |version| async move { Err::<(), _>(TableError::VersionGone { version }) };
        assert!(matches!(newest(|| 7, gone).await, Err(TableError::VersionGone { version: 7 })));
    }
}
