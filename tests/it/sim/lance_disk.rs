//! The disk of real datasets: a real folder, and what of it would outlive a power loss.
//!
//! It remembers which files were synced, and with how many bytes, and which folders, and with which names. Files are told by
//! their inode: a manifest is a hard link of the file that it was staged as. A hard link of each file whose name was synced
//! is kept beside, so that a removal that was not synced can be undone. [`super::loss`] plays the power loss.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use persisting::io::fault::{Crash, FaultDisk, Random};
use persisting::io::{Disk, DiskFile};

use super::lance_file::LanceFile;
use super::site::Site;
use super::tell::{self, site_of_file, site_of_folder};

pub(super) type Inode = u64;

/// The folder of topics that lie in folders of their own.
pub const OWN: &str = "own";

/// What becomes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It fails.
    Fails,
    /// The process ends before it.
    Dies(Crash),
}

/// What would be left.
#[derive(Debug)]
pub(super) struct State {
    pub(super) root: PathBuf,
    pub(super) shadow: PathBuf,
    pub(super) random: Random,
    /// Bytes of each file that are durable.
    pub(super) synced: HashMap<Inode, u64>,
    /// Files whose sync has failed: no later one makes them durable.
    pub(super) doubtful: HashSet<Inode>,
    /// The durable names in each folder.
    pub(super) folders: HashMap<Inode, BTreeMap<OsString, Inode>>,
    /// Changes of names whose sync has failed: folder, name, what it leads to since.
    pub(super) doubtful_names: HashSet<(Inode, OsString, Option<Inode>)>,
    /// Files that were there when this process began.
    found: HashSet<Inode>,
    fails_after: Option<u64>,
    crashes_after: Option<(u64, Crash)>,
    /// What becomes of the next sync of a site.
    plan: Option<(Site, Plan)>,
    skips: Option<Site>,
    /// How often each sync was asked for.
    pub(super) asked: BTreeMap<Site, u64>,
}

/// A view of the disk. The simulated disk of the log says which process is alive.
#[derive(Clone, Debug)]
pub struct LanceDisk {
    pub(super) state: Arc<Mutex<State>>,
    log: FaultDisk,
    process: u64,
}

impl LanceDisk {
    /// The disk with the data folder `root`; `shadow` is a folder on the same file system.
    pub fn new(root: &Path, shadow: &Path, log: &FaultDisk, seed: u64, skips: Option<Site>) -> io::Result<Self> {
        fs::create_dir_all(shadow)?;
        let state = State {
            root: root.to_owned(),
            shadow: shadow.to_owned(),
            random: Random::new(seed),
            synced: HashMap::new(),
            doubtful: HashSet::new(),
            folders: HashMap::new(),
            doubtful_names: HashSet::new(),
            found: HashSet::new(),
            fails_after: None,
            crashes_after: None,
            plan: None,
            skips,
            asked: BTreeMap::new(),
        };
        let disk = Self { state: Arc::new(Mutex::new(state)), log: log.clone(), process: log.generation() };
        disk.state.lock().sync_folder(root)?;
        Ok(disk)
    }

    /// The view of the process that begins now.
    pub fn begin_life(&self) -> Self {
        let mut state = self.state.lock();
        state.found.clear();
        let root = state.root.clone();
        note_files(&root, &mut state.found);
        Self { state: Arc::clone(&self.state), log: self.log.clone(), process: self.log.generation() }
    }

    /// Lets that many more syncs work and fails the one after them, once.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state.lock().fails_after = Some(syncs);
    }

    /// Ends the process in the midst of the call after so many more.
    pub fn crash_after(&self, calls: u64, crash: Crash) {
        self.state.lock().crashes_after = Some((calls, crash));
    }

    /// Plans what becomes of the next sync of a site.
    pub fn plan(&self, site: Site, plan: Plan) {
        self.state.lock().plan = Some((site, plan));
    }

    pub fn clear_faults(&self) {
        let mut state = self.state.lock();
        (state.fails_after, state.crashes_after, state.plan) = (None, None, None);
    }

    /// A call that changes something: ends the process if it is time, and refuses one that has ended.
    pub fn step(&self) -> io::Result<()> {
        let gone = || io::Error::other("the process that used this disk has ended");
        if self.log.generation() != self.process {
            return Err(gone());
        }
        let mut state = self.state.lock();
        let Some((left, crash)) = state.crashes_after else { return Ok(()) };
        if let Some(left) = left.checked_sub(1) {
            state.crashes_after = Some((left, crash));
            return Ok(());
        }
        state.crashes_after = None;
        drop(state);
        self.die(crash);
        Err(gone())
    }

    fn die(&self, crash: Crash) {
        match crash {
            Crash::Kill => self.log.kill(),
            Crash::PowerLoss => drop(self.log.power_loss()),
        }
    }

    fn sync(&self, site: Site, act: impl FnOnce(&mut State, bool) -> io::Result<()>) -> io::Result<()> {
        self.step()?;
        let mut state = self.state.lock();
        *state.asked.entry(site).or_default() += 1;
        let planned = state.plan.filter(|(planned, _)| *planned == site).map(|(_, plan)| plan);
        if planned.is_some() {
            state.plan = None;
        }
        if let Some(Plan::Dies(crash)) = planned {
            drop(state);
            self.die(crash);
            return Err(io::Error::other("the process has ended"));
        }
        if state.skips == Some(site) {
            return Ok(());
        }
        let fails = match state.fails_after {
            _ if planned.is_some() => true,
            Some(0) => {
                state.fails_after = None;
                true
            }
            left => {
                state.fails_after = left.map(|left| left - 1);
                false
            }
        };
        act(&mut state, !fails)?;
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

/// Notes the inodes of all files in a folder and those below.
fn note_files(folder: &Path, into: &mut HashSet<Inode>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => note_files(&entry.path(), into),
            _ => into.extend(entry.metadata().map(|metadata| metadata.ino()).ok()),
        }
    }
}

