//! What a window was measured by when it ended: what was included, what was above it, and what that cost.
//!
//! A bill is made of windows that are over, often long after prices and plans have changed. So what a
//! window was measured by is kept with it: the limit that was in force in its last millisecond. What
//! comes to the window afterwards is billed by the same, and what of it is debt is said by the same.
//!
//! A plan that did not have the limit then allowed nothing. A limit that no catalog knows any more, and that
//! nobody wrote down, binds nothing.
//!
//! Of a window that a limit counts in buckets, nothing is kept: a bucket has no limit of its own, so what comes
//! late to it is measured by the limit of now.

use crate::account::Account;
use crate::catalog::{PlanLimit, Policy};
use crate::change;
use crate::decide::{Context, counts_on_ms};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::owing::{self, Owing};
use crate::policy::{self, OverageTerms};
use crate::resolve::{LimitAt, Whose, is_defined, limit_at};
use crate::stock::Stock;
use crate::subject::Subject;
use crate::time::Millis;

/// A price of overage as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Price of one unit in billionths of a minor unit.
    pub unit_price_nanos: u64,
    /// The most that the window may cost, in minor units. `None`: no bound.
    pub cap_minor: Option<u64>,
    /// ISO 4217 code, three capital letters.
    pub currency: [u8; 3],
}

impl Price {
    fn of(terms: &OverageTerms) -> Option<Price> {
        let currency = terms.currency.as_bytes().try_into().ok()?;
        let OverageTerms { unit_price_nanos, cap_minor, .. } = *terms;
        Some(Price { unit_price_nanos, cap_minor, currency })
    }

    /// The code of the currency.
    pub fn currency(&self) -> &str {
        str::from_utf8(&self.currency).unwrap_or_default()
    }
}

/// The most that counts in a window without being debt, in units used and set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Nobody wrote it down: an earlier version of the program kept the window. What comes to it is measured by
    /// the limit of now, as it was by that version.
    Unknown,
    /// There is no bound.
    Unbounded,
    /// So many, 0 to 2^53-1, or more where a cap or a grace leads beyond.
    Units(u64),
}

impl Ceiling {
    fn of(limit: &PlanLimit) -> Ceiling {
        limit.ceiling_units().map_or(Ceiling::Unbounded, Ceiling::Units)
    }
}

/// What a window was measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowTerms {
    /// Included units. `None`: no bound.
    pub included_units: Option<u64>,
    /// Whether what is above them is billed.
    pub bills: bool,
    /// What it is billed at. `None`: the plan says no price.
    pub price: Option<Price>,
    /// The plan in force.
    pub plan: NameId,
    /// The part of the used units that was taken over from the window before.
    pub carried_units: u64,
    /// What is above that is debt, when it comes late.
    pub ceiling: Ceiling,
}

impl WindowTerms {
    /// What a limit measures by, under a plan.
    pub fn of(limit: &PlanLimit, plan: NameId) -> WindowTerms {
        let overage = limit.terms.as_ref().and_then(|terms| terms.overage.as_ref());
        let bills = limit.policy == Policy::Overage;
        WindowTerms {
            included_units: limit.included_units,
            bills,
            price: overage.filter(|_| bills).and_then(Price::of),
            plan,
            carried_units: 0,
            ceiling: Ceiling::of(limit),
        }
    }

    /// Those of a window in which nothing was included.
    fn nothing(plan: NameId, ceiling: Ceiling) -> WindowTerms {
        let (included_units, price) = (Some(0), None);
        WindowTerms { included_units, bills: false, price, plan, carried_units: 0, ceiling }
    }

    /// Units above the included ones that are billed when so many are measured: never more than a cap
    /// pays for.
    pub fn overage_units(&self, measured: u64) -> u64 {
        let Some(included) = self.included_units.filter(|_| self.bills) else { return 0 };
        let cap_units = |price: Price| {
            let cap_minor = price.cap_minor?;
            Some(policy::cap_units(cap_minor, price.unit_price_nanos))
        };
        let most = self.price.and_then(cap_units).unwrap_or(u64::MAX);
        measured.saturating_sub(included).min(most)
    }

    /// What they cost, in minor units, rounded down as everywhere. `None`: there is no price.
    pub fn cost_minor(&self, measured: u64) -> Option<u64> {
        let price = self.price?;
        Some(policy::cost_minor(self.overage_units(measured), price.unit_price_nanos))
    }
}

/// What a window of the account is measured by: as of now, or of its end when it is over. Where no plan had
/// the limit, nothing was included. `None`: it is a bucket.
pub fn terms_of(cx: Context<'_>, account: &Account, ledger: &Ledger) -> Option<WindowTerms> {
    terms_at(cx, Whose::own(account), account.owing(ledger), ledger)
}

