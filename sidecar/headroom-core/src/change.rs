//! A change of plan in the middle of a window: what becomes of the limit.
//!
//! What changes is the plan in force: by a subscription, by a plan that comes to its day, by a trial that
//! ends, or by a move to another version. Add-ons and overrides are not prorated; they count in full from
//! their moment. What happens is said by the limit of the plan in force after the change:
//!
//! - `keep`: what was used stays used, and the limit is the new plan's.
//! - `prorate`: what was used stays used, and the limit is made of shares:
//!   floor(sum of included units x milliseconds in force / milliseconds of the window).
//! - `reset`: the window ends at the change, and the next one begins with it.
//!
//! All of it is a function of the instant, of the profile, and of where windows lie.

use crate::account::{Account, PastPlan, Profile, ProfileExtra};
use crate::catalog::{Catalog, Entitlement, FeatureIx, FeatureKind, Plan, PlanLimit};
use crate::decide::Context;
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::time::{Millis, Window};
use crate::window::window_at;

/// What becomes of a limit when the plan changes in the middle of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OnChange {
    /// The new limit counts at once, in full.
    #[default]
    Keep,
    /// In the window of the change each plan gives its share of the time.
    Prorate,
    /// A new window begins.
    Reset,
}

impl OnChange {
    /// The word of the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            OnChange::Keep => "keep",
            OnChange::Prorate => "prorate",
            OnChange::Reset => "reset",
        }
    }
}

/// What a limit says of a change.
pub(crate) fn of(limit: &PlanLimit) -> OnChange {
    limit.terms.as_ref().map_or(OnChange::Keep, |terms| terms.on_change)
}

/// The plan in force at an instant, also before the subscription was what it is now.
pub fn plan_over(profile: &Profile, at: Millis) -> NameId {
    plan_then(profile, at).0
}

/// The same, and whether it is on trial, as far as that is known.
pub(crate) fn plan_then(profile: &Profile, at: Millis) -> (NameId, bool) {
    let past = profile.past();
    let piece = past.get(past.partition_point(|past| past.until <= at));
    piece.map_or_else(|| profile.plan_at(at), |past| (past.plan, false))
}

/// Whether a plan has a limit that does not simply keep.
pub(crate) fn is_minded(plan: &Plan) -> bool {
    plan.given().any(|given| match given {
        Entitlement::Quota { limits } => limits.iter().any(|limit| of(limit) != OnChange::Keep),
        _ => false,
    })
}

/// The instants at which the plan in force may have changed, in no order.
fn instants(extra: &ProfileExtra) -> impl Iterator<Item = Millis> {
    let past = extra.past.iter().map(|past| past.until);
    let trial = extra.trial.iter().map(|trial| trial.ends_at);
    past.chain(trial).chain(extra.scheduled.iter().map(|one| one.starts_at))
}

/// Whether the plan in force may have changed since it was last seen.
pub(crate) fn is_due(profile: &Profile, now: Millis) -> bool {
    let Some(extra) = &profile.extra else { return false };
    instants(extra).any(|at| extra.seen_at < at && at <= now)
}

/// The changes of the plan in force in `(after, upto]`, ascending.
fn changes(profile: &Profile, after: Millis, upto: Millis) -> Vec<Millis> {
    let Some(extra) = profile.extra.as_deref() else { return Vec::new() };
    let mut all: Vec<Millis> = instants(extra).filter(|at| after < *at && *at <= upto).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|at| plan_over(profile, at.plus(-1)) != plan_over(profile, *at));
    all
}

