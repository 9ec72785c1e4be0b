//! Those who make, close, trim, flush, compact and delete topics while others write.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;

use super::client::{Answer, Checked, Lost};
use super::ledger::{Closed, Life, Presence};
use super::random::Random;
use super::world::{Load, Topic, count};
use super::writers::append_and_close;

/// The cursor that a keeper moves.
pub const CURSOR: &str = "/cursors/reader";
/// Keepers' records have writer numbers from here on.
const KEEPERS: u32 = 1_000;

/// Does what is to be done to a topic until the server is killed.
pub async fn keep(topic: Arc<Topic>, number: u32, load: Load, mut random: Random) -> Checked {
    while !load.stopping() {
        let pause = Duration::from_millis(random.between(1, 120));
        // Some kills come right into what is done here.
        if random.once_in(60) {
            load.provoke();
        }
        if !topic.lance && random.once_in(2) {
            move_cursor(&topic, &load, &mut random).await?;
        }
        if topic.churns {
            churn(&topic, number, &load, &mut random).await?;
        } else if topic.trims && random.once_in(2) {
            trim(&topic, &load, &mut random).await?;
        } else if topic.flushes {
            flush(&topic, &load).await?;
        }
        if topic.flushes && random.once_in(2) {
            compact(&topic, &load).await?;
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Makes a topic that is not there.
pub async fn create(topic: &Topic, load: &Load) -> Checked {
    topic.ledger.lock().presence = Presence::MaybeMade;
    match call(topic, load, Method::PUT, "", Some(topic.definition())).await? {
        None => Ok(()),
        Some(answer) if answer.status == 201 => {
            topic.ledger.lock().made(&answer.json());
            count(&load.counters.created);
            Ok(())
        }
        Some(answer) => Err(format!("topic {}: PUT answered {} {}", topic.name, answer.status, answer.text)),
    }
}

/// An answer, or none because of the kill.
async fn call(topic: &Topic, load: &Load, method: Method, path: &str, body: Option<String>) -> Checked<Option<Answer>> {
    let what = format!("topic {}: {method} {path:?}", topic.name);
    match load.direct.send(method, &topic.path(path), &[], body).await {
        Ok(answer) => {
            load.answered();
            if answer.code() == "shutting_down" && load.stopping() {
                return Ok(None);
            }
            if answer.status >= 500 {
                return Err(format!("{what} answered {} {}", answer.status, answer.text));
            }
            Ok(Some(answer))
        }
        Err(Lost(_)) if load.stopping() => Ok(None),
        Err(Lost(err)) => Err(format!("{what} got no answer from a living server: {err}")),
    }
}

/// Asks for a merge of all fragments; kills come in the midst of it.
async fn compact(topic: &Topic, load: &Load) -> Checked {
    match call(topic, load, Method::POST, "/compact", None).await? {
        None => Ok(()),
        Some(answer) if answer.status == 202 => Ok(()),
        Some(answer) => Err(format!("topic {}: a compaction answered {} {}", topic.name, answer.status, answer.text)),
    }
}

async fn churn(topic: &Topic, number: u32, load: &Load, random: &mut Random) -> Checked {
    let (presence, closed) = {
        let ledger = topic.ledger.lock();
        (ledger.presence, ledger.life.as_ref().is_none_or(|life| life.closed != Closed::No))
    };
    match presence {
        Presence::Absent => create(topic, load).await,
        Presence::There if closed || random.once_in(4) => delete(topic, load).await,
        Presence::There => match random.below(6) {
            0 => close(topic, load).await,
            1 => {
                set_closed(topic, Closed::Maybe);
                let became = append_and_close(topic, load, random, KEEPERS + number).await?;
                set_closed(topic, became.unwrap_or(Closed::No));
                if became.is_some() {
                    count(&load.counters.closed);
                }
                Ok(())
            }
            2 => flush(topic, load).await,
            3 => put_again(topic, load).await,
            _ => Ok(()),
        },
        // Only a kill leaves it unknown, and then this life is over.
        Presence::MaybeGone | Presence::MaybeMade => Ok(()),
    }
}

async fn delete(topic: &Topic, load: &Load) -> Checked {
    topic.ledger.lock().presence = Presence::MaybeGone;
    match call(topic, load, Method::DELETE, "", None).await? {
        None => Ok(()),
        Some(answer) if answer.status == 204 => {
            topic.ledger.lock().bury();
            count(&load.counters.deleted);
            Ok(())
        }
        Some(answer) => Err(format!("topic {}: DELETE answered {} {}", topic.name, answer.status, answer.text)),
    }
}

/// A PUT like the first one finds the topic.
async fn put_again(topic: &Topic, load: &Load) -> Checked {
    let Some(answer) = call(topic, load, Method::PUT, "", Some(topic.definition())).await? else { return Ok(()) };
    let id = topic.ledger.lock().life.as_ref().map(|life| life.id.clone()).unwrap_or_default();
    if answer.status == 200 && answer.json()["id"] == id {
        return Ok(());
    }
    Err(format!("topic {}: a second PUT answered {} {}", topic.name, answer.status, answer.text))
}

fn set_closed(topic: &Topic, closed: Closed) {
    if let Some(life) = &mut topic.ledger.lock().life {
        life.closed = closed;
    }
}

async fn close(topic: &Topic, load: &Load) -> Checked {
    set_closed(topic, Closed::Maybe);
    let Some(answer) = call(topic, load, Method::POST, "/close", None).await? else { return Ok(()) };
    let next = answer.json()["next_offset"].as_u64();
    let (200, Some(next)) = (answer.status, next) else {
        return Err(format!("topic {}: close answered {} {}", topic.name, answer.status, answer.text));
    };
    set_closed(topic, Closed::At(next));
    count(&load.counters.closed);
    Ok(())
}

pub async fn flush(topic: &Topic, load: &Load) -> Checked {
    let known = acknowledged_until(topic, false);
    let Some(answer) = call(topic, load, Method::POST, "/flush", None).await? else { return Ok(()) };
    let committed = answer.json()["committed_offset"].as_u64();
    if answer.status != 200 || committed.is_none_or(|committed| committed < known) {
        let text = format!("a flush after {known} was acknowledged answered {} {}", answer.status, answer.text);
        return Err(format!("topic {}: {text}", topic.name));
    }
    count(&load.counters.flushes);
    Ok(())
}

/// Everything before it is acknowledged, and, if asked so, was told to be committed.
pub fn acknowledged_until(topic: &Topic, as_committed: bool) -> u64 {
    use super::ledger::State;
    let ledger = topic.ledger.lock();
    let Some(life) = &ledger.life else { return 0 };
    let ends = ledger.requests.values().filter_map(|request| match request.state {
        State::Acknowledged { epoch, first, committed }
            if life.epochs.contains(&epoch) && (committed || !as_committed) =>
        {
            Some(first + request.values.len() as u64)
        }
        _ => None,
    });
    ends.max().unwrap_or_default().max(life.tail)
}

/// Moves a cursor to somewhere that is there, from where it stands.
async fn move_cursor(topic: &Topic, load: &Load, random: &mut Random) -> Checked {
    let to = random.below(acknowledged_until(topic, topic.options["ack"] == "committed") + 1);
    let mut body = serde_json::json!({ "offset": to });
    {
        let mut ledger = topic.ledger.lock();
        let is_there = ledger.presence == Presence::There;
        let Some(life) = ledger.life.as_mut().filter(|_| is_there) else { return Ok(()) };
        if let Some(from) = life.cursor {
            body["expected"] = from.into();
        }
        life.moving = Some(to);
    }
    let Some(answer) = call(topic, load, Method::PUT, CURSOR, Some(body.to_string())).await? else { return Ok(()) };
    if answer.status != 200 || answer.json()["offset"] != to {
        return Err(format!("topic {}: a cursor set by {body} answered {} {}", topic.name, answer.status, answer.text));
    }
    if let Some(life) = &mut topic.ledger.lock().life {
        (life.cursor, life.moving) = (Some(to), None);
    }
    count(&load.counters.cursors);
    Ok(())
}

async fn trim(topic: &Topic, load: &Load, random: &mut Random) -> Checked {
    let tail = acknowledged_until(topic, topic.options["ack"] == "committed");
    let earliest = match &topic.ledger.lock().life {
        Some(Life { earliest: (low, high), .. }) if low == high => *low,
        _ => return Ok(()),
    };
    if tail <= earliest {
        return Ok(());
    }
    // Often a little, sometimes all that is known.
    let to = if random.once_in(6) { tail } else { earliest + random.below((tail - earliest).min(400)) + 1 };
    let set = |bounds: (u64, u64)| {
        if let Some(life) = &mut topic.ledger.lock().life {
            life.earliest = bounds;
        }
    };
    set((earliest, to));
    let body = serde_json::json!({ "before": to }).to_string();
    let Some(answer) = call(topic, load, Method::POST, "/trim", Some(body)).await? else { return Ok(()) };
    if answer.status != 200 || answer.json()["earliest_offset"] != to {
        return Err(format!("topic {}: trim to {to} answered {} {}", topic.name, answer.status, answer.text));
    }
    set((to, to));
    count(&load.counters.trims);
    Ok(())
}
