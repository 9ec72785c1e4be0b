//! Persisting: topics as append-only logs of JSON records over HTTP and Server-Sent Events, on pluggable storage.

pub mod backend;
pub mod bench;
pub mod catalog;
pub mod cli;
pub mod codec;
pub mod config;
pub mod engine;
pub mod filter;
pub mod http;
pub mod io;
pub mod metrics;
pub mod model;
pub mod runtime;
pub mod schema;
pub mod search;
pub mod server;
pub mod sql;
pub mod table;
pub mod tail;
pub mod topic;
pub mod wal;
