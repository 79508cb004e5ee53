//! Signals: what the business should hear of, found in the write itself.
//!
//! A signal is raised once per (account, feature, limit, window, limit revision, threshold): the
//! ledger's marks remember what was announced, or a [`Announced`]. Delivery is not done here.

use smallvec::SmallVec;

use crate::account::Account;
use crate::announced::Announced;
use crate::catalog::{PlanLimit, Policy};
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::ledger::{Ledger, Marks};
use crate::limits;
use crate::names::NameId;
use crate::time::{Millis, Window};
use crate::window::{CalendarUnit, WindowRule, window_at};

/// A signal's name, as in the catalog and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalName {
    /// Usage passed a soft threshold, or reached the included units.
    UsageCeiling,
    /// An attempt was refused because of a limit, or would have been without grace or overage.
    FeatureLimitHit,
    /// Usage went above the included units, into grace.
    GraceStarted,
    /// A grace is about to end by time.
    GraceEnding,
    /// Usage went above the included units, into overage.
    OverageStarted,
    /// An attempt was refused because of a rate.
    ApiTierExceeded,
    /// Nine tenths of the seats are claimed.
    SeatThreshold90pct,
    /// All seats but one are claimed.
    SeatsNearlyFull,
    /// A limit is likely reached before its window ends, within so many days.
    ProjectedExhaustion,
    /// A feature was tried that the plan does not have: once a day.
    PremiumFeatureAttempted,
    /// Somebody was invited to a seat, also where there was none: once a day.
    TeamInviteSent,
    /// Overage has come near what it may cost.
    OverageCapNear,
    /// A pool of credits has passed a soft threshold.
    CreditsLow,
    /// A pool of credits is used up.
    CreditsDepleted,
    /// A trial of the plan or of a feature ends in so many days.
    TrialEnding,
    /// Use of one feature has unlocked another: once.
    UnlockEarned,
}

impl SignalName {
    /// Every signal, in the order of the documentation.
    pub const ALL: [SignalName; 16] = [
        SignalName::UsageCeiling,
        SignalName::FeatureLimitHit,
        SignalName::GraceStarted,
        SignalName::GraceEnding,
        SignalName::OverageStarted,
        SignalName::ApiTierExceeded,
        SignalName::SeatThreshold90pct,
        SignalName::SeatsNearlyFull,
        SignalName::ProjectedExhaustion,
        SignalName::PremiumFeatureAttempted,
        SignalName::TeamInviteSent,
        SignalName::OverageCapNear,
        SignalName::CreditsLow,
        SignalName::CreditsDepleted,
        SignalName::TrialEnding,
        SignalName::UnlockEarned,
    ];

    /// The word of the catalog and of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SignalName::UsageCeiling => "usage_ceiling",
            SignalName::FeatureLimitHit => "feature_limit_hit",
            SignalName::GraceStarted => "grace_started",
            SignalName::GraceEnding => "grace_ending",
            SignalName::OverageStarted => "overage_started",
            SignalName::ApiTierExceeded => "api_tier_exceeded",
            SignalName::SeatThreshold90pct => "seat_threshold_90pct",
            SignalName::SeatsNearlyFull => "seats_nearly_full",
            SignalName::ProjectedExhaustion => "projected_exhaustion",
            SignalName::PremiumFeatureAttempted => "premium_feature_attempted",
            SignalName::TeamInviteSent => "team_invite_sent",
            SignalName::OverageCapNear => "overage_cap_near",
            SignalName::CreditsLow => "credits_low",
            SignalName::CreditsDepleted => "credits_depleted",
            SignalName::TrialEnding => "trial_ending",
            SignalName::UnlockEarned => "unlock_earned",
        }
    }

    /// The signal of this word.
    pub fn parse(word: &str) -> Option<SignalName> {
        SignalName::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

/// Which signals are raised at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSwitches {
    /// Raise `usage_ceiling`.
    pub usage_ceiling: bool,
    /// Raise `feature_limit_hit`.
    pub feature_limit_hit: bool,
    /// Raise `grace_started`.
    pub grace_started: bool,
    /// Raise `grace_ending`.
    pub grace_ending: bool,
    /// Raise `overage_started`.
    pub overage_started: bool,
    /// Raise `api_tier_exceeded`.
    pub api_tier_exceeded: bool,
    /// Raise `seat_threshold_90pct`.
    pub seat_threshold_90pct: bool,
    /// Raise `seats_nearly_full`.
    pub seats_nearly_full: bool,
    /// How far ahead `projected_exhaustion` is raised.
    pub projected_exhaustion: Horizons,
    /// Raise `premium_feature_attempted`.
    pub premium_feature_attempted: bool,
    /// Raise `team_invite_sent`.
    pub team_invite_sent: bool,
    /// Raise `overage_cap_near`.
    pub overage_cap_near: bool,
    /// From which share of the cap on, in basis points: 1 to 10,000.
    pub overage_cap_near_bp: u32,
    /// Raise `credits_low`.
    pub credits_low: bool,
    /// Raise `credits_depleted`.
    pub credits_depleted: bool,
    /// How many days ahead `trial_ending` is raised. Days of more than half of a trial are left out of it.
    pub trial_ending: Horizons,
    /// Raise `unlock_earned`.
    pub unlock_earned: bool,
}

