//! Counting against limits: check, consume, record.
//!
//! All limits of a feature are charged together or none is. Admission looks at used + reserved,
//! thresholds look at used.

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{FeatureIx, PlanLimit, Policy};
use crate::closing;
use crate::decide::sliding::{self, Beyond};
use crate::decide::{Context, allocation, bare_limits, concurrency, settle, wait};
use crate::decision::{
    Amounts, Decision, Denial, LimitState, OpError, Outcome, Verdict, WindowPhase,
};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing::{self, Owing};
use crate::policy::{self, Room};
use crate::reservation::ReservationState;
use crate::resolve::{Origin, Resolved, Whose, resolve};
use crate::signal::{self, Change};
use crate::stock;
use crate::tally;
use crate::time::{Millis, Window};
use crate::unlock;
use crate::window::{WindowRule, window_at};

/// How long a refused caller should wait when other reservations hold the units and none of them is
/// about to expire: commits come within seconds, so a second is neither a storm nor a stall.
pub(super) const IN_FLIGHT_RETRY_MS: i64 = 1_000;

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

    /// Whether it is about seats.
    pub(super) fn is_of_seats(&self) -> bool {
        self.limits.first().is_some_and(PlanLimit::is_seats)
    }
}

/// The ledger of a limit at this moment, and whether it is new.
#[derive(Debug, Clone, Copy)]
pub(super) struct LedgerNow {
    pub(super) ledger: Ledger,
    pub(super) fresh: bool,
}

/// One limit while a request is decided.
#[derive(Clone)]
pub(super) struct Working<'a> {
    pub(super) limit: &'a PlanLimit,
    /// The counters. Of a sliding window, the sum of its buckets.
    pub(super) ledger: Ledger,
    pub(super) fresh: bool,
    pub(super) room: Room,
    pub(super) verdict: Verdict,
    /// When a request that it refused would fit, if nothing else happens; [`Millis::FOREVER`]: never, or
    /// nothing was refused.
    pub(super) enough_at: Millis,
    /// The rest of a sliding window; boxed because most windows do not slide.
    pub(super) beyond: Option<Box<Beyond>>,
}

impl Working<'_> {
    /// The ledger to write down.
    #[inline]
    pub(super) fn own(&self) -> Ledger {
        self.own_of(&self.ledger)
    }

    /// The ledger to write down when the counters are these.
    #[inline]
    fn own_of(&self, ledger: &Ledger) -> Ledger {
        match &self.beyond {
            None => *ledger,
            Some(beyond) => beyond.bucket(ledger, self.limit),
        }
    }

    /// Whether nothing has begun a window yet that begins with the first use.
    pub(super) fn is_not_begun(&self) -> bool {
        self.fresh && matches!(self.limit.window, WindowRule::FirstUse(_))
    }

    /// The limit as it stands.
    #[inline(always)]
    pub(super) fn state(&self) -> LimitState {
        let mut state = LimitState::of(self.limit, self.ledger, self.room);
        match &self.beyond {
            None if self.is_not_begun() => state.phase = WindowPhase::NotBegun,
            None => {}
            Some(beyond) => beyond.dress(&mut state),
        }
        state
    }

    /// The limit as an answer shows it: of a level also what its billing window comes to so far.
    #[inline(always)]
    pub(super) fn shown(&self, cx: Context<'_>, account: &Account) -> LimitState {
        let mut state = self.state();
        if state.beyond.is_some() || self.limit.is_level() {
            self.dress(cx, account, &mut state);
        }
        state
    }

    // A call, because it is rare, and so that the state is made where it stays.
    #[cold]
    fn dress(&self, cx: Context<'_>, account: &Account, state: &mut LimitState) {
        if self.limit.is_level() {
            *state = allocation::state(cx, account, self);
        } else if let Some(beyond) = &mut state.beyond {
            beyond.grace_uses = policy::grace_uses(account, self.limit, &self.ledger, cx.now);
        }
    }
}

pub(super) type WorkingSet<'a> = SmallVec<[Working<'a>; 2]>;

