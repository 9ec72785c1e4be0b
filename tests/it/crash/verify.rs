//! After a restart: what the server holds against what the clients know.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::client::{Checked, Lost};
use super::ledger::{Closed, Ledger, Life, Presence, Request, State};
use super::random::Random;
use super::reading::{self, Read, Way};
use super::world::{Ended, Load, Topic};
use super::{keepers, values};

/// What a check is told beside its topic.
#[derive(Debug)]
pub struct Task<'a> {
    pub random: &'a mut Random,
    /// Whether all of the topic is read, in all three ways.
    pub whole: bool,
    /// All epochs that were ever seen.
    pub used: &'a mut HashSet<u64>,
    pub ended: Ended,
}

/// Checks one topic.
pub async fn check(topic: &Topic, load: &Load, task: Task<'_>) -> Checked {
    let Task { random, whole, used, ended } = task;
    let Some(mut description) = describe(topic, load).await? else { return Ok(()) };
    if topic.options["ack"] == "committed" {
        description = reveal(topic, load, &description).await?;
    }
    let resumed = check_epoch(topic, &description, used, ended)?;
    let (earliest, tail) = check_bounds(topic, &description)?;
    if let Some((epoch, offset)) = resumed {
        check_resumption(topic, load, epoch, offset, (earliest, tail)).await?;
    }
    check_cursor(topic, load).await?;
    check_expired(topic, load, earliest).await?;
    let known = topic.ledger.lock().life.as_ref().map(|life| life.tail).unwrap_or_default();
    let back = if whole { known } else { random.below(300) };
    let from = known.min(tail).saturating_sub(back).max(earliest);
    let ways = [Way::Pages(random.between(1, 700).max(tail.saturating_sub(from) / 8)), Way::Ndjson, Way::Sse];
    let chosen = *random.pick(&ways);
    let mut found: Option<Vec<Read>> = None;
    for way in ways.into_iter().filter(|way| whole || *way == chosen) {
        let read = reading::read(&load.direct, topic, from, way).await?;
        load.counters.reads.fetch_add(read.len() as u64, Ordering::Relaxed);
        if let Some(found) = &found {
            let differs = found.iter().zip(&read).find(|(one, other)| one != other);
            if differs.is_some() || found.len() != read.len() {
                return Err(format!(
                    "topic {}: {way:?} from {from} gives {} records, another way {}; the first difference: {differs:?}",
                    topic.name,
                    read.len(),
                    found.len()
                ));
            }
        }
        found = Some(read);
    }
    settle(topic, load, &found.unwrap_or_default(), from, tail)?;
    finish(topic, load, &mut topic.ledger.lock(), ended)
}

/// The topic's description; none where it is right that there is none.
async fn describe(topic: &Topic, load: &Load) -> Checked<Option<Value>> {
    let answer = load.direct.get(&topic.path("")).await.map_err(|Lost(err)| format!("topic {}: {err}", topic.name))?;
    let mut ledger = topic.ledger.lock();
    let fail = |what: &str| Err(format!("topic {}: {what}: {} {}", topic.name, answer.status, answer.text));
    if answer.status == 404 {
        if ledger.presence == Presence::There {
            return fail("it was created and never deleted, but is gone");
        }
        // An append that was answered by a topic nobody knows of proves that the creation had been stored.
        if let Some(epoch) = strange_epochs(&ledger).first() {
            return fail(&format!("a request was acknowledged in epoch {epoch} by a topic that is gone"));
        }
        ledger.bury();
        ledger.requests.retain(|_, request| request.state == State::Open);
        return Ok(None);
    }
    if answer.status != 200 {
        return fail("it cannot be read");
    }
    let description = answer.json();
    let id = description["id"].as_str().unwrap_or_default();
    let known = ledger.life.as_ref().map(|life| life.id.clone());
    match ledger.presence {
        Presence::Absent => return fail("it was deleted, but is there"),
        Presence::There | Presence::MaybeGone if known.as_deref() != Some(id) => {
            return fail(&format!("its identity was {known:?}"));
        }
        Presence::MaybeMade => {
            if ledger.dead_ids.contains(id) {
                return fail("a deleted topic has come back");
            }
            let epochs = strange_epochs(&ledger);
            ledger.made(&description);
            if let Some(life) = &mut ledger.life {
                life.epochs = epochs;
            }
        }
        Presence::There | Presence::MaybeGone => ledger.presence = Presence::There,
    }
    if description["state"] == "degraded" {
        return fail("it is degraded");
    }
    Ok(Some(description))
}

