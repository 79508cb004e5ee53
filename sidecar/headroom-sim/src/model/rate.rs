//! Rates and slots in the model.
//!
//! A tank is the list of all that was ever taken out of it. How much is missing is found by playing the
//! list from the start: what was taken is added, what came back with time is taken off, as a fraction
//! with the period for its denominator.

use headroom_core::catalog::{EntitlementSpec, FeatureKindSpec, Policy, RateSpec};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Amounts, Denial, OpError, Verdict, WindowPhase};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};

use super::daily::SLOTS_QUIET_MS;
use super::migrate::label;
use super::page::Page;
use super::plan::{EACH_SLOTS, Entitled, bought_rate, with_rate};
use super::{Account, Done, LimitAnswer, Model, Request, Told};

/// A signal of one excursion is not followed by another's within this time.
const QUIET_MS: i64 = 3_600_000;

/// What was taken from the bucket of a rate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tank {
    /// When, how many units, and the rate of that moment.
    takes: Vec<(i64, u64, RateSpec)>,
    /// When the excursion that is on was told.
    told_at: Option<i64>,
    /// Excursions told so far, for the coverage.
    pub(crate) excursions: u32,
}

/// How much is missing in a tank.
#[derive(Debug, Clone, Copy)]
struct Missing {
    /// Parts of which `period` are a unit.
    parts: u128,
    period: u128,
    /// Parts that come back in a millisecond.
    per_ms: u128,
}

/// Who asks what rate of whom.
pub(super) type RateAsk<'a> = (&'a str, &'a str, Option<RateSpec>, Origin);

fn period(rate: RateSpec) -> u128 {
    u128::try_from(rate.period_ms).expect("a checked rate")
}

impl Tank {
    fn missing(&self, rate: RateSpec, now: i64) -> Missing {
        let mut parts: u128 = 0;
        let mut last: Option<(i64, RateSpec)> = None;
        let mut unit = (period(rate), u128::from(rate.units));
        let look = std::iter::once((now, 0, rate));
        for (at, units, rate) in self.takes.iter().copied().chain(look) {
            let own = (period(rate), u128::from(rate.units));
            unit = own;
            if let Some((since, before)) = last {
                let old = (period(before), u128::from(before.units));
                // Until it is used again, a bucket fills at the faster of its old and its new rate.
                if old.1 * own.0 > own.1 * old.0 {
                    unit = old;
                }
                parts = (parts * unit.0).div_ceil(old.0);
                parts = parts.min(u128::from(rate.burst_units) * unit.0);
                let ms = u128::try_from(at - since).expect("time does not go back");
                parts -= parts.min(ms * unit.1);
            }
            if units > 0 {
                parts = (parts * own.0).div_ceil(unit.0) + u128::from(units) * own.0;
                unit = own;
                last = Some((at, rate));
            }
        }
        Missing { parts, period: unit.0, per_ms: unit.1 }
    }

    fn end_excursion(&mut self, rate: RateSpec, now: i64) {
        let is_quiet = self.told_at.is_some_and(|at| QUIET_MS <= now - at);
        if is_quiet && self.missing(rate, now).parts == 0 {
            self.told_at = None;
        }
    }
}

impl Missing {
    fn units(self) -> u128 {
        self.parts.div_ceil(self.period)
    }

    /// Milliseconds until no more than so many units are missing.
    fn ms_until(self, units: u128) -> i64 {
        let above = self.parts - self.parts.min(units * self.period);
        i64::try_from(above.div_ceil(self.per_ms)).expect("a week at most")
    }
}

fn shown(missing: Missing, rate: RateSpec, now: i64) -> LimitAnswer {
    let burst = u128::from(rate.burst_units);
    let left = burst - missing.units();
    LimitAnswer {
        end: now + missing.ms_until(0).max(1),
        frees_at: now + missing.ms_until(0).max(1),
        used: missing.units(),
        included: Some(burst),
        policy: Policy::Block,
        ceiling: Some(burst),
        settled: Some(left),
        drawable: Some(left),
        ..unlimited(now)
    }
}

