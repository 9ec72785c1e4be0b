//! The workloads that only read: a topic from its first record on, and pages at random offsets.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::bench::catchup::CatchUp;
use crate::bench::pace::{Pace, Plan, Rate};
use crate::bench::pages::Pages;
use crate::bench::progress::Progress;
use crate::bench::report::{Verdict, grouped, plural};
use crate::bench::tally::Meter;
use crate::bench::{BenchError, Context, Measured};

/// Reads a topic through, as each of the readers: once, or again and again for as long as was asked.
///
/// # Errors
/// [`BenchError`] where there is no such topic, or nothing in it.
pub(super) async fn catch_up(context: &Context<'_>) -> Result<Measured, BenchError> {
    let (options, target, topic) = (context.options, &context.target, context.topic()?);
    let tail = filled(context, topic).await?;
    let end = options.load.count.unwrap_or(tail);
    if end > tail {
        return Err(BenchError::Option(format!("--count {end}: {topic} has {tail} records")));
    }
    let meter = Arc::new(Meter::new("catchup", options.reach.threads));
    let reads = Arc::new(CatchUp::new(target, topic, options.load.format, options, Arc::clone(&meter))?);
    let again = options.load.duration;
    let (began, spent) = (Instant::now(), context.spent());
    let progress = Progress::start(&[Arc::clone(&meter)], options);
    let mut readers = JoinSet::new();
    for reader in 0..options.reading.readers as usize {
        let reads = Arc::clone(&reads);
        readers.spawn(async move {
            let mut whole = 0_u64;
            while reads.pass(reader, end).await {
                whole += 1;
                if again.is_none_or(|time| began.elapsed() >= time.0) {
                    return (whole, true);
                }
            }
            (whole, false)
        });
    }
    let mut verdict = Verdict::default();
    let outcomes = readers.join_all().await;
    drop(progress);
    let (passes, sound) = outcomes.iter().fold((0, true), |all, one| (all.0 + one.0, all.1 && one.1));
    verdict
        .check(sound, format!("offsets 0 to {} came dense and in order, {}", grouped(end - 1), plural(passes, "time")));
    Ok(context.measured(vec![meter.part(began)], verdict, spent))
}

/// Gets pages at random offsets of a topic.
///
/// # Errors
/// [`BenchError`] where there is no such topic, or nothing in it.
pub(super) async fn get(context: &Context<'_>) -> Result<Measured, BenchError> {
    let (options, target, topic) = (context.options, &context.target, context.topic()?);
    let tail = filled(context, topic).await?;
    let meter = Arc::new(Meter::new("get", options.reach.threads));
    let pages = Arc::new(Pages::new(target, topic, options.limit(), tail, options, Arc::clone(&meter))?);
    let pace = Arc::new(Pace::start(Plan {
        warmup: options.load.warmup.0,
        measured: options.measured(),
        count: options.load.count,
        rate: options.load.rate.map(|units| Rate { units, each: 1 }),
        connections: options.connections(),
    }));
    let progress = Progress::start(&[Arc::clone(&meter)], options);
    let mut connections = JoinSet::new();
    for connection in 0..options.connections() as usize {
        let (pages, pace) = (Arc::clone(&pages), Arc::clone(&pace));
        connections.spawn(async move { pages.run(connection, &pace).await });
    }
    tokio::time::sleep_until(pace.measure_from().into()).await;
    let spent = context.spent();
    connections.join_all().await;
    drop(progress);
    let part = meter.part(pace.measure_from());
    let mut verdict = Verdict::default();
    let what = format!(
        "{} of {} began where they were asked for and were dense",
        plural(part.requests, "page"),
        pages.limit()
    );
    verdict.check(!part.errors.contains_key("wrong") && part.requests > 0, what);
    Ok(context.measured(vec![part], verdict, spent))
}

/// The tail of a topic that has something in it.
async fn filled(context: &Context<'_>, topic: &str) -> Result<u64, BenchError> {
    match context.target.tail(topic, context.options).await? {
        0 => Err(BenchError::Option(format!("{topic} has no records: let append fill it first"))),
        tail => Ok(tail),
    }
}
