//! Allocations: things that exist, and can go away again.
//!
//! The level is the `used` of one lifetime ledger, so `Consume`, `Reserve`, `Commit` and `Record` raise
//! it by the rules of a quota whose window never ends. Here it is lowered and set. What is gone is
//! gone: lowering is never refused, whatever became of the account, and stops at 0 with a flag.
//!
//! A threshold that was announced is armed again when the level falls through three quarters of it;
//! so what goes to and fro about a threshold is announced once. The limit's revision counts that,
//! too, so that no two signals are of the same name, revision and threshold. A refusal counts as the
//! threshold of the included units.
//!
//! What the level comes to over a billing window is [`crate::stock`]'s.

use crate::account::Account;
use crate::catalog::{FeatureIx, FeatureKind, PlanLimit};
use crate::decide::meter::{self, Ask, Working};
use crate::decide::{Context, FeatureOp, bare_limits, decide_feature};
use crate::decision::{Amounts, LimitState, OpError, Outcome};
use crate::effect::Effects;
use crate::ledger::{Ledger, Marks};
use crate::resolve::{Origin, Resolved, resolve};
use crate::signal::REACHED_BP;
use crate::stock;

/// A change of a level. Units are 1 to 2^53-1, or 0 to 2^53-1 where a level is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelChange {
    /// So many more, if they are allowed.
    Add {
        /// How many.
        units: u64,
    },
    /// So many less. When there are not so many, all of them.
    Remove {
        /// How many.
        units: u64,
    },
    /// So many in all, if what comes in addition is allowed.
    Set {
        /// How many.
        units: u64,
    },
    /// So many in all, because there are: it is counted, and what no limit allows is debt.
    Report {
        /// How many.
        units: u64,
    },
}

impl LevelChange {
    /// The units it names.
    pub fn units(self) -> u64 {
        match self {
            LevelChange::Add { units }
            | LevelChange::Remove { units }
            | LevelChange::Set { units }
            | LevelChange::Report { units } => units,
        }
    }
}

/// Changes the level.
///
/// On error nothing is changed.
pub(super) fn allocate(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    change: LevelChange,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let shape = cx.catalog.feature(feature);
    let FeatureKind::Allocation { limit, .. } = shape.kind else {
        return Err(OpError::NoLevel { kind: shape.kind.as_str() });
    };
    let ledger = account.ledger_at(shape.id, limit, cx.now);
    let level_units = ledger.map_or(0, |ledger| ledger.used);
    let op = match change {
        LevelChange::Add { units } => FeatureOp::Consume { units },
        LevelChange::Remove { units } => {
            return Ok(lower(cx, account, feature, units, effects));
        }
        LevelChange::Set { units } | LevelChange::Report { units } if units <= level_units => {
            return Ok(lower(cx, account, feature, level_units - units, effects));
        }
        LevelChange::Set { units } => FeatureOp::Consume { units: units - level_units },
        LevelChange::Report { units } => FeatureOp::Record { units: units - level_units },
    };
    decide_feature(cx, account, Some(feature), op, effects)
}

/// Takes away what there is of `units`; 0 takes nothing and shows the level.
fn lower(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    units: u64,
    effects: &mut Effects,
) -> Outcome {
    let (limits, origin) = match resolve(cx.catalog, account, feature, cx.now) {
        (Resolved::Limits(limits), origin) => (limits, origin),
        _ => (bare_limits(cx, feature).expect("an allocation has a limit"), Origin::None),
    };
    let ask = Ask { feature, limits: &limits, origin };
    let id = cx.catalog.feature(feature).id;
    let mut working = meter::WorkingSet::new();
    let mut removed_units = 0;
    for limit in ask.limits {
        let mut w = meter::working_now(cx, account, id, limit);
        let before_units = w.ledger.used;
        removed_units = units.min(before_units);
        if removed_units > 0 {
            w.ledger.used -= removed_units;
            // What no limit allowed is the first to go.
            w.ledger.debt = w.ledger.debt.saturating_sub(removed_units);
            rearm(limit, &mut w.ledger, before_units);
            assert!(w.ledger.is_sound(), "unsound ledger {:?}", w.ledger);
            stock::note(cx, account, &w.ledger, effects);
            meter::put_ledger(cx, account, w.own(), w.fresh, effects);
        }
        w.verdict = meter::level(limit, w.room, &w.ledger);
        working.push(w);
    }
    let amounts = Amounts {
        units: removed_units,
        lowered: removed_units > 0,
        clamped: removed_units < units,
        ..Amounts::default()
    };
    Outcome { decision: meter::answer(cx, account, ask, &working), amounts }
}

/// Arms again what a level, or the seats taken, have fallen through three quarters of. Nothing for limits
/// of another sort.
pub(super) fn rearm(limit: &PlanLimit, ledger: &mut Ledger, before_units: u64) {
    if limit.is_level() || limit.is_seats() {
        fall(limit, ledger, before_units);
    }
}

/// Arms again what a counter that can go down has fallen through three quarters of.
pub(super) fn fall(limit: &PlanLimit, ledger: &mut Ledger, before_units: u64) {
    let Some(included_units) = limit.included_units else { return };
    let after_units = limit.watched_units(ledger);
    let is_below = |units: u64, bp: u32| {
        u128::from(units) * 4 * u128::from(REACHED_BP)
            < u128::from(included_units) * 3 * u128::from(bp)
    };
    let falls_through = |bp| is_below(after_units, bp) && !is_below(before_units, bp);
    let mut armed = Marks::default();
    for (place, bp) in limit.soft_limits_bp.iter().enumerate() {
        if falls_through(*bp) {
            armed = armed.with(Marks::threshold(place));
        }
    }
    if falls_through(REACHED_BP) {
        armed = armed.with(Marks::REACHED).with(Marks::HIT);
    }
    let after = ledger.marks.without(armed);
    if after != ledger.marks {
        ledger.marks = after;
        ledger.limit_revision = ledger.limit_revision.saturating_add(1);
    }
}

/// The state of a level, with what the billing window comes to so far.
#[cold]
pub(super) fn state(cx: Context<'_>, account: &Account, level: &Working<'_>) -> LimitState {
    let mut state = level.state();
    state.bill(stock::billed_units(cx, account, &state.ledger));
    state
}
