//! Arguments that are constants, and short: each row's own would cost each row what a constant costs once, or more than that.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};

use crate::model::Problem;
use crate::sql::limits::{PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX, PATTERNS_MAX, WILDCARDS_MAX};
use crate::sql::text::{refused, shortened};

/// What was counted of patterns so far.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    regular: usize,
    wildcards: usize,
}

/// The pattern of LIKE may become a regular expression, for each row its own where it is computed.
pub(super) fn check_like(pattern: &Expr, patterns: &mut Patterns) -> Result<(), Problem> {
    let Some(text) = check_text(pattern, "The pattern of LIKE")? else { return Ok(()) };
    patterns.wildcards += text.chars().filter(|c| matches!(c, '%' | '_')).count();
    if patterns.wildcards > WILDCARDS_MAX {
        let detail = format!("The patterns of LIKE have more than {WILDCARDS_MAX} wildcards together.");
        return Err(refused(detail).with_limit(WILDCARDS_MAX as u64));
    }
    Ok(())
}

/// What is looked for at every place of a text, in time that is the product of both lengths.
pub(super) fn check_sought(function: &str, sought: &Expr) -> Result<(), Problem> {
    check_text(sought, &format!("What {function} looks for")).map(drop)
}

/// Refuses a text that is computed or long; none is NULL.
fn check_text<'a>(text: &'a Expr, what: &str) -> Result<Option<&'a str>, Problem> {
    match text {
        Expr::Nested(inner) => check_text(inner, what),
        Expr::Value(value) => match &value.value {
            Value::Null => Ok(None),
            Value::SingleQuotedString(text) if text.len() > PATTERN_BYTES_MAX => {
                let detail = format!("{what} has at most {PATTERN_BYTES_MAX} bytes.");
                Err(refused(detail).with_limit(PATTERN_BYTES_MAX as u64))
            }
            Value::SingleQuotedString(text) => Ok(Some(text)),
            _ => Err(computed(what)),
        },
        _ => Err(computed(what)),
    }
}

fn computed(what: &str) -> Problem {
    refused(format!("{what} is a string or a param, not computed."))
}

/// A pattern is compiled before it is used, which takes time and memory: it is a literal, short, and one of few.
pub(super) fn check_pattern(pattern: &Expr, patterns: &mut Patterns) -> Result<(), Problem> {
    const WHAT: &str = "The pattern of a regular expression";
    let text = check_text(pattern, WHAT)?.ok_or_else(|| computed(WHAT))?;
    if let Err(error) = regex::RegexBuilder::new(text).size_limit(PATTERN_COMPILED_BYTES_MAX).build() {
        return Err(match error {
            regex::Error::CompiledTooBig(most) => {
                let detail = format!("{WHAT} becomes a machine of at most {most} bytes; repeat less.");
                refused(detail).with_limit(most as u64)
            }
            error => refused(format!("{WHAT} cannot be used: {}.", shortened(&error.to_string()))),
        });
    }
    patterns.regular += 1;
    if patterns.regular > PATTERNS_MAX {
        let detail = format!("A query has at most {PATTERNS_MAX} regular expressions; LIKE needs none.");
        return Err(refused(detail).with_limit(PATTERNS_MAX as u64));
    }
    Ok(())
}

/// A step or a place that is counted from 1, or backwards from -1: the functions fail on others, and on a computed one.
pub(super) fn check_number(what: &str, number: &Expr) -> Result<(), Problem> {
    let mut number = number;
    loop {
        number = match number {
            Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
                inner
            }
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) if digits.parse::<i32>().is_ok_and(|number| number != 0) => return Ok(()),
                Value::Null => return Ok(()),
                _ => break,
            },
            _ => break,
        };
    }
    Err(refused(format!("{what} is a whole number other than 0, or a param, not computed.")))
}
