//! The log's thread: takes what is enqueued, writes it, syncs it once, tells everybody.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Instant;

use parking_lot::Mutex;

use super::head::{self, BeginError, Head, is_full};
use super::queue::{Pending, Shared, Work};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::sink::{FrameSink, Place};
use super::{Completion, Group, SegmentSummary, Wal, WalEntry, WalError, Wanted};
use crate::model::TopicId;

/// A log of segments in one folder. Dropping it closes it.
pub struct SegmentedWal {
    pub(crate) shared: Arc<Shared>,
    /// Where there is no thread: the writer, unless a step is under way.
    writer: Mutex<Option<Writer>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: Option<ThreadId>,
    /// Held while segments are relocated or removed.
    pub(crate) upkeep: Mutex<()>,
}

impl SegmentedWal {
    /// Starts a log whose writer goes on where recovery ended.
    ///
    /// # Errors
    /// What the system answers when it has no thread left.
    pub(crate) fn start(shared: Arc<Shared>, writer: Writer) -> io::Result<Self> {
        let (writer, thread) = if shared.options.threaded {
            (None, Some(thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run())?))
        } else {
            (Some(writer), None)
        };
        let thread_id = thread.as_ref().map(|thread| thread.thread().id());
        Ok(Self { shared, writer: Mutex::new(writer), thread: Mutex::new(thread), thread_id, upkeep: Mutex::new(()) })
    }

    /// Without a thread of its own: does what the thread would do now, on the caller's; says whether there was anything.
    #[doc(hidden)]
    pub fn step(&self) -> bool {
        // Completions run in here, so the lock is not held meanwhile.
        let Some(mut writer) = self.writer.lock().take() else { return false };
        let work = self.shared.take();
        let any = work.is_some();
        if let Some(work) = work {
            writer.process(work);
        }
        *self.writer.lock() = Some(writer);
        any
    }

    /// Whether the log has a thread of its own.
    pub(crate) fn is_threaded(&self) -> bool {
        self.shared.options.threaded
    }
}

impl Wal for SegmentedWal {
    fn append(&self, entry: WalEntry, done: Completion) {
        if let Err(refused) = self.shared.push(Pending::new(&entry, done)) {
            // The submitter may hold the lock that its completion takes, so not here; and the log's thread is gone.
            let shared = Arc::clone(&self.shared);
            let refuse = move || shared.complete(refused.done, Err(WalError::Closed));
            if let Err(error) = thread::Builder::new().name("wal-closed".to_owned()).spawn(refuse) {
                tracing::error!(%error, "no thread to tell that the write-ahead log is closed");
            }
        }
    }

    fn failed(&self) -> Option<WalError> {
        self.shared.failed()
    }

    fn end(&self) -> u64 {
        self.shared.end.load(Ordering::Acquire)
    }

    fn bytes(&self) -> u64 {
        self.shared.accounts.lock().bytes()
    }

    fn topic_bytes(&self, topic: TopicId) -> u64 {
        self.shared.accounts.lock().topic_bytes(topic)
    }

    fn segments(&self) -> Vec<SegmentSummary> {
        let segments = self.shared.accounts.lock().segments();
        segments.iter().map(|segment| segment.summary()).collect()
    }

    fn release(&self, through_segment: u64) -> Result<(), WalError> {
        self.release_through(through_segment)
    }

    fn relocate(&self, segment: u64, wanted: Wanted<'_>) -> Result<(), WalError> {
        self.relocate_segment(segment, wanted)
    }

    fn seal_head(&self) -> Result<(), WalError> {
        self.seal()
    }

    fn close(&self) {
        self.shared.close();
        while self.step() {}
        if !self.is_threaded() {
            // Marks the queue as closed, as the thread does when it ends.
            while let Some(work) = self.shared.wait() {
                for pending in work.entries {
                    self.shared.complete(pending.done, Err(WalError::Closed));
                }
                for seal in work.seals {
                    self.shared.complete(seal, Err(WalError::Closed));
                }
            }
        }
        // A completion that closes the log would wait for itself.
        if self.thread_id == Some(thread::current().id()) {
            return;
        }
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            self.shared.latch("the log's thread has panicked".to_owned());
        }
    }
}

