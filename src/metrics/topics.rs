//! Series of single topics, under a cap: a label's values must not grow without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// The figures of one topic.
#[derive(Debug)]
pub struct TopicSeries {
    /// Records appended.
    pub records: IntCounter,
    /// Bytes of records appended.
    pub bytes: IntCounter,
    /// The offset past the last readable record.
    pub tail_offset: IntGauge,
    /// The offset past the last committed record.
    pub committed_offset: IntGauge,
    /// Fragments of the dataset.
    pub fragments: IntGauge,
}

/// All topics with series. The first [`TopicTable::CAP`] have their own; the rest are added up as `other`.
#[derive(Clone, Debug)]
pub struct TopicTable {
    table: Arc<Mutex<Table>>,
    families: Arc<[Opts; 5]>,
    descs: Arc<Vec<Desc>>,
}

#[derive(Debug, Default)]
struct Table {
    series: BTreeMap<String, Arc<TopicSeries>>,
    /// Who has a label value of its own.
    labelled: BTreeSet<String>,
    /// What topics counted under `other` before they went: a counter never goes down.
    gone: [u64; 2],
}

/// The label of the topics past the cap.
const OTHER: &str = "other";

impl Default for TopicTable {
    fn default() -> Self {
        let families = [
            family("topic_records_total", "Records appended to the topic."),
            family("topic_bytes_total", "Bytes of records appended to the topic."),
            family("topic_tail_offset", "The offset past the topic's last readable record."),
            family("topic_committed_offset", "The offset past the topic's last committed record."),
            family("topic_fragments", "Fragments of the topic's dataset."),
        ];
        let descs = families.iter().filter_map(|opts| prometheus::core::Describer::describe(opts).ok()).collect();
        Self { table: Arc::default(), families: Arc::new(families), descs: Arc::new(descs) }
    }
}

fn family(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("persisting").variable_label("topic")
}

impl TopicTable {
    /// The most topics with a label value of their own.
    pub const CAP: usize = 1_000;

    /// The series of a topic, made on first use.
    pub(super) fn series(&self, name: &str) -> Arc<TopicSeries> {
        let mut table = self.table.lock();
        if let Some(series) = table.series.get(name) {
            return Arc::clone(series);
        }
        let series = Arc::new(TopicSeries::default());
        table.series.insert(name.to_owned(), Arc::clone(&series));
        if table.labelled.len() < Self::CAP && name != OTHER {
            table.labelled.insert(name.to_owned());
        }
        series
    }

    /// Ends the series of a topic.
    pub(super) fn forget(&self, name: &str) {
        let mut table = self.table.lock();
        let Some(series) = table.series.remove(name) else { return };
        if !table.labelled.remove(name) {
            let [records, bytes] = &mut table.gone;
            *records = records.saturating_add(series.records.get());
            *bytes = bytes.saturating_add(series.bytes.get());
        }
    }

    /// Each label value with its five figures.
    fn rows(&self) -> Vec<(String, [u64; 5])> {
        let table = self.table.lock();
        let mut rows = Vec::with_capacity(table.labelled.len() + 1);
        let [records, bytes] = table.gone;
        let mut other = [records, bytes, 0, 0, 0];
        let mut any_other = other != [0; 5];
        for (name, series) in &table.series {
            let figures = series.figures();
            if table.labelled.contains(name) {
                rows.push((name.clone(), figures));
            } else {
                any_other = true;
                for (sum, figure) in other.iter_mut().zip(figures) {
                    *sum = sum.saturating_add(figure);
                }
            }
        }
        if any_other {
            rows.push((OTHER.to_owned(), other));
        }
        rows
    }
}

impl Default for TopicSeries {
    fn default() -> Self {
        let counter = |name| super::sound(IntCounter::new(name, "One topic's."));
        let gauge = |name| super::sound(IntGauge::new(name, "One topic's."));
        Self {
            records: counter("records"),
            bytes: counter("bytes"),
            tail_offset: gauge("tail_offset"),
            committed_offset: gauge("committed_offset"),
            fragments: gauge("fragments"),
        }
    }
}

impl TopicSeries {
    fn figures(&self) -> [u64; 5] {
        let gauge = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or(0);
        [
            self.records.get(),
            self.bytes.get(),
            gauge(&self.tail_offset),
            gauge(&self.committed_offset),
            gauge(&self.fragments),
        ]
    }
}

impl Collector for TopicTable {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let rows = self.rows();
        let mut collected = Vec::with_capacity(self.families.len());
        for (at, opts) in self.families.iter().enumerate() {
            let figure = |figures: &[u64; 5]| figures.get(at).copied().unwrap_or_default();
            // The first two only grow.
            if at < 2 {
                let Ok(family) = IntCounterVec::new(opts.clone(), &["topic"]) else { continue };
                rows.iter().for_each(|(name, row)| family.with_label_values(&[name]).inc_by(figure(row)));
                collected.extend(family.collect());
            } else {
                let Ok(family) = IntGaugeVec::new(opts.clone(), &["topic"]) else { continue };
                let set = |name: &str, number: u64| {
                    family.with_label_values(&[name]).set(i64::try_from(number).unwrap_or(i64::MAX));
                };
                rows.iter().for_each(|(name, row)| set(name, figure(row)));
                collected.extend(family.collect());
            }
        }
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_past_the_cap_are_added_up_as_other_and_never_go_down() {
        let table = TopicTable::default();
        for number in 0..TopicTable::CAP + 2 {
            table.series(&format!("t{number:05}")).records.inc_by(2);
        }
        let other = |table: &TopicTable| table.rows().into_iter().find(|(name, _)| name == OTHER);
        assert_eq!(table.rows().len(), TopicTable::CAP + 1);
        assert_eq!(other(&table).unwrap().1[0], 4);
        table.forget(&format!("t{:05}", TopicTable::CAP));
        assert_eq!(other(&table).unwrap().1[0], 4);
        table.forget("t00000");
        assert!(table.rows().iter().all(|(name, _)| name != "t00000"));
    }
}
