//! Creation and deletion: safe at any crash.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::backend::{BackendFactory, OpenTopic, RecordForm};
use crate::catalog::{CatalogError, EpochStart, NewTopic, SchemaCause, Tombstone, TopicDefinition, TopicRow};
use crate::engine::entry::Entry;
use crate::engine::{Core, Remains};
use crate::io::point;
use crate::model::{
    ErrorCode, Offset, OnInvalid, Problem, Retention, SchemaMode, SchemaVersion, Timestamp, TopicId, TopicName,
};
use crate::schema::{InvalidSchema, Schema};
use crate::topic::catalog_answer;
use crate::topic::configure::{check_mode, check_on_invalid, merge_retention, schema_row};
use crate::topic::{CreateTopic, Description, IfMatch, Topic};

/// The backend of topics that name none.
const DEFAULT_BACKEND: &str = "persisting";

/// A creation whose members are sound.
struct Checked {
    factory: Arc<dyn BackendFactory>,
    options: Map<String, Value>,
    mode: Option<SchemaMode>,
    retention: Retention,
    on_invalid: OnInvalid,
    schema: Option<Schema>,
}

impl Core {
    pub(super) async fn create(
        self: &Arc<Self>,
        name: &TopicName,
        ask: CreateTopic,
    ) -> Result<(Description, bool), Problem> {
        if name.is_reserved() {
            let detail = "Names that end in \".quarantine\" are the service's own.";
            return Err(Problem::new(ErrorCode::InvalidTopicName, detail));
        }
        let _alone = self.alone_with(name).await?;
        self.create_alone(name, ask).await
    }

    /// The same under the name's lock, for any name.
    pub(super) async fn create_alone(
        self: &Arc<Self>,
        name: &TopicName,
        ask: CreateTopic,
    ) -> Result<(Description, bool), Problem> {
        if let Some(entry) = self.entry(name) {
            let topic = self.open(&entry).await?;
            self.compare(&entry, &topic, &ask)?;
            return Ok((topic.description(), false));
        }
        let checked = self.check(name, &ask)?;
        let row = self.store(name, &ask, &checked).await?;
        let entry = Arc::new(Entry::new(row, None, Timestamp::default(), false));
        let made = async {
            self.prepare(&entry, &*checked.factory).await?;
            self.open(&entry).await
        };
        match made.await {
            Ok(topic) => {
                self.topics.write().insert(name.clone(), entry);
                Ok((topic.description(), true))
            }
            Err(problem) => {
                // A topic that can be neither made nor unmade is there, and is made when it is opened.
                match self.bury(&entry).await {
                    Ok(()) => self.leave(&entry, None),
                    Err(_) => drop(self.topics.write().insert(name.clone(), entry)),
                }
                Err(problem)
            }
        }
    }

    fn check(&self, name: &TopicName, ask: &CreateTopic) -> Result<Checked, Problem> {
        let backend = ask.backend.as_deref().unwrap_or(DEFAULT_BACKEND);
        let Some(factory) = self.services.registry.get(backend).cloned() else {
            let detail = format!("There is no backend \"{backend}\".");
            return Err(Problem::new(ErrorCode::InvalidBody, detail).allowing(self.services.registry.names()));
        };
        let given = self.services.check_options(&*factory, &ask.backend_options)?;
        let options = factory.complete(&given)?;
        let on_invalid = ask.on_invalid.unwrap_or_default();
        check_on_invalid(&self.services, &*factory, &options, name, on_invalid)?;
        let form = factory.form();
        let mode = check_mode(&self.services, form, ask.schema_mode)?;
        if form == RecordForm::Documents && (ask.schema.is_some() || ask.storage_path.is_some()) {
            let detail =
                "The backend keeps JSON text without columns or a dataset: it takes neither schema nor storage_path.";
            return Err(self.services.unsupported(detail, "schema_evolution", |able| able.schema_evolution.is_some()));
        }
        let schema = ask.schema.as_ref().map(declared).transpose()?;
        let retention = match &ask.retention {
            Some(members) => merge_retention(Retention::default(), members)?,
            None => Retention::default(),
        };
        Ok(Checked { factory, options, mode, retention, on_invalid, schema })
    }

