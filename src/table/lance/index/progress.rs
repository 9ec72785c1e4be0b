//! How far a build is, as Lance tells it: stage by stage.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lance_index::progress::IndexBuildProgress;

use crate::schema::IndexType;

/// Parts of a stage that are told apart.
const PARTS: u64 = 1_000;

/// How much of one build is done.
#[derive(Debug)]
pub(super) struct Progress {
    /// How many stages the build has.
    stages: u64,
    /// What each row stage has before it.
    rows: u64,
    done: AtomicU64,
    total: AtomicU64,
    within: AtomicU64,
}

impl Progress {
    /// Of an index of a kind over so many rows.
    pub(super) const fn new(kind: IndexType, rows: u64) -> Self {
        // Cells, codes, rows to cells, cells to files; or rows to values, values to files.
        let stages = match kind {
            IndexType::IvfFlat | IndexType::IvfPq | IndexType::IvfHnswSq => 4,
            IndexType::Inverted => 4,
            IndexType::BTree | IndexType::Bitmap | IndexType::LabelList => 2,
        };
        let (done, total, within) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { stages, rows, done, total, within }
    }

    /// From 0 to a little under 1: it is 1 when the index is committed.
    pub(super) fn share(&self) -> f64 {
        let total = self.total.load(Ordering::Relaxed).max(1);
        let within = (self.within.load(Ordering::Relaxed).saturating_mul(PARTS) / total).min(PARTS);
        let done = self.done.load(Ordering::Relaxed).saturating_mul(PARTS).saturating_add(within);
        let all = self.stages.saturating_mul(PARTS).max(1);
        let parts = (done.min(all).saturating_mul(PARTS) / all).min(PARTS - 1);
        f64::from(u32::try_from(parts).unwrap_or(0)) / 1_000.0
    }
}

#[async_trait]
impl IndexBuildProgress for Progress {
    async fn stage_start(&self, _stage: &str, total: Option<u64>, _unit: &str) -> lance_core::Result<()> {
        self.total.store(total.unwrap_or(self.rows), Ordering::Relaxed);
        self.within.store(0, Ordering::Relaxed);
        Ok(())
    }

    async fn stage_progress(&self, _stage: &str, completed: u64) -> lance_core::Result<()> {
        self.within.store(completed, Ordering::Relaxed);
        Ok(())
    }

    async fn stage_complete(&self, _stage: &str) -> lance_core::Result<()> {
        self.within.store(0, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_from_nothing_to_nearly_all_and_never_back() {
        let progress = Progress::new(IndexType::IvfPq, 100);
        let mut last = progress.share();
        assert_eq!(last, 0.0);
        for stage in ["train_ivf", "train_quantizer", "shuffle", "merge_partitions"] {
            progress.stage_start(stage, None, "rows").await.unwrap();
            for rows in [10, 50, 100] {
                progress.stage_progress(stage, rows).await.unwrap();
                assert!(progress.share() >= last);
                last = progress.share();
            }
            progress.stage_complete(stage).await.unwrap();
            assert!(progress.share() >= last);
        }
        assert_eq!(progress.share(), 0.999);
    }
}
