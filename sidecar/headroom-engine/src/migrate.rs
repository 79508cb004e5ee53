//! What a new catalog would take away, looked up in the memory; moves of accounts between plans; and levels that
//! rest.
//!
//! A catalog is compared with the one in force before it is. Only when something is gone are the
//! accounts looked at, so a reload that takes nothing away costs nothing.

use headroom_core::account::Profile;
use headroom_core::catalog::{Catalog, CatalogSpec, FeatureKind, SpecProblem};
use headroom_core::decide::Context;
use headroom_core::effect::{Effect, Effects};
use headroom_core::ledger::Ledger;
use headroom_core::migrate::{self, Loss, Migration, Touched};
use headroom_core::names::NameId;
use headroom_core::stock;
use headroom_core::time::{Millis, Window};
use headroom_core::window::WindowRule;

use crate::admin::{AdminError, Step, plan_id};
use crate::engine::{AccountId, Accounts, Engine, EngineError, Slot};
use crate::ports::Seq;
use crate::read::as_of;

/// Accounts looked at before others may have the list of ids.
const PAGE: usize = 1024;

/// What `new` would take away without a line that allows it: one problem for each thing that any
/// account has, and one for each line that was meant for something that goes and names it wrongly.
pub(crate) fn orphans(
    accounts: &Accounts,
    old: &Catalog,
    new: &Catalog,
    now: Millis,
) -> Vec<SpecProblem> {
    let losses =
        migrate::losses(old, new).into_iter().filter(|loss| loss.covered_by(new).is_none());
    let mut losses: Vec<(Loss, Touched)> = losses.map(|loss| (loss, Touched::default())).collect();
    let mut problems = migrate::mistaken(old, new).problems;
    if losses.is_empty() {
        return problems;
    }
    for slot in accounts {
        let account = as_of(Context { catalog: old, now }, &slot.account);
        for (loss, touched) in &mut losses {
            touched.add(loss.touches(old, &account, now));
        }
    }
    losses.retain(|(_, touched)| touched.accounts > 0);
    problems.extend(losses.iter().map(|(loss, touched)| loss.explain(old, new, *touched)));
    problems
}

/// Whether anything is known of a feature of this number. Asked only of one that is not in force and that a
/// line renames.
pub(crate) fn is_counted(accounts: &Accounts, feature: NameId) -> bool {
    accounts.iter().any(|slot| migrate::is_known_of(feature, &slot.account))
}

/// What there is to say of lines of `new` that allow nothing that it takes away from `old`.
pub(crate) fn needless(old: &Catalog, new: &Catalog) -> Vec<SpecProblem> {
    let mut hints = migrate::mistaken(old, new).hints;
    let strange: Vec<String> = hints.iter().filter_map(|hint| hint.path.get(1).cloned()).collect();
    let losses = migrate::losses(old, new);
    let needed: Vec<usize> = losses.iter().filter_map(|loss| loss.covered_by(new)).collect();
    let lines = new.migrations().iter().enumerate();
    // By a line that renames a feature its old name is understood, also long after.
    let may_go = lines.filter(|(place, line)| {
        !needed.contains(place)
            && !matches!(line, Migration::RenameFeature { .. })
            && !strange.contains(&place.to_string())
    });
    hints.extend(may_go.map(|(place, _)| SpecProblem {
        path: vec!["migrations".to_owned(), place.to_string()],
        message: "this migration is not needed here, and may be taken out".to_owned(),
        known: Vec::new(),
    }));
    hints
}

/// What a catalog would take away, and what there is to say of its migrations that are not needed; or all
/// that is wrong with it.
pub type Compared = Result<(Vec<SpecProblem>, Vec<SpecProblem>), Vec<SpecProblem>>;

/// A move of accounts to a version of their plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanMove<'a> {
    /// The plan.
    pub plan: &'a str,
    /// The version to move to.
    pub to_version: u32,
    /// Only this account. `None`: all.
    pub account: Option<&'a str>,
    /// Only count.
    pub dry_run: bool,
}

