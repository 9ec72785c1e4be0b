//! BM25 over one text column: what is counted of each record, and the ranking that comes of the counts of all.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::{Array as _, ArrayRef, BooleanArray};

use super::analysis::{Analyzer, Bound, Part};
use super::near::Near;
use super::query::Occur;
use crate::search::top::{Ranked, Top};

/// How fast further occurrences of a token count less; as Lance has it.
const K1: f64 = 1.2;
/// How much the length of a text counts; as Lance has it.
const B: f64 = 0.75;
/// What is kept of records that match, by one task, before their statistics are known. Past it they are read a second time.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// What is counted of all records that have a text with a token in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::search) struct Corpus {
    pub(in crate::search) texts: u64,
    pub(in crate::search) tokens: u64,
    /// By term, how many texts have it.
    pub(in crate::search) having: Vec<u64>,
}

impl Corpus {
    /// What both count together.
    pub(in crate::search) fn add(&mut self, other: &Self) {
        self.texts += other.texts;
        self.tokens += other.tokens;
        self.having.resize(self.having.len().max(other.having.len()), 0);
        self.having.iter_mut().zip(&other.having).for_each(|(sum, more)| *sum += more);
    }

    fn weights(&self) -> Vec<f64> {
        let texts = self.texts as f64;
        let weight = |having: &u64| ((texts - *having as f64 + 0.5) / (*having as f64 + 0.5) + 1.0).ln();
        self.having.iter().map(|having| if *having == 0 { 0.0 } else { weight(having) }).collect()
    }
}

/// How often the terms are in a text, and how many tokens it has.
struct Counted {
    length: u32,
    counts: Vec<u32>,
    /// By part of the query, whether it was found.
    found: u64,
}

/// Reads the texts of one column, one task's rows.
pub(in crate::search) struct Reading {
    bound: Bound,
    analyzer: Analyzer,
    corpus: Corpus,
    kept: Kept,
    /// The statistics of all and the best so far, where they are known before the texts are read.
    scoring: Option<(Vec<f64>, f64, Top)>,
    counts: Counter,
}

/// Records that match.
#[derive(Default)]
struct Kept {
    offsets: Vec<u64>,
    lengths: Vec<u32>,
    found: Vec<u64>,
    /// As many for each record as there are terms.
    counts: Vec<u32>,
    is_over: bool,
}

impl Kept {
    fn push(&mut self, offset: u64, counted: &Counted) {
        if self.is_over {
            return;
        }
        self.offsets.push(offset);
        self.lengths.push(counted.length);
        self.found.push(counted.found);
        self.counts.extend_from_slice(&counted.counts);
        if self.offsets.len() * 20 + self.counts.len() * 4 > KEPT_BYTES_MAX {
            *self = Self { is_over: true, ..Self::default() };
        }
    }
}

impl Reading {
    pub(in crate::search) fn new(bound: Bound, analyzer: Analyzer) -> Self {
        let corpus = Corpus { having: vec![0; bound.terms.len()], ..Corpus::default() };
        let counts = Counter::new(&bound);
        Self { bound, analyzer, corpus, kept: Kept::default(), scoring: None, counts }
    }

    /// Reads again, with the statistics of all texts.
    pub(in crate::search) fn again(bound: Bound, analyzer: Analyzer, all: &Corpus, k: usize) -> Self {
        let average = average(all);
        Self { scoring: Some((all.weights(), average, Top::new(k))), ..Self::new(bound, analyzer) }
    }

    /// Takes the texts of some rows; those that the mask leaves out count for the statistics but are no hits. None where the
    /// column has no text.
    pub(in crate::search) fn take(
        &mut self,
        column: &ArrayRef,
        offsets: &[u64],
        mask: Option<&BooleanArray>,
    ) -> Option<()> {
        let is_wanted = |row: usize| mask.is_none_or(|mask| mask.is_valid(row) && mask.value(row));
        if let Some(texts) = column.as_string_opt::<i64>() {
            for (row, offset) in offsets.iter().enumerate() {
                if texts.is_valid(row) {
                    self.read(std::iter::once(texts.value(row)), *offset, is_wanted(row));
                }
            }
            return Some(());
        }
        let lists = column.as_list_opt::<i32>()?;
        for (row, offset) in offsets.iter().enumerate() {
            if lists.is_valid(row) {
                let items = lists.value(row);
                let items = items.as_string_opt::<i64>()?;
                self.read(items.iter().flatten(), *offset, is_wanted(row));
            }
        }
        Some(())
    }

