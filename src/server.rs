//! The wiring of the whole: open, recover, serve, stop.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::backend::BackendFactory;
use crate::config::Config;
use crate::engine::{Engine, EngineOptions, Parts, StartError};
use crate::http::{self, ApiState, HttpLimits};
use crate::io::{DataDirLock, Disk, LockError, RealDisk, SystemClock};
use crate::metrics::Metrics;
use crate::runtime::{self, Health, Runtimes, Tasks};
use crate::search::SearchLimits;
use crate::sql::{Queries, QueryLimits};
use crate::table::lance::LanceTables;
use crate::topic::InflightBudget;
use crate::wal::WalObserver;

/// The part of the time for a stop that is kept for committing what only memory holds, once the connections have ended.
const FLUSH_SHARE: u32 = 2;
/// How long merges and builds of indexes get to see that they are to stop.
const UPKEEP_PATIENCE: Duration = Duration::from_secs(1);
/// How long threads that block on the disk may hold up the very end.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// How a server ended that was asked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Accepted records of topics without a log that could not be committed in time: they are lost.
    pub unflushed_records: u64,
    /// Connections that did not end in time.
    pub cut_connections: usize,
}

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The operating system gives no thread or signal handler.
    #[error("the process cannot start: {0}")]
    Process(#[source] io::Error),
    /// The data folder cannot be had.
    #[error("{}", with_cause(.0))]
    Lock(#[from] LockError),
    /// The data folder cannot be laid out.
    #[error("the data folder {folder} cannot be used: {cause}")]
    Folder {
        /// Which folder.
        folder: String,
        /// What the file system answered.
        cause: io::Error,
    },
    /// Nobody can connect.
    #[error("--listen {listen}: {cause}")]
    Listen {
        /// The address as it was given.
        listen: String,
        /// What the operating system answered.
        cause: io::Error,
    },
    /// The catalog or the log cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
}

fn with_cause(error: &LockError) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A data folder that is this process's alone, for as long as it serves.
#[derive(Debug)]
pub struct Claim {
    lock: DataDirLock,
    scratch: PathBuf,
}

impl Claim {
    /// Takes the data folder. Starts no thread.
    ///
    /// # Errors
    /// [`ServeError::Lock`], [`ServeError::Folder`].
    pub fn take(config: &Config) -> Result<Self, ServeError> {
        let lock = DataDirLock::acquire(&config.data_dir)?;
        let folder = || config.data_dir.display().to_string();
        let scratch = lock.scratch().map_err(|cause| ServeError::Folder { folder: folder(), cause })?;
        Ok(Self { lock, scratch })
    }

    /// Where temporary files are to be: beside the data, where there is room for them if anywhere. Lance makes its own where the
    /// environment says so.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }
}

/// Serves until the process is told to stop (SIGTERM or SIGINT; the second one ends it at once), with backends beside the
/// built-in ones. Prints `listening on http://ADDR` on stdout when connections are taken, which is before recovery has
/// ended.
///
/// # Errors
/// [`ServeError`]: nothing was served, or recovery failed.
pub fn serve(config: &Config, claim: Claim, backends: Vec<Arc<dyn BackendFactory>>) -> Result<Outcome, ServeError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    lay_out(&*disk, &config.data_dir)?;
    let queries = usize::try_from(config.max_queries).unwrap_or(usize::MAX);
    let runtimes = Runtimes::for_this_machine(queries).map_err(ServeError::Process)?;
    let tables = LanceTables::new(
        Arc::clone(&disk),
        runtimes.lance().clone(),
        usize::try_from(config.max_open_datasets).unwrap_or(usize::MAX),
    );
    let index_cache = usize::try_from(config.index_cache_bytes).unwrap_or(usize::MAX);
    let tables = Arc::new(tables.with_index_cache(index_cache).with_disk_floor(config.disk_floor_bytes));
    let upkeep = Arc::clone(&tables);
    let tasks = Tasks::new(runtimes.http().clone(), Health::new());
    let parts = |metrics: &Arc<Metrics>| Parts {
        disk,
        clock: Arc::new(SystemClock),
        tables,
        tasks: tasks.child(),
        backends,
        wal_observer: Some(log_syncs(metrics)),
    };
    let outcome = runtimes.block_on(run(config, parts, runtimes.queries().clone()));
    // Lance panics where a thread pool ends beneath its work.
    let stopped = runtimes.block_on(async { tokio::time::timeout(UPKEEP_PATIENCE, upkeep.stop_upkeep()).await });
    if stopped.is_err() {
        tracing::warn!("a merge or the build of an index was cut off; the next start begins it again");
    }
    runtimes.shut_down(LAST_PATIENCE);
    drop(claim.lock);
    outcome
}

/// Makes the folders that are always there, and their names durable.
fn lay_out(disk: &dyn Disk, data_dir: &Path) -> Result<(), ServeError> {
    let made = ["wal", "datasets", "topics"].iter().try_for_each(|folder| disk.create_folder(&data_dir.join(folder)));
    let synced = made.and_then(|()| {
        let resolved = data_dir.canonicalize()?;
        disk.sync_folder(&resolved)?;
        resolved.parent().map_or(Ok(()), |above| disk.sync_folder(above))
    });
    synced.map_err(|cause| ServeError::Folder { folder: data_dir.display().to_string(), cause })
}

