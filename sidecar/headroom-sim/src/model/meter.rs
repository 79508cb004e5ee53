//! Counting in the model: one page per limit, looked at, changed, and written back.

use std::collections::BTreeSet;

use headroom_core::account::Zone;
use headroom_core::catalog::{FeatureKindSpec, Policy};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};

use super::plan::Entitled;
use super::{Account, Book, COUNT_MAX, Done, Hold, Limit, LimitAnswer, Model, Said, Terms, Told};
use crate::civil;

/// What one limit holds at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) limit: Limit,
    pub(crate) book: Book,
    pub(crate) reserved: u128,
    pub(crate) verdict: Verdict,
}

impl Book {
    pub(crate) fn used(&self) -> u128 {
        self.uses.iter().map(|(units, _)| u128::from(*units)).sum()
    }

    pub(crate) fn debt(&self) -> u128 {
        self.uses.iter().map(|(_, debt)| debt).sum()
    }
}

impl Terms {
    fn included(&self) -> Option<u128> {
        self.included.map(u128::from)
    }

    /// The most that may be used and set aside.
    pub(crate) fn ceiling(&self) -> Option<u128> {
        let included = self.included()?;
        match self.policy {
            Policy::Block => Some(included),
            Policy::Grace { grace_bp } => Some(included + included * u128::from(grace_bp) / 10_000),
            Policy::Overage | Policy::Unlimited => None,
        }
    }

    /// The first count of used units at which a threshold counts as passed.
    fn threshold(&self, bp: u32) -> Option<u128> {
        Some((self.included()? * u128::from(bp)).div_ceil(10_000).max(1))
    }

    fn passed_bp(&self, used: u128) -> Vec<u32> {
        let passed = |bp: &&u32| self.threshold(**bp).is_some_and(|units| units <= used);
        self.soft_bp.iter().filter(passed).copied().collect()
    }

    /// How a limit stands with so many units used and held in all.
    fn verdict(&self, used: u128, held: u128) -> Verdict {
        let Some(included) = self.included() else { return Verdict::Allowed };
        if held > included {
            match self.policy {
                Policy::Grace { .. } => return Verdict::Grace,
                Policy::Overage => return Verdict::Overage,
                Policy::Block => return Verdict::SoftLimit,
                Policy::Unlimited => {}
            }
        }
        if self.passed_bp(used).is_empty() { Verdict::Allowed } else { Verdict::SoftLimit }
    }
}

impl Page {
    fn used(&self) -> u128 {
        self.book.used()
    }

    pub(crate) fn held(&self) -> u128 {
        self.used() + self.reserved
    }

    /// What thresholds look at.
    fn watched(&self) -> u128 {
        if self.limit.slots { self.held() } else { self.used() }
    }

    /// What the limit says to so many more units.
    pub(crate) fn admits(&self, units: u64, at_once: bool) -> Verdict {
        let units = u128::from(units);
        match self.limit.terms.ceiling() {
            Some(ceiling) if self.limit.slots && self.held() + units > ceiling => {
                Verdict::Denied(Denial::ConcurrencyFull)
            }
            Some(ceiling) if self.used() + units > ceiling => {
                Verdict::Denied(Denial::QuotaExhausted)
            }
            Some(ceiling) if self.held() + units > ceiling => Verdict::Denied(Denial::InFlight),
            _ => {
                let held = self.held() + units;
                let used = if at_once { self.used() + units } else { self.used() };
                self.limit.terms.verdict(if self.limit.slots { held } else { used }, held)
            }
        }
    }

    pub(crate) fn stands(&self) -> Verdict {
        self.limit.terms.verdict(self.watched(), self.held())
    }

    pub(crate) fn fits_counter(&self, units: u64) -> bool {
        self.held() + u128::from(units) <= COUNT_MAX
    }

