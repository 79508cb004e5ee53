//! Trying rules on the past: how often each would have told of an account, and whether that was right.
//!
//! An account's looks are gone through in their order, as the watch did then: when something was told of
//! the account, and once a day. At each, a rule sees what was known at that look and nothing later. What
//! an account did afterwards (it upgraded, an opportunity was won) is only compared with what the rules
//! said.
//!
//! What is counted is an account in a quarter of 90 days: it was eligible in it or not, a trigger came in
//! it or not, and what followed its first coming was an upgrade or not. So an account that triggers
//! every day counts as much as one that triggers once. Eligible is who passed the gate at a look of the
//! quarter, or was on a plan with a price then.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::prompt::{Share, wilson};
use headroom_core::signal::SignalState;
use headroom_core::time::Millis;

use crate::chronicle::{Dictionary, Look, Words};
use crate::class::Class;
use crate::days::{Day, Days};
use crate::facts::{Facts, PARTS};
use crate::gate;
use crate::report::share_bp;
use crate::rule::Scene;
use crate::terms::Terms;
use crate::watch::Kept;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A quarter, in days: marks are about the share of accounts in so many.
pub const QUARTER_DAYS: u32 = 90;

/// How long before what is asked about an account is looked at, in milliseconds: 60 days, so that a rule that
/// has held for long is known to have.
pub const WARM_UP_MS: i64 = 60 * DAY_MS;

/// Upgrades of one account that are looked at; of one that has more, the latest.
pub const OUTCOMES_MAX: usize = 256;

/// Below this share of eligible accounts a quarter, in basis points, a trigger is blind.
pub const BLIND_BELOW_BP: u64 = 300;
/// Below this share it is quiet.
pub const QUIET_BELOW_BP: u64 = 500;
/// Above this share it is loud.
pub const LOUD_ABOVE_BP: u64 = 1_500;
/// Above this share it is noise.
pub const NOISE_ABOVE_BP: u64 = 4_000;

/// What is to be thought of how often a trigger comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody was eligible.
    NoAccounts,
    /// Less than a quarter is known, and the share may still grow.
    TooShort,
    /// It comes for hardly anybody.
    Blind,
    /// It comes for few.
    Quiet,
    /// It comes for as many as can be talked to.
    Good,
    /// It comes for many.
    Loud,
    /// It comes for nearly everybody, and says nothing.
    Noise,
}

impl Verdict {
    /// The word of reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::NoAccounts => "no accounts",
            Verdict::TooShort => "too short",
            Verdict::Blind => "blind",
            Verdict::Quiet => "quiet",
            Verdict::Good => "good",
            Verdict::Loud => "loud",
            Verdict::Noise => "noise",
        }
    }

    /// Of a trigger that came for `fired` of `eligible` accounts. Where less than a quarter is known, only
    /// what cannot become less is said.
    pub fn of(fired: u64, eligible: u64, is_whole_quarter: bool) -> Verdict {
        match share_bp(fired, eligible) {
            None => Verdict::NoAccounts,
            Some(bp) if bp > NOISE_ABOVE_BP => Verdict::Noise,
            Some(bp) if bp > LOUD_ABOVE_BP => Verdict::Loud,
            Some(_) if !is_whole_quarter => Verdict::TooShort,
            Some(bp) if bp < BLIND_BELOW_BP => Verdict::Blind,
            Some(bp) if bp < QUIET_BELOW_BP => Verdict::Quiet,
            Some(_) => Verdict::Good,
        }
    }
}

/// Which time is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From here.
    pub from: Millis,
    /// To before here.
    pub to: Millis,
    /// Whole quarters in it; 0: it is shorter than one.
    pub quarters: u32,
}

impl Span {
    /// As many whole quarters up to `to` as were asked for and are known of; if that is none, all that
    /// is. `since` is what was asked for, `known_since` where the chronicle begins.
    pub fn of(since: Millis, known_since: Millis, to: Millis) -> Span {
        let from = since.max(known_since).min(to);
        let quarter_ms = i64::from(QUARTER_DAYS) * DAY_MS;
        let quarters = to.since(from) / quarter_ms;
        let from = if quarters == 0 { from } else { to.plus(-quarters * quarter_ms) };
        Span { from, to, quarters: u32::try_from(quarters).unwrap_or(u32::MAX) }
    }

    /// The quarter of an instant, the latest is 0. `None`: it is outside.
    fn quarter(&self, at: Millis) -> Option<usize> {
        let is_in = self.from <= at && at < self.to;
        let quarter_ms = i64::from(QUARTER_DAYS) * DAY_MS;
        is_in.then(|| usize::try_from((self.to.since(at) - 1) / quarter_ms).unwrap_or(0))
    }

