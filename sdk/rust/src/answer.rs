//! Answers, typed: what the sidecar says, with times as `SystemTime` and units as `u64`.

mod from_proto;
mod usage;

pub(crate) use from_proto::{FromProto, decision as decision_of};
pub use usage::{
    Adjustment, AdjustmentPage, AllocationUsage, DimensionValue, UsageByTime, UsageByTimePage,
    UsageByTimeQuery, UsagePage, UsageWindow, WindowTerms,
};

use headroom_proto::v1::{
    Aggregation, CreditRounding, Denial, Durability, FeatureKind, OriginKind, Policy,
    ProjectionBasis, ProjectionState, RuleOutcome, SeatState, Severity, Source, SuppressionReason,
    Verdict,
};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// The one-word answer.
    pub verdict: Verdict,
    /// Why it was refused; absent when it was allowed.
    pub denial: Option<Denial>,
    /// Why it would have been refused, if the feature were not in shadow mode.
    pub shadow_denial: Option<Denial>,
    /// The limit that decided: the gravest, then the one with the least drawable units. Absent when
    /// the answer has nothing to do with a limit.
    pub binding: Option<LimitState>,
    /// The feature's other limits, when asked for.
    pub other_limits: Vec<LimitState>,
    /// The value of a config feature, as JSON.
    pub config_value: Option<String>,
    /// Where it comes from: the limit that decided, if it is one of the feature's, else the feature; absent
    /// when nothing entitles the account.
    pub origin: Option<Origin>,
    /// The catalog revision that decided.
    pub catalog_revision: i64,
    /// The instant the decision is of.
    pub as_of: Option<SystemTime>,
    /// Who decided.
    pub source: Source,
    /// How durable the count behind it is.
    pub durability: Durability,
    /// A receipt: unique in the life of the data directory.
    pub decision_id: String,
    /// True when the idempotency key was known and this is the answer of the first write.
    pub replayed: bool,
    /// True when the sidecar runs on a test clock.
    pub test_clock: bool,
    /// When to try again, for refusals that time can lift.
    pub retry_after: Option<Duration>,
    /// The prompt, when asked for and there is one.
    pub prompt: Option<Prompt>,
    /// Which prompt was held back, when asked for and there is one.
    pub prompt_suppression: Option<PromptSuppression>,
    /// The projection of the binding limit, when asked for.
    pub projection: Option<Projection>,
    /// What the write took from a pool of credits. Absent: no pool paid.
    pub charge: Option<CreditCharge>,
    /// Of a refusal that use can lift: what is left to be used.
    pub unlock: Option<Unlock>,
}

/// What has to be used before a feature of the plan counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlock {
    /// The feature that is to be used.
    pub feature: String,
    /// Its limit that counts for ever.
    pub limit: String,
    /// Units of it that unlock the feature.
    pub needed_units: u64,
    /// Units used so far.
    pub used_units: u64,
    /// Units that are left to be used.
    pub remaining_units: u64,
}

/// What a write took from a pool of credits: the deductions and the debt add up to the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditCharge {
    /// The credits feature.
    pub pool: String,
    /// Credits charged.
    pub units: u64,
    /// The ids of the grants that paid, in the order they burnt, and what each paid.
    pub deductions: Vec<(String, u64)>,
    /// Credits that no grant paid: the pool owes them.
    pub debt_units: u64,
    /// Credits that came back: the end of a hold had charged more than was used, or an event was
    /// corrected to less.
    pub returned_units: u64,
}

