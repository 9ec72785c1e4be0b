//! The tests that need the whole: real backends, real processes.
#![allow(unreachable_pub, reason = "a test binary has no users")]

mod bounds;
mod contract;
mod crash;
mod http;
mod on_disk;
mod openapi;
mod sim;
mod support;
mod tidy;
