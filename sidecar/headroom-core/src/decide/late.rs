//! Events with a time of their own, and corrections of events: they count in the window of their own
//! time.
//!
//! A window in memory changes; one that has left it is restated, which the usage history shows beside
//! what it held when it closed. Nothing here is refused for a limit: it has happened. What no limit
//! allows is debt, and units that a correction takes off are free at once. Credits that pay for it are
//! charged now, and come back now: [`super::bill`].
//!
//! What a window that is over comes to is nobody's alarm any more: only the window of now is told of.

use crate::account::Account;
use crate::catalog::{Aggregation, Catalog, FeatureIx, FeatureKind, PlanLimit};
use crate::change;
use crate::closing::WindowTerms;
use crate::credits::Charge;
use crate::decide::bill::Bill;
use crate::decide::credits::Paid;
use crate::decide::measure::{Counted, Way};
use crate::decide::meter::{self, Ask, LedgerNow, Working};
use crate::decide::settle::put_or_close;
use crate::decide::{
    Context, bare_limits, carried, credits, hold, measure, sliding, wrong_operation,
};
use crate::decision::{Decision, Denial, OpError, Verdict};
use crate::effect::{Effect, Effects};
use crate::event::{Booking, Bookings, Delta, EventState, Payment, Restated};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing;
use crate::policy;
use crate::resolve::{Origin, Resolved, ResolvedLimits, resolve};
use crate::tally;
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};

/// What was counted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// One for each limit.
    pub bookings: Bookings,
    /// The part of what was added that no limit allowed: the most of all limits.
    pub debt_units: u64,
    /// What the event cost in all. `None`: credits do not pay for it.
    pub paid: Option<Box<Payment>>,
    /// What this took from a pool of credits, or gave back.
    pub charge: Option<Box<Charge>>,
}

impl Booked {
    fn nowhere() -> Booked {
        Booked { bookings: Bookings::new(), debt_units: 0, paid: None, charge: None }
    }

    fn paid(self, bill: Option<Bill<'_>>, effects: &mut Effects) -> Booked {
        let Some(bill) = bill else { return self };
        let (paid, charge) = bill.settle(effects);
        Booked { paid: Some(paid), charge: Some(charge), ..self }
    }
}

impl Delta {
    fn between(before: u64, after: u64) -> Delta {
        // The same again is nothing that anybody should hear of.
        if after > before { Delta::More(after - before) } else { Delta::Less(before - after) }
    }

    fn signed(self) -> i64 {
        match self {
            Delta::More(units) => tally::signed(units),
            Delta::Less(units) => -tally::signed(units),
        }
    }

    fn more(self) -> u64 {
        match self {
            Delta::More(units) => units,
            Delta::Less(_) => 0,
        }
    }
}

/// The window that an event falls into.
pub(super) enum Place {
    /// In memory, or new there.
    Live(Ledger, bool),
    /// It has left the memory, or was never there.
    Past(Restated),
}

impl Place {
    pub(super) fn window(&self) -> Window {
        match self {
            Place::Live(ledger, _) => ledger.window,
            Place::Past(restated) => restated.closed.window,
        }
    }
}

/// Counts usage that happened at `at`, not later than now. `past` is what is known of windows that
/// have left the memory: of each limit those beside `at`. Of a feature that counts different values, `units` is
/// the hash of one.
pub fn record_at(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    (at, units): (Millis, u64),
    past: &[Restated],
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let (limits, origin) = limits_now(cx, account, feature)?;
    let id = cx.catalog.feature(feature).id;
    let places = limits.iter().map(|limit| (limit, place(cx, account, id, limit, at, past)));
    let units = match cx.catalog.feature(feature).aggregation() {
        Aggregation::Sum => units,
        Aggregation::Count => 1,
        Aggregation::Max => {
            let value = (Counted::Max(units), origin);
            return book_value(cx, account, value, places.collect(), effects);
        }
        Aggregation::Latest => {
            let value = (Counted::Latest(units, at), origin);
            return book_value(cx, account, value, places.collect(), effects);
        }
        Aggregation::Unique => {
            let value = (Counted::Unique(Some(units)), origin);
            return book_value(cx, account, value, places.collect(), effects);
        }
    };
    let bill = Bill::of_new(cx, account, feature, units)?;
    let booked =
        book(cx, account, (id, origin, at), (places.collect(), past), Delta::More(units), effects)?;
    Ok(own_debt(cx, booked.paid(bill, effects), id))
}

