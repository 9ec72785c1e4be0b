//! The tests that need the whole: real backends, real processes.

mod crash;
mod support;
