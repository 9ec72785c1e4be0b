//! Older versions of a table: listed, read, named, and taken as the beginning of another one.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::{TableError, TableHead, TablePlace, TableView};
use crate::model::{Offset, SchemaVersion, TagName, Timestamp};

/// What a version says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSummary {
    /// Its number.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The offset of its first record: rows before it may be there that were not kept any more when it was made.
    pub base: Offset,
    /// The offset past its last row.
    pub next: Offset,
    /// The schema version that its rows read under as they were stored; none where it does not say.
    pub schema: Option<SchemaVersion>,
    /// Why it was made.
    pub cause: String,
}

/// A version by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The name.
    pub name: TagName,
    /// When the name was given first.
    pub created_at: Timestamp,
    /// The version that it leads to.
    pub about: VersionSummary,
}

/// A version to be read. What it needs stays on disk for as long as this is held, unless its removal had begun before.
#[derive(Clone)]
pub struct Past {
    /// Its rows.
    pub view: Arc<dyn TableView>,
    /// What it says of itself.
    pub about: VersionSummary,
}

/// The versions of one table. Tags and forks are durable when they are answered.
#[async_trait]
pub trait Versions: Send + Sync {
    /// A version as readers see it.
    ///
    /// # Errors
    /// [`TableError::VersionGone`] for one that is not kept or never was.
    async fn at(&self, version: u64) -> Result<Past, TableError>;

    /// At most `limit` of the versions before `below` (all for none), newest first.
    ///
    /// # Errors
    /// [`TableError`] when they could not be read.
    async fn versions(&self, below: Option<u64>, limit: usize) -> Result<Vec<VersionSummary>, TableError>;

    /// Every tag, by name.
    ///
    /// # Errors
    /// [`TableError`] when they could not be read.
    async fn tags(&self) -> Result<Vec<Tag>, TableError>;

    /// One tag; none where there is no such tag.
    ///
    /// # Errors
    /// [`TableError::VersionGone`] where somebody else has named what is not kept; [`TableError`] when it could not be read.
    async fn tag(&self, name: &TagName) -> Result<Option<Tag>, TableError>;

    /// Names a version, none for the newest; true where the name is new. A tagged version is not cleaned up.
    ///
    /// # Errors
    /// [`TableError::VersionGone`] for one that is not kept; [`TableError`] where the tag could not be made durable.
    async fn put_tag(&self, name: &TagName, version: Option<u64>) -> Result<(Tag, bool), TableError>;

    /// Forgets a tag; false where there is none.
    ///
    /// # Errors
    /// [`TableError`] where that could not be made durable.
    async fn delete_tag(&self, name: &TagName) -> Result<bool, TableError>;

    /// Makes a dataset of its own at a place that has none, with the rows of a version before the end of a range, their
    /// offsets, columns and steps; its own versions have no records before the beginning. Neither of the two ever needs the
    /// other.
    ///
    /// # Errors
    /// [`TableError`]; what lies at the place then is to be removed.
    async fn fork(&self, version: u64, range: Range<Offset>, to: &TablePlace) -> Result<Arc<TableHead>, TableError>;
}
