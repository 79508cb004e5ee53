//! Migrations: what a new catalog takes away from accounts that have it.
//!
//! A feature that goes, a limit that goes, a kind that changes, a plan that nobody is on any more in the
//! file but somebody is in the memory: each would leave usage behind that no rule speaks of. Such a
//! catalog is refused until it has a line for each of them, so that nobody loses counts by an accident
//! of editing. The lines are of the step from one catalog to the next: one that is not needed any more
//! does no harm.

mod mistaken;
pub(crate) mod rename;

use std::collections::BTreeSet;

use crate::account::Account;
use crate::catalog::{Catalog, Feature, FeatureKind, SpecProblem};
use crate::decide::counts_on_ms;
use crate::names::NameId;
use crate::reservation::ReservationState;
use crate::time::Millis;
use crate::versions;
use crate::window::WindowRule;

pub use mistaken::{Mistaken, mistaken};
pub use rename::renames;

/// A line of the catalog: what may be lost against the catalog before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    /// A feature goes; what was counted of it rests, and comes back with its name.
    DropFeature {
        /// Its name.
        feature: String,
    },
    /// A limit goes; what it counted rests, and comes back with its name.
    DropLimit {
        /// The feature.
        feature: String,
        /// The limit.
        limit: String,
    },
    /// A feature is called otherwise; everything that is known of it goes on.
    RenameFeature {
        /// What it was called.
        from: String,
        /// What it is called in this catalog, or by the `from` of another line.
        to: String,
    },
    /// A feature becomes another kind; what was counted of the kind before rests.
    ChangeKind {
        /// Its name.
        feature: String,
        /// The word of the new kind.
        to: String,
    },
    /// A limit whose window never ended gets another rule: its window ends now, and what it counted
    /// goes into the usage history.
    EndLifetime {
        /// The feature.
        feature: String,
        /// The limit.
        limit: String,
    },
    /// A plan, or one version of it, goes; accounts on it are moved.
    MovePlan {
        /// The name, or name and version, that goes.
        from: String,
        /// The name, or name and version, in this catalog.
        to: String,
    },
    /// An add-on goes; accounts that bought it have nothing of it.
    DropAddOn {
        /// Its name.
        addon: String,
    },
}

/// One thing that the catalog before had and the next one has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A feature is gone.
    Feature(NameId),
    /// A feature is of another kind: the words of the old and the new one.
    Kind(NameId, &'static str, &'static str),
    /// A limit of a feature is gone.
    Limit(NameId, NameId),
    /// A limit of a feature is counted for others: the account, or a type of subjects.
    Owner(NameId, NameId, Option<NameId>, Option<NameId>),
    /// A limit of a feature counted for ever, and has another window now.
    Lifetime(NameId, NameId),
    /// A plan, or a version of one, is gone.
    Plan(NameId),
    /// An add-on is gone.
    AddOn(NameId),
    /// The name of a feature that is not in force, but may have counts that rest, is given to another
    /// one: their numbers.
    Taken(NameId, NameId),
}

/// How much a loss touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    /// Accounts with any of it.
    pub accounts: u64,
    /// Ledgers that count something.
    pub ledgers: u64,
    /// Reservations that hold something.
    pub reservations: u64,
}

impl Touched {
    /// Adds what one account has of it.
    pub fn add(&mut self, one: Touched) {
        self.accounts += one.accounts;
        self.ledgers += one.ledgers;
        self.reservations += one.reservations;
    }
}