/// One limit of a feature as it stands after the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// The limit's name in the catalog.
    pub limit: String,
    /// What happens when the included units are used up.
    pub policy: Policy,
    /// Included units of the window. Absent: unlimited.
    pub included_units: Option<u64>,
    /// Units used in the window.
    pub used_units: u64,
    /// Units set aside by open reservations; not yet usage.
    pub reserved_units: u64,
    /// Included less used: the number to show to people. Absent: unlimited.
    pub settled_units_remaining: Option<u64>,
    /// Units a request of this moment could still get. Absent: no bound.
    pub drawable_units_remaining: Option<u64>,
    /// Start of the window, included. Absent: it begins with the first use, which has not come.
    pub window_start: Option<SystemTime>,
    /// End of the window, excluded. Absent: a lifetime window, or one that has not begun. Of a sliding
    /// window, when the span that is counted moves on.
    pub window_end: Option<SystemTime>,
    /// Soft thresholds at or below the usage, in basis points of the included units, ascending.
    pub thresholds_passed_bp: Vec<i32>,
    /// Units of grace not yet used. Absent: the limit has no grace.
    pub grace_units_remaining: Option<u64>,
    /// Used units above the included ones that are billed.
    pub overage_units: u64,
    /// Used units that no limit allowed.
    pub debt_units: u64,
    /// Changes of this limit's resolved definition seen within the window, counted from 1.
    pub limit_revision: i32,
    /// True when the window slides: its oldest units leave first.
    pub sliding: bool,
    /// When the oldest units leave a sliding window. Absent: it does not slide, or is empty.
    pub oldest_units_leave_at: Option<SystemTime>,
    /// When the grace that has begun ends by time. Absent: none has, or it ends with the window.
    pub grace_until: Option<SystemTime>,
    /// What the overage costs. Absent: the plan has no price for it.
    pub overage_cost: Option<OverageCost>,
    /// Whose limit it is: the path of a user, team or agent. Absent: the account's.
    pub subject: Option<String>,
    /// Of an allocation: what its billing window comes to so far. Absent: it is no allocation.
    pub billed_units: Option<u64>,
    /// What a pool of credits has beyond the counters. Absent: the limit is no pool's.
    pub pool: Option<PoolState>,
    /// Whether `used_units` is an estimate, of more different values than are known one by one.
    pub approximate: bool,
    /// Whose word the limit is, where more than the plan has a say in the account. Absent: as of the answer.
    pub origin: Option<Origin>,
    /// How often its grace was used. Absent: it has none, or it may be used in every window.
    pub grace_uses: Option<GraceUses>,
}

/// What a pool of credits has beyond the counters of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// The credits feature.
    pub feature: String,
    /// What is left less what is owed; below 0 is owed.
    pub balance_units: i64,
    /// When units that are left next expire, and how many then.
    pub next_expiry: Option<(SystemTime, u64)>,
    /// How far below 0 the balance may be drawn.
    pub overdraft_units: u64,
    /// When units next come by time alone.
    pub next_units_at: Option<SystemTime>,
    /// What the feature asked about costs. Absent: a unit is a credit.
    pub price: Option<CreditPrice>,
    /// Credits that the request asks for, where the pool refuses it.
    pub asked_units: Option<u64>,
}

impl LimitState {
    /// When units next come free by time alone: at the end of the window, when the oldest leave a
    /// sliding one, or when they come to a pool of credits. `None`: never, or there is nothing to come free.
    pub fn frees_at(&self) -> Option<SystemTime> {
        match &self.pool {
            Some(pool) => pool.next_units_at,
            None if self.sliding => self.oldest_units_leave_at,
            None => self.window_end,
        }
    }
}

/// What the overage of one limit costs in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverageCost {
    /// So far, in minor units, rounded down: the very number that is billed.
    pub minor: u64,
    /// At most, in minor units. Absent: no bound.
    pub cap_minor: Option<u64>,
    /// ISO 4217 code.
    pub currency: String,
}

/// Where an entitlement or a limit comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The kind of source.
    pub kind: OriginKind,
    /// The plan in force.
    pub plan: String,
    /// Its version, from 1.
    pub plan_version: u32,
    /// Of kind `AddOn`: the add-ons that have a part in it, and how many of each.
    pub add_ons: Vec<(String, u32)>,
    /// Of kind `Override`: until when it counts. Absent: for ever.
    pub override_until: Option<SystemTime>,
    /// Of kind `Override`: whether it is of one subject, and not of the account.
    pub override_of_subject: bool,
    /// Of a feature that is not rolled out to everybody: what let the account in.
    pub roll_out: Option<RollOut>,
}

