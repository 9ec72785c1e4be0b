//! Which tables there are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::table::{LanceTable, WeakTable};

/// The tables that somebody holds, by their dataset.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    by_dataset: HashMap<PathBuf, WeakTable>,
    /// How many entries there may be before those of tables that are gone are looked for.
    looked_at: usize,
}

impl Held {
    /// The table of a dataset, if somebody holds one.
    pub(super) fn find(&self, dataset: &Path) -> Option<LanceTable> {
        self.0.lock().by_dataset.get(dataset)?.upgrade()
    }

    /// The table that everybody uses from now on: the one that was opened meanwhile, or else this one.
    pub(super) fn keep(&self, dataset: &Path, table: LanceTable) -> LanceTable {
        let mut tables = self.0.lock();
        if let Some(earlier) = tables.by_dataset.get(dataset).and_then(WeakTable::upgrade) {
            return earlier;
        }
        if tables.by_dataset.len() >= tables.looked_at {
            tables.by_dataset.retain(|_, table| table.upgrade().is_some());
            tables.looked_at = 2 * tables.by_dataset.len() + 16;
        }
        tables.by_dataset.insert(dataset.to_owned(), table.downgrade());
        table
    }
}
