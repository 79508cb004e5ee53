//! The store against a disk that fails, and against the real one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests, too")]

mod crash;
mod damage;
mod directory;
mod failure;
mod follow;
mod speed;
mod support;
