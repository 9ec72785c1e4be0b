//! The rows that an index of the dataset lets pass, so that the others need not be looked at.

use datafusion::prelude::Expr;
use lance::Dataset;
use lance::index::{DatasetIndexExt as _, DatasetIndexInternalExt as _};
use lance_index::metrics::NoOpMetricsCollector;
use lance_index::scalar::expression::{ScalarIndexExpr, apply_scalar_indices};
use lance_table::format::IndexMetadata;
use tokio::sync::Semaphore;

use super::offsets::{Layout, Placed};
use super::open::Version;
use crate::filter::{BoundFilter, Candidates};
use crate::table::TableError;

/// Past so many rows an index saves nothing: they are looked at one after the other.
const CANDIDATES_MAX: usize = 1_000_000;
/// An index is asked for the tests of a filter one by one, each of which may find every row, and nothing ends it on its way: so
/// only for a few tests, and by few at a time.
const INDEX_TESTS_MAX: usize = 16;
const ASKED_AT_ONCE: usize = 2;
static ASKING: Semaphore = Semaphore::const_new(ASKED_AT_ONCE);
/// An index that has a set of rows for each value reads all of them into memory when it is asked: no more than this.
pub(super) const VALUES_BYTES_MAX: u64 = if cfg!(test) { 1 << 20 } else { 32 << 20 };
/// The kinds of these, as Lance names what it knows of one.
const KINDS_OF_VALUES: [&str; 2] = ["BitmapIndexDetails", "LabelListIndexDetails"];
/// Of the rows that the index knows, one in so many may be a candidate.
const SPARSE: u64 = 4;

/// The rows of which the dataset's indexes do not know that they fail a filter, and the rows that they know at all. None where
/// no index helps. Only of a dataset that has the columns which the filter is bound to: an index knows what is stored.
pub(super) async fn candidates(version: &Version, filter: &BoundFilter) -> Result<Option<Candidates>, TableError> {
    let Version { dataset, layout } = version;
    if dataset.manifest().index_section.is_none() || !has_columns(dataset, filter) {
        return Ok(None);
    }
    let known = dataset.scalar_index_info().await?;
    let Some(query) = apply_scalar_indices(filter.expr().clone(), &known)?.scalar_query else { return Ok(None) };
    if tests(&query) > INDEX_TESTS_MAX {
        return Ok(None);
    }
    if has_too_many_values(dataset, &query).await? {
        return Ok(None);
    }
    let covered: Vec<Placed> =
        layout.fragments.iter().copied().filter(|placed| placed.rows() > 0 && is_covered(&query, placed.id)).collect();
    if covered.is_empty() {
        return Ok(None);
    }
    let Ok(turn) = ASKING.acquire().await else { return Ok(None) };
    let found = query.evaluate(dataset.as_ref(), &NoOpMetricsCollector).await?;
    drop(turn);
    let Some(rows) = found.upper.allow_list().and_then(|rows| rows.row_addrs()) else { return Ok(None) };
    let mut offsets = Vec::new();
    for row in rows {
        // What retention has dropped stays in an index for a while.
        let Some(placed) = fragment(layout, row.fragment_id()) else { continue };
        if u64::from(row.row_offset()) < placed.rows() {
            offsets.push(placed.first.saturating_after(u64::from(row.row_offset())));
        }
        if offsets.len() > CANDIDATES_MAX {
            return Ok(None);
        }
    }
    let rows: u64 = covered.iter().map(|placed| placed.rows()).sum();
    if offsets.len() as u64 > rows / SPARSE {
        return Ok(None);
    }
    Ok(Some(Candidates::new(covered.iter().map(|placed| (placed.first, placed.next)), offsets)))
}

/// Whether the dataset's indexes may be asked by Lance for a condition on these fragments. Where one that is asked lacks a
/// fragment, Lance leaves out its rows in a search through another index, or lets all of them pass under a negation.
pub(super) async fn may_be_asked(
    dataset: &Dataset,
    condition: &Expr,
    mut fragments: impl Iterator<Item = u64> + Send,
) -> Result<bool, TableError> {
    let known = dataset.scalar_index_info().await?;
    let Some(query) = apply_scalar_indices(condition.clone(), &known)?.scalar_query else { return Ok(true) };
    let is_known = tests(&query) <= INDEX_TESTS_MAX && fragments.all(|id| is_covered(&query, id));
    Ok(is_known && !has_too_many_values(dataset, &query).await?)
}

/// How many bytes the segments of one index read into memory when it is asked.
pub(super) fn values_bytes<'s>(segments: impl Iterator<Item = &'s IndexMetadata>) -> u64 {
    let is_of_values = |segment: &&IndexMetadata| {
        let details = segment.index_details.as_ref();
        details.is_some_and(|details| KINDS_OF_VALUES.iter().any(|kind| details.type_url.ends_with(kind)))
    };
    segments.filter(is_of_values).flat_map(|segment| segment.files.iter().flatten()).map(|file| file.size_bytes).sum()
}

/// Whether an index that a query asks is too large to be asked.
async fn has_too_many_values(dataset: &Dataset, query: &ScalarIndexExpr) -> Result<bool, TableError> {
    let indices = dataset.load_indices().await?;
    let mut asked = Vec::new();
    names(query, &mut asked);
    let bytes = |name: &str| values_bytes(indices.iter().filter(|segment| segment.name == name));
    Ok(asked.into_iter().any(|name| bytes(name) > VALUES_BYTES_MAX))
}

/// The indexes that a query asks.
fn names<'q>(query: &'q ScalarIndexExpr, asked: &mut Vec<&'q str>) {
    match query {
        ScalarIndexExpr::Not(inner) => names(inner, asked),
        ScalarIndexExpr::And(left, right) | ScalarIndexExpr::Or(left, right) => {
            names(left, asked);
            names(right, asked);
        }
        ScalarIndexExpr::Query(search) => asked.push(&search.index_name),
    }
}

/// Whether the dataset has the filter's columns, in the types that the filter is bound to.
pub(super) fn has_columns(dataset: &Dataset, filter: &BoundFilter) -> bool {
    filter.reads().all(|(names, data_type)| {
        let mut names = names.iter();
        let first = names.next().and_then(|name| dataset.schema().fields.iter().find(|field| field.name == *name));
        let found = names.fold(first, |field, name| field?.children.iter().find(|child| child.name == *name));
        found.is_some_and(|field| field.data_type() == *data_type)
    })
}

fn fragment(layout: &Layout, id: u32) -> Option<Placed> {
    let at = layout.fragments.binary_search_by_key(&u64::from(id), |placed| placed.id).ok()?;
    layout.fragments.get(at).copied()
}

/// How many tests an index is asked for.
fn tests(query: &ScalarIndexExpr) -> usize {
    match query {
        ScalarIndexExpr::Not(inner) => tests(inner),
        ScalarIndexExpr::And(left, right) | ScalarIndexExpr::Or(left, right) => tests(left) + tests(right),
        ScalarIndexExpr::Query(_) => 1,
    }
}

/// Whether every index that is asked knows a fragment.
fn is_covered(query: &ScalarIndexExpr, id: u64) -> bool {
    match query {
        ScalarIndexExpr::Not(inner) => is_covered(inner, id),
        ScalarIndexExpr::And(left, right) | ScalarIndexExpr::Or(left, right) => {
            is_covered(left, id) && is_covered(right, id)
        }
        ScalarIndexExpr::Query(search) => {
            let known = search.fragment_bitmap.as_ref().zip(u32::try_from(id).ok());
            known.is_some_and(|(known, id)| known.contains(id))
        }
    }
}
