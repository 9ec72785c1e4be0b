//! Quarantines: of a request the records that fit and those that do not are there or not, together and once.

use std::collections::BTreeSet;
use std::sync::Arc;

use persisting::engine::Engine;
use persisting::model::{ErrorCode, Problem, TopicId};
use persisting::topic::Topic;
use serde_json::Value;

use super::check::When;
use super::model::{Fate, TopicModel};
use super::ops::{ALL, records};

/// What a topic's quarantine holds.
#[derive(Debug)]
pub struct SeenAside {
    pub id: TopicId,
    /// The serial numbers of the records that were set aside.
    pub serials: Vec<u64>,
}

/// Reads the quarantine of a topic; none where there is none.
pub async fn observe(engine: &Engine, topic: &Arc<Topic>) -> Result<Option<SeenAside>, Problem> {
    let Some(name) = topic.name().quarantine() else { return Ok(None) };
    let quarantine = match engine.topic(&name).await {
        Ok(quarantine) => quarantine,
        Err(problem) if problem.code == ErrorCode::TopicNotFound => return Ok(None),
        Err(problem) => return Err(problem),
    };
    let id = quarantine.describe().await?.id;
    let page = quarantine.read(ALL).await?;
    let serial = |text: String| {
        let record: Value = serde_json::from_str(&text).ok()?;
        record["body"].as_str()?.trim().parse().ok()
    };
    let serials = records(&page.chunks).map(|(_, text, _)| serial(text).unwrap_or(u64::MAX)).collect();
    Ok(Some(SeenAside { id, serials }))
}

impl TopicModel {
    /// Compares the quarantine, which was read after the topic, with what the client knows of the requests by then.
    pub fn check_aside(&mut self, seen: Option<SeenAside>, when: When) -> Result<(), String> {
        if !self.quarantines {
            return match seen {
                Some(seen) => Err(format!("there is a quarantine, {}, of a topic that has none", seen.id)),
                None => Ok(()),
            };
        }
        self.quarantine = seen.as_ref().map(|seen| seen.id).or(self.quarantine);
        let serials = seen.map(|seen| seen.serials).unwrap_or_default();
        let kept: BTreeSet<u64> = serials.iter().copied().collect();
        if kept.len() < serials.len() {
            return Err(format!("something was set aside twice: {serials:?}"));
        }
        let mut left = kept.clone();
        for batch in &self.batches {
            let Some(serial) = batch.aside else { continue };
            left.remove(&serial);
            let expected = match batch.fate {
                Fate::Stored { sure: true, .. } => true,
                Fate::Refused => false,
                // What was found in the topic after a restart is sure by now, so that this was not.
                Fate::Unknown | Fate::Gone { .. } if when != When::Running => false,
                _ => continue,
            };
            if kept.contains(&serial) != expected {
                let fate = batch.fate;
                return Err(format!("record {serial}: set aside is {}, and its request is {fate:?}", !expected));
            }
        }
        match left.first() {
            Some(serial) => Err(format!("record {serial} is set aside, which nobody has sent")),
            None => Ok(()),
        }
    }
}