/// What a pool that was used itself owes is the debt of the event.
fn own_debt(cx: Context<'_>, booked: Booked, feature: NameId) -> Booked {
    let is_pool = cx.catalog.feature_of(feature).is_some_and(|ix| is_pool(cx.catalog, ix));
    match &booked.charge {
        Some(charge) if is_pool => Booked { debt_units: charge.debt_units, ..booked },
        _ => booked,
    }
}

fn is_pool(catalog: &Catalog, feature: FeatureIx) -> bool {
    matches!(catalog.feature(feature).kind, FeatureKind::Credits { .. })
}

/// Lets an event count `units` from now on, in the windows it was counted in.
pub fn correct(
    cx: Context<'_>,
    account: &Account,
    event: &EventState,
    units: u64,
    past: &[Restated],
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let feature = cx.catalog.feature_of(event.feature);
    feature.map_or(Ok(()), |feature| is_correctable(cx.catalog, feature))?;
    let resolved = feature.and_then(|feature| limits_now(cx, account, feature).ok());
    let (limits, origin) = resolved.unwrap_or((ResolvedLimits::Planned(&[]), Origin::None));
    let mut places = Vec::new();
    for booking in &event.bookings {
        let (limit, start) = (booking.limit, booking.window_start);
        // A limit that is not in force any more allows nothing, and nobody is told.
        let known = limits.iter().find(|l| l.limit == limit).unwrap_or(&hold::GONE);
        let is_it = |r: &&Restated| r.closed.is(event.feature, limit, start);
        let place = match account.ledger(event.feature, limit, start) {
            Some(ledger) => Place::Live(*ledger, false),
            None => match past.iter().find(is_it) {
                Some(restated) => Place::Past(*restated),
                None => continue,
            },
        };
        places.push((known, place));
    }
    let aggregation = feature.map_or(Aggregation::Sum, |ix| cx.catalog.feature(ix).aggregation());
    let (before, after) = match aggregation {
        Aggregation::Count => (event.units.min(1), units.min(1)),
        _ => (event.units, units),
    };
    let delta = Delta::between(before, after);
    let bill = event.paid.as_ref().map(|paid| Bill::of_change(cx, account, paid, after));
    let bill = bill.transpose()?;
    let of = (event.feature, origin, event.occurred_at);
    let booked = book(cx, account, of, (places, past), delta, effects)?;
    Ok(own_debt(cx, booked.paid(bill, effects), event.feature))
}

/// Whether events can be taken out of what a feature counts.
///
/// # Errors
/// When they cannot.
pub fn is_correctable(catalog: &Catalog, feature: FeatureIx) -> Result<(), OpError> {
    let aggregation = catalog.feature(feature).aggregation();
    if aggregation.adds_up() {
        return Ok(());
    }
    Err(OpError::NotCorrectable { aggregation: aggregation.as_str() })
}

/// How the limits of a feature stand, without a question to them: the answer to what has happened.
pub fn standing(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
) -> Result<Decision, OpError> {
    let (limits, origin) = limits_now(cx, account, feature)?;
    let id = cx.catalog.feature(feature).id;
    let paid = Paid::of_event(cx, account, feature);
    if let Some(paid) = paid.as_ref().filter(|_| is_pool(cx.catalog, feature)) {
        let blank = Decision { origin, ..credits::blank(cx, account, id) };
        return Ok(paid.joined(cx, account, blank));
    }
    let mut working = meter::WorkingSet::new();
    for limit in limits.iter() {
        let mut w = meter::working_now(cx, account, id, limit);
        w.verdict = meter::level(w.limit, w.room, &w.ledger);
        working.push(w);
    }
    let decision = measure::answer(cx, account, Ask { feature, limits: &limits, origin }, &working);
    Ok(match paid {
        Some(paid) => paid.joined(cx, account, decision),
        None => decision,
    })
}

/// The answer about a feature that left the catalog.
pub fn left(cx: Context<'_>, account: &Account, feature: NameId) -> Decision {
    Decision {
        verdict: Verdict::Allowed,
        ..super::refusal(account, cx.now, Some(feature), Denial::UnknownFeature)
    }
}