    /// From where on accounts are looked at, so that it is known what has held for long.
    pub fn warm_up_from(&self) -> Millis {
        self.from.plus(-WARM_UP_MS)
    }
}

/// What a trigger comes of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A rule, tried on what was known.
    Rule,
    /// The sidecar's own detection or another system: it came then, under the catalog of then.
    Raised,
}

/// What became of one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The signal.
    pub signal: String,
    /// Its class. `None`: the catalog does not know it any more.
    pub class: Option<Class>,
    /// What it comes of.
    pub source: Source,
    /// How often it came, of all accounts.
    pub firings: u64,
    /// Eligible accounts a quarter for which it came.
    pub fired: u64,
    /// The same of accounts that were not eligible.
    pub fired_not_eligible: u64,
    /// Accounts for which its rule held already when they were first looked at: these it would have
    /// told of at once.
    pub standing: u64,
    /// Of those of `fired` whose time is over, those that upgraded in time.
    pub right: u64,
    /// Those that did not.
    pub wrong: u64,
    /// From its coming to the upgrade, in milliseconds, the shortest first.
    pub lead_ms: Vec<i64>,
    /// Upgrades that it came before in time, of those that [`Report::upgrades`] counts.
    pub upgrades_seen: u64,
    /// Looks at which the rule could not be told, because something that it needs was missing.
    pub looks_unknown: u64,
    /// Facts that its rule looks at and that no account had at any look.
    pub never_known: Vec<String>,
}

impl Trigger {
    /// Of those of which it is known, the share that upgraded. `None`: it is known of none.
    pub fn precision(&self) -> Option<Share> {
        let known = self.right + self.wrong;
        (known > 0).then(|| wilson(self.right, known))
    }

    /// Half of the upgrades that it came before came later than this, in milliseconds.
    pub fn lead_median_ms(&self) -> Option<i64> {
        // Of an even number the earlier one: it promises less.
        self.lead_ms.get(self.lead_ms.len().checked_sub(1)? / 2).copied()
    }
}

/// What a backtest has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The time.
    pub span: Span,
    /// Accounts that were looked at.
    pub accounts: u64,
    /// Looks.
    pub looks: u64,
    /// Accounts that were eligible, counted in each quarter.
    pub eligible: u64,
    /// Upgrades of accounts that were eligible in their quarter.
    pub upgrades: u64,
    /// Of eligible accounts, from their first look of a quarter on: those that upgraded in time, and those
    /// that did not. What a trigger that says nothing would be right by.
    pub base: (u64, u64),
    /// The rules in the order of the catalog, then what was raised, by name.
    pub triggers: Vec<Trigger>,
}

impl Report {
    /// How often a trigger that says nothing would be right. `None`: it is known of nobody.
    pub fn base_share(&self) -> Option<Share> {
        let known = self.base.0 + self.base.1;
        (known > 0).then(|| wilson(self.base.0, known))
    }

    /// What is to be thought of a trigger.
    pub fn verdict(&self, trigger: &Trigger) -> Verdict {
        Verdict::of(trigger.fired, self.eligible, self.span.quarters > 0)
    }

    /// The share of upgrades that a trigger came before in time. `None`: there were none.
    pub fn recall(&self, trigger: &Trigger) -> Option<Share> {
        (self.upgrades > 0).then(|| wilson(trigger.upgrades_seen, self.upgrades))
    }

    /// The share of eligible accounts a quarter for which a trigger came. `None`: there were none.
    pub fn share(&self, trigger: &Trigger) -> Option<Share> {
        (self.eligible > 0).then(|| wilson(trigger.fired, self.eligible))
    }
}

/// Rules and the past that they are tried on.
pub struct Backtest<'a> {
    terms: &'a Terms,
    dictionary: &'a Dictionary,
    words: Words,
    span: Span,
    within_ms: i64,
    report: Report,
    seen_facts: BTreeSet<String>,
}

/// One account on its way through the past.
pub struct Run<'b, 'a> {
    test: &'b mut Backtest<'a>,
    /// When the account upgraded, ascending.
    outcomes: Vec<Millis>,
    last: Option<Look>,
    is_known: bool,
    kept: Vec<Kept>,
    /// The days on which the signals of the rules came, as they are tried now.
    own: BTreeMap<String, Days>,
    firings: BTreeMap<String, Vec<Millis>>,
    /// The first look of each quarter at which the account was eligible.
    eligible: BTreeMap<usize, Millis>,
}

