//! The text of a statement: bounded before it is parsed, one query and nothing else.

use datafusion::sql::sqlparser::ast::{Query, Spanned, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::model::{ErrorCode, Problem};
use crate::sql::limits::{PARSE_DEPTH_MAX, STRUCTURE_MAX, TEXT_BYTES_MAX};

/// A statement that cannot be had.
pub(super) fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidBody, detail)
}

/// The same, at a place of the text.
pub(super) fn refused_at(sql: &str, place: Location, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    let mut problem = refused(detail);
    problem.position = position(sql, place);
    problem
}

/// A place of the text by the characters before it; none where the place is not known.
pub(super) fn position(sql: &str, place: Location) -> Option<u64> {
    let (line, column) = (usize::try_from(place.line).ok()?, place.column);
    let before = sql.split_inclusive('\n').take(line.checked_sub(1)?).map(|line| line.chars().count()).sum::<usize>();
    u64::try_from(before).ok()?.checked_add(column.checked_sub(1)?)
}

/// Reads one query.
///
/// # Errors
/// `invalid_body`, with the position, for what is no SQL, no query, more than one statement, or too long.
pub(super) fn parse(sql: &str) -> Result<Box<Query>, Problem> {
    if sql.len() > TEXT_BYTES_MAX {
        let detail = format!("The statement has more than {TEXT_BYTES_MAX} bytes; send values as params.");
        return Err(refused(detail).with_limit(TEXT_BYTES_MAX as u64));
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| refused_at(sql, error.location, format!("This is not SQL: {}.", error.message)))?;
    let structure = tokens.iter().filter(|token| is_structure(&token.token)).count();
    if structure > STRUCTURE_MAX {
        let detail = format!("The statement has more than {STRUCTURE_MAX} words, operators and brackets.");
        return Err(refused(detail).with_limit(STRUCTURE_MAX as u64));
    }
    let mut parser = Parser::new(&dialect).with_recursion_limit(PARSE_DEPTH_MAX).with_tokens_with_locations(tokens);
    let begin = parser.peek_token();
    if matches!(begin.token, Token::EOF) {
        return Err(refused("The statement is empty."));
    }
    check_begin(sql, &begin)?;
    let statement = parser.parse_statement().map_err(|error| unparsable(sql, &error))?;
    while parser.consume_token(&Token::SemiColon) {}
    let rest = parser.peek_token();
    if !matches!(rest.token, Token::EOF) {
        let hint = match rest.token {
            Token::Minus | Token::Period | Token::Number(..) => " Names with hyphens or dots stand in double quotes.",
            _ => "",
        };
        let detail = format!("The statement ends before \"{}\": there is one statement in a query.{hint}", rest.token);
        return Err(refused_at(sql, rest.span.start, detail));
    }
    match statement {
        Statement::Query(query) => Ok(query),
        other => Err(not_a_query(sql, other.span().start)),
    }
}

/// What can nest, be it as little as an operator between two values. Names, literals and commas cannot.
const fn is_structure(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(word.keyword, Keyword::NoKeyword),
        Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_) | Token::EOF => false,
        _ => true,
    }
}

/// Refuses early what begins as no query does: much of it would be parsed, and some of it says what it would do.
fn check_begin(sql: &str, begin: &TokenWithSpan) -> Result<(), Problem> {
    let begins = match &begin.token {
        Token::LParen => true,
        Token::Word(word) => {
            matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES) && word.quote_style.is_none()
        }
        _ => false,
    };
    if begins { Ok(()) } else { Err(not_a_query(sql, begin.span.start)) }
}

fn not_a_query(sql: &str, place: Location) -> Problem {
    let detail = "Only queries are run: SELECT, WITH and VALUES. Nothing can be written, set or shown with SQL.";
    refused_at(sql, place, detail).allowing(["SELECT", "WITH", "VALUES"])
}

fn unparsable(sql: &str, error: &ParserError) -> Problem {
    match error {
        ParserError::RecursionLimitExceeded => {
            let detail = format!("The statement is nested deeper than {PARSE_DEPTH_MAX} levels.");
            refused(detail).with_limit(PARSE_DEPTH_MAX as u64)
        }
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            let (message, place) = told(message);
            let detail = format!("This is not SQL: {message}.");
            match place {
                Some(place) => refused_at(sql, place, detail),
                None => refused(detail),
            }
        }
    }
}

/// The parser's message, and the place at its end.
fn told(message: &str) -> (String, Option<Location>) {
    let found = message.rsplit_once(" at Line: ").and_then(|(before, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((before, Location::of(line.parse().ok()?, column.trim().parse().ok()?)))
    });
    match found {
        Some((before, place)) => (shortened(before), Some(place)),
        None => (shortened(message), None),
    }
}

/// A message for people: one line, not longer than one can read.
pub(super) fn shortened(message: &str) -> String {
    const CHARS_MAX: usize = 400;
    let line = message.trim().trim_end_matches('.').replace('\n', " ");
    if line.chars().count() <= CHARS_MAX { line } else { line.chars().take(CHARS_MAX).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sql: &str) -> (ErrorCode, Option<u64>) {
        let problem = parse(sql).unwrap_err();
        (problem.code, problem.position)
    }

    #[test]
    fn a_query_may_begin_and_end_in_several_ways() {
        for sql in [
            "SELECT 1",
            "select 1;",
            " /* a */ WITH a AS (SELECT 1) SELECT * FROM a ; ;",
            "VALUES (1), (2)",
            "(SELECT 1) UNION ALL (SELECT 2) -- b",
        ] {
            assert!(parse(sql).is_ok(), "{sql}: {:?}", parse(sql));
        }
    }

    #[test]
    fn what_is_no_query_is_refused_with_its_place() {
        for (sql, place) in [
            ("INSERT INTO t VALUES (1)", Some(0)),
            ("\n\n  DROP TABLE t", Some(4)),
            ("EXPLAIN SELECT 1", Some(0)),
            ("SELECT 1; DELETE FROM t", Some(10)),
            ("SELECT 1 SELECT 2", Some(9)),
            ("SELECT * FORM t", Some(9)),
            ("SELECT 'ä' ||\n , 1", Some(15)),
            ("SELECT 'open", Some(7)),
            ("", None),
            (" -- only this", None),
        ] {
            assert_eq!(refusal(sql), (ErrorCode::InvalidBody, place), "{sql}: {:?}", parse(sql));
        }
    }

    #[test]
    fn a_text_is_bounded_before_it_is_parsed() {
        for sql in [
            format!("SELECT '{}'", "x".repeat(TEXT_BYTES_MAX)),
            format!("SELECT 1{}", "+1".repeat(20_000)),
            format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000)),
            format!("SELECT {}1{}", "(".repeat(1_000), ")".repeat(1_000)),
        ] {
            assert!(parse(&sql).unwrap_err().limit.is_some(), "{}", &sql[..40]);
        }
        // The parser tries to read these in another way, and says of that why it failed.
        for repeated in ["NOT ", "- ", "CASE WHEN ", "(SELECT "] {
            assert!(parse(&format!("SELECT {}1", repeated.repeat(1_000))).is_err(), "{repeated}");
        }
    }
}
