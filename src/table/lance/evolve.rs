//! Bringing a dataset's columns to a schema, in one commit.
//!
//! A new field, however deep, is metadata only. A widening writes one column file for each fragment with the whole
//! top-level column in its new shape; the new field takes the old one's name and place in the same commit, so no other
//! name ever stands in a committed schema, and a crash leaves files that no version names.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema as ArrowSchema};
use lance::Dataset;
use lance::dataset::{BatchUDF, NewColumnTransform};
use lance_core::datatypes::Schema as LanceSchema;
use lance_table::format::Fragment;
use lance_table::transaction::{Operation, Transaction};

use crate::codec::columns::arrow_schema;
use crate::codec::reshape::recast;
use crate::schema::Schema;
use crate::table::TableError;

/// How many rows are cast at once.
const CAST_ROWS: u32 = 4_096;

/// What has to be done to the columns.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Top-level columns that are new, or have new members.
    add: Vec<Field>,
    /// Top-level columns that have a wider type somewhere.
    recast: Vec<Recast>,
}

/// A top-level column that takes another shape, under its name.
#[derive(Clone, Debug)]
pub(super) struct Recast(Field);

impl Recast {
    /// A column in the shape that it shall have.
    pub(super) fn new(wanted: Field) -> Self {
        Self(wanted)
    }
}

/// What is done to the rows that are read before they are brought into shape.
pub(super) type Change = Arc<dyn Fn(&RecordBatch) -> Result<RecordBatch, ArrowError> + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Nothing,
    Add,
    Recast,
}

/// The plan that brings the dataset's columns to `schema`; none where they are there already.
pub(super) fn plan(dataset: &Dataset, schema: &Schema) -> Result<Option<Plan>, TableError> {
    let have = ArrowSchema::from(dataset.schema());
    let mut plan = Plan::default();
    for wanted in arrow_schema(schema).fields() {
        match have.field_with_name(wanted.name()) {
            Err(_) => plan.add.push(nullable(wanted)),
            Ok(present) => match compare(present, wanted)? {
                Need::Nothing => {}
                Need::Add => plan.add.push(nullable(wanted)),
                Need::Recast => plan.recast.push(Recast::new(wanted.as_ref().clone())),
            },
        }
    }
    Ok((!plan.add.is_empty() || !plan.recast.is_empty()).then_some(plan))
}

/// Rows that were there before have no value in a new field.
fn nullable(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Struct(members) => DataType::Struct(members.iter().map(|member| nullable(member)).collect()),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type).with_nullable(true)
}

fn compare(present: &Field, wanted: &Field) -> Result<Need, TableError> {
    let refused = || TableError::Failed {
        cause: format!("column {:?} cannot become {} from {}", wanted.name(), wanted.data_type(), present.data_type()),
    };
    match (present.data_type(), wanted.data_type()) {
        (DataType::Struct(have), DataType::Struct(want)) => want.iter().try_fold(Need::Nothing, |need, wanted| {
            let member = have.find(wanted.name()).map(|(_, present)| compare(present, wanted));
            Ok(need.max(member.transpose()?.unwrap_or(Need::Add)))
        }),
        (DataType::List(have), DataType::List(want)) => compare(have, want),
        (DataType::FixedSizeList(have, dim), DataType::FixedSizeList(want, wanted_dim)) if dim == wanted_dim => {
            compare(have, want)
        }
        (have, want) if have == want => Ok(Need::Nothing),
        (have, want) if have.is_integer() && (want.is_integer() || *want == DataType::Float64) => Ok(Need::Recast),
        _ => Err(refused()),
    }
}

/// The name that a recast column has until the commit; no key maps to it.
fn temporary(place: usize) -> String {
    format!("%%{place}")
}

/// Writes the files that the plan needs and makes the transaction; commits nothing.
pub(super) async fn prepare(dataset: &Dataset, plan: &Plan) -> Result<Transaction, TableError> {
    rewritten(dataset, &plan.recast, Arc::new(|batch: &RecordBatch| Ok(batch.clone())), &plan.add).await
}

/// The same for columns that are changed first: rows with the `recast` columns go through `change`.
pub(super) async fn rewritten(
    dataset: &Dataset,
    recast: &[Recast],
    change: Change,
    add: &[Field],
) -> Result<Transaction, TableError> {
    let manifest = dataset.manifest();
    let fields = recast.iter().enumerate();
    let fields: Fields = fields.map(|(place, Recast(to))| nullable(to).with_name(temporary(place))).collect();
    let mut schema = dataset.schema().clone();
    let mut fragments: Vec<Fragment> = manifest.fragments.as_ref().clone();
    if !recast.is_empty() {
        let output = Arc::new(ArrowSchema::new(fields));
        schema = merged(&schema, output.as_ref(), manifest.max_field_id())?;
        let names: Vec<String> = recast.iter().map(|Recast(wanted)| wanted.name().clone()).collect();
        fragments.clear();
        for fragment in dataset.get_fragments() {
            let columns = changing(&names, &output, &change);
            let (fragment, with_columns) = fragment.add_columns(columns, Some(names.clone()), Some(CAST_ROWS)).await?;
            fragments.push(fragment);
            schema = with_columns;
        }
        for (place, Recast(wanted)) in recast.iter().enumerate() {
            take_place(&mut schema, &temporary(place), wanted)?;
        }
    }
    let added = ArrowSchema::new(add.iter().cloned().map(Arc::new).collect::<Vec<FieldRef>>());
    let schema = merged(&schema, &added, manifest.max_field_id())?;
    let operation = Operation::Merge { fragments, schema, preserves_nullability: false };
    Ok(Transaction::new_from_version(manifest.version, operation))
}

fn merged(schema: &LanceSchema, other: &ArrowSchema, max_field_id: i32) -> Result<LanceSchema, TableError> {
    let mut schema = schema.merge(other)?;
    schema.try_set_field_id(Some(max_field_id))?;
    Ok(schema)
}

fn changing(names: &[String], output: &Arc<ArrowSchema>, change: &Change) -> NewColumnTransform {
    let (names, schema, change) = (names.to_vec(), Arc::clone(output), Arc::clone(change));
    let mapper = move |batch: &RecordBatch| {
        let batch = change(batch)?;
        let columns = names.iter().zip(schema.fields()).map(|(name, wanted)| {
            let column = batch.column_by_name(name);
            let column = column.ok_or_else(|| ArrowError::SchemaError(format!("the column {name:?} was not read")))?;
            recast(column, wanted)
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, ArrowError>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
    };
    let udf = BatchUDF { mapper: Box::new(mapper), output_schema: Arc::clone(output), result_checkpoint: None };
    NewColumnTransform::BatchUDF(udf)
}

/// Puts the field `temporary` in the place and under the name of the one that it replaces.
fn take_place(schema: &mut LanceSchema, temporary: &str, replaced: &Field) -> Result<(), TableError> {
    let lost = || TableError::Failed { cause: format!("the column {:?} was lost on the way", replaced.name()) };
    let from = schema.fields.iter().position(|field| field.name == temporary).ok_or_else(lost)?;
    let mut field = schema.fields.remove(from);
    let to = schema.fields.iter_mut().find(|field| field.name == *replaced.name()).ok_or_else(lost)?;
    field.name.clone_from(replaced.name());
    field.nullable = to.nullable || replaced.is_nullable();
    *to = field;
    Ok(())
}
