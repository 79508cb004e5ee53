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
