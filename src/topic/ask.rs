//! What every edge asks of a topic, and what it gets.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::BackendStats;
use crate::codec::{Body, Chunk, FieldSelection};
use crate::filter::Filter;
use crate::model::{
    Ack, CursorName, Epoch, ErrorCode, Offset, OnInvalid, Problem, Retention, SchemaMode, SchemaVersion, Timestamp,
    TopicId, TopicName, Writer,
};
use crate::topic::{AsOfSchema, Moment, SharedRun};

/// An append of one body, stored whole or not at all.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// The decoded (decompressed) body.
    pub body: Body,
    /// The level to wait for; none for the topic's default.
    pub ack: Option<Ack>,
    /// What the next offset to be assigned must be.
    pub expected_offset: Option<Offset>,
    /// Whether to close the topic behind the records.
    pub close: bool,
    /// Who writes.
    pub writer: Writer,
}

impl AppendRequest {
    /// Records of nobody in particular, at the topic's default level.
    pub(super) fn plain(body: Body) -> Self {
        Self { body, ack: None, expected_offset: None, close: false, writer: Writer::Plain }
    }
}

/// What a new topic is asked to be; what is absent is the default.
#[derive(Clone, Debug, Default)]
pub struct CreateTopic {
    /// The backend's name.
    pub backend: Option<String>,
    /// Its options, checked by the backend; a null member is an omitted one.
    pub backend_options: serde_json::Map<String, serde_json::Value>,
    /// The folder for the dataset.
    pub storage_path: Option<String>,
    /// The declared schema, as sent.
    pub schema: Option<serde_json::Value>,
    /// Whether appends may bring new columns.
    pub schema_mode: Option<SchemaMode>,
    /// How long records are kept; a null member is an omitted one.
    pub retention: Option<serde_json::Map<String, serde_json::Value>>,
    /// What becomes of records that do not fit.
    pub on_invalid: Option<OnInvalid>,
}

/// A JSON Merge Patch (RFC 7396) of a topic's configuration: the outer option is absence, null is the default.
#[derive(Clone, Debug, Default)]
pub struct TopicPatch {
    /// Bounds to change.
    pub retention: Option<serde_json::Value>,
    /// Options to change.
    pub backend_options: Option<serde_json::Value>,
    /// The mode to change to.
    pub schema_mode: Option<serde_json::Value>,
    /// What is to become of records that do not fit.
    pub on_invalid: Option<serde_json::Value>,
}

/// Which configurations a change may be made to, or a deletion (`If-Match`, RFC 9110).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Any that exists.
    Any,
    /// One of these strong validators, without quotes.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Refuses a topic whose configuration has another validator.
    pub(crate) fn check(&self, etag: &str) -> Result<(), Problem> {
        match self {
            IfMatch::OneOf(tags) if !tags.iter().any(|tag| tag == etag) => {
                let detail = "The topic's configuration has another ETag by now.";
                Err(Problem::new(ErrorCode::PreconditionFailed, detail))
            }
            IfMatch::Any | IfMatch::OneOf(_) => Ok(()),
        }
    }
}

/// One schema version, as `GET …/schemas` tells it.
#[derive(Clone, Debug)]
pub struct SchemaListing {
    /// Its number.
    pub version: SchemaVersion,
    /// What tells its columns from others.
    pub fingerprint: String,
    /// The member object of the API: `version`, `fields`, `fingerprint`, `created_at`, `cause`, `changes`.
    pub json: Box<serde_json::value::RawValue>,
}

/// What posting a schema would do.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaCheck {
    /// The object of the API: `compatible`, `changes`, `problems`.
    pub json: serde_json::Value,
}

/// Where a read begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this offset.
    At(Offset),
    /// This many records before the tail, but not below the earliest.
    Last(u64),
    /// At the earliest record kept.
    Earliest,
    /// With what comes next.
    Latest,
    /// At the first record appended at or after a time, else at the tail.
    Since(Timestamp),
    /// Where a cursor stands, which reading does not move.
    Cursor(CursorName),
}

/// A cursor to be set.
#[derive(Clone, Debug)]
pub struct PutCursor {
    /// Where to.
    pub to: Start,
    /// Where it must stand now; none for wherever it stands, or not at all.
    pub expected: Option<Offset>,
}

/// A cursor as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its name.
    pub name: CursorName,
    /// The first offset that its reader has not dealt with: the one that was set, or an earlier one where a later epoch has
    /// voided that.
    pub offset: Offset,
    /// The tail less the offset; 0 where the tail lies before.
    pub lag: u64,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// A read of one page, or of all up to the tail.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Where to begin.
    pub start: Start,
    /// The epoch that the caller believes in.
    pub epoch: Option<Epoch>,
    /// The most records; none for as many as there are (NDJSON).
    pub limit: Option<NonZeroU64>,
    /// The most bytes of values in one page, but never below one record; none for no bound.
    pub bytes_max: Option<usize>,
    /// How long to wait at the tail for a record.
    pub wait: Option<Duration>,
    /// The schema version to read under, which [`Topic::schema_as_of`](crate::topic::Topic::schema_as_of) has found; none for
    /// the newest.
    pub version: Option<AsOfSchema>,
    /// The fields to keep of each value.
    pub fields: Option<FieldSelection>,
    /// What records must pass; the limit counts those that do.
    pub filter: Option<Filter>,
    /// When to read the topic as it was; none for as it is.
    pub at: Option<Moment>,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct Page {
    /// The topic's epoch.
    pub epoch: Epoch,
    /// The records, in order, dense where no filter was given; fields are selected already.
    pub chunks: Vec<Chunk>,
    /// The first offset not looked at.
    pub next_offset: Offset,
    /// The earliest offset kept.
    pub earliest_offset: Offset,
    /// The offset past the last readable record.
    pub tail_offset: Offset,
    /// Whether the topic is closed.
    pub closed: bool,
}

