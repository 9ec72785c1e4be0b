//! Words in text columns, from indexes and from the texts themselves.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;

use crate::codec::columns::{OFFSET_COLUMN, batch_bytes};
use crate::model::{Offset, Problem};
use crate::schema::FieldPath;
use crate::search::TextAsk;
use crate::search::columns::text_columns;
use crate::search::few::Groups;
use crate::search::run::{Cut, Ranking, rows};
use crate::search::scan::{failed, failed_in, fold_in_slices};
use crate::search::text::{Analyzer, Corpus, Reading, Room, Scale, Searched};
use crate::search::top::{Ranked, Top};
use crate::table::TableError;
use crate::table::search::{FoundTextIndex, TextIndex};
use crate::topic::Topic;

/// How many more candidates than hits an index is asked for: its own ranking knows the rows that it has, not all.
const CANDIDATES_MORE: usize = 50;
/// What is kept of records that match, for each task at a time, before their statistics are known. Past it they are read a
/// second time.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Columns that are cut alike and of which the same records' texts are read.
struct Group {
    /// How they are cut, as Lance says it; none for the usual way.
    parameters: Option<String>,
    searched: Searched,
    /// The records whose texts are read, whatever they have: those that no index knows.
    ranges: Vec<Range<Offset>>,
    columns: Vec<Column>,
}

struct Column {
    path: FieldPath,
    /// What knows the others.
    index: FoundTextIndex,
}

/// The best records of several rankings, each by its best rank.
struct Best {
    k: usize,
    ranked: HashMap<u64, Ranked>,
}

impl Best {
    fn add(&mut self, ranking: Vec<Ranked>) {
        for ranked in ranking {
            let known = self.ranked.entry(ranked.offset).or_insert(ranked);
            *known = (*known).min(ranked);
        }
        if self.ranked.len() > self.k {
            let kept = std::mem::take(&mut self.ranked);
            let kept = best_of(self.k, kept.into_values());
            self.ranked = kept.into_iter().map(|ranked| (ranked.offset, ranked)).collect();
        }
    }
}

fn best_of(k: usize, ranked: impl Iterator<Item = Ranked>) -> Vec<Ranked> {
    let mut top = Top::new(k);
    top.merge(ranked);
    top.into_ranking()
}

fn unsearchable(topic: &Topic, error: &TableError) -> Problem {
    failed_in(topic, "a text index cannot be searched", error)
}

impl Cut {
    /// The records whose texts fit best, each by its best column.
    pub(super) async fn matching(&self, ask: &TextAsk, k: usize) -> Result<Ranking, Problem> {
        let mut groups: Vec<Group> = Vec::new();
        let mut through = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for path in text_columns(&self.columns.schema, &ask.columns)? {
            let index = self.topic.text_index_in(&self.view, &self.columns, &path).await?;
            if index.is_none() {
                self.served.lacks_index();
            }
            let parameters = index.as_ref().map(|index| index.parameters().to_owned());
            let searched = match groups.iter().find(|group| group.parameters == parameters) {
                Some(group) => group.searched.clone(),
                None => {
                    let analyzer = parameters.as_deref().map_or_else(Analyzer::standard, Analyzer::of)?;
                    Searched::new(&ask.query, analyzer)?
                }
            };
            let index = index.filter(|index| self.is_of_use(&**index, &searched));
            let ranges = match &index {
                Some(index) => {
                    let coverage = index.coverage();
                    through.push(coverage.through(self.bounds.earliest));
                    if !names.contains(&coverage.name) {
                        names.push(coverage.name.clone());
                    }
                    self.rest(coverage)
                }
                None => vec![self.all()],
            };
            if searched.bound.is_empty() {
                continue;
            }
            if index.is_none() {
                through.push(self.bounds.earliest);
            }
            let column = Column { path, index };
            let is_alike = |group: &&mut Group| group.parameters == parameters && group.ranges == ranges;
            match groups.iter_mut().find(is_alike) {
                Some(group) => group.columns.push(column),
                None => groups.push(Group { parameters, searched, ranges, columns: vec![column] }),
            }
        }
        let mut best = Best { k, ranked: HashMap::new() };
        for group in &groups {
            self.rank(group, &mut best).await?;
        }
        Ok(Ranking {
            ranked: best_of(k, best.ranked.into_values()),
            indexed_through: through.into_iter().min().unwrap_or(self.bounds.earliest),
            rows_scanned: groups.iter().map(|group| rows(&group.ranges)).sum(),
            index: (!names.is_empty()).then(|| names.join(",")),
        })
    }

