//! Crashes, failures, full disks, syncs that are switched off, and the trace.

use super::*;

#[test]
fn a_killed_process_loses_nothing_but_the_power_still_does() {
    let mut lengths = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed);
        file.write_all_at(b"x", 0).unwrap();
        disk.kill();
        assert_eq!(read(&disk, "a"), b"x");
        disk.power_loss();
        lengths.insert(read(&disk, "a").len());
    }
    assert_eq!(lengths, BTreeSet::from([0, 1]));
}

#[test]
fn handles_and_processes_end_with_a_crash() {
    let ends: [fn(&FaultDisk); 2] = [FaultDisk::kill, |disk| assert_eq!(disk.power_loss(), Loss::default())];
    for end in ends {
        let (disk, file) = disk_with_file(1);
        let process = disk.process();
        process.list(Path::new("/log")).unwrap();
        end(&disk);
        assert!(file.write_all_at(b"x", 0).is_err() && file.read_at(&mut [0], 0).is_err() && file.len().is_err());
        assert!(file.sync_data().is_err() && file.set_len(1).is_err());
        assert!(process.create(&path("b")).is_err() && process.sync_folder(Path::new("/log")).is_err());
        assert_eq!((disk.generation(), read(&disk, "a")), (1, Vec::new()));
        disk.process().open(&path("a")).unwrap().write_all_at(b"x", 0).unwrap();
    }
}

#[test]
fn a_crash_comes_in_the_midst_of_the_planned_call() {
    let mut lengths = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed);
        disk.crash_after(1, Crash::Kill);
        file.write_all_at(b"abc", 0).unwrap();
        file.write_all_at(b"def", 3).unwrap_err();
        assert_eq!(disk.generation(), 1);
        let bytes = read(&disk, "a");
        assert!(b"abcdef".starts_with(&bytes), "{bytes:?}");
        lengths.insert(bytes.len());
        let outcomes: Vec<Outcome> = disk.trace().iter().rev().take(2).map(|op| op.outcome).collect();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Interrupted]);
    }
    assert_eq!(lengths, BTreeSet::from([3, 4, 5, 6]));
}

#[test]
fn a_planned_failure_comes_once_and_leaves_a_part() {
    let mut lengths = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(seed);
        disk.fail_write_after(1);
        file.write_all_at(b"ab", 0).unwrap();
        assert!(file.write_all_at(b"cd", 2).is_err());
        lengths.insert(file.len().unwrap());
        file.write_all_at(b"cd", 2).unwrap();
        assert_eq!(disk.counters().failed_writes, 1);
    }
    assert_eq!(lengths, BTreeSet::from([2, 3]));
}

#[test]
fn failures_come_as_often_as_asked() {
    let (disk, file) = disk_with_file(3);
    disk.set_write_failure(0.5);
    disk.set_sync_failure(0.5);
    let failed = (0..1000).filter(|_| file.write_all_at(b"x", 0).is_err()).count();
    let unsynced = (0..1000).filter(|_| file.sync_data().is_err()).count();
    assert!((400..600).contains(&failed) && (400..600).contains(&unsynced), "{failed} {unsynced}");
    disk.clear_faults();
    assert!((0..100).all(|_| file.write_all_at(b"x", 0).is_ok() && file.sync_data().is_ok()));
}

#[test]
fn a_full_disk_takes_what_fits_and_room_comes_back() {
    let (disk, file) = disk_with_file(1);
    file.write_all_at(&[1; 10], 0).unwrap();
    disk.set_capacity(Some(5));
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 5);
    file.write_all_at(&[2; 10], 0).unwrap();
    file.set_len(100).unwrap();
    assert_eq!(file.write_all_at(&[3; 8], 8).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(&read(&disk, "a")[..18], &[2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0]);
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 0);
    file.set_len(5).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 10);
    disk.remove(&path("a")).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 10, "open");
    drop(file);
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 15);
    disk.set_capacity(None);
    disk.create(&path("b")).unwrap().write_all_at(&[4; 100], 0).unwrap();
}

#[test]
fn a_disabled_sync_says_it_worked_and_does_nothing() {
    let left = outcomes(|disk, file| {
        disk.disable_sync_where(SyncSite::FileData, |path| path.ends_with("a"));
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.counters().skipped_syncs, 1);
    });
    assert_eq!(left, BTreeSet::from([Vec::new(), b"x".to_vec(), b"\0".to_vec()]));
    let enabled = outcomes(|disk, file| {
        disk.disable_sync_where(SyncSite::FileData, |path| path.ends_with("b"));
        disk.disable_sync(SyncSite::File);
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
    });
    assert_eq!(enabled, BTreeSet::from([b"x".to_vec()]));
    let folder = names_left(|disk| {
        disk.disable_sync(SyncSite::Folder);
        disk.create(&path("b")).unwrap();
        disk.sync_folder(Path::new("/log")).unwrap();
        disk.enable_syncs();
    });
    assert_eq!(folder, set(&[&["a"], &["a", "b"]]));
}

#[test]
fn syncs_fail_where_asked_until_cleared() {
    let (disk, file) = disk_with_file(1);
    disk.fail_sync_where(SyncSite::Folder, |folder| folder.ends_with("log"));
    assert!(disk.sync_folder(Path::new("/log")).is_err() && disk.sync_folder(Path::new("/log")).is_err());
    file.sync_data().unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk.clear_faults();
    disk.sync_folder(Path::new("/log")).unwrap();
    assert_eq!(disk.counters().failed_syncs, 2);
}

#[test]
fn the_trace_tells_the_order_and_is_bounded() {
    let (disk, file) = disk_with_file(1);
    disk.clear_trace();
    file.write_all_at(b"abc", 4).unwrap();
    file.sync_data().unwrap();
    disk.rename(&path("a"), &path("b")).unwrap();
    disk.remove(&path("a")).unwrap_err();
    let done = |call| Op { call, outcome: Outcome::Done };
    let wanted = [
        done(Call::Write { path: path("a"), position: 4, bytes: 3 }),
        done(Call::SyncData(path("a"))),
        done(Call::Rename { from: path("a"), to: path("b") }),
        Op { call: Call::Remove(path("a")), outcome: Outcome::Failed(ErrorKind::NotFound) },
    ];
    assert_eq!(disk.trace(), wanted);
    disk.set_trace_limit(2);
    assert_eq!(disk.trace(), wanted[2..]);
    file.sync_data().unwrap();
    assert_eq!(disk.trace().len(), 2);
}

#[test]
fn wrong_paths_are_answered_as_a_file_system_does() {
    let (disk, _) = disk_with_file(1);
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(disk.create(&path("a")).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create(Path::new("/none/a")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(disk.create(&path("a/b")).map(drop)), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.open(Path::new("/log")).map(drop)), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.list(&path("a")).map(drop)), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.create_folder(&path("a"))), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.remove(Path::new("/log"))), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.sync_file(&path("b"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(Path::new("/log/../log/a")).map(drop)), ErrorKind::InvalidInput);
    disk.rename(&path("a"), &path("a")).unwrap();
    assert_eq!(names(&disk), ["a"]);
}