/// What is in the log of a topic whose readers see committed records only can be read later, and then it would look as if it
/// had come from nowhere. So a flush brings it out; what was acknowledged, or read, is there before.
async fn reveal(topic: &Topic, load: &Load, description: &Value) -> Checked<Value> {
    let read = {
        let ledger = topic.ledger.lock();
        let promised = ledger.life.as_ref().and_then(|life| life.promised.last_key_value());
        promised.map_or(0, |(offset, _)| offset + 1)
    };
    let known = keepers::acknowledged_until(topic, true);
    let tail = description["tail_offset"].as_u64().unwrap_or_default();
    if tail < known.max(read) {
        let what = format!("acknowledged as committed up to {known} and read up to {read}, but cannot be read");
        return Err(format!("topic {}, offset {tail}: {what}", topic.name));
    }
    keepers::flush(topic, load).await?;
    Ok(load.direct.fetch(&topic.path("")).await?.json())
}

/// Epochs of acknowledged requests that no known topic has had: those of a topic whose creation got no answer.
fn strange_epochs(ledger: &Ledger) -> Vec<u64> {
    let epochs = ledger.requests.values().filter_map(|request| match request.state {
        State::Acknowledged { epoch, .. } => Some(epoch),
        _ => None,
    });
    let known = |epoch: &u64| {
        ledger.life.as_ref().is_some_and(|life| life.epochs.contains(epoch)) || ledger.dead_epochs.contains(epoch)
    };
    let strange: std::collections::BTreeSet<u64> = epochs.filter(|epoch| !known(epoch)).collect();
    strange.into_iter().collect()
}

/// The epoch is what it was with a log, and a new one without. Returns where a reader of the epoch before stood.
fn check_epoch(
    topic: &Topic,
    description: &Value,
    used: &mut HashSet<u64>,
    ended: Ended,
) -> Checked<Option<(u64, u64)>> {
    let epoch = description["epoch"].as_u64().unwrap_or_default();
    let mut ledger = topic.ledger.lock();
    let Some(life) = &mut ledger.life else { return Ok(None) };
    let fail = |what: String| Err(format!("topic {}: epoch {epoch}: {what}", topic.name));
    let is_new = used.insert(epoch);
    let before = life.epochs.last().copied();
    match before {
        Some(before) if !topic.lance && before != epoch => return fail(format!("it was {before}")),
        Some(before) if ended != Ended::Killed && before == epoch => return Ok(None),
        Some(_) if ended == Ended::Stopped => return fail("an orderly stop must not begin one".to_owned()),
        Some(_) if topic.lance && (life.epochs.contains(&epoch) || !is_new) => {
            return fail("a kill must begin a new one".to_owned());
        }
        Some(before) if epoch < before => return fail(format!("it was {before}")),
        Some(_) if !topic.lance => return Ok(None),
        _ => life.epochs.push(epoch),
    }
    Ok(before.map(|before| (before, life.tail)))
}

/// Earliest offset, tail and closing are among what the answers allow; they are certain from here on.
fn check_bounds(topic: &Topic, description: &Value) -> Checked<(u64, u64)> {
    let number = |name: &str| description[name].as_u64().unwrap_or_default();
    let (earliest, tail) = (number("earliest_offset"), number("tail_offset"));
    let mut ledger = topic.ledger.lock();
    let Some(life) = &mut ledger.life else { return Ok((earliest, tail)) };
    let fail = |what: String| Err(format!("topic {}: {what}: {description}", topic.name));
    if earliest != life.earliest.0 && earliest != life.earliest.1 {
        return fail(format!("the earliest offset must be one of {:?}", life.earliest));
    }
    if earliest > tail {
        return fail("the earliest offset is past the tail".to_owned());
    }
    if tail < life.tail {
        return fail(format!("offset {tail} was there and is lost: the tail was {}", life.tail));
    }
    life.earliest = (earliest, earliest);
    let closed = description["state"] == "closed";
    match (life.closed, closed) {
        (Closed::At(_), false) => return fail("it was closed and is open".to_owned()),
        (Closed::No, true) => return fail("nobody has closed it".to_owned()),
        (Closed::At(at), true) if at != tail => return fail(format!("it was closed at {at}")),
        (Closed::Maybe, true) => life.closed = Closed::At(tail),
        (Closed::Maybe, false) => life.closed = Closed::No,
        _ => {}
    }
    Ok((earliest, tail))
}

