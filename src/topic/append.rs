//! An append: look, decode, evolve, sequence, wait.

use std::sync::Arc;

use crate::backend::{Commit, StorageError, VersionedSchema};
use crate::codec::{Body, DecodeError, Decoded, PreparedSchema, Sifted};
use crate::model::{Ack, Durability, ErrorCode, Offset, Problem, Writer};
use crate::schema::WideColumns;
use crate::tail::Reservation;
use crate::topic::close::stored_all_the_same;
use crate::topic::log::{Log, Ruling};
use crate::topic::producers::StoredReceipt;
use crate::topic::quarantine::{Batch, Misfits, is_the_services};
use crate::topic::receipt::Counted;
use crate::topic::room::bytes_of;
use crate::topic::{AppendRequest, InflightPermit, Receipt, Topic};

/// Why an append is refused.
pub(super) enum Refusal {
    /// Its body is at fault.
    Body(DecodeError),
    /// Anything else.
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal::Problem(problem)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Body(error) => error.into_problem(),
            Refusal::Problem(problem) => problem,
        }
    }
}

/// What a body was decoded against.
pub(super) struct Basis {
    pub(super) schema: Option<Arc<VersionedSchema>>,
    pub(super) prepared: Option<Arc<PreparedSchema>>,
    pub(super) wide: WideColumns,
}

/// What became of a try to sequence.
pub(super) enum Step {
    /// The records have their offsets.
    Sequenced { receipt: StoredReceipt, bytes: u64, commit: Commit },
    /// They had been stored before, as of so many rewinds.
    Duplicate(StoredReceipt, u64),
    /// The schema has moved since they were decoded.
    Again(Reservation),
    /// A schema version is being made.
    Busy(Reservation),
    /// They need a schema version of their own, which may be made now: nothing else is sequenced meanwhile.
    Evolve(Reservation),
    /// They are refused, on grounds of everything before this offset, as of so many rewinds.
    Refused(Problem, Offset, u64),
}

impl Topic {
    /// Refuses what the backend cannot do, before the body is read.
    ///
    /// # Errors
    /// `ack_unsupported` and `unsupported_by_backend`.
    pub fn check_append(&self, ack: Option<Ack>, writer: &Writer) -> Result<(), Problem> {
        if self.name.is_reserved() {
            return Err(is_the_services());
        }
        let settings = self.settings.load();
        if let Some(ack) = ack
            && !settings.acks.available.contains(&ack)
        {
            let detail = format!("The topic cannot give the level \"{ack}\".");
            let words = settings.acks.available.iter().map(|level| level.as_str());
            return Err(Problem::new(ErrorCode::AckUnsupported, detail).allowing(words));
        }
        if *writer != Writer::Plain && !settings.exactly_once {
            let detail = "The topic keeps no state of producers and idempotency keys.";
            return Err(self.services.unsupported(detail, "exactly_once", |able| able.exactly_once));
        }
        Ok(())
    }

    /// Refuses rows of Arrow where records have no columns, before the body is read.
    ///
    /// # Errors
    /// `unsupported_by_backend`.
    pub fn check_arrow(&self) -> Result<(), Problem> {
        if self.factory.capabilities().arrow {
            return Ok(());
        }
        let detail = "The topic's backend has no columns, which Arrow needs; use JSON or NDJSON.";
        Err(self.services.unsupported(detail, "arrow", |able| able.arrow))
    }

    /// Appends one body, whole or not at all. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// What the contract says of appends; nothing is stored then.
    pub async fn append(self: &Arc<Self>, ask: AppendRequest) -> Result<Receipt, Problem> {
        self.append_holding(ask, InflightPermit::none()).await
    }

