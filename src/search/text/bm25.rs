//! BM25 over one text column: scores by what is counted of each record and of all.

use super::analysis::Bound;
use super::query::Occur;

/// How fast further occurrences of a token count less; as Lance has it.
const K1: f64 = 1.2;
/// How much the length of a text counts; as Lance has it.
const B: f64 = 0.75;

/// What is counted of all records that have a text with a token in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::search) struct Corpus {
    pub(in crate::search) texts: u64,
    pub(in crate::search) tokens: u64,
    /// By term, how many texts have it.
    pub(in crate::search) having: Vec<u64>,
}

/// What the counts of one record are weighed by.
#[derive(Clone, Debug)]
pub(in crate::search) struct Scale {
    /// By term.
    weights: Vec<f64>,
    /// The length of the average text.
    average: f64,
}

impl Corpus {
    /// What both count together.
    pub(in crate::search) fn add(&mut self, other: &Self) {
        self.texts += other.texts;
        self.tokens += other.tokens;
        self.having.resize(self.having.len().max(other.having.len()), 0);
        self.having.iter_mut().zip(&other.having).for_each(|(sum, more)| *sum += more);
    }

    /// What a record's counts are weighed by where these are all texts.
    pub(in crate::search) fn scale(&self) -> Scale {
        let texts = self.texts as f64;
        let weight = |having: &u64| ((texts - *having as f64 + 0.5) / (*having as f64 + 0.5) + 1.0).ln();
        let weights = self.having.iter().map(|having| if *having == 0 { 0.0 } else { weight(having) }).collect();
        let average = if self.texts == 0 { 1.0 } else { (self.tokens as f64 / texts).max(f64::MIN_POSITIVE) };
        Scale { weights, average }
    }
}

impl Bound {
    /// Whether a record in which these parts were found is one that is looked for.
    pub(super) fn matches(&self, found: u64) -> bool {
        let mut wanted = false;
        let mut has_must = false;
        for (number, part) in self.parts.iter().enumerate() {
            let is_found = found & (1 << number) != 0;
            match part.occur {
                Occur::Must if !is_found => return false,
                Occur::MustNot if is_found => return false,
                Occur::Must => has_must = true,
                Occur::Should => wanted |= is_found,
                Occur::MustNot => {}
            }
        }
        wanted || has_must
    }

    /// The sum over the terms of all parts that were found. Sums in the order of the query, so that the same counts give the
    /// same score.
    pub(super) fn score(&self, scale: &Scale, length: u32, counts: &[u32], found: u64) -> f32 {
        let norm = K1 * (1.0 - B + B * f64::from(length) / scale.average);
        let of_term = |term: usize| {
            let count = counts.get(term).copied().map_or(0.0, f64::from);
            scale.weights.get(term).copied().unwrap_or(0.0) * (K1 + 1.0) * count / (count + norm)
        };
        let mut score = 0.0;
        for (number, part) in self.parts.iter().enumerate() {
            if part.occur != Occur::MustNot && found & (1 << number) != 0 {
                score += part.terms.iter().map(|(term, _)| of_term(*term)).sum::<f64>();
            }
        }
        score as f32
    }
}
