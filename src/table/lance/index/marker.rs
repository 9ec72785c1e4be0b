//! Whether the process has ended in the middle of a build, which may have been because of it: noted beside the dataset.

use std::fs;
use std::io;
use std::path::Path;

use tracing::warn;

use crate::io::Disk;
use crate::model::IndexId;
use crate::table::lance::vouch::remove_if_there;

/// Names the index that is being built, and how often that was tried in a row. Not synced: what it is for is a process that
/// ends, not a machine.
const BUILDING_FILE: &str = "_building";

/// Notes that a build begins, or with none that it has ended.
pub(super) fn mark(disk: &dyn Disk, dataset: &Path, build: Option<(IndexId, u32)>) {
    let path = dataset.join(BUILDING_FILE);
    let write = |(index, tries): (IndexId, u32)| -> io::Result<()> {
        disk.create(&path)?.write_all_at(format!("{index} {tries}").as_bytes(), 0)
    };
    let noted = remove_if_there(disk, &path).and_then(|()| build.map_or(Ok(()), write));
    if let Err(error) = noted {
        warn!(dataset = %dataset.display(), %error, "that an index is built could not be noted");
    }
}

/// The build that came to no end, and how often it was tried in a row.
pub(super) fn left(dataset: &Path) -> Option<(IndexId, u32)> {
    let text = fs::read_to_string(dataset.join(BUILDING_FILE)).ok()?;
    let (index, tries) = text.split_once(' ')?;
    Some((IndexId::parse(index)?, tries.parse().ok()?))
}
