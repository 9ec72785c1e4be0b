//! The workloads that append: alone, with subscribers, or with everything else at the same time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::appender::{Appended, Appending};
use crate::bench::catchup::CatchUp;
use crate::bench::options::{Format, Workload};
use crate::bench::pace::{Pace, Plan, Rate};
use crate::bench::pages::Pages;
use crate::bench::progress::Progress;
use crate::bench::record::Shape;
use crate::bench::report::{Verdict, grouped, plural};
use crate::bench::subscriber::{Following, Seen, Subscriber, subscribe};
use crate::bench::tally::Meter;
use crate::bench::{BenchError, Context, Measured};

/// How often is looked whether everything has arrived, or is stored.
const LOOK: Duration = Duration::from_millis(20);
/// How long the tail of a topic may take to show what was answered.
const TAIL_PATIENCE: Duration = Duration::from_secs(5);
/// How often the readers of a topic that grows are told its tail.
const TAIL_EVERY: Duration = Duration::from_millis(100);

/// Appends, and whatever runs beside.
///
/// # Errors
/// [`BenchError`] where the server refuses what has to be done first.
pub(super) async fn run(context: &Context<'_>) -> Result<Measured, BenchError> {
    let (options, target) = (context.options, &context.target);
    let shape = Shape::new(options)?;
    let names = context.topics();
    for name in &names {
        target.create(name, options).await?;
    }
    let tails = tails(context, &names).await?;
    let topics = names.iter().map(|name| Appended::new(name, target, &shape, options)).collect::<Result<_, _>>()?;
    let subscribers = if options.workload == Workload::Append { 0 } else { options.subscribers() };
    let opened = subscribe(target, &names, options, subscribers).await?;
    let beside = Beside::new(context, &names[0]).await?;

    let meter = |name| Arc::new(Meter::new(name, options.reach.threads));
    let (appends, deliveries) = (meter("append"), meter("deliver"));
    let mut meters = vec![Arc::clone(&appends)];
    meters.extend((subscribers > 0).then(|| Arc::clone(&deliveries)));
    meters.extend(beside.iter().flat_map(Beside::meters));
    let progress = Progress::start(&meters, options);

    let pace = Pace::start(plan(context));
    let measure_from = pace.measure_from();
    let following = Arc::new(Following::new(deliveries, context.clock, measure_from));
    let appending =
        Arc::new(Appending { topics, shape, pace, meter: appends, clock: context.clock, target: target.clone() });
    let topics_of: Vec<usize> = opened.iter().map(Subscriber::topic).collect();
    let mut follows = follow(opened, &following);
    let mut running = beside.map(|beside| beside.start(context, &names[0], &following.stop)).unwrap_or_default();
    let writers = append(&appending, options.connections() as usize);
    tokio::time::sleep_until(measure_from.into()).await;
    // Of what has no turns of its own, the warm-up is forgotten.
    meters.iter().skip(2).for_each(|meter| meter.begin_anew());
    let spent = context.spent();
    let used = writers.await;

    let awaited = topics_of.iter().flat_map(|topic| used.iter().map(move |writer| writer[*topic])).sum();
    wait_for_arrivals(&following, awaited, options.reading.patience.0).await;
    let parts = meters.iter().map(|meter| meter.part(measure_from, options.lasting())).collect();
    let mut measured = context.measured(parts, Verdict::default(), spent);
    following.stop.cancel();
    drop(progress);
    while running.join_next().await.is_some() {}
    let mut seen = Vec::with_capacity(topics_of.len());
    while let Some(one) = follows.join_next().await {
        seen.extend(one);
    }
    judge_arrivals(&mut measured.verdict, seen, &used);
    judge_tails(&mut measured.verdict, context, &names, &tails, &appending).await;
    Ok(measured)
}

/// Lets the subscribers take what arrives.
fn follow(opened: Vec<Subscriber>, following: &Arc<Following>) -> JoinSet<(usize, Seen)> {
    let mut follows = JoinSet::new();
    for subscriber in opened {
        let following = Arc::clone(following);
        follows.spawn(async move { subscriber.follow(&following).await });
    }
    follows
}

/// Appends over so many connections, from now on. The outcome is how many numbers each has used in each topic.
fn append(appending: &Arc<Appending>, connections: usize) -> impl Future<Output = Vec<Vec<u64>>> {
    let writers: Vec<_> = (0..connections)
        .map(|connection| {
            let appending = Arc::clone(appending);
            tokio::spawn(async move { appending.run(connection).await })
        })
        .collect();
    async move {
        let mut used = Vec::with_capacity(connections);
        for writer in writers {
            used.push(writer.await.unwrap_or_default());
        }
        used
    }
}

fn plan(context: &Context<'_>) -> Plan {
    let (load, fanout) = (&context.options.load, context.options.workload == Workload::Fanout);
    // Fan-out counts in records, the others in requests.
    let each = if fanout { u64::from(load.batch) } else { 1 };
    Plan {
        warmup: load.warmup.0,
        measured: context.options.measured(),
        count: load.count.map(|count| count.div_ceil(each)),
        rate: load.rate.map(|units| Rate { units, each }),
        connections: context.options.connections(),
    }
}

/// The tails of topics of ours; of others nothing is known.
async fn tails(context: &Context<'_>, names: &[String]) -> Result<Vec<u64>, BenchError> {
    let mut tails = Vec::new();
    for name in names {
        tails.push(if context.options.is_ours() { context.target.tail(name, context.options).await? } else { 0 });
    }
    Ok(tails)
}

