//! Trials that end: of a plan, or of one feature that an override gives for a while. They end by time
//! alone, so that it is told days ahead, also when nobody asks.
//!
//! An account stands in the index of timers once a day while a trial of it runs, and the catalog of that
//! day says whether it is a day on which something is told. So another number of days counts at once,
//! and nothing has to be looked up in all accounts for it.

use crate::account::{Account, OverrideValue, Profile};
use crate::catalog::Catalog;
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::limits;
use crate::names::NameId;
use crate::resolve::{Origin, Resolved, resolve};
use crate::signal::{NO_LIMIT, Signal, SignalName, SignalState, TrialEnds};
use crate::time::{Millis, Window};

/// The feature of the trial of a whole plan.
pub const WHOLE_PLAN: NameId = NameId(u32::MAX);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Something that may be a trial and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The feature, or [`WHOLE_PLAN`].
    pub feature: NameId,
    /// When it began, or was first known. A trial that is prolonged while it runs keeps it.
    pub began_at: Millis,
    /// When it ends, excluded.
    pub ends_at: Millis,
    /// So many days were left of it when it was last looked at, begun ones included; 0 when it was over.
    pub days: u16,
}

impl Ending {
    /// When it is to be looked at again; [`Millis::FOREVER`] when it is over.
    pub fn next_at(&self) -> Millis {
        match self.days {
            0 => Millis::FOREVER,
            days => self.ends_at.plus(-i64::from(days - 1) * DAY_MS),
        }
    }
}

/// Days from an instant to an end, begun ones included; one more than can be asked for stands for more.
fn days_left(ends_at: Millis, at: Millis) -> u16 {
    let most = i64::from(limits::ENDING_DAYS_MAX) + 1;
    let left_ms = ends_at.since(at).clamp(0, most * DAY_MS);
    u16::try_from((left_ms + DAY_MS - 1) / DAY_MS).unwrap_or(limits::ENDING_DAYS_MAX + 1)
}

/// What ends under a profile: the feature, when it begins, when it ends. Of several overrides of one
/// feature the last one to end counts.
fn ends_of(profile: &Profile) -> Vec<(NameId, Millis, Millis)> {
    let mut all = Vec::new();
    let Some(extra) = &profile.extra else { return all };
    let always = Millis(i64::MIN);
    all.extend(extra.trial.map(|trial| (WHOLE_PLAN, always, trial.ends_at)));
    for one in &extra.overrides {
        let gives = match one.value {
            OverrideValue::Switch { on } => on,
            OverrideValue::Config { .. }
            | OverrideValue::Limit { .. }
            | OverrideValue::Rate { .. } => true,
            OverrideValue::SpendCap { .. } | OverrideValue::SubjectLimit { .. } => false,
        };
        if !gives || one.ends_at == Millis::FOREVER {
            continue;
        }
        match all.iter_mut().find(|(feature, ..)| *feature == one.feature) {
            Some((_, _, ends_at)) if one.ends_at <= *ends_at => {}
            Some(known) => *known = (one.feature, one.starts_at, one.ends_at),
            None => all.push((one.feature, one.starts_at, one.ends_at)),
        }
    }
    all
}

/// What is looked at from `at` on, under a profile that was told then. What ends when it did before is
/// known already; another end counts from now, so a trial that is prolonged is told of again.
pub(crate) fn armed(profile: &Profile, known: &[Ending], at: Millis) -> Vec<Ending> {
    let arm = |(feature, starts_at, ends_at): (NameId, Millis, Millis)| {
        let before = known.iter().find(|known| known.feature == feature);
        match before {
            Some(before) if before.ends_at == ends_at => *before,
            before => {
                let running = before.filter(|before| at < before.ends_at);
                let began_at = running.map_or(starts_at.max(at), |before| before.began_at);
                Ending { feature, began_at, ends_at, days: days_left(ends_at, at) }
            }
        }
    };
    ends_of(profile).into_iter().map(arm).collect()
}

