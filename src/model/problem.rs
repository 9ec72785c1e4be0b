//! What went wrong, in the API's terms; the edge alone turns it into `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use crate::model::Offset;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal, $title:literal;)*) => {
        /// Every stable error code of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of their status.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The stable word of the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $word,)* }
            }

            /// The HTTP status that goes with the code.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)* }
            }

            /// A short summary that does not change from occurrence to occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(ErrorCode::$variant => $title,)* }
            }
        }
    };
}

error_codes! {
    /// The body is not JSON.
    InvalidJson = "invalid_json", 400, "Malformed JSON";
    /// A parameter or header has a value that it cannot have.
    InvalidParameter = "invalid_parameter", 400, "Invalid parameter";
    /// A query parameter that the operation does not know.
    UnknownParameter = "unknown_parameter", 400, "Unknown query parameter";
    /// The body is JSON but not what the operation takes, or is broken below JSON.
    InvalidBody = "invalid_body", 400, "Invalid body";
    /// A name that no topic can have.
    InvalidTopicName = "invalid_topic_name", 400, "Invalid topic name";
    /// An append without a record.
    EmptyBatch = "empty_batch", 400, "No record";
    /// The topic's backend lacks what was asked for.
    UnsupportedByBackend = "unsupported_by_backend", 400, "Not supported by the topic's backend";
    /// The topic cannot give the level of durability asked for.
    AckUnsupported = "ack_unsupported", 400, "Acknowledgement level not available";
    /// A member of the configuration that cannot be changed.
    Immutable = "immutable", 400, "Not changeable";
    /// A web page of a foreign origin.
    OriginNotAllowed = "origin_not_allowed", 403, "Origin not allowed";
    /// A producer with a higher epoch has taken over.
    ProducerFenced = "producer_fenced", 403, "Producer fenced";
    /// There is no such topic.
    TopicNotFound = "topic_not_found", 404, "Topic not found";
    /// There is no such backend.
    BackendNotFound = "backend_not_found", 404, "Backend not found";
    /// There is nothing here.
    NotFound = "not_found", 404, "Not found";
    /// The route has other methods.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// None of the accepted media types can be had.
    NotAcceptable = "not_acceptable", 406, "Not acceptable";
    /// The topic exists with another configuration.
    TopicConflict = "topic_conflict", 409, "Topic exists with another configuration";
    /// The topic is closed.
    TopicClosed = "topic_closed", 409, "Topic closed";
    /// A producer's sequence number does not follow the last one.
    ProducerGap = "producer_gap", 409, "Gap in the producer's sequence";
    /// A duplicate whose answer is no longer kept.
    DuplicateExpired = "duplicate_expired", 409, "Duplicate too old to be answered";
    /// The topic's epoch is another one.
    EpochChanged = "epoch_changed", 409, "Epoch changed";
    /// The columns that were being read have been changed.
    ColumnsChanged = "columns_changed", 409, "Columns changed";
    /// The offset lies below the earliest.
    OffsetExpired = "offset_expired", 410, "Offset no longer kept";
    /// The dataset version is not kept any more.
    VersionExpired = "version_expired", 410, "Version no longer kept";
    /// The next offset is another one.
    OffsetMismatch = "offset_mismatch", 412, "Next offset is another one";
    /// A precondition does not hold.
    PreconditionFailed = "precondition_failed", 412, "Precondition failed";
    /// The body is over its limit.
    BodyTooLarge = "body_too_large", 413, "Body too large";
    /// One record is over its limit.
    RecordTooLarge = "record_too_large", 413, "Record too large";
    /// The batch has more records than allowed.
    TooManyRecords = "too_many_records", 413, "Too many records";
    /// The media type or encoding of the body is not one that is read.
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported media type";
    /// The offset lies past the tail.
    OffsetOutOfRange = "offset_out_of_range", 416, "Offset past the tail";
    /// The `Host` is not one of this loopback listener.
    HostNotAllowed = "host_not_allowed", 421, "Host not allowed";
    /// A record cannot be had in the topic's columns.
    InvalidRecord = "invalid_record", 422, "Invalid record";
    /// A record would need a change of schema that is not allowed.
    SchemaConflict = "schema_conflict", 422, "Schema conflict";
    /// More leaf columns than a topic can have.
    TooManyColumns = "too_many_columns", 422, "Too many columns";
    /// The key was used for another body.
    IdempotencyMismatch = "idempotency_mismatch", 422, "Idempotency key used for another body";
    /// A fault of the server.
    Internal = "internal", 500, "Internal error";
    /// No room within the limits.
    Overloaded = "overloaded", 503, "Overloaded";
    /// The server is still recovering.
    Recovering = "recovering", 503, "Recovering";
    /// The server is shutting down.
    ShuttingDown = "shutting_down", 503, "Shutting down";
    /// The topic's table cannot be written at present.
    TopicDegraded = "topic_degraded", 503, "Topic degraded";
    /// The write-ahead log has failed.
    LogFailed = "log_failed", 503, "Write-ahead log failed";
    /// The budget of memory topics is spent.
    MemoryFull = "memory_full", 507, "Memory full";
    /// The disk is at its floor.
    DiskFull = "disk_full", 507, "Disk full";
}

