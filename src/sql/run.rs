//! Running queries: so many at a time, each for so long, and none for nobody.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::engine::Engine;
use crate::model::{ErrorCode, Problem, TopicName};
use crate::sql::bind::bind;
use crate::sql::error::{panicked, problem, timed_out};
use crate::sql::huge;
use crate::sql::limits::{BATCH_ROWS, QUEUE_PATIENCE, QueryLimits, REPEATED_BATCH_ROWS};
use crate::sql::plan::{Planned, Room, plan};
use crate::sql::scan::TopicTable;
use crate::sql::text::parse;
use crate::sql::walk::{Walked, walk};
use crate::sql::watch::Watch;
use crate::sql::width::rows_bytes;
use crate::topic::{Cut, Topic};

/// How often the topics are asked where they stand until two answers agree.
const MARK_TRIES_MAX: usize = 1_000;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The statement.
    pub sql: String,
    /// What `$1` and so on stand for.
    pub params: Vec<serde_json::Value>,
    /// The most rows that are wanted; none for all.
    pub rows_max: Option<u64>,
}

/// Runs queries.
pub struct Queries {
    engine: Arc<Engine>,
    handle: Handle,
    limits: QueryLimits,
    slots: Arc<Semaphore>,
}

impl std::fmt::Debug for Queries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queries").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What is made of the rows of an answer before they are handed over: on the threads of queries, in their time and place.
pub trait Form: Send + 'static {
    /// What it makes.
    type Made: Send + 'static;

    /// The most rows that it is given at a time.
    const ROWS_MAX: usize;
    /// The most bytes of rows that it is given at a time, unless one has more.
    const BYTES_MAX: usize;

    /// Makes it of some rows, of the first at least; and of how many it has made it.
    ///
    /// # Errors
    /// Why it cannot: the query fails with it.
    fn make(&mut self, rows: RecordBatch) -> Result<(Self::Made, usize), Problem>;
}

/// Rows as they are.
#[derive(Clone, Copy, Debug)]
pub struct Batches;

impl Form for Batches {
    type Made = RecordBatch;

    const ROWS_MAX: usize = usize::MAX;
    const BYTES_MAX: usize = usize::MAX;

    fn make(&mut self, rows: RecordBatch) -> Result<(RecordBatch, usize), Problem> {
        let count = rows.num_rows();
        Ok((rows, count))
    }
}

/// The rows of a query that runs, or what a form makes of them. Dropping them ends it.
pub struct Rows<T> {
    schema: SchemaRef,
    made: mpsc::Receiver<Result<T, Problem>>,
    watch: Arc<Watch>,
    limits: QueryLimits,
    /// Whether all rows were handed over.
    task: AbortOnDropHandle<bool>,
}

impl<T> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl<T> Drop for Rows<T> {
    fn drop(&mut self) {
        self.watch.abandon();
    }
}

impl Queries {
    /// Queries over the topics of an engine, run on a runtime whose threads have stacks that planning does not overflow.
    pub fn new(engine: Arc<Engine>, handle: Handle, limits: QueryLimits) -> Self {
        let slots = Arc::new(Semaphore::new(limits.queries_max));
        Self { engine, handle, limits, slots }
    }

    /// What queries may take.
    pub const fn limits(&self) -> &QueryLimits {
        &self.limits
    }

