//! The tests that need the whole: real backends, real processes.
#![allow(unreachable_pub, reason = "a test binary has no users")]

mod contract;
mod crash;
mod http;
mod openapi;
mod sim;
mod support;
mod tidy;
