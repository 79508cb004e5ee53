//! What was used, by window and by time, and what changed windows that are over.

use std::time::SystemTime;

use headroom_proto::v1::{AdjustmentKind, BilledBy, TimeUnit};

use super::OverageCost;

/// A page of what an account used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePage {
    /// Windows: current ones first, then closed ones, oldest first.
    pub windows: Vec<UsageWindow>,
    /// Fetches the next page; absent on the last.
    pub next_page_token: Option<String>,
    /// The instant it is of.
    pub as_of: Option<SystemTime>,
    /// True when the sidecar runs on a test clock.
    pub test_clock: bool,
}

/// Which usage by time is asked for. Without more it is all of it, by day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageByTimeQuery {
    /// How long the spans are.
    pub by: TimeUnit,
    /// The dimensions to tell apart; what differs only in others is added up.
    pub group_by: Vec<String>,
    /// From then on, included.
    pub from: Option<SystemTime>,
    /// Until then, excluded.
    pub to: Option<SystemTime>,
}

/// A page of what an account used of a feature, by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageByTimePage {
    /// Lines, the oldest first.
    pub lines: Vec<UsageByTime>,
    /// Fetches the next page; absent on the last.
    pub next_page_token: Option<String>,
    /// The instant it is of.
    pub as_of: Option<SystemTime>,
    /// True when the sidecar runs on a test clock.
    pub test_clock: bool,
}

/// What was used in one span with the same dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageByTime {
    /// Start of the span, included.
    pub start: Option<SystemTime>,
    /// End of the span, excluded.
    pub end: Option<SystemTime>,
    /// The dimensions told apart, in the order asked for.
    pub dimensions: Vec<DimensionValue>,
    /// Units used; below 0 where more was corrected than had been counted since it is kept by time.
    pub units: i64,
}

/// What one dimension was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimensionValue {
    /// Its name.
    pub name: String,
    /// Its value. Absent: it was not given, or `other` is true.
    pub value: Option<String>,
    /// True for all values that there was no room for.
    pub other: bool,
}

/// What one ledger holds or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageWindow {
    /// The feature.
    pub feature: String,
    /// The limit.
    pub limit: String,
    /// Start of the window, included.
    pub window_start: Option<SystemTime>,
    /// End of the window, excluded. Absent: a lifetime window.
    pub window_end: Option<SystemTime>,
    /// Units used.
    pub used_units: u64,
    /// Units set aside by open reservations.
    pub reserved_units: u64,
    /// Used units that no limit allowed.
    pub debt_units: u64,
    /// True when the window is over.
    pub closed: bool,
    /// When the sliding window that this bucket is a part of has passed it. Absent: it has, or there is
    /// none.
    pub counts_until: Option<SystemTime>,
    /// Of an allocation: what the billing window comes to, so far or in the end.
    pub allocation: Option<AllocationUsage>,
    /// What the window held when it left the memory, if it was restated since. Absent: nothing came
    /// afterwards.
    pub used_units_at_close: Option<u64>,
    /// Whether `used_units` is an estimate, of more different values than are known one by one.
    pub approximate: bool,
    /// Whether nothing counts there any more: the catalog in force has no such limit.
    pub resting: bool,
    /// Whose it is: the path of a user, team or agent. Absent: the account's.
    pub subject: Option<String>,
    /// What the window is measured by, and what that comes to: of one that is over, as of its end. Absent: it
    /// is a bucket of a sliding window or a subject's, or an earlier version of the sidecar closed it.
    pub terms: Option<WindowTerms>,
}

/// What a window is measured by, and what that comes to: what a bill is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowTerms {
    /// Included units. Absent: no bound.
    pub included_units: Option<u64>,
    /// Used units above the included ones that are billed, never more than a spend cap pays for.
    pub overage_units: u64,
    /// What they cost. Absent: nothing is billed, or the plan says no price.
    pub overage_cost: Option<OverageCost>,
    /// The part of the used units that the window before owed and this one took over.
    pub carried_units: u64,
    /// The plan in force.
    pub plan: String,
    /// Its version, from 1.
    pub plan_version: u32,
}

/// What one billing window of an allocation comes to: until now, or until its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationUsage {
    /// What it is measured by.
    pub billed_by: BilledBy,
    /// What there is now, or was at the end.
    pub level_units: u64,
    /// The most there was.
    pub peak_units: u64,
    /// The average over time, rounded down to a whole unit.
    pub average_units: u64,
}

/// A page of what came to windows by late events and corrections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentPage {
    /// By feature, limit and window, oldest first.
    pub adjustments: Vec<Adjustment>,
    /// Fetches the next page; absent on the last.
    pub next_page_token: Option<String>,
    /// The instant it is of.
    pub as_of: Option<SystemTime>,
    /// True when the sidecar runs on a test clock.
    pub test_clock: bool,
}

/// What one late event or one correction did to one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The feature.
    pub feature: String,
    /// The limit.
    pub limit: String,
    /// Start of the window.
    pub window_start: Option<SystemTime>,
    /// What was done.
    pub kind: AdjustmentKind,
    /// The idempotency key of the event.
    pub event_key: String,
    /// When the event happened.
    pub occurred_at: Option<SystemTime>,
    /// When this was done.
    pub adjusted_at: Option<SystemTime>,
    /// What the event counted in the window before; 0 when it is new. Of a largest and of a latest value what the
    /// window held. The window's total changed by `units` less this.
    pub units_before: u64,
    /// The same since; 0 when the event was withdrawn.
    pub units: u64,
    /// True when the window had left the memory before.
    pub after_close: bool,
    /// Why, as the correction said.
    pub reason: Option<String>,
}
