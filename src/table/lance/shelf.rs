//! Which tables have their dataset open.

use std::collections::HashMap;
use std::sync::Weak;

use parking_lot::Mutex;

use super::table::Slot;

/// The open datasets by last use, at most so many.
#[derive(Debug)]
pub(super) struct Shelf {
    open_max: usize,
    uses: Mutex<Uses>,
}

#[derive(Debug, Default)]
struct Uses {
    count: u64,
    open: HashMap<usize, (u64, Weak<Slot>)>,
}

impl Shelf {
    pub(super) fn new(open_max: usize) -> Self {
        Self { open_max, uses: Mutex::default() }
    }

    /// Notes a use; closes the least recently used dataset where one too many is open. A reader or a commit that still
    /// holds the closed one keeps it for as long as it takes.
    pub(super) fn used(&self, slot: &Weak<Slot>) {
        let key = slot.as_ptr().addr();
        let mut uses = self.uses.lock();
        uses.count += 1;
        let now = uses.count;
        uses.open.insert(key, (now, Weak::clone(slot)));
        if uses.open.len() <= self.open_max {
            return;
        }
        uses.open.retain(|_, (_, slot)| slot.strong_count() > 0);
        let oldest = uses.open.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
        let Some(oldest) = oldest.filter(|_| uses.open.len() > self.open_max) else { return };
        let closed = uses.open.remove(&oldest).and_then(|(_, slot)| slot.upgrade());
        drop(uses);
        if let Some(slot) = closed {
            slot.close();
        }
    }

    /// How many datasets are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.uses.lock().open.len()
    }
}