    /// The same for a body that `permit` holds; what decoding takes beside it is held too, for as long as it is there.
    ///
    /// # Errors
    /// As [`Topic::append`], and `overloaded` without room for that.
    pub async fn append_holding(
        self: &Arc<Self>,
        ask: AppendRequest,
        mut permit: InflightPermit,
    ) -> Result<Receipt, Problem> {
        self.check_append(ask.ack, &ask.writer)?;
        if ask.close {
            // Closing goes on when the client leaves.
            let topic = Arc::clone(self);
            let appending = async move {
                topic.append_and_settle(ask, Misfits::AsSet, &mut permit, 0).await.map_err(Problem::from)
            };
            Box::pin(self.services.detach(appending)).await
        } else {
            self.append_and_settle(ask, Misfits::AsSet, &mut permit, 0).await.map_err(Problem::from)
        }
    }

    /// As [`Topic::append`], for an append that does not close; a fault of the body can still be placed in a larger one.
    pub(super) async fn append_or_fault(
        self: &Arc<Self>,
        ask: AppendRequest,
        permit: &mut InflightPermit,
    ) -> Result<Receipt, Refusal> {
        let held = permit.held();
        let outcome = self.append_and_settle(ask, Misfits::AsSet, permit, held).await;
        permit.shrink_to(held);
        outcome
    }

    /// The same, whatever becomes of records that do not fit. When the records have their offsets the body goes, and `kept`
    /// bytes of the permit stay.
    pub(super) async fn append_and_settle(
        self: &Arc<Self>,
        mut ask: AppendRequest,
        misfits: Misfits,
        permit: &mut InflightPermit,
        kept: u64,
    ) -> Result<Receipt, Refusal> {
        let body = permit.held();
        let ack = ask.ack.unwrap_or_else(|| self.settings.load().acks.default);
        // Nearly every append passes, and then without waiting.
        let admitted = matches!(self.log.lock().rule(&ask, self.services.clock.now()), Ruling::Admit);
        if !admitted && let Some((known, stored)) = Box::pin(self.look(&ask, ack)).await? {
            return Box::pin(self.repeated(known, stored, &ask, ack)).await;
        }
        let mut room = match misfits {
            Misfits::AsSet => self.room_before(&ask.body).await?,
            Misfits::Return(_) => None,
        };
        loop {
            let basis = self.basis();
            let sifted = match misfits {
                Misfits::Return(_) => self.decode_again(&ask, &basis).await,
                Misfits::AsSet => self.decode(&ask, &basis, self.quarantines(), permit).await,
            };
            let Sifted { taken: decoded, refused } = sifted.map_err(Refusal::Body)?;
            // What an earlier try has left would keep out the two parts together.
            let left = room.take().filter(|_| refused.is_empty());
            let (reservation, quarantined) = match left {
                Some(left) => (self.room_for(left, &decoded).await?, None),
                None if refused.is_empty() => (self.reserve(bytes_of(&decoded)).await?, None),
                None => {
                    let (own, aside) = Box::pin(self.set_aside(&ask, &misfits, refused, &decoded)).await?;
                    (own, Some(aside))
                }
            };
            // The tail counts the records by now.
            permit.shrink_to(body);
            let step = match decoded {
                Decoded::Fits(records) => self.sequence(&ask, ack, &basis, Batch { records, reservation, quarantined }),
                Decoded::Evolves(evolution) => match self.may_evolve(&ask, &basis, reservation) {
                    Step::Evolve(reservation) => {
                        Box::pin(self.evolve(&ask, ack, &basis, *evolution, (reservation, quarantined))).await?
                    }
                    other => other,
                },
            };
            match step {
                Step::Sequenced { receipt, bytes, commit } => {
                    ask.body = Body::default();
                    permit.shrink_to(kept);
                    let counted = Counted::new(self, receipt.count, bytes);
                    let outcome = commit.await;
                    counted.end(&outcome);
                    let mut reached = match outcome {
                        Ok(reached) => reached,
                        Err(err) if ask.close => {
                            return Err(self.unclosed(self.storage_problem(&err).into(), receipt).into());
                        }
                        Err(err) => return Err(self.unreached(&err, receipt).into()),
                    };
                    if ask.close {
                        let next =
                            Box::pin(self.settle_close()).await.map_err(|failed| self.unclosed(failed, receipt))?;
                        // Closing may have taken the records further than was asked.
                        reached = self.backend.reached(next, ack).await.map_err(|err| self.unreached(&err, receipt))?;
                    }
                    return Ok(self.receipt(receipt, reached, false));
                }
                Step::Duplicate(receipt, rewinds) => {
                    if let Some(answer) = Box::pin(self.answer_duplicate(receipt, ack, rewinds)).await? {
                        return Box::pin(self.repeated(answer, receipt, &ask, ack)).await;
                    }
                }
                Step::Again(back) => room = Some(back).filter(|back| back.bytes() > 0),
                Step::Busy(back) => {
                    room = Some(back);
                    self.evolved().await;
                }
                Step::Refused(problem, rests_on, rewinds) => {
                    Box::pin(self.refuse(problem, rests_on, ack, rewinds)).await?;
                }
                Step::Evolve(_) => return Err(Problem::internal().into()),
            }
        }
    }

