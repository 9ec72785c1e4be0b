//! A server inside of the test's process, over TCP: everything is real but its own process, so that many tests share it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use persisting::backend::BackendFactory;
use persisting::engine::{Engine, EngineOptions, Parts};
use persisting::http::{ApiState, HttpLimits, serve, service};
use persisting::io::{Clock, RealDisk, SystemClock};
use persisting::metrics::Metrics;
use persisting::runtime::{Health, QUERY_STACK_BYTES, Tasks};
use persisting::sql::{Queries, QueryLimits};
use persisting::table::lance::LanceTables;
use persisting::topic::InflightBudget;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::support::api::Api;

/// Connections that a server takes at a time.
const CONNECTIONS_MAX: usize = 10_000;

/// What a server of a test is started with.
pub struct Setup {
    pub engine: EngineOptions,
    pub http: HttpLimits,
    pub inflight_bytes: u64,
    pub queries: QueryLimits,
    pub clock: Arc<dyn Clock>,
    pub backends: Vec<Arc<dyn BackendFactory>>,
}

/// A running server; it is gone when it is dropped.
pub struct Local {
    address: SocketAddr,
    engine: Arc<Engine>,
    draining: CancellationToken,
    serving: tokio::task::JoinHandle<usize>,
}

/// The runtime of all servers of this process: it outlives the runtimes of single tests.
fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let built = || {
        let stack = 8 << 20;
        Builder::new_multi_thread().worker_threads(4).thread_stack_size(stack).enable_all().build().unwrap()
    };
    RUNTIME.get_or_init(built).handle()
}

/// The runtime of the queries of all servers.
pub fn query_runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let built = || {
        Builder::new_multi_thread().worker_threads(2).thread_stack_size(QUERY_STACK_BYTES).enable_all().build().unwrap()
    };
    RUNTIME.get_or_init(built).handle()
}

impl Setup {
    /// Defaults of the service where tests do not depend on them, with data in this folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let mib = 1 << 20;
        let engine = EngineOptions {
            data_dir: data_dir.into(),
            storage_roots: Vec::new(),
            auto_create: false,
            tail_bytes: 256 * mib,
            process_bytes_max: None,
            // What is flushed is read from the dataset.
            recent_bytes: 0,
            memory_limit_bytes: 1024 * mib,
            wal_bytes_max: 4096 * mib,
            wal_target_bytes: 512 * mib,
            wal_segment_bytes: 64 * mib,
            disk_floor_bytes: 0,
            record_bytes_max: 8 * mib,
            batch_records_max: 1_000_000,
            cursors_max: 1_000,
        };
        Self {
            engine,
            http: HttpLimits::default(),
            inflight_bytes: 256 * mib,
            queries: QueryLimits::default(),
            clock: Arc::new(SystemClock),
            backends: Vec::new(),
        }
    }

    /// Starts a server and waits until it is ready.
    pub async fn start(self) -> Local {
        tokio::task::spawn_blocking(move || runtime().block_on(self.run())).await.unwrap()
    }

    async fn run(self) -> Local {
        let (local, recovery) = self.bind().await;
        recovery.run().await;
        local
    }

    /// Starts a server that answers as one does that recovers, and what ends that.
    pub async fn recovering(self) -> (Local, Recovery) {
        tokio::task::spawn_blocking(move || runtime().block_on(self.bind())).await.unwrap()
    }

    async fn bind(self) -> (Local, Recovery) {
        for folder in ["wal", "datasets", "topics"] {
            std::fs::create_dir_all(self.engine.data_dir.join(folder)).unwrap();
        }
        let metrics = Arc::new(Metrics::default());
        let draining = CancellationToken::new();
        let engine = Engine::recovering(self.engine.auto_create, Arc::clone(&metrics), draining.clone());
        let parts = Parts {
            disk: Arc::new(RealDisk),
            clock: self.clock,
            tables: Arc::new(LanceTables::new(Arc::new(RealDisk), runtime().clone(), 256)),
            tasks: Tasks::new(runtime().clone(), Health::new()),
            backends: self.backends,
            wal_observer: Some(persisting::server::log_syncs(&metrics)),
        };
        let inflight = InflightBudget::new(self.inflight_bytes);
        let queries = Queries::new(Arc::clone(&engine), query_runtime().clone(), self.queries);
        let service = service(ApiState::new(Arc::clone(&engine), metrics, self.http, inflight, queries));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving =
            runtime().spawn(serve(listener, service, draining.clone(), CONNECTIONS_MAX, Duration::from_secs(5)));
        let recovery = Recovery { engine: Arc::clone(&engine), options: self.engine, parts };
        (Local { address, engine, draining, serving }, recovery)
    }
}

/// What is still to be done before a server is ready.
pub struct Recovery {
    engine: Arc<Engine>,
    options: EngineOptions,
    parts: Parts,
}

impl Recovery {
    /// Recovers.
    pub async fn finish(self) {
        // On a thread of its own: the future of a recovery cannot be sent to one.
        tokio::task::spawn_blocking(move || runtime().block_on(self.run())).await.unwrap();
    }

    async fn run(self) {
        self.engine.recover(self.options, self.parts).await.unwrap();
    }
}

impl Local {
    /// A server with defaults, and the folder of its data.
    pub async fn fresh() -> (Local, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Setup::new(folder.path()).start().await, folder)
    }

    /// A client of it.
    pub fn api(&self) -> Api {
        Api::new(format!("http://{}", self.address))
    }

    /// What it serves.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Tells it to stop, without waiting.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Stops it in order; how many records were lost.
    pub async fn stop(mut self) -> u64 {
        self.draining.cancel();
        (&mut self.serving).await.unwrap();
        let engine = Arc::clone(&self.engine);
        let stopping = async move { engine.shut_down(Instant::now() + Duration::from_secs(20)).await };
        let ended = tokio::task::spawn_blocking(move || runtime().block_on(stopping));
        ended.await.unwrap().unflushed_records
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.draining.cancel();
        self.serving.abort();
    }
}

/// A client of the server that all tests share; each makes topics of its own.
pub async fn shared() -> Api {
    static SHARED: tokio::sync::OnceCell<Local> = tokio::sync::OnceCell::const_new();
    let server = SHARED.get_or_init(|| async {
        let folders = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shared");
        // What earlier runs have left: nobody removes it when a process just ends.
        for entry in std::fs::read_dir(&folders).into_iter().flatten().flatten() {
            let alive = PathBuf::from("/proc").join(entry.file_name()).exists();
            if !alive {
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
        Setup::new(folders.join(std::process::id().to_string())).start().await
    });
    server.await.api()
}
