//! One segment of an index, built beside commits and readers; nothing is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::DataType as ArrowType;
use lance::Dataset;
use lance::index::DatasetIndexExt as _;
use lance::index::vector::VectorIndexParams;
use lance_core::datatypes::format_field_path;
use lance_index::scalar::{BuiltinIndexType, ScalarIndexParams};
use lance_index::vector::hnsw::builder::HnswBuildParams;
use lance_index::vector::ivf::IvfBuildParams;
use lance_index::vector::pq::PQBuildParams;
use lance_index::vector::sq::builder::SQBuildParams;
use lance_index::{IndexParams as LanceParams, IndexType as LanceType};
use lance_linalg::distance::DistanceType;
use lance_table::format::IndexMetadata;
use serde_json::json;
use uuid::Uuid;

use super::cells::{Cells, bytes_sample};
use super::progress::Progress;
use super::vectors::{self, Seen};
use crate::model::Offset;
use crate::schema::{IndexSpec, IndexType, NGRAM_MAX, NGRAM_MIN};
use crate::table::TableError;
use crate::table::lance::error::foreign;
use crate::table::lance::offsets::Placed;

/// A product quantizer of 8 bits is trained on at least so many vectors.
const QUANTIZER_ROWS: usize = 256;
/// How many vectors for each of its centroids a quantizer is trained on, and in how many rounds. More takes many times as long
/// and finds next to nothing more: what is found is refined by the vectors themselves.
const QUANTIZER_SAMPLE: usize = 64;
const QUANTIZER_ROUNDS: usize = 20;
/// How much memory the build of an inverted index takes, in MiB.
const TEXT_MEMORY_MIB: u64 = 256;
/// The dimensions that one code of a product quantizer stands for, unless it is said otherwise.
const DIMENSIONS_A_CODE: usize = 8;
/// As many codes at least where each has so many dimensions: few codes tell near vectors apart too badly.
const CODES_MIN: usize = 16;
const DIMENSIONS_A_CODE_MIN: usize = 4;

/// A column of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    /// The number of its field.
    pub(super) field: i32,
    /// The names that lead to it.
    pub(super) names: Vec<String>,
    pub(super) data_type: ArrowType,
}

/// A segment that is built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) segment: IndexMetadata,
    /// A step on the way to it, whose files are not needed any more.
    pub(super) step: Option<IndexMetadata>,
    /// Whether it stands in for what could not be made of so few rows.
    pub(super) makeshift: bool,
    /// How many rows it was made of.
    pub(super) rows: u64,
}

/// What came of a build.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The segment; none where its rows have nothing that could be indexed.
    pub(super) built: Option<Built>,
    /// Fragments that were left out, as no index of the kind can have them.
    pub(super) unfit: BTreeSet<u64>,
}

/// A segment that is to be built.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) dataset: Dataset,
    /// The number of the segment, or of the step on the way to it, where Lance lets us say so ([`takes_uuid`]).
    pub(super) uuid: Uuid,
    /// The name that the dataset has the index under.
    pub(super) name: String,
    pub(super) column: Column,
    pub(super) spec: IndexSpec,
    /// The fragments whose rows it is of.
    pub(super) over: Vec<Placed>,
    /// Rows before it have nothing that could be indexed.
    pub(super) hollow: Offset,
    pub(super) progress: Arc<Progress>,
}

/// Builds a segment.
pub(super) async fn segment(order: Order) -> Result<Outcome, TableError> {
    let Order { mut dataset, uuid, name, column, spec, mut over, hollow, progress } = order;
    let mut seen = Seen::default();
    if spec.kind.is_vector() {
        let past: Vec<Placed> = over.iter().filter(|placed| placed.next > hollow).copied().collect();
        seen = vectors::look(&dataset, &column, &past, metric(&spec)).await?;
        over.retain(|placed| !seen.unfit.contains(&placed.id));
        if seen.vectors == 0 {
            return Ok(Outcome { built: None, unfit: seen.unfit });
        }
    }
    let Seen { vectors, unfit } = seen;
    let makeshift = spec.kind == IndexType::IvfPq && vectors < QUANTIZER_ROWS;
    let rows = over.iter().map(Placed::rows).sum();
    let (kind, params) = prepared(&spec, &column, (rows, vectors), makeshift)?;
    let names: Vec<&str> = column.names.iter().map(String::as_str).collect();
    let path = format_field_path(&names);
    let ids = over.iter().map(|placed| u32::try_from(placed.id)).collect::<Result<Vec<u32>, _>>();
    let ids = ids.map_err(|_| foreign("a fragment's number is too large"))?;
    let columns = [path.as_str()];
    let mut builder = dataset.create_index_builder(&columns, kind, &*params);
    builder = builder.name(name).replace(true).fragments(ids).progress(progress);
    if takes_uuid(spec.kind) {
        builder = builder.index_uuid(uuid);
    }
    let segment = builder.execute_uncommitted().await?;
    if spec.kind != IndexType::Inverted {
        return Ok(Outcome { built: Some(Built { segment, step: None, makeshift, rows }), unfit });
    }
    // What is written of some fragments' text is parts for a later merge, also where these are all.
    let merged = dataset.merge_existing_index_segments(vec![segment.clone()]).await?;
    Ok(Outcome { built: Some(Built { segment: merged, step: Some(segment), makeshift, rows }), unfit })
}

/// Whether the number of a segment over some fragments can be said; Lance keeps it to itself for the others.
const fn takes_uuid(kind: IndexType) -> bool {
    !matches!(kind, IndexType::BTree | IndexType::LabelList)
}

