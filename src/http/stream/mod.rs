//! Streams: `text/event-stream`, or NDJSON.

use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::codec::Chunk;
use crate::engine::Phase;
use crate::filter::Filter;
use crate::http::ApiState;
use crate::http::accept::{self, EVENT_STREAM, NDJSON};
use crate::http::extract::{RequestId, TopicPath};
use crate::http::frame::{COME_BACK, Framing, RETRY};
use crate::http::query::{StrictQuery, digits, invalid};
use crate::metrics::Metrics;
use crate::model::{Epoch, ErrorCode, MAX_SAFE_INTEGER, Offset, Problem, TopicName};
use crate::topic::{EndReason, Resume, SharedRun, Start, StreamItem, StreamRequest};

/// Bytes sent at a time: records that are there already share a frame, so that a fast reader is not paid for in system
/// calls, and a slow one holds a frame or two.
const FRAME_BYTES: usize = 64 * 1024;
/// Seconds between signs of life.
const HEARTBEAT_SECS: u64 = 15;

/// How many streams there may be.
#[derive(Debug)]
pub(crate) struct StreamSlots {
    max: usize,
    open: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// A stream's place; free again on drop.
#[derive(Debug)]
struct StreamSlot(Arc<StreamSlots>);

impl StreamSlots {
    pub(crate) fn new(max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { max, open: AtomicUsize::new(0), metrics })
    }

