//! Versions of plans, and what a new catalog takes away, by names and one by one.

use std::collections::BTreeMap;

use headroom_core::catalog::{CatalogSpec, FeatureKindSpec, PlanSpec};
use headroom_core::migrate::Migration;
use headroom_core::window::{Every, SpanUnit, WindowRule};

use super::plan::EACH_SLOTS;
use super::{Account, Model, Refused};
use crate::civil;

/// A plan and its version in one text; the first version has none.
pub(crate) fn label(plan: &PlanSpec) -> String {
    match plan.version {
        1 => plan.plan.clone(),
        version => format!("{}@{version}", plan.plan),
    }
}

/// A text without its version.
fn bare(text: &str) -> &str {
    match text.find('@') {
        Some(at) => &text[..at],
        None => text,
    }
}

/// The text that `label` makes for the same plan and version.
fn normal(text: &str) -> String {
    text.strip_suffix("@1").unwrap_or(text).to_owned()
}

fn kind_of(kind: &FeatureKindSpec) -> &'static str {
    match kind {
        FeatureKindSpec::Switch => "switch",
        FeatureKindSpec::Config => "config",
        FeatureKindSpec::Quota { .. } => "quota",
        FeatureKindSpec::Concurrency { .. } => "concurrency",
        FeatureKindSpec::Rate { .. } => "rate",
        FeatureKindSpec::Allocation { .. } => "allocation",
        FeatureKindSpec::Credits { .. } => "credits",
        FeatureKindSpec::Seats { .. } => "seats",
    }
}

/// How long a bucket of a sliding window goes on to count after its end.
fn slides_ms(rule: WindowRule) -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    let WindowRule::Sliding(Every { count, unit }) = rule else { return 0 };
    let unit_ms = match unit {
        SpanUnit::Hour => HOUR_MS,
        SpanUnit::Day => 24 * HOUR_MS,
        SpanUnit::Week => 7 * 24 * HOUR_MS,
        SpanUnit::Month => unreachable!("a checked catalog"),
    };
    i64::from(count) * unit_ms
}

/// Every line that the step from one catalog to another could need.
pub(crate) fn lines(from: &CatalogSpec, to: &CatalogSpec, target: &str) -> Vec<Migration> {
    let mut lines = Vec::new();
    for old in &from.features {
        let feature = old.feature.clone();
        let Some(new) = to.features.iter().find(|known| known.feature == feature) else {
            lines.push(Migration::DropFeature { feature });
            continue;
        };
        if kind_of(&old.kind) != kind_of(&new.kind) {
            lines.push(Migration::ChangeKind { feature, to: kind_of(&new.kind).to_owned() });
            continue;
        }
        if let FeatureKindSpec::Concurrency { per: had @ Some(_) } = &old.kind
            && !matches!(&new.kind, FeatureKindSpec::Concurrency { per } if per == had)
        {
            lines.push(Migration::DropLimit { feature, limit: EACH_SLOTS.to_owned() });
            continue;
        }
        let FeatureKindSpec::Quota { limits: had } = &old.kind else { continue };
        let FeatureKindSpec::Quota { limits: has } = &new.kind else { continue };
        for limit in had {
            let (feature, name) = (feature.clone(), limit.limit.clone());
            match has.iter().find(|known| known.limit == name) {
                None => lines.push(Migration::DropLimit { feature, limit: name }),
                Some(now) if now.per != limit.per => {
                    lines.push(Migration::DropLimit { feature, limit: name });
                }
                Some(now)
                    if limit.window == WindowRule::Lifetime
                        && now.window != WindowRule::Lifetime =>
                {
                    lines.push(Migration::EndLifetime { feature, limit: name });
                }
                Some(_) => {}
            }
        }
    }
    for old in &from.plans {
        if !to.plans.iter().any(|new| label(new) == label(old)) {
            lines.push(Migration::MovePlan { from: label(old), to: target.to_owned() });
        }
    }
    for old in &from.addons {
        if !to.addons.iter().any(|new| new.plan == old.plan) {
            lines.push(Migration::DropAddOn { addon: old.plan.clone() });
        }
    }
    lines
}

