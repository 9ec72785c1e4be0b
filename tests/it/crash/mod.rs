//! A real server is killed again and again under load, and nothing acknowledged may be lost, doubled or changed.
//!
//! `make crash CYCLES=200`. The test prints its seed (`PERSISTING_CRASH_SEED`), which fixes what is done and when; how the
//! threads of client and server interleave is the machine's. A failure names the cycle, the topic and the offset, and keeps
//! the data folder.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which tell by panics and on stdout"
)]

mod client;
mod cycles;
mod keepers;
mod ledger;
mod points;
mod posted;
mod proxy;
mod pylance;
mod quarantine;
mod random;
mod reading;
mod relocated;
mod stops;
mod tagged;
mod values;
mod verify;
mod world;
mod writers;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|given| given.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kills() {
    let (seed, cycles) = (number("PERSISTING_CRASH_SEED", 1), number("PERSISTING_CRASH_CYCLES", 4));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(cycles::run(seed, cycles));
}
