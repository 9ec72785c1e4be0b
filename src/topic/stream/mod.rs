//! A stream of items that never refuses a position and never skips silently.

mod left_out;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;

use self::left_out::LeftOut;
use crate::backend::StorageError;
use crate::codec::{Chunk, FieldSelection};
use crate::filter::{LiveFilter, Passing, Reach};
use crate::model::{Offset, Problem, SchemaVersion};
use crate::tail::Levels;
use crate::topic::epoch::Resumption;
use crate::topic::passing::LOOKED_AT_ONCE;
use crate::topic::past::{Bounds, View};
use crate::topic::read::{PULL_BYTES, PULL_RECORDS, select};
use crate::topic::runs::{RUN_BYTES, RunOf, SharedRun};
use crate::topic::{EndReason, GapReason, Start, StreamItem, StreamRequest, Topic};

/// The pause before a failed read is tried again: doubled each time up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Counts an open stream for as long as it lives.
struct OpenStream(Arc<Topic>);

impl OpenStream {
    fn new(topic: &Arc<Topic>) -> Self {
        topic.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(topic))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let streams: &AtomicU64 = &self.0.streams;
        // One reader shares with nobody.
        if streams.fetch_sub(1, Ordering::Relaxed) <= 2 {
            self.0.runs.clear();
        }
    }
}

/// Where a stream stands.
struct Reader {
    topic: Arc<Topic>,
    /// What it reads of the topic.
    view: View,
    /// Changed when the levels are to be looked at.
    news: watch::Receiver<()>,
    next: Offset,
    left: u64,
    /// The tail at which a stream ends that does not block, or that reads the past.
    end: Option<Offset>,
    /// What records must pass.
    filter: Option<Arc<LiveFilter>>,
    left_out: LeftOut,
    /// The newest schema version that the client has been told of.
    version: Option<SchemaVersion>,
    caught_up: bool,
}

/// What comes next.
enum Step {
    Items(Vec<StreamItem>),
    End(EndReason),
    /// Nothing until the levels change.
    Wait,
    Failed(StorageError),
}

impl Topic {
    /// A stream from where the request says; its last item is [`StreamItem::End`].
    ///
    /// # Errors
    /// Only where a start by time or cursor could not be looked up; `not_found` for a cursor that is not there. For the past
    /// as [`Topic::read`] besides: `version_expired`, `not_found`, `unsupported_by_backend`.
    pub async fn stream(self: &Arc<Self>, ask: StreamRequest) -> Result<BoxStream<'static, StreamItem>, Problem> {
        let news = self.backend.levels().subscribe_in_rounds();
        let view = self.view(ask.at.as_ref()).await?;
        let filter = self.live_filter(ask.filter.as_ref(), &view, LiveFilter::of_stream)?;
        let version = self.schema.load().as_ref().map(|versioned| versioned.version);
        let Bounds { earliest, tail } = self.bounds(&view);
        let resumption = match (ask.resume, &ask.start) {
            (Some(resume), _) => self.epochs.resume(resume, earliest),
            (None, Start::Cursor(name)) => self.go_on_at(name).await?,
            (None, start) => Resumption { next: self.resolve_in(&view, start).await?, gap: None },
        };
        // Nothing comes in the past.
        let end = (!ask.block || !matches!(view, View::Now)).then_some(tail);
        let left = ask.limit.map_or(u64::MAX, std::num::NonZeroU64::get);
        let (topic, next) = (Arc::clone(self), resumption.next);
        let left_out = LeftOut::default();
        let reader = Reader { topic, view, news, next, left, end, filter, left_out, version, caught_up: false };
        Ok(run(reader, resumption, ask))
    }
}