/// Where a stream resumes, as its `Last-Event-ID` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// A bare number: after this offset of the present epoch.
    Offset(Offset),
    /// `{epoch}:{offset}`: after this offset of that epoch; none for −1, before the first record.
    Position(Epoch, Option<Offset>),
}

/// What a stream is asked for.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// Where to begin, unless it resumes.
    pub start: Start,
    /// Where it resumes; wins over `start`.
    pub resume: Option<Resume>,
    /// The most records.
    pub limit: Option<NonZeroU64>,
    /// Whether to wait for more at the tail; otherwise it ends at the tail found when it began, as one of the past does.
    pub block: bool,
    /// The moment of the past to read, if not the present.
    pub at: Option<Moment>,
    /// The fields to keep of each value.
    pub fields: Option<FieldSelection>,
    /// What records must pass; the limit counts those that do.
    pub filter: Option<Filter>,
}

/// Why records are missing from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// They are no longer kept.
    Retention,
    /// The topic has begun a new epoch.
    Reset,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It has delivered as many records as it was asked for.
    Limit,
    /// It has reached the tail that it was asked to end at.
    Tail,
    /// The topic is closed and all of it is delivered.
    Closed,
    /// The topic is deleted.
    Deleted,
    /// The server shuts down.
    Shutdown,
}

/// What a stream delivers, in this order at its start: a gap if there is one, the position, records.
#[derive(Clone, Debug)]
pub enum StreamItem {
    /// Where the reader stands.
    Position {
        /// The topic's epoch.
        epoch: Epoch,
        /// The offset that comes next.
        next_offset: Offset,
        /// The offset past the last readable record.
        tail_offset: Offset,
    },
    /// Records, in order, dense; fields are selected already.
    Records {
        /// The epoch of their ids.
        epoch: Epoch,
        /// The run.
        chunk: Chunk,
    },
    /// Whole records, in order, dense, that other readers are sent too.
    Shared(Arc<SharedRun>),
    /// The reader has reached the tail.
    CaughtUp {
        /// The offset that comes next.
        next_offset: Offset,
    },
    /// Records will not come, or are void.
    Gap {
        /// The topic's epoch.
        epoch: Epoch,
        /// Where the client stood.
        from: Offset,
        /// Where reading goes on.
        to: Offset,
        /// Why.
        reason: GapReason,
    },
    /// Records written under a newer version than the topic's when the stream began come next.
    Schema {
        /// The version.
        version: SchemaVersion,
    },
    /// Reading failed; the stream tries again and skips nothing.
    Problem(Box<Problem>),
    /// The last item.
    End {
        /// Why.
        reason: EndReason,
        /// The offset that would have come next.
        next_offset: Offset,
    },
}

/// Whether a topic takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// It takes records.
    Open,
    /// It takes none any more.
    Closed,
    /// Its table cannot be written at present.
    Degraded,
}

impl TopicState {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            TopicState::Open => "open",
            TopicState::Closed => "closed",
            TopicState::Degraded => "degraded",
        }
    }
}

/// All that is told of a topic.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name.
    pub topic: TopicName,
    /// Its identity.
    pub id: TopicId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its backend's name.
    pub backend: String,
    /// Its backend's options, defaults filled in.
    pub backend_options: serde_json::Map<String, serde_json::Value>,
    /// The folder that was asked for.
    pub storage_path: Option<String>,
    /// None on backends without columns.
    pub schema_mode: Option<SchemaMode>,
    /// None before the first version.
    pub schema_version: Option<SchemaVersion>,
    /// How long records are kept.
    pub retention: Retention,
    /// What becomes of records that do not fit; none where there can be no quarantine.
    pub on_invalid: Option<OnInvalid>,
    /// Whether it takes records.
    pub state: TopicState,
    /// When it was made.
    pub created_at: Timestamp,
    /// The earliest offset kept.
    pub earliest_offset: Offset,
    /// The offset past the last readable record.
    pub tail_offset: Offset,
    /// Absolute path of the dataset's symlink; none on backends without one.
    pub dataset_uri: Option<String>,
    /// Strong validator of the configuration, without quotes; appends do not change it.
    pub etag: Arc<str>,
}

/// What a retention would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPreview {
    /// The earliest offset that would be left.
    pub earliest_offset: Offset,
    /// Records to go.
    pub records: u64,
    /// About how many bytes they take.
    pub bytes: u64,
}

/// Figures of a topic.
#[derive(Clone, Debug, Default)]
pub struct TopicStats {
    /// Tail − earliest.
    pub total_count: u64,
    /// The earliest offset kept.
    pub earliest_offset: Offset,
    /// The offset past the last readable record.
    pub tail_offset: Offset,
    /// The offset past the last committed record.
    pub committed_offset: Option<Offset>,
    /// The topic's epoch, a number.
    pub epoch: u64,
    /// What the backend has.
    pub store: BackendStats,
    /// The newest schema version.
    pub schema_version: Option<SchemaVersion>,
    /// Open streams.
    pub streams: u64,
    /// Why the topic is degraded, in a sentence.
    pub degraded: Option<String>,
}
