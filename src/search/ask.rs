//! What a search is asked.

use crate::codec::FieldSelection;
use crate::filter::Filter;
use crate::schema::FieldPath;
use crate::search::text::TextQuery;
use crate::table::search::{Effort, Metric};
use crate::topic::Moment;

/// The most hits of one search.
pub const HITS_MAX: u64 = 10_000;
/// How many hits a search has unless told otherwise.
pub const HITS: usize = 10;
/// The most that `nprobes` and `ef` can be.
pub const EFFORT_MAX: u64 = 100_000;
/// The most that `refine_factor` can be.
pub const REFINE_MAX: u64 = 1_000;
/// The most candidates of an index that are measured exactly: `k` times `refine_factor`.
pub const REFINED_MAX: u64 = 1_000_000;

/// The most names of text columns.
pub const TEXT_COLUMNS_MAX: usize = 1_000;

/// A search over a topic: by vector, by text, or by both.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// The vector whose neighbours are searched.
    pub vector: Option<VectorAsk>,
    /// The words that are searched.
    pub text: Option<TextAsk>,
    /// How many hits, at most.
    pub k: usize,
    /// Which records can be hits; none for all.
    pub filter: Option<Filter>,
    /// The choice of fields.
    pub fields: Option<FieldSelection>,
    /// When to look; none for now.
    pub at: Option<Moment>,
}

/// A search for neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAsk {
    /// The vector column.
    pub column: FieldPath,
    /// The vector.
    pub query: Vec<f64>,
    /// How distance is measured; none for the index's way, else [`Metric::L2`].
    pub metric: Option<Metric>,
    /// How an index is searched.
    pub effort: Effort,
}

/// A search for words.
#[derive(Clone, Debug, PartialEq)]
pub struct TextAsk {
    /// The text columns; none for all of them.
    pub columns: Vec<FieldPath>,
    /// The words.
    pub query: TextQuery,
}
