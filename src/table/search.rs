//! Searches that an index of a table's dataset answers in part. The rest, and what lies behind it in memory, is for the
//! caller to look at.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::TableError;
use crate::filter::BoundFilter;
use crate::model::Offset;

/// How distance is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The square of the Euclidean distance.
    L2,
    /// One less the cosine of the angle.
    Cosine,
    /// One less the dot product.
    Dot,
}

impl Metric {
    /// The words for them.
    pub const WORDS: [&str; 3] = ["l2", "cosine", "dot"];

    /// Reads the word for one.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "l2" => Some(Metric::L2),
            "cosine" => Some(Metric::Cosine),
            "dot" => Some(Metric::Dot),
            _ => None,
        }
    }
}

/// How hard an index is searched; what is not said is chosen by the kind of index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// How many partitions are looked into, however few rows they have that pass.
    pub nprobes: Option<usize>,
    /// How many times as many candidates as hits are measured exactly.
    pub refine_factor: Option<u32>,
    /// How many candidates the walk through a graph keeps.
    pub ef: Option<usize>,
}

/// A record that an index has found, with its distance or score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its offset.
    pub offset: Offset,
    /// Its distance, or its score by what the index knows.
    pub measure: f32,
}

/// What part of a version an index answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The index's name.
    pub name: String,
    /// The offset past the version's rows.
    pub next: Offset,
    /// The rows of the version that the index has not, ascending.
    pub uncovered: Vec<Range<Offset>>,
}

impl Coverage {
    /// The offset before which the index has every row from `earliest` on.
    pub fn through(&self, earliest: Offset) -> Offset {
        let hole = self.uncovered.iter().find(|range| range.end > earliest);
        hole.map_or(self.next, |range| range.start).max(earliest)
    }
}

/// Which rows of the version may be candidates.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    /// Rows from this offset on; none for all.
    pub from: Option<Offset>,
    /// Rows that pass; none for all.
    pub filter: Option<Arc<BoundFilter>>,
}

/// An index of vectors at one version of a table, which stays while this is held.
#[async_trait]
pub trait VectorIndex: Send + Sync + fmt::Debug {
    /// What it answers for.
    fn coverage(&self) -> &Coverage;

    /// Whether it can tell which of its rows may be candidates: a filter may be on columns that the version does not have yet.
    fn knows(&self, admitted: &Admitted) -> bool;

    /// How it measures.
    fn metric(&self) -> Metric;

    /// Whether more than so many of its rows with a vector may be candidates.
    ///
    /// # Errors
    /// [`TableError`] when it could not be read.
    async fn has_more_than(&self, rows: u64, admitted: Admitted) -> Result<bool, TableError>;

    /// The `k` nearest of the rows that it has, about: nearest first.
    ///
    /// # Errors
    /// [`TableError`] when it could not be read.
    async fn nearest(
        &self,
        query: Vec<f32>,
        k: usize,
        effort: Effort,
        admitted: Admitted,
    ) -> Result<Vec<Candidate>, TableError>;
}

/// What is looked for in a text index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextLookup {
    /// What must be there.
    pub must: Wanted,
    /// What may be there; something of it must, where nothing else must.
    pub should: Wanted,
    /// What may not be there.
    pub must_not: Wanted,
}

/// Words and phrases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Single words.
    pub words: Vec<String>,
    /// Words side by side.
    pub phrases: Vec<String>,
}

impl TextLookup {
    /// Whether words have to stand side by side.
    pub fn has_phrase(&self) -> bool {
        [&self.must, &self.should, &self.must_not].iter().any(|wanted| !wanted.phrases.is_empty())
    }
}

/// An index of text at one version of a table, which stays while this is held.
#[async_trait]
pub trait TextIndex: Send + Sync + fmt::Debug {
    /// What it answers for.
    fn coverage(&self) -> &Coverage;

    /// Whether it can tell which of its rows may be candidates: a filter may be on columns that the version does not have yet.
    fn knows(&self, admitted: &Admitted) -> bool;

    /// How it cuts text, as JSON of Lance's own parameters.
    fn parameters(&self) -> &str;

    /// Whether it knows where words stand, so that phrases can be looked for.
    fn has_places(&self) -> bool;

    /// How many texts it has, of how many tokens, and how many of them have each of these.
    ///
    /// # Errors
    /// [`TableError`] when it could not be read.
    async fn counted(&self, tokens: Vec<String>) -> Result<(u64, u64, Vec<u64>), TableError>;

    /// The best `limit` of the rows that it has, by its own statistics: best first.
    ///
    /// # Errors
    /// [`TableError`] when it could not be read.
    async fn matching(
        &self,
        lookup: TextLookup,
        limit: usize,
        admitted: Admitted,
    ) -> Result<Vec<Candidate>, TableError>;
}

/// An index that can be searched.
pub type FoundVectorIndex = Option<Arc<dyn VectorIndex>>;
/// An index that can be searched.
pub type FoundTextIndex = Option<Arc<dyn TextIndex>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reaches_up_to_its_first_hole() {
        let offset = |number| Offset::new(number).unwrap();
        let coverage = |holes: &[(u64, u64)]| Coverage {
            name: "i".to_owned(),
            next: offset(100),
            uncovered: holes.iter().map(|(from, to)| offset(*from)..offset(*to)).collect(),
        };
        assert_eq!(coverage(&[]).through(offset(5)), offset(100));
        assert_eq!(coverage(&[(60, 80)]).through(offset(5)), offset(60));
        assert_eq!(coverage(&[(0, 10), (60, 80)]).through(offset(20)), offset(60));
        assert_eq!(coverage(&[(0, 10), (60, 80)]).through(offset(5)), offset(5));
        assert_eq!(coverage(&[]).through(offset(200)), offset(200));
    }
}