    fn read<'t>(&mut self, texts: impl Iterator<Item = &'t str>, offset: u64, is_wanted: bool) {
        let counted = self.counts.count(&self.bound, &mut self.analyzer, texts);
        if counted.length == 0 {
            // Lance has no such text either.
            return;
        }
        self.corpus.texts += 1;
        self.corpus.tokens += u64::from(counted.length);
        for (having, count) in self.corpus.having.iter_mut().zip(&counted.counts) {
            *having += u64::from(*count > 0);
        }
        if !is_wanted || !self.bound.matches(counted.found) {
            return;
        }
        match &mut self.scoring {
            None => self.kept.push(offset, &counted),
            Some((weights, average, top)) => {
                let score = self.bound.score(weights, *average, counted.length, &counted.counts, counted.found);
                top.push(Ranked::new(-score, offset));
            }
        }
    }

    /// What was counted.
    pub(in crate::search) const fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Whether more matched than could be kept.
    pub(in crate::search) const fn is_over(&self) -> bool {
        self.kept.is_over
    }
}

fn average(corpus: &Corpus) -> f64 {
    if corpus.texts == 0 { 1.0 } else { (corpus.tokens as f64 / corpus.texts as f64).max(f64::MIN_POSITIVE) }
}

/// The best `k` records of several readings of one column, by the statistics of all: keys are scores less than zero.
pub(in crate::search) fn ranking(readings: Vec<Reading>, all: &Corpus, k: usize) -> Vec<Ranked> {
    let (weights, average) = (all.weights(), average(all));
    let mut best = Top::new(k);
    for reading in readings {
        if let Some((_, _, top)) = reading.scoring {
            best.merge(top.into_ranking());
            continue;
        }
        let Reading { bound, kept, .. } = reading;
        let counts = kept.counts.chunks_exact(bound.terms.len().max(1));
        let records = kept.offsets.iter().zip(&kept.lengths).zip(&kept.found).zip(counts);
        for (((offset, length), found), counts) in records {
            let score = bound.score(&weights, average, *length, counts, *found);
            best.push(Ranked::new(-score, *offset));
        }
    }
    best.into_ranking()
}

