//! Rules of columns: what a schema is, how it is written, inferred and evolved. Pure functions, no I/O.

mod change;
mod edit;
mod evolve;
mod indexing;
mod json;
mod lineage;
mod moves;
mod nameable;
pub mod names;
mod path;
mod shape;
mod types;
mod wide;

pub use change::{ChangeOp, SchemaChange, diff};
pub use edit::{Edit, InvalidEdit, Obstacle, Planned, plan};
pub use evolve::{evolve, infer};
pub use indexing::{
    IndexParams, IndexSpec, IndexType, InvalidIndex, NGRAM_MAX, NGRAM_MIN, ParamKind, ParamSpec, column_at,
};
pub use json::InvalidSchema;
pub use lineage::{Columns, Lineage, Posted, VersionedSchema};
pub use moves::{InvalidMove, Move, questioned};
pub use path::{FieldPath, InvalidPath};
pub use shape::{EXACT_INTEGER_MAX, Members, NumberKind, Shape};
pub use types::{COLUMNS_MAX, DataType, Field, FloatType, IntType, LEVELS_MAX, Schema, VECTOR_ITEMS_MAX};
pub use wide::WideColumns;
