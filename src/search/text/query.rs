//! The language of text queries: words, any of which may be there; `+word` must be, `-word` must not be; `"several words"`
//! stand side by side; `word~` or `word~2` is also found misspelt.

use crate::model::Problem;
use crate::search::bad;

/// The most characters of a text query.
const QUERY_CHARS_MAX: usize = 4_096;
/// The most words and phrases of a text query.
const CLAUSES_MAX: usize = 64;
/// The most phrases among them: where words stand side by side, an index tells one phrase at a time, and commits wait meanwhile.
const PHRASES_MAX: usize = 8;
/// The most tokens that they are cut into, together.
pub(super) const TOKENS_MAX: usize = 64;
/// The most characters of a word that may be misspelt.
const MISSPELT_CHARS_MAX: usize = 64;
/// The most edits that a misspelt word may be away.
const EDITS_MAX: u8 = 2;

/// A text query as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextQuery {
    pub(super) clauses: Vec<Clause>,
}

/// Whether a part of a query has to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occur {
    Should,
    Must,
    MustNot,
}

/// A part of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) occur: Occur,
    pub(super) words: Words,
}

/// What a part of a query looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// What stands between white space.
    Word {
        text: String,
        /// How many edits it may be away.
        edits: u8,
    },
    /// What stands between double quotes.
    Phrase(String),
}

impl TextQuery {
    /// Reads a query.
    ///
    /// # Errors
    /// `invalid_parameter` where there is no word to find, a quote is open, or a bound is passed.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.chars().count() > QUERY_CHARS_MAX {
            let detail = format!("A text query has at most {QUERY_CHARS_MAX} characters.");
            return Err(bad(detail).with_limit(QUERY_CHARS_MAX as u64));
        }
        let mut clauses = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (clause, behind) = clause(rest)?;
            clauses.push(clause);
            if clauses.len() > CLAUSES_MAX {
                let detail = format!("A text query has at most {CLAUSES_MAX} words and phrases.");
                return Err(bad(detail).with_limit(CLAUSES_MAX as u64));
            }
            if clauses.iter().filter(|clause| matches!(clause.words, Words::Phrase(_))).count() > PHRASES_MAX {
                let detail = format!("A text query has at most {PHRASES_MAX} phrases.");
                return Err(bad(detail).with_limit(PHRASES_MAX as u64));
            }
            rest = behind.trim_start();
        }
        if clauses.iter().all(|clause| clause.occur == Occur::MustNot) {
            return Err(bad("A text query needs a word that is to be found: one without \"-\" before it."));
        }
        Ok(Self { clauses })
    }
}

fn clause(text: &str) -> Result<(Clause, &str), Problem> {
    let (occur, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (Occur::Must, rest),
        Some(("-", rest)) => (Occur::MustNot, rest),
        _ => (Occur::Should, text),
    };
    if let Some(quoted) = rest.strip_prefix('"') {
        let Some((phrase, behind)) = quoted.split_once('"') else {
            return Err(bad("A double quote of the text query is not closed."));
        };
        return Ok((Clause { occur, words: Words::Phrase(phrase.to_owned()) }, behind));
    }
    let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    if word.is_empty() {
        return Err(bad("A word is missing after \"+\" or \"-\" in the text query."));
    }
    let (text, edits) = match word.rsplit_once('~') {
        Some((text, "")) if !text.is_empty() => (text, edits_of(text)),
        Some((text, "1")) if !text.is_empty() => (text, 1),
        Some((text, "2")) if !text.is_empty() => (text, EDITS_MAX),
        Some((text, number)) if !text.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(bad(format!("A word may be 1 or 2 edits away, not {number}.")).allowing(["~", "~1", "~2"]));
        }
        _ => (word, 0),
    };
    if edits > 0 && text.chars().count() > MISSPELT_CHARS_MAX {
        let detail = format!("A word that may be edits away has at most {MISSPELT_CHARS_MAX} characters.");
        return Err(bad(detail).with_limit(MISSPELT_CHARS_MAX as u64));
    }
    Ok((Clause { occur, words: Words::Word { text: text.to_owned(), edits } }, behind))
}

/// How many edits a word may be away that does not say it: short ones none, long ones two.
fn edits_of(word: &str) -> u8 {
    match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => EDITS_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(occur: Occur, text: &str, edits: u8) -> Clause {
        Clause { occur, words: Words::Word { text: text.to_owned(), edits } }
    }

    fn phrase(occur: Occur, text: &str) -> Clause {
        Clause { occur, words: Words::Phrase(text.to_owned()) }
    }

    #[test]
    fn words_phrases_signs_and_edits_are_read() {
        use Occur::{Must, MustNot, Should};
        for (text, clauses) in [
            ("red  fox", vec![word(Should, "red", 0), word(Should, "fox", 0)]),
            ("+red -fox", vec![word(Must, "red", 0), word(MustNot, "fox", 0)]),
            ("\"red fox\" hare", vec![phrase(Should, "red fox"), word(Should, "hare", 0)]),
            ("+\"red fox\"-\"hare\"", vec![phrase(Must, "red fox"), phrase(MustNot, "hare")]),
            (
                "qucik~ fx~ ab~1 abcdef~2 ~ a~b",
                vec![
                    word(Should, "qucik", 1),
                    word(Should, "fx", 0),
                    word(Should, "ab", 1),
                    word(Should, "abcdef", 2),
                    word(Should, "~", 0),
                    word(Should, "a~b", 0),
                ],
            ),
            ("state-of-the-art", vec![word(Should, "state-of-the-art", 0)]),
        ] {
            assert_eq!(TextQuery::parse(text).unwrap().clauses, clauses, "{text}");
        }
    }

    #[test]
    fn what_looks_for_nothing_or_too_much_is_refused() {
        for text in ["", "  ", "-red", "-red -\"a b\"", "+", "a - b", "\"red", "red~3", "red~12"] {
            assert!(TextQuery::parse(text).is_err(), "{text}");
        }
        assert!(TextQuery::parse(&"a ".repeat(CLAUSES_MAX)).is_ok());
        assert_eq!(TextQuery::parse(&"a ".repeat(CLAUSES_MAX + 1)).unwrap_err().limit, Some(64));
        assert!(TextQuery::parse(&"\"a b\" c ".repeat(PHRASES_MAX)).is_ok());
        assert_eq!(TextQuery::parse(&"-\"a b\" ".repeat(PHRASES_MAX + 1)).unwrap_err().limit, Some(8));
        assert_eq!(TextQuery::parse(&"a".repeat(QUERY_CHARS_MAX + 1)).unwrap_err().limit, Some(4_096));
        let long = "a".repeat(MISSPELT_CHARS_MAX + 1);
        for edits in ["~", "~1", "~2"] {
            assert_eq!(TextQuery::parse(&format!("{long}{edits}")).unwrap_err().limit, Some(64));
            assert!(TextQuery::parse(&format!("{}{edits}", &long[1..])).is_ok());
        }
        assert!(TextQuery::parse(&long).is_ok());
    }
}
