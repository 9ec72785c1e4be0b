//! What the client asks for, and what it is answered.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use persisting::codec::{Chunk, Form};
use persisting::engine::Engine;
use persisting::model::{Ack, Offset, Problem, TagName, TopicId, TopicName};
use persisting::table::Tag;
use persisting::topic::{
    AppendRequest, CreateTopic, Description, EndReason, Flushed, ForkAt, InflightPermit, ReadRequest, Receipt, Resume,
    Start, StreamItem, StreamRequest, Topic,
};

use super::aside::SeenAside;
use super::past::SeenTag;

/// A request.
#[derive(Clone, Debug)]
pub enum Op {
    Create(TopicName, Box<CreateTopic>),
    Delete(TopicName),
    /// With the number of the batch.
    Append(TopicName, usize, Box<AppendRequest>),
    /// The same with `atomic=false`.
    Load(TopicName, usize, Bytes, Form, Option<Ack>),
    /// With the offset past what was acknowledged before.
    Flush(TopicName, u64),
    Trim(TopicName, u64),
    Close(TopicName),
    /// Names the newest version.
    Tag(TopicName, TagName),
    /// Of the first, under the second name.
    Fork(TopicName, TopicName, ForkAt),
}

/// What was answered.
#[derive(Debug)]
pub enum Answer {
    Created(Result<(Description, bool), Problem>),
    Deleted(Result<(), Problem>),
    Appended(Result<Receipt, Problem>),
    Flushed(Result<Flushed, Problem>),
    Trimmed(Result<Offset, Problem>),
    Closed(Result<Offset, Problem>),
    Tagged(Result<Tag, Problem>),
}

impl Op {
    /// The topic that it makes or is about.
    pub fn name(&self) -> &TopicName {
        match self {
            Op::Create(name, _) | Op::Delete(name) | Op::Append(name, ..) | Op::Load(name, ..) => name,
            Op::Flush(name, _) | Op::Trim(name, _) | Op::Close(name) => name,
            Op::Tag(name, _) | Op::Fork(_, name, _) => name,
        }
    }

    /// Asks.
    pub async fn ask(self, engine: &Engine) -> Answer {
        match self {
            Op::Create(name, ask) => Answer::Created(engine.create(&name, *ask).await),
            Op::Delete(name) => Answer::Deleted(engine.delete(&name, None).await),
            Op::Append(name, _, ask) => Answer::Appended(match engine.topic(&name).await {
                Ok(topic) => topic.append(*ask).await,
                Err(problem) => Err(problem),
            }),
            Op::Load(name, _, body, form, ack) => Answer::Appended(match engine.topic(&name).await {
                Ok(topic) => {
                    topic.load(futures::stream::iter([Ok(body)]).boxed(), form, InflightPermit::none(), ack).await
                }
                Err(problem) => Err(problem),
            }),
            Op::Flush(name, _) => Answer::Flushed(match engine.topic(&name).await {
                Ok(topic) => topic.flush().await,
                Err(problem) => Err(problem),
            }),
            Op::Trim(name, before) => Answer::Trimmed(match engine.topic(&name).await {
                Ok(topic) => topic.trim(Offset::new(before).unwrap_or_default()).await,
                Err(problem) => Err(problem),
            }),
            Op::Tag(name, tag) => Answer::Tagged(match engine.topic(&name).await {
                Ok(topic) => topic.put_tag(&tag, None).await.map(|(tag, _)| tag),
                Err(problem) => Err(problem),
            }),
            Op::Fork(from, name, at) => {
                Answer::Created(engine.fork(&from, &name, at).await.map(|description| (description, true)))
            }
            Op::Close(name) => Answer::Closed(match engine.topic(&name).await {
                Ok(topic) => topic.close().await,
                Err(problem) => Err(problem),
            }),
        }
    }
}

/// A record as it is read: its offset, text and time.
pub type Read = (u64, String, i64);

