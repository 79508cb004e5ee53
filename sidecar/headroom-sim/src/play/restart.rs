//! Crashes: the unwritten tail is lost, the rest is read back, and everything is compared.

use std::collections::BTreeSet;
use std::sync::Arc;

use headroom_core::catalog::CatalogSpec;
use headroom_core::credits::CreditsEffect;
use headroom_core::effect::Effect;
use headroom_core::ending::WHOLE_PLAN;
use headroom_core::names::NameId;
use headroom_core::owing::Owing;
use headroom_core::time::Millis;
use headroom_engine::ports::Seq;
use headroom_engine::record::{self, Record};
use headroom_engine::recovery::{ClockMemory, Recovery};

use super::erase::last_numbers;
use super::{Met, Player, compare, options};
use crate::catalogs;
use crate::model::KEY_HORIZON_MS;
use crate::observe;
use crate::store::Checkpoint;

impl Player {
    /// Ends the engine as kill -9 would, and starts another on what is left.
    pub(super) fn restart(&mut self) -> Met {
        self.coverage.note("restart");
        let (ledgers, revision) = (self.engine.counts().ledgers, self.model.revision);
        let lost = self.history.rng.percent(50) && self.lose_tail()?;
        self.store.set_refusal(None);
        self.model.set_refusal(None);
        self.undoable.clear();
        self.boot += 1;

        let mut recovery = Recovery::new(KEY_HORIZON_MS, options(&self.store, 0).keys_max);
        let (checkpoint, tail) = self.store.found();
        // The whole journal says the same as a checkpoint and the records after it.
        let from_start = checkpoint.is_some() && self.history.rng.percent(30);
        let from_start = from_start && !self.leans_on_checkpoint;
        if let Some(checkpoint) = checkpoint.filter(|_| !from_start) {
            self.coverage.note("restart from a checkpoint");
            for entry in &checkpoint.entries {
                recovery.entry(entry).map_err(|error| error.to_string())?;
            }
        } else {
            self.coverage.note("restart from the journal alone");
        }
        let tail = if from_start { self.store.since(Seq(0)) } else { tail };
        for (seq, stored) in &tail {
            recovery.record(*seq, &stored.bytes).map_err(|error| error.to_string())?;
        }
        let clock = recovery.clock().ok_or("no clock was remembered")?;
        if clock.high_water > Millis(self.now) {
            return Err(format!("the clock remembers {} in the future", clock.high_water));
        }
        compare::same(
            "the catalog's text",
            &recovery.catalog_source(),
            &self.model.source.as_str(),
        )?;
        self.finish(recovery)?;
        self.keep_what_a_start_found()?;
        // Under another catalog pools are looked at, and who looks lets go what else is over.
        if !lost && self.model.revision == revision {
            compare::same("the count of ledgers", &self.engine.counts().ledgers, &ledgers)?;
        }
        self.inspect()
    }

    /// Starts the engine, under the catalog that was in force or under a changed one.
    fn finish(&mut self, mut recovery: Recovery) -> Met {
        recovery.coming_from(self.renaming().put(&self.model.catalog));
        let mut renaming = self.renaming().clone();
        let mut changed = self.history.rng.percent(30);
        let mut other = None;
        if changed {
            let old = &self.model.catalog;
            let new = catalogs::changed(&mut self.history.rng, old);
            // Now and then nobody has written the lines that allow what it takes away.
            let new = match self.history.rng.percent(85) {
                true => catalogs::with_lines(&mut self.history.rng, old, new),
                false => CatalogSpec { migrations: Vec::new(), ..new },
            };
            let next = renaming.next(&mut self.history.rng, &self.model.catalog, &new);
            let compared = recovery.compare(next.put(&new), Millis(self.now));
            let (problems, _) = compared.map_err(|problems| format!("{problems:?}"))?;
            changed = !self.model.is_orphaned_by(&new, self.now);
            compare::same("whether a start goes on", &problems.is_empty(), &changed)?;
            if !changed {
                self.coverage.note("restart that would take something away");
            } else {
                renaming = next;
            }
            other = Some(new);
        }
        let (spec, source) = if let Some(spec) = other.filter(|_| changed) {
            self.coverage.note("restart under another catalog");
            (spec, format!("catalog {}", self.catalogs.len() + 1))
        } else {
            (self.catalogs[&self.model.source].clone(), self.model.source.clone())
        };
        if self.history.rng.percent(10) {
            // Also a full disk lets it start; it only takes no writes.
            self.coverage.note("restart without room");
            let refusal = Some(headroom_engine::ports::StoreRefusal::NoRoom);
            self.store.set_refusal(refusal.clone());
            self.model.set_refusal(refusal);
        }
        let options = options(&self.store, self.boot);
        let finished = recovery.finish(renaming.put(&spec), &source, Millis(self.now), options);
        let (engine, installed) = finished.map_err(|problems| format!("{problems:?}"))?;
        self.engine = Arc::new(engine);
        self.engine.note_clock(false, Millis(self.now));
        self.model.install(&spec, &source, self.now);
        self.note_renaming(&source, renaming);
        self.catalogs.insert(source, spec);
        compare::same("whether the catalog changed", &installed.changed, &changed)?;
        compare::same("the revision", &installed.revision, &self.model.revision)
    }

