//! How the indexes that a table is to have lie over one version of its dataset.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::DataType as ArrowType;
use lance::Dataset;
use lance::index::DatasetIndexExt as _;
use lance_core::datatypes::Schema as LanceSchema;
use lance_table::format::{Fragment, IndexMetadata, Manifest};
use uuid::Uuid;

use super::build::Column;
use super::cells::GRAPH_ROWS;
use super::notes::{Note, Notes};
use super::plan::{Coverage, SegmentRows, Task, which_fit};
use crate::codec::columns::column_name;
use crate::model::Offset;
use crate::schema::{Columns, FieldPath, IndexType, Move};
use crate::table::lance::offsets::Placed;
use crate::table::lance::open::Version;
use crate::table::lance::posted::{followed, pending_steps};
use crate::table::{IndexDefinition, TableError};

/// One column of a definition.
#[derive(Debug)]
pub(super) struct Part<'d> {
    pub(super) definition: &'d IndexDefinition,
    /// Which of its columns.
    pub(super) place: usize,
    /// The name that the dataset has it under.
    pub(super) name: String,
    /// The column; none where the dataset does not have it (yet).
    pub(super) column: Option<Column>,
    /// Its segments.
    pub(super) segments: Vec<IndexMetadata>,
    pub(super) coverage: Coverage,
    /// Whether they have, or have had, all that the index is to begin with.
    pub(super) is_begun: bool,
    /// The fragments that none of them has.
    pub(super) uncovered: Vec<Placed>,
    /// Segments over the column that another tool has made under its name, as optimizing does: they go when ours comes.
    pub(super) replaced: Vec<Uuid>,
    /// Whether an index over another column has its name.
    pub(super) is_name_taken: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Survey<'d> {
    pub(super) parts: Vec<Part<'d>>,
    /// Segments of ours that no definition wants.
    pub(super) unwanted: Vec<IndexMetadata>,
}

/// Looks at a version.
pub(super) async fn survey<'d>(version: &Version, wanted: &'d [IndexDefinition]) -> Result<Survey<'d>, TableError> {
    let present = version.dataset.load_indices().await?;
    let notes = Notes::of(version.dataset.manifest());
    let mut survey = Survey { parts: Vec::new(), unwanted: Vec::new() };
    for definition in wanted {
        let followed = followed(&version.dataset, &definition.lineage)?;
        let columns = Columns { lineage: Arc::clone(&definition.lineage), ..Columns::default() };
        let steps = pending_steps(&version.dataset, &columns)?;
        let is_retyped = |path: &FieldPath| {
            steps.iter().any(|step| matches!(step, Move::Retype { path: retyped, .. } if retyped == path))
        };
        for (place, path) in definition.columns.iter().enumerate() {
            // What still has its old type is not the column that the index is of.
            let column = field_of(&followed, path).filter(|_| !is_retyped(path));
            let column = column.and_then(|field| column_of(version.dataset.schema(), field));
            survey.parts.push(part(version, &present, &notes, definition, place, column));
        }
    }
    let ours = present.iter().filter(|segment| notes.get(segment.uuid).is_some());
    let is_wanted = |segment: &IndexMetadata| {
        survey.parts.iter().any(|part| part.segments.iter().any(|wanted| wanted.uuid == segment.uuid))
    };
    survey.unwanted = ours.filter(|segment| !is_wanted(segment)).cloned().collect();
    Ok(survey)
}

/// The name of one column's part of an index in the dataset. A client's name has no `/`.
fn part_name(definition: &IndexDefinition, place: usize) -> String {
    match definition.columns.len() {
        1 => definition.name.to_string(),
        _ => format!("{}/{place}", definition.name),
    }
}

/// The name by which a client knows a segment's index.
pub(in crate::table::lance) fn name_of<'s>(manifest: &Manifest, segment: &'s IndexMetadata) -> &'s str {
    let is_ours = Notes::of(manifest).get(segment.uuid).is_some();
    let of_part = segment.name.rsplit_once('/').filter(|_| is_ours);
    of_part.map_or(segment.name.as_str(), |(name, _)| name)
}

