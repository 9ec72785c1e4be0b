//! Arrow IPC streams to batches, message by message and within bounds: what comes is anybody's.

mod frames;
mod guard;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};

use self::frames::{Frames, Message};
use super::columns::column_bytes;
use super::{DecodeError, Room};

/// Bounds of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpcLimits {
    /// The most bytes of one message with what it decompresses to, and of all dictionaries.
    pub message_bytes_max: u64,
    /// The most rows of a batch that has fewer bits than that.
    pub batch_records_max: u64,
}

/// What is wrong with a stream.
pub(super) fn broken(reason: impl Into<String>) -> DecodeError {
    DecodeError::InvalidArrow { reason: reason.into() }
}

/// Reads a stream that comes bit by bit; a message and the dictionaries are held at most.
#[derive(Debug)]
pub struct IpcReader {
    limits: IpcLimits,
    frames: Frames,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    batch_bytes: u64,
}

impl IpcReader {
    /// A reader at the stream's begin.
    pub fn new(limits: IpcLimits) -> Self {
        let frames = Frames::new(limits.message_bytes_max);
        Self { limits, frames, schema: None, dictionaries: HashMap::new(), batch_bytes: 0 }
    }

    /// The schema, once it has come.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// How many bytes of messages are held.
    pub fn held(&self) -> usize {
        self.frames.held()
    }

    /// How many bytes the newest batch has.
    pub const fn batch_bytes(&self) -> u64 {
        self.batch_bytes
    }

    /// How many bytes the dictionaries have, roughly.
    pub fn dictionary_bytes(&self) -> u64 {
        self.dictionaries.values().map(|values| column_bytes(values) as u64).sum()
    }

    /// Takes the stream's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// Whether [`IpcReader::next_batch`] has something to do.
    ///
    /// # Errors
    /// [`DecodeError`] for a message over its limit, and for what is none.
    pub fn has_message(&self) -> Result<bool, DecodeError> {
        self.frames.has_message()
    }

    /// The next batch that is there as a whole. What it decompresses to is taken from `room` before.
    ///
    /// # Errors
    /// [`DecodeError::InvalidArrow`], [`DecodeError::MessageTooLarge`], [`DecodeError::TooManyRecords`],
    /// [`DecodeError::NoRoom`].
    pub fn next_batch(&mut self, room: &Room) -> Result<Option<RecordBatch>, DecodeError> {
        while let Some(message) = self.frames.next()? {
            // The reader of the format trusts more than it should: what it panics on is refused like any other damage.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.take(&message, room)));
            match outcome.unwrap_or_else(|_| Err(broken("a message contradicts itself")))? {
                Some(batch) => return Ok(Some(batch)),
                None => continue,
            }
        }
        Ok(None)
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`DecodeError::InvalidArrow`] where it is cut short or has not begun.
    pub fn finish(&self) -> Result<(), DecodeError> {
        self.frames.finish()?;
        if self.schema.is_none() {
            return Err(if self.frames.is_untouched() {
                DecodeError::EmptyBatch
            } else {
                broken("it ends before its schema")
            });
        }
        Ok(())
    }

    fn take(&mut self, message: &Message, room: &Room) -> Result<Option<RecordBatch>, DecodeError> {
        let head = root_as_message(&message.head).map_err(|_| broken("a message's head is damaged"))?;
        let version = head.version();
        if !matches!(version, MetadataVersion::V4 | MetadataVersion::V5) {
            return Err(broken("it is of a version before 1.0"));
        }
        let failed = |error: ArrowError| broken(guard::reason(&error));
        let body = || Buffer::from(message.body.clone());
        match (head.header_type(), &self.schema) {
            (MessageHeader::Schema, None) => {
                let schema = head.header_as_schema().ok_or_else(|| broken("its schema is damaged"))?;
                guard::check_schema(&schema)?;
                self.schema = Some(Arc::new(fb_to_schema(schema)));
                Ok(None)
            }
            (MessageHeader::DictionaryBatch, Some(schema)) => {
                let batch = head.header_as_dictionary_batch().ok_or_else(|| broken("a dictionary is damaged"))?;
                let rows = batch.data().ok_or_else(|| broken("a dictionary has no values"))?;
                let bytes = guard::check_batch(&rows, &message.body, &self.limits)?;
                room.take(if rows.compression().is_some() { bytes } else { 0 })?;
                read_dictionary(&body(), batch, schema, &mut self.dictionaries, &version).map_err(failed)?;
                let held: usize = self.dictionaries.values().map(|values| values.get_array_memory_size()).sum();
                if held as u64 > self.limits.message_bytes_max.saturating_mul(2) {
                    return Err(DecodeError::MessageTooLarge { limit: self.limits.message_bytes_max });
                }
                Ok(None)
            }
            (MessageHeader::RecordBatch, Some(schema)) => {
                let batch = head.header_as_record_batch().ok_or_else(|| broken("a batch is damaged"))?;
                self.batch_bytes = guard::check_batch(&batch, &message.body, &self.limits)?;
                room.take(if batch.compression().is_some() { self.batch_bytes } else { 0 })?;
                let schema = Arc::clone(schema);
                let batch = read_record_batch(&body(), batch, schema, &self.dictionaries, None, &version);
                Ok(Some(batch.map_err(failed)?))
            }
            (MessageHeader::Schema, Some(_)) => Err(broken("it has two schemas")),
            (_, None) => Err(broken("it does not begin with a schema")),
            _ => Err(broken("it has a message that is neither schema, dictionary nor batch")),
        }
    }
}

/// All batches of a stream.
///
/// # Errors
/// As [`IpcReader::next_batch`], and what a stream is that has no end.
pub fn read_all(body: &[u8], limits: IpcLimits, room: &Room) -> Result<(SchemaRef, Vec<RecordBatch>), DecodeError> {
    let mut reader = IpcReader::new(limits);
    reader.push(body);
    let (mut batches, mut rows) = (Vec::new(), 0_u64);
    while let Some(batch) = reader.next_batch(room)? {
        rows = rows.saturating_add(batch.num_rows() as u64);
        if rows > limits.batch_records_max {
            return Err(DecodeError::TooManyRecords { limit: limits.batch_records_max });
        }
        if batch.num_rows() > 0 {
            batches.push(batch);
        }
    }
    reader.finish()?;
    let schema = reader.schema.ok_or(DecodeError::EmptyBatch)?;
    Ok((schema, batches))
}