/// Where an event of this instant would have been counted: for those that were counted as they came,
/// whose windows nothing remembers.
pub fn bookings_at(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    at: Millis,
    past: &[Restated],
) -> Result<Bookings, OpError> {
    let (limits, _) = limits_now(cx, account, feature)?;
    let id = cx.catalog.feature(feature).id;
    let found = limits.iter().filter_map(|limit| {
        let window_start = match account.ledger_at(id, limit.limit, at) {
            Some(ledger) => ledger.window.start(),
            None => past.iter().find(|r| is_of(&r.closed, id, limit, at))?.closed.window.start(),
        };
        Some(Booking { limit: limit.limit, window_start, restated: false })
    });
    Ok(found.collect())
}

fn limits_now<'a>(
    cx: Context<'a>,
    account: &'a Account,
    feature: FeatureIx,
) -> Result<(ResolvedLimits<'a>, Origin), OpError> {
    wrong_operation(cx, feature).map_or(Ok(()), Err)?;
    if let FeatureKind::Allocation { .. } = cx.catalog.feature(feature).kind {
        return Err(OpError::LevelIsNow);
    }
    if is_pool(cx.catalog, feature) {
        let origin = resolve(cx.catalog, account, feature, cx.now).1;
        return Ok((ResolvedLimits::Planned(&[]), origin));
    }
    match resolve(cx.catalog, account, feature, cx.now) {
        (Resolved::Limits(limits), origin) => Ok((limits, origin)),
        _ => Ok((bare_limits(cx, feature).ok_or(OpError::WrongFeatureKind)?, Origin::None)),
    }
}

fn is_of(ledger: &Ledger, feature: NameId, limit: &PlanLimit, at: Millis) -> bool {
    ledger.limit == limit.limit && ledger.feature == feature && ledger.window.contains(at)
}

/// The window of a limit that an instant of the past lies in: the one that was counted over then, or
/// a new one in the gap between those that were.
pub(super) fn place(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    limit: &PlanLimit,
    at: Millis,
    past: &[Restated],
) -> Place {
    // A lifetime has one window, also for what came before it began.
    let at = if limit.window == WindowRule::Lifetime { cx.now } else { at };
    if let Some(ledger) = account.ledger_at(feature, limit.limit, at) {
        return Place::Live(*ledger, false);
    }
    if let Some(restated) = past.iter().find(|r| is_of(&r.closed, feature, limit, at)) {
        return Place::Past(*restated);
    }
    let windows = || {
        let live = account.ledgers().iter().chain(past.iter().map(|r| &r.closed));
        live.filter(|l| l.limit == limit.limit && l.feature == feature).map(|l| l.window)
    };
    let next = windows().filter(|w| at < w.start()).map(|w| w.start()).min();
    let Some(next) = next else {
        // Nothing came later: it is as if the event had come in time.
        let LedgerNow { ledger, fresh } =
            meter::ledger_now(Context { now: at, ..cx }, account, feature, limit);
        return Place::Live(ledger, fresh);
    };
    let profile = &account.profile;
    let ruled = window_at(limit.window, profile.anchor, profile.rules(), at);
    let before = windows().filter(|w| w.end() <= at).map(|w| w.end()).max();
    let start = before.map_or(ruled.start(), |end| end.max(ruled.start()));
    let window = Window::new(start, ruled.end().min(next)).unwrap_or(ruled);
    let ledger = Ledger::new(feature, limit.limit, window, limit.mark());
    let counts_on_ms = sliding::counts_on_ms(cx.catalog, feature, limit.limit);
    // The window of now began with its first use, and so later than this event; or a bucket that was
    // empty still counts.
    let now_start = meter::ledger_now(cx, account, feature, limit).ledger.window.start();
    if counts_on_ms > 0 && now_start < window.end().plus(counts_on_ms) {
        return Place::Live(ledger, true);
    }
    // A bucket has no limit of its own.
    let terms = (counts_on_ms == 0).then(|| WindowTerms::of(limit, change::plan_over(profile, at)));
    Place::Past(Restated::as_closed(ledger, terms))
}

/// Whether a window had begun to count before anything came late to it.
pub(super) fn is_known(place: &Place, past: &[Restated]) -> bool {
    match place {
        Place::Live(_, fresh) => !fresh,
        Place::Past(found) => {
            let is_it = |r: &&Restated| {
                r.closed.is(found.closed.feature, found.closed.limit, found.closed.window.start())
            };
            past.iter().any(|known| is_it(&known))
        }
    }
}

