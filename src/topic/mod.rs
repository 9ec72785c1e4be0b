//! What every edge calls: a topic's records, positions and waiting readers.

mod ask;

pub use ask::{
    AppendRequest, Description, EndReason, Flushed, GapReason, Page, ReadRequest, Receipt, Resume, Start, StreamItem,
    StreamRequest, TopicState, TopicStats,
};
