//! How far readers with cursors are behind.

use crate::catalog::{CursorPosition, CursorRow};
use crate::engine::Core;
use crate::engine::entry::Entry;
use crate::topic::Epochs;

impl Core {
    /// Brings the figures of cursors up to date; as they were where the catalog cannot be read.
    pub(super) async fn refresh_cursors(&self) {
        let cursors = match self.catalog.all_cursors().await {
            Ok(cursors) => cursors,
            Err(err) => {
                tracing::warn!(error = %err, "cursors cannot be read");
                return;
            }
        };
        let count = cursors.values().map(Vec::len).sum::<usize>();
        self.services.metrics.cursors.set(i64::try_from(count).unwrap_or(i64::MAX));
        let mut lags = Vec::new();
        for entry in self.entries() {
            let definition = &entry.row().definition;
            let Some(rows) = cursors.get(&definition.id) else { continue };
            let named = |row: &CursorRow| (definition.name.as_str().to_owned(), row.name.as_str().to_owned());
            // As with all series of single topics, those that have none of their own show nothing.
            match entry.opened() {
                Some(topic) if topic.figures().is_some() => {
                    lags.extend(rows.iter().map(|row| (named(row), topic.lag(row.position))));
                }
                None if entry.broken().is_none() && self.figures_asleep(&entry).is_some() => {
                    lags.extend(rows.iter().filter_map(|row| Some((named(row), lag_asleep(&entry, row.position)?))));
                }
                _ => {}
            }
        }
        self.services.metrics.show_cursors(lags);
    }
}

/// How far a reader of a topic that nobody has used since the start is behind.
fn lag_asleep(entry: &Entry, position: CursorPosition) -> Option<u64> {
    let row = entry.row();
    let epochs = Epochs::new(row.epochs.iter().map(|start| (start.epoch, start.start)).collect())?;
    Some(row.next.since(epochs.go_on(position.epoch, position.next, row.earliest).next))
}