    /// Where they run.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Begins a query: it is planned, and its first rows are on their way.
    ///
    /// # Errors
    /// `invalid_body` for what cannot be run; `topic_not_found`, `unsupported_by_backend`; `overloaded`; `internal`.
    pub async fn run<F: Form>(
        &self,
        ask: Ask,
        form: impl FnOnce(&SchemaRef) -> Result<F, Problem> + Send + 'static,
    ) -> Result<Rows<F::Made>, Problem> {
        let slot = self.slot().await?;
        let limits = self.limits;
        let watch = Arc::new(Watch::begin(limits));
        let (started, schema) = oneshot::channel();
        let (sender, made) = mpsc::channel(1);
        let query = Query { engine: Arc::clone(&self.engine), limits, watch: Arc::clone(&watch) };
        let task = AbortOnDropHandle::new(self.handle.spawn(query.run(ask, form, slot, started, sender)));
        let mut abandoned = Abandon(Some(Arc::clone(&watch)));
        let began = tokio::time::timeout_at(watch.deadline().into(), schema).await;
        let schema = match began {
            Err(_) => return Err(timed_out(&limits)),
            Ok(Ok(schema)) => schema?,
            // The task has ended without a word.
            Ok(Err(_)) => return Err(ended(task).await),
        };
        abandoned.0 = None;
        Ok(Rows { schema, made, watch, limits, task })
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let asked = Arc::clone(&self.slots).acquire_owned();
        match tokio::time::timeout(QUEUE_PATIENCE, asked).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => {
                let detail = format!("{} queries run already; ask again in a moment.", self.limits.queries_max);
                Err(Problem::new(ErrorCode::Overloaded, detail).with_limit(self.limits.queries_max as u64))
            }
        }
    }
}

/// Tells the query that nobody waits for it, unless it is taken out.
struct Abandon(Option<Arc<Watch>>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.abandon();
        }
    }
}

async fn ended(task: AbortOnDropHandle<bool>) -> Problem {
    match task.await {
        Ok(_) => Problem::internal(),
        Err(error) => panicked(&error),
    }
}

/// Tells a query that its answer is being taken.
#[derive(Clone, Debug)]
pub struct Taking(Arc<Watch>);

impl Taking {
    /// Something of it was taken.
    pub fn note(&self) {
        self.0.take();
    }
}

impl<T> Rows<T> {
    /// The columns of the answer.
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What is told whenever something of the answer goes on to whoever asked.
    pub fn taking(&self) -> Taking {
        Taking(Arc::clone(&self.watch))
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// `invalid_body` where the query fails on its values or takes more than it may; `offset_expired`; `internal`.
    pub async fn next(&mut self) -> Result<Option<T>, Problem> {
        match tokio::time::timeout_at(self.watch.deadline().into(), self.made.recv()).await {
            Err(_) => Err(timed_out(&self.limits)),
            Ok(Some(made)) => made.map(Some),
            Ok(None) => match (&mut self.task).await {
                Ok(true) => Ok(None),
                Ok(false) => Err(self.watch.ending()),
                Err(error) => Err(panicked(&error)),
            },
        }
    }
}

/// As many rows from the beginning of a batch as a form is given at a time.
fn first_rows<F: Form>(batch: &RecordBatch) -> RecordBatch {
    let mut some = batch.slice(0, batch.num_rows().min(F::ROWS_MAX));
    while some.num_rows() > 1 && rows_bytes(&some) > F::BYTES_MAX {
        some = some.slice(0, some.num_rows() / 2);
    }
    some
}

/// A query on its own runtime.
struct Query {
    engine: Arc<Engine>,
    limits: QueryLimits,
    watch: Arc<Watch>,
}

impl Query {
    /// Runs to the end, or until nobody waits, takes anything, or time is over; whether all was handed over. The slot is held for
    /// as long as anything of it runs.
    async fn run<F: Form>(
        self,
        ask: Ask,
        form: impl FnOnce(&SchemaRef) -> Result<F, Problem>,
        slot: OwnedSemaphorePermit,
        started: oneshot::Sender<Result<SchemaRef, Problem>>,
        sender: mpsc::Sender<Result<F::Made, Problem>>,
    ) -> bool {
        // On the stack of a thread of this runtime from here on.
        let begun = Box::pin(self.begin(&ask)).await;
        let begun = begun.and_then(|planned| form(&planned.schema).map(|form| (planned, form)));
        let (planned, mut form) = match begun {
            Ok(begun) => begun,
            Err(problem) => {
                // Nobody may wait for it any more.
                drop(started.send(Err(problem)));
                return false;
            }
        };
        if started.send(Ok(planned.schema)).is_err() {
            return false;
        }
        let hand_over = async |rows| self.hand_over(&sender, rows).await;
        let mut rows = match execute_stream(planned.operators, planned.context) {
            Ok(rows) => rows,
            Err(error) => {
                hand_over(Err(problem(&ask.sql, &self.limits, &error))).await;
                return false;
            }
        };
        let mut all = true;
        while all && let Some(batch) = rows.next().await {
            let mut left = match batch {
                Ok(batch) => Some(batch),
                Err(error) => {
                    hand_over(Err(problem(&ask.sql, &self.limits, &error))).await;
                    all = false;
                    None
                }
            };
            while all && let Some(batch) = left.take().filter(|batch| batch.num_rows() > 0) {
                let goes_on = self.watch.check().map_err(|error| problem(&ask.sql, &self.limits, &error));
                let made = goes_on.and_then(|()| form.make(first_rows::<F>(&batch)));
                let made = made.map(|(made, rows)| {
                    left = Some(batch.slice(rows, batch.num_rows() - rows));
                    made
                });
                let failed = made.is_err();
                all = hand_over(made).await && !failed;
            }
        }
        drop(rows);
        drop(slot);
        all
    }

