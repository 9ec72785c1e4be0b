//! The program: reads what it is told, then serves.

use std::process::ExitCode;

use persisting::cli::{self, CliError, Command};
use persisting::runtime;

fn main() -> ExitCode {
    set_environment();
    match run() {
        Ok(code) => code,
        Err(error) => ExitCode::from(error.report()),
    }
}

fn run() -> Result<ExitCode, CliError> {
    let Command::Serve(config) = cli::parse()?;
    cli::start_logging(config.log_format)?;
    let open_files = runtime::raise_open_files();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), open_files, ?config, "starting");
    Ok(ExitCode::SUCCESS)
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
