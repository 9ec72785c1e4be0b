//! The indexes of a topic's dataset.

use super::lane::Lane;
use super::storage_error;
use crate::backend::StorageError;
use crate::model::Offset;
use crate::table::{IndexDefinition, IndexStanding};

impl Lane {
    /// Says which indexes the dataset is to have, now or when it is opened.
    pub(crate) fn want_indexes(&self, wanted: Vec<IndexDefinition>) {
        self.store_as(|settings| settings.indexes = wanted.into());
    }

    /// How each of them stands; records before `earliest` are not counted.
    ///
    /// # Errors
    /// [`StorageError`] where that could not be read.
    pub(crate) async fn index_standing(&self, earliest: Offset) -> Result<Vec<IndexStanding>, StorageError> {
        let table = self.table().await?;
        match table.indexed() {
            Some(indexed) => indexed.standing(earliest).await.map_err(|err| storage_error(&err)),
            None => Ok(Vec::new()),
        }
    }
}
