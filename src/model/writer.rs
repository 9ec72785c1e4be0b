//! Who wrote a batch, where it matters for exactly-once writing.

use std::sync::Arc;

/// How an append identifies itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// Not at all: a retry is another append.
    #[default]
    Plain,
    /// By the three producer headers.
    Producer(ProducerWrite),
    /// By an `Idempotency-Key`.
    Keyed(KeyedWrite),
}

/// The three producer headers of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerWrite {
    /// `Producer-Id`: 1…128 visible ASCII characters.
    pub id: Arc<str>,
    /// `Producer-Epoch`, at most 2^53 − 1.
    pub epoch: u64,
    /// `Producer-Seq`, one for each request, at most 2^53 − 1.
    pub seq: u64,
}

/// An `Idempotency-Key` with what it was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedWrite {
    /// The key: 1…255 visible ASCII characters.
    pub key: Arc<str>,
    /// BLAKE3 hash of the decoded body.
    pub body_hash: [u8; 32],
}
