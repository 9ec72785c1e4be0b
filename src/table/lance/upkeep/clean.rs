//! What only old versions name goes: each commit makes a version, and opening lists them all.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use lance::Dataset;
use lance::dataset::cleanup::CleanupPolicyBuilder;
use lance_table::format::Manifest;

use crate::io::{Disk, point};
use crate::table::TableError;
use crate::table::lance::commit::{DATA_FOLDER, INDICES_FOLDER};
use crate::table::lance::error::blocking;
use crate::table::lance::offsets::{BASE_KEY, stored};
use crate::table::lance::open::{indices_of, list_versions, manifest_of};
use crate::table::lance::pins::Pins;
use crate::table::lance::table::Inner;
use crate::table::lance::tags;

/// How many of the newest versions stay, besides those with a tag.
pub(in crate::table::lance) const VERSIONS_KEPT: usize = 20;
/// From how many versions on the others go.
pub(super) const VERSIONS_MAX: u64 = 25;

/// What a clean-up has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cleaned {
    pub(super) versions: u64,
    pub(super) bytes: u64,
}

impl std::ops::AddAssign for Cleaned {
    fn add_assign(&mut self, other: Self) {
        self.versions += other.versions;
        self.bytes += other.bytes;
    }
}

/// What came of the clean-ups of one turn; none is tried again after one that has failed.
#[derive(Debug, Default)]
pub(super) struct Tidied {
    pub(super) cleaned: Cleaned,
    pub(super) failed: Option<TableError>,
}

/// Files with their sizes.
type Files = HashMap<String, u64>;

/// What one version names.
struct Held {
    version: u64,
    /// The offset of its first row.
    base: u64,
    data: Files,
    indexes: Files,
}

fn files_of(manifest: &Manifest) -> Files {
    let files = manifest.fragments.iter().flat_map(|fragment| &fragment.files);
    files.map(|file| (file.path.clone(), file.file_size_bytes.get().map_or(0, u64::from))).collect()
}

/// What the versions hold that are there, newest first; what cannot be read is left out.
async fn versions(dataset: &Path) -> Result<Vec<Held>, TableError> {
    let folder = dataset.to_owned();
    let listed = blocking(move || list_versions(&folder)).await?;
    let mut versions = Vec::with_capacity(listed.len());
    for listed in &listed {
        let Ok(manifest) = manifest_of(dataset, listed).await else { continue };
        let mut indexes = Files::new();
        for segment in indices_of(dataset, listed, &manifest).await.unwrap_or_default() {
            let named = segment.files.iter().flatten();
            indexes.extend(named.map(|file| (format!("{}/{}", segment.uuid, file.path), file.size_bytes)));
        }
        let base = stored(&manifest, BASE_KEY).unwrap_or(0);
        versions.push(Held { version: manifest.version, base, data: files_of(&manifest), indexes });
    }
    Ok(versions)
}

/// Adds files to those that are known; how many bytes they add.
fn added(known: &mut Files, files: &Files) -> u64 {
    let new = files.iter().filter(|(path, bytes)| known.insert((*path).clone(), **bytes).is_none());
    new.map(|(_, bytes)| bytes).sum()
}

/// How many of the newest versions stay. Those that have rows which were dropped since, or files of indexes that are too many,
/// only as far as they fit into what history may take. All others of the newest have no rows that the newest lacks, so that what
/// they take is bounded by how often a row is rewritten.
fn versions_that_stay(versions: &[Held], history_bytes: u64) -> usize {
    let Some((newest, older)) = versions.split_first() else { return VERSIONS_KEPT };
    let (mut data, mut indexes) = (newest.data.clone(), newest.indexes.clone());
    let allowed = data.values().chain(indexes.values()).sum::<u64>().max(history_bytes);
    let (mut replaced, mut unindexed) = (0_u64, 0_u64);
    let staying = older.iter().take(VERSIONS_KEPT - 1).take_while(|held| {
        replaced = replaced.saturating_add(added(&mut data, &held.data));
        unindexed = unindexed.saturating_add(added(&mut indexes, &held.indexes));
        let has_dropped = held.base < newest.base;
        unindexed <= allowed && (!has_dropped || replaced.saturating_add(unindexed) <= allowed)
    });
    1 + staying.count()
}

/// Whether older versions hold more than they may.
async fn is_history_heavy(dataset: &Path, history_bytes: u64) -> Result<bool, TableError> {
    let versions = versions(dataset).await?;
    Ok(versions_that_stay(&versions, history_bytes) < versions.len().min(VERSIONS_KEPT))
}

/// The versions that have a tag.
async fn tagged(dataset: &Dataset) -> Result<Vec<u64>, TableError> {
    Ok(dataset.tags().list().await?.into_values().map(|tag| tag.version).collect())
}

/// Removes what only versions before those that stay name, except versions with a tag, and those from the oldest one on that is
/// being read.
async fn remove_old_versions(
    dataset: &Dataset,
    path: &Path,
    history_bytes: u64,
    pins: &Pins,
) -> Result<Cleaned, TableError> {
    let versions = versions(path).await?;
    let oldest = pins.oldest(&tagged(dataset).await?).unwrap_or(u64::MAX);
    let read = versions.iter().filter(|held| held.version >= oldest).count();
    let kept = versions_that_stay(&versions, history_bytes).max(read);
    let policy = CleanupPolicyBuilder::default().retain_n_versions(dataset, kept).await?;
    let policy = policy.error_if_tagged_old_versions(false).build();
    let removed = dataset.cleanup_with_policy(policy).await?;
    Ok(Cleaned { versions: removed.old_versions, bytes: removed.bytes_removed })
}

