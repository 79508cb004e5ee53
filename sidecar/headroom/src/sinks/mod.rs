//! Sinks: how signals leave the sidecar.
//!
//! A signal is in the journal before anybody knows of it, and in the projection a moment later.
//! Each sink is one task on the control runtime that reads the projection's rows behind its cursor,
//! delivers them, and journals how far it has come. So a slow sink delays no decision, a dead one
//! loses nothing over a restart, and what was delivered but not yet noted is delivered again under
//! the same id: at least once.
//!
//! ```text
//! projection --wake--> outbox --+-- delivery: lanes per account, retries -- courier -- http
//!      \                        \-- ndjson: batches, synced ------------------------ file
//!       \-- rows ------------- feed (filter) -- prefix (what is confirmed) -- cursor (journal)
//! ```
//!
//! A kind of sink is only how signals become a request, and what the answer means (`courier.rs`).
//!
//! Operators come in through the sink's board (`status.rs`): it holds what is journaled of the sink
//! besides its cursor, the dead letters and whether it rests, and what the task is ordered to do.
//!
//! Waiting here is in real time, never in the domain's: a test clock moves no retry.

mod begin;
mod cloudevents;
mod courier;
mod cursor;
mod dead;
mod delivery;
mod feed;
mod generic;
mod http;
mod ids;
mod lanes;
mod limits;
mod ndjson;
mod oauth;
mod outbox;
mod payload;
mod prefix;
mod private;
mod redis_streams;
mod segment;
mod sentence;
mod signature;
mod slack;
mod status;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod webhook;

pub use cursor::has_new;
pub use dead::Why;
pub(crate) use generic::{pace_of, sample_facts};
pub use ids::note_start;
pub use limits::DEAD_LETTERS_MAX;
pub use outbox::{DeadLetter, Outbox, Positions, SinkRefusal, Wiring};
pub use private::is_public;
pub use status::SinkStatus;
