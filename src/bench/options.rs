//! What a run is asked for, as it is given on the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};

use crate::bench::BenchError;
use crate::config::ByteSize;

/// Where records are appended unless told otherwise. With it the server is taken for one of ours, and looked at more closely.
pub(super) const APPEND_PATH: &str = "/v1/topics/{topic}/records";

/// A workload and everything that shapes it.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
pub struct Options {
    /// What is measured
    #[arg(value_enum)]
    pub workload: Workload,
    /// How the server is reached.
    #[command(flatten)]
    #[serde(flatten)]
    pub reach: Reach,
    /// What is sent, and how much of it.
    #[command(flatten)]
    #[serde(flatten)]
    pub load: Load,
    /// What is read.
    #[command(flatten)]
    #[serde(flatten)]
    pub reading: Reading,
    /// What is told of it, and where.
    #[command(flatten)]
    #[serde(flatten)]
    pub telling: Telling,
    /// How the disk is measured.
    #[command(flatten)]
    #[serde(flatten)]
    pub disk: DiskOptions,
    /// How another server takes records.
    #[command(flatten)]
    #[serde(flatten)]
    pub peer: Peer,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Appends over many connections, as fast as answers come or at a rate
    Append,
    /// Appends with many subscribers, from the append to the arrival at each of them
    Fanout,
    /// A topic that is there, read from its first record on
    Catchup,
    /// Pages at random offsets of a topic that is there
    Get,
    /// Appends, subscribers, catch-up reading and pages, all at once
    Mixed,
    /// The disk alone: small writes, each with an fdatasync
    Disk,
}

/// How records lie in a body or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// An object or an array; pages of JSON
    Json,
    /// A record a line
    Ndjson,
    /// Server-Sent Events; for catchup only
    Sse,
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
pub struct Reach {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Topic; with --topics its name is followed by a number. catchup and get read one that is there
    /// [default: bench-, the time and the process]
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Number of topics that appends and subscribers spread over
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub topics: u32,
    /// Backend of the topics that are made
    #[arg(long, value_name = "NAME", default_value = "persisting")]
    pub backend: String,
    /// Threads of the generator: it shares the processors with a server on the same machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
}

/// What is sent, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "What is sent, and how much")]
pub struct Load {
    /// Connections that append, or that get; each has one request under way [default: 64; 1 for fanout, 4 for mixed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..10_000))]
    pub connections: Option<u32>,
    /// Records in a request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Length of a record's JSON text in bytes
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = size)]
    pub record_bytes: u64,
    /// Members of a record: strings, integers, floats and booleans, and a text that fills it up to its length
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=900))]
    pub fields: u32,
    /// Form of the bodies that are sent, or for catchup of the answers that are read
    #[arg(long, value_enum, default_value = "json")]
    pub format: Format,
    /// How safe a record shall be before its append is answered [default: the topic's own level]
    #[arg(long, value_name = "LEVEL")]
    pub ack: Option<String>,
    /// Rate over all connections: requests a second, records a second for fanout. Latencies then count from the time at
    /// which a request was due, so that a server that stalls does not hide its stall [default: as fast as answers come]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Time that is measured, as in 30s, 500ms or 2m [default: 10s where there is no --count]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// Requests that are measured; for fanout and catchup records [default: what the time allows; all for catchup]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Time before that, which is not measured
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub warmup: Span,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "What is read")]
pub struct Reading {
    /// Subscribers by Server-Sent Events, each with a connection of its own [default: 1000; 100 for mixed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: Option<u32>,
    /// Readers of catchup; each reads everything
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub readers: u32,
    /// Connections of mixed that get pages
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub getters: u32,
    /// Records in a page [default: 100; 1000 for catchup]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub limit: Option<u64>,
    /// Longest time without any arrival before what is missing counts as lost
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub patience: Span,
}

/// What is told of a run, and where.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "What is told")]
pub struct Telling {
    /// File for the result as JSON; - is stdout, and the table then goes to stderr [default: none]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A line each second on stderr, though it is no terminal
    #[arg(long)]
    pub progress: bool,
    /// Process whose processor time is told, if the server is on this machine [default: none]
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Folder on the server's disk: a write with fdatasync is measured there first and told beside [default: none]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

/// How the disk is measured.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "The disk")]
pub struct DiskOptions {
    /// Folder whose disk the workload disk measures; its files are removed afterwards
    #[arg(long, value_name = "FOLDER", required_if_eq("workload", "disk"))]
    pub dir: Option<PathBuf>,
    /// Bytes of one write
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = size)]
    pub bytes: u64,
}

