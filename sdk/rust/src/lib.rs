//! The Rust client of Headroom.
//!
//! ```no_run
//! # async fn example() -> Result<(), headroom_sdk::Error> {
//! use headroom_sdk::Client;
//!
//! let client = Client::connect("unix:/run/headroom/headroom.sock").await?;
//!
//! // Decide and count in one step.
//! let decision = client.consume("acme", "api-calls", 5).await?;
//! if !decision.allowed {
//!     println!("refused: {:?}", decision.denial);
//! }
//!
//! // Draw a screen: how much is left, and what to show.
//! let decision = client.check("acme", "api-calls").rendering().with_prompt().await?;
//! if let Some(limit) = decision.binding {
//!     println!("{} of {:?} used", limit.used_units, limit.included_units);
//! }
//!
//! // Work whose cost is known only afterwards.
//! let reserved = client.reserve("acme", "tokens", 4_000).await?;
//! if let Some(reservation) = reserved.reservation {
//!     let tokens_used = 1_234;
//!     client.commit("acme", reservation.id, tokens_used).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A refusal is an answer ([`Decision::allowed`] is false), never an [`Error`].
//!
//! A [`Client`] is cheap to clone and shared by everything in a process. Calls that overlap in time
//! travel together in one stream: a call made while others are under way joins the next message.
//!
//! Every write carries an idempotency key: yours, or one the SDK makes up. The SDK repeats a call
//! only when the sidecar was not reached or says that the outcome is unknown, with the same key, a
//! few times, within the deadline. To repeat a write after its deadline, keep the [`Call`] and
//! await a clone of it: a clone has the same key, so nothing is counted twice.
//!
//! What this crate deliberately is not: a second place that decides. When the sidecar is away a
//! call is an error, and whether the product then lets people in is the product's choice.

mod admin;
mod answer;
mod call;
mod client;
mod endpoint;
mod error;
mod key;
mod limits;
mod prompts;
mod retry;
mod seats;
mod signals;
mod stream;

pub use admin::{AdminBuilder, AdminClient};
pub use answer::{
    Adjustment, AdjustmentPage, Allocated, AllocationUsage, Committed, Corrected, CreditCharge,
    CreditPrice, Decision, DimensionValue, Entitlement, Entitlements, EntitlementsChange,
    Explanation, Extended, GraceUses, LimitState, Offer, Origin, OverageCost, PoolState,
    Projection, Prompt, PromptSuppression, Rate, Recorded, Released, Reservation, Reserved,
    RestatedWindow, RollOut, RuleResult, Seat, SeatAnswer, SeatsPage, Several, Unlock, UsageByTime,
    UsageByTimePage, UsageByTimeQuery, UsagePage, UsageWindow, WindowTerms,
};
pub use call::{Call, Item, LevelChange, Operation, Write};
pub use client::{Client, ClientBuilder};
pub use error::{Error, FieldViolation};
pub use limits::{
    ADMIN_DEADLINE_DEFAULT, ATTEMPTS_MAX, DEADLINE_DEFAULT, OPERATIONS_PER_MESSAGE_MAX,
    OPERATIONS_QUEUED_MAX,
};
pub use prompts::PromptOutcome;

// Enums of the contract, as they are on the wire. A value this version does not know reads as
// `Unspecified`.
pub use headroom_proto::v1::{
    AdjustmentKind, Aggregation, Audience, BilledBy, CreditRounding, Denial, Durability,
    ErrorReason, FeatureKind, OriginKind, Policy, ProjectionBasis, ProjectionState, RuleOutcome,
    SeatState, Severity, Source, SuppressionReason, TimeUnit, Verdict,
};

/// The messages of the contract, for [`AdminClient`].
pub use headroom_proto::v1;
