//! What several kinds of tests need.

pub mod api;
pub mod local;
pub mod process;
pub mod sse;
