//! Each sync is there for a reason: without it, some seed breaks a promise.

use std::time::Instant;

use parking_lot::Mutex;

use super::run::Schedule;
use super::site::Site;
use super::{number, run_all};

/// Seeds that are tried for each sync.
const SEEDS: u64 = 600;

/// Syncs that no seed misses, with why they stay.
const SPARE: &[(Site, &str)] = &[
    (
        Site::OpenData,
        "what this server has committed is noted as durable, or written anew; others, whose commits are adopted, sync nothing",
    ),
    (
        Site::OpenManifest,
        "what this server has committed is noted as durable, or written anew; others, whose commits are adopted, sync nothing",
    ),
    (
        Site::OpenDataNames,
        "every commit of this server has synced them before its manifest got a name; others, whose commits are adopted, sync \
         nothing",
    ),
    (
        Site::RemoveLink,
        "the next link that is made or removed in the folder syncs this removal too; it stays for the last one, which would \
         come back and lead nowhere",
    ),
    (Site::AsideTorn, "what is set aside is there for whoever wants to look at it; nothing rests on it"),
    (Site::AsideDataset, "it is the name of the folder of what is set aside; nothing rests on it"),
    (
        Site::AsideVersions,
        "a torn head that comes back is set aside again; a whole one comes back with what the log has or nobody was told of, \
         unless the next commit has taken its name",
    ),
];

/// The first seed that misses a sync, and what it says.
fn caught(skips: Site, seeds: u64) -> Option<(u64, String)> {
    let real = Site::TABLES.contains(&skips);
    let schedules: Vec<Schedule> = (1..=seeds).map(|seed| Schedule { seed, real, skips: Some(skips) }).collect();
    let found = Mutex::new(None);
    run_all(&schedules, |schedule, outcome| {
        let Err(failure) = outcome else { return found.lock().is_none() };
        // What fails with the sync as well says nothing of it.
        if (Schedule { skips: None, ..schedule }).run().is_ok() {
            let mut found = found.lock();
            if found.as_ref().is_none_or(|(seed, _)| schedule.seed < *seed) {
                if number("PERSISTING_SIM_TRACE").is_some() {
                    failure.trace.iter().for_each(|line| println!("{line}"));
                }
                *found = Some((schedule.seed, failure.broken));
            }
        }
        found.lock().is_none()
    });
    found.into_inner()
}

#[test]
fn without_any_one_of_its_syncs_a_promise_is_broken() {
    if number("PERSISTING_SIM_MUTATE").is_none_or(|chosen| chosen == 0) {
        return;
    }
    let seeds = number("PERSISTING_SIM_MUTATE_N").unwrap_or(SEEDS);
    let only = std::env::var("PERSISTING_SIM_SITE").ok();
    let sites = Site::LOG.into_iter().chain(Site::TABLES);
    let mut missed = Vec::new();
    for site in sites.filter(|site| only.as_ref().is_none_or(|only| *only == format!("{site:?}"))) {
        let began = Instant::now();
        let spare = SPARE.iter().find(|(spare, _)| *spare == site).map(|(_, why)| *why);
        match (caught(site, seeds), spare) {
            (Some((seed, broken)), _) => println!("{site:?}: seed {seed} in {:?}: {broken}", began.elapsed()),
            (None, Some(why)) => println!("{site:?}: no seed of {seeds}: {why}"),
            (None, None) => {
                println!("{site:?}: no seed of {seeds} in {:?}", began.elapsed());
                missed.push(site);
            }
        }
    }
    assert!(missed.is_empty(), "nothing breaks without {missed:?}");
}
