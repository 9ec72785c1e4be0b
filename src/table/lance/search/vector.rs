//! Vector indexes.

use std::sync::Arc;

use arrow_array::Float32Array;
use async_trait::async_trait;
use lance::index::{DatasetIndexExt, DatasetIndexInternalExt};
use lance_index::metrics::NoOpMetricsCollector;
use lance_index::vector::quantizer::QuantizationType;
use lance_index::vector::v3::subindex::SubIndexType;
use lance_linalg::distance::DistanceType;
use tokio_util::task::AbortOnDropHandle;

use super::{Indexed, Place, as_one};
use crate::schema::{Columns, FieldPath};
use crate::table::TableError;
use crate::table::lance::error::joined;
use crate::table::search::{Admitted, Candidate, Coverage, Effort, FoundVectorIndex, Metric, VectorIndex};

/// The column of distances.
const DISTANCE: &str = "_distance";
/// The partitions that are looked into at least.
const NPROBES_MIN: usize = 20;
/// Of so many partitions one is looked into.
const NPROBES_SHARE: usize = 10;
/// How many times as many candidates as hits are measured exactly where the index has vectors in pieces.
const REFINE_PIECES: u32 = 10;
/// The same where it has them rounded.
const REFINE_ROUNDED: u32 = 2;
/// How many candidates a walk through a graph keeps at least.
const EF_MIN: usize = 100;

/// A vector index.
#[derive(Clone, Debug)]
struct Vectors {
    indexed: Indexed,
    metric: Metric,
    kind: Kind,
}

/// What the segments of an index are: the most that is needed for any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kind {
    partitions: usize,
    is_graph: bool,
    refine_factor: Option<u32>,
}

impl Kind {
    fn add(&mut self, (graph, quantized): (SubIndexType, QuantizationType), partitions: usize) {
        let refine_factor = match quantized {
            QuantizationType::Flat | QuantizationType::FlatBin => None,
            QuantizationType::Scalar => Some(REFINE_ROUNDED),
            QuantizationType::Product | QuantizationType::Rabit => Some(REFINE_PIECES),
        };
        self.partitions = self.partitions.max(partitions);
        self.is_graph |= matches!(graph, SubIndexType::Hnsw);
        self.refine_factor = self.refine_factor.max(refine_factor);
    }
}

/// The index of a vector column that measures by a metric; none for any.
pub(in crate::table::lance) async fn vector_index(
    place: Place,
    columns: &Columns,
    path: &FieldPath,
    metric: Option<Metric>,
) -> Result<FoundVectorIndex, TableError> {
    let Some(names) = place.column(columns, path)? else { return Ok(None) };
    let column = as_one(&names);
    let dataset = Arc::clone(&place.version.dataset);
    let field = dataset.schema().field_id(&column)?;
    let indices = dataset.load_indices().await?;
    let mut seen: Vec<&str> = Vec::new();
    for index in indices.iter().filter(|index| index.fields.first() == Some(&field)) {
        if seen.contains(&index.name.as_str()) {
            continue;
        }
        seen.push(&index.name);
        // An index of another kind cannot be opened so.
        let Ok(opened) = dataset.open_vector_index(&column, &index.uuid, &NoOpMetricsCollector).await else { continue };
        let of_index = match opened.metric_type() {
            DistanceType::L2 => Metric::L2,
            DistanceType::Cosine => Metric::Cosine,
            DistanceType::Dot => Metric::Dot,
            DistanceType::Hamming => continue,
        };
        if metric.is_some_and(|metric| metric != of_index) {
            continue;
        }
        let segments: Vec<_> = indices.iter().filter(|other| other.name == index.name).cloned().collect();
        let mut vectors = Kind::default();
        for segment in &segments {
            // Those of one index may be of several kinds: few rows can be indexed by some only.
            let opened = dataset.open_vector_index(&column, &segment.uuid, &NoOpMetricsCollector).await?;
            vectors.add(opened.sub_index_type(), opened.ivf_model().num_partitions());
        }
        let Some(indexed) = place.indexed(names, segments) else { return Ok(None) };
        return Ok(Some(Arc::new(Vectors { indexed, metric: of_index, kind: vectors })));
    }
    Ok(None)
}

