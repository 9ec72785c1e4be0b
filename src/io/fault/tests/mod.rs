use std::collections::BTreeSet;
use std::io::ErrorKind;

use proptest::prelude::*;

use super::*;

mod injected;

const SEEDS: u64 = 400;

fn path(name: &str) -> PathBuf {
    Path::new("/log").join(name)
}

/// A disk with a durable folder `/log`.
fn disk(seed: u64) -> FaultDisk {
    let disk = FaultDisk::new(seed);
    disk.create_folder(Path::new("/log")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk
}

/// A disk with a durable, empty file `/log/a`.
fn disk_with_file(seed: u64) -> (FaultDisk, Arc<dyn DiskFile>) {
    let disk = disk(seed);
    let file = disk.create(&path("a")).unwrap();
    disk.sync_folder(Path::new("/log")).unwrap();
    (disk, file)
}

fn read(disk: &FaultDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&path(name)).unwrap();
    let mut into = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut into, 0).unwrap(), into.len());
    into
}

fn names(disk: &FaultDisk) -> Vec<String> {
    disk.list(Path::new("/log")).unwrap().iter().map(|name| name.display().to_string()).collect()
}

/// What a power loss after the steps leaves of `/log/a`, over many seeds.
fn outcomes(steps: impl Fn(&FaultDisk, &dyn DiskFile)) -> BTreeSet<Vec<u8>> {
    let run = |seed| {
        let (disk, file) = disk_with_file(seed);
        steps(&disk, &*file);
        disk.power_loss();
        read(&disk, "a")
    };
    (0..SEEDS).map(run).collect()
}

/// The names that a power loss after the steps leaves in `/log`, over many seeds.
fn names_left(steps: impl Fn(&FaultDisk)) -> BTreeSet<Vec<String>> {
    let run = |seed| {
        let (disk, _) = disk_with_file(seed);
        steps(&disk);
        disk.power_loss();
        names(&disk)
    };
    (0..SEEDS).map(run).collect()
}

fn set(wanted: &[&[&str]]) -> BTreeSet<Vec<String>> {
    wanted.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect()
}

#[test]
fn synced_contents_and_lengths_survive() {
    let left = outcomes(|_, file| {
        file.write_all_at(b"abcdef", 0).unwrap();
        file.set_len(4).unwrap();
        file.sync_data().unwrap();
    });
    assert_eq!(left, BTreeSet::from([b"abcd".to_vec()]));
    let by_path = outcomes(|disk, file| {
        file.write_all_at(b"abcdef", 0).unwrap();
        disk.sync_file(&path("a")).unwrap();
    });
    assert_eq!(by_path, BTreeSet::from([b"abcdef".to_vec()]));
}

#[test]
fn an_unsynced_write_survives_whole_torn_zeroed_or_not_at_all() {
    let left = outcomes(|_, file| file.write_all_at(&[7; 2000], 100).unwrap());
    let has = |shape: &dyn Fn(&[u8]) -> bool| left.iter().any(|bytes| shape(bytes));
    let whole = [vec![0; 100], vec![7; 2000]].concat();
    assert!(left.contains(&whole));
    assert!(left.contains(&Vec::new()));
    assert!(left.contains(&vec![0; 2100]));
    let written = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 7).count();
    let prefix = |bytes: &[u8]| bytes.iter().skip(100).take_while(|byte| **byte == 7).count();
    assert!(has(&|bytes| prefix(bytes) == written(bytes) && !(100 + prefix(bytes)).is_multiple_of(512)));
    assert!(has(&|bytes| prefix(bytes) == written(bytes) && 100 + prefix(bytes) == 1024));
    assert!(has(&|bytes| prefix(bytes) == 0 && written(bytes) > 0), "a later sector without the first");
    assert!(has(&|bytes| bytes.len() == 2100 && (1..2000).contains(&written(bytes))), "the length without all bytes");
}

#[test]
fn any_subset_of_unsynced_writes_survives() {
    let left = outcomes(|_, file| {
        for at in 0..3 {
            file.write_all_at(b"x", at).unwrap();
        }
    });
    let wanted: [&[u8]; 8] = [b"", b"x", b"\0x", b"xx", b"\0\0x", b"x\0x", b"\0xx", b"xxx"];
    assert!(wanted.iter().all(|bytes| left.contains(*bytes)), "{left:?}");
}

