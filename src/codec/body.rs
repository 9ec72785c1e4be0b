//! What an append brings.

use bytes::Bytes;

use super::ipc::{IpcLimits, read_all};
use super::rows::{Rows, decode_rows};
use super::{DecodeError, DecodeLimits, Decoded, Form, Room, Target, decode};

/// How much more text than its message records of Arrow may become: numbers are printed, keys repeated.
const TEXT_PER_BYTE_MAX: u64 = 4;

/// The records of an append as they have come.
#[derive(Clone, Debug)]
pub enum Body {
    /// JSON text.
    Text {
        /// The text.
        text: Bytes,
        /// How records stand in it.
        form: Form,
    },
    /// A whole Arrow IPC stream.
    Arrow {
        /// The stream.
        stream: Bytes,
        /// The most bytes that it may decompress to.
        bytes_max: u64,
    },
    /// Rows of such a stream.
    Rows(Rows),
}

/// Nothing.
impl Default for Body {
    fn default() -> Self {
        Self::text(Bytes::new(), Form::Sequence)
    }
}

impl Body {
    /// JSON text.
    pub const fn text(text: Bytes, form: Form) -> Self {
        Self::Text { text, form }
    }

    /// Its text; none of rows.
    pub fn as_text(&self) -> &[u8] {
        match self {
            Body::Text { text, .. } => text,
            Body::Arrow { .. } | Body::Rows(_) => &[],
        }
    }

    /// Whether it is text of fewer bytes: what rows of Arrow cost does not show in their size.
    pub fn is_text_below(&self, bytes: usize) -> bool {
        matches!(self, Body::Text { text, .. } if text.len() < bytes)
    }

    /// How many bytes of text it has; none for rows of Arrow.
    pub fn text_bytes(&self) -> Option<u64> {
        match self {
            Body::Text { text, .. } => Some(text.len() as u64),
            _ => None,
        }
    }

    /// Decodes the records, whole or not at all. What rows of Arrow become is taken from `room` before they do.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(&self, target: Target<'_>, limits: &DecodeLimits, room: &Room) -> Result<Decoded, DecodeError> {
        match self {
            Body::Text { text, form } => decode(text, *form, target, limits),
            Body::Arrow { stream, bytes_max } => {
                let ipc = IpcLimits { message_bytes_max: *bytes_max, batch_records_max: limits.records_max };
                let (schema, batches) = read_all(stream, ipc, room)?;
                let text_bytes_max = bytes_max.saturating_mul(TEXT_PER_BYTE_MAX);
                decode_rows(&Rows { schema, batches, text_bytes_max, held_bytes: 0 }, target, limits, room)
            }
            Body::Rows(rows) => decode_rows(rows, target, limits, room),
        }
    }
}
