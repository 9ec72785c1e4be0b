//! Search for words, ranked by BM25 over the statistics of everything that is searched.

mod analysis;
mod bm25;
mod count;
mod edits;
mod kept;
mod near;
mod query;
mod reading;

pub(super) use analysis::Analyzer;
pub(super) use bm25::{Corpus, Scale};
pub(super) use kept::Room;
pub use query::TextQuery;
pub(super) use reading::{Reading, Searched};
