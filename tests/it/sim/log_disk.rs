//! The log's disk: the simulated one, with one of the log's syncs left out where that is asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use persisting::io::fault::FaultDisk;
use persisting::io::{Disk, DiskFile};

use super::site::Site;

/// How long a sync of a file takes.
const SYNC_TAKES: Duration = Duration::from_micros(300);

/// What was done last to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Other,
    Cut,
    /// A segment got its name; whether it held copied frames.
    Named(bool),
    Removed,
}

/// One process's view of the simulated disk.
#[derive(Debug)]
pub struct LogDisk {
    disk: FaultDisk,
    folder: PathBuf,
    skips: Option<Site>,
    last: Mutex<Last>,
    /// Whether the segment that is being made holds frames.
    copied: Arc<Mutex<bool>>,
}

impl LogDisk {
    /// The view of the process that begins now. The log lies in `folder`.
    pub fn new(disk: &FaultDisk, folder: &Path, skips: Option<Site>) -> Self {
        let (last, copied) = (Mutex::new(Last::Other), Arc::default());
        Self { disk: disk.process(), folder: folder.to_owned(), skips, last, copied }
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let unfinished = path.extension().is_some_and(|extension| extension == "new");
        if unfinished {
            *self.copied.lock() = false;
        }
        let (last, copied) = (Mutex::new(Last::Other), Arc::clone(&self.copied));
        Arc::new(LogFile { file, unfinished, skips: self.skips, last, copied })
    }
}

impl Disk for LogDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.create_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        *self.last.lock() = Last::Removed;
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A released segment that is kept for the next one is gone as much as a removed one.
        let released = to.file_name().is_some_and(|name| name == "spare.wal.new");
        *self.last.lock() = if released { Last::Removed } else { Last::Named(*self.copied.lock()) };
        self.disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let site = match *self.last.lock() {
            _ if folder != self.folder => Site::LogFolder,
            Last::Removed => Site::LogRemoval,
            Last::Named(true) => Site::LogCopyName,
            _ => Site::LogSegmentName,
        };
        if self.skips == Some(site) { Ok(()) } else { self.disk.sync_folder(folder) }
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_file(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
}

#[derive(Debug)]
struct LogFile {
    file: Arc<dyn DiskFile>,
    unfinished: bool,
    skips: Option<Site>,
    last: Mutex<Last>,
    copied: Arc<Mutex<bool>>,
}

impl DiskFile for LogFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        *self.last.lock() = Last::Other;
        if self.unfinished && position > 0 {
            *self.copied.lock() = true;
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
        *self.last.lock() = Last::Cut;
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let site = match *self.last.lock() {
            _ if self.unfinished && *self.copied.lock() => Site::LogCopy,
            _ if self.unfinished => Site::LogSegment,
            Last::Cut => Site::LogTakenBack,
            _ => Site::LogGroup,
        };
        // A sync takes its time; meanwhile the next group gathers.
        std::thread::sleep(SYNC_TAKES);
        if self.skips == Some(site) { Ok(()) } else { self.file.sync_data() }
    }
}
