//! The lag of single cursors, under a cap: a label's values must not grow without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

/// A topic's name and a cursor's.
type Labels = (String, String);

/// All cursors with a series. The first ones up to the cap have their own; the rest are added up as `other`.
#[derive(Clone, Debug)]
pub struct CursorTable {
    cap: usize,
    table: Arc<Mutex<Table>>,
    family: Opts,
    descs: Arc<Vec<Desc>>,
}

#[derive(Debug, Default)]
struct Table {
    lags: BTreeMap<Labels, u64>,
    /// Who has label values of its own, for as long as the cursor is there.
    labelled: BTreeSet<Labels>,
}

/// Both labels of the cursors past the cap.
const OTHER: &str = "other";
const LABELS: [&str; 2] = ["topic", "cursor"];

impl CursorTable {
    /// No cursor yet.
    pub fn new(cap: usize) -> Self {
        let family =
            Opts::new("topic_cursor_lag", "Records from the cursor to the topic's tail.").namespace("persisting");
        let described = family.clone().variable_labels(LABELS.map(str::to_owned).into());
        let descs = prometheus::core::Describer::describe(&described).into_iter().collect();
        Self { cap, table: Arc::default(), family, descs: Arc::new(descs) }
    }

    /// Shows these cursors, as they are now; those that are not among them are gone.
    pub(super) fn show(&self, lags: Vec<(Labels, u64)>) {
        let mut table = self.table.lock();
        table.lags = lags.into_iter().collect();
        let Table { lags, labelled } = &mut *table;
        labelled.retain(|labels| lags.contains_key(labels));
        let is_other = |(topic, cursor): &Labels| topic == OTHER && cursor == OTHER;
        for labels in lags.keys().filter(|labels| !is_other(labels)) {
            if labelled.len() >= self.cap {
                break;
            }
            if !labelled.contains(labels) {
                labelled.insert(labels.clone());
            }
        }
    }

    /// Each pair of label values with its lag.
    fn rows(&self) -> Vec<(Labels, u64)> {
        let table = self.table.lock();
        let mut rows = Vec::with_capacity(table.labelled.len() + 1);
        let mut other = None;
        for (labels, lag) in &table.lags {
            if table.labelled.contains(labels) {
                rows.push((labels.clone(), *lag));
            } else {
                other = Some(other.unwrap_or(0_u64).saturating_add(*lag));
            }
        }
        rows.extend(other.map(|lag| ((OTHER.to_owned(), OTHER.to_owned()), lag)));
        rows
    }
}

impl Collector for CursorTable {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(family) = IntGaugeVec::new(self.family.clone(), &LABELS) else { return Vec::new() };
        for ((topic, cursor), lag) in self.rows() {
            family.with_label_values(&[&topic, &cursor]).set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
        family.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(lags: &[(&str, u64)]) -> Vec<(Labels, u64)> {
        lags.iter().map(|(cursor, lag)| (("t".to_owned(), (*cursor).to_owned()), *lag)).collect()
    }

    #[test]
    fn cursors_past_the_cap_are_added_up_as_other() {
        let table = CursorTable::new(2);
        let other = |lag| ((OTHER.to_owned(), OTHER.to_owned()), lag);
        table.show(cursors(&[("b", 1), ("c", 2)]));
        table.show(cursors(&[("a", 4), ("b", 1), ("c", 3), ("d", 5)]));
        assert_eq!(table.rows(), [cursors(&[("b", 1), ("c", 3)]), vec![other(9)]].concat());
        table.show(cursors(&[("a", 4), ("c", 3)]));
        assert_eq!(table.rows(), cursors(&[("a", 4), ("c", 3)]));
        table.show(vec![other(7)]);
        assert_eq!(table.rows(), [other(7)]);
    }
}
