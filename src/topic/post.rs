//! A schema version that a client posts: planned, asked of every stored record, durable, and in force at once.
//!
//! While it is made nothing is sequenced and nothing is committed, so that no record slips in unseen. What takes long, asking
//! the dataset's rows about a conversion, happens before; only what has come since is asked again.

use std::sync::Arc;

use serde_json::Value;

use crate::backend::{Lane, RecordForm, Still, StorageError, StoredMisfit, VersionedSchema};
use crate::catalog::SchemaCause;
use crate::model::{ErrorCode, Offset, Problem, RecordError, SchemaVersion};
use crate::schema::{Edit, InvalidEdit, Move, Obstacle, Planned, Posted, SchemaChange, WideColumns, plan};
use crate::topic::configure::schema_row;
use crate::topic::log::{Phase, topic_gone};
use crate::topic::quarantine::is_the_services;
use crate::topic::{IfMatch, SchemaListing, Topic};

/// A tail of more than this is committed first, so that little has to be rewritten while writers wait.
const TAIL_BYTES: u64 = 8 << 20;
/// How often what has come meanwhile is committed first: writers who are faster than commits would put it off for ever.
const SHORTENED_MAX: u32 = 3;

/// Nothing is sequenced meanwhile.
struct Evolving<'t>(&'t Topic);

impl Drop for Evolving<'_> {
    fn drop(&mut self) {
        self.0.log.lock().evolving = false;
        self.0.evolution_done.notify_waiters();
    }
}

/// What a try to make the version has led to.
enum Outcome {
    /// It is made.
    Made(Arc<VersionedSchema>),
    /// The schema has changed since it was planned.
    Moved,
}

/// What is planned on a schema.
pub(super) struct Basis {
    pub(super) present: Option<Arc<VersionedSchema>>,
    pub(super) planned: Planned,
    pub(super) moves: Arc<[Move]>,
}

impl Basis {
    /// Whether nothing is different; changes that lead back to the same schema do something all the same to what is stored.
    pub(super) fn is_unchanged(&self) -> bool {
        self.planned.changes.is_empty()
            && self.present.as_ref().is_some_and(|present| *present.schema == self.planned.schema)
    }

    /// Whether stored values may refuse it.
    pub(super) fn asks(&self) -> bool {
        self.moves.iter().any(Move::can_be_refused)
    }
}

/// Reads a request to change the schema.
///
/// # Errors
/// `invalid_body`, `too_many_columns`.
pub(crate) fn read_edit(fields: Option<Value>, changes: Option<Value>) -> Result<Edit, Problem> {
    Edit::from_json(fields, changes).map_err(|err| match err {
        InvalidEdit::Malformed { pointer, detail, allowed } => {
            let place = if pointer.is_empty() { String::new() } else { format!(" (at {pointer})") };
            let problem = Problem::new(ErrorCode::InvalidBody, format!("{detail}{place}"));
            if allowed.is_empty() { problem } else { problem.allowing(allowed) }
        }
        InvalidEdit::OutOfRange { detail, .. } => Problem::new(ErrorCode::InvalidParameter, detail),
        InvalidEdit::TooManyColumns(err) => {
            Problem::new(ErrorCode::TooManyColumns, err.to_string()).with_limit(crate::schema::COLUMNS_MAX as u64)
        }
    })
}

impl Topic {
    /// Makes the schema version that a client posts; false where the schema is so already, and no version is made.
    ///
    /// # Errors
    /// `unsupported_by_backend` without columns; `schema_conflict` and `too_many_columns` where the change cannot be had, or a
    /// stored record does not take it; `precondition_failed`; 503 where records in flight could not be made durable. Nothing
    /// has changed then.
    pub async fn post_schema(
        self: &Arc<Self>,
        fields: Option<Value>,
        changes: Option<Value>,
        condition: Option<IfMatch>,
    ) -> Result<(SchemaListing, bool), Problem> {
        self.check_columns()?;
        if self.name.is_reserved() {
            return Err(is_the_services());
        }
        let edit = read_edit(fields, changes)?;
        let topic = Arc::clone(self);
        self.services.detach(async move { topic.post_alone(edit, condition).await }).await
    }

    async fn post_alone(
        self: Arc<Self>,
        edit: Edit,
        condition: Option<IfMatch>,
    ) -> Result<(SchemaListing, bool), Problem> {
        loop {
            let basis = self.plan_edit(&edit)?;
            Self::check_condition(&basis, condition.as_ref())?;
            if basis.is_unchanged() {
                return Ok((self.schema(basis.present.as_ref().map(|present| present.version)).await?, false));
            }
            if self.factory.form() != RecordForm::EvolvingColumns {
                return Err(fixed(&basis.planned.changes));
            }
            let Some(lane) = self.backend.lane() else {
                let detail = "The topic's backend has no dataset whose columns could follow.";
                return Err(self
                    .services
                    .unsupported(detail, "schema_evolution", |able| able.schema_evolution == Some(true)));
            };
            self.shorten_tail(&lane).await;
            let mut asked = Offset::ZERO;
            if basis.asks() {
                match self.ask_rows(&lane, &basis, asked).await? {
                    Some(next) => asked = next,
                    None => continue,
                }
            }
            // In this order: the dataset may be rewritten for an earlier version, for minutes, and writers do not wait for that.
            let still = self.stand_still(&lane).await;
            let alone = self.begin_evolving().await?;
            let outcome = self.make_posted((&lane, &still), &edit, &basis, asked, condition.as_ref()).await?;
            drop(alone);
            drop(still);
            if let Outcome::Made(made) = outcome {
                self.follow(lane);
                return Ok((self.schema(Some(made.version)).await?, true));
            }
        }
    }

