//! Longer episodes of a schedule, for what single steps would rarely bring about.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use persisting::io::Disk;
use persisting::io::fault::Crash;

use super::lance_disk::{OWN, Plan};
use super::life::Datasets;
use super::model::{Kind, Known};
use super::site::Site;
use super::world::{End, World};

impl World {
    /// The first appends after a start begin a segment: the process ends there.
    pub fn end_after_start(&mut self) -> Result<(), String> {
        let end = self.an_end();
        self.restart(end)?;
        if self.has_crashed() { Ok(()) } else { self.crash_later() }
    }

    /// The disk is full after a part of a group was written, and then the power is lost: what was refused stays away.
    pub fn run_short_of_room(&mut self) -> Result<(), String> {
        let logged = (0..self.slots.len()).find(|at| {
            let topic = self.slots[*at].topic.as_ref();
            topic
                .is_some_and(|topic| topic.kind == Kind::Wal && topic.exists == Known::Yes && topic.closed == Known::No)
        });
        for _ in 0..1 + self.random.below(3) {
            let room = self.random.below(900) as u64;
            self.note(format!("  room for {room} bytes"));
            self.machine.disk.set_capacity(Some(room));
            // Many at once, so that some of them go to the log together.
            let count = 2 + self.random.below(7);
            self.append_some(count, logged)?;
            if !self.has_crashed() && self.random.chance(0.7) {
                self.restart(End::PowerLoss)?;
            }
        }
        Ok(())
    }

    /// A commit fails, or the process ends, at one of its syncs; then it ends once more, or again.
    pub fn end_in_commit(&mut self) -> Result<(), String> {
        let Datasets::Lance(disk) = &self.machine.datasets else { return Ok(()) };
        let disk = disk.clone();
        let sites = [
            Site::CommitData,
            Site::CommitManifest,
            Site::CommitVersions,
            Site::CommitDataset,
            Site::CommitDataset,
            Site::CommitParent,
            Site::Link,
        ];
        let site = sites[self.random.below(sites.len())];
        let plan = match self.random.below(4) {
            0 | 1 => Plan::Dies(Crash::Kill),
            2 => Plan::Dies(Crash::PowerLoss),
            _ => Plan::Fails,
        };
        // The first commit of a topic has more to make durable than others.
        let free = self.slots.iter().position(|slot| slot.topic.is_none());
        let fresh = free.filter(|_| self.random.coin());
        if let Some(at) = fresh {
            let kind = [Kind::NoWal, Kind::NoWal, Kind::Wal, Kind::Lance][self.random.below(4)];
            self.create_of(kind, at)?;
        }
        let fresh = fresh.filter(|at| self.slots[*at].topic.as_ref().is_some_and(|topic| topic.exists == Known::Yes));
        self.note(format!("  {plan:?} at {site:?}"));
        disk.plan(site, plan);
        self.append_some(2, fresh)?;
        if !self.has_crashed() && self.random.coin() {
            self.flush_all()?;
        }
        for end in [End::Kill, End::PowerLoss, End::PowerLoss] {
            if self.has_crashed() || self.random.chance(0.7) {
                self.restart(end)?;
            }
        }
        Ok(())
    }

    /// Waits until nothing is left of deleted topics.
    pub fn let_remains_go(&mut self, patience: Duration) -> Result<(), String> {
        let mut left = self.remains()?;
        let Some(life) = &self.life else { return Ok(()) };
        life.block_on(async {
            let until = Instant::now() + patience;
            while !left.is_empty() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(10)).await;
                left = self.remains()?;
            }
            Ok::<(), String>(())
        })?;
        self.note(format!("  {left:?} is left of deleted topics"));
        Ok(())
    }

    /// Datasets of topics that are deleted, and links that lead nowhere.
    pub fn remains(&self) -> Result<Vec<PathBuf>, String> {
        let topics = self.slots.iter().filter_map(|slot| slot.topic.as_ref());
        let living: HashSet<String> =
            topics.flat_map(|topic| [topic.id, topic.quarantine]).flatten().map(|id| format!("{id}.lance")).collect();
        let mut remains = Vec::new();
        let own = self.machine.data_dir.join(OWN);
        let below = std::fs::read_dir(&own).into_iter().flatten().flatten().map(|entry| entry.path());
        let folders = ["datasets", "topics"].map(|folder| self.machine.data_dir.join(folder));
        for folder in folders.into_iter().chain(below) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                let kind = entry.file_type().map_err(|error| error.to_string())?;
                let leads = std::fs::read_link(&path).ok();
                let to = leads.and_then(|to| Some(to.file_name()?.to_string_lossy().into_owned()));
                if (kind.is_dir() && !living.contains(&name)) || to.is_some_and(|to| !living.contains(&to)) {
                    remains.push(path);
                }
            }
        }
        Ok(remains)
    }

    /// Commits all, and gives the engine time to let the log go.
    pub fn let_log_shrink(&mut self) -> Result<(), String> {
        self.flush_all()?;
        let Some(life) = &self.life else { return Ok(()) };
        let (disk, folder) = (self.machine.disk.process(), self.machine.data_dir.join("wal"));
        let segments = life.block_on(async {
            let many = || disk.list(&folder).map_or(0, |names| names.len());
            let shrinks = async {
                while many() > 1 {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            // The last segment stays, and what a topic that cannot commit holds.
            drop(tokio::time::timeout(std::time::Duration::from_millis(600), shrinks).await);
            many()
        });
        self.note(format!("  {segments} segments"));
        Ok(())
    }
}
