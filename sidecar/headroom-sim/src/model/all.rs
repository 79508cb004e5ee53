//! Several features at once: one after the other on a copy, and the copy is kept if all went well.

use headroom_core::catalog::FeatureKindSpec;
use headroom_core::decide::{AllOp, FeatureOp, ItemError};
use headroom_core::decision::OpError;
use headroom_engine::engine::EngineError;

use crate::model::{Account, Answer, Asked, Done, Model, Ready, Remembered, Request, remembered};

impl Model {
    /// Answers a request for several features: whether all are allowed, and each.
    pub fn answer_all(
        &mut self,
        request: &Request,
        now: i64,
    ) -> Result<(bool, Vec<Answer>), EngineError> {
        self.told.clear();
        self.met.clear();
        self.telling = None;
        let Asked::All(items, op) = &request.asked else { unreachable!("it asks for several") };
        for (feature, _) in items {
            self.check_types(feature, request.subject.as_deref())?;
        }
        if let AllOp::Check { attempt } = op {
            self.check_items(items, *op, &request.key)?;
            return Ok(self.check_all(request, items, *attempt, now));
        }
        let account = match self.ready(request, now)? {
            Ready::Nobody => return Ok((false, items.iter().map(|_| self.nobody(now)).collect())),
            Ready::Again(known, account) => {
                let again = |(part, (feature, _)): (&Remembered, &(String, u64))| {
                    let one = about(request, feature);
                    let done = self.again_for(&one, &account, part, now);
                    self.dress_for(&one, &account, done, true, now)
                };
                return Ok((true, known.parts.iter().zip(items).map(again).collect()));
            }
            Ready::New(account) => *account,
        };
        self.check_items(items, *op, &request.key)?;
        let told = self.told.len();
        let mut after = account.clone();
        let mut dones = Vec::new();
        for (place, (feature, units)) in items.iter().enumerate() {
            let (before, told_before) = (after.clone(), self.told.len());
            self.telling = self.dimension_of_item(feature, *op, &request.key);
            let done = match self.each(feature, *units, *op) {
                None => Ok(self.look(request, &after, (feature, *units), now)),
                Some(op) => self.use_one(request, &mut after, feature, op, now),
            };
            let done = done.map_err(|error| {
                self.told.truncate(told);
                EngineError::Item(ItemError { place, error })
            })?;
            if !done.verdict.is_allowed() {
                after = before;
                self.told.truncate(told_before);
            }
            dones.push(done);
        }
        let allowed = dones.iter().all(|done| done.verdict.is_allowed());
        if allowed {
            if request.synthetic {
                self.told.truncate(told);
                after = self.without_counts(&after, account);
            }
            let mut whole = remembered(request, &dones[0], now);
            whole.subjects = after.subjects.keys().cloned().collect();
            whole.parts = dones.iter().map(|done| remembered(request, done, now)).collect();
            after.keys.insert(request.key.clone(), whole);
        } else {
            self.told.truncate(told);
            after = account;
            self.each_by_itself(request, items, &mut after, &mut dones, !request.synthetic, now);
        }
        let dress = |(done, (feature, _)): (Done, &(String, u64))| {
            self.dress_for(&about(request, feature), &after, done, false, now)
        };
        let answers = dones.into_iter().zip(items).map(dress).collect();
        self.accounts.insert(request.account.clone(), after);
        Ok((allowed, answers))
    }

    /// Whether each item may say what it says.
    fn check_items(
        &mut self,
        items: &[(String, u64)],
        op: AllOp,
        key: &str,
    ) -> Result<(), EngineError> {
        for (place, (feature, _)) in items.iter().enumerate() {
            let told = self.dimension_of_item(feature, op, key);
            let Some(known) = self.feature(feature) else { continue };
            let counts_values = known.counting.unique_by.is_some();
            if told.is_some() && matches!(op, AllOp::Reserve { .. }) && !counts_values {
                self.met.insert("a dimension of what is held");
                let problem = "what is held is told apart when it is used: say them with Commit";
                return Err(EngineError::ItemDimensions { place, problem: problem.to_owned() });
            }
            if told.is_some() {
                self.met.insert(if counts_values {
                    "a value among several"
                } else {
                    "a dimension among several"
                });
            }
            self.check_told(Some(feature), told).map_err(|error| match error {
                EngineError::Dimensions { problem } => {
                    EngineError::ItemDimensions { place, problem }
                }
                error => error,
            })?;
        }
        Ok(())
    }

