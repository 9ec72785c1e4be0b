//! The tests that need the whole: real backends, real processes.

mod contract;
mod http;
mod support;
mod tidy;