    /// A start without room cannot journal what windows that are over were measured by, and a kill before the next
    /// checkpoint forgets it: so there is one, and nobody starts from the journal alone any more.
    fn keep_what_a_start_found(&mut self) -> Met {
        if self.model.takes() {
            return Ok(());
        }
        let begun = self.store.last();
        let clock = ClockMemory { test: false, high_water: Millis(self.now) };
        let mut entries = Vec::new();
        let last = self.engine.checkpoint(clock, |bytes| {
            entries.push(bytes.to_vec());
            Ok::<(), String>(())
        })?;
        self.store.keep(Checkpoint { begun, last, entries });
        self.leans_on_checkpoint = true;
        Ok(())
    }

    /// Loses the records of some last steps, which nobody was told of; the model forgets them, too.
    fn lose_tail(&mut self) -> Result<bool, String> {
        let last = self.store.last();
        let Some(oldest) = self.undoable.front() else { return Ok(false) };
        let lost = self.history.rng.below(last.0 - oldest.before.0 + 1);
        if lost == 0 {
            return Ok(false);
        }
        let cut = Seq(last.0 - lost);
        let undone = self.undoable.iter().rev().find(|moment| moment.before <= cut);
        let undone = undone.ok_or("the oldest moment is before every cut")?;
        let (before, model) = (undone.before, undone.model.clone());
        self.store.crash(cut);
        self.model = model;
        self.coverage.note("restart that lost records");
        let kept = self.store.since(before);
        if !kept.is_empty() {
            self.coverage.note("restart that lost a part of a step");
        }
        for (_, stored) in kept {
            self.know(&stored.bytes)?;
        }
        Ok(true)
    }