fn book(
    cx: Context<'_>,
    account: &Account,
    (feature, origin, at): (NameId, Origin, Millis),
    (places, past): (Vec<(&PlanLimit, Place)>, &[Restated]),
    delta: Delta,
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let within = tally::within(places.iter().map(|(limit, place)| (*limit, place.window())));
    let mut todo = Vec::with_capacity(places.len());
    for (limit, place) in places {
        let (held, own) = match &place {
            Place::Live(ledger, fresh) => {
                (working_at(cx, account, limit, *ledger, *fresh).ledger.held(), *ledger)
            }
            Place::Past(restated) => (restated.used, restated.closed),
        };
        let is_passed_on = carried::concerns(cx, limit, &own);
        let fits_after = !is_passed_on || carried::fits(account, past, &own, delta.more());
        if held + delta.more() > limits::UNITS_MAX || !fits_after {
            return Err(OpError::CounterFull);
        }
        todo.push((limit, place, is_passed_on));
    }

    // Every check is above this line, every change below it.
    let mut booked = Booked::nowhere();
    if !todo.is_empty() {
        tally::note(cx, account, feature, (at, within), delta.signed(), effects);
    }
    for (limit, place, is_passed_on) in todo {
        let listed = effects.len();
        let (owed, debt, booking) = match place {
            Place::Live(ledger, fresh) => {
                let w = working_at(cx, account, limit, ledger, fresh);
                let before = w.own().debt;
                let (own, debt, booking) = book_live(cx, account, (w, origin), delta, effects);
                (carried::Owed { window: own.window, before, after: own.debt }, debt, booking)
            }
            Place::Past(restated) => {
                let (window, before) = (restated.closed.window, restated.debt);
                let (after, debt, booking) = book_past(limit, restated, delta, effects);
                (carried::Owed { window, before, after }, debt, booking)
            }
        };
        booked.debt_units = booked.debt_units.max(debt);
        booked.bookings.push(booking);
        if is_passed_on && owed.before != owed.after {
            // The windows after it meet the account as this one has left it.
            let mut then = account.clone();
            effects[listed..].iter().for_each(|effect| then.apply(effect));
            let of = (feature, limit, origin);
            carried::pass_on(cx, &mut then, of, owed, past, effects);
        }
    }
    Ok(booked)
}

/// Books a value that counts otherwise than by being added.
fn book_value(
    cx: Context<'_>,
    account: &Account,
    (value, origin): (Counted, Origin),
    places: Vec<(&PlanLimit, Place)>,
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    for (_, place) in &places {
        let ledger = match place {
            Place::Live(ledger, _) => *ledger,
            Place::Past(restated) => Ledger { used: restated.used, ..restated.closed },
        };
        // Of a window that is over only the counter is known.
        if let (Place::Past(_), Some(aggregation)) = (place, value.needs_measure()) {
            return Err(OpError::WindowIsOver { aggregation: aggregation.as_str() });
        }
        if !value.fits(account, &ledger) {
            return Err(OpError::CounterFull);
        }
    }

    // Every check is above this line, every change below it.
    let mut booked = Booked::nowhere();
    for (limit, place) in places {
        let (debt, booking) = match place {
            Place::Live(ledger, fresh) => {
                let mut w = working_at(cx, account, limit, ledger, fresh);
                let told = origin != Origin::None && ledger.window.contains(cx.now);
                let way = Way { records: true, told, of_subject: false };
                let debt = value.count(cx, account, &mut w, way, effects);
                if debt.is_some() && fresh {
                    meter::put_ledger(cx, account, w.own(), true, effects);
                } else if debt.is_some() {
                    effects.push(put_or_close(cx, account, w.own()));
                }
                let window_start = ledger.window.start();
                (debt, Booking { limit: ledger.limit, window_start, restated: false })
            }
            Place::Past(restated) => {
                let (limit_id, window_start) = (limit.limit, restated.closed.window.start());
                let rises = value.above(restated.used);
                let booking = Booking { limit: limit_id, window_start, restated: true };
                match rises {
                    0 => (None, booking),
                    _ => {
                        let more = Delta::More(rises);
                        let (_, debt, booking) = book_past(limit, restated, more, effects);
                        (Some(debt), booking)
                    }
                }
            }
        };
        booked.debt_units = booked.debt_units.max(debt.unwrap_or_default());
        booked.bookings.push(booking);
    }
    Ok(booked)
}

