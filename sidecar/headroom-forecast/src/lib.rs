//! When a limit is reached: pure functions of a usage history and a time.
//!
//! A [`History`] of hours and days goes in, a [`Forecast`] comes out: the probability that the limit
//! is reached before its window ends, the date with the interval that holds it in four cases of five,
//! and what will be used at the end. No clock, no IO, no randomness, and no dependency. Floats are
//! allowed here and nowhere beside it, because nothing is counted or charged by a forecast.
//!
//! How good it is, and against what it was chosen: `headroom-load-tests --only projections`.

pub mod forecast;
pub mod history;
pub mod limits;
pub mod pace;
pub mod rhythm;
pub mod spread;
pub mod trend;

pub use forecast::{Basis, Forecast, Outlook, Question, Units, forecast};
pub use history::{History, Step};
pub use trend::{Trend, trend};
