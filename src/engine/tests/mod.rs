//! What the engine promises at any crash, seen with a log whose syncs take their time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::testing::{engine_on, engine_with};
use crate::codec::{Body, Form};
use crate::io::{Disk, DiskFile, RealDisk};
use crate::model::{Ack, Offset, TopicName, Writer};
use crate::table::lance::LanceTables;
use crate::topic::{AppendRequest, CreateTopic};

mod closing;
mod deleted;
mod missing;
mod moved;
mod opening;
mod quarantine;
mod room;
mod sharing;
mod upkeep;

const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's disk, but the log's files, and those of datasets, are synced only while their gate is open.
#[derive(Debug, Default)]
struct Gated {
    log: Arc<Gate>,
    datasets: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    /// Whether it is closed, and how many wait for it.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
    /// Whether there is no room behind it.
    full: AtomicBool,
    /// Whether syncs fail behind it.
    broken: AtomicBool,
}

impl Gate {
    fn set_closed(&self, closed: bool) {
        self.state.lock().0 = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            self.changed.wait(&mut state);
        }
        state.1 -= 1;
    }

    /// Returns when somebody waits.
    fn await_someone(&self) {
        let mut state = self.state.lock();
        while state.1 == 0 {
            let timed_out = self.changed.wait_for(&mut state, PATIENCE).timed_out();
            assert!(!timed_out, "nobody syncs");
        }
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for GatedFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if self.gate.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(bytes, position)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(into, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        if self.gate.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("broken"));
        }
        self.file.sync_data()
    }
}

impl Gated {
    fn gated(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(GatedFile { file, gate: Arc::clone(&self.log) })
    }
}

impl Disk for Gated {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path).map(|file| self.gated(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path).map(|file| self.gated(file))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.create_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.datasets.pass();
        RealDisk.sync_file(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(path)
    }
}

fn record() -> AppendRequest {
    AppendRequest {
        body: Body::text(Bytes::from_static(b"{\"n\":1}"), Form::Json),
        ack: None,
        expected_offset: None,
        close: false,
        writer: Writer::Plain,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_while_its_records_are_being_logged_does_not_stop_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let engine = engine_on(&folder, Arc::clone(&disk) as _).await;
    let name = TopicName::parse("short-lived").unwrap();
    engine.create(&name, CreateTopic::default()).await.unwrap();
    let topic = engine.topic(&name).await.unwrap();
    // A log that has its segment already, so that the record itself is what waits.
    topic.append(record()).await.unwrap();

    let other = TopicName::parse("caught").unwrap();
    engine.create(&other, CreateTopic::default()).await.unwrap();
    let caught = engine.topic(&other).await.unwrap();
    disk.log.set_closed(true);
    let appending = tokio::spawn(async move { caught.append(record()).await });
    let gate = Arc::clone(&disk.log);
    tokio::task::spawn_blocking(move || gate.await_someone()).await.unwrap();
    engine.delete(&other, None).await.unwrap();
    let core = engine.core().unwrap();
    let clearing = tokio::spawn(async move { core.clear_remains().await });
    // Long enough to forget the topic, were it not for the record that is on its way.
    drop(tokio::time::timeout(Duration::from_millis(400), clearing).await);
    disk.log.set_closed(false);
    // The deletion ends the waiting, whichever way.
    drop(appending.await.unwrap());
    topic.append(record()).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop((topic, engine));

    let again = engine_on(&folder, Arc::new(RealDisk)).await;
    assert!(again.topic(&name).await.is_ok());
    assert!(again.topic(&other).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_its_topic_is_opened_takes_no_records_along() {
    let folder = tempfile::tempdir().unwrap();
    let tables =
        |disk: &Arc<dyn Disk>| Arc::new(LanceTables::new(Arc::clone(disk), tokio::runtime::Handle::current(), 16));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engine = engine_with(&folder, Arc::clone(&disk), tables(&disk)).await;
    // More topics than are opened at a time, so that a client can be the first one at the last of them.
    let names: Vec<TopicName> = (0..6).map(|n| TopicName::parse(&format!("topic-{n}")).unwrap()).collect();
    for name in &names {
        let mut ask = CreateTopic::default();
        ask.backend_options.insert("ack".to_owned(), "committed".into());
        ask.backend_options.insert("flush_interval_ms".to_owned(), 3_600_000.into());
        engine.create(name, ask).await.unwrap();
        let topic = engine.topic(name).await.unwrap();
        topic.append(record()).await.unwrap();
        topic.append(AppendRequest { ack: Some(Ack::Wal), ..record() }).await.unwrap();
    }
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop(engine);

    let gated = Gated::default();
    let gate = Arc::clone(&gated.datasets);
    gate.set_closed(true);
    let disk: Arc<dyn Disk> = Arc::new(gated);
    let engine = engine_with(&folder, Arc::clone(&disk), tables(&disk)).await;
    let last = names.last().unwrap();
    let leaving = tokio::time::timeout(Duration::from_millis(300), engine.topic(last)).await;
    assert!(leaving.is_err(), "it was opened without a look at its dataset");
    gate.set_closed(false);
    let topic = engine.topic(last).await.unwrap();
    topic.flush().await.unwrap();
    assert_eq!(topic.description().tail_offset, Offset::new(2).unwrap());
    let receipt = topic.append(record()).await.unwrap();
    assert_eq!(receipt.first_offset, Offset::new(2).unwrap());
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataset_that_a_crash_kept_from_being_made_is_made_when_its_topic_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let tables = || Arc::new(LanceTables::new(Arc::clone(&disk), tokio::runtime::Handle::current(), 16));
    let name = TopicName::parse("declared").unwrap();
    let schema = serde_json::json!({"fields": [{"name": "n", "type": "int64"}]});
    let ask = || CreateTopic { schema: Some(schema.clone()), ..CreateTopic::default() };
    let engine = engine_with(&folder, Arc::clone(&disk), tables()).await;
    assert!(engine.create(&name, ask()).await.unwrap().1);
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop(engine);
    // As after a crash behind the catalog's commit.
    std::fs::remove_file(folder.path().join("topics/declared.lance")).unwrap();
    std::fs::remove_dir_all(folder.path().join("datasets")).unwrap();

    let engine = engine_with(&folder, Arc::clone(&disk), tables()).await;
    assert!(!engine.create(&name, ask()).await.unwrap().1);
    assert!(folder.path().join("topics/declared.lance/_versions").exists());
    engine.shut_down(Instant::now() + PATIENCE).await;
}