fn part<'d>(
    version: &Version,
    present: &[IndexMetadata],
    notes: &Notes,
    definition: &'d IndexDefinition,
    place: usize,
    column: Option<Column>,
) -> Part<'d> {
    let name = part_name(definition, place);
    let is_of_column = |segment: &IndexMetadata| {
        column.as_ref().is_some_and(|column| segment.name == name && segment.fields.as_slice() == [column.field])
    };
    let noted: Vec<(&IndexMetadata, &Note)> = present
        .iter()
        .filter(|segment| is_of_column(segment))
        .filter_map(|segment| Some((segment, notes.get(segment.uuid)?)))
        .filter(|(_, note)| note.is_of(definition.id, place))
        .collect();
    let fragments = &version.layout.fragments;
    let rows_of = |segment: &IndexMetadata| -> u64 {
        fragments.iter().filter(|placed| has(segment, placed)).map(Placed::rows).sum()
    };
    let segments = noted.iter().map(|(segment, note)| SegmentRows {
        made_of: note.rows,
        live: rows_of(segment),
        is_makeshift: note.makeshift,
    });
    let segments: Vec<SegmentRows> = segments.collect();
    let is_covered = |placed: &Placed| noted.iter().any(|(segment, _)| has(segment, placed));
    let uncovered: Vec<Placed> = fragments.iter().filter(|placed| !is_covered(placed)).copied().collect();
    let rows_max = (definition.spec.kind == IndexType::IvfHnswSq).then_some(GRAPH_ROWS);
    let coverage = Coverage { segments, uncovered: uncovered.iter().map(Placed::rows).sum(), rows_max };
    let foreign = present.iter().filter(|segment| segment.name == name && notes.get(segment.uuid).is_none());
    let (replaced, others): (Vec<&IndexMetadata>, Vec<_>) = foreign.partition(|segment| is_of_column(segment));
    let replaced = replaced.into_iter().map(|segment| segment.uuid).collect();
    let is_name_taken = !others.is_empty();
    let is_begun = noted.iter().any(|(_, note)| !note.partial);
    let segments = noted.into_iter().map(|(segment, _)| segment.clone()).collect();
    Part { definition, place, name, column, segments, coverage, is_begun, uncovered, replaced, is_name_taken }
}

/// Whether a segment has the rows of a fragment. No two fragments ever have the same number, so those that it was made of and
/// that are there still are as they were.
pub(in crate::table::lance) fn has(segment: &IndexMetadata, placed: &Placed) -> bool {
    let id = u32::try_from(placed.id).ok();
    segment.fragment_bitmap.as_ref().zip(id).is_some_and(|(bitmap, id)| bitmap.contains(id))
}

impl Part<'_> {
    /// What is to be done next; none where nothing is. `idle`: nothing has come for a while.
    pub(super) fn next_task(&self, idle: bool) -> Option<Task> {
        let task = self.coverage.next_task(idle);
        task.or_else(|| (!self.replaced.is_empty() && !self.coverage.is_behind()).then(|| Task::Remove(Vec::new())))
    }

    /// Takes some fragments for no concern of it.
    pub(super) fn leave_out(&mut self, unfit: &BTreeSet<u64>) {
        self.uncovered.retain(|placed| !unfit.contains(&placed.id));
        self.coverage.uncovered = self.uncovered.iter().map(Placed::rows).sum();
    }

    /// The fragments of those segments, and of those that none has the first, as many as have room beside them, in order.
    pub(super) fn fragments_of(&self, version: &Version, places: &[usize]) -> Vec<Placed> {
        let chosen: Vec<&IndexMetadata> = places.iter().filter_map(|place| self.segments.get(*place)).collect();
        let room = self.coverage.room_beside(places);
        let taken = which_fit(self.uncovered.iter().map(Placed::rows), room, self.coverage.live(places) == 0);
        let is_in = |placed: &&Placed| {
            let is_taken = || self.uncovered.iter().take(taken).any(|it| it.id == placed.id);
            chosen.iter().any(|segment| has(segment, placed)) || is_taken()
        };
        version.layout.fragments.iter().filter(is_in).copied().collect()
    }

    /// How many of the rows from `earliest` on it has.
    pub(super) fn rows_from(&self, version: &Version, earliest: Offset) -> u64 {
        let fragments = version.layout.fragments.iter();
        let covered = fragments.filter(|placed| self.segments.iter().any(|segment| has(segment, placed)));
        covered.map(|placed| placed.next.since(placed.first.max(earliest))).sum()
    }
}

/// The number of the field at a path, through structs.
fn field_of(schema: &LanceSchema, path: &FieldPath) -> Option<i32> {
    let (first, rest) = path.0.split_first()?;
    let name = column_name(first, true);
    let mut field = schema.fields.iter().find(|field| field.name == name)?;
    for key in rest {
        if !matches!(field.data_type(), ArrowType::Struct(_)) {
            return None;
        }
        let name = column_name(key, false);
        field = field.children.iter().find(|child| child.name == name)?;
    }
    Some(field.id)
}

/// The column of a field, under the names that the dataset has now.
fn column_of(schema: &LanceSchema, field: i32) -> Option<Column> {
    let path = schema.field_ancestry_by_id(field)?;
    let names = path.iter().map(|field| field.name.clone()).collect();
    Some(Column { field, names, data_type: path.last()?.data_type() })
}

/// Whether fragments that a segment was made of are there with other rows than then.
pub(super) fn is_overtaken(segment: &IndexMetadata, made_of: &[Fragment], present: &Dataset) -> bool {
    let Some(bitmap) = &segment.fragment_bitmap else { return true };
    let covered = |fragment: &&Fragment| u32::try_from(fragment.id).is_ok_and(|id| bitmap.contains(id));
    present.fragments().iter().filter(covered).any(|now| {
        let then = made_of.iter().find(|then| then.id == now.id);
        // A column that was added since is of no concern.
        then.is_none_or(|then| then.files.first() != now.files.first())
    })
}
