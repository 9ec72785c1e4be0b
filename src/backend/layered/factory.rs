//! How `lance` and `persisting` topics are opened.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use crate::backend::layered::{Admission, CommitQueue, Lane, Layered, compression};
use crate::backend::options::with_defaults;
use crate::backend::{
    AckLevels, BackendFactory, Capabilities, EpochRule, OpenTopic, Opened, OptionKind, OptionSpec, OptionValues,
    RecordForm, StorageBackend, StorageError,
};
use crate::model::{Ack, ErrorCode, Problem, TopicId};
use crate::table::{TablePlace, Tables};
use crate::wal::Wal;

/// What topics with a dataset share.
#[derive(Clone)]
pub struct LayeredServices {
    pub(crate) wal: Arc<dyn Wal>,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) admission: Arc<Admission>,
}

/// Makes `lance` topics.
pub struct LanceFactory {
    services: LayeredServices,
}

/// Makes `persisting` topics.
pub struct PersistingFactory {
    services: LayeredServices,
}

impl LanceFactory {
    /// The name that topics choose.
    pub const NAME: &'static str = "lance";

    /// Topics that share these services.
    pub const fn new(services: LayeredServices) -> Self {
        Self { services }
    }
}

impl PersistingFactory {
    /// The name that topics choose.
    pub const NAME: &'static str = "persisting";

    /// Topics that share these services.
    pub const fn new(services: LayeredServices) -> Self {
        Self { services }
    }
}

fn commit_options(flush_interval_ms: u64) -> Vec<OptionSpec> {
    let [compression, level, fields] = compression::options();
    vec![
        OptionSpec {
            name: "batch_size",
            kind: OptionKind::Integer { min: 1, max: 1 << 32 },
            default: json!(65_536),
            description: "Pending records that make a commit to the dataset due.",
            changeable: true,
        },
        OptionSpec {
            name: "flush_interval_ms",
            kind: OptionKind::Integer { min: 1, max: 86_400_000 },
            default: json!(flush_interval_ms),
            description: "Age of the oldest pending record, in milliseconds, that makes a commit due: a target.",
            changeable: true,
        },
        compression,
        level,
        fields,
    ]
}

fn number(options: &OptionValues, name: &str) -> u64 {
    options.get(name).and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX)
}

fn flag(options: &OptionValues, name: &str) -> bool {
    options.get(name).and_then(serde_json::Value::as_bool).unwrap_or(true)
}

/// Applies options that can be changed on a living topic.
fn configure(lane: &Lane, options: &OptionValues, default_ack: Ack) {
    let reads_committed = default_ack == Ack::Committed;
    lane.store_as(|settings| settings.compression = Arc::new(compression::of(options)));
    lane.configure(number(options, "batch_size"), number(options, "flush_interval_ms"), reads_committed);
}

/// The lane of a topic among all that share these services.
fn lane(services: &LayeredServices, topic: &OpenTopic, place: TablePlace, is_settled: bool) -> Lane {
    let (tables, queue) = (Arc::clone(&services.tables), Arc::clone(&services.queue));
    Lane::new(topic, place, tables, queue, services.admission.recent(), is_settled)
}

async fn open(
    services: &LayeredServices,
    mut topic: OpenTopic,
    with_wal: bool,
    default_ack: Ack,
) -> Result<Opened, StorageError> {
    let place =
        topic.place.clone().ok_or_else(|| StorageError::Failed { cause: "no place for a dataset".to_owned() })?;
    let replayed = std::mem::take(&mut topic.replayed);
    let is_settled = with_wal || topic.is_settled;
    let lane = Arc::new(lane(services, &topic, place, is_settled));
    configure(&lane, &topic.options, default_ack);
    let mut last_time = None;
    for chunk in replayed {
        last_time = Some(chunk.last_time());
        let reservation = services.admission.tail().force(chunk.bytes() as u64);
        if !lane.restore(chunk, reservation) {
            return Err(StorageError::Failed { cause: "the records in the log do not follow each other".to_owned() });
        }
    }
    // How far the dataset has come is the tail where there was no log and no orderly stop, and where only what is committed
    // can be read: the catalog may not have heard of the last commits, and what was read before must not vanish.
    let levels = lane.levels().now();
    if !is_settled || levels.readable < levels.durable {
        last_time = last_time.max(lane.look_at_dataset().await?);
    }
    let next = lane.levels().now().durable;
    let wal = with_wal.then(|| Arc::clone(&services.wal));
    let backend = Layered { lane, wal, admission: Arc::clone(&services.admission) };
    Ok(Opened { backend: Arc::new(backend), next, last_time })
}

/// Makes the dataset of a topic that declares its columns.
async fn prepare(services: &LayeredServices, topic: &OpenTopic) -> Result<(), StorageError> {
    let (Some(place), true) = (topic.place.clone(), topic.schema.load().is_some()) else { return Ok(()) };
    let lane = lane(services, topic, place, topic.is_settled);
    lane.store_as(|settings| settings.compression = Arc::new(compression::of(&topic.options)));
    lane.create_table().await
}

async fn remove(services: &LayeredServices, place: Option<&TablePlace>) -> Result<(), StorageError> {
    match place {
        Some(place) => services.tables.remove(place).await.map_err(|err| super::storage_error(&err)),
        None => Ok(()),
    }
}