    async fn store(&self, name: &TopicName, ask: &CreateTopic, checked: &Checked) -> Result<TopicRow, Problem> {
        let id = TopicId::fresh();
        let now = self.services.clock.now();
        let place = match checked.factory.form() {
            RecordForm::Documents => None,
            _ => Some(self.places.of(id, name, ask.storage_path.as_deref())?),
        };
        let definition = TopicDefinition {
            id,
            name: name.clone(),
            backend: checked.factory.name().to_owned(),
            options: checked.options.clone(),
            storage_path: ask.storage_path.clone(),
            place,
            declared_schema: checked.schema.as_ref().map(Schema::to_json),
            schema_mode: checked.mode,
            retention: checked.retention,
            on_invalid: checked.on_invalid,
            created_at: now,
        };
        let schema = checked
            .schema
            .as_ref()
            .map(|schema| schema_row(SchemaVersion::FIRST, schema, SchemaCause::Declared, &[], now));
        let schema_version = schema.as_ref().map(|row| row.version);
        let made = self.catalog.create_topic(NewTopic { definition: definition.clone(), schema }).await;
        let epoch = made.map_err(|err| catalog_problem(name, &err))?;
        Ok(TopicRow {
            definition,
            closed: false,
            earliest: Offset::ZERO,
            next: Offset::ZERO,
            wide: String::new(),
            epochs: vec![EpochStart { epoch, start: Offset::ZERO }],
            schema_version,
        })
    }

    /// Makes the dataset of a topic that declares its columns, unless it is there.
    pub(super) async fn prepare(&self, entry: &Entry, factory: &dyn BackendFactory) -> Result<(), Problem> {
        let row = entry.row();
        let schema = match row.schema_version {
            Some(_) => {
                let found = self.newest_schema(row.definition.id).await;
                found.map_err(|err| catalog_problem(&row.definition.name, &err))??
            }
            None => None,
        };
        let topic = OpenTopic {
            id: row.definition.id,
            name: row.definition.name.clone(),
            options: row.definition.options.clone(),
            place: entry.place(),
            schema: Arc::new(arc_swap::ArcSwapOption::from(schema.map(Arc::new))),
            earliest: row.earliest,
            committed: row.next,
            replayed: Vec::new(),
            // The catalog may not have heard of what the dataset holds.
            is_settled: false,
            closed: false,
        };
        factory.prepare(&topic).await.map_err(|err| {
            tracing::error!(topic = %row.definition.name, error = %err, "a dataset cannot be made");
            err.to_problem()
        })
    }

    /// What is given must equal what the topic is.
    fn compare(&self, entry: &Entry, topic: &Topic, ask: &CreateTopic) -> Result<(), Problem> {
        let present = topic.description();
        let row = entry.row();
        let mut differs = Vec::new();
        if ask.backend.as_ref().is_some_and(|backend| *backend != present.backend) {
            if self.services.registry.get(ask.backend.as_deref().unwrap_or_default()).is_none() {
                self.check(&row.definition.name, ask)?;
            }
            differs.push("backend".to_owned());
        } else {
            for (name, value) in self.services.check_options(&**topic.factory(), &ask.backend_options)? {
                if present.backend_options.get(&name) != Some(&value) {
                    differs.push(format!("backend_options.{name}"));
                }
            }
        }
        // The same words mean the same folder, also where they name one in a data folder that has been moved since.
        if let Some(path) =
            ask.storage_path.as_deref().filter(|path| row.definition.storage_path.as_deref() != Some(*path))
        {
            let asked = self.places.of(row.definition.id, &row.definition.name, Some(path))?;
            if row.definition.storage_path.is_none() || row.definition.place.as_ref() != Some(&asked) {
                differs.push("storage_path".to_owned());
            }
        }
        if let Some(schema) = &ask.schema
            && row.definition.declared_schema.as_ref() != Some(&declared(schema)?.to_json())
        {
            differs.push("schema".to_owned());
        }
        if ask.schema_mode.is_some() && ask.schema_mode != present.schema_mode {
            differs.push("schema_mode".to_owned());
        }
        if let Some(members) = &ask.retention {
            let mut given = members.clone();
            given.retain(|_, value| !value.is_null());
            if merge_retention(present.retention, &given)? != present.retention {
                differs.push("retention".to_owned());
            }
        }
        if ask.on_invalid.is_some_and(|choice| choice != present.on_invalid.unwrap_or_default()) {
            differs.push("on_invalid".to_owned());
        }
        if differs.is_empty() {
            return Ok(());
        }
        let detail = format!("The topic exists with another configuration; different are: {}.", differs.join(", "));
        Err(Problem::new(ErrorCode::TopicConflict, detail))
    }