/// The same of a window of the account or of a subject. `known` is what is remembered of it.
pub(crate) fn terms_at(
    cx: Context<'_>,
    whose: Whose<'_>,
    known: Option<&Owing>,
    ledger: &Ledger,
) -> Option<WindowTerms> {
    let carried_units = known.map_or(0, |known| known.carried_units);
    if let Some(ended) = known.filter(|known| known.ended) {
        return ended.terms.map(|terms| WindowTerms { carried_units, ..terms });
    }
    if counts_on_ms(cx.catalog, ledger.feature, ledger.limit) > 0 && carried_units == 0 {
        return None;
    }
    let at = cx.now.min(ledger.window.end().plus(-1));
    let plan = change::plan_over(&whose.account.profile, at);
    let terms = match limit_at(cx.catalog, whose, (ledger.feature, ledger.limit), at) {
        LimitAt::InForce(limit) => WindowTerms::of(&limit, plan),
        LimitAt::NotGiven => WindowTerms::nothing(plan, Ceiling::Units(0)),
        LimitAt::Gone => WindowTerms::nothing(plan, Ceiling::Unbounded),
    };
    Some(WindowTerms { carried_units, ..terms })
}

/// The most that counts in a window without being debt, by what it was measured by. `limit` is that of now, or
/// one of another name where the window's is not in force any more. `None`: no bound.
pub(crate) fn ceiling_by(
    cx: Context<'_>,
    terms: Option<&WindowTerms>,
    (limit, of_subject): (&PlanLimit, bool),
    ledger: &Ledger,
) -> Option<u64> {
    match terms.map_or(Ceiling::Unknown, |terms| terms.ceiling) {
        Ceiling::Units(units) => Some(units),
        Ceiling::Unbounded => None,
        Ceiling::Unknown if limit.limit == ledger.limit => limit.ceiling_units(),
        Ceiling::Unknown => {
            is_defined(cx.catalog, (ledger.feature, ledger.limit), of_subject).then_some(0)
        }
    }
}

/// What windows that are over were measured by, where an edit of the account or another catalog would make it
/// something else: to be listed before that, so that nobody is billed, and nobody owes, for what came later.
///
/// `before` and `after` are the rules and the account without and with it, at the same instant.
pub fn kept(before: (Context<'_>, &Account), after: (Context<'_>, &Account)) -> Effects {
    let ((cx, account), (then, changed)) = (before, after);
    let keep = |subject: Option<&str>, owings: &[Owing], ledger: &Ledger| {
        let known = owing::of(owings, ledger);
        if ledger.window.end() > cx.now || known.is_some_and(|known| known.ended) {
            return None;
        }
        let before = terms_at(cx, Whose { account, subject }, known, ledger)?;
        let changed = Whose { account: changed, subject };
        if terms_at(then, changed, known, ledger) == Some(before) {
            return None;
        }
        let known = known.copied().unwrap_or(Owing { noted: false, ..Owing::of(ledger) });
        Some(Effect::Owing(Box::new(Owing { ended: true, terms: Some(before), ..known })))
    };
    let own = account.ledgers().iter().filter_map(|l| keep(None, account.owings(), l));
    let subjects = account.subjects().into_iter().flat_map(|subjects| subjects.iter());
    let theirs = subjects.flat_map(|(id, Subject { name, state })| {
        let kept = state.ledgers().iter().filter_map(|l| keep(Some(name), state.owings(), l));
        kept.map(move |effect| Effect::OfSubject(id, Box::new(effect)))
    });
    own.chain(theirs).collect()
}

/// Whether an account has a window of which [`kept`] may have something to say.
pub fn may_keep(account: &Account, now: Millis) -> bool {
    let subjects = account.subjects().into_iter().flat_map(|subjects| subjects.iter());
    let theirs = subjects.flat_map(|(_, subject)| subject.state.ledgers());
    account.ledgers().iter().chain(theirs).any(|ledger| ledger.window.end() <= now)
}

/// What a billing window of an allocation is measured by, alike.
pub fn terms_of_stock(cx: Context<'_>, account: &Account, stock: &Stock) -> Option<WindowTerms> {
    let at = cx.now.min(stock.window.end().plus(-1));
    match limit_at(cx.catalog, Whose::own(account), (stock.feature, stock.limit), at) {
        LimitAt::InForce(limit) => {
            Some(WindowTerms::of(&limit, change::plan_over(&account.profile, at)))
        }
        LimitAt::NotGiven | LimitAt::Gone => None,
    }
}
