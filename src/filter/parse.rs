//! The grammar, by recursive descent of bounded depth:
//!
//! ```text
//! any        = all { OR all }
//! all        = opposite { AND opposite }
//! opposite   = { NOT } ( "(" any ")" | test )
//! test       = value operator literal | literal operator value
//!            | value [NOT] IN "(" literal { "," literal } ")"
//!            | value [NOT] BETWEEN literal AND literal
//!            | value [NOT] LIKE string
//!            | value IS [NOT] NULL
//!            | predicate "(" value "," literal ")" [ ("=" | "!=" | "<>") (TRUE | FALSE) ]
//! value      = path | function "(" value ")"
//! path       = name { "." name }
//! ```

use super::ast::{Function, Kind, Literal, Node, Operand, Test, Value};
use super::lex::{Operator, Token, Word, words};
use super::{DEPTH_MAX, FILTER_BYTES_MAX, Fault, LITERALS_MAX, TESTS_MAX, WILDCARDS_MAX, fault, refused};

const FUNCTIONS: [(&str, Function); 4] =
    [("lower", Function::Lower), ("upper", Function::Upper), ("length", Function::Length), ("abs", Function::Abs)];
/// What is tested with a literal, by the name of the predicate.
type Predicate = (&'static str, fn(Literal) -> Kind);

const PREDICATES: [Predicate; 3] =
    [("starts_with", Kind::StartsWith), ("contains", Kind::Contains), ("array_has", Kind::ArrayHas)];
const KEYWORDS: [&str; 10] = ["AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL", "TRUE", "FALSE"];

/// What a text says, and how many literals it has.
pub(super) fn parse(text: &str) -> Result<(Node, usize), Fault> {
    if text.len() > FILTER_BYTES_MAX {
        let detail = format!("The filter is longer than {FILTER_BYTES_MAX} bytes.");
        // The character that begins at the bound or before it.
        let at = (0..=FILTER_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        return Err(refused(at, detail));
    }
    let mut parser = Parser { tokens: words(text)?, next: 0, depth: 0, tests: 0, literals: 0, wildcards: 0 };
    let node = parser.any()?;
    match parser.peek() {
        Word::End => Ok((node, parser.literals)),
        _ => Err(parser.unexpected("The filter should end here", &["AND", "OR", "the end"])),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    tests: usize,
    literals: usize,
    wildcards: usize,
}

impl Parser {
    fn peek(&self) -> &Word {
        self.tokens.get(self.next).map_or(&Word::End, |token| &token.word)
    }

    fn peek_second(&self) -> &Word {
        self.tokens.get(self.next + 1).map_or(&Word::End, |token| &token.word)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or_else(|| self.tokens.last()).map_or(0, |token| token.at)
    }

    fn skip(&mut self) {
        self.next += 1;
    }

    fn unexpected(&self, detail: &str, allowed: &[&str]) -> Fault {
        fault(self.at(), format!("{detail}, but there is {}.", shown(self.peek())), allowed.iter().copied())
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Word::Bare(name) if name.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_there = self.is_keyword(keyword);
        self.next += usize::from(is_there);
        is_there
    }

    fn take(&mut self, word: &Word, name: &str) -> Result<(), Fault> {
        if self.peek() != word {
            return Err(self.unexpected(&format!("{name} is expected"), &[name]));
        }
        self.skip();
        Ok(())
    }

    /// Goes one level down, if there may be one.
    fn descend(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(refused(self.at(), format!("The filter is nested deeper than {DEPTH_MAX} levels.")));
        }
        Ok(())
    }

    fn any(&mut self) -> Result<Node, Fault> {
        let mut nodes = vec![self.all()?];
        while self.take_keyword("OR") {
            nodes.push(self.all()?);
        }
        Ok(one_or(nodes, Node::Or))
    }

    fn all(&mut self) -> Result<Node, Fault> {
        let mut nodes = vec![self.opposite()?];
        while self.take_keyword("AND") {
            nodes.push(self.opposite()?);
        }
        Ok(one_or(nodes, Node::And))
    }

    fn opposite(&mut self) -> Result<Node, Fault> {
        let mut negated = false;
        while self.take_keyword("NOT") {
            negated = !negated;
        }
        let node = if *self.peek() == Word::Open {
            self.descend()?;
            self.skip();
            let node = self.any()?;
            self.take(&Word::Close, ")")?;
            self.depth -= 1;
            node
        } else {
            self.tests += 1;
            if self.tests > TESTS_MAX {
                return Err(refused(self.at(), format!("The filter has more than {TESTS_MAX} tests.")));
            }
            Node::Test(self.test()?)
        };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn test(&mut self) -> Result<Test, Fault> {
        if let Some(value) = self.literal_here() {
            return self.mirrored(value);
        }
        if let Some(kind) = self.predicate_here() {
            return self.predicate(kind);
        }
        let operand = self.operand()?;
        if let Word::Operator(operator) = *self.peek() {
            self.skip();
            let literal = self.literal()?;
            return Ok(Test { operand, negated: false, kind: Kind::Compare(operator, literal) });
        }
        if self.take_keyword("IS") {
            let negated = self.take_keyword("NOT");
            if !self.take_keyword("NULL") {
                return Err(self.unexpected("IS is followed by NULL or NOT NULL", &["NULL", "NOT NULL"]));
            }
            return Ok(Test { operand, negated, kind: Kind::Null });
        }
        let negated = self.take_keyword("NOT");
        let kind = if self.take_keyword("IN") {
            Kind::In(self.literals()?)
        } else if self.take_keyword("BETWEEN") {
            let low = self.literal()?;
            if !self.take_keyword("AND") {
                return Err(self.unexpected("The two ends of BETWEEN stand around AND", &["AND"]));
            }
            Kind::Between(low, self.literal()?)
        } else if self.take_keyword("LIKE") {
            Kind::Like(self.pattern()?)
        } else if negated {
            return Err(self.unexpected("NOT is followed by IN, BETWEEN or LIKE here", &["IN", "BETWEEN", "LIKE"]));
        } else {
            let words = ["IN", "NOT IN", "BETWEEN", "NOT BETWEEN", "LIKE", "NOT LIKE", "IS NULL", "IS NOT NULL"];
            let allowed: Vec<&str> = Operator::ALL.into_iter().chain(words).collect();
            return Err(self.unexpected("A value is compared with a literal", &allowed));
        };
        Ok(Test { operand, negated, kind })
    }

    /// `literal operator value`
    fn mirrored(&mut self, literal: Value) -> Result<Test, Fault> {
        let literal = Literal { at: self.at(), value: literal };
        self.count_literal()?;
        self.skip();
        let Word::Operator(operator) = *self.peek() else {
            return Err(self.unexpected("A literal is compared with a column", &Operator::ALL));
        };
        self.skip();
        if self.literal_here().is_some() {
            return Err(self.unexpected("A literal is compared with a column", &["a column"]));
        }
        let operand = self.operand()?;
        Ok(Test { operand, negated: false, kind: Kind::Compare(operator.mirrored(), literal) })
    }

    fn predicate_here(&self) -> Option<fn(Literal) -> Kind> {
        match (self.peek(), self.peek_second()) {
            (Word::Bare(name), Word::Open) => {
                PREDICATES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
            }
            _ => None,
        }
    }

    fn predicate(&mut self, kind: fn(Literal) -> Kind) -> Result<Test, Fault> {
        self.next += 2;
        let operand = self.operand()?;
        self.take(&Word::Comma, ",")?;
        let literal = self.literal()?;
        self.take(&Word::Close, ")")?;
        let mut negated = false;
        if let Word::Operator(operator) = *self.peek() {
            negated = match operator {
                Operator::Eq => false,
                Operator::Ne => true,
                _ => return Err(self.unexpected("What is true or false has no order", &["=", "!=", "<>"])),
            };
            self.skip();
            match self.literal()? {
                Literal { value: Value::Bool(value), .. } => negated ^= !value,
                Literal { at, .. } => {
                    return Err(fault(at, "This function is true or false.", ["TRUE", "FALSE"]));
                }
            }
        }
        Ok(Test { operand, negated, kind: kind(literal) })
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        let at = self.at();
        let mut functions = Vec::new();
        while let (Word::Bare(name), Word::Open) = (self.peek(), self.peek_second()) {
            let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) else {
                let known = FUNCTIONS.iter().map(|(name, _)| *name).chain(PREDICATES.iter().map(|(name, _)| *name));
                return Err(fault(self.at(), format!("There is no function {name:?} here."), known));
            };
            let function = *function;
            self.descend()?;
            functions.push(function);
            self.next += 2;
        }
        let path_at = self.at();
        let path = self.path()?;
        for _ in &functions {
            self.take(&Word::Close, ")")?;
            self.depth -= 1;
        }
        Ok(Operand { at, functions, path, path_at })
    }

    fn path(&mut self) -> Result<Vec<String>, Fault> {
        let mut path = Vec::new();
        loop {
            match self.peek() {
                Word::Bare(name) if path.is_empty() && KEYWORDS.iter().any(|word| name.eq_ignore_ascii_case(word)) => {
                    let detail = "A column is expected (one with the name of a keyword stands in double quotes)";
                    return Err(self.unexpected(detail, &["a column"]));
                }
                Word::Bare(name) | Word::Quoted(name) => path.push(name.clone()),
                _ if path.is_empty() => return Err(self.unexpected("A column is expected", &["a column"])),
                _ => return Err(self.unexpected("A name is expected behind the point", &["a name"])),
            }
            self.skip();
            if *self.peek() != Word::Dot {
                return Ok(path);
            }
            self.skip();
        }
    }

    /// A pattern. Each is compiled for each batch that is looked at, so that what all of them cost together is bounded.
    fn pattern(&mut self) -> Result<Literal, Fault> {
        let literal = self.literal()?;
        if let Value::Text(text) = &literal.value {
            self.wildcards += text.chars().filter(|c| matches!(c, '%' | '_')).count();
        }
        if self.wildcards > WILDCARDS_MAX {
            let detail = format!("The patterns of the filter have more than {WILDCARDS_MAX} wildcards.");
            return Err(refused(literal.at, detail));
        }
        Ok(literal)
    }

    fn literals(&mut self) -> Result<Vec<Literal>, Fault> {
        self.take(&Word::Open, "(")?;
        let mut literals = vec![self.literal()?];
        while *self.peek() == Word::Comma {
            self.skip();
            literals.push(self.literal()?);
        }
        self.take(&Word::Close, ")")?;
        Ok(literals)
    }

    fn literal_here(&self) -> Option<Value> {
        Some(match self.peek() {
            Word::Number(number) => Value::Number(number.clone()),
            Word::Text(text) => Value::Text(text.clone()),
            Word::Bare(name) if name.eq_ignore_ascii_case("TRUE") => Value::Bool(true),
            Word::Bare(name) if name.eq_ignore_ascii_case("FALSE") => Value::Bool(false),
            Word::Bare(name) if name.eq_ignore_ascii_case("NULL") => Value::Null,
            _ => return None,
        })
    }

    fn count_literal(&mut self) -> Result<(), Fault> {
        self.literals += 1;
        if self.literals > LITERALS_MAX {
            return Err(refused(self.at(), format!("The filter has more than {LITERALS_MAX} literals.")));
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<Literal, Fault> {
        let Some(value) = self.literal_here() else {
            let detail = "A literal is expected (a string in single quotes, a number, TRUE, FALSE or NULL)";
            return Err(self.unexpected(detail, &["a string", "a number", "TRUE", "FALSE", "NULL"]));
        };
        self.count_literal()?;
        let literal = Literal { at: self.at(), value };
        self.skip();
        Ok(literal)
    }
}

fn one_or(mut nodes: Vec<Node>, many: impl FnOnce(Vec<Node>) -> Node) -> Node {
    match (nodes.pop(), nodes.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            nodes.push(last);
            many(nodes)
        }
        (None, _) => many(nodes),
    }
}

/// What stands there, as a person reads it.
fn shown(word: &Word) -> String {
    const CHARS_MAX: usize = 40;
    let cut = |text: &str| text.chars().take(CHARS_MAX).collect::<String>();
    match word {
        Word::Bare(name) => format!("\"{}\"", cut(name)),
        Word::Quoted(name) => format!("the name \"{}\"", cut(name)),
        Word::Text(text) => format!("the string '{}'", cut(text)),
        Word::Number(_) => "a number".to_owned(),
        Word::Operator(_) => "an operator".to_owned(),
        Word::Open => "\"(\"".to_owned(),
        Word::Close => "\")\"".to_owned(),
        Word::Comma => "\",\"".to_owned(),
        Word::Dot => "\".\"".to_owned(),
        Word::End => "the end".to_owned(),
    }
}
