//! The program: reads what it is told, then serves, or measures one that serves.

use std::path::Path;
use std::process::ExitCode;

use persisting::cli::{self, Command};
use persisting::config::Config;
use persisting::server::{Claim, ServeError};
use persisting::{bench, runtime, server};

/// Requests allocate and free much on many threads, and records live from an append to a commit: the system's allocator takes
/// a fifth of an append's time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a stop that has lost accepted records.
const EXIT_LOST: u8 = 3;

/// How many milliseconds memory that is free stays with the process, in mimalloc's terms. Each commit frees as much as it has
/// taken, and the next one begins within a second or ten: a page that had gone back meanwhile is zeroed anew by the system,
/// which took a sixth of all processor time.
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;
/// `mi_option_purge_delay`, and what it is where nobody has set it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
const USUAL_PURGE_DELAY_MS: std::ffi::c_long = 1_000;

fn main() -> ExitCode {
    set_allocator();
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

/// Tells the allocator how long to keep what is free, unless the operator has (`MIMALLOC_PURGE_DELAY`).
#[expect(unsafe_code, reason = "options are set at the top of main, where no other thread exists that could read them")]
fn set_allocator() {
    // SAFETY: `main` calls this first, and nothing has started a thread before it; both take any number of an option.
    unsafe {
        if libmimalloc_sys::mi_option_get(PURGE_DELAY) == USUAL_PURGE_DELAY_MS {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        }
    }
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
