//! Text indexes.

use std::sync::Arc;

use async_trait::async_trait;
use lance::index::{DatasetIndexExt, DatasetIndexInternalExt};
use lance_index::IndexCriteria;
use lance_index::metrics::NoOpMetricsCollector;
use lance_index::scalar::FullTextSearchQuery;
use lance_index::scalar::inverted::query::{BooleanQuery, FtsQuery, MatchQuery, Occur, Operator, PhraseQuery};
use lance_index::scalar::inverted::{DocumentGranularity, InvertedIndex};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::{Indexed, Place, as_one};
use crate::schema::{Columns, FieldPath};
use crate::table::TableError;
use crate::table::lance::error::{foreign, joined};
use crate::table::search::{Admitted, Candidate, Coverage, FoundTextIndex, TextIndex, TextLookup, Wanted};

/// The column of scores.
const SCORE: &str = "_score";

/// A text index.
#[derive(Clone, Debug)]
struct Texts {
    indexed: Indexed,
    parameters: String,
    has_places: bool,
    /// Whether words with blanks between them are cut as each of them is.
    cuts_at_blanks: bool,
}

/// The index of a text column.
pub(in crate::table::lance) async fn text_index(
    place: Place,
    columns: &Columns,
    path: &FieldPath,
) -> Result<FoundTextIndex, TableError> {
    let Some(names) = place.column(columns, path)? else { return Ok(None) };
    let column = as_one(&names);
    let dataset = Arc::clone(&place.version.dataset);
    let wanted = IndexCriteria::default().for_column(&column).supports_fts();
    let wanted = wanted.with_fts_document_granularity(DocumentGranularity::Row);
    let Some(index) = dataset.load_scalar_index(wanted).await? else { return Ok(None) };
    let segments = dataset.load_indices_by_name(&index.name).await?;
    let Some(indexed) = place.indexed(names, segments) else { return Ok(None) };
    let mut parameters = Value::Null;
    let mut has_places = true;
    for segment in &indexed.segments {
        let opened = dataset.open_scalar_index(&indexed.column, &segment.uuid, &NoOpMetricsCollector).await?;
        let Some(inverted) = opened.as_any().downcast_ref::<InvertedIndex>() else { return Ok(None) };
        // Segments of one index cut text alike.
        let read = serde_json::to_value(inverted.params());
        parameters =
            read.map_err(|error| foreign(format!("the parameters of a text index cannot be told: {error}")))?;
        has_places &= inverted.params().has_positions();
    }
    let tokenizer = parameters.get("base_tokenizer").and_then(Value::as_str).unwrap_or_default();
    // Runs of letters all stand at one place, where Lance looks for them one after the other.
    has_places &= tokenizer != "ngram";
    let cuts_at_blanks = matches!(tokenizer, "simple" | "whitespace");
    Ok(Some(Arc::new(Texts { indexed, parameters: parameters.to_string(), has_places, cuts_at_blanks })))
}

impl Texts {
    async fn count(self, tokens: Vec<String>) -> Result<(u64, u64, Vec<u64>), TableError> {
        let (mut all_texts, mut all_tokens, mut having) = (0, 0, vec![0; tokens.len()]);
        if self.indexed.is_empty() {
            return Ok((all_texts, all_tokens, having));
        }
        for segment in &self.indexed.segments {
            let dataset = &self.indexed.dataset;
            let opened = dataset.open_scalar_index(&self.indexed.column, &segment.uuid, &NoOpMetricsCollector).await?;
            let inverted = opened.as_any().downcast_ref::<InvertedIndex>();
            let inverted = inverted.ok_or_else(|| foreign("a text index is one of another kind"))?;
            let (tokens_of, texts_of, having_of) = inverted.bm25_stats_for_terms(&tokens, None).await?;
            all_texts += texts_of as u64;
            all_tokens += tokens_of;
            having.iter_mut().zip(having_of).for_each(|(sum, more)| *sum += more as u64);
        }
        Ok((all_texts, all_tokens, having))
    }

    async fn search(self, lookup: TextLookup, limit: usize, admitted: Admitted) -> Result<Vec<Candidate>, TableError> {
        if self.indexed.is_empty() {
            return Ok(Vec::new());
        }
        let column = &self.indexed.column;
        let queries = |Wanted { words, phrases }: Wanted, operator: Operator| {
            // As few questions as there can be.
            let words = if self.cuts_at_blanks && !words.is_empty() { vec![words.join(" ")] } else { words };
            let word = |word| {
                let query = MatchQuery::new(word).with_operator(operator);
                FtsQuery::Match(query.with_column(Some(column.clone())))
            };
            let phrase = |phrase| FtsQuery::Phrase(PhraseQuery::new(phrase).with_column(Some(column.clone())));
            words.into_iter().map(word).chain(phrases.into_iter().map(phrase)).collect::<Vec<_>>()
        };
        let mut must = queries(lookup.must, Operator::And);
        let mut should = queries(lookup.should, Operator::Or);
        let must_not = queries(lookup.must_not, Operator::Or);
        let query = match (must.len(), should.len(), must_not.len()) {
            (1, 0, 0) => must.swap_remove(0),
            (0, 1, 0) => should.swap_remove(0),
            _ => {
                let must = must.into_iter().map(|query| (Occur::Must, query));
                let should = should.into_iter().map(|query| (Occur::Should, query));
                let must_not = must_not.into_iter().map(|query| (Occur::MustNot, query));
                FtsQuery::Boolean(BooleanQuery::new(must.chain(should).chain(must_not)))
            }
        };
        let mut scanner = self.indexed.scanner(&admitted, SCORE).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        scanner.full_text_search(FullTextSearchQuery::new_query(query).limit(Some(limit)))?;
        scanner.fast_search();
        let batch = scanner.try_into_batch().await?;
        self.indexed.candidates(&batch, SCORE)
    }
}

#[async_trait]
impl TextIndex for Texts {
    fn coverage(&self) -> &Coverage {
        &self.indexed.coverage
    }

    fn knows(&self, admitted: &Admitted) -> bool {
        self.indexed.knows(admitted)
    }

    fn parameters(&self) -> &str {
        &self.parameters
    }

    fn has_places(&self) -> bool {
        self.has_places
    }

    async fn counted(&self, tokens: Vec<String>) -> Result<(u64, u64, Vec<u64>), TableError> {
        let (this, runtime) = (self.clone(), self.indexed.runtime.clone());
        joined(AbortOnDropHandle::new(runtime.spawn(this.count(tokens))).await)
    }

    async fn matching(
        &self,
        lookup: TextLookup,
        limit: usize,
        admitted: Admitted,
    ) -> Result<Vec<Candidate>, TableError> {
        let (this, runtime) = (self.clone(), self.indexed.runtime.clone());
        joined(AbortOnDropHandle::new(runtime.spawn(this.search(lookup, limit, admitted))).await)
    }
}