    /// Commits a long tail, as far as that can be done.
    async fn shorten_tail(&self, lane: &Lane) {
        if lane.pending_bytes() > TAIL_BYTES
            && let Err(err) = self.flush().await
        {
            tracing::debug!(topic = %self.name, detail = %err.detail, "the tail is rewritten as it is");
        }
    }

    /// Nothing is committed until what it returns is dropped; the tail is short then, where commits keep up with writers.
    async fn stand_still<'l>(&self, lane: &'l Lane) -> Still<'l> {
        for _ in 0..SHORTENED_MAX {
            let still = lane.stand_still().await;
            if lane.pending_bytes() <= TAIL_BYTES {
                return still;
            }
            drop(still);
            self.shorten_tail(lane).await;
        }
        lane.stand_still().await
    }

    /// The dataset follows by itself; whoever reads it does not wait.
    fn follow(&self, lane: Arc<Lane>) {
        let name = self.name.clone();
        self.services.tasks.spawn("schema", async move {
            if let Err(err) = lane.follow_posted().await {
                tracing::warn!(topic = %name, error = %err, "the dataset of {name} follows its schema at its next commit");
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// The last posted schema version.
    pub(super) fn posted(&self) -> Option<SchemaVersion> {
        self.schema.load().as_ref().and_then(|versioned| versioned.lineage.newest())
    }

    /// Plans an edit on the newest schema.
    fn plan_edit(&self, edit: &Edit) -> Result<Basis, Problem> {
        self.try_edit(edit).map_err(|obstacles| refused(&obstacles))
    }

    pub(super) fn try_edit(&self, edit: &Edit) -> Result<Basis, Vec<Obstacle>> {
        let (present, wide, has_records) = {
            let log = self.log.lock();
            (self.schema.load_full(), log.wide.clone(), log.next > Offset::ZERO)
        };
        let schema = present.as_ref().map(|present| &*present.schema);
        let planned = plan(schema, edit, &wide, has_records)?;
        let moves = planned.moves().into();
        Ok(Basis { present, planned, moves })
    }

    fn check_condition(basis: &Basis, condition: Option<&IfMatch>) -> Result<(), Problem> {
        let holds = match (condition, &basis.present) {
            (None, _) | (Some(IfMatch::Any), Some(_)) => true,
            (Some(IfMatch::OneOf(tags)), Some(present)) => {
                let etag = schema_etag(present.version, &present.schema.fingerprint());
                tags.contains(&etag)
            }
            (Some(IfMatch::Any | IfMatch::OneOf(_)), None) => false,
        };
        if holds {
            return Ok(());
        }
        let detail = "The newest schema has another ETag: read schemas/latest again.";
        Err(Problem::new(ErrorCode::PreconditionFailed, detail))
    }

    /// Asks the committed records from `from` on; where everything before was asked, or none where the schema has changed
    /// meanwhile.
    async fn ask_rows(&self, lane: &Lane, basis: &Basis, from: Offset) -> Result<Option<Offset>, Problem> {
        match lane.ask_table(&basis.moves, from).await {
            Ok(Ok(next)) => Ok(Some(next)),
            Ok(Err(misfit)) => Err(self.misfit_problem(&misfit)),
            Err(_) if !self.is_newest(basis) => Ok(None),
            Err(err) => Err(self.storage_problem(&err)),
        }
    }

    pub(super) fn is_newest(&self, basis: &Basis) -> bool {
        let version = |schema: &Option<Arc<VersionedSchema>>| schema.as_ref().map(|schema| schema.version);
        version(&self.schema.load_full()) == version(&basis.present)
    }

    /// Nothing is sequenced until what it returns is dropped.
    async fn begin_evolving(&self) -> Result<Evolving<'_>, Problem> {
        loop {
            {
                let mut log = self.log.lock();
                if log.phase == Phase::Deleting {
                    return Err(topic_gone());
                }
                if !log.evolving {
                    log.evolving = true;
                    return Ok(Evolving(self));
                }
            }
            self.evolved().await;
        }
    }

    /// Makes the version while nothing is sequenced.
    async fn make_posted(
        &self,
        (lane, still): (&Lane, &Still<'_>),
        edit: &Edit,
        planned_on: &Basis,
        asked: Offset,
        condition: Option<&IfMatch>,
    ) -> Result<Outcome, Problem> {
        // What is in flight comes into the tail, or never will.
        if !self.has_settled().await {
            return Err(StorageError::Unwritable { code: ErrorCode::LogFailed }.to_problem());
        }
        let basis = self.plan_edit(edit)?;
        Self::check_condition(&basis, condition)?;
        // What was asked was asked for the conversions of that plan, of the columns of that time.
        if basis.is_unchanged() || (basis.asks() && !self.is_newest(planned_on)) {
            return Ok(Outcome::Moved);
        }
        if basis.asks() && self.ask_rows(lane, &basis, asked).await?.is_none() {
            return Ok(Outcome::Moved);
        }
        let version = basis.present.as_ref().map_or(SchemaVersion::FIRST, |present| present.version.next());
        let before = basis.present.as_ref().map(|present| Arc::clone(&present.schema)).unwrap_or_default();
        let posted = Posted { version, before, moves: basis.moves.to_vec() };
        let schema = Arc::new(basis.planned.schema);
        let tail = lane.rewrite_tail(still, posted.clone(), Arc::clone(&schema)).await;
        let tail = tail.map_err(|err| self.storage_problem(&err))?.map_err(|misfit| self.misfit_problem(&misfit))?;
        let changes = &basis.planned.changes;
        let row = schema_row(version, &schema, SchemaCause::Posted, changes, self.services.clock.now());
        let stored = self.services.catalog.insert_schema(self.id, row).await;
        stored.map_err(|err| self.catalog_problem(&err))?;
        let lineage = basis.present.map(|present| Arc::clone(&present.lineage)).unwrap_or_default();
        let made = Arc::new(VersionedSchema { version, schema, lineage: Arc::new(lineage.with(posted)) });
        let mut log = self.log.lock();
        lane.adopt_schema(still, Arc::clone(&made), tail);
        log.wide.follow(&basis.moves);
        let starts = log.next;
        log.versions.push((version, starts));
        log.dirty = true;
        drop(log);
        self.tell_indexes();
        Ok(Outcome::Made(made))
    }

    fn misfit_problem(&self, misfit: &StoredMisfit) -> Problem {
        Problem::new(ErrorCode::SchemaConflict, self.misfit_words(misfit))
    }

    pub(super) fn misfit_words(&self, misfit: &StoredMisfit) -> String {
        let StoredMisfit { offset, path, detail } = misfit;
        let expired = if *offset < self.backend.levels().now().earliest {
            " The record has expired, but its row is still in the dataset."
        } else {
            ""
        };
        format!("The record at offset {offset} does not take the change of {path}: {detail}{expired}")
    }
}

/// The validator of a schema version, without quotes: its number, which is never given to another schema, and its
/// fingerprint.
pub(crate) fn schema_etag(version: SchemaVersion, fingerprint: &str) -> String {
    format!("{version}-{fingerprint}")
}

/// What follows for the integer columns that have been wide from everything posted since a set was stored.
pub(crate) fn follow_all(wide: &mut WideColumns, posted: &[Posted]) {
    for posted in posted {
        wide.follow(&posted.moves);
    }
}

fn refused(obstacles: &[Obstacle]) -> Problem {
    let first = obstacles.first();
    let code = first.map_or(ErrorCode::SchemaConflict, |first| first.code);
    let mut problem = Problem::new(code, first.map_or_else(String::new, |first| first.detail.clone()));
    if code == ErrorCode::TooManyColumns {
        problem.limit = Some(crate::schema::COLUMNS_MAX as u64);
    }
    problem.errors = obstacles.iter().take(Problem::ERRORS_MAX).map(obstacle_error).collect();
    problem
}

fn obstacle_error(obstacle: &Obstacle) -> RecordError {
    let Obstacle { code, pointer, detail, .. } = obstacle;
    RecordError { record: 0, pointer: pointer.clone(), code: *code, detail: detail.clone() }
}

/// The refusal of a backend whose columns are fixed, with all that differs.
fn fixed(changes: &[SchemaChange]) -> Problem {
    let differs: Vec<String> = changes.iter().map(|change| format!("{} {}", change.op.as_str(), change.path)).collect();
    let what = if differs.is_empty() { "the order of the fields".to_owned() } else { differs.join(", ") };
    let detail = format!("The columns of this backend are fixed; what is posted differs: {what}.");
    let mut problem = Problem::new(ErrorCode::SchemaConflict, detail);
    problem.errors = changes
        .iter()
        .take(Problem::ERRORS_MAX)
        .map(|change| RecordError {
            record: 0,
            pointer: String::new(),
            code: ErrorCode::SchemaConflict,
            detail: fixed_words(change),
        })
        .collect();
    problem
}

pub(super) fn fixed_words(change: &SchemaChange) -> String {
    format!("The columns of this backend are fixed: no {} of {}.", change.op.as_str(), change.path)
}
