//! One process per data folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The name of the lock file in a data folder.
const LOCK_FILE: &str = "LOCK";

/// The folder in a data folder for what is worked on, which nobody misses after the process has ended.
pub(crate) const SCRATCH_FOLDER: &str = "scratch";

/// The longest process id in digits, and a newline.
const PID_BYTES_MAX: usize = 11;

/// Why a data folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("the data folder {} is in use by {}", folder.display(), holder(*pid))]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// The process that holds it; none if it has not said so yet.
        pid: Option<u32>,
    },
    /// The folder or its lock file could not be made, written or locked.
    #[error("the data folder {} cannot be locked", folder.display())]
    Io {
        /// The data folder.
        folder: PathBuf,
        /// What the file system answered.
        #[source]
        source: io::Error,
    },
}

/// The sole right to a data folder, held until it is dropped or the process ends in any way.
#[derive(Debug)]
pub struct DataDirLock {
    folder: PathBuf,
    file: File,
}

impl DataDirLock {
    /// Makes the folder if need be, locks `LOCK` in it and writes this process's id into that file, if the disk has room. Does
    /// not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] if another holder has it, in this process or another; [`LockError::Io`] for all else.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { folder: folder.to_path_buf(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join(LOCK_FILE);
        // Not truncated here: until the lock is ours the file tells who the holder is.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { folder: folder.to_path_buf(), pid: read_pid(&file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The id only helps a person: a full disk must not keep the server from starting.
        if let Err(error) = write_pid(&file) {
            tracing::warn!(folder = %folder.display(), %error, "the lock file does not name this process");
        }
        Ok(Self { folder: folder.to_path_buf(), file })
    }

    /// Makes the folder for what is worked on, without what an earlier process has left there; where it is, from the root on.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn scratch(&self) -> io::Result<PathBuf> {
        let scratch = self.folder.join(SCRATCH_FOLDER);
        fs::create_dir_all(&scratch)?;
        // One by one: a folder that is there needs no room on the disk.
        for entry in fs::read_dir(&scratch)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        scratch.canonicalize()
    }

    /// The folder that is held.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of the same name. Closing it unlocks it.
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(folder = %self.folder.display(), %error, "the lock file still names this process");
        }
    }
}

fn write_pid(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
}

fn read_pid(file: &File) -> Option<u32> {
    let mut bytes = [0; PID_BYTES_MAX];
    let count = file.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(bytes.get(..count)?).ok()?.trim_end().parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_folder_is_refused_and_the_holder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new/deep");
        let lock = DataDirLock::acquire(&folder).unwrap();
        assert_eq!(lock.folder(), folder);
        let error = DataDirLock::acquire(&folder).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the data folder {} is in use by the process {}", folder.display(), std::process::id())
        );
        assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
    }

    #[test]
    fn a_dropped_lock_is_free_again() {
        let root = tempfile::tempdir().unwrap();
        drop(DataDirLock::acquire(root.path()).unwrap());
        assert_eq!(fs::read(root.path().join(LOCK_FILE)).unwrap(), b"");
        DataDirLock::acquire(root.path()).unwrap();
    }

    #[test]
    fn what_a_dead_process_was_working_on_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let lock = DataDirLock::acquire(root.path()).unwrap();
        let left = lock.scratch().unwrap().join(".tmpABC");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("pages"), "x").unwrap();
        let scratch = lock.scratch().unwrap();
        assert!(scratch.is_absolute() && scratch.is_dir() && !left.exists());
    }

    #[test]
    fn what_a_dead_process_left_in_the_file_does_not_hold_the_folder() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(LOCK_FILE), "4294967295\nand more that is no process id").unwrap();
        let lock = DataDirLock::acquire(root.path()).unwrap();
        assert_eq!(fs::read_to_string(root.path().join(LOCK_FILE)).unwrap(), format!("{}\n", std::process::id()));
        drop(lock);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("file");
        fs::write(&folder, "").unwrap();
        let error = DataDirLock::acquire(&folder).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }));
        assert!(error.to_string().contains(&folder.display().to_string()));
    }
}
