//! What a test makes of a value of each type: whether it goes with it, and as which expression.

use std::borrow::Cow;

use datafusion::common::ScalarValue;
use datafusion::functions::string::expr_fn::{lower, upper};
use datafusion::functions::unicode::expr_fn::character_length;
use datafusion::functions_nested::expr_fn::array_has;
use datafusion::logical_expr::{Like, Operator as Op, lit};
use datafusion::prelude::Expr;

use super::ast::{Function, Literal, Value};
use super::compare::{NumberColumn, Numbers, compared, joined, known, listed, never};
use super::lex::Operator;
use super::values::{self, Plain};
use super::{Fault, fault, refused};
use crate::schema::{DataType, IntType};

/// A column that was found.
pub(super) struct Found<'s> {
    /// By its slot.
    pub(super) column: Expr,
    pub(super) data_type: Cow<'s, DataType>,
}

/// What is tested.
pub(super) enum Tested<'s> {
    Number(NumberColumn),
    /// Text, and whether it is that of JSON values.
    Text {
        column: Expr,
        is_json: bool,
    },
    /// Booleans, times, days, bytes.
    Plain(Expr, Plain),
    List {
        column: Expr,
        item: Cow<'s, DataType>,
    },
    /// What can be null and nothing else.
    Opaque(Expr, &'static str),
    /// A column that is not there (any more).
    Missing,
}

