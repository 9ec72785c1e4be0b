//! Into how many cells vectors are put, and of how many of them these are learnt: pure rules.

use crate::schema::{IndexSpec, IndexType};

/// How many rows one segment with a graph has, at most, where fragments allow it: the graph is built in one go, which nothing can
/// stop, on one of the threads that Lance writes with. Where there are many cells, Lance takes all of these threads for their
/// graphs, and no table could commit meanwhile.
pub(super) const GRAPH_ROWS: u64 = 100_000;
/// So, a segment has one graph; or, of a fragment that has more rows, two, which leave one of the three threads free
/// (`LANCE_CPU_THREADS`).
const GRAPHS_LARGE: usize = 2;
/// More graphs than that are of so few rows each that others come to write between them.
const GRAPH_SMALL_ROWS: u64 = 1_024;
/// Vectors in a cell of the other kinds, unless it is said otherwise, and the most cells that this makes: what Lance itself takes.
const FLAT_CELL_ROWS: u64 = 4_096;
const CODED_CELL_ROWS: u64 = 8_192;
const CELLS_USUAL_MAX: u64 = 4_096;
/// Cells are learnt of vectors in memory, so many for each cell: no more than have room here.
const SAMPLE_BYTES: usize = 512 << 20;
const SAMPLE_MIN: usize = 16;
const SAMPLE_MAX: usize = 256;

/// The cells of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cells {
    pub(super) count: usize,
    /// How many vectors each of them is learnt of.
    pub(super) sample: usize,
}

impl Cells {
    /// For an index over so many rows that have so many vectors of so many bytes.
    pub(super) fn of(spec: &IndexSpec, is_makeshift: bool, rows: u64, vectors: usize, vector_bytes: usize) -> Self {
        let asked = spec.params.integer("num_partitions");
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let usual = |cell_rows: u64| number((rows / cell_rows).clamp(1, CELLS_USUAL_MAX));
        let wanted = match spec.kind {
            IndexType::IvfHnswSq => {
                let small = number(rows.div_ceil(GRAPH_SMALL_ROWS));
                let usual = if rows > GRAPH_ROWS { GRAPHS_LARGE } else { 1 };
                asked.filter(|asked| *asked >= small).unwrap_or(usual)
            }
            IndexType::IvfPq if !is_makeshift => asked.unwrap_or_else(|| usual(CODED_CELL_ROWS)),
            _ => asked.unwrap_or_else(|| usual(FLAT_CELL_ROWS)),
        };
        let room = SAMPLE_BYTES / vector_bytes.max(1);
        let count = wanted.min(vectors).min(room / SAMPLE_MIN).max(1);
        Self { count, sample: (room / count).clamp(SAMPLE_MIN, SAMPLE_MAX) }
    }
}

/// Of how many vectors for each value of a byte the bounds of one are learnt.
pub(super) fn bytes_sample(vector_bytes: usize) -> usize {
    (SAMPLE_BYTES / vector_bytes.max(1) / 256).clamp(SAMPLE_MIN, SAMPLE_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cells(kind: IndexType, params: &Value, rows: u64, dim: usize) -> Cells {
        let spec = IndexSpec::new(kind, params.as_object().unwrap().clone()).unwrap();
        Cells::of(&spec, false, rows, usize::try_from(rows).unwrap(), dim * 4)
    }

    #[test]
    fn a_segment_has_one_graph_or_such_as_are_soon_built() {
        let count = |params, rows| cells(IndexType::IvfHnswSq, &params, rows, 32).count;
        assert_eq!(count(json!({}), 100_000), 1);
        assert_eq!(count(json!({"num_partitions": 2}), 100_000), 1);
        assert_eq!(count(json!({"num_partitions": 2}), 1_000), 2);
        assert_eq!(count(json!({"num_partitions": 97}), 100_000), 1);
        assert_eq!(count(json!({"num_partitions": 98}), 100_000), 98);
        assert_eq!(count(json!({}), 100_001), 2);
        assert_eq!(count(json!({"num_partitions": 99}), 1_000_000), 2);
        assert_eq!(count(json!({"num_partitions": 1_000}), 1_000_000), 1_000);
        assert_eq!(cells(IndexType::IvfFlat, &json!({"num_partitions": 1}), 5_000_000, 32).count, 1);
    }

    #[test]
    fn what_cells_are_learnt_of_has_room_however_many_are_asked_for() {
        let many = json!({"num_partitions": 65_536});
        for (kind, params, rows, dim) in [
            (IndexType::IvfFlat, &many, 10_000_000, 8_192),
            (IndexType::IvfPq, &many, 10_000_000, 128),
            (IndexType::IvfFlat, &json!({}), 40_000_000, 1_536),
            (IndexType::IvfHnswSq, &json!({}), 100_000, 16),
        ] {
            let Cells { count, sample } = cells(kind, params, rows, dim);
            assert!(count * sample * dim * 4 <= SAMPLE_BYTES && sample >= SAMPLE_MIN, "{kind:?}: {count} of {sample}");
        }
        assert_eq!(cells(IndexType::IvfFlat, &many, 10_000_000, 128), Cells { count: 65_536, sample: 16 });
        assert_eq!(cells(IndexType::IvfFlat, &json!({}), 100_000, 128), Cells { count: 24, sample: 256 });
        assert_eq!(cells(IndexType::IvfFlat, &many, 20, 4).count, 20, "no cell is learnt of nothing");
    }
}
