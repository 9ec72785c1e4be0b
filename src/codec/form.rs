//! How records stand in a body.

/// The form of an append's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`: an object is one record, an array a batch.
    Json,
    /// `application/x-ndjson`, `application/jsonl`: an object a line, blank lines ignored.
    Ndjson,
    /// A missing or form type: a sequence of JSON values, one array, or objects one after another.
    Sequence,
}
