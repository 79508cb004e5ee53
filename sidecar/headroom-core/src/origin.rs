//! Whose word an answer is: the plan's, that of which add-ons, or an override's and until when; limit by
//! limit, because an override of one says nothing of the others.
//!
//! It is read off the very resolution that decides ([`crate::resolve`]), which tells who is heard. Nothing
//! here is asked of an account that has nothing but its plan.

use crate::account::{Account, AddOn};
use crate::catalog::FeatureIx;
use crate::decide::Context;
use crate::decision::{Decision, LimitState};
use crate::names::NameId;
use crate::resolve::{
    self, Origin, Voice, resolve_each_heard, resolve_heard, resolve_levels_heard,
};
use crate::time::Millis;

/// Whose word a limit is, or a feature that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The kind of source.
    pub origin: Origin,
    /// The add-ons that have a part in it, in the order in which they were bought.
    pub addons: Vec<AddOn>,
    /// The override that had the last word.
    pub overridden: Option<Overridden>,
}

/// The override that had the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overridden {
    /// Until when, excluded. `None`: for ever.
    pub until: Option<Millis>,
    /// Whether it is of one subject and not of the account.
    pub of_subject: bool,
}

/// Whose word an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// The limit that decided, if it is one of the feature; else the feature.
    pub decided: Given,
    /// The limit that decided. `None`: there is none.
    pub binding: Option<Given>,
    /// The other limits that the answer shows, in its order.
    pub others: Vec<Given>,
}

/// Whose word an answer and the limits are that it shows. `None`: nobody but the plan has a say in anything
/// of the account, or nothing entitles.
#[cold]
pub fn origins(
    cx: Context<'_>,
    account: &Account,
    decision: &Decision,
    others: &[LimitState],
) -> Option<Box<Origins>> {
    let feature = cx.catalog.feature_of(decision.feature?)?;
    if account.profile.is_plain() || decision.origin == Origin::None {
        return None;
    }
    let of_state = |state: &LimitState| of_limit(cx, account, state);
    let binding = decision.binding.as_ref();
    // What has to be earned is shown by a limit of another feature, and what pays by its pool.
    let own = binding.filter(|state| Some(state.ledger.feature) == decision.feature);
    let decided = match own {
        Some(state) => of_state(state),
        None => of_feature(cx, account, feature, decision.origin),
    };
    let (binding, others) = (binding.map(of_state), others.iter().map(of_state).collect());
    Some(Box::new(Origins { decided, binding, others }))
}

/// Whose word a limit is that an answer shows.
pub fn of_limit(cx: Context<'_>, account: &Account, state: &LimitState) -> Given {
    let Some(feature) = cx.catalog.feature_of(state.ledger.feature) else {
        return Given { origin: Origin::None, addons: Vec::new(), overridden: None };
    };
    let (profile, limit) = (&account.profile, state.ledger.limit);
    let (given, plan_origin) = resolve::planned(cx.catalog, account, feature, cx.now);
    let plan_origin = if given.is_some() { plan_origin } else { Origin::None };
    let mut heard = Heard::default();
    let mut hear = |of: Option<NameId>, voice: Voice<'_>| {
        if of == Some(limit) {
            heard.hear(voice);
        }
    };
    match state.subject() {
        None => drop(resolve_heard(cx.catalog, account, feature, cx.now, &mut hear)),
        Some(subject) => {
            let whose = (feature, subject);
            resolve_levels_heard(cx.catalog, profile, whose, cx.now, &mut hear);
            resolve_each_heard(cx.catalog, profile, feature, cx.now, &mut hear);
        }
    }
    heard.given(plan_origin)
}

/// Who has a part in what a feature is, whatever its limits say. The kind of source is known: of what has
/// to be earned first it is the plan.
fn of_feature(cx: Context<'_>, account: &Account, feature: FeatureIx, origin: Origin) -> Given {
    let mut heard = Heard::default();
    let mut hear = |_: Option<NameId>, voice: Voice<'_>| heard.hear(voice);
    resolve_heard(cx.catalog, account, feature, cx.now, &mut hear);
    let Heard { addons, overridden } = heard;
    match origin {
        Origin::AddOn => Given { origin, addons, overridden: None },
        Origin::Override => Given { origin, addons: Vec::new(), overridden },
        _ => Given { origin, addons: Vec::new(), overridden: None },
    }
}

/// Who was heard so far.
#[derive(Default)]
struct Heard {
    addons: Vec<AddOn>,
    overridden: Option<Overridden>,
}

impl Heard {
    fn hear(&mut self, voice: Voice<'_>) {
        match voice {
            Voice::Joins(addon) => self.addons.push(addon),
            Voice::Instead(addon) => *self = Heard { addons: vec![addon], overridden: None },
            Voice::Override(one) => {
                let until = (one.ends_at != Millis::FOREVER).then_some(one.ends_at);
                let of_subject = one.value.subject().is_some();
                let overridden = Some(Overridden { until, of_subject });
                *self = Heard { addons: Vec::new(), overridden };
            }
        }
    }

    fn given(self, plan_origin: Origin) -> Given {
        let Heard { addons, overridden } = self;
        let origin = match (&overridden, addons.is_empty()) {
            (Some(_), _) => Origin::Override,
            (None, false) => Origin::AddOn,
            (None, true) => plan_origin,
        };
        Given { origin, addons, overridden }
    }
}