/// How a feature that is not rolled out to everybody came to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollOut {
    /// The cohort that the account is in. Absent: none of the feature's.
    pub cohort: Option<String>,
    /// The share of all accounts for which the feature is drawn, in basis points, when it is one of them.
    pub drawn_share_bp: Option<u32>,
}

/// How often the grace of a limit was used, where its number is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceUses {
    /// Windows of the last `months` months in which it began, the current one included.
    pub used: u32,
    /// In how many it may.
    pub times: u32,
    /// The span that is looked at, in months.
    pub months: u32,
    /// When the first of them does not count any more. Absent: none was used.
    pub next_forgotten_at: Option<SystemTime>,
}

/// What units of a feature cost in credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditPrice {
    /// Credits,
    pub credits: u64,
    /// for so many units.
    pub per_units: u64,
    /// What becomes of a part of a credit of one request.
    pub rounding: CreditRounding,
}

/// When a limit is reached, from what was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// The limit it speaks of.
    pub limit: String,
    /// What kind of answer it is.
    pub state: ProjectionState,
    /// When the included units are used up: as likely earlier as later.
    pub reaches_limit_at: Option<SystemTime>,
    /// Not earlier than this, but for one case in ten. `None`: it is not reached in nine of ten.
    pub reaches_limit_from: Option<SystemTime>,
    /// Not later than this, but for one case in ten. `None`: it may well not be reached.
    pub reaches_limit_to: Option<SystemTime>,
    /// How likely it is reached before the window ends, in basis points: 10,000 is certain.
    pub probability_bp: Option<u32>,
    /// Units used at the end of the window: as likely less as more.
    pub units_at_window_end: Option<u64>,
    /// Not less than this is used then, but for one case in ten.
    pub units_at_window_end_low: Option<u64>,
    /// Not more than this is used then, but for one case in ten.
    pub units_at_window_end_high: Option<u64>,
    /// What it stands on; `Unspecified` when it says nothing.
    pub basis: ProjectionBasis,
    /// From when on the account's usage is known that it stands on.
    pub observed_since: Option<SystemTime>,
}

/// What to show to the person in front of the product: data, never markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The prompt's name in the catalog.
    pub prompt: String,
    /// The situation it was chosen for.
    pub scenario: String,
    /// How loud it should be.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// One paragraph.
    pub message: String,
    /// The label of the action.
    pub call_to_action: String,
    /// Where the action leads; absent when nowhere.
    pub url: Option<String>,
    /// The plan offered, if any.
    pub offer: Option<Offer>,
    /// The facts the texts were made from.
    pub facts: BTreeMap<String, String>,
    /// Names this prompt when its outcome is told ([`Client::record_outcome`](crate::Client::record_outcome)).
    pub prompt_id: String,
    /// Which of the prompt's wordings it is.
    pub variant: String,
    /// The language of the texts.
    pub language: String,
    /// The long form, five steps; empty where the account lacks a fact for one of them.
    pub steps: Vec<String>,
}

/// A prompt that was held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSuppression {
    /// The prompt's name in the catalog.
    pub prompt: String,
    /// Why.
    pub reason: SuppressionReason,
    /// When the reason ends, as far as that is known.
    pub until: Option<SystemTime>,
}

/// What a prompt proposes to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The plan offered.
    pub plan: String,
    /// Its name for people.
    pub plan_name: String,
    /// Price per period, in minor units of the currency. Absent: on request.
    pub price_minor: Option<i64>,
    /// ISO 4217 code.
    pub currency: String,
    /// The period the price is for: `month` or `year`.
    pub per: String,
    /// What going over to the plan now costs today, in minor units. Absent: that cannot be said.
    pub due_today_minor: Option<i64>,
    /// What is left of what was paid for the plan of now, in minor units.
    pub credit_minor: i64,
    /// Until when that is paid.
    pub period_end: Option<SystemTime>,
}

/// The answer to Reserve.
#[derive(Debug, Clone, PartialEq)]
pub struct Reserved {
    /// The decision.
    pub decision: Decision,
    /// The hold; absent when it was refused.
    pub reservation: Option<Reservation>,
}

