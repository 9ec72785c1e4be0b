//! The log with its own thread, on the machine's disk.

use super::*;

fn threaded(observer: Option<Arc<dyn WalObserver>>) -> WalOptions {
    WalOptions { segment_bytes: 20_000, observer, ..WalOptions::default() }
}

#[derive(Debug, Default)]
struct Groups(Mutex<Vec<usize>>);

impl WalObserver for Groups {
    fn synced(&self, group: usize, bytes: u64, _took: Duration) {
        assert!(bytes > 0);
        self.0.lock().push(group);
    }
}

#[test]
fn many_submitters_are_all_told_and_all_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal");
    let groups = Arc::new(Groups::default());
    let (wal, ..) = open_at(Arc::new(RealDisk), &path, threaded(Some(Arc::clone(&groups) as _))).unwrap();
    thread::scope(|scope| {
        for of in 0..8 {
            let wal = &wal;
            scope.spawn(move || {
                let waiting: Vec<_> = (0..50)
                    .map(|first| append(wal, entry(of, first, &"v".repeat(usize::try_from(first).unwrap() * 20))))
                    .collect();
                waiting.into_iter().for_each(|receiver| receiver.recv().unwrap().unwrap());
            });
        }
    });
    assert_eq!(groups.0.lock().iter().sum::<usize>(), 400);
    assert!(wal.segments().len() > 1);
    let bytes = wal.bytes();
    wal.close();
    wal.close();
    let on_disk: u64 = std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, bytes);
    let (_, entries, _) = open_at(Arc::new(RealDisk), &path, threaded(None)).unwrap();
    for of in 0..8 {
        let offsets = entries.iter().filter(|entry| entry.topic == topic(of)).map(|entry| entry.first.get());
        assert_eq!(offsets.collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    }
}

/// Holds the log's thread at the end of its first group.
#[derive(Debug)]
struct Gate {
    reached: mpsc::Sender<usize>,
    open: Mutex<mpsc::Receiver<()>>,
}

impl WalObserver for Gate {
    fn synced(&self, group: usize, _bytes: u64, _took: Duration) {
        self.reached.send(group).unwrap();
        self.open.lock().recv().unwrap();
    }
}

#[test]
fn while_one_group_is_under_way_the_next_gathers() {
    let folder = tempfile::tempdir().unwrap();
    let ((reached, groups), (go, open)) = (mpsc::channel(), mpsc::channel());
    let gate = Arc::new(Gate { reached, open: Mutex::new(open) });
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(Some(gate))).unwrap();
    let first = append(&wal, entry(1, 0, "0\n"));
    assert_eq!(groups.recv().unwrap(), 1);
    let rest: Vec<_> = (1..11).map(|number| append(&wal, entry(1, number, "1\n"))).collect();
    go.send(()).unwrap();
    first.recv().unwrap().unwrap();
    assert_eq!(groups.recv().unwrap(), 10);
    go.send(()).unwrap();
    rest.into_iter().for_each(|receiver| receiver.recv().unwrap().unwrap());
}

#[test]
fn completions_run_on_the_logs_own_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    let (sender, receiver) = mpsc::channel();
    let done =
        move |_: Result<(), WalError>, _: &mut Group| sender.send(thread::current().name().map(str::to_owned)).unwrap();
    wal.append(entry(1, 0, "0\n"), Box::new(done));
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("wal"));
}

#[test]
fn closing_drains_first_and_refuses_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    let waiting: Vec<_> = (0..20).map(|number| append(&wal, entry(1, number, "1\n"))).collect();
    wal.close();
    waiting.into_iter().for_each(|receiver| receiver.try_recv().unwrap().unwrap());
    assert!(matches!(append(&wal, entry(1, 20, "1\n")).recv().unwrap(), Err(WalError::Closed)));
    assert!(matches!(wal.seal_head(), Err(WalError::Closed)));
}

#[test]
fn a_refusal_after_closing_never_runs_under_the_submitters_lock() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    wal.close();
    let sequencer = Arc::new(Mutex::new(()));
    let (sender, receiver) = mpsc::channel();
    let held = sequencer.lock();
    let again = Arc::clone(&sequencer);
    let done = move |result: Result<(), WalError>, _: &mut Group| {
        drop(again.lock());
        sender.send(result).unwrap();
    };
    wal.append(entry(1, 0, "0\n"), Box::new(done));
    drop(held);
    assert!(matches!(receiver.recv().unwrap(), Err(WalError::Closed)));
}

#[test]
fn a_completion_that_panics_latches_the_log_and_takes_nobody_along() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    wal.append(entry(1, 0, "0\n"), Box::new(|_, _| panic!("a bug")));
    let told = append(&wal, entry(1, 1, "1\n")).recv().unwrap();
    // In the same group it is durable, in a later one the log has latched.
    assert!(matches!(told, Ok(()) | Err(WalError::Failed { .. })));
    assert!(matches!(append(&wal, entry(1, 2, "2\n")).recv().unwrap(), Err(WalError::Failed { .. })));
}

#[test]
fn a_completion_may_hold_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    let wal = Arc::new(wal);
    let (sender, receiver) = mpsc::channel();
    let last = Arc::clone(&wal);
    let (go, wait) = mpsc::channel::<()>();
    let done = move |result: Result<(), WalError>, _: &mut Group| {
        wait.recv().unwrap();
        drop(last);
        sender.send(result).unwrap();
    };
    wal.append(entry(1, 0, "0\n"), Box::new(done));
    drop(wal);
    go.send(()).unwrap();
    receiver.recv().unwrap().unwrap();
}

#[test]
fn relocation_and_release_work_beside_appends() {
    let folder = tempfile::tempdir().unwrap();
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    append(&wal, entry(1, 0, "leftover\n")).recv().unwrap().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for first in 0..200 {
                append(&wal, entry(2, first, &"v".repeat(300))).recv().unwrap().unwrap();
            }
        });
        for segment in 1..3 {
            wal.seal_head().unwrap();
            wal.relocate(segment, &|of, _, _| of == topic(1)).unwrap();
            wal.release(segment).unwrap();
        }
    });
    drop(wal);
    let (_, entries, _) = open_at(Arc::new(RealDisk), folder.path(), threaded(None)).unwrap();
    let left: Vec<_> = entries.into_iter().filter(|entry| entry.topic == topic(1)).collect();
    assert_eq!(left, [WalEntry { relocated: true, ..entry(1, 0, "leftover\n") }]);
}

/// Panics when it learns of a group.
#[derive(Debug)]
struct Panics;

impl WalObserver for Panics {
    fn synced(&self, _group: usize, _bytes: u64, _took: Duration) {
        panic!("for the test")
    }
}

#[test]
fn a_panic_of_the_logs_thread_latches_and_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let options = WalOptions { observer: Some(Arc::new(Panics)), ..WalOptions::default() };
    let (wal, ..) = open_at(Arc::new(RealDisk), folder.path(), options).unwrap();
    let lost = append(&wal, entry(1, 0, "0\n"));
    assert!(lost.recv().is_err(), "what was under way is dropped");
    let refused = append(&wal, entry(1, 1, "1\n"));
    assert!(matches!(refused.recv().unwrap(), Err(WalError::Failed { .. })));
    assert!(matches!(wal.failed(), Some(WalError::Failed { .. })));
}