fn run(mut reader: Reader, resumption: Resumption, ask: StreamRequest) -> BoxStream<'static, StreamItem> {
    let open = OpenStream::new(&reader.topic);
    let draining = reader.topic.services.draining.clone();
    Box::pin(async_stream::stream! {
        let _open = open;
        for item in reader.opening(resumption) {
            yield item;
        }
        let mut pause = RETRY_FIRST;
        // Waited for as one future all along: each new one would be a place in a queue that all streams share.
        let drained = draining.cancelled();
        tokio::pin!(drained);
        let reason = loop {
            if draining.is_cancelled() {
                break EndReason::Shutdown;
            }
            if let Some(position) = reader.overdue_position() {
                yield position;
            }
            match reader.step(&ask).await {
                Step::Items(items) => {
                    pause = RETRY_FIRST;
                    for item in items {
                        yield item;
                    }
                }
                Step::End(reason) => break reason,
                Step::Wait => {
                    let due_at = reader.left_out.due_at();
                    // Most streams leave nothing out, and are woken often: they need no timer and no look at the clock.
                    let is_due = async {
                        match due_at {
                            Some(due_at) => tokio::time::sleep_until(due_at).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        changed = reader.news.changed() => if changed.is_err() { break EndReason::Deleted },
                        () = &mut drained => {}
                        () = is_due => {}
                    }
                }
                Step::Failed(err) => {
                    let problem = reader.topic.storage_problem(&err);
                    yield StreamItem::Problem(Box::new(problem));
                    // What is gone stays gone: whoever comes back is told so.
                    if matches!(err, StorageError::VersionExpired { .. }) {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = draining.cancelled() => {}
                    }
                    pause = (pause * 2).min(RETRY_LONGEST);
                }
            }
        };
        if reader.owes_caught_up(reason) {
            yield StreamItem::CaughtUp { next_offset: reader.next };
        }
        yield StreamItem::End { reason, next_offset: reader.next };
    })
}

impl Reader {
    fn gap(&self, from: Offset, to: Offset, reason: GapReason) -> StreamItem {
        StreamItem::Gap { epoch: self.topic.epoch(), from, to, reason }
    }

    /// A gap if there is one, then the position.
    fn opening(&mut self, resumption: Resumption) -> Vec<StreamItem> {
        self.news.mark_unchanged();
        let Bounds { earliest, tail } = self.topic.bounds(&self.view);
        let mut items = Vec::new();
        match resumption.gap {
            Some((from, to, reason)) => items.push(self.gap(from, to, reason)),
            None if self.next < earliest => {
                items.push(self.gap(self.next, earliest, GapReason::Retention));
                self.next = earliest;
            }
            None => {}
        }
        let position = StreamItem::Position { epoch: self.topic.epoch(), next_offset: self.next, tail_offset: tail };
        items.push(position);
        items
    }

    /// A stream that ends at the tail says first that it has reached it.
    fn owes_caught_up(&self, reason: EndReason) -> bool {
        !self.caught_up && matches!(reason, EndReason::Tail | EndReason::Closed)
    }

    async fn step(&mut self, ask: &StreamRequest) -> Step {
        // In this order, so that what changes in between is looked at again.
        self.news.mark_unchanged();
        let levels = self.topic.backend.levels().now();
        if levels.ending.is_some() {
            return Step::End(EndReason::Deleted);
        }
        if self.left == 0 {
            return Step::End(EndReason::Limit);
        }
        if self.next < levels.earliest && !matches!(self.view, View::Version { .. }) {
            return self.expired(levels.earliest);
        }
        if let Some(end) = self.end
            && self.next >= end
        {
            return Step::End(EndReason::Tail);
        }
        let is_stored = matches!(self.view, View::Version { .. });
        if self.next >= levels.readable && !is_stored {
            return self.at_tail(&levels);
        }
        let until = match self.end {
            Some(end) if is_stored => end,
            Some(end) => end.min(levels.readable),
            None => levels.readable,
        };
        let shares = self.shares(ask);
        // Before the records are read, so that no run passes for one of a later version.
        let of =
            RunOf { posted: self.topic.posted(), filter: ask.filter.as_ref().map(|filter| Arc::clone(filter.text())) };
        if shares && let Some(run) = self.topic.runs.find(self.next, until, &of) {
            return Step::Items(self.deliver_run(run, ask));
        }
        let bytes = if shares { RUN_BYTES } else { PULL_BYTES };
        match self.pull(until, bytes, ask.fields.as_ref()).await {
            Ok(found) if shares => {
                let topic = &self.topic;
                match topic.runs.keep(topic.epoch(), of, self.next, found, until, &topic.services.runs_budget) {
                    Ok(run) => Step::Items(self.deliver_run(run, ask)),
                    Err(found) => Step::Items(self.deliver(found, ask)),
                }
            }
            Ok(found) => Step::Items(self.deliver(found, ask)),
            Err(StorageError::Expired { earliest }) => self.expired(earliest),
            Err(StorageError::Deleted) => Step::End(EndReason::Deleted),
            // Deleted while it was read.
            Err(_) if self.topic.gone().is_some() => Step::End(EndReason::Deleted),
            Err(err) => Step::Failed(err),
        }
    }

