//! The records that were found.

use std::sync::Arc;

use crate::codec::{Chunk, FieldSelection};
use crate::model::{Offset, Problem};
use crate::search::bad;
use crate::search::few::Groups;
use crate::search::fuse::Fused;
use crate::search::scan::failed_in;
use crate::topic::{Topic, View};

/// The most text that the hits of one search have.
const HITS_BYTES_MAX: usize = 64 << 20;

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// Every record before it lies in the index; the earliest offset where none was used.
    pub indexed_through: Offset,
    /// How many records were looked at one by one.
    pub rows_scanned: u64,
    /// The index that was used.
    pub index: Option<String>,
}

/// One hit.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The record alone.
    pub record: Chunk,
    /// How far its vector is.
    pub distance: Option<f32>,
    /// How well its text fits.
    pub score: Option<f32>,
    /// What it was ranked by where both were asked for.
    pub relevance: Option<f32>,
}

/// Fetches the records of a ranking.
pub(super) async fn fetch(
    topic: &Arc<Topic>,
    view: &View,
    ranking: &[Fused],
    fields: Option<&FieldSelection>,
) -> Result<Vec<Hit>, Problem> {
    let mut offsets: Vec<u64> = ranking.iter().map(|fused| fused.offset).collect();
    offsets.sort_unstable();
    let offsets: Vec<Offset> = offsets.into_iter().filter_map(Offset::new).collect();
    let mut records: Vec<Chunk> = Vec::with_capacity(offsets.len());
    let mut bytes = 0;
    let mut groups = Groups::new(&offsets);
    while let Some(some) = groups.next() {
        let mut taken = 0;
        for record in topic.take_in(view, some, fields).await? {
            taken += record.values().bytes();
            let record = match fields {
                Some(fields) => fields.apply(&record),
                None => record.compacted(),
            };
            bytes += record.values().bytes();
            records.push(record);
        }
        groups.had(taken);
        if bytes > HITS_BYTES_MAX {
            let detail =
                format!("The hits have more than {HITS_BYTES_MAX} bytes; ask for fewer of them or for fewer fields.");
            return Err(bad(detail).with_limit(HITS_BYTES_MAX as u64));
        }
    }
    let hit = |fused: &Fused| {
        let at = records.binary_search_by_key(&fused.offset, |record| record.first().get());
        let record = at.ok().and_then(|at| records.get(at)).cloned();
        let record = record.ok_or_else(|| failed_in(topic, "a record that was found is not there", &fused.offset))?;
        Ok(Hit { record, distance: fused.distance, score: fused.score, relevance: fused.relevance })
    };
    ranking.iter().map(hit).collect()
}
