//! The dataset's folder and the symlink by which others find it: the only file that knows both.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use crate::io::{Disk, point};
use crate::table::TablePlace;

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place needs a folder"))
}

/// The path to `target` as seen from `folder`, so that the data directory can be moved as a whole.
fn relative(target: &Path, folder: &Path) -> PathBuf {
    let (target_parts, folder_parts): (Vec<_>, Vec<_>) = (target.components().collect(), folder.components().collect());
    let shared = target_parts.iter().zip(&folder_parts).take_while(|(target, folder)| target == folder).count();
    if shared == 0 {
        return target.to_owned();
    }
    let ups = folder_parts.iter().skip(shared).map(|_| Component::ParentDir);
    ups.chain(target_parts.iter().skip(shared).copied()).collect()
}

/// Makes a folder durably, with those above it: one after the other, each one's name synced before the next is made. So where
/// an earlier try was cut short, only the deepest folder that is there can have a name that is not durable, and that one is
/// synced too.
fn make_folder(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.is_dir()).collect();
    let present = folder.ancestors().nth(missing.len()).and_then(Path::parent);
    match present.filter(|above| !above.as_os_str().is_empty()).map(|above| disk.sync_folder(above)) {
        // Where nothing may be looked at, nothing was made.
        Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    missing.into_iter().rev().try_for_each(|folder| {
        disk.create_folder(folder)?;
        let synced = folder.parent().map_or(Ok(()), |above| disk.sync_folder(above));
        // The next try makes it anew.
        synced.inspect_err(|_| drop(fs::remove_dir(folder)))
    })
}

/// Makes the symlink, in one step where another one stands there, and syncs it. The folders are made where they lack.
pub(super) fn link(disk: &dyn Disk, place: &TablePlace) -> io::Result<()> {
    let folder = folder_of(&place.link)?;
    make_folder(disk, folder)?;
    let datasets = folder_of(&place.dataset)?;
    if datasets != folder {
        make_folder(disk, datasets)?;
    }
    let target = relative(&place.dataset, folder);
    if !fs::read_link(&place.link).is_ok_and(|present| present == target) {
        make_link(disk, place, &target)?;
    }
    // A name whose sync has failed is not believed after a later sync: it is made anew, and stays there meanwhile.
    disk.sync_folder(folder).inspect_err(|_| drop(make_link(disk, place, &target)))
}

fn make_link(disk: &dyn Disk, place: &TablePlace, target: &Path) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(place.dataset.file_name().unwrap_or_default());
    name.push(".link");
    let fresh = folder_of(&place.link)?.join(name);
    match disk.remove(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => symlink(target, &fresh)?,
    }
    let made = if TablePlace::is_foreign(&place.link) {
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "what stands where the symlink belongs is somebody else's"))
    } else {
        disk.rename(&fresh, &place.link)
    };
    made.inspect_err(|_| drop(disk.remove(&fresh)))
}

/// Removes the symlink, unless it leads to the dataset of a newer topic of the same name, then the dataset. The folders are
/// synced also where there is nothing to remove: an earlier try may not have come to that. What was removed by a try whose
/// sync has failed is made again, so that the next one has something to remove.
pub(super) fn remove(disk: &dyn Disk, place: &TablePlace) -> io::Result<()> {
    let folder = folder_of(&place.link)?;
    let target = relative(&place.dataset, folder);
    let ours = fs::read_link(&place.link).is_ok_and(|present| present == target);
    if ours {
        disk.remove(&place.link)?;
    }
    let synced = sync_if_there(disk, folder);
    point::passed("delete", "unlinked");
    synced.inspect_err(|_| {
        if ours {
            drop(make_link(disk, place, &target))
        }
    })?;
    let there = remove_dataset(&place.dataset)?;
    point::passed("delete", "removed");
    let synced = sync_if_there(disk, folder_of(&place.dataset)?);
    synced.inspect_err(|_| {
        if there {
            drop(disk.create_folder(&place.dataset))
        }
    })
}

/// Removes a dataset's folder; whether there was one.
pub(super) fn remove_dataset(dataset: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(dataset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_if_there(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    match disk.sync_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::RealDisk;
    use crate::model::TopicId;

    #[test]
    fn links_are_relative() {
        for (target, folder, expected) in [
            ("/d/datasets/1.lance", "/d/topics", "../datasets/1.lance"),
            ("/d/x/1.lance", "/d/x", "1.lance"),
            ("/a/1.lance", "/b/c", "../../a/1.lance"),
        ] {
            assert_eq!(relative(Path::new(target), Path::new(folder)), Path::new(expected));
        }
    }

    #[test]
    fn a_newer_topic_takes_the_link_of_an_older_one_and_keeps_it_when_that_goes() {
        let folder = tempfile::tempdir().unwrap();
        let of = |id: TopicId| TablePlace {
            dataset: folder.path().join(format!("datasets/{id}.lance")),
            link: folder.path().join("topics/t.lance"),
        };
        let (old, new) = (TopicId::fresh(), TopicId::fresh());
        let leads_to = |id: TopicId| {
            fs::read_link(of(id).link).is_ok_and(|target| target == Path::new(&format!("../datasets/{id}.lance")))
        };
        link(&RealDisk, &of(old)).unwrap();
        assert!(leads_to(old));
        link(&RealDisk, &of(new)).unwrap();
        assert!(leads_to(new));
        remove(&RealDisk, &of(old)).unwrap();
        assert!(leads_to(new));
        remove(&RealDisk, &of(new)).unwrap();
        assert!(of(new).link.symlink_metadata().is_err());
    }

    #[test]
    fn what_somebody_else_has_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = TablePlace {
            dataset: folder.path().join(format!("{}.lance", TopicId::fresh())),
            link: folder.path().join("t.lance"),
        };
        fs::write(&place.link, b"mine").unwrap();
        assert_eq!(link(&RealDisk, &place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        remove(&RealDisk, &place).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["t.lance"]);
        assert_eq!(fs::read(&place.link).unwrap(), b"mine");
    }
}