/// How Lance is to build it, of so many rows with so many vectors.
fn prepared(
    spec: &IndexSpec,
    column: &Column,
    counts: (u64, usize),
    makeshift: bool,
) -> Result<(LanceType, Box<dyn LanceParams>), TableError> {
    let scalar = |kind, builtin: BuiltinIndexType| -> (LanceType, Box<dyn LanceParams>) {
        (kind, Box::new(ScalarIndexParams::for_builtin(builtin)))
    };
    let kind = match spec.kind {
        IndexType::BTree => return Ok(scalar(LanceType::BTree, BuiltinIndexType::BTree)),
        IndexType::Bitmap => return Ok(scalar(LanceType::Bitmap, BuiltinIndexType::Bitmap)),
        IndexType::LabelList => return Ok(scalar(LanceType::LabelList, BuiltinIndexType::LabelList)),
        IndexType::Inverted => return Ok((LanceType::Inverted, Box::new(text_params(spec)))),
        IndexType::IvfPq if !makeshift => LanceType::IvfPq,
        IndexType::IvfFlat | IndexType::IvfPq => LanceType::IvfFlat,
        IndexType::IvfHnswSq => LanceType::IvfHnswSq,
    };
    Ok((kind, Box::new(vector_params(spec, column, counts, makeshift)?)))
}

/// The measure of distance that an index is for.
fn metric(spec: &IndexSpec) -> DistanceType {
    match spec.params.word("metric") {
        Some("cosine") => DistanceType::Cosine,
        Some("dot") => DistanceType::Dot,
        _ => DistanceType::L2,
    }
}

fn vector_params(
    spec: &IndexSpec,
    column: &Column,
    (rows, vectors): (u64, usize),
    makeshift: bool,
) -> Result<VectorIndexParams, TableError> {
    let params = &spec.params;
    let metric = metric(spec);
    let ArrowType::FixedSizeList(item, dim) = &column.data_type else {
        return Err(foreign("a column holds no vectors"));
    };
    let dim = usize::try_from(*dim).unwrap_or_default();
    let vector_bytes = dim * item.data_type().primitive_width().unwrap_or(size_of::<f64>());
    let Cells { count, sample } = Cells::of(spec, makeshift, rows, vectors, vector_bytes);
    let ivf = IvfBuildParams { num_partitions: Some(count), sample_rate: sample, ..IvfBuildParams::default() };
    Ok(match spec.kind {
        IndexType::IvfPq if !makeshift => {
            let num_bits = params.integer("num_bits").unwrap_or(8);
            let num_sub_vectors = params.integer("num_sub_vectors").unwrap_or_else(|| codes(dim, num_bits));
            let pq = PQBuildParams {
                num_sub_vectors,
                num_bits,
                sample_rate: QUANTIZER_SAMPLE,
                max_iters: QUANTIZER_ROUNDS,
                ..PQBuildParams::default()
            };
            VectorIndexParams::with_ivf_pq_params(metric, ivf, pq)
        }
        IndexType::IvfHnswSq => {
            let usual = HnswBuildParams::default();
            let m = params.integer("m").unwrap_or(usual.m);
            let ef_construction = params.integer("ef_construction").unwrap_or(usual.ef_construction);
            let hnsw = HnswBuildParams { m, ef_construction, ..usual };
            let sq = SQBuildParams { sample_rate: bytes_sample(vector_bytes), ..SQBuildParams::default() };
            VectorIndexParams::with_ivf_hnsw_sq_params(metric, ivf, hnsw, sq)
        }
        _ => VectorIndexParams::with_ivf_flat_params(metric, ivf),
    })
}

/// How many codes stand for a vector: one for each few dimensions, as evenly as these can be cut; of four bits, whole bytes of
/// them.
fn codes(dim: usize, bits: usize) -> usize {
    let step = if bits == 4 { 2 } else { 1 };
    let fewest = CODES_MIN.min(dim / DIMENSIONS_A_CODE_MIN);
    let wanted = (dim / DIMENSIONS_A_CODE).max(fewest).max(step);
    (1..=wanted).rev().find(|codes| dim.is_multiple_of(*codes) && codes.is_multiple_of(step)).unwrap_or(step)
}

fn text_params(spec: &IndexSpec) -> ScalarIndexParams {
    let params = &spec.params;
    let truth = |name: &str, usual: bool| params.truth(name).unwrap_or(usual);
    let min_ngram = params.integer("min_ngram_length").unwrap_or(NGRAM_MIN);
    let json = json!({
        "base_tokenizer": params.word("base_tokenizer").unwrap_or("simple"),
        "language": params.word("language").unwrap_or("English"),
        "with_position": truth("with_position", true),
        "lower_case": truth("lower_case", true),
        "stem": truth("stem", false),
        "remove_stop_words": truth("remove_stop_words", false),
        "ascii_folding": truth("ascii_folding", false),
        "max_token_length": params.integer("max_token_length"),
        "min_ngram_length": min_ngram,
        "max_ngram_length": params.integer("max_ngram_length").unwrap_or(NGRAM_MAX.max(min_ngram)),
        "memory_limit": TEXT_MEMORY_MIB,
        "num_workers": 1,
    });
    ScalarIndexParams::for_builtin(BuiltinIndexType::Inverted).with_params(&json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_cut_dimensions_evenly() {
        for (dim, expected) in
            [(128, 16), (768, 96), (1, 1), (3, 1), (8, 2), (7, 1), (10, 2), (64, 16), (96, 16), (1_536, 192)]
        {
            assert_eq!(codes(dim, 8), expected, "{dim}");
        }
        for (dim, expected) in [(128, 16), (100, 10), (2, 2), (6, 2), (10, 2), (1_536, 192)] {
            assert_eq!(codes(dim, 4), expected, "{dim}, of four bits");
        }
    }
}
