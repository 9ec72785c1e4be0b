//! What a run has measured: a table for people, JSON for programs.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::bench::Measured;
use crate::bench::disk::{DiskFigures, Syncs};
use crate::bench::options::{Options, Workload};
use crate::bench::tally::{Latency, Part};

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report<'o> {
    version: &'static str,
    parameters: &'o Options,
    /// Whether everything was as it should be.
    ok: bool,
    parts: Vec<Part>,
    verification: Verdict,
    client_cpu_seconds: Option<f64>,
    server_cpu_seconds: Option<f64>,
    /// Records of all parts: appended, delivered and read.
    server_cpu_seconds_per_million_records: Option<f64>,
    disk: Option<DiskFigures>,
}

/// Where the result goes as JSON.
#[derive(Debug)]
pub(super) enum Json {
    /// Where the table would go.
    Out,
    File(File),
}

impl Json {
    /// Opens what a path names; `-` is where the table would go.
    ///
    /// # Errors
    /// What the file system answers.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") { Ok(Self::Out) } else { File::create(path).map(Self::File) }
    }
}

/// Whether what came back is right.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    /// The topics that were written.
    pub(super) topics: Vec<String>,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    ok: bool,
    what: String,
}

impl Verdict {
    /// Adds what was looked at, and whether it was so.
    pub(super) fn check(&mut self, ok: bool, what: String) {
        self.checks.push(Check { ok, what });
    }
}

impl<'o> Report<'o> {
    /// The result of a run with these options.
    pub(super) fn new(options: &'o Options, measured: Measured, disk: Option<DiskFigures>) -> Self {
        let records: u64 = measured.parts.iter().map(|part| part.records).sum();
        let for_a_million = |seconds: f64| (records > 0).then(|| seconds * 1e6 / records as f64);
        let sound = measured.parts.iter().all(|part| part.unexpected_errors == 0);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            parameters: options,
            ok: sound && measured.verdict.checks.iter().all(|check| check.ok),
            server_cpu_seconds_per_million_records: measured.server_cpu_seconds.and_then(for_a_million),
            parts: measured.parts,
            verification: measured.verdict,
            client_cpu_seconds: measured.client_cpu_seconds,
            server_cpu_seconds: measured.server_cpu_seconds,
            disk,
        }
    }

    /// Whether all answers were as expected and everything that was verified is right.
    pub(super) fn is_sound(&self) -> bool {
        self.ok
    }

    /// Writes the table, and the JSON where it was asked for. Where that is to be on `out` too, the table is not.
    ///
    /// # Errors
    /// What the file system answers; the table is written before.
    pub(super) fn write(&self, json: Option<&mut Json>, out: &mut dyn Write) -> io::Result<()> {
        let table = self.to_string();
        match json {
            None => out.write_all(table.as_bytes()),
            Some(Json::Out) => {
                io::stderr().write_all(table.as_bytes())?;
                writeln!(out, "{}", serde_json::to_string_pretty(self)?)
            }
            Some(Json::File(file)) => {
                out.write_all(table.as_bytes())?;
                file.write_all((serde_json::to_string_pretty(self)? + "\n").as_bytes())
            }
        }
    }

    fn head(&self) -> String {
        let options = self.parameters;
        let load = &options.load;
        let sent = format!(
            "{} of {} bytes in a request{}",
            plural(u64::from(load.batch), "record"),
            load.record_bytes,
            load.ack.as_ref().map_or(String::new(), |ack| format!(", ack={ack}")),
        );
        let connections = plural(u64::from(options.connections()), "connection");
        let subscribers = plural(u64::from(options.subscribers()), "subscriber");
        let rate = load.rate.map_or("as fast as answers come".to_owned(), |rate| format!("{rate} a second"));
        match options.workload {
            Workload::Append => format!("{connections}, {sent}, {rate}"),
            Workload::Fanout | Workload::Mixed => format!("{subscribers}, {connections}, {sent}, {rate}"),
            Workload::Catchup => format!("{}, {:?}", plural(u64::from(options.reading.readers), "reader"), load.format),
            Workload::Get => format!("{connections}, pages of {}, {rate}", options.limit()),
            Workload::Disk => format!("writes of {} bytes, each synced", options.disk.bytes),
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = serde_json::to_value(self.parameters.workload).map_err(|_| fmt::Error)?;
        writeln!(f, "{}: {}", workload.as_str().unwrap_or_default(), self.head())?;
        if !self.verification.topics.is_empty() {
            let more = if self.verification.topics.len() > 1 { ", …" } else { "" };
            writeln!(f, "topics     {}{more}", self.verification.topics[0])?;
        }
        if !self.parts.is_empty() {
            let titles = ["requests/s", "records/s", "MB/s", "requests", "records", "seconds"];
            row(f, "", &titles.map(str::to_owned))?;
        }
        for part in &self.parts {
            let cells = [
                grouped(part.requests_per_second.round() as u64),
                grouped(part.records_per_second.round() as u64),
                format!("{:.1}", part.mb_per_second),
                grouped(part.requests),
                grouped(part.records),
                format!("{:.1}", part.seconds),
            ];
            row(f, part.name, &cells)?;
        }
        let mut latencies: Vec<(String, Option<&Latency>)> =
            self.parts.iter().map(|part| (part.name.to_owned(), part.latency_us.as_ref())).collect();
        if let Some(disk) = &self.disk {
            let named = |name: &str, syncs: &Syncs| format!("{name} ({}/s)", grouped(syncs.syncs_per_second as u64));
            latencies.push((named("disk, growing", &disk.growing), disk.growing.latency_us.as_ref()));
            latencies.push((named("disk, laid out", &disk.preallocated), disk.preallocated.latency_us.as_ref()));
        }
        row(f, "ms", &["p50", "p90", "p99", "p99.9", "max", "mean"].map(str::to_owned))?;
        for (name, latency) in latencies {
            let Some(all) = latency else { continue };
            let figures = [all.p50, all.p90, all.p99, all.p99_9, all.max, all.mean];
            row(f, &name, &figures.map(|micros| format!("{:.3}", micros / 1e3)))?;
        }
        self.faults(f)?;
        self.processors(f)
    }
}