/// What `new` has not and `old` had. Both know the same numbers of names.
pub fn losses(old: &Catalog, new: &Catalog) -> Vec<Loss> {
    let mut losses = Vec::new();
    for before in old.features() {
        let Some(after) = new.feature_of(before.id).map(|ix| new.feature(ix)) else {
            losses.push(Loss::Feature(before.id));
            continue;
        };
        let (was, is) = (before.kind.as_str(), after.kind.as_str());
        if was != is {
            losses.push(Loss::Kind(before.id, was, is));
            continue;
        }
        for (limit, was, whose) in limits_of(before) {
            match limits_of(after).find(|(known, ..)| *known == limit) {
                None => losses.push(Loss::Limit(before.id, limit)),
                Some((.., is)) if is != whose => {
                    losses.push(Loss::Owner(before.id, limit, whose, is));
                }
                Some((_, is, _)) if was == WindowRule::Lifetime && is != was => {
                    losses.push(Loss::Lifetime(before.id, limit));
                }
                Some(_) => {}
            }
        }
    }
    let plans: BTreeSet<NameId> = new.plans().iter().map(|plan| plan.id).collect();
    let gone = old.plans().iter().map(|plan| plan.id).filter(|id| !plans.contains(id));
    losses.extend(gone.map(Loss::Plan));
    losses.extend(new.features().iter().filter_map(|after| {
        let before = old.names().feature(&after.feature)?;
        (before != after.id && old.feature_of(before).is_none())
            .then_some(Loss::Taken(before, after.id))
    }));
    let addons: BTreeSet<NameId> = new.addons().iter().map(|addon| addon.id).collect();
    let gone = old.addons().iter().map(|addon| addon.id).filter(|id| !addons.contains(id));
    losses.extend(gone.map(Loss::AddOn));
    losses
}

/// The limits of a quota, and the type of subjects that each have one for themselves.
fn limits_of(
    feature: &Feature,
) -> impl Iterator<Item = (NameId, WindowRule, Option<NameId>)> + use<'_> {
    let own: &[(NameId, WindowRule)] = match &feature.kind {
        FeatureKind::Quota { limits } => limits,
        _ => &[],
    };
    let own = own.iter().map(|(limit, window)| (*limit, *window, None));
    own.chain(feature.levels.iter().map(|level| (level.limit, level.window, Some(level.per))))
}

/// What goes before the name of a kind.
fn article(kind: &str) -> &'static str {
    match kind.chars().next() {
        _ if kind.ends_with('s') => "",
        Some('a' | 'e' | 'i' | 'o' | 'u') => "an ",
        _ => "a ",
    }
}

impl Loss {
    /// The place of the line of `new` that allows it.
    pub fn covered_by(&self, new: &Catalog) -> Option<usize> {
        let is = |name: &str, id: NameId| new.text(id) == name;
        let is_feature = |name: &str, id: NameId| new.feature_text(id) == name;
        new.migrations().iter().position(|line| match (line, self) {
            (Migration::DropFeature { feature }, Loss::Feature(id)) => is_feature(feature, *id),
            (Migration::ChangeKind { feature, to }, Loss::Kind(id, _, kind)) => {
                is_feature(feature, *id) && to == kind
            }
            (
                Migration::DropLimit { feature, limit },
                Loss::Limit(of, id) | Loss::Owner(of, id, ..),
            )
            | (Migration::EndLifetime { feature, limit }, Loss::Lifetime(of, id)) => {
                is_feature(feature, *of) && is(limit, *id)
            }
            (Migration::MovePlan { from, .. }, Loss::Plan(id)) => {
                versions::canonical(from) == new.text(*id)
            }
            (Migration::DropAddOn { addon }, Loss::AddOn(id)) => is(addon, *id),
            _ => false,
        })
    }

    /// What one account has of it at an instant, under the catalog that had it.
    pub fn touches(&self, old: &Catalog, account: &Account, now: Millis) -> Touched {
        match self {
            Loss::Feature(feature) | Loss::Kind(feature, ..) | Loss::Taken(feature, _) => {
                counted(old, account, (*feature, None), now)
            }
            Loss::Limit(feature, limit)
            | Loss::Lifetime(feature, limit)
            | Loss::Owner(feature, limit, ..) => {
                counted(old, account, (*feature, Some(*limit)), now)
            }
            Loss::Plan(plan) => touched_if(is_on(account, *plan, now)),
            Loss::AddOn(addon) => {
                touched_if(account.profile.addons().iter().any(|bought| bought.addon == *addon))
            }
        }
    }

