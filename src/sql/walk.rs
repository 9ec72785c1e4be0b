//! What a parsed query may be made of, and how large it may become: looked at before anything plans it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Spanned,
    TableFactor, Value, ValueWithSpan, Visit, Visitor, visit_expressions,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::model::Problem;
use crate::sql::allowed;
use crate::sql::limits::{
    COMPOSED_DEPTH_MAX, DEPTH_MAX, EXPRESSIONS_MAX, PARSE_DEPTH_MAX, REFERENCES_MAX, SET_OPERATIONS_MAX, TABLES_MAX,
};
use crate::sql::patterns::Patterns;
use crate::sql::text::{position, refused, refused_at};

/// What a query names and is.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The tables that are no common table expressions, each once.
    pub(super) tables: Vec<String>,
    /// Whether rows are repeated: by a second table, or by windows.
    pub(super) repeats_rows: bool,
}

/// Looks at a query.
///
/// # Errors
/// `invalid_body`, with the position where there is one, for what is not allowed or too large; `topic_not_found` for a name
/// of several parts, which no topic has.
pub(super) fn walk(sql: &str, query: &Query) -> Result<Walked, Problem> {
    let mut walker = Walker {
        sql,
        depth: 0,
        frames: Vec::new(),
        cost: Cost::default(),
        patterns: Patterns::default(),
        walked: Walked::default(),
    };
    match Visit::visit(query, &mut walker) {
        ControlFlow::Break(problem) => Err(problem),
        ControlFlow::Continue(()) => {
            walker.walked.repeats_rows |= walker.cost.tables > 1;
            Ok(walker.walked)
        }
    }
}

/// What planning a query costs, with the common table expressions that it uses put in their places.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    tables: u64,
    expressions: u64,
    /// How often a column of the innermost query may stand in one expression.
    references: u64,
    /// How deep an expression may become that way.
    depth: u64,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.tables = self.tables.saturating_add(other.tables);
        self.expressions = self.expressions.saturating_add(other.expressions);
        self.references = self.references.max(other.references);
        self.depth = self.depth.max(other.depth);
    }
}

/// A query that is being walked.
struct Frame {
    /// Its common table expressions, by the address of their queries: they are walked before its body.
    ctes: Vec<(usize, String)>,
    known: HashMap<String, Cost>,
    cost: Cost,
    /// The most columns that one of its own columns is made of.
    references: u64,
    /// How deep the deepest of its own expressions is.
    depth: u64,
}

struct Walker<'a> {
    sql: &'a str,
    depth: usize,
    frames: Vec<Frame>,
    cost: Cost,
    patterns: Patterns,
    walked: Walked,
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl Walker<'_> {
    fn refuse<T>(&self, place: Location, detail: impl Into<std::borrow::Cow<'static, str>>) -> ControlFlow<Problem, T> {
        ControlFlow::Break(refused_at(self.sql, place, detail))
    }

    fn too_much(&self, what: &str, limit: u64) -> ControlFlow<Problem> {
        let detail = format!("The statement has more than {limit} {what}, with those of a WITH for each use of it.");
        ControlFlow::Break(refused(detail).with_limit(limit))
    }

    /// Adds what one use of something costs.
    fn charge(&mut self, cost: Cost) -> ControlFlow<Problem> {
        let total = match self.frames.last_mut() {
            Some(frame) => {
                frame.cost.add(cost);
                frame.cost
            }
            None => {
                self.cost.add(cost);
                self.cost
            }
        };
        if total.tables > TABLES_MAX {
            return self.too_much("tables", TABLES_MAX);
        }
        if total.expressions > EXPRESSIONS_MAX {
            return self.too_much("expressions", EXPRESSIONS_MAX);
        }
        if total.references > REFERENCES_MAX {
            let detail = "The subqueries refer to each other's columns too often; make them simpler.";
            return ControlFlow::Break(refused(detail).with_limit(REFERENCES_MAX));
        }
        if total.depth > COMPOSED_DEPTH_MAX {
            let detail = format!(
                "The expressions of subqueries become deeper than {COMPOSED_DEPTH_MAX} levels in each other's places; make them simpler."
            );
            return ControlFlow::Break(refused(detail).with_limit(COMPOSED_DEPTH_MAX));
        }
        ControlFlow::Continue(())
    }

    fn check_body(&self, body: &SetExpr, operations: &mut usize) -> ControlFlow<Problem> {
        match body {
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
            SetExpr::SetOperation { op, left, right, set_quantifier } => {
                *operations += 1;
                if *op != SetOperator::Union
                    && *set_quantifier != SetQuantifier::None
                    && *set_quantifier != SetQuantifier::Distinct
                {
                    let detail = format!("{op} {set_quantifier} is not served: {op} has each row once.");
                    return self.refuse(body.span().start, detail);
                }
                if *operations > SET_OPERATIONS_MAX {
                    let detail = format!("More than {SET_OPERATIONS_MAX} queries are joined by UNION and the like.");
                    return ControlFlow::Break(refused(detail).with_limit(SET_OPERATIONS_MAX as u64));
                }
                self.check_body(left, operations)?;
                self.check_body(right, operations)
            }
            other => self.refuse(other.span().start, "Only SELECT and VALUES may stand in a query."),
        }
    }
}

