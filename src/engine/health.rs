//! What keeps the server from being ready.

use super::Engine;
use super::entry::Entry;
use crate::model::TopicName;

/// What keeps the server from being ready.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The log's latch.
    pub log_failed: bool,
    /// The disk is at its floor.
    pub disk_at_floor: bool,
    /// Topics that cannot be written at present, with why.
    pub degraded: Vec<(TopicName, String)>,
    /// Parts of the server that have failed for good.
    pub faults: Vec<&'static str>,
}

impl Engine {
    /// What keeps the server from being ready.
    pub fn health(&self) -> Health {
        let Ok(core) = self.core() else { return Health::default() };
        Health {
            log_failed: core.wal.failed().is_some(),
            disk_at_floor: core.admission.disk_at_floor(),
            degraded: core.entries().iter().filter_map(|entry| degraded(entry)).collect(),
            faults: core.tasks.health().faults().iter().map(|fault| fault.part).collect(),
        }
    }
}

/// A topic that cannot be written at present, with why.
fn degraded(entry: &Entry) -> Option<(TopicName, String)> {
    let reason = match entry.opened() {
        Some(topic) => topic.degraded_reason(),
        None => entry.broken().map(|reason| reason.to_string()),
    };
    Some((entry.row().definition.name.clone(), reason?))
}