/// Removes data files, and files of indexes, from before `since` that no version names: of commits, merges and builds that a
/// crash has cut short. Lance
/// itself keeps them for seven days, as nothing tells them from those of a commit under way.
async fn remove_strays(disk: Arc<dyn Disk>, path: &Path, since: SystemTime) -> Result<u64, TableError> {
    let folder = path.to_owned();
    let listed = blocking(move || list_versions(&folder)).await?;
    let (mut named, mut segments) = (HashSet::new(), HashSet::new());
    for listed in &listed {
        // What cannot be read may name anything.
        let manifest = manifest_of(path, listed).await?;
        named.extend(files_of(&manifest).into_keys());
        let indices = indices_of(path, listed, &manifest).await?;
        segments.extend(indices.iter().map(|segment| segment.uuid.to_string()));
    }
    let (folder, indices) = (path.join(DATA_FOLDER), path.join(INDICES_FOLDER));
    blocking(move || {
        let mut removed = 0;
        for segment in folders(&indices)?.into_iter().filter(|name| !segments.contains(name)) {
            let files = files_within(&indices.join(segment))?;
            for (file, bytes, _) in files.into_iter().filter(|(.., changed)| *changed < since) {
                disk.remove(&file)?;
                removed += bytes;
            }
        }
        for (name, bytes, changed) in data_files(&folder)? {
            if changed < since && !named.contains(&name) {
                disk.remove(&folder.join(name))?;
                removed += bytes;
            }
        }
        Ok::<_, io::Error>(removed)
    })
    .await
}

/// Bytes of the files of those segments of indexes that are not among the named ones.
pub(super) fn unnamed_index_bytes(dataset: &Path, named: &HashSet<String>) -> io::Result<u64> {
    let indices = dataset.join(INDICES_FOLDER);
    let mut unnamed = 0;
    for segment in folders(&indices)?.into_iter().filter(|name| !named.contains(name)) {
        unnamed += files_within(&indices.join(segment))?.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
    }
    Ok(unnamed)
}

/// The files of a segment of an index by its folder, with size and time.
pub(in crate::table::lance) fn files_within(folder: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    // Some kinds write parts in folders of their own first.
    let within = folders(folder)?.into_iter().map(|name| folder.join(name));
    let mut files = Vec::new();
    for folder in std::iter::once(folder.to_owned()).chain(within) {
        let found = data_files(&folder)?.into_iter();
        files.extend(found.map(|(name, bytes, changed)| (folder.join(name), bytes, changed)));
    }
    Ok(files)
}

/// The names of the folders in a folder; none where it is not there.
fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let folders = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}

/// Name, size and time of the files in a folder; none where it is not there.
fn data_files(folder: &Path) -> io::Result<Vec<(String, u64, SystemTime)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        match (entry.file_name().into_string(), entry.metadata()) {
            (Ok(name), Ok(metadata)) if metadata.is_file() => files.push((name, metadata.len(), metadata.modified()?)),
            // Removed since it was listed.
            _ => {}
        }
    }
    Ok(files)
}

impl Inner {
    pub(super) fn is_clean_up_due(&self) -> bool {
        self.upkeep.has_many_versions() || self.upkeep.heavier.load(Ordering::Relaxed)
    }

    /// Cleans up if that is due.
    pub(super) async fn tidy(self: &Arc<Self>, tidied: &mut Tidied) {
        if tidied.failed.is_some() || !self.is_clean_up_due() {
            return;
        }
        match self.clean_up().await {
            Ok(cleaned) => tidied.cleaned += cleaned,
            Err(error) => tidied.failed = Some(error),
        }
    }

    async fn clean_up(self: &Arc<Self>) -> Result<Cleaned, TableError> {
        let is_heavier = self.upkeep.heavier.swap(false, Ordering::AcqRel);
        let cleaned = self.remove_versions(is_heavier).await;
        if cleaned.is_err() && is_heavier {
            self.upkeep.heavier.store(true, Ordering::Release);
        }
        cleaned
    }

    async fn remove_versions(self: &Arc<Self>, is_heavier: bool) -> Result<Cleaned, TableError> {
        let (path, history) = (&self.place.dataset, self.upkeep.policy.history_bytes);
        let is_many = self.upkeep.has_many_versions();
        let is_heavy = is_heavier && is_history_heavy(path, history).await?;
        let mut cleaned = Cleaned::default();
        if is_many || is_heavy {
            let _lane = self.enter_lane().await?;
            let Some(version) = self.version().await? else { return Ok(cleaned) };
            point::passed("clean-up", "begun");
            let (disk, folder) = (Arc::clone(&self.shared.disk), path.clone());
            blocking(move || tags::set_torn_aside(&*disk, &folder)).await?;
            cleaned = remove_old_versions(&version.dataset, path, history, &self.pins).await?;
            point::passed("clean-up", "removed");
            if !self.upkeep.swept.swap(true, Ordering::AcqRel) {
                let disk: Arc<dyn Disk> = Arc::clone(&self.shared.disk);
                cleaned.bytes += remove_strays(disk, path, self.upkeep.opened_at).await?;
                point::passed("clean-up", "swept");
            }
        }
        let (_, versions) = usage(path.clone()).await?;
        self.upkeep.found(versions);
        if is_many || is_heavy {
            self.upkeep.left.store(versions, Ordering::Relaxed);
        }
        Ok(cleaned)
    }
}

/// Bytes of all data files that are there, and how many versions.
pub(super) async fn usage(path: PathBuf) -> Result<(u64, u64), TableError> {
    blocking(move || {
        let versions = list_versions(&path)?.len() as u64;
        let bytes = data_files(&path.join(DATA_FOLDER))?.iter().map(|(_, bytes, _)| bytes).sum();
        Ok::<_, io::Error>((bytes, versions))
    })
    .await
}
