//! Two rankings made one, by reciprocal rank fusion (Cormack, Clarke, Büttcher, 2009).

use std::collections::BTreeMap;

use crate::search::top::Ranked;

/// How much the first ranks stand out, as the paper has it.
const RANK_CONSTANT: f64 = 60.0;
/// How deep each ranking goes at least, however few hits are asked for.
pub(super) const DEPTH_MIN: usize = 100;

/// A record and what it is found by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fused {
    pub(super) offset: u64,
    pub(super) distance: Option<f32>,
    pub(super) score: Option<f32>,
    /// The sum of 1 / (60 + rank) over the rankings that have it.
    pub(super) relevance: Option<f32>,
}

/// The best `k` of both rankings; equals by offset.
pub(super) fn fuse(k: usize, by_vector: &[Ranked], by_text: &[Ranked]) -> Vec<Fused> {
    let mut sums: BTreeMap<u64, (f64, Fused)> = BTreeMap::new();
    for (place, ranked) in by_vector.iter().enumerate() {
        let (sum, fused) = sums.entry(ranked.offset).or_default();
        *sum += 1.0 / (RANK_CONSTANT + place as f64 + 1.0);
        fused.distance = Some(ranked.key);
    }
    for (place, ranked) in by_text.iter().enumerate() {
        let (sum, fused) = sums.entry(ranked.offset).or_default();
        *sum += 1.0 / (RANK_CONSTANT + place as f64 + 1.0);
        fused.score = Some(-ranked.key);
    }
    let mut all: Vec<(f64, Fused)> =
        sums.into_iter().map(|(offset, (sum, fused))| (sum, Fused { offset, ..fused })).collect();
    // Stable: equals stay in the order of their offsets.
    all.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    all.truncate(k);
    all.into_iter().map(|(sum, fused)| Fused { relevance: Some(sum as f32), ..fused }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(offsets: &[u64]) -> Vec<Ranked> {
        offsets.iter().enumerate().map(|(place, offset)| Ranked::new(place as f32, *offset)).collect()
    }

    #[test]
    fn what_both_rankings_have_comes_first_and_equals_by_offset() {
        let fused = fuse(10, &ranking(&[5, 3, 9]), &ranking(&[3, 7, 2]));
        let offsets: Vec<u64> = fused.iter().map(|hit| hit.offset).collect();
        assert_eq!(offsets, [3, 5, 7, 2, 9]);
        assert_eq!(fused[0].relevance, Some((1.0_f64 / 62.0 + 1.0 / 61.0) as f32));
        assert_eq!((fused[0].distance, fused[0].score), (Some(1.0), Some(0.0)));
        assert_eq!((fused[1].distance, fused[1].score), (Some(0.0), None));
        assert_eq!(fuse(2, &ranking(&[5, 3, 9]), &ranking(&[3, 7, 2])).len(), 2);
        assert_eq!(fuse(2, &[], &[]), []);
    }
}
