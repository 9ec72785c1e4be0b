//! Series of single topics, under a cap: a label's values must not grow without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

/// The figures of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicFigures {
    /// Records appended since the server started.
    pub records: u64,
    /// Bytes of records appended since the server started.
    pub bytes: u64,
    /// The offset past the last readable record.
    pub tail_offset: u64,
    /// The offset past the last committed record.
    pub committed_offset: u64,
    /// Fragments of the dataset.
    pub fragments: u64,
}

/// All topics with series. The first ones up to the cap have their own; the rest are added up as `other`.
#[derive(Clone, Debug)]
pub struct TopicTable {
    cap: usize,
    table: Arc<Mutex<Table>>,
    families: Arc<[Opts; 5]>,
    descs: Arc<Vec<Desc>>,
}

#[derive(Debug, Default)]
struct Table {
    topics: BTreeMap<String, TopicFigures>,
    /// Who has a label value of its own, for as long as the topic is there.
    labelled: BTreeSet<String>,
    /// What topics counted under `other` before they went: a counter never goes down.
    gone: [u64; 2],
}

/// The label of the topics past the cap.
const OTHER: &str = "other";

fn family(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("persisting").variable_label("topic")
}

impl TopicTable {
    /// The most topics with a label value of their own, unless told otherwise.
    pub const CAP: usize = 1_000;

    /// No topic yet.
    pub fn new(cap: usize) -> Self {
        let families = [
            family("topic_records_total", "Records appended to the topic since the start of the server."),
            family("topic_bytes_total", "Bytes of records appended to the topic since the start of the server."),
            family("topic_tail_offset", "The offset past the topic's last readable record."),
            family("topic_committed_offset", "The offset past the topic's last committed record."),
            family("topic_fragments", "Fragments of the topic's dataset."),
        ];
        let descs = families.iter().filter_map(|opts| prometheus::core::Describer::describe(opts).ok()).collect();
        Self { cap, table: Arc::default(), families: Arc::new(families), descs: Arc::new(descs) }
    }

    /// Shows these topics, as they are now; those that are not among them are gone.
    pub(super) fn show(&self, topics: Vec<(String, TopicFigures)>) {
        let mut table = self.table.lock();
        let before = std::mem::replace(&mut table.topics, topics.into_iter().collect());
        let Table { topics, labelled, gone: [records, bytes] } = &mut *table;
        for (name, figures) in before.iter().filter(|(name, _)| !labelled.contains(*name)) {
            let now = topics.get(name).copied().unwrap_or_default();
            // Gone, or made again under the name.
            if now.records < figures.records || now.bytes < figures.bytes {
                *records = records.saturating_add(figures.records);
                *bytes = bytes.saturating_add(figures.bytes);
            }
        }
        labelled.retain(|name| topics.contains_key(name));
        for name in topics.keys().filter(|name| *name != OTHER && !before.contains_key(*name)) {
            if labelled.len() >= self.cap {
                break;
            }
            labelled.insert(name.clone());
        }
    }

    /// Each label value with its five figures.
    fn rows(&self) -> Vec<(String, [u64; 5])> {
        let table = self.table.lock();
        let mut rows = Vec::with_capacity(table.labelled.len() + 1);
        let [records, bytes] = table.gone;
        let mut other = [records, bytes, 0, 0, 0];
        let mut any_other = other != [0; 5];
        for (name, topic) in &table.topics {
            if table.labelled.contains(name) {
                rows.push((name.clone(), topic.in_order()));
            } else {
                any_other = true;
                for (sum, figure) in other.iter_mut().zip(topic.in_order()) {
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

impl TopicFigures {
    const fn in_order(&self) -> [u64; 5] {
        [self.records, self.bytes, self.tail_offset, self.committed_offset, self.fragments]
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

    fn topics(names: &[&str], records: u64) -> Vec<(String, TopicFigures)> {
        let figures = TopicFigures { records, ..TopicFigures::default() };
        names.iter().map(|name| ((*name).to_owned(), figures)).collect()
    }

    fn shown(table: &TopicTable) -> Vec<(String, u64)> {
        table.rows().into_iter().map(|(name, row)| (name, row[0])).collect()
    }

    fn row(name: &str, records: u64) -> (String, u64) {
        (name.to_owned(), records)
    }

    #[test]
    fn topics_past_the_cap_are_added_up_as_other_and_never_go_down() {
        let table = TopicTable::new(2);
        table.show(topics(&["b", "c"], 2));
        table.show(topics(&["a", "b", "c", "d"], 3));
        assert_eq!(shown(&table), [row("b", 3), row("c", 3), row(OTHER, 6)]);
        table.show(topics(&["a", "b", "c"], 3));
        assert_eq!(shown(&table), [row("b", 3), row("c", 3), row(OTHER, 6)]);
        table.show(topics(&["a", "c", "e"], 4));
        assert_eq!(shown(&table), [row("c", 4), row("e", 4), row(OTHER, 7)]);
    }

    #[test]
    fn a_topic_of_the_name_other_is_counted_there() {
        let table = TopicTable::new(2);
        table.show(topics(&[OTHER], 2));
        assert_eq!(shown(&table), [row(OTHER, 2)]);
    }
}
