//! Records in their one form to columns: a reader led by the schema, in one pass, without values in between.

mod builder;
mod cursor;
mod members;
mod relabel;
mod runs;
mod set;
mod texts;
mod wide;

use std::sync::Arc;

use arrow_array::builder::{TimestampMicrosecondBuilder, UInt64Builder};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{DataType as ArrowType, Field as ArrowField, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};

use self::cursor::Cursor;
use self::members::Members;
pub(crate) use self::relabel::{relabel, relabelled};
pub(crate) use self::runs::Runs;
pub use self::runs::batches;
pub use self::set::ColumnSet;
pub use self::wide::wide_in;
use super::Chunk;
use crate::schema::{DataType, Field, FloatType, IntType, Schema, names};

/// The column that holds each record's offset.
pub const OFFSET_COLUMN: &str = "_offset";
/// The column that holds the time at which each record was appended.
pub const TIMESTAMP_COLUMN: &str = "_timestamp";
/// The key of a field's metadata that names what its text holds.
pub const TYPE_KEY: &str = "persisting:type";
/// The value under [`TYPE_KEY`] of a column of JSON text.
pub const TYPE_JSON: &str = "json";

/// What the two columns of the service take in a row.
const OWN_BYTES: usize = 16;

/// The time zone of all timestamps.
pub const UTC: &str = "UTC";

/// Why text could not be laid out in columns: the text was not written under the schema, which is a fault of this server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsError {
    /// A member for which the schema has no column, or a member that is there twice.
    #[error("record {record} has a member {key:?} that its schema lacks or that is there already")]
    Member {
        /// The record's place among all that were given.
        record: usize,
        /// The member's key, as written.
        key: String,
    },
    /// A text that is not what the column's type prints.
    #[error("record {record} has no {expected} at byte {position}")]
    Text {
        /// The record's place among all that were given.
        record: usize,
        /// What should have stood there.
        expected: &'static str,
        /// Where in the record's text.
        position: usize,
    },
    /// A null where the column holds none.
    #[error("the columns do not fit the schema: {0}")]
    Shape(String),
}

/// The name of the column for a key, of a top-level column or of a member.
pub fn column_name(key: &str, top_level: bool) -> String {
    let name = if top_level { names::column_name(key) } else { names::member_name(key) };
    name.into_owned()
}

fn int_type(int: IntType) -> ArrowType {
    match int {
        IntType::I8 => ArrowType::Int8,
        IntType::I16 => ArrowType::Int16,
        IntType::I32 => ArrowType::Int32,
        IntType::I64 => ArrowType::Int64,
        IntType::U8 => ArrowType::UInt8,
        IntType::U16 => ArrowType::UInt16,
        IntType::U32 => ArrowType::UInt32,
        IntType::U64 => ArrowType::UInt64,
    }
}

fn float_type(float: FloatType) -> ArrowType {
    match float {
        FloatType::F16 => ArrowType::Float16,
        FloatType::F32 => ArrowType::Float32,
        FloatType::F64 => ArrowType::Float64,
    }
}

