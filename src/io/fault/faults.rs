//! Which calls fail, which syncs do nothing, and when the process stops.

use std::fmt;
use std::path::Path;

use super::random::Random;

/// A kind of place where the code asks for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncSite {
    /// [`DiskFile::sync_data`](crate::io::DiskFile::sync_data).
    FileData,
    /// [`Disk::sync_folder`](crate::io::Disk::sync_folder).
    Folder,
    /// [`Disk::sync_file`](crate::io::Disk::sync_file).
    File,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the machine goes on: what was written stays readable, and stays as unsynced as it was.
    Kill,
    /// The machine goes down: what was not synced may be lost.
    PowerLoss,
}

/// What becomes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncEffect {
    Works,
    /// Reports success and does nothing.
    Skipped,
    Fails,
}

type Predicate = Box<dyn Fn(&Path) -> bool + Send>;

struct Rule {
    site: SyncSite,
    matches: Predicate,
    effect: SyncEffect,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("site", &self.site).field("effect", &self.effect).finish_non_exhaustive()
    }
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) write_probability: f64,
    pub(super) sync_probability: f64,
    /// How many writes work before one fails.
    pub(super) write_countdown: Option<u64>,
    /// How many syncs work before one fails.
    pub(super) sync_countdown: Option<u64>,
    /// How many changing calls come through before the process stops in the midst of one.
    pub(super) crash_countdown: Option<(u64, Crash)>,
    rules: Vec<Rule>,
}

impl Faults {
    pub(super) fn add_rule(&mut self, site: SyncSite, matches: Predicate, effect: SyncEffect) {
        self.rules.push(Rule { site, matches, effect });
    }

    /// Forgets the rules of one effect.
    pub(super) fn remove_rules(&mut self, effect: SyncEffect) {
        self.rules.retain(|rule| rule.effect != effect);
    }

    /// Counts a write; whether it fails.
    pub(super) fn write_fails(&mut self, random: &mut Random) -> bool {
        due(&mut self.write_countdown) || random.chance(self.write_probability)
    }

    /// Counts a sync, unless it is switched off; what becomes of it.
    pub(super) fn sync_effect(&mut self, site: SyncSite, path: &Path, random: &mut Random) -> SyncEffect {
        let mut effects = self.rules.iter().filter(|rule| rule.site == site && (rule.matches)(path)).map(|r| r.effect);
        match effects.next() {
            Some(effect) => effect,
            None if due(&mut self.sync_countdown) || random.chance(self.sync_probability) => SyncEffect::Fails,
            None => SyncEffect::Works,
        }
    }

    /// Counts a changing call; how the process stops in the midst of it, if it does.
    pub(super) fn crash(&mut self) -> Option<Crash> {
        let (left, crash) = self.crash_countdown?;
        let mut left = Some(left);
        let now = due(&mut left);
        self.crash_countdown = left.map(|left| (left, crash));
        now.then_some(crash)
    }
}

/// Counts down; true once, when nothing is left to count.
fn due(countdown: &mut Option<u64>) -> bool {
    match *countdown {
        None => false,
        Some(0) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *countdown = Some(left - 1);
            false
        }
    }
}
