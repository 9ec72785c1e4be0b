//! Bodies to records and back: pure functions, no I/O.

mod chunk;
pub mod columns;
pub mod encode;
mod form;
mod project;

pub use chunk::{Chunk, Times, Values};
pub use form::Form;
pub use project::{FieldSelection, InvalidFields};