/// What a move did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanMoved {
    /// Accounts on another version of the plan, now or on trial or from a day to come.
    pub accounts: u64,
    /// The record that must be written before this is answered, if any.
    pub wait_for: Option<Seq>,
}

impl Engine {
    /// What a reload would refuse a catalog for, and what there is to say of migrations that it does not
    /// need. Changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with the catalog.
    pub fn check_catalog(&self, spec: CatalogSpec, now: Millis) -> Compared {
        let before = self.catalog();
        let catalog = {
            let admin = self.admin.lock().unwrap_or_else(|held| held.into_inner());
            admin.build(spec, "", Step::From(Some(&before), &self.accounts))?.0
        };
        let orphans = orphans(&self.accounts, &before, &catalog, now);
        Ok((orphans, needless(&before, &catalog)))
    }

    /// Moves accounts that are on any other version of a plan to one of its versions. What was used
    /// stays used.
    pub fn move_plan(&self, request: PlanMove<'_>, now: Millis) -> Result<PlanMoved, AdminError> {
        let catalog = self.catalog();
        let to = plan_id(&catalog, &format!("{}@{}", request.plan, request.to_version), None)?;
        self.store.room().map_err(EngineError::from)?;
        let others =
            |plan: NameId| (plan != to && catalog.plan_name(plan).0 == request.plan).then_some(to);
        let mut moved = PlanMoved { accounts: 0, wait_for: None };
        let mut visit = |id: &str, slot: &mut Slot| -> Result<(), AdminError> {
            if !has_move(&slot.account.profile, &others) {
                return Ok(());
            }
            moved.accounts += 1;
            if !request.dry_run {
                let changed = self.edit_plans(id, slot, &catalog, now, |profile| {
                    move_all(profile, &others);
                    Ok(())
                })?;
                moved.wait_for = Some(changed.wait_for);
            }
            Ok(())
        };
        let Some(id) = request.account else {
            self.each_account(visit)?;
            return Ok(moved);
        };
        let Some(mut slot) = self.accounts.get_mut(id) else {
            return Err(AdminError::UnknownAccount { account: id.to_owned() });
        };
        visit(id, &mut slot)?;
        drop(slot);
        Ok(moved)
    }

    /// Carries out what the lines of a catalog say: moves accounts off plans that have gone, and ends
    /// windows that would never end. Done again it changes nothing, so a crash on the way does no harm.
    pub(crate) fn carry_out(&self, catalog: &Catalog, now: Millis) -> Option<Seq> {
        let ended: Vec<(NameId, NameId)> = catalog
            .migrations()
            .iter()
            .filter_map(|line| {
                let Migration::EndLifetime { feature, limit } = line else { return None };
                let shape = catalog.feature(catalog.feature_named(feature)?);
                let FeatureKind::Quota { limits } = &shape.kind else { return None };
                let levels = shape.levels.iter().map(|level| (level.limit, level.window));
                let mut all = limits.iter().copied().chain(levels);
                let is_it = |(id, rule): &(NameId, WindowRule)| {
                    catalog.text(*id) == limit && *rule != WindowRule::Lifetime
                };
                Some((shape.id, all.find(is_it)?.0))
            })
            .collect();
        let moves = |plan: NameId| migrate::moved_to(catalog, plan);
        let has_moves =
            catalog.migrations().iter().any(|line| matches!(line, Migration::MovePlan { .. }));
        if ended.is_empty() && !has_moves {
            return None;
        }
        let mut last = None;
        let mut effects = Effects::new();
        let done: Result<(), AdminError> = self.each_account(|id, slot| {
            let profile = &slot.account.profile;
            let was_on = profile.past().iter().any(|past| moves(past.plan).is_some());
            if has_moves && (was_on || has_move(profile, &moves)) {
                // The plan has another name now: nothing changes by that, not in earlier days either, and
                // nobody looks: by the old names a plan would have followed itself.
                let mut profile = profile.clone();
                move_all(&mut profile, &moves);
                let past = profile.extra.iter_mut().flat_map(|extra| &mut extra.past);
                past.for_each(|past| past.plan = moves(past.plan).unwrap_or(past.plan));
                self.put_profile(id, slot, now, profile);
                last = Some(slot.last_seq);
            }
            effects.clear();
            let end = |ledger: &Ledger| {
                let is_ended = ended.contains(&(ledger.feature, ledger.limit));
                (is_ended && ledger.window.is_lifetime()).then(|| ended_at(ledger, now))
            };
            effects.extend(slot.account.ledgers().iter().filter_map(end));
            for (id, subject) in slot.account.subjects().into_iter().flat_map(|all| all.iter()) {
                let changes = subject.state.ledgers().iter().filter_map(end);
                effects.extend(changes.map(|change| Effect::OfSubject(id, Box::new(change))));
            }
            if !effects.is_empty() {
                last = Some(self.note_at(now, slot, &effects, &mut Vec::new()));
            }
            Ok(())
        });
        debug_assert!(done.is_ok(), "{done:?}"); // Plans of this catalog take no account off another.
        last
    }