impl Vectors {
    /// What is not asked for is chosen so that most of the true neighbours are found. Lance makes room for as many candidates
    /// as it is asked for, so no more are than there are rows.
    fn effort(&self, k: usize, asked: Effort, is_partial: bool) -> Effort {
        let rows = self.indexed.rows();
        let nprobes = NPROBES_MIN.max(self.kind.partitions / NPROBES_SHARE);
        // Where few rows pass, Lance names them all without having measured them.
        let factor = asked.refine_factor.or(self.kind.refine_factor).or_else(|| is_partial.then_some(1));
        let factor_max = u32::try_from(rows.div_ceil(k.max(1))).unwrap_or(u32::MAX).max(1);
        let ef = asked.ef.or_else(|| self.kind.is_graph.then_some(k.saturating_mul(2).max(EF_MIN)));
        Effort {
            nprobes: asked.nprobes.or(Some(nprobes)),
            refine_factor: factor.map(|factor| factor.min(factor_max)),
            ef: ef.map(|ef| ef.min(rows).max(1)),
        }
    }

    async fn search(
        self,
        query: Vec<f32>,
        k: usize,
        asked: Effort,
        admitted: Admitted,
    ) -> Result<Vec<Candidate>, TableError> {
        let k = k.min(self.indexed.rows());
        if k == 0 || self.indexed.is_empty() {
            return Ok(Vec::new());
        }
        let Effort { nprobes, refine_factor, ef } = self.effort(k, asked, self.indexed.condition(&admitted).is_some());
        let mut scanner = self.indexed.scanner(&admitted, DISTANCE).await?;
        scanner.nearest(&self.indexed.column, &Float32Array::from(query), k)?;
        let segments = self.indexed.segments.iter().map(|segment| segment.uuid).collect();
        scanner.with_index_segments(segments)?;
        scanner.fast_search();
        match (asked.nprobes, nprobes) {
            (Some(nprobes), _) => scanner.nprobes(nprobes),
            // Where those have too few rows that pass, Lance goes on through the others.
            (None, nprobes) => scanner.minimum_nprobes(nprobes.unwrap_or(NPROBES_MIN)),
        };
        if let Some(factor) = refine_factor {
            scanner.refine(factor);
        }
        if let Some(ef) = ef {
            // A graph that is asked for more than it keeps refuses.
            let wanted = k.saturating_mul(refine_factor.map_or(1, |factor| usize::try_from(factor).unwrap_or(1)));
            scanner.ef(ef.max(wanted));
        }
        let batch = scanner.try_into_batch().await?;
        self.indexed.candidates(&batch, DISTANCE)
    }
}

#[async_trait]
impl VectorIndex for Vectors {
    fn coverage(&self) -> &Coverage {
        &self.indexed.coverage
    }

    fn knows(&self, admitted: &Admitted) -> bool {
        self.indexed.knows(admitted)
    }

    fn metric(&self) -> Metric {
        self.metric
    }

    async fn has_more_than(&self, rows: u64, admitted: Admitted) -> Result<bool, TableError> {
        let (this, runtime) = (self.clone(), self.indexed.runtime.clone());
        let counting = async move { this.indexed.has_more_than(rows, &admitted).await };
        joined(AbortOnDropHandle::new(runtime.spawn(counting)).await)
    }

    async fn nearest(
        &self,
        query: Vec<f32>,
        k: usize,
        effort: Effort,
        admitted: Admitted,
    ) -> Result<Vec<Candidate>, TableError> {
        let (this, runtime) = (self.clone(), self.indexed.runtime.clone());
        joined(AbortOnDropHandle::new(runtime.spawn(this.search(query, k, effort, admitted))).await)
    }
}