    /// Adds units, of which so many are surplus; returns the debt among them.
    pub(crate) fn book_units(&mut self, units: u64, surplus: u64) -> u128 {
        let after = self.held() + u128::from(units);
        let above = match self.limit.terms.ceiling() {
            Some(ceiling) if after > ceiling => after - ceiling,
            _ => 0,
        };
        let debt = above.min(u128::from(surplus));
        self.book.uses.push((units, debt));
        debt
    }

    pub(crate) fn answer(&self) -> LimitAnswer {
        let terms = &self.limit.terms;
        let ceiling = terms.ceiling();
        let included = terms.included();
        let used = self.used();
        LimitAnswer {
            limit: self.book.limit.clone(),
            start: self.book.start,
            end: self.book.end,
            used,
            reserved: self.reserved,
            debt: self.book.debt(),
            revision: self.book.revision,
            included,
            policy: terms.policy,
            ceiling,
            passed_bp: terms.passed_bp(self.watched()),
            settled: included.map(|included| included - included.min(used)),
            drawable: ceiling.map(|ceiling| ceiling - ceiling.min(self.held())),
            grace_left: match (terms.policy, included, ceiling) {
                (Policy::Grace { .. }, Some(included), Some(ceiling)) => {
                    Some(ceiling - ceiling.min(used.max(included)))
                }
                _ => None,
            },
            overage: match (terms.policy, included) {
                (Policy::Overage, Some(included)) if used > included => used - included,
                _ => 0,
            },
        }
    }
}

pub(crate) fn refuses(pages: &[Page]) -> bool {
    pages.iter().any(|page| matches!(page.verdict, Verdict::Denied(_)))
}

/// The page that decides.
pub(crate) fn binding(pages: &[Page]) -> &Page {
    let denied = |denial| {
        let those = pages.iter().filter(|page| page.verdict == Verdict::Denied(denial));
        // `max_by_key` takes the last of equals; the first of the plan is wanted.
        those.rev().max_by_key(|page| page.book.end)
    };
    let denials = [Denial::ConcurrencyFull, Denial::QuotaExhausted, Denial::InFlight];
    if let Some(page) = denials.into_iter().find_map(denied) {
        return page;
    }
    let gravest = pages.iter().map(|page| page.verdict).max().expect("at least one limit");
    let drawable = |page: &&Page| {
        page.limit.terms.ceiling().map_or(u128::MAX, |ceiling| ceiling - ceiling.min(page.held()))
    };
    let gravest = pages.iter().filter(|page| page.verdict == gravest);
    gravest.min_by_key(drawable).expect("the gravest is among them")
}

pub(crate) fn state(said: &BTreeSet<Said>) -> SignalState {
    if said.contains(&Said::Reached) || said.contains(&Said::Hit) {
        SignalState::Alarm
    } else if said.is_empty() {
        SignalState::Ok
    } else {
        SignalState::Warning
    }
}

impl Model {
    /// The page of a limit at an instant: of the window that began, or of a new one.
    pub(crate) fn page(&self, account: &Account, feature: &str, limit: &Limit, now: i64) -> Page {
        let books = || {
            let of_limit = |b: &&Book| b.feature == feature && b.limit == limit.limit;
            account.books.iter().filter(of_limit)
        };
        let book = match books().find(|book| book.start <= now && now < book.end) {
            Some(book) => book.clone(),
            None => {
                let zone = Zone::named(&account.zone).expect("a zone that was accepted");
                let (start, end) = civil::window(limit.window, account.anchor, zone.rules(), now);
                // What began before a change of the rules goes on to its end; the next tiles.
                let earlier = books().map(|book| book.end).filter(|end| *end <= now).max();
                Book {
                    feature: feature.to_owned(),
                    limit: limit.limit.clone(),
                    start: earlier.map_or(start, |end| end.max(start)),
                    end,
                    uses: Vec::new(),
                    terms: limit.terms.clone(),
                    revision: 1,
                    said: BTreeSet::new(),
                }
            }
        };
        self.page_of(account, book, limit, now)
    }