/// The share of a spend cap that is near to it unless the catalog says another: 80 %.
pub const OVERAGE_CAP_NEAR_BP: u32 = 8_000;

impl SignalSwitches {
    /// Whether this one is raised.
    pub fn raises(&self, name: SignalName) -> bool {
        match name {
            SignalName::UsageCeiling => self.usage_ceiling,
            SignalName::FeatureLimitHit => self.feature_limit_hit,
            SignalName::GraceStarted => self.grace_started,
            SignalName::GraceEnding => self.grace_ending,
            SignalName::OverageStarted => self.overage_started,
            SignalName::ApiTierExceeded => self.api_tier_exceeded,
            SignalName::SeatThreshold90pct => self.seat_threshold_90pct,
            SignalName::SeatsNearlyFull => self.seats_nearly_full,
            SignalName::ProjectedExhaustion => self.projected_exhaustion != Horizons::NONE,
            SignalName::PremiumFeatureAttempted => self.premium_feature_attempted,
            SignalName::TeamInviteSent => self.team_invite_sent,
            SignalName::OverageCapNear => self.overage_cap_near,
            SignalName::CreditsLow => self.credits_low,
            SignalName::CreditsDepleted => self.credits_depleted,
            SignalName::TrialEnding => self.trial_ending != Horizons::NONE,
            SignalName::UnlockEarned => self.unlock_earned,
        }
    }
}

impl Default for SignalSwitches {
    fn default() -> Self {
        SignalSwitches {
            usage_ceiling: true,
            feature_limit_hit: true,
            grace_started: true,
            grace_ending: true,
            overage_started: true,
            api_tier_exceeded: true,
            seat_threshold_90pct: true,
            seats_nearly_full: true,
            projected_exhaustion: Horizons::DEFAULT,
            premium_feature_attempted: true,
            team_invite_sent: true,
            overage_cap_near: true,
            overage_cap_near_bp: OVERAGE_CAP_NEAR_BP,
            credits_low: true,
            credits_depleted: true,
            trial_ending: Horizons::OF_TRIALS,
            unlock_earned: true,
        }
    }
}

/// How many days ahead something is told of. At most two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizons {
    // Invariant: descending, and 0 for one that there is not.
    days: [u16; 2],
}

impl Horizons {
    /// Never.
    pub const NONE: Horizons = Horizons { days: [0, 0] };

    /// Two weeks ahead, when there is time to talk, and three days ahead, when there is none to lose.
    pub const DEFAULT: Horizons = Horizons { days: [14, 3] };

    /// Three days before a trial ends, and a week, which leaves time to ask for more, where it lasts two.
    pub const OF_TRIALS: Horizons = Horizons { days: [7, 3] };

    /// The most that there may be.
    pub const MAX: usize = 2;

    /// So many days ahead, each 1 to 366; in any order. `None`: none, too many, or not in that range.
    pub fn new(days: &[u16]) -> Option<Horizons> {
        let mut sorted = [0; Horizons::MAX];
        sorted.get_mut(..days.len())?.copy_from_slice(days);
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let are_good = !days.is_empty()
            && days.iter().all(|days| (1..=limits::ENDING_DAYS_MAX).contains(days));
        are_good.then_some(Horizons { days: sorted })
    }

    /// The nearest. `None`: never.
    pub fn nearest(self) -> Option<u16> {
        self.days().map(|(_, days)| days).last()
    }

    /// Each with its place, the farthest first.
    pub fn days(self) -> impl Iterator<Item = (usize, u16)> {
        self.days.into_iter().enumerate().filter(|(_, days)| *days > 0)
    }
}

/// When a limit is likely reached, as a signal says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foretold {
    /// The nearest horizon, in days.
    pub days: u16,
    /// How likely the limit is reached before its window ends, in basis points.
    pub probability_bp: u16,
    /// When: as likely earlier as later.
    pub at: Millis,
    /// Not earlier than this, but for one case in ten.
    pub from: Millis,
    /// Not later than this, but for one case in ten. `None`: it may well not be reached.
    pub to: Option<Millis>,
}

