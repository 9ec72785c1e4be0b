//! Which integer columns can no longer become floats.

use std::collections::BTreeSet;

use crate::schema::FieldPath;

/// The integer columns that have ever held a value past ±2^53, at any depth. A float64 could not print such a value's
/// digits, so these columns never widen to one. The set only grows.
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
}
