//! Arrow streams as a client writes and reads them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Field, Schema};

use crate::support::api::{Answer, Headers, Topic};

pub const ARROW: &str = "application/vnd.apache.arrow.stream";
/// What an append of a stream says of its body.
pub const SENT: Headers<'static> = &[("content-type", ARROW)];
/// What a read in columns asks for.
pub const WANTED: Headers<'static> = &[("accept", ARROW)];

/// Nullable columns beside each other.
pub fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.iter().map(|(_, array)| Arc::clone(array)).collect()).unwrap()
}

/// A stream of batches.
pub fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// Columns as one stream.
pub fn rows(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    stream(&[batch(columns)])
}

/// All rows of an answer, in one batch.
pub fn read(answer: &Answer) -> RecordBatch {
    let reader = StreamReader::try_new(answer.body.as_slice(), None).unwrap();
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

/// Reads a topic in columns.
pub async fn columns(topic: &Topic, query: &str) -> RecordBatch {
    let answer = topic.call("GET", &format!("records{query}"), WANTED, "").await.expect(200);
    assert_eq!(answer.header("content-type"), Some(ARROW));
    read(&answer)
}

/// One column.
pub fn column<A: Array + Clone + 'static>(batch: &RecordBatch, name: &str) -> A {
    batch.column_by_name(name).unwrap().as_any().downcast_ref::<A>().unwrap().clone()
}
