//! The histories, and the direction of the dependencies.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "helpers of tests are tests, too"
)]

mod arrows;
mod histories;
mod pools;

/// The model copies whole accounts and catalogs so that it stays simple: with it the histories take two thirds of the
/// time that they take with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
