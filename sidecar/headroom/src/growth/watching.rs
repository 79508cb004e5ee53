//! Looking at accounts again and again: signals that come of rules about what is known of them.
//!
//! An account is looked at when something about it was told or a signal came, within a fraction of a
//! second, and every account once a day of the domain's clock. What was known at a look is kept, so that
//! other rules can be tried on it (`chronicle.rs`, `backtest.rs`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use headroom_core::time::Millis;
use headroom_engine::ports::GrowthRow;
use headroom_engine::told::Told;
use headroom_expansion::benchmark::Cohorts;
use headroom_expansion::chronicle::{Occasion, Seen, known};
use headroom_expansion::days::{Day, Days};
use headroom_expansion::facts::{Facts, PARTS, Value};
use headroom_expansion::rule::Scene;
use headroom_expansion::terms::Terms;
use headroom_expansion::watch::Watch;
use serde_json::{Map, json};

use super::book::Book;
use super::{Growth, lasting, rows, sources};
use crate::forecasts::Forecasts;

/// Accounts that are looked at between two records.
const ACCOUNTS_PER_RECORD: usize = 256;

/// What there is to look at.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Accounts of which something was told since they were looked at.
    touched: BTreeSet<u32>,
    /// The day on which all were looked at.
    looked_on: Option<Day>,
    /// The day up to which it was known what was used when that was last looked at.
    measured_on: Option<Day>,
}

/// What a look has found.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<GrowthRow>,
    told: Vec<(u32, Told)>,
}

