//! The command line. Precedence: option, environment, file, default.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench;
use crate::config::{Config, InvalidOption, Options};

mod logging;
#[cfg(test)]
mod tests;

pub use logging::start_logging;

/// Exit code of a failure while running.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a command line or configuration that cannot be used.
pub const EXIT_USAGE: u8 = 2;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To serve topics.
    Serve(Box<Config>),
    /// To measure a server.
    Bench(Box<bench::Options>),
}

/// A command line or configuration that cannot be used, or one that is answered at once.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A wrong option, or `--help` or `--version`; clap has the text and the exit code.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file of `--config` could not be read.
    #[error("--config {path}: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the file system answered.
        cause: String,
    },
    /// The file of `--config` has an unknown key, or a value of a wrong type.
    #[error("--config {path}: {cause}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong, and where.
        cause: String,
    },
    /// The filter of the log cannot be read.
    #[error("{variable}: {cause}")]
    LogFilter {
        /// The environment variable that holds it.
        variable: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Something else logs already.
    #[error("the log was started twice")]
    LogTwice,
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Option(#[from] InvalidOption),
}

/// Topics: append-only logs of JSON records over HTTP and Server-Sent Events, stored as Lance datasets.
#[derive(Debug, Parser)]
#[command(name = "persisting", version, propagate_version = true)]
struct Line {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve topics over HTTP
    ///
    /// An option on the command line outranks the environment, the environment outranks the file, the file the default.
    /// BYTES is a number, or one with KiB, MiB, GiB or TiB.
    Serve(Box<Serve>),
    /// Measure a server, this one or another that takes records over HTTP
    ///
    /// BYTES is a number, or one with KiB, MiB, GiB or TiB. The exit code is 1 where an answer was not as expected, or where
    /// something is lost, doubled or out of order.
    Bench(Box<bench::Options>),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// TOML file with options; its keys are the long options with _ for -
    #[arg(long, env = "PERSISTING_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl CliError {
    /// Prints it where it belongs (`--help` and `--version` on stdout, the rest on stderr) and tells the exit code.
    pub fn report(&self) -> u8 {
        use std::io::Write;
        let outcome = match self {
            CliError::Arguments(error) if error.exit_code() == 0 => error.print().map(|()| 0),
            CliError::Arguments(error) => error.print().map(|()| EXIT_USAGE),
            other => writeln!(std::io::stderr(), "error: {other}").map(|()| EXIT_USAGE),
        };
        // Nobody reads what could not be printed.
        outcome.unwrap_or(EXIT_USAGE)
    }
}

/// Reads the process's command line and environment, and the file that they name.
///
/// # Errors
/// [`CliError`], whose [`CliError::report`] tells the exit code.
pub fn parse() -> Result<Command, CliError> {
    parse_from(std::env::args_os())
}

/// As [`parse`], with other arguments; the first is the program's name.
///
/// # Errors
/// As [`parse`].
pub fn parse_from(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Command, CliError> {
    let matches = Line::command().try_get_matches_from(arguments)?;
    let mut serve = match Line::from_arg_matches(&matches)?.command {
        Subcommands::Serve(serve) => serve,
        Subcommands::Bench(options) => return Ok(Command::Bench(options)),
    };
    if let Some(matches) = matches.subcommand_matches("serve") {
        split_lists(&mut serve.options, matches);
    }
    let file = match &serve.config {
        Some(path) => read_file(path)?,
        None => Options::default(),
    };
    Ok(Command::Serve(Box::new(Config::from_options(serve.options.or(file))?)))
}

/// An environment variable holds a list with commas; an option is repeated instead, so a folder's name can have one.
fn split_lists(options: &mut Options, matches: &ArgMatches) {
    let in_environment = |name| matches.value_source(name) == Some(ValueSource::EnvVariable);
    if in_environment("cors_origin") {
        options.cors_origin = options.cors_origin.take().map(|all| all.iter().flat_map(|text| split(text)).collect());
    }
    if in_environment("storage_root") {
        let split_path = |path: &PathBuf| split(&path.to_string_lossy()).map(PathBuf::from).collect::<Vec<_>>();
        options.storage_root = options.storage_root.take().map(|all| all.iter().flat_map(split_path).collect());
    }
}

fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
}

fn read_file(path: &Path) -> Result<Options, CliError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Unreadable { path: name.clone(), cause: error.to_string() })?;
    toml::from_str(&text)
        .map_err(|error| CliError::Malformed { path: name, cause: error.to_string().trim_end().to_owned() })
}
