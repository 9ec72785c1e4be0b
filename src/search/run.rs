//! One search from its cut to its hits.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use crate::codec::{ColumnSet, FieldSelection};
use crate::filter::{BoundFilter, FilterError};
use crate::model::{ErrorCode, Offset, Problem};
use crate::schema::{Columns, FieldPath};
use crate::search::columns::vector_column;
use crate::search::fuse::{DEPTH_MIN, Fused, fuse};
use crate::search::hits::{Found, fetch};
use crate::search::scan::{Scan, failed_in};
use crate::search::top::Ranked;
use crate::search::vector::{Nearest, Neighbours};
use crate::search::{Metric, SearchRequest, VectorAsk, bad};
use crate::table::search::{Admitted, Candidate, Coverage};
use crate::topic::{Bounds, Topic, View, columns_changed};

/// How often a search is tried whose records expire or whose columns are changed under it.
const TRIES_MAX: usize = 5;

/// What a search sees.
pub(super) struct Cut {
    pub(super) topic: Arc<Topic>,
    pub(super) view: View,
    pub(super) columns: Columns,
    pub(super) bounds: Bounds,
    filter: Option<Arc<BoundFilter>>,
    pub(super) served: Arc<Served>,
}

/// What a search and who asked for it tell each other.
#[derive(Debug, Default)]
pub(super) struct Served {
    lacks_index: AtomicBool,
    is_left: AtomicBool,
}

/// Who waits for a search, until it is dropped.
#[derive(Debug)]
pub(super) struct Asker(pub(super) Arc<Served>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Served {
    /// A column has no index that could be used.
    pub(super) fn lacks_index(&self) {
        self.lacks_index.store(true, Ordering::Relaxed);
    }

    /// Nobody waits for it any more.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for it any more: what takes long without letting others run looks at this on its way.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }

    /// What to do about a search that takes too long.
    pub(super) fn advice(&self) -> &'static str {
        if self.lacks_index.load(Ordering::Relaxed) {
            "narrow it, or make an index for its column"
        } else {
            "ask for fewer hits, or narrow it"
        }
    }
}

/// A ranking, and what was done for it.
pub(super) struct Ranking {
    pub(super) ranked: Vec<Ranked>,
    pub(super) indexed_through: Offset,
    pub(super) rows_scanned: u64,
    pub(super) index: Option<String>,
}

pub(super) async fn search(topic: &Arc<Topic>, ask: &SearchRequest, served: &Arc<Served>) -> Result<Found, Problem> {
    let found = until_steady(topic, ask, served).await;
    // Whatever the reader stumbled over in a topic that is being deleted.
    found.map_err(
        |problem| if problem.code == ErrorCode::InvalidParameter { problem } else { topic.gone().unwrap_or(problem) },
    )
}

async fn until_steady(topic: &Arc<Topic>, ask: &SearchRequest, served: &Arc<Served>) -> Result<Found, Problem> {
    let mut tries = 1;
    loop {
        let cut = Cut::of(topic, ask, served).await?;
        let outcome = once(&cut, ask).await;
        // Whatever has come of it: what was dropped under the reader was read as nothing.
        let has_moved = topic.has_moved_on(&cut.view, &cut.columns);
        let has_expired = matches!(&outcome, Err(problem) if problem.code == ErrorCode::OffsetExpired);
        match (has_moved, has_expired) {
            (false, false) => return outcome,
            _ if tries < TRIES_MAX => tries += 1,
            (true, _) => return Err(columns_changed()),
            (false, true) => return outcome.map_err(Problem::worth_asking_again),
        }
    }
}

async fn once(cut: &Cut, ask: &SearchRequest) -> Result<Found, Problem> {
    let depth = if ask.vector.is_some() && ask.text.is_some() { ask.k.max(DEPTH_MIN) } else { ask.k };
    let by_vector = match &ask.vector {
        Some(ask) => Some(cut.nearest(ask, depth).await?),
        None => None,
    };
    let by_text = match &ask.text {
        Some(ask) => Some(cut.matching(ask, depth).await?),
        None => None,
    };
    let hits: Vec<Fused> = match (&by_vector, &by_text) {
        (Some(by_vector), Some(by_text)) => fuse(ask.k, &by_vector.ranked, &by_text.ranked),
        (Some(one), None) => one.ranked.iter().map(|hit| found_by(hit, true)).collect(),
        (None, Some(one)) => one.ranked.iter().map(|hit| found_by(hit, false)).collect(),
        (None, None) => Vec::new(),
    };
    let hits = fetch(&cut.topic, &cut.view, &hits, ask.fields.as_ref()).await?;
    let done = || by_vector.iter().chain(&by_text);
    let names: Vec<&str> = done().filter_map(|ranking| ranking.index.as_deref()).collect();
    Ok(Found {
        hits,
        indexed_through: done().map(|ranking| ranking.indexed_through).min().unwrap_or(cut.bounds.earliest),
        rows_scanned: done().map(|ranking| ranking.rows_scanned).sum(),
        index: (!names.is_empty()).then(|| names.join(",")),
    })
}

fn found_by(hit: &Ranked, is_distance: bool) -> Fused {
    Fused {
        offset: hit.offset,
        distance: is_distance.then_some(hit.key),
        score: (!is_distance).then_some(-hit.key),
        relevance: None,
    }
}