#[test]
fn an_unsynced_cut_may_be_undone() {
    let left = outcomes(|_, file| {
        file.write_all_at(b"abcdef", 0).unwrap();
        file.sync_data().unwrap();
        file.set_len(2).unwrap();
    });
    assert_eq!(left, BTreeSet::from([b"ab".to_vec(), b"abcdef".to_vec()]));
}

#[test]
fn an_unsynced_overwrite_leaves_old_or_new_bytes() {
    let left = outcomes(|_, file| {
        file.write_all_at(&[1; 4], 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[2; 4], 0).unwrap();
    });
    assert!(left.contains(&vec![1; 4]) && left.contains(&vec![2; 4]) && left.contains(&vec![2, 2, 1, 1]));
    assert!(left.iter().all(|bytes| bytes.len() == 4));
}

#[test]
fn what_a_power_loss_left_is_durable() {
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed);
        file.write_all_at(&[7; 2000], 0).unwrap();
        disk.create(&path("b")).unwrap();
        disk.power_loss();
        let (bytes, left) = (read(&disk, "a"), names(&disk));
        assert_eq!(disk.power_loss(), Loss::default());
        assert_eq!((read(&disk, "a"), names(&disk)), (bytes, left));
    }
}

#[test]
fn a_name_survives_only_if_its_folder_was_synced() {
    let synced_file_only = names_left(|disk| disk.create(&path("b")).unwrap().sync_data().unwrap());
    assert_eq!(synced_file_only, set(&[&["a"], &["a", "b"]]));
    let synced = names_left(|disk| {
        disk.create(&path("b")).unwrap();
        disk.sync_folder(Path::new("/log")).unwrap();
    });
    assert_eq!(synced, set(&[&["a", "b"]]));
}

#[test]
fn an_unsynced_removal_may_come_back_with_its_contents() {
    let mut came_back = 0;
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed);
        file.write_all_at(b"kept", 0).unwrap();
        file.sync_data().unwrap();
        drop(file);
        disk.remove(&path("a")).unwrap();
        assert_eq!(disk.open(&path("a")).unwrap_err().kind(), ErrorKind::NotFound);
        disk.power_loss();
        if names(&disk) == ["a"] {
            came_back += 1;
            assert_eq!(read(&disk, "a"), b"kept");
        }
    }
    assert!(came_back > 0 && came_back < SEEDS);
    let synced = names_left(|disk| {
        disk.remove(&path("a")).unwrap();
        disk.sync_folder(Path::new("/log")).unwrap();
    });
    assert_eq!(synced, set(&[&[]]));
}

#[test]
fn a_move_within_a_folder_is_in_one_piece() {
    let left = names_left(|disk| disk.rename(&path("a"), &path("b")).unwrap());
    assert_eq!(left, set(&[&["a"], &["b"]]));
}

#[test]
fn the_halves_of_a_move_between_folders_part_only_at_a_sync() {
    let left = |synced: Option<&'static str>| {
        let run = |seed| {
            let (disk, _) = disk_with_file(seed);
            disk.create_folder(Path::new("/other")).unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
            disk.rename(&path("a"), Path::new("/other/a")).unwrap();
            if let Some(folder) = synced {
                disk.sync_folder(Path::new(folder)).unwrap();
            }
            disk.power_loss();
            (names(&disk).len(), disk.list(Path::new("/other")).unwrap().len())
        };
        (0..SEEDS).map(run).collect::<BTreeSet<_>>()
    };
    assert_eq!(left(None), BTreeSet::from([(1, 0), (0, 1)]));
    assert_eq!(left(Some("/other")), BTreeSet::from([(1, 1), (0, 1)]));
    assert_eq!(left(Some("/log")), BTreeSet::from([(0, 0), (0, 1)]));
}

