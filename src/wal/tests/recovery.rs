//! Damage, torn tails and strange folders.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SETTLED_AT};

/// A log of two segments with three entries each, every one in a group of its own.
fn log() -> (FaultDisk, Vec<WalEntry>) {
    let disk = FaultDisk::new(7);
    let entries: Vec<_> = (0..6).map(|first| entry(1, first, "value\n")).collect();
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &entries[..3]);
    wal.seal_head().unwrap();
    append_each(&wal, &entries[3..]);
    drop(wal);
    disk.power_loss();
    (disk, entries)
}

/// Where the frames of the second segment begin and end.
fn ends(disk: &FaultDisk) -> [usize; 4] {
    let header = usize::try_from(SEGMENT_HEADER_BYTES).unwrap();
    let frame = (bytes_of(disk, 2).len() - header) / 3;
    [header, header + frame, header + 2 * frame, header + 3 * frame]
}

fn flip(disk: &FaultDisk, segment: u64, at: usize) {
    let byte = bytes_of(disk, segment)[at] ^ 0x10;
    let file = disk.open(&path_of(Path::new(FOLDER), segment)).unwrap();
    file.write_all_at(&[byte], at as u64).unwrap();
    file.sync_data().unwrap();
}

#[test]
fn a_clean_log_is_read_back_and_goes_on() {
    let (disk, entries) = log();
    let (wal, read, summary) = open(&disk).unwrap();
    assert_eq!(read, entries);
    assert_eq!((summary.segments, summary.entries, summary.cut), (2, 6, None));
    append_each(&wal, &[entry(1, 6, "more\n")]);
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1.len(), 7);
}

#[test]
fn any_damage_in_an_older_segment_refuses_the_start() {
    let (disk, _) = log();
    for at in 0..bytes_of(&disk, 1).len() {
        // The note that copies are settled, and the padding behind it, say nothing here.
        if (48..64).contains(&at) {
            continue;
        }
        flip(&disk, 1, at);
        let opened = open(&disk);
        assert!(matches!(opened, Err(WalError::Damaged { segment: 1, .. })), "byte {at}: {opened:?}");
        flip(&disk, 1, at);
    }
    assert_eq!(open(&disk).unwrap().1.len(), 6);
}

#[test]
fn damage_that_a_later_frame_vouches_for_refuses_the_start() {
    let (disk, _) = log();
    let [begin, _, last, _] = ends(&disk);
    for at in begin..last {
        flip(&disk, 2, at);
        let opened = open(&disk);
        assert!(matches!(opened, Err(WalError::Damaged { segment: 2, .. })), "byte {at}: {opened:?}");
        flip(&disk, 2, at);
    }
}

#[test]
fn a_damaged_last_group_is_a_torn_tail() {
    let (_, entries) = log();
    let (start, end) = (ends(&log().0)[2], ends(&log().0)[3]);
    for at in start..end {
        let (disk, _) = log();
        flip(&disk, 2, at);
        let (_, read, summary) = open(&disk).unwrap();
        assert_eq!(read, entries[..5], "byte {at}");
        assert_eq!(summary.cut.map(|cut| cut.bytes), Some((end - start) as u64));
    }
}

#[test]
fn the_newest_segment_may_be_cut_anywhere_behind_its_header() {
    let (disk, entries) = log();
    let length = bytes_of(&disk, 2).len();
    let [header, first, second, _] = ends(&disk);
    for cut in 0..length {
        let (disk, _) = log();
        disk.open(&path_of(Path::new(FOLDER), 2)).unwrap().set_len(cut as u64).unwrap();
        if cut < header {
            // It was there before the segment had its name.
            let opened = open(&disk);
            assert!(matches!(opened, Err(WalError::Damaged { segment: 2, .. })), "cut at {cut}: {opened:?}");
            continue;
        }
        let kept = 3 + usize::from(cut >= first) + usize::from(cut >= second);
        let (wal, read, _) = open(&disk).unwrap();
        assert_eq!(read, entries[..kept], "cut at {cut}");
        append_each(&wal, &[entry(1, kept as u64, "new\n")]);
        disk.power_loss();
        let (_, read, _) = open(&disk).unwrap();
        assert_eq!(read, [&entries[..kept], &[entry(1, kept as u64, "new\n")]].concat(), "cut at {cut}");
    }
}

/// The same log once a start has copied its last group into a segment of its own; whether the note that this is settled has
/// reached the disk.
fn copied(is_settled: bool) -> (FaultDisk, Vec<WalEntry>) {
    let (disk, entries) = log();
    drop(open(&disk).unwrap());
    let file = disk.open(&path_of(Path::new(FOLDER), 3)).unwrap();
    file.write_all_at(&[u8::from(is_settled)], SETTLED_AT).unwrap();
    file.sync_data().unwrap();
    disk.kill();
    (disk, entries)
}

