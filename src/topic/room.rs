//! The tail's room for the records of an append.

use crate::backend::{RecordForm, StorageError};
use crate::codec::{Body, Chunk, Decoded};
use crate::model::{ErrorCode, Offset, Problem, Timestamp};
use crate::tail::Reservation;
use crate::topic::{InflightBudget, Topic};

/// What a small body takes beyond its text.
const SPARE_BYTES: u64 = 256;
/// The part of its text that a large one takes beyond it.
const SPARE_PART: u64 = 16;

/// What records take in the tail.
pub(super) fn bytes_of(decoded: &Decoded) -> u64 {
    let values = match decoded {
        Decoded::Fits(records) => &records.values,
        Decoded::Evolves(evolution) => &evolution.records.values,
    };
    Chunk::new(Offset::ZERO, Timestamp::default(), values.clone()).bytes() as u64
}

impl Topic {
    /// Takes room for a body before it is decoded, so that what waits for room is the body alone, and what is turned away has
    /// cost little. None where decoding itself waits for room that others hold, and where records are kept as they come:
    /// how much of a text is white space is not known before.
    pub(super) async fn room_before(&self, body: &Body) -> Result<Option<Reservation>, Problem> {
        match body.text_bytes() {
            Some(bytes) if self.factory.form() != RecordForm::Documents && !self.quarantines() => {
                self.reserve(bytes + bytes / SPARE_PART + SPARE_BYTES).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Makes room that was taken before fit what a body has become.
    pub(super) async fn room_for(&self, mut room: Reservation, decoded: &Decoded) -> Result<Reservation, Problem> {
        let bytes = bytes_of(decoded);
        let missing = bytes.saturating_sub(room.bytes());
        if missing > 0 {
            room.grow(missing, InflightBudget::PATIENCE).await.map_err(|full| {
                self.storage_problem(&StorageError::Full { code: ErrorCode::Overloaded, limit: full.limit })
            })?;
        }
        room.shrink_to(bytes);
        Ok(room)
    }

    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reservation, Problem> {
        self.backend.reserve(bytes).await.map_err(|err| self.storage_problem(&err))
    }
}