    /// Records from where the stream stands.
    async fn pull(
        &self,
        until: Offset,
        bytes: usize,
        fields: Option<&FieldSelection>,
    ) -> Result<Passing, StorageError> {
        let records = usize::try_from(self.left).unwrap_or(PULL_RECORDS).min(PULL_RECORDS);
        if let Some(filter) = &self.filter {
            let reach = Reach { until, records, bytes, looked_at: LOOKED_AT_ONCE };
            return self.topic.get_passing_in(&self.view, filter, fields, self.next, reach).await;
        }
        let records = usize::try_from(until.since(self.next)).unwrap_or(PULL_RECORDS).min(records);
        let chunks = self.topic.get_in(&self.view, self.next, records, bytes, fields).await?;
        let next = chunks.last().map_or(self.next, Chunk::next);
        // A client may take them late, when nobody else has the body any more that they are a part of.
        Ok(Passing { chunks: chunks.into_iter().map(Chunk::detached).collect(), next })
    }

    fn position(&self) -> StreamItem {
        let tail = self.topic.bounds(&self.view).tail;
        StreamItem::Position { epoch: self.topic.epoch(), next_offset: self.next, tail_offset: tail }
    }

    /// Where the stream stands, if the client does not know it for too long.
    fn overdue_position(&mut self) -> Option<StreamItem> {
        if self.left_out.is_empty() || !self.left_out.is_due(Instant::now()) {
            return None;
        }
        self.left_out.clear();
        Some(self.position())
    }

    /// Goes on past records that the client does not get.
    fn leave_out(&mut self, until: Offset, items: &mut Vec<StreamItem>) {
        if until <= self.next {
            return;
        }
        self.left_out.add(until.since(self.next), Instant::now());
        self.next = until;
        items.extend(self.overdue_position());
    }

    /// Whether others may be sent the same.
    fn shares(&self, ask: &StreamRequest) -> bool {
        let alone = self.topic.streams.load(Ordering::Relaxed) < 2;
        !alone && ask.fields.is_none() && self.end.is_none() && ask.limit.is_none()
    }

    /// A run whole, unless the client must be told of something in the middle of it.
    fn deliver_run(&mut self, run: Arc<SharedRun>, ask: &StreamRequest) -> Vec<StreamItem> {
        let is_plain = run.largest_gap() < left_out::RECORDS_MAX;
        if !is_plain || !self.topic.versions_after(self.version, run.next()).is_empty() {
            return self.deliver(Passing { chunks: run.chunks().to_vec(), next: run.next() }, ask);
        }
        let mut items = Vec::new();
        let next = run.next();
        if let (Some(first), Some(last)) =
            (run.chunks().first().map(Chunk::first), run.chunks().last().map(Chunk::next))
        {
            self.leave_out(first, &mut items);
            self.next = last;
            self.left_out.clear();
            items.push(StreamItem::Shared(run));
        }
        self.leave_out(next, &mut items);
        items
    }

    fn expired(&mut self, earliest: Offset) -> Step {
        let gap = self.gap(self.next, earliest, GapReason::Retention);
        self.next = earliest;
        self.caught_up = false;
        Step::Items(vec![gap])
    }

    fn at_tail(&mut self, levels: &Levels) -> Step {
        if levels.is_over() {
            return Step::End(EndReason::Closed);
        }
        if self.caught_up || self.next > levels.readable {
            return Step::Wait;
        }
        self.caught_up = true;
        Step::Items(vec![StreamItem::CaughtUp { next_offset: self.next }])
    }

    /// Records, with a schema item before the first one of each version that is new to the client, and positions where many
    /// are left out between them.
    fn deliver(&mut self, found: Passing, ask: &StreamRequest) -> Vec<StreamItem> {
        let epoch = self.topic.epoch();
        let mut items = Vec::with_capacity(found.chunks.len());
        for mut chunk in found.chunks {
            self.leave_out(chunk.first(), &mut items);
            self.next = chunk.next();
            self.left_out.clear();
            if ask.limit.is_some() {
                self.left = self.left.saturating_sub(chunk.len() as u64);
            }
            for (version, first) in self.topic.versions_after(self.version, self.next) {
                let before = usize::try_from(first.since(chunk.first())).unwrap_or(usize::MAX).min(chunk.len());
                if before > 0 {
                    let head = chunk.slice(0, before);
                    items.push(StreamItem::Records { epoch, chunk: select(ask.fields.as_ref(), head) });
                    chunk = chunk.slice(before, usize::MAX);
                }
                items.push(StreamItem::Schema { version });
                self.version = Some(version);
            }
            if !chunk.is_empty() {
                items.push(StreamItem::Records { epoch, chunk: select(ask.fields.as_ref(), chunk) });
            }
        }
        self.leave_out(found.next, &mut items);
        items
    }
}
