//! A topic's configuration: what it is, how it is checked, how it is changed.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::MutexGuard;

use crate::backend::{AckLevels, BackendFactory, OptionValues, RecordForm};
use crate::catalog::{SchemaCause, SchemaRow};
use crate::model::{
    Ack, ErrorCode, OnInvalid, Problem, Retention, SchemaMode, SchemaVersion, Timestamp, TopicId, TopicName,
};
use crate::schema::{Schema, SchemaChange};
use crate::topic::quarantine::is_the_services;
use crate::topic::services::TopicServices;
use crate::topic::{Description, IfMatch, Topic, TopicPatch};

/// What can be changed of a topic, and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) options: OptionValues,
    pub(crate) schema_mode: Option<SchemaMode>,
    pub(crate) retention: Retention,
    pub(crate) on_invalid: OnInvalid,
    pub(crate) acks: AckLevels,
    pub(crate) exactly_once: bool,
    pub(crate) etag: Arc<str>,
}

impl Settings {
    /// Settings with all that follows from them; the options have their defaults.
    pub(crate) fn new(
        factory: &dyn BackendFactory,
        id: TopicId,
        options: OptionValues,
        schema_mode: Option<SchemaMode>,
        retention: Retention,
        on_invalid: OnInvalid,
    ) -> Self {
        Self {
            acks: factory.acks(&options),
            exactly_once: factory.exactly_once(&options),
            etag: Self::etag(id, &options, schema_mode, retention, on_invalid),
            on_invalid,
            options,
            schema_mode,
            retention,
        }
    }

    /// The validator of a topic's configuration; no other topic has it, as that of a topic made anew must not be taken for that
    /// of the one before.
    pub(crate) fn etag(
        id: TopicId,
        options: &OptionValues,
        schema_mode: Option<SchemaMode>,
        retention: Retention,
        on_invalid: OnInvalid,
    ) -> Arc<str> {
        let told = json!({
            "id": id.to_string(), "options": options, "mode": schema_mode.map(SchemaMode::as_str), "retention": retention,
            "on_invalid": on_invalid.as_str(),
        });
        let hash = blake3::hash(told.to_string().as_bytes()).to_hex();
        hash.chars().take(16).collect::<String>().into()
    }
}

/// The mode of topics of this form that name none.
pub(crate) const fn default_mode(form: RecordForm) -> Option<SchemaMode> {
    match form {
        RecordForm::Documents => None,
        RecordForm::StrictColumns => Some(SchemaMode::Strict),
        RecordForm::EvolvingColumns => Some(SchemaMode::Evolve),
    }
}

/// Checks a mode that was asked for.
pub(crate) fn check_mode(
    services: &TopicServices,
    form: RecordForm,
    asked: Option<SchemaMode>,
) -> Result<Option<SchemaMode>, Problem> {
    match (form, asked) {
        (_, None) => Ok(default_mode(form)),
        (RecordForm::Documents, Some(_)) => {
            let detail = "The backend keeps JSON text and has no columns, so it takes no schema_mode.";
            Err(services.unsupported(detail, "schema_evolution", |able| able.schema_evolution.is_some()))
        }
        (RecordForm::StrictColumns, Some(SchemaMode::Evolve)) => {
            let detail = "The columns of this backend do not evolve by appends: its schema_mode is always \"strict\".";
            Err(services.unsupported(detail, "schema_evolution", |able| able.schema_evolution == Some(true)))
        }
        (_, mode) => Ok(mode),
    }
}

/// Reads what is to become of records that do not fit; null is the default.
pub(crate) fn read_on_invalid(value: &Value) -> Result<OnInvalid, Problem> {
    let choice = if value.is_null() { Some(OnInvalid::default()) } else { value.as_str().and_then(OnInvalid::parse) };
    choice.ok_or_else(|| {
        let detail = "\"on_invalid\" takes \"reject\", \"quarantine\" or null.";
        Problem::new(ErrorCode::InvalidBody, detail).allowing(["reject", "quarantine"])
    })
}