pub(super) fn tested(found: Found<'_>) -> Tested<'_> {
    let Found { column, data_type } = found;
    let number = |column, numbers| Tested::Number(NumberColumn { column, numbers, absolute: false });
    match data_type.as_ref() {
        DataType::Bool => Tested::Plain(column, Plain::Bool),
        DataType::Int(int) => number(column, Numbers::Int(*int)),
        DataType::Float(float) => number(column, Numbers::Float(*float)),
        DataType::String => Tested::Text { column, is_json: false },
        DataType::Json => Tested::Text { column, is_json: true },
        DataType::Binary => Tested::Plain(column, Plain::Binary),
        DataType::Date32 => Tested::Plain(column, Plain::Date),
        DataType::Timestamp => Tested::Plain(column, Plain::Time),
        DataType::Struct(_) => Tested::Opaque(column, "a struct"),
        DataType::Vector { .. } => Tested::Opaque(column, "a vector"),
        DataType::List(item) => {
            let item = match &data_type {
                Cow::Borrowed(DataType::List(item)) => Cow::Borrowed(item.as_ref()),
                _ => Cow::Owned(item.as_ref().clone()),
            };
            Tested::List { column, item }
        }
    }
}

pub(super) fn applied(function: Function, tested: Tested<'_>, at: usize) -> Result<Tested<'_>, Fault> {
    let takes = match function {
        Function::Abs => "numbers",
        _ => "strings",
    };
    Ok(match (function, tested) {
        (Function::Lower, Tested::Text { column, is_json: false }) => {
            Tested::Text { column: lower(column), is_json: false }
        }
        (Function::Upper, Tested::Text { column, is_json: false }) => {
            Tested::Text { column: upper(column), is_json: false }
        }
        (Function::Length, Tested::Text { column, is_json: false }) => Tested::Number(NumberColumn {
            column: character_length(column),
            numbers: Numbers::Int(IntType::I64),
            absolute: false,
        }),
        (Function::Abs, Tested::Number(number)) => Tested::Number(NumberColumn { absolute: true, ..number }),
        (_, other) => {
            let detail = format!("{} takes {takes}, not {}.", function.name(), other.kind());
            return Err(refused(at, detail));
        }
    })
}

impl Tested<'_> {
    fn kind(&self) -> String {
        match self {
            Tested::Number(_) => "a number".to_owned(),
            Tested::Text { is_json: false, .. } => "a string".to_owned(),
            Tested::Text { is_json: true, .. } => "a json column".to_owned(),
            Tested::Plain(_, plain) => plain.described().to_owned(),
            Tested::List { .. } => "a list".to_owned(),
            Tested::Opaque(_, kind) => (*kind).to_owned(),
            Tested::Missing => "null".to_owned(),
        }
    }

    pub(super) fn into_column(self) -> Expr {
        match self {
            Tested::Number(number) => number.column,
            Tested::Text { column, .. }
            | Tested::Plain(column, _)
            | Tested::List { column, .. }
            | Tested::Opaque(column, _) => column,
            Tested::Missing => lit(ScalarValue::Boolean(None)),
        }
    }

    fn unfit(&self, at: usize, allowed: &[&str]) -> Fault {
        let detail = format!("This test does not go with {}.", self.kind());
        fault(at, detail, allowed.iter().copied())
    }

    pub(super) fn compare(&self, at: usize, operator: Operator, literal: &Literal) -> Result<Expr, Fault> {
        let is_equality = matches!(operator, Operator::Eq | Operator::Ne);
        match (self, &literal.value) {
            (Tested::Text { is_json: true, .. }, _) => {
                Err(self.unfit(at, &["IS NULL", "IS NOT NULL", "LIKE", "NOT LIKE", "starts_with", "contains"]))
            }
            (Tested::List { .. }, _) => Err(self.unfit(at, &["array_has", "IS NULL", "IS NOT NULL"])),
            (Tested::Opaque(..), _) => Err(self.unfit(at, &["IS NULL", "IS NOT NULL"])),
            (Tested::Plain(_, Plain::Bool), _) if !is_equality => Err(self.unfit(at, &["=", "!=", "<>"])),
            (_, Value::Null) | (Tested::Missing, _) => Ok(never()),
            (Tested::Number(column), Value::Number(number)) => Ok(column.test(operator, number)),
            (Tested::Number(_), _) => Err(values::wrong(literal, "a number")),
            (Tested::Text { column, .. }, Value::Text(text)) => {
                Ok(compared(column.clone(), operator, ScalarValue::LargeUtf8(Some(text.clone()))))
            }
            (Tested::Text { .. }, _) => Err(values::wrong(literal, "a string")),
            (Tested::Plain(column, plain), _) => plain.compare(column.clone(), operator, literal),
        }
    }

    pub(super) fn within(&self, at: usize, literals: &[Literal], negated: bool) -> Result<Expr, Fault> {
        // Each is checked, also where a null among them decides.
        for literal in literals {
            self.compare(at, Operator::Eq, literal)?;
        }
        let has_null = literals.iter().any(|literal| literal.value == Value::Null);
        if negated && has_null {
            return Ok(never());
        }
        let given = || literals.iter().filter(|literal| literal.value != Value::Null);
        match self {
            Tested::Number(column) => {
                let numbers: Vec<_> = given()
                    .filter_map(|literal| match &literal.value {
                        Value::Number(number) => Some(number),
                        _ => None,
                    })
                    .collect();
                Ok(column.within(&numbers, negated))
            }
            Tested::Text { column, .. } => {
                let texts = given().filter_map(|literal| match &literal.value {
                    Value::Text(text) => Some(ScalarValue::LargeUtf8(Some(text.clone()))),
                    _ => None,
                });
                Ok(listed(column.clone(), texts.collect(), negated))
            }
            Tested::Plain(column, plain) => {
                let values = given().map(|literal| plain.equals(literal)).collect::<Result<Vec<_>, _>>()?;
                Ok(listed(column.clone(), values.into_iter().flatten().collect(), negated))
            }
            Tested::List { .. } | Tested::Opaque(..) | Tested::Missing => Ok(never()),
        }
    }

    fn text_of(&self, at: usize, literal: &Literal) -> Result<Option<(Expr, String)>, Fault> {
        match (self, &literal.value) {
            (Tested::Text { .. }, Value::Null) => Ok(None),
            (Tested::Text { column, .. }, Value::Text(text)) => Ok(Some((column.clone(), text.clone()))),
            (Tested::Text { .. }, _) => Err(values::wrong(literal, "a string")),
            _ => Err(refused(at, format!("This test takes strings, not {}.", self.kind()))),
        }
    }

    pub(super) fn like(&self, at: usize, literal: &Literal, negated: bool) -> Result<Expr, Fault> {
        let Some((column, pattern)) = self.text_of(at, literal)? else { return Ok(never()) };
        values::check_pattern(&pattern, literal.at)?;
        let pattern = Expr::Literal(ScalarValue::LargeUtf8(Some(escaped(&pattern))), None);
        Ok(Expr::Like(Like::new(negated, Box::new(column), Box::new(pattern), None, false)))
    }

    pub(super) fn function(
        &self,
        at: usize,
        name: &str,
        literal: &Literal,
        negated: bool,
        call: fn(Expr, Expr) -> Expr,
    ) -> Result<Expr, Fault> {
        if !matches!(self, Tested::Text { .. }) {
            return Err(refused(at, format!("{name} takes strings, not {}.", self.kind())));
        }
        let Some((column, text)) = self.text_of(at, literal)? else { return Ok(never()) };
        Ok(opposite(call(column, Expr::Literal(ScalarValue::LargeUtf8(Some(text)), None)), negated))
    }

    pub(super) fn has(&self, at: usize, literal: &Literal, negated: bool) -> Result<Expr, Fault> {
        let Tested::List { column, item } = self else {
            return Err(refused(at, format!("array_has takes lists, not {}.", self.kind())));
        };
        if literal.value == Value::Null {
            return Ok(never());
        }
        let found = values::items(item, literal)?;
        if found.is_empty() {
            return Ok(if negated { known(column.clone()) } else { never() });
        }
        let tests =
            found.into_iter().map(|value| opposite(array_has(column.clone(), Expr::Literal(value, None)), negated));
        Ok(joined(tests.collect(), if negated { Op::And } else { Op::Or }))
    }
}

/// The pattern with a backslash before `%`, `_` and itself alone, where all who read it take it for the same: before another
/// character some take it for nothing, and an index for a character of the text.
fn escaped(pattern: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(pattern.len()), pattern.chars());
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some(special @ ('%' | '_' | '\\'))) => out.extend(['\\', special]),
            ('\\', Some(other)) => out.push(other),
            ('\\', None) => out.push_str(r"\\"),
            (other, _) => out.push(other),
        }
    }
    out
}

fn opposite(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}