/// Finds the ledger of the window that contains `now`, or makes it.
///
/// A window that began stays until it ends, even when the anchor or the rule changed meanwhile; the
/// next one then starts where it ended, so windows tile whatever changes. Of a sliding window it is
/// the bucket. The limit's definition may have changed since the ledger was written.
pub(super) fn ledger_now(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    limit: &PlanLimit,
) -> LedgerNow {
    if let Some(found) = account.ledger_at(feature, limit.limit, cx.now) {
        return LedgerNow { ledger: *found, fresh: false };
    }
    let profile = &account.profile;
    let ruled = window_at(limit.window, profile.anchor, profile.rules(), cx.now);
    let earlier = account
        .ledgers()
        .iter()
        .filter(|l| l.limit == limit.limit && l.feature == feature && l.window.end() <= cx.now)
        .max_by_key(|l| l.window.end());
    let start = earlier.map_or(ruled.start(), |l| l.window.end().max(ruled.start()));
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
    let mut working = WorkingSet::new();
    weigh_into(&mut working, cx, account, ask, (units, uses));
    working
}

/// As [`weigh`], into a set of the caller: returning it would move all of it once more.
fn weigh_into<'a>(
    working: &mut WorkingSet<'a>,
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'a>,
    (units, uses): (u64, bool),
) {
    let feature = cx.catalog.feature(ask.feature).id;
    // A loop, because collecting moves each of them once more.
    for limit in ask.limits {
        let mut w = working_now(cx, account, feature, limit);
        w.verdict = admission(limit, w.room, &w.ledger, units, uses);
        working.push(w);
    }
}

/// A limit as it stands at this moment.
// Inlined, because it is large and every call would move it once more.
#[inline(always)]
pub(super) fn working_now<'a>(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    limit: &'a PlanLimit,
) -> Working<'a> {
    let LedgerNow { mut ledger, fresh } = ledger_now(cx, account, feature, limit);
    let mut beyond = None;
    match sliding::every_of(limit) {
        None => ledger.see_limit(limit.mark()),
        Some(every) => {
            let current = ledger.window;
            let (sum, rest) = sliding::sum(account, limit, every, (ledger, fresh), current);
            (ledger, beyond) = (sum, Some(rest));
        }
    }
    let room = policy::room(account, limit, &ledger, cx.now);
    let (verdict, enough_at) = (Verdict::Allowed, Millis::FOREVER);
    Working { limit, ledger, fresh, room, verdict, enough_at, beyond }
}

/// The most that counts in a window without being debt: one that is over is measured by what was in force at its
/// end, also where that is gone by now and another limit stands for it. `None`: no bound.
///
/// An answer shows the limit of now all the same.
pub(super) fn ceiling_then(cx: Context<'_>, whose: Whose<'_>, w: &Working<'_>) -> Option<u64> {
    let (limit, ledger) = (w.limit, &w.ledger);
    let is_gone = limit.limit != ledger.limit;
    if w.beyond.is_some() || limit.is_slots() || cx.now < ledger.window.end() && !is_gone {
        return w.room.ceiling;
    }
    let terms = closing::terms_at(cx, whose, whose.account.owing(ledger), ledger);
    closing::ceiling_by(cx, terms.as_ref(), (limit, whose.subject.is_some()), ledger)
}

/// What one limit says to `units` more, used at once or held first.
#[inline]
pub(super) fn admission(
    limit: &PlanLimit,
    room: Room,
    ledger: &Ledger,
    units: u64,
    uses: bool,
) -> Verdict {
    if limit.is_quiet(ledger.held().saturating_add(units)) {
        return Verdict::Allowed;
    }
    if let Some(ceiling) = room.ceiling
        && ledger.held().saturating_add(units) > ceiling
    {
        if limit.is_slots() {
            return Verdict::Denied(Denial::ConcurrencyFull);
        }
        if limit.is_seats() {
            return Verdict::Denied(Denial::SeatsFull);
        }
        let fits_later = ledger.used.saturating_add(units) <= ceiling;
        return Verdict::Denied(match limit.policy {
            _ if fits_later => Denial::InFlight,
            Policy::Overage => Denial::SpendCapReached,
            _ => Denial::QuotaExhausted,
        });
    }
    admitted(limit, room, ledger, units, uses)
}

/// How a limit stands with `units` more, used at once or held first.
#[inline]
fn admitted(limit: &PlanLimit, room: Room, ledger: &Ledger, units: u64, uses: bool) -> Verdict {
    let mut after = *ledger;
    if uses {
        after.used = after.used.saturating_add(units);
    } else {
        after.reserved = after.reserved.saturating_add(units);
    }
    level(limit, room, &after)
}

