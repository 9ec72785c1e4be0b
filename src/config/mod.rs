//! Every option of the server: what it is, its default, its limits.

use std::path::PathBuf;
use std::time::Duration;

mod options;
mod size;
#[cfg(test)]
mod tests;

pub use options::Options;
pub use size::ByteSize;

/// How the server's log is written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Everything that the server is told, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen, `HOST:PORT`; port 0 is any free one. Default `127.0.0.1:8080`.
    pub listen: String,
    /// The folder of everything that is kept. Default `./data`.
    pub data_dir: PathBuf,
    /// The longest body in bytes, decoded, of all but appends with `atomic=false`. 1 byte to 1 GiB, default 128 MiB.
    pub max_body_bytes: u64,
    /// The most records in an append, but with `atomic=false`. 1 to 100,000,000, default 1,000,000.
    pub max_batch_records: u64,
    /// The longest record in bytes of its text. 1 byte to 1 GiB, default 8 MiB.
    pub max_record_bytes: u64,
    /// Memory for recent records, in bytes. From 1 byte, default 256 MiB.
    pub tail_bytes: u64,
    /// Memory for committed records, in bytes; with those that are not committed at most half of `tail_bytes`. From 0, default
    /// half.
    pub recent_bytes: u64,
    /// Bodies in work at a time, in bytes. From 1 byte, default 256 MiB.
    pub max_inflight_bytes: u64,
    /// The log on disk, in bytes: past it appends wait. From 64 KiB, default 4 GiB.
    pub wal_max_bytes: u64,
    /// The log on disk, in bytes: past it old segments are freed with greater effort. From 4 KiB to `wal_max_bytes`, default
    /// 512 MiB, or half of `wal_max_bytes` where that is less.
    pub wal_target_bytes: u64,
    /// A segment of the log, in bytes. From 4 KiB to `wal_max_bytes`, default 64 MiB, or an eighth of `wal_target_bytes`
    /// where that is less.
    pub wal_segment_bytes: u64,
    /// Memory for records of `memory` topics, in bytes. From 1 byte, default 1 GiB.
    pub memory_limit_bytes: u64,
    /// Free space on the disk, in bytes, below which appends are refused. From 0, default 512 MiB.
    pub disk_floor_bytes: u64,
    /// The most connections at a time. 1 to 10,000,000, default 100,000.
    pub max_connections: u64,
    /// The most open streams. From 0, default 10,000.
    pub max_streams: u64,
    /// The most datasets kept open at a time. 1 to 100,000, default 256.
    pub max_open_datasets: u64,
    /// The most topics with metrics of their own, and the most cursors; the rest count as `other`. From 0 to 100,000, default
    /// 1,000.
    pub max_metric_topics: u64,
    /// The most cursors of a topic: past it a new one is 400. From 0 to 100,000, default 1,000.
    pub max_topic_cursors: u64,
    /// The most SQL queries at a time: past it they wait, then are 503. 1 to 1,000, default 4.
    pub max_queries: u64,
    /// The most rows of a SQL query's answer in JSON. 1 to 1,000,000, default 10,000.
    pub max_query_rows: u64,
    /// Memory of one SQL query, in bytes. From 1 MiB, default 256 MiB.
    pub query_memory_bytes: u64,
    /// The longest time of a SQL query. 1 to 3,600 s, default 30 s.
    pub query_timeout: Duration,
    /// Memory for what is kept of indexes, in bytes. From 0, default 256 MiB.
    pub index_cache_bytes: u64,
    /// The most searches at a time; more wait for their turn. 1 to 10,000, default 8.
    pub max_searches: u64,
    /// How long a search may take. 1 to 3,600 s, default 30 s.
    pub search_timeout: Duration,
    /// How long a stop may take. 0 to 3,600 s, default 8 s.
    pub shutdown_timeout: Duration,
    /// Origins of web pages that may use the service; `*` is any. Default none.
    pub cors_origins: Vec<String>,
    /// Folders outside the data folder that a `storage_path` may lie in. Default none.
    pub storage_roots: Vec<PathBuf>,
    /// Whether an append to an unknown topic makes it. Default no.
    pub auto_create: bool,
    /// Form of the server's log. Default text.
    pub log_format: LogFormat,
}

