//! A filter on the columns of a schema: names found, opposites brought down to single tests.

use std::borrow::Cow;

use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions::string::expr_fn::{contains, starts_with};
use datafusion::logical_expr::{Operator as Op, lit};
use datafusion::prelude::Expr;

use super::ast::{Kind, Node, Operand, Test};
use super::compare::{joined, known, never};
use super::eval::{Slot, prepared, slot_name};
use super::lex::Operator;
use super::tested::{Found, Tested, applied, tested};
use super::values;
use super::{BoundFilter, Fault, fault, refused};
use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN, column_type};
use crate::model::SchemaVersion;
use crate::schema::{Columns, DataType, Field, FieldPath, IntType, Schema, names};

/// The most columns that a refusal names.
const NAMES_MAX: usize = 50;

/// Columns of now, for names that are those of columns of before.
#[derive(Clone, Copy)]
pub(super) struct Moved<'s> {
    /// The newest posted version of before.
    pub(super) since: Option<SchemaVersion>,
    pub(super) now: &'s Columns,
}

impl<'s> Moved<'s> {
    /// Where a field of before is now; none where it was dropped.
    fn find(&self, keys: Vec<String>) -> Option<(Vec<String>, &'s Field)> {
        let FieldPath(keys) = self.now.lineage.followed(&FieldPath(keys), self.since)?;
        let (first, rest) = keys.split_first()?;
        let mut found = self.now.schema.field(first)?;
        for key in rest {
            let DataType::Struct(members) = &found.data_type else { return None };
            found = members.iter().find(|field| field.name == *key)?;
        }
        Some((keys, found))
    }
}

/// A filter on a schema, or on what has become of it.
pub(super) fn bind(root: &Node, schema: &Schema, moved: Option<Moved<'_>>, strict: bool) -> Result<BoundFilter, Fault> {
    let mut binder = Binder { schema, moved, strict, columns: Vec::new(), slots: Vec::new() };
    let flat = binder.node(root, false)?;
    let Binder { columns, slots, .. } = binder;
    let failed = |error: DataFusionError| refused(0, format!("The filter cannot be evaluated: {error}."));
    let physical = prepared(&flat, &slots).map_err(failed)?;
    let expr = named(flat, &slots).map_err(failed)?;
    let columns: Vec<FieldPath> = columns.into_iter().flatten().collect();
    Ok(BoundFilter { columns, expr, slots, physical, tests: root.tests() })
}

