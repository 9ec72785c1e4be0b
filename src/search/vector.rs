//! Nearest neighbours.

use arrow_array::{BooleanArray, RecordBatch};

use crate::model::Problem;
use crate::search::columns::{VectorColumn, column_of};
use crate::search::kernel::Query;
use crate::search::scan::{Fold, failed};
use crate::search::top::{Ranked, Top};
use crate::search::{Metric, VectorAsk, bad};

/// A search for neighbours that fits its column.
#[derive(Clone, Debug)]
pub(super) struct Neighbours {
    pub(super) column: VectorColumn,
    pub(super) metric: Metric,
    pub(super) query: Query,
}

impl Neighbours {
    /// # Errors
    /// `invalid_parameter` for a query that the column's vectors cannot be measured from.
    pub(super) fn new(ask: &VectorAsk, column: VectorColumn, metric: Metric) -> Result<Self, Problem> {
        if ask.query.len() != column.dim {
            let detail = format!(
                "The query vector has {} numbers, the vectors of {} have {}.",
                ask.query.len(),
                column.path,
                column.dim
            );
            return Err(bad(detail).allowing([column.dim.to_string()]));
        }
        let query = Query::new(&ask.query, column.item, metric)?;
        Ok(Self { column, metric, query })
    }
}

/// Finds the nearest among rows.
pub(super) struct Nearest {
    neighbours: Neighbours,
    top: Top,
}

impl Nearest {
    pub(super) fn new(neighbours: Neighbours, k: usize) -> Self {
        Self { neighbours, top: Top::new(k) }
    }

    /// The nearest among all that several have looked at, nearest first.
    pub(super) fn ranking(k: usize, parts: Vec<Self>, others: Vec<Ranked>) -> Vec<Ranked> {
        let mut top = Top::new(k);
        top.merge(others);
        parts.into_iter().for_each(|part| top.merge(part.top.into_ranking()));
        top.into_ranking()
    }
}

impl Fold for Nearest {
    fn take(&mut self, batch: &RecordBatch, offsets: &[u64], mask: Option<&BooleanArray>) -> Result<(), Problem> {
        let Neighbours { column, metric, query } = &self.neighbours;
        let vectors = column_of(batch, &column.path).ok_or_else(|| failed("a vector column is gone", &column.path))?;
        let top = &mut self.top;
        let measured = query.distances(*metric, &vectors, |row, distance| {
            let is_admitted = mask.is_none_or(|mask| mask.value(row));
            if let Some(offset) = offsets.get(row).filter(|_| is_admitted) {
                top.push(Ranked::new(distance, *offset));
            }
        });
        measured.ok_or_else(|| failed("a vector column has other vectors", &column.path))
    }
}
