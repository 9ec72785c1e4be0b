//! Keys of the objects that are being read, to find one that stands twice.

use std::borrow::Cow;
use std::collections::HashSet;

/// Up to so many keys are compared one by one.
const FEW: usize = 16;

/// The keys of all open objects, one on top of the other.
#[derive(Default)]
pub(super) struct KeyStack<'j> {
    keys: Vec<Cow<'j, str>>,
}

/// The keys of one open object; only the innermost one may be added to.
pub(super) struct KeyFrame<'j> {
    base: usize,
    many: Option<HashSet<Cow<'j, str>>>,
}

impl<'j> KeyStack<'j> {
    /// Begins an object.
    pub(super) fn open(&self) -> KeyFrame<'j> {
        KeyFrame { base: self.keys.len(), many: None }
    }

    /// Adds a key; false where the object has it.
    pub(super) fn insert(&mut self, frame: &mut KeyFrame<'j>, key: Cow<'j, str>) -> bool {
        if let Some(many) = &mut frame.many {
            return many.insert(key);
        }
        let own = self.keys.get(frame.base..).unwrap_or_default();
        if own.contains(&key) {
            return false;
        }
        self.keys.push(key);
        if self.keys.len() - frame.base > FEW {
            frame.many = Some(self.keys.drain(frame.base..).collect());
        }
        true
    }

    /// Ends an object.
    pub(super) fn close(&mut self, frame: KeyFrame<'j>) {
        self.keys.truncate(frame.base);
    }

    /// Ends all objects.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }
}
