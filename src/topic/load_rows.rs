//! Loads of Arrow streams of any length, in pieces (`atomic=false`).

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::codec::{Body, DecodeError, IpcLimits, IpcReader, Room, Rows};
use crate::model::{Ack, Problem, Writer};
use crate::topic::append::Refusal;
use crate::topic::load::{Coming, Next, PIECE_BYTES_MAX, PIECE_RECORDS_MAX, Progress};
use crate::topic::{AppendRequest, InflightPermit, Receipt, Topic};

/// So many rows a batch may have in any case, though its columns take no bytes at all.
const BATCH_RECORDS_LEAST: u64 = 1_000_000;

/// What the columns of a single record may take for each byte that its text may have: an item of a list has two bytes at
/// least, and takes a few numbers.
const SINGLE_PER_BYTE_MAX: u64 = 32;

/// Rows that have come and are not stored yet.
struct Waiting {
    /// Each with what it takes, all of it for as long as a row is left.
    batches: VecDeque<(RecordBatch, u64)>,
    rows: usize,
    /// How many rows the next piece takes at most: fewer where their text was too long.
    piece_rows: usize,
    piece_rows_max: usize,
    /// What the load holds in any case.
    least: u64,
    /// Rows that were taken out before.
    taken: u64,
}

impl Waiting {
    fn push(&mut self, batch: RecordBatch, bytes: u64) {
        if batch.num_rows() > 0 {
            self.rows += batch.num_rows();
            self.batches.push_back((batch, bytes));
        }
    }

    /// How many bytes they have, and what their stream holds beside them.
    fn held(&self, reader: &IpcReader) -> u64 {
        let batches: u64 = self.batches.iter().map(|(_, bytes)| bytes).sum();
        batches + reader.held() as u64 + reader.dictionary_bytes()
    }

    /// The first rows, so many as a piece has; they stay until they are stored.
    fn first(&self, schema: &SchemaRef, text_bytes_max: u64) -> Rows {
        let mut left = self.piece_rows;
        let mut batches = Vec::new();
        for (batch, _) in &self.batches {
            let rows = batch.num_rows().min(left);
            batches.push(batch.slice(0, rows));
            left -= rows;
            if left == 0 {
                break;
            }
        }
        // A load holds room for a piece that is being stored in any case.
        Rows { schema: Arc::clone(schema), batches, text_bytes_max, held_bytes: PIECE_BYTES_MAX as u64 }
    }

    /// Lets go of rows that are stored.
    fn advance(&mut self, mut rows: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.taken += rows as u64;
        while let Some((front, bytes)) = self.batches.pop_front() {
            if front.num_rows() > rows {
                self.batches.push_front((front.slice(rows, front.num_rows() - rows), bytes));
                return;
            }
            rows -= front.num_rows();
        }
    }
}