    /// Tells the model what is left of a step whose last record was lost.
    fn know(&mut self, bytes: &[u8]) -> Met {
        match record::take(bytes).map_err(|error| error.to_string())? {
            Record::Name { text, .. } => self.model.know_name(text),
            // An account begins with a record of its own.
            Record::Profile { account, at, profile, .. } => {
                // By the names of this version of the data, which the lost engine knew all of.
                let catalog = self.engine.catalog();
                let text = |id| catalog.text(id).to_owned();
                let plan = text(profile.plan);
                self.model.know_account(account, &plan, profile.by_default, at.0);
                let serial = self.engine.serial(account).ok_or("a profile of no account")?;
                let known = observe::profile(&catalog, serial, &profile);
                self.model.know_profile(account, known, at.0);
                let extra = profile.extra.as_deref();
                let past = profile.past().iter().map(|past| (past.until.0, text(past.plan)));
                let seen_at = extra.map_or(0, |extra| extra.seen_at.0);
                self.model.know_past(account, past.collect(), seen_at, at.0);
            }
            // What its migrations say is done at the latest by the start.
            Record::Catalog { source, at, .. } => {
                let spec = self.catalogs[source].clone();
                self.model.know_catalog(&spec, source, at.0);
            }
            // Holds that ended are the model's by the clock; what left the memory, and what was said, is
            // not.
            Record::Noted { serial, at, effects } => {
                let id = self.engine.account_id(serial).ok_or("a record of no account")?;
                if self.know_levels(&id, at.0, &effects) {
                    return Ok(());
                }
                let catalog = self.engine.catalog();
                // What follows a window that was looked at is a ledger, and so is what that owes after all.
                let has_ledger = effects.iter().any(|effect| matches!(effect, Effect::Ledger(_)));
                let is_note = |one: &Owing| {
                    let of = (catalog.text(one.feature), catalog.text(one.limit));
                    !has_ledger && !one.stays && self.model.owes(&id, of, one.window_start.0)
                };
                // A window that a migration ended is a record without a look at the account, and so is what a window
                // was measured by, kept because of a catalog, and that one owes which a catalog carries on now.
                let is_cut = |effect: &Effect| match effect {
                    Effect::Ledger(_) => true,
                    Effect::Owing(one) => !one.ended || !one.noted || is_note(one),
                    Effect::OfSubject(_, change) => {
                        matches!(**change, Effect::Ledger(_) | Effect::Owing(_))
                    }
                    Effect::SubjectErased(..) => true,
                    _ => false,
                };
                if effects.iter().any(|effect| matches!(effect, Effect::PlansSeen(_))) {
                    self.model.know_settled(&id, at.0);
                } else if !effects.iter().all(is_cut) {
                    self.model.know_settled_unturned(&id, at.0);
                }
                // What time brought to a pool is among what is settled; what a plan did comes alone.
                let of_pools = |e: &Effect| matches!(e, Effect::Credits(_) | Effect::Signal(_));
                if effects.iter().all(of_pools) {
                    let pools: BTreeSet<NameId> = effects.iter().filter_map(pool_of).collect();
                    for pool in pools {
                        self.model.know_pool(&id, catalog.text(pool), at.0);
                    }
                }
                for (name, number) in last_numbers(&effects) {
                    self.model.call_erased(&id, &name, number);
                }
                let view = self.engine.subjects(&id, Millis(self.now));
                for effect in &effects {
                    let (subject, change) = match effect {
                        Effect::OfSubject(of, change) => {
                            let mut known = view.iter().flat_map(|view| &view.subjects);
                            let is_known = known.any(|subject| subject.id == *of);
                            let whose = is_known.then(|| self.subject_numbered(&id, *of));
                            (whose.flatten(), &**change)
                        }
                        effect => (None, effect),
                    };
                    let is_known = subject.is_some() || !matches!(effect, Effect::OfSubject(..));
                    if let (Effect::Ledger(ledger), true) = (change, is_known) {
                        let window = (ledger.window.start().0, ledger.window.end().0);
                        let feature = catalog.text(ledger.feature);
                        let limit = catalog.text(ledger.limit);
                        self.model.know_ended((&id, subject.as_deref()), feature, limit, window);
                    }
                    if let Effect::Ending(one) = effect {
                        let name =
                            if one.feature == WHOLE_PLAN { "" } else { catalog.text(one.feature) };
                        self.model.know_looked(&id, name, at.0);
                    }
                    // One that begins in the same record has its notice before it.
                    if let Effect::Excess(excess) = effect
                        && excess.notice_at == Millis::FOREVER
                    {
                        let feature = catalog.text(excess.feature);
                        self.model.know_said(&id, feature, catalog.text(excess.limit));
                    }
                }
            }
            // Which values there were is forgotten, of whom nobody can ask.
            Record::Forgotten { .. } => {}
            other => return Err(format!("a step does not go on after {other:?}")),
        }
        Ok(())
    }

    /// Tells the model of a record that nothing is in but levels that rest or came back. False: it is another.
    fn know_levels(&mut self, id: &str, at: i64, effects: &[Effect]) -> bool {
        let catalog = self.engine.catalog();
        let is_of_levels = |e: &Effect| matches!(e, Effect::Stock(_) | Effect::StockClosed(..));
        let levels: Vec<(&str, u64)> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Stock(stock) => Some((catalog.text(stock.feature), stock.level_units)),
                _ => None,
            })
            .collect();
        // Where a window has only ended, there is what there was.
        let is_changed =
            |(of, now): &(&str, u64)| self.model.billed_level(id, of) != Some((*now).into());
        if !effects.iter().all(is_of_levels) || !levels.iter().any(is_changed) {
            return false;
        }
        self.coverage.note("a part of a step: levels");
        for (feature, level) in levels {
            self.model.know_level(id, feature, level, at);
        }
        true
    }
}

/// The pool that an effect is about.
fn pool_of(effect: &Effect) -> Option<NameId> {
    let Effect::Credits(change) = effect else { return None };
    Some(match &**change {
        CreditsEffect::Pool(head) => head.feature,
        CreditsEffect::Grant(pool, _)
        | CreditsEffect::GrantEnded(pool, _)
        | CreditsEffect::Segment(pool, _) => *pool,
    })
}