/// An option with a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct InvalidOption {
    /// The option, as it is written on the command line.
    pub option: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// A bound for sizes that only the machine limits: far past any, and far from overflow.
const SIZE_MAX: u64 = 1 << 50;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data_dir: PathBuf::from("./data"),
            max_body_bytes: 128 * MIB,
            max_batch_records: 1_000_000,
            max_record_bytes: 8 * MIB,
            tail_bytes: 256 * MIB,
            recent_bytes: 128 * MIB,
            max_inflight_bytes: 256 * MIB,
            wal_max_bytes: 4 * GIB,
            wal_target_bytes: 512 * MIB,
            wal_segment_bytes: 64 * MIB,
            memory_limit_bytes: GIB,
            disk_floor_bytes: 512 * MIB,
            max_connections: 100_000,
            max_streams: 10_000,
            max_open_datasets: 256,
            max_metric_topics: 1_000,
            max_topic_cursors: 1_000,
            max_queries: 4,
            max_query_rows: 10_000,
            query_memory_bytes: 256 * MIB,
            query_timeout: Duration::from_secs(30),
            index_cache_bytes: 256 * MIB,
            max_searches: 8,
            search_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(8),
            cors_origins: Vec::new(),
            storage_roots: Vec::new(),
            auto_create: false,
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// The configuration that the options give, with defaults for what they leave out.
    ///
    /// # Errors
    /// [`InvalidOption`] names the first one with a value that it cannot have.
    pub fn from_options(options: Options) -> Result<Self, InvalidOption> {
        let default = Self::default();
        let size = |given: Option<ByteSize>, default: u64| given.map_or(default, ByteSize::bytes);
        let wal_max_bytes = size(options.wal_max_bytes, default.wal_max_bytes);
        let wal_target_bytes = size(options.wal_target_bytes, default.wal_target_bytes.min(wal_max_bytes / 2));
        let tail_bytes = size(options.tail_bytes, default.tail_bytes);
        let segment = default.wal_segment_bytes.min(wal_target_bytes / 8).max(4 * KIB);
        let config = Self {
            listen: options.listen.unwrap_or(default.listen),
            data_dir: options.data_dir.unwrap_or(default.data_dir),
            max_body_bytes: size(options.max_body_bytes, default.max_body_bytes),
            max_batch_records: options.max_batch_records.unwrap_or(default.max_batch_records),
            max_record_bytes: size(options.max_record_bytes, default.max_record_bytes),
            tail_bytes,
            recent_bytes: size(options.recent_bytes, tail_bytes / 2),
            max_inflight_bytes: size(options.max_inflight_bytes, default.max_inflight_bytes),
            wal_max_bytes,
            wal_target_bytes,
            wal_segment_bytes: size(options.wal_segment_bytes, segment),
            memory_limit_bytes: size(options.memory_limit_bytes, default.memory_limit_bytes),
            disk_floor_bytes: size(options.disk_floor_bytes, default.disk_floor_bytes),
            max_connections: options.max_connections.unwrap_or(default.max_connections),
            max_streams: options.max_streams.unwrap_or(default.max_streams),
            max_open_datasets: options.max_open_datasets.unwrap_or(default.max_open_datasets),
            max_metric_topics: options.max_metric_topics.unwrap_or(default.max_metric_topics),
            max_topic_cursors: options.max_topic_cursors.unwrap_or(default.max_topic_cursors),
            max_queries: options.max_queries.unwrap_or(default.max_queries),
            max_query_rows: options.max_query_rows.unwrap_or(default.max_query_rows),
            query_memory_bytes: size(options.query_memory_bytes, default.query_memory_bytes),
            query_timeout: options.query_timeout_secs.map_or(default.query_timeout, Duration::from_secs),
            index_cache_bytes: size(options.index_cache_bytes, default.index_cache_bytes),
            max_searches: options.max_searches.unwrap_or(default.max_searches),
            search_timeout: options.search_timeout_secs.map_or(default.search_timeout, Duration::from_secs),
            shutdown_timeout: options.shutdown_timeout_secs.map_or(default.shutdown_timeout, Duration::from_secs),
            cors_origins: options.cors_origin.unwrap_or_default(),
            storage_roots: options.storage_root.unwrap_or_default(),
            auto_create: options.auto_create.unwrap_or(default.auto_create),
            log_format: options.log_format.unwrap_or(default.log_format),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), InvalidOption> {
        for (option, value, least, most) in [
            ("--max-body-bytes", self.max_body_bytes, 1, GIB),
            ("--max-batch-records", self.max_batch_records, 1, 100_000_000),
            ("--max-record-bytes", self.max_record_bytes, 1, GIB),
            ("--tail-bytes", self.tail_bytes, 1, SIZE_MAX),
            ("--recent-bytes", self.recent_bytes, 0, SIZE_MAX),
            ("--max-inflight-bytes", self.max_inflight_bytes, 1, SIZE_MAX),
            ("--wal-max-bytes", self.wal_max_bytes, 64 * KIB, SIZE_MAX),
            ("--wal-target-bytes", self.wal_target_bytes, 4 * KIB, self.wal_max_bytes),
            ("--wal-segment-bytes", self.wal_segment_bytes, 4 * KIB, self.wal_max_bytes.min(4 * GIB)),
            ("--memory-limit-bytes", self.memory_limit_bytes, 1, SIZE_MAX),
            ("--disk-floor-bytes", self.disk_floor_bytes, 0, SIZE_MAX),
            ("--max-connections", self.max_connections, 1, 10_000_000),
            ("--max-streams", self.max_streams, 0, 10_000_000),
            ("--max-open-datasets", self.max_open_datasets, 1, 100_000),
            ("--max-metric-topics", self.max_metric_topics, 0, 100_000),
            ("--max-topic-cursors", self.max_topic_cursors, 0, 100_000),
            ("--max-queries", self.max_queries, 1, 1_000),
            ("--max-query-rows", self.max_query_rows, 1, 1_000_000),
            ("--query-memory-bytes", self.query_memory_bytes, MIB, SIZE_MAX),
            ("--query-timeout-secs", self.query_timeout.as_secs(), 1, 3_600),
            ("--index-cache-bytes", self.index_cache_bytes, 0, SIZE_MAX),
            ("--max-searches", self.max_searches, 1, 10_000),
            ("--search-timeout-secs", self.search_timeout.as_secs(), 1, 3_600),
            ("--shutdown-timeout-secs", self.shutdown_timeout.as_secs(), 0, 3_600),
        ] {
            if value < least || value > most {
                let reason = format!("{value} is not in the range {least} to {most}");
                return Err(InvalidOption { option, reason });
            }
        }
        check_listen(&self.listen)?;
        let empty = |option| InvalidOption { option, reason: "a folder must be named".to_owned() };
        if self.data_dir.as_os_str().is_empty() {
            return Err(empty("--data-dir"));
        }
        if self.storage_roots.iter().any(|root| root.as_os_str().is_empty()) {
            return Err(empty("--storage-root"));
        }
        self.cors_origins.iter().try_for_each(|origin| check_origin(origin))
    }
}

fn check_listen(listen: &str) -> Result<(), InvalidOption> {
    let parts = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    // An IPv6 address needs its brackets, or its last group would be taken for the port.
    let parts = parts.filter(|(host, _)| !host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    if parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return Ok(());
    }
    let reason = format!("{listen:?} is not HOST:PORT, as in 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:80");
    Err(InvalidOption { option: "--listen", reason })
}

/// An origin as browsers send it: a scheme, a host and at most a port, and nothing else (RFC 6454).
fn check_origin(origin: &str) -> Result<(), InvalidOption> {
    let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
        let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        scheme_fits && !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && !"/?#@\\,*".contains(c))
    });
    if is_origin || origin == "*" || origin == "null" {
        return Ok(());
    }
    let reason =
        format!("{origin:?} is no origin: write \"*\" or scheme, host and port, as in https://example.org:8443");
    Err(InvalidOption { option: "--cors-origin", reason })
}