/// Remembers what the plan in force was until `now`, after an edit of the profile `before`.
///
/// With `remembers`, the catalog has a limit to which it matters; without, only that all changes until
/// now have been seen is noted.
///
/// Returns whether all that has a share of a window that began at `needed_from` or later can be remembered.
#[must_use]
pub fn note(
    before: &Profile,
    after: &mut Profile,
    now: Millis,
    (remembers, needed_from): (bool, Millis),
) -> bool {
    let is_new = now <= before.created_at;
    let is_changed = !is_new && plan_over(before, now) != after.plan_at(now).0;
    let mut past = before.past().to_vec();
    if remembers && !is_new {
        past = pieces(before, now);
        let same = |piece: &PastPlan| piece.plan == after.plan_at(piece.until.plus(-1)).0;
        let is_told_anew = after.extra.as_deref().is_some_and(|extra| {
            let bare = ProfileExtra { past: Vec::new(), ..extra.clone() };
            instants(&bare).any(|at| at <= now)
        });
        if past.iter().all(same) && past.len() <= 1 && !is_told_anew {
            past.clear();
        }
    }
    if past.len() > limits::PAST_PLANS_MAX {
        past.retain(|piece| needed_from < piece.until);
    }
    let fits = past.len() <= limits::PAST_PLANS_MAX;
    let extra = after.extra.get_or_insert_default();
    extra.past = past;
    // A change at this very instant is still to be seen.
    let seen_at = if is_changed { now.plus(-1) } else { now };
    let has_any = instants(extra).next().is_some();
    extra.seen_at = if has_any { seen_at } else { Millis::default() };
    fits
}

/// Where the oldest window begins that a plan of before may have a share of: of those in memory, and of
/// those of now. Never is later than now.
pub fn needed_from(catalog: &Catalog, account: &Account, now: Millis) -> Millis {
    let lies = |window: &Window| !window.is_lifetime();
    let begun = account.ledgers().iter().map(|ledger| ledger.window).filter(lies);
    let mut oldest = begun.map(|window| window.start()).fold(now, Millis::min);
    let profile = &account.profile;
    for feature in catalog.features() {
        let FeatureKind::Quota { limits } = &feature.kind else { continue };
        for (_, rule) in limits {
            let window = window_at(*rule, profile.anchor, profile.rules(), now);
            if lies(&window) {
                oldest = oldest.min(window.start());
            }
        }
    }
    oldest
}

/// The plans in force up to `now`, each with its end; the last one ends now.
fn pieces(profile: &Profile, now: Millis) -> Vec<PastPlan> {
    let mut ends = changes(profile, Millis(i64::MIN), now);
    ends.retain(|at| *at < now);
    ends.push(now);
    let piece = |until: Millis| PastPlan { until, plan: plan_over(profile, until.plus(-1)) };
    ends.into_iter().map(piece).collect()
}

/// Gives each limit that prorates its shares, in the window that counts at an instant.
pub(crate) fn prorate(
    catalog: &Catalog,
    account: &Account,
    feature: FeatureIx,
    at: Millis,
    limits: &mut [PlanLimit],
) {
    let profile = &account.profile;
    for limit in limits.iter_mut().filter(|limit| of(limit) == OnChange::Prorate) {
        let window = window_now(account, catalog.feature(feature).id, limit, at);
        let Some(now_units) = limit.included_units.filter(|_| !window.is_lifetime()) else {
            continue;
        };
        // Before an account was known no other plan was in force.
        let since = window.start().max(profile.created_at);
        let changes = changes(profile, since, at);
        if changes.is_empty() {
            continue;
        }
        let mut unit_ms = 0;
        let mut from = window.start();
        for until in changes.into_iter().chain([window.end()]) {
            let plan = plan_over(profile, from.max(since));
            let units = match from_plan(catalog, plan, feature, limit.limit) {
                Given::Units(units) => units,
                Given::Nothing => 0,
                // What had no bound has no share; the time counts for the plan of now.
                Given::Unlimited => now_units,
            };
            unit_ms += u128::from(units) * u128::from(until.since(from).unsigned_abs());
            from = until;
        }
        // Rounded down: nobody gets a unit that no plan gives.
        let window_ms = u128::from(window.end().since(window.start()).unsigned_abs());
        let units = u64::try_from(unit_ms / window_ms).unwrap_or(limits::UNITS_MAX);
        *limit = limit.with_included(Some(units));
    }
}

