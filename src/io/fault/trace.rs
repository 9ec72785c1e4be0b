//! What was asked of the disk, in order.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::faults::Crash;

/// A call that changes or syncs something. A file is named by the path under which it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file was made.
    Create(PathBuf),
    /// A folder, and those above it, was made.
    CreateFolder(PathBuf),
    /// A file was removed.
    Remove(PathBuf),
    /// A file was renamed.
    Rename {
        /// Its old path.
        from: PathBuf,
        /// Its new path.
        to: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        position: u64,
        /// How many.
        bytes: usize,
    },
    /// A file was cut or extended.
    SetLen {
        /// The file.
        path: PathBuf,
        /// The length, in bytes.
        length: u64,
    },
    /// [`DiskFile::sync_data`](crate::io::DiskFile::sync_data).
    SyncData(PathBuf),
    /// [`Disk::sync_file`](crate::io::Disk::sync_file).
    SyncFile(PathBuf),
    /// [`Disk::sync_folder`](crate::io::Disk::sync_folder).
    SyncFolder(PathBuf),
    /// The process, or the machine, went down.
    Crash(Crash),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to.
    Done,
    /// It was a sync that is switched off: it said that it worked and did nothing.
    Skipped,
    /// It failed.
    Failed(ErrorKind),
    /// The process stopped in the midst of it.
    Interrupted,
}

/// One step of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub outcome: Outcome,
}

/// How often things happened since the disk was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Changing and syncing calls, of any outcome.
    pub calls: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes that were to be written by them.
    pub written_bytes: u64,
    /// Writes and changes of length that failed.
    pub failed_writes: u64,
    /// `sync_data` calls.
    pub data_syncs: u64,
    /// `sync_file` calls.
    pub file_syncs: u64,
    /// `sync_folder` calls.
    pub folder_syncs: u64,
    /// Syncs of any kind that failed.
    pub failed_syncs: u64,
    /// Syncs of any kind that were switched off.
    pub skipped_syncs: u64,
    /// Deaths of the process.
    pub kills: u64,
    /// Power losses.
    pub power_losses: u64,
}

/// The newest steps, and the counts of all.
#[derive(Debug)]
pub(super) struct Trace {
    ops: VecDeque<Op>,
    limit: usize,
    counters: Counters,
}

impl Trace {
    pub(super) fn new(limit: usize) -> Self {
        Self { ops: VecDeque::new(), limit, counters: Counters::default() }
    }

    pub(super) fn ops(&self) -> Vec<Op> {
        self.ops.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.ops.clear();
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.ops.drain(..self.ops.len().saturating_sub(limit));
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn record(&mut self, call: Call, outcome: Outcome) {
        self.count(&call, outcome);
        self.ops.push_back(Op { call, outcome });
        if self.ops.len() > self.limit {
            self.ops.pop_front();
        }
    }

    fn count(&mut self, call: &Call, outcome: Outcome) {
        let counters = &mut self.counters;
        let failed = u64::from(matches!(outcome, Outcome::Failed(_)));
        let (mut write, mut sync) = (false, false);
        match call {
            Call::Crash(Crash::Kill) => counters.kills += 1,
            Call::Crash(Crash::PowerLoss) => counters.power_losses += 1,
            Call::Create(_) | Call::CreateFolder(_) | Call::Remove(_) | Call::Rename { .. } => {}
            Call::SetLen { .. } => write = true,
            Call::Write { bytes, .. } => {
                counters.writes += 1;
                counters.written_bytes += *bytes as u64;
                write = true;
            }
            Call::SyncData(_) => (counters.data_syncs, sync) = (counters.data_syncs + 1, true),
            Call::SyncFile(_) => (counters.file_syncs, sync) = (counters.file_syncs + 1, true),
            Call::SyncFolder(_) => (counters.folder_syncs, sync) = (counters.folder_syncs + 1, true),
        }
        counters.calls += u64::from(!matches!(call, Call::Crash(_)));
        counters.failed_writes += if write { failed } else { 0 };
        counters.failed_syncs += if sync { failed } else { 0 };
        counters.skipped_syncs += u64::from(outcome == Outcome::Skipped);
    }
}