/// A trial that ends, as a signal says it. When it began and ends is the signal's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialEnds {
    /// The plan in force: of the trial of a plan the one on trial.
    pub plan: NameId,
    /// How many days ahead this is told, as the catalog says it.
    pub days: u16,
}

/// How a limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalState {
    /// Below every threshold.
    Ok,
    /// At or above a soft threshold.
    Warning,
    /// At or above the included units, or refused.
    Alarm,
}

impl SignalState {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SignalState::Ok => "ok",
            SignalState::Warning => "warning",
            SignalState::Alarm => "alarm",
        }
    }

    /// Whether what stood otherwise before is well again.
    pub fn is_recovered(self, previous: SignalState) -> bool {
        self == SignalState::Ok && previous != SignalState::Ok
    }

    /// The state that a ledger's marks amount to.
    pub fn of(marks: Marks) -> SignalState {
        if !Marks(marks.0 & (Marks::REACHED.0 | Marks::HIT.0)).is_empty() {
            SignalState::Alarm
        } else if !marks.is_empty() {
            SignalState::Warning
        } else {
            SignalState::Ok
        }
    }
}

/// The limit of a signal that is about a feature as a whole.
pub const NO_LIMIT: NameId = NameId(u32::MAX);

/// Basis points at which a limit counts as reached.
pub const REACHED_BP: u32 = 10_000;

/// Something the business should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What happened.
    pub name: SignalName,
    /// The feature.
    pub feature: NameId,
    /// The limit, or [`NO_LIMIT`].
    pub limit: NameId,
    /// The window of the limit.
    pub window: Window,
    /// The revision of the limit's definition within the window.
    pub limit_revision: u16,
    /// The thresholds this write crossed, ascending, in basis points; 10,000 is the limit itself.
    /// Empty for the other signals. The last one names the signal.
    pub crossed_bp: SmallVec<[u32; 4]>,
    /// Units used before the write; of a concurrency those held, of a rate those that had not come
    /// back.
    pub previous_units: u64,
    /// The same after it.
    pub current_units: u64,
    /// Included units: of a concurrency the most at a time, of a rate what a full bucket holds.
    pub included_units: u64,
    /// Units of a refused attempt; 0 when nothing was refused.
    pub refused_units: u64,
    /// How the limit stood before.
    pub previous_state: SignalState,
    /// How it stands now.
    pub state: SignalState,
    /// When the grace that began or is about to end does end by time.
    pub grace_until: Option<Millis>,
    /// Of a projected exhaustion: what is foretold.
    pub foretold: Option<Foretold>,
    /// Of a trial that ends: which, and how far ahead.
    pub trial: Option<TrialEnds>,
    /// Of what was unlocked: the feature whose use did. Its counter is in the units.
    pub earned_by: Option<NameId>,
    /// When.
    pub at: Millis,
}

/// Marks what a ledger has come to under `limit`, and lists what is new as signals.
///
/// `previous_units` is the usage before the write. `hit` says that the write went past the included
/// units; `refused_units` that it was refused.
pub(crate) fn announce(
    ledger: &mut Ledger,
    limit: &PlanLimit,
    change: Change,
    switches: SignalSwitches,
    effects: &mut Effects,
) {
    let Some(included_units) = limit.included_units else { return };
    if limit.limit != ledger.limit {
        // The ledger's own limit is not in force any more: units are booked, and nobody is told.
        return;
    }
    let before = ledger.marks;
    let current_units = limit.watched_units(ledger);
    let mut crossed_bp = SmallVec::new();
    for (place, bp) in limit.soft_limits_bp.iter().enumerate() {
        let mark = Marks::threshold(place);
        if !before.has(mark) && limit.is_past(current_units, *bp) {
            ledger.marks = ledger.marks.with(mark);
            crossed_bp.push(*bp);
        }
    }
    if !before.has(Marks::REACHED) && limit.is_past(current_units, REACHED_BP) {
        ledger.marks = ledger.marks.with(Marks::REACHED);
        crossed_bp.push(REACHED_BP);
    }
    // Above the included units of an unlimited policy nothing is in anybody's way.
    let above = current_units > included_units && limit.policy != Policy::Unlimited;
    let hit = change.refused_units > 0 || above;
    let newly_hit = hit && !before.has(Marks::HIT);
    if newly_hit {
        ledger.marks = ledger.marks.with(Marks::HIT);
    }
    let signal = |name, crossed_bp| {
        Effect::Signal(Box::new(Signal {
            name,
            feature: ledger.feature,
            limit: ledger.limit,
            window: ledger.window,
            limit_revision: ledger.limit_revision,
            crossed_bp,
            previous_units: change.previous_units,
            current_units,
            included_units,
            refused_units: change.refused_units,
            previous_state: SignalState::of(before),
            state: SignalState::of(ledger.marks),
            grace_until: None,
            foretold: None,
            trial: None,
            earned_by: None,
            at: change.at,
        }))
    };
    if !crossed_bp.is_empty() && switches.usage_ceiling {
        effects.push(signal(SignalName::UsageCeiling, crossed_bp));
    }
    if newly_hit && switches.feature_limit_hit {
        effects.push(signal(SignalName::FeatureLimitHit, SmallVec::new()));
    }
}