impl Cut {
    async fn of(topic: &Arc<Topic>, ask: &SearchRequest, served: &Arc<Served>) -> Result<Self, Problem> {
        let view = topic.view(ask.at.as_ref()).await?;
        // The end first: whatever lies before it was written under these columns or earlier ones.
        let bounds = topic.bounds(&view);
        let columns = topic.columns_in(&view)?;
        let filter = ask
            .filter
            .as_ref()
            .map(|filter| filter.bind_under(&columns))
            .transpose()
            .map_err(refused_filter)?
            .map(Arc::new);
        Ok(Self { topic: Arc::clone(topic), view, columns, bounds, filter, served: Arc::clone(served) })
    }

    /// A scan of some columns.
    pub(super) fn scan(&self, paths: &[FieldPath]) -> Scan {
        let of_filter = self.filter.iter().flat_map(|filter| filter.columns());
        let paths: Vec<FieldPath> = paths.iter().chain(of_filter).cloned().collect();
        let fields = FieldSelection::of(&paths);
        Scan {
            topic: Arc::clone(&self.topic),
            view: self.view.clone(),
            set: ColumnSet::new(&self.columns, Some(&fields)),
            filter: self.filter.clone(),
            runtime: Handle::current(),
        }
    }

    /// What an index has not of what is searched.
    pub(super) fn rest(&self, coverage: &Coverage) -> Vec<Range<Offset>> {
        let Bounds { earliest, tail } = self.bounds;
        let behind = coverage.next..tail;
        let ranges = coverage.uncovered.iter().chain([&behind]);
        let clipped = ranges.map(|range| range.start.max(earliest)..range.end.min(tail));
        clipped.filter(|range| range.start < range.end).collect()
    }

    /// What an index has found of what is searched.
    pub(super) fn within(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let Bounds { earliest, tail } = self.bounds;
        candidates.into_iter().filter(|found| (earliest..tail).contains(&found.offset)).collect()
    }

    /// Which rows an index may answer with.
    pub(super) fn admitted(&self) -> Admitted {
        Admitted { from: Some(self.bounds.earliest), filter: self.filter.clone() }
    }

    async fn nearest(&self, ask: &VectorAsk, k: usize) -> Result<Ranking, Problem> {
        let column = vector_column(&self.columns.schema, &ask.column)?;
        // The query is looked at before anything is opened.
        let asked = ask.metric.unwrap_or(Metric::L2);
        let neighbours = Neighbours::new(ask, column, asked)?;
        let index = self.topic.vector_index_in(&self.view, &self.columns, &ask.column, ask.metric).await?;
        let Some(index) = index else {
            self.served.lacks_index();
            return self.nearest_of_all(neighbours, k).await;
        };
        let neighbours = Neighbours::new(ask, neighbours.column, index.metric())?;
        if !index.knows(&self.admitted()) {
            return self.nearest_of_all(neighbours, k).await;
        }
        let coverage = index.coverage();
        let ranges = self.rest(coverage);
        let rows_scanned = rows(&ranges);
        let scan = self.scan(std::slice::from_ref(&neighbours.column.path));
        let looking = index.nearest(neighbours.query.as_f32(), k, ask.effort, self.admitted());
        let looking =
            async { looking.await.map_err(|error| failed_in(&self.topic, "an index cannot be searched", &error)) };
        let (candidates, parts) = tokio::try_join!(looking, scan.run(&ranges, || Nearest::new(neighbours.clone(), k)))?;
        let mut candidates = self.within(candidates);
        candidates.retain(|found| found.measure.is_finite());
        if candidates.len() < k && ask.effort.nprobes.is_none() {
            let has_more = index.has_more_than(candidates.len() as u64, self.admitted()).await;
            if has_more.map_err(|error| failed_in(&self.topic, "the rows of an index cannot be counted", &error))? {
                return self.nearest_of_all(neighbours, k).await;
            }
        }
        let candidates = candidates.into_iter().map(|found| Ranked::new(found.measure, found.offset.get())).collect();
        Ok(Ranking {
            ranked: Nearest::ranking(k, parts, candidates),
            indexed_through: coverage.through(self.bounds.earliest),
            rows_scanned,
            index: Some(coverage.name.clone()),
        })
    }

    async fn nearest_of_all(&self, neighbours: Neighbours, k: usize) -> Result<Ranking, Problem> {
        let scan = self.scan(std::slice::from_ref(&neighbours.column.path));
        let parts = scan.run(&[self.all()], || Nearest::new(neighbours.clone(), k)).await?;
        let ranked = Nearest::ranking(k, parts, Vec::new());
        Ok(Ranking { ranked, rows_scanned: rows(&[self.all()]), ..self.unindexed() })
    }

    /// Everything that is searched.
    pub(super) fn all(&self) -> Range<Offset> {
        self.bounds.earliest..self.bounds.tail
    }

    /// A ranking of nothing.
    pub(super) fn unindexed(&self) -> Ranking {
        Ranking { ranked: Vec::new(), indexed_through: self.bounds.earliest, rows_scanned: 0, index: None }
    }
}

/// A filter that was refused.
pub fn refused_filter(error: FilterError) -> Problem {
    let mut problem = bad(error.detail);
    problem.position = Some(error.position);
    if error.allowed.is_empty() { problem } else { problem.allowing(error.allowed) }
}

/// How many rows ranges have.
pub(super) fn rows(ranges: &[Range<Offset>]) -> u64 {
    ranges.iter().map(|range| range.end.since(range.start)).sum()
}