#[test]
fn a_folder_whose_name_is_lost_takes_what_is_in_it_along() {
    let run = |seed| {
        let disk = FaultDisk::new(seed);
        disk.create_folder(Path::new("/x/y")).unwrap();
        disk.create(Path::new("/x/y/a")).unwrap();
        disk.sync_folder(Path::new("/x/y")).unwrap();
        disk.sync_folder(Path::new("/x")).unwrap();
        disk.power_loss();
        disk.list(Path::new("/x/y")).map(|names| names.len()).map_err(|error| error.kind())
    };
    let left: Vec<_> = (0..SEEDS).map(run).collect();
    assert!(left.contains(&Ok(1)) && left.contains(&Err(ErrorKind::NotFound)) && !left.contains(&Ok(0)));
}

#[test]
fn a_failed_sync_leaves_doubt_that_no_later_sync_ends() {
    let left = outcomes(|disk, file| {
        file.write_all_at(b"a", 0).unwrap();
        disk.fail_sync_after(0);
        file.sync_data().unwrap_err();
        file.write_all_at(b"b", 1).unwrap();
        file.sync_data().unwrap();
        assert_eq!(read(disk, "a"), b"ab");
    });
    assert_eq!(left, BTreeSet::from([b"ab".to_vec(), b"\0b".to_vec()]));
    let names = names_left(|disk| {
        disk.create(&path("b")).unwrap();
        disk.fail_sync_after(0);
        disk.sync_folder(Path::new("/log")).unwrap_err();
        disk.create(&path("c")).unwrap();
        disk.sync_folder(Path::new("/log")).unwrap();
    });
    assert_eq!(names, set(&[&["a", "c"], &["a", "b", "c"]]));
}

#[test]
fn what_is_synced_above_a_doubtful_write_survives() {
    let left = outcomes(|disk, file| {
        file.write_all_at(b"old", 0).unwrap();
        disk.fail_sync_after(0);
        file.sync_data().unwrap_err();
        file.write_all_at(b"new", 0).unwrap();
        file.sync_data().unwrap();
    });
    assert_eq!(left, BTreeSet::from([b"new".to_vec()]));
}

/// A run with every kind of call and fault, as the seed says.
fn run(seed: u64) -> (Vec<Op>, Counters, Vec<Vec<u8>>) {
    let disk = disk(seed);
    let mut random = Random::new(!seed);
    disk.set_write_failure(0.1);
    disk.set_sync_failure(0.1);
    let mut left = Vec::new();
    for _ in 0..200 {
        let name = path(["a", "b", "c"][random.below(3)]);
        let file = disk.open(&name).or_else(|_| disk.create(&name)).unwrap();
        // That a step fails is part of the run; how it fails is in the trace.
        let result = match random.below(8) {
            0 => disk.sync_folder(Path::new("/log")),
            1 => disk.remove(&name),
            2 => disk.rename(&name, &path("c")),
            3 => file.sync_data(),
            4 => file.set_len(random.below(3000) as u64),
            _ => file.write_all_at(&vec![random.below(256) as u8; random.below(2000)], random.below(3000) as u64),
        };
        drop(result);
        if random.chance(0.02) {
            disk.power_loss();
        }
        left.extend(names(&disk).iter().map(|name| read(&disk, name)));
    }
    (disk.trace(), disk.counters(), left)
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1).2, run(2).2);
}

proptest! {
    #[test]
    fn without_faults_a_file_reads_as_written(
        steps in prop::collection::vec((0u8..4, 0usize..3000, prop::collection::vec(any::<u8>(), 0..1500)), 0..30),
    ) {
        let (disk, file) = disk_with_file(1);
        let (mut model, mut synced) = (Vec::new(), Vec::new());
        for (kind, at, bytes) in steps {
            match kind {
                0 => {
                    file.set_len(at as u64).unwrap();
                    model.resize(at, 0);
                }
                1 => {
                    file.sync_data().unwrap();
                    synced.clone_from(&model);
                }
                _ => {
                    file.write_all_at(&bytes, at as u64).unwrap();
                    if !bytes.is_empty() {
                        model.resize(model.len().max(at + bytes.len()), 0);
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                }
            }
            prop_assert_eq!(&read(&disk, "a"), &model);
        }
        if model == synced {
            file.sync_data().unwrap();
            disk.power_loss();
            prop_assert_eq!(&read(&disk, "a"), &synced);
        }
    }
}
