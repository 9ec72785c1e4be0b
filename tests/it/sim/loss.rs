//! What a power loss leaves of a folder of real datasets.
//!
//! A file keeps what was synced of it; the rest is there, cut, or zeroed. A name is there as when its folder was synced, or
//! as it was changed since. What was synced is never harmed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::lance_disk::{Inode, LanceDisk, State, inode, names};

/// How a power loss goes about it.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// Nothing that was not synced survives.
    Thorough,
    /// All of it does.
    Mild,
    /// Names survive, contents do not.
    Contents,
    /// Contents survive, names do not.
    Names,
    Mixed,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    pub files: u64,
    pub names: u64,
}

impl LanceDisk {
    /// Leaves what a power loss leaves, which is durable then. No process may be alive.
    pub fn lose_power(&self) -> io::Result<Lost> {
        let mut state = self.state.lock();
        let mood = match state.random.below(6) {
            0 => Mood::Thorough,
            1 => Mood::Mild,
            2 => Mood::Contents,
            3 => Mood::Names,
            _ => Mood::Mixed,
        };
        let (root, mut lost) = (state.root.clone(), Lost::default());
        state.lose(&root, mood, &mut lost)?;
        state.settle(&root)?;
        Ok(lost)
    }
}

impl State {
    fn draw(&mut self, mood: Mood, of_name: bool) -> bool {
        match mood {
            Mood::Thorough => true,
            Mood::Mild => false,
            Mood::Contents => !of_name,
            Mood::Names => of_name,
            Mood::Mixed => self.random.coin(),
        }
    }

    fn lose(&mut self, folder: &Path, mood: Mood, lost: &mut Lost) -> io::Result<()> {
        let now = names(folder)?;
        let durable = self.folders.get(&inode(folder)?).cloned().unwrap_or_default();
        let mut all: Vec<&OsString> = now.keys().chain(durable.keys()).collect();
        all.sort();
        all.dedup();
        for name in all {
            let (is, was) = (now.get(name), durable.get(name));
            if is != was && self.draw(mood, true) {
                lost.names += 1;
                self.revert(&folder.join(name), is.is_some(), was.copied())?;
            }
        }
        for (name, id) in names(folder)? {
            let path = folder.join(name);
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.lose(&path, mood, lost)?;
            } else if metadata.is_file() {
                self.harm(&path, id, metadata.len(), mood, lost)?;
            }
        }
        Ok(())
    }

    /// Gives a name back what it led to when it was synced.
    fn revert(&mut self, path: &Path, is: bool, was: Option<Inode>) -> io::Result<()> {
        if is {
            match fs::symlink_metadata(path)?.is_dir() {
                true => fs::remove_dir_all(path)?,
                false => fs::remove_file(path)?,
            }
        }
        let Some(was) = was else { return Ok(()) };
        let kept = self.shadow_of(was);
        if fs::symlink_metadata(&kept).is_ok() {
            return fs::hard_link(kept, path);
        }
        // A folder that comes back, with the names that it had.
        let Some(inside) = self.folders.get(&was).cloned() else { return Ok(()) };
        fs::create_dir(path)?;
        inside.iter().try_for_each(|(name, id)| self.revert(&path.join(name), false, Some(*id)))?;
        let back = names(path)?;
        self.folders.insert(inode(path)?, back);
        Ok(())
    }

    /// Takes a part of what was not synced of a file.
    fn harm(&mut self, path: &Path, id: Inode, bytes: u64, mood: Mood, lost: &mut Lost) -> io::Result<()> {
        let sure = self.synced.get(&id).copied().unwrap_or_default();
        if sure >= bytes || !self.draw(mood, false) {
            return Ok(());
        }
        lost.files += 1;
        let file = fs::OpenOptions::new().write(true).open(path)?;
        let unsure = usize::try_from(bytes - sure).unwrap_or(usize::MAX);
        match self.random.below(4) {
            0 => file.set_len(sure),
            1 => file.set_len(sure + self.random.below(unsure) as u64),
            2 => file.write_all_at(&vec![0; unsure], sure),
            _ => {
                let from = self.random.below(unsure);
                file.write_all_at(&vec![0; unsure - from], sure + from as u64)
            }
        }
    }

    /// What is left is durable.
    fn settle(&mut self, root: &Path) -> io::Result<()> {
        (self.folders, self.synced) = Default::default();
        self.doubtful.clear();
        self.doubtful_names.clear();
        self.settle_folder(root)
    }

    fn settle_folder(&mut self, folder: &Path) -> io::Result<()> {
        let inside: BTreeMap<OsString, Inode> = names(folder)?;
        for (name, id) in &inside {
            let path = folder.join(name);
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.settle_folder(&path)?;
            } else {
                self.keep(&path, *id)?;
                self.synced.insert(*id, metadata.len());
            }
        }
        self.folders.insert(inode(folder)?, inside);
        Ok(())
    }
}
