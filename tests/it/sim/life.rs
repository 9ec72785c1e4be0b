//! One life of the engine, from its start to an orderly stop or a sudden end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use persisting::engine::{Engine, EngineOptions, Parts, ShutdownReport, StartError};
use persisting::io::fault::FaultDisk;
use persisting::io::{Clock, Disk};
use persisting::metrics::Metrics;
use persisting::model::Timestamp;
use persisting::runtime::{Health, Tasks};
use persisting::table::Tables;
use persisting::table::lance::{LanceTables, UpkeepPolicy};
use persisting::table::model::ModelTables;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::lance_disk::LanceDisk;
use super::log_disk::LogDisk;
use super::site::Site;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that goes on when it is told to, and a little with each look.
#[derive(Debug)]
pub struct SimClock(AtomicI64);

impl SimClock {
    pub fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_700_000_000_000_000))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(3, Ordering::Relaxed))
    }
}

/// Where the datasets are.
pub enum Datasets {
    /// In memory, durable at once.
    Model(ModelTables),
    /// Real ones.
    Lance(LanceDisk),
}

/// What outlives the process.
pub struct Machine {
    /// The data folder: the catalog, and real datasets. The log is on the simulated disk.
    pub data_dir: PathBuf,
    pub disk: FaultDisk,
    pub datasets: Datasets,
    pub clock: Arc<SimClock>,
    pub skips: Option<Site>,
    pub options: EngineOptions,
    pub open_max: usize,
}

/// Fragments are merged, and old versions go, after a few commits of the smallest size.
const EAGER: UpkeepPolicy = UpkeepPolicy { tiny_count: 3, count: 2, history_bytes: 0, ..UpkeepPolicy::USUAL };

/// A running engine. Everything of it runs on one thread, and only inside [`Life::block_on`]; the log, SQLite and blocking
/// file operations have threads of their own.
pub struct Life {
    runtime: Runtime,
    pub engine: Arc<Engine>,
    /// Which process it is to the simulated disk.
    pub generation: u64,
}

impl Life {
    /// Starts an engine on what is there.
    pub fn start(machine: &Machine) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread().max_blocking_threads(4).enable_all().build();
        let runtime = runtime.map_err(|cause| StartError::Folder { folder: machine.data_dir.clone(), cause })?;
        let engine = Engine::recovering(false, Arc::new(Metrics::default()), CancellationToken::new());
        let life = Self { runtime, engine, generation: machine.disk.generation() };
        let handle = life.runtime.handle().clone();
        let tables: Arc<dyn Tables> = match &machine.datasets {
            Datasets::Model(tables) => Arc::new(tables.clone()),
            Datasets::Lance(disk) => {
                let disk = Arc::new(disk.begin_life());
                Arc::new(LanceTables::with_policy(disk, handle.clone(), machine.open_max, EAGER))
            }
        };
        let disk: Arc<dyn Disk> = Arc::new(LogDisk::new(&machine.disk, &machine.data_dir.join("wal"), machine.skips));
        let parts = Parts {
            disk,
            clock: Arc::clone(&machine.clock) as _,
            tables,
            tasks: Tasks::new(handle, Health::new()),
            backends: Vec::new(),
            wal_observer: None,
        };
        match life.runtime.block_on(life.engine.recover(machine.options.clone(), parts)) {
            Ok(()) => Ok(life),
            Err(error) => {
                life.end(&machine.data_dir);
                Err(error)
            }
        }
    }

    /// Runs a future; all that goes on in the engine goes on meanwhile.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Stops in order.
    pub fn stop(self, data_dir: &Path) -> ShutdownReport {
        let report = self.block_on(self.engine.shut_down(Instant::now() + PATIENCE));
        self.end(data_dir);
        report
    }

    /// Ends the process where it stands: drops every task, and returns when no thread of it can touch anything any more.
    /// The disks refuse this process by now, unless it has stopped in order.
    pub fn end(self, data_dir: &Path) {
        let Self { runtime, engine, .. } = self;
        runtime.shutdown_timeout(PATIENCE);
        drop(engine);
        let until = Instant::now() + PATIENCE;
        while has_open_files(data_dir) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether this process has files of a folder open: SQLite's threads close theirs last.
fn has_open_files(folder: &Path) -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return false };
    open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path.starts_with(folder)))
}