/// Waits until so many records have arrived, or none for a while.
async fn wait_for_arrivals(following: &Following, awaited: u64, patience: Duration) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let arrived = following.arrived.load(Ordering::Relaxed);
        if arrived >= awaited || since.elapsed() >= patience {
            return;
        }
        if arrived > last {
            (last, since) = (arrived, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn judge_arrivals(verdict: &mut Verdict, seen: Vec<(usize, Seen)>, used: &[Vec<u64>]) {
    if seen.is_empty() {
        return;
    }
    let subscribers = seen.len();
    for (topic, mut seen) in seen {
        seen.end(used.iter().map(|writer| writer[topic]));
        verdict.lost += seen.lost;
        verdict.doubled += seen.doubled;
    }
    let written: u64 = used.iter().flatten().sum();
    let what = format!(
        "each of {} got every record of its topic once and in order ({} were written): {} lost, {} doubled",
        plural(subscribers as u64, "subscriber"),
        grouped(written),
        grouped(verdict.lost),
        grouped(verdict.doubled),
    );
    verdict.check(verdict.lost == 0 && verdict.doubled == 0 && written > 0, what);
}

/// Whether the tails of topics of ours have moved by what was answered.
async fn judge_tails(
    verdict: &mut Verdict,
    context: &Context<'_>,
    names: &[String],
    tails: &[u64],
    appending: &Appending,
) {
    verdict.topics = names.to_vec();
    if !context.options.is_ours() {
        return;
    }
    let stored: u64 = appending.topics.iter().map(Appended::stored).sum();
    let (mut sound, mut moved) = (stored > 0, 0);
    for ((name, before), topic) in names.iter().zip(tails).zip(&appending.topics) {
        let (least, most) = (before + topic.stored(), before + topic.stored() + topic.unsure());
        match settled_tail(context, name, least).await {
            Ok(tail) => {
                sound &= (least..=most).contains(&tail);
                moved += tail.saturating_sub(*before);
            }
            Err(error) => return verdict.check(false, format!("what is stored cannot be looked at: {error}")),
        }
    }
    let topics = plural(names.len() as u64, "topic");
    let how = match moved {
        _ if sound => "as many".to_owned(),
        more if more > stored => format!("{}: does somebody else append to them?", grouped(more)),
        fewer => grouped(fewer),
    };
    let stored = grouped(stored);
    verdict.check(sound, format!("{stored} records were acknowledged, and the tails of {topics} moved by {how}"));
}

/// The tail of a topic, which is given a while to come so far: what is only accepted can be read a moment later.
async fn settled_tail(context: &Context<'_>, name: &str, least: u64) -> Result<u64, BenchError> {
    let until = Instant::now() + TAIL_PATIENCE;
    loop {
        let tail = context.target.tail(name, context.options).await?;
        if tail >= least || Instant::now() >= until {
            return Ok(tail);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What reads beside appends: a reader that begins anew whenever it has caught up, and pages.
struct Beside {
    catch_ups: Arc<CatchUp>,
    pages: Arc<Pages>,
    meters: [Arc<Meter>; 2],
}

impl Beside {
    /// What the workload reads beside, if it does.
    async fn new(context: &Context<'_>, topic: &str) -> Result<Option<Self>, BenchError> {
        let (options, target) = (context.options, &context.target);
        if options.workload != Workload::Mixed {
            return Ok(None);
        }
        if !options.is_ours() {
            return Err(BenchError::Option("mixed reads in our own way: it is not for another server".to_owned()));
        }
        let kept = target.kept(topic, options).await?;
        let meters = ["catchup", "get"].map(|name| Arc::new(Meter::new(name, options.reach.threads)));
        let [catch_up, get] = meters.clone();
        Ok(Some(Self {
            catch_ups: Arc::new(CatchUp::new(target, topic, Format::Ndjson, options, catch_up)?),
            pages: Arc::new(Pages::new(target, topic, options.limit(), kept, options, get)?),
            meters,
        }))
    }

    fn meters(&self) -> impl Iterator<Item = Arc<Meter>> {
        self.meters.iter().cloned()
    }

    /// Begins; everything ends when it is told to stop.
    fn start(self, context: &Context<'_>, topic: &str, stop: &CancellationToken) -> JoinSet<()> {
        let mut running = JoinSet::new();
        let mut spawn = |task: futures::future::BoxFuture<'static, ()>| {
            let stop = stop.clone();
            running.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            });
        };
        let (target, options, topic) = (context.target.clone(), context.options.clone(), topic.to_owned());
        let pages = Arc::clone(&self.pages);
        spawn(Box::pin(async move {
            // A look that fails is made again: the parts that matter tell what is wrong.
            loop {
                if let Ok(tail) = target.tail(&topic, &options).await {
                    pages.set_tail(tail);
                }
                tokio::time::sleep(TAIL_EVERY).await;
            }
        }));
        let (reads, pages) = (self.catch_ups, Arc::clone(&self.pages));
        spawn(Box::pin(async move {
            loop {
                let kept = pages.kept();
                if kept.is_empty() {
                    tokio::time::sleep(TAIL_EVERY).await;
                } else if !reads.pass(0, kept).await {
                    return;
                }
            }
        }));
        let getters = context.options.reading.getters;
        let pace = Arc::new(Pace::start(Plan { connections: getters, ..Plan::default() }));
        for getter in 0..getters as usize {
            let (pages, pace) = (Arc::clone(&self.pages), Arc::clone(&pace));
            spawn(Box::pin(async move { pages.run(getter, &pace).await }));
        }
        running
    }
}