    /// Hands something of the answer to whoever asked; whether it was taken in time.
    async fn hand_over<M>(&self, sender: &mpsc::Sender<M>, made: M) -> bool {
        let since = Instant::now();
        let mut handing = pin!(sender.send(made));
        loop {
            let until = self.watch.held_until(since);
            match tokio::time::timeout_at(until.into(), handing.as_mut()).await {
                Ok(handed) => return handed.is_ok(),
                // Meanwhile some of what was handed over before may have been taken.
                Err(_) if self.watch.held_until(since) <= until => return false,
                Err(_) => {}
            }
        }
    }

    async fn begin(&self, ask: &Ask) -> Result<Planned, Problem> {
        let mut query = parse(&ask.sql)?;
        bind(&ask.sql, &mut query, &ask.params)?;
        let Walked { tables, repeats_rows } = walk(&ask.sql, &query)?;
        huge::mark(&mut query);
        let cuts = self.cuts(&tables).await?;
        let batch_rows = if repeats_rows { REPEATED_BATCH_ROWS } else { BATCH_ROWS };
        let table = |cut| Arc::new(TopicTable::new(cut, Arc::clone(&self.watch), batch_rows));
        let tables = tables.into_iter().zip(cuts.into_iter().map(table)).collect();
        let rows_max = ask.rows_max.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
        let room = Room { limits: &self.limits, watch: &self.watch, batch_rows, rows_max };
        plan(&ask.sql, query, tables, room).await
    }

    /// The topics as they stand at one moment: what one of them has, no other has caused that is not there.
    async fn cuts(&self, names: &[String]) -> Result<Vec<Cut>, Problem> {
        let mut topics: Vec<Arc<Topic>> = Vec::with_capacity(names.len());
        for name in names {
            let topic = match TopicName::parse(name) {
                Ok(parsed) => self.engine.topic(&parsed).await?,
                Err(_) => {
                    let shown: String = name.chars().take(80).collect();
                    return Err(Problem::new(ErrorCode::TopicNotFound, format!("There is no topic \"{shown}\".")));
                }
            };
            topics.push(topic);
        }
        // Positions only grow: where two looks agree, all of them stood so between the two.
        let look = || topics.iter().map(|topic| topic.mark()).collect::<Vec<_>>();
        let mut marks = look();
        for _ in 0..MARK_TRIES_MAX {
            let again = look();
            if again == marks {
                break;
            }
            marks = again;
        }
        topics.iter().zip(marks).map(|(topic, mark)| topic.cut_at(mark)).collect()
    }
}
