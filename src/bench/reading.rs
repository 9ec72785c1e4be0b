//! The workloads that only read: a topic from its first record on, and pages at random offsets.

use std::ops::Range;
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
    let kept = filled(context, topic).await?;
    let count = kept.end - kept.start;
    let range = match options.load.count {
        Some(wanted) if wanted > count => {
            return Err(BenchError::Option(format!("--count {wanted}: {topic} has {count} records")));
        }
        Some(wanted) => kept.start..kept.start + wanted,
        None => kept,
    };
    let meter = Arc::new(Meter::new("catchup", options.reach.threads));
    let reads = Arc::new(CatchUp::new(target, topic, options.load.format, options, Arc::clone(&meter))?);
    let again = options.load.duration;
    let (began, spent) = (Instant::now(), context.spent());
    let progress = Progress::start(&[Arc::clone(&meter)], options);
    let mut readers = JoinSet::new();
    for reader in 0..options.reading.readers as usize {
        let (reads, range) = (Arc::clone(&reads), range.clone());
        readers.spawn(async move {
            let mut whole = 0_u64;
            while reads.pass(reader, range.clone()).await {
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
    let (first, last) = (grouped(range.start), grouped(range.end - 1));
    verdict.check(sound, format!("offsets {first} to {last} came dense and in order, {}", plural(passes, "time")));
    Ok(context.measured(vec![meter.part(began, None)], verdict, spent))
}

/// Gets pages at random offsets of a topic.
///
/// # Errors
/// [`BenchError`] where there is no such topic, or nothing in it.
pub(super) async fn get(context: &Context<'_>) -> Result<Measured, BenchError> {
    let (options, target, topic) = (context.options, &context.target, context.topic()?);
    let kept = filled(context, topic).await?;
    let meter = Arc::new(Meter::new("get", options.reach.threads));
    let pages = Arc::new(Pages::new(target, topic, options.limit(), kept, options, Arc::clone(&meter))?);
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
    let part = meter.part(pace.measure_from(), options.lasting());
    let mut verdict = Verdict::default();
    let what = format!(
        "{} of at most {} began where they were asked for and were dense",
        plural(part.requests, "page"),
        pages.limit()
    );
    verdict.check(!part.errors.contains_key("wrong") && part.requests > 0, what);
    Ok(context.measured(vec![part], verdict, spent))
}

/// The offsets of a topic that has something in it.
async fn filled(context: &Context<'_>, topic: &str) -> Result<Range<u64>, BenchError> {
    let kept = context.target.kept(topic, context.options).await?;
    if kept.is_empty() {
        return Err(BenchError::Option(format!("{topic} has no records: let append fill it first")));
    }
    Ok(kept)
}
