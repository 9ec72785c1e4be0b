//! The terms of a query, counted in texts.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::analysis::{Analyzer, Bound, Part};
use super::near::Near;
use crate::search::run::Served;

/// So many places of a term are made room for from the start, and after a text that had more.
const PLACES: usize = 1_024;

/// How often the terms are in a text, and how many tokens it has.
pub(super) struct Counted {
    pub(super) length: u32,
    pub(super) counts: Vec<u32>,
    /// By part of the query, whether it was found.
    pub(super) found: u64,
}

/// Counts terms in texts.
pub(super) struct Counter {
    bound: Arc<Bound>,
    analyzer: Analyzer,
    /// The terms that are looked for as they are, by token.
    exact: HashMap<String, usize>,
    /// The others.
    near: Near,
    /// By term, where it stands in the present text; none for those that no phrase has.
    places: Vec<Option<Vec<usize>>>,
    served: Arc<Served>,
}

impl Counter {
    pub(super) fn new(bound: Arc<Bound>, analyzer: Analyzer, served: Arc<Served>) -> Self {
        let exact = bound.terms.iter().enumerate().filter(|(_, term)| term.edits == 0);
        let mut places = vec![None; bound.terms.len()];
        for (term, _) in bound.phrases().flat_map(|(_, phrase)| &phrase.terms) {
            if let Some(places) = places.get_mut(*term) {
                *places = Some(Vec::new());
            }
        }
        Self {
            exact: exact.map(|(number, term)| (term.token.clone(), number)).collect(),
            near: Near::new(&bound.terms),
            bound,
            analyzer,
            places,
            served,
        }
    }

    /// Counts in the texts of one record. None where nobody waits for it any more: one text may be long.
    pub(super) fn count<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> Option<Counted> {
        let Self { bound, analyzer, exact, near, places, served } = self;
        let mut counted = Counted { length: 0, counts: vec![0; bound.terms.len()], found: 0 };
        for text in texts {
            for places in places.iter_mut().flatten() {
                places.clear();
                places.shrink_to(PLACES);
            }
            let whole = analyzer.tokens(text, |token, place| {
                counted.length = counted.length.saturating_add(1);
                let near = near.of(&bound.terms, token);
                for number in exact.get(token).into_iter().chain(&near) {
                    if let Some(count) = counted.counts.get_mut(*number) {
                        *count = count.saturating_add(1);
                    }
                    if let Some(Some(places)) = places.get_mut(*number) {
                        places.push(place);
                    }
                }
                if served.is_left() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if whole.is_break() {
                return None;
            }
            for (number, phrase) in bound.phrases() {
                if counted.found & (1 << number) == 0 && stands(phrase, places, served)? {
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
        Some(counted)
    }
}

/// Whether the terms of a phrase stand side by side, by the places of each. None where nobody waits for it any more.
fn stands(phrase: &Part, places: &[Option<Vec<usize>>], served: &Served) -> Option<bool> {
    let places = |term: usize| places.get(term).and_then(Option::as_deref).unwrap_or_default();
    let Some((rarest, away)) = phrase.terms.iter().min_by_key(|(term, _)| places(*term).len()) else {
        return Some(false);
    };
    // Where the phrase may begin.
    let mut begins: Vec<usize> = places(*rarest).iter().filter_map(|place| place.checked_sub(*away)).collect();
    for (term, away) in &phrase.terms {
        if served.is_left() {
            return None;
        }
        let mut rest = places(*term);
        begins.retain(|begin| {
            rest = from(rest, begin + away);
            rest.first() == Some(&(begin + away))
        });
    }
    Some(!begins.is_empty())
}

/// The places from `least` on: mostly one of the next, so that it is looked for in steps that double.
fn from(places: &[usize], least: usize) -> &[usize] {
    let mut step = 1;
    while places.get(step).is_some_and(|place| *place < least) {
        step *= 2;
    }
    let near = places.get(..places.len().min(step + 1)).unwrap_or_default();
    places.get(near.partition_point(|place| *place < least)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::run::Asker;
    use crate::search::text::TextQuery;

    fn counter(query: &str) -> (Counter, Arc<Served>) {
        let mut analyzer = Analyzer::standard().unwrap();
        let bound = Bound::new(&TextQuery::parse(query).unwrap(), &mut analyzer).unwrap();
        let served = Arc::new(Served::default());
        (Counter::new(Arc::new(bound), analyzer, Arc::clone(&served)), served)
    }

    #[test]
    fn phrases_are_found_wherever_they_stand() {
        let words = |count: usize, word: &str| vec![word; count].join(" ");
        for (query, text, stands) in [
            ("\"b a a\"", "a a b a b a a c", true),
            ("\"b a a\"", "a a b a b c a a", false),
            ("\"a b a b\"", "b a b b a b a", false),
            ("\"a b a b\"", "b a b b a b a b", true),
            (&format!("\"{}\"", words(40, "a")), &words(40, "a"), true),
            (&format!("\"{}\"", words(40, "a")), &format!("{} b {}", words(39, "a"), words(39, "a")), false),
            ("\"c a\"", &format!("{} c a", words(5_000, "a")), true),
        ] {
            let counted = counter(query).0.count([text].into_iter()).unwrap();
            assert_eq!(counted.found, u64::from(stands), "{query} in {text}");
        }
        // Each item of a list by itself.
        let mut lists = counter("\"a b\"").0;
        assert_eq!(lists.count(["x a", "b x"].into_iter()).unwrap().found, 0);
        assert_eq!(lists.count(["x a b", "b x"].into_iter()).unwrap().found, 1);
    }

    #[test]
    fn places_are_kept_of_what_phrases_have_and_no_longer_than_needed() {
        let (mut counter, _) = counter("\"a b\" c d~1");
        counter.count([&*"a d ".repeat(PLACES * 4)].into_iter()).unwrap();
        let held = |counter: &Counter| counter.places.iter().flatten().map(Vec::capacity).sum::<usize>();
        assert_eq!(counter.places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false]);
        assert!(held(&counter) >= PLACES * 4);
        counter.count(["b"].into_iter()).unwrap();
        assert!(held(&counter) <= PLACES * 2);
    }

    #[test]
    fn a_text_that_nobody_waits_for_is_not_read_to_its_end() {
        let (mut counter, served) = counter("\"a b\"");
        drop(Asker(served));
        assert!(counter.count(["a b"].into_iter()).is_none());
    }
}
