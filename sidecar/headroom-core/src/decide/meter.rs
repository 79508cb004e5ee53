//! Counting against limits: check, consume, record.
//!
//! All limits of a feature are charged together or none is. Admission looks at used + reserved,
//! thresholds look at used.

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{FeatureIx, PlanLimit, Policy};
use crate::decide::{Context, bare_limits, concurrency};
use crate::decision::{Amounts, Decision, Denial, LimitState, OpError, Outcome, Verdict};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::resolve::{Origin, Resolved, resolve};
use crate::signal::{self, Change};
use crate::time::Window;
use crate::window::window_at;

/// How long a refused caller should wait when other reservations hold the units and none of them is
/// about to expire: commits come within seconds, so a second is neither a storm nor a stall.
const IN_FLIGHT_RETRY_MS: i64 = 1_000;

/// A question about the limits of one feature.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) feature: FeatureIx,
    pub(super) limits: &'a [PlanLimit],
    pub(super) origin: Origin,
}

impl Ask<'_> {
    /// Whether it is about the slots of a concurrency.
    pub(super) fn is_of_slots(&self) -> bool {
        self.limits.first().is_some_and(PlanLimit::is_slots)
    }
}

/// The ledger of a limit at this moment, and whether it is new.
#[derive(Debug, Clone, Copy)]
pub(super) struct LedgerNow {
    pub(super) ledger: Ledger,
    pub(super) fresh: bool,
}

/// One limit while a request is decided.
#[derive(Clone, Copy)]
pub(super) struct Working<'a> {
    pub(super) limit: &'a PlanLimit,
    pub(super) ledger: Ledger,
    pub(super) fresh: bool,
    pub(super) verdict: Verdict,
}

pub(super) type WorkingSet<'a> = SmallVec<[Working<'a>; 2]>;

/// Finds the ledger of the window that contains `now`, or makes it.
///
/// A window that began stays until it ends, even when the anchor or the rule changed meanwhile; the
/// next one then starts where it ended, so windows tile whatever changes.
pub(super) fn ledger_now(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    limit: &PlanLimit,
) -> LedgerNow {
    if let Some(found) = account.ledger_at(feature, limit.limit, cx.now) {
        let mut ledger = *found;
        ledger.see_limit(limit.mark());
        return LedgerNow { ledger, fresh: false };
    }
    let profile = &account.profile;
    let ruled = window_at(limit.window, profile.anchor, profile.rules(), cx.now);
    let earlier_end = account
        .ledgers()
        .iter()
        .filter(|l| l.limit == limit.limit && l.feature == feature && l.window.end() <= cx.now)
        .map(|l| l.window.end())
        .max();
    let start = earlier_end.map_or(ruled.start(), |end| end.max(ruled.start()));
    let window = Window::new(start, ruled.end()).unwrap_or(ruled);
    LedgerNow { ledger: Ledger::new(feature, limit.limit, window, limit.mark()), fresh: true }
}

/// Compares `units` more with every limit. The verdicts are what the request would get.
pub(super) fn weigh<'a>(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'a>,
    units: u64,
    uses: bool,
) -> WorkingSet<'a> {
    let feature = cx.catalog.feature(ask.feature).id;
    ask.limits
        .iter()
        .map(|limit| {
            let LedgerNow { ledger, fresh } = ledger_now(cx, account, feature, limit);
            let verdict = admission(limit, &ledger, units, uses);
            Working { limit, ledger, fresh, verdict }
        })
        .collect()
}

/// What one limit says to `units` more, used at once or held first.
pub(super) fn admission(limit: &PlanLimit, ledger: &Ledger, units: u64, uses: bool) -> Verdict {
    if let Some(ceiling) = limit.ceiling_units()
        && ledger.held().saturating_add(units) > ceiling
    {
        if limit.is_slots() {
            return Verdict::Denied(Denial::ConcurrencyFull);
        }
        let fits_later = ledger.used.saturating_add(units) <= ceiling;
        return Verdict::Denied(if fits_later { Denial::InFlight } else { Denial::QuotaExhausted });
    }
    let mut after = *ledger;
    if uses {
        after.used = after.used.saturating_add(units);
    } else {
        after.reserved = after.reserved.saturating_add(units);
    }
    level(limit, &after)
}