/// The answer about several features at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Several<T> {
    /// Whether all are allowed. If not, nothing was counted or held.
    pub allowed: bool,
    /// One answer per feature, in the order they were asked for. When not all are allowed, those that
    /// are stand as if they were asked for alone.
    pub items: Vec<T>,
}

/// Units set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Names the reservation in Extend, Commit and Release.
    pub id: String,
    /// When the hold ends.
    pub expires_at: Option<SystemTime>,
}

/// The answer to Extend.
#[derive(Debug, Clone, PartialEq)]
pub struct Extended {
    /// The decision.
    pub decision: Decision,
    /// When the hold ends now, also when more was refused.
    pub expires_at: Option<SystemTime>,
    /// Units held now, also when more was refused.
    pub held_units: u64,
}

/// The answer to Commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The limits after the commit; always allowed.
    pub decision: Decision,
    /// Units booked: always what was asked.
    pub committed_units: u64,
    /// Units booked that the hold did not back.
    pub surplus_units: u64,
    /// The part of the surplus that no limit allowed.
    pub debt_units: u64,
    /// True when the hold had ended before.
    pub late: bool,
    /// When the hold of the rest ends. Absent: nothing is held any more.
    pub expires_at: Option<SystemTime>,
}

/// The answer to Release.
#[derive(Debug, Clone, PartialEq)]
pub struct Released {
    /// The limits after the release; always allowed.
    pub decision: Decision,
    /// Units given back. When the hold had ended before: what its end had charged, or 0.
    pub released_units: u64,
}

/// The answer to Record.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The limits after the record. Not allowed: nothing entitles the account, nothing was counted.
    pub decision: Decision,
    /// The part that no limit allowed.
    pub debt_units: u64,
    /// Of a record with a time of its own: the windows that it counts in.
    pub restated_windows: Vec<RestatedWindow>,
}

/// A window that an event counts in, and what the request did there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestatedWindow {
    /// The limit.
    pub limit: String,
    /// Whose it is: the path up to a level of the request's subject. Absent: the account's.
    pub subject: Option<String>,
    /// Start of the window.
    pub window_start: Option<SystemTime>,
    /// Its end. Absent: it has none, or an earlier version of the sidecar gave the answer first.
    pub window_end: Option<SystemTime>,
    /// What the event counted in the window before; 0 when it is new. Of a largest and of a latest value what the
    /// window held. The window's total changed by `units` less this.
    pub units_before: u64,
    /// The same since; 0 when the event was withdrawn.
    pub units: u64,
    /// True when the window had left the memory before: what was billed for it changes.
    pub after_close: bool,
}

/// The answer to Allocate. The level is what the decision's limit says is used.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocated {
    /// The decision.
    pub decision: Decision,
    /// By how many the level rose.
    pub added_units: u64,
    /// By how many it fell.
    pub removed_units: u64,
    /// True when less was there than was to be removed: the level is 0.
    pub clamped: bool,
    /// The part of what was reported that no limit allowed.
    pub debt_units: u64,
}

/// The answer to Correct.
#[derive(Debug, Clone, PartialEq)]
pub struct Corrected {
    /// The limits after the correction.
    pub decision: Decision,
    /// What the event counts now: 0 when it was withdrawn.
    pub units: u64,
    /// The part of what was added that no limit allowed.
    pub debt_units: u64,
    /// The windows that the event counts in, with what the correction changed there.
    pub restated_windows: Vec<RestatedWindow>,
}

/// The answer to a request about a seat.
#[derive(Debug, Clone, PartialEq)]
pub struct SeatAnswer {
    /// The decision.
    pub decision: Decision,
    /// The seat after it: of the member, or of whom it was transferred to. Absent: they have none.
    pub seat: Option<Seat>,
    /// Whether anything is different now.
    pub changed: bool,
}

/// One member's seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Who.
    pub member: String,
    /// How.
    pub state: SeatState,
    /// Since when so; of an invitation, when it was sent last.
    pub since: Option<SystemTime>,
    /// When the invitation ends. Absent: the seat is claimed.
    pub expires_at: Option<SystemTime>,
}

