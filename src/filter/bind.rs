//! A filter on the columns of a schema: names found, types checked, opposites brought down to single tests.

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions::string::expr_fn::{contains, lower, starts_with, upper};
use datafusion::functions::unicode::expr_fn::character_length;
use datafusion::functions_nested::expr_fn::array_has;
use datafusion::logical_expr::{Like, Operator as Op, lit};
use datafusion::prelude::Expr;

use super::ast::{Function, Kind, Literal, Node, Operand, Test, Value};
use super::compare::{NumberColumn, Numbers, compared, joined, known, listed, never};
use super::eval::{Slot, prepared, slot_name};
use super::lex::Operator;
use super::values::{self, Plain};
use super::{BoundFilter, Fault, WILDCARDS_MAX, fault, refused};
use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN, column_type};
use crate::schema::{DataType, Field, FieldPath, IntType, Schema, names};

/// The most columns that a refusal names.
const NAMES_MAX: usize = 50;

pub(super) fn bind(root: &Node, schema: &Schema, strict: bool) -> Result<BoundFilter, Fault> {
    let mut binder = Binder { schema, strict, columns: Vec::new(), slots: Vec::new() };
    let flat = binder.node(root, false)?;
    let Binder { columns, slots, .. } = binder;
    let failed =
        |error: datafusion::common::DataFusionError| refused(0, format!("The filter cannot be evaluated: {error}."));
    let physical = prepared(&flat, &slots).map_err(failed)?;
    let expr = named(flat, &slots).map_err(failed)?;
    let columns: Vec<FieldPath> = columns.into_iter().flatten().collect();
    Ok(BoundFilter { columns, expr, slots, physical })
}

/// The same over the columns as they are named instead of slots.
fn named(flat: Expr, slots: &[Slot]) -> Result<Expr, datafusion::common::DataFusionError> {
    let columns: Vec<Expr> = slots.iter().map(nested).collect();
    let replaced = flat.transform(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match column.name.parse::<usize>().ok().and_then(|slot| columns.get(slot)) {
                // What has replaced a slot has columns of its own, which are none.
                Some(named) => {
                    Transformed::new(named.clone(), true, datafusion::common::tree_node::TreeNodeRecursion::Jump)
                }
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

/// A column that was found.
struct Found<'s> {
    /// By its slot.
    column: Expr,
    data_type: std::borrow::Cow<'s, DataType>,
}

/// What is tested.
enum Tested<'s> {
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
        item: std::borrow::Cow<'s, DataType>,
    },
    /// What can be null and nothing else.
    Opaque(Expr, &'static str),
    /// A column that is not there (any more).
    Missing,
}

struct Binder<'s> {
    schema: &'s Schema,
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
            return Ok(Some(Found { column: slot, data_type: std::borrow::Cow::Owned(data_type) }));
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
        let mut names = vec![names::column_name(&found.name).into_owned()];
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
            names.push(names::member_name(&found.name).into_owned());
            keys.push(found.name.clone());
        }
        let slot = self.slot(names, Some(FieldPath(keys)), &found.data_type);
        Ok(Some(Found { column: slot, data_type: std::borrow::Cow::Borrowed(&found.data_type) }))
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

fn tested(found: Found<'_>) -> Tested<'_> {
    use std::borrow::Cow;
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

fn applied(function: Function, tested: Tested<'_>, at: usize) -> Result<Tested<'_>, Fault> {
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

    fn into_column(self) -> Expr {
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

    fn compare(&self, at: usize, operator: Operator, literal: &Literal) -> Result<Expr, Fault> {
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
            (Tested::Plain(column, plain), _) => Ok(compared(column.clone(), operator, plain.read(literal)?)),
        }
    }

    fn within(&self, at: usize, literals: &[Literal], negated: bool) -> Result<Expr, Fault> {
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
                let values = given().map(|literal| plain.read(literal)).collect::<Result<_, _>>()?;
                Ok(listed(column.clone(), values, negated))
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

    fn like(&self, at: usize, literal: &Literal, negated: bool) -> Result<Expr, Fault> {
        let Some((column, pattern)) = self.text_of(at, literal)? else { return Ok(never()) };
        if pattern.chars().filter(|c| matches!(c, '%' | '_')).count() > WILDCARDS_MAX {
            let detail = format!("The pattern has more than {WILDCARDS_MAX} wildcards.");
            return Err(refused(literal.at, detail));
        }
        values::check_pattern(&pattern, literal.at)?;
        let pattern = Expr::Literal(ScalarValue::LargeUtf8(Some(pattern)), None);
        Ok(Expr::Like(Like::new(negated, Box::new(column), Box::new(pattern), None, false)))
    }

    fn function(
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

    fn has(&self, at: usize, literal: &Literal, negated: bool) -> Result<Expr, Fault> {
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

fn opposite(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}
