//! Why a backend cannot do what it was asked to.

use crate::model::{ErrorCode, Offset, Problem};

/// Why a backend cannot do what it was asked to. Causes go to the log, never to a client.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The record store failed; it may go well later.
    #[error("the record store failed: {cause}")]
    Failed {
        /// What the layer below answered.
        cause: String,
    },
    /// Records in flight will not be acknowledged.
    #[error("writing has failed ({})", code.as_str())]
    Unwritable {
        /// `log_failed`, `disk_full` or `topic_degraded`.
        code: ErrorCode,
    },
    /// No room in memory within the time that a request may wait.
    #[error("no room within {limit} bytes")]
    Full {
        /// `overloaded` or `memory_full`.
        code: ErrorCode,
        /// The limit in bytes.
        limit: u64,
    },
    /// The offset lies below the earliest that is kept.
    #[error("the offset lies below {earliest}")]
    Expired {
        /// The earliest.
        earliest: Offset,
    },
    /// A version of the dataset is not kept, or never was.
    #[error("version {version} is not kept")]
    VersionExpired {
        /// Its number.
        version: u64,
    },
    /// The topic is deleted.
    #[error("the topic is deleted")]
    Deleted,
}

impl StorageError {
    /// The problem that a client is told.
    pub fn to_problem(&self) -> Problem {
        match self {
            StorageError::Failed { .. } => Problem::internal(),
            StorageError::Unwritable { code } => Problem::new(*code, unwritable_detail(*code)),
            StorageError::Full { code, limit } => {
                Problem::new(*code, "There is no room for the records at present; send them again later.")
                    .with_limit(*limit)
            }
            StorageError::Expired { earliest } => {
                Problem::new(ErrorCode::OffsetExpired, format!("The earliest offset still kept is {earliest}."))
                    .with_earliest(*earliest)
            }
            StorageError::VersionExpired { version } => {
                let detail = match version {
                    0 => "The topic's dataset has no version yet: its first commit makes one.".to_owned(),
                    _ => format!("The topic's dataset has no version {version}, or does not keep it any more."),
                };
                Problem::new(ErrorCode::VersionExpired, detail)
            }
            StorageError::Deleted => Problem::new(ErrorCode::TopicNotFound, "The topic has been deleted."),
        }
    }
}

const fn unwritable_detail(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::LogFailed => {
            "The write-ahead log has failed; nothing is acknowledged until the server is restarted."
        }
        ErrorCode::DiskFull => "The disk is full; nothing was stored.",
        _ => "The topic's dataset cannot be written at present; it is tried again by itself.",
    }
}
