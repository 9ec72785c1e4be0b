//! What the clients know: every request, every answer, and what follows from them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::values;

/// What became of a request, as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may be sent again; earlier tries may have been stored.
    Open,
    /// It will not be sent again; nobody knows whether it was stored.
    Unknown,
    /// It was refused, so that nothing of it may be stored.
    Refused,
    /// 202: if it is there, it is there.
    Accepted { epoch: u64, first: u64 },
    /// 200: it is there.
    Acknowledged { epoch: u64, first: u64, committed: bool },
}

/// One append.
#[derive(Clone, Debug)]
pub struct Request {
    pub writer: u32,
    /// The records as they count.
    pub values: Vec<Value>,
    /// Whether it closes the topic.
    pub close: bool,
    pub state: State,
    /// Where a check has found it: the topic's identity and the first offset.
    pub found: Option<(String, u64)>,
    /// How many of its records the last check has seen for the first time.
    pub seen: usize,
}

/// Whether the name has a topic, as far as the answers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Absent,
    There,
    /// A deletion got no answer.
    MaybeGone,
    /// A creation got no answer.
    MaybeMade,
}

/// Whether a topic is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    No,
    Maybe,
    /// For good, behind so many records.
    At(u64),
}

/// One topic from its creation to its deletion.
#[derive(Debug)]
pub struct Life {
    pub id: String,
    pub epochs: Vec<u64>,
    /// Every record that a check has seen: the bytes of its record object.
    pub seen: BTreeMap<u64, String>,
    /// Records that a reader was given before a kill: they must be there afterwards.
    pub promised: BTreeMap<u64, String>,
    /// The tail as of the last check.
    pub tail: u64,
    /// The earliest offset is one of these.
    pub earliest: (u64, u64),
    pub closed: Closed,
    /// Where a cursor stands; none where it is not there.
    pub cursor: Option<u64>,
    /// Where to it was moved without an answer yet.
    pub moving: Option<u64>,
    /// The newest request of each writer.
    pub newest: HashMap<u32, u64>,
}

impl Life {
    pub fn new(id: String, epoch: u64) -> Self {
        Self {
            id,
            epochs: vec![epoch],
            seen: BTreeMap::new(),
            promised: BTreeMap::new(),
            tail: 0,
            earliest: (0, 0),
            closed: Closed::No,
            cursor: None,
            moving: None,
            newest: HashMap::new(),
        }
    }

    pub fn epoch(&self) -> u64 {
        self.epochs.last().copied().unwrap_or_default()
    }
}

/// All that is known of one name.
#[derive(Debug)]
pub struct Ledger {
    pub presence: Presence,
    pub life: Option<Life>,
    /// Requests that no check has settled yet.
    pub requests: BTreeMap<u64, Request>,
    /// Topics that had the name before.
    pub dead_ids: HashSet<String>,
    pub dead_epochs: HashSet<u64>,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            presence: Presence::Absent,
            life: None,
            requests: BTreeMap::new(),
            dead_ids: HashSet::new(),
            dead_epochs: HashSet::new(),
        }
    }

    /// A request is about to be sent.
    pub fn begin(&mut self, id: u64, writer: u32, values: &[Value], close: bool) {
        let values = values.iter().map(values::plain).collect();
        self.requests.insert(id, Request { writer, values, close, state: State::Open, found: None, seen: 0 });
    }

    pub fn set(&mut self, id: u64, state: State) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.state = state;
        }
    }

    /// The topic is gone for good.
    pub fn bury(&mut self) {
        self.presence = Presence::Absent;
        if let Some(life) = self.life.take() {
            self.dead_ids.insert(life.id);
            self.dead_epochs.extend(life.epochs);
        }
    }

    /// A topic was made under the name.
    pub fn made(&mut self, description: &Value) {
        let id = description["id"].as_str().unwrap_or_default().to_owned();
        let epoch = description["epoch"].as_u64().unwrap_or_default();
        self.presence = Presence::There;
        self.life = Some(Life::new(id, epoch));
    }

    /// The epoch of the topic that has the name now; none where that is not known.
    pub fn epoch(&self) -> Option<u64> {
        let known = self.presence == Presence::There;
        self.life.as_ref().filter(|_| known).map(Life::epoch)
    }
}
