//! The memory: one winner for the last unit, retries counted once, and nothing lost by a restart.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "helpers of tests are tests, too"
)]

mod accounts;
mod allocations;
mod bills;
mod codec;
mod credits;
mod debts;
mod endings;
mod grandfather;
mod halted;
mod house;
mod keys;
mod late_subjects;
mod late_values;
mod measures;
mod memory;
mod meters;
mod pool_bounds;
mod prompts;
mod races;
mod recovery;
mod renames;
mod resting;
mod seats;
mod subjects;
mod timers;
mod windows;