/// The limit with the ledger of an earlier moment, as [`meter::working_now`] has that of now.
pub(super) fn working_at<'a>(
    cx: Context<'_>,
    account: &Account,
    limit: &'a PlanLimit,
    mut ledger: Ledger,
    fresh: bool,
) -> Working<'a> {
    let mut beyond = None;
    match sliding::every_of(limit) {
        // A limit that is gone has no definition that a ledger could have seen.
        None if limit.limit != ledger.limit => {}
        None => ledger.see_limit(limit.mark()),
        Some(every) => {
            let now = meter::ledger_now(cx, account, ledger.feature, limit);
            let current = now.ledger.window;
            let (sum, rest) = sliding::sum(account, limit, every, (ledger, fresh), current);
            (ledger, beyond) = (sum, Some(rest));
        }
    }
    let room = policy::room(account, limit, &ledger, cx.now);
    let verdict = meter::level(limit, room, &ledger);
    let enough_at = Millis::FOREVER;
    Working { limit, ledger, fresh, room, verdict, enough_at, beyond }
}

fn book_live(
    cx: Context<'_>,
    account: &Account,
    (mut w, origin): (Working<'_>, Origin),
    delta: Delta,
    effects: &mut Effects,
) -> (Ledger, u64, Booking) {
    let own = w.own();
    let mut debt = 0;
    match delta {
        Delta::More(units) => {
            debt = meter::debt_of(w.room.ceiling, &w.ledger, units, units);
            let previous_units = w.ledger.used;
            w.ledger.debt += debt;
            w.ledger.used += units;
            assert!(w.own().is_sound(), "unsound ledger {:?}", w.own());
            let is_now = w.beyond.is_some() || own.window.contains(cx.now);
            if origin != Origin::None && is_now {
                meter::announce_use(cx, account, &mut w, previous_units, effects);
            }
        }
        Delta::Less(units) => {
            let units = units.min(own.used);
            w.ledger.used -= units;
            let left = (own.used - units, w.ledger.used);
            let left_debt = debt_without(own.debt, units, left, w.room.ceiling);
            w.ledger.debt -= own.debt - left_debt;
            assert!(w.own().is_sound(), "unsound ledger {:?}", w.own());
        }
    }
    if w.fresh {
        meter::put_ledger(cx, account, w.own(), true, effects);
    } else {
        effects.push(put_or_close(cx, account, w.own()));
    }
    if !account.is_replaced(&own, 0) {
        owing::note(cx, account, &w.own(), effects);
    }
    let limit = own.limit;
    (w.own(), debt, Booking { limit, window_start: own.window.start(), restated: false })
}

fn book_past(
    limit: &PlanLimit,
    mut restated: Restated,
    delta: Delta,
    effects: &mut Effects,
) -> (u64, u64, Booking) {
    let ceiling = limit.ceiling_units();
    let mut debt = 0;
    match delta {
        Delta::More(units) => {
            restated.used += units;
            debt = ceiling.map_or(0, |most| units.min(restated.used.saturating_sub(most)));
            restated.debt += debt;
        }
        Delta::Less(units) => {
            let units = units.min(restated.used);
            restated.used -= units;
            let left = (restated.used, restated.used);
            restated.debt = debt_without(restated.debt, units, left, ceiling);
        }
    }
    assert!(restated.debt <= restated.used, "unsound window {restated:?}");
    restated.passed = None;
    let (limit, window_start) = (restated.closed.limit, restated.closed.window.start());
    effects.push(Effect::Restated(Box::new(restated)));
    (restated.debt, debt, Booking { limit, window_start, restated: true })
}

/// The debt of a window when `units` less are used: it shrinks by no more than them, and not below what
/// is over the ceiling all the same. `left` is what is then used in the window's own ledger and in all
/// that the limit counts.
pub(super) fn debt_without(debt: u64, units: u64, left: (u64, u64), ceiling: Option<u64>) -> u64 {
    let over = ceiling.map_or(0, |most| left.1.saturating_sub(most));
    debt.saturating_sub(units).max(debt.min(over)).min(left.0)
}
