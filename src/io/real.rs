//! The machine's own file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile};

/// The machine's own file system. A full disk and a used up quota both show as [`ErrorKind::StorageFull`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(full)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder).map_err(full)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(full)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(full)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to).map_err(full)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let opened = File::open(folder)?;
        // Syncing a file's contents does not make its name durable; only a folder's own sync does.
        if !opened.metadata()?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        opened.sync_all().map_err(full)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all().map_err(full)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let system = rustix::fs::statvfs(path)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }
}

/// An open file of the machine's own file system.
#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position).map_err(full)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let (mut rest, mut at, mut read) = (into, position, 0);
        while !rest.is_empty() {
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    rest = rest.get_mut(count..).unwrap_or_default();
                    at = at.saturating_add(count as u64);
                    read += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes).map_err(full)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(full)
    }
}

/// Says of a used up quota what is said of a full disk: both end when somebody makes room.
fn full(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::QuotaExceeded { io::Error::new(ErrorKind::StorageFull, error) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_read_back_and_the_end_reads_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = RealDisk.create(&path).unwrap();
        file.write_all_at(b"hello", 3).unwrap();
        file.sync_data().unwrap();
        let mut into = [1; 16];
        assert_eq!(file.read_at(&mut into, 1).unwrap(), 7);
        assert_eq!(&into[..7], b"\0\0hello");
        assert_eq!(file.read_at(&mut into, 8).unwrap(), 0);
        file.set_len(4).unwrap();
        assert_eq!(RealDisk.open(&path).unwrap().len().unwrap(), 4);
    }

    #[test]
    fn names_are_made_listed_moved_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("x/y");
        RealDisk.create_folder(&folder).unwrap();
        RealDisk.create_folder(&folder).unwrap();
        RealDisk.create(&folder.join("a")).unwrap();
        assert_eq!(RealDisk.create(&folder.join("a")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        RealDisk.rename(&folder.join("a"), &folder.join("b")).unwrap();
        RealDisk.sync_file(&folder.join("b")).unwrap();
        RealDisk.link(&folder.join("b"), &folder.join("c")).unwrap();
        RealDisk.remove(&folder.join("c")).unwrap();
        RealDisk.sync_folder(&folder).unwrap();
        assert_eq!(RealDisk.list(&folder).unwrap(), [PathBuf::from("b")]);
        RealDisk.remove(&folder.join("b")).unwrap();
        assert!(RealDisk.list(&folder).unwrap().is_empty());
        assert_eq!(RealDisk.open(&folder.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_not_synced_as_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        RealDisk.create(&path).unwrap();
        assert_eq!(RealDisk.sync_folder(&path).unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn a_used_up_quota_is_a_full_disk() {
        assert_eq!(full(rustix::io::Errno::DQUOT.into()).kind(), ErrorKind::StorageFull);
        assert_eq!(full(rustix::io::Errno::NOSPC.into()).kind(), ErrorKind::StorageFull);
        assert_eq!(full(rustix::io::Errno::ACCESS.into()).kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn free_bytes_are_of_the_file_system_that_holds_the_path() {
        let root = tempfile::tempdir().unwrap();
        assert!(RealDisk.free_bytes(root.path()).unwrap() > 0);
        assert_eq!(RealDisk.free_bytes(&root.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