/// Checks that a topic can have the quarantine that is asked for.
pub(crate) fn check_on_invalid(
    services: &TopicServices,
    factory: &dyn BackendFactory,
    options: &OptionValues,
    name: &TopicName,
    choice: OnInvalid,
) -> Result<(), Problem> {
    match choice {
        OnInvalid::Reject => Ok(()),
        OnInvalid::Quarantine if !factory.quarantines(options) => Err(services.no_quarantine()),
        OnInvalid::Quarantine if name.quarantine().is_none() => {
            let longest = TopicName::BYTES_MAX - TopicName::QUARANTINE_ENDING.len();
            let detail = format!("A topic with a quarantine has a name of at most {longest} characters.");
            Err(Problem::new(ErrorCode::InvalidBody, detail).with_limit(longest as u64))
        }
        OnInvalid::Quarantine => Ok(()),
    }
}

/// The members of a retention object.
pub(crate) const RETENTION_MEMBERS: &[&str] = &["max_age_secs", "max_records", "max_bytes"];

/// Applies members of a retention object to what there is; null is no bound.
pub(crate) fn merge_retention(mut retention: Retention, given: &Map<String, Value>) -> Result<Retention, Problem> {
    for (name, value) in given {
        let bound = match name.as_str() {
            "max_age_secs" => &mut retention.max_age_secs,
            "max_records" => &mut retention.max_records,
            "max_bytes" => &mut retention.max_bytes,
            _ => {
                let detail = format!("A retention has no member \"{name}\".");
                return Err(Problem::new(ErrorCode::InvalidBody, detail).allowing(RETENTION_MEMBERS.iter().copied()));
            }
        };
        *bound = match value {
            Value::Null => None,
            value => match value.as_u64().filter(|n| (1..=crate::model::MAX_SAFE_INTEGER).contains(n)) {
                Some(number) => Some(number),
                None => {
                    let detail = format!("The retention's \"{name}\" takes a whole number from 1 to 2^53-1, or null.");
                    let code = if value.is_number() { ErrorCode::InvalidParameter } else { ErrorCode::InvalidBody };
                    return Err(Problem::new(code, detail));
                }
            },
        };
    }
    Ok(retention)
}

fn object<'v>(value: &'v Value, name: &str) -> Result<&'v Map<String, Value>, Problem> {
    value
        .as_object()
        .ok_or_else(|| Problem::new(ErrorCode::InvalidBody, format!("\"{name}\" takes an object or null.")))
}

