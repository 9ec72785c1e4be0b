//! The options as they are given, on the command line, in the environment or in a file.

use std::path::PathBuf;

use clap::Args;

use crate::config::{ByteSize, LogFormat};

/// What was given; what is absent was not. The command line and the environment fill it through clap, a file through its
/// keys, which are the long options with `_` for `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where to listen; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, env = "PERSISTING_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Folder of everything that is kept; made where it is missing [default: ./data]
    #[arg(long, env = "PERSISTING_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Longest request body in bytes, decoded; past it 413. Not for appends with atomic=false [default: 128MiB]
    #[arg(long, env = "PERSISTING_MAX_BODY_BYTES", value_name = "BYTES")]
    pub max_body_bytes: Option<ByteSize>,
    /// Most records in one append; past it 413. Not with atomic=false [default: 1000000]
    #[arg(long, env = "PERSISTING_MAX_BATCH_RECORDS", value_name = "RECORDS")]
    pub max_batch_records: Option<u64>,
    /// Longest record in bytes of its JSON text; past it 413 [default: 8MiB]
    #[arg(long, env = "PERSISTING_MAX_RECORD_BYTES", value_name = "BYTES")]
    pub max_record_bytes: Option<ByteSize>,
    /// Memory for recent records in bytes; past it appends wait 2 s, then get 503 [default: 256MiB]
    #[arg(long, env = "PERSISTING_TAIL_BYTES", value_name = "BYTES")]
    pub tail_bytes: Option<ByteSize>,
    /// Memory for committed records, kept for up to a minute for readers close behind; with those that are not committed at
    /// most half of --tail-bytes [default: 128MiB, half of --tail-bytes]
    #[arg(long, env = "PERSISTING_RECENT_BYTES", value_name = "BYTES")]
    pub recent_bytes: Option<ByteSize>,
    /// Bytes of appends in work at a time; past it appends wait 2 s, then get 503 [default: 256MiB]
    #[arg(long, env = "PERSISTING_MAX_INFLIGHT_BYTES", value_name = "BYTES")]
    pub max_inflight_bytes: Option<ByteSize>,
    /// Write-ahead log on disk in bytes; past it appends wait 2 s, then get 503 [default: 4GiB]
    #[arg(long, env = "PERSISTING_WAL_MAX_BYTES", value_name = "BYTES")]
    pub wal_max_bytes: Option<ByteSize>,
    /// Write-ahead log in bytes that is aimed at: past it what holds old segments is copied to the log's head so that they
    /// can be freed [default: 512MiB, at most half of --wal-max-bytes]
    #[arg(long, env = "PERSISTING_WAL_TARGET_BYTES", value_name = "BYTES")]
    pub wal_target_bytes: Option<ByteSize>,
    /// Size of one file of the write-ahead log in bytes [default: 64MiB, at most an eighth of --wal-target-bytes]
    #[arg(long, env = "PERSISTING_WAL_SEGMENT_BYTES", value_name = "BYTES")]
    pub wal_segment_bytes: Option<ByteSize>,
    /// Memory for the records of memory topics in bytes; past it 507 [default: 1GiB]
    #[arg(long, env = "PERSISTING_MEMORY_LIMIT_BYTES", value_name = "BYTES")]
    pub memory_limit_bytes: Option<ByteSize>,
    /// Free disk space in bytes below which appends get 507 [default: 512MiB]
    #[arg(long, env = "PERSISTING_DISK_FLOOR_BYTES", value_name = "BYTES")]
    pub disk_floor_bytes: Option<ByteSize>,
    /// Most connections at a time, and at most three quarters of the files that the system lets the process open; past it they
    /// wait to be taken [default: 100000]
    #[arg(long, env = "PERSISTING_MAX_CONNECTIONS", value_name = "CONNECTIONS")]
    pub max_connections: Option<u64>,
    /// Most streams open at a time; past it clients are told to come back [default: 10000]
    #[arg(long, env = "PERSISTING_MAX_STREAMS", value_name = "STREAMS")]
    pub max_streams: Option<u64>,
    /// Most datasets kept open at a time; the longest unused one is closed [default: 256]
    #[arg(long, env = "PERSISTING_MAX_OPEN_DATASETS", value_name = "DATASETS")]
    pub max_open_datasets: Option<u64>,
    /// Most topics with series of their own on /metrics, and most cursors; the rest count as "other" [default: 1000]
    #[arg(long, env = "PERSISTING_MAX_METRIC_TOPICS", value_name = "TOPICS")]
    pub max_metric_topics: Option<u64>,
    /// Most cursors of a topic; past it a new one gets 400 [default: 1000]
    #[arg(long, env = "PERSISTING_MAX_TOPIC_CURSORS", value_name = "CURSORS")]
    pub max_topic_cursors: Option<u64>,
    /// Most SQL queries at a time; past it they wait 2 s, then get 503 [default: 4]
    #[arg(long, env = "PERSISTING_MAX_QUERIES", value_name = "QUERIES")]
    pub max_queries: Option<u64>,
    /// Most rows of a SQL query's answer in JSON; past it the answer is truncated [default: 10000]
    #[arg(long, env = "PERSISTING_MAX_QUERY_ROWS", value_name = "ROWS")]
    pub max_query_rows: Option<u64>,
    /// Memory of one SQL query in bytes; past it 400 [default: 256MiB]
    #[arg(long, env = "PERSISTING_QUERY_MEMORY_BYTES", value_name = "BYTES")]
    pub query_memory_bytes: Option<ByteSize>,
    /// Longest time of a SQL query in seconds, its whole answer included; past it 400 [default: 30]
    #[arg(long, env = "PERSISTING_QUERY_TIMEOUT_SECS", value_name = "SECONDS")]
    pub query_timeout_secs: Option<u64>,
    /// Memory for what is kept of indexes between searches [default: 256MiB]
    #[arg(long, env = "PERSISTING_INDEX_CACHE_BYTES", value_name = "SIZE")]
    pub index_cache_bytes: Option<ByteSize>,
    /// Most searches at a time; more wait 2 s for their turn, then get 503 [default: 8]
    #[arg(long, env = "PERSISTING_MAX_SEARCHES", value_name = "SEARCHES")]
    pub max_searches: Option<u64>,
    /// Longest time that a search may take, in seconds; then it gets 503 [default: 30]
    #[arg(long, env = "PERSISTING_SEARCH_TIMEOUT_SECS", value_name = "SECONDS")]
    pub search_timeout_secs: Option<u64>,
    /// Longest time that a stop may take, in seconds [default: 8]
    #[arg(long, env = "PERSISTING_SHUTDOWN_TIMEOUT_SECS", value_name = "SECONDS")]
    pub shutdown_timeout_secs: Option<u64>,
    /// Origin whose web pages may use the service, or * for any; can be repeated (commas in the environment) [default: none]
    #[arg(long, env = "PERSISTING_CORS_ORIGIN", value_name = "ORIGIN")]
    pub cors_origin: Option<Vec<String>>,
    /// Folder outside the data folder that a topic's storage_path may lie in; can be repeated (commas in the environment)
    /// [default: none]
    #[arg(long, env = "PERSISTING_STORAGE_ROOT", value_name = "FOLDER")]
    pub storage_root: Option<Vec<PathBuf>>,
    /// Make a topic with defaults when records are appended to an unknown one [default: false]
    #[arg(long, env = "PERSISTING_AUTO_CREATE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub auto_create: Option<bool>,
    /// Form of the server's own log on stderr; PERSISTING_LOG filters it, as in "info,lance=warn" [default: text]
    #[arg(long, env = "PERSISTING_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Options {
    /// These options, and those of `other` where these have none.
    #[must_use]
    pub fn or(self, other: Options) -> Options {
        Options {
            listen: self.listen.or(other.listen),
            data_dir: self.data_dir.or(other.data_dir),
            max_body_bytes: self.max_body_bytes.or(other.max_body_bytes),
            max_batch_records: self.max_batch_records.or(other.max_batch_records),
            max_record_bytes: self.max_record_bytes.or(other.max_record_bytes),
            tail_bytes: self.tail_bytes.or(other.tail_bytes),
            recent_bytes: self.recent_bytes.or(other.recent_bytes),
            max_inflight_bytes: self.max_inflight_bytes.or(other.max_inflight_bytes),
            wal_max_bytes: self.wal_max_bytes.or(other.wal_max_bytes),
            wal_target_bytes: self.wal_target_bytes.or(other.wal_target_bytes),
            wal_segment_bytes: self.wal_segment_bytes.or(other.wal_segment_bytes),
            memory_limit_bytes: self.memory_limit_bytes.or(other.memory_limit_bytes),
            disk_floor_bytes: self.disk_floor_bytes.or(other.disk_floor_bytes),
            max_connections: self.max_connections.or(other.max_connections),
            max_streams: self.max_streams.or(other.max_streams),
            max_open_datasets: self.max_open_datasets.or(other.max_open_datasets),
            max_metric_topics: self.max_metric_topics.or(other.max_metric_topics),
            max_topic_cursors: self.max_topic_cursors.or(other.max_topic_cursors),
            max_queries: self.max_queries.or(other.max_queries),
            max_query_rows: self.max_query_rows.or(other.max_query_rows),
            query_memory_bytes: self.query_memory_bytes.or(other.query_memory_bytes),
            query_timeout_secs: self.query_timeout_secs.or(other.query_timeout_secs),
            index_cache_bytes: self.index_cache_bytes.or(other.index_cache_bytes),
            max_searches: self.max_searches.or(other.max_searches),
            search_timeout_secs: self.search_timeout_secs.or(other.search_timeout_secs),
            shutdown_timeout_secs: self.shutdown_timeout_secs.or(other.shutdown_timeout_secs),
            cors_origin: self.cors_origin.or(other.cors_origin),
            storage_root: self.storage_root.or(other.storage_root),
            auto_create: self.auto_create.or(other.auto_create),
            log_format: self.log_format.or(other.log_format),
        }
    }
}