fn unlimited(now: i64) -> LimitAnswer {
    LimitAnswer {
        limit: "rate".to_owned(),
        start: now,
        end: now + 1,
        used: 0,
        reserved: 0,
        debt: 0,
        revision: 1,
        included: None,
        policy: Policy::Unlimited,
        ceiling: None,
        passed_bp: Vec::new(),
        settled: None,
        drawable: None,
        grace_left: None,
        overage: 0,
        phase: WindowPhase::Open,
        frees_at: now + 1,
        grace_until: None,
        cost: None,
        billed: None,
        subject: None,
        pool: None,
        charge: None,
    }
}

impl Model {
    /// When the next unit comes back to a bucket, and when the last does.
    pub(super) fn bucket_edges(&self, account: &Account, now: i64) -> Vec<i64> {
        let mut edges = Vec::new();
        for (feature, tank) in &account.tanks {
            if let (Entitled::Rate(Some(rate)), _) = self.entitled(account, feature, now) {
                let missing = tank.missing(rate, now);
                let fewer = missing.units().saturating_sub(1);
                edges.extend([now + missing.ms_until(fewer), now + missing.ms_until(0)]);
            }
        }
        for tank in account.subjects.values().flat_map(|inner| inner.tanks.values()) {
            if let Some((_, _, rate)) = tank.takes.last() {
                let missing = tank.missing(*rate, now);
                edges.push(now + missing.ms_until(missing.units().saturating_sub(1)));
            }
        }
        edges
    }

    /// The one limit of a rate.
    pub(super) fn rate_answer(
        &self,
        account: &Account,
        feature: &str,
        rate: Option<RateSpec>,
        now: i64,
    ) -> LimitAnswer {
        let Some(rate) = rate else { return unlimited(now) };
        let tank = account.tanks.get(feature).cloned().unwrap_or_default();
        shown(tank.missing(rate, now), rate, now)
    }

    /// What a rate says to so many units; the tank is as it was.
    fn rate_done(
        &self,
        account: &Account,
        (_, feature, rate, origin): RateAsk<'_>,
        units: u64,
        now: i64,
    ) -> Done {
        let mut done = Done {
            verdict: Verdict::Allowed,
            binding: Some(self.rate_answer(account, feature, rate, now)),
            origin,
            feature: Some(feature.to_owned()),
            value_json: None,
            retry_after_ms: None,
            shadow: None,
            charge: None,
            amounts: Amounts::default(),
        };
        let Some(rate) = rate else { return done };
        let tank = account.tanks.get(feature).cloned().unwrap_or_default();
        let missing = tank.missing(rate, now);
        let (burst, units) = (u128::from(rate.burst_units), u128::from(units));
        if missing.parts + units * missing.period > burst * missing.period {
            done.verdict = Verdict::Denied(Denial::RateLimited);
            done.retry_after_ms = (units <= burst).then(|| missing.ms_until(burst - units));
        }
        done
    }

    pub(super) fn check_rate(
        &mut self,
        account: &mut Account,
        ask: RateAsk<'_>,
        units: u64,
        attempt: bool,
        now: i64,
    ) -> Done {
        let done = self.rate_done(account, ask, units, now);
        self.note_rate(account, ask, now);
        if attempt && !done.verdict.is_allowed() {
            self.tell_tier(account, ask, units, now);
        }
        done
    }

    pub(super) fn use_rate(
        &mut self,
        account: &mut Account,
        ask: RateAsk<'_>,
        units: u64,
        now: i64,
    ) -> Done {
        let mut done = self.rate_done(account, ask, units, now);
        self.note_rate(account, ask, now);
        let (_, feature, rate, _) = ask;
        if !done.verdict.is_allowed() {
            self.tell_tier(account, ask, units, now);
            return done;
        }
        done.amounts.units = units;
        let Some(rate) = rate else { return done };
        let tank = account.tanks.entry(feature.to_owned()).or_default();
        tank.end_excursion(rate, now);
        tank.takes.push((now, units, rate));
        done.binding = Some(self.rate_answer(account, feature, Some(rate), now));
        done
    }

    pub(super) fn is_rate(&self, feature: &str) -> bool {
        matches!(self.feature(feature).map(|known| &known.kind), Some(FeatureKindSpec::Rate { .. }))
    }

    /// Lets a request go on that a rate refused which is only watched. Its bucket is as if it had been refused.
    pub(super) fn look_away_from(&mut self, feature: &str, mut done: Done, units: u64) -> Done {
        if !self.is_watched(feature) {
            return done;
        }
        if let Verdict::Denied(denial) = done.verdict {
            self.met.insert("a rate that is only watched");
            done.shadow = Some(denial);
            done.verdict = Verdict::Allowed;
            done.retry_after_ms = None;
            done.amounts.units = units;
        }
        if done.origin == Origin::None {
            done.shadow = Some(Denial::NotInPlan);
        }
        done
    }