impl Report<'_> {
    fn faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            if !part.errors.is_empty() {
                let kinds = part.errors.iter().map(|(kind, count)| format!("{} of {kind}", grouped(*count)));
                writeln!(f, "errors     {}: {}", part.name, kinds.collect::<Vec<_>>().join(", "))?;
            }
            for note in &part.error_notes {
                writeln!(f, "           {note}")?;
            }
            if part.unsent > 0 {
                writeln!(
                    f,
                    "unsent     {}: {} requests were due and not sent in time",
                    part.name,
                    grouped(part.unsent)
                )?;
            }
        }
        for Check { ok, what } in &self.verification.checks {
            writeln!(f, "{}   {what}", if *ok { "verified" } else { "WRONG   " })?;
        }
        Ok(())
    }

    fn processors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(client) = self.client_cpu_seconds else { return Ok(()) };
        write!(f, "processor  generator {client:.2} s")?;
        if let Some(server) = self.server_cpu_seconds {
            write!(f, ", server {server:.2} s")?;
        }
        if let Some(seconds) = self.server_cpu_seconds_per_million_records {
            write!(f, ", that is {seconds:.2} s for a million records")?;
        }
        writeln!(f)
    }
}

/// A line of the table.
fn row(f: &mut fmt::Formatter<'_>, name: &str, cells: &[String; 6]) -> fmt::Result {
    write!(f, "{name:<26}")?;
    for cell in cells {
        write!(f, "{cell:>12}")?;
    }
    writeln!(f)
}

/// A number of things.
pub(super) fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::bench::client::Answer;
    use crate::bench::tally::{Failure, Meter};
    use crate::bench::testing::options;

    fn measured(statuses: &[u16]) -> Measured {
        let (meter, from) = (Meter::new("append", 1), Instant::now());
        meter.success(0, 1_000_000, 200_000_000, Duration::from_millis(5), from + Duration::from_secs(2));
        for status in statuses {
            meter.failure(0, &Failure::Refused(&Answer { status: *status, refusal: Some("so".to_owned()) }));
        }
        let (client, server) = (Some(1.5), Some(3.0));
        Measured {
            parts: vec![meter.part(from, None)],
            verdict: Verdict::default(),
            client_cpu_seconds: client,
            server_cpu_seconds: server,
        }
    }

    #[test]
    fn the_table_tells_everything() {
        let options = options("append", &["--ack=wal"]);
        let mut measured = measured(&[503]);
        measured.verdict.check(true, "all is well".to_owned());
        let report = Report::new(&options, measured, None);
        let table = report.to_string();
        for text in [
            "append: 64 connections, 1 record of 200 bytes in a request, ack=wal, as fast as answers come\n",
            "500,000",
            "100.0",
            "5.0",
            "errors     append: 1 of 503\n",
            "verified   all is well\n",
            "processor  generator 1.50 s, server 3.00 s, that is 3.00 s for a million records\n",
        ] {
            assert!(table.contains(text), "{text}: {table}");
        }
        assert!(report.is_sound());
    }

    #[test]
    fn an_unexpected_answer_or_a_failed_check_is_not_sound() {
        let options = options("append", &[]);
        assert!(!Report::new(&options, measured(&[500]), None).is_sound());
        let mut wrong = measured(&[]);
        wrong.verdict.check(false, "a record is missing".to_owned());
        let report = Report::new(&options, wrong, None);
        assert!(!report.is_sound() && report.to_string().contains("WRONG      a record is missing"));
    }

    #[test]
    fn json_goes_to_a_file_or_takes_the_place_of_the_table() {
        let options = options("append", &["--count=7"]);
        let report = Report::new(&options, measured(&[]), None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        let (mut table, mut json) = (Vec::new(), Vec::new());
        report.write(Some(&mut Json::at(&path).unwrap()), &mut table).unwrap();
        report.write(Some(&mut Json::at(Path::new("-")).unwrap()), &mut json).unwrap();
        assert!(Json::at(&folder.path().join("none/result.json")).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), json);
        assert!(table.starts_with(b"append: "));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&value["parameters"]["count"], &value["ok"]), (&7.into(), &true.into()));
        assert_eq!(value["parts"][0]["latency_us"]["count"], 1);
    }
}
