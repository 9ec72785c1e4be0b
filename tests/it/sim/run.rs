//! One schedule, drawn from its seed.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use persisting::engine::EngineOptions;
use persisting::io::Disk;
use persisting::io::fault::{Crash, FaultDisk, Random};
use persisting::model::TopicName;
use persisting::table::model::ModelTables;

use super::check::When;
use super::client::creation;
use super::figures::Figures;
use super::lance_disk::LanceDisk;
use super::life::{Datasets, Machine, PATIENCE, SimClock};
use super::model::{Kind, Known, TopicModel};
use super::ops::Op;
use super::site::Site;
use super::values::Shape;
use super::world::{End, Slot, World};

pub const NAMES: usize = 4;
const STEPS: usize = 36;
const STEPS_REAL: usize = 24;

/// A schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    /// Whether datasets are real ones.
    pub real: bool,
    /// The sync that is left out.
    pub skips: Option<Site>,
}

/// A promise that was broken, and what had been done by then.
#[derive(Debug)]
pub struct Failure {
    pub broken: String,
    pub trace: Vec<String>,
}

impl Schedule {
    /// Runs it.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn run(self) -> Result<Figures, Failure> {
        let folder = folder().map_err(|error| Failure { broken: error.to_string(), trace: Vec::new() })?;
        let machine = self.machine(folder.path());
        let machine = machine.map_err(|error| Failure { broken: error.to_string(), trace: Vec::new() })?;
        let slot = |number| {
            let name = TopicName::parse(&format!("t{number}")).map_err(|error| error.to_string())?;
            Ok(Slot { name, topic: None, buried: HashSet::new() })
        };
        let slots: Result<Vec<Slot>, String> = (0..NAMES).map(slot).collect();
        let mut world = World {
            machine,
            random: Random::new(self.seed ^ 0x5EED_0000),
            life: None,
            slots: slots.map_err(|broken| Failure { broken, trace: Vec::new() })?,
            serials: 0,
            log_acks: 0,
            losses_played: 0,
            log_failed: false,
            trace: Vec::new(),
            figures: Figures::default(),
        };
        let steps = if self.real { STEPS_REAL } else { STEPS };
        let outcome = catch_unwind(AssertUnwindSafe(|| world.run(steps))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        });
        let folder = world.machine.data_dir.clone();
        if let Some(life) = world.life.take() {
            world.machine.disk.kill();
            life.end(&folder);
        }
        match outcome {
            Ok(()) => Ok(world.figures),
            Err(broken) => Err(Failure { broken, trace: world.trace }),
        }
    }

    fn machine(self, folder: &Path) -> std::io::Result<Machine> {
        let mut random = Random::new(self.seed);
        let folder = folder.canonicalize()?;
        let data_dir = folder.join("data");
        for made in ["datasets", "topics"] {
            std::fs::create_dir_all(data_dir.join(made))?;
        }
        // The folders above the log's are durable, as the server makes them.
        let disk = FaultDisk::new(self.seed);
        disk.create_folder(&data_dir)?;
        let above: Vec<PathBuf> = data_dir.ancestors().map(Path::to_path_buf).collect();
        above.iter().try_for_each(|folder| disk.sync_folder(folder))?;
        let datasets = if self.real {
            let seed = self.seed ^ 0xDA7A;
            Datasets::Lance(LanceDisk::new(&data_dir, &folder.join("kept"), &disk, seed, self.skips)?)
        } else {
            Datasets::Model(ModelTables::default())
        };
        let options = EngineOptions {
            data_dir: data_dir.clone(),
            storage_roots: Vec::new(),
            auto_create: false,
            tail_bytes: 8 << 20,
            process_bytes_max: None,
            // Committed records are read from the dataset by some, from memory by others.
            recent_bytes: if self.seed.is_multiple_of(3) { 8 << 20 } else { 0 },
            memory_limit_bytes: 1 << 20,
            wal_bytes_max: 64 << 20,
            wal_target_bytes: [1_500, 4_000, 1 << 20][random.below(3)],
            wal_segment_bytes: [500, 1_500, 6_000][random.below(3)],
            disk_floor_bytes: 0,
            record_bytes_max: 1 << 20,
            batch_records_max: 1_000,
            cursors_max: 1_000,
        };
        let clock = Arc::new(SimClock::default());
        Ok(Machine { data_dir, disk, datasets, clock, skips: self.skips, options, open_max: 1 + random.below(3) })
    }
}

/// A folder in memory where there is one.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new().prefix("persisting-sim-").to_owned();
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }
}

