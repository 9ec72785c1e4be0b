//! Idempotency keys.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{KeyRow, StoredReceipt};
use crate::model::{KeyedWrite, Timestamp};
use crate::topic::producers::is_over;

/// What is to be done with a request that has an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// The key is not known.
    New,
    /// The same body was stored under the key, with this outcome.
    Duplicate(StoredReceipt),
    /// Another body was stored under the key.
    Mismatch,
}

/// What has changed of a topic's keys since it was last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirtyKeys {
    /// Keys that were used.
    pub changed: Vec<KeyRow>,
    /// Keys that are forgotten.
    pub removed: Vec<Arc<str>>,
}

/// The idempotency keys of one topic.
#[derive(Clone, Debug)]
pub struct IdempotencyKeys {
    known: HashMap<Arc<str>, Use>,
    /// Every known key, oldest first.
    by_age: BTreeSet<(Timestamp, Arc<str>)>,
    dirty: HashSet<Arc<str>>,
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    body_hash: [u8; 32],
    receipt: StoredReceipt,
    created_at: Timestamp,
}

/// What a recorded request has changed, so that it can be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyUndo {
    /// Nothing.
    Nothing,
    /// The key was used; what it was used for before, if that was still known.
    Used(Arc<str>, Option<EarlierUse>),
}

/// What a key was used for before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierUse(Box<Use>);

impl Default for IdempotencyKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl IdempotencyKeys {
    /// The most keys that a topic knows; past them the oldest is forgotten.
    pub const KNOWN_MAX: usize = 100_000;
    /// How long a key is known.
    pub const AGE_MAX: Duration = Duration::from_hours(24);

    /// No key yet.
    pub fn new() -> Self {
        Self::with_limit(Self::KNOWN_MAX)
    }

    pub(super) fn with_limit(limit: usize) -> Self {
        Self { known: HashMap::new(), by_age: BTreeSet::new(), dirty: HashSet::new(), limit }
    }

    /// The keys that a checkpoint has stored.
    pub fn restore(rows: Vec<KeyRow>) -> Self {
        let mut keys = Self::new();
        for row in rows {
            keys.put(row.key, Use { body_hash: row.body_hash, receipt: row.receipt, created_at: row.created_at });
        }
        // Only what was dropped for want of room differs from what is stored.
        keys.dirty.retain(|key| !keys.known.contains_key(key));
        keys
    }

    /// How many keys are known, those that are too old but not yet dropped included.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What is to be done with a request. Changes nothing.
    pub fn look(&self, write: &KeyedWrite, now: Timestamp) -> KeyVerdict {
        match self.known.get(&write.key) {
            Some(used) if is_over(used.created_at, now, Self::AGE_MAX) => KeyVerdict::New,
            Some(used) if used.body_hash == write.body_hash => KeyVerdict::Duplicate(used.receipt),
            Some(_) => KeyVerdict::Mismatch,
            None => KeyVerdict::New,
        }
    }

    /// Remembers a stored request; `now` is the time of its log entry. What is known already changes nothing.
    ///
    /// The state is ahead of the log until the request's entry is durable: see [`IdempotencyKeys::take_dirty`].
    pub fn record(&mut self, write: &KeyedWrite, receipt: StoredReceipt, now: Timestamp) -> KeyUndo {
        let before = self.known.get(&write.key).copied();
        // A later use of the key was let in after this one had been forgotten; but one whose records all went to the quarantine has
        // the offset of the use before it.
        let is_later = |used: Use| used.receipt.first >= receipt.first && !is_over(used.created_at, now, Self::AGE_MAX);
        if before.is_some_and(is_later) {
            return KeyUndo::Nothing;
        }
        self.put(Arc::clone(&write.key), Use { body_hash: write.body_hash, receipt, created_at: now });
        KeyUndo::Used(Arc::clone(&write.key), before.map(|before| EarlierUse(Box::new(before))))
    }

    /// Takes back the request that was recorded last, because its records were refused. A key that was forgotten for want
    /// of room stays forgotten.
    pub fn take_back(&mut self, undo: KeyUndo) {
        match undo {
            KeyUndo::Nothing => {}
            KeyUndo::Used(key, None) => self.remove(&key),
            KeyUndo::Used(key, Some(EarlierUse(before))) => self.put(key, *before),
        }
    }

    /// Forgets the keys that are too old; `now` as for [`IdempotencyKeys::look`].
    pub fn expire(&mut self, now: Timestamp) {
        while let Some((created_at, key)) = self.by_age.first()
            && is_over(*created_at, now, Self::AGE_MAX)
        {
            let key = Arc::clone(key);
            self.remove(&key);
        }
    }

    /// What has changed since the last call. These rows rest on every request that was recorded: the log must be synced past
    /// all of them before the rows are stored, else a crash would leave answers to requests whose records are gone.
    pub fn take_dirty(&mut self) -> DirtyKeys {
        let mut dirty = DirtyKeys::default();
        for key in std::mem::take(&mut self.dirty) {
            match self.known.get(&key) {
                Some(Use { body_hash, receipt, created_at }) => {
                    let (body_hash, receipt, created_at) = (*body_hash, *receipt, *created_at);
                    dirty.changed.push(KeyRow { key, body_hash, receipt, created_at });
                }
                None => dirty.removed.push(key),
            }
        }
        dirty
    }

    /// Gives back what could not be stored; the next [`IdempotencyKeys::take_dirty`] has it again, as it is by then.
    pub fn give_back(&mut self, dirty: DirtyKeys) {
        self.dirty.extend(dirty.changed.into_iter().map(|row| row.key).chain(dirty.removed));
    }

    fn put(&mut self, key: Arc<str>, used: Use) {
        self.by_age.insert((used.created_at, Arc::clone(&key)));
        self.dirty.insert(Arc::clone(&key));
        if let Some(before) = self.known.insert(Arc::clone(&key), used)
            && before.created_at != used.created_at
        {
            self.by_age.remove(&(before.created_at, key));
        }
        // The oldest come first, so those that are too old go before any other.
        while self.known.len() > self.limit
            && let Some((_, key)) = self.by_age.first()
        {
            let key = Arc::clone(key);
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(used) = self.known.remove(key) {
            self.by_age.remove(&(used.created_at, Arc::clone(key)));
            self.dirty.insert(Arc::clone(key));
        }
    }
}
