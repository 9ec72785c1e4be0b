//! Words that may be misspelt, among the tokens of texts.

use std::collections::HashMap;

use super::analysis::Term;

/// The most tokens that are remembered.
const KNOWN_MAX: usize = 16_384;
/// Longer tokens are not remembered.
const KNOWN_BYTES_MAX: usize = 64;

/// Finds the terms that a token is near to. Texts have few tokens many times, so that it is remembered.
pub(super) struct Near {
    terms: Vec<usize>,
    known: HashMap<String, Vec<usize>>,
}

impl Near {
    pub(super) fn new(terms: &[Term]) -> Self {
        let near = terms.iter().enumerate().filter(|(_, term)| term.edits > 0);
        Self { terms: near.map(|(number, _)| number).collect(), known: HashMap::new() }
    }

    /// The terms, by number, that a token is near to; `terms` are those of [`Near::new`].
    pub(super) fn of(&mut self, terms: &[Term], token: &str) -> Vec<usize> {
        if self.terms.is_empty() {
            return Vec::new();
        }
        if let Some(known) = self.known.get(token) {
            return known.clone();
        }
        let is_near = |number: &usize| terms.get(*number).is_some_and(|term| term.is(token));
        let found: Vec<usize> = self.terms.iter().copied().filter(is_near).collect();
        if token.len() <= KNOWN_BYTES_MAX {
            if self.known.len() == KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(token.to_owned(), found.clone());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_near_to_the_same_terms_each_time_and_few_are_remembered() {
        let term = |token: &str, edits| Term { token: token.to_owned(), edits };
        let terms = [term("fox", 0), term("fox", 1), term("box", 2)];
        let mut near = Near::new(&terms);
        for _ in 0..2 {
            assert_eq!(near.of(&terms, "fix"), [1, 2]);
            assert_eq!(near.of(&terms, "bo"), [2]);
            assert!(near.of(&terms, &"x".repeat(100)).is_empty());
        }
        assert_eq!(near.known.len(), 2);
        for number in 0..KNOWN_MAX * 2 {
            near.of(&terms, &number.to_string());
            assert!(near.known.len() <= KNOWN_MAX);
        }
    }
}
