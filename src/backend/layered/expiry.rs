//! What is no longer kept of a topic's dataset.

use super::lane::Lane;
use super::storage_error;
use crate::backend::StorageError;
use crate::model::Offset;

impl Lane {
    /// Tells the dataset where the topic begins: what it drops by itself, and what its versions say, goes by that.
    pub(super) fn note_expired(&self) {
        let earliest = self.levels.now().earliest;
        self.kept.evict(earliest);
        let is_known = self.settings.lock().expired == earliest;
        if !is_known {
            self.store_as(|settings| settings.expired = earliest);
        }
    }

    /// Gives up what lies before the earliest offset: whole fragments at once. Waits for whoever writes to the dataset, which
    /// may take long where its columns are rewritten.
    pub(super) async fn drop_expired(&self) -> Result<(), StorageError> {
        self.note_expired();
        if self.levels.now().committed == Offset::ZERO {
            return Ok(());
        }
        let _writing = self.writing.lock().await;
        let levels = self.levels.now();
        if levels.ending.is_some() {
            return Ok(());
        }
        let table = self.table().await?;
        table.drop_before(levels.earliest).await.map_err(|err| storage_error(&err))?;
        Ok(())
    }

    /// The end of the leading fragments that must go so that the rest holds at most `bytes`. The newest stays, however large: a
    /// commit that is larger than the bound would be gone as soon as it is there.
    pub(super) async fn offset_within_bytes(&self, bytes: u64) -> Result<Option<Offset>, StorageError> {
        if self.levels.now().committed == Offset::ZERO {
            return Ok(None);
        }
        let head = self.table().await?.head();
        let stored: u64 = head.fragments.iter().map(|fragment| fragment.bytes).sum();
        let mut over = stored.saturating_sub(bytes);
        let mut keep_from = None;
        let older = head.fragments.len().saturating_sub(1);
        for fragment in head.fragments.iter().take(older) {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(fragment.bytes);
            keep_from = Some(fragment.next);
        }
        Ok(keep_from)
    }

    /// About how many bytes the records from the earliest offset up to `before` take: on disk where they are committed, in
    /// memory where they are not.
    pub(super) async fn bytes_before(&self, before: Offset) -> Result<u64, StorageError> {
        let levels = self.levels.now();
        let mut bytes = if before > levels.committed { self.tail.text_before(before) } else { 0 };
        if levels.committed == Offset::ZERO {
            return Ok(bytes);
        }
        let head = self.table().await?.head();
        let mut first = head.base;
        for fragment in head.fragments.iter() {
            let (from, to) = (first.max(levels.earliest), fragment.next.min(before));
            if from < to {
                let share = u128::from(fragment.bytes) * u128::from(to.since(from));
                bytes += u64::try_from(share / u128::from(fragment.next.since(first).max(1))).unwrap_or(fragment.bytes);
            }
            first = fragment.next;
        }
        Ok(bytes)
    }
}