/// How another server takes records. `{topic}` stands for the topic's name everywhere, and \n, \r, \t and \\ for what they
/// do in most languages.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Another server: {topic} stands for the topic's name, \\n for a line's end")]
pub struct Peer {
    /// Path and query of an append
    #[arg(long, value_name = "PATH", default_value = APPEND_PATH)]
    pub append_path: String,
    /// Method of an append
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub method: String,
    /// Media type of an append [default: by --format]
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Header of every request, as in 'Name: value'; can be repeated [default: none]
    #[arg(long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// What a body begins with [default: by --format]
    #[arg(long, value_name = "TEXT")]
    pub body_prefix: Option<String>,
    /// What a body ends with [default: by --format]
    #[arg(long, value_name = "TEXT")]
    pub body_suffix: Option<String>,
    /// What stands before each record [default: nothing]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub record_prefix: String,
    /// What stands behind each record [default: nothing]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub record_suffix: String,
    /// What stands between records [default: by --format]
    #[arg(long, value_name = "TEXT")]
    pub record_separator: Option<String>,
    /// Write a record as the inside of a JSON string: the quotes belong into prefix and suffix
    #[arg(long)]
    pub escape: bool,
    /// Path and query of a subscription: any endless answer that carries the records' text
    #[arg(long, value_name = "PATH", default_value = "/v1/topics/{topic}/stream")]
    pub stream_path: String,
    /// Method of the request that makes a topic
    #[arg(long, value_name = "METHOD", default_value = "PUT")]
    pub create_method: String,
    /// Path of the request that makes a topic, before anything else; an empty one makes none
    #[arg(long, value_name = "PATH", default_value = "/v1/topics/{topic}")]
    pub create_path: String,
    /// Body of that request, as JSON [default: {"backend": …} with --backend]
    #[arg(long, value_name = "TEXT")]
    pub create_body: Option<String>,
}

impl Options {
    /// Whether the server is one of ours, so that its answers can be looked at more closely.
    pub(super) fn is_ours(&self) -> bool {
        self.peer.append_path == APPEND_PATH
    }

    /// How long the workload is measured; none where a number of requests or records ends it.
    pub(super) fn measured(&self) -> Option<Duration> {
        match (self.load.duration, self.load.count) {
            (Some(Span(time)), _) => Some(time),
            (None, Some(_)) => None,
            (None, None) => Some(Duration::from_secs(10)),
        }
    }

    /// How long the workload lasts at least, where it is time that ends it.
    pub(super) fn lasting(&self) -> Option<Duration> {
        self.measured().filter(|_| self.load.count.is_none())
    }

    /// Options that mean nothing to the workload are refused: whoever gives them expects something of them.
    ///
    /// # Errors
    /// [`BenchError::Option`] names the first one.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        use Workload::{Append, Catchup, Disk, Fanout, Get, Mixed};
        let (load, reading) = (&self.load, &self.reading);
        let is_beside_fanout = matches!(self.workload, Append | Catchup | Get | Disk);
        for (option, is_given, is_unfit) in [
            ("--subscribers", reading.subscribers.is_some(), is_beside_fanout),
            ("--limit", reading.limit.is_some(), matches!(self.workload, Append | Fanout | Disk)),
            ("--readers", reading.readers != 1, self.workload != Catchup),
            ("--getters", reading.getters != 1, self.workload != Mixed),
            ("--batch", load.batch != 1, matches!(self.workload, Catchup | Get | Disk)),
            ("--ack", load.ack.is_some(), matches!(self.workload, Catchup | Get | Disk)),
            ("--rate", load.rate.is_some(), matches!(self.workload, Catchup | Disk)),
            ("--warmup", load.warmup != Span(Duration::ZERO), matches!(self.workload, Catchup | Disk)),
            ("--connections", load.connections.is_some(), matches!(self.workload, Catchup | Disk)),
            ("--topics", self.reach.topics != 1, matches!(self.workload, Catchup | Get | Disk)),
        ] {
            if is_given && is_unfit {
                let workload = format!("{:?}", self.workload).to_lowercase();
                return Err(BenchError::Option(format!("{option} means nothing to {workload}")));
            }
        }
        Ok(())
    }

    /// Connections that append or get.
    pub(super) fn connections(&self) -> u32 {
        self.load.connections.unwrap_or(match self.workload {
            Workload::Fanout => 1,
            Workload::Mixed => 4,
            _ => 64,
        })
    }

    /// Subscribers.
    pub(super) fn subscribers(&self) -> u32 {
        self.reading.subscribers.unwrap_or(if self.workload == Workload::Mixed { 100 } else { 1_000 })
    }

    /// Records in a page.
    pub(super) fn limit(&self) -> u64 {
        self.reading.limit.unwrap_or(if self.workload == Workload::Catchup { 1_000 } else { 100 })
    }
}

/// A time, written with its unit: `30s`, `500ms`, `2m`; without one it is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is a whole number with ms, s or m")]
pub struct InvalidSpan;

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let millis: u64 = match unit {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            _ => return Err(InvalidSpan),
        };
        let number: u64 = digits.parse().map_err(|_| InvalidSpan)?;
        number.checked_mul(millis).map(|millis| Self(Duration::from_millis(millis))).ok_or(InvalidSpan)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(ByteSize::bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::testing::options;

    #[test]
    fn what_means_nothing_to_a_workload_is_refused() {
        for (workload, argument) in [
            ("append", "--subscribers=3"),
            ("fanout", "--limit=3"),
            ("get", "--batch=3"),
            ("mixed", "--readers=3"),
            ("catchup", "--warmup=1s"),
            ("catchup", "--rate=3"),
        ] {
            let refused = options(workload, &[argument]).check().unwrap_err().to_string();
            let (option, _) = argument.split_once('=').unwrap();
            assert_eq!(refused, format!("{option} means nothing to {workload}"));
        }
        for (workload, argument) in [("append", "--batch=3"), ("mixed", "--limit=3"), ("catchup", "--readers=3")] {
            assert!(options(workload, &[argument]).check().is_ok());
        }
    }

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        for (text, millis) in [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("7", 7_000), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "s", "1h", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615m"] {
            assert_eq!(text.parse::<Span>(), Err(InvalidSpan), "{text}");
        }
    }
}