    /// Why a catalog without a line for it is refused.
    pub fn explain(&self, old: &Catalog, new: &Catalog, touched: Touched) -> SpecProblem {
        let text = |id: &NameId| new.text(*id).to_owned();
        let feature_text = |id: &NameId| new.feature_text(*id).to_owned();
        let touched = Counted(touched);
        let (path, message) = match self {
            Loss::Feature(id) => {
                let name = feature_text(id);
                let message = explain_gone(&name, old, new, *id, &touched);
                (vec!["features".to_owned()], message)
            }
            Loss::Taken(_, by) => {
                let name = feature_text(by);
                let message = explain_taken(&name, old.feature_text(*by), &touched);
                (vec!["features".to_owned(), name], message)
            }
            Loss::Kind(id, was, is) => {
                let name = feature_text(id);
                // `seats` and `credits` are many already.
                let (was_a, is_a) = (article(was), article(is));
                let message = format!(
                    "feature `{name}` was {was_a}{was} and is {is_a}{is}, but {touched}: give it another name, \
                     or let the counts rest with the migration `change_kind: {name}, to: {is}`. They go on \
                     where they were if it becomes {was_a}{was} again"
                );
                (vec!["features".to_owned(), name, "kind".to_owned()], message)
            }
            Loss::Limit(of, id) => {
                let (feature, limit) = (feature_text(of), text(id));
                let message = format!(
                    "limit `{limit}` of `{feature}` is gone, but {touched}: put it back, or let the \
                     counts rest with the migration `drop_limit: {limit}, of: {feature}`"
                );
                (vec!["features".to_owned(), feature, "limits".to_owned()], message)
            }
            Loss::Owner(of, id, was, is) => {
                let (feature, limit) = (feature_text(of), text(id));
                let whose = |per: &Option<NameId>| match per {
                    Some(per) => format!("each {}", new.text(*per)),
                    None => "the account".to_owned(),
                };
                let message = format!(
                    "limit `{limit}` of `{feature}` was counted for {} and is now for {}, but {touched}: \
                     give it another name, or let the counts rest with the migration `drop_limit: \
                     {limit}, of: {feature}`",
                    whose(was),
                    whose(is)
                );
                (vec!["features".to_owned(), feature, "limits".to_owned(), limit], message)
            }
            Loss::Lifetime(of, id) => {
                let (feature, limit) = (feature_text(of), text(id));
                let message = format!(
                    "limit `{limit}` of `{feature}` counted for ever and has another window now, but \
                     {touched}, whose window would never end: keep `lifetime`, or end it now with the \
                     migration `end_lifetime: {limit}, of: {feature}`"
                );
                (vec!["features".to_owned(), feature, "limits".to_owned(), limit], message)
            }
            Loss::Plan(id) => {
                let name = text(id);
                let what = if name.contains('@') { "version" } else { "plan" };
                let message = format!(
                    "{what} `{name}` is gone, but {touched} on it: put it back, or move them with the \
                     migration `move_plan: {name}, to: …`"
                );
                (vec!["plans".to_owned()], message)
            }
            Loss::AddOn(id) => {
                let name = text(id);
                let message = format!(
                    "add-on `{name}` is gone, but {touched} bought it: put it back, or let them have \
                     nothing of it with the migration `drop_addon: {name}`"
                );
                (vec!["addons".to_owned()], message)
            }
        };
        SpecProblem { path, message, known: Vec::new() }
    }
}

fn explain_taken(name: &str, before: &str, touched: &Counted) -> String {
    format!(
        "feature `{before}` cannot be called `{name}`: another one was called so, and {touched}, which \
         would be left without a name: give it another one"
    )
}

/// Why a catalog without a feature is refused. If another one has come that it may be called now, that is
/// said first of all: most features that go have only been given a better name.
fn explain_gone(name: &str, old: &Catalog, new: &Catalog, id: NameId, touched: &Counted) -> String {
    let gone = old.feature_of(id).map(|ix| old.feature(ix));
    let candidates: Vec<&str> =
        gone.into_iter().flat_map(|gone| rename::candidates(old, new, gone)).collect();
    match candidates.as_slice() {
        [] => format!(
            "feature `{name}` is gone, but {touched}: put it back, or let the counts rest with the \
             migration `drop_feature: {name}`"
        ),
        [other] => format!(
            "feature `{name}` is gone, but {touched}: if it is called `{other}` now, let the counts go on \
             with the migration `rename_feature: {name}, to: {other}`; else put it back, or let them rest \
             with `drop_feature: {name}`"
        ),
        others => format!(
            "feature `{name}` is gone, but {touched}: if it has another name now (`{}`), let the counts go \
             on with the migration `rename_feature: {name}, to: …`; else put it back, or let them rest \
             with `drop_feature: {name}`",
            others.join("`, `")
        ),
    }
}

