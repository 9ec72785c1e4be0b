//! A schema version that an append asks for: durable in the catalog before any record needs it.

use std::sync::Arc;

use crate::backend::VersionedSchema;
use crate::catalog::SchemaCause;
use crate::codec::Evolution;
use crate::io::point;
use crate::model::{Ack, Problem, SchemaVersion};
use crate::schema::WideColumns;
use crate::tail::Reservation;
use crate::topic::append::{Basis, Step};
use crate::topic::configure::schema_row;
use crate::topic::log::Ruling;
use crate::topic::quarantine::{Batch, Quarantined};
use crate::topic::{AppendRequest, Topic};

impl Topic {
    /// Whether a schema version may be made for this append; if so, nothing else is sequenced from here on.
    pub(super) fn may_evolve(&self, ask: &AppendRequest, basis: &Basis, reservation: Reservation) -> Step {
        let mut log = self.log.lock();
        if log.evolving {
            return Step::Busy(reservation);
        }
        if !self.schema_is(basis) || log.wide != basis.wide {
            return Step::Again(reservation);
        }
        match log.rule(ask, self.services.clock.now()) {
            Ruling::Admit => {
                log.evolving = true;
                Step::Evolve(reservation)
            }
            Ruling::Duplicate(receipt) => Step::Duplicate(receipt, log.rewinds),
            Ruling::Refuse(problem) => Step::Refused(problem, log.next, log.rewinds),
        }
    }

    /// Makes the version durable in the catalog, then sequences the records that need it. Goes on when the client leaves,
    /// so that the topic is never left evolving.
    pub(super) async fn evolve(
        self: &Arc<Self>,
        ask: &AppendRequest,
        ack: Ack,
        basis: &Basis,
        evolution: Evolution,
        (reservation, quarantined): (Reservation, Option<Quarantined>),
    ) -> Result<Step, Problem> {
        let topic = Arc::clone(self);
        let ask = ask.clone();
        let version = basis.schema.as_ref().map_or(SchemaVersion::FIRST, |schema| schema.version.next());
        let first = basis.schema.is_none();
        let lineage = basis.schema.as_ref().map(|schema| Arc::clone(&schema.lineage)).unwrap_or_default();
        self.services
            .detach(async move {
                let Evolution { schema, changes, records } = evolution;
                let cause = if first { SchemaCause::Inferred } else { SchemaCause::Evolved };
                let row = schema_row(version, &schema, cause, &changes, topic.services.clock.now());
                let stored = topic.services.catalog.insert_schema(topic.id, row).await;
                point::passed("evolve", "stored");
                let step = match stored {
                    Ok(()) => {
                        let versioned = Arc::new(VersionedSchema { version, schema: Arc::new(schema), lineage });
                        topic.schema.store(Some(Arc::clone(&versioned)));
                        let mut log = topic.log.lock();
                        let starts = log.next;
                        log.versions.push((version, starts));
                        log.evolving = false;
                        let basis = Basis { schema: Some(versioned), prepared: None, wide: WideColumns::default() };
                        let batch = Batch { records, reservation, quarantined };
                        Ok(topic.sequence_in(&mut log, &ask, ack, &basis, batch))
                    }
                    Err(err) => {
                        topic.log.lock().evolving = false;
                        Err(topic.catalog_problem(&err))
                    }
                };
                topic.evolution_done.notify_waiters();
                step
            })
            .await
    }

    /// Returns when no schema version is being made.
    pub(super) async fn evolved(&self) {
        loop {
            let done = self.evolution_done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if !self.log.lock().evolving {
                return;
            }
            done.await;
        }
    }
}