/// What a plan includes of one limit.
enum Given {
    Nothing,
    Units(u64),
    /// No bound, or a plan that has left the catalog and says nothing any more.
    Unlimited,
}

fn from_plan(catalog: &Catalog, plan: NameId, feature: FeatureIx, limit: NameId) -> Given {
    let Some(plan) = catalog.plan_of(plan) else { return Given::Unlimited };
    let Some(Entitlement::Quota { limits }) = catalog.plan(plan).entitlement(feature) else {
        return Given::Nothing;
    };
    match limits.iter().find(|known| known.limit == limit) {
        None => Given::Nothing,
        Some(known) => known.included_units.map_or(Given::Unlimited, Given::Units),
    }
}

/// The window of a limit that counts at an instant: the one that began, or the one that would begin.
fn window_now(account: &Account, feature: NameId, limit: &PlanLimit, at: Millis) -> Window {
    let profile = &account.profile;
    let own =
        || account.ledgers().iter().filter(|l| l.limit == limit.limit && l.feature == feature);
    if let Some(begun) = own().find(|l| l.window.contains(at)) {
        return begun.window;
    }
    let ruled = window_at(limit.window, profile.anchor, profile.rules(), at);
    let ends = own().map(|l| l.window.end()).filter(|end| *end <= at);
    let start = ends.fold(ruled.start(), Millis::max);
    Window::new(start, ruled.end()).unwrap_or(ruled)
}

/// The ledgers whose windows have ended by a change that was not seen yet.
fn cuts(cx: Context<'_>, account: &Account) -> Vec<Ledger> {
    let profile = &account.profile;
    let Some(extra) = profile.extra.as_deref() else { return Vec::new() };
    let changes = changes(profile, extra.seen_at, cx.now);
    let cut = |ledger: &Ledger| {
        let of = (ledger.feature, ledger.limit);
        let window = first_cut(cx.catalog, profile, of, ledger.window, &changes)?;
        Some(Ledger { window, ..*ledger })
    };
    account.ledgers().iter().filter_map(cut).collect()
}

/// What is left of a window after the first of some changes that ends it. `None`: none does.
fn first_cut(
    catalog: &Catalog,
    profile: &Profile,
    (feature, limit): (NameId, NameId),
    window: Window,
    changes: &[Millis],
) -> Option<Window> {
    let feature = catalog.feature_of(feature)?;
    let inside = changes.iter().filter(|at| window.start() < **at && **at < window.end());
    let first = inside.copied().find(|at| {
        let plan = catalog.plan_of(plan_over(profile, *at));
        let given = plan.and_then(|plan| catalog.plan(plan).entitlement(feature));
        let Some(Entitlement::Quota { limits }) = given else { return false };
        let limit = limits.iter().find(|known| known.limit == limit);
        limit.is_some_and(|limit| of(limit) == OnChange::Reset)
    })?;
    Window::new(window.start(), first)
}

/// A window that lies in the past, as the changes of the plan until an instant have left it.
pub(crate) fn cut(
    catalog: &Catalog,
    profile: &Profile,
    of: (NameId, NameId),
    window: Window,
    upto: Millis,
) -> Window {
    let changes = changes(profile, window.start(), upto);
    first_cut(catalog, profile, of, window, &changes).unwrap_or(window)
}

/// Lists the windows that changes of plan have ended, and that they were seen. Returns the account with
/// it, where there was any.
pub(crate) fn settle(cx: Context<'_>, account: &Account, effects: &mut Effects) -> Option<Account> {
    if !is_due(&account.profile, cx.now) {
        return None;
    }
    let listed = effects.len();
    effects.extend(cuts(cx, account).into_iter().map(Effect::Ledger));
    effects.push(Effect::PlansSeen(cx.now));
    let mut then = account.clone();
    effects[listed..].iter().for_each(|effect| then.apply(effect));
    Some(then)
}