/// The plan that accounts on `plan` are moved to, if a line says so.
pub fn moved_to(catalog: &Catalog, plan: NameId) -> Option<NameId> {
    let to = catalog.plan(catalog.plan_of(plan)?).id;
    (to != plan).then_some(to)
}

/// Whether an account is, or will be, on this very plan.
pub fn is_on(account: &Account, plan: NameId, now: Millis) -> bool {
    let profile = &account.profile;
    profile.plan == plan
        || profile.extra.as_deref().is_some_and(|extra| {
            extra.trial.is_some_and(|trial| trial.plan == plan && now < trial.ends_at)
                || extra.scheduled.iter().any(|one| one.plan == plan)
        })
}

/// Whether an account remembers anything of a feature: what counts, also of windows that are over, what is
/// held, and what was promised.
pub fn is_known_of(feature: NameId, account: &Account) -> bool {
    let subjects = account.subjects().into_iter().flat_map(|subjects| subjects.iter());
    let of_subjects = subjects.flat_map(|(_, subject)| subject.state.ledgers());
    let mut ledgers = account.ledgers().iter().chain(of_subjects);
    let mut held = account.reservations().into_iter().flat_map(|all| all.iter());
    ledgers.any(|ledger| ledger.feature == feature)
        || held.any(|held| held.feature == feature)
        || account.pool(feature).is_some()
        || account.profile.overrides().iter().any(|known| known.feature == feature)
}

fn touched_if(is_touched: bool) -> Touched {
    Touched { accounts: u64::from(is_touched), ..Touched::default() }
}

fn counted(
    old: &Catalog,
    account: &Account,
    (feature, limit): (NameId, Option<NameId>),
    now: Millis,
) -> Touched {
    let is_of = |of: NameId| limit.is_none_or(|limit| limit == of);
    let subjects = account.subjects().into_iter().flat_map(|subjects| subjects.iter());
    let of_subjects = subjects.flat_map(|(_, subject)| subject.state.ledgers());
    let live = account.ledgers().iter().chain(of_subjects).filter(|ledger| {
        let counts_on_ms = counts_on_ms(old, ledger.feature, ledger.limit);
        ledger.feature == feature
            && is_of(ledger.limit)
            && ledger.used > 0
            && now < ledger.window.end().plus(counts_on_ms)
    });
    let open = account.reservations().into_iter().flat_map(|all| all.iter()).filter(|held| {
        // What a monitor reserved holds nothing.
        let holds = !held.ledgers.is_empty() || held.extra().credits.is_some();
        holds
            && held.feature == feature
            && held.state == ReservationState::Open
            && now < held.expires_at
            && (limit.is_none() || held.limits().any(is_of))
    });
    // A pool of credits counts in itself.
    let pool = account.pool(feature).filter(|pool| limit.is_none() && pool.balance() != 0);
    let ledgers = live.count() as u64 + u64::from(pool.is_some());
    let reservations = open.count() as u64;
    let accounts = u64::from(ledgers + reservations > 0);
    Touched { accounts, ledgers, reservations }
}

/// `3 accounts have 4 ledgers and 1 reservation`, or only the accounts.
struct Counted(Touched);

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let many = |count: u64, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let Touched { accounts, ledgers, reservations } = self.0;
        let has = if accounts == 1 { "has" } else { "have" };
        write!(f, "{}", many(accounts, "account"))?;
        match (ledgers, reservations) {
            (0, 0) => Ok(()),
            (_, 0) => write!(f, " {has} used it ({})", many(ledgers, "ledger")),
            (0, _) => write!(f, " {has} reserved of it ({})", many(reservations, "reservation")),
            _ => write!(
                f,
                " {has} used it ({}, {})",
                many(ledgers, "ledger"),
                many(reservations, "reservation")
            ),
        }
    }
}
