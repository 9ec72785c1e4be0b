//! The indexes of a dataset, searched. What an index lacks is not looked at here: rows in fragments that came after it are
//! the caller's.

mod text;
mod vector;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use datafusion::common::Column;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, col, lit};
use lance::Dataset;
use lance::dataset::scanner::Scanner;
use lance_core::datatypes::format_field_path;
use lance_table::format::IndexMetadata;
use tokio::runtime::Handle;

pub(super) use self::text::text_index;
pub(super) use self::vector::vector_index;
use super::candidates::{has_columns, may_be_asked};
use super::error::foreign;
use super::index::{has, name_of};
use super::offsets::{Layout, Placed};
use super::open::Version;
use super::pins::Pin;
use super::posted::pending_steps;
use crate::codec::columns::{OFFSET_COLUMN, column_name};
use crate::model::Offset;
use crate::schema::{Columns, FieldPath};
use crate::table::TableError;
use crate::table::search::{Admitted, Candidate, Coverage};

/// The name that Lance gives to a row's address.
const ROW_ADDRESS: &str = "_rowaddr";

/// One version with an index of it.
#[derive(Clone, Debug)]
pub(super) struct Indexed {
    runtime: Handle,
    dataset: Arc<Dataset>,
    layout: Arc<Layout>,
    /// The names that lead to the column.
    names: Vec<String>,
    /// The same as one, as Lance has it.
    column: String,
    segments: Vec<IndexMetadata>,
    coverage: Coverage,
    _pin: Arc<Pin>,
}

/// What an index is looked for in.
pub(super) struct Place {
    pub(super) runtime: Handle,
    pub(super) version: Version,
    pub(super) pin: Arc<Pin>,
}

impl Place {
    /// The names that lead to the column of a path, if the version has it in the form of the columns of now.
    fn column(&self, columns: &Columns, path: &FieldPath) -> Result<Option<Vec<String>>, TableError> {
        if !pending_steps(&self.version.dataset, columns)?.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = path.0.iter().enumerate().map(|(level, key)| column_name(key, level == 0)).collect();
        Ok(self.version.dataset.schema().field(&as_one(&names)).map(|_| names))
    }

    fn indexed(self, names: Vec<String>, segments: Vec<IndexMetadata>) -> Option<Indexed> {
        let Version { dataset, layout } = self.version;
        let name = name_of(dataset.manifest(), segments.first()?).to_owned();
        let mut uncovered: Vec<Range<Offset>> = Vec::new();
        for placed in &layout.fragments {
            match uncovered.last_mut() {
                _ if segments.iter().any(|segment| has(segment, placed)) => {}
                Some(range) if range.end == placed.first => range.end = placed.next,
                _ => uncovered.push(placed.first..placed.next),
            }
        }
        let coverage = Coverage { name, next: layout.next, uncovered };
        let (runtime, pin, column) = (self.runtime, self.pin, as_one(&names));
        Some(Indexed { runtime, dataset, layout, names, column, segments, coverage, _pin: pin })
    }
}

