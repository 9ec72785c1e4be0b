//! Parameters in their places, and names for the columns of the answer: what is done to a parsed query before it is
//! looked at.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, FunctionArguments, Ident, ObjectNamePart, Query, Select, SelectItem, Spanned, Subscript,
    TableFactor, UnaryOperator, Value, VisitMut, VisitorMut,
};
use serde_json::Value as Json;

use crate::model::Problem;
use crate::sql::limits::{PARAMETERS_MAX, TEXT_BYTES_MAX};
use crate::sql::text::{refused, refused_at};

/// Puts the parameters in the places of `$1` and so on, and names the columns of the answer.
///
/// # Errors
/// `invalid_body` for a placeholder without a parameter, a parameter without a placeholder, or one that is no scalar.
pub(super) fn bind(sql: &str, query: &mut Query, params: &[Json]) -> Result<(), Problem> {
    if params.len() > PARAMETERS_MAX {
        let detail = format!("There are more than {PARAMETERS_MAX} params.");
        return Err(refused(detail).with_limit(PARAMETERS_MAX as u64));
    }
    let bytes: usize = params.iter().filter_map(Json::as_str).map(str::len).sum();
    if bytes > TEXT_BYTES_MAX {
        let detail = format!("The params have more than {TEXT_BYTES_MAX} bytes together.");
        return Err(refused(detail).with_limit(TEXT_BYTES_MAX as u64));
    }
    let values = params.iter().enumerate().map(|(at, param)| literal(at, param)).collect::<Result<Vec<_>, _>>()?;
    let mut binder = Binder { sql, values: &values, used: vec![false; values.len()], depth: 0 };
    if let ControlFlow::Break(problem) = VisitMut::visit(query, &mut binder) {
        return Err(problem);
    }
    let used = binder.used;
    match used.iter().position(|used| !used) {
        None => Ok(()),
        Some(at) => {
            let detail = format!("There are {} params, but the statement has no ${}.", values.len(), at + 1);
            Err(refused(detail))
        }
    }
}

fn literal(at: usize, param: &Json) -> Result<Expr, Problem> {
    let number = |text: String| match text.strip_prefix('-') {
        None => Expr::value(Value::Number(text.clone(), false)),
        Some(digits) => {
            let positive = Box::new(Expr::value(Value::Number(digits.to_owned(), false)));
            Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: positive }))
        }
    };
    Ok(match param {
        Json::Null => Expr::value(Value::Null),
        Json::Bool(value) => Expr::value(Value::Boolean(*value)),
        Json::String(text) => Expr::value(Value::SingleQuotedString(text.clone())),
        Json::Number(value) => match value.as_f64().filter(|_| value.is_f64()) {
            // With its point or exponent, so that it stays a float.
            Some(float) => number(format!("{float:?}")),
            None => number(value.to_string()),
        },
        Json::Array(_) | Json::Object(_) => {
            let detail = format!("The param ${} is no string, number, true, false or null.", at + 1);
            return Err(refused(detail));
        }
    })
}

struct Binder<'a> {
    sql: &'a str,
    values: &'a [Expr],
    used: Vec<bool>,
    /// In how many expressions what is visited stands.
    depth: usize,
}

impl VisitorMut for Binder<'_> {
    type Break = Problem;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Problem> {
        self.depth += 1;
        if let Some(name) = as_name(expr) {
            *expr = name;
        }
        if let Expr::CompoundFieldAccess { root, access_chain } = expr {
            // As any other path, where it begins with what was taken for a function.
            if let Some(path) = path_of(root, access_chain) {
                *expr = Expr::CompoundIdentifier(path);
            } else {
                // Up to the first item they are a path, which the planner knows.
                let is_name =
                    matches!(as_name(root).as_ref().unwrap_or(root), Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let path = access_chain.iter().take_while(|member| is_name && member_of(member).is_some()).count();
                access_chain.iter_mut().take(path).for_each(by_name);
                access_chain.iter_mut().skip(path).for_each(by_key);
            }
        }
        if let Expr::Function(function) = expr
            && let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice()
            && name.quote_style.is_none()
        {
            name.value.make_ascii_lowercase();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Problem> {
        self.depth -= 1;
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        let at =
            name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()).and_then(|at| at.checked_sub(1));
        let found = at.and_then(|at| Some((self.values.get(at)?, self.used.get_mut(at)?)));
        let Some((value, used)) = found else {
            let place = expr.span().start;
            let detail = match at {
                Some(_) => format!("The statement has {}, but there are {} params.", expr, self.values.len()),
                None => format!("Params are $1, $2 and so on, not {expr}."),
            };
            return ControlFlow::Break(refused_at(self.sql, place, detail));
        };
        *used = true;
        *expr = value.clone();
        ControlFlow::Continue(())
    }

    /// Also those that are read from: what is around them knows their columns by these names.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Problem> {
        if self.depth == 0 {
            name_columns(select);
        }
        ControlFlow::Continue(())
    }
}

