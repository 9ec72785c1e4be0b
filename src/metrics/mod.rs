//! Every metric family of the service, in one struct that is passed down; nothing is global.

mod cursors;
mod requests;
mod topics;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, exponential_buckets,
};

pub use cursors::CursorTable;
pub use topics::{TopicFigures, TopicTable};

/// All metrics. The fields are handles: cheap to clone, safe to use from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    operations: requests::Operations,
    /// Requests answered, by route, method and status.
    pub http_requests: IntCounterVec,
    /// Seconds from a request's head to its answer's head, by route and method.
    pub http_request_duration: HistogramVec,
    /// Records appended, duplicates not counted.
    pub appended_records: IntCounter,
    /// Bytes of the text of records appended, duplicates not counted.
    pub appended_bytes: IntCounter,
    /// Records handed to readers.
    pub delivered_records: IntCounter,
    /// Bytes of record objects handed to readers.
    pub delivered_bytes: IntCounter,
    /// Appends that an earlier request had stored already.
    pub duplicates: IntCounter,
    /// Appends refused, by error code. (Named in records: one body is refused whole.)
    pub rejected_records: IntCounterVec,
    /// Bytes of the write-ahead log on disk.
    pub wal_bytes: IntGauge,
    /// Seconds of each sync of the log.
    pub wal_fsync_duration: Histogram,
    /// Appends made durable by one sync.
    pub wal_group_size: Histogram,
    /// Bytes of records in memory that wait for a commit.
    pub tail_bytes: IntGauge,
    /// Bytes of committed records that are still in memory.
    pub recent_bytes: IntGauge,
    /// Bytes that records which wait for a commit may take at present.
    pub tail_room_bytes: IntGauge,
    /// Seconds of each commit to a dataset.
    pub commit_duration: Histogram,
    /// Open streams.
    pub streams_open: IntGauge,
    /// Seconds that the last recovery took.
    pub recovery_duration: Gauge,
    /// Topics, by backend.
    pub topics: IntGaugeVec,
    /// Topics that cannot be written at present.
    pub topics_degraded: IntGauge,
    /// Cursors of all topics.
    pub cursors: IntGauge,
    per_topic: TopicTable,
    per_cursor: CursorTable,
}

/// What the names and labels below, all of them constants, make of a metric.
#[expect(clippy::expect_used, reason = "names, labels and buckets are constants; a test builds them all")]
fn sound<T>(made: prometheus::Result<T>) -> T {
    made.expect("a metric of constant name, labels and buckets")
}

/// Makes families and registers each under the service's prefix.
struct Families {
    registry: Registry,
}

