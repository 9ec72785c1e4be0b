//! Indexes of a table: which it is to have, and how far they are.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{IndexId, IndexName, Offset};
use crate::schema::{FieldPath, IndexSpec, Lineage};
use crate::table::TableError;

/// An index that a table is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Which one it is.
    pub id: IndexId,
    /// Its name.
    pub name: IndexName,
    /// The columns under their names of today.
    pub columns: Vec<FieldPath>,
    /// How earlier names became those: the dataset may not have followed yet.
    pub lineage: Arc<Lineage>,
    /// Its kind and parameters.
    pub spec: IndexSpec,
    /// It is complete for the first time when it has the records before this offset.
    pub from: Offset,
}

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// What it is to begin with is not there yet.
    Building,
    /// It can be searched; what has come since is looked at row by row until it is brought up to date.
    Ready,
    /// It could not be built the last time; it is tried again.
    Failed,
}

impl IndexState {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// How an index stands.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexStanding {
    /// Which one.
    pub id: IndexId,
    /// How far it is.
    pub state: IndexState,
    /// How much of what is being built is done, from 0 to 1; 1 where it is ready.
    pub progress: f64,
    /// How many of the table's rows from an offset on it has.
    pub rows: u64,
    /// Why it could not be built, in a sentence for a client.
    pub error: Option<String>,
}

/// Gives a table indexes: those that [`TableSettings`](crate::table::TableSettings) name are built in the background, brought
/// up to date as rows come, and removed when they are named no more, beside appends and reads.
#[async_trait]
pub trait Indexed: Send + Sync {
    /// How each of the indexes stands; rows before `earliest` are not counted.
    ///
    /// # Errors
    /// [`TableError`] when that could not be read.
    async fn standing(&self, earliest: Offset) -> Result<Vec<IndexStanding>, TableError>;
}