/// Functions that are called without brackets.
const BARE: [&str; 3] = ["current_date", "current_time", "current_timestamp"];

/// What the parser takes for a function without brackets, as `user`, which is a column here as any other name is.
fn as_name(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    if !matches!(function.args, FunctionArguments::None) || function.over.is_some() {
        return None;
    }
    let names: Vec<Ident> = function.name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    match names.as_slice() {
        [name] if BARE.iter().any(|bare| name.quote_style.is_none() && name.value.eq_ignore_ascii_case(bare)) => None,
        [name] => Some(Expr::Identifier(name.clone())),
        _ => Some(Expr::CompoundIdentifier(names)),
    }
}

/// The names of a path that nothing else stands in.
fn path_of(root: &Expr, members: &[AccessExpr]) -> Option<Vec<Ident>> {
    let mut path = match as_name(root).as_ref().unwrap_or(root) {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(names) => names.clone(),
        _ => return None,
    };
    for member in members {
        path.push(member_of(member)?);
    }
    Some(path)
}

/// The name behind a dot.
fn member_of(member: &AccessExpr) -> Option<Ident> {
    let AccessExpr::Dot(member) = member else { return None };
    match as_name(member).as_ref().unwrap_or(member) {
        Expr::Identifier(name) => Some(name.clone()),
        _ => None,
    }
}

/// A name behind a dot as one, where it was taken for a function.
fn by_name(member: &mut AccessExpr) {
    if let Some(name) = member_of(member) {
        *member = AccessExpr::Dot(Expr::Identifier(name));
    }
}

/// `[1].p` as `[1]['p']`, which is all that the planner knows.
fn by_key(member: &mut AccessExpr) {
    if let Some(name) = member_of(member) {
        let key = Expr::value(Value::SingleQuotedString(name.value));
        *member = AccessExpr::Subscript(Subscript::Index { index: key });
    }
}

/// Names columns as they are written: `sum(n)` for `sum(n)`; a path by its last name, with more of it where two columns would
/// have one name. Left to the planner, they would be called after its inner form of them.
fn name_columns(select: &mut Select) {
    let tables = tables_of(select);
    let is_named = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { .. } | SelectItem::UnnamedExpr(_));
    // Which names `*` brings is not known here.
    let shortest = if select.projection.iter().all(is_named) { Part::Last } else { Part::WithinTable };
    let names = [shortest, Part::WithinTable, Part::Whole]
        .map(|part| select.projection.iter().map(|item| name_of(item, part, &tables)).collect::<Vec<_>>());
    let is_alone =
        |names: &[Option<String>], name: &String| names.iter().flatten().filter(|other| *other == name).count() == 1;
    for (at, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        // One that another column has as well tells nothing, and the planner could not tell them apart.
        let name = names.iter().find_map(|names| names[at].as_ref().filter(|name| is_alone(names, name)));
        let is_itself = matches!(expr, Expr::Identifier(_));
        if let Some(name) = name.filter(|_| !is_itself) {
            let alias = Ident::with_quote('"', name.as_str());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// How much of a path is its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Last,
    /// All but the table.
    WithinTable,
    Whole,
}

/// What a statement calls the tables that it reads.
fn tables_of(select: &Select) -> Vec<Ident> {
    let factors = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    factors
        .filter_map(|factor| match factor {
            TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
                Some(alias.name.clone())
            }
            TableFactor::Table { name, alias: None, .. } => name.0.last()?.as_ident().cloned(),
            _ => None,
        })
        .collect()
}

