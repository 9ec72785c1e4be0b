//! Texts read by one task: what is counted in them, and the records that match.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array as _, ArrayRef, BooleanArray, LargeStringArray, ListArray, RecordBatch};

use super::analysis::{Analyzer, Bound};
use super::bm25::{Corpus, Scale};
use super::count::{Counted, Counter};
use super::kept::{Kept, Room};
use super::query::TextQuery;
use crate::model::Problem;
use crate::schema::FieldPath;
use crate::search::columns::column_of;
use crate::search::run::Served;
use crate::search::scan::{Fold, failed, left};
use crate::search::top::{Ranked, Top};

/// A query as texts are cut by one tokenizer.
#[derive(Clone, Debug)]
pub(in crate::search) struct Searched {
    pub(in crate::search) analyzer: Analyzer,
    pub(in crate::search) bound: Arc<Bound>,
}

impl Searched {
    /// # Errors
    /// As [`Bound::new`].
    pub(in crate::search) fn new(query: &TextQuery, mut analyzer: Analyzer) -> Result<Self, Problem> {
        let bound = Arc::new(Bound::new(query, &mut analyzer)?);
        Ok(Self { analyzer, bound })
    }
}

/// Reads the texts of some columns, one task's rows.
pub(in crate::search) struct Reading {
    paths: Arc<[FieldPath]>,
    bound: Arc<Bound>,
    counter: Counter,
    /// By column, what was counted.
    counted: Vec<Corpus>,
    matches: Matches,
}

/// What becomes of the records that match.
enum Matches {
    /// They are kept until the statistics of all texts are known.
    Kept(Kept),
    /// They are ranked, each by its best column.
    Ranked(Arc<[Scale]>, Top),
}

impl Reading {
    fn new(searched: &Searched, paths: Arc<[FieldPath]>, served: &Arc<Served>, matches: Matches) -> Self {
        let Searched { analyzer, bound } = searched;
        let counter = Counter::new(Arc::clone(bound), analyzer.clone(), Arc::clone(served));
        let counted = vec![Corpus { having: vec![0; bound.terms.len()], ..Corpus::default() }; paths.len()];
        Self { paths, bound: Arc::clone(bound), counter, counted, matches }
    }

    /// Reads for the first time.
    pub(in crate::search) fn keeping(
        searched: &Searched,
        paths: Arc<[FieldPath]>,
        served: &Arc<Served>,
        room: Arc<Room>,
    ) -> Self {
        Self::new(searched, paths, served, Matches::Kept(Kept::new(room)))
    }

    /// Reads where the statistics of all texts are known, by column.
    pub(in crate::search) fn ranking(
        searched: &Searched,
        paths: Arc<[FieldPath]>,
        served: &Arc<Served>,
        scales: Arc<[Scale]>,
        k: usize,
    ) -> Self {
        Self::new(searched, paths, served, Matches::Ranked(scales, Top::new(k)))
    }

    /// What was counted, by column.
    pub(in crate::search) fn counted(&self) -> &[Corpus] {
        &self.counted
    }

    /// The best `k` records of several readings of the same columns, by the statistics of all texts: keys are scores less than
    /// zero.
    pub(in crate::search) fn best(readings: Vec<Self>, scales: &[Scale], k: usize) -> Vec<Ranked> {
        let mut best = Top::new(k);
        for Self { bound, matches, .. } in readings {
            match matches {
                Matches::Kept(kept) => kept.rank(&bound, scales, &mut best),
                Matches::Ranked(_, top) => best.merge(top.into_ranking()),
            }
        }
        best.into_ranking()
    }

