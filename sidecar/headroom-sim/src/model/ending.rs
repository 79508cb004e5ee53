//! Trials of the model: when each began and ends, and when it was last looked at.

use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};

use super::plan::Entitled;
use super::{Account, Model, Says, Told};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The days that may be asked for.
const ASKED_MAX: i64 = 366;

/// Something that may be a trial.
#[derive(Debug, Clone)]
pub(crate) struct Trying {
    began: i64,
    ends: i64,
    looked: i64,
}

impl Trying {
    /// How many of the days that may be asked for lie ahead of an instant.
    fn ahead(&self, at: i64) -> usize {
        (0..=ASKED_MAX).filter(|days| at < self.ends - days * DAY_MS).count()
    }
}

impl Account {
    /// Notes what ends, by feature; the plan's trial has no name.
    pub(crate) fn note_trials(&mut self, now: i64) {
        let mut ends: Vec<(String, i64, i64)> = Vec::new();
        ends.extend(self.trial.iter().map(|(_, end)| (String::new(), i64::MIN, *end)));
        for (feature, says, (from, until)) in &self.overrides {
            let gives = !matches!(
                says.plain().0,
                Says::Switch(false) | Says::SpendCap(..) | Says::OfSubject(..)
            );
            let (true, Some(until)) = (gives, until) else { continue };
            let from = from.unwrap_or(i64::MIN);
            match ends.iter_mut().find(|(known, ..)| known == feature) {
                Some(known) if known.2 < *until => (known.1, known.2) = (from, *until),
                Some(_) => {}
                None => ends.push((feature.clone(), from, *until)),
            }
        }
        let before = std::mem::take(&mut self.trying);
        for (feature, from, end) in ends {
            let before = before.iter().find(|(known, _)| *known == feature).map(|(_, one)| one);
            let one = match before {
                Some(before) if before.ends == end => before.clone(),
                Some(before) if now < before.ends => {
                    Trying { began: before.began, ends: end, looked: now }
                }
                _ => Trying { began: from.max(now), ends: end, looked: now },
            };
            self.trying.push((feature, one));
        }
    }

    /// Whether a day of a trial has passed since it was looked at.
    pub(crate) fn waits_for_trials(&self, now: i64) -> bool {
        self.trying.iter().any(|(_, one)| one.ahead(now) < one.ahead(one.looked))
    }
}

impl Model {
    /// Says of an account which trials end soon, once for each day that is asked for.
    pub(crate) fn say_trials(&mut self, id: &str, now: i64) {
        let Some(mut account) = self.accounts.get(id).cloned() else { return };
        for place in 0..account.trying.len() {
            let (feature, one) = account.trying[place].clone();
            let asked: Vec<i64> =
                self.catalog.signals.trial_ending.days().map(|(_, days)| days.into()).collect();
            let half = (one.ends - one.began) / 2;
            let mut passed: Vec<i64> =
                asked.into_iter().filter(|days| days * DAY_MS <= half).collect();
            passed.sort_unstable();
            let is_past = |days: &i64, at: i64| one.ends - days * DAY_MS <= at;
            let told = passed
                .iter()
                .copied()
                .find(|days| is_past(days, now) && !is_past(days, one.looked));
            if let (Some(days), true) = (told, self.is_trial(&account, &feature, one.ends, now)) {
                let was_told = passed.iter().any(|days| is_past(days, one.looked));
                let is_last = passed.first() == Some(&days);
                self.told.push(Told {
                    account: id.to_owned(),
                    name: SignalName::TrialEnding,
                    feature: if feature.is_empty() { "?".to_owned() } else { feature.clone() },
                    limit: "?".to_owned(),
                    window: (one.began, one.ends),
                    revision: 1,
                    crossed_bp: Vec::new(),
                    previous: 0,
                    current: 0,
                    included: 0,
                    refused: 0,
                    previous_state: if was_told { SignalState::Warning } else { SignalState::Ok },
                    state: if is_last { SignalState::Alarm } else { SignalState::Warning },
                    grace_until: None,
                    days: Some(u16::try_from(days).expect("few")),
                    at: now,
                });
            }
            account.trying[place].1.looked = now;
        }
        self.accounts.insert(id.to_owned(), account);
    }

    /// Whether something is gone when it ends.
    fn is_trial(&self, account: &Account, feature: &str, ends: i64, now: i64) -> bool {
        if ends <= now || account.barred(now).is_some() {
            return false;
        }
        if feature.is_empty() {
            let paid = Account { trial: None, ..account.clone() };
            let goes_on = Model::plan_now(&paid, ends).0;
            return account.trial.as_ref().is_some_and(|(plan, _)| *plan != goes_on);
        }
        let (given, origin) = self.entitled(account, feature, now);
        let (left, _) = self.entitled(account, feature, ends);
        let has = |given: &Entitled| !matches!(given, Entitled::Nothing);
        origin == Origin::Override && has(&given) && !has(&left)
    }

    /// Notes that the trials of an account were looked at though the step was lost.
    pub fn know_looked(&mut self, account: &str, feature: &str, now: i64) {
        let Some(account) = self.accounts.get_mut(account) else { return };
        for (known, one) in &mut account.trying {
            if known == feature {
                one.looked = now;
            }
        }
    }
}