impl Model {
    /// The label of a plan that is named, or named with its version. Without a version an account keeps
    /// the one it has, and otherwise gets the highest.
    pub(crate) fn bought(&self, text: &str, before: Option<&str>) -> Option<String> {
        let all: BTreeMap<u32, String> = self
            .catalog
            .plans
            .iter()
            .filter(|plan| plan.plan == bare(text))
            .map(|plan| (plan.version, label(plan)))
            .collect();
        if text.contains('@') {
            return all.into_values().find(|known| *known == normal(text));
        }
        let kept = before.filter(|before| all.values().any(|known| known == before));
        kept.map(str::to_owned).or_else(|| all.into_values().next_back())
    }

    /// Whether a catalog would take something away from any account without saying so.
    pub fn is_orphaned_by(&self, new: &CatalogSpec, now: i64) -> bool {
        let needed = lines(&self.catalog, new, "");
        needed.iter().any(|line| {
            let is_there = |known: &Migration| match (known, line) {
                (Migration::MovePlan { from: a, .. }, Migration::MovePlan { from: b, .. }) => {
                    normal(a) == *b
                }
                (known, line) => known == line,
            };
            let touches =
                |account: &Account| self.touches(&self.with_charges(account, now), line, now);
            !new.migrations.iter().any(is_there) && self.accounts.values().any(touches)
        })
    }

    fn touches(&self, account: &Account, line: &Migration, now: i64) -> bool {
        let (feature, limit) = match line {
            Migration::DropFeature { feature } | Migration::ChangeKind { feature, .. } => {
                (feature, None)
            }
            Migration::DropLimit { feature, limit } | Migration::EndLifetime { feature, limit } => {
                (feature, Some(limit))
            }
            Migration::MovePlan { from, .. } => {
                return account.plan == *from
                    || account
                        .trial
                        .as_ref()
                        .is_some_and(|(plan, end)| plan == from && now < *end)
                    || account.scheduled.iter().any(|(_, plan)| plan == from);
            }
            // Nothing is lost by another name, and the model has none.
            Migration::RenameFeature { .. } => return false,
            Migration::DropAddOn { addon } => {
                return account.addons.iter().any(|(known, _)| known == addon);
            }
        };
        let is_it = |name: &String| limit.is_none_or(|limit| limit == name);
        let used = account.books.iter().any(|book| {
            let shape = self.shapes(feature).iter().find(|shape| shape.limit == book.limit);
            let counts_on_ms = shape.map_or(0, |shape| slides_ms(shape.window));
            book.feature == *feature
                && is_it(&book.limit)
                && book.used() > 0
                && now < book.end.saturating_add(counts_on_ms)
        });
        let held = account.holds.values().any(|hold| {
            let is_open = hold.outcome.is_none() && now < hold.expires_at;
            let pays = limit.is_none() && hold.credits.is_some();
            let lists = pays || hold.books.iter().any(|(name, _)| is_it(name));
            hold.feature == *feature && is_open && lists
        });
        let pool = account.pools.get(feature).filter(|_| limit.is_none());
        let used = used || pool.is_some_and(|pool| pool.balance() != 0);
        used || held || account.subjects.values().any(|inner| self.touches(inner, line, now))
    }

    /// Plans that have gone, and what accounts on them come to.
    pub(crate) fn moves(&self) -> Vec<(String, String)> {
        let moved = |line: &Migration| match line {
            Migration::MovePlan { from, to } => {
                Some((normal(from), self.bought(to, None).expect("a checked catalog")))
            }
            _ => None,
        };
        self.catalog.migrations.iter().filter_map(moved).collect()
    }

