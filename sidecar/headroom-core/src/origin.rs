//! Whose word an answer is: the plan's, that of which add-ons, or an override's and until when; limit by
//! limit, because an override of one says nothing of the others. And what let the account in, where a
//! feature has not come to everybody.
//!
//! It is read off the very resolution that decides ([`crate::resolve`]), which tells who is heard. Nothing
//! here is asked of an account that has nothing but its plan, unless the catalog has roll-outs.

use crate::account::{Account, AddOn};
use crate::catalog::{Catalog, Feature, FeatureIx};
use crate::cohort::{self, RollOut};
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

impl Given {
    /// Of a kind, and nobody by name.
    pub fn by(origin: Origin) -> Given {
        Given { origin, addons: Vec::new(), overridden: None }
    }
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
    /// What let the account in, where the feature has not come to everybody and no override gives it.
    pub roll_out: Option<RollOut>,
}

/// Whether there is anything to say of an account besides its plan.
#[inline]
pub fn is_plain(catalog: &Catalog, account: &Account) -> bool {
    account.profile.is_plain() && !catalog.has_roll_outs()
}

/// Whose word an answer and the limits are that it shows. `None`: nobody but the plan has a say in anything
/// of the account, or nothing entitles.
#[cold]
pub fn origins<'s>(
    cx: Context<'_>,
    account: &Account,
    decision: &'s Decision,
    others: &'s [LimitState],
) -> Option<Box<Origins>> {
    let feature = cx.catalog.feature_of(decision.feature?)?;
    if decision.origin == Origin::None {
        return None;
    }
    let Feature { id, offering, .. } = cx.catalog.feature(feature);
    let draws = decision.origin != Origin::Override;
    let by = || cohort::roll_out(account, cx.catalog.names().first_text(*id), offering);
    let roll_out = if draws { by() } else { None };
    if account.profile.is_plain() {
        // Whose word its limits are, goes without saying.
        let decided = Given::by(decision.origin);
        return roll_out
            .is_some()
            .then(|| Box::new(Origins { decided, binding: None, others: Vec::new(), roll_out }));
    }
    let mut asked = Vec::new();
    let mut of_state = |state: &'s LimitState| asked_once(cx, account, state, &mut asked);
    let binding = decision.binding.as_ref();
    // What has to be earned is shown by a limit of another feature, and what pays by its pool.
    let own = binding.filter(|state| Some(state.ledger.feature) == decision.feature);
    let decided = match own {
        Some(state) => of_state(state),
        None => of_feature(cx, account, feature, decision.origin),
    };
    let (binding, others) =
        (binding.map(&mut of_state), others.iter().map(&mut of_state).collect());
    Some(Box::new(Origins { decided, binding, others, roll_out }))
}

/// Whose word a limit is that an answer shows.
pub fn of_limit(cx: Context<'_>, account: &Account, state: &LimitState) -> Given {
    asked_once(cx, account, state, &mut Vec::new())
}

/// What was found of the limits of a feature: the account's, or those of one of its subjects.
struct Asked<'s> {
    feature: NameId,
    subject: Option<&'s str>,
    plan_origin: Origin,
    /// Whoever was heard, limit by limit.
    heard: Vec<(NameId, Heard)>,
}

/// Whose word a limit is: of limits that are resolved together, who is heard is asked once.
fn asked_once<'s>(
    cx: Context<'_>,
    account: &Account,
    state: &'s LimitState,
    asked: &mut Vec<Asked<'s>>,
) -> Given {
    let (feature, subject) = (state.ledger.feature, state.subject());
    let known = asked.iter().position(|one| one.feature == feature && one.subject == subject);
    let place = match known {
        Some(place) => place,
        None => {
            let Some(ix) = cx.catalog.feature_of(feature) else { return Given::by(Origin::None) };
            let (plan_origin, heard) = listen(cx, account, ix, subject);
            asked.push(Asked { feature, subject, plan_origin, heard });
            asked.len() - 1
        }
    };
    let Asked { plan_origin, heard, .. } = &asked[place];
    let heard = heard.iter().find(|(limit, _)| *limit == state.ledger.limit);
    heard.map(|(_, heard)| heard.clone()).unwrap_or_default().given(*plan_origin)
}

/// Who is heard about each limit of a feature, and the kind of source of what the plan says.
fn listen(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    subject: Option<&str>,
) -> (Origin, Vec<(NameId, Heard)>) {
    let profile = &account.profile;
    let (given, plan_origin) = resolve::planned(cx.catalog, account, feature, cx.now);
    let plan_origin = if given.is_some() { plan_origin } else { Origin::None };
    let mut heard: Vec<(NameId, Heard)> = Vec::new();
    let mut hear = |of: Option<NameId>, voice: Voice<'_>| {
        let Some(of) = of else { return };
        match heard.iter_mut().find(|(limit, _)| *limit == of) {
            Some((_, known)) => known.hear(voice),
            None => {
                let mut first = Heard::default();
                first.hear(voice);
                heard.push((of, first));
            }
        }
    };
    match subject {
        None => drop(resolve_heard(cx.catalog, account, feature, cx.now, &mut hear)),
        Some(subject) => {
            let whose = (feature, subject);
            resolve_levels_heard(cx.catalog, profile, whose, cx.now, &mut hear);
            resolve_each_heard(cx.catalog, profile, feature, cx.now, &mut hear);
        }
    }
    (plan_origin, heard)
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
        _ => Given::by(origin),
    }
}

/// Who was heard so far.
#[derive(Clone, Default)]
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