    /// The subject of a request that has a bucket of its own, and how fast it is.
    pub(super) fn each_of(
        &self,
        request: &Request,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Option<(String, RateSpec)> {
        let FeatureKindSpec::Rate { per: Some(per) } = &self.feature(feature)?.kind else {
            return None;
        };
        let subject = request.subject.as_deref()?;
        let levels: Vec<&str> = subject.split('/').collect();
        let depth = levels.iter().position(|level| level.split(':').next() == Some(per))?;
        let (plan, _) = Model::plan_now(account, now);
        let plan = self.catalog.plans.iter().find(|known| label(known) == plan);
        let merge = self.feature(feature)?.offering.merge;
        let mut each_of = None;
        if let Some(EntitlementSpec::Rate { each, .. }) = Model::said(plan, feature) {
            each_of = Some(Some(each?));
        }
        for (name, quantity) in &account.addons {
            let addon = self.catalog.addons.iter().find(|known| known.plan == *name);
            if let Some(EntitlementSpec::Rate { each: Some(each), .. }) =
                Model::said(addon, feature)
            {
                let more = bought_rate(Some(each), *quantity);
                each_of = with_rate(each_of, more, merge).or(each_of);
            }
        }
        Some((levels[..=depth].join("/"), each_of??))
    }

    /// The bucket that a subject has for itself.
    pub(super) fn each_answer(
        &self,
        inner: &Account,
        (feature, name): (&str, &str),
        each: RateSpec,
        now: i64,
    ) -> LimitAnswer {
        let answer = self.rate_answer(inner, feature, Some(each), now);
        LimitAnswer { limit: "rate_each".to_owned(), subject: Some(name.to_owned()), ..answer }
    }

    /// Answers a request that is taken from the account's bucket and from a subject's; `None` if it is not.
    pub(super) fn rate_for(
        &mut self,
        request: &Request,
        account: &mut Account,
        (feature, op): (&str, FeatureOp),
        now: i64,
    ) -> Option<Result<Done, OpError>> {
        let (name, each) = self.each_of(request, account, feature, now)?;
        let Ok((Entitled::Rate(rate), origin)) = self.gate(account, feature, now) else {
            return None;
        };
        let (units, uses) = match op {
            FeatureOp::Check { units, .. } => (units, false),
            FeatureOp::Consume { units } => (units, true),
            _ => return Some(Err(OpError::RateIsConsumed)),
        };
        let id = request.account.as_str();
        let (own, theirs) = ((id, feature, rate, origin), (id, feature, Some(each), origin));
        let mut inner = Model::inner(account, &name);
        let mut here = self.rate_done(account, own, units, now);
        let mut there = self.rate_done(&inner, theirs, units, now);
        if !here.verdict.is_allowed() && op != (FeatureOp::Check { units, attempt: false }) {
            self.tell_tier(account, own, units, now);
        }
        self.note_rate(account, own, now);
        self.note_rate(&inner, theirs, now);
        let is_allowed = here.verdict.is_allowed() && there.verdict.is_allowed();
        if is_allowed && uses {
            here = self.use_rate(account, own, units, now);
            there = self.use_rate(&mut inner, theirs, units, now);
            account.subjects.insert(name.clone(), inner.clone());
            self.met.insert("a bucket of a subject");
        }
        there.binding = Some(self.each_answer(&inner, (feature, &name), each, now));
        let binds = if is_allowed {
            let left = |done: &Done| done.binding.as_ref().and_then(|limit| limit.settled);
            left(&here).is_none_or(|own| left(&there).is_some_and(|left| left < own))
        } else {
            self.met.insert("a bucket of a subject, refused");
            let wait = |done: &Done| match done.verdict.is_allowed() {
                true => 0,
                false => done.retry_after_ms.unwrap_or(i64::MAX),
            };
            wait(&here) < wait(&there)
        };
        let done = if binds { there } else { here };
        Some(Ok(self.look_away_from(feature, done, if uses { units } else { 0 })))
    }

    fn note_rate(&mut self, account: &Account, (_, feature, rate, _): RateAsk<'_>, now: i64) {
        let Some(rate) = rate else { return };
        let Some(tank) = account.tanks.get(feature) else { return };
        let is_changed = tank.takes.last().is_some_and(|(_, _, before)| *before != rate);
        if is_changed && tank.missing(rate, now).parts > 0 {
            self.met.insert("a bucket under another rate");
        }
    }

    /// The first refusal of an excursion is told.
    fn tell_tier(
        &mut self,
        account: &mut Account,
        (id, feature, rate, _): RateAsk<'_>,
        units: u64,
        now: i64,
    ) {
        let limit = self.rate_answer(account, feature, rate, now);
        let tank = account.tanks.entry(feature.to_owned()).or_default();
        let mut ended = tank.clone();
        ended.end_excursion(rate.expect("an unlimited rate refuses nothing"), now);
        if ended.told_at.is_some() || !self.catalog.signals.api_tier_exceeded {
            return;
        }
        tank.told_at = Some(now);
        tank.excursions += 1;
        if tank.excursions > 1 {
            self.met.insert("a tier exceeded again");
        }
        self.told.push(Told {
            account: id.to_owned(),
            name: SignalName::ApiTierExceeded,
            feature: feature.to_owned(),
            limit: limit.limit,
            window: (limit.start, limit.end),
            revision: 1,
            crossed_bp: Vec::new(),
            previous: limit.used,
            current: limit.used,
            included: limit.included.expect("an unlimited rate refuses nothing"),
            refused: u128::from(units),
            previous_state: SignalState::Ok,
            state: SignalState::Alarm,
            grace_until: None,
            days: None,
            at: now,
        });
    }

    /// Says what has come up by holding more slots.
    pub(super) fn announce_held(
        &mut self,
        (id, account): (&str, &mut Account),
        page: &mut Page,
        more: u64,
        now: i64,
    ) {
        // Subjects are told of nothing.
        if page.limit.slots && page.limit.limit != EACH_SLOTS {
            let before = page.held() - u128::from(more);
            if page.end_excursion(account, before) {
                self.met.insert("slots: an excursion after another");
            }
            if self.announce(id, page, before, 0, now) {
                account.note_said(page, now);
            }
        }
    }

    /// When, by the clock alone, so many slots are free that a refused request fits.
    pub(super) fn with_retry(account: &Account, units: u64, mut done: Done, now: i64) -> Done {
        let (Verdict::Denied(Denial::ConcurrencyFull), Some(limit)) = (done.verdict, &done.binding)
        else {
            return done;
        };
        let most = limit.ceiling.expect("an unlimited one is never full");
        let of_limit = |start: i64| (limit.limit.clone(), start);
        let holds =
            account.holds.values().filter(|hold| Some(&hold.feature) == done.feature.as_ref());
        let holds: Vec<_> =
            holds.filter(|hold| hold.books.contains(&of_limit(limit.start))).collect();
        let fits_at = |at: &i64| {
            let open = holds.iter().filter(|hold| hold.is_open(*at));
            open.map(|hold| u128::from(hold.units)).sum::<u128>() + u128::from(units) <= most
        };
        let open = holds.iter().filter(|hold| hold.is_open(now));
        let ends = open.map(|hold| hold.expires_at);
        done.retry_after_ms = ends.filter(fits_at).min().map(|at| at - now);
        done
    }
}

impl Account {
    /// Notes when slots were told of.
    pub(super) fn note_said(&mut self, page: &Page, now: i64) {
        if page.limit.slots {
            self.said_slots.insert(page.book.feature.clone(), now);
        }
    }
}

impl Page {
    /// Forgets what was said, when fewer slots are held than half of the lowest threshold, and nothing was
    /// said for an hour.
    pub(super) fn end_excursion(&mut self, account: &Account, held: u128) -> bool {
        let said_at = account.said_slots.get(&self.book.feature);
        if said_at.is_some_and(|at| self.now - at < SLOTS_QUIET_MS) {
            return false;
        }
        let Some(most) = self.limit.terms.included else { return false };
        let lowest = self.limit.terms.soft_bp.iter().min().copied().unwrap_or(10_000);
        let is_over =
            held * 20_000 < u128::from(most) * u128::from(lowest) && !self.book.said.is_empty();
        if is_over {
            self.book.said.clear();
            self.book.revision = self.book.revision.saturating_add(1);
        }
        is_over
    }
}
