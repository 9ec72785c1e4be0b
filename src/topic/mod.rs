//! What every edge calls: a topic's records, positions and waiting readers.

mod ask;
mod producers;

pub use ask::{
    AppendRequest, CreateTopic, Description, EndReason, Flushed, GapReason, IfMatch, Page, ReadRequest, Receipt,
    Resume, SchemaListing, Start, StreamItem, StreamRequest, TopicPatch, TopicState, TopicStats,
};
pub use producers::{
    DirtyKeys, DirtyProducers, IdempotencyKeys, KeyVerdict, Producers, StoredReceipt, Verdict as ProducerVerdict,
};
