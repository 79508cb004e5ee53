//! Tests of the SDK against a fake sidecar in the same process, all in one binary.

// A test that unwraps an error fails, as it should; clippy sees tests only in bare test functions.
#![allow(clippy::unwrap_used)]

mod admin;
mod fake;
mod operations;
mod retries;
mod stream;