/// Carries out a look.
pub(crate) fn apply(all: &mut Vec<Ending>, after: &Ending) {
    match all.iter_mut().find(|known| known.feature == after.feature) {
        Some(known) => *known = *after,
        None => all.push(*after),
    }
}

/// The effects that make all of it again.
pub(crate) fn further(all: &[Ending]) -> impl Iterator<Item = Effect> + '_ {
    all.iter().map(|one| Effect::Ending(Box::new(*one)))
}

/// When the trial ends that an account has of its plan, or of this feature: the sooner of them. `None`:
/// it has none of either.
pub fn trial_ends_at(
    catalog: &Catalog,
    account: &Account,
    feature: Option<NameId>,
    now: Millis,
) -> Option<Millis> {
    let is_of = |one: &&Ending| one.feature == WHOLE_PLAN || Some(one.feature) == feature;
    let all = account.endings().iter().filter(is_of);
    all.filter(|one| is_trial(catalog, account, one, now)).map(|one| one.ends_at).min()
}

/// Whether it runs, and something is gone when it ends: a plan that was bought meanwhile goes on, and so
/// does a feature that the account then has from elsewhere.
fn is_trial(catalog: &Catalog, account: &Account, one: &Ending, now: Millis) -> bool {
    let profile = &account.profile;
    if one.ends_at <= now || profile.suspended || profile.ends_at <= now {
        return false;
    }
    if one.feature == WHOLE_PLAN {
        let trial = profile.extra.as_ref().and_then(|extra| extra.trial);
        return trial.is_some_and(|trial| trial.plan != profile.paid_plan_at(one.ends_at));
    }
    let Some(feature) = catalog.feature_of(one.feature) else { return false };
    let (given, origin) = resolve(catalog, account, feature, now);
    let (left, _) = resolve(catalog, account, feature, one.ends_at);
    origin == Origin::Override && given != Resolved::NotInPlan && left == Resolved::NotInPlan
}

/// Lists which trials were looked at, and of which it is told that they end.
pub(crate) fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    for one in account.endings().iter().filter(|one| one.next_at() <= cx.now) {
        let days = days_left(one.ends_at, cx.now);
        effects.push(Effect::Ending(Box::new(Ending { days, ..*one })));
        effects
            .extend(ends_soon(cx, account, one, days).map(|told| Effect::Signal(Box::new(told))));
    }
}

/// The announcement that a trial ends, when it was last looked at before a day on which that is told. Days
/// of more than half of the trial are left out: it has just begun then.
fn ends_soon(cx: Context<'_>, account: &Account, one: &Ending, days: u16) -> Option<Signal> {
    let span_ms = one.ends_at.since(one.began_at);
    let fits = |ahead: &u16| 2 * i64::from(*ahead) * DAY_MS <= span_ms;
    let all = || cx.catalog.signals.trial_ending.days().map(|(_, ahead)| ahead).filter(fits);
    let nearest = all().filter(|ahead| days <= *ahead && *ahead < one.days).min()?;
    if !is_trial(cx.catalog, account, one, cx.now) {
        return None;
    }
    let state = |is_last: bool| if is_last { SignalState::Alarm } else { SignalState::Warning };
    let was_told = all().any(|ahead| one.days <= ahead);
    Some(Signal {
        name: SignalName::TrialEnding,
        feature: one.feature,
        limit: NO_LIMIT,
        window: Window::new(one.began_at, one.ends_at)?,
        limit_revision: 1,
        crossed_bp: smallvec::SmallVec::new(),
        previous_units: 0,
        current_units: 0,
        included_units: 0,
        refused_units: 0,
        previous_state: if was_told { SignalState::Warning } else { SignalState::Ok },
        state: state(all().min() == Some(nearest)),
        grace_until: None,
        foretold: None,
        trial: Some(TrialEnds { plan: account.profile.plan_at(cx.now).0, days: nearest }),
        earned_by: None,
        at: cx.now,
    })
}
