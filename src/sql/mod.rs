//! SQL over topics. A query sees each topic that it names as it is at one moment, its table and its tail together; it can
//! change nothing, and takes no more time and memory than it may.
//!
//! A statement goes through [`text`] (bounded and parsed), [`bind`] (parameters), [`walk`] (what it is made of, how large it
//! becomes), [`plan`] (operators), and is then run on threads of its own, whose stacks are large.

mod allowed;
mod bind;
mod columns;
mod error;
mod functions;
mod growing;
mod guard;
mod huge;
mod limits;
mod literals;
mod made;
mod marks;
mod patterns;
mod plan;
mod range;
mod rules;
mod run;
mod scan;
mod sliding;
mod sound;
#[cfg(test)]
mod tests;
mod text;
mod walk;
mod watch;
mod width;
mod zeros;

pub use limits::QueryLimits;
pub use run::{Ask, Batches, Form, Queries, Rows, Taking};
pub(crate) use width::rows_bytes;
