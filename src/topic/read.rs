//! Reads: a page, one record, all records up to the tail.

use std::num::NonZeroU64;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use tokio::time::Instant;

use crate::backend::StorageError;
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::filter::{LiveFilter, PassingRows, Reach, Sieve};
use crate::model::{ErrorCode, Offset, Problem};
use crate::topic::ahead::ahead;
use crate::topic::passing::{LOOKED_AT_ONCE, PAGE_LOOKED_AT_MAX};
use crate::topic::past::{Bounds, View};
use crate::topic::view::Puller;
use crate::topic::{Page, ReadRequest, Start, Topic};

/// How much one pull from the backend asks for.
pub(super) const PULL_RECORDS: usize = 8_192;
pub(super) const PULL_BYTES: usize = 1 << 20;

/// The same for rows in columns.
const PULL_ROWS: usize = 65_536;
pub(crate) const PULL_COLUMN_BYTES: usize = 4 << 20;

/// A read in columns that has begun.
pub struct ColumnRead {
    /// The columns of all batches.
    pub schema: SchemaRef,
    /// The rows, some at a time.
    pub batches: BoxStream<'static, Result<RecordBatch, Problem>>,
}

impl Topic {
    /// A page of records.
    ///
    /// # Errors
    /// `epoch_changed`, `offset_expired`, `offset_out_of_range`, `internal`; `columns_changed` where a column of the filter was
    /// dropped or took another type meanwhile.
    pub async fn read(&self, ask: ReadRequest) -> Result<Page, Problem> {
        self.check_epoch(&ask)?;
        let view = self.view(ask.at.as_ref()).await?;
        let filter = self.live_filter(ask.filter.as_ref(), &view, LiveFilter::of_read)?;
        let from = self.begin_read(&ask, &view).await?;
        let deadline = ask.wait.map(|patience| Instant::now() + patience);
        if let Some(deadline) = deadline {
            self.wait_at_tail(&view, from, deadline).await?;
        }
        let waits_on = deadline.filter(|_| filter.is_some());
        let mut looked_at_left = if filter.is_some() { PAGE_LOOKED_AT_MAX } else { u64::MAX };
        let mut puller = Puller::new(ask.version, filter, ask.fields.clone());
        let mut chunks = Vec::new();
        let mut next = from;
        let mut records_left = ask.limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
        let mut bytes_left = ask.bytes_max.unwrap_or(usize::MAX);
        while records_left > 0 && looked_at_left > 0 && (bytes_left > 0 || chunks.is_empty()) {
            let reach = Reach {
                until: Offset::MAX,
                records: records_left.min(PULL_RECORDS),
                bytes: bytes_left.min(PULL_BYTES),
                looked_at: usize::try_from(looked_at_left).unwrap_or(usize::MAX).min(LOOKED_AT_ONCE),
            };
            let found = puller.get(self, &view, next, reach).await?;
            if found.next == next {
                match waits_on.filter(|_| chunks.is_empty()) {
                    Some(deadline) if self.wait_at_tail(&view, next, deadline).await? => continue,
                    _ => break,
                }
            }
            looked_at_left = looked_at_left.saturating_sub(found.next.since(next));
            next = found.next;
            for chunk in found.chunks {
                // The backend's bound is about right; the page's is exact.
                let (first, whole) = (chunk.first(), chunk.len());
                let chunk = within_bytes(chunk, bytes_left, chunks.is_empty());
                records_left -= chunk.len().min(records_left);
                bytes_left = bytes_left.saturating_sub(chunk.values().bytes());
                let kept = chunk.len();
                if kept > 0 {
                    chunks.push(select(ask.fields.as_ref(), chunk));
                }
                if kept < whole {
                    next = first.saturating_after(kept as u64);
                    bytes_left = 0;
                    break;
                }
            }
        }
        Ok(self.page(&view, chunks, next))
    }

    fn page(&self, view: &View, chunks: Vec<Chunk>, next_offset: Offset) -> Page {
        let closed = self.backend.levels().now().is_over();
        let Bounds { earliest, tail } = self.bounds(view);
        Page { epoch: self.epoch(), chunks, next_offset, earliest_offset: earliest, tail_offset: tail, closed }
    }

    /// One record.
    ///
    /// # Errors
    /// `offset_expired` below the earliest, `offset_out_of_range` at the tail and past it.
    pub async fn read_one(&self, offset: Offset) -> Result<Page, Problem> {
        let chunks = self.get(offset, 1, 1).await?;
        if chunks.is_empty() {
            return Err(past_tail(offset, self.backend.levels().now().readable));
        }
        Ok(self.page(&View::Now, chunks, offset.saturating_after(1)))
    }

