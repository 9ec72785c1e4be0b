//! One segment of an index, built beside commits and readers; nothing is committed.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, cast::AsArray as _};
use arrow_schema::DataType as ArrowType;
use futures::TryStreamExt as _;
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

use super::progress::Progress;
use crate::model::Offset;
use crate::schema::{IndexSpec, IndexType, NGRAM_MAX, NGRAM_MIN};
use crate::table::TableError;
use crate::table::lance::error::foreign;
use crate::table::lance::offsets::Placed;
use crate::table::lance::read::part;

/// A product quantizer of 8 bits is trained on at least so many vectors.
const QUANTIZER_ROWS: usize = 256;
/// How many vectors for each of its centroids a quantizer is trained on, and in how many rounds. More takes many times as long
/// and finds next to nothing more: what is found is refined by the vectors themselves.
const QUANTIZER_SAMPLE: usize = 64;
const QUANTIZER_ROUNDS: usize = 20;
/// How many rows a cell with a graph has on average, at most: a graph is built in one go, which nothing can stop. Cells differ, so
/// that this is half of what is bearable.
const GRAPH_ROWS: u64 = 100_000;
/// How much memory the build of an inverted index takes, in MiB.
const TEXT_MEMORY_MIB: u64 = 256;
/// The dimensions that one code of a product quantizer stands for, unless it is said otherwise.
const DIMENSIONS_A_CODE: usize = 4;

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

/// Builds a segment; none where its rows have nothing that could be indexed.
pub(super) async fn segment(order: Order) -> Result<Option<Built>, TableError> {
    let Order { mut dataset, uuid, name, column, spec, over, hollow, progress } = order;
    let mut makeshift = false;
    if spec.kind.is_vector() {
        let past: Vec<Placed> = over.iter().filter(|placed| placed.next > hollow).copied().collect();
        let vectors = count_vectors(&dataset, &column, &past, QUANTIZER_ROWS).await?;
        if vectors == 0 {
            return Ok(None);
        }
        makeshift = spec.kind == IndexType::IvfPq && vectors < QUANTIZER_ROWS;
    }
    let rows = over.iter().map(Placed::rows).sum();
    let (kind, params) = prepared(&spec, &column, rows, makeshift)?;
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
        return Ok(Some(Built { segment, step: None, makeshift }));
    }
    // What is written of some fragments' text is parts for a later merge, also where these are all.
    let merged = dataset.merge_existing_index_segments(vec![segment.clone()]).await?;
    Ok(Some(Built { segment: merged, step: Some(segment), makeshift }))
}

/// Whether the number of a segment over some fragments can be said; Lance keeps it to itself for the others.
const fn takes_uuid(kind: IndexType) -> bool {
    !matches!(kind, IndexType::BTree | IndexType::LabelList)
}

