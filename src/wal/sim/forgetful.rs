//! A disk on which one of the log's syncs, told by what it follows, does nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::io::fault::FaultDisk;
use crate::io::{Disk, DiskFile};

/// A place where the log syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// Of a group of appended frames.
    Group,
    /// Of the cut that takes a write to a full disk back.
    TakenBack,
    /// Of a new segment's header and copied frames.
    NewSegment,
    /// Of a new segment's name.
    Name,
    /// Of a removed segment's name.
    Removal,
    /// Of the log's folder's own name.
    Folder,
}

impl Sync {
    pub(super) const ALL: [Sync; 6] =
        [Sync::Group, Sync::TakenBack, Sync::NewSegment, Sync::Name, Sync::Removal, Sync::Folder];
}

/// What was done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Write,
    Cut,
    Rename,
    Remove,
}

#[derive(Debug)]
pub(super) struct Forgetful {
    pub(super) disk: FaultDisk,
    pub(super) forgets: Option<Sync>,
    pub(super) folder: PathBuf,
    last: Mutex<Last>,
}

impl Forgetful {
    pub(super) fn new(disk: FaultDisk, folder: &Path, forgets: Option<Sync>) -> Self {
        Self { disk, forgets, folder: folder.to_owned(), last: Mutex::new(Last::Nothing) }
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let unfinished = path.extension().is_some_and(|extension| extension == "new");
        Arc::new(ForgetfulFile { file, unfinished, forgets: self.forgets, last: Mutex::new(Last::Nothing) })
    }
}

impl Disk for Forgetful {
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
        *self.last.lock() = Last::Remove;
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A released segment that is kept for the next one is gone as much as a removed one.
        let released = to.file_name().is_some_and(|name| name == "spare.wal.new");
        *self.last.lock() = if released { Last::Remove } else { Last::Rename };
        self.disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let sync = match *self.last.lock() {
            _ if folder != self.folder => Sync::Folder,
            Last::Remove => Sync::Removal,
            _ => Sync::Name,
        };
        if self.forgets == Some(sync) { Ok(()) } else { self.disk.sync_folder(folder) }
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_file(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
}

#[derive(Debug)]
struct ForgetfulFile {
    file: Arc<dyn DiskFile>,
    unfinished: bool,
    forgets: Option<Sync>,
    last: Mutex<Last>,
}

impl DiskFile for ForgetfulFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        *self.last.lock() = Last::Write;
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
        let sync = match *self.last.lock() {
            _ if self.unfinished => Sync::NewSegment,
            Last::Cut => Sync::TakenBack,
            _ => Sync::Group,
        };
        if self.forgets == Some(sync) { Ok(()) } else { self.file.sync_data() }
    }
}