#[test]
fn any_damage_in_frames_that_were_copied_into_a_segment_refuses_the_start() {
    for is_settled in [false, true] {
        let (disk, entries) = copied(is_settled);
        let header = usize::try_from(SEGMENT_HEADER_BYTES).unwrap();
        let length = bytes_of(&disk, 3).len();
        assert!(length > header);
        for at in header..length {
            flip(&disk, 3, at);
            let opened = open(&disk);
            assert!(matches!(opened, Err(WalError::Damaged { segment: 3, .. })), "byte {at}: {opened:?}");
            flip(&disk, 3, at);
        }
        for cut in header..length {
            let (disk, _) = copied(is_settled);
            disk.open(&path_of(Path::new(FOLDER), 3)).unwrap().set_len(cut as u64).unwrap();
            let opened = open(&disk);
            assert!(matches!(opened, Err(WalError::Damaged { segment: 3, .. })), "cut at {cut}: {opened:?}");
        }
        // What comes behind them may be torn as anywhere.
        let (wal, read, _) = open(&disk).unwrap();
        assert_eq!(read, entries);
        append_each(&wal, &[entry(1, 6, "more\n")]);
        drop(wal);
        let length = bytes_of(&disk, 4).len();
        disk.open(&path_of(Path::new(FOLDER), 4)).unwrap().set_len(length as u64 - 1).unwrap();
        assert_eq!(open(&disk).unwrap().1, entries);
    }
}

/// Opens a log of which so much is known.
fn open_knowing(disk: &FaultDisk, known: LogMark) -> Opened {
    open_at(Arc::new(disk.process()), Path::new(FOLDER), WalOptions { known: Some(known), ..stepped() })
}

#[test]
fn a_log_that_has_less_than_is_known_of_it_refuses_the_start_and_is_left_as_it_is() {
    let (disk, entries) = log();
    let (wal, ..) = open(&disk).unwrap();
    let (end, bases): (u64, Vec<u64>) = (wal.end(), wal.segments().iter().map(|segment| segment.base).collect());
    drop(wal);
    disk.kill();
    let before = files(&disk);
    let opened = open_knowing(&disk, LogMark { released: 0, end: end + 1 });
    assert!(matches!(opened, Err(WalError::EndMissing { .. })), "{opened:?}");
    disk.remove(&path_of(Path::new(FOLDER), 1)).unwrap();
    let opened = open_knowing(&disk, LogMark { released: bases[1] - 1, end });
    assert!(matches!(opened, Err(WalError::StartMissing { .. })), "{opened:?}");
    assert_eq!(files(&disk), before[1..]);
    assert_eq!(open_knowing(&disk, LogMark { released: bases[1], end }).unwrap().1, entries[3..]);
}

#[test]
fn a_segment_that_comes_back_after_it_was_let_go_of_is_not_looked_at() {
    let (disk, entries) = log();
    let (wal, ..) = open(&disk).unwrap();
    let known = LogMark { released: wal.segments()[1].base, end: wal.end() };
    drop(wal);
    disk.kill();
    // What lies in the midst of a segment keeps all of it.
    for released in [known.released - 1, known.released] {
        let expected = if released < known.released { &entries[..] } else { &entries[3..] };
        let (wal, read, _) = open_knowing(&disk, LogMark { released, ..known }).unwrap();
        assert_eq!((&read[..], wal.topic_bytes(topic(1)) > 0), (expected, true));
        drop(wal);
        disk.kill();
    }
    assert_eq!(files(&disk), ["00000000000000000002.wal", "00000000000000000003.wal"][..files(&disk).len()]);
}

#[test]
fn a_segment_whose_name_was_never_durable_is_not_missed() {
    let (disk, entries) = log();
    // The last group is copied; the folder's sync fails, but the copy can be seen.
    disk.fail_sync_after(2);
    assert!(matches!(open(&disk), Err(WalError::Open { .. })));
    disk.kill();
    assert!(files(&disk).contains(&"00000000000000000003.wal".to_owned()));
    // It is copied once more.
    let (wal, ..) = open(&disk).unwrap();
    let segments = wal.segments();
    let [.., seen, newest] = segments.as_slice() else { panic!("{segments:?}") };
    assert_eq!(seen.base, newest.base);
    let known = LogMark { released: seen.base, end: wal.end() };
    wal.release(seen.segment - 1).unwrap();
    drop(wal);
    disk.kill();
    disk.remove(&path_of(Path::new(FOLDER), seen.segment)).unwrap();
    assert_eq!(open_knowing(&disk, known).unwrap().1, entries[5..]);
}

#[test]
fn an_older_segment_may_not_be_cut_or_be_missing() {
    let (disk, _) = log();
    let length = bytes_of(&disk, 1).len() as u64;
    let file = disk.open(&path_of(Path::new(FOLDER), 1)).unwrap();
    file.set_len(length - 1).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Damaged { segment: 1, .. })));

    let (disk, _) = log();
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 6, "third\n")]);
    disk.remove(&path_of(Path::new(FOLDER), 2)).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Damaged { segment: 1, .. })));
}

