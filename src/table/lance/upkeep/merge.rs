//! Making neighbouring fragments one.
//!
//! The rows are read and written beside commits and readers; only the new manifest is committed in the lane. Lance's own
//! compaction gives its fragments the highest ids, so that an append that comes between would stand before older rows. Here
//! a merged fragment takes the place of those that it replaces, which go in the same commit, under a number between theirs
//! and the next ([`crate::table::lance::numbers`]).

use std::sync::Arc;

use arrow_schema::Schema as ArrowSchema;
use futures::{StreamExt as _, TryStreamExt as _};
use lance::Dataset;
use lance::dataset::{InsertBuilder, WriteParams};
use lance::deps::datafusion::error::DataFusionError;
use lance::deps::datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lance_table::format::Fragment;
use lance_table::transaction::{Operation, RewriteGroup, Transaction};
use tokio_util::sync::CancellationToken;

use super::plan::Run;
use crate::model::Offset;
use crate::table::TableError;
use crate::table::lance::error::foreign;
use crate::table::lance::numbers;
use crate::table::lance::offsets::Placed;
use crate::table::lance::open::Version;
use crate::table::lance::read::part;

/// Fragments, and those that hold their rows anew; nothing is committed.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    old: Vec<Fragment>,
    new: Vec<Fragment>,
    /// The offset of the first row that is kept, where the dataset's first rows were left out.
    pub(super) base: Option<Offset>,
    pub(super) bytes_read: u64,
}

/// Writes the rows of a run anew, less those that have expired at the dataset's beginning.
pub(super) async fn write_merged(
    version: &Version,
    run: Run,
    expired: Offset,
    params: WriteParams,
    stop: &CancellationToken,
) -> Result<Merged, TableError> {
    let Version { dataset, layout } = version;
    let run = widened(&layout.fragments, run);
    let parts: Vec<Placed> = layout.fragments.get(run.clone()).unwrap_or_default().to_vec();
    let old: Vec<Fragment> = dataset.fragments().get(run.clone()).unwrap_or_default().to_vec();
    if parts.is_empty() || old.len() != parts.len() {
        return Err(foreign("a run of fragments is not there"));
    }
    let end = parts.last().map_or(layout.next, |last| last.next);
    // Whole fragments before it are dropped, not merged: the last row of the run stays.
    let expired = expired.min(end.saturating_before(1));
    let base = Some(expired).filter(|expired| run.start == 0 && *expired > layout.base);
    let bytes_read = parts.iter().map(|placed| placed.bytes).sum();
    // Of those that have expired as a whole there is nothing to read.
    let from = base.unwrap_or(Offset::ZERO);
    let parts = parts.into_iter().filter(|placed| placed.next > from).collect();
    let rows = rows_of(Arc::clone(dataset), parts, from, stop.clone());
    let insert = InsertBuilder::new(Arc::clone(dataset)).with_params(&params);
    let Operation::Append { fragments: new } = insert.execute_uncommitted_stream(rows).await?.operation else {
        return Err(TableError::Failed { cause: "an append is something else".to_owned() });
    };
    let next = layout.fragments.get(run.end).map(|placed| placed.id);
    Ok(Merged { new: placed_like(new, &old, next)?, old, base, bytes_read })
}

/// Lance takes a fragment of id 0 for one that has none yet, and would give it the highest. So the first fragment of all is
/// rewritten together with the one after it.
fn widened(fragments: &[Placed], run: Run) -> Run {
    let is_alone_at_zero = run.len() == 1 && fragments.get(run.start).is_some_and(|placed| placed.id == 0);
    let has_no_other = fragments.get(run.end).is_some_and(|next| numbers::between(0, Some(next.id)).is_none());
    if is_alone_at_zero && has_no_other { run.start..run.end + 1 } else { run }
}

/// New fragments with numbers behind those of the last ones that they replace, so that all stay in order. Where there is none
/// that is free, the number of the one that is replaced.
fn placed_like(mut new: Vec<Fragment>, old: &[Fragment], next: Option<u64>) -> Result<Vec<Fragment>, TableError> {
    let skipped = old.len().checked_sub(new.len());
    let skipped = skipped.ok_or_else(|| foreign("a merge has made more fragments than there were"))?;
    let behind = old.iter().skip(skipped + 1).map(|fragment| Some(fragment.id)).chain([next]);
    for ((fragment, replaced), next) in new.iter_mut().zip(old.iter().skip(skipped)).zip(behind) {
        fragment.id = numbers::between(replaced.id, next).unwrap_or(replaced.id);
    }
    Ok(new)
}

fn rows_of(
    dataset: Arc<Dataset>,
    parts: Vec<Placed>,
    from: Offset,
    stop: CancellationToken,
) -> lance::deps::datafusion::execution::SendableRecordBatchStream {
    let schema = Arc::new(ArrowSchema::from(dataset.schema()));
    let batches = futures::stream::iter(parts)
        .then(move |placed| {
            let (dataset, stop) = (Arc::clone(&dataset), stop.clone());
            async move {
                let first = from.max(placed.first);
                let rows = placed.next.since(first);
                let batches = part(&dataset, dataset.schema(), placed, first.since(placed.first), rows).await;
                let batches = batches.map_err(|error| DataFusionError::External(Box::new(error)))?;
                Ok::<_, DataFusionError>(batches.map(move |batch| match stop.is_cancelled() {
                    true => Err(DataFusionError::Execution("the merge was stopped".to_owned())),
                    false => batch.map_err(|error| DataFusionError::External(Box::new(error))),
                }))
            }
        })
        .try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(batches)))
}

impl Merged {
    /// The commit that puts the new fragments in place of the old ones; none where these have changed since.
    pub(super) fn transaction(&self, present: &Dataset) -> Option<Transaction> {
        let first = self.old.first()?;
        let fragments = present.fragments();
        let place = fragments.iter().position(|fragment| fragment.id == first.id)?;
        let is_same = fragments.get(place..place + self.old.len()) == Some(self.old.as_slice());
        // What was dropped before the run has moved the base on.
        let is_in_place = self.base.is_none() || place == 0;
        // Lance gives a fragment of id 0 the highest one: sound only where nothing has come behind it meanwhile.
        let keeps_order = self.new.iter().all(|new| new.id != 0) || (place == 0 && fragments.len() == self.old.len());
        (is_same && is_in_place && keeps_order).then(|| {
            let group = RewriteGroup { old_fragments: self.old.clone(), new_fragments: self.new.clone() };
            let operation =
                Operation::Rewrite { groups: vec![group], rewritten_indices: Vec::new(), frag_reuse_index: None };
            Transaction::new_from_version(present.manifest().version, operation)
        })
    }

    /// The numbers that its fragments have, which others may have had before.
    pub(super) fn renumbered(&self) -> Vec<u64> {
        self.new.iter().map(|fragment| fragment.id).collect()
    }

    /// The files that it has written.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.new.iter().flat_map(|fragment| &fragment.files).map(|file| file.path.as_str())
    }
}
