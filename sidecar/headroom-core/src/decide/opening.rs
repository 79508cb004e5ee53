//! Opening balances: what an account had used of a limit before it came to Headroom.
//!
//! It counts in the window of now like usage that is recorded: what no limit allows is debt, a window that
//! first use begins is begun by it, a grace begins. But nobody is told: what it passes was passed elsewhere,
//! so its thresholds count as announced and their signals come with the next window or a changed limit.
//! It is of one limit alone, because limits count over different windows, and it takes no credits: those
//! are brought as a grant.

use crate::account::Account;
use crate::catalog::{Aggregation, FeatureIx, FeatureKind, PlanLimit};
use crate::decide::meter::{self, Ask, Working};
use crate::decide::{Context, measure};
use crate::decision::{Amounts, OpError, Outcome};
use crate::effect::{Effect, Effects};
use crate::limits;
use crate::names::NameId;
use crate::owing;
use crate::policy;
use crate::resolve::{Resolved, resolve};
use crate::time::{Millis, Window};
use crate::window::{WindowRule, window_at};

/// Usage from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The limit.
    pub limit: NameId,
    /// Units used in its window of now, 0 to 2^53-1.
    pub units: u64,
    /// When that window began, where first use begins it. `None`: now, or it began here.
    pub began_at: Option<Millis>,
    /// Whether it comes on top of what was used here already.
    pub adds: bool,
}

/// Counts an opening balance.
///
/// On error nothing is changed.
pub fn open_balance(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    opening: Opening,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let shape = cx.catalog.feature(feature);
    if !matches!(shape.kind, FeatureKind::Quota { .. }) {
        return Err(OpError::NoOpening { kind: shape.kind.as_str() });
    }
    if let aggregation @ (Aggregation::Latest | Aggregation::Unique) = shape.aggregation() {
        return Err(OpError::NothingToOpen { aggregation: aggregation.as_str() });
    }
    let (Resolved::Limits(given), origin) = resolve(cx.catalog, account, feature, cx.now) else {
        return Err(OpError::LimitNotGiven);
    };
    let limit = given.iter().find(|given| given.limit == opening.limit);
    let limit = limit.ok_or(OpError::LimitNotGiven)?;
    if matches!(limit.window, WindowRule::Sliding(_)) {
        return Err(OpError::WindowSlides);
    }
    let mut w = meter::working_now(cx, account, shape.id, limit);
    if let Some(began_at) = opening.began_at {
        w.ledger.window = window_from(cx, account, limit, &w, began_at)?;
        w.room = policy::room(account, limit, &w.ledger, cx.now);
    }
    if w.ledger.used > 0 && !opening.adds {
        return Err(OpError::AlreadyUsed { used_units: w.ledger.used });
    }
    // Of a maximum it is a value, which counts as far as it is above what was there.
    let is_value = shape.aggregation() == Aggregation::Max;
    let counted = if is_value { w.ledger.used } else { 0 };
    let units = opening.units.saturating_sub(counted);
    if w.ledger.held() + units > limits::UNITS_MAX {
        return Err(OpError::CounterFull);
    }

    // Every check is above this line, every change below it.
    let debt_units = meter::debt_of(w.room.ceiling, &w.ledger, units, units);
    w.ledger.debt += debt_units;
    let listed = effects.len();
    meter::use_units(cx, account, &mut w, (units, origin), effects);
    let kept = effects.split_off(listed).into_iter();
    effects.extend(kept.filter(|effect| !matches!(effect, Effect::Signal(_))));
    w.verdict = meter::level(limit, w.room, &w.ledger);
    meter::put_ledger(cx, account, w.ledger, w.fresh, effects);
    owing::note(cx, account, &w.ledger, effects);
    w.fresh = false;
    let ask = Ask { feature, limits: std::slice::from_ref(limit), origin };
    let decision = measure::answer(cx, account, ask, std::slice::from_ref(&w));
    let amounts = Amounts { units: opening.units, debt_units, ..Amounts::default() };
    Ok(Outcome { decision, amounts })
}

/// The window that first use began elsewhere: it must still be open, and none may have been open here since.
fn window_from(
    cx: Context<'_>,
    account: &Account,
    limit: &PlanLimit,
    w: &Working<'_>,
    began_at: Millis,
) -> Result<Window, OpError> {
    let profile = &account.profile;
    let window = window_at(limit.window, profile.anchor, profile.rules(), began_at);
    let of_limit = |known: &&crate::ledger::Ledger| {
        known.limit == w.ledger.limit && known.feature == w.ledger.feature
    };
    let mut known = account.ledgers().iter().filter(of_limit);
    let begins = matches!(limit.window, WindowRule::FirstUse(_)) && w.fresh;
    if begins && window.contains(cx.now) && known.all(|known| known.window.end() <= began_at) {
        Ok(window)
    } else {
        Err(OpError::WindowNotThen)
    }
}
