//! Frees segments: removes the oldest, copies to the head what keeps one from being removed.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::beside;
use super::queue::Pending;
use super::reader::{Next, SegmentReader};
use super::segment::{path_of, path_of_spare};
use super::writer::{SegmentedWal, waiter};
use super::{Wal, WalEntry, WalError, Wanted};

/// Bytes of memory that a relocation holds at once; a larger entry comes alone.
const RELOCATED_AT_ONCE_BYTES: usize = 8 << 20;
/// What an entry takes beside its values: its body, what it leads with, and who is told of it.
const ENTRY_BYTES: usize = 1 << 10;

impl SegmentedWal {
    /// See [`Wal::release`].
    ///
    /// Each removal is made durable before the next: else a power loss could bring back a segment without the one that
    /// follows it, which is damage. A removal whose sync has failed may be undone for ever; so after a restart nothing is
    /// removed before a new segment says where the log begins. Only a full disk must not keep the log from making room.
    pub(crate) fn release_through(&self, through: u64) -> Result<(), WalError> {
        let _upkeep = self.upkeep.lock();
        let shared = &self.shared;
        let (newest, releases) = {
            let accounts = shared.accounts.lock();
            (accounts.newest(), matches!(accounts.oldest(), Some((oldest, false)) if oldest <= through))
        };
        if releases && newest <= shared.found {
            match self.seal() {
                Ok(()) | Err(WalError::DiskFull) => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            self.check()?;
            let Some((segment, false)) = shared.accounts.lock().oldest() else { return Ok(()) };
            if segment > through {
                return Ok(());
            }
            let failed = |error: std::io::Error| WalError::Segment { segment, cause: error.to_string() };
            let path = path_of(&shared.folder, segment);
            let spares = self.is_reusable(segment);
            if spares {
                shared.disk.rename(&path, &path_of_spare(&shared.folder)).map_err(failed)?;
            } else {
                shared.disk.remove(&path).map_err(failed)?;
            }
            if let Err(error) = shared.disk.sync_folder(&shared.folder) {
                return Err(shared.latch(format!("the removal of segment {segment} cannot be synced: {error}")));
            }
            shared.accounts.lock().remove_oldest();
            // Only now: were the removal undone, a new segment would lie in the file of an old one's name.
            shared.spare.fetch_or(spares, Ordering::AcqRel);
        }
    }

    /// Whether the file of the oldest segment may be kept for the next new one: none lies ready, there is room, and it is as large as a
    /// segment becomes.
    fn is_reusable(&self, segment: u64) -> bool {
        let shared = &self.shared;
        let full = shared.options.segment_bytes;
        let bytes = shared.accounts.lock().sealed(segment).map_or(0, |account| account.bytes);
        shared.options.ahead_bytes_max > 0
            && !shared.spare.load(Ordering::Acquire)
            && !shared.full.load(Ordering::Acquire)
            && (full / 2..=full).contains(&bytes)
    }

    /// See [`Wal::relocate`].
    pub(crate) fn relocate_segment(&self, segment: u64, wanted: Wanted<'_>) -> Result<(), WalError> {
        let _upkeep = self.upkeep.lock();
        self.check()?;
        let shared = &self.shared;
        let failed = |cause: String| WalError::Segment { segment, cause };
        let Some(account) = shared.accounts.lock().sealed(segment) else {
            return Err(failed("it is not a sealed segment".to_owned()));
        };
        let file = shared.disk.open(&path_of(&shared.folder, segment)).map_err(|error| failed(error.to_string()))?;
        let mut reader = SegmentReader::new(file, segment, account.base, account.bytes);
        let (mut copies, mut bytes) = (Vec::new(), 0);
        loop {
            let damaged = |position, reason| WalError::Damaged { segment, position, reason };
            match reader.next().map_err(|error| failed(error.to_string()))? {
                Next::Entry(_, entry) => {
                    if let Some(copy) = beside::relocated(entry, wanted) {
                        bytes += copy.values.len() + copy.beside.as_ref().map_or(0, |beside| beside.values.len());
                        bytes += ENTRY_BYTES;
                        copies.push(copy);
                    }
                }
                Next::End => return self.append_all(copies),
                Next::Bad => return Err(damaged(reader.position(), "a durable frame is damaged")),
                Next::Malformed(reason) => return Err(damaged(reader.position(), reason)),
            }
            if bytes >= RELOCATED_AT_ONCE_BYTES {
                self.append_all(std::mem::take(&mut copies))?;
                bytes = 0;
            }
        }
    }

    /// Appends entries and waits until all are durable.
    fn append_all(&self, entries: Vec<WalEntry>) -> Result<(), WalError> {
        let mut waiting = Vec::with_capacity(entries.len());
        for entry in entries {
            let (done, receiver) = waiter();
            waiting.push(receiver);
            if let Err(Pending { done, .. }) = self.shared.push(Pending::new(&entry, done)) {
                self.shared.complete(done, Err(WalError::Closed));
            }
        }
        let results: Vec<_> = waiting.iter().map(|receiver| self.wait_for(receiver)).collect();
        results.into_iter().collect()
    }

    /// See [`Wal::seal_head`].
    pub(crate) fn seal(&self) -> Result<(), WalError> {
        let (done, receiver) = waiter();
        if let Err(done) = self.shared.push_seal(done) {
            self.shared.complete(done, Err(WalError::Closed));
        }
        self.wait_for(&receiver)
    }

    /// Waits for a completion; where there is no thread, does its work.
    fn wait_for(&self, receiver: &Receiver<Result<(), WalError>>) -> Result<(), WalError> {
        if !self.is_threaded() {
            while self.step() {}
        }
        receiver.recv().unwrap_or(Err(WalError::Closed))
    }

    fn check(&self) -> Result<(), WalError> {
        self.failed().map_or(Ok(()), Err)
    }
}