/// The options of a patch as they are to be: what is an object is merged with the present one, member by member.
fn in_full(present: &OptionValues, patch: &Map<String, Value>) -> Map<String, Value> {
    let merged = |(name, value): (&String, &Value)| {
        let value = match (present.get(name), value) {
            (Some(Value::Object(present)), Value::Object(_)) => merge_patch(Value::Object(present.clone()), value),
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    patch.iter().map(merged).collect()
}

/// JSON Merge Patch (RFC 7396, section 2).
fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { Map::new() };
    for (name, value) in patch {
        let present = target.remove(name).unwrap_or_default();
        if !value.is_null() {
            target.insert(name.clone(), merge_patch(present, value));
        }
    }
    Value::Object(target)
}

fn patched_options(
    services: &TopicServices,
    factory: &dyn BackendFactory,
    present: &OptionValues,
    patch: &Value,
) -> Result<OptionValues, Problem> {
    let specs = factory.options();
    let fixed: OptionValues = specs
        .iter()
        .filter(|spec| !spec.changeable)
        .filter_map(|spec| Some((spec.name.to_owned(), present.get(spec.name)?.clone())))
        .collect();
    if patch.is_null() {
        return factory.complete(&fixed);
    }
    let patch = &in_full(present, object(patch, "backend_options")?);
    let checked = services.check_options(factory, patch)?;
    for (name, value) in patch {
        let new = if value.is_null() {
            specs.iter().find(|spec| spec.name == name).map(|spec| &spec.default)
        } else {
            Some(value)
        };
        if fixed.get(name).is_some_and(|present| Some(present) != new) {
            let detail = format!("The option \"{name}\" cannot be changed after the topic is made.");
            return Err(Problem::new(ErrorCode::Immutable, detail));
        }
    }
    let mut merged = present.clone();
    merged.retain(|name, _| !patch.contains_key(name) || fixed.contains_key(name));
    merged.extend(checked);
    factory.complete(&merged)
}

impl Topic {
    /// Changes the configuration by a JSON Merge Patch (RFC 7396); null is the default.
    ///
    /// # Errors
    /// `precondition_failed`, `immutable`, `invalid_body`, `unsupported_by_backend`; nothing is changed then.
    pub async fn patch(
        self: &Arc<Self>,
        patch: TopicPatch,
        condition: Option<IfMatch>,
    ) -> Result<Description, Problem> {
        let topic = Arc::clone(self);
        self.services.detach(async move { topic.patch_alone(patch, condition).await }).await
    }

    async fn patch_alone(&self, patch: TopicPatch, condition: Option<IfMatch>) -> Result<Description, Problem> {
        let _alone = self.configuring.lock().await;
        let present = self.settings.load_full();
        if let Some(condition) = condition {
            condition.check(&present.etag)?;
        }
        if self.name.is_reserved() && (patch.schema_mode.is_some() || patch.on_invalid.is_some()) {
            return Err(is_the_services());
        }
        let form = self.factory.form();
        let retention = match &patch.retention {
            None => present.retention,
            Some(Value::Null) => Retention::default(),
            Some(value) => merge_retention(present.retention, object(value, "retention")?)?,
        };
        let options = match &patch.backend_options {
            None => present.options.clone(),
            Some(value) => patched_options(&self.services, &*self.factory, &present.options, value)?,
        };
        let mode = match &patch.schema_mode {
            None => present.schema_mode,
            Some(Value::Null) => default_mode(form),
            Some(value) => {
                let mode = value.as_str().and_then(SchemaMode::parse).ok_or_else(|| {
                    let detail = "\"schema_mode\" takes \"strict\", \"evolve\" or null.";
                    Problem::new(ErrorCode::InvalidBody, detail).allowing(["strict", "evolve"])
                })?;
                check_mode(&self.services, form, Some(mode))?
            }
        };
        let on_invalid = match &patch.on_invalid {
            None => present.on_invalid,
            Some(value) => {
                let choice = read_on_invalid(value)?;
                check_on_invalid(&self.services, &*self.factory, &options, &self.name, choice)?;
                choice
            }
        };
        let was = present.acks.default;
        let waits = was != Ack::Committed && self.factory.acks(&options).default == Ack::Committed;
        if waits && let Err(problem) = self.commit_what_is_read(&options).await {
            self.factory.reconfigure(&*self.backend, &present.options);
            return Err(problem);
        }
        let stored = self.services.catalog.set_config(self.id, retention, options.clone(), mode, on_invalid).await;
        if let Err(err) = stored {
            self.factory.reconfigure(&*self.backend, &present.options);
            return Err(self.catalog_problem(&err));
        }
        self.factory.reconfigure(&*self.backend, &options);
        self.backend.hold(retention.max_bytes);
        self.settings.store(Arc::new(Settings::new(&*self.factory, self.id, options, mode, retention, on_invalid)));
        Ok(self.description())
    }

    /// Sees to it that the configuration meets a condition, and does so until the guard is dropped.
    ///
    /// # Errors
    /// `precondition_failed`.
    pub(crate) async fn held_as(&self, condition: &IfMatch) -> Result<MutexGuard<'_, ()>, Problem> {
        let held = self.configuring.lock().await;
        condition.check(&self.settings.load().etag)?;
        Ok(held)
    }

    /// From now on records can be read only once they are committed: those that could be read before are committed first, or a
    /// restart, which knows the new rule alone, would hide them.
    async fn commit_what_is_read(&self, options: &OptionValues) -> Result<(), Problem> {
        self.factory.reconfigure(&*self.backend, options);
        let readable = self.backend.levels().now().readable;
        let reached = self.backend.reached(readable, Ack::Committed).await;
        reached.map(|_| ()).map_err(|err| self.storage_problem(&err))
    }

    /// Refuses what a topic without columns cannot do.
    pub(crate) fn check_columns(&self) -> Result<(), Problem> {
        if self.factory.form() == RecordForm::Documents {
            let detail = "The topic's backend keeps JSON text and has no columns.";
            return Err(self.services.unsupported(detail, "schema_evolution", |able| able.schema_evolution.is_some()));
        }
        Ok(())
    }
}

/// A schema version for the catalog.
pub(crate) fn schema_row(
    version: SchemaVersion,
    schema: &Schema,
    cause: SchemaCause,
    changes: &[SchemaChange],
    created_at: Timestamp,
) -> SchemaRow {
    let fields = schema.to_json().get("fields").cloned().unwrap_or_else(|| json!([]));
    let changes = changes.iter().map(SchemaChange::to_json).collect();
    SchemaRow { version, fields, fingerprint: schema.fingerprint(), cause, changes, created_at }
}
