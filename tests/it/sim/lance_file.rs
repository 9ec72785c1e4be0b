//! A file that the product writes into a dataset by itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use persisting::io::{Disk, DiskFile};

use super::lance_disk::LanceDisk;

#[derive(Debug)]
pub struct LanceFile {
    pub disk: LanceDisk,
    pub file: File,
    pub path: PathBuf,
}

impl DiskFile for LanceFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.step()?;
        self.file.write_all_at(bytes, position)
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.step()?;
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_file(&self.path)
    }
}
