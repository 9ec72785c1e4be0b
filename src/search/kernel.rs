//! Exact distances, as Lance defines them.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array as _, ArrayRef};
use half::f16;
use lance_linalg::distance::{Cosine, Dot, L2, cosine_distance, dot_distance, l2};

use crate::model::Problem;
use crate::schema::FloatType;
use crate::search::{Metric, bad};

/// A query in the numbers of its column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Query {
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Query {
    /// A query for a column of `item`.
    ///
    /// # Errors
    /// `invalid_parameter` for a number that the column cannot hold, and for what has no direction where that is asked for.
    pub(super) fn new(numbers: &[f64], item: FloatType, metric: Metric) -> Result<Self, Problem> {
        let numbers = &*if metric == Metric::Cosine { scaled(numbers) } else { Cow::Borrowed(numbers) };
        let query = match item {
            FloatType::F16 => Self::F16(numbers.iter().map(|number| f16::from_f64(*number)).collect()),
            FloatType::F32 => Self::F32(numbers.iter().map(|number| narrowed(*number)).collect()),
            FloatType::F64 => Self::F64(numbers.to_vec()),
        };
        let overflow = match &query {
            Self::F16(numbers) => numbers.iter().position(|number| !number.is_finite()),
            Self::F32(numbers) => numbers.iter().position(|number| !number.is_finite()),
            Self::F64(numbers) => numbers.iter().position(|number| !number.is_finite()),
        };
        if let Some(at) = overflow {
            return Err(bad(format!("Number {at} of the query vector is too large for the column's {}.", item.name())));
        }
        if metric == Metric::Cosine && query.is_zero() {
            return Err(bad("The query vector is zero, which has no direction: cosine cannot be measured from it."));
        }
        Ok(query)
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::F16(numbers) => numbers.iter().all(|number| number.to_f32() == 0.0),
            Self::F32(numbers) => numbers.iter().all(|number| *number == 0.0),
            Self::F64(numbers) => numbers.iter().all(|number| *number == 0.0),
        }
    }

    /// The numbers as Lance takes a query.
    pub(super) fn as_f32(&self) -> Vec<f32> {
        match self {
            Self::F16(numbers) => numbers.iter().map(|number| number.to_f32()).collect(),
            Self::F32(numbers) => numbers.clone(),
            Self::F64(numbers) => numbers.iter().map(|number| narrowed(*number)).collect(),
        }
    }

    /// Calls `each` with the row and the distance of every vector of a column that is there; none where the column has
    /// other vectors. A distance is computed pair by pair, so that it does not depend on the rows beside it.
    pub(super) fn distances(&self, metric: Metric, column: &ArrayRef, each: impl FnMut(usize, f32)) -> Option<()> {
        let vectors = column.as_fixed_size_list_opt()?;
        let values = vectors.values();
        let is_there = |row: usize| vectors.is_valid(row);
        match self {
            Self::F16(query) => {
                pairs(metric, query, values.as_primitive_opt::<Float16Type>()?.values(), is_there, each);
            }
            Self::F32(query) => {
                pairs(metric, query, values.as_primitive_opt::<Float32Type>()?.values(), is_there, each);
            }
            Self::F64(query) => {
                pairs(metric, query, values.as_primitive_opt::<Float64Type>()?.values(), is_there, each);
            }
        }
        Some(())
    }
}

/// The same direction, with 1 for the largest number, so that squares neither overflow nor vanish; nothing has the direction of
/// zero.
fn scaled(numbers: &[f64]) -> Cow<'_, [f64]> {
    let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
    if largest > 0.0 && largest.is_finite() {
        Cow::Owned(numbers.iter().map(|number| number / largest).collect())
    } else {
        Cow::Borrowed(numbers)
    }
}

/// The nearest float of 32 bits; infinite past the range.
fn narrowed(number: f64) -> f32 {
    number as f32
}

/// Within these the squares of numbers are floats of 32 bits, and exact enough.
const PLAIN: std::ops::RangeInclusive<f64> = 1e-15..=1e15;

/// The cosine distance of a query and a vector; where the squares of the vector's numbers would overflow or vanish, that of its
/// direction.
fn cosine<T: Cosine + Copy + Into<f64>>(query: &[T], vector: &[T]) -> f32 {
    let largest = vector.iter().fold(0.0_f64, |largest, number| largest.max((*number).into().abs()));
    if PLAIN.contains(&largest) || largest == 0.0 || !largest.is_finite() {
        return cosine_distance::<T>(query, vector);
    }
    let (mut dot, mut of_query, mut of_vector) = (0.0, 0.0, 0.0);
    for (one, other) in query.iter().zip(vector) {
        let (one, other): (f64, f64) = ((*one).into(), (*other).into() / largest);
        dot += one * other;
        of_query += one * one;
        of_vector += other * other;
    }
    narrowed(1.0 - dot / (of_query * of_vector).sqrt())
}

fn pairs<T: L2 + Cosine + Dot + Copy + Into<f64>>(
    metric: Metric,
    query: &[T],
    values: &[T],
    is_there: impl Fn(usize) -> bool,
    mut each: impl FnMut(usize, f32),
) {
    let between = match metric {
        Metric::L2 => l2::<T>,
        Metric::Cosine => cosine::<T>,
        Metric::Dot => dot_distance::<T>,
    };
    for (row, vector) in values.chunks_exact(query.len().max(1)).enumerate() {
        if is_there(row) {
            each(row, between(query, vector));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_direction_of_a_query_counts_under_cosine() {
        for item in [FloatType::F16, FloatType::F32, FloatType::F64] {
            let query = |numbers: &[f64]| Query::new(numbers, item, Metric::Cosine);
            let one = query(&[1.0, -1.0, 0.0]).unwrap();
            for size in [1e20, 1e-60, 1e300] {
                assert_eq!(query(&[size, -size, 0.0]).unwrap(), one, "{size}");
            }
            assert!(query(&[0.0, 0.0, 0.0]).is_err());
        }
        assert!(Query::new(&[1e39], FloatType::F32, Metric::L2).is_err());
    }

    #[test]
    fn only_the_direction_of_a_vector_counts_under_cosine() {
        for size in [1e-300, 1e-25, 1e-20, 1.0, 1e20, 1e200] {
            let near = cosine(&[1.0, 1.0], &[size, size]);
            assert!(near.abs() < 1e-6, "{size}: {near}");
            let across = cosine(&[1.0, 1.0], &[size, -size]);
            assert!((across - 1.0).abs() < 1e-6, "{size}: {across}");
        }
        for size in [1e-30_f32, 1e-20, 1e20, 1e38] {
            let near = cosine(&[1.0, 1.0], &[size, size]);
            assert!(near.abs() < 1e-6, "{size}: {near}");
        }
    }
}