    /// All records from the request's start up to the tail found now, some at a time, each under the columns that there are
    /// when it is read.
    ///
    /// # Errors
    /// As [`Topic::read`] before the first record; later ones end the stream.
    pub async fn read_all(
        self: &Arc<Self>,
        ask: ReadRequest,
    ) -> Result<BoxStream<'static, Result<Vec<Chunk>, Problem>>, Problem> {
        self.check_epoch(&ask)?;
        let view = self.view(ask.at.as_ref()).await?;
        let filter = self.live_filter(ask.filter.as_ref(), &view, LiveFilter::of_read)?;
        let mut puller = Puller::new(ask.version.clone(), filter.clone(), ask.fields.clone());
        let mut next = self.begin_all(&ask, &view, filter.is_some(), &mut puller).await?;
        let until = self.bounds(&view).tail;
        let mut left = ask.limit.map_or(u64::MAX, NonZeroU64::get);
        let topic = Arc::clone(self);
        let ahead_budget = Arc::clone(&self.services.ahead_budget);
        let chunks = Box::pin(async_stream::try_stream! {
            while next < until && left > 0 {
                let records = usize::try_from(left).unwrap_or(usize::MAX).min(PULL_RECORDS);
                let reach = Reach { until, records, bytes: PULL_BYTES, looked_at: LOOKED_AT_ONCE };
                let found = puller.get(&topic, &view, next, reach).await?;
                if found.next == next {
                    break;
                }
                next = found.next;
                left -= found.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>().min(left);
                yield found.chunks.into_iter().map(|chunk| select(ask.fields.as_ref(), chunk.detached())).collect();
            }
        });
        Ok(ahead(chunks, ahead_budget, PULL_BYTES))
    }

    /// Where a read up to the tail begins, when there is something for it or its patience has ended.
    async fn begin_all(
        &self,
        ask: &ReadRequest,
        view: &View,
        is_filtered: bool,
        puller: &mut Puller,
    ) -> Result<Offset, Problem> {
        let from = self.begin_read(ask, view).await?;
        let Some(patience) = ask.wait else { return Ok(from) };
        let deadline = Instant::now() + patience;
        self.wait_at_tail(view, from, deadline).await?;
        if is_filtered { self.first_passing(puller, view, from, deadline).await } else { Ok(from) }
    }

    /// The same in columns, those that the topic has now; records that were appended under later versions are not among
    /// them, and what is renamed or takes another type meanwhile changes nothing for this read.
    ///
    /// # Errors
    /// As [`Topic::read_all`]; `columns_changed` also for what is shown and dropped meanwhile; `unsupported_by_backend` where
    /// there are no columns.
    pub async fn read_columns(self: &Arc<Self>, ask: ReadRequest) -> Result<ColumnRead, Problem> {
        self.check_arrow()?;
        self.check_epoch(&ask)?;
        let view = self.view(ask.at.as_ref()).await?;
        let filter = self.live_filter(ask.filter.as_ref(), &view, LiveFilter::of_read)?;
        let mut puller = Puller::new(None, filter.clone(), ask.fields.clone());
        let mut next = self.begin_all(&ask, &view, filter.is_some(), &mut puller).await?;
        // The end first: whatever lies before it was written under these columns or earlier ones.
        let until = self.bounds(&view).tail;
        let mut left = ask.limit.map_or(u64::MAX, NonZeroU64::get);
        let columns = match &view {
            View::Version { columns, .. } => columns.clone(),
            View::Now | View::Until(_) => self.backend.columnar().ok_or_else(Problem::internal)?.columns(),
        };
        if let Some(filter) = &filter {
            self.check_unchanged(&view, |_| filter.has_changed(&columns))?;
        }
        let set = ColumnSet::new(&columns, ask.fields.as_ref());
        let schema = Arc::clone(set.arrow());
        let sieve = match filter.map(|filter| filter.on(&columns)).transpose() {
            Ok(sieve) => sieve,
            Err(err) => return Err(self.storage_problem(&StorageError::Failed { cause: err.to_string() })),
        };
        let topic = Arc::clone(self);
        let batches = Box::pin(async_stream::try_stream! {
            while next < until && left > 0 {
                let records = usize::try_from(left).unwrap_or(usize::MAX);
                let reach = Reach { until, records, bytes: PULL_COLUMN_BYTES, looked_at: PULL_ROWS };
                let found = topic.batches_in(&view, &set, sieve.as_ref(), next, reach).await?;
                if found.next == next {
                    break;
                }
                next = found.next;
                for batch in found.batches {
                    left -= (batch.num_rows() as u64).min(left);
                    if batch.num_rows() > 0 {
                        yield batch;
                    }
                }
            }
        });
        let batches = ahead(batches, Arc::clone(&self.services.ahead_budget), PULL_COLUMN_BYTES);
        Ok(ColumnRead { schema, batches })
    }

    /// Rows from an offset on, as [`Columnar::get_batches`](crate::backend::Columnar::get_batches) gives them, of a view.
    ///
    /// # Errors
    /// `offset_expired`, `version_expired`, `columns_changed`, `internal`.
    pub(crate) async fn batches_in(
        &self,
        view: &View,
        set: &ColumnSet,
        sieve: Option<&Arc<Sieve>>,
        from: Offset,
        reach: Reach,
    ) -> Result<PassingRows, Problem> {
        let found = match sieve {
            Some(sieve) => self.get_passing_batches_in(view, set, sieve, from, reach).await,
            None => self.all_batches_in(view, set, from, reach).await,
        };
        self.check_unchanged(view, |now| set.has_lost(now) || sieve.is_some_and(|sieve| sieve.set().has_changed(now)))?;
        found.map_err(|err| self.storage_problem(&err))
    }

    async fn all_batches_in(
        &self,
        view: &View,
        set: &ColumnSet,
        from: Offset,
        reach: Reach,
    ) -> Result<PassingRows, StorageError> {
        let left = usize::try_from(reach.until.since(from)).unwrap_or(usize::MAX);
        let rows = left.min(reach.records).min(reach.looked_at);
        let batches = match view {
            View::Version { past, columns } => past
                .view
                .read_batches(set, columns, from, rows, reach.bytes)
                .await
                .map_err(|err| StorageError::from(&err)),
            View::Now | View::Until(_) => self.columns_from(set, from, rows, reach.bytes).await,
        }?;
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        Ok(PassingRows { batches, next: from.saturating_after(count as u64) })
    }

    /// Rows of the topic as it is, as [`Columnar::get_batches`](crate::backend::Columnar::get_batches) gives them.
    pub(super) async fn columns_from(
        &self,
        set: &ColumnSet,
        from: Offset,
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, StorageError> {
        self.columnar()?.get_batches(set, from, rows, bytes).await
    }

    /// Records from the backend, failures as problems.
    pub(super) async fn get(&self, from: Offset, records: usize, bytes: usize) -> Result<Vec<Chunk>, Problem> {
        self.backend.get(from, records, bytes).await.map_err(|err| self.storage_problem(&err))
    }

    fn check_epoch(&self, ask: &ReadRequest) -> Result<(), Problem> {
        match ask.epoch {
            Some(epoch) if epoch != self.epoch() => {
                let detail = format!("The topic's epoch is {} now, not {epoch}.", self.epoch());
                let mut problem = Problem::new(ErrorCode::EpochChanged, detail);
                problem.current_epoch = Some(self.epoch().get());
                Err(problem)
            }
            _ => Ok(()),
        }
    }

    async fn begin_read(&self, ask: &ReadRequest, view: &View) -> Result<Offset, Problem> {
        let from = self.resolve_in(view, &ask.start).await?;
        let Bounds { earliest, tail } = self.bounds(view);
        if from < earliest {
            if matches!(ask.start, Start::At(_) | Start::Cursor(_)) {
                let expired = StorageError::Expired { earliest };
                return Err(expired.to_problem());
            }
            return Ok(earliest);
        }
        if from > tail && ask.wait.is_none() {
            return Err(past_tail(from, tail));
        }
        Ok(from)
    }

    /// The offset that a start means now.
    pub(super) async fn resolve(&self, start: &Start) -> Result<Offset, Problem> {
        self.resolve_in(&View::Now, start).await
    }

    pub(super) async fn resolve_in(&self, view: &View, start: &Start) -> Result<Offset, Problem> {
        let Bounds { earliest, tail } = self.bounds(view);
        Ok(match start {
            Start::At(offset) => *offset,
            Start::Last(count) => tail.saturating_before(*count).max(earliest),
            Start::Earliest => earliest,
            Start::Latest => tail,
            Start::Since(time) => self.seek_in(view, *time).await?,
            Start::Cursor(name) => self.go_on_at(name).await?.next,
        })
    }

    /// Returns when there is a record at `from`, nothing more will come, or patience ends: whether there is one.
    pub(super) async fn wait_at_tail(&self, view: &View, from: Offset, deadline: Instant) -> Result<bool, Problem> {
        if !matches!(view, View::Now) {
            // Nothing comes in the past.
            return Ok(false);
        }
        let draining = self.services.draining.cancelled();
        let coming = self
            .backend
            .levels()
            .wait_for(|levels| levels.readable > from || levels.is_over() || levels.ending.is_some());
        tokio::select! {
            _ = coming => {}
            () = draining => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        self.gone().map_or_else(|| Ok(self.backend.levels().now().readable > from), Err)
    }
}

pub(super) fn past_tail(offset: Offset, tail: Offset) -> Problem {
    let detail = format!("Offset {offset} is not there yet: the tail is {tail}.");
    Problem::new(ErrorCode::OffsetOutOfRange, detail).with_tail(tail)
}

/// The chunk's records that fit into `bytes`, at least one if asked so.
fn within_bytes(chunk: Chunk, bytes: usize, at_least_one: bool) -> Chunk {
    if chunk.values().bytes() <= bytes {
        return chunk;
    }
    let mut taken = 0_usize;
    let fits = (0..chunk.len())
        .take_while(|index| {
            taken = taken.saturating_add(chunk.value(*index).len() + 1);
            taken <= bytes
        })
        .count();
    chunk.slice(0, fits.max(usize::from(at_least_one)))
}

pub(super) fn select(fields: Option<&FieldSelection>, chunk: Chunk) -> Chunk {
    match fields {
        Some(fields) => fields.apply(&chunk),
        None => chunk,
    }
}
