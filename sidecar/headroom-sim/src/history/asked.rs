//! What is asked of features and reservations.

use headroom_core::decide::{AllOp, FeatureOp, HoldOp, LevelChange};
use headroom_core::reservation::ReservationId;

use super::{ACCOUNTS, History};
use crate::catalogs;
use crate::model::{Asked, Model};

impl History {
    pub(super) fn asked(&mut self, model: &Model, account: String, now: i64) -> (String, Asked) {
        if self.rng.percent(8) {
            let several = self.several(model, &account, now);
            return (account, several);
        }
        let feature = self.feature();
        let drawable = model.drawable(&account, &feature, now);
        let op = match self.rng.below(100) {
            0..=34 => FeatureOp::Consume { units: self.units(drawable) },
            35..=54 => FeatureOp::Reserve { units: self.units(drawable), hold_ms: self.hold_ms() },
            55..=61 => FeatureOp::Record { units: self.units(drawable) },
            62..=67 => FeatureOp::Check { units: self.units(drawable), attempt: false },
            68..=74 => FeatureOp::Check { units: self.units(drawable), attempt: true },
            _ => {
                // Of an account that has some, if there is one.
                let others = ACCOUNTS.iter().filter(|id| !model.holds(id, now).is_empty());
                let others: Vec<&&str> = others.collect();
                let lost = self.rng.percent(4);
                if !others.is_empty() || lost {
                    let any = [&ACCOUNTS[0], &ACCOUNTS[1]];
                    let from = if lost { &any[..] } else { &others[..] };
                    let account = (**self.rng.pick(from)).to_owned();
                    let asked = self.asked_hold(model.holds(&account, now), drawable);
                    return (account, asked);
                }
                FeatureOp::Reserve { units: self.units(drawable), hold_ms: self.hold_ms() }
            }
        };
        (account, self.sensible(feature, op))
    }

    /// Up to four features at once; mostly what can be consumed, or held.
    fn several(&mut self, model: &Model, account: &str, now: i64) -> Asked {
        let op = match self.rng.below(10) {
            0 => AllOp::Check { attempt: false },
            1 => AllOp::Check { attempt: true },
            2..=6 => AllOp::Consume,
            _ => AllOp::Reserve { hold_ms: self.hold_ms(), charging: self.rng.percent(30) },
        };
        let mut items: Vec<(String, u64)> = Vec::new();
        for _ in 0..1 + self.rng.below(4) {
            let feature = self.feature();
            let is_odd = match feature.as_str() {
                "jobs" => op == AllOp::Consume,
                "seats" => true,
                _ => false,
            };
            if items.iter().any(|(name, _)| *name == feature) || is_odd && !self.rng.percent(10) {
                continue;
            }
            let units = self.units(model.drawable(account, &feature, now));
            items.push((feature, units));
        }
        if items.is_empty() {
            items.push((catalogs::FEATURES[0].to_owned(), 1));
        }
        Asked::All(items, op)
    }

    /// Mostly what can be done with such a feature; the errors are all alike.
    fn sensible(&mut self, feature: String, op: FeatureOp) -> Asked {
        let is_odd = self.rng.percent(15);
        let op = match (feature.as_str(), op) {
            ("storage", FeatureOp::Consume { units } | FeatureOp::Record { units }) if !is_odd => {
                FeatureOp::Allocate { change: self.change(units) }
            }
            (_, FeatureOp::Record { units }) if is_odd && self.rng.percent(10) => {
                FeatureOp::Allocate { change: self.change(units) }
            }
            ("jobs", FeatureOp::Consume { units } | FeatureOp::Record { units }) if !is_odd => {
                FeatureOp::Reserve { units, hold_ms: self.hold_ms() }
            }
            ("api" | "web", FeatureOp::Reserve { units, .. } | FeatureOp::Record { units })
                if !is_odd =>
            {
                FeatureOp::Consume { units }
            }
            (_, op) => op,
        };
        let op = match op {
            FeatureOp::Reserve { units, hold_ms } if self.rng.percent(30) => {
                let slots = feature == "jobs" && !is_odd;
                if slots { op } else { FeatureOp::ReserveCharging { units, hold_ms } }
            }
            op => op,
        };
        Asked::Feature(feature, op)
    }

    /// Things come and go; what is set is mostly near what is there.
    fn change(&mut self, units: u64) -> LevelChange {
        match self.rng.below(10) {
            0..=3 => LevelChange::Add { units },
            4..=6 => LevelChange::Remove { units },
            7 | 8 => LevelChange::Set { units: self.rng.below(12) },
            _ => LevelChange::Report { units: self.rng.below(16) },
        }
    }

    fn asked_hold(&mut self, mut holds: Vec<ReservationId>, drawable: Option<u64>) -> Asked {
        // The latest are the most interesting.
        holds.reverse();
        holds.truncate(4);
        let id = if holds.is_empty() || self.rng.percent(4) {
            ReservationId(self.rng.below(4) << 32 | self.rng.below(9))
        } else {
            *self.rng.pick(&holds)
        };
        let op = match self.rng.below(10) {
            0..=2 => HoldOp::Commit { units: self.units(drawable) },
            3 => {
                let hold_ms = self.rng.percent(40).then(|| self.hold_ms());
                HoldOp::CommitPart { units: self.units(drawable), hold_ms }
            }
            4 => HoldOp::Commit { units: 0 },
            5 => HoldOp::Release,
            _ => {
                let hold_ms = self.rng.percent(70).then(|| self.hold_ms());
                let more = self.rng.percent(60);
                let additional_units = if more { self.units(drawable) } else { 0 };
                HoldOp::Extend { hold_ms, additional_units }
            }
        };
        Asked::Hold(id, op)
    }
}
