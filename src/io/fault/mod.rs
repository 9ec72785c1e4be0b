//! A file system in memory on which writes and syncs fail and the power is lost, as a seed says.
//!
//! What it promises to keep is only what POSIX does: the contents and length of a file that were synced, and the names in a
//! folder that were there when the folder was synced. All else may or may not survive a power loss, in any combination:
//! - each write since the last sync is there whole, torn at a byte, torn at a sector, there by single sectors, as zeros, or
//!   not at all; each change of length is there or not;
//! - each new, moved or removed name is there as before or as after; a move within a folder is done or not done, in one
//!   piece; the halves of a move between folders go together as long as neither folder was synced;
//! - a failed sync makes what it was to sync doubtful for ever: readable, but kept by no later sync.
//!
//! The same seed and the same calls in the same order give the same run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Disk, DiskFile};

mod contents;
mod faults;
mod image;
mod random;
mod state;
mod trace;
mod tree;
mod unsynced;

#[cfg(test)]
mod tests;

pub use faults::{Crash, SyncSite};
pub use random::Random;
pub use trace::{Call, Counters, Op, Outcome};

use faults::SyncEffect;
use state::{State, gone};
use tree::NodeId;

/// What became, at a power loss, of the changes that no sync had made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Writes and changes of length that survived whole.
    pub kept: usize,
    /// Writes of which a part may have survived.
    pub torn: usize,
    /// Writes in whose place there are zeros.
    pub zeroed: usize,
    /// Writes and changes of length that are gone.
    pub lost: usize,
    /// Changes of names that survived.
    pub names_kept: usize,
    /// Changes of names that are gone.
    pub names_lost: usize,
}

/// A simulated disk. Clones share it; it begins with an empty root folder.
#[derive(Clone, Debug)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
    /// The process whose view this is; none for the simulation's own view, which outlives them all.
    process: Option<u64>,
}

