//! What the log promises to those who use it, case by case.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::segment::{SEGMENT_HEADER_BYTES, path_of};
use super::*;
use crate::io::fault::{FaultDisk, Op};
use crate::io::{Disk, DiskFile, RealDisk};

mod recovery;
mod relocation;
mod threaded;

fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

fn entry(of: u8, first: u64, values: &str) -> WalEntry {
    WalEntry {
        topic: topic(of),
        first: Offset::new(first).unwrap(),
        count: 1,
        schema: SchemaVersion::new(2),
        time: Timestamp::from_micros(5),
        close: false,
        relocated: false,
        writer: Writer::Plain,
        beside: None,
        values: Bytes::copy_from_slice(values.as_bytes()),
    }
}

const FOLDER: &str = "/wal";

fn stepped() -> WalOptions {
    WalOptions { segment_bytes: 500, buffer_bytes: 128, ahead_bytes_max: 0, threaded: false, ..WalOptions::default() }
}

type Opened = Result<(SegmentedWal, Vec<WalEntry>, ReplaySummary), WalError>;

fn open_at(disk: Arc<dyn Disk>, folder: &Path, options: WalOptions) -> Opened {
    let mut entries = Vec::new();
    let (wal, summary) = SegmentedWal::open(disk, folder, options, &mut |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok((wal, entries, summary))
}

fn open(disk: &FaultDisk) -> Opened {
    open_at(Arc::new(disk.process()), Path::new(FOLDER), stepped())
}

/// Appends an entry and gives what it completes with, once somebody has stepped.
fn append(wal: &dyn Wal, entry: WalEntry) -> mpsc::Receiver<Result<(), WalError>> {
    let (done, receiver) = writer::waiter();
    wal.append(entry, done);
    receiver
}

/// Appends each entry in a group of its own.
fn append_each(wal: &SegmentedWal, entries: &[WalEntry]) {
    for entry in entries {
        let receiver = append(wal, entry.clone());
        assert!(wal.step());
        receiver.recv().unwrap().unwrap();
    }
}

fn files(disk: &FaultDisk) -> Vec<String> {
    let names = disk.list(Path::new(FOLDER)).unwrap();
    names.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn bytes_of(disk: &FaultDisk, segment: u64) -> Vec<u8> {
    let file = disk.open(&path_of(Path::new(FOLDER), segment)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

#[test]
fn one_step_makes_all_that_is_enqueued_durable_with_one_sync_and_tells_in_order() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    disk.clear_trace();
    let told = Arc::new(Mutex::new(Vec::new()));
    for number in 0..3 {
        let told = Arc::clone(&told);
        wal.append(entry(2, number, "7\n"), Box::new(move |result, _| told.lock().push((number, result.is_ok()))));
    }
    assert!(told.lock().is_empty());
    assert!(wal.step());
    assert_eq!(*told.lock(), [(0, true), (1, true), (2, true)]);
    let syncs = disk.trace().iter().filter(|op| matches!(op.call, crate::io::fault::Call::SyncData(_))).count();
    assert_eq!(syncs, 1);
    assert!(!wal.step());
}

#[test]
fn an_entry_larger_than_a_segment_gets_through() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    let large = "9".repeat(5_000);
    let entries = [entry(1, 0, "0\n"), entry(1, 1, &large), entry(1, 2, "2\n")];
    append_each(&wal, &entries);
    assert_eq!(wal.segments().len(), 3);
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, entries);
}

#[test]
fn a_full_disk_refuses_without_latching_and_leaves_nothing_behind() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    disk.set_capacity(Some(150));
    let refused = [append(&wal, entry(1, 1, "1\n")), append(&wal, entry(1, 2, "2\n"))];
    wal.step();
    for receiver in refused {
        assert!(matches!(receiver.recv().unwrap(), Err(WalError::DiskFull)));
    }
    assert!(wal.failed().is_none());
    disk.set_capacity(None);
    append_each(&wal, &[entry(1, 1, "again\n")]);
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, [entry(1, 0, "0\n"), entry(1, 1, "again\n")]);
}