impl<'a> Backtest<'a> {
    /// Of the rules in `terms`. `within_ms` is how soon after a trigger an upgrade makes it right; `hash` is
    /// what texts were kept by.
    pub fn new(
        terms: &'a Terms,
        plans: impl IntoIterator<Item = &'a str>,
        dictionary: &'a Dictionary,
        hash: &dyn Fn(&str) -> u64,
        (span, within_ms): (Span, i64),
    ) -> Backtest<'a> {
        let words = terms.words().into_iter().chain(plans);
        let trigger = |signal: &str, class, source| Trigger {
            signal: signal.to_owned(),
            class,
            source,
            firings: 0,
            fired: 0,
            fired_not_eligible: 0,
            standing: 0,
            right: 0,
            wrong: 0,
            lead_ms: Vec::new(),
            upgrades_seen: 0,
            looks_unknown: 0,
            never_known: Vec::new(),
        };
        let rules = terms.watches.iter();
        let rules = rules.map(|watch| trigger(&watch.signal, Some(watch.class), Source::Rule));
        let raised =
            dictionary.signals().filter(|name| terms.watches.iter().all(|w| w.signal != *name));
        let mut raised: Vec<&str> = raised.collect();
        raised.sort_unstable();
        let raised =
            raised.into_iter().map(|name| trigger(name, terms.class_of(name), Source::Raised));
        Backtest {
            terms,
            dictionary,
            words: words.map(|word| (hash(word), word.to_owned())).collect(),
            span,
            within_ms,
            report: Report {
                span,
                accounts: 0,
                looks: 0,
                eligible: 0,
                upgrades: 0,
                base: (0, 0),
                triggers: rules.chain(raised).collect(),
            },
            seen_facts: BTreeSet::new(),
        }
    }

    /// Begins with an account, which upgraded at these instants.
    pub fn account(&mut self, mut outcomes: Vec<Millis>) -> Run<'_, 'a> {
        outcomes.sort_unstable();
        outcomes.drain(..outcomes.len().saturating_sub(OUTCOMES_MAX));
        let kept = vec![Kept::default(); self.terms.watches.len()];
        let (own, firings, eligible) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Run { test: self, outcomes, last: None, is_known: false, kept, own, firings, eligible }
    }

    /// What was found. What was never raised is left out.
    pub fn report(mut self) -> Report {
        let watches = &self.terms.watches;
        for (trigger, watch) in self.report.triggers.iter_mut().zip(watches) {
            let facts = watch.warn.iter().chain([&watch.when]).flat_map(|rule| rule.facts());
            let never: BTreeSet<_> =
                facts.filter(|fact| !self.seen_facts.contains(*fact)).cloned().collect();
            trigger.never_known = never.into_iter().collect();
        }
        self.report.triggers.retain(|one| one.source == Source::Rule || one.firings > 0);
        for trigger in &mut self.report.triggers {
            trigger.lead_ms.sort_unstable();
        }
        self.report
    }
}

impl Run<'_, '_> {
    /// The account's next look. Those from the end of the time on are left out.
    pub fn look(&mut self, look: Look) {
        if self.test.span.to <= look.at {
            return;
        }
        self.pass_days(Day::of(look.at), look.is_daily);
        let before = self.last.replace(look);
        self.raised(before.as_ref());
        self.judge(None);
    }

    /// The days since the last look on which nothing had changed: the account was looked at on each of
    /// them, at its beginning as far as is known.
    fn pass_days(&mut self, until: Day, is_daily: bool) {
        let Some(last) = &self.last else { return };
        let first = Day::of(last.at).0.saturating_add(1);
        // A look of that day that was kept is itself the daily one.
        let end = if is_daily { until.0 } else { until.0.saturating_add(1) };
        for day in first..end {
            self.judge(Some(Day(day)));
        }
    }

    /// Signals that came since the look before.
    fn raised(&mut self, before: Option<&Look>) {
        let (Some(last), dictionary) = (&self.last, self.test.dictionary) else { return };
        let is_rule = |name: &str| self.test.terms.watches.iter().any(|one| one.signal == name);
        for (name, days) in last.came(dictionary) {
            if is_rule(name) {
                if before.is_none() {
                    self.own.insert(name.to_owned(), days);
                }
                continue;
            }
            let known = before.and_then(|before| {
                before.came(dictionary).find(|(other, _)| *other == name).map(|(_, days)| days)
            });
            let today = Day::of(last.at);
            // Of the account's first look only what is of its own day is news.
            let is_new = match (known, before) {
                (Some(known), _) => known != days,
                (None, Some(_)) => true,
                (None, None) => days.last() == today,
            };
            if is_new {
                self.firings.entry(name.to_owned()).or_default().push(last.at);
            }
        }
    }