impl World {
    fn run(&mut self, steps: usize) -> Result<(), String> {
        self.start()?;
        self.create(0)?;
        self.create(1)?;
        for step in 0..steps {
            self.step(step)?;
        }
        self.finish()
    }

    fn step(&mut self, step: usize) -> Result<(), String> {
        if self.has_crashed() {
            return self.restart(End::Kill);
        }
        if self.log_failed && self.random.below(3) == 0 {
            let end = self.an_end();
            return self.restart(end);
        }
        let drawn = self.random.below(100);
        self.note(format!("{step}: {drawn}"));
        match drawn {
            0..7 if self.is_real() => self.end_in_commit(),
            0..4 => self.end_after_start(),
            4..46 => self.append(),
            46..53 => self.flush(),
            53..57 => self.trim(),
            57..58 => self.close(),
            58..60 => self.create_any(),
            60 => self.tag(),
            61 => self.fork(),
            62..64 => self.delete(),
            64..70 => {
                let at = self.random.below(NAMES);
                self.look_at(at, When::Running)
            }
            70..76 => self.fail_something(),
            76..79 => self.crash_later(),
            79..82 => self.run_short_of_room(),
            82..84 => {
                self.machine.disk.set_capacity(None);
                Ok(())
            }
            84..86 => self.tag(),
            86 if self.random.coin() => self.fork(),
            86 => {
                self.machine.clock.advance(6_000_000);
                self.append()
            }
            87..90 => self.let_log_shrink(),
            _ => {
                let end = self.an_end();
                self.restart(end)
            }
        }
    }

    /// Without faults: nothing is missing after one more power loss, and deleted topics leave nothing behind.
    fn finish(&mut self) -> Result<(), String> {
        self.note("finish");
        self.clear_faults();
        self.restart(if self.has_crashed() { End::Kill } else { End::PowerLoss })?;
        self.flush_all()?;
        self.look_at_all(When::Running)?;
        self.let_remains_go(PATIENCE)?;
        self.restart(End::StopThenPowerLoss)?;
        self.let_remains_go(Duration::from_secs(2))?;
        let left = self.remains()?;
        if self.is_real() && !left.is_empty() {
            return Err(format!("{left:?} is left of deleted topics"));
        }
        Ok(())
    }

    pub fn an_end(&mut self) -> End {
        [End::Stop, End::StopThenPowerLoss, End::Kill, End::PowerLoss, End::PowerLoss][self.random.below(5)]
    }

    /// A slot whose topic is there as far as is known.
    pub fn a_topic(&mut self) -> Option<usize> {
        let there: Vec<usize> =
            (0..NAMES).filter(|at| self.slots[*at].topic.as_ref().is_some_and(|it| it.exists == Known::Yes)).collect();
        (!there.is_empty()).then(|| there[self.random.below(there.len())])
    }

    fn topic(&mut self, at: usize) -> Option<&mut TopicModel> {
        self.slots[at].topic.as_mut()
    }

    fn append(&mut self) -> Result<(), String> {
        let count = 1 + self.random.below(4);
        self.append_some(count, None)
    }

    /// Some appends at once, to one topic or to any, with now and then something else among them; sometimes the process ends
    /// in their midst.
    pub fn append_some(&mut self, count: usize, to: Option<usize>) -> Result<(), String> {
        let mut ops = Vec::new();
        for _ in 0..count {
            let Some(at) = to.or_else(|| self.a_topic()) else { return self.create_any() };
            let Self { slots, serials, random, .. } = self;
            ops.extend(slots[at].topic.as_mut().and_then(|topic| topic.next_append(serials, random)));
        }
        match self.random.below(20) {
            0 => ops.extend(self.a_trim()),
            1 => ops.extend(self.a_flush()),
            2 if self.random.coin() => ops.extend(self.a_deletion()),
            _ => {}
        }
        let looks = self.random.chance(0.08).then(|| self.random.below(40));
        self.ask(ops, looks)?;
        if looks.is_some() && self.random.coin() && !self.has_crashed() {
            let end = if self.random.coin() { End::PowerLoss } else { End::Kill };
            return self.restart(end);
        }
        Ok(())
    }

    fn a_flush(&mut self) -> Option<Op> {
        let at = self.a_topic()?;
        let topic = self.topic(at)?;
        Some(Op::Flush(topic.name.clone(), topic.tail()))
    }

    fn flush(&mut self) -> Result<(), String> {
        let op = self.a_flush();
        self.ask(op.into_iter().collect(), None)
    }

    pub fn flush_all(&mut self) -> Result<(), String> {
        let topics = self.slots.iter().filter_map(|slot| slot.topic.as_ref());
        let ops = topics.map(|topic| Op::Flush(topic.name.clone(), topic.tail())).collect();
        self.ask(ops, None)
    }

