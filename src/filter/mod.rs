//! Filters: a grammar of our own, bound to a topic's columns, evaluated on batches.
//!
//! A filter comes from strangers, so that its text is never handed to a SQL parser: it is read here, within bounds, and
//! becomes an expression whose types are right from the start and whose evaluation cannot fail for what is stored.
//!
//! Comparisons are exact: a literal is placed among the values that its column can have, and is never rounded to one of them
//! where that would change the answer. What is unknown (a comparison with null) is not true, and neither is its opposite.

mod ast;
mod bind;
mod compare;
mod eval;
mod lex;
mod live;
mod number;
mod parse;
mod sieve;
mod tested;
mod values;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::Expr;

use self::ast::Node;
use self::bind::Moved;
pub use self::eval::MaskError;
use self::eval::Slot;
pub use self::live::LiveFilter;
pub use self::sieve::{Candidates, Passing, PassingRows, Reach, Sieve, SieveError};
pub(crate) use self::sieve::{LOOK_BYTES, LOOK_RECORDS_MAX};
use crate::model::{ErrorCode, Problem};
use crate::schema::{Columns, FieldPath, Schema};

/// The most bytes of a filter's text.
pub const FILTER_BYTES_MAX: usize = 64 << 10;
/// The most levels of parentheses and functions.
pub const DEPTH_MAX: usize = 64;
/// The most tests of one value.
pub const TESTS_MAX: usize = 1_000;
/// The most literals, those in lists included.
pub const LITERALS_MAX: usize = 10_000;
/// The same for a stream, which keeps its filter for as long as it lives.
pub const STREAM_LITERALS_MAX: usize = 1_000;
/// The most wildcards in all patterns of LIKE together.
pub const WILDCARDS_MAX: usize = 100;

/// Why a filter was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FilterError {
    /// Where: the character of the filter, from 0.
    pub position: u64,
    /// One sentence that a person can act on.
    pub detail: String,
    /// What could have stood there, where that is a short list.
    pub allowed: Vec<String>,
}

impl FilterError {
    /// The refusal of a request that brings the filter.
    pub fn to_problem(&self) -> Problem {
        let detail = format!("The filter cannot be read at character {}: {}", self.position, self.detail);
        let mut problem = Problem::new(ErrorCode::InvalidParameter, detail);
        problem.position = Some(self.position);
        if !self.allowed.is_empty() {
            problem = problem.allowing(self.allowed.iter().cloned());
        }
        problem
    }
}

/// The same, at a byte of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    detail: String,
    allowed: Vec<String>,
}

fn fault<T: Into<String>>(at: usize, detail: impl Into<String>, allowed: impl IntoIterator<Item = T>) -> Fault {
    Fault { at, detail: detail.into(), allowed: allowed.into_iter().map(Into::into).collect() }
}

fn refused(at: usize, detail: impl Into<String>) -> Fault {
    Fault { at, detail: detail.into(), allowed: Vec::new() }
}

impl Fault {
    fn in_text(self, text: &str) -> FilterError {
        let before = text.char_indices().take_while(|(at, _)| *at < self.at).count();
        FilterError { position: before as u64, detail: self.detail, allowed: self.allowed }
    }
}

/// A condition on records, of which it is not known yet whether a topic has its columns.
#[derive(Clone, Debug)]
pub struct Filter {
    text: Arc<str>,
    root: Arc<Node>,
    literals: usize,
}

impl Filter {
    /// Refuses a filter that is too large to be kept by a stream.
    ///
    /// # Errors
    /// [`FilterError`] at the end of its text.
    pub fn for_stream(self) -> Result<Self, FilterError> {
        if self.literals <= STREAM_LITERALS_MAX {
            return Ok(self);
        }
        Err(FilterError {
            position: self.text.chars().count() as u64,
            detail: format!("The filter of a stream has at most {STREAM_LITERALS_MAX} literals."),
            allowed: Vec::new(),
        })
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] where the text is no filter or is over one of the bounds.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        match parse::parse(text) {
            Ok((root, literals)) => Ok(Self { text: text.into(), root: Arc::new(root), literals }),
            Err(fault) => Err(fault.in_text(text)),
        }
    }

    /// What was read.
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The filter on a topic's columns.
    ///
    /// # Errors
    /// [`FilterError`] for a column that the schema lacks, and a test that its type does not have.
    pub fn bind(&self, schema: &Schema) -> Result<BoundFilter, FilterError> {
        bind::bind(&self.root, schema, None, true).map_err(|fault| fault.in_text(&self.text))
    }

    /// On the columns that a read sees. Before the first schema every column is null.
    ///
    /// # Errors
    /// As [`Filter::bind`].
    pub fn bind_under(&self, columns: &Columns) -> Result<BoundFilter, FilterError> {
        match columns.version {
            Some(_) => self.bind(&columns.schema),
            None => self.bind_to_what_is_there(&columns.schema),
        }
    }

    /// The same of columns that may have changed since the filter was accepted: one that is not there is null, and a test that
    /// its type does not have is true of no record.
    ///
    /// # Errors
    /// [`FilterError`] where the expression could not be built, which is a fault of this server.
    pub fn bind_to_what_is_there(&self, schema: &Schema) -> Result<BoundFilter, FilterError> {
        bind::bind(&self.root, schema, None, false).map_err(|fault| fault.in_text(&self.text))
    }

    /// The same on the columns of now, where the names are those of columns of before: what was renamed since is found under
    /// its new name.
    ///
    /// # Errors
    /// As [`Filter::bind_to_what_is_there`].
    pub fn bind_moved(&self, named: &Columns, now: &Columns) -> Result<BoundFilter, FilterError> {
        let moved = Moved { since: named.lineage.newest(), now };
        bind::bind(&self.root, &named.schema, Some(moved), false).map_err(|fault| fault.in_text(&self.text))
    }
}

/// A filter on the columns of a schema.
#[derive(Clone, Debug)]
pub struct BoundFilter {
    columns: Vec<FieldPath>,
    expr: Expr,
    slots: Vec<Slot>,
    /// Over the slots, each a column of its own.
    physical: Arc<dyn PhysicalExpr>,
    tests: usize,
}

impl BoundFilter {
    /// The fields that it reads, besides `_offset` and `_timestamp`.
    pub fn columns(&self) -> &[FieldPath] {
        &self.columns
    }

    /// How many tests it has, which is about what a look at one record costs.
    pub const fn tests(&self) -> usize {
        self.tests
    }

    /// The condition over the columns as Arrow names them, members of structs by `get_field`. It is never null where it
    /// could be true: what is unknown is false or null.
    pub const fn expr(&self) -> &Expr {
        &self.expr
    }
}
