//! The tests that need the whole: real backends, real processes.
#![allow(unreachable_pub, reason = "a test binary has no users")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails so"
)]

mod bench;
mod bounds;
mod contract;
mod copied;
mod crash;
mod http;
mod on_disk;
mod openapi;
mod sim;
mod support;
mod tidy;
