//! The words of a filter.

use super::number::Number;
use super::{Fault, fault, refused};

/// A word, and where it begins: the byte in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) word: Word,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A name or keyword without quotes.
    Bare(String),
    /// A name in double quotes.
    Quoted(String),
    /// A string in single quotes.
    Text(String),
    /// A number.
    Number(Number),
    /// `= != <> < <= > >=`
    Operator(Operator),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// Nothing more.
    End,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Operator {
    pub(super) const ALL: [&'static str; 7] = ["=", "!=", "<>", "<", "<=", ">", ">="];

    /// What holds where this does not, of values that can be compared.
    pub(super) const fn inverse(self) -> Self {
        match self {
            Operator::Eq => Operator::Ne,
            Operator::Ne => Operator::Eq,
            Operator::Lt => Operator::Ge,
            Operator::Le => Operator::Gt,
            Operator::Gt => Operator::Le,
            Operator::Ge => Operator::Lt,
        }
    }

    /// The same with its sides exchanged.
    pub(super) const fn mirrored(self) -> Self {
        match self {
            Operator::Eq | Operator::Ne => self,
            Operator::Lt => Operator::Gt,
            Operator::Le => Operator::Ge,
            Operator::Gt => Operator::Lt,
            Operator::Ge => Operator::Le,
        }
    }
}

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '%'
}

fn continues_name(c: char) -> bool {
    starts_name(c) || c.is_alphanumeric()
}

/// All words of a text; the last is [`Word::End`].
pub(super) fn words(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        let rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { at, word: Word::End });
            return Ok(tokens);
        };
        let (word, length) = word(rest, first, at)?;
        tokens.push(Token { at, word });
        at += length;
    }
}

/// The word at the beginning of a text, and how many bytes it has.
fn word(rest: &str, first: char, at: usize) -> Result<(Word, usize), Fault> {
    let second = rest.chars().nth(1);
    let operator = |operator, length| Ok((Word::Operator(operator), length));
    match first {
        '(' => Ok((Word::Open, 1)),
        ')' => Ok((Word::Close, 1)),
        ',' => Ok((Word::Comma, 1)),
        '=' => operator(Operator::Eq, 1),
        '!' if second == Some('=') => operator(Operator::Ne, 2),
        '<' if second == Some('>') => operator(Operator::Ne, 2),
        '<' if second == Some('=') => operator(Operator::Le, 2),
        '<' => operator(Operator::Lt, 1),
        '>' if second == Some('=') => operator(Operator::Ge, 2),
        '>' => operator(Operator::Gt, 1),
        '\'' => quoted(rest, '\'', at).map(|(text, length)| (Word::Text(text), length)),
        '"' => quoted(rest, '"', at).map(|(text, length)| (Word::Quoted(text), length)),
        '.' if !second.is_some_and(|c| c.is_ascii_digit()) => Ok((Word::Dot, 1)),
        '+' | '-' | '.' | '0'..='9' => number(rest, at),
        c if starts_name(c) => {
            let length = rest.find(|c| !continues_name(c)).unwrap_or(rest.len());
            let (name, _) = rest.split_at(length);
            Ok((Word::Bare(name.to_owned()), length))
        }
        c => Err(refused(
            at,
            format!("{c:?} has no place in a filter: odd names stand in double quotes, strings in single ones."),
        )),
    }
}

/// A text in quotes, which are doubled inside of it.
fn quoted(rest: &str, quote: char, at: usize) -> Result<(String, usize), Fault> {
    let mut text = String::new();
    let mut position = 1;
    while let Some((before, behind)) = rest.get(position..).and_then(|rest| rest.split_once(quote)) {
        text.push_str(before);
        position += before.len() + 1;
        if !behind.starts_with(quote) {
            return Ok((text, position));
        }
        text.push(quote);
        position += 1;
    }
    Err(fault(at, format!("The quote {quote} is not closed; inside of a text it is doubled."), [quote.to_string()]))
}

fn number(rest: &str, at: usize) -> Result<(Word, usize), Fault> {
    let mut before = ' ';
    let end = |c: char| {
        let is_part =
            c.is_alphanumeric() || matches!(c, '.' | '_') || (matches!(c, '+' | '-') && matches!(before, 'e' | 'E'));
        before = c;
        !is_part
    };
    let sign = usize::from(rest.starts_with(['+', '-']));
    let unsigned = rest.get(sign..).unwrap_or_default();
    let length = sign + unsigned.find(end).unwrap_or(unsigned.len());
    let (text, _) = rest.split_at(length);
    match Number::parse(text) {
        Some(number) => Ok((Word::Number(number), length)),
        None if length == sign => {
            Err(fault(at, "Filters do not calculate: a sign stands before a number only.", ["a number"]))
        }
        None => Err(fault(at, "This is no number: numbers are written as in 12, -1.5 and 2e3.", ["a number"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexed(text: &str) -> Vec<Word> {
        words(text).unwrap().into_iter().map(|token| token.word).collect()
    }

    fn bare(name: &str) -> Word {
        Word::Bare(name.to_owned())
    }

    #[test]
    fn words_are_told_apart_with_and_without_spaces() {
        let number = |text| Word::Number(Number::parse(text).unwrap());
        let operator = Word::Operator;
        assert_eq!(
            lexed("a.b>=-1.5e-3 AND\t\"x\"\"y\"<>'it''s'"),
            [
                bare("a"),
                Word::Dot,
                bare("b"),
                operator(Operator::Ge),
                number("-1.5e-3"),
                bare("AND"),
                Word::Quoted("x\"y".to_owned()),
                operator(Operator::Ne),
                Word::Text("it's".to_owned()),
                Word::End
            ]
        );
        assert_eq!(
            lexed("(%5Foffset,.5)"),
            [Word::Open, bare("%5Foffset"), Word::Comma, number(".5"), Word::Close, Word::End]
        );
        assert_eq!(lexed("größe='ä'"), [bare("größe"), operator(Operator::Eq), Word::Text("ä".to_owned()), Word::End]);
        assert_eq!(lexed("  "), [Word::End]);
    }

    #[test]
    fn what_is_no_word_is_refused_where_it_stands() {
        for (text, at) in [
            ("a = 'x", 4),
            ("a = \"x", 4),
            ("a ; b", 2),
            ("a = 1x", 4),
            ("a = 1.", 4),
            ("a + b", 2),
            ("`a`", 0),
            ("a ! b", 2),
        ] {
            assert_eq!(words(text).unwrap_err().at, at, "{text}");
        }
    }
}
