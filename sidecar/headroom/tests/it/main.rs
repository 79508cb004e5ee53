//! Tests of the program as it is shipped: a child process, real sockets, a real disk.

// Helpers of tests fail and print like tests, but the lints know only functions marked as such.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod aggregations;
mod allocations;
mod backtest;
mod by_time;
mod corrections;
mod credits;
mod declines;
mod events;
mod faults;
mod forecasts;
mod growth;
mod holds;
mod input;
mod interop;
mod kill;
mod late;
mod meters;
mod opening;
mod operations;
mod policies;
mod previous;
mod prompts;
mod race;
mod renames;
mod restated;
mod seats;
mod several;
mod sinks;
mod sources;
mod story;
mod subjects;
mod support;
mod unlocks;
mod versions;
mod windows;
mod year;