impl Families {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let family = sound(made);
        sound(self.registry.register(Box::new(family.clone())));
        family
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(options(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(options(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(options(name, help)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(histogram_options(name, help, buckets)))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("persisting")
}

fn histogram_options(name: &str, help: &str, buckets: Vec<f64>) -> HistogramOpts {
    HistogramOpts::new(name, help).namespace("persisting").buckets(buckets)
}

/// 50 µs to about 100 s: a sync of a good disk as well as a long poll.
fn seconds() -> Vec<f64> {
    sound(exponential_buckets(0.000_05, 2.5, 17))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(TopicTable::CAP)
    }
}

impl Metrics {
    /// The media type of [`Metrics::render`].
    pub const MEDIA_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// Metrics where at most `topics_max` topics have series of their own, and as many cursors; the rest are added up as
    /// `other`.
    pub fn new(topics_max: usize) -> Self {
        let families = Families { registry: Registry::new() };
        let per_topic = TopicTable::new(topics_max);
        sound(families.registry.register(Box::new(per_topic.clone())));
        let per_cursor = CursorTable::new(topics_max);
        sound(families.registry.register(Box::new(per_cursor.clone())));
        Self {
            operations: requests::Operations::default(),
            http_requests: families.counters(
                "http_requests_total",
                "Requests answered.",
                &["route", "method", "status"],
            ),
            http_request_duration: families.add(HistogramVec::new(
                histogram_options(
                    "http_request_duration_seconds",
                    "Time from a request's head to its answer's head.",
                    seconds(),
                ),
                &["route", "method"],
            )),
            appended_records: families.counter("appended_records_total", "Records appended."),
            appended_bytes: families.counter("appended_bytes_total", "Bytes of the text of records appended."),
            delivered_records: families.counter("delivered_records_total", "Records handed to readers."),
            delivered_bytes: families
                .counter("delivered_bytes_total", "Bytes of answers with records, and of queries."),
            duplicates: families.counter("duplicates_total", "Appends that an earlier request had stored already."),
            rejected_records: families.counters(
                "rejected_records_total",
                "Appends refused, by the code of the problem.",
                &["code"],
            ),
            wal_bytes: families.gauge("wal_bytes", "Bytes of the write-ahead log."),
            wal_fsync_duration: families.histogram("wal_fsync_duration_seconds", "Syncs of the log.", seconds()),
            wal_group_size: families.histogram(
                "wal_group_size",
                "Appends made durable by one sync of the log.",
                sound(exponential_buckets(1.0, 2.0, 12)),
            ),
            tail_bytes: families.gauge("tail_bytes", "Bytes of records in memory that wait for a commit."),
            recent_bytes: families.gauge("recent_bytes", "Bytes of committed records that are still in memory."),
            tail_room_bytes: families.gauge("tail_room_bytes", "Bytes that uncommitted records may take at present."),
            commit_duration: families.histogram("commit_duration_seconds", "Commits to datasets.", seconds()),
            streams_open: families.gauge("streams_open", "Open streams."),
            recovery_duration: families
                .add(Gauge::with_opts(options("recovery_duration_seconds", "Time the last recovery took."))),
            topics: families.add(IntGaugeVec::new(options("topics", "Topics."), &["backend"])),
            topics_degraded: families.gauge("topics_degraded", "Topics that cannot be written at present."),
            cursors: families.gauge("cursors", "Cursors."),
            registry: families.registry,
            per_topic,
            per_cursor,
        }
    }
}

impl Metrics {
    /// Shows these topics, and no others, with series of their own.
    pub fn show_topics(&self, topics: Vec<(String, TopicFigures)>) {
        self.per_topic.show(topics);
    }

    /// Shows these cursors, by topic and name, with their lag, and no others.
    pub fn show_cursors(&self, lags: Vec<((String, String), u64)>) {
        self.per_cursor.show(lags);
    }

    /// All families in Prometheus' text form; empty where encoding fails, which is logged.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be encoded");
            text.clear();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_documented_and_no_other() {
        let metrics = Metrics::default();
        metrics.http_requests.with_label_values(&["/livez", "GET", "200"]).inc();
        metrics.http_request_duration.with_label_values(&["/livez", "GET"]).observe(0.1);
        metrics.rejected_records.with_label_values(&["invalid_json"]).inc();
        metrics.topics.with_label_values(&["memory"]).set(1);
        metrics.show_topics(vec![("events".to_owned(), TopicFigures { records: 3, ..TopicFigures::default() })]);
        metrics.show_cursors(vec![(("events".to_owned(), "billing".to_owned()), 5)]);
        let text = String::from_utf8(metrics.render()).unwrap();
        let shown = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let page = include_str!("../../docs/metrics.md");
        let told = page.lines().filter_map(|line| line.strip_prefix("| `persisting_")?.split('`').next());
        let told: std::collections::BTreeSet<_> = told.map(|family| format!("persisting_{family}")).collect();
        assert_eq!(told, shown.map(str::to_owned).collect());
        assert!(text.contains("persisting_topic_records_total{topic=\"events\"} 3"));
        assert!(text.contains("persisting_topic_cursor_lag{cursor=\"billing\",topic=\"events\"} 5"));
    }
}