    /// Does what the lines of the catalog in force say.
    pub(crate) fn carry_out(&mut self, now: i64) {
        let (lines, moves) = (self.catalog.migrations.clone(), self.moves());
        // Nothing but a name changes, so nobody looks.
        if !moves.is_empty() {
            self.rename_plans(&moves, now);
        }
        for line in lines {
            let Migration::EndLifetime { feature, limit } = line else { continue };
            let shape = self.shapes(&feature).iter().find(|shape| shape.limit == limit);
            if shape.is_none_or(|shape| shape.window == WindowRule::Lifetime) {
                continue;
            }
            for account in self.accounts.values_mut() {
                account.end_lifetime(&feature, &limit, now);
            }
        }
    }

    /// Notes that the window of a book was ended though the step that did so was lost.
    pub fn know_ended(
        &mut self,
        (id, subject): (&str, Option<&str>),
        feature: &str,
        limit: &str,
        (start, end): (i64, i64),
    ) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        let account = match subject {
            None => account,
            Some(name) => account.subjects.get_mut(name).expect("a record of a known subject"),
        };
        let book = account.books.iter_mut().find(|book| {
            book.feature == feature && book.limit == limit && book.start == start && !book.closed
        });
        if let Some(book) = book {
            book.end = end;
        }
    }

    /// Moves accounts to a version of the plan that they are on, or counts them.
    pub fn move_plan(
        &mut self,
        plan: &str,
        version: u32,
        account: Option<&str>,
        dry_run: bool,
        now: i64,
    ) -> Result<u64, Refused> {
        let wanted = format!("{plan}@{version}");
        let Some(to) = self.bought(&wanted, None) else {
            return Err(Refused::Name("plan", wanted));
        };
        match account {
            Some(account) => self.known(account)?,
            None => self.store()?,
        }
        let mut count = 0;
        let remembers = self.minds_changes();
        for id in self.account_names() {
            let mut others = self.accounts[&id].labels();
            others.retain(|label| *label != to && bare(label) == plan);
            if others.is_empty() || account.is_some_and(|account| account != id) {
                continue;
            }
            count += 1;
            if dry_run {
                continue;
            }
            self.look_at(&id, now);
            self.before_edit(&id, now);
            let Some(known) = self.accounts.get_mut(&id) else { continue };
            let before = known.clone();
            others.iter().for_each(|from| known.put_on(from, &to));
            known.remember(&before, now, remembers);
            self.keep_terms(&id, (&self.rules(), &before), now);
            self.after_edit(&id, now);
        }
        Ok(count)
    }
}

impl Account {
    fn labels(&self) -> Vec<String> {
        let mut labels = vec![self.plan.clone()];
        labels.extend(self.trial.iter().map(|(plan, _)| plan.clone()));
        labels.extend(self.scheduled.iter().map(|(_, plan)| plan.clone()));
        labels
    }

    fn end_lifetime(&mut self, feature: &str, limit: &str, now: i64) {
        for book in &mut self.books {
            let is_it = book.feature == feature && book.limit == limit;
            if is_it && !book.closed && book.end == civil::FOREVER {
                book.end = now.max(book.start + 1);
            }
        }
        self.subjects.values_mut().for_each(|inner| inner.end_lifetime(feature, limit, now));
    }

    /// Puts it on other plans, one name for another at a time.
    pub(crate) fn move_all(&mut self, moves: &[(String, String)]) {
        let trial = self.trial.iter_mut().map(|(plan, _)| plan);
        let scheduled = self.scheduled.iter_mut().map(|(_, plan)| plan);
        let past = self.past.iter_mut().map(|(_, plan)| plan);
        for plan in std::iter::once(&mut self.plan).chain(trial).chain(scheduled).chain(past) {
            if let Some((_, to)) = moves.iter().find(|(from, _)| from == plan) {
                plan.clone_from(to);
            }
        }
    }

    fn put_on(&mut self, from: &str, to: &str) {
        let trial = self.trial.iter_mut().map(|(plan, _)| plan);
        let scheduled = self.scheduled.iter_mut().map(|(_, plan)| plan);
        for plan in std::iter::once(&mut self.plan).chain(trial).chain(scheduled) {
            if plan == from {
                to.clone_into(plan);
            }
        }
    }
}