async fn run(
    config: &Config,
    parts: impl FnOnce(&Arc<Metrics>) -> Parts,
    queries: tokio::runtime::Handle,
) -> Result<Outcome, ServeError> {
    let signals = Signals::new().map_err(ServeError::Process)?;
    let metrics = Arc::new(Metrics::new(usize::try_from(config.max_metric_topics).unwrap_or(usize::MAX)));
    let draining = CancellationToken::new();
    let engine = Engine::recovering(config.auto_create, Arc::clone(&metrics), draining.clone());
    let parts = parts(&metrics);
    let tasks = parts.tasks.clone();

    let (listener, address) = listen(&config.listen).await?;
    announce(address);
    let inflight = InflightBudget::new(config.max_inflight_bytes);
    let limits = http_limits(config, address);
    let queries = Queries::new(Arc::clone(&engine), queries, query_limits(config));
    let service = http::service(ApiState::new(Arc::clone(&engine), Arc::clone(&metrics), limits, inflight, queries));

    tasks.spawn("signals", signals.watch(draining.clone()));
    let recovery = recover(Arc::clone(&engine), engine_options(config), parts, Arc::clone(&metrics));
    let connections_max = runtime::connections_max(config.max_connections);
    let patience = config.shutdown_timeout / FLUSH_SHARE;
    let serving = http::serve(listener, service, draining.clone(), connections_max, patience);
    let stopping = async {
        draining.cancelled().await;
        Instant::now() + config.shutdown_timeout
    };
    let served = async { tokio::join!(serving, stopping) };
    tokio::pin!(recovery, served);
    let mut recovered = false;
    let (cut_connections, deadline) = loop {
        tokio::select! {
            outcome = &mut recovery, if !recovered => {
                outcome?;
                recovered = true;
            }
            ended = &mut served => break ended,
        }
    };
    if cut_connections > 0 {
        tracing::warn!(cut_connections, "connections were cut because they did not end in time");
    }
    let report = engine.shut_down(deadline).await;
    if report.unflushed_records > 0 {
        let records = report.unflushed_records;
        tracing::error!(
            records,
            "accepted records of topics without a log could not be committed in time and are lost"
        );
    }
    tracing::info!("stopped");
    Ok(Outcome { unflushed_records: report.unflushed_records, cut_connections })
}

async fn recover(
    engine: Arc<Engine>,
    options: EngineOptions,
    parts: Parts,
    metrics: Arc<Metrics>,
) -> Result<(), StartError> {
    let began = Instant::now();
    engine.recover(options, parts).await?;
    let took = began.elapsed();
    metrics.recovery_duration.set(took.as_secs_f64());
    tracing::info!(millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "ready");
    Ok(())
}

async fn listen(at: &str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let fail = |cause| ServeError::Listen { listen: at.to_owned(), cause };
    let listener = TcpListener::bind(at).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

/// The one line on stdout, for whoever has started the server and waits for it.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    if writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush()).is_err() {
        tracing::debug!("nobody reads stdout");
    }
    tracing::info!(%address, "listening");
}

fn http_limits(config: &Config, address: SocketAddr) -> HttpLimits {
    HttpLimits {
        max_body_bytes: config.max_body_bytes,
        max_streams: usize::try_from(config.max_streams).unwrap_or(usize::MAX),
        searches: SearchLimits {
            at_once: usize::try_from(config.max_searches).unwrap_or(usize::MAX),
            time: config.search_timeout,
        },
        cors_origins: config.cors_origins.clone(),
        loopback: address.ip().to_canonical().is_loopback(),
        ..HttpLimits::default()
    }
}

fn query_limits(config: &Config) -> QueryLimits {
    QueryLimits {
        queries_max: usize::try_from(config.max_queries).unwrap_or(usize::MAX),
        timeout: config.query_timeout,
        reader_patience: QueryLimits::default().reader_patience,
        memory_bytes: config.query_memory_bytes,
        rows_max: config.max_query_rows,
    }
}

fn engine_options(config: &Config) -> EngineOptions {
    EngineOptions {
        data_dir: config.data_dir.clone(),
        storage_roots: config.storage_roots.clone(),
        auto_create: config.auto_create,
        tail_bytes: config.tail_bytes,
        process_bytes_max: Some(config.tail_bytes.saturating_add(config.max_inflight_bytes)),
        recent_bytes: config.recent_bytes,
        memory_limit_bytes: config.memory_limit_bytes,
        wal_bytes_max: config.wal_max_bytes,
        wal_target_bytes: config.wal_target_bytes,
        wal_segment_bytes: config.wal_segment_bytes,
        disk_floor_bytes: config.disk_floor_bytes,
        record_bytes_max: config.max_record_bytes,
        batch_records_max: config.max_batch_records,
        cursors_max: config.max_topic_cursors,
    }
}

/// What counts the log's syncs.
pub fn log_syncs(metrics: &Arc<Metrics>) -> Arc<dyn WalObserver> {
    Arc::new(LogSyncs(Arc::clone(metrics)))
}

#[derive(Debug)]
struct LogSyncs(Arc<Metrics>);

impl WalObserver for LogSyncs {
    fn synced(&self, group: usize, _bytes: u64, took: Duration) {
        self.0.wal_fsync_duration.observe(took.as_secs_f64());
        // Groups are far smaller than what a float holds exactly.
        self.0.wal_group_size.observe(u32::try_from(group).map_or(f64::MAX, f64::from));
    }
}

/// What asks the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Begins the stop at the first signal, ends the process at the second.
    async fn watch(mut self, draining: CancellationToken) -> Result<(), std::convert::Infallible> {
        self.next().await;
        draining.cancel();
        tracing::info!("asked to stop");
        self.next().await;
        tracing::warn!("asked to stop again: ending at once");
        std::process::exit(130)
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
