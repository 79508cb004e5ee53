//! headroom-sim: what tests are made with.
//!
//! A store in memory, a naive model of the whole, and seeded histories that are played on the engine
//! and on the model at once. Used by tests alone: no other crate depends on it but for its tests.
//!
//! - [`store`] is the journal without a disk, with crashes.
//! - [`model`] says what the engine should answer, slowly and obviously; it shares no rule with
//!   `headroom-core`, and [`civil`] computes windows its own way.
//! - [`pools`] are histories that go deeper into pools of credits alone, with the same pool of coins.
//! - [`history`] makes requests up, [`catalogs`] catalogs; [`play`] compares step by step.

// The model says what happens in the plainest words, and not in those of the engine.
#![allow(clippy::implicit_saturating_sub, clippy::manual_checked_ops)]

pub mod catalogs;
pub mod civil;
mod coins;
pub mod coverage;
pub mod history;
pub mod model;
pub mod observe;
pub mod play;
pub mod pools;
pub mod rng;
pub mod store;