/// How a limit stands with this ledger.
pub(super) fn level(limit: &PlanLimit, ledger: &Ledger) -> Verdict {
    let Some(included) = limit.included_units else { return Verdict::Allowed };
    let above = ledger.held() > included;
    match limit.policy {
        Policy::Grace { .. } if above => Verdict::Grace,
        Policy::Overage if above => Verdict::Overage,
        // Only what is recorded afterwards takes a blocking limit past its included units.
        Policy::Block if above => Verdict::SoftLimit,
        _ if limit
            .soft_limits_bp
            .iter()
            .any(|bp| limit.is_past(limit.watched_units(ledger), *bp)) =>
        {
            Verdict::SoftLimit
        }
        _ => Verdict::Allowed,
    }
}

/// The place of the binding limit. There is at least one limit.
fn binding_place(working: &[Working<'_>]) -> usize {
    let gravity = |w: &Working<'_>| match w.verdict {
        // The later variant of Denial is the less important one.
        Verdict::Denied(denial) => {
            (1, i64::from(denial == Denial::QuotaExhausted), w.ledger.window.end().0)
        }
        allowed => {
            let drawable =
                w.limit.ceiling_units().map_or(u64::MAX, |c| c.saturating_sub(w.ledger.held()));
            let rank = match allowed {
                Verdict::Allowed | Verdict::Denied(_) => 0,
                Verdict::SoftLimit => 1,
                Verdict::Grace => 2,
                Verdict::Overage => 3,
            };
            (0, rank, -i64::try_from(drawable).unwrap_or(i64::MAX))
        }
    };
    let mut best = 0;
    for place in 1..working.len() {
        if gravity(&working[place]) > gravity(&working[best]) {
            best = place;
        }
    }
    best
}

