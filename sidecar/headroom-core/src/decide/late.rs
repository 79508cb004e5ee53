//! Events with a time of their own, and corrections of events: they count in the window of their own
//! time.
//!
//! A window in memory changes; one that has left it is restated, which the usage history shows beside
//! what it held when it closed. Nothing here is refused for a limit: it has happened. What no limit
//! allows is debt, by the limit that was in force at the end of the window ([`crate::closing`]), and
//! units that a correction takes off are free at once. Credits that pay for it are charged now, and
//! come back now: [`super::bill`].
//!
//! What a window that is over comes to is nobody's alarm any more: only the window of now is told of.

mod book;
mod levels;
mod place;
mod value;

use crate::account::Account;
use crate::catalog::{Aggregation, Catalog, FeatureIx, FeatureKind, PlanLimit};
use crate::credits::Charge;
use crate::decide::bill::Bill;
use crate::decide::credits::Paid;
use crate::decide::measure::Counted;
use crate::decide::meter::{self, Ask, Working};
use crate::decide::{Context, bare_limits, credits, hold, measure, subjects, wrong_operation};
use crate::decision::{Decision, Denial, OpError, Verdict};
use crate::effect::Effects;
use crate::event::{Booking, Bookings, EventState, Payment, Restated};
use crate::names::NameId;
use crate::resolve::{Origin, Resolved, ResolvedLimits, Whose, resolve};
use crate::subject::{SubjectId, SubjectPath};
use crate::time::Millis;

use book::{Entry, book};
pub(super) use book::{debt_without, working_at};
pub use levels::{LevelPast, Past};
use place::is_of;
pub(super) use place::{Place, is_known, place};
use value::book_value;

/// What was counted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// One for each limit of the account.
    pub bookings: Bookings,
    /// One for each limit of a level of the subject's path, with the number it is filed under.
    pub levels: Vec<(SubjectId, Booking)>,
    /// The part of what was added that no limit allowed: the most of all limits.
    pub debt_units: u64,
    /// What the event cost in all. `None`: credits do not pay for it.
    pub paid: Option<Box<Payment>>,
    /// What this took from a pool of credits, or gave back.
    pub charge: Option<Box<Charge>>,
}

impl Booked {
    fn nowhere() -> Booked {
        let (bookings, levels) = (Bookings::new(), Vec::new());
        Booked { bookings, levels, debt_units: 0, paid: None, charge: None }
    }

    fn paid(self, bill: Option<Bill<'_>>, effects: &mut Effects) -> Booked {
        let Some(bill) = bill else { return self };
        let (paid, charge) = bill.settle(effects);
        Booked { paid: Some(paid), charge: Some(charge), ..self }
    }
}