pub(super) fn inode(path: &Path) -> io::Result<Inode> {
    Ok(fs::symlink_metadata(path)?.ino())
}

/// The names in a folder, with what they lead to. The catalog is not among them: SQLite syncs by itself.
pub(super) fn names(folder: &Path) -> io::Result<BTreeMap<OsString, Inode>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("catalog.sqlite") {
            // A file that a task of Lance has just removed is none any more.
            if let Ok(id) = inode(&folder.join(&name)) {
                names.insert(name, id);
            }
        }
    }
    Ok(names)
}

impl State {
    pub(super) fn shadow_of(&self, inode: Inode) -> PathBuf {
        self.shadow.join(inode.to_string())
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        let (id, now) = (inode(folder)?, names(folder)?);
        let mut durable = self.folders.remove(&id).unwrap_or_default();
        let all: HashSet<OsString> = now.keys().chain(durable.keys()).cloned().collect();
        for name in all {
            let to = now.get(&name).copied();
            if self.doubtful_names.contains(&(id, name.clone(), to)) {
                continue;
            }
            if let Some(to) = to {
                self.keep(&folder.join(&name), to)?;
                durable.insert(name, to);
            } else {
                durable.remove(&name);
            }
        }
        self.folders.insert(id, durable);
        Ok(())
    }

    fn fail_folder(&mut self, folder: &Path) -> io::Result<()> {
        let (id, now) = (inode(folder)?, names(folder)?);
        let durable = self.folders.entry(id).or_default();
        let all: HashSet<&OsString> = now.keys().chain(durable.keys()).collect();
        for name in all {
            let to = now.get(name).copied();
            // Folders are settled by a later sync: a file system that cannot write its journal does not go on, and Lance
            // makes its folders once.
            let is_folder = fs::symlink_metadata(folder.join(name)).is_ok_and(|metadata| metadata.is_dir());
            if durable.get(name).copied() != to && !is_folder {
                self.doubtful_names.insert((id, name.clone(), to));
            }
        }
        Ok(())
    }

    /// Keeps a file whose name is durable, so that it can come back.
    pub(super) fn keep(&self, path: &Path, inode: Inode) -> io::Result<()> {
        let kept = self.shadow_of(inode);
        if fs::symlink_metadata(path)?.is_dir() || fs::symlink_metadata(&kept).is_ok() {
            return Ok(());
        }
        fs::hard_link(path, kept)
    }

    /// A name is made: what was in doubt of it is past.
    fn make_name(&mut self, path: &Path) -> io::Result<()> {
        if let (Some(folder), Some(name)) = (path.parent().filter(|folder| folder.is_dir()), path.file_name()) {
            let id = inode(folder)?;
            self.doubtful_names.retain(|(of, doubtful, _)| *of != id || doubtful != name);
        }
        Ok(())
    }

    fn sync_file(&mut self, path: &Path, works: bool) -> io::Result<()> {
        let metadata = fs::metadata(path)?;
        let (id, bytes) = (metadata.ino(), metadata.len());
        if self.synced.get(&id) == Some(&bytes) {
            return Ok(());
        }
        if !works {
            self.doubtful.insert(id);
        } else if !self.doubtful.contains(&id) {
            self.synced.insert(id, bytes);
        }
        Ok(())
    }
}

impl Disk for LanceDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.step()?;
        let file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Arc::new(LanceFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn open(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        tell::made(folder);
        self.state.lock().make_name(folder)?;
        fs::create_dir_all(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        tell::removed(path);
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.state.lock().make_name(to)?;
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        // Now and then a file system where a file has one name only: then it is copied.
        let mut state = self.state.lock();
        if state.random.chance(0.2) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        state.make_name(to)?;
        fs::hard_link(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if !fs::symlink_metadata(folder)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let site = site_of_folder(folder, &self.state.lock().root);
        self.sync(site, |state, works| if works { state.sync_folder(folder) } else { state.fail_folder(folder) })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let site = {
            let state = self.state.lock();
            let id = inode(path)?;
            site_of_file(path, state.found.contains(&id) || state.synced.contains_key(&id))
        };
        self.sync(site, |state, works| state.sync_file(path, works))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
