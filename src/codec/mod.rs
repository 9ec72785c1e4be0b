//! Bodies to records and back: pure functions, no I/O.

mod chunk;

pub use chunk::{Chunk, Times, Values};
