//! What keeps a segment from being released, copied to the head.

use super::*;

#[test]
fn relocated_entries_keep_everything_and_are_marked() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    let writer = Writer::Keyed(crate::model::KeyedWrite { key: "k".into(), body_hash: [3; 32] });
    let wanted = WalEntry { writer, close: true, ..entry(1, 4, "leftover\n") };
    append_each(&wal, &[entry(2, 0, "flushed\n"), wanted.clone()]);
    wal.seal_head().unwrap();
    wal.relocate(1, &|of, first, next| of == topic(1) && (first.get(), next.get()) == (4, 5)).unwrap();
    wal.release(1).unwrap();
    assert_eq!((wal.topic_bytes(topic(2)), wal.segments()[0].topics.len()), (0, 1));
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, [WalEntry { relocated: true, ..wanted }]);
}

#[test]
fn an_entry_of_two_topics_counts_for_both_until_what_is_wanted_of_it_is_moved() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    let WalEntry { topic: other, first, count, schema, time, values, .. } = entry(2, 7, "beside\n");
    let beside = Beside { topic: other, first, count, schema, time, values };
    let both = WalEntry { beside: Some(Box::new(beside)), ..entry(1, 0, "0\n") };
    append_each(&wal, std::slice::from_ref(&both));
    let bytes = (wal.topic_bytes(topic(1)), wal.topic_bytes(topic(2)));
    assert_eq!(bytes.0 + bytes.1 + SEGMENT_HEADER_BYTES, wal.bytes());
    drop(wal);
    disk.power_loss();
    let (wal, entries, _) = open(&disk).unwrap();
    assert_eq!((entries, wal.topic_bytes(topic(1)), wal.topic_bytes(topic(2))), (vec![both], bytes.0, bytes.1));
    wal.seal_head().unwrap();
    let segment = wal.segments().iter().find(|segment| !segment.topics.is_empty()).unwrap().segment;
    wal.relocate(segment, &|of, first, next| of == topic(2) && (first.get(), next.get()) == (7, 8)).unwrap();
    wal.release(segment).unwrap();
    assert_eq!(wal.topic_bytes(topic(1)), 0);
    disk.power_loss();
    assert_eq!(open(&disk).unwrap().1, [WalEntry { relocated: true, ..entry(2, 7, "beside\n") }]);
}

#[test]
fn a_relocation_holds_few_entries_at_once_however_small_they_are() {
    let disk = FaultDisk::new(1);
    let options = WalOptions { segment_bytes: 64 << 20, buffer_bytes: 1 << 20, ..stepped() };
    let (wal, ..) = open_at(Arc::new(disk.process()), Path::new(FOLDER), options).unwrap();
    let waiting: Vec<_> = (0..20_000).map(|first| append(&wal, entry(1, first, "0\n"))).collect();
    while wal.step() {}
    assert!(waiting.iter().all(|done| done.recv().unwrap().is_ok()));
    wal.seal_head().unwrap();
    let syncs = || disk.trace().iter().filter(|op| matches!(op.call, crate::io::fault::Call::SyncData(_))).count();
    let before = syncs();
    wal.relocate(1, &|_, _, _| true).unwrap();
    // What is held goes to the log in one group.
    assert!(syncs() - before >= 3, "{}", syncs() - before);
}

#[test]
fn only_a_sealed_segment_can_be_relocated() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    for segment in [0, 1, 2] {
        assert!(matches!(wal.relocate(segment, &|_, _, _| true), Err(WalError::Segment { .. })));
    }
}

#[test]
fn a_relocation_does_not_copy_damage() {
    let disk = FaultDisk::new(1);
    let (wal, ..) = open(&disk).unwrap();
    append_each(&wal, &[entry(1, 0, "0\n")]);
    wal.seal_head().unwrap();
    disk.open(&path_of(Path::new(FOLDER), 1)).unwrap().write_all_at(b"?", 120).unwrap();
    let relocated = wal.relocate(1, &|_, _, _| true);
    assert!(matches!(relocated, Err(WalError::Damaged { segment: 1, position: 0, .. })), "{relocated:?}");
    assert!(wal.failed().is_none());
}
