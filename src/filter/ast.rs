//! What a filter says, before it is known of which columns.

use super::lex::Operator;
use super::number::Number;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// All of them.
    And(Vec<Node>),
    /// One of them.
    Or(Vec<Node>),
    /// The opposite; unknown stays unknown.
    Not(Box<Node>),
    /// A test of one value.
    Test(Test),
}

impl Node {
    /// How many tests it has.
    pub(super) fn tests(&self) -> usize {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().map(Node::tests).sum(),
            Node::Not(node) => node.tests(),
            Node::Test(_) => 1,
        }
    }
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) operand: Operand,
    pub(super) negated: bool,
    pub(super) kind: Kind,
}

/// What a value is tested for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Compare(Operator, Literal),
    In(Vec<Literal>),
    Between(Literal, Literal),
    Like(Literal),
    Null,
    StartsWith(Literal),
    Contains(Literal),
    ArrayHas(Literal),
}

/// A column, or a function of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    /// Where it begins.
    pub(super) at: usize,
    /// The outermost first.
    pub(super) functions: Vec<Function>,
    /// The keys that lead to the column.
    pub(super) path: Vec<String>,
    /// Where the path begins.
    pub(super) path_at: usize,
}

/// What is made of a value before it is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Lower,
    Upper,
    Length,
    Abs,
}

impl Function {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Function::Lower => "lower",
            Function::Upper => "upper",
            Function::Length => "length",
            Function::Abs => "abs",
        }
    }
}

/// A value that is written in the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// Where it begins.
    pub(super) at: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}