/// What a signal of a day says beside its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfDay {
    /// The feature.
    pub(crate) feature: NameId,
    /// The limit, or [`NO_LIMIT`].
    pub(crate) limit: NameId,
    /// Units before.
    pub(crate) previous_units: u64,
    /// Units now.
    pub(crate) current_units: u64,
    /// Included units.
    pub(crate) included_units: u64,
    /// Units refused.
    pub(crate) refused_units: u64,
}

/// Raises a signal unless it was raised on this day of the account already.
#[cold]
pub(crate) fn announce_daily(
    cx: Context<'_>,
    account: &Account,
    name: SignalName,
    said: OfDay,
    effects: &mut Effects,
) {
    let OfDay { feature, limit, .. } = said;
    if !cx.catalog.signals.raises(name) {
        return;
    }
    let (profile, day) = (&account.profile, WindowRule::Calendar(CalendarUnit::Day));
    let window = window_at(day, profile.anchor, profile.rules(), cx.now);
    let of = window.start();
    // A day that begins earlier, in another time zone, was told of with the one before.
    if account.announced(name, feature, limit).is_some_and(|told| of <= told.of) {
        return;
    }
    effects.push(Effect::Announced(Box::new(Announced {
        name,
        feature,
        limit,
        of,
        limit_revision: 1,
    })));
    let refused = said.refused_units > 0;
    effects.push(Effect::Signal(Box::new(Signal {
        name,
        feature,
        limit,
        window,
        limit_revision: 1,
        crossed_bp: SmallVec::new(),
        previous_units: said.previous_units,
        current_units: said.current_units,
        included_units: said.included_units,
        refused_units: said.refused_units,
        previous_state: SignalState::Ok,
        state: if refused { SignalState::Alarm } else { SignalState::Ok },
        grace_until: None,
        foretold: None,
        trial: None,
        earned_by: None,
        at: cx.now,
    })));
}

/// The write that may raise a signal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// When.
    pub(crate) at: Millis,
    /// Usage before it.
    pub(crate) previous_units: u64,
    /// Units refused by it.
    pub(crate) refused_units: u64,
}

/// Marks that a limit is likely used up within horizons that it was not told of, and lists that as one
/// signal, named by the nearest. `foretold.days` is set here.
///
/// A horizon as long as the window itself says nothing new, so it is left out. Nothing is said of a limit
/// that is reached, nor of one with more soft thresholds than leave room for the marks.
pub fn foretell(
    limit: &PlanLimit,
    ledger: Ledger,
    foretold: Foretold,
    (switches, now): (SignalSwitches, Millis),
    effects: &mut Effects,
) {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let Some(included_units) = limit.included_units else { return };
    let is_open = ledger.window.contains(now) && limit.limit == ledger.limit;
    if !is_open || included_units <= ledger.used || PROJECTED_MARK < limit.soft_limits_bp.len() {
        return;
    }
    let mut after = ledger;
    let mut nearest = None;
    for (place, days) in switches.projected_exhaustion.days() {
        let span_ms = i64::from(days) * DAY_MS;
        let mark = Marks::threshold(PROJECTED_MARK + place);
        let is_longer = span_ms < ledger.window.end().since(ledger.window.start());
        if is_longer && foretold.at.since(now) <= span_ms && !ledger.marks.has(mark) {
            after.marks = after.marks.with(mark);
            nearest = Some(days);
        }
    }
    let Some(days) = nearest else { return };
    effects.push(Effect::Ledger(after));
    effects.push(Effect::Signal(Box::new(Signal {
        name: SignalName::ProjectedExhaustion,
        feature: ledger.feature,
        limit: ledger.limit,
        window: ledger.window,
        limit_revision: ledger.limit_revision,
        crossed_bp: SmallVec::new(),
        previous_units: ledger.used,
        current_units: ledger.used,
        included_units,
        refused_units: 0,
        previous_state: SignalState::of(ledger.marks),
        state: SignalState::of(after.marks),
        grace_until: None,
        foretold: Some(Foretold { days, ..foretold }),
        trial: None,
        earned_by: None,
        at: now,
    })));
}

/// The first mark of horizons: soft thresholds of a limit that is foretold leave it free.
const PROJECTED_MARK: usize = limits::SEAT_THRESHOLDS_MAX;
