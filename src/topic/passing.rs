//! Reads through a filter.

use std::sync::Arc;

use tokio::time::Instant;

use crate::backend::{Columnar, StorageError};
use crate::codec::{ColumnSet, FieldSelection};
use crate::filter::{BoundFilter, Filter, LiveFilter, Passing, PassingRows, Reach, Sieve};
use crate::model::{Offset, Problem};
use crate::schema::Columns;
use crate::topic::Topic;
use crate::topic::past::View;
use crate::topic::view::Puller;

/// How many records one page looks at: it ends early there, whatever has passed.
pub(super) const PAGE_LOOKED_AT_MAX: u64 = 4_000_000;
/// How many records one pull looks at.
pub(super) const LOOKED_AT_ONCE: usize = 65_536;

impl Topic {
    /// A filter on the columns that a view has, as a read that ends has it or a stream; for none, none. Before the first
    /// schema every column is null.
    ///
    /// # Errors
    /// `invalid_parameter` for a column that is not there, and a test that its type does not have; `unsupported_by_backend`.
    pub(super) fn live_filter(
        &self,
        filter: Option<&Filter>,
        view: &View,
        live: fn(Filter, Columns, BoundFilter) -> LiveFilter,
    ) -> Result<Option<Arc<LiveFilter>>, Problem> {
        let Some(filter) = filter else { return Ok(None) };
        let able = self.factory.capabilities().filter;
        let Some(columnar) = self.backend.columnar().filter(|_| able) else {
            let detail = "The topic's backend has no columns, which filters need.";
            return Err(self.services.unsupported(detail, "filter", |able| able.filter));
        };
        let columns = match view {
            View::Version { columns, .. } => columns.clone(),
            View::Now | View::Until(_) => columnar.columns(),
        };
        let bound = filter.bind_under(&columns).map_err(|err| err.to_problem())?;
        Ok(Some(Arc::new(live(filter.clone(), columns, bound))))
    }

    /// The backend's columns, where a look has found that there are some.
    pub(super) fn columnar(&self) -> Result<&dyn Columnar, StorageError> {
        let none = || StorageError::Failed { cause: "the backend has no columns".to_owned() };
        self.backend.columnar().ok_or_else(none)
    }

    /// The records of a view from `from` on that pass, as far as the reach goes. Nothing is looked at past the view's tail.
    ///
    /// # Errors
    /// [`StorageError`] as of the view.
    pub(super) async fn get_passing_in(
        &self,
        view: &View,
        filter: &LiveFilter,
        fields: Option<&FieldSelection>,
        from: Offset,
        reach: Reach,
    ) -> Result<Passing, StorageError> {
        let until = match view {
            View::Now => reach.until,
            View::Until(_) | View::Version { .. } => reach.until.min(self.bounds(view).tail),
        };
        let reach = Reach { until, ..reach };
        if from >= until {
            return Ok(Passing { chunks: Vec::new(), next: from });
        }
        if let View::Version { past, columns } = view {
            let sieve = filter.on(columns).map_err(|err| StorageError::Failed { cause: err.to_string() })?;
            let columns = FieldSelection::to_read(fields, columns);
            let found = past.view.read_passing(&columns, &sieve, from, reach).await;
            return found.map_err(|err| StorageError::from(&err));
        }
        self.columnar()?.get_passing(filter, fields, from, reach).await
    }

    /// The same in the columns of a set, by a filter that began with it.
    ///
    /// # Errors
    /// [`StorageError`] as of the view.
    pub(super) async fn get_passing_batches_in(
        &self,
        view: &View,
        set: &ColumnSet,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<PassingRows, StorageError> {
        if let View::Version { past, columns } = view {
            let found = past.view.read_passing_batches(set, columns, sieve, from, reach).await;
            return found.map_err(|err| StorageError::from(&err));
        }
        self.columnar()?.get_passing_batches(set, sieve, from, reach).await
    }

    /// Where the first record stands that passes, from `from` on; waits for one until `deadline`. Where none came, the first
    /// offset that was not looked at.
    ///
    /// # Errors
    /// As [`Topic::read`].
    pub(super) async fn first_passing(
        &self,
        puller: &mut Puller,
        view: &View,
        from: Offset,
        deadline: Instant,
    ) -> Result<Offset, Problem> {
        let reach = Reach { until: Offset::MAX, records: 1, bytes: 1, looked_at: LOOKED_AT_ONCE };
        let mut next = from;
        loop {
            let found = puller.get(self, view, next, reach).await?;
            if let Some(chunk) = found.chunks.first() {
                return Ok(chunk.first());
            }
            let is_at_tail = found.next == next;
            next = found.next;
            if is_at_tail && !self.wait_at_tail(view, next, deadline).await? {
                return Ok(next);
            }
            if Instant::now() >= deadline {
                return Ok(next);
            }
        }
    }
}
