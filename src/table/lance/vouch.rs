//! Which version of a dataset is known to be durable, and what is done about one that is not.
//!
//! A commit's sync can fail in a process that ends before it sets the version aside. The next process finds a sound head;
//! but its pages may be clean and not on the disk, where no further sync would write them. So a commit notes which version
//! it has made durable, and the files of a head without such a note are written anew before it counts.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use tracing::warn;

use crate::io::Disk;

/// Holds the number of the version. It is not synced: it is written after all of that version was, so it is true wherever it
/// is found.
const SETTLED_FILE: &str = "_settled";

/// Where a file that is written anew lies until it takes the place of the old one.
const COPY_FILE: &str = "_copy";

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Notes that all of a version is durable.
pub(super) fn note_settled(disk: &dyn Disk, dataset: &Path, version: u64) {
    let path = dataset.join(SETTLED_FILE);
    let noted = remove_if_there(disk, &path)
        .and_then(|()| disk.create(&path))
        .and_then(|file| file.write_all_at(version.to_string().as_bytes(), 0));
    if let Err(error) = noted {
        warn!(dataset = %dataset.display(), version, %error, "that a version is durable could not be noted");
    }
}

/// Takes back what was noted.
pub(super) fn forget_settled(disk: &dyn Disk, dataset: &Path) -> io::Result<()> {
    remove_if_there(disk, &dataset.join(SETTLED_FILE))
}

/// Whether a version is noted as durable.
pub(super) fn is_settled(dataset: &Path, version: u64) -> bool {
    fs::read(dataset.join(SETTLED_FILE)).is_ok_and(|note| note == version.to_string().as_bytes())
}

/// Writes a file anew and syncs it; its name is to be synced with others. Byte by byte: what shared the old one's place on
/// the disk would be no better.
pub(super) fn write_anew(disk: &dyn Disk, dataset: &Path, path: &Path) -> io::Result<()> {
    let copy = dataset.join(COPY_FILE);
    remove_if_there(disk, &copy)?;
    copy_file(disk, path, &copy)?;
    disk.rename(&copy, path)
}

/// Makes a copy of a file, synced; its name is to be synced with others.
pub(super) fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, to) = (fs::File::open(from)?, disk.create(to)?);
    let (mut buffer, mut position) = (vec![0; COPY_BYTES], 0);
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        to.write_all_at(buffer.get(..count).unwrap_or_default(), position)?;
        position += count as u64;
    }
    to.sync_data()
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
