//! The series of operations, looked up by their labels once and not for each request.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::{Histogram, IntCounter};

use super::Metrics;

/// The series of the operations that have been asked for.
#[derive(Debug, Default)]
pub(super) struct Operations {
    known: RwLock<HashMap<&'static str, Operation>>,
}

#[derive(Debug)]
struct Operation {
    duration: Histogram,
    by_status: Vec<(u16, IntCounter)>,
}

impl Metrics {
    /// Counts a request that was answered, under these labels.
    pub fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        self.http_requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.http_request_duration.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// As [`Metrics::answered`], for an operation, which has one route and one method.
    pub fn answered_operation(&self, operation: &'static str, route: &str, method: &str, status: u16, took: Duration) {
        if let Some(series) = self.operations.known.read().get(operation)
            && let Some((_, counter)) = series.by_status.iter().find(|(known, _)| *known == status)
        {
            counter.inc();
            series.duration.observe(took.as_secs_f64());
            return;
        }
        self.answered(route, method, status, took);
        let counter = self.http_requests.with_label_values(&[route, method, &status.to_string()]);
        let duration = self.http_request_duration.with_label_values(&[route, method]);
        let mut known = self.operations.known.write();
        let series = known.entry(operation).or_insert_with(|| Operation { duration, by_status: Vec::new() });
        if series.by_status.iter().all(|(known, _)| *known != status) {
            series.by_status.push((status, counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_counted_as_its_labels_are() {
        let metrics = Metrics::default();
        for status in [200, 200, 404, 200] {
            metrics.answered_operation("appendRecords", "/records", "POST", status, Duration::from_millis(1));
        }
        metrics.answered("/records", "POST", 404, Duration::from_millis(1));
        let counted = |status| metrics.http_requests.with_label_values(&["/records", "POST", status]).get();
        assert_eq!((counted("200"), counted("404")), (3, 2));
        let durations = metrics.http_request_duration.with_label_values(&["/records", "POST"]);
        assert_eq!(durations.get_sample_count(), 5);
    }
}