impl Drop for SegmentedWal {
    fn drop(&mut self) {
        // Without a thread a drop is how a simulation kills the process: nothing is written any more.
        if self.is_threaded() {
            self.close();
        }
    }
}

impl fmt::Debug for SegmentedWal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentedWal").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

/// Why a run of entries did not become durable.
enum Trouble {
    /// The disk is full, and nothing of the run is left on it.
    Full,
    /// What is on the disk is not known.
    Unknown(String),
}

/// The one who writes.
///
/// Between two runs all that was written is durable, so the head's end is the `synced` of every frame of the next run.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    head: Option<Head>,
    /// The number of the next segment.
    next_segment: u64,
    /// The log position past all frames.
    end: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// A writer that goes on at a log position: in `head`, or in a new segment that its first entry begins.
    pub(crate) fn new(shared: Arc<Shared>, head: Option<Head>, next_segment: u64, end: u64) -> Self {
        Self { shared, head, next_segment, end, buffer: Vec::new() }
    }

    /// The thread's life.
    fn run(mut self) {
        while let Some(work) = self.shared.wait() {
            // Without the thread everybody would wait for ever; what it was at is not known.
            if catch_unwind(AssertUnwindSafe(|| self.process(work))).is_err() {
                self.shared.latch("the log's thread has panicked".to_owned());
            }
        }
        if let Some(head) = &mut self.head {
            head.trim();
        }
    }

    /// Makes a group durable, in one run for each segment that it goes to.
    fn process(&mut self, work: Work) {
        let mut rest = VecDeque::from(work.entries);
        while let Some(first) = rest.front() {
            let (run, result) = match self.make_room(first.body.frame_bytes()) {
                Ok(()) => {
                    let run = self.take_run(&mut rest);
                    let result = self.write_and_sync(&run);
                    (run, result)
                }
                Err(trouble) => (Vec::new(), Err(trouble)),
            };
            match result {
                Ok(()) => {
                    let mut group = Group::default();
                    run.into_iter().for_each(|pending| self.shared.complete_in(&mut group, pending.done, Ok(())));
                }
                Err(trouble) => self.refuse(run.into_iter().chain(rest.drain(..)).collect(), trouble),
            }
        }
        for seal in work.seals {
            let result = self.seal();
            self.shared.complete(seal, result);
        }
    }

    /// Sees to it that there is a head that takes a frame of so many bytes.
    fn make_room(&mut self, frame_bytes: u64) -> Result<(), Trouble> {
        match &self.head {
            Some(head) if head.is_empty() || head.bytes.saturating_add(frame_bytes) <= self.segment_bytes() => Ok(()),
            _ => self.begin_segment(),
        }
    }

    fn segment_bytes(&self) -> u64 {
        self.shared.options.segment_bytes
    }

    /// Begins a new head. All that was written is durable, as a segment's existence promises.
    fn begin_segment(&mut self) -> Result<(), Trouble> {
        self.check()?;
        let shared = &self.shared;
        let segment = self.next_segment;
        let start = shared.accounts.lock().oldest().map_or(segment, |(oldest, _)| oldest);
        let header = SegmentHeader { segment, base: self.end, start, ..SegmentHeader::default() };
        let spare = shared.spare.swap(false, Ordering::AcqRel);
        match head::begin(&*shared.disk, &shared.folder, header, spare, |_| Ok(())) {
            Ok(head) => {
                self.shared.accounts.lock().begin(head.segment, head.base);
                self.next_segment = self.next_segment.saturating_add(1);
                if let Some(mut sealed) = self.head.replace(head) {
                    sealed.trim();
                }
                Ok(())
            }
            Err(BeginError::Full) => Err(Trouble::Full),
            Err(BeginError::Unknown(error)) => Err(Trouble::Unknown(format!("a segment cannot be begun: {error}"))),
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        self.shared.failed().map_or(Ok(()), |error| Err(Trouble::Unknown(error.to_string())))
    }

    fn seal(&mut self) -> Result<(), WalError> {
        let result = match &self.head {
            Some(head) if head.is_empty() => self.check(),
            _ => self.begin_segment(),
        };
        result.map_err(|trouble| match trouble {
            Trouble::Full => WalError::DiskFull,
            Trouble::Unknown(cause) => self.shared.latch(cause),
        })
    }

    /// Takes the entries that the head has room for: at least one.
    fn take_run(&self, rest: &mut VecDeque<Pending>) -> Vec<Pending> {
        let mut end = self.head.as_ref().map_or(SEGMENT_HEADER_BYTES, |head| head.bytes);
        let mut count = 0;
        for pending in rest.iter() {
            end = end.saturating_add(pending.body.frame_bytes());
            if count > 0 && end > self.segment_bytes() {
                break;
            }
            count += 1;
        }
        rest.drain(..count).collect()
    }

    /// Writes a run to the head and syncs it once; counts it when it is durable.
    fn write_and_sync(&mut self, run: &[Pending]) -> Result<(), Trouble> {
        self.check()?;
        let Some(head) = &mut self.head else {
            return Err(Trouble::Unknown("no segment is open".to_owned()));
        };
        let before = head.bytes;
        let options = &self.shared.options;
        let unknown = |error| Err(Trouble::Unknown(format!("a write has failed: {error}")));
        let after = match write(head, &mut self.buffer, options.buffer_bytes, run) {
            Ok(after) => after,
            Err(error) if is_full(&error) => return Err(cut_back(head)),
            Err(error) => return unknown(error),
        };
        head.prepare(after, options.ahead_bytes_max, options.segment_bytes).or_else(unknown)?;
        let begin = Instant::now();
        head.file.sync_data().map_err(|error| Trouble::Unknown(format!("a sync has failed: {error}")))?;
        let took = begin.elapsed();
        self.shared.full.store(false, Ordering::Release);
        head.bytes = after;
        self.end = head.position();
        self.shared.end.store(self.end, Ordering::Release);
        let mut accounts = self.shared.accounts.lock();
        for entries in run.chunk_by(|before, after| before.topic == after.topic) {
            let bytes = entries.iter().map(Pending::own_bytes).sum();
            if let Some(last) = entries.iter().max_by_key(|pending| pending.next) {
                accounts.add(last.topic, last.next, bytes);
            }
        }
        for (topic, next, bytes) in run.iter().filter_map(|pending| pending.beside.as_deref()) {
            accounts.add(*topic, *next, *bytes);
        }
        drop(accounts);
        if let Some(observer) = &self.shared.options.observer {
            observer.synced(run.len(), after - before, took);
        }
        Ok(())
    }

    /// Refuses entries.
    ///
    /// On a full disk also those that were enqueued meanwhile, until there are none: by then each refused topic's
    /// completion has run, so none of its entries can come in behind the gap.
    fn refuse(&self, entries: Vec<Pending>, trouble: Trouble) {
        let error = match trouble {
            Trouble::Full => {
                tracing::warn!(entries = entries.len(), "the disk is full; the write-ahead log refuses appends");
                self.shared.give_back_spare();
                WalError::DiskFull
            }
            Trouble::Unknown(cause) => self.shared.latch(cause),
        };
        let mut refused = entries;
        while !refused.is_empty() {
            let mut group = Group::default();
            for pending in refused {
                self.shared.complete_in(&mut group, pending.done, Err(error.clone()));
            }
            drop(group);
            refused = self.shared.take_entries();
        }
    }
}

fn cut_back(head: &mut Head) -> Trouble {
    match head.cut_back() {
        Ok(()) => Trouble::Full,
        Err(error) => Trouble::Unknown(format!("a write to a full disk cannot be taken back: {error}")),
    }
}

/// Writes a run's frames behind the head's end; gives the end of the file then.
fn write(head: &Head, buffer: &mut Vec<u8>, buffer_bytes: usize, run: &[Pending]) -> io::Result<u64> {
    let place = Place { segment: head.segment, position: head.position(), synced: head.position() };
    let mut sink = FrameSink::new(&*head.file, head.bytes, place, buffer, buffer_bytes);
    for pending in run {
        sink.put(&pending.body)?;
    }
    sink.finish()
}

/// A completion that passes its result on to one who waits.
pub(crate) fn waiter() -> (Completion, std::sync::mpsc::Receiver<Result<(), WalError>>) {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let done: Completion = Box::new(move |result, _| drop(sender.send(result)));
    (done, receiver)
}
