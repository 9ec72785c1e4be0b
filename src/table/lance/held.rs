//! Which tables there are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::table::{LanceTable, WeakTable};

/// The tables that somebody holds, by their dataset.
#[derive(Debug, Default)]
pub(super) struct Held {
    tables: Mutex<Tables>,
    /// Datasets that are being opened.
    opening: Mutex<HashMap<PathBuf, Weak<Turn>>>,
}

/// Held while a dataset is opened.
type Turn = tokio::sync::Mutex<()>;

#[derive(Debug, Default)]
struct Tables {
    by_dataset: HashMap<PathBuf, WeakTable>,
    /// How many entries there may be before those of tables that are gone are looked for.
    looked_at: usize,
}

impl Held {
    /// What to hold while a dataset is opened, which may mend its head: two at once would be in each other's way, and one whose
    /// caller has gone goes on.
    pub(super) fn turn(&self, dataset: &Path) -> Arc<Turn> {
        let mut opening = self.opening.lock();
        opening.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = opening.get(dataset).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        opening.insert(dataset.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// The table of a dataset, if somebody holds one.
    pub(super) fn find(&self, dataset: &Path) -> Option<LanceTable> {
        self.tables.lock().by_dataset.get(dataset)?.upgrade()
    }

    /// Makes a table the one that everybody uses from now on, in the turn in which it was opened.
    pub(super) fn keep(&self, dataset: &Path, table: &LanceTable) {
        let mut tables = self.tables.lock();
        if tables.by_dataset.len() >= tables.looked_at {
            tables.by_dataset.retain(|_, table| table.upgrade().is_some());
            tables.looked_at = 2 * tables.by_dataset.len() + 16;
        }
        tables.by_dataset.insert(dataset.to_owned(), table.downgrade());
    }
}