    /// The page of a book under a limit.
    pub(crate) fn page_of(&self, account: &Account, book: Book, limit: &Limit, now: i64) -> Page {
        let mut book = book;
        if !limit.gone && book.terms != limit.terms {
            book.terms = limit.terms.clone();
            book.revision = book.revision.saturating_add(1);
            book.said.clear();
        }
        let lists = |hold: &&Hold| hold.feature == book.feature && hold.lists(&book);
        let open = account.holds.values().filter(lists).filter(|hold| hold.is_open(now));
        let reserved = open.map(|hold| u128::from(hold.units)).sum();
        let mut page = Page { limit: limit.clone(), book, reserved, verdict: Verdict::Allowed };
        page.verdict = page.stands();
        page
    }

    /// Keeps what became of a page.
    pub(crate) fn keep(account: &mut Account, page: &Page) {
        let same = |b: &&mut Book| {
            b.feature == page.book.feature
                && b.limit == page.book.limit
                && b.start == page.book.start
        };
        match account.books.iter_mut().find(same) {
            Some(book) => *book = page.book.clone(),
            None => account.books.push(page.book.clone()),
        }
    }

    /// Says what has not been said of a page; `refused` units are of an attempt that was refused.
    pub(crate) fn announce(
        &mut self,
        account: &str,
        page: &mut Page,
        previous: u128,
        refused: u64,
        at: i64,
    ) -> bool {
        let terms = &page.limit.terms;
        let Some(included) = terms.included() else { return false };
        if page.limit.gone {
            return false;
        }
        let (used, before) = (page.watched(), page.book.said.clone());
        let mut crossed_bp = Vec::new();
        let places = (0..).map(Said::Soft).zip(terms.soft_bp.iter().copied());
        for (said, bp) in places.chain([(Said::Reached, 10_000)]) {
            let passed = terms.threshold(bp).is_some_and(|units| units <= used);
            if passed && page.book.said.insert(said) {
                crossed_bp.push(bp);
            }
        }
        let hit = (refused > 0 || used > included) && page.book.said.insert(Said::Hit);
        let told = |name, crossed_bp| Told {
            account: account.to_owned(),
            name,
            feature: page.book.feature.clone(),
            limit: page.book.limit.clone(),
            window: (page.book.start, page.book.end),
            revision: page.book.revision,
            crossed_bp,
            previous,
            current: used,
            included,
            refused: u128::from(refused),
            previous_state: state(&before),
            state: state(&page.book.said),
            at,
        };
        let count = self.told.len();
        if !crossed_bp.is_empty() && self.catalog.signals.usage_ceiling {
            self.told.push(told(SignalName::UsageCeiling, crossed_bp));
        }
        if hit && self.catalog.signals.feature_limit_hit {
            self.told.push(told(SignalName::FeatureLimitHit, Vec::new()));
        }
        self.told.len() > count
    }

    /// Announces a refusal by every limit that is used up.
    pub(crate) fn announce_refusal(
        &mut self,
        id: &str,
        account: &mut Account,
        pages: &[Page],
        units: u64,
        now: i64,
    ) {
        // The answer shows the pages as they were.
        for mut page in pages.iter().cloned() {
            let worth = [Denial::QuotaExhausted, Denial::ConcurrencyFull];
            if worth.iter().any(|denial| page.verdict == Verdict::Denied(*denial)) {
                if page.limit.slots {
                    page.end_excursion(page.held());
                }
                let previous = page.watched();
                // Unless somebody was told, nothing is kept.
                if self.announce(id, &mut page, previous, units, now) {
                    Model::keep(account, &page);
                }
            }
        }
    }

