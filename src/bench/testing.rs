//! What several tests need.

use clap::Parser;

use crate::bench::Options;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// The options of a command line.
pub(super) fn options(workload: &str, arguments: &[&str]) -> Options {
    Line::try_parse_from(["bench", workload].iter().chain(arguments)).unwrap().options
}
