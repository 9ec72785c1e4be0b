//! How far a dataset has followed what was posted, and the commits that take it further.
//!
//! Names, and fields that go, are one kind of commit: metadata only, however deep. Fields have numbers, which the files are
//! told apart by, so a name that comes back brings no old value with it. A change of type is the other kind: it writes one
//! column file for each fragment and touches no other column. Lance takes no two kinds in one commit, so that each notes in
//! the same manifest how many steps are done: a crash between two of them leaves a dataset that is read all the same.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Fields, Schema as ArrowSchema};
use futures::future::BoxFuture;
use lance::Dataset;
use lance_core::datatypes::{Field as LanceField, Schema as LanceSchema};
use lance_table::format::Manifest;
use lance_table::transaction::{Operation, Transaction};

use super::evolve::{self, Recast};
use super::offsets::POSTED_KEY;
use crate::codec::columns::column_name;
use crate::codec::reshape::reshape;
use crate::model::SchemaVersion;
use crate::schema::{Columns, Lineage, Move};
use crate::table::TableError;

/// How far a dataset has followed: all versions before this one, and so many steps of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    version: SchemaVersion,
    steps: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.version, self.steps)
    }
}

impl FromStr for Progress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (version, steps) = text.split_once('/').ok_or(())?;
        let version = version.parse().ok().and_then(SchemaVersion::new).ok_or(())?;
        Ok(Self { version, steps: steps.parse().map_err(|_| ())? })
    }
}

impl Progress {
    /// Everything that was ever posted.
    pub(super) fn all_of(columns: &Columns) -> Option<Self> {
        let newest = columns.lineage.newest()?;
        let before = newest.get().checked_sub(1).and_then(SchemaVersion::new);
        let steps = columns.lineage.after(before).iter().map(|posted| posted.moves.len()).sum();
        Some(Self { version: newest, steps })
    }

    /// How far a version of the dataset has come; none where it has followed nothing.
    fn of(manifest: &Manifest) -> Option<Self> {
        manifest.table_metadata.get(POSTED_KEY)?.parse().ok()
    }
}

/// A commit that is prepared.
pub(super) struct Step {
    pub(super) transaction: Transaction,
    /// How far the dataset has come by it.
    pub(super) posted: Option<Progress>,
    /// The schema that it reads under from then on as it was stored.
    pub(super) schema: Option<SchemaVersion>,
}

/// A step that the dataset has not taken yet, with how far it is when it has.
struct Pending {
    step: Move,
    done: Progress,
}

fn pending(dataset: &Dataset, columns: &Columns) -> Result<Vec<Pending>, TableError> {
    let progress = Progress::of(dataset.manifest());
    let followed = progress.map(|progress| progress.version);
    if followed > columns.lineage.newest() {
        return Err(TableError::outdated());
    }
    let mut all = Vec::new();
    for posted in columns.lineage.after(None).iter().filter(|posted| Some(posted.version) >= followed) {
        let taken = progress.filter(|progress| progress.version == posted.version).map_or(0, |progress| progress.steps);
        for (index, step) in posted.moves.iter().enumerate().skip(taken) {
            let done = Progress { version: posted.version, steps: index + 1 };
            all.push(Pending { step: step.clone(), done });
        }
    }
    Ok(all)
}

/// The steps that a version of the dataset has not taken yet.
///
/// # Errors
/// [`TableError`] where it has taken some that these columns do not know.
pub(super) fn pending_steps(dataset: &Dataset, columns: &Columns) -> Result<Vec<Move>, TableError> {
    Ok(pending(dataset, columns)?.into_iter().map(|pending| pending.step).collect())
}

/// The fields of a dataset as they will be named, and be there, when it has followed a lineage.
///
/// # Errors
/// [`TableError`] where it has taken steps that the lineage does not know.
pub(super) fn followed(dataset: &Dataset, lineage: &Arc<Lineage>) -> Result<LanceSchema, TableError> {
    let columns = Columns { lineage: Arc::clone(lineage), ..Columns::default() };
    Ok(edited(dataset.schema(), &pending_steps(dataset, &columns)?))
}

/// The fields of a dataset after steps: under their new names, without those that go.
pub(super) fn edited(schema: &LanceSchema, steps: &[Move]) -> LanceSchema {
    let mut schema = schema.clone();
    for step in steps {
        edit(&mut schema.fields, step, &step.path().0, true);
    }
    schema
}

fn edit(fields: &mut Vec<LanceField>, step: &Move, path: &[String], top_level: bool) {
    let Some((key, rest)) = path.split_first() else { return };
    let name = column_name(key, top_level);
    let Some(at) = fields.iter().position(|field| field.name == name) else { return };
    if rest.is_empty() && matches!(step, Move::Drop { .. }) {
        fields.remove(at);
        return;
    }
    let Some(field) = fields.get_mut(at) else { return };
    match step {
        _ if !rest.is_empty() => {
            if let Some(members) = members(field) {
                edit(members, step, rest, false);
            }
        }
        Move::Rename { to, .. } => field.name = column_name(to, top_level),
        Move::Retype { to, .. } => field.nullable |= to.nullable,
        Move::Drop { .. } => {}
    }
}

