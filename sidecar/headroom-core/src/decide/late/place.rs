//! Which window an event of the past falls into: of the account, or of a level of a subject's path.

use crate::catalog::PlanLimit;
use crate::closing;
use crate::decide::meter::{self, LedgerNow};
use crate::decide::{Context, sliding};
use crate::effect::Effect;
use crate::event::Restated;
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::resolve::Whose;
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};

/// The window that an event falls into.
pub(in crate::decide) enum Place {
    /// In memory, or new there.
    Live(Ledger, bool),
    /// It has left the memory, or was never there.
    Past(Restated),
}

impl Place {
    pub(in crate::decide) fn window(&self) -> Window {
        match self {
            Place::Live(ledger, _) => ledger.window,
            Place::Past(restated) => restated.closed.window,
        }
    }
}

/// Whether a ledger is that of a limit at an instant.
pub(super) fn is_of(ledger: &Ledger, feature: NameId, limit: &PlanLimit, at: Millis) -> bool {
    ledger.limit == limit.limit && ledger.feature == feature && ledger.window.contains(at)
}

/// The window of a limit that an instant of the past lies in: the one that was counted over then, or
/// a new one in the gap between those that were.
pub(in crate::decide) fn place(
    cx: Context<'_>,
    whose: Whose<'_>,
    (feature, limit): (NameId, &PlanLimit),
    at: Millis,
    past: &[Restated],
) -> Place {
    let account = whose.account;
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
    // What plans have a share of is this window, and not the one that the rule alone would make.
    let mut seen = account.clone();
    seen.apply(&Effect::Ledger(ledger));
    let whose = Whose { account: &seen, ..whose };
    Place::Past(Restated::as_closed(ledger, closing::terms_at(cx, whose, None, &ledger)))
}

/// Whether a window had begun to count before anything came late to it.
pub(in crate::decide) fn is_known(place: &Place, past: &[Restated]) -> bool {
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