    /// Looks at the account as it was known last: at that look, or at the beginning of a later day.
    fn judge(&mut self, later: Option<Day>) {
        let Some(last) = &self.last else { return };
        let test = &mut *self.test;
        let at = later.map_or(last.at, |day| Millis(i64::from(day.0) * DAY_MS));
        let today = later.unwrap_or(Day::of(at));
        let facts = last.facts(test.dictionary, &test.words, today);
        let quarter = test.span.quarter(at);
        if let Some(quarter) = quarter {
            test.report.looks += 1;
            if !self.eligible.contains_key(&quarter) && is_eligible(test.terms, &facts) {
                self.eligible.insert(quarter, at);
            }
            if later.is_none() {
                for (name, _) in facts.iter() {
                    if !test.seen_facts.contains(name) {
                        test.seen_facts.insert(name.to_owned());
                    }
                }
            }
        }
        let is_first = !std::mem::replace(&mut self.is_known, true);
        // Of a new account nothing may be told before the day after.
        let is_new = facts.number("days_since_signup").is_some_and(|days| days <= PARTS);
        let came: BTreeMap<&str, Days> = last.came(test.dictionary).collect();
        let mut told_now = Vec::new();
        for (place, watch) in test.terms.watches.iter().enumerate() {
            let own = &self.own;
            let days = |signal: &str, span: u32| {
                let is_rule = test.terms.watches.iter().any(|one| one.signal == signal);
                let days = if is_rule { own.get(signal) } else { came.get(signal) };
                days.map_or(0, |days| days.count(today, span))
            };
            let scene = Scene { facts: &facts, days: &days };
            let was = self.kept[place];
            let (next, told) = watch.look(was, &scene, today);
            // What comes down does not come on that day.
            if told.is_some() && next.state != SignalState::Ok {
                told_now.push(watch.signal.as_str());
            }
            let trigger = &mut test.report.triggers[place];
            if quarter.is_some() && watch.when.holds(&scene).is_none() {
                trigger.looks_unknown += 1;
            }
            self.kept[place] = next;
            if next.state != SignalState::Alarm || was.state == SignalState::Alarm {
                continue;
            }
            if is_first && !is_new {
                trigger.standing += 1;
                continue;
            }
            self.firings.entry(watch.signal.clone()).or_default().push(at);
        }
        // What a look tells is news for the next one.
        for signal in told_now {
            let days = self.own.get(signal).map_or(Days::on(today), |days| days.with(today));
            self.own.insert(signal.to_owned(), days);
        }
    }

    /// Adds up what became of the account. The days since its last look are gone through first.
    pub fn end(mut self) {
        if self.last.is_none() {
            return;
        }
        // The end is not looked at itself.
        self.pass_days(Day::of(self.test.span.to.plus(-1)), false);
        let Run { test, outcomes, firings, eligible, .. } = self;
        let (span, within_ms) = (test.span, test.within_ms);
        let in_time = |from: Millis| {
            let next = outcomes.iter().find(|outcome| from < **outcome)?;
            let lead_ms = next.since(from);
            (lead_ms <= within_ms).then_some(lead_ms)
        };
        let report = &mut test.report;
        report.accounts += 1;
        report.eligible += eligible.len() as u64;
        // Where the time is not over, those that upgraded already would be known and the others not.
        let is_over = |from: Millis| from.plus(within_ms) <= span.to;
        for from in eligible.values().filter(|from| is_over(**from)) {
            match in_time(*from) {
                Some(_) => report.base.0 += 1,
                None => report.base.1 += 1,
            }
        }
        let counted = outcomes.iter().filter(|outcome| {
            let quarter = span.quarter(**outcome);
            // Who was eligible only after it is no customer that a trigger could have told of.
            quarter.and_then(|quarter| eligible.get(&quarter)).is_some_and(|since| since < outcome)
        });
        let counted: Vec<Millis> = counted.copied().collect();
        report.upgrades += counted.len() as u64;
        for trigger in &mut report.triggers {
            let Some(firings) = firings.get(&trigger.signal) else { continue };
            let mut quarters = BTreeMap::new();
            for at in firings {
                let Some(quarter) = span.quarter(*at) else { continue };
                trigger.firings += 1;
                quarters.entry(quarter).or_insert(*at);
            }
            for (quarter, first) in quarters {
                if !eligible.contains_key(&quarter) {
                    trigger.fired_not_eligible += 1;
                    continue;
                }
                trigger.fired += 1;
                match in_time(first) {
                    _ if !is_over(first) => {}
                    Some(lead_ms) => {
                        trigger.right += 1;
                        trigger.lead_ms.push(lead_ms);
                    }
                    None => trigger.wrong += 1,
                }
            }
            let is_seen = |outcome: &&Millis| {
                firings.iter().any(|at| at < *outcome && outcome.since(*at) <= within_ms)
            };
            trigger.upgrades_seen += counted.iter().filter(is_seen).count() as u64;
        }
    }
}

/// Whether somebody would have done something about a signal of such an account: it passes the gate, or
/// is on a plan with a price.
fn is_eligible(terms: &Terms, facts: &Facts) -> bool {
    facts.number("plan_price_minor").is_some_and(|price| price > 0)
        || gate::readiness(terms, facts).is_passed()
}