/// Names that lead to a column as one name, with quotes where Lance wants them.
fn as_one(names: &[String]) -> String {
    format_field_path(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Indexed {
    /// A scan of the rows that the index has, with their addresses and what they are ranked by.
    async fn scanner(&self, admitted: &Admitted, measure: &str) -> Result<Scanner, TableError> {
        let mut scanner = self.dataset.scan();
        scanner.project(&[measure])?.with_row_address().prefilter(true);
        scanner.disable_scoring_autoprojection();
        if let Some(condition) = self.condition(admitted) {
            scanner.use_scalar_index(self.may_be_asked(&condition).await?);
            scanner.filter_expr(condition);
        }
        Ok(scanner)
    }

    /// Whether other indexes may say which of the index's rows fulfil a condition.
    async fn may_be_asked(&self, condition: &Expr) -> Result<bool, TableError> {
        may_be_asked(&self.dataset, condition, self.covered().map(|placed| placed.id)).await
    }

    /// The fragments whose rows it has.
    fn covered(&self) -> impl Iterator<Item = &Placed> {
        self.layout.fragments.iter().filter(|placed| self.segments.iter().any(|segment| has(segment, placed)))
    }

    /// Whether it has no row of the version: all that it was made of have been merged or dropped, and it still says how its
    /// column is searched.
    fn is_empty(&self) -> bool {
        self.covered().next().is_none()
    }

    /// How many rows the version has, deleted ones among them.
    fn rows(&self) -> usize {
        usize::try_from(self.layout.next.since(self.layout.base)).unwrap_or(usize::MAX)
    }

    /// Whether the version has what a filter is on.
    fn knows(&self, admitted: &Admitted) -> bool {
        admitted.filter.as_ref().is_none_or(|filter| has_columns(&self.dataset, filter))
    }

    /// What rows have to fulfil, if anything.
    fn condition(&self, admitted: &Admitted) -> Option<Expr> {
        let from = admitted.from.filter(|from| *from > self.layout.base);
        let from = from.map(|from| col(OFFSET_COLUMN).gt_eq(lit(from.get())));
        let filter = admitted.filter.as_ref().map(|filter| filter.expr().clone());
        from.into_iter().chain(filter).reduce(Expr::and)
    }

    /// Whether more than so many rows of the index's fragments pass that have something in its column.
    async fn has_more_than(&self, rows: u64, admitted: &Admitted) -> Result<bool, TableError> {
        let mut names = self.names.iter();
        let first = Expr::Column(Column::new_unqualified(names.next().cloned().unwrap_or_default()));
        let is_there = names.fold(first, |parent, name| get_field(parent, name.as_str())).is_not_null();
        if self.is_empty() {
            return Ok(false);
        }
        let condition = self.condition(admitted);
        // The column is looked into only where there is something to be found by that.
        Ok(self.passing(condition.clone()).await? > rows
            && self.passing(condition.into_iter().chain([is_there]).reduce(Expr::and)).await? > rows)
    }

    /// How many rows of the index's fragments pass.
    async fn passing(&self, condition: Option<Expr>) -> Result<u64, TableError> {
        let covered: HashSet<u64> = self.covered().map(|placed| placed.id).collect();
        let fragments = self.dataset.manifest().fragments.iter().filter(|fragment| covered.contains(&fragment.id));
        let fragments = fragments.cloned().collect();
        let mut scanner = self.dataset.scan();
        scanner.with_fragments(fragments);
        if let Some(condition) = condition {
            scanner.use_scalar_index(self.may_be_asked(&condition).await?);
            scanner.filter_expr(condition);
        }
        Ok(scanner.count_rows().await?)
    }

    /// The rows of an answer with what stands beside them.
    fn candidates(&self, batch: &RecordBatch, measure: &str) -> Result<Vec<Candidate>, TableError> {
        let addresses = batch.column_by_name(ROW_ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let measures = batch.column_by_name(measure).and_then(|column| column.as_primitive_opt::<Float32Type>());
        let (Some(addresses), Some(measures)) = (addresses, measures) else {
            return Err(foreign(format!("an index has answered without {ROW_ADDRESS} or {measure}")));
        };
        let candidate = |(address, measure): (&u64, &f32)| {
            let id = address >> 32;
            let at = self.layout.fragments.binary_search_by_key(&id, |placed| placed.id);
            let placed = at.ok().and_then(|at| self.layout.fragments.get(at));
            let placed =
                placed.ok_or_else(|| foreign(format!("an index has found a row of fragment {id}, which is gone")))?;
            let offset = placed.first.saturating_after(address & u64::from(u32::MAX));
            Ok(Candidate { offset, measure: *measure })
        };
        addresses.values().iter().zip(measures.values()).map(candidate).collect()
    }
}
