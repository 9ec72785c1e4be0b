//! How the columns of earlier times became those of today.

use std::sync::Arc;

use crate::model::SchemaVersion;
use crate::schema::{FieldPath, Move, Schema};

/// One posted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its number.
    pub version: SchemaVersion,
    /// The columns before it: what was written since the posted version before reads under them as it was written.
    pub before: Arc<Schema>,
    /// What it does to values that are stored already, in order.
    pub moves: Vec<Move>,
}

/// The posted versions of a topic, oldest first. What lies between two of them only adds and widens: text that was written
/// under any version reads under each later one up to the next posted one, and prints the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Vec<Posted>);

impl Lineage {
    /// The lineage of these versions, oldest first.
    pub fn new(posted: Vec<Posted>) -> Self {
        Self(posted)
    }

    /// The lineage with one more version.
    #[must_use]
    pub fn with(&self, posted: Posted) -> Self {
        let mut all = Vec::with_capacity(self.0.len() + 1);
        all.extend_from_slice(&self.0);
        all.push(posted);
        Self(all)
    }

    /// The newest posted version.
    pub fn newest(&self) -> Option<SchemaVersion> {
        self.0.last().map(|posted| posted.version)
    }

    /// The versions that were posted after `version`; all of them for none.
    pub fn after(&self, version: Option<SchemaVersion>) -> &[Posted] {
        let at = self.0.partition_point(|posted| Some(posted.version) <= version);
        self.0.get(at..).unwrap_or_default()
    }

    /// Whether fields that were there under `version` were renamed, dropped or took another type since.
    pub fn has_moved(&self, version: Option<SchemaVersion>) -> bool {
        self.after(version).iter().any(|posted| !posted.moves.is_empty())
    }

    /// Where the field of a path stands today that stood there under `version`; none where it was dropped since.
    pub fn followed(&self, path: &FieldPath, version: Option<SchemaVersion>) -> Option<FieldPath> {
        let mut path = path.clone();
        for step in self.steps(version) {
            path = follow(path, step)?;
        }
        Some(path)
    }

    /// Whether values of the field that had this path under `version`, or of one in it, were dropped or took another type
    /// since.
    pub fn has_changed(&self, path: &FieldPath, version: Option<SchemaVersion>) -> bool {
        self.any_step_on(path, version, |step| !matches!(step, Move::Rename { .. }))
    }

    /// Whether values of the field that had this path under `version`, or of one in it, were dropped since.
    pub fn has_dropped(&self, path: &FieldPath, version: Option<SchemaVersion>) -> bool {
        self.any_step_on(path, version, |step| matches!(step, Move::Drop { .. }))
    }

    fn any_step_on(&self, path: &FieldPath, version: Option<SchemaVersion>, is_it: fn(&Move) -> bool) -> bool {
        let mut path = path.clone();
        for step in self.steps(version) {
            let FieldPath(moved) = step.path();
            if is_it(step) && (path.0.starts_with(moved) || moved.starts_with(&path.0)) {
                return true;
            }
            match follow(path, step) {
                Some(followed) => path = followed,
                None => return false,
            }
        }
        false
    }

    fn steps(&self, version: Option<SchemaVersion>) -> impl Iterator<Item = &Move> {
        self.after(version).iter().flat_map(|posted| &posted.moves)
    }

    /// The steps that lead from the newest columns back to those of `version`, for whoever reads on as before. A field that
    /// has come under a name of before is dropped on the way: its values are not those of before.
    pub fn back_to(&self, version: Option<SchemaVersion>) -> Vec<Move> {
        let posted = self.after(version).iter().rev();
        posted.flat_map(|posted| posted.moves.iter().rev()).flat_map(Move::undone).collect()
    }
}

/// Where the field of a path stands after a step; none where that drops it.
fn follow(mut path: FieldPath, step: &Move) -> Option<FieldPath> {
    let FieldPath(moved) = step.path();
    if moved.is_empty() || !path.0.starts_with(moved) {
        return Some(path);
    }
    match step {
        Move::Drop { .. } => return None,
        Move::Rename { to, .. } => {
            if let Some(name) = path.0.get_mut(moved.len() - 1) {
                name.clone_from(to);
            }
        }
        Move::Retype { .. } => {}
    }
    Some(path)
}

/// The columns that a topic's records are read and committed under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The newest schema.
    pub schema: Arc<Schema>,
    /// How those of earlier times became it.
    pub lineage: Arc<Lineage>,
    /// Its number, where it has one.
    pub version: Option<SchemaVersion>,
}

impl Columns {
    /// Columns of which nothing was ever posted.
    pub fn plain(schema: Schema) -> Self {
        Self { schema: Arc::new(schema), lineage: Arc::default(), version: None }
    }
}

/// The schema that a topic's records are written under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedSchema {
    /// Its number.
    pub version: SchemaVersion,
    /// Its columns.
    pub schema: Arc<Schema>,
    /// How the columns of earlier times became these.
    pub lineage: Arc<Lineage>,
}

impl VersionedSchema {
    /// What records are read and committed under.
    pub fn columns(&self) -> Columns {
        let (schema, lineage) = (Arc::clone(&self.schema), Arc::clone(&self.lineage));
        Columns { schema, lineage, version: Some(self.version) }
    }
}
