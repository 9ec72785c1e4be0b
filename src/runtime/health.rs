//! Faults that only a restart mends.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;

/// A part that has failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which part.
    pub part: &'static str,
    /// Why, for the log and `/readyz`; never a record.
    pub cause: Arc<str>,
}

/// The process's latched faults. Clones share them. A fault never goes away: what has failed once is not believed again.
#[derive(Clone, Debug)]
pub struct Health {
    faults: watch::Sender<Arc<[Fault]>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// No fault yet.
    pub fn new() -> Self {
        Self { faults: watch::Sender::new(Arc::from([])) }
    }

    /// Latches a part's fault and logs it. The first cause of a part stays, so that the list is bounded by the parts.
    pub fn latch(&self, part: &'static str, cause: impl Display) {
        let fault = Fault { part, cause: cause.to_string().into() };
        let latched = self.faults.send_if_modified(|faults| {
            if faults.iter().any(|known| known.part == part) {
                return false;
            }
            *faults = faults.iter().cloned().chain([fault.clone()]).collect();
            true
        });
        if latched {
            tracing::error!(part, cause = %fault.cause, "{part} has failed; only a restart mends it");
        }
    }

    /// Whether nothing has failed.
    pub fn is_sound(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// Every fault, oldest first.
    pub fn faults(&self) -> Arc<[Fault]> {
        Arc::clone(&self.faults.borrow())
    }

    /// Tells of every further fault.
    pub fn watch(&self) -> watch::Receiver<Arc<[Fault]>> {
        self.faults.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_of_a_part_stays() {
        let health = Health::new();
        let clone = health.clone();
        assert!(health.is_sound());
        clone.latch("log", "fsync failed");
        clone.latch("log", "something later");
        health.latch("catalog", "commit failed");
        let faults = health.faults();
        let parts: Vec<_> = faults.iter().map(|fault| (fault.part, &*fault.cause)).collect();
        assert_eq!(parts, [("log", "fsync failed"), ("catalog", "commit failed")]);
        assert!(!clone.is_sound());
    }
}
