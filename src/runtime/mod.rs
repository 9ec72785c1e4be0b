//! What the process runs on: three runtimes, the tasks on them, and the faults that only a restart mends.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

mod health;
mod limits;
mod memory;
mod slice;
mod tasks;

pub use health::{Fault, Health};
pub use limits::{connections_max, raise_open_files};
pub use memory::anonymous_bytes;
pub use tasks::Tasks;

/// Environment variables that bound what Lance takes on a small machine. Lance reads some of them only once, and has no
/// other way to be told, so they are set before any thread exists; one that the operator has set stays as it is.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    // Two that graphs are built on, of a large fragment or in a dataset that has gone meanwhile, and one that commits go on.
    ("LANCE_CPU_THREADS", "3"),
    ("LANCE_IO_THREADS", "8"),
    ("LANCE_DEFAULT_IO_BUFFER_SIZE", "67108864"),
    ("LANCE_DEFAULT_FRAGMENT_READAHEAD", "4"),
    // The hint costs a file for each commit and saves nothing on a local disk.
    ("LANCE_USE_VERSION_HINT", "0"),
];

/// Stack of a Lance thread: expressions and nested types are walked by recursion.
const LANCE_STACK_BYTES: usize = 8 << 20;
/// How much a Lance thread steps back for those that somebody waits for (see `nice(2)`): a commit keeps a processor busy for a
/// tenth of a second, and appends meanwhile must not wait for their turn.
const LANCE_STEP: i32 = 5;
/// How long threads compute at a stretch: those that somebody waits for compute little and often, and what Lance and queries
/// begin, they go on with.
const PROMPT_SLICE: Duration = Duration::from_micros(100);
const PATIENT_SLICE: Duration = Duration::from_millis(3);
/// Stack of a thread of queries: what a client writes is planned by recursion, as deep as it is nested.
pub const QUERY_STACK_BYTES: usize = 64 << 20;
/// How much a thread of queries steps back, even for commits.
const QUERY_STEP: i32 = 10;
/// Threads beside those that queries may all hold at once, so that searches go on: what a query is doing may take long before
/// it lets others run.
const SEARCH_WORKERS: usize = 2;
/// The most threads of queries, however many may run.
const QUERY_WORKERS_MAX: usize = 256;
/// Threads for blocking calls beside the HTTP workers: SQLite and the log have threads of their own.
const HTTP_BLOCKING_MAX: usize = 16;
/// Threads for blocking calls beside the Lance workers; Lance reads files on them.
const LANCE_BLOCKING_MAX: usize = 16;

/// How many processors there are for the process, as far as is known; at least two.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).max(2)
}

/// Three runtimes, so that a scan or a commit never delays an acknowledgement, and a query neither: one for HTTP, the log
/// and the catalog, one for everything that Lance does, one for what queries make of it.
#[derive(Debug)]
pub struct Runtimes {
    http: Runtime,
    lance: Runtime,
    queries: Runtime,
}

impl Runtimes {
    /// Starts them, each with a worker for each of `cpus`, at least two; that of queries with more than there are `queries` at a
    /// time.
    ///
    /// # Errors
    /// What the operating system answers when a thread cannot be started.
    pub fn start(cpus: usize, queries: usize) -> io::Result<Self> {
        let workers = cpus.max(2);
        let query_workers = queries.saturating_add(SEARCH_WORKERS).min(QUERY_WORKERS_MAX).max(workers);
        let http = Builder::new_multi_thread()
            .thread_name("http")
            .worker_threads(workers)
            .max_blocking_threads(HTTP_BLOCKING_MAX)
            .enable_all()
            .build()?;
        let lance = Builder::new_multi_thread()
            .thread_name("lance")
            .worker_threads(workers)
            .max_blocking_threads(LANCE_BLOCKING_MAX)
            .thread_stack_size(LANCE_STACK_BYTES)
            .on_thread_start(|| step_back(LANCE_STEP))
            .enable_all()
            .build()?;
        let queries = Builder::new_multi_thread()
            .thread_name("queries")
            .worker_threads(query_workers)
            .max_blocking_threads(1)
            .thread_stack_size(QUERY_STACK_BYTES)
            .on_thread_start(|| step_back(QUERY_STEP))
            .enable_all()
            .build()?;
        Ok(Self { http, lance, queries })
    }

    /// Starts them for this machine's processors.
    ///
    /// # Errors
    /// As [`Runtimes::start`].
    pub fn for_this_machine(queries: usize) -> io::Result<Self> {
        Self::start(processors(), queries)
    }

    /// Where connections, the log and the catalog run.
    pub fn http(&self) -> &Handle {
        self.http.handle()
    }

    /// Where Lance reads, commits and keeps up its datasets.
    pub fn lance(&self) -> &Handle {
        self.lance.handle()
    }

    /// Where queries are planned and run.
    pub fn queries(&self) -> &Handle {
        self.queries.handle()
    }

    /// Runs a future on the HTTP runtime to its end, from a thread that belongs to none.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.http.block_on(future)
    }

    /// Ends them, waiting at most `patience` for each one's blocking calls. Tasks still running are dropped.
    pub fn shut_down(self, patience: Duration) {
        self.http.shutdown_timeout(patience);
        self.queries.shutdown_timeout(patience);
        self.lance.shutdown_timeout(patience);
    }
}

/// Lets the thread that calls it, and those that it starts, have their turn soon; before any other thread is started.
pub fn be_prompt() {
    slice::set_slice(PROMPT_SLICE);
}

/// Lowers the priority of the thread that calls it, and of those that it starts. Elsewhere than on Linux it is the process's.
fn step_back(steps: i32) {
    slice::set_slice(PATIENT_SLICE);
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(steps)
    {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_have_threads_of_their_own_names() {
        let runtimes = Runtimes::start(1, 1).unwrap();
        let lance = runtimes.lance().spawn(async { std::thread::current().name().map(str::to_owned) });
        let http = runtimes.http().spawn(async { std::thread::current().name().map(str::to_owned) });
        let queries = runtimes.queries().spawn(async { std::thread::current().name().map(str::to_owned) });
        let names = runtimes.block_on(async { [http.await.unwrap(), lance.await.unwrap(), queries.await.unwrap()] });
        assert_eq!(names, ["http", "lance", "queries"].map(|name| Some(name.to_owned())));
        runtimes.shut_down(Duration::from_secs(1));
    }
}
