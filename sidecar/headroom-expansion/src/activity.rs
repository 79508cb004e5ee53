//! What the people of an account did, as days: who was there, and which features they used.
//!
//! An event told twice marks the same day twice, which is once. People are numbers (a hash of their
//! name), so no name is kept.

use std::collections::BTreeMap;

use crate::days::{Day, Days};
use crate::facts::{Facts, PARTS, Value};
use crate::limits::{ACTIVITY_DAYS, FEATURES_MAX, PEOPLE_MAX};

/// What is remembered of an account's activity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activity {
    // Invariant: at most PEOPLE_MAX, and only those whose number ends in `sampling` zero bits.
    people: BTreeMap<u64, Days>,
    sampling: u8,
    // Invariant: at most FEATURES_MAX.
    features: BTreeMap<String, Days>,
}

/// What an event changed, to be written down as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The days of one person.
    Person(u64, Days),
    /// A person is not remembered any more.
    PersonForgotten(u64),
    /// People are remembered whose number ends in so many zero bits.
    Sampling(u8),
    /// The days of one feature.
    Feature(String, Days),
    /// A feature is not remembered any more.
    FeatureForgotten(String),
}

/// There are as many features as are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use of {max} features of the account is remembered already")]
pub struct TooManyFeatures {
    /// How many may be.
    pub max: usize,
}

/// What activity comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// People who were there in the last 30 days.
    pub active_users: u64,
    /// Whether that is an estimate.
    pub is_estimate: bool,
    /// Of these the share that was there on a day of the last 30, on the average, in thousandths of a
    /// percent, rounded down.
    pub dau_mau_percent: i64,
    /// Features used on enough different days.
    pub features_adopted: u64,
    /// The last day on which anybody was there.
    pub last_day: Option<Day>,
    /// The most days that one person was there, of the last 30.
    pub days_most: u32,
    /// The days all of those remembered were there, of the last 30.
    pub days_all: u64,
    /// Those remembered who were there.
    pub people: u64,
}

