//! What is done once for a group of entries instead of once for each.

use std::fmt;
use std::sync::Arc;

/// Something to be done when all entries of a group have been completed.
pub trait GroupEnd: Send + Sync {
    /// All entries of the group have been completed. Called on the log's thread: it must be quick.
    fn group_ended(&self);
}

/// The entries that one sync made durable, while their completions are called. Waking a topic's readers is dear where there
/// are many of them, so that a completion leaves it to the group's end.
#[derive(Default)]
pub struct Group {
    ends: Vec<Arc<dyn GroupEnd>>,
}

impl Group {
    /// Has `end` told when the group has ended; once for each call.
    pub fn at_end(&mut self, end: Arc<dyn GroupEnd>) {
        self.ends.push(end);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for end in self.ends.drain(..) {
            end.group_ended();
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("ends", &self.ends.len()).finish()
    }
}