    fn take(self: &Arc<Self>) -> Option<StreamSlot> {
        let more = |open: usize| (open < self.max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        self.metrics.streams_open.inc();
        Some(StreamSlot(Arc::clone(self)))
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.streams_open.dec();
    }
}

/// All that the request says.
struct Ask {
    framing: Framing,
    heartbeat: Duration,
    request: StreamRequest,
}

/// `GET /v1/topics/{topic}/stream`
pub(crate) async fn stream(
    State(state): State<ApiState>,
    TopicPath(name): TopicPath,
    method: Method,
    version: Version,
    headers: HeaderMap,
    id: RequestId,
    query: Result<StrictQuery, Problem>,
) -> Result<Response, Problem> {
    let last_event_id = last_event_id(&headers)?;
    if last_event_id == Some(LastEventId::End) {
        // Whatever else the request says: the client shall stop.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (query, instance) = (query?, Arc::from(id.as_str()));
    let ask = Ask::read(&query, &headers, last_event_id)?;
    let framing = ask.framing;
    match open(&state, name, ask, instance).await {
        Ok(body) if method == Method::HEAD => Ok(answer(framing, Body::from_stream(body.take(0)))),
        Ok(body) => Ok(answer(framing, Body::from_stream(body))),
        // A page's EventSource would never come back from a 503.
        Err(problem) if framing == Framing::Sse && matches!(problem.code.status(), 503 | 507) => {
            let mut response = answer(framing, Body::from(COME_BACK));
            // HTTP/2 ends the stream alone, and knows no such header.
            if version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

type Frames = BoxStream<'static, Result<Bytes, std::convert::Infallible>>;

async fn open(state: &ApiState, name: TopicName, ask: Ask, instance: Arc<str>) -> Result<Frames, Problem> {
    let slot = || {
        state.streams.take().ok_or_else(|| {
            Problem::new(ErrorCode::Overloaded, "The server has as many streams as it takes; connect again later.")
        })
    };
    match state.engine.phase() {
        Phase::Recovering if ask.framing == Framing::Sse => {
            return Ok(after_recovery(state.clone(), name, ask, slot()?, instance));
        }
        Phase::Recovering => {
            return Err(Problem::new(ErrorCode::Recovering, "The server is reading its log; ask again in a moment."));
        }
        Phase::Draining | Phase::Ready => {}
    }
    let topic = state.engine.topic(&name).await?;
    if state.engine.phase() == Phase::Draining {
        return Err(Problem::new(ErrorCode::ShuttingDown, "The server is shutting down; connect again in a moment."));
    }
    let slot = slot()?;
    let items = topic.stream(ask.request).await?;
    let begin = if ask.framing == Framing::Sse { Bytes::from_static(RETRY) } else { Bytes::new() };
    let run = Run::new(ask.framing, ask.heartbeat, instance, state);
    let begin = futures::stream::iter((!begin.is_empty()).then_some(begin));
    Ok(begin.chain(run.holding(slot).frames(items)).map(Ok).boxed())
}

/// A stream that was asked for while the server recovers: accepted at once, and going on when recovery has ended.
fn after_recovery(state: ApiState, name: TopicName, ask: Ask, slot: StreamSlot, instance: Arc<str>) -> Frames {
    let draining = state.engine.draining();
    async_stream::stream! {
        yield Ok(Bytes::from_static(RETRY));
        yield Ok(Bytes::from_static(b": recovering\n\n"));
        let engine = Arc::clone(&state.engine);
        let recovered = async move { engine.recovered().await };
        tokio::pin!(recovered);
        loop {
            tokio::select! {
                () = &mut recovered => break,
                () = draining.cancelled() => return,
                () = tokio::time::sleep(ask.heartbeat) => yield Ok(Bytes::from_static(ask.framing.heartbeat())),
            }
        }
        // A topic that is not there ends the connection; the next one is answered as it deserves.
        let items = match state.engine.topic(&name).await {
            Ok(topic) => topic.stream(ask.request).await,
            Err(problem) => Err(problem),
        };
        let Ok(items) = items else { return };
        let frames = Run::new(ask.framing, ask.heartbeat, instance, &state).holding(slot).frames(items);
        tokio::pin!(frames);
        while let Some(frame) = frames.next().await {
            yield Ok(frame);
        }
    }
    .boxed()
}

fn answer(framing: Framing, body: Body) -> Response {
    let media_type = if framing == Framing::Sse { EVENT_STREAM } else { NDJSON };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stream being written.
struct Run {
    framing: Framing,
    heartbeat: Duration,
    instance: Arc<str>,
    metrics: Arc<Metrics>,
    draining: CancellationToken,
    /// The offset that comes next.
    next_offset: Offset,
    /// Whether the client has been told where it stands: only then can it be told that the server stops.
    positioned: bool,
    /// Records of a chunk that are not written yet.
    rest: Option<(Epoch, Chunk, usize)>,
    /// Its place among the streams.
    _slot: Option<StreamSlot>,
}

impl Run {
    fn new(framing: Framing, heartbeat: Duration, instance: Arc<str>, state: &ApiState) -> Self {
        Self {
            framing,
            heartbeat,
            instance,
            metrics: Arc::clone(&state.metrics),
            draining: state.engine.draining(),
            next_offset: Offset::ZERO,
            positioned: false,
            rest: None,
            _slot: None,
        }
    }

    /// The same, which gives the place back when it ends.
    fn holding(self, slot: StreamSlot) -> Self {
        Self { _slot: Some(slot), ..self }
    }

    /// The items as frames; heartbeats between them; an end when the server drains.
    fn frames(mut self, mut items: BoxStream<'static, StreamItem>) -> impl Stream<Item = Bytes> + Send {
        async_stream::stream! {
            // One timer and one place in the queue of those who wait for the end, for as long as the stream lives: a stream is
            // woken far more often than either.
            let mut quiet_since = Instant::now();
            let silence = tokio::time::sleep(self.heartbeat);
            let draining = self.draining.clone();
            let drained = draining.cancelled();
            tokio::pin!(silence, drained);
            loop {
                let mut out = Vec::new();
                let mut shared = None;
                let mut last = ControlFlow::Continue(());
                if self.positioned && draining.is_cancelled() {
                    let end = self.shutdown();
                    last = self.write(&mut out, end);
                } else if self.rest.is_none() {
                    let item = tokio::select! {
                        biased;
                        item = items.next() => match item {
                            Some(item) => Some(item),
                            None => break,
                        },
                        () = &mut drained, if self.positioned => Some(self.shutdown()),
                        () = &mut silence => None,
                    };
                    match item {
                        Some(StreamItem::Shared(run)) => shared = Some(self.share(&run)),
                        Some(item) => last = self.write(&mut out, item),
                        None => {
                            if quiet_since.elapsed() >= self.heartbeat {
                                out.extend_from_slice(self.framing.heartbeat());
                                quiet_since = Instant::now();
                            }
                            silence.as_mut().reset(quiet_since + self.heartbeat);
                        }
                    }
                }
                self.write_rest(&mut out);
                // What is there already shares the frame.
                while last.is_continue() && shared.is_none() && self.rest.is_none() && out.len() < FRAME_BYTES {
                    match items.next().now_or_never() {
                        Some(Some(StreamItem::Shared(run))) => shared = Some(self.share(&run)),
                        Some(Some(item)) => last = self.write(&mut out, item),
                        Some(None) | None => break,
                    }
                    self.write_rest(&mut out);
                }
                if !out.is_empty() {
                    yield Bytes::from(out);
                    quiet_since = Instant::now();
                }
                if let Some(shared) = shared {
                    yield shared;
                    quiet_since = Instant::now();
                }
                if last.is_break() {
                    return;
                }
            }
            // The items ended without saying so. Lines must not end as if all were well.
            if self.framing == Framing::Ndjson {
                let mut out = Vec::new();
                self.framing.problem(&mut out, &Problem::internal(), &self.instance);
                yield Bytes::from(out);
            }
        }
    }

    fn shutdown(&mut self) -> StreamItem {
        self.rest = None;
        StreamItem::End { reason: EndReason::Shutdown, next_offset: self.next_offset }
    }

    /// Appends an item; breaks after the last one. Records are taken over for [`Run::write_rest`].
    fn write(&mut self, out: &mut Vec<u8>, item: StreamItem) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        match &item {
            StreamItem::Records { epoch, chunk } => {
                self.rest = Some((*epoch, chunk.clone(), 0));
                return flow;
            }
            StreamItem::Shared(run) => self.next_offset = run.next(),
            StreamItem::Position { next_offset, .. } | StreamItem::CaughtUp { next_offset } => {
                self.next_offset = *next_offset;
                self.positioned = true;
            }
            StreamItem::Gap { to, .. } => self.next_offset = *to,
            StreamItem::Schema { .. } => {}
            StreamItem::Problem(_) if self.framing == Framing::Sse => {}
            StreamItem::Problem(_) | StreamItem::End { .. } => flow = ControlFlow::Break(()),
        }
        self.framing.control(out, &item, &self.instance);
        flow
    }

    /// What is sent of a run that others are sent too.
    fn share(&mut self, run: &SharedRun) -> Bytes {
        let written = self.framing.run(run);
        self.next_offset = run.next();
        self.metrics.delivered_records.inc_by(run.len() as u64);
        self.metrics.delivered_bytes.inc_by(written.len() as u64);
        written
    }

    /// Appends records that were taken over until the frame is full.
    fn write_rest(&mut self, out: &mut Vec<u8>) {
        let Some((epoch, chunk, from)) = self.rest.take() else { return };
        let before = out.len();
        let next = self.framing.records(out, epoch, &chunk, from, FRAME_BYTES);
        self.next_offset = chunk.first().saturating_after(next as u64);
        self.metrics.delivered_records.inc_by(next.saturating_sub(from) as u64);
        self.metrics.delivered_bytes.inc_by(out.len().saturating_sub(before) as u64);
        if next < chunk.len() {
            self.rest = Some((epoch, chunk, next));
        }
    }
}

impl Ask {
    fn read(query: &StrictQuery, headers: &HeaderMap, last_event_id: Option<LastEventId>) -> Result<Self, Problem> {
        let at = query.moment()?;
        // What comes next is never in the past.
        let start = query.start()?.unwrap_or(if at.is_some() { Start::Earliest } else { Start::Latest });
        let limit: Option<NonZeroU64> = query.count("limit", MAX_SAFE_INTEGER)?;
        let block = query.boolean("block")?.unwrap_or(true);
        let fields = query.fields()?;
        let filter = query.filter()?.map(Filter::for_stream).transpose().map_err(|error| error.to_problem())?;
        let heartbeat = query.seconds("heartbeat", 1..=300)?.unwrap_or(Duration::from_secs(HEARTBEAT_SECS));
        let framing = match accept::negotiate(headers, &[EVENT_STREAM, NDJSON])? {
            EVENT_STREAM => Framing::Sse,
            _ => Framing::Ndjson,
        };
        let resume = match last_event_id {
            Some(LastEventId::After(resume)) => Some(resume),
            Some(LastEventId::End) | None => None,
        };
        Ok(Self { framing, heartbeat, request: StreamRequest { start, resume, limit, block, at, fields, filter } })
    }
}

/// What a client has seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastEventId {
    End,
    After(Resume),
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<LastEventId>, Problem> {
    let mut values = headers.get_all("last-event-id").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let id = value.to_str().ok().filter(|_| values.next().is_none()).and_then(parse_last_event_id);
    id.map(Some).ok_or_else(|| invalid("Last-Event-ID is end, an offset, or {epoch}:{offset} as the stream sends it."))
}

fn parse_last_event_id(text: &str) -> Option<LastEventId> {
    let offset = |text: &str| digits(text).and_then(Offset::new);
    if text == "end" {
        return Some(LastEventId::End);
    }
    let Some((epoch, position)) = text.split_once(':') else {
        return offset(text).map(|offset| LastEventId::After(Resume::Offset(offset)));
    };
    let epoch = digits(epoch).and_then(Epoch::new)?;
    let position = if position == "-1" { None } else { Some(offset(position)?) };
    Some(LastEventId::After(Resume::Position(epoch, position)))
}

#[cfg(test)]
mod tests;