/// How many rows of fragments have a vector, as far as `enough`.
async fn count_vectors(
    dataset: &Dataset,
    column: &Column,
    over: &[Placed],
    enough: usize,
) -> Result<usize, TableError> {
    let schema = dataset.schema().project_by_ids(&[column.field], true);
    let mut found = 0;
    for placed in over {
        let batches = part(dataset, &schema, *placed, 0, placed.rows()).await?;
        futures::pin_mut!(batches);
        while let Some(batch) = batches.try_next().await? {
            let values = leaf(&batch, &column.names).ok_or_else(|| foreign("a column was not read"))?;
            found += values.len() - values.null_count();
            if found >= enough {
                return Ok(found);
            }
        }
    }
    Ok(found)
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

fn prepared(
    spec: &IndexSpec,
    column: &Column,
    rows: u64,
    makeshift: bool,
) -> Result<(LanceType, Box<dyn LanceParams>), TableError> {
    let scalar = |kind, builtin: BuiltinIndexType| -> (LanceType, Box<dyn LanceParams>) {
        (kind, Box::new(ScalarIndexParams::for_builtin(builtin)))
    };
    Ok(match spec.kind {
        IndexType::BTree => scalar(LanceType::BTree, BuiltinIndexType::BTree),
        IndexType::Bitmap => scalar(LanceType::Bitmap, BuiltinIndexType::Bitmap),
        IndexType::LabelList => scalar(LanceType::LabelList, BuiltinIndexType::LabelList),
        IndexType::Inverted => (LanceType::Inverted, Box::new(text_params(spec))),
        IndexType::IvfFlat => (LanceType::IvfFlat, Box::new(vector_params(spec, column, rows, false)?)),
        IndexType::IvfPq if makeshift => (LanceType::IvfFlat, Box::new(vector_params(spec, column, rows, true)?)),
        IndexType::IvfPq => (LanceType::IvfPq, Box::new(vector_params(spec, column, rows, false)?)),
        IndexType::IvfHnswSq => (LanceType::IvfHnswSq, Box::new(vector_params(spec, column, rows, false)?)),
    })
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
    rows: u64,
    makeshift: bool,
) -> Result<VectorIndexParams, TableError> {
    let params = &spec.params;
    let metric = metric(spec);
    let ArrowType::FixedSizeList(_, dim) = &column.data_type else { return Err(foreign("a column holds no vectors")) };
    let dim = usize::try_from(*dim).unwrap_or_default();
    // What is not said goes by the number of rows: Lance knows how large a cell of each kind is best.
    let ivf = IvfBuildParams { num_partitions: partitions(spec, rows), ..IvfBuildParams::default() };
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
            VectorIndexParams::with_ivf_hnsw_sq_params(metric, ivf, hnsw, SQBuildParams::default())
        }
        _ => VectorIndexParams::with_ivf_flat_params(metric, ivf),
    })
}

/// How many cells there are, where that is not left to Lance.
fn partitions(spec: &IndexSpec, rows: u64) -> Option<usize> {
    let asked = spec.params.integer("num_partitions");
    let least = match spec.kind {
        IndexType::IvfHnswSq => usize::try_from(rows.div_ceil(GRAPH_ROWS)).unwrap_or(usize::MAX),
        _ => 0,
    };
    if least > 1 { Some(asked.unwrap_or(0).max(least)) } else { asked }
}

/// How many codes stand for a vector: one for each few dimensions, as evenly as these can be cut; of four bits, whole bytes of
/// them.
fn codes(dim: usize, bits: usize) -> usize {
    let step = if bits == 4 { 2 } else { 1 };
    let wanted = (dim / DIMENSIONS_A_CODE).max(step);
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
    fn no_graph_is_over_more_rows_than_can_be_waited_for() {
        let spec = |kind, params: serde_json::Value| IndexSpec::new(kind, params.as_object().unwrap().clone()).unwrap();
        let graph = |params| spec(IndexType::IvfHnswSq, params);
        assert_eq!(partitions(&graph(json!({})), 100_000), None);
        assert_eq!(partitions(&graph(json!({})), 5_000_001), Some(51));
        assert_eq!(partitions(&graph(json!({"num_partitions": 1})), 5_000_000), Some(50));
        assert_eq!(partitions(&graph(json!({"num_partitions": 99})), 5_000_000), Some(99));
        assert_eq!(partitions(&spec(IndexType::IvfFlat, json!({"num_partitions": 1})), 5_000_000), Some(1));
    }

    #[test]
    fn codes_cut_dimensions_evenly() {
        for (dim, expected) in [(128, 32), (768, 192), (1, 1), (3, 1), (8, 2), (7, 1), (10, 2), (1_536, 384)] {
            assert_eq!(codes(dim, 8), expected, "{dim}");
        }
        for (dim, expected) in [(128, 32), (100, 20), (2, 2), (6, 2), (10, 2), (1_536, 384)] {
            assert_eq!(codes(dim, 4), expected, "{dim}, of four bits");
        }
    }
}
