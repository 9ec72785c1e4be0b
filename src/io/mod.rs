//! The one seam through which the write-ahead log and the sync steps touch the disk, so that faults and power loss can be
//! simulated.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod clock;
#[doc(hidden)]
pub mod fault;
mod lock;
pub mod point;
mod real;

pub use clock::{Clock, SystemClock};
pub(crate) use lock::SCRATCH_FOLDER;
pub use lock::{DataDirLock, LockError};
pub use real::RealDisk;

/// A file system, as far as the log and the sync steps need one. Every call blocks.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes a file that must not exist yet, open for reading and writing.
    ///
    /// # Errors
    /// What the file system answers.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// What the file system answers.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// The names of the entries of a folder, in no order.
    ///
    /// # Errors
    /// What the file system answers.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What the file system answers.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the file system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, replacing what is there.
    ///
    /// # Errors
    /// What the file system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file one more name, in a folder of the same file system.
    ///
    /// # Errors
    /// What the file system answers; [`io::ErrorKind::Unsupported`] where a file has one name only.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes the entries of a folder durable.
    ///
    /// # Errors
    /// What the file system answers. A failed sync is never retried and believed.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes the contents and length of a file durable that somebody else has written.
    ///
    /// # Errors
    /// What the file system answers. A failed sync is never retried and believed.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Bytes free for an unprivileged writer on the file system that holds the path.
    ///
    /// # Errors
    /// What the file system answers.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Writes all bytes at a position; a failure may have written some.
    ///
    /// # Errors
    /// What the file system answers.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Reads up to `into.len()` bytes at a position; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the file system answers.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;
    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the file system answers.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file to a length.
    ///
    /// # Errors
    /// What the file system answers.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Makes contents and length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the file system answers. A failed sync is never retried and believed.
    fn sync_data(&self) -> io::Result<()>;
    /// Whether the file is empty.
    ///
    /// # Errors
    /// What the file system answers.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
