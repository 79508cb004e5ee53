//! The rules, one test a rule and one line a case.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "helpers of tests are tests, too"
)]

mod admission;
mod allocations;
mod binding;
mod changes;
mod concurrency;
mod credits;
mod expiry;
mod holds;
mod holds_over;
mod late;
mod late_debt;
mod late_terms;
mod measures;
mod opening;
mod overrides;
mod paid_late;
mod policies;
mod pools_in_time;
mod precedence;
mod prompts;
mod properties;
mod rates;
mod records;
mod seats;
mod signals;
mod sizes;
mod sliding;
mod slots_of_subjects;
mod sources;
mod spans;
mod subject_values;
mod subjects;
mod tallies;
mod thresholds;
mod unlocks;
mod waits;
mod windows;
mod world;
