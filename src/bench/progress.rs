//! A line each second that tells how far a run has come.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::bench::options::Options;
use crate::bench::tally::Meter;

const EVERY: Duration = Duration::from_secs(1);

/// Tells how far the parts of a run have come, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress(Option<JoinHandle<()>>);

impl Progress {
    /// Begins, where the options or a terminal ask for it.
    pub(super) fn start(meters: &[Arc<Meter>], options: &Options) -> Self {
        let asked = options.telling.progress || std::io::stderr().is_terminal();
        let meters = meters.to_vec();
        Self(asked.then(|| tokio::spawn(tell(meters))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(telling) = &self.0 {
            telling.abort();
        }
    }
}

async fn tell(meters: Vec<Arc<Meter>>) {
    let (began, mut last) = (Instant::now(), vec![(0, 0); meters.len()]);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let mut line = format!("{:>4} s", began.elapsed().as_secs());
        for (meter, last) in meters.iter().zip(&mut last) {
            let (name, requests, records, errors) = meter.until_now();
            let (since_requests, since_records) = (requests - last.0, records - last.1);
            *last = (requests, records);
            line.push_str(&format!("   {name}: {since_requests} requests, {since_records} records"));
            if errors > 0 {
                line.push_str(&format!(", {errors} errors in all"));
            }
        }
        // Nobody reads what cannot be printed.
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}