    fn a_trim(&mut self) -> Option<Op> {
        let at = self.a_topic()?;
        let Self { slots, random, .. } = self;
        let topic = slots[at].topic.as_mut()?;
        let readable = topic.seen.last_key_value().map_or(0, |(offset, _)| offset + 1);
        let before =
            topic.earliest + random.below(usize::try_from(readable.saturating_sub(topic.earliest)).ok()? + 1) as u64;
        topic.earliest_asked = topic.earliest_asked.max(before);
        Some(Op::Trim(topic.name.clone(), before))
    }

    fn trim(&mut self) -> Result<(), String> {
        let op = self.a_trim();
        self.ask(op.into_iter().collect(), None)
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(at) = self.a_topic() else { return Ok(()) };
        let Some(topic) = self.topic(at) else { return Ok(()) };
        topic.closed = topic.closed.max(Known::Maybe);
        let op = Op::Close(topic.name.clone());
        self.ask(vec![op], None)
    }

    fn create_any(&mut self) -> Result<(), String> {
        let free: Vec<usize> = (0..NAMES).filter(|at| self.slots[*at].topic.is_none()).collect();
        if free.is_empty() {
            return Ok(());
        }
        let at = free[self.random.below(free.len())];
        self.create(at)
    }

    pub fn create(&mut self, at: usize) -> Result<(), String> {
        let kind = match self.random.below(10) {
            0..5 => Kind::Wal,
            5 => Kind::WalCommitted,
            6..8 => Kind::NoWal,
            _ => Kind::Lance,
        };
        self.create_of(kind, at)
    }

    pub fn create_of(&mut self, kind: Kind, at: usize) -> Result<(), String> {
        let quarantines = kind == Kind::Wal && self.random.chance(0.3);
        let ask = creation(kind, quarantines, self.is_real(), &mut self.random);
        let name = self.slots[at].name.clone();
        let mut topic = TopicModel::new(name.clone(), kind);
        if quarantines {
            (topic.quarantines, topic.shape) = (true, Shape::strict());
        }
        self.slots[at].topic = Some(topic);
        let looks = self.random.chance(0.05).then(|| self.random.below(40));
        self.ask(vec![Op::Create(name, Box::new(ask))], looks)?;
        if looks.is_some() && !self.has_crashed() {
            return self.restart(End::PowerLoss);
        }
        Ok(())
    }

    fn a_deletion(&mut self) -> Option<Op> {
        let at = self.a_topic()?;
        let topic = self.topic(at)?;
        topic.exists = Known::Maybe;
        Some(Op::Delete(topic.name.clone()))
    }

    /// Deletes a topic, and mostly makes another one of the name.
    fn delete(&mut self) -> Result<(), String> {
        let Some(op) = self.a_deletion() else { return Ok(()) };
        let name = op.name().clone();
        self.ask(vec![op], None)?;
        let waits = self.is_real() && self.random.coin() && !self.has_crashed();
        if waits {
            self.let_remains_go(Duration::from_millis(700))?;
        }
        let free = self.slots.iter().position(|slot| slot.name == name && slot.topic.is_none());
        if let Some(at) = free.filter(|_| self.random.chance(0.7)) {
            self.create(at)?;
        }
        // What was removed and forgotten must not come back.
        if waits && self.random.coin() && !self.has_crashed() { self.restart(End::PowerLoss) } else { Ok(()) }
    }

    fn fail_something(&mut self) -> Result<(), String> {
        let (drawn, after) = (self.random.below(5), self.random.below(6) as u64);
        self.note(format!("  fault {drawn} after {after}"));
        match (drawn, &self.machine.datasets) {
            (0, _) => self.machine.disk.fail_sync_after(after),
            (1, _) => self.machine.disk.fail_write_after(after),
            (2, Datasets::Model(tables)) => tables.fail_reads(1),
            (_, Datasets::Model(tables)) => tables.fail_appends(1 + u32::try_from(after / 2).unwrap_or(0)),
            (_, Datasets::Lance(disk)) => disk.fail_sync_after(2 * after),
        }
        Ok(())
    }

    pub fn crash_later(&mut self) -> Result<(), String> {
        let crash = if self.random.below(3) == 0 { Crash::Kill } else { Crash::PowerLoss };
        let after = self.random.below(8) as u64;
        self.note(format!("  {crash:?} after {after} calls"));
        match &self.machine.datasets {
            Datasets::Lance(disk) if self.random.coin() => disk.crash_after(2 * after, crash),
            _ => self.machine.disk.crash_after(after, crash),
        }
        self.append()
    }
}