/// A page of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatsPage {
    /// The seats, by member.
    pub seats: Vec<Seat>,
    /// Fetches the next page; absent on the last.
    pub next_page_token: Option<String>,
}

/// Everything an account may do now.
#[derive(Debug, Clone, PartialEq)]
pub struct Entitlements {
    /// Every feature of the catalog, in its order.
    pub entitlements: Vec<Entitlement>,
    /// The plan in force.
    pub plan: String,
    /// Its version, from 1.
    pub plan_version: u32,
    /// The catalog revision they come from.
    pub catalog_revision: i64,
    /// The instant they are of.
    pub as_of: Option<SystemTime>,
    /// True when the sidecar runs on a test clock.
    pub test_clock: bool,
}

/// What an account may do with one feature now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// The feature's name in the catalog.
    pub feature: String,
    /// Its name for people.
    pub feature_name: String,
    /// The unit it is counted in, for people.
    pub unit: String,
    /// What sort of thing it is.
    pub kind: FeatureKind,
    /// Whether a use of one unit would be allowed now.
    pub allowed: bool,
    /// Why not.
    pub denial: Option<Denial>,
    /// Why it would not be, if the feature were not in shadow mode.
    pub shadow_denial: Option<Denial>,
    /// The value of a config feature, as JSON.
    pub config_value: Option<String>,
    /// The limits of a quota, or the one limit of a concurrency, a rate or an allocation.
    pub limits: Vec<LimitState>,
    /// Where it comes from.
    pub origin: Option<Origin>,
    /// How fast a rate is. Absent: unlimited, or no rate.
    pub rate: Option<Rate>,
    /// How fast each subject of `rate_per` may use the rate besides. Absent: as fast as the account.
    pub rate_each: Option<Rate>,
    /// The type of subjects that `rate_each` is for.
    pub rate_per: Option<String>,
    /// How many slots of a concurrency each subject of `slots_per` may hold at a time. Absent: as many as
    /// the account.
    pub slots_each: Option<u64>,
    /// The type of subjects that `slots_each` is for.
    pub slots_per: Option<String>,
    /// What a quota makes of the units of its uses. Absent: it is no quota.
    pub aggregation: Option<Aggregation>,
    /// The dimension whose different values are counted. Absent: it counts something else.
    pub unique_by: Option<String>,
    /// What is left to be used of another feature before this one counts. Absent: it is not locked.
    pub unlock: Option<Unlock>,
}

/// How fast a rate lets units pass: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units that come back in each period.
    pub units: u64,
    /// The period.
    pub period: Duration,
    /// Units that a full bucket holds, so that can be taken at once.
    pub burst_units: u64,
}

/// What a watch begins with, or a change.
#[derive(Debug, Clone, PartialEq)]
pub struct EntitlementsChange {
    /// Features that are new or have changed, whole; in the first one all of them.
    pub entitlements: Vec<Entitlement>,
    /// Features that the catalog does not have any more.
    pub removed_features: Vec<String>,
    /// The plan in force.
    pub plan: String,
    /// The catalog revision they come from.
    pub catalog_revision: i64,
    /// The instant they are of.
    pub as_of: Option<SystemTime>,
}

/// Why a decision was what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The account asked about.
    pub account: String,
    /// The feature asked about. Empty: the request was about a reservation that was not known.
    pub feature: String,
    /// The operation, in lower case: `consume`.
    pub operation: String,
    /// Units asked for; 0 when the operation has none.
    pub units: u64,
    /// The answer as it was given.
    pub decision: Decision,
    /// The rules in the order in which they are tested.
    pub rules: Vec<RuleResult>,
}

/// One rule of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleResult {
    /// What is tested: the denial it ends in, in lower case (`not_in_plan`), or `limit`.
    pub rule: String,
    /// What became of it.
    pub outcome: RuleOutcome,
    /// One sentence for people, with the numbers.
    pub explanation: String,
    /// The limit, for rule `limit`.
    pub limit: Option<String>,
    /// Whether it is the limit that the answer named as binding.
    pub binding: bool,
    /// Whose limit it is: the path of a user, team or agent. `None`: the account's.
    pub subject: Option<String>,
}
