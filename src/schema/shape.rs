//! What the values of a batch at one place have been, and the type that holds them all.

use std::collections::HashMap;

use crate::schema::{DataType, Field, FloatType, IntType};

/// Up to this magnitude every integer is a double.
pub const EXACT_INTEGER_MAX: i128 = 1 << 53;

/// What a number in the text of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// An integer literal that `int64` or `uint64` holds.
    Integer(i128),
    /// An integer literal past ±2^53 that is, digit by digit, what its nearest double prints as: `float64` keeps it. With the
    /// value where `int64` or `uint64` holds it.
    Printed(Option<i128>),
    /// Any other integer literal past 64 bits.
    HugeInteger,
    /// A float literal whose value is an integer that `int64` or `uint64` holds.
    Whole(i128),
    /// Any other float literal within the range of `float64`.
    Fraction,
    /// A float literal past `float64`.
    PastFloat64,
}

/// From the least to the greatest of the integers seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) min: i128,
    pub(crate) max: i128,
}

impl Span {
    fn add(span: &mut Option<Span>, value: i128) {
        let old = span.unwrap_or(Span { min: value, max: value });
        *span = Some(Span { min: old.min.min(value), max: old.max.max(value) });
    }

    /// The span of both.
    pub(crate) fn join(a: Option<Span>, b: Option<Span>) -> Option<Span> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Span { min: a.min.min(b.min), max: a.max.max(b.max) }),
            (a, b) => a.or(b),
        }
    }
}

/// The numbers at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Integer literals that 64 bits hold.
    pub(crate) integers: Option<Span>,
    /// Whether `float64` does not keep one of these: it is past ±2^53 and not what a double prints as.
    pub(crate) inexact: bool,
    /// Whether there was an integer literal past 64 bits that `float64` keeps.
    pub(crate) huge: bool,
    /// Float literals whose value is an integer that 64 bits hold.
    pub(crate) wholes: Option<Span>,
    /// Whether there was another float that `float64` holds.
    pub(crate) fraction: bool,
    /// Whether there was an integer that neither 64 bits nor `float64` keep, or a float past `float64`.
    pub(crate) beyond: bool,
}

impl Numbers {
    fn add(&mut self, number: NumberKind) {
        match number {
            NumberKind::Integer(value) => {
                Span::add(&mut self.integers, value);
                self.inexact |= value.abs() > EXACT_INTEGER_MAX;
            }
            NumberKind::Printed(Some(value)) => Span::add(&mut self.integers, value),
            NumberKind::Printed(None) => self.huge = true,
            NumberKind::Whole(value) => Span::add(&mut self.wholes, value),
            NumberKind::Fraction => self.fraction = true,
            NumberKind::HugeInteger | NumberKind::PastFloat64 => self.beyond = true,
        }
    }

    /// The type of a new column of these numbers.
    fn data_type(&self) -> DataType {
        let floats = self.fraction || self.wholes.is_some();
        match self.integers {
            _ if self.beyond || floats && self.inexact => DataType::Json,
            _ if floats => DataType::Float(FloatType::F64),
            _ if self.huge => DataType::Json,
            Some(span) if span.max <= IntType::I64.max() => DataType::Int(IntType::I64),
            Some(span) if span.min >= 0 => DataType::Int(IntType::U64),
            _ => DataType::Json,
        }
    }
}

/// What the values at one place have been: it only ever moves towards [`Shape::Any`].
#[derive(Clone, Debug, Default)]
pub enum Shape {
    /// Only null, or none at all.
    #[default]
    Nothing,
    /// Booleans.
    Bool,
    /// Strings.
    String,
    /// Numbers.
    Numbers(Numbers),
    /// Arrays, with what their items have been.
    List(Box<Shape>),
    /// Objects, with what their members have been.
    Object(Box<Members>),
    /// A mix, or nested too deep: only `json` holds them.
    Any,
}

impl Shape {
    /// Adds a boolean.
    pub fn see_bool(&mut self) {
        match self {
            Shape::Nothing => *self = Shape::Bool,
            Shape::Bool => {}
            _ => *self = Shape::Any,
        }
    }

    /// Adds a string.
    pub fn see_string(&mut self) {
        match self {
            Shape::Nothing => *self = Shape::String,
            Shape::String => {}
            _ => *self = Shape::Any,
        }
    }

    /// Adds a number.
    pub fn see_number(&mut self, number: NumberKind) {
        if matches!(self, Shape::Nothing) {
            *self = Shape::Numbers(Numbers::default());
        }
        match self {
            Shape::Numbers(numbers) => numbers.add(number),
            _ => *self = Shape::Any,
        }
    }

    /// Adds an array; what its items are to be added to, or none where they no longer matter.
    pub fn see_list(&mut self) -> Option<&mut Shape> {
        if matches!(self, Shape::Nothing) {
            *self = Shape::List(Box::default());
        } else if !matches!(self, Shape::List(_)) {
            *self = Shape::Any;
        }
        match self {
            Shape::List(items) => Some(items),
            _ => None,
        }
    }

    /// Adds an object; what its members are to be added to, or none where they no longer matter.
    pub fn see_object(&mut self) -> Option<&mut Members> {
        if matches!(self, Shape::Nothing) {
            *self = Shape::Object(Box::default());
        } else if !matches!(self, Shape::Object(_)) {
            *self = Shape::Any;
        }
        match self {
            Shape::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Adds a value that only `json` holds.
    pub fn see_any(&mut self) {
        *self = Shape::Any;
    }

    /// The type of a new column of these values; none where only null was seen.
    pub fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Shape::Nothing => return None,
            Shape::Bool => DataType::Bool,
            Shape::String => DataType::String,
            Shape::Numbers(numbers) => numbers.data_type(),
            Shape::List(items) => items.data_type().map_or(DataType::Json, |item| DataType::List(Box::new(item))),
            Shape::Object(members) => match members.fields() {
                fields if fields.is_empty() => DataType::Json,
                fields => DataType::Struct(fields),
            },
            Shape::Any => DataType::Json,
        })
    }
}

/// The members of the objects at one place, in the order in which their keys first came.
#[derive(Clone, Debug, Default)]
pub struct Members {
    shapes: Vec<(String, Shape)>,
    index: HashMap<String, usize>,
}

impl Members {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// What the values of a key have been.
    pub fn get(&self, key: &str) -> Option<&Shape> {
        self.index.get(key).and_then(|at| self.shapes.get(*at)).map(|(_, shape)| shape)
    }

    /// What the values of a key are to be added to; a new key begins with nothing.
    pub fn entry(&mut self, key: &str) -> &mut Shape {
        let at = self.index.get(key).copied().unwrap_or_else(|| {
            self.shapes.push((key.to_owned(), Shape::Nothing));
            self.index.insert(key.to_owned(), self.shapes.len() - 1);
            self.shapes.len() - 1
        });
        // The index only has positions of what was pushed, and nothing is ever removed.
        &mut self.shapes[at].1
    }

    /// The keys with what their values have been.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.shapes.iter().map(|(key, shape)| (key.as_str(), shape))
    }

    /// The new columns of these members; a key with only null has none.
    pub fn fields(&self) -> Vec<Field> {
        let field = |(key, shape): (&str, &Shape)| {
            shape.data_type().map(|data_type| Field { name: key.to_owned(), data_type, nullable: true })
        };
        self.iter().filter_map(field).collect()
    }
}
