//! A topic that begins as another one was, safe at any crash.
//!
//! The catalog notes the fork as a tombstone before anything of it is made, and brings it to life in one transaction when
//! its dataset is durable: what is left of one that came to nothing is removed as what a deleted topic has left.

use std::sync::Arc;

use crate::catalog::{CatalogError, EpochStart, ForkedTopic, Tombstone, TopicDefinition, TopicRow};
use crate::engine::entry::Entry;
use crate::engine::place::Places;
use crate::engine::{Core, Remains};
use crate::io::point;
use crate::model::{ErrorCode, Offset, Problem, Retention, TopicId, TopicName};
use crate::table::TablePlace;
use crate::topic::configure::check_on_invalid;
use crate::topic::{Description, ForkAt, ForkCut, catalog_answer};

impl Core {
    /// Makes a topic of the source's backend, options and schema versions, with its records up to a point.
    pub(super) async fn fork(
        self: &Arc<Self>,
        source: &TopicName,
        name: &TopicName,
        at: ForkAt,
    ) -> Result<Description, Problem> {
        let topic = self.topic(source).await?;
        topic.check_version_control()?;
        self.check_free(name)?;
        let cut = topic.cut(&at).await?;
        check_on_invalid(&self.services, &**topic.factory(), &cut.options, name, cut.on_invalid)?;
        let missing = || Problem::new(ErrorCode::TopicNotFound, format!("There is no topic \"{source}\"."));
        let origin = self.entry(source).filter(|entry| entry.row().definition.id == topic.id()).ok_or_else(missing)?;
        let _alone = self.alone_with(name).await?;
        self.check_free(name)?;
        let id = TopicId::fresh();
        let from = &origin.row().definition;
        let place = match &from.place {
            Some(place) => Some(Places::beside(place, id, name)?),
            None => None,
        };
        let definition = TopicDefinition {
            id,
            name: name.clone(),
            backend: from.backend.clone(),
            options: cut.options.clone(),
            storage_path: from.storage_path.clone(),
            place,
            declared_schema: from.declared_schema.clone(),
            schema_mode: cut.schema_mode,
            // A fork of what the source's retention would drop is made to be kept.
            retention: Retention::default(),
            on_invalid: cut.on_invalid,
            created_at: self.services.clock.now(),
        };
        self.catalog.begin_fork(definition.clone()).await.map_err(|err| self.told(name, &err))?;
        point::passed("fork", "begun");
        let newest = cut.newest;
        let row = match self.make_fork(definition.clone(), cut).await {
            Ok(row) => row,
            Err(Unmade { problem, is_sure }) => {
                if is_sure {
                    let tombstone = Tombstone { id, name: name.clone(), place: definition.place };
                    self.remains.lock().insert(id, Remains { tombstone, topic: None, removed: false });
                }
                // A source that is gone meanwhile is the likeliest cause.
                return Err(if self.entry(source).is_none() { missing() } else { problem });
            }
        };
        let entry = Arc::new(Entry::new(row, None, newest, false));
        self.topics.write().insert(name.clone(), Arc::clone(&entry));
        Ok(self.open(&entry).await?.description())
    }

    fn check_free(&self, name: &TopicName) -> Result<(), Problem> {
        match self.entry(name) {
            None => Ok(()),
            Some(_) => Err(Problem::new(ErrorCode::TopicConflict, format!("There is a topic \"{name}\" already."))),
        }
    }

    async fn make_fork(&self, definition: TopicDefinition, cut: ForkCut) -> Result<TopicRow, Unmade> {
        let ForkCut { past, earliest, next, schemas, wide, newest, lane, indexes, .. } = cut;
        if let (Some(past), Some(place)) = (&past, &definition.place) {
            let place = TablePlace { dataset: place.dataset.clone(), link: place.link.clone() };
            let made = lane.fork(past.about.version, earliest..next, &place).await;
            made.map_err(|err| {
                tracing::warn!(topic = %definition.name, error = %err, "a fork could not be made");
                Unmade { problem: err.to_problem(), is_sure: true }
            })?;
        }
        let schema_version = schemas.last().map(|row| row.version);
        let fork = ForkedTopic { id: definition.id, earliest, next, wide: wide.clone(), schemas, newest, indexes };
        let epoch = self.catalog.complete_fork(fork).await.map_err(|err| Unmade {
            // A commit that has failed otherwise may come to light at the next start, and then it has its dataset.
            is_sure: matches!(err, CatalogError::NameTaken | CatalogError::NotFound | CatalogError::DiskFull),
            problem: self.told(&definition.name, &err),
        })?;
        point::passed("fork", "stored");
        Ok(TopicRow {
            definition,
            closed: false,
            earliest,
            next,
            wide,
            epochs: vec![EpochStart { epoch, start: Offset::ZERO }],
            schema_version,
        })
    }

    fn told(&self, name: &TopicName, err: &CatalogError) -> Problem {
        tracing::error!(topic = %name, error = %err, "the catalog failed for {name}");
        catalog_answer(err)
    }
}

/// Why a fork came to nothing.
struct Unmade {
    problem: Problem,
    /// Whether it is sure that it did.
    is_sure: bool,
}
