//! What a query may take: the limits that an operator sets, and those that keep a text from becoming more than it looks.

use std::time::Duration;

/// What an operator lets queries take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// The most queries at a time; more wait a moment and are then told to come back.
    pub queries_max: usize,
    /// The longest time of a query, from its planning to the last row.
    pub timeout: Duration,
    /// How long whoever asked may take nothing of an answer that is there: a query holds one of few places meanwhile.
    pub reader_patience: Duration,
    /// The most memory that one query may hold: hash tables, sorts, windows.
    pub memory_bytes: u64,
    /// The most rows of an answer in JSON; lines and Arrow have no bound but time.
    pub rows_max: u64,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            queries_max: 4,
            timeout: Duration::from_secs(30),
            reader_patience: READER_PATIENCE,
            memory_bytes: 256 << 20,
            rows_max: 10_000,
        }
    }
}

/// How long a query waits for others to end before it is told to come back.
pub(super) const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

/// How long a query waits for whoever asked to take more of its answer, unless told otherwise.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// The longest statement, and the longest parameters together, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most parameters.
pub(super) const PARAMETERS_MAX: usize = 1_000;
/// The most words, operators and brackets of a statement, without names, literals and commas. It bounds how deep a
/// parsed statement can be before anything has walked it.
pub(super) const STRUCTURE_MAX: usize = 4_000;
/// How deep parentheses and subqueries may be nested for the parser, which calls itself.
pub(super) const PARSE_DEPTH_MAX: usize = 50;
/// How deep an expression may be, chains of operators included: `1 + 1 + 1` is three deep.
pub(super) const DEPTH_MAX: usize = 200;
/// The most expressions, with those of a common table expression for each use of it.
pub(super) const EXPRESSIONS_MAX: u64 = 5_000;
/// The most tables, with those of a common table expression for each use of it.
pub(super) const TABLES_MAX: u64 = 32;
/// The most queries that are joined by `UNION`, `EXCEPT` and `INTERSECT`.
pub(super) const SET_OPERATIONS_MAX: usize = 32;
/// The longest list of `IN`.
pub(super) const IN_LIST_MAX: usize = 2_000;
/// How often a column of the innermost query may come to stand in one expression of the outermost, as subqueries refer to
/// each other's columns. The planner puts expressions in each other's places.
pub(super) const REFERENCES_MAX: u64 = 2_000;
/// How deep an expression may become, as subqueries put theirs into each other's columns.
pub(super) const COMPOSED_DEPTH_MAX: u64 = 500;
/// The most columns of all steps of a plan together, as it is before it is made better: each rule looks at them all.
pub(super) const PLAN_COLUMNS_MAX: usize = 10_000;
/// The most `%` and `_` of all patterns of `LIKE`: time grows with a text's length for each.
pub(super) const WILDCARDS_MAX: usize = crate::filter::WILDCARDS_MAX;
/// The most patterns of `~` and the `regexp_` functions.
pub(super) const PATTERNS_MAX: usize = 16;
/// The longest such pattern, in bytes; and the longest text that is looked for in others.
pub(super) const PATTERN_BYTES_MAX: usize = 1_024;
/// The most bytes of the machine that a regular expression becomes: each byte of a text may cost a step of all of it.
pub(super) const PATTERN_COMPILED_BYTES_MAX: usize = 256 * 1024;
/// The longest text in which a function looks for one match of a regular expression after another: each may look at all that is
/// left, and a row's call cannot be interrupted.
pub(super) const MATCHED_TEXT_BYTES_MAX: u64 = 128 * 1024;
/// The most columns of `CUBE`, which groups by each of their subsets.
pub(super) const CUBE_MAX: usize = 5;
/// The most sets that are grouped by.
pub(super) const GROUPING_SETS_MAX: usize = 64;
/// The most calls of functions that make text longer.
pub(super) const GROWING_CALLS_MAX: usize = 16;
/// What one such call may make of one batch of rows, in bytes.
pub(super) const GROWN_BYTES_MAX: u64 = 64 << 20;
/// What one such call may make of constants, in bytes.
pub(super) const CONSTANT_BYTES_MAX: u64 = 256 * 1024;
/// The most bytes of literals that may stand for values of rows, each of which a batch repeats.
pub(super) const LITERAL_BYTES_MAX: usize = 64 * 1024;
/// What the expressions of one step of a plan may make of one batch of rows, in bytes: such batches are cut.
pub(super) const MADE_BYTES_MAX: usize = 64 << 20;
/// The same of one row, which cannot be cut.
pub(super) const MADE_OF_ROW_BYTES_MAX: usize = 128 << 20;
/// What the condition of a join may make of one batch of joined rows, in bytes.
pub(super) const JOINED_BYTES_MAX: usize = 256 << 20;
/// The most nodes of a plan.
pub(super) const PLAN_NODES_MAX: usize = 1_000;
/// The longest row in bytes, of what the query needs, where joins or windows may repeat it.
pub(super) const REPEATED_ROW_BYTES_MAX: usize = 64 * 1024;

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 4_096;
/// The same where rows may be repeated, and so be longer than what is read.
pub(super) const REPEATED_BATCH_ROWS: usize = 1_024;
/// Bytes of a batch that is read, about.
pub(super) const BATCH_BYTES: usize = 2 << 20;