/// The members of a struct, or of the structs that a list holds.
fn members(field: &mut LanceField) -> Option<&mut Vec<LanceField>> {
    match field.data_type() {
        DataType::Struct(_) => Some(&mut field.children),
        DataType::List(_) => members(field.children.first_mut()?),
        _ => None,
    }
}

/// Whether values take another type in a step.
fn retypes(step: &Move) -> bool {
    matches!(step, Move::Retype { from, to, .. } if *from != to.data_type)
}

/// The next commit on the way to these columns, prepared, with how far the dataset has come then; none where it is there.
/// What it needs of files is written, but nothing is committed.
///
/// # Errors
/// [`TableError`]; files may be left that no version names.
pub(super) fn next<'c>(dataset: &'c Dataset, columns: &'c Columns) -> BoxFuture<'c, Result<Option<Step>, TableError>> {
    // Boxed: what Lance does in it nests deeper than the compiler lays out in one piece.
    Box::pin(next_step(dataset, columns))
}

async fn next_step(dataset: &Dataset, columns: &Columns) -> Result<Option<Step>, TableError> {
    let pending = pending(dataset, columns)?;
    let steps_of = |part: &[Pending]| -> Vec<Move> { part.iter().map(|pending| pending.step.clone()).collect() };
    for run in pending.chunk_by(|one, other| retypes(&one.step) == retypes(&other.step)) {
        let is_retyped = run.iter().any(|pending| retypes(&pending.step));
        let at_once = if !is_retyped && empties(dataset, &steps_of(run)) { 1 } else { run.len() };
        for part in run.chunks(at_once.max(1)) {
            let steps = steps_of(part);
            let transaction = match is_retyped || empties(dataset, &steps) {
                true => retyped(dataset, steps).await?,
                false => renamed(dataset, &steps),
            };
            if let Some(transaction) = transaction {
                let posted = part.last().map(|pending| pending.done);
                return Ok(Some(Step { transaction, posted, schema: posted.map(|progress| progress.version) }));
            }
        }
    }
    let transaction = match evolve::plan(dataset, &columns.schema)? {
        Some(plan) => Some(evolve::prepare(dataset, &plan).await?),
        None => None,
    };
    let (posted, schema) = (Progress::all_of(columns), columns.version);
    Ok(transaction.map(|transaction| Step { transaction, posted, schema }))
}

/// Whether a fragment that has members of a struct, or of the structs of a list, would have none of those that stay: Lance reads
/// a struct as null where a file has none of its members, so that it is to be written anew.
fn empties(dataset: &Dataset, steps: &[Move]) -> bool {
    let (before, after) = (dataset.schema(), edited(dataset.schema(), steps));
    let holders = after.fields_pre_order().filter(|field| !field.children.is_empty());
    let changed = holders.filter_map(|holder| {
        let (had, has) = (leaves(before.field_by_id(holder.id)?), leaves(holder));
        (had != has).then_some((had, has))
    });
    let changed: Vec<(Vec<i32>, Vec<i32>)> = changed.collect();
    dataset.fragments().iter().any(|fragment| {
        let is_there = |id: &i32| fragment.files.iter().any(|file| file.fields.contains(id));
        changed.iter().any(|(had, has)| had.iter().any(is_there) && !has.iter().any(is_there))
    })
}

/// The fields that hold values, in one field.
fn leaves(field: &LanceField) -> Vec<i32> {
    if field.children.is_empty() { vec![field.id] } else { field.children.iter().flat_map(leaves).collect() }
}

/// Names change, and fields go.
fn renamed(dataset: &Dataset, steps: &[Move]) -> Option<Transaction> {
    let schema = edited(dataset.schema(), steps);
    let operation = Operation::Project { schema, preserves_nullability: false };
    let is_needed = matches!(&operation, Operation::Project { schema, .. } if schema != dataset.schema());
    is_needed.then(|| Transaction::new_from_version(dataset.manifest().version, operation))
}

/// Values take other types.
async fn retyped(dataset: &Dataset, steps: Vec<Move>) -> Result<Option<Transaction>, TableError> {
    let present = ArrowSchema::from(dataset.schema());
    let names: BTreeSet<String> =
        steps.iter().filter_map(|step| step.path().0.first()).map(|key| column_name(key, true)).collect();
    let fields: Fields = present.fields().iter().filter(|field| names.contains(field.name())).cloned().collect();
    // What becomes of no rows is what becomes of the types.
    let after = reshape(&RecordBatch::new_empty(Arc::new(ArrowSchema::new(fields.clone()))), &steps)?.schema();
    let changed = fields.iter().zip(after.fields()).filter(|(before, after)| before != after);
    let recast: Vec<Recast> = changed.map(|(_, after)| Recast::new(after.as_ref().clone())).collect();
    if recast.is_empty() {
        return Ok(None);
    }
    let change =
        move |batch: &RecordBatch| reshape(batch, &steps).map_err(|error| ArrowError::ComputeError(error.to_string()));
    evolve::rewritten(dataset, &recast, Arc::new(change), &[]).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back_as_written() {
        let progress = Progress { version: SchemaVersion::FIRST, steps: 12 };
        assert_eq!(progress.to_string().parse(), Ok(progress));
        for text in ["", "1", "0/1", "x/1", "1/x", "1/2/3"] {
            assert_eq!(text.parse::<Progress>(), Err(()), "{text}");
        }
    }
}