/// Makes the answer from the limits as they are after the request.
pub(super) fn answer(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    working: &[Working<'_>],
) -> Decision {
    let binding = &working[binding_place(working)];
    let retry_after_ms = match binding.verdict {
        Verdict::Denied(Denial::QuotaExhausted) if !binding.ledger.window.is_lifetime() => {
            Some(binding.ledger.window.end().since(cx.now))
        }
        Verdict::Denied(Denial::InFlight) => {
            let next = account.reservations().map_or(i64::MAX, |r| r.next_event_at().since(cx.now));
            Some(next.clamp(1, IN_FLIGHT_RETRY_MS))
        }
        _ => None,
    };
    Decision {
        verdict: binding.verdict,
        binding: Some(LimitState::of(binding.limit, binding.ledger)),
        origin: ask.origin,
        plan: account.profile.plan_at(cx.now).0,
        feature: Some(cx.catalog.feature(ask.feature).id),
        value_json: None,
        retry_after_ms,
    }
}

/// Whether any limit refuses.
pub(super) fn is_refused(working: &[Working<'_>]) -> bool {
    working.iter().any(|w| !w.verdict.is_allowed())
}

/// Decides without counting.
pub(super) fn check(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    units: u64,
    attempt: bool,
    effects: &mut Effects,
) -> Outcome {
    let working = weigh(cx, account, ask, units, true);
    if attempt && is_refused(&working) {
        announce_refusal(cx, account, &working, units, effects);
    }
    let decision = answer(cx, account, ask, &working);
    let decision = concurrency::with_retry(cx, account, units, decision);
    Outcome { decision, amounts: Amounts::default() }
}

/// Decides and counts.
pub(super) fn consume(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    units: u64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let mut working = weigh(cx, account, ask, units, true);
    if is_refused(&working) {
        announce_refusal(cx, account, &working, units, effects);
        return Ok(Outcome {
            decision: answer(cx, account, ask, &working),
            amounts: Amounts::default(),
        });
    }
    if working.iter().any(|w| w.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }

    // Every check is above this line, every change below it.
    for w in &mut working {
        use_units(cx, w, units, effects);
        put_ledger(cx, account, w.ledger, w.fresh, effects);
    }
    let decision = answer(cx, account, ask, &working);
    Ok(Outcome { decision, amounts: Amounts { units, ..Amounts::default() } })
}

/// Counts usage that happened already. What no limit allows is debt.
pub(super) fn record(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    units: u64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let (limits, origin) = match resolve(cx.catalog, &account.profile, feature, cx.now) {
        (Resolved::Limits(limits), origin) => (limits, origin),
        _ => (bare_limits(cx, feature).ok_or(OpError::WrongFeatureKind)?, Origin::None),
    };
    let ask = Ask { feature, limits: &limits, origin };
    let mut working = weigh(cx, account, ask, units, true);
    if working.iter().any(|w| w.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }

    // Every check is above this line, every change below it.
    let mut debt_units = 0;
    for w in &mut working {
        let debt = debt_of(w.limit.ceiling_units(), &w.ledger, units, units);
        w.ledger.debt += debt;
        debt_units = debt_units.max(debt);
        use_units(cx, w, units, effects);
        w.verdict = level(w.limit, &w.ledger);
        put_ledger(cx, account, w.ledger, w.fresh, effects);
    }
    let decision = answer(cx, account, ask, &working);
    Ok(Outcome { decision, amounts: Amounts { units, debt_units, ..Amounts::default() } })
}

/// The part of `surplus` that the ceiling does not allow once `units` are added to the ledger.
pub(super) fn debt_of(ceiling: Option<u64>, ledger: &Ledger, units: u64, surplus: u64) -> u64 {
    let Some(ceiling) = ceiling else { return 0 };
    surplus.min((ledger.held() + units).saturating_sub(ceiling))
}

fn use_units(cx: Context<'_>, w: &mut Working<'_>, units: u64, effects: &mut Effects) {
    let change = Change { at: cx.now, previous_units: w.ledger.used, refused_units: 0 };
    w.ledger.used += units;
    assert!(w.ledger.is_sound(), "unsound ledger {:?}", w.ledger);
    signal::announce(&mut w.ledger, w.limit, change, cx.catalog.signals, effects);
}

/// Lists a ledger as changed. A new one takes the place of older ones whose window is over.
pub(super) fn put_ledger(
    cx: Context<'_>,
    account: &Account,
    ledger: Ledger,
    fresh: bool,
    effects: &mut Effects,
) {
    if fresh {
        let over = account.ledgers().iter().filter(|l| {
            l.limit == ledger.limit && l.feature == ledger.feature && l.is_over(cx.now)
        });
        effects.extend(over.map(|l| Effect::LedgerClosed(*l)));
    }
    effects.push(Effect::Ledger(ledger));
}

/// A refusal is announced once per window and revision, by the limits that refused. The answer shows
/// the ledgers as they were: what is announced of them may find no room to be kept.
pub(super) fn announce_refusal(
    cx: Context<'_>,
    account: &Account,
    working: &[Working<'_>],
    units: u64,
    effects: &mut Effects,
) {
    for w in working {
        let mut ledger = w.ledger;
        let previous_units = w.limit.watched_units(&ledger);
        match w.verdict {
            Verdict::Denied(Denial::QuotaExhausted) => {}
            Verdict::Denied(Denial::ConcurrencyFull) => {
                concurrency::rearm(w.limit, &mut ledger, previous_units);
            }
            _ => continue,
        }
        let before = effects.len();
        let change = Change { at: cx.now, previous_units, refused_units: units };
        signal::announce(&mut ledger, w.limit, change, cx.catalog.signals, effects);
        if effects.len() > before {
            put_ledger(cx, account, ledger, w.fresh, effects);
        }
    }
}