impl FaultDisk {
    /// An empty disk whose faults are drawn from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))), process: None }
    }

    /// The disk as one process has it: like its open files, it answers nothing but errors after the next crash, so that
    /// threads of the process that has ended change nothing any more.
    #[must_use]
    pub fn process(&self) -> Self {
        let process = Some(self.state.lock().generation);
        Self { state: Arc::clone(&self.state), process }
    }

    /// How many crashes there were.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Loses the power: open files answer errors from now on, and the disk goes on with what has survived, which is durable.
    pub fn power_loss(&self) -> Loss {
        self.state.lock().crash(Crash::PowerLoss)
    }

    /// Ends the process: open files answer errors from now on. All that was written is still there, and what was not
    /// synced can still be lost with the power.
    pub fn kill(&self) {
        self.state.lock().crash(Crash::Kill);
    }

    /// Lets that many more changing or syncing calls through and crashes in the midst of the next one, which may have been
    /// done, in part or not at all. Replaces an earlier plan.
    pub fn crash_after(&self, calls: u64, crash: Crash) {
        self.state.lock().faults.crash_countdown = Some((calls, crash));
    }

    /// Lets that many more writes (or changes of length) through and fails the one after them, once, with any part of its
    /// bytes written. Replaces an earlier plan.
    pub fn fail_write_after(&self, writes: u64) {
        self.state.lock().faults.write_countdown = Some(writes);
    }

    /// Lets that many more syncs of any kind through and fails the one after them, once. Syncs that are switched off or
    /// made to fail by path do not count. Replaces an earlier plan.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state.lock().faults.sync_countdown = Some(syncs);
    }

    /// How likely (0 to 1) each write or change of length fails.
    pub fn set_write_failure(&self, probability: f64) {
        self.state.lock().faults.write_probability = probability;
    }

    /// How likely (0 to 1) each sync fails.
    pub fn set_sync_failure(&self, probability: f64) {
        self.state.lock().faults.sync_probability = probability;
    }

    /// Fails every sync of a kind whose path the predicate picks, until [`FaultDisk::clear_faults`]. Of the rules that pick a
    /// sync the oldest holds. The predicate must not use the disk.
    pub fn fail_sync_where(&self, site: SyncSite, picks: impl Fn(&Path) -> bool + Send + 'static) {
        self.state.lock().faults.add_rule(site, Box::new(picks), SyncEffect::Fails);
    }

    /// Makes every sync of a kind do nothing and say that it worked, until [`FaultDisk::enable_syncs`].
    pub fn disable_sync(&self, site: SyncSite) {
        self.disable_sync_where(site, |_| true);
    }

    /// Like [`FaultDisk::disable_sync`], for the paths that the predicate picks. A file's path is the one under which it was
    /// opened. The predicate must not use the disk.
    pub fn disable_sync_where(&self, site: SyncSite, picks: impl Fn(&Path) -> bool + Send + 'static) {
        self.state.lock().faults.add_rule(site, Box::new(picks), SyncEffect::Skipped);
    }

    /// Switches all syncs on again.
    pub fn enable_syncs(&self) {
        self.state.lock().faults.remove_rules(SyncEffect::Skipped);
    }

    /// Ends all failures and plans of failures and crashes. Syncs that are switched off stay so, and so does the capacity.
    pub fn clear_faults(&self) {
        let faults = &mut self.state.lock().faults;
        faults.remove_rules(SyncEffect::Fails);
        (faults.write_probability, faults.sync_probability) = (0.0, 0.0);
        (faults.write_countdown, faults.sync_countdown, faults.crash_countdown) = (None, None, None);
    }

    /// Gives room for that many bytes more than there are now, or endless room. A write for which there is too little fails
    /// with [`io::ErrorKind::StorageFull`] behind the bytes that fit. Removing and cutting files gives their room back; a
    /// part of a file that was never written takes none.
    pub fn set_capacity(&self, more_bytes: Option<u64>) {
        self.state.lock().set_capacity(more_bytes);
    }

    /// The newest steps, oldest first.
    #[must_use]
    pub fn trace(&self) -> Vec<Op> {
        self.state.lock().trace.ops()
    }

    /// Forgets the steps so far; the counters stay.
    pub fn clear_trace(&self) {
        self.state.lock().trace.clear();
    }

    /// How many steps the trace keeps; 65,536 at first.
    pub fn set_trace_limit(&self, steps: usize) {
        self.state.lock().trace.set_limit(steps);
    }

    /// How often things happened since the disk was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.lock().trace.counters()
    }

    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if self.process.is_some_and(|process| process != state.generation) { Err(gone()) } else { Ok(state) }
    }

    fn file(&self, state: &mut State, path: &Path, node: NodeId) -> Arc<dyn DiskFile> {
        state.tree.opened(node);
        let disk = Self { state: Arc::clone(&self.state), process: Some(state.generation) };
        Arc::new(FaultFile { disk, node, path: path.to_path_buf() })
    }
}

impl Disk for FaultDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.enter()?;
        let node = state.step(Call::Create(path.to_path_buf()), |state| state.tree.create_file(path))?;
        Ok(self.file(&mut state, path, node))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.enter()?;
        let node = state.tree.find_file(path)?;
        Ok(self.file(&mut state, path, node))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.enter()?.tree.list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let call = Call::CreateFolder(folder.to_path_buf());
        self.enter()?.step(call, |state| state.tree.create_folders(folder))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.enter()?.step(Call::Remove(path.to_path_buf()), |state| state.tree.remove_file(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let call = Call::Rename { from: from.to_path_buf(), to: to.to_path_buf() };
        self.enter()?.step(call, |state| state.tree.rename(from, to))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.enter()?.sync_folder(folder)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter()?;
        let node = state.tree.find_file(path)?;
        state.sync_contents(Call::SyncFile(path.to_path_buf()), SyncSite::File, path, node)
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.enter()?.free_bytes())
    }
}

/// An open file of a simulated disk. It stays readable and writable when its name is gone.
#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    node: NodeId,
    path: PathBuf,
}

impl DiskFile for FaultFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.enter()?.write(&self.path, self.node, bytes, position)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(self.disk.enter()?.tree.file(self.node)?.now().read(into, position))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.enter()?.tree.file(self.node)?.now().len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.enter()?.set_len(&self.path, self.node, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let call = Call::SyncData(self.path.clone());
        self.disk.enter()?.sync_contents(call, SyncSite::FileData, &self.path, self.node)
    }
}

impl Drop for FaultFile {
    fn drop(&mut self) {
        // After a crash all handles are already counted as closed.
        if let Ok(mut state) = self.disk.enter() {
            state.tree.closed(self.node);
        }
    }
}