#[test]
fn what_is_enqueued_while_a_full_disk_refuses_is_refused_too() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    let wal = Arc::new(wal);
    disk.set_capacity(Some(0));
    let (sender, receiver) = mpsc::channel();
    let (again, room) = (Arc::clone(&wal), disk.clone());
    let done = move |first: Result<(), WalError>, _: &mut Group| {
        // Room again: the entry behind must be refused all the same.
        room.set_capacity(None);
        again.append(entry(1, 1, "1\n"), Box::new(move |second, _| sender.send((first, second)).unwrap()));
    };
    wal.append(entry(1, 0, "0\n"), Box::new(done));
    wal.step();
    assert!(matches!(receiver.recv().unwrap(), (Err(WalError::DiskFull), Err(WalError::DiskFull))));
    append_each(&wal, &[entry(1, 0, "0\n")]);
}

#[test]
fn a_failed_sync_latches_and_is_never_retried() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    disk.fail_sync_after(0);
    let receiver = append(&wal, entry(1, 1, "1\n"));
    wal.step();
    assert!(matches!(receiver.recv().unwrap(), Err(WalError::Failed { .. })));
    disk.clear_trace();
    let receiver = append(&wal, entry(1, 2, "2\n"));
    wal.step();
    assert!(matches!(receiver.recv().unwrap(), Err(WalError::Failed { .. })));
    assert!(matches!(wal.failed(), Some(WalError::Failed { .. })));
    assert!(matches!(wal.release(9), Err(WalError::Failed { .. })));
    assert!(matches!(wal.seal_head(), Err(WalError::Failed { .. })));
    assert_eq!(disk.trace(), Vec::<Op>::new());
}

#[test]
fn a_failed_write_latches() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    disk.fail_write_after(0);
    let receiver = append(&wal, entry(1, 1, "1\n"));
    wal.step();
    assert!(matches!(receiver.recv().unwrap(), Err(WalError::Failed { .. })));
    assert!(wal.failed().is_some());
}

#[test]
fn segments_are_released_from_the_oldest_on_and_the_head_stays() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    let value = "x".repeat(200);
    append_each(&wal, &[entry(1, 0, &value), entry(2, 0, &value), entry(1, 1, &value)]);
    let segments = wal.segments();
    assert_eq!(segments.iter().map(|segment| segment.segment).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(wal.bytes(), segments.iter().map(|segment| segment.bytes).sum::<u64>());
    wal.release(1).unwrap();
    assert_eq!(files(&disk).len(), 2);
    assert_eq!(wal.topic_bytes(topic(1)), wal.topic_bytes(topic(2)));
    wal.release(99).unwrap();
    assert_eq!(files(&disk), ["00000000000000000003.wal"]);
    assert_eq!((wal.topic_bytes(topic(2)), wal.segments().len()), (0, 1));
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, [entry(1, 1, &value)]);
}

#[test]
fn a_sealed_head_can_be_released_though_nothing_is_appended() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    wal.seal_head().unwrap();
    wal.seal_head().unwrap();
    assert_eq!(wal.segments().len(), 2);
    wal.release(1).unwrap();
    assert_eq!(wal.topic_bytes(topic(1)), 0);
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, []);
}

/// A failed sync of a removal may leave the old name on the disk for ever, and the next process cannot see it.
#[test]
fn a_removal_that_is_undone_later_does_not_tear_a_hole_into_the_log() {
    for seed in 0..40 {
        let disk = FaultDisk::new(seed);
        let value = "x".repeat(400);
        let entries: Vec<_> = (0..4).map(|first| entry(1, first, &value)).collect();
        let (wal, ..) = open(&disk).unwrap();
        append_each(&wal, &entries);
        disk.kill();
        let (wal, ..) = open(&disk).unwrap();
        disk.fail_sync_after(0);
        assert!(matches!(wal.release(1), Err(WalError::Failed { .. })));
        disk.kill();
        let (wal, ..) = open(&disk).unwrap();
        wal.release(2).unwrap();
        disk.power_loss();
        let (_, read, _) = open(&disk).unwrap();
        assert!(read.ends_with(&entries[2..]), "seed {seed}");
    }
}

