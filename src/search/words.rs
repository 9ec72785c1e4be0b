//! Words in text columns, from indexes and from the texts themselves.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{BooleanArray, RecordBatch};

use crate::codec::columns::OFFSET_COLUMN;
use crate::model::{Offset, Problem};
use crate::schema::FieldPath;
use crate::search::TextAsk;
use crate::search::columns::{column_of, text_columns};
use crate::search::run::{Cut, Ranking, rows};
use crate::search::scan::{Fold, Scan, bytes_of, failed, fold_in_slices};
use crate::search::text::{Analyzer, Bound, Corpus, Reading, ranking};
use crate::search::top::{Ranked, Top};
use crate::table::search::{TextIndex, TextLookup};

/// How many more candidates than hits an index is asked for: its own ranking knows the rows that it has, not all.
const CANDIDATES_MORE: usize = 50;
/// How many candidates' texts are read at first.
const GROUP_AT_FIRST: usize = 32;
/// The most candidates whose texts are read at a time.
const GROUP_MAX: usize = 256;
/// Past so many bytes fewer are read at a time.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// One text column with the query as it cuts text.
struct Searched {
    path: FieldPath,
    analyzer: Analyzer,
    bound: Bound,
}

impl Searched {
    fn new(ask: &TextAsk, path: FieldPath, mut analyzer: Analyzer) -> Result<Self, Problem> {
        let bound = Bound::new(&ask.query, &mut analyzer)?;
        Ok(Self { path, analyzer, bound })
    }

    fn reading(&self) -> Reading {
        Reading::new(self.bound.clone(), self.analyzer.clone())
    }

    fn again(&self, all: &Corpus, k: usize) -> Reading {
        Reading::again(self.bound.clone(), self.analyzer.clone(), all, k)
    }
}

impl Cut {
    /// The records whose texts fit best, each by its best column.
    pub(super) async fn matching(&self, ask: &TextAsk, k: usize) -> Result<Ranking, Problem> {
        let mut plain = Vec::new();
        let mut found = self.unindexed();
        let mut through = Vec::new();
        let mut names = Vec::new();
        let mut best = BTreeMap::new();
        for path in text_columns(&self.columns.schema, &ask.columns)? {
            let index = self.topic.text_index_in(&self.view, &self.columns, &path).await?;
            if let Some(index) = index {
                let searched = Searched::new(ask, path.clone(), Analyzer::of(index.parameters())?)?;
                let lookup = searched.bound.lookup.clone();
                if let Some(lookup) = lookup.filter(|lookup| index.has_places() || !lookup.has_phrase()) {
                    through.push(index.coverage().through(self.bounds.earliest));
                    names.push(index.coverage().name.clone());
                    let ranges = self.rest(index.coverage());
                    found.rows_scanned += rows(&ranges);
                    keep_best(&mut best, self.with_index(&*index, &searched, lookup, k).await?);
                    continue;
                }
                plain.push(searched);
            } else {
                self.served.lacks_index();
                plain.push(Searched::new(ask, path, Analyzer::standard()?)?);
            }
        }
        plain.retain(|searched| !searched.bound.is_empty());
        if !plain.is_empty() {
            through.push(self.bounds.earliest);
            found.rows_scanned += rows(&[self.all()]);
            self.without_index(&plain, k).await?.into_iter().for_each(|ranked| keep_best(&mut best, ranked));
        }
        let mut top = Top::new(k);
        top.merge(best.into_values());
        found.ranked = top.into_ranking();
        found.indexed_through = through.into_iter().min().unwrap_or(self.bounds.earliest);
        found.index = (!names.is_empty()).then(|| names.join(","));
        Ok(found)
    }

    /// The rankings of several columns, of which every text is read.
    async fn without_index(&self, columns: &[Searched], k: usize) -> Result<Vec<Vec<Ranked>>, Problem> {
        let paths: Vec<FieldPath> = columns.iter().map(|searched| searched.path.clone()).collect();
        let scan = self.scan(&paths);
        let fresh =
            || Texts { columns: columns.iter().map(|searched| (searched.path.clone(), searched.reading())).collect() };
        let mut readings = by_column(scan.run(&[self.all()], fresh).await?, columns.len());
        let counted: Vec<Corpus> = readings.iter().map(|readings| counted(readings)).collect();
        if readings.iter().flatten().any(Reading::is_over) {
            let again = || Texts {
                columns: columns
                    .iter()
                    .zip(&counted)
                    .map(|(searched, all)| (searched.path.clone(), searched.again(all, k)))
                    .collect(),
            };
            readings = by_column(scan.run(&[self.all()], again).await?, columns.len());
        }
        Ok(readings.into_iter().zip(&counted).map(|(readings, all)| ranking(readings, all, k)).collect())
    }