    /// Lets levels rest whose features are of another kind by now, and measures again those that are
    /// allocations again. `before` is the catalog that was in force. Done again it changes nothing, so whoever
    /// starts does it: for a crash on the way, and for data of a version of the program that billed on.
    pub(crate) fn follow_kinds(
        &self,
        before: &Catalog,
        catalog: &Catalog,
        now: Millis,
    ) -> Option<Seq> {
        let (mut bytes, mut last) = (Vec::new(), None);
        for mut slot in self.accounts.iter_mut() {
            if slot.account.stocks().is_empty() {
                continue;
            }
            let cx = Context { catalog, now: slot.account.not_before(now) };
            let effects = stock::follow_kinds(before, cx, &slot.account);
            if !effects.is_empty() {
                last = Some(self.note_at(now, &mut slot, &effects, &mut bytes));
            }
        }
        last
    }

    pub(crate) fn each_account(
        &self,
        mut visit: impl FnMut(&str, &mut Slot) -> Result<(), AdminError>,
    ) -> Result<(), AdminError> {
        let mut from = 0;
        loop {
            let page: Vec<(u32, AccountId)> = self.account_ids(from, PAGE);
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = last + 1;
            for (_, id) in page {
                let Some(mut slot) = self.accounts.get_mut(&id) else { continue };
                visit(&id, &mut slot)?;
            }
        }
    }
}

/// The ledger with its window ended, at the earliest a millisecond after its beginning.
fn ended_at(ledger: &Ledger, now: Millis) -> Effect {
    let start = ledger.window.start();
    let window = Window::new(start, now.max(start.plus(1))).unwrap_or(ledger.window);
    Effect::Ledger(Ledger { window, ..*ledger })
}

fn has_move(profile: &Profile, to: &dyn Fn(NameId) -> Option<NameId>) -> bool {
    plans_of(profile).any(|plan| to(plan).is_some())
}

fn plans_of(profile: &Profile) -> impl Iterator<Item = NameId> {
    let extra = profile.extra.as_deref();
    let trial = extra.and_then(|extra| extra.trial).map(|trial| trial.plan);
    let scheduled = extra.into_iter().flat_map(|extra| extra.scheduled.iter().map(|one| one.plan));
    std::iter::once(profile.plan).chain(trial).chain(scheduled)
}

fn move_all(profile: &mut Profile, to: &dyn Fn(NameId) -> Option<NameId>) {
    let change = |plan: &mut NameId| {
        if let Some(to) = to(*plan) {
            *plan = to;
        }
    };
    change(&mut profile.plan);
    let Some(extra) = &mut profile.extra else { return };
    if let Some(trial) = &mut extra.trial {
        change(&mut trial.plan);
    }
    extra.scheduled.iter_mut().for_each(|one| change(&mut one.plan));
}