/// A log that prepares its segments ahead and uses released ones again.
fn open_prepared(disk: &FaultDisk) -> Opened {
    open_at(Arc::new(disk.process()), Path::new(FOLDER), WalOptions { ahead_bytes_max: 1 << 20, ..stepped() })
}

#[test]
fn a_file_that_was_prepared_ahead_does_not_grow_with_each_group() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open_prepared(&disk).unwrap();
    let lengths: Vec<usize> = (0..4)
        .map(|number| {
            append_each(&wal, &[entry(1, number, "0\n")]);
            bytes_of(&disk, 1).len()
        })
        .collect();
    assert_eq!(lengths, [500; 4]);
    disk.power_loss();
    let (_, read, summary) = open_prepared(&disk).unwrap();
    assert_eq!((read.len(), summary.cut), (4, None));
}

#[test]
fn a_released_segment_is_the_next_new_one_and_nothing_of_it_comes_back() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open_prepared(&disk).unwrap();
    for number in 0..9 {
        append_each(&wal, &[entry(1, number, "\"a text of some length\"\n")]);
    }
    let before = wal.segments().len();
    assert!(before >= 3);
    wal.release(1).unwrap();
    assert!(files(&disk).contains(&"spare.wal.new".to_owned()));
    wal.seal_head().unwrap();
    assert!(!files(&disk).contains(&"spare.wal.new".to_owned()));
    let newest = wal.segments().last().unwrap().segment;
    assert!(bytes_of(&disk, newest).len() > 250, "the file is the released one");
    append_each(&wal, &[entry(1, 9, "9\n")]);
    disk.power_loss();
    let (_, read, summary) = open_prepared(&disk).unwrap();
    let offsets: Vec<u64> = read.iter().map(|entry| entry.first.get()).collect();
    assert_eq!(offsets.last(), Some(&9));
    assert!(offsets.is_sorted() && !offsets.contains(&0));
    assert_eq!(summary.cut, None);
}

#[test]
fn a_group_tells_of_its_end_once_all_are_told() {
    #[derive(Default)]
    struct End(Mutex<Vec<&'static str>>);
    impl GroupEnd for End {
        fn group_ended(&self) {
            self.0.lock().push("end");
        }
    }
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    let end = Arc::new(End::default());
    for number in 0..2 {
        let end = Arc::clone(&end);
        let done = move |_: Result<(), WalError>, group: &mut Group| {
            end.0.lock().push("told");
            if number == 0 {
                group.at_end(Arc::clone(&end) as Arc<dyn GroupEnd>);
            }
        };
        wal.append(entry(1, number, "0\n"), Box::new(done));
    }
    assert!(wal.step());
    assert_eq!(*end.0.lock(), ["told", "told", "end"]);
}

#[test]
fn a_full_disk_gets_back_what_is_kept_for_the_next_segment() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open_prepared(&disk).unwrap();
    for number in 0..20 {
        append_each(&wal, &[entry(1, number, "\"a text of some length\"\n")]);
    }
    wal.release(1).unwrap();
    let has_spare = |disk: &FaultDisk| files(disk).contains(&"spare.wal.new".to_owned());
    assert!(has_spare(&disk));
    // As the log's thread does when a write finds the disk full.
    wal.shared.give_back_spare();
    assert!(!has_spare(&disk));
    // And nothing is kept again until something could be written.
    wal.release(2).unwrap();
    assert!(!has_spare(&disk));
    append_each(&wal, &[entry(1, 20, "9\n")]);
    wal.release(3).unwrap();
    assert!(has_spare(&disk));
}