/// A topic as it is served.
#[derive(Debug)]
pub struct Observed {
    pub id: TopicId,
    pub epoch: u64,
    pub earliest: u64,
    pub tail: u64,
    pub closed: bool,
    pub records: Vec<Read>,
    pub tags: Vec<SeenTag>,
    pub aside: Option<SeenAside>,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Page by page, of so many records.
    Pages(u64),
    /// All at once.
    All,
    /// As a stream, resumed after the record before this offset.
    Stream,
}

pub const ALL: ReadRequest = ReadRequest {
    start: Start::Earliest,
    epoch: None,
    limit: None,
    bytes_max: None,
    wait: None,
    version: None,
    fields: None,
    filter: None,
    at: None,
};

/// The records of chunks.
pub fn records(chunks: &[Chunk]) -> impl Iterator<Item = Read> {
    chunks.iter().flat_map(|chunk| {
        (0..chunk.len()).map(|index| {
            let text = String::from_utf8_lossy(chunk.value(index)).into_owned();
            (chunk.first().get() + index as u64, text, chunk.time(index).as_micros())
        })
    })
}

/// Reads all of a topic.
pub async fn observe(engine: &Engine, topic: &Arc<Topic>, way: Way) -> Result<Observed, Problem> {
    // First: what is read of the topic itself is read without a break, as a trim may still be under way.
    let tags = super::past::observe(topic).await?;
    let description = topic.describe().await?;
    let page = topic.read(ReadRequest { limit: NonZeroU64::new(1), ..ALL }).await?;
    let (earliest, tail) = (page.earliest_offset.get(), page.tail_offset.get());
    let read = match way {
        Way::Pages(limit) => pages(topic, limit, tail).await?,
        Way::All => {
            let chunks: Vec<Vec<Chunk>> = topic.read_all(ALL).await?.try_collect().await?;
            records(&chunks.concat()).collect()
        }
        Way::Stream => stream(topic, earliest).await?,
    };
    let aside = super::aside::observe(engine, topic).await?;
    // What has come in meanwhile is another look's.
    let records = read.into_iter().filter(|(offset, ..)| *offset < tail).collect();
    Ok(Observed {
        id: description.id,
        epoch: description.epoch.get(),
        earliest: description.earliest_offset.get().max(earliest),
        tail,
        closed: page.closed,
        records,
        tags,
        aside,
    })
}

async fn pages(topic: &Arc<Topic>, limit: u64, tail: u64) -> Result<Vec<Read>, Problem> {
    let (mut read, mut start) = (Vec::new(), Start::Earliest);
    loop {
        let page = topic.read(ReadRequest { start, limit: NonZeroU64::new(limit), ..ALL }).await?;
        read.extend(records(&page.chunks));
        if page.chunks.is_empty() || page.next_offset.get() >= tail {
            return Ok(read);
        }
        start = Start::At(page.next_offset);
    }
}

async fn stream(topic: &Arc<Topic>, earliest: u64) -> Result<Vec<Read>, Problem> {
    let seen = earliest.checked_sub(1).and_then(Offset::new);
    let resume = Some(Resume::Position(topic.epoch(), seen));
    let ask =
        StreamRequest { start: Start::Latest, resume, limit: None, block: false, at: None, fields: None, filter: None };
    let (mut read, mut items) = (Vec::new(), topic.stream(ask).await?);
    while let Some(item) = items.next().await {
        match item {
            StreamItem::Records { chunk, .. } => read.extend(records(&[chunk])),
            StreamItem::Shared(run) => read.extend(records(run.chunks())),
            StreamItem::Problem(problem) => return Err(*problem),
            StreamItem::End { reason: EndReason::Tail | EndReason::Closed, .. } => break,
            StreamItem::End { .. } => return Err(Problem::internal()),
            StreamItem::Gap { .. } | StreamItem::Position { .. } => {}
            StreamItem::CaughtUp { .. } | StreamItem::Schema { .. } => {}
        }
    }
    Ok(read)
}
