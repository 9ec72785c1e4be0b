//! The server's own log: on stderr, never with the body of a record.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::CliError;
use crate::config::LogFormat;

/// What is logged where nothing is asked for: Lance tells every file that it touches at `info`.
const DEFAULT_FILTER: &str = "info,lance=warn";
/// The variables that ask for something else; the first that is set counts.
const FILTER_VARIABLES: [&str; 2] = ["PERSISTING_LOG", "RUST_LOG"];

/// Begins to log. Called once, before anything is logged.
///
/// # Errors
/// [`CliError::LogFilter`] for a filter that cannot be read, [`CliError::LogTwice`] when it was called before.
pub fn start_logging(format: LogFormat) -> Result<(), CliError> {
    let asked = FILTER_VARIABLES.into_iter().find_map(|name| {
        let filter = std::env::var(name).ok().filter(|filter| !filter.is_empty())?;
        Some((name, filter))
    });
    let (variable, filter) = asked.unwrap_or(("", DEFAULT_FILTER.to_owned()));
    let filter = filter_of(variable, &filter)?;
    let log = tracing_subscriber::fmt()
        // Told on stderr it would panic where that is what has failed.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| CliError::LogTwice)
}

fn filter_of(variable: &'static str, filter: &str) -> Result<EnvFilter, CliError> {
    EnvFilter::builder().parse(filter).map_err(|error| CliError::LogFilter { variable, cause: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_told_by_its_variable() {
        assert!(filter_of("", DEFAULT_FILTER).is_ok());
        let error = filter_of("PERSISTING_LOG", "info,persisting=loud").unwrap_err().to_string();
        assert!(error.starts_with("PERSISTING_LOG: "), "{error}");
    }
}
