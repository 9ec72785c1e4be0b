//! A part of a body that is decoded by itself.

use bytes::Bytes;

use crate::codec::{DecodeError, Form};

/// Some consecutive records of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What to decode.
    pub body: Bytes,
    /// How its records stand.
    pub form: Form,
    /// The line of the whole body in which the piece begins, from 1.
    pub first_line: u64,
    /// How many records lie before the piece.
    pub first_record: u64,
    /// What to add to a column in the piece's first line to have that of the whole body.
    pub(super) column_shift: i64,
}

impl Piece {
    /// An error of decoding the piece, as one of the whole body.
    #[must_use]
    pub fn place(&self, mut error: DecodeError) -> DecodeError {
        if let DecodeError::InvalidJson { line: 1, column, .. } = &mut error {
            *column = column.saturating_add_signed(self.column_shift);
        }
        error.behind(self.first_line - 1, self.first_record)
    }
}