impl Growth {
    /// Something was told of an account: it is looked at soon.
    pub fn touch(&self, serial: u32) {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner).touched.insert(serial);
    }

    /// Looks at the accounts that were touched; on another day than at the last look, at all. Answers how
    /// many signals that brought. Takes as long as there are accounts: for a thread that may wait.
    /// `leave_off` is asked now and then; what is left is looked at after the next start.
    pub fn watch(&self, forecasts: &Forecasts, now: Millis, leave_off: &dyn Fn() -> bool) -> usize {
        let today = Day::of(now);
        // What was used is known some moments after the day has begun.
        let measured = Day::of(forecasts.swept_at());
        let terms = self.terms.load();
        let (mut touched, is_new_day) = {
            let mut agenda = self.agenda.lock().unwrap_or_else(PoisonError::into_inner);
            let days = (Some(today), Some(measured));
            let is_new_day = (agenda.looked_on, agenda.measured_on) != days;
            (agenda.looked_on, agenda.measured_on) = days;
            (std::mem::take(&mut agenda.touched), is_new_day)
        };
        if !self.is_loaded() || self.engine.room().is_err() {
            // Looked at all once it is possible.
            self.agenda.lock().unwrap_or_else(PoisonError::into_inner).looked_on = None;
            return 0;
        }
        if is_new_day {
            self.each_account(|serial, _| {
                touched.insert(serial);
            });
            self.measure_usage(forecasts, &touched, leave_off);
            self.compare(&terms, &touched, now, leave_off);
            self.leave_out(&touched);
        }
        let touched: Vec<u32> = touched.into_iter().collect();
        let mut count = 0;
        for some in touched.chunks(ACCOUNTS_PER_RECORD).take_while(|_| !leave_off()) {
            let mut found = Found::default();
            for serial in some {
                self.look(&terms, *serial, (now, is_new_day), &mut found);
            }
            count += found.told.len();
            if !found.rows.is_empty() {
                self.engine.note_growth(&found.rows, &found.told);
            }
        }
        count
    }

    fn look(&self, terms: &Terms, serial: u32, (now, is_daily): (Millis, bool), found: &mut Found) {
        let today = Day::of(now);
        let mut book = self.book();
        let facts = self.facts_in(&book, terms, serial, now);
        // What a rule is told here is what it is tried on later: signals that this look raises are news
        // for the next one.
        let came = book.came(serial);
        let mut moved = false;
        for watch in &terms.watches {
            let kept = book.kept(serial, &watch.signal);
            let (next, before) = {
                let days = |signal: &str, span: u32| {
                    book.days(serial, signal).map_or(0, |days| days.count(today, span))
                };
                watch.look(kept, &Scene { facts: &facts, days: &days }, today)
            };
            if next == kept {
                continue;
            }
            moved = true;
            book.keep(serial, &watch.signal, next, &mut found.rows);
            if let Some(before) = before {
                let data_json = because(watch, &facts);
                found.told.push((
                    serial,
                    Told {
                        name: watch.signal.clone(),
                        event: now.to_string(),
                        at: now,
                        previous_state: before,
                        state: next.state,
                        data_json,
                    },
                ));
            }
        }
        let occasion = Occasion { at: now, is_daily, moved };
        self.keep_look(&mut book, serial, (&facts, &came), occasion, &mut found.rows);
    }

    /// Keeps what was looked at, if it says anything new.
    fn keep_look(
        &self,
        book: &mut Book,
        serial: u32,
        (facts, came): (&Facts, &[(String, Days)]),
        occasion: Occasion,
        out: &mut Vec<GrowthRow>,
    ) {
        let account = self.engine.account_id(serial);
        let said = account.map(|account| sources::said(&self.engine, &account));
        let renamed = lasting::facts(&self.engine.catalog(), facts);
        let facts = renamed.as_ref().unwrap_or(facts);
        let seen =
            Seen { facts, said: &said.unwrap_or_default(), came, today: Day::of(occasion.at) };
        let mut entries = Vec::new();
        let dictionary = &mut book.chronicle.dictionary;
        let (known, steady) = known(seen, dictionary, &|text| self.hash(text)[0], &mut entries);
        out.extend(entries.iter().map(|(number, entry)| rows::name(*number, entry)));
        book.chronicle.note(&*self.archive, serial, (&known, steady), occasion, out);
    }

    /// Removes what is kept of accounts that are not of the sample any more.
    fn leave_out(&self, serials: &BTreeSet<u32>) {
        for serial in serials {
            let mut rows = Vec::new();
            self.book().chronicle.leave_out(&*self.archive, *serial, &mut rows);
            if !rows.is_empty() {
                self.engine.note_growth(&rows, &[]);
            }
        }
    }

    /// Works out how the usage of accounts has changed.
    fn measure_usage(
        &self,
        forecasts: &Forecasts,
        serials: &BTreeSet<u32>,
        leave_off: &dyn Fn() -> bool,
    ) {
        let catalog = self.engine.catalog();
        let mut changes = HashMap::new();
        for serial in serials.iter().take_while(|_| !leave_off()) {
            let Some(account) = self.engine.account_id(*serial) else { continue };
            if let Some(change) = forecasts.usage_change(&catalog, &account) {
                changes.insert(*serial, change);
            }
        }
        self.book().set_usage_changes(changes);
    }

    /// Works out what only all accounts together say: how many each company has, as their facts name its
    /// domain, and what those of a size usually have.
    fn compare(
        &self,
        terms: &Terms,
        serials: &BTreeSet<u32>,
        now: Millis,
        leave_off: &dyn Fn() -> bool,
    ) {
        let (mut signups, mut cohorts) = (HashMap::new(), Cohorts::default());
        for serial in serials.iter().take_while(|_| !leave_off()) {
            let Some(account) = self.engine.account_id(*serial) else { continue };
            let facts = sources::said(&self.engine, &account);
            if let Some(domain) = facts.text("email_domain") {
                *signups.entry(domain.to_lowercase()).or_insert(0) += 1;
            }
            if let Some(Value::Number(parts)) = facts.get(&terms.benchmark.size_fact)
                && let Ok(size) = u64::try_from(parts / PARTS)
                && let Some(seats) = sources::seats_used(&self.engine, &account, now)
            {
                cohorts.add(size, seats);
            }
        }
        self.book().set_signups(signups);
        self.benchmarks.store(Arc::new(cohorts.benchmarks(terms.benchmark.accounts_min)));
    }
}

/// What a receiver is told of why: the rule, and the facts it looked at.
fn because(watch: &Watch, facts: &Facts) -> String {
    let looked_at = watch.warn.iter().flat_map(|warn| warn.facts()).chain(watch.when.facts());
    let values: Map<String, serde_json::Value> = looked_at
        .filter_map(|name| Some((name.clone(), facts.get(name)?)))
        .map(|(name, value)| {
            let told = match value {
                Value::Flag(flag) => (*flag).into(),
                Value::Text(text) => text.clone().into(),
                // As text where it is no whole number, so that it stays exact.
                Value::Number(parts) if parts % 1_000 == 0 => (parts / 1_000).into(),
                Value::Number(_) => value.to_string().into(),
            };
            (name, told)
        })
        .collect();
    json!({ "rule": watch.when.text(), "facts": values }).to_string()
}
