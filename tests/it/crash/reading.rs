//! The three ways of reading records, and followers.

use futures::StreamExt;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Api, Checked, Lost};
use super::world::{Load, Topic};

/// A record as it was read: its offset and the bytes of its record object.
pub type Read = (u64, String);

/// How records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Pages(u64),
    Ndjson,
    Sse,
}

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }
}

/// Server-Sent Events out of bytes as they come.
#[derive(Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// The events that are whole now.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.bytes.extend_from_slice(bytes);
        let (mut events, mut begin) = (Vec::new(), 0);
        while let Some(length) = self.bytes[begin..].windows(2).position(|pair| pair == b"\n\n") {
            let block = &self.bytes[begin..begin + length];
            begin += length + 2;
            let mut event = Event::default();
            for line in String::from_utf8_lossy(block).lines() {
                match line.split_once(": ") {
                    Some(("event", name)) => event.name = name.to_owned(),
                    Some(("id", id)) => event.id = id.to_owned(),
                    Some(("data", data)) => event.data = data.to_owned(),
                    _ => {}
                }
            }
            if event != Event::default() {
                events.push(event);
            }
        }
        self.bytes.drain(..begin);
        events
    }
}

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
    next_offset: u64,
    up_to_date: bool,
}

#[derive(serde::Deserialize)]
struct Place {
    offset: u64,
}

fn read_of(topic: &Topic, text: &str) -> Checked<Read> {
    let place: Place =
        serde_json::from_str(text).map_err(|err| format!("topic {}: no record object: {err}: {text}", topic.name))?;
    Ok((place.offset, text.to_owned()))
}

/// All records from an offset to the tail.
pub async fn read(api: &Api, topic: &Topic, from: u64, way: Way) -> Checked<Vec<Read>> {
    let found = match way {
        Way::Pages(limit) => pages(api, topic, from, limit).await?,
        Way::Ndjson => {
            let accept = [("Accept", "application/x-ndjson".to_owned())];
            let path = topic.path(&format!("/records?offset={from}"));
            let answer = api.send(reqwest::Method::GET, &path, &accept, None).await;
            let answer = answer.map_err(|Lost(err)| format!("topic {}: {way:?} from {from}: {err}", topic.name))?;
            if answer.status != 200 {
                return Err(format!("topic {}: {way:?} from {from}: {}", topic.name, answer.text));
            }
            answer.text.lines().map(|line| read_of(topic, line)).collect::<Checked<Vec<Read>>>()?
        }
        Way::Sse => events(api, topic, from).await?,
    };
    Ok(found)
}

async fn pages(api: &Api, topic: &Topic, from: u64, limit: u64) -> Checked<Vec<Read>> {
    let (mut found, mut next, limit) = (Vec::new(), from, limit.min(10_000));
    loop {
        let answer = api.fetch(&topic.path(&format!("/records?offset={next}&limit={limit}"))).await?;
        let page: Page<'_> = serde_json::from_str(&answer.text).map_err(|err| format!("no page: {err}"))?;
        for record in &page.records {
            found.push(read_of(topic, record.get())?);
        }
        if page.up_to_date || (page.records.is_empty() && page.next_offset == next) {
            return Ok(found);
        }
        next = page.next_offset;
    }
}

async fn events(api: &Api, topic: &Topic, from: u64) -> Checked<Vec<Read>> {
    let path = topic.path(&format!("/stream?offset={from}&block=false"));
    let fail = |what: &str| format!("topic {}: {path}: {what}", topic.name);
    let answer = api.send(reqwest::Method::GET, &path, &[], None).await.map_err(|Lost(err)| fail(&err))?;
    let events = Events::default().take(answer.text.as_bytes());
    if events.last().is_none_or(|last| last.name != "end" || last.json()["reason"] != "tail") {
        return Err(fail(&format!("does not end at the tail: {:?}", events.last())));
    }
    let mut found = Vec::new();
    for event in events {
        match &*event.name {
            "" => {
                let read = read_of(topic, &event.data)?;
                let offset = event.id.split_once(':').and_then(|(_, offset)| offset.parse().ok());
                if offset != Some(read.0) {
                    return Err(fail(&format!("the id does not fit the record: {event:?}")));
                }
                found.push(read);
            }
            "position" | "caught-up" | "end" => {}
            _ => return Err(fail(&format!("an event that should not come: {event:?}"))),
        }
    }
    Ok(found)
}

/// Reads a stream from an offset on until the server is killed; every record that came.
pub async fn follow(topic: &Topic, load: &Load, from: u64) -> Checked<Vec<Read>> {
    let fail = |what: String| format!("topic {}: a stream from {from}: {what}", topic.name);
    let answer = match load.direct.open(&topic.path(&format!("/stream?offset={from}")), &[]).await {
        Ok(answer) => answer,
        Err(Lost(_)) if load.stopping() => return Ok(Vec::new()),
        Err(Lost(err)) => return Err(fail(err)),
    };
    let (mut bytes, mut events, mut found) = (answer.bytes_stream(), Events::default(), Vec::new());
    while let Some(Ok(some)) = bytes.next().await {
        for event in events.take(&some) {
            match &*event.name {
                "" => found.push(read_of(topic, &event.data)?),
                "position" | "caught-up" | "schema" => {}
                "end" if load.stopping() && event.json()["reason"] == "shutdown" => {}
                _ => return Err(fail(format!("an event that should not come: {event:?}"))),
            }
        }
    }
    if !load.stopping() {
        return Err(fail("it ended while the server lived".to_owned()));
    }
    let dense = found.iter().zip(from..).all(|((offset, _), expected)| *offset == expected);
    if dense { Ok(found) } else { Err(fail(format!("it is not dense: {:?}", offsets(&found)))) }
}

fn offsets(found: &[Read]) -> Vec<u64> {
    found.iter().map(|(offset, _)| *offset).collect()
}

/// The first events of a stream that resumes.
pub async fn resume(api: &Api, topic: &Topic, last_event_id: &str) -> Checked<Vec<Event>> {
    let path = topic.path("/stream?block=false&limit=1");
    let headers = [("Last-Event-ID", last_event_id.to_owned())];
    let answer = api.send(reqwest::Method::GET, &path, &headers, None).await;
    let answer = answer.map_err(|Lost(err)| format!("topic {}: a resumption: {err}", topic.name))?;
    Ok(Events::default().take(answer.text.as_bytes()))
}