impl Visitor for Walker<'_> {
    type Break = Problem;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Problem> {
        if self.frames.len() >= PARSE_DEPTH_MAX {
            let detail = format!("Queries are nested deeper than {PARSE_DEPTH_MAX} levels.");
            return ControlFlow::Break(refused(detail).with_limit(PARSE_DEPTH_MAX as u64));
        }
        self.check_body(&query.body, &mut 0)?;
        if let Err(detail) = allowed::query(query) {
            return self.refuse(query.span().start, detail);
        }
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        let ctes = ctes.map(|cte| (address(&cte.query), cte.alias.name.value.clone())).collect();
        self.frames.push(Frame { ctes, known: HashMap::new(), cost: Cost::default(), references: 1, depth: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Problem> {
        let Some(frame) = self.frames.pop() else { return ControlFlow::Continue(()) };
        let references = frame.cost.references.max(1).saturating_mul(frame.references);
        let cost = Cost { references, depth: frame.cost.depth.saturating_add(frame.depth), ..frame.cost };
        if let Some(above) = self.frames.last_mut()
            && let Some((_, name)) = above.ctes.iter().find(|(at, _)| *at == address(query))
        {
            above.known.insert(name.clone(), cost);
            return ControlFlow::Continue(());
        }
        self.charge(cost)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Problem> {
        if let Err(detail) = allowed::select(select) {
            return self.refuse(select.span().start, detail);
        }
        let most = select.projection.iter().map(columns_in).max().unwrap_or(0).max(1);
        if let Some(frame) = self.frames.last_mut() {
            frame.references = frame.references.max(most);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Problem> {
        match allowed::table(table) {
            Ok(()) => ControlFlow::Continue(()),
            Err(detail) => self.refuse(table.span().start, detail),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Problem> {
        let [ObjectNamePart::Identifier(Ident { value: name, .. })] = relation.0.as_slice() else {
            let detail = format!(
                "There is no topic {relation}: a topic is named by one name, in double quotes where it has a dot or a hyphen."
            );
            let mut problem = refused_at(self.sql, relation.span().start, detail);
            problem.code = crate::model::ErrorCode::TopicNotFound;
            return ControlFlow::Break(problem);
        };
        let known = self.frames.iter().rev().find_map(|frame| frame.known.get(name)).copied();
        if known.is_none() && !self.walked.tables.contains(name) {
            self.walked.tables.push(name.clone());
        }
        self.charge(known.unwrap_or(Cost { tables: 1, references: 1, ..Cost::default() }))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let detail =
                format!("An expression is deeper than {DEPTH_MAX} levels; IN and params make long chains short.");
            return ControlFlow::Break(refused(detail).with_limit(DEPTH_MAX as u64));
        }
        self.charge(Cost { expressions: 1, ..Cost::default() })?;
        if let Some(frame) = self.frames.last_mut() {
            frame.depth = frame.depth.max(self.depth as u64);
        }
        if let Err(mut problem) = allowed::expression(expr, &mut self.patterns) {
            problem.position = position(self.sql, expr.span().start);
            return ControlFlow::Break(problem);
        }
        if let Expr::Function(function) = expr {
            self.walked.repeats_rows |= function.over.is_some();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<Problem> {
        self.depth = self.depth.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Problem> {
        match &value.value {
            Value::Placeholder(name) => {
                self.refuse(value.span.start, format!("{name} cannot stand here: params stand for values."))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// How many columns an item of a SELECT is made of.
fn columns_in(item: &SelectItem) -> u64 {
    let mut count = 0_u64;
    let counted: ControlFlow<()> = visit_expressions(item, |expr| {
        count += u64::from(matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        ControlFlow::Continue(())
    });
    debug_assert!(counted.is_continue());
    count
}