    pub(crate) fn done(
        &self,
        account: &Account,
        feature: &str,
        origin: Origin,
        pages: &[Page],
        now: i64,
    ) -> Done {
        let binding = binding(pages);
        let retry_after_ms = match binding.verdict {
            Verdict::Denied(Denial::QuotaExhausted) if binding.book.end != civil::FOREVER => {
                Some(binding.book.end - now)
            }
            Verdict::Denied(Denial::InFlight) => {
                let next = account.holds.values().filter_map(|hold| hold.next_change(now)).min();
                Some(next.map_or(1_000, |at| (at - now).clamp(1, 1_000)))
            }
            _ => None,
        };
        Done {
            verdict: binding.verdict,
            binding: Some(binding.answer()),
            origin,
            feature: Some(feature.to_owned()),
            value_json: None,
            retry_after_ms,
            amounts: Amounts::default(),
        }
    }

    /// The refusals that no count can lift, in their order; otherwise what the account may do.
    fn gate(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Result<(Entitled, Origin), (Denial, Origin)> {
        if account.suspended {
            return Err((Denial::AccountSuspended, Origin::None));
        }
        let Some(shown) = self.feature(feature) else {
            return Err((Denial::UnknownFeature, Origin::None));
        };
        if account.ends_at <= now {
            return Err((Denial::SubscriptionEnded, Origin::None));
        }
        let (entitled, origin) = self.entitled(account, feature, now);
        let rolled_out = shown.offering.rollout_bp > 0 || origin == Origin::Override;
        match entitled {
            Entitled::Nothing => Err((Denial::NotInPlan, Origin::None)),
            _ if !rolled_out => Err((Denial::NotInPlan, origin)),
            _ if shown.offering.is_paused => Err((Denial::FeaturePaused, origin)),
            entitled => Ok((entitled, origin)),
        }
    }

    fn refused(&self, denial: Denial, origin: Origin, feature: &str) -> Done {
        let known = self.feature(feature).map(|known| known.feature.clone());
        Done { origin, ..Done::refused(Verdict::Denied(denial), known) }
    }

    /// The limits as they are now, whatever the gate says.
    pub(crate) fn limit_answers(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Vec<LimitAnswer> {
        let limits = match self.entitled(account, feature, now).0 {
            Entitled::Limits(limits) => limits,
            Entitled::Rate(rate) => return vec![self.rate_answer(account, feature, rate, now)],
            Entitled::Nothing | Entitled::On | Entitled::Value(_) => return Vec::new(),
        };
        limits.iter().map(|limit| self.page(account, feature, limit, now).answer()).collect()
    }

    fn pages(&self, account: &Account, feature: &str, limits: &[Limit], now: i64) -> Vec<Page> {
        limits.iter().map(|limit| self.page(account, feature, limit, now)).collect()
    }

    pub(crate) fn check_feature(
        &mut self,
        id: &str,
        account: &mut Account,
        feature: &str,
        units: u64,
        attempt: bool,
        now: i64,
    ) -> Done {
        match self.gate(account, feature, now) {
            Err((denial, origin)) => self.refused(denial, origin, feature),
            Ok((Entitled::Limits(limits), origin)) => {
                let mut pages = self.pages(account, feature, &limits, now);
                for page in &mut pages {
                    page.verdict = page.admits(units, true);
                }
                if attempt && refuses(&pages) {
                    self.announce_refusal(id, account, &pages, units, now);
                }
                let done = self.done(account, feature, origin, &pages, now);
                Model::with_retry(account, units, done, now)
            }
            Ok((Entitled::Rate(rate), origin)) => {
                let ask = (id, feature, rate, origin);
                self.check_rate(account, ask, units, attempt, now)
            }
            Ok((entitled, origin)) => Done {
                origin,
                value_json: match entitled {
                    Entitled::Value(value) => Some(value),
                    _ => None,
                },
                ..Done::refused(Verdict::Allowed, Some(feature.to_owned()))
            },
        }
    }

    pub(crate) fn use_feature(
        &mut self,
        id: &str,
        account: &mut Account,
        feature: &str,
        op: FeatureOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let units = match op {
            FeatureOp::Check { .. } => unreachable!("a check is no write"),
            FeatureOp::Record { units } => return self.record(id, account, feature, units, now),
            FeatureOp::Consume { units } | FeatureOp::Reserve { units, .. } => units,
        };
        let (limits, origin) = match self.gate(account, feature, now) {
            Err((denial, origin)) => return Ok(self.refused(denial, origin, feature)),
            Ok((Entitled::Limits(limits), origin)) => (limits, origin),
            Ok((Entitled::Rate(rate), origin)) => {
                if !matches!(op, FeatureOp::Consume { .. }) {
                    return Err(OpError::RateIsConsumed);
                }
                return Ok(self.use_rate(account, (id, feature, rate, origin), units, now));
            }
            Ok(_) => return Err(OpError::WrongFeatureKind),
        };
        let at_once = matches!(op, FeatureOp::Consume { .. });
        if at_once && limits[0].slots {
            return Err(OpError::SlotsAreHeld);
        }
        let mut pages = self.pages(account, feature, &limits, now);
        for page in &mut pages {
            page.verdict = page.admits(units, at_once);
        }
        if refuses(&pages) {
            self.announce_refusal(id, account, &pages, units, now);
            let done = self.done(account, feature, origin, &pages, now);
            return Ok(Model::with_retry(account, units, done, now));
        }
        if !pages.iter().all(|page| page.fits_counter(units)) {
            return Err(OpError::CounterFull);
        }
        if let FeatureOp::Reserve { hold_ms, .. } = op {
            return Ok(self.reserve(account, (id, units, hold_ms), origin, pages, now));
        }
        for page in &mut pages {
            let previous = page.used();
            page.book.uses.push((units, 0));
            self.announce(id, page, previous, 0, now);
            Model::keep(account, page);
        }
        let amounts = Amounts { units, ..Amounts::default() };
        Ok(Done { amounts, ..self.done(account, feature, origin, &pages, now) })
    }

    /// What happened is counted, whatever stands against it.
    fn record(
        &mut self,
        id: &str,
        account: &mut Account,
        feature: &str,
        units: u64,
        now: i64,
    ) -> Result<Done, OpError> {
        if self.feature(feature).is_none() {
            return Ok(Done::refused(Verdict::Denied(Denial::UnknownFeature), None));
        }
        match self.feature(feature).map(|known| &known.kind) {
            Some(FeatureKindSpec::Concurrency) => return Err(OpError::SlotsAreHeld),
            Some(FeatureKindSpec::Rate) => return Err(OpError::RateIsConsumed),
            _ => {}
        }
        let (limits, origin) = match self.entitled(account, feature, now) {
            (Entitled::Limits(limits), origin) => (limits, origin),
            _ => (self.bare(feature), Origin::None),
        };
        if limits.is_empty() {
            return Err(OpError::WrongFeatureKind);
        }
        let mut pages = self.pages(account, feature, &limits, now);
        if !pages.iter().all(|page| page.fits_counter(units)) {
            return Err(OpError::CounterFull);
        }
        let mut debt = 0;
        for page in &mut pages {
            let previous = page.used();
            debt = page.book_units(units, units).max(debt);
            self.announce(id, page, previous, 0, now);
            page.verdict = page.stands();
            Model::keep(account, page);
        }
        let debt_units = u64::try_from(debt).expect("a part of the units");
        let amounts = Amounts { units, debt_units, ..Amounts::default() };
        Ok(Done { amounts, ..self.done(account, feature, origin, &pages, now) })
    }

    /// The feature's own limits with nothing included.
    fn bare(&self, feature: &str) -> Vec<Limit> {
        let bare = |shape: &headroom_core::catalog::LimitSpec| Limit {
            limit: shape.limit.clone(),
            window: shape.window,
            terms: Terms { included: Some(0), policy: Policy::Block, soft_bp: vec![] },
            gone: false,
            slots: false,
        };
        self.shapes(feature).iter().map(bare).collect()
    }
}