impl Bound {
    fn matches(&self, found: u64) -> bool {
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
    fn score(&self, weights: &[f64], average: f64, length: u32, counts: &[u32], found: u64) -> f32 {
        let norm = K1 * (1.0 - B + B * f64::from(length) / average);
        let of_term = |term: usize| {
            let count = counts.get(term).copied().map_or(0.0, f64::from);
            weights.get(term).copied().unwrap_or(0.0) * (K1 + 1.0) * count / (count + norm)
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

/// Counts terms in texts.
struct Counter {
    /// The terms that are looked for as they are, by token.
    exact: HashMap<String, usize>,
    /// The others.
    near: Near,
    has_phrase: bool,
    /// Where each term stands in the present text.
    places: Vec<Vec<usize>>,
}

impl Counter {
    fn new(bound: &Bound) -> Self {
        let exact = bound.terms.iter().enumerate().filter(|(_, term)| term.edits == 0);
        Self {
            exact: exact.map(|(number, term)| (term.token.clone(), number)).collect(),
            near: Near::new(&bound.terms),
            has_phrase: bound.has_phrase(),
            places: vec![Vec::new(); bound.terms.len()],
        }
    }

    fn count<'t>(&mut self, bound: &Bound, analyzer: &mut Analyzer, texts: impl Iterator<Item = &'t str>) -> Counted {
        let mut counted = Counted { length: 0, counts: vec![0; bound.terms.len()], found: 0 };
        for text in texts {
            self.places.iter_mut().for_each(Vec::clear);
            analyzer.tokens(text, |token, place| {
                counted.length = counted.length.saturating_add(1);
                let near = self.near.of(&bound.terms, token);
                for number in self.exact.get(token).into_iter().chain(&near) {
                    if let Some(count) = counted.counts.get_mut(*number) {
                        *count = count.saturating_add(1);
                    }
                    if self.has_phrase
                        && let Some(places) = self.places.get_mut(*number)
                    {
                        places.push(place);
                    }
                }
            });
            for (number, part) in bound.parts.iter().enumerate().filter(|(_, part)| part.terms.len() > 1) {
                if self.stands(part) {
                    counted.found |= 1 << number;
                }
            }
        }
        for (number, part) in bound.parts.iter().enumerate() {
            if let [(term, _)] = part.terms.as_slice()
                && counted.counts.get(*term).is_some_and(|count| *count > 0)
            {
                counted.found |= 1 << number;
            }
        }
        counted
    }

    /// Whether the terms of a phrase stand side by side in the present text.
    fn stands(&self, phrase: &Part) -> bool {
        let Some(((first, _), rest)) = phrase.terms.split_first() else { return false };
        let places = |term: usize| self.places.get(term).map(Vec::as_slice).unwrap_or_default();
        places(*first)
            .iter()
            .any(|begin| rest.iter().all(|(term, away)| places(*term).binary_search(&(begin + away)).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::LargeStringArray;

    use super::*;
    use crate::search::text::TextQuery;

    fn read(query: &str, texts: &[Option<&str>], cut: usize) -> (Corpus, Vec<(u64, f32)>) {
        let analyzer = Analyzer::english();
        let bound = Bound::new(&TextQuery::parse(query).unwrap(), &mut analyzer.clone()).unwrap();
        let mut readings = Vec::new();
        let mut all = Corpus::default();
        let (head, tail) = texts.split_at(cut);
        for (first, texts) in [(0, head), (cut, tail)] {
            let mut reading = Reading::new(bound.clone(), analyzer.clone());
            let column: ArrayRef = Arc::new(LargeStringArray::from(texts.to_vec()));
            let offsets: Vec<u64> = (0..texts.len()).map(|row| (first + row) as u64).collect();
            reading.take(&column, &offsets, None).unwrap();
            all.add(reading.corpus());
            readings.push(reading);
        }
        let found = ranking(readings, &all, 10).into_iter().map(|ranked| (ranked.offset, -ranked.key)).collect();
        (all, found)
    }

    const TEXTS: [Option<&str>; 6] = [
        Some("A quick brown fox"),
        None,
        Some("the slow brown hare, the quick hare"),
        Some(""),
        Some("foxes and hares and foxes"),
        Some("quick fox: brown"),
    ];

    #[test]
    fn scores_are_those_of_the_formula_wherever_the_texts_are_cut() {
        let (corpus, found) = read("fox", &TEXTS, 3);
        assert_eq!(corpus, Corpus { texts: 4, tokens: 14, having: vec![3] });
        let idf = ((4.0_f64 - 3.0 + 0.5) / 3.5 + 1.0).ln();
        let score = |count: f64, length: f64| {
            (idf * 2.2 * count / (count + 1.2 * (0.25 + 0.75 * length / (14.0 / 4.0)))) as f32
        };
        assert_eq!(found, [(4, score(2.0, 3.0)), (0, score(1.0, 3.0)), (5, score(1.0, 3.0))]);
        for cut in 0..=TEXTS.len() {
            assert_eq!(read("fox", &TEXTS, cut), (corpus.clone(), found.clone()));
        }
    }

    #[test]
    fn signs_phrases_and_edits_decide_what_matches() {
        for (query, offsets) in [
            ("fox", vec![0, 4, 5]),
            ("fox hare", vec![0, 2, 4, 5]),
            ("+fox hare", vec![0, 4, 5]),
            ("fox -brown", vec![4]),
            ("+fox +brown -quick", vec![]),
            ("\"quick brown\"", vec![0]),
            ("\"brown fox\" hare -slow", vec![0, 4]),
            ("-\"quick brown\" fox", vec![4, 5]),
            ("quikc~2 ", vec![0, 2, 5]),
            ("qick~1 ", vec![0, 2, 5]),
            ("qick", vec![]),
            ("the", vec![]),
        ] {
            let mut found: Vec<u64> = read(query, &TEXTS, 2).1.into_iter().map(|(offset, _)| offset).collect();
            found.sort_unstable();
            assert_eq!(found, offsets, "{query}");
        }
    }

    #[test]
    fn a_second_reading_ranks_as_the_first() {
        let (all, found) = read("fox brown", &TEXTS, 3);
        let analyzer = Analyzer::english();
        let bound = Bound::new(&TextQuery::parse("fox brown").unwrap(), &mut analyzer.clone()).unwrap();
        let mut again = Reading::again(bound, analyzer, &all, 10);
        let column: ArrayRef = Arc::new(LargeStringArray::from(TEXTS.to_vec()));
        again.take(&column, &[0, 1, 2, 3, 4, 5], None).unwrap();
        let ranked = ranking(vec![again], &all, 10);
        assert_eq!(ranked.into_iter().map(|ranked| (ranked.offset, -ranked.key)).collect::<Vec<_>>(), found);
    }
}
