//! Text to tokens, by the tokenizer that Lance indexes text with; and queries to what they look for among tokens.

use std::ops::ControlFlow;

use lance_index::scalar::InvertedIndexParams;
use lance_index::scalar::inverted::tokenizer::document_tokenizer::LanceTokenizer;

use super::edits::is_within;
use super::query::{Occur, TOKENS_MAX, TextQuery, Words};
use crate::model::Problem;
use crate::search::bad;
use crate::search::scan::failed;
use crate::table::search::{TextLookup, Wanted};

/// Cuts text into tokens.
#[derive(Clone, Debug)]
pub(in crate::search) struct Analyzer(Box<dyn LanceTokenizer>);

impl Analyzer {
    /// The one of an index that this server makes without parameters: words in small letters, in any language.
    ///
    /// # Errors
    /// `internal`.
    pub(in crate::search) fn standard() -> Result<Self, Problem> {
        let plain = InvertedIndexParams::default().stem(false).remove_stop_words(false).ascii_folding(false);
        let built = plain.max_token_length(None).build();
        built.map(Self).map_err(|error| failed("the tokenizer cannot be made", &error))
    }

    /// The one of an index that Lance makes without parameters: English, stemmed, without accents and the commonest words.
    #[cfg(test)]
    pub(super) fn english() -> Self {
        Self(InvertedIndexParams::default().build().unwrap())
    }

    /// The one of an index, by its parameters.
    ///
    /// # Errors
    /// `internal`.
    pub(in crate::search) fn of(parameters: &str) -> Result<Self, Problem> {
        let parameters: Result<InvertedIndexParams, _> = serde_json::from_str(parameters);
        let parameters = parameters.map_err(|error| failed("the parameters of a text index cannot be read", &error))?;
        parameters.build().map(Self).map_err(|error| failed("the tokenizer of an index cannot be made", &error))
    }

    /// Calls `each` with every token of a record's text and its place, until it says that it is enough.
    pub(super) fn tokens(
        &mut self,
        text: &str,
        mut each: impl FnMut(&str, usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut stream = self.0.token_stream_for_doc(text);
        while stream.advance() {
            let token = stream.token();
            each(&token.text, token.position)?;
        }
        ControlFlow::Continue(())
    }

    fn query_tokens(&mut self, text: &str) -> Vec<(String, usize)> {
        let mut stream = self.0.token_stream_for_search(text);
        let mut found = Vec::new();
        while stream.advance() {
            let token = stream.token();
            found.push((token.text.clone(), token.position));
        }
        found
    }
}

/// A token that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::search) struct Term {
    pub(in crate::search) token: String,
    /// How many edits a token may be away from it.
    pub(in crate::search) edits: u8,
}

/// A part of a query: one term, or several that stand at these places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) occur: Occur,
    /// Terms by their number, with their distance from the first.
    pub(super) terms: Vec<(usize, usize)>,
}

/// A query as one tokenizer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::search) struct Bound {
    pub(in crate::search) terms: Vec<Term>,
    pub(super) parts: Vec<Part>,
    /// The same for an index; none where one cannot tell what counts, because words are misspelt.
    pub(in crate::search) lookup: Option<TextLookup>,
}

impl Bound {
    /// Takes a query apart. Words of which the tokenizer leaves nothing look for nothing.
    ///
    /// # Errors
    /// `invalid_parameter` where the words have too many tokens.
    pub(in crate::search) fn new(query: &TextQuery, analyzer: &mut Analyzer) -> Result<Self, Problem> {
        let mut bound = Self { terms: Vec::new(), parts: Vec::new(), lookup: None };
        let mut lookup = TextLookup::default();
        let mut is_exact = true;
        for clause in &query.clauses {
            match &clause.words {
                Words::Word { text, edits } => {
                    is_exact &= *edits == 0;
                    let tokens = analyzer.query_tokens(text);
                    if !tokens.is_empty() {
                        lookup_of(&mut lookup, clause.occur).words.push(text.clone());
                    }
                    for (token, _) in tokens {
                        let term = bound.term(token, *edits);
                        bound.parts.push(Part { occur: clause.occur, terms: vec![(term, 0)] });
                    }
                }
                Words::Phrase(text) => {
                    let tokens = analyzer.query_tokens(text);
                    let first = tokens.first().map_or(0, |(_, place)| *place);
                    let terms: Vec<(usize, usize)> = tokens
                        .into_iter()
                        .map(|(token, place)| (bound.term(token, 0), place.saturating_sub(first)))
                        .collect();
                    if !terms.is_empty() {
                        let wanted = lookup_of(&mut lookup, clause.occur);
                        let kind = if terms.len() > 1 { &mut wanted.phrases } else { &mut wanted.words };
                        kind.push(text.clone());
                        bound.parts.push(Part { occur: clause.occur, terms });
                    }
                }
            }
        }
        if bound.parts.iter().map(|part| part.terms.len()).sum::<usize>() > TOKENS_MAX {
            let detail = format!("The words and phrases of a text query have at most {TOKENS_MAX} tokens.");
            return Err(bad(detail).with_limit(TOKENS_MAX as u64));
        }
        bound.lookup = is_exact.then_some(lookup);
        Ok(bound)
    }