/// Counts usage that happened at `at`, not later than now, for a subject if one is named: at the account's
/// limits and at those of every level, together or not at all. `past` is what is known of windows that
/// have left the memory: of each limit those beside `at`. Of a feature that counts different values, `units` is
/// the hash of one.
pub fn record_at(
    cx: Context<'_>,
    account: &Account,
    (feature, subject): (FeatureIx, Option<SubjectPath<'_>>),
    (at, units): (Millis, u64),
    past: Past<'_>,
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let (limits, origin) = limits_now(cx, account, feature)?;
    let id = cx.catalog.feature(feature).id;
    let levels = levels::of_path(cx, account, feature, subject);
    let whose = Whose::own(account);
    let own = |limit| Entry::own(limit, place(cx, whose, (id, limit), at, past.own));
    let mut entries: Vec<Entry<'_>> = limits.iter().map(own).collect();
    entries.extend(levels::entries(cx, &levels, id, at, past));
    let value = match cx.catalog.feature(feature).aggregation() {
        Aggregation::Sum | Aggregation::Count => None,
        Aggregation::Max => Some(Counted::Max(units)),
        Aggregation::Latest => Some(Counted::Latest(units, at)),
        Aggregation::Unique => Some(Counted::Unique(Some(units))),
    };
    if let Some(value) = value {
        return book_value(cx, account, (value, origin), (entries, past), effects);
    }
    let units = match cx.catalog.feature(feature).aggregation() {
        Aggregation::Count => 1,
        _ => units,
    };
    let bill = Bill::of_new(cx, account, feature, units)?;
    let booked = book(cx, account, (id, origin, at), (entries, past.own), (0, units), effects)?;
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

/// Lets an event count `units` from now on, in the windows it was counted in. `subject` is for whom, if it was
/// for somebody.
pub fn correct(
    cx: Context<'_>,
    account: &Account,
    (event, subject): (&EventState, Option<SubjectPath<'_>>),
    units: u64,
    past: Past<'_>,
    effects: &mut Effects,
) -> Result<Booked, OpError> {
    let feature = cx.catalog.feature_of(event.feature);
    feature.map_or(Ok(()), |feature| is_correctable(cx.catalog, feature))?;
    let resolved = feature.and_then(|feature| limits_now(cx, account, feature).ok());
    let (limits, origin) = resolved.unwrap_or((ResolvedLimits::Planned(&[]), Origin::None));
    let mut entries = Vec::new();
    for booking in &event.bookings {
        let (limit, start) = (booking.limit, booking.window_start);
        // Of a limit that is not in force any more nobody is told.
        let known = limits.iter().find(|l| l.limit == limit).unwrap_or(&hold::GONE);
        let is_it = |r: &&Restated| r.closed.is(event.feature, limit, start);
        let place = match account.ledger(event.feature, limit, start) {
            Some(ledger) => Place::Live(*ledger, false),
            None => match past.own.iter().find(is_it) {
                Some(restated) => Place::Past(*restated),
                None => continue,
            },
        };
        entries.push(Entry::own(known, place));
    }
    let levels = levels::of_event(cx, account, event, subject);
    entries.extend(levels::entries_of(&levels, event, past));
    let aggregation = feature.map_or(Aggregation::Sum, |ix| cx.catalog.feature(ix).aggregation());
    let (before, after) = match aggregation {
        Aggregation::Count => (event.units.min(1), units.min(1)),
        _ => (event.units, units),
    };
    let bill = event.paid.as_ref().map(|paid| Bill::of_change(cx, account, paid, after));
    let bill = bill.transpose()?;
    let of = (event.feature, origin, event.occurred_at);
    let booked = book(cx, account, of, (entries, past.own), (before, after), effects)?;
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

/// How the limits of a feature stand, of a subject too, without a question to them: the answer to what has
/// happened.
pub fn standing(
    cx: Context<'_>,
    account: &Account,
    (feature, subject): (FeatureIx, Option<SubjectPath<'_>>),
) -> Result<Decision, OpError> {
    let (limits, origin) = limits_now(cx, account, feature)?;
    let id = cx.catalog.feature(feature).id;
    let paid = Paid::of_event(cx, account, feature);
    if let Some(paid) = paid.as_ref().filter(|_| is_pool(cx.catalog, feature)) {
        let blank = Decision { origin, ..credits::blank(cx, account, id) };
        return Ok(paid.joined(cx, account, blank));
    }
    let levels = levels::of_path(cx, account, feature, subject);
    let own = limits.iter().map(|limit| stands(cx, account, id, limit)).collect();
    let sets = levels
        .iter()
        .map(|level| level.limits.iter().map(|limit| stands(cx, &level.seen, id, limit)).collect());
    let sets = sets.collect();
    let (working, owners) = subjects::together(own, &levels, sets);
    let ask = Ask { feature, limits: &limits, origin };
    let decision = measure::answer_for(cx, account, ask, (&working, &owners));
    Ok(match paid {
        Some(paid) => paid.joined(cx, account, decision),
        None => decision,
    })
}

fn stands<'a>(
    cx: Context<'_>,
    account: &Account,
    feature: NameId,
    limit: &'a PlanLimit,
) -> Working<'a> {
    let mut w = meter::working_now(cx, account, feature, limit);
    w.verdict = meter::level(w.limit, w.room, &w.ledger);
    w
}

/// The answer about a feature that left the catalog.
pub fn left(cx: Context<'_>, account: &Account, feature: NameId) -> Decision {
    Decision {
        verdict: Verdict::Allowed,
        ..super::refusal(account, cx.now, Some(feature), Denial::UnknownFeature)
    }
}

/// Where an event of this instant would have been counted: for those that were counted as they came,
/// whose windows nothing remembers. Of the account, and of the levels of a subject's path.
pub fn bookings_at(
    cx: Context<'_>,
    account: &Account,
    (feature, subject): (FeatureIx, Option<SubjectPath<'_>>),
    at: Millis,
    past: Past<'_>,
) -> Result<(Bookings, Vec<(SubjectId, Booking)>), OpError> {
    let (limits, _) = limits_now(cx, account, feature)?;
    let id = cx.catalog.feature(feature).id;
    let found = limits.iter().filter_map(|limit| {
        let left = || past.own.iter().map(|restated| &restated.closed);
        let live = account.ledger_at(id, limit.limit, at);
        let ledger = live.or_else(|| left().find(|ledger| is_of(ledger, id, limit, at)))?;
        Some(Booking::at(ledger))
    });
    let bookings = found.collect();
    let levels = levels::of_path(cx, account, feature, subject);
    Ok((bookings, levels::bookings_at(account, &levels, id, at, past)))
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
