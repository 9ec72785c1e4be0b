//! Filters of reads under which the topic's columns change.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{BoundFilter, Filter, MaskError, Sieve, SieveError};
use crate::schema::{Columns, FieldPath};

/// What becomes of a filter when a posted version changes the columns that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnChange {
    /// What is not there under its name any more is null.
    Null,
    /// It is looked for where it is now.
    Follow,
}

/// A filter that is bound anew where a topic's columns change.
#[derive(Debug)]
pub struct LiveFilter {
    filter: Filter,
    on_change: OnChange,
    bound: Mutex<Bound>,
}

/// A filter as it is bound now.
#[derive(Debug)]
struct Bound {
    /// The columns that it is bound to.
    columns: Columns,
    sieve: Arc<Sieve>,
    /// The columns that its names are those of.
    named: Columns,
    /// What it reads of those.
    paths: Vec<FieldPath>,
}

impl LiveFilter {
    /// The filter of a stream, which goes on whatever becomes of the columns: what it names and is gone is null.
    pub fn of_stream(filter: Filter, columns: Columns, bound: BoundFilter) -> Self {
        Self::new(filter, OnChange::Null, columns, bound)
    }

    /// The filter of a read that ends: it lets the same records pass from its beginning to its end. Fields that are renamed
    /// are followed; whether that was all is told by [`LiveFilter::has_changed`].
    pub fn of_read(filter: Filter, columns: Columns, bound: BoundFilter) -> Self {
        Self::new(filter, OnChange::Follow, columns, bound)
    }

    fn new(filter: Filter, on_change: OnChange, columns: Columns, bound: BoundFilter) -> Self {
        let (named, paths) = (columns.clone(), bound.columns().to_vec());
        let sieve = Arc::new(Sieve::new(bound, &columns));
        Self { filter, on_change, bound: Mutex::new(Bound { columns, sieve, named, paths }) }
    }

    /// What was asked for.
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The filter on these columns, which are never older than those of the call before.
    ///
    /// # Errors
    /// [`SieveError`] where it cannot be bound, which is a fault of this server.
    pub fn on(&self, columns: &Columns) -> Result<Arc<Sieve>, SieveError> {
        let mut bound = self.bound.lock();
        if bound.columns != *columns {
            let again = match self.on_change {
                OnChange::Follow if columns.lineage.has_moved(bound.named.lineage.newest()) => {
                    self.filter.bind_moved(&bound.named, columns).map_err(MaskError::from)?
                }
                OnChange::Null | OnChange::Follow => {
                    let again = self.filter.bind_to_what_is_there(&columns.schema).map_err(MaskError::from)?;
                    (bound.named, bound.paths) = (columns.clone(), again.columns().to_vec());
                    again
                }
            };
            bound.sieve = Arc::new(Sieve::new(again, columns));
            bound.columns = columns.clone();
        }
        Ok(Arc::clone(&bound.sieve))
    }

    /// Whether what it reads was dropped or took another type by what was posted since, so that it cannot tell any more what
    /// would have passed. That is no matter to a stream.
    pub fn has_changed(&self, now: &Columns) -> bool {
        let bound = self.bound.lock();
        let (lineage, since) = (&now.lineage, bound.named.lineage.newest());
        self.on_change == OnChange::Follow
            && lineage.has_moved(since)
            // Where there was no schema, nothing is known of what it names.
            && (bound.named.version.is_none() || bound.paths.iter().any(|path| lineage.has_changed(path, since)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::SchemaVersion;
    use crate::schema::{Field, Lineage, Move, Posted, Schema};

    fn columns(names: &[&str], moves: Vec<Vec<Move>>) -> Columns {
        let field = |name: &&str| Field::from_json(&json!({"name": name, "type": "int64"})).unwrap();
        let schema = Arc::new(Schema { fields: names.iter().map(field).collect() });
        let posted = moves.into_iter().zip(2..).map(|(moves, version)| Posted {
            version: SchemaVersion::new(version).unwrap(),
            before: Arc::default(),
            moves,
        });
        let version = if names.is_empty() { None } else { SchemaVersion::new(9) };
        Columns { schema, lineage: Arc::new(Lineage::new(posted.collect())), version }
    }

    fn rename(path: &str, to: &str) -> Move {
        Move::Rename { path: FieldPath(vec![path.to_owned()]), to: to.to_owned() }
    }

    fn dropped(path: &str) -> Move {
        Move::Drop { path: FieldPath(vec![path.to_owned()]) }
    }

    fn live(names: &[&str], of: fn(Filter, Columns, BoundFilter) -> LiveFilter) -> LiveFilter {
        let (filter, columns) = (Filter::parse("a = 1").unwrap(), columns(names, Vec::new()));
        let bound = filter.bind_under(&columns).unwrap();
        of(filter, columns, bound)
    }

    fn reads(live: &LiveFilter, columns: &Columns) -> Vec<String> {
        live.on(columns).unwrap().bound().columns().iter().map(FieldPath::to_string).collect()
    }

    #[test]
    fn a_read_that_ends_follows_its_fields_and_a_stream_their_names() {
        let (read, stream) = (live(&["a", "b"], LiveFilter::of_read), live(&["a", "b"], LiveFilter::of_stream));
        let swapped = vec![vec![rename("a", "c"), rename("b", "a")]];
        let now = columns(&["c", "a"], swapped.clone());
        assert_eq!((reads(&read, &now), reads(&stream, &now)), (vec!["c".to_owned()], vec!["a".to_owned()]));
        assert!(!read.has_changed(&now) && !stream.has_changed(&now));
        let other = columns(&["c"], [swapped.clone(), vec![vec![dropped("a")]]].concat());
        assert!(!read.has_changed(&other));
        let gone = columns(&["a"], [swapped, vec![vec![dropped("c")]]].concat());
        assert!(reads(&read, &gone).is_empty());
        assert!(read.has_changed(&gone) && !stream.has_changed(&gone));
    }

    #[test]
    fn a_read_that_ends_takes_the_first_schema_for_what_its_filter_means() {
        let read = live(&[], LiveFilter::of_read);
        assert!(read.has_changed(&columns(&["b"], vec![vec![rename("a", "b")]])));
        assert_eq!(reads(&read, &columns(&["a"], vec![Vec::new()])), ["a"]);
        let renamed = columns(&["b"], vec![Vec::new(), vec![rename("a", "b")]]);
        assert!(!read.has_changed(&renamed));
        assert_eq!(reads(&read, &renamed), ["b"]);
    }
}
