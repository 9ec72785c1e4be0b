//! A process with a log, its disk, and what happens to them.

use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::forgetful::{Forgetful, Sync};
use super::model::{Model, TOPICS};
use crate::io::Disk;
use crate::io::fault::{Crash, FaultDisk};
use crate::wal::segment::SEGMENT_HEADER_BYTES;
use crate::wal::{Group, Plan, SegmentedWal, Wal, WalError, WalOptions, plan};

const FOLDER: &str = "/data/wal";
const STEPS: usize = 70;

/// Runs a seed; gives a fingerprint of the run, or the promise that was broken.
pub(super) fn run(seed: u64, forgets: Option<Sync>) -> Result<(u64, usize), String> {
    let disk = fresh_disk(seed)?;
    let model = Arc::new(Mutex::new(Model::new(seed)));
    let mut world = World { wal: None, generation: 0, disk, forgets, model };
    // A failed sync of the folder above, at the very first start, is nothing that a later start could mend.
    world.restart()?;
    for _ in 0..STEPS {
        world.act()?;
    }
    world.disk.clear_faults();
    world.disk.set_capacity(None);
    world.disk.power_loss();
    world.restart()?;
    let wal = world.wal()?;
    Ok((wal.bytes(), world.disk.trace().len()))
}

/// A disk with a data folder, which is not the log's to make durable.
fn fresh_disk(seed: u64) -> Result<FaultDisk, String> {
    let disk = FaultDisk::new(seed);
    let made = disk.create_folder(Path::new("/data")).and_then(|()| disk.sync_folder(Path::new("/")));
    made.map(|()| disk).map_err(|error| error.to_string())
}

struct World {
    disk: FaultDisk,
    forgets: Option<Sync>,
    model: Arc<Mutex<Model>>,
    wal: Option<Arc<SegmentedWal>>,
    generation: u64,
}

impl World {
    fn below(&self, bound: usize) -> usize {
        self.model.lock().random.below(bound)
    }

    /// The log of the process that runs now; starts one if there is none.
    fn wal(&mut self) -> Result<Arc<SegmentedWal>, String> {
        let gone = self.disk.generation() != self.generation;
        if let Some(wal) = self.wal.as_ref().filter(|wal| !gone && wal.failed().is_none()) {
            return Ok(Arc::clone(wal));
        }
        self.restart()?;
        self.wal.clone().ok_or_else(|| "no log".to_owned())
    }

    /// Ends the process, if there is one, and recovers, however often that is cut off.
    fn restart(&mut self) -> Result<(), String> {
        self.wal = None;
        if self.disk.generation() == self.generation {
            self.disk.kill();
        }
        self.model.lock().crash();
        for attempt in 0.. {
            if attempt == 6 {
                self.disk.clear_faults();
                self.disk.set_capacity(None);
            }
            self.generation = self.disk.generation();
            let disk = Arc::new(Forgetful::new(self.disk.process(), Path::new(FOLDER), self.forgets));
            let options = WalOptions {
                segment_bytes: 700,
                buffer_bytes: 300,
                ahead_bytes_max: if self.below(2) == 0 { 0 } else { 150 },
                threaded: false,
                ..WalOptions::default()
            };
            let mut recovered = Vec::new();
            let opened = SegmentedWal::open(disk, Path::new(FOLDER), options, &mut |entry| {
                recovered.push(entry);
                Ok(())
            });
            match opened {
                Ok((wal, _)) => {
                    let mut model = self.model.lock();
                    model.recover(&recovered);
                    self.wal = Some(Arc::new(wal));
                    return model.broken.take().map_or(Ok(()), Err);
                }
                Err(WalError::Open { .. }) if attempt < 12 => {}
                Err(error) => return Err(format!("cannot open: {error}")),
            }
            match self.below(4) {
                0 => drop(self.disk.power_loss()),
                _ if self.disk.generation() == self.generation => self.disk.kill(),
                _ => {}
            }
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), String> {
        let drawn = self.below(100);
        match drawn {
            0..40 => {
                let wal = self.wal()?;
                let topic = self.below(TOPICS);
                append(&self.model, &Arc::downgrade(&wal), topic);
            }
            40..65 => drop(self.wal()?.step()),
            65..70 => {
                let topic = self.below(TOPICS);
                self.model.lock().commit(topic);
            }
            70..80 => self.upkeep()?,
            80..82 => drop(self.wal()?.seal_head()),
            82..85 => self.disk.crash_after(self.below(8) as u64, Crash::PowerLoss),
            85..88 => self.disk.crash_after(self.below(8) as u64, Crash::Kill),
            88 => drop(self.disk.power_loss()),
            89 => self.disk.kill(),
            90..92 => self.disk.fail_write_after(self.below(6) as u64),
            92..94 => self.disk.fail_sync_after(self.below(6) as u64),
            94..97 => {
                let room = self.below(900) as u64;
                self.disk.set_capacity(Some(room));
            }
            97..99 => self.disk.set_capacity(None),
            _ => self.restart()?,
        }
        self.check()
    }

    /// A few steps of what the engine does about a log that grows.
    fn upkeep(&mut self) -> Result<(), String> {
        let wal = self.wal()?;
        for _ in 0..self.below(6) {
            let committed = self.model.lock().committed();
            let stuck = |topic: crate::model::TopicId| topic == super::model::id(0);
            match plan(&wal.segments(), &|topic, next| committed(topic) < next, &stuck, 1_500, 300) {
                Plan::Release { through } => drop(wal.release(through)),
                Plan::Relocate { segment } => drop(wal.relocate(segment, &|topic, _, next| next > committed(topic))),
                Plan::Flush(topics) => topics.into_iter().for_each(|topic| self.model.lock().commit_id(topic)),
                Plan::Nothing => {}
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if let Some(broken) = self.model.lock().broken.take() {
            return Err(broken);
        }
        let Some(wal) = &self.wal else { return Ok(()) };
        let segments = wal.segments();
        for segment in &segments {
            let bytes: u64 = segment.topics.iter().map(|(_, _, bytes)| bytes).sum();
            if segment.bytes != SEGMENT_HEADER_BYTES + bytes {
                return Err(format!("segment {} is counted wrongly", segment.segment));
            }
        }
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let topics: u64 = (0..TOPICS).map(|topic| wal.topic_bytes(super::model::id(topic))).sum();
        if wal.bytes() != bytes || bytes - SEGMENT_HEADER_BYTES * segments.len() as u64 != topics {
            return Err("the log is counted wrongly".to_owned());
        }
        Ok(())
    }
}

/// Appends to a topic; now and then its completion appends more, while the group is still being completed.
fn append(model: &Arc<Mutex<Model>>, wal: &Weak<SegmentedWal>, topic: usize) {
    let Some(open) = wal.upgrade() else { return };
    let submitted = model.lock().submit(topic);
    let Some((serial, entry)) = submitted else { return };
    let (model, wal) = (Arc::clone(model), wal.clone());
    let done = move |result: Result<(), WalError>, _: &mut Group| {
        let mut locked = model.lock();
        locked.complete(serial, &result);
        let more = locked.random.chance(0.3).then(|| locked.random.below(TOPICS));
        drop(locked);
        if let Some(topic) = more {
            append(&model, &wal, topic);
        }
    };
    open.append(entry, Box::new(done));
}
