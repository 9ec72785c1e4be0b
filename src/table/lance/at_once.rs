//! How many rows may be decoded at once.
//!
//! Lance takes a text for 64 bytes until it has decoded some of a read, and texts may be megabytes, however little room they
//! take compressed. What a page holds is bounded, though: a column's values are gathered up to a number of bytes, and then make
//! a page. So rows that lie in two pages of each column at most are not more than what was once gathered for a write.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::DataType;
use lance::dataset::fragment::FileFragment;
use lance_core::datatypes::{Field as LanceField, Schema as LanceSchema};
use lance_io::scheduler::ScanScheduler;

use crate::table::TableError;

/// How many rows are decoded at once, at most.
const ROWS_MAX: u32 = 8_192;

/// How many of some rows of a fragment may be decoded at once in some of its columns; at least one.
pub(super) async fn rows_at_once(
    fragment: &FileFragment,
    projection: &LanceSchema,
    range: &Range<u32>,
    scheduler: &Arc<ScanScheduler>,
) -> Result<u32, TableError> {
    let mut leaves = Vec::new();
    projection.fields.iter().for_each(|field| of_any_size(field, false, &mut leaves));
    let mut rows = ROWS_MAX;
    for file in &fragment.metadata().files {
        let stored = file.fields.iter().zip(file.column_indices.iter()).filter(|(field, _)| leaves.contains(field));
        let columns: Vec<usize> = stored.filter_map(|(_, column)| usize::try_from(*column).ok()).collect();
        if columns.is_empty() {
            continue;
        }
        let path = fragment.dataset().data_dir().join(file.path.as_str());
        let file = scheduler.open_file(&path, &file.file_size_bytes).await?;
        let metadata = fragment.get_file_metadata(&file).await?;
        for column in columns.into_iter().filter_map(|column| metadata.column_infos.get(column)) {
            rows = rows.min(fewest_in_a_page(column.page_infos.iter().map(|page| page.num_rows), range));
        }
    }
    Ok(rows.max(1))
}

/// The fewest rows that a page has which holds some of a range; the last page does not count, as it holds what was left.
fn fewest_in_a_page(mut pages: impl Iterator<Item = u64>, range: &Range<u32>) -> u32 {
    let (mut fewest, mut first) = (u64::MAX, 0);
    let mut next = pages.next();
    while let Some(rows) = next {
        next = pages.next();
        let end = first + rows;
        if next.is_some() && end > u64::from(range.start) && first < u64::from(range.end) {
            fewest = fewest.min(rows);
        }
        first = end;
    }
    u32::try_from(fewest).unwrap_or(u32::MAX)
}

/// The ids of the leaves of which one row may have as much as a record has.
fn of_any_size(field: &LanceField, is_item: bool, found: &mut Vec<i32>) {
    let data_type = field.data_type();
    let is_list = matches!(data_type, DataType::List(_) | DataType::LargeList(_));
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary);
    if field.children.is_empty() && (is_item || is_text) {
        found.push(field.id);
    }
    field.children.iter().for_each(|child| of_any_size(child, is_item || is_list, found));
}

#[cfg(test)]
mod tests {
    use ::lance::Dataset;

    use super::super::read::{part, scheduler};
    use super::super::tests::Bench;
    use super::*;
    use crate::model::Offset;
    use crate::schema::{Columns, Schema};
    use crate::table::Tables as _;
    use crate::table::contract::chunk;
    use futures::TryStreamExt as _;

    #[test]
    fn the_smallest_full_page_of_the_range_counts() {
        let fewest = |range: Range<u32>| fewest_in_a_page([100, 20, 7].into_iter(), &range);
        assert_eq!((fewest(0..100), fewest(0..101), fewest(119..127), fewest(120..127)), (100, 20, 20, u32::MAX));
        assert_eq!(fewest_in_a_page([3].into_iter(), &(0..3)), u32::MAX);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn long_texts_are_decoded_few_at_a_time() {
        let bench = Bench::new();
        let table = bench.tables.open(&bench.place(), Offset::ZERO).await.unwrap();
        let field = |name: &str, word: &str| serde_json::json!({"name": name, "type": word});
        let fields = [field("n", "int64"), field("s", "string")];
        let columns = Columns::plain(Schema::from_json(&serde_json::json!({"fields": fields})).unwrap());
        let long = format!("{{\"n\":1,\"s\":\"{}\"}}", "long ".repeat(200_000));
        let short = "{\"n\":1,\"s\":\"short\"}";
        let records: Vec<&str> = (0..20_060).map(|at| if at < 20_000 { short } else { &long }).collect();
        table.append(&columns, vec![chunk(0, 1, &records)]).await.unwrap();
        let dataset = Dataset::open(bench.place().dataset.to_str().unwrap()).await.unwrap();
        let fragment = dataset.get_fragments().remove(0);
        let ahead = scheduler(&dataset).await.unwrap();
        for (range, within) in [(0..10_000, 8_192..=8_192), (20_030..20_060, 1..=40)] {
            let rows = rows_at_once(&fragment, dataset.schema(), &range, &ahead).await.unwrap();
            assert!(within.contains(&rows), "{rows}");
        }
        let placed = super::super::offsets::Layout::of(dataset.manifest(), Offset::ZERO).unwrap().fragments[0];
        let batches = part(&dataset, dataset.schema(), placed, 20_030, 30).await.unwrap();
        futures::pin_mut!(batches);
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await.unwrap() {
            assert!(batch.get_array_memory_size() < 48 << 20);
            rows += batch.num_rows();
        }
        assert_eq!(rows, 30);
    }
}
