//! Bodies to records and back: pure functions, no I/O.

mod chunk;
pub mod columns;
mod copy;
mod decode;
pub mod encode;
mod error;
mod fault;
mod form;
pub mod ipc;
mod keys;
mod nonfinite;
mod number;
mod observe;
mod pieces;
mod plan;
mod project;
mod read;
pub mod reshape;
mod rows;
mod scalar;
mod text;
mod transcode;
mod values;
mod walk;

pub use chunk::{Chunk, Times, Values};
pub use decode::{DecodeLimits, Decoded, Evolution, Records, Target, decode};
pub use error::DecodeError;
pub use form::Form;
pub use pieces::{Piece, Pieces};
pub use plan::PreparedSchema;
pub use ipc::{IpcLimits, IpcReader};
pub use project::{FieldSelection, InvalidFields};
pub use rows::{Rows, decode_rows};