    /// The ranking of one column. The index names candidates and counts what it has; what it has not is read, and every
    /// score is made of the text itself and what is counted of all texts.
    async fn with_index(
        &self,
        index: &dyn TextIndex,
        searched: &Searched,
        lookup: TextLookup,
        k: usize,
    ) -> Result<Vec<Ranked>, Problem> {
        if searched.bound.is_empty() {
            return Ok(Vec::new());
        }
        let fail = |error| failed("a text index cannot be searched", &error);
        let tokens = searched.bound.terms.iter().map(|term| term.token.clone()).collect();
        let (texts, tokens, having) = index.counted(tokens).await.map_err(fail)?;
        let mut all = Corpus { texts, tokens, having };
        let wanted = k.saturating_mul(2).saturating_add(CANDIDATES_MORE);
        let candidates = index.matching(lookup, wanted, self.admitted()).await.map_err(fail)?;
        let mut offsets: Vec<Offset> = self.within(candidates).into_iter().map(|found| found.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();

        let scan = self.scan(std::slice::from_ref(&searched.path));
        let ranges = self.rest(index.coverage());
        let fresh = || Texts { columns: vec![(searched.path.clone(), searched.reading())] };
        let mut readings: Vec<Reading> = by_column(scan.run(&ranges, fresh).await?, 1).pop().unwrap_or_default();
        all.add(&counted(&readings));
        if readings.iter().any(Reading::is_over) {
            let again = || Texts { columns: vec![(searched.path.clone(), searched.again(&all, k))] };
            readings = by_column(scan.run(&ranges, again).await?, 1).pop().unwrap_or_default();
        }
        if !offsets.is_empty() {
            let mut texts = Texts { columns: vec![(searched.path.clone(), searched.again(&all, k))] };
            self.read_candidates(&scan, &offsets, &mut texts).await?;
            readings.extend(texts.columns.into_iter().map(|(_, reading)| reading));
        }
        Ok(ranking(readings, &all, k))
    }

    /// Reads the texts of single records, some at a time: fewer where they are long.
    async fn read_candidates(&self, scan: &Scan, offsets: &[Offset], texts: &mut Texts) -> Result<(), Problem> {
        let (mut rest, mut group) = (offsets, GROUP_AT_FIRST);
        while !rest.is_empty() {
            let (some, others) = rest.split_at(group.min(rest.len()));
            let batch = self.topic.rows_in(&self.view, &self.columns, &scan.set, some).await?;
            let found = batch.column_by_name(OFFSET_COLUMN).and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let found = found.ok_or_else(|| failed("rows have no offsets", &OFFSET_COLUMN))?;
            fold_in_slices(texts, &batch, found.values(), None).await?;
            group = next_group(group, bytes_of(&batch));
            rest = others;
        }
        Ok(())
    }
}

/// How many records are read after so many that had so many bytes.
const fn next_group(group: usize, bytes: usize) -> usize {
    let wanted = if bytes > GROUP_BYTES_MAX { group / 2 } else { group * 2 };
    if wanted > GROUP_MAX {
        GROUP_MAX
    } else if wanted == 0 {
        1
    } else {
        wanted
    }
}

/// Keeps for each record the best of its ranks.
fn keep_best(best: &mut BTreeMap<u64, Ranked>, ranked: Vec<Ranked>) {
    for ranked in ranked {
        let known = best.entry(ranked.offset).or_insert(ranked);
        *known = (*known).min(ranked);
    }
}

/// What several have read of one column, counted together.
fn counted(readings: &[Reading]) -> Corpus {
    let mut all = Corpus::default();
    readings.iter().for_each(|reading| all.add(reading.corpus()));
    all
}

/// Readings of several columns, by task, turned into readings by column.
fn by_column(parts: Vec<Texts>, columns: usize) -> Vec<Vec<Reading>> {
    let mut by_column: Vec<Vec<Reading>> = Vec::new();
    by_column.resize_with(columns, Vec::new);
    for part in parts {
        by_column.iter_mut().zip(part.columns).for_each(|(readings, (_, reading))| readings.push(reading));
    }
    by_column
}

/// Reads several text columns.
struct Texts {
    columns: Vec<(FieldPath, Reading)>,
}

impl Fold for Texts {
    fn take(&mut self, batch: &RecordBatch, offsets: &[u64], mask: Option<&BooleanArray>) -> Result<(), Problem> {
        for (path, reading) in &mut self.columns {
            let column = column_of(batch, path).ok_or_else(|| failed("a text column is gone", path))?;
            let taken = reading.take(&column, offsets, mask);
            taken.ok_or_else(|| failed("a text column has something else", path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_read_few_at_a_time() {
        assert_eq!((next_group(32, 100), next_group(256, GROUP_BYTES_MAX)), (64, GROUP_MAX));
        assert_eq!((next_group(256, GROUP_BYTES_MAX + 1), next_group(1, 8 << 20)), (128, 1));
    }
}