impl ErrorCode {
    /// Whether the same request can succeed later without being changed.
    pub const fn is_retryable(self) -> bool {
        matches!(self.status(), 500 | 503 | 507)
    }
}

/// One record that was refused, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's index in the request, from 0.
    pub record: u64,
    /// RFC 6901 pointer inside the record; `""` is the record itself.
    pub pointer: String,
    /// What is wrong.
    pub code: ErrorCode,
    /// One sentence that a person can act on.
    pub detail: String,
}

/// A refusal or failure, with what fits of the API's members. It never holds a path or an internal cause: those go to the
/// log where the error is handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Told>);

/// What a problem tells, reached through [`Problem`] itself: results stay small where all goes well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The stable code.
    pub code: ErrorCode,
    /// One sentence that a person can act on.
    pub detail: Cow<'static, str>,
    /// The sequence number that the producer should send.
    pub expected_seq: Option<u64>,
    /// The epoch that holds now.
    pub current_epoch: Option<u64>,
    /// The first offset past the topic's records.
    pub tail_offset: Option<Offset>,
    /// The first offset that is still kept.
    pub earliest_offset: Option<Offset>,
    /// The limit that was passed.
    pub limit: Option<u64>,
    /// Line in the decoded body, from 1.
    pub line: Option<u64>,
    /// Column in the line, from 1.
    pub column: Option<u64>,
    /// Position in a filter.
    pub position: Option<u64>,
    /// What would have been allowed.
    pub allowed: Option<Vec<String>>,
    /// The capability that is lacking.
    pub capability: Option<&'static str>,
    /// The records concerned, at most [`Problem::ERRORS_MAX`].
    pub errors: Vec<RecordError>,
    /// What a load in pieces has stored before it stopped.
    pub stored: Option<StoredBefore>,
    /// Whether the same request can succeed later although the code does not say so.
    pub again: bool,
}

/// What a load with `atomic=false` has stored before it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBefore {
    /// The first offset stored; none where nothing is.
    pub first_offset: Option<Offset>,
    /// The offset that the next record will get.
    pub next_offset: Offset,
    /// How many records are stored.
    pub count: u64,
}

impl Deref for Problem {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.0
    }
}

impl Problem {
    /// The most record errors that one problem lists.
    pub const ERRORS_MAX: usize = 100;

    /// A problem with a code and a sentence, and nothing else yet.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Told {
            code,
            detail: detail.into(),
            expected_seq: None,
            current_epoch: None,
            tail_offset: None,
            earliest_offset: None,
            limit: None,
            line: None,
            column: None,
            position: None,
            allowed: None,
            capability: None,
            errors: Vec::new(),
            stored: None,
            again: false,
        }))
    }

    /// A fault of the server; the cause belongs in the log.
    pub fn internal() -> Self {
        Self::new(ErrorCode::Internal, "The server failed to do this; its log has the cause.")
    }

    /// The same request can succeed later, whatever the code says.
    #[must_use]
    pub fn worth_asking_again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Whether the same request can succeed later without being changed. What is stored in part would be stored twice.
    pub fn is_retryable(&self) -> bool {
        (self.again || self.code.is_retryable()) && self.stored.is_none_or(|stored| stored.count == 0)
    }

    /// Adds what would have been allowed.
    #[must_use]
    pub fn allowing<T: Into<String>>(mut self, allowed: impl IntoIterator<Item = T>) -> Self {
        self.allowed = Some(allowed.into_iter().map(Into::into).collect());
        self
    }

    /// Adds the limit that was passed.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds the tail.
    #[must_use]
    pub fn with_tail(mut self, tail: Offset) -> Self {
        self.tail_offset = Some(tail);
        self
    }

    /// Adds the earliest offset.
    #[must_use]
    pub fn with_earliest(mut self, earliest: Offset) -> Self {
        self.earliest_offset = Some(earliest);
        self
    }

    /// Adds a place in the decoded body, both from 1.
    #[must_use]
    pub fn at(mut self, line: u64, column: u64) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }
}
