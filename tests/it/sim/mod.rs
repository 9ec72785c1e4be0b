//! The engine against a client's own record of its answers, on a disk that fails and loses power, by seed.
//!
//! A schedule is drawn from its seed: appends of all kinds, flushes, evolutions, trims, closes, creations, deletions,
//! tags, forks,
//! restarts in order and not, failing writes and syncs, a full disk, the end of the process in the midst of anything. After
//! every restart the checker compares what is served with what was answered ([`check`]).
//!
//! The log lies on the simulated disk of `persisting::io::fault`. Datasets are models in memory, or real ones in a folder
//! whose power loss is played by cutting files and taking names away that were never synced ([`loss`]). The catalog is a real
//! SQLite file, whose own syncs are believed.
//!
//! The engine runs on one thread, but the log, SQLite and blocking file operations have threads of their own, and real time
//! paces commits. So a seed gives the same requests and faults until the first answer that depends on their order; a
//! failure that needs one order of them may take more than one run to come back.

mod aside;
mod check;
mod client;
mod episodes;
mod figures;
mod lance_disk;
mod lance_file;
mod life;
mod log_disk;
mod look;
mod loss;
mod model;
mod mutate;
mod ops;
mod past;
mod run;
mod site;
mod tell;
mod trace;
mod values;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use figures::Figures;
use run::{Failure, Schedule};

/// Schedules with models of datasets for each with real ones.
const MODELS_FOR_EACH_REAL: u64 = 6;
/// Schedules of an ordinary run.
const SCHEDULES: u64 = 70;
/// Schedules at the same time: most of them wait most of the time.
const AT_ONCE: usize = 6;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok())
}

/// The schedule of a seed.
fn of_seed(seed: u64) -> Schedule {
    Schedule { seed, real: seed.is_multiple_of(MODELS_FOR_EACH_REAL + 1), skips: None }
}

/// Schedules that have failed once.
fn known() -> Vec<Schedule> {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let known = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (seed, kind) = (words.next()?.parse().ok()?, words.next()?);
        Some(Schedule { seed, real: kind == "real", skips: None })
    });
    known.collect()
}

/// Runs schedules, some at a time, until `each` has seen enough.
fn run_all(schedules: &[Schedule], each: impl Fn(Schedule, Result<Figures, Failure>) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(schedules.len()) {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !each(*schedule, schedule.run()) {
                        next.store(schedules.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_promised_is_kept() {
    if let Ok(filter) = std::env::var("PERSISTING_LOG") {
        // Set already by an earlier test of this process.
        drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init());
    }
    let first = number("PERSISTING_SIM_SEED");
    let count = number("PERSISTING_SIM_N").unwrap_or(SCHEDULES);
    // A seed that is asked for comes alone.
    let known = if first.is_some() { Vec::new() } else { known() };
    let begin = first.unwrap_or(1);
    let mut schedules: Vec<Schedule> = known.into_iter().chain((begin..begin + count).map(of_seed)).collect();
    if number("PERSISTING_SIM_REAL").is_some() {
        schedules.iter_mut().for_each(|schedule| schedule.real = true);
    }
    let began = Instant::now();
    let (total, failures) = (Mutex::new(Figures::default()), Mutex::new(Vec::new()));
    run_all(&schedules, |schedule, outcome| match outcome {
        Ok(figures) => {
            total.lock().add(&figures);
            true
        }
        Err(failure) => {
            for line in &failure.trace {
                println!("{line}");
            }
            println!("seed {}: {}", schedule.seed, failure.broken);
            let real = if schedule.real == of_seed(schedule.seed).real { "" } else { "PERSISTING_SIM_REAL=1 " };
            println!("reproduce: {real}make sim SEED={} N=1", schedule.seed);
            failures.lock().push((schedule.seed, failure.broken));
            failures.lock().len() < 5
        }
    });
    let real = schedules.iter().filter(|schedule| schedule.real).count();
    println!("{} schedules, {real} with real datasets, in {:?}: {:#?}", schedules.len(), began.elapsed(), total.lock());
    let failures = failures.into_inner();
    assert!(failures.is_empty(), "{failures:#?}");
}
