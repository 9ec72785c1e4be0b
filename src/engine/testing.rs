//! An engine for the tests of what stands above it: everything is real but the datasets.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineOptions, Parts, StartError};
use crate::io::{Disk, RealDisk, SystemClock};
use crate::metrics::Metrics;
use crate::runtime::{Health, Tasks};
use crate::table::Tables;
use crate::table::model::ModelTables;

/// An engine that serves, without topics, and the folder of its data.
pub(crate) async fn engine() -> (Arc<Engine>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (engine_on(&folder, Arc::new(RealDisk)).await, folder)
}

/// An engine that serves what is in a folder.
pub(crate) async fn engine_on(folder: &TempDir, disk: Arc<dyn Disk>) -> Arc<Engine> {
    engine_with(folder, disk, Arc::new(ModelTables::default())).await
}

/// An engine that serves what is in a folder, from these datasets.
pub(crate) async fn engine_with(folder: &TempDir, disk: Arc<dyn Disk>, tables: Arc<dyn Tables>) -> Arc<Engine> {
    start(folder, disk, tables).await.unwrap()
}

/// The same, where the start may fail.
pub(crate) async fn start(
    folder: &TempDir,
    disk: Arc<dyn Disk>,
    tables: Arc<dyn Tables>,
) -> Result<Arc<Engine>, StartError> {
    let engine = Engine::recovering(false, Arc::new(Metrics::default()), CancellationToken::new());
    let parts = Parts {
        disk,
        clock: Arc::new(SystemClock),
        tables,
        tasks: Tasks::new(Handle::current(), Health::new()),
        backends: Vec::new(),
        wal_observer: None,
    };
    engine.recover(options(folder), parts).await?;
    Ok(engine)
}

fn options(folder: &TempDir) -> EngineOptions {
    EngineOptions {
        data_dir: folder.path().to_owned(),
        storage_roots: Vec::new(),
        auto_create: false,
        tail_bytes: 1 << 20,
        process_bytes_max: None,
        recent_bytes: 0,
        memory_limit_bytes: 1 << 20,
        wal_bytes_max: 16 << 20,
        wal_target_bytes: 8 << 20,
        wal_segment_bytes: 1 << 20,
        disk_floor_bytes: 0,
        record_bytes_max: 1 << 20,
        batch_records_max: 1_000,
        cursors_max: 3,
    }
}