    /// Deletes a topic whose configuration meets a condition, and its quarantine behind it.
    pub(super) async fn delete(self: &Arc<Self>, name: &TopicName, condition: Option<&IfMatch>) -> Result<(), Problem> {
        let quarantine = self.delete_one(name, None, condition).await?;
        // A crash in between leaves it to the next start, or to the next topic of the name.
        self.delete_quarantine(name, quarantine).await
    }

    /// Deletes one topic, if it is this one and meets a condition; what it leaves as its quarantine.
    pub(super) async fn delete_one(
        self: &Arc<Self>,
        name: &TopicName,
        which: Option<TopicId>,
        condition: Option<&IfMatch>,
    ) -> Result<Option<TopicId>, Problem> {
        let _alone = self.name_lock(name).lock().await;
        let missing = || Problem::new(ErrorCode::TopicNotFound, format!("There is no topic \"{name}\"."));
        let entry = self.entry(name).ok_or_else(missing)?;
        if which.is_some_and(|id| entry.row().definition.id != id) {
            return Err(missing());
        }
        // A topic whose store cannot be opened can be deleted all the same.
        let topic = self.open(&entry).await.ok();
        let held = match (&topic, condition) {
            (Some(topic), Some(condition)) => Some(topic.held_as(condition).await?),
            (None, Some(condition)) => {
                let factory = self.services.registry.get(&entry.row().definition.backend);
                let told = entry.description(factory.map(|factory| &**factory)).ok_or_else(Problem::internal)?;
                condition.check(&told.etag)?;
                None
            }
            (_, None) => None,
        };
        let before = match &topic {
            Some(topic) => Some(topic.begin_delete().await),
            None => None,
        };
        if let Err(problem) = self.bury(&entry).await {
            if let (Some(topic), Some(before)) = (&topic, before) {
                topic.abandon_delete(before);
            }
            return Err(problem);
        }
        drop(held);
        self.settle(name);
        self.topics.write().remove(name);
        // While the name is held, so that it is not that of a new topic; one that is being made finds that the topic is gone.
        let quarantine = self.quarantine_id(name);
        if let Some(topic) = &topic {
            topic.end();
        }
        // Only now may anything of it be removed: who reads it still knows why it is gone.
        self.leave(&entry, topic);
        Ok(quarantine)
    }

    async fn bury(&self, entry: &Entry) -> Result<(), Problem> {
        let definition = &entry.row().definition;
        self.catalog.bury(definition.id).await.map_err(|err| catalog_problem(&definition.name, &err))?;
        point::passed("delete", "buried");
        Ok(())
    }

    /// Leaves what a topic that is buried had to be removed.
    fn leave(&self, entry: &Entry, topic: Option<Arc<Topic>>) {
        let definition = &entry.row().definition;
        let tombstone = Tombstone { id: definition.id, name: definition.name.clone(), place: definition.place.clone() };
        self.remains.lock().insert(definition.id, Remains { tombstone, topic, removed: false });
    }
}

fn declared(schema: &Value) -> Result<Schema, Problem> {
    Schema::from_json(schema).map_err(|err| {
        let code = match err {
            InvalidSchema::TooManyColumns { .. } => ErrorCode::TooManyColumns,
            InvalidSchema::OutOfRange { .. } => ErrorCode::InvalidParameter,
            InvalidSchema::Malformed { .. } => ErrorCode::InvalidBody,
        };
        Problem::new(code, format!("The schema cannot be had: {err}"))
    })
}

fn catalog_problem(name: &TopicName, err: &CatalogError) -> Problem {
    tracing::error!(topic = %name, error = %err, "the catalog failed for {name}");
    catalog_answer(err)
}
