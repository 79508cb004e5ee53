//! What a window was measured by when it ended: what was included, what was above it, and what that cost.
//!
//! A bill is made of windows that are over, often long after prices and plans have changed. So what a
//! window was measured by is kept with it: the limit that was in force in its last millisecond. What
//! comes to the window afterwards is billed by the same; what of it is debt is not yet said by it, but by the
//! limit of now.
//!
//! Of a window that a limit counts in buckets, nothing is kept: a bucket has no limit of its own.

use crate::account::Account;
use crate::catalog::{PlanLimit, Policy};
use crate::change;
use crate::decide::{Context, counts_on_ms};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::owing::Owing;
use crate::policy::{self, OverageTerms};
use crate::resolve::{Resolved, resolve};
use crate::stock::Stock;
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
        }
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

/// What a window is measured by: as of now, or of its end when it is over. Where no plan had the limit,
/// nothing was included. `None`: it is a bucket.
pub fn terms_of(cx: Context<'_>, account: &Account, ledger: &Ledger) -> Option<WindowTerms> {
    let known = account.owing(ledger);
    let carried_units = known.map_or(0, |known| known.carried_units);
    if let Some(ended) = known.filter(|known| known.ended) {
        return ended.terms.map(|terms| WindowTerms { carried_units, ..terms });
    }
    if counts_on_ms(cx.catalog, ledger.feature, ledger.limit) > 0 && carried_units == 0 {
        return None;
    }
    let at = cx.now.min(ledger.window.end().plus(-1));
    let terms = in_force(cx, account, (ledger.feature, ledger.limit), at);
    let nothing = WindowTerms {
        included_units: Some(0),
        bills: false,
        price: None,
        plan: change::plan_over(&account.profile, at),
        carried_units,
    };
    Some(WindowTerms { carried_units, ..terms.unwrap_or(nothing) })
}

/// What windows that are over were measured by, where an edit of the account or another catalog would make it
/// something else: to be listed before that, so that nobody is billed for what came later.
///
/// `before` and `after` are the rules and the account without and with it, at the same instant.
pub fn kept(before: (Context<'_>, &Account), after: (Context<'_>, &Account)) -> Effects {
    let ((cx, account), (then, changed)) = (before, after);
    let is_over = |ledger: &&Ledger| ledger.window.end() <= cx.now && ledger.used > 0;
    let mut effects = Effects::new();
    for ledger in account.ledgers().iter().filter(is_over) {
        let known = account.owing(ledger);
        if known.is_some_and(|known| known.ended) {
            continue;
        }
        let terms = terms_of(cx, account, ledger);
        if terms.is_some() && terms != terms_of(then, changed, ledger) {
            let known = known.copied().unwrap_or(Owing { noted: false, ..Owing::of(ledger) });
            effects.push(Effect::Owing(Box::new(Owing { ended: true, terms, ..known })));
        }
    }
    effects
}

/// Whether an account has a window of which [`kept`] may have something to say.
pub fn may_keep(account: &Account, now: Millis) -> bool {
    account.ledgers().iter().any(|ledger| ledger.window.end() <= now && ledger.used > 0)
}

/// What a billing window of an allocation is measured by, alike.
pub fn terms_of_stock(cx: Context<'_>, account: &Account, stock: &Stock) -> Option<WindowTerms> {
    let at = cx.now.min(stock.window.end().plus(-1));
    in_force(cx, account, (stock.feature, stock.limit), at)
}

fn in_force(
    cx: Context<'_>,
    account: &Account,
    (feature, limit): (NameId, NameId),
    at: Millis,
) -> Option<WindowTerms> {
    let feature = cx.catalog.feature_of(feature)?;
    let (Resolved::Limits(limits), _) = resolve(cx.catalog, account, feature, at) else {
        return None;
    };
    let limit = limits.iter().find(|known| known.limit == limit)?;
    Some(WindowTerms::of(limit, change::plan_over(&account.profile, at)))
}
