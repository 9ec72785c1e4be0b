//! A load generator: many simulated clients over HTTP/1.1, what they measure, and whether what came back is right.
//!
//! It knows the server from outside only, so that it measures any other that takes records over HTTP in the same way.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::bench::cpu::Spent;
use crate::bench::disk::{DiskFigures, Until};
use crate::bench::marker::Clock;
use crate::bench::report::{Json, Report, Verdict};
use crate::bench::tally::Part;
use crate::bench::target::Target;
use crate::runtime;

mod appender;
mod catchup;
mod client;
mod cpu;
mod disk;
mod marker;
mod offsets;
mod options;
mod pace;
mod pages;
mod progress;
mod reading;
mod record;
mod report;
mod subscriber;
mod tally;
mod target;
#[cfg(test)]
mod testing;
mod writing;

pub use options::{DiskOptions, Format, InvalidSpan, Load, Options, Peer, Reach, Reading, Span, Telling, Workload};

/// The exit code for options that cannot be, as for those that are not even read.
const EXIT_USAGE: u8 = 2;
/// How long the disk is measured for each kind of file, beside another workload.
const DISK_GLANCE: Duration = Duration::from_secs(1);
/// Time for the connections to end when everything is measured.
const LAST_PATIENCE: Duration = Duration::from_millis(200);

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nobody takes connections there.
    #[error("no server answers at {url}: {cause}")]
    Unreachable {
        /// The server's URL.
        url: String,
        /// What the operating system answered.
        cause: String,
    },
    /// The server refuses what has to be done first.
    #[error("{what}: status {status}: {said}")]
    Refused {
        /// What cannot be done.
        what: String,
        /// The status of the answer.
        status: u16,
        /// Its body.
        said: String,
    },
    /// Options that cannot be used together.
    #[error("{0}")]
    Option(String),
    /// A folder whose disk cannot be measured.
    #[error("the disk of {folder} cannot be measured: {cause}")]
    Disk {
        /// The folder.
        folder: String,
        /// What the file system answered.
        cause: io::Error,
    },
    /// The operating system gives no thread.
    #[error("the process cannot start: {0}")]
    Process(#[source] io::Error),
    /// The result cannot be written.
    #[error("the result cannot be written: {0}")]
    Result(#[source] io::Error),
}

/// What every workload is given.
#[derive(Debug)]
struct Context<'o> {
    options: &'o Options,
    target: Target,
    clock: Clock,
}

/// What a workload has measured.
#[derive(Debug, Default)]
struct Measured {
    parts: Vec<Part>,
    verdict: Verdict,
    client_cpu_seconds: Option<f64>,
    server_cpu_seconds: Option<f64>,
}

/// Runs a workload as a program does, with its result on stdout. The exit code is 1 where nothing could be measured, an answer
/// was not as expected, or something that was verified is wrong; 2 where the options are.
pub fn main(options: &Options) -> ExitCode {
    // A thousand subscribers are a thousand sockets.
    runtime::raise_open_files();
    match run(options, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody reads what cannot be printed.
            drop(writeln!(io::stderr(), "error: {error}"));
            if matches!(error, BenchError::Option(_)) { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Runs a workload and writes what it has measured. Tells whether all answers were as expected and everything that was
/// verified is right.
///
/// # Errors
/// [`BenchError`]: nothing was measured, or the result cannot be written.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<bool, BenchError> {
    options.check()?;
    if options.telling.server_pid.is_some_and(|pid| !Spent::until_now(Some(pid)).knows_server()) {
        return Err(BenchError::Option("--server-pid: there is no such process on this machine".to_owned()));
    }
    // Before anything is measured: the result of an hour is not lost for a folder that is not there.
    let mut json = options.telling.json.as_deref().map(Json::at).transpose().map_err(BenchError::Result)?;
    let disk = measure_disk(options)?;
    let measured = if options.workload == Workload::Disk { Measured::default() } else { over_http(options)? };
    let report = Report::new(options, measured, disk);
    report.write(json.as_mut(), out).map_err(BenchError::Result)?;
    Ok(report.is_sound())
}

fn measure_disk(options: &Options) -> Result<Option<DiskFigures>, BenchError> {
    let (folder, until) = match options.workload {
        Workload::Disk => (&options.disk.dir, Until { time: options.measured(), syncs: options.load.count }),
        _ => (&options.telling.data_dir, Until { time: Some(DISK_GLANCE), syncs: None }),
    };
    folder.as_deref().map(|folder| disk::measure(folder, options.disk.bytes.max(1), until)).transpose()
}

fn over_http(options: &Options) -> Result<Measured, BenchError> {
    let threads = options.reach.threads;
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder.worker_threads(threads as usize).thread_name("bench").enable_all().build();
    let runtime = runtime.map_err(BenchError::Process)?;
    let measured = runtime.block_on(async {
        let context = Context { options, target: Target::find(options).await?, clock: Clock::start() };
        match options.workload {
            Workload::Append | Workload::Fanout | Workload::Mixed => writing::run(&context).await,
            Workload::Catchup => reading::catch_up(&context).await,
            Workload::Get => reading::get(&context).await,
            Workload::Disk => Ok(Measured::default()),
        }
    });
    runtime.shutdown_timeout(LAST_PATIENCE);
    measured
}

impl Context<'_> {
    /// The names of the topics that are written.
    fn topics(&self) -> Vec<String> {
        let reach = &self.options.reach;
        // Of two runs at the same time each has topics of its own.
        let (millis, process) = (self.clock.nanos(Instant::now()) / 1_000_000, std::process::id());
        let name = reach.topic.clone().unwrap_or_else(|| format!("bench-{millis}-{process}"));
        match reach.topics {
            1 => vec![name],
            count => (0..count).map(|number| format!("{name}-{number}")).collect(),
        }
    }

    /// The topic that is read.
    fn topic(&self) -> Result<&str, BenchError> {
        let given = self.options.reach.topic.as_deref();
        given.ok_or_else(|| BenchError::Option("--topic is missing: which topic shall be read?".to_owned()))
    }

    fn spent(&self) -> Spent {
        Spent::until_now(self.options.telling.server_pid)
    }

    /// What was measured since an earlier look at the processors' time.
    fn measured(&self, parts: Vec<Part>, verdict: Verdict, since: Spent) -> Measured {
        let spent = self.spent();
        Measured {
            parts,
            verdict,
            client_cpu_seconds: spent.client_since(since),
            server_cpu_seconds: spent.server_since(since),
        }
    }
}
