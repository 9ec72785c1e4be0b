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