fn name_of(item: &SelectItem, part: Part, tables: &[Ident]) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => {
            let has_table = path.first().is_some_and(|first| tables.iter().any(|table| table.value == first.value));
            let begin = match part {
                Part::Last => path.len().saturating_sub(1),
                Part::WithinTable => usize::from(has_table && path.len() > 1),
                Part::Whole => 0,
            };
            let names = path.iter().skip(begin).map(|name| name.value.as_str());
            Some(names.collect::<Vec<_>>().join("."))
        }
        SelectItem::UnnamedExpr(expr) => Some(expr.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sql::text::parse;

    fn bound(sql: &str, params: &Json) -> Result<String, Problem> {
        let mut query = parse(sql)?;
        bind(sql, &mut query, params.as_array().unwrap())?;
        Ok(query.to_string())
    }

    #[test]
    fn parameters_become_literals_of_their_type() {
        for (sql, params, expected) in [
            ("SELECT $1 AS a", json!(["a' OR 'b"]), "SELECT 'a'' OR ''b' AS a"),
            (
                "SELECT a FROM t WHERE a = $2 AND b = $1 AND c = $2",
                json!([1, -2]),
                "SELECT a FROM t WHERE a = (-2) AND b = 1 AND c = (-2)",
            ),
            ("SELECT a FROM t LIMIT $1", json!([5]), "SELECT a FROM t LIMIT 5"),
            (
                "SELECT a FROM t WHERE a IN ($1, $2, $3)",
                json!([1.0, 1e300, null]),
                "SELECT a FROM t WHERE a IN (1.0, 1e300, NULL)",
            ),
            ("SELECT a FROM t WHERE a = $1", json!([true]), "SELECT a FROM t WHERE a = true"),
        ] {
            assert_eq!(bound(sql, &params).unwrap(), expected);
        }
    }

    #[test]
    fn each_placeholder_has_a_parameter_and_each_parameter_a_placeholder() {
        for (sql, params) in [
            ("SELECT $1", json!([])),
            ("SELECT $2", json!([1])),
            ("SELECT 1", json!([1])),
            ("SELECT $1", json!([1, 2])),
            ("SELECT $0", json!([1])),
            ("SELECT $a", json!([1])),
            ("SELECT ?", json!([1])),
            ("SELECT $1", json!([[1]])),
            ("SELECT $1", json!([{}])),
        ] {
            assert!(bound(sql, &params).is_err(), "{sql}: {:?}", bound(sql, &params));
        }
    }

    #[test]
    fn columns_are_named_as_they_are_written() {
        for (sql, expected) in [
            ("SELECT COUNT(*), Sum(n) FROM t", "SELECT count(*) AS \"count(*)\", sum(n) AS \"sum(n)\" FROM t"),
            (
                "SELECT user, t.user AS u, current_date FROM t",
                "SELECT user, t.user AS u, current_date AS \"current_date\" FROM t",
            ),
            ("SELECT s.a, t.b, c FROM t", "SELECT s.a AS \"a\", t.b AS \"b\", c FROM t"),
            (
                "SELECT t.s.a, user.b, t.user.c FROM topic AS t",
                "SELECT t.s.a AS \"a\", user.b AS \"b\", t.user.c AS \"c\" FROM topic AS t",
            ),
            ("SELECT s.a, t.r.a FROM t", "SELECT s.a AS \"s.a\", t.r.a AS \"r.a\" FROM t"),
            ("SELECT x.a, y.a FROM x, y", "SELECT x.a AS \"x.a\", y.a AS \"y.a\" FROM x, y"),
            ("SELECT s.a, s.a FROM t", "SELECT s.a, s.a FROM t"),
            ("SELECT s.a, n AS a FROM t", "SELECT s.a AS \"s.a\", n AS a FROM t"),
            ("SELECT *, t.s.a FROM t", "SELECT *, t.s.a AS \"s.a\" FROM t"),
            ("SELECT t.user[1].p AS v, (x).y AS w FROM t", "SELECT t.user[1]['p'] AS v, (x)['y'] AS w FROM t"),
            (
                "SELECT (SELECT max(t.n) FROM t) FROM u",
                "SELECT (SELECT max(t.n) FROM t) AS \"(SELECT max(t.n) FROM t)\" FROM u",
            ),
            ("SELECT l[1].p FROM t", "SELECT l[1]['p'] AS \"l[1]['p']\" FROM t"),
            (
                "WITH w AS (SELECT s.a FROM t) SELECT a FROM w WHERE EXISTS (SELECT t.s.b FROM t)",
                "WITH w AS (SELECT s.a AS \"a\" FROM t) SELECT a FROM w WHERE EXISTS (SELECT t.s.b FROM t)",
            ),
        ] {
            assert_eq!(bound(sql, &json!([])).unwrap(), expected);
        }
    }
}