/// How a limit stands with this ledger.
#[inline]
pub(super) fn level(limit: &PlanLimit, room: Room, ledger: &Ledger) -> Verdict {
    let Some(included) = limit.included_units else { return Verdict::Allowed };
    let above = ledger.held() > included;
    match limit.policy {
        // Past what admission lets in: a blocking limit, a grace that has run out, a spend cap.
        _ if above && room.ceiling.is_some_and(|ceiling| ledger.held() > ceiling) => {
            Verdict::Unbacked
        }
        Policy::Grace { .. } if above => Verdict::Grace,
        Policy::Overage if above => Verdict::Overage,
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
pub(super) fn binding_place(working: &[Working<'_>]) -> usize {
    let gravity = |w: &Working<'_>| match w.verdict {
        // The later variant of Denial is the less important one.
        Verdict::Denied(denial) => {
            let rank = match denial {
                Denial::QuotaExhausted => 2,
                Denial::SpendCapReached => 1,
                _ => 0,
            };
            (1, rank, w.enough_at.0)
        }
        allowed => {
            let drawable = w.room.ceiling.map_or(u64::MAX, |c| c.saturating_sub(w.ledger.held()));
            let rank = match allowed {
                Verdict::Allowed | Verdict::Denied(_) => 0,
                Verdict::SoftLimit => 1,
                Verdict::Grace => 2,
                Verdict::Overage => 3,
                Verdict::Unbacked => 4,
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
#[inline(always)]
pub(super) fn answer(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    working: &[Working<'_>],
) -> Decision {
    answer_shadowed(cx, account, ask, working, None)
}

/// As [`answer`], with what shadow mode has let go on.
#[inline(always)]
pub(super) fn answer_shadowed(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    working: &[Working<'_>],
    shadow: Option<Denial>,
) -> Decision {
    let binding = &working[binding_place(working)];
    let retry_after_ms = match binding.verdict {
        Verdict::Denied(Denial::QuotaExhausted | Denial::SpendCapReached)
            if binding.enough_at != Millis::FOREVER =>
        {
            Some(binding.enough_at.since(cx.now))
        }
        Verdict::Denied(Denial::InFlight) => {
            Some(freed_within(cx, account, binding.ledger.feature).unwrap_or(IN_FLIGHT_RETRY_MS))
        }
        _ => None,
    };
    Decision {
        verdict: binding.verdict,
        // Made where it stays, because it is large.
        binding: Some(binding.shown(cx, account)),
        origin: ask.origin,
        plan: account.profile.plan_at(cx.now).0,
        feature: Some(cx.catalog.feature(ask.feature).id),
        value_json: None,
        retry_after_ms,
        shadow,
    }
}

/// Milliseconds until the first hold of a feature ends by time, if it ends before anybody would ask
/// again anyway.
fn freed_within(cx: Context<'_>, account: &Account, feature: NameId) -> Option<i64> {
    let soon = account.reservations()?.due(cx.now.plus(IN_FLIGHT_RETRY_MS));
    let mut open = soon.filter(|r| r.feature == feature && r.state == ReservationState::Open);
    Some(open.next()?.expires_at.since(cx.now).clamp(1, IN_FLIGHT_RETRY_MS))
}

/// Lets a feature that is only watched go on where its limits refuse, and says why they do.
#[inline]
pub(super) fn allow_in_shadow(
    cx: Context<'_>,
    ask: Ask<'_>,
    working: &mut [Working<'_>],
    units: u64,
    uses: bool,
) -> Option<Denial> {
    if !cx.catalog.feature(ask.feature).shadow {
        return None;
    }
    allow(ask, working, units, uses)
}

#[cold]
fn allow(ask: Ask<'_>, working: &mut [Working<'_>], units: u64, uses: bool) -> Option<Denial> {
    let denial = match working[binding_place(working)].verdict {
        _ if ask.origin == Origin::None => Some(Denial::NotInPlan),
        Verdict::Denied(denial) => Some(denial),
        _ => None,
    };
    for w in working.iter_mut().filter(|w| !w.verdict.is_allowed()) {
        w.verdict = admitted(w.limit, w.room, &w.ledger, units, uses);
    }
    denial
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
    let mut working = WorkingSet::new();
    weigh_into(&mut working, cx, account, ask, (units, true));
    let shadow = allow_in_shadow(cx, ask, &mut working, units, true);
    if is_refused(&working) {
        wait::note_refused(cx, account, (ask.feature, None), &mut working, units);
        if attempt {
            announce_refusal(cx, account, &working, units, effects);
        }
    }
    let decision = answer_shadowed(cx, account, ask, &working, shadow);
    let decision = concurrency::with_retry(cx, account, units, decision);
    Outcome { decision, amounts: Amounts::default() }
}

/// Decides and counts.
#[inline(always)]
pub(super) fn consume(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    units: u64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let mut working = WorkingSet::new();
    weigh_into(&mut working, cx, account, ask, (units, true));
    let shadow = allow_in_shadow(cx, ask, &mut working, units, true);
    if is_refused(&working) {
        wait::note_refused(cx, account, (ask.feature, None), &mut working, units);
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
        use_units(cx, account, w, (units, ask.origin), effects);
        put_ledger(cx, account, w.own(), w.fresh, effects);
        w.fresh = false;
    }
    note_tally(cx, account, ask.feature, &working, units, effects);
    Ok(Outcome {
        decision: answer_shadowed(cx, account, ask, &working, shadow),
        amounts: Amounts { units, ..Amounts::default() },
    })
}

/// Counts usage that happened already. What no limit allows is debt.
pub(super) fn record(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    units: u64,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let (limits, origin) = match resolve(cx.catalog, account, feature, cx.now) {
        (Resolved::Limits(limits), origin) => (limits, origin),
        _ => (bare_limits(cx, feature).ok_or(OpError::WrongFeatureKind)?, Origin::None),
    };
    let ask = Ask { feature, limits: &limits, origin };
    let mut working = WorkingSet::new();
    weigh_into(&mut working, cx, account, ask, (units, true));
    if working.iter().any(|w| w.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }

    // Every check is above this line, every change below it.
    let mut debt_units = 0;
    for w in &mut working {
        let debt = debt_of(w.room.ceiling, &w.ledger, units, units);
        w.ledger.debt += debt;
        debt_units = debt_units.max(debt);
        use_units(cx, account, w, (units, origin), effects);
        w.verdict = level(w.limit, w.room, &w.ledger);
        put_ledger(cx, account, w.own(), w.fresh, effects);
        owing::note(cx, account, &w.own(), effects);
        w.fresh = false;
    }
    note_tally(cx, account, feature, &working, units, effects);
    let decision = answer(cx, account, ask, &working);
    Ok(Outcome { decision, amounts: Amounts { units, debt_units, ..Amounts::default() } })
}

/// Notes a use of now in the tally of a feature that has buckets.
#[inline]
pub(super) fn note_tally(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    working: &[Working<'_>],
    units: u64,
    effects: &mut Effects,
) {
    let feature = cx.catalog.feature(feature);
    if feature.counting.is_some() {
        let within = tally::within(working.iter().map(|w| (w.limit, w.ledger.window)));
        tally::note(cx, account, feature.id, (cx.now, within), tally::signed(units), effects);
    }
}

/// The part of `surplus` that the ceiling does not allow once `units` are added to the ledger.
pub(super) fn debt_of(ceiling: Option<u64>, ledger: &Ledger, units: u64, surplus: u64) -> u64 {
    let Some(ceiling) = ceiling else { return 0 };
    surplus.min((ledger.held() + units).saturating_sub(ceiling))
}

#[inline]
pub(super) fn use_units(
    cx: Context<'_>,
    account: &Account,
    w: &mut Working<'_>,
    (units, origin): (u64, Origin),
    effects: &mut Effects,
) {
    let previous_units = w.ledger.used;
    w.ledger.used += units;
    assert!(w.ledger.is_sound(), "unsound ledger {:?}", w.ledger);
    stock::note(cx, account, &w.ledger, effects);
    // What no plan contains has no limit that could be near or hit.
    if origin != Origin::None {
        announce_use(cx, account, w, previous_units, effects);
    }
}

/// Says what a ledger has come to by a use.
#[inline]
pub(super) fn announce_use(
    cx: Context<'_>,
    account: &Account,
    w: &mut Working<'_>,
    previous_units: u64,
    effects: &mut Effects,
) {
    if w.limit.is_quiet(w.ledger.held())
        || w.beyond.as_ref().is_some_and(|beyond| !beyond.is_told())
    {
        return;
    }
    if w.limit.unlocks(w.ledger.used) {
        unlock::earn(cx, account, (&w.ledger, previous_units), effects);
    }
    let change = Change { at: cx.now, previous_units, refused_units: 0 };
    signal::announce(&mut w.ledger, w.limit, change, cx.catalog.signals, effects);
    // Grace and overage begin in a window that lies still; of one that slides the hit is told.
    if w.beyond.is_none() {
        policy::begin(cx, account, w.limit, &mut w.room, (&w.ledger, previous_units), effects);
        if w.limit.policy == Policy::Overage {
            policy::near_cap(cx, account, w.limit, (&w.ledger, previous_units), effects);
        }
    }
}

/// The window of now, when debt of an earlier one must be counted there at once: the limit carries
/// debt, and a later window than `ledger`'s has taken over what it owed already.
pub(super) fn carried_now<'a>(
    cx: Context<'_>,
    account: &Account,
    limit: &'a PlanLimit,
    ledger: &Ledger,
) -> Option<Working<'a>> {
    if !owing::carries(limit) || cx.now < ledger.window.end() || !account.is_replaced(ledger, 0) {
        return None;
    }
    // A limit that carries debt does not slide.
    Some(working_now(cx, account, ledger.feature, limit))
}

/// Counts debt of an earlier window as used in the window of now.
pub(super) fn carry(
    cx: Context<'_>,
    account: &Account,
    mut to: Working<'_>,
    debt: u64,
    effects: &mut Effects,
) {
    let previous_units = to.ledger.used;
    to.ledger.debt += debt_of(to.limit.ceiling_units(), &to.ledger, debt, debt);
    to.ledger.used += debt;
    assert!(to.ledger.is_sound(), "unsound ledger {:?}", to.ledger);
    announce_use(cx, account, &mut to, previous_units, effects);
    put_ledger(cx, account, to.ledger, to.fresh, effects);
    let known = account.owing(&to.ledger).copied().unwrap_or_else(|| Owing::of(&to.ledger));
    let carried_units = known.carried_units + debt;
    effects.push(Effect::Owing(Box::new(Owing { carried_units, noted: true, ..known })));
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
        let counts_on_ms = sliding::counts_on_ms(cx.catalog, ledger.feature, ledger.limit);
        let over = account.ledgers().iter().filter(|l| {
            l.limit == ledger.limit
                && l.feature == ledger.feature
                && l.is_over(cx.now)
                && l.window.end().plus(counts_on_ms) <= ledger.window.start()
        });
        over.for_each(|l| settle::close(cx, account, *l, effects));
    }
    effects.push(Effect::Ledger(ledger));
}

/// A refusal is announced once per window and revision, by the limits that refused. The answer shows
/// the ledgers as they were: what is announced of them may find no room to be kept.
///
/// Where no window has begun nothing remembers that it was announced, and a refusal must not begin one:
/// such a request asks for more than a whole window has, and nobody is told.
#[cold]
pub(super) fn announce_refusal(
    cx: Context<'_>,
    account: &Account,
    working: &[Working<'_>],
    units: u64,
    effects: &mut Effects,
) {
    for w in working {
        if w.is_not_begun() || w.beyond.as_ref().is_some_and(|beyond| !beyond.is_told()) {
            continue;
        }
        let mut ledger = w.ledger;
        let previous_units = w.limit.watched_units(&ledger);
        match w.verdict {
            Verdict::Denied(
                Denial::QuotaExhausted | Denial::SpendCapReached | Denial::SeatsFull,
            ) => {}
            Verdict::Denied(Denial::ConcurrencyFull) => {
                concurrency::rearm(cx, account, w.limit, &mut ledger, previous_units);
            }
            _ => continue,
        }
        let before = effects.len();
        let change = Change { at: cx.now, previous_units, refused_units: units };
        signal::announce(&mut ledger, w.limit, change, cx.catalog.signals, effects);
        if effects.len() > before {
            concurrency::note_told(cx, w.limit, &ledger, effects);
            put_ledger(cx, account, w.own_of(&ledger), w.fresh, effects);
        }
    }
}