#[test]
fn segments_that_are_damaged_are_left_as_they_are() {
    let (disk, _) = log();
    flip(&disk, 1, 100);
    let before = (bytes_of(&disk, 1), bytes_of(&disk, 2), files(&disk));
    assert!(open(&disk).is_err());
    assert_eq!((bytes_of(&disk, 1), bytes_of(&disk, 2), files(&disk)), before);
}

#[test]
fn a_start_alone_makes_no_segment() {
    let (disk, entries) = log();
    // The last group is copied once, as nothing vouches for it; after that nothing is left to do.
    drop(open(&disk).unwrap());
    let after_first = files(&disk);
    for _ in 0..3 {
        disk.kill();
        assert_eq!(open(&disk).unwrap().1, entries);
    }
    assert_eq!(files(&disk), after_first);
}

#[test]
fn a_segment_with_another_ones_name_is_damage() {
    let (disk, _) = log();
    let folder = Path::new(FOLDER);
    disk.rename(&path_of(folder, 2), &path_of(folder, 5)).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Damaged { segment: 5, .. })));
}

#[test]
fn what_is_no_segment_is_ignored_unless_it_calls_itself_one() {
    let (disk, entries) = log();
    disk.create(&Path::new(FOLDER).join("notes.txt")).unwrap();
    disk.create(&Path::new(FOLDER).join("00000000000000000009.wal.new")).unwrap();
    assert_eq!(open(&disk).unwrap().1, entries);
    assert!(files(&disk).contains(&"notes.txt".to_owned()));
    assert!(!files(&disk).contains(&"00000000000000000009.wal.new".to_owned()));
    disk.create(&Path::new(FOLDER).join("9.wal")).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Open { .. })));
}

#[test]
fn a_segment_of_a_newer_version_is_not_taken_for_damage() {
    let (disk, _) = log();
    let mut header = bytes_of(&disk, 2)[..48].to_vec();
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..44]);
    header[44..].copy_from_slice(&crc.to_le_bytes());
    disk.open(&path_of(Path::new(FOLDER), 2)).unwrap().write_all_at(&header, 0).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Open { cause }) if cause.contains("version 2")));
}

#[test]
fn whoever_takes_the_entries_may_refuse_them() {
    let (disk, _) = log();
    let refused = SegmentedWal::open(Arc::new(disk.process()), Path::new(FOLDER), stepped(), &mut |_| {
        Err(WalError::Open { cause: "a topic that nobody knows".to_owned() })
    });
    assert!(matches!(refused, Err(WalError::Open { cause }) if cause.contains("nobody")));
}

/// A disk whose files cannot be read behind their headers; nor made, while too many are open.
#[derive(Debug)]
struct Unreadable(FaultDisk, Arc<AtomicBool>);

#[derive(Debug)]
struct UnreadableFile(Arc<dyn DiskFile>);

impl Disk for Unreadable {
    fn create(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(rustix::io::Errno::MFILE.into()),
            false => self.0.create(path),
        }
    }
    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnreadableFile(self.0.open(path)?)))
    }
    fn list(&self, folder: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        self.0.list(folder)
    }
    fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        self.0.create_folder(folder)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.0.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        self.0.sync_folder(folder)
    }
    fn sync_file(&self, path: &Path) -> std::io::Result<()> {
        self.0.sync_file(path)
    }
    fn free_bytes(&self, path: &Path) -> std::io::Result<u64> {
        self.0.free_bytes(path)
    }
}

impl DiskFile for UnreadableFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> std::io::Result<()> {
        self.0.write_all_at(bytes, position)
    }
    fn read_at(&self, into: &mut [u8], position: u64) -> std::io::Result<usize> {
        if position == 0 { self.0.read_at(into, position) } else { Err(std::io::Error::other("a bad sector")) }
    }
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, bytes: u64) -> std::io::Result<()> {
        self.0.set_len(bytes)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
}

#[test]
fn a_read_error_stops_the_start_and_skips_nothing() {
    let (disk, entries) = log();
    let opened = open_at(Arc::new(Unreadable(disk.process(), Arc::default())), Path::new(FOLDER), stepped());
    assert!(matches!(opened, Err(WalError::Open { cause }) if cause.contains("a bad sector")));
    assert_eq!(open(&disk).unwrap().1, entries);
}

#[test]
fn a_segment_that_cannot_be_begun_for_want_of_files_is_begun_later() {
    let (disk, out_of_files) = (FaultDisk::new(1), Arc::new(AtomicBool::new(true)));
    let (wal, ..) =
        open_at(Arc::new(Unreadable(disk.process(), Arc::clone(&out_of_files))), Path::new(FOLDER), stepped()).unwrap();
    let refused = append(&wal, entry(1, 0, "0\n"));
    wal.step();
    assert!(matches!(refused.recv().unwrap(), Err(WalError::DiskFull)));
    assert!(wal.failed().is_none());
    out_of_files.store(false, Ordering::Relaxed);
    append_each(&wal, &[entry(1, 0, "0\n")]);
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, [entry(1, 0, "0\n")]);
}
