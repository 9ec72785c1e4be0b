//! Opens of a dataset whose head nothing vouches for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Condvar;

use super::tests::Bench;
use super::*;
use crate::io::{DiskFile, RealDisk};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long an open that must wait is given to show that it does not.
const CHANCE: Duration = Duration::from_millis(200);

/// The real file system, on which copies of files are not synced before they may.
#[derive(Debug, Default)]
struct SlowDisk {
    copies: Arc<Copies>,
}

#[derive(Debug, Default)]
struct Copies {
    state: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    may_sync: bool,
    /// Copies that wait for being synced.
    waiting: usize,
    /// Copies that were begun, and how many of those have taken the place of the file.
    begun: usize,
    placed: usize,
    /// Whether one was begun while another was under way.
    overlapped: bool,
}

impl Copies {
    /// Returns when a copy waits.
    fn await_one(&self) {
        let mut seen = self.state.lock();
        while seen.waiting == 0 {
            assert!(!self.changed.wait_for(&mut seen, PATIENCE).timed_out(), "nothing is copied");
        }
    }

    fn go_on(&self) {
        self.state.lock().may_sync = true;
        self.changed.notify_all();
    }
}

#[derive(Debug)]
struct Copy {
    file: Arc<dyn DiskFile>,
    copies: Arc<Copies>,
}

impl DiskFile for Copy {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
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
        let mut seen = self.copies.state.lock();
        seen.waiting += 1;
        self.copies.changed.notify_all();
        while !seen.may_sync {
            self.copies.changed.wait(&mut seen);
        }
        seen.waiting -= 1;
        drop(seen);
        self.file.sync_data()
    }
}

fn is_copy(path: &Path) -> bool {
    path.ends_with("_copy")
}

impl Disk for SlowDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = RealDisk.create(path)?;
        if !is_copy(path) {
            return Ok(file);
        }
        let mut seen = self.copies.state.lock();
        seen.overlapped |= seen.begun > seen.placed;
        seen.begun += 1;
        Ok(Arc::new(Copy { file, copies: Arc::clone(&self.copies) }))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
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
        RealDisk.rename(from, to)?;
        self.copies.state.lock().placed += usize::from(is_copy(from));
        Ok(())
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_file(path)
    }
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(folder)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_mended_by_one_open_at_a_time_though_whoever_wanted_it_has_gone() {
    let mut bench = Bench::new();
    drop(bench.filled(3).await);
    bench.upkept().await;
    let place = bench.place();
    fs::remove_file(place.dataset.join("_settled")).unwrap();

    let disk = SlowDisk::default();
    let copies = Arc::clone(&disk.copies);
    let tables = LanceTables::new(Arc::new(disk), Handle::current(), 8);
    let open = || {
        let (tables, place) = (tables.clone(), place.clone());
        tokio::spawn(async move { tables.open(&place, Offset::ZERO).await })
    };
    let impatient = open();
    let waiting = Arc::clone(&copies);
    tokio::task::spawn_blocking(move || waiting.await_one()).await.unwrap();
    impatient.abort();
    assert!(impatient.await.is_err_and(|error| error.is_cancelled()));
    let mut next = open();
    assert!(tokio::time::timeout(CHANCE, &mut next).await.is_err());
    copies.go_on();
    assert_eq!(next.await.unwrap().unwrap().head().next.get(), 3);
    let seen = copies.state.lock();
    assert!(!seen.overlapped && seen.begun == seen.placed && seen.begun > 0, "{seen:?}");
}
