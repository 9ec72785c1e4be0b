//! The log against a model of its promises, on a disk that fails and loses power, by seed.

mod forgetful;
mod model;
mod world;

use forgetful::Sync;
use world::run;

const SEEDS: u64 = 2_500;

#[test]
fn what_was_acknowledged_is_recovered_and_nothing_else() {
    let failed: Vec<_> =
        (0..SEEDS).filter_map(|seed| run(seed, None).err().map(|error| (seed, error))).take(5).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..50 {
        assert_eq!(run(seed, None), run(seed, None), "seed {seed}");
    }
}

/// Each sync is there for a reason: without it, some seed loses something.
#[test]
fn without_any_one_of_its_syncs_the_log_breaks_a_promise() {
    for sync in Sync::ALL {
        assert!((0..4 * SEEDS).any(|seed| run(seed, Some(sync)).is_err()), "nothing breaks without {sync:?}");
    }
}
