//! Which older versions are being read.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many readers each version has. Clean-up asks it what to spare; a reader of a version whose removal has begun before it
/// came finds files gone, and is told so.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(Arc<Mutex<BTreeMap<u64, usize>>>);

/// One reader of a version, for as long as it is held.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Pins,
    version: u64,
}

impl Pins {
    /// Notes a reader.
    pub(super) fn pin(&self, version: u64) -> Pin {
        *self.0.lock().entry(version).or_default() += 1;
        Pin { pins: self.clone(), version }
    }

    /// The oldest version that is being read, besides those that are kept anyway: it and all later ones are to be spared.
    pub(super) fn oldest(&self, kept: &[u64]) -> Option<u64> {
        self.0.lock().keys().find(|version| !kept.contains(version)).copied()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut versions = self.pins.0.lock();
        if let Some(readers) = versions.get_mut(&self.version) {
            *readers -= 1;
            if *readers == 0 {
                versions.remove(&self.version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_spared_until_its_last_reader_leaves() {
        let pins = Pins::default();
        let (first, second, newer) = (pins.pin(3), pins.pin(3), pins.pin(5));
        drop(first);
        assert_eq!((pins.oldest(&[]), pins.oldest(&[3])), (Some(3), Some(5)));
        drop(second);
        assert_eq!(pins.oldest(&[]), Some(5));
        drop(newer);
        assert_eq!(pins.oldest(&[]), None);
    }
}
