//! Rules of columns: pure functions, no I/O.

mod types;

pub use types::{DataType, Field, FloatType, IntType, Schema};
