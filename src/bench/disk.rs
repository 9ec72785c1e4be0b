//! The disk alone: small writes, each made durable before the next.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::BenchError;
use crate::bench::tally::{Latency, latencies};

/// Length of the file that is laid out before it is written over.
const LAID_OUT_BYTES: u64 = 16 << 20;

/// What a disk can do.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DiskFigures {
    pub(super) folder: String,
    /// Bytes of one write.
    pub(super) bytes: u64,
    /// Writes at the end of a file that grows: each sync has the file's new length to keep too.
    pub(super) growing: Syncs,
    /// Writes over what a file already holds.
    pub(super) preallocated: Syncs,
}

/// Writes with an fdatasync each.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Syncs {
    pub(super) syncs_per_second: f64,
    pub(super) latency_us: Option<Latency>,
}

/// When a measurement ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) time: Option<Duration>,
    pub(super) syncs: Option<u64>,
}

/// Measures the disk of a folder with writes of so many bytes, for each kind of file until then. What it writes is removed.
///
/// # Errors
/// [`BenchError::Disk`] where the folder cannot be written.
pub(super) fn measure(folder: &Path, bytes: u64, until: Until) -> Result<DiskFigures, BenchError> {
    let fault = |cause: io::Error| BenchError::Disk { folder: folder.display().to_string(), cause };
    Ok(DiskFigures {
        folder: folder.display().to_string(),
        bytes,
        growing: Scratch::make(folder, "growing").and_then(|file| file.time(bytes, 0, until)).map_err(fault)?,
        preallocated: Scratch::make(folder, "preallocated")
            .and_then(|file| file.time(bytes, LAID_OUT_BYTES.max(bytes), until))
            .map_err(fault)?,
    })
}

/// A file that goes when it is dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn make(folder: &Path, kind: &str) -> io::Result<Self> {
        let path = folder.join(format!("persisting-bench-{}-{kind}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Writes and syncs; in a file of `length` bytes laid out before, or at the end where that is none.
    fn time(mut self, bytes: u64, length: u64, until: Until) -> io::Result<Syncs> {
        let write = vec![0xa5; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.lay_out(length)?;
        let mut latency = latencies();
        let (began, mut place) = (Instant::now(), 0);
        let is_over = |done: u64| {
            until.syncs.is_some_and(|syncs| done >= syncs) || until.time.is_some_and(|time| began.elapsed() >= time)
        };
        while !is_over(latency.len()) {
            let before = Instant::now();
            self.file.write_all_at(&write, place)?;
            self.file.sync_data()?;
            latency.saturating_record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
            place += bytes;
            if length > 0 && place + bytes > length {
                place = 0;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok(Syncs { syncs_per_second: latency.len() as f64 / seconds, latency_us: Latency::of(&latency) })
    }

    /// Fills the file: space that was only reserved would be turned into written space by the syncs that are measured.
    fn lay_out(&mut self, length: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut left = length;
        while left > 0 {
            let step = left.min(zeros.len() as u64);
            self.file.write_all(&zeros[..step as usize])?;
            left -= step;
        }
        self.file.sync_all()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may be gone already; nothing else can be done about it.
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_files_are_measured_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let until = Until { time: None, syncs: Some(5) };
        let figures = measure(folder.path(), 4_096, until).unwrap();
        for syncs in [figures.growing, figures.preallocated] {
            let latency = syncs.latency_us.unwrap();
            assert!(latency.count == 5 && latency.max >= latency.p50 && syncs.syncs_per_second > 0.0, "{latency:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let nowhere = measure(&folder.path().join("nowhere"), 4_096, until);
        assert!(nowhere.unwrap_err().to_string().contains("nowhere"));
    }
}