    /// The contract's order of checks, before the records are looked at; the answer to what was stored before, with that.
    async fn look(&self, ask: &AppendRequest, ack: Ack) -> Result<Option<(Receipt, StoredReceipt)>, Problem> {
        loop {
            let (ruling, next, rewinds) = {
                let log = self.log.lock();
                (log.rule(ask, self.services.clock.now()), log.next, log.rewinds)
            };
            match ruling {
                Ruling::Admit => return Ok(None),
                Ruling::Duplicate(receipt) => {
                    if let Some(answer) = self.answer_duplicate(receipt, ack, rewinds).await? {
                        return Ok(Some((answer, receipt)));
                    }
                }
                Ruling::Refuse(problem) => self.refuse(problem, next, ack, rewinds).await?,
            }
        }
    }

    /// A refusal that rests on records in flight waits until they are as durable as asked. Returns where the log was rewound
    /// meanwhile, so that the refusal may rest on nothing.
    async fn refuse(&self, problem: Problem, rests_on: Offset, ack: Ack, rewinds: u64) -> Result<(), Problem> {
        if problem.code != ErrorCode::TopicNotFound && self.settled(rests_on, ack, rewinds).await?.is_none() {
            return Ok(());
        }
        Err(problem)
    }

    /// The original's answer, when that is as durable as asked; none where the log was rewound meanwhile.
    async fn answer_duplicate(
        &self,
        receipt: StoredReceipt,
        ack: Ack,
        rewinds: u64,
    ) -> Result<Option<Receipt>, Problem> {
        let next = receipt.first.saturating_after(receipt.count);
        let mut reached = self.settled(next, ack, rewinds).await?;
        if receipt.quarantined > 0 && reached.is_some() {
            let kept = self.quarantined_reached(ack).await?;
            reached = reached.zip(kept).map(|(stored, kept)| stored.min(kept));
            // Whoever takes the quarantine's records back takes back what was known of the request first.
            reached = reached.filter(|_| self.log.lock().rewinds == rewinds);
        }
        Ok(reached.map(|reached| self.receipt(receipt, reached, true)))
    }

    /// Waits until everything before `next` has reached a level; none where the log was rewound since it was looked at,
    /// because what lies there now may be something else.
    pub(super) async fn settled(&self, next: Offset, ack: Ack, rewinds: u64) -> Result<Option<Durability>, Problem> {
        let reached = self.backend.reached_since(next, ack, rewinds).await;
        if self.log.lock().rewinds != rewinds {
            return Ok(None);
        }
        reached.map(Some).map_err(|err| self.storage_problem(&err))
    }

