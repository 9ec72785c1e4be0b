//! Tags: names of versions, in files as Lance writes them, so that other tools see them and its clean-up spares what they name.
//!
//! Lance syncs none of these files and writes them where they are read. Ours are written beside, synced, and put in their
//! place by a rename, so that a power loss leaves the old tag or the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lance::dataset::refs::TagContents;
use serde::de::IgnoredAny;
use tracing::warn;
use uuid::Uuid;

use super::open::TORN_FOLDER;
use super::vouch::remove_if_there;
use crate::io::{Disk, point};
use crate::model::TagName;

const REFS_FOLDER: &str = "_refs";
const TAGS_FOLDER: &str = "tags";
/// Where a tag is written before it has its name; not a tag for Lance, whose end in `.json`.
const NEW_FILE: &str = "_new";
const ENDING: &str = ".json";

fn folder(dataset: &Path) -> PathBuf {
    dataset.join(REFS_FOLDER).join(TAGS_FOLDER)
}

fn path(dataset: &Path, name: &TagName) -> PathBuf {
    folder(dataset).join(format!("{name}{ENDING}"))
}

/// A tag of the main branch, the only one that this server writes; none where there is no such tag, or nothing that can be
/// read as one.
pub(super) fn read(dataset: &Path, name: &TagName) -> io::Result<Option<TagContents>> {
    let path = path(dataset, name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<TagContents>(&text) {
        Ok(contents) => Ok(Some(contents).filter(|contents| contents.branch.is_none())),
        Err(error) => {
            warn!(tag = %path.display(), %error, "a tag of a dataset cannot be read");
            Ok(None)
        }
    }
}

/// The names of all tags, ascending.
pub(super) fn names(dataset: &Path) -> io::Result<Vec<TagName>> {
    let entries = match fs::read_dir(folder(dataset)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let file_name = entry?.file_name();
        let name = file_name.to_str().and_then(|name| name.strip_suffix(ENDING));
        names.extend(name.and_then(|name| TagName::parse(name).ok()));
    }
    names.sort();
    Ok(names)
}

/// Sets aside what lies among the tags and was never written to its end: empty, cut, zeroed. A power loss leaves such files of
/// other tools, which sync nothing, and Lance's clean-up stops at one, for good.
pub(super) fn set_torn_aside(disk: &dyn Disk, dataset: &Path) -> io::Result<()> {
    let tags = folder(dataset);
    let entries = match fs::read_dir(&tags) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.ends_with(ENDING) || !entry.file_type()?.is_file() {
            continue;
        }
        let is_whole = match fs::read_to_string(entry.path()) {
            Ok(text) => serde_json::from_str::<IgnoredAny>(&text).is_ok(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_whole {
            continue;
        }
        warn!(tag = %entry.path().display(), "a torn tag of a dataset is set aside");
        let torn = dataset.join(TORN_FOLDER);
        disk.create_folder(&torn)?;
        disk.rename(&entry.path(), &torn.join(format!("{name}.{}", Uuid::now_v7())))?;
        disk.sync_folder(&torn)?;
        disk.sync_folder(&tags)?;
        disk.sync_folder(dataset)?;
    }
    Ok(())
}

/// Writes a tag, new or moved; durable when the call returns.
pub(super) fn write(disk: &dyn Disk, dataset: &Path, name: &TagName, contents: &TagContents) -> io::Result<()> {
    let folder = folder(dataset);
    disk.create_folder(&folder)?;
    let new = folder.join(NEW_FILE);
    remove_if_there(disk, &new)?;
    let file = disk.create(&new)?;
    file.write_all_at(&serde_json::to_vec_pretty(contents)?, 0)?;
    file.sync_data()?;
    disk.rename(&new, &path(dataset, name))?;
    point::passed("tag", "renamed");
    disk.sync_folder(&folder)?;
    disk.sync_folder(&dataset.join(REFS_FOLDER))?;
    disk.sync_folder(dataset)?;
    point::passed("tag", "synced");
    Ok(())
}

/// Removes a tag, for good when the call returns; false where there is none. What was removed by a try whose sync has failed is
/// made again, so that the next one has something to remove.
pub(super) fn remove(disk: &dyn Disk, dataset: &Path, name: &TagName) -> io::Result<bool> {
    let contents = read(dataset, name)?;
    match disk.remove(&path(dataset, name)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    disk.sync_folder(&folder(dataset)).inspect_err(|_| {
        if let Some(contents) = contents {
            drop(write(disk, dataset, name, &contents));
        }
    })?;
    Ok(true)
}
