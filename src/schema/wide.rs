//! Which integer columns can no longer become floats.

use std::collections::BTreeSet;

use crate::model::SchemaVersion;
use crate::schema::{DataType, FieldPath, Move, Schema};

/// The integer columns that have ever held a value past ±2^53, at any depth. A float64 could not print such a value's
/// digits, so these columns never widen to one. The set only grows, but
/// for what a posted change does to the columns themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct WideColumns {
    /// Paths as [`FieldPath`] prints them; through a list they have no step of their own, for it has one item type.
    paths: BTreeSet<String>,
}

impl WideColumns {
    /// Whether no column has.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether the integers at `path` have been wide.
    pub fn contains(&self, path: &FieldPath) -> bool {
        !self.paths.is_empty() && self.paths.contains(&path.to_string())
    }

    /// Adds the integers at `path`.
    pub fn insert(&mut self, path: &FieldPath) {
        self.paths.insert(path.to_string());
    }

    /// Adds all columns of another set; says whether there was a new one.
    pub fn union(&mut self, other: &WideColumns) -> bool {
        let before = self.paths.len();
        self.paths.extend(other.paths.iter().cloned());
        self.paths.len() > before
    }

    /// Every integer column of a schema that can hold such a value.
    pub fn all_of(schema: &Schema) -> Self {
        let mut all = Self::default();
        for field in &schema.fields {
            all.insert_integers(&FieldPath(vec![field.name.clone()]), &field.data_type);
        }
        all
    }

    /// Those that are in another set as well.
    #[must_use]
    pub fn within(&self, other: &WideColumns) -> Self {
        Self { paths: self.paths.intersection(&other.paths).cloned().collect() }
    }

    /// Follows a posted change: names change, dropped columns leave. An integer column made by a conversion counts as one that
    /// has held such a value: whoever reads the set again later cannot know.
    pub fn follow(&mut self, moves: &[Move]) {
        for step in moves {
            match step {
                Move::Rename { path, to } => self.replace(path, |rest| {
                    let mut keys = path.0.clone();
                    keys.pop();
                    keys.push(to.clone());
                    keys.extend_from_slice(rest);
                    Some(FieldPath(keys))
                }),
                Move::Drop { path } => self.replace(path, |_| None),
                Move::Retype { path, to, .. } if step.can_be_refused() => self.insert_integers(path, &to.data_type),
                Move::Retype { .. } => {}
            }
        }
    }

    /// Gives every path at or below `path` the place that `place` makes of what follows it, or none.
    fn replace(&mut self, path: &FieldPath, place: impl Fn(&[String]) -> Option<FieldPath>) {
        let placed = self.paths.iter().filter_map(|text| {
            let known = FieldPath::parse(text).ok();
            match known.as_ref().and_then(|known| known.0.strip_prefix(path.0.as_slice())) {
                Some(rest) => place(rest).map(|path| path.to_string()),
                None => Some(text.clone()),
            }
        });
        self.paths = placed.collect();
    }

    fn insert_integers(&mut self, path: &FieldPath, data_type: &DataType) {
        match data_type {
            DataType::Int(int) if int.bits() == 64 => self.insert(path),
            DataType::List(item) => self.insert_integers(path, item),
            DataType::Struct(fields) => {
                for field in fields {
                    self.insert_integers(&path.child(&field.name), &field.data_type);
                }
            }
            _ => {}
        }
    }

    /// The JSON text for the catalog, with the posted version that the paths are those of, if there is one.
    pub fn to_stored(&self, posted: Option<SchemaVersion>) -> String {
        match posted {
            None => self.to_json(),
            Some(version) => format!("{{\"at\":{},\"paths\":{}}}", version.get(), self.to_json()),
        }
    }

    /// Reads what [`WideColumns::to_stored`] has written, with the posted version; nothing for any other text.
    pub fn from_stored(text: &str) -> (Self, Option<SchemaVersion>) {
        #[derive(serde::Deserialize)]
        struct Stored {
            at: u32,
            paths: WideColumns,
        }
        match serde_json::from_str::<Stored>(text) {
            Ok(stored) => (stored.paths, SchemaVersion::new(stored.at)),
            Err(_) => (Self::from_json(text).unwrap_or_default(), None),
        }
    }

    /// The JSON text that [`WideColumns::from_json`] reads: an array of paths, ascending.
    pub fn to_json(&self) -> String {
        let paths: Vec<serde_json::Value> = self.paths.iter().map(|path| path.as_str().into()).collect();
        serde_json::Value::Array(paths).to_string()
    }

    /// Reads what [`WideColumns::to_json`] has written; none for any other text.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_grows_and_comes_back_from_its_text() {
        let mut wide = WideColumns::default();
        assert_eq!((wide.is_empty(), wide.to_json().as_str()), (true, "[]"));
        let odd = FieldPath(vec!["a.b".to_owned(), "c".to_owned()]);
        wide.insert(&odd);
        let mut other = WideColumns::default();
        other.insert(&FieldPath(vec!["n".to_owned()]));
        assert!(other.union(&wide) && !other.union(&wide));
        assert_eq!(other.to_json(), r#"["\"a.b\".c","n"]"#);
        assert_eq!(WideColumns::from_json(&other.to_json()), Some(other.clone()));
        assert!(other.contains(&odd) && !other.contains(&FieldPath(vec!["a".to_owned()])));
    }

    #[test]
    fn the_set_follows_renames_drops_and_conversions() {
        let path = |text: &str| FieldPath::parse(text).unwrap();
        let mut wide = WideColumns::default();
        for text in ["a", "s.n", "s.m", "sa"] {
            wide.insert(&path(text));
        }
        let json = |data_type| crate::schema::Field { name: "j".to_owned(), data_type, nullable: true };
        wide.follow(&[
            Move::Rename { path: path("s"), to: "t".to_owned() },
            Move::Rename { path: path("t.n"), to: "k".to_owned() },
            Move::Drop { path: path("a") },
            Move::Retype {
                path: path("j"),
                from: DataType::Json,
                to: json(DataType::List(Box::new(DataType::Int(crate::schema::IntType::I64)))),
            },
        ]);
        assert_eq!(wide.to_json(), r#"["j","sa","t.k","t.m"]"#);
        let version = SchemaVersion::new(7);
        assert_eq!(wide.to_stored(version), r#"{"at":7,"paths":["j","sa","t.k","t.m"]}"#);
        assert_eq!(WideColumns::from_stored(&wide.to_stored(version)), (wide.clone(), version));
        assert_eq!(WideColumns::from_stored(&wide.to_stored(None)), (wide, None));
        assert_eq!(WideColumns::from_stored(""), (WideColumns::default(), None));
    }
}
