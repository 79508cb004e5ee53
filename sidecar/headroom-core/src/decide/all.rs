//! Several features in one request: all of them, or none.
//!
//! Each item is decided as if those before it had been carried out, on a copy of the account: so two
//! that a pool pays for cannot both have its last credits, and every hold has an id of its own. When
//! one is refused nothing is counted, and the answer says of each of the others how it stands by
//! itself.

use std::borrow::Cow;

use crate::account::Account;
use crate::catalog::{FeatureIx, FeatureKind};
use crate::decide::measure::ValueOp;
use crate::decide::{Context, FeatureOp, decide_feature, decide_feature_for};
use crate::decision::{OpError, Outcome};
use crate::effect::Effects;
use crate::subject::SubjectPath;
use crate::tally::{self, Labels, UnitsMoved};

/// What is asked of every item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllOp {
    /// Decide only. With `attempt`, a refusal is worth a signal.
    Check {
        /// Whether somebody tried to use the features, rather than drew a screen.
        attempt: bool,
    },
    /// Decide and count.
    Consume,
    /// Decide and set aside. The units of a rate cannot be held and are consumed.
    Reserve {
        /// How long, in milliseconds.
        hold_ms: i64,
        /// Whether what is still held when the hold ends by time is taken for used. Slots are given back.
        charging: bool,
    },
}

/// One of several things asked for. A switch or a config is only looked at, whatever is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllItem {
    /// The feature. `None` is one that the catalog does not have.
    pub feature: Option<FeatureIx>,
    /// Units, 1 to 2^53-1.
    pub units: u64,
    /// Of a feature that counts different values, the hash of the one that is meant.
    pub value: Option<u64>,
    /// What its usage is told apart by.
    pub labels: Labels,
}

impl AllItem {
    /// So many units of a feature.
    pub fn of(feature: Option<FeatureIx>, units: u64) -> AllItem {
        AllItem { feature, units, value: None, labels: Labels::default() }
    }

    /// The question about it.
    fn look(&self, attempt: bool) -> FeatureOp {
        match self.value {
            Some(hash) => FeatureOp::Value { hash, does: ValueOp::Check { attempt } },
            None => FeatureOp::Check { units: self.units, attempt },
        }
    }

    /// The use of it.
    fn consume(&self) -> FeatureOp {
        match self.value {
            Some(hash) => FeatureOp::Value { hash, does: ValueOp::Consume },
            None => FeatureOp::Consume { units: self.units },
        }
    }
}

/// Why a request for several features has no answer. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("items[{place}]: {error}")]
pub struct ItemError {
    /// Which item, from 0.
    pub place: usize,
    /// Why.
    pub error: OpError,
}

/// Decides a request for several features, all of them for the same subject if there is one: the
/// outcomes in the order of the items. When one of them is refused the effects are the signal of the
/// first refusal alone, if it is due.
pub fn decide_all(
    cx: Context<'_>,
    account: &Account,
    items: &[AllItem],
    op: AllOp,
    subject: Option<SubjectPath<'_>>,
    effects: &mut Effects,
) -> Result<Vec<Outcome>, ItemError> {
    let decide = |account: &Account, place: usize, op, effects: &mut Effects| {
        let feature = items[place].feature;
        let decided = match subject {
            None => decide_feature(cx, account, feature, op, effects),
            Some(subject) => decide_feature_for(cx, account, feature, subject, op, effects),
        };
        decided.map_err(|error| ItemError { place, error })
    };
    let mut copy = Cow::Borrowed(account);
    let mut outcomes = Vec::with_capacity(items.len());
    let is_allowed = |outcome: &Outcome| outcome.decision.verdict.is_allowed();
    let is_look = matches!(op, AllOp::Check { .. });
    for (place, item) in items.iter().enumerate() {
        let begin = effects.len();
        let carries_out = carried_out(cx, item, op);
        let asked = if is_look { item.look(false) } else { carries_out };
        let outcome = decide(&copy, place, asked, effects)?;
        if !is_look {
            tally::label(&copy, &item.labels, &mut effects[begin..], UnitsMoved::More);
        }
        if !is_allowed(&outcome) {
            effects.truncate(begin);
        } else if place + 1 < items.len() {
            if is_look {
                // What cannot be consumed, like a slot, is nothing that others could lack.
                let _ = decide(&copy, place, carries_out, effects);
            }
            let copy = copy.to_mut();
            effects[begin..].iter().for_each(|effect| copy.apply(effect));
        }
        outcomes.push(outcome);
    }
    let refused = outcomes.iter().position(|outcome| !is_allowed(outcome));
    if refused.is_some() || is_look {
        effects.clear();
    }
    let Some(refused) = refused else { return Ok(outcomes) };
    if op != (AllOp::Check { attempt: false }) {
        // Of the account as it is: what the items before would have used is used by nobody. So a
        // refusal that is only for what they ask for together is not told.
        decide(account, refused, items[refused].look(true), effects)?;
    }
    for (place, outcome) in outcomes.iter_mut().enumerate().filter(|(_, o)| is_allowed(o)) {
        *outcome = decide(account, place, items[place].look(false), &mut Effects::new())?;
    }
    Ok(outcomes)
}

/// The operation that carries an item out.
fn carried_out(cx: Context<'_>, item: &AllItem, op: AllOp) -> FeatureOp {
    let units = item.units;
    let look = item.look(false);
    let Some(feature) = item.feature else { return look };
    match (op, &cx.catalog.feature(feature).kind) {
        (_, FeatureKind::Switch | FeatureKind::Config) => look,
        (AllOp::Check { .. } | AllOp::Consume, _)
        | (AllOp::Reserve { .. }, FeatureKind::Rate { .. }) => item.consume(),
        (AllOp::Reserve { hold_ms, charging: true }, kind)
            if !matches!(kind, FeatureKind::Concurrency { .. }) =>
        {
            FeatureOp::ReserveCharging { units, hold_ms }
        }
        (AllOp::Reserve { hold_ms, .. }, _) => FeatureOp::Reserve { units, hold_ms },
    }
}