    /// The answer where records did not reach the level that was asked. Those that a degraded topic has taken are kept: its
    /// dataset gets them later, so that sending them again would store them twice.
    fn unreached(&self, err: &StorageError, stored: StoredReceipt) -> Problem {
        let problem = self.storage_problem(err);
        if problem.code != ErrorCode::TopicDegraded {
            return problem;
        }
        let detail = format!(
            "The records are kept, from offset {} on, but the topic's dataset cannot be written at present and gets them \
             later: do not send them again.",
            stored.first
        );
        stored_all_the_same(problem, detail, stored)
    }

    fn receipt(&self, stored: StoredReceipt, durability: Durability, duplicate: bool) -> Receipt {
        Receipt {
            topic: self.name.clone(),
            epoch: self.epoch(),
            first_offset: stored.first,
            last_offset: stored.first.saturating_after(stored.count.saturating_sub(1)),
            count: stored.count,
            quarantined: stored.quarantined,
            schema_version: stored.schema,
            durability,
            complete: self.settings.load().acks.complete,
            duplicate,
        }
    }

    pub(super) fn basis(&self) -> Basis {
        let (schema, wide) = {
            let log = self.log.lock();
            (self.schema.load_full(), log.wide.clone())
        };
        let prepared = schema.as_deref().map(|schema| self.prepared(schema));
        Basis { schema, prepared, wide }
    }

    /// A schema made ready for decoding, once.
    fn prepared(&self, schema: &VersionedSchema) -> Arc<PreparedSchema> {
        if let Some((version, prepared)) = self.prepared.load().as_deref()
            && *version == schema.version
        {
            return Arc::clone(prepared);
        }
        let prepared = Arc::new(PreparedSchema::new(Arc::clone(&schema.schema)));
        self.prepared.store(Some(Arc::new((schema.version, Arc::clone(&prepared)))));
        prepared
    }

    pub(super) fn schema_is(&self, basis: &Basis) -> bool {
        match (self.schema.load_full(), &basis.schema) {
            (None, None) => true,
            (Some(now), Some(then)) => now.version == then.version,
            _ => false,
        }
    }

    /// The ruling under the lock; then offsets, and the batch is handed on in their order.
    fn sequence(&self, ask: &AppendRequest, ack: Ack, basis: &Basis, batch: Batch) -> Step {
        let mut log = self.log.lock();
        if log.evolving {
            return Step::Busy(batch.reservation);
        }
        if !self.schema_is(basis) {
            return Step::Again(batch.reservation);
        }
        self.sequence_in(&mut log, ask, ack, basis, batch)
    }

    pub(super) fn sequence_in(
        &self,
        log: &mut Log,
        ask: &AppendRequest,
        ack: Ack,
        basis: &Basis,
        Batch { records, reservation, quarantined }: Batch,
    ) -> Step {
        let now = self.services.clock.now();
        match log.rule(ask, now) {
            Ruling::Admit => {}
            Ruling::Duplicate(receipt) => return Step::Duplicate(receipt, log.rewinds),
            Ruling::Refuse(problem) => return Step::Refused(problem, log.next, log.rewinds),
        }
        let bytes = records.values.bytes() as u64;
        let (before, rewinds) = (log.next, log.rewinds);
        let durable = self.backend.levels().now().durable;
        let schema = basis.schema.as_deref();
        let sequenced = match quarantined {
            None => log
                .assign(ask, records, schema, reservation, (now, durable), None)
                .map(|(batch, receipt)| (receipt, self.backend.put_batch(batch, ack))),
            Some(quarantined) => {
                let assign =
                    |log: &mut Log, aside| log.assign(ask, records, schema, reservation, (now, durable), Some(aside));
                match quarantined.sequence(self, log, ack, assign) {
                    Some(sequenced) => sequenced,
                    None => return Step::Again(Reservation::none()),
                }
            }
        };
        match sequenced {
            Ok((receipt, commit)) => Step::Sequenced { receipt, bytes, commit },
            Err(problem) => Step::Refused(problem, before, rewinds),
        }
    }
}
