//! What there is of vectors in fragments, before an index of them is built.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array as _, ArrayRef, FixedSizeListArray, RecordBatch};
use arrow_schema::DataType as ArrowType;
use futures::TryStreamExt as _;
use lance::Dataset;
use lance_linalg::distance::DistanceType;

use super::build::Column;
use crate::table::TableError;
use crate::table::lance::error::foreign;
use crate::table::lance::offsets::Placed;
use crate::table::lance::read::part;

/// A vector whose squares add up to more is nearest to no cell, as distances are numbers of 32 bits: Lance refuses all of a build
/// that has one.
const SQUARES_MAX: f64 = f32::MAX as f64 / 4.0;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many vectors there are that an index can have, in all fragments that it can have.
    pub(super) vectors: usize,
    /// Fragments that it cannot have.
    pub(super) unfit: BTreeSet<u64>,
}

/// What one vector is to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vector {
    Fit,
    /// It is left out by Lance itself.
    None,
    /// It must not come to a build.
    Unfit,
}

impl Vector {
    fn of(values: impl Iterator<Item = f64> + Clone, metric: DistanceType) -> Self {
        let squares: f64 = values.clone().map(|value| value * value).sum();
        if !values.clone().all(f64::is_finite) {
            return Self::None;
        }
        match metric {
            // Direction is all that counts, and there is none where a length is nothing or has no number.
            DistanceType::Cosine if squares < f64::from(f32::MIN_POSITIVE) || squares > SQUARES_MAX => Self::None,
            DistanceType::Cosine => Self::Fit,
            _ if squares > SQUARES_MAX => Self::Unfit,
            _ => Self::Fit,
        }
    }
}

/// Looks at all vectors of fragments.
pub(super) async fn look(
    dataset: &Dataset,
    column: &Column,
    over: &[Placed],
    metric: DistanceType,
) -> Result<Seen, TableError> {
    let schema = dataset.schema().project_by_ids(&[column.field], true);
    let mut seen = Seen::default();
    for placed in over {
        let mut vectors = 0;
        let batches = part(dataset, &schema, *placed, 0, placed.rows()).await?;
        futures::pin_mut!(batches);
        while let Some(batch) = batches.try_next().await? {
            let values = leaf(&batch, &column.names).ok_or_else(|| foreign("a column was not read"))?;
            let list = values.as_fixed_size_list_opt().ok_or_else(|| foreign("a column holds no vectors"))?;
            let judged = judged(list, metric).ok_or_else(|| foreign("a column holds vectors of another type"))?;
            let there = || judged.iter().enumerate().filter(|(at, _)| list.is_valid(*at)).map(|(_, vector)| *vector);
            if there().any(|vector| vector == Vector::Unfit) {
                seen.unfit.insert(placed.id);
                vectors = 0;
                break;
            }
            vectors += there().filter(|vector| *vector == Vector::Fit).count();
        }
        seen.vectors += vectors;
    }
    Ok(seen)
}

/// What each vector of a list is, those that are null included; none where their type is unknown.
fn judged(list: &FixedSizeListArray, metric: DistanceType) -> Option<Vec<Vector>> {
    let dim = usize::try_from(list.value_length()).ok()?.max(1);
    let all = list.values();
    Some(match all.data_type() {
        ArrowType::Float16 => {
            let vectors = all.as_primitive_opt::<Float16Type>()?.values().chunks_exact(dim);
            vectors.map(|vector| Vector::of(vector.iter().map(|value| value.to_f64()), metric)).collect()
        }
        ArrowType::Float32 => {
            let vectors = all.as_primitive_opt::<Float32Type>()?.values().chunks_exact(dim);
            vectors.map(|vector| Vector::of(vector.iter().map(|value| f64::from(*value)), metric)).collect()
        }
        ArrowType::Float64 => {
            let vectors = all.as_primitive_opt::<Float64Type>()?.values().chunks_exact(dim);
            vectors.map(|vector| Vector::of(vector.iter().copied(), metric)).collect()
        }
        _ => return None,
    })
}

/// The values at the end of a path.
fn leaf(batch: &RecordBatch, names: &[String]) -> Option<ArrayRef> {
    let (first, rest) = names.split_first()?;
    let mut values = Arc::clone(batch.column_by_name(first)?);
    for name in rest {
        values = Arc::clone(values.as_struct_opt()?.column_by_name(name)?);
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_vector_is_to_an_index_goes_by_its_metric() {
        let judged = |vector: &[f64]| {
            [DistanceType::L2, DistanceType::Dot, DistanceType::Cosine]
                .map(|metric| Vector::of(vector.iter().copied(), metric))
        };
        assert_eq!(judged(&[1.0, -2.0]), [Vector::Fit; 3]);
        assert_eq!(judged(&[0.0, 0.0]), [Vector::Fit, Vector::Fit, Vector::None]);
        assert_eq!(judged(&[1e30, 0.0]), [Vector::Unfit, Vector::Unfit, Vector::None]);
        assert_eq!(judged(&[1e200, 0.0]), [Vector::Unfit, Vector::Unfit, Vector::None]);
        assert_eq!(judged(&[f64::NAN, 1e30]), [Vector::None; 3]);
    }
}
