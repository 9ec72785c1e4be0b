//! The words of the field, parsed once at the edge: offsets, epochs, names, times, levels, writers, problems.
//!
//! This module imports nothing else of the crate.

mod ack;
mod ids;
mod log_mark;
mod name;
mod offset;
mod problem;
mod spec;
mod time;
mod writer;

pub use ack::{Ack, Durability};
pub use ids::{IndexId, SchemaVersion, TopicId};
pub use log_mark::LogMark;
pub use name::{
    CursorName, IndexName, InvalidCursorName, InvalidIndexName, InvalidTagName, InvalidTopicName, TagName, TopicName,
};
pub use offset::{Epoch, MAX_SAFE_INTEGER, Offset};
pub use problem::{ErrorCode, Problem, RecordError, StoredBefore};
pub use spec::{OnInvalid, Retention, SchemaMode};
pub use time::{InvalidTimestamp, Timestamp};
pub use writer::{KeyedWrite, ProducerWrite, Writer};
