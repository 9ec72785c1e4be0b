//! Everything behind the lock of a [`FaultDisk`](super::FaultDisk).

use std::io::{self, ErrorKind};
use std::path::Path;

use super::Loss;
use super::faults::{Crash, Faults, SyncEffect, SyncSite};
use super::random::Random;
use super::trace::{Call, Outcome, Trace};
use super::tree::{NodeId, Tree};

/// The longest file. Memory holds it several times.
const FILE_BYTES_MAX: usize = 1 << 30;
/// What a disk without a set capacity says of its free room.
const FREE_BYTES: u64 = 1 << 40;
/// Steps that the trace keeps unless told otherwise.
const TRACE_OPS_MAX: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    /// How many processes have come to their end.
    pub(super) generation: u64,
    random: Random,
    /// Bytes that all files together may take.
    room_max: Option<u64>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tree: Tree::default(),
            faults: Faults::default(),
            trace: Trace::new(TRACE_OPS_MAX),
            generation: 0,
            random: Random::new(seed),
            room_max: None,
        }
    }

    pub(super) fn set_capacity(&mut self, more_bytes: Option<u64>) {
        let used = self.tree.room();
        self.room_max = more_bytes.map(|more| used.saturating_add(more));
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.room_max.map_or(FREE_BYTES, |max| max.saturating_sub(self.tree.room()))
    }

    /// Ends the process.
    pub(super) fn crash(&mut self, crash: Crash) -> Loss {
        self.generation += 1;
        self.faults.crash_countdown = None;
        self.trace.record(Call::Crash(crash), Outcome::Done);
        match crash {
            Crash::PowerLoss => self.tree.lose_power(&mut self.random),
            Crash::Kill => {
                self.tree.close_all();
                Loss::default()
            }
        }
    }

    /// Does a changing call, unless the process stops in the midst of it.
    pub(super) fn step<T>(&mut self, call: Call, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.step_as(call, Outcome::Done, act)
    }

    fn step_as<T>(&mut self, call: Call, done: Outcome, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if let Some(crash) = self.faults.crash() {
            if self.random.coin() {
                // Its answer reaches nobody.
                drop(act(self));
            }
            self.trace.record(call, Outcome::Interrupted);
            self.crash(crash);
            return Err(gone());
        }
        let result = act(self);
        self.trace.record(call, result.as_ref().map_or_else(|error| Outcome::Failed(error.kind()), |_| done));
        result
    }

    pub(super) fn write(&mut self, path: &Path, node: NodeId, bytes: &[u8], position: u64) -> io::Result<()> {
        let call = Call::Write { path: path.to_path_buf(), position, bytes: bytes.len() };
        // The write in whose midst the process stops may get any part of its bytes to the file.
        let stops = matches!(self.faults.crash_countdown, Some((0, _)));
        let part = if stops { self.random.below(bytes.len() + 1) } else { bytes.len() };
        let bytes = bytes.get(..part).unwrap_or(bytes);
        self.step(call, |state| {
            let at = position_of(position, bytes.len())?;
            let fails = state.faults.write_fails(&mut state.random);
            let asked = if fails { state.random.below(bytes.len()) } else { bytes.len() };
            let fits = state.room_max.map_or(Ok(asked), |_| {
                let free = state.free_bytes();
                state.tree.file(node).map(|contents| contents.now().fits(at, asked, free))
            })?;
            state.tree.file_mut(node)?.write(at, bytes.get(..fits).unwrap_or(bytes));
            match () {
                () if fits < asked => Err(rustix::io::Errno::NOSPC.into()),
                () if fails => Err(rustix::io::Errno::IO.into()),
                () => Ok(()),
            }
        })
    }

    pub(super) fn set_len(&mut self, path: &Path, node: NodeId, length: u64) -> io::Result<()> {
        self.step(Call::SetLen { path: path.to_path_buf(), length }, |state| {
            let length = position_of(length, 0)?;
            if state.faults.write_fails(&mut state.random) {
                return Err(rustix::io::Errno::IO.into());
            }
            state.tree.file_mut(node)?.set_len(length);
            Ok(())
        })
    }

    pub(super) fn sync_contents(&mut self, call: Call, site: SyncSite, path: &Path, node: NodeId) -> io::Result<()> {
        self.sync(call, site, path, |tree, works| {
            let contents = tree.file_mut(node)?;
            if works {
                contents.sync()
            } else {
                contents.fail_sync()
            }
            Ok(())
        })
    }

    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        self.sync(Call::SyncFolder(path.to_path_buf()), SyncSite::Folder, path, |tree, works| {
            if works { tree.sync_folder(path) } else { tree.fail_sync_folder(path) }
        })
    }

    fn sync(
        &mut self,
        call: Call,
        site: SyncSite,
        path: &Path,
        act: impl FnOnce(&mut Tree, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.faults.sync_effect(site, path, &mut self.random) {
            SyncEffect::Works => self.step(call, |state| act(&mut state.tree, true)),
            SyncEffect::Skipped => self.step_as(call, Outcome::Skipped, |_| Ok(())),
            SyncEffect::Fails => self.step(call, |state| {
                act(&mut state.tree, false)?;
                Err(rustix::io::Errno::IO.into())
            }),
        }
    }
}

/// What every call of a process that has ended answers.
pub(super) fn gone() -> io::Error {
    io::Error::other("the process that used this disk has ended")
}

fn position_of(position: u64, bytes: usize) -> io::Result<usize> {
    let end = usize::try_from(position).ok().and_then(|at| at.checked_add(bytes));
    match end {
        Some(end) if end <= FILE_BYTES_MAX => Ok(end - bytes),
        Some(_) | None => Err(ErrorKind::FileTooLarge.into()),
    }
}
