//! headroom-engine: the memory.
//!
//! Accounts and their ledgers behind one lock per account, idempotency keys, recovery. What it needs
//! from outside are traits ([`ports`]); it opens no file, reads no clock and never waits.
//!
//! - [`engine`] is the road of one request, [`seats`] of one about a seat; [`admin`] what others tell it; [`read`] what can be asked.
//! - [`record`] is what the journal keeps, [`recovery`] reads it back, [`digest`] feeds the projection.
//! - [`late`] is the road of what happened earlier, [`events`] what is kept of it.
//! - [`subjects`] is what is asked for somebody inside an account.
//! - [`tallies`] adds up usage by hour or day and by what [`dimensions`] requests have.
//! - [`prompts`] is what becomes of prompts.
//! - [`keys`] makes retries safe; [`timers`] does what happens by time alone.

pub mod admin;
pub mod all;
pub mod codec;
pub mod digest;
pub mod dimensions;
pub mod engine;
pub mod events;
pub mod grandfather;
pub mod grants;
pub mod keys;
pub mod late;
pub mod limits;
mod measures;
pub mod migrate;
pub mod opening;
pub mod ports;
pub mod prompts;
pub mod read;
pub mod record;
pub mod recovery;
pub mod samples;
pub mod seats;
pub mod subjects;
pub mod tallies;
pub mod timers;
pub mod told;
