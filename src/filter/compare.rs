//! Tests of a column's values against literals, exact for each type.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Operator as Op, lit};
use datafusion::prelude::Expr;
use half::f16;

use super::lex::Operator;
use super::number::{Cut, Number};
use crate::schema::{FloatType, IntType};

/// Numbers that a column can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Int(IntType),
    Float(FloatType),
}

/// True of no record.
pub(super) fn never() -> Expr {
    lit(false)
}

/// True of every record with a value.
pub(super) fn known(column: Expr) -> Expr {
    Expr::IsNotNull(Box::new(column))
}

pub(super) fn compared(column: Expr, operator: Operator, value: ScalarValue) -> Expr {
    let operator = match operator {
        Operator::Eq => Op::Eq,
        Operator::Ne => Op::NotEq,
        Operator::Lt => Op::Lt,
        Operator::Le => Op::LtEq,
        Operator::Gt => Op::Gt,
        Operator::Ge => Op::GtEq,
    };
    binary(column, operator, Expr::Literal(value, None))
}

fn binary(left: Expr, operator: Op, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

/// All of them, or one of them, as a tree that is no deeper than it must be.
pub(super) fn joined(mut exprs: Vec<Expr>, operator: Op) -> Expr {
    if exprs.len() > 2 {
        let right = exprs.split_off(exprs.len() / 2);
        return binary(joined(exprs, operator), operator, joined(right, operator));
    }
    match (exprs.pop(), exprs.pop()) {
        (Some(right), Some(left)) => binary(left, operator, right),
        (Some(only), None) => only,
        // Nothing fails all; nothing passes one.
        (None, _) => lit(operator == Op::And),
    }
}

fn both(left: Expr, right: Expr) -> Expr {
    binary(left, Op::And, right)
}

fn either(left: Expr, right: Expr) -> Expr {
    binary(left, Op::Or, right)
}

/// One of these values, or none of them. The list has no nulls.
pub(super) fn listed(column: Expr, values: Vec<ScalarValue>, negated: bool) -> Expr {
    match (values.is_empty(), negated) {
        (true, false) => never(),
        (true, true) => known(column),
        (false, _) => {
            let list = values.into_iter().map(|value| Expr::Literal(value, None)).collect();
            Expr::InList(InList::new(Box::new(column), list, negated))
        }
    }
}

/// A column of numbers.
#[derive(Clone, Debug)]
pub(super) struct NumberColumn {
    pub(super) column: Expr,
    pub(super) numbers: Numbers,
    /// Whether it is its absolute value that is tested.
    pub(super) absolute: bool,
}

impl NumberColumn {
    pub(super) fn test(&self, operator: Operator, number: &Number) -> Expr {
        if !self.absolute {
            return self.plain(operator, number);
        }
        if number.is_negative() {
            return match operator {
                Operator::Eq | Operator::Lt | Operator::Le => never(),
                Operator::Ne | Operator::Gt | Operator::Ge => self.comparable(),
            };
        }
        // Of the column itself: the absolute value of the least integer is none of its type.
        let (above, below) = (self.plain(operator, number), self.plain(operator.mirrored(), &number.negated()));
        match operator {
            Operator::Eq | Operator::Gt | Operator::Ge => either(above, below),
            Operator::Ne | Operator::Lt | Operator::Le => both(above, below),
        }
    }

    /// One of these numbers, or none of them.
    pub(super) fn within(&self, numbers: &[&Number], negated: bool) -> Expr {
        let mut places = Vec::with_capacity(numbers.len());
        for number in numbers {
            match self.absolute {
                false => self.equals(number, &mut places),
                true if number.is_negative() => {}
                true => {
                    self.equals(number, &mut places);
                    self.equals(&number.negated(), &mut places);
                }
            }
        }
        let list = listed(self.column.clone(), places, negated);
        if negated && matches!(self.numbers, Numbers::Float(_)) { both(list, self.comparable()) } else { list }
    }

    /// The values of the column's type that equal a number.
    pub(super) fn equals(&self, number: &Number, out: &mut Vec<ScalarValue>) {
        match self.numbers {
            Numbers::Int(int) => {
                if let Cut::At(value) = number.among_integers(int.min(), int.max()) {
                    out.push(integer(int, value));
                }
            }
            Numbers::Float(float) => {
                let (low, high) = match self.float_cut(float, number) {
                    Cut::At(ends) => ends,
                    Cut::Above(_) | Cut::BelowAll => return,
                };
                out.push(low.clone());
                if low != high {
                    out.push(high);
                }
            }
        }
    }

    fn plain(&self, operator: Operator, number: &Number) -> Expr {
        match self.numbers {
            Numbers::Int(int) => self.integer_test(operator, int, number),
            Numbers::Float(float) => self.float_test(operator, float, number),
        }
    }

    fn integer_test(&self, operator: Operator, int: IntType, number: &Number) -> Expr {
        let column = self.column.clone();
        match (number.among_integers(int.min(), int.max()), operator) {
            (Cut::At(value), _) => compared(column, operator, integer(int, value)),
            (_, Operator::Eq) | (Cut::BelowAll, Operator::Lt | Operator::Le) => never(),
            (_, Operator::Ne) | (Cut::BelowAll, Operator::Gt | Operator::Ge) => known(column),
            (Cut::Above(value), Operator::Lt | Operator::Le) => compared(column, Operator::Le, integer(int, value)),
            (Cut::Above(value), Operator::Gt | Operator::Ge) => compared(column, Operator::Gt, integer(int, value)),
        }
    }

    /// Floats are ordered here as Arrow does it: −NaN, −∞, …, −0, +0, …, ∞, NaN. The two zeros are one value all the same,
    /// and a NaN is comparable with nothing.
    fn float_test(&self, operator: Operator, float: FloatType, number: &Number) -> Expr {
        let column = || self.column.clone();
        let (operator, low, high) = match (self.float_cut(float, number), operator) {
            (Cut::At((low, high)), _) => (operator, low, high),
            (_, Operator::Eq) => return never(),
            (_, Operator::Ne) | (Cut::BelowAll, _) => return self.comparable(),
            (Cut::Above((low, high)), Operator::Lt | Operator::Le) => (Operator::Le, low, high),
            (Cut::Above((low, high)), Operator::Gt | Operator::Ge) => (Operator::Gt, low, high),
        };
        let (least, greatest) = ends(float);
        let above = |operator, value| {
            both(compared(column(), operator, value), compared(column(), Operator::Le, greatest.clone()))
        };
        let below = |operator, value| {
            both(compared(column(), operator, value), compared(column(), Operator::Ge, least.clone()))
        };
        match operator {
            Operator::Eq if low == high => compared(column(), Operator::Eq, low),
            Operator::Eq => both(compared(column(), Operator::Ge, low), compared(column(), Operator::Le, high)),
            Operator::Ne => either(below(Operator::Lt, low), above(Operator::Gt, high)),
            Operator::Lt => below(Operator::Lt, low),
            Operator::Le => below(Operator::Le, high),
            Operator::Gt => above(Operator::Gt, high),
            Operator::Ge => above(Operator::Ge, low),
        }
    }

    /// True of every value that can be compared.
    fn comparable(&self) -> Expr {
        match self.numbers {
            Numbers::Int(_) => known(self.column.clone()),
            Numbers::Float(float) => {
                let (least, greatest) = ends(float);
                let column = || self.column.clone();
                both(compared(column(), Operator::Ge, least), compared(column(), Operator::Le, greatest))
            }
        }
    }

    /// Where a number stands among floats, as the least and the greatest form of that value.
    fn float_cut(&self, float: FloatType, number: &Number) -> Cut<(ScalarValue, ScalarValue)> {
        fn both<T: Copy>(
            cut: Cut<T>,
            forms: impl Fn(T) -> (ScalarValue, ScalarValue),
        ) -> Cut<(ScalarValue, ScalarValue)> {
            match cut {
                Cut::At(value) => Cut::At(forms(value)),
                Cut::Above(value) => Cut::Above(forms(value)),
                Cut::BelowAll => Cut::BelowAll,
            }
        }
        match float {
            FloatType::F64 => both(number.among_f64(), |value| {
                let (low, high) = if value == 0.0 { (-0.0, 0.0) } else { (value, value) };
                (ScalarValue::Float64(Some(low)), ScalarValue::Float64(Some(high)))
            }),
            FloatType::F32 => both(number.among_f32(), |value| {
                let (low, high) = if value == 0.0 { (-0.0, 0.0) } else { (value, value) };
                (ScalarValue::Float32(Some(low)), ScalarValue::Float32(Some(high)))
            }),
            FloatType::F16 => both(number.among_f32(), |value| {
                let value = f16::from_f32(value);
                let (low, high) = if value == f16::ZERO { (f16::NEG_ZERO, f16::ZERO) } else { (value, value) };
                (ScalarValue::Float16(Some(low)), ScalarValue::Float16(Some(high)))
            }),
        }
    }
}

fn ends(float: FloatType) -> (ScalarValue, ScalarValue) {
    match float {
        FloatType::F64 => (ScalarValue::Float64(Some(f64::NEG_INFINITY)), ScalarValue::Float64(Some(f64::INFINITY))),
        FloatType::F32 => (ScalarValue::Float32(Some(f32::NEG_INFINITY)), ScalarValue::Float32(Some(f32::INFINITY))),
        FloatType::F16 => (ScalarValue::Float16(Some(f16::NEG_INFINITY)), ScalarValue::Float16(Some(f16::INFINITY))),
    }
}

/// A value of an integer type; one that the type does not hold is null, which equals nothing.
fn integer(int: IntType, value: i128) -> ScalarValue {
    match int {
        IntType::I8 => ScalarValue::Int8(value.try_into().ok()),
        IntType::I16 => ScalarValue::Int16(value.try_into().ok()),
        IntType::I32 => ScalarValue::Int32(value.try_into().ok()),
        IntType::I64 => ScalarValue::Int64(value.try_into().ok()),
        IntType::U8 => ScalarValue::UInt8(value.try_into().ok()),
        IntType::U16 => ScalarValue::UInt16(value.try_into().ok()),
        IntType::U32 => ScalarValue::UInt32(value.try_into().ok()),
        IntType::U64 => ScalarValue::UInt64(value.try_into().ok()),
    }
}