/// A cursor stands where its last answer said, or where a move without an answer was to bring it.
async fn check_cursor(topic: &Topic, load: &Load) -> Checked {
    let path = topic.path(keepers::CURSOR);
    let answer = load.direct.get(&path).await.map_err(|Lost(err)| format!("topic {}: {err}", topic.name))?;
    let mut ledger = topic.ledger.lock();
    let Some(life) = &mut ledger.life else { return Ok(()) };
    let found = answer.json()["offset"].as_u64();
    let is_right = found == life.cursor || (found.is_some() && found == life.moving);
    if !is_right || answer.status != if found.is_some() { 200 } else { 404 } {
        let (cursor, moving) = (life.cursor, life.moving);
        let what = format!("its cursor was at {cursor:?}, perhaps at {moving:?}");
        return Err(format!("topic {}: {what}: {} {}", topic.name, answer.status, answer.text));
    }
    (life.cursor, life.moving) = (found, None);
    Ok(())
}

/// Who resumes with an older epoch is told what is void.
async fn check_resumption(topic: &Topic, load: &Load, epoch: u64, stood: u64, (earliest, tail): (u64, u64)) -> Checked {
    let ahead = stood + 7;
    let events = reading::resume(&load.direct, topic, &format!("{epoch}:{}", ahead - 1)).await?;
    let gap = events.first().cloned().unwrap_or_default();
    let json = gap.json();
    let to = ahead.min(tail).max(earliest);
    if gap.name == "gap" && json["reason"] == "reset" && json["from"] == ahead && json["to"] == to {
        return Ok(());
    }
    Err(format!("topic {}: resumed at {epoch}:{} with tail {tail}: {events:?}", topic.name, ahead - 1))
}

async fn check_expired(topic: &Topic, load: &Load, earliest: u64) -> Checked {
    let Some(before) = earliest.checked_sub(1) else { return Ok(()) };
    let answer = load.direct.get(&topic.path(&format!("/records/{before}"))).await;
    let answer = answer.map_err(|Lost(err)| format!("topic {}: {err}", topic.name))?;
    if answer.status == 410 && answer.code() == "offset_expired" {
        return Ok(());
    }
    Err(format!("topic {}: offset {before} is trimmed, but got {} {}", topic.name, answer.status, answer.text))
}

/// A record object with its value as it counts.
struct Record {
    offset: u64,
    time: String,
    request: u64,
    index: usize,
    value: Value,
}

fn parse(topic: &Topic, (offset, text): &Read) -> Checked<Record> {
    let fail = || format!("topic {}, offset {offset}: not a record of this test: {text}", topic.name);
    let object: Value = serde_json::from_str(text).map_err(|_| fail())?;
    let value = values::plain(&object["value"]);
    let time = object["timestamp"].as_str().filter(|time| time.len() == 27).ok_or_else(fail)?;
    let request = value["r"].as_u64().ok_or_else(fail)?;
    let index = value["i"].as_u64().and_then(|index| usize::try_from(index).ok()).ok_or_else(fail)?;
    Ok(Record { offset: *offset, time: time.to_owned(), request, index, value })
}

/// Compares what was read with what is known, and settles every request.
fn settle(topic: &Topic, load: &Load, found: &[Read], from: u64, tail: u64) -> Checked {
    let fail = |offset: u64, what: String| Err(format!("topic {}, offset {offset}: {what}", topic.name));
    let mut guard = topic.ledger.lock();
    let ledger = &mut *guard;
    let Some(life) = &mut ledger.life else { return Ok(()) };
    if found.len() as u64 != tail - from {
        let gap = found.iter().zip(from..).find(|((offset, _), expected)| offset != expected);
        return fail(from, format!("{} records up to the tail {tail}; the first odd one: {gap:?}", found.len()));
    }
    let mut last_time = String::new();
    let mut whole: HashMap<u64, usize> = HashMap::new();
    for (read, expected) in found.iter().zip(from..) {
        let record = parse(topic, read)?;
        if record.offset != expected {
            return fail(expected, format!("offsets are not dense: {} came", record.offset));
        }
        if record.time < last_time {
            return fail(expected, format!("time goes back from {last_time} to {}", record.time));
        }
        last_time.clone_from(&record.time);
        compare(topic, life, read)?;
        if expected >= life.tail {
            place(topic, life, &mut ledger.requests, &record)?;
            *whole.entry(record.request).or_default() += 1;
            load.counters.records.fetch_add(1, Ordering::Relaxed);
        }
    }
    load.counters.promised.fetch_add(life.promised.len() as u64, Ordering::Relaxed);
    if let Some((offset, text)) = life.promised.last_key_value()
        && *offset >= tail
    {
        return fail(*offset, format!("a reader was given it and now it is gone: {text}"));
    }
    life.promised.clear();
    life.tail = tail;
    for (id, request) in &mut ledger.requests {
        request.seen = whole.get(id).copied().unwrap_or_default();
    }
    Ok(())
}

