//! The program: reads what it is told, then serves, or measures one that serves.

use std::path::Path;
use std::process::ExitCode;

use persisting::cli::{self, Command};
use persisting::config::Config;
use persisting::server::{Claim, ServeError};
use persisting::{bench, runtime, server};

mod allocator;

/// Exit code of a stop that has lost accepted records.
const EXIT_LOST: u8 = 3;

fn main() -> ExitCode {
    set_environment();
    match cli::parse() {
        Ok(Command::Serve(config)) => serve(&config),
        Ok(Command::Bench(options)) => bench::main(&options),
        Err(error) => ExitCode::from(error.report()),
    }
}

fn serve(config: &Config) -> ExitCode {
    if let Err(error) = cli::start_logging(config.log_format) {
        return ExitCode::from(error.report());
    }
    let open_files = runtime::raise_open_files();
    runtime::be_prompt();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), open_files, ?config, "starting");
    let claim = match Claim::take(config) {
        Ok(claim) => claim,
        Err(error) => return failed(&error),
    };
    set_temporary(claim.scratch());
    match server::serve(config, claim, Vec::new()) {
        Ok(outcome) if outcome.unflushed_records > 0 => ExitCode::from(EXIT_LOST),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &ServeError) -> ExitCode {
    tracing::error!(%error, "the server cannot serve");
    ExitCode::from(cli::EXIT_FAILURE)
}

/// Sets what Lance can be told only by its environment, but for what the operator has set.
#[expect(
    unsafe_code,
    reason = "the environment is set at the top of main, where no other thread exists that could read it"
)]
fn set_environment() {
    for (name, value) in runtime::ENVIRONMENT {
        if std::env::var_os(name).is_none() {
            // SAFETY: `main` calls this first, and nothing has started a thread before it.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Has everything in this process make its temporary files in a folder: the system's may be small, in memory, or not there.
#[expect(
    unsafe_code,
    reason = "the environment is set before the runtimes are started, where no other thread exists that could read it"
)]
fn set_temporary(folder: &Path) {
    // SAFETY: until `server::serve` is called, which comes after, nothing has started a thread.
    unsafe { std::env::set_var("TMPDIR", folder) };
}
