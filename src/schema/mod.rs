//! Rules of columns: what a schema is, how it is written, inferred and evolved. Pure functions, no I/O.

mod change;
mod evolve;
mod json;
pub mod names;
mod path;
mod shape;
mod types;
mod wide;

pub use change::{ChangeOp, SchemaChange, diff};
pub use evolve::{evolve, infer};
pub use json::InvalidSchema;
pub use path::{FieldPath, InvalidPath};
pub use shape::{EXACT_INTEGER_MAX, Members, NumberKind, Shape};
pub use types::{COLUMNS_MAX, DataType, Field, FloatType, IntType, LEVELS_MAX, Schema};
pub use wide::WideColumns;