    fn term(&mut self, token: String, edits: u8) -> usize {
        let term = Term { token, edits };
        match self.terms.iter().position(|known| *known == term) {
            Some(at) => at,
            None => {
                self.terms.push(term);
                self.terms.len() - 1
            }
        }
    }

    /// Whether nothing can be found.
    pub(in crate::search) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.occur == Occur::MustNot)
    }

    /// The parts of which tokens must stand at places, by their number.
    pub(super) fn phrases(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.parts.iter().enumerate().filter(|(_, part)| part.terms.len() > 1)
    }
}

fn lookup_of(lookup: &mut TextLookup, occur: Occur) -> &mut Wanted {
    match occur {
        Occur::Must => &mut lookup.must,
        Occur::Should => &mut lookup.should,
        Occur::MustNot => &mut lookup.must_not,
    }
}

impl Term {
    /// Whether a token is it, or near enough.
    pub(super) fn is(&self, token: &str) -> bool {
        if self.edits == 0 { self.token == token } else { is_within(&self.token, token, usize::from(self.edits)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> Bound {
        Bound::new(&TextQuery::parse(text).unwrap(), &mut Analyzer::english()).unwrap()
    }

    #[test]
    fn a_query_is_cut_as_text_is() {
        let query = bound("Running +the FOXES -Café \"jumped the fence\"");
        let tokens: Vec<&str> = query.terms.iter().map(|term| term.token.as_str()).collect();
        assert_eq!(tokens, ["run", "fox", "cafe", "jump", "fenc"]);
        let occurs: Vec<Occur> = query.parts.iter().map(|part| part.occur).collect();
        assert_eq!(
            occurs,
            [Occur::Should, Occur::Should, Occur::MustNot, Occur::Should],
            "a word that is left out counts not"
        );
        // What was left out keeps its place.
        assert_eq!(query.parts.last().unwrap().terms, [(3, 0), (4, 2)]);
        assert!(bound("the").is_empty() && bound("the -fox").is_empty() && !bound("fox").is_empty());
        assert_eq!((bound("\"red fox\"").phrases().count(), bound("\"fox\"").phrases().count()), (1, 0));
        assert_eq!(bound("fox foxes fox").terms.len(), 1);
        let lookup = bound("+the +Foxes hares-run -\u{e9}t\u{e9} \"red fox\" \"fox\"").lookup.unwrap();
        assert_eq!(
            (lookup.must.words, lookup.must_not.words),
            (vec!["Foxes".into()], vec!["\u{e9}t\u{e9}".to_owned()])
        );
        assert_eq!(lookup.should.words, ["hares-run", "fox"]);
        assert_eq!(lookup.should.phrases, ["red fox"]);
        assert!(bound("fox~1").lookup.is_none());
    }

    #[test]
    fn without_an_index_words_are_words_in_any_language() {
        let query = TextQuery::parse("The Caf\u{e9}s-\u{dc}BER+ 42 \u{6771}\u{4eac}").unwrap();
        let bound = Bound::new(&query, &mut Analyzer::standard().unwrap()).unwrap();
        let tokens: Vec<&str> = bound.terms.iter().map(|term| term.token.as_str()).collect();
        assert_eq!(tokens, ["the", "caf\u{e9}s", "\u{fc}ber", "42", "\u{6771}\u{4eac}"]);
    }

    #[test]
    fn words_and_phrases_of_too_many_tokens_are_refused() {
        let quoted = |text: String| format!("\"{text}\"");
        for few in [
            "fox-".repeat(TOKENS_MAX),
            quoted("fox ".repeat(TOKENS_MAX)),
            format!("{}{}", "\"red fox\" ".repeat(8), "dog ".repeat(48)),
        ] {
            let many = format!("{few} hare");
            let bound = |text: &str| Bound::new(&TextQuery::parse(text).unwrap(), &mut Analyzer::english());
            assert_eq!((bound(&few).is_ok(), bound(&many).unwrap_err().limit), (true, Some(64)), "{few}");
        }
    }
}