impl Topic {
    /// Loads a stream of any length in consecutive pieces, each whole or not at all and at the asked level; memory is bounded
    /// by a message of the stream, which `permit` counts: what has come of it, what that decompresses to, and the dictionaries.
    /// Rows of whole messages are stored a second after they came, if not before.
    ///
    /// # Errors
    /// What stopped it, with what *is* stored.
    pub async fn load_rows(
        self: &Arc<Self>,
        body: BoxStream<'_, Result<Bytes, Problem>>,
        message_bytes_max: u64,
        mut permit: InflightPermit,
        ack: Option<Ack>,
    ) -> Result<Receipt, Problem> {
        self.check_append(ack, &Writer::Plain)?;
        self.check_arrow()?;
        let records_max = PIECE_RECORDS_MAX.min(self.services.decode_limits.records_max).max(1);
        let piece_rows_max = usize::try_from(records_max).unwrap_or(usize::MAX);
        let mut waiting = Waiting {
            batches: VecDeque::new(),
            rows: 0,
            piece_rows: piece_rows_max,
            piece_rows_max,
            least: permit.held(),
            taken: 0,
        };
        let batch_records_max = self.services.decode_limits.records_max.max(BATCH_RECORDS_LEAST);
        let mut reader = IpcReader::new(IpcLimits { message_bytes_max, batch_records_max });
        let mut progress = Progress::default();
        let mut coming = Coming::new(body);
        let outcome = async {
            loop {
                let bytes = match coming.next(waiting.rows > 0).await? {
                    Next::Bytes(bytes) => bytes,
                    Next::Pause => {
                        self.store_rows(&reader, &mut waiting, 1, ack, &mut permit, &mut progress).await?;
                        permit.shrink_to(waiting.held(&reader).max(waiting.least));
                        continue;
                    }
                    Next::End => break,
                };
                let missing = (waiting.held(&reader) + bytes.len() as u64).saturating_sub(permit.held());
                if missing > 0 {
                    permit.grow(missing).await?;
                }
                reader.push(&bytes);
                if reader.has_message().map_err(DecodeError::into_problem)? {
                    reader = self.take_messages(reader, &mut waiting, ack, &mut permit, &mut progress).await?;
                }
            }
            reader = self.take_messages(reader, &mut waiting, ack, &mut permit, &mut progress).await?;
            self.store_rows(&reader, &mut waiting, 1, ack, &mut permit, &mut progress).await?;
            match reader.finish() {
                // Whether there was a record is told by what is stored.
                Ok(()) | Err(DecodeError::EmptyBatch) => Ok(()),
                Err(error) => Err(error.into_problem()),
            }
        }
        .await;
        self.loaded(outcome, &progress)
    }

    /// Decodes what is there as a whole, on a thread of its own, and stores the pieces that are full with it.
    async fn take_messages(
        self: &Arc<Self>,
        mut reader: IpcReader,
        waiting: &mut Waiting,
        ack: Option<Ack>,
        permit: &mut InflightPermit,
        progress: &mut Progress,
    ) -> Result<IpcReader, Problem> {
        loop {
            let decoding = move |room: &Room| {
                let batch = reader.next_batch(room);
                (reader, batch)
            };
            let (back, batch) = permit.hold_in(decoding).await;
            reader = back;
            let Some(batch) = batch.map_err(DecodeError::into_problem)? else { return Ok(reader) };
            waiting.push(batch, reader.batch_bytes());
            self.store_rows(&reader, waiting, waiting.piece_rows_max, ack, permit, progress).await?;
            permit.shrink_to(waiting.held(&reader).max(waiting.least));
        }
    }

    /// Stores pieces for as long as so many rows wait.
    async fn store_rows(
        self: &Arc<Self>,
        reader: &IpcReader,
        waiting: &mut Waiting,
        least: usize,
        ack: Option<Ack>,
        permit: &mut InflightPermit,
        progress: &mut Progress,
    ) -> Result<(), Problem> {
        let Some(schema) = reader.schema() else { return Ok(()) };
        let single_bytes_max = self.services.decode_limits.record_bytes_max.saturating_mul(SINGLE_PER_BYTE_MAX);
        let single_bytes_max = single_bytes_max.clamp(PIECE_BYTES_MAX as u64, u32::MAX.into());
        while waiting.rows >= least.max(1) {
            // A single record may be larger.
            let text_bytes_max = if waiting.piece_rows == 1 { single_bytes_max } else { PIECE_BYTES_MAX as u64 };
            let rows = waiting.first(schema, text_bytes_max);
            let count = rows.len();
            let ask = AppendRequest { ack, ..AppendRequest::plain(Body::Rows(rows)) };
            match self.append_or_fault(ask, permit).await {
                Ok(receipt) => {
                    progress.add(receipt);
                    waiting.advance(count);
                    waiting.piece_rows = waiting.piece_rows.saturating_mul(2).min(waiting.piece_rows_max);
                }
                Err(Refusal::Body(DecodeError::BatchTooLarge { .. })) if count > 1 => {
                    waiting.piece_rows = (count / 2).max(1);
                }
                Err(Refusal::Body(error)) => return Err(error.behind(0, waiting.taken).into_problem()),
                Err(Refusal::Problem(problem)) => return Err(problem),
            }
        }
        Ok(())
    }
}