impl Activity {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty() && self.features.is_empty() && self.sampling == 0
    }

    /// Somebody was there on a day. Lists what that changed: nothing, if it was known.
    pub fn person(&mut self, person: u64, day: Day, changed: &mut Vec<Changed>) {
        if !self.samples(person) {
            return;
        }
        let known = self.people.get(&person).copied();
        let days = known.map_or(Days::on(day), |days| days.with(day));
        if known == Some(days) {
            return;
        }
        self.people.insert(person, days);
        changed.push(Changed::Person(person, days));
        if self.people.len() > PEOPLE_MAX {
            self.make_room(day, changed);
        }
    }

    /// A feature was used on a day.
    ///
    /// # Errors
    /// When it is one more than is remembered, and all of them were used of late.
    pub fn feature(
        &mut self,
        feature: &str,
        day: Day,
        changed: &mut Vec<Changed>,
    ) -> Result<(), TooManyFeatures> {
        let known = self.features.get(feature).copied();
        let days = known.map_or(Days::on(day), |days| days.with(day));
        if known == Some(days) {
            return Ok(());
        }
        if known.is_none() && self.features.len() >= FEATURES_MAX {
            let is_old = |days: &Days| days.count(day, ACTIVITY_DAYS) == 0;
            let old: Vec<String> = self
                .features
                .iter()
                .filter(|(_, days)| is_old(days))
                .map(|(feature, _)| feature.clone())
                .collect();
            if old.is_empty() {
                return Err(TooManyFeatures { max: FEATURES_MAX });
            }
            for feature in old {
                self.features.remove(&feature);
                changed.push(Changed::FeatureForgotten(feature));
            }
        }
        self.features.insert(feature.to_owned(), days);
        changed.push(Changed::Feature(feature.to_owned(), days));
        Ok(())
    }

    /// Brings back what was written down.
    pub fn restore(&mut self, change: Changed) {
        match change {
            Changed::Person(person, days) => {
                self.people.insert(person, days);
            }
            Changed::PersonForgotten(person) => {
                self.people.remove(&person);
            }
            Changed::Sampling(bits) => self.sampling = bits,
            Changed::Feature(feature, days) => {
                self.features.insert(feature, days);
            }
            Changed::FeatureForgotten(feature) => {
                self.features.remove(&feature);
            }
        }
    }

    fn samples(&self, person: u64) -> bool {
        person.trailing_zeros() >= u32::from(self.sampling)
    }

    /// Forgets who was not there for long; if that is nobody, every second one.
    fn make_room(&mut self, today: Day, changed: &mut Vec<Changed>) {
        let is_gone = |days: &Days| days.count(today, ACTIVITY_DAYS) == 0;
        let mut gone: Vec<u64> = self
            .people
            .iter()
            .filter(|(_, days)| is_gone(days))
            .map(|(person, _)| *person)
            .collect();
        if gone.is_empty() {
            self.sampling = self.sampling.saturating_add(1);
            changed.push(Changed::Sampling(self.sampling));
            gone = self.people.keys().copied().filter(|person| !self.samples(*person)).collect();
        }
        for person in gone {
            self.people.remove(&person);
            changed.push(Changed::PersonForgotten(person));
        }
    }

    /// What it comes to on a day.
    pub fn summary(&self, today: Day, adopted_days: u32) -> Summary {
        let days = self.people.values().map(|days| days.count(today, ACTIVITY_DAYS));
        let active: Vec<u32> = days.filter(|days| *days > 0).collect();
        let people = active.len() as u64;
        let days_all: u64 = active.iter().map(|days| u64::from(*days)).sum();
        let dau_mau = match people {
            0 => 0,
            people => days_all * 100 * PARTS.unsigned_abs() / (people * u64::from(ACTIVITY_DAYS)),
        };
        let adopted =
            self.features.values().filter(|days| days.count(today, ACTIVITY_DAYS) >= adopted_days);
        Summary {
            active_users: people << self.sampling.min(32),
            is_estimate: self.sampling > 0,
            dau_mau_percent: i64::try_from(dau_mau).unwrap_or(i64::MAX),
            features_adopted: adopted.count() as u64,
            last_day: self.people.values().map(|days| days.last()).max(),
            days_most: active.iter().copied().max().unwrap_or(0),
            days_all,
            people,
        }
    }

    /// Adds what activity says to an account's facts. An account of which nothing was told has none.
    pub fn infer(&self, today: Day, adopted_days: u32, facts: &mut Facts) {
        let sum = self.summary(today, adopted_days);
        let whole = |count: u64| Value::whole(i64::try_from(count).unwrap_or(i64::MAX));
        if !self.people.is_empty() {
            facts.infer("active_users", whole(sum.active_users));
            facts.infer("dau_mau_percent", Value::Number(sum.dau_mau_percent));
        }
        // Of two people one is always above the mean.
        if sum.people >= 3 {
            let times = u64::from(sum.days_most) * sum.people * 100 * PARTS.unsigned_abs();
            let percent = i64::try_from(times / sum.days_all).unwrap_or(i64::MAX);
            facts.infer("power_user_percent", Value::Number(percent));
        }
        if let Some(last) = sum.last_day {
            facts.infer("days_since_login", Value::whole(today.since(last).max(0)));
        }
        if !self.features.is_empty() {
            facts.infer("features_adopted", whole(sum.features_adopted));
        }
    }
}

/// Adds the share of seats that are used, when both are known: rounded down, in thousandths of a
/// percent.
pub fn infer_active_seats(facts: &mut Facts) {
    let (Some(active), Some(seats)) = (facts.number("active_users"), facts.number("seats")) else {
        return;
    };
    if active < 0 || seats <= 0 {
        return;
    }
    let share = i128::from(active) * 100 * i128::from(PARTS) / i128::from(seats);
    facts.infer("active_seats_percent", Value::Number(i64::try_from(share).unwrap_or(i64::MAX)));
}