/// The same over the columns as they are named instead of slots.
fn named(flat: Expr, slots: &[Slot]) -> Result<Expr, DataFusionError> {
    let columns: Vec<Expr> = slots.iter().map(nested).collect();
    let replaced = flat.transform(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match column.name.parse::<usize>().ok().and_then(|slot| columns.get(slot)) {
                // What has replaced a slot has columns of its own, which are none.
                Some(named) => Transformed::new(named.clone(), true, TreeNodeRecursion::Jump),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}

fn nested(slot: &Slot) -> Expr {
    let mut names = slot.names.iter();
    let first = names.next().cloned().unwrap_or_default();
    names.fold(Expr::Column(Column::new_unqualified(first)), |parent, name| get_field(parent, name.as_str()))
}

struct Binder<'s> {
    schema: &'s Schema,
    moved: Option<Moved<'s>>,
    strict: bool,
    /// The fields by slot; none for the service's own columns.
    columns: Vec<Option<FieldPath>>,
    slots: Vec<Slot>,
}

impl<'s> Binder<'s> {
    fn node(&mut self, node: &Node, negated: bool) -> Result<Expr, Fault> {
        match node {
            Node::Not(inner) => self.node(inner, !negated),
            Node::And(nodes) | Node::Or(nodes) => {
                let exprs = nodes.iter().map(|node| self.node(node, negated)).collect::<Result<_, _>>()?;
                let is_and = matches!(node, Node::And(_)) != negated;
                Ok(joined(exprs, if is_and { Op::And } else { Op::Or }))
            }
            Node::Test(test) => match self.test(test, test.negated != negated) {
                Err(_) if !self.strict => Ok(never()),
                outcome => outcome,
            },
        }
    }

    fn test(&mut self, test: &Test, negated: bool) -> Result<Expr, Fault> {
        let tested = self.operand(&test.operand)?;
        let at = test.operand.at;
        if let Tested::Missing = tested {
            return Ok(lit(matches!(test.kind, Kind::Null) && !negated));
        }
        match &test.kind {
            Kind::Null => {
                let column = tested.into_column();
                Ok(if negated { known(column) } else { Expr::IsNull(Box::new(column)) })
            }
            Kind::Compare(operator, literal) => {
                let operator = if negated { operator.inverse() } else { *operator };
                tested.compare(at, operator, literal)
            }
            Kind::Between(low, high) => {
                let (below, above) = (
                    if negated { Operator::Lt } else { Operator::Ge },
                    if negated { Operator::Gt } else { Operator::Le },
                );
                let ends = vec![tested.compare(at, below, low)?, tested.compare(at, above, high)?];
                Ok(joined(ends, if negated { Op::Or } else { Op::And }))
            }
            Kind::In(literals) => tested.within(at, literals, negated),
            Kind::Like(literal) => tested.like(at, literal, negated),
            Kind::StartsWith(literal) => tested.function(at, "starts_with", literal, negated, starts_with),
            Kind::Contains(literal) => tested.function(at, "contains", literal, negated, contains),
            Kind::ArrayHas(literal) => tested.has(at, literal, negated),
        }
    }

    fn operand(&mut self, operand: &Operand) -> Result<Tested<'s>, Fault> {
        let Some(found) = self.find(operand)? else { return Ok(Tested::Missing) };
        let mut tested = tested(found);
        for function in operand.functions.iter().rev() {
            tested = applied(*function, tested, operand.at)?;
        }
        Ok(tested)
    }

    /// The column of a path; none for one that is not there, where that is no error.
    fn find(&mut self, operand: &Operand) -> Result<Option<Found<'s>>, Fault> {
        let (first, rest) =
            operand.path.split_first().ok_or_else(|| refused(operand.path_at, "A column is expected."))?;
        let own = match first.as_str() {
            OFFSET_COLUMN => Some(DataType::Int(IntType::U64)),
            TIMESTAMP_COLUMN => Some(DataType::Timestamp),
            _ => None,
        };
        if let Some(data_type) = own {
            if !rest.is_empty() {
                return Err(refused(operand.path_at, format!("{first} has no members.")));
            }
            let slot = self.slot(vec![first.clone()], None, &data_type);
            return Ok(Some(Found { column: slot, data_type: Cow::Owned(data_type) }));
        }
        let missing = |fields: &[Field], parent: Option<&str>| {
            let place = parent.map_or_else(|| "The topic".to_owned(), |parent| format!("\"{parent}\""));
            let detail = format!("{place} has no column \"{}\".", operand.path.join("."));
            let known = fields.iter().take(NAMES_MAX).map(|field| FieldPath(vec![field.name.clone()]).to_string());
            fault(operand.path_at, detail, known)
        };
        let mut found = match field_of(&self.schema.fields, first, true) {
            Some(field) => field,
            None if self.strict => return Err(missing(&self.schema.fields, None)),
            None => return Ok(None),
        };
        let mut keys = vec![found.name.clone()];
        for name in rest {
            let DataType::Struct(members) = &found.data_type else {
                let detail =
                    format!("\"{}\" has no members: it is {}.", found.name, values::described(&found.data_type));
                return if self.strict { Err(refused(operand.path_at, detail)) } else { Ok(None) };
            };
            found = match field_of(members, name, false) {
                Some(field) => field,
                None if self.strict => return Err(missing(members, Some(&found.name))),
                None => return Ok(None),
            };
            keys.push(found.name.clone());
        }
        if let Some(moved) = self.moved {
            let Some(now) = moved.find(keys) else { return Ok(None) };
            (keys, found) = now;
        }
        let slot = self.slot(slot_names(&keys), Some(FieldPath(keys)), &found.data_type);
        Ok(Some(Found { column: slot, data_type: Cow::Borrowed(&found.data_type) }))
    }

    fn slot(&mut self, names: Vec<String>, path: Option<FieldPath>, data_type: &DataType) -> Expr {
        let at = match self.slots.iter().position(|slot| slot.names == names) {
            Some(at) => at,
            None => {
                self.slots.push(Slot { names, data_type: column_type(data_type) });
                self.columns.push(path);
                self.slots.len() - 1
            }
        };
        Expr::Column(Column::new_unqualified(slot_name(at)))
    }
}

/// The names of columns that lead to a field.
fn slot_names(keys: &[String]) -> Vec<String> {
    let name = |(at, key)| if at == 0 { names::column_name(key) } else { names::member_name(key) };
    keys.iter().map(String::as_str).enumerate().map(name).map(Cow::into_owned).collect()
}

/// The field that a name means: a key, or else the name of a column as other tools see it. The keys that are named as the
/// service's own columns are reached by their columns' names alone.
fn field_of<'f>(fields: &'f [Field], name: &str, top_level: bool) -> Option<&'f Field> {
    let column = |field: &Field| {
        if top_level { names::column_name(&field.name) == name } else { names::member_name(&field.name) == name }
    };
    let reserved =
        |field: &&Field| top_level && (field.name == OFFSET_COLUMN || field.name == TIMESTAMP_COLUMN) && column(field);
    let by_key = || fields.iter().find(|field| field.name == name);
    fields.iter().find(reserved).or_else(by_key).or_else(|| fields.iter().find(|field| column(field)))
}