    /// Takes one record, as all of its columns have it.
    fn take_row(&mut self, columns: &[Texts<'_>], row: usize, offset: u64, is_wanted: bool) -> Result<(), Problem> {
        let mut best: Option<Ranked> = None;
        for (number, texts) in columns.iter().enumerate() {
            let Some(counted) = texts.count(row, &mut self.counter)? else { continue };
            if let Some(corpus) = self.counted.get_mut(number) {
                corpus.texts += 1;
                corpus.tokens += u64::from(counted.length);
                for (having, count) in corpus.having.iter_mut().zip(&counted.counts) {
                    *having += u64::from(*count > 0);
                }
            }
            if !is_wanted || !self.bound.matches(counted.found) {
                continue;
            }
            match &mut self.matches {
                Matches::Kept(kept) => kept.push(offset, number, &counted),
                Matches::Ranked(scales, _) => {
                    let Some(scale) = scales.get(number) else { continue };
                    let score = self.bound.score(scale, counted.length, &counted.counts, counted.found);
                    let ranked = Ranked::new(-score, offset);
                    best = Some(best.map_or(ranked, |best| best.min(ranked)));
                }
            }
        }
        if let (Some(best), Matches::Ranked(_, top)) = (best, &mut self.matches) {
            top.push(best);
        }
        Ok(())
    }
}

impl Fold for Reading {
    /// Records that the mask leaves out count for the statistics but are no hits.
    fn take(&mut self, batch: &RecordBatch, offsets: &[u64], mask: Option<&BooleanArray>) -> Result<(), Problem> {
        let gone = |path| failed("a text column is gone", path);
        let arrays = self.paths.iter().map(|path| column_of(batch, path).ok_or_else(|| gone(path)));
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_, _>>()?;
        let columns: Vec<Texts<'_>> = arrays.iter().map(Texts::of).collect::<Result<_, _>>()?;
        for (row, offset) in offsets.iter().enumerate() {
            let is_wanted = mask.is_none_or(|mask| mask.is_valid(row) && mask.value(row));
            self.take_row(&columns, row, *offset, is_wanted)?;
        }
        Ok(())
    }
}

/// A column of text.
enum Texts<'c> {
    Single(&'c LargeStringArray),
    Lists(&'c ListArray),
}

fn no_text() -> Problem {
    failed("a text column has something else", &"no strings")
}

impl<'c> Texts<'c> {
    fn of(column: &'c ArrayRef) -> Result<Self, Problem> {
        let single = column.as_string_opt::<i64>().map(Self::Single);
        single.or_else(|| column.as_list_opt::<i32>().map(Self::Lists)).ok_or_else(no_text)
    }

    /// What is counted in the text of a row; none where it has no token, as Lance has no such text either.
    fn count(&self, row: usize, counter: &mut Counter) -> Result<Option<Counted>, Problem> {
        let counted = match self {
            Self::Single(texts) if texts.is_valid(row) => counter.count(std::iter::once(texts.value(row))),
            Self::Lists(lists) if lists.is_valid(row) => {
                let items = lists.value(row);
                let items = items.as_string_opt::<i64>().ok_or_else(no_text)?;
                counter.count(items.iter().flatten())
            }
            Self::Single(_) | Self::Lists(_) => return Ok(None),
        };
        let counted = counted.ok_or_else(left)?;
        Ok((counted.length > 0).then_some(counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(columns: &[Vec<Option<&str>>]) -> RecordBatch {
        let column = |(number, texts): (usize, &Vec<Option<&str>>)| {
            let column: ArrayRef = Arc::new(LargeStringArray::from(texts.clone()));
            (format!("c{number}"), column)
        };
        RecordBatch::try_from_iter(columns.iter().enumerate().map(column)).unwrap()
    }

    fn searched(query: &str) -> Searched {
        Searched::new(&TextQuery::parse(query).unwrap(), Analyzer::english()).unwrap()
    }

    /// What is counted and found by two tasks, of which the first has the rows before `cut`.
    fn read_within(
        room: usize,
        query: &str,
        columns: &[Vec<Option<&str>>],
        cut: usize,
    ) -> (Vec<Corpus>, Vec<(u64, f32)>) {
        let (searched, served, room) = (searched(query), Arc::new(Served::default()), Arc::new(Room::new(room)));
        let paths: Arc<[FieldPath]> = (0..columns.len()).map(|number| FieldPath(vec![format!("c{number}")])).collect();
        let whole = batch(columns);
        let offsets: Vec<u64> = (0..whole.num_rows() as u64).collect();
        let tasks = [(0, cut), (cut, offsets.len() - cut)];
        let read = |fresh: &dyn Fn() -> Reading| {
            let of_task = |(first, count): (usize, usize)| {
                let mut reading = fresh();
                reading.take(&whole.slice(first, count), &offsets[first..first + count], None).unwrap();
                reading
            };
            tasks.map(of_task).into_iter().collect::<Vec<_>>()
        };
        let mut readings = read(&|| Reading::keeping(&searched, Arc::clone(&paths), &served, Arc::clone(&room)));
        let mut all = vec![Corpus::default(); columns.len()];
        for reading in &readings {
            all.iter_mut().zip(reading.counted()).for_each(|(all, some)| all.add(some));
        }
        let scales: Arc<[Scale]> = all.iter().map(Corpus::scale).collect();
        if room.is_over() {
            readings = read(&|| Reading::ranking(&searched, Arc::clone(&paths), &served, Arc::clone(&scales), 10));
        }
        let best = Reading::best(readings, &scales, 10);
        (all, best.into_iter().map(|ranked| (ranked.offset, -ranked.key)).collect())
    }

    fn read(query: &str, cut: usize) -> (Vec<Corpus>, Vec<(u64, f32)>) {
        read_within(1_000, query, &[TEXTS.to_vec()], cut)
    }

    const TEXTS: [Option<&str>; 6] = [
        Some("A quick brown fox"),
        None,
        Some("the slow brown hare, the quick hare"),
        Some(""),
        Some("foxes and hares and foxes"),
        Some("quick fox: brown"),
    ];

    #[test]
    fn scores_are_those_of_the_formula_wherever_the_texts_are_cut() {
        let (corpus, found) = read("fox", 3);
        assert_eq!(corpus, [Corpus { texts: 4, tokens: 14, having: vec![3] }]);
        let idf = ((4.0_f64 - 3.0 + 0.5) / 3.5 + 1.0).ln();
        let score = |count: f64, length: f64| {
            (idf * 2.2 * count / (count + 1.2 * (0.25 + 0.75 * length / (14.0 / 4.0)))) as f32
        };
        assert_eq!(found, [(4, score(2.0, 3.0)), (0, score(1.0, 3.0)), (5, score(1.0, 3.0))]);
        for cut in 0..=TEXTS.len() {
            assert_eq!(read("fox", cut), (corpus.clone(), found.clone()));
        }
    }

    #[test]
    fn signs_phrases_and_edits_decide_what_matches() {
        for (query, offsets) in [
            ("fox", vec![0, 4, 5]),
            ("fox hare", vec![0, 2, 4, 5]),
            ("+fox hare", vec![0, 4, 5]),
            ("fox -brown", vec![4]),
            ("+fox +brown -quick", vec![]),
            ("\"quick brown\"", vec![0]),
            ("\"brown fox\" hare -slow", vec![0, 4]),
            ("-\"quick brown\" fox", vec![4, 5]),
            ("quikc~2 ", vec![0, 2, 5]),
            ("qick~1 ", vec![0, 2, 5]),
            ("qick", vec![]),
            ("the", vec![]),
        ] {
            let mut found: Vec<u64> = read(query, 2).1.into_iter().map(|(offset, _)| offset).collect();
            found.sort_unstable();
            assert_eq!(found, offsets, "{query}");
        }
    }

    #[test]
    fn a_record_ranks_by_its_best_column_whether_or_not_all_can_be_kept() {
        let others = vec![Some("fox fox fox"), Some("fox"), None, None, Some("hare"), Some("brown brown")];
        let columns = [TEXTS.to_vec(), others.clone()];
        let (_, found) = read_within(1_000, "fox brown", &columns, 3);
        let (_, of_first) = read("fox brown", 3);
        let (_, of_other) = read_within(1_000, "fox brown", &[others], 3);
        let score = |found: &[(u64, f32)], offset| found.iter().find(|(at, _)| *at == offset).map_or(0.0, |hit| hit.1);
        assert_eq!(found.len(), 5);
        for (offset, of_both) in &found {
            assert_eq!(*of_both, score(&of_first, *offset).max(score(&of_other, *offset)), "{offset}");
        }
        for room in [0, 60, 100] {
            for cut in [0, 1, 3, 6] {
                assert_eq!(read_within(room, "fox brown", &columns, cut).1, found, "{room} {cut}");
            }
        }
    }
}
