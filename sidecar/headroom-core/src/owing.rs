//! Windows that owe something when they end: debt to the next window, or money to a bill.
//!
//! A window that ends owing, of a limit with `debt: carry`, is followed by the next one at that very
//! instant, whoever looks or nobody: what it takes over is used there from the start, and what is more
//! than it allows is its own debt. So every window on the way is a ledger like any other, and is kept in
//! the usage history. What becomes of a debt is said by the limit that is in force when the window
//! ends; where that does not carry, the debt stays where it is. No more goes on than the limit has no room for
//! at the window's end: units that were allowed since, or freed, are not owed.
//!
//! A window that went above what is included, where that is billed, is looked at when it ends, too: what it
//! is measured by is fixed then, whatever prices and plans there are when it leaves the memory.
//!
//! Nothing here reads a clock. An account that owes nothing has none of this.

use crate::account::Account;
use crate::catalog::PlanLimit;
use crate::change;
use crate::closing::{Ceiling, WindowTerms};
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::resolve::{LimitAt, Whose, limit_at};
use crate::time::{Millis, Window};
use crate::window::window_at;

/// What is remembered of one window that owes something, or took something over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owing {
    /// The feature.
    pub feature: NameId,
    /// The limit.
    pub limit: NameId,
    /// Start of the window.
    pub window_start: Millis,
    /// The part of its used units that it took over from the window before.
    pub carried_units: u64,
    /// It is looked at when it ends. Not so of a window of which only its terms are kept, because an edit
    /// would have changed them.
    pub noted: bool,
    /// The window was looked at when it had ended.
    pub ended: bool,
    /// Its debt stays in it: the limit that was in force then carries none.
    pub stays: bool,
    /// What it was measured by when it ended. `None`: it has not ended, or is a bucket.
    pub terms: Option<WindowTerms>,
}

impl Owing {
    /// What is remembered of a window that owes and took nothing over.
    pub fn of(ledger: &Ledger) -> Owing {
        Owing {
            feature: ledger.feature,
            limit: ledger.limit,
            window_start: ledger.window.start(),
            carried_units: 0,
            noted: true,
            ended: false,
            stays: false,
            terms: None,
        }
    }

    pub(crate) fn is_of(&self, ledger: &Ledger) -> bool {
        ledger.is(self.feature, self.limit, self.window_start)
    }
}

/// What is remembered of a ledger's window.
pub(crate) fn of<'a>(all: &'a [Owing], ledger: &Ledger) -> Option<&'a Owing> {
    all.iter().find(|one| one.is_of(ledger))
}

/// Carries out a change.
pub(crate) fn apply(all: &mut Vec<Owing>, after: &Owing) {
    let key = |one: &Owing| (one.feature, one.limit, one.window_start);
    match all.iter_mut().find(|known| key(known) == key(after)) {
        Some(known) => *known = *after,
        None => all.push(*after),
    }
}

/// The effects that make all of it again.
pub(crate) fn further(all: &[Owing]) -> impl Iterator<Item = Effect> + '_ {
    all.iter().map(|one| Effect::Owing(Box::new(*one)))
}

/// Notes that a ledger owes something, where a limit may carry that into the next window.
pub(crate) fn note(cx: Context<'_>, account: &Account, ledger: &Ledger, effects: &mut Effects) {
    if ledger.debt > 0 && cx.catalog.carries(ledger.feature, ledger.limit) {
        look_at_end(account, ledger, effects);
    }
}

/// Lets a window be looked at when it ends: it owes something, or it is above what is included, where that is
/// billed.
pub(crate) fn look_at_end(account: &Account, ledger: &Ledger, effects: &mut Effects) {
    let known = account.owing(ledger);
    if known.is_none_or(|known| !known.noted) {
        let known = known.copied().unwrap_or_else(|| Owing::of(ledger));
        effects.push(Effect::Owing(Box::new(Owing { noted: true, ..known })));
    }
}

