//! The gRPC door: `headroom.v1` on the wire, the engine behind it.
//!
//! [`parse`] turns messages into requests and holds all validation; [`present`] turns answers into
//! messages; [`status`] is the one place that turns errors into codes. The services only carry.

pub mod admin;
pub mod all;
pub mod entitlement;
pub mod explain;
pub mod late;
mod page;
pub mod parse;
pub mod present;
pub mod prompts;
pub mod receipts;
pub mod seats;
pub mod shared;
pub mod signals;
pub mod status;
pub mod stream;

pub use shared::Shared;
