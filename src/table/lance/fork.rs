//! A dataset that begins as a part of another one.
//!
//! Its data files are the other's, under a second name (a copy, where files have one name only), and its first manifest is
//! written by hand: columns, fields' numbers and fragments' numbers stay, so that files and schema go on to fit each other.
//! Lance's own ways do not: a shallow clone needs the other dataset for ever, an overwrite numbers fields anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lance::Dataset;
use lance_io::object_store::ObjectStore;
use lance_table::format::{Fragment, Manifest};
use lance_table::io::commit::{CommitError, CommitHandler as _, ManifestNamingScheme, write_manifest_file_to_path};
use object_store::path::Path as StorePath;

use super::commit::{DATA_FOLDER, Fence};
use super::error::{blocking, foreign};
use super::open::Version;
use super::vouch::copy_file;
use crate::io::Disk;
use crate::model::{Offset, Timestamp};
use crate::table::TableError;

/// The leading fragments of a version that hold nothing at or past `until`.
pub(super) fn whole_fragments(version: &Version, until: Offset) -> Vec<Fragment> {
    let count = version.layout.wholly_before(until).len();
    version.dataset.fragments().iter().take(count).cloned().collect()
}

/// Gives the files of fragments a second name in another dataset's folder.
pub(super) async fn link_files(
    disk: &Arc<dyn Disk>,
    from: &Path,
    to: &Path,
    fragments: &[Fragment],
) -> Result<(), TableError> {
    let (disk, from, to) = (Arc::clone(disk), from.join(DATA_FOLDER), to.join(DATA_FOLDER));
    let files = fragments.iter().flat_map(|fragment| &fragment.files);
    if files.clone().any(|file| file.base_id.is_some()) {
        return Err(foreign("a data file lies in another dataset"));
    }
    let names: Vec<PathBuf> = files.map(|file| PathBuf::from(&file.path)).collect();
    blocking(move || {
        disk.create_folder(&to)?;
        names.iter().try_for_each(|name| link_file(&*disk, &from.join(name), &to.join(name)))
    })
    .await
}

/// One more name, or a copy where that is not possible: another file system, or one without such names, or too many of them.
fn link_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    match disk.link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => copy_file(disk, from, to),
    }
}

/// The first manifest of the fork of a version, with these fragments of it.
fn first_manifest(source: &Dataset, fragments: Vec<Fragment>, now: Timestamp) -> Manifest {
    let before = source.manifest();
    let mut manifest = Manifest::new_from_previous(before, before.schema.clone(), Arc::new(fragments));
    manifest.version = 1;
    manifest.set_timestamp(u128::try_from(now.as_micros()).unwrap_or_default() * 1_000);
    manifest
}

/// Commits the first version of a fork past its fence, which was told of it, with all the syncs of a commit.
pub(super) async fn commit_first(
    fence: &Fence,
    dataset: &Path,
    source: &Dataset,
    fragments: Vec<Fragment>,
    now: Timestamp,
) -> Result<(), TableError> {
    let failed = |cause: String| TableError::Failed { cause };
    let base = StorePath::from_absolute_path(dataset).map_err(|error| failed(error.to_string()))?;
    let mut manifest = first_manifest(source, fragments, now);
    fence
        .commit(
            &mut manifest,
            None,
            &base,
            &ObjectStore::local(),
            write_manifest_file_to_path,
            ManifestNamingScheme::V2,
            None,
        )
        .await
        .map_err(|error| match error {
            CommitError::OtherError(error) => error.into(),
            CommitError::CommitConflict => failed("somebody else has made the dataset".to_owned()),
        })?;
    Ok(())
}