    fn check_all(
        &mut self,
        request: &Request,
        items: &[(String, u64)],
        attempt: bool,
        now: i64,
    ) -> (bool, Vec<Answer>) {
        let id = &request.account;
        let is_known = self.accounts.contains_key(id);
        let takes = self.refusal.is_none();
        if takes {
            self.know_settled(id, now);
            self.say_endings(id, now);
        }
        let known = self.accounts.get(id).cloned();
        let known = known.map(|known| self.with_charges(&known, now));
        let Some(mut account) = known.or_else(|| self.stranger(now)) else {
            return (false, items.iter().map(|_| self.nobody(now)).collect());
        };
        let told = self.told.len();
        let mut copy = account.clone();
        self.settle(&mut copy, now);
        let mut dones = Vec::new();
        for (feature, units) in items {
            self.telling = self.dimension_of_item(feature, AllOp::Consume, &request.key);
            let done = self.look(request, &copy, (feature, *units), now);
            let mut next = copy.clone();
            let op = FeatureOp::Consume { units: *units };
            let used = self.use_one(request, &mut next, feature, op, now);
            if used.is_ok_and(|used| used.verdict.is_allowed()) {
                copy = next;
            }
            dones.push(done);
        }
        self.told.truncate(told);
        let allowed = dones.iter().all(|done| done.verdict.is_allowed());
        if !allowed {
            let attempt = attempt && is_known && takes;
            self.each_by_itself(request, items, &mut account, &mut dones, attempt, now);
        }
        let dress = |(done, (feature, _)): (Done, &(String, u64))| {
            self.dress_for(&about(request, feature), &account, done, false, now)
        };
        let answers = dones.into_iter().zip(items).map(dress).collect();
        if is_known && takes {
            self.accounts.insert(id.clone(), account);
        }
        (allowed, answers)
    }

    /// After a refusal: the first of them is told, and the others stand as if they were asked for alone.
    fn each_by_itself(
        &mut self,
        request: &Request,
        items: &[(String, u64)],
        account: &mut Account,
        dones: &mut [Done],
        attempt: bool,
        now: i64,
    ) {
        self.met.insert("several, and one refused");
        let Asked::All(_, op) = request.asked else { unreachable!("it asks for several") };
        // What the items before it would have unlocked may be refused by itself, too: that is not told.
        let refused = dones.iter().position(|done| !done.verdict.is_allowed());
        for ((feature, units), done) in items.iter().zip(dones.iter_mut()) {
            if done.verdict.is_allowed() {
                self.telling = self.dimension_of_item(feature, op, &request.key);
                *done = self.look(request, account, (feature, *units), now);
            }
        }
        let (feature, units) = &items[refused.expect("one is refused")];
        self.telling = self.dimension_of_item(feature, op, &request.key);
        if attempt {
            let op = FeatureOp::Check { units: *units, attempt };
            if self.use_for(&about(request, feature), account, feature, op, now).is_none() {
                self.check_feature(&request.account, account, feature, *units, attempt, now);
            }
        }
    }

    /// Does one of several things.
    fn use_one(
        &mut self,
        request: &Request,
        account: &mut Account,
        feature: &str,
        op: FeatureOp,
        now: i64,
    ) -> Result<Done, OpError> {
        match self.use_for(&about(request, feature), account, feature, op, now) {
            Some(done) => done,
            None => self.use_feature(&request.account, account, feature, op, now),
        }
    }

    /// Looks at one of several things, and leaves the account as it is.
    fn look(
        &mut self,
        request: &Request,
        account: &Account,
        (feature, units): (&str, u64),
        now: i64,
    ) -> Done {
        let mut copy = account.clone();
        let op = FeatureOp::Check { units, attempt: false };
        match self.use_for(&about(request, feature), &mut copy, feature, op, now) {
            Some(done) => done.expect("a check is always answered"),
            None => self.check_feature(&request.account, &mut copy, feature, units, false, now),
        }
    }

    /// What is done with a feature; `None`: it is only looked at.
    fn each(&self, feature: &str, units: u64, op: AllOp) -> Option<FeatureOp> {
        let spec = self.catalog.features.iter().find(|spec| spec.feature == feature)?;
        let charges = matches!(op, AllOp::Reserve { charging: true, .. });
        match (&spec.kind, op) {
            (FeatureKindSpec::Switch | FeatureKindSpec::Config, _) => None,
            (FeatureKindSpec::Concurrency { .. }, AllOp::Reserve { hold_ms, .. }) => {
                Some(FeatureOp::Reserve { units, hold_ms })
            }
            (FeatureKindSpec::Rate { .. }, _) => Some(FeatureOp::Consume { units }),
            (_, AllOp::Reserve { hold_ms, .. }) if charges => {
                Some(FeatureOp::ReserveCharging { units, hold_ms })
            }
            (_, AllOp::Reserve { hold_ms, .. }) => Some(FeatureOp::Reserve { units, hold_ms }),
            _ => Some(FeatureOp::Consume { units }),
        }
    }
}

/// The same request about one of its features.
fn about(request: &Request, feature: &str) -> Request {
    let asked = Asked::Feature(feature.to_owned(), FeatureOp::Consume { units: 1 });
    Request { asked, ..request.clone() }
}
