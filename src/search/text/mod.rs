//! Search for words, ranked by BM25 over the statistics of everything that is searched.

mod analysis;
mod bm25;
mod near;
mod query;

pub(super) use analysis::{Analyzer, Bound};
pub(super) use bm25::{Corpus, Reading, ranking};
pub use query::TextQuery;
