//! Which of the product's syncs of a dataset a call is, by what was done before.

use std::cell::Cell;
use std::path::Path;

use super::lance_disk::OWN;
use super::site::Site;

/// What a call of this thread was last; the calls of one step of the product come on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Other,
    Commit,
    Open,
    /// The dataset's folder was synced, by one or the other.
    Dataset(bool),
    Aside,
    /// A folder above those of links and datasets was synced.
    Link,
    Removed,
}

/// The folder of tags.
const TAGS: &str = "tags";

thread_local! {
    static LAST: Cell<Last> = const { Cell::new(Last::Other) };
}

/// Notes that a folder was made.
pub fn made(folder: &Path) {
    if name_of(folder) == "_torn" {
        LAST.set(Last::Aside);
    }
}

/// Notes that a file was removed.
pub fn removed(path: &Path) {
    if name_of(path).ends_with(".lance") {
        LAST.set(Last::Removed);
    }
}

/// The site of a file's sync; `was_there` when the process began, or was synced by it before.
pub fn site_of_file(path: &Path, was_there: bool) -> Site {
    if name_of(path) == "_copy" {
        return Site::OpenCopy;
    }
    if folder_name(path) == TAGS {
        return Site::Tag;
    }
    LAST.set(if was_there { Last::Open } else { Last::Commit });
    match (folder_name(path).as_str(), was_there) {
        ("_versions", false) => Site::CommitManifest,
        ("_versions", true) => Site::OpenManifest,
        (_, false) => Site::CommitData,
        (_, true) => Site::OpenData,
    }
}

fn folder_name(path: &Path) -> String {
    name_of(path.parent().unwrap_or(path))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The site of a folder's sync, by what was done before; `root` is the data folder.
pub fn site_of_folder(folder: &Path, root: &Path) -> Site {
    let (name, last) = (name_of(folder), LAST.get());
    let site = match (name.as_str(), last) {
        (OWN, _) => Site::Folders,
        (TAGS, _) => Site::TagNames,
        ("_refs", _) => Site::TagFolder,
        _ if root.starts_with(folder) => Site::Folders,
        ("data", Last::Open) => Site::OpenDataNames,
        ("data", _) => Site::CommitDataNames,
        ("_torn", _) => Site::AsideTorn,
        ("_versions", Last::Aside) => Site::AsideVersions,
        ("_versions", Last::Open) => Site::OpenVersions,
        ("_versions", _) => Site::CommitVersions,
        (name, Last::Aside) if name.ends_with(".lance") => Site::AsideDataset,
        (name, Last::Open) if name.ends_with(".lance") => Site::OpenDataset,
        (name, _) if name.ends_with(".lance") => Site::CommitDataset,
        (_, Last::Dataset(true)) => Site::OpenParent,
        (_, Last::Dataset(false)) => Site::CommitParent,
        (_, Last::Link) => Site::Link,
        (_, Last::Removed) => Site::RemoveLink,
        _ => Site::RemoveDataset,
    };
    match site {
        Site::Folders => LAST.set(Last::Link),
        Site::OpenDataset => LAST.set(Last::Dataset(true)),
        Site::CommitDataset => LAST.set(Last::Dataset(false)),
        Site::OpenParent | Site::CommitParent | Site::Link | Site::RemoveLink => LAST.set(Last::Other),
        _ => {}
    }
    site
}
