//! Serving: listeners, the workers behind them, and the gates where answers wait for the journal.
//!
//! Nothing here knows what is served: the services of a worker are made by a closure. So the
//! sidecar and its yardstick, the empty service of `headroom baseline`, run on the same road.
//!
//! ```text
//! listener - acceptor (control runtime) - worker (thread, runtime, gRPC server, gate)
//!                                       \ worker ..
//! admin listener - acceptor - gRPC and HTTP on the control runtime
//! events listener - acceptor - HTTP on the control runtime
//! ```

mod acceptor;
pub mod address;
pub mod admin;
pub mod control;
pub mod door;
pub mod drain;
pub mod gate;
pub mod limits;
pub mod listener;
pub mod readiness;
pub mod server;
mod socket;
pub mod standard;
#[cfg(test)]
mod tests;
pub mod worker;

pub use address::ListenAddr;
pub use control::Control;
pub use door::Door;
pub use gate::{Gate, Gates, Kick, OutcomeUnknown};
pub use listener::{BindError, Listener};
pub use readiness::Readiness;
pub use server::Server;
pub use worker::MakeRoutes;