/// What was read before, by anybody, is read again, byte for byte.
fn compare(topic: &Topic, life: &mut Life, (offset, text): &Read) -> Checked {
    for (who, known) in [("a check", life.seen.get(offset)), ("a reader", life.promised.get(offset))] {
        if let Some(known) = known
            && known != text
        {
            return Err(format!("topic {}, offset {offset}: {who} has read {known}, now it is {text}", topic.name));
        }
    }
    life.seen.insert(*offset, text.clone());
    Ok(())
}

/// A record that no check has seen before belongs to a request that may be there, and lies where it should.
fn place(
    topic: &Topic,
    life: &mut Life,
    requests: &mut std::collections::BTreeMap<u64, Request>,
    record: &Record,
) -> Checked {
    let Record { offset, request: id, index, value, .. } = record;
    let fail = |what: String| Err(format!("topic {}, offset {offset}: request {id}: {what}", topic.name));
    let Some(request) = requests.get_mut(id) else {
        return fail(format!("it is there twice, or came back after it was known not to be there: {value}"));
    };
    let Some(first) = offset.checked_sub(*index as u64) else { return fail(format!("record {index} came alone")) };
    match request.state {
        State::Refused => return fail("it was refused, but is there".to_owned()),
        State::Accepted { epoch, first: told } | State::Acknowledged { epoch, first: told, .. } => {
            if life.epochs.contains(&epoch) && told != first {
                return fail(format!("its answer said offset {told}, but it is at {first}"));
            }
            if !life.epochs.contains(&epoch) {
                return fail(format!("it was answered in epoch {epoch}, which is not this topic's"));
            }
        }
        State::Open | State::Unknown => {}
    }
    if request.values.get(*index) != Some(value) {
        return fail(format!("{:?} was sent, {value} is there", request.values.get(*index)));
    }
    match &request.found {
        Some((known, at)) if *known == life.id && *at != first => {
            return fail(format!("it is at offset {at} and at {first}"));
        }
        Some((known, _)) if *known == life.id => {}
        _ => request.found = Some((life.id.clone(), first)),
    }
    if *index == 0 {
        let newest = life.newest.insert(request.writer, *id);
        if newest.is_some_and(|newest| newest >= *id) {
            return fail(format!("writer {} has sent it before {newest:?}", request.writer));
        }
    }
    Ok(())
}

/// Every request is whole or not there at all; what is acknowledged is there. Only what may be sent again stays.
fn finish(topic: &Topic, load: &Load, ledger: &mut Ledger, ended: Ended) -> Checked {
    let Some(life) = &mut ledger.life else { return Ok(()) };
    let earliest = life.earliest.0;
    for (id, request) in &ledger.requests {
        let fail = |what: String| Err(format!("topic {}: request {id}: {what}", topic.name));
        let seen = request.seen;
        let all = request.values.len();
        let here = request.found.as_ref().filter(|(known, _)| *known == life.id).map(|(_, first)| *first);
        let trimmed = here.map_or(0, |first| earliest.saturating_sub(first).min(all as u64));
        if seen != 0 && seen as u64 + trimmed != all as u64 {
            return fail(format!("{seen} of its {all} records are there, from offset {here:?}"));
        }
        if let State::Accepted { epoch, first } = request.state
            && ended != Ended::Killed
            && life.epochs.contains(&epoch)
            && here.is_none()
            && first + all as u64 > earliest
        {
            return fail(format!("its {all} records were accepted at offset {first} and lost in an orderly stop"));
        }
        if let State::Acknowledged { epoch, first, .. } = request.state {
            let is_trimmed = first + all as u64 <= earliest;
            if life.epochs.contains(&epoch) && here.is_none() && !is_trimmed {
                return fail(format!("its {all} records were acknowledged at offset {first} and are lost"));
            }
            if !life.epochs.contains(&epoch) && !ledger.dead_epochs.contains(&epoch) {
                return fail(format!("it was answered in epoch {epoch}, which no topic of the name has had"));
            }
        }
        // The log stores the records and the closing in one entry.
        let closing = request.close && request.state == State::Unknown && !topic.lance;
        if closing && here.is_some() != (life.closed != Closed::No) {
            return fail(format!("it closes the topic and is at {here:?}, but the topic is closed: {:?}", life.closed));
        }
        if request.state == State::Unknown && here.is_some() {
            load.counters.survived.fetch_add(1, Ordering::Relaxed);
        }
    }
    ledger.requests.retain(|_, request| request.state == State::Open);
    Ok(())
}