#[async_trait]
impl BackendFactory for LanceFactory {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn description(&self) -> &str {
        "Each topic is a Lance dataset, appended to in batches: for data that is analysed more than it is waited for."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            persistence: true,
            compression: true,
            schema_evolution: Some(false),
            vector_search: true,
            version_control: true,
            filter: true,
            arrow: true,
            ..Capabilities::default()
        }
    }

    fn options(&self) -> Vec<OptionSpec> {
        commit_options(1_000)
    }

    fn reconfigure(&self, backend: &dyn StorageBackend, options: &OptionValues) {
        if let Some(lane) = backend.lane() {
            configure(&lane, options, self.acks(options).default);
        }
    }

    fn form(&self) -> RecordForm {
        RecordForm::StrictColumns
    }

    fn acks(&self, _options: &OptionValues) -> AckLevels {
        AckLevels { available: vec![Ack::Accepted, Ack::Committed], default: Ack::Accepted, complete: false }
    }

    fn epoch_rule(&self, _options: &OptionValues) -> EpochRule {
        EpochRule::UncleanStop
    }

    async fn open(&self, topic: OpenTopic) -> Result<Opened, StorageError> {
        open(&self.services, topic, false, Ack::Accepted).await
    }

    async fn prepare(&self, topic: &OpenTopic) -> Result<(), StorageError> {
        prepare(&self.services, topic).await
    }

    async fn remove(&self, _id: TopicId, place: Option<&TablePlace>) -> Result<(), StorageError> {
        remove(&self.services, place).await
    }
}

#[async_trait]
impl BackendFactory for PersistingFactory {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn description(&self) -> &str {
        "A Lance dataset behind a write-ahead log, with schema evolution and metrics: for records that must not be lost."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            persistence: true,
            wal: true,
            compression: true,
            metrics: true,
            schema_evolution: Some(true),
            vector_search: true,
            version_control: true,
            filter: true,
            arrow: true,
            exactly_once: true,
        }
    }

    fn options(&self) -> Vec<OptionSpec> {
        let mut options = commit_options(5_000);
        options.push(OptionSpec {
            name: "ack",
            kind: OptionKind::OneOf(&["accepted", "wal", "committed"]),
            default: serde_json::Value::Null,
            description: "The acknowledgement level of appends that name none: wal, or accepted without the log.",
            changeable: true,
        });
        options.push(OptionSpec {
            name: "enable_metrics",
            kind: OptionKind::Bool,
            default: json!(true),
            description: "Whether the topic has storage series of its own on /metrics.",
            changeable: true,
        });
        options.push(OptionSpec {
            name: "enable_wal",
            kind: OptionKind::Bool,
            default: json!(true),
            description: "Whether appends go to the write-ahead log first.",
            changeable: false,
        });
        options
    }

    fn complete(&self, given: &OptionValues) -> Result<OptionValues, Problem> {
        let mut options = with_defaults(&self.options(), given);
        let levels = self.acks(&options);
        if !levels.available.contains(&levels.default) {
            let detail = "The option \"ack\" cannot be \"wal\" where \"enable_wal\" is false.";
            let words = levels.available.iter().map(|level| level.as_str());
            return Err(Problem::new(ErrorCode::InvalidBody, detail).allowing(words));
        }
        options.insert("ack".to_owned(), json!(levels.default.as_str()));
        Ok(options)
    }

    fn reconfigure(&self, backend: &dyn StorageBackend, options: &OptionValues) {
        if let Some(lane) = backend.lane() {
            configure(&lane, options, self.acks(options).default);
        }
    }

    fn form(&self) -> RecordForm {
        RecordForm::EvolvingColumns
    }

    fn acks(&self, options: &OptionValues) -> AckLevels {
        let with_wal = flag(options, "enable_wal");
        let mut available = Ack::ALL.to_vec();
        available.retain(|level| with_wal || *level != Ack::Wal);
        let unasked = if with_wal { Ack::Wal } else { Ack::Accepted };
        let chosen = options.get("ack").and_then(serde_json::Value::as_str).and_then(Ack::parse);
        AckLevels { available, default: chosen.unwrap_or(unasked), complete: false }
    }

    fn epoch_rule(&self, options: &OptionValues) -> EpochRule {
        if flag(options, "enable_wal") { EpochRule::Never } else { EpochRule::UncleanStop }
    }

    fn exactly_once(&self, options: &OptionValues) -> bool {
        flag(options, "enable_wal")
    }

    fn quarantines(&self, options: &OptionValues) -> bool {
        flag(options, "enable_wal")
    }

    fn topic_metrics(&self, options: &OptionValues) -> bool {
        flag(options, "enable_metrics")
    }

    async fn open(&self, topic: OpenTopic) -> Result<Opened, StorageError> {
        let with_wal = flag(&topic.options, "enable_wal");
        let default_ack = self.acks(&topic.options).default;
        open(&self.services, topic, with_wal, default_ack).await
    }

    async fn prepare(&self, topic: &OpenTopic) -> Result<(), StorageError> {
        prepare(&self.services, topic).await
    }

    async fn remove(&self, _id: TopicId, place: Option<&TablePlace>) -> Result<(), StorageError> {
        remove(&self.services, place).await
    }
}
