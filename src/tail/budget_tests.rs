//! Who gets room, in which order.

use std::sync::Arc;
use std::time::Duration;

use super::{Budget, BudgetFull, Reservation};

#[tokio::test]
async fn a_waiter_gets_what_is_given_back() {
    let budget = Budget::new(10);
    let held = budget.try_reserve(8).unwrap();
    assert!(budget.try_reserve(3).is_err());
    let waiter = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.reserve(3, Duration::from_secs(60)).await.map(|r| r.bytes()) }
    });
    tokio::task::yield_now().await;
    drop(held);
    assert_eq!(waiter.await.unwrap(), Ok(3));
}

#[tokio::test]
async fn patience_ends() {
    let budget = Budget::new(10);
    let _held = budget.try_reserve(8).unwrap();
    assert!(budget.reserve(3, Duration::ZERO).await.is_err());
}

const FOREVER: Duration = Duration::from_secs(100_000);

/// Somebody who waits for bytes, from now on, and then holds them.
async fn waiting(budget: &Arc<Budget>, bytes: u64) -> tokio::task::JoinHandle<Reservation> {
    let budget = Arc::clone(budget);
    let task = tokio::spawn(async move { budget.reserve(bytes, FOREVER).await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    task
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_large_wish_is_met_before_those_that_come_after_it() {
    let budget = Budget::new(1_600);
    let mut held = budget.try_reserve(1_600).unwrap();
    let large = waiting(&budget, 800).await;
    let late = waiting(&budget, 700).await;
    held.shrink_to(900);
    settle().await;
    // There is room for the later one, but it is not its turn.
    assert!(!large.is_finished() && !late.is_finished());
    assert!(budget.try_reserve(51).is_err());
    held.shrink_to(800);
    let large = large.await.unwrap();
    settle().await;
    assert!(!late.is_finished());
    drop(large);
    drop(late.await.unwrap());
    drop(held);
    assert!(!budget.is_wanted());
    assert!(budget.try_reserve(1_600).is_ok());
}

#[tokio::test]
async fn small_wishes_pass_a_large_one_up_to_a_bound_and_holders_go_first() {
    let budget = Budget::new(1_600);
    let mut held = budget.try_reserve(1_600).unwrap();
    let large = waiting(&budget, 800).await;
    // What fails has not passed.
    for _ in 0..100 {
        assert!(budget.try_reserve(50).is_err());
    }
    let queued = waiting(&budget, 50).await;
    held.shrink_to(1_000);
    let queued = queued.await.unwrap();
    let small: Vec<_> = (0..3).map(|_| budget.try_reserve(50).unwrap()).collect();
    assert!(budget.try_reserve(50).is_err() && budget.try_reserve(0).is_ok());
    held.grow(100, Duration::ZERO).await.unwrap();
    assert!(!large.is_finished());
    drop((held, small, queued));
    drop(large.await.unwrap());
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_wish_that_is_not_met_soon_is_no_longer_in_the_way() {
    let budget = Budget::new(100);
    let _held = budget.try_reserve(50).unwrap();
    let hopeless = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.reserve(80, Duration::from_secs(2)).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert!(budget.try_reserve(50).is_err());
    assert!(budget.reserve(50, FOREVER).await.is_ok());
    hopeless.abort();
    drop(hopeless.await);
    assert!(budget.reserve(80, Duration::ZERO).await.is_err());
    assert!(budget.try_reserve(50).is_ok() && !budget.is_wanted());
}

#[test]
fn one_request_larger_than_the_budget_is_admitted_alone() {
    let budget = Budget::new(10);
    let large = budget.try_reserve(100).unwrap();
    assert!(budget.try_reserve(1).is_err());
    drop(large);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn who_is_alone_grows_past_the_limit_and_nobody_else_does() {
    let budget = Budget::new(10);
    let mut alone = budget.open();
    alone.grow(8, Duration::ZERO).await.unwrap();
    alone.grow(100, Duration::ZERO).await.unwrap();
    assert_eq!((alone.bytes(), budget.used()), (108, 108));
    let mut other = budget.open();
    assert_eq!(other.grow(1, Duration::ZERO).await, Err(BudgetFull { limit: 10 }));
    assert_eq!((other.bytes(), budget.used()), (0, 108));
    drop(alone);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn all_that_fit_are_met_at_once_in_the_order_of_coming() {
    let budget = Budget::new(100);
    let mut held = budget.try_reserve(100).unwrap();
    let mut tasks = Vec::new();
    for _ in 0..12 {
        tasks.push(waiting(&budget, 10).await);
    }
    held.shrink_to(20);
    // What is given back is theirs before any of them runs.
    assert_eq!(budget.used(), 100);
    settle().await;
    let met: Vec<bool> = tasks.iter().map(tokio::task::JoinHandle::is_finished).collect();
    assert_eq!(met, [[true; 8].as_slice(), [false; 4].as_slice()].concat());
    // Who goes away is passed over, and who had got bytes in between gives them back.
    let last = tasks.split_off(8);
    for task in &last[..2] {
        task.abort();
    }
    held.shrink_to(0);
    settle().await;
    assert!(last[2].is_finished() && last[3].is_finished());
    for task in tasks.into_iter().chain(last) {
        drop(task.await);
    }
    assert_eq!((budget.used(), budget.is_wanted()), (0, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_held_by_nobody_however_many_come_and_go() {
    let budget = Budget::new(1_000);
    let tasks: Vec<_> = (0..64_u64)
        .map(|number| {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move {
                for round in 0..200 {
                    let bytes = 1 + (number * 37 + round * 101) % 600;
                    let patience = if (number + round) % 5 == 0 { Duration::ZERO } else { FOREVER };
                    let Ok(mut held) = budget.reserve(bytes, patience).await else { continue };
                    assert!(budget.used() <= 1_000);
                    tokio::task::yield_now().await;
                    let grown = held.grow(bytes % 7, Duration::ZERO).await;
                    assert_eq!(held.bytes(), bytes + if grown.is_ok() { bytes % 7 } else { 0 });
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
    }
    assert_eq!((budget.used(), budget.is_wanted()), (0, false));
}