/// The type of timestamps: microseconds, UTC.
pub(crate) fn timestamp_type() -> ArrowType {
    ArrowType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

fn arrow_type(data_type: &DataType, nullable: bool) -> ArrowType {
    match data_type {
        DataType::Bool => ArrowType::Boolean,
        DataType::Int(int) => int_type(*int),
        DataType::Float(float) => float_type(*float),
        // The large kinds: one batch or compaction may well hold more than 2 GiB of text.
        DataType::String | DataType::Json => ArrowType::LargeUtf8,
        DataType::Binary => ArrowType::LargeBinary,
        DataType::Date32 => ArrowType::Date32,
        DataType::Timestamp => timestamp_type(),
        DataType::List(item) => ArrowType::List(Arc::new(item_field(item))),
        DataType::Struct(members) => {
            ArrowType::Struct(members.iter().map(|member| member_field(member, nullable, false)).collect())
        }
        DataType::Vector { dim, item } => ArrowType::FixedSizeList(
            Arc::new(ArrowField::new("item", float_type(*item), true)),
            i32::try_from(*dim).unwrap_or(i32::MAX),
        ),
    }
}

pub(super) fn marked(field: ArrowField, data_type: &DataType) -> ArrowField {
    match data_type {
        DataType::Json => field.with_metadata([(TYPE_KEY.to_owned(), TYPE_JSON.to_owned())].into()),
        _ => field,
    }
}

/// The type of a column, whatever is in it nullable.
pub(crate) fn column_type(data_type: &DataType) -> ArrowType {
    arrow_type(data_type, true)
}

fn item_field(item: &DataType) -> ArrowField {
    marked(ArrowField::new("item", arrow_type(item, true), true), item)
}

/// A member of something that may itself be null is nullable in Arrow whatever was declared: it has no value there.
fn member_field(field: &Field, within_nullable: bool, top_level: bool) -> ArrowField {
    let nullable = field.nullable || within_nullable;
    let arrow = ArrowField::new(column_name(&field.name, top_level), arrow_type(&field.data_type, nullable), nullable);
    marked(arrow, &field.data_type)
}

/// The columns of a topic's dataset: `_offset`, `_timestamp`, then one for each field.
pub fn arrow_schema(schema: &Schema) -> ArrowSchema {
    let service = [
        ArrowField::new(OFFSET_COLUMN, ArrowType::UInt64, false),
        ArrowField::new(TIMESTAMP_COLUMN, timestamp_type(), false),
    ];
    let fields: Fields =
        service.into_iter().chain(schema.fields.iter().map(|field| member_field(field, false, true))).collect();
    ArrowSchema::new(fields)
}

/// Lays out records in columns. The text is trusted to be in its one form under `schema`, or under an older one that
/// `schema` widens; an absent member is null. An explicit `null` in a float column outside lists is kept as NaN, which
/// prints so again.
///
/// # Errors
/// [`ColumnsError`] where the text does not fit the schema.
pub fn to_batch(schema: &Schema, chunks: &[Chunk]) -> Result<RecordBatch, ColumnsError> {
    lay_out(schema, |_| true, chunks, usize::MAX)
}

/// The same of the first records, until the columns take about `bytes` beside their texts, at least one; with some of the
/// top-level columns: what the others hold is gone past, and costs little.
fn lay_out(
    schema: &Schema,
    wanted: impl Fn(&Field) -> bool,
    chunks: &[Chunk],
    bytes: usize,
) -> Result<RecordBatch, ColumnsError> {
    let arrow: SchemaRef = Arc::new(arrow_schema(schema));
    let is_wanted: Vec<bool> = schema.fields.iter().map(wanted).collect();
    let fields = schema.fields.iter().zip(&is_wanted).filter(|(_, wanted)| **wanted);
    let row_bytes = fields.map(|(field, _)| field.data_type.row_bytes()).fold(OWN_BYTES, usize::saturating_add);
    // Room for no more rows than there will be, however many there are.
    let rows = chunks.iter().map(Chunk::len).sum::<usize>().min((bytes / row_bytes).saturating_add(1));
    let mut offsets = UInt64Builder::with_capacity(rows);
    let mut times = TimestampMicrosecondBuilder::with_capacity(rows).with_timezone(UTC);
    let data = arrow.fields().get(2..).unwrap_or_default();
    let mut members = Members::wanted(&schema.fields, data, rows, |at| is_wanted.get(at) != Some(&false));
    let (mut record, mut spread) = (0, 0_usize);
    'rows: for chunk in chunks {
        let text = chunk.values().text();
        // Once for the whole chunk instead of once for each string.
        let text = std::str::from_utf8(&text).map_err(|error| ColumnsError::Text {
            record,
            expected: "UTF-8",
            position: error.valid_up_to(),
        })?;
        let mut cursor = Cursor::new(text, record);
        for index in 0..chunk.len() {
            if record > 0 && spread.saturating_add(cursor.spread()) >= bytes {
                break 'rows;
            }
            offsets.append_value(chunk.first().get().saturating_add(index as u64));
            times.append_value(chunk.time(index).as_micros());
            cursor.begin(record);
            members.read(&mut cursor)?;
            cursor.take(b'\n', "end of the record")?;
            record += 1;
            spread = spread.saturating_add(row_bytes);
        }
        spread = spread.saturating_add(cursor.spread());
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(offsets.finish()), Arc::new(times.finish())];
    columns.extend(members.finish()?);
    let (own, data) = arrow.fields().split_at(2);
    let data = data.iter().zip(is_wanted).filter(|(_, wanted)| *wanted).map(|(field, _)| field);
    let arrow = Arc::new(ArrowSchema::new(own.iter().chain(data).cloned().collect::<Fields>()));
    RecordBatch::try_new(arrow, columns).map_err(|error| ColumnsError::Shape(error.to_string()))
}

/// What the rows of a column take, whatever its buffers hold beside them: those may be parts of larger ones.
pub fn column_bytes(column: &ArrayRef) -> usize {
    let data = column.to_data();
    data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size())
}

/// The same of all columns of a batch.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

#[cfg(test)]
mod tests;
