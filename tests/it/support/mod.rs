//! What several kinds of tests need.

pub mod api;
pub mod arrow;
pub mod local;
pub mod process;
pub mod sse;