    /// Whether an index can name the records that a query finds.
    fn is_of_use(&self, index: &dyn TextIndex, searched: &Searched) -> bool {
        let lookup = searched.bound.lookup.as_ref();
        lookup.is_some_and(|lookup| index.has_places() || !lookup.has_phrase()) && index.knows(&self.admitted())
    }

    /// Ranks the records of a group. Every score is made of the text itself and what is counted of all texts: the indexes count
    /// what they have and name candidates; the other texts are read.
    async fn rank(&self, group: &Group, best: &mut Best) -> Result<(), Problem> {
        let (searched, k) = (&group.searched, best.k);
        let paths: Arc<[FieldPath]> = group.columns.iter().map(|column| column.path.clone()).collect();
        let scan = self.scan(&paths);
        let room = Arc::new(Room::new(KEPT_BYTES_MAX.saturating_mul(scan.workers())));
        let first = || Reading::keeping(searched, Arc::clone(&paths), &self.served, Arc::clone(&room));
        let mut readings = scan.run(&group.ranges, first).await?;
        let mut counted = Vec::with_capacity(paths.len());
        for column in &group.columns {
            counted.push(counted_by(&self.topic, column, searched).await?);
        }
        for reading in &readings {
            counted.iter_mut().zip(reading.counted()).for_each(|(all, some)| all.add(some));
        }
        let scales: Arc<[Scale]> = counted.iter().map(Corpus::scale).collect();
        if room.is_over() {
            drop(readings);
            let again = || Reading::ranking(searched, Arc::clone(&paths), &self.served, Arc::clone(&scales), k);
            readings = scan.run(&group.ranges, again).await?;
        }
        best.add(Reading::best(readings, &scales, k));
        for (column, scale) in group.columns.iter().zip(&*scales) {
            best.add(self.of_index(column, searched, scale, k).await?);
        }
        Ok(())
    }

    /// The ranking of the records that a column's index names.
    async fn of_index(
        &self,
        column: &Column,
        searched: &Searched,
        scale: &Scale,
        k: usize,
    ) -> Result<Vec<Ranked>, Problem> {
        let Some((index, lookup)) = column.index.as_ref().zip(searched.bound.lookup.clone()) else {
            return Ok(Vec::new());
        };
        let wanted = k.saturating_mul(2).saturating_add(CANDIDATES_MORE);
        let candidates = index.matching(lookup, wanted, self.admitted()).await;
        let candidates = candidates.map_err(|error| unsearchable(&self.topic, &error))?;
        let mut offsets: Vec<Offset> = self.within(candidates).into_iter().map(|found| found.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let scales: Arc<[Scale]> = Arc::from([scale.clone()]);
        let paths: Arc<[FieldPath]> = Arc::from([column.path.clone()]);
        let scan = self.scan(&paths);
        let mut reading = Reading::ranking(searched, paths, &self.served, Arc::clone(&scales), k);
        let mut groups = Groups::new(&offsets);
        while let Some(some) = groups.next() {
            let batch = self.topic.rows_in(&self.view, &self.columns, &scan.set, some).await?;
            let found = batch.column_by_name(OFFSET_COLUMN).and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let found = found.ok_or_else(|| failed("rows have no offsets", &OFFSET_COLUMN))?;
            fold_in_slices(&mut reading, &batch, found.values(), None).await?;
            groups.had(batch_bytes(&batch));
        }
        Ok(Reading::best(vec![reading], &scales, k))
    }
}

/// What a column's index counts of the texts that it has.
async fn counted_by(topic: &Topic, column: &Column, searched: &Searched) -> Result<Corpus, Problem> {
    let Some(index) = &column.index else { return Ok(Corpus::default()) };
    let tokens = searched.bound.terms.iter().map(|term| term.token.clone()).collect();
    let (texts, tokens, having) = index.counted(tokens).await.map_err(|error| unsearchable(topic, &error))?;
    Ok(Corpus { texts, tokens, having })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_rankings_each_record_has_its_best_rank_and_no_more_are_kept_than_wanted() {
        let ranking = |ranks: &[(f32, u64)]| ranks.iter().map(|(key, offset)| Ranked::new(*key, *offset)).collect();
        let mut best = Best { k: 2, ranked: HashMap::new() };
        best.add(ranking(&[(-3.0, 1), (-2.0, 2)]));
        best.add(ranking(&[(-4.0, 2), (-1.0, 3)]));
        best.add(ranking(&[(-3.5, 3), (-0.5, 1)]));
        assert_eq!(best.ranked.len(), 2);
        let ranked = best_of(2, best.ranked.into_values());
        assert_eq!(ranked, [Ranked::new(-4.0, 2), Ranked::new(-3.5, 3)]);
    }
}
