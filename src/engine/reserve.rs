//! Room on a full disk: a file that is there to be removed.
//!
//! Appends end at the disk's floor, but others may fill the disk, and so may what is written to datasets for what was
//! acknowledged. Whoever makes room then does it through the catalog, whose every change needs some itself, and so does a
//! start, for the log's last group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io::Disk;

/// The most bytes that are set aside.
const BYTES_MAX: u64 = 16 << 20;
/// They are this part of the disk's floor otherwise.
const FLOOR_PART: u64 = 32;
/// Zeros written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file of a data folder that holds nothing.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    path: PathBuf,
    floor: u64,
    bytes: u64,
    is_there: AtomicBool,
}

impl Reserve {
    /// Its name in the data folder.
    pub(super) const FILE_NAME: &str = "reserve";

    /// The reserve of a data folder. Without a floor there is none.
    pub(super) fn of(disk: Arc<dyn Disk>, data_dir: &Path, floor: u64) -> Self {
        let path = data_dir.join(Self::FILE_NAME);
        let bytes = (floor / FLOOR_PART).min(BYTES_MAX);
        let is_there = AtomicBool::new(bytes > 0 && disk.open(&path).is_ok());
        Self { disk, folder: data_dir.to_owned(), path, floor, bytes, is_there }
    }

    /// Gives it up where less than half as much is left on the disk, and sets it aside once the disk is above its floor.
    /// Blocks on the disk.
    pub(super) fn look(&self) {
        if self.bytes > 0
            && let Err(error) = self.disk.free_bytes(&self.folder).and_then(|free| self.keep(free))
        {
            tracing::warn!(%error, "what is set aside for a full disk cannot be looked after");
        }
    }

    fn keep(&self, free: u64) -> io::Result<()> {
        let is_there = self.is_there.load(Ordering::Acquire);
        if is_there && free < self.bytes / 2 {
            self.disk.remove(&self.path)?;
            self.is_there.store(false, Ordering::Release);
            tracing::warn!(
                bytes = self.bytes,
                "the disk is full; what was set aside is given up, so that room can be made"
            );
        } else if !is_there && self.bytes > 0 && free >= self.floor.saturating_add(self.bytes) {
            self.fill()?;
            self.is_there.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn fill(&self) -> io::Result<()> {
        let file = self.disk.create(&self.path)?;
        let mut at = 0;
        while at < self.bytes {
            let part = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all_at(ZEROS.get(..part).unwrap_or_default(), at)?;
            at += part as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::RealDisk;

    #[test]
    fn it_is_given_up_on_a_full_disk_and_set_aside_again_above_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Reserve::FILE_NAME);
        let floor = 8 << 20;
        let reserve = || Reserve::of(Arc::new(RealDisk), folder.path(), floor);
        let bytes = || path.metadata().map_or(0, |metadata| metadata.len());
        let first = reserve();
        for (free, expected) in
            [(floor, 0), (floor + 300_000, 256 << 10), (200_000, 256 << 10), (100_000, 0), (floor, 0)]
        {
            first.keep(free).unwrap();
            assert_eq!(bytes(), expected, "{free}");
        }
        first.keep(u64::MAX).unwrap();
        // The next process finds it.
        reserve().keep(0).unwrap();
        assert_eq!(bytes(), 0);
        Reserve::of(Arc::new(RealDisk), folder.path(), 0).look();
        assert_eq!(bytes(), 0);
        reserve().look();
        assert_eq!(bytes(), 256 << 10);
    }
}