/// What is to be remembered of an account that is not: windows that owe under a catalog that carries
/// what none did before, or that a version of the program wrote which did not remember it.
pub fn unnoted(catalog: &crate::catalog::Catalog, account: &Account) -> Vec<Effect> {
    let mut effects = Vec::new();
    for ledger in account.ledgers().iter().filter(|ledger| ledger.debt > 0) {
        if !account.is_replaced(ledger, 0) {
            note(Context { catalog, now: ledger.window.start() }, account, ledger, &mut effects);
        }
    }
    effects
}

impl Account {
    /// What is remembered of a window that owes or took over.
    pub fn owing(&self, ledger: &Ledger) -> Option<&Owing> {
        of(self.owings(), ledger)
    }

    /// The window that is to be looked at first when it ends. `None`: none is.
    pub(crate) fn next_owing(&self) -> Option<&Ledger> {
        let waiting = self.owings().iter().filter_map(|one| {
            let ledger = self.ledger(one.feature, one.limit, one.window_start)?;
            let waits = one.noted && (!one.ended || ledger.debt > 0 && !one.stays);
            (waits && !self.is_replaced(ledger, 0)).then_some(ledger)
        });
        waiting.min_by_key(|ledger| (ledger.window.end(), ledger.feature, ledger.limit))
    }

    /// When a window that owes ends; [`Millis::FOREVER`] when none does.
    pub fn owing_until(&self) -> Millis {
        self.next_owing().map_or(Millis::FOREVER, |ledger| ledger.window.end())
    }
}

/// The limit that says what becomes of a window's debt, if it carries it: the one in force at its end.
pub(crate) fn carrying(cx: Context<'_>, account: &Account, ended: &Ledger) -> Option<PlanLimit> {
    let of = (ended.feature, ended.limit);
    match limit_at(cx.catalog, Whose::own(account), of, ended.window.end()) {
        LimitAt::InForce(limit) => carries(&limit).then_some(limit),
        LimitAt::NotGiven | LimitAt::Gone => None,
    }
}

/// Whether a limit carries debt.
pub(crate) fn carries(limit: &PlanLimit) -> bool {
    limit.terms.as_ref().is_some_and(|terms| terms.carries_debt)
}

/// The part of a debt that a whole window does not take off, with so much room.
pub(crate) fn over(ceiling: Option<u64>, debt: u64) -> u64 {
    ceiling.map_or(0, |ceiling| debt.saturating_sub(ceiling))
}

/// What a window owes at its end: no more than what it was measured by has no room for.
pub(crate) fn owed(ended: &Ledger, terms: Option<&WindowTerms>) -> u64 {
    match terms.map_or(Ceiling::Unknown, |terms| terms.ceiling) {
        Ceiling::Unknown => ended.debt,
        Ceiling::Unbounded => 0,
        Ceiling::Units(most) => ended.debt.min(ended.used.saturating_sub(most)),
    }
}

/// What follows a window that ends owing, at its end: the next one and what it takes over. `limit` carries it;
/// `upto` is the instant until which changes of plan are known to have ended windows.
pub(crate) fn follow(
    cx: Context<'_>,
    account: &Account,
    (limit, ended): (&PlanLimit, &Ledger),
    upto: Millis,
) -> Option<(Ledger, Owing)> {
    let at = ended.window.end();
    let profile = &account.profile;
    let ruled = window_at(limit.window, profile.anchor, profile.rules(), at);
    let ruled = Window::new(at, ruled.end())?;
    let window = change::cut(cx.catalog, profile, (ended.feature, ended.limit), ruled, upto);
    let mut ledger = Ledger::new(ended.feature, ended.limit, window, limit.mark());
    ledger.used = ended.debt;
    ledger.debt = over(limit.ceiling_units(), ended.debt);
    Some((ledger, Owing { carried_units: ended.debt, ..Owing::of(&ledger) }))
}
