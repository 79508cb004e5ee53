//! Counting in the model: one page per limit, looked at, changed, and written back.

use std::collections::BTreeSet;

use headroom_core::account::Zone;
use headroom_core::catalog::{Aggregation, FeatureKindSpec, Policy};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalName;

use super::measure::Bounds;
use super::page::{Page, binding, refuses, state};
use super::paid::{Own, Payer};
use super::plan::{Entitled, level, seats, slots};
use super::{Account, Book, Done, Hold, Limit, LimitAnswer, Model, Said, Terms, Told};
use crate::civil;

impl Model {
    /// The page of a limit at an instant: of the window that began, or of a new one.
    pub(crate) fn page(&self, account: &Account, feature: &str, limit: &Limit, now: i64) -> Page {
        let (start, end) = self.span_now(account, feature, limit, now);
        let same = |b: &&Book| b.feature == feature && b.limit == limit.limit && b.start == start;
        let known = account.books.iter().find(same).cloned();
        let fresh = known.is_none();
        let book = known.unwrap_or_else(|| Book {
            feature: feature.to_owned(),
            limit: limit.limit.clone(),
            start,
            end,
            carried: 0,
            noted: false,
            ended: false,
            stays: false,
            uses: Vec::new(),
            undone: Vec::new(),
            latest: None,
            seen: BTreeSet::new(),
            terms: limit.terms.clone(),
            revision: 1,
            said: BTreeSet::new(),
            then: None,
            closed: false,
        });
        self.page_of(account, book, limit, fresh, now)
    }

    /// The window of a limit at an instant: the one that began, or a new one.
    pub(crate) fn span_now(
        &self,
        account: &Account,
        feature: &str,
        limit: &Limit,
        now: i64,
    ) -> (i64, i64) {
        let books = || {
            let of_limit = |b: &&Book| b.feature == feature && b.limit == limit.limit;
            account.books.iter().filter(of_limit)
        };
        if let Some(book) = books().find(|book| book.start <= now && now < book.end) {
            return (book.start, book.end);
        }
        let zone = Zone::named(&account.zone).expect("a zone that was accepted");
        let (start, end) = civil::window(limit.window, account.anchor, zone.rules(), now);
        // What began before a change of the rules goes on to its end; the next tiles.
        let earlier = books().filter(|book| book.end <= now).max_by_key(|book| book.end);
        (earlier.map_or(start, |book| book.end.max(start)), end)
    }

    /// The page of a book under a limit; `fresh` says that the book is new.
    pub(crate) fn page_of(
        &self,
        account: &Account,
        book: Book,
        limit: &Limit,
        fresh: bool,
        now: i64,
    ) -> Page {
        let own = book.clone();
        let mut book = book;
        if !limit.gone && book.terms != limit.terms {
            book.terms = limit.terms.clone();
            book.revision = book.revision.saturating_add(1);
            book.said.clear();
        }
        let lists = |hold: &&Hold| hold.feature == book.feature && hold.lists(&book);
        let open = account.holds.values().filter(lists).filter(|hold| hold.is_open(now));
        let reserved = match limit.limit.as_str() {
            "seats" => account.invited(&book.feature),
            _ => open.map(|hold| u128::from(hold.units)).sum(),
        };
        let (grace_over, grace_until) = account.grace(&book, &limit.terms, now);
        let of_values = match self.aggregation(&book.feature) {
            Aggregation::Max | Aggregation::Latest => true,
            Aggregation::Sum | Aggregation::Count | Aggregation::Unique => false,
        };
        let mut page = Page {
            limit: limit.clone(),
            book,
            reserved,
            grace_over,
            grace_until,
            verdict: Verdict::Allowed,
            now,
            asked: 0,
            enough_at: None,
            allowed: None,
            of_values,
            fresh,
            own,
            slide: None,
        };
        page.verdict = page.stands();
        self.slide(account, page)
    }

    /// Keeps what became of a page.
    pub(crate) fn keep(&self, account: &mut Account, page: &mut Page) {
        page.carry();
        page.fresh = false;
        page.book.noted |=
            page.book.debt() > 0 && self.carries(&page.book.feature, &page.book.limit);
        self.note_level(account, page);
        let same = |b: &&mut Book| {
            b.feature == page.book.feature
                && b.limit == page.book.limit
                && b.start == page.book.start
        };
        match account.books.iter_mut().find(same) {
            Some(book) => *book = page.book.clone(),
            None => {
                account.books.push(page.book.clone());
                let of_limit =
                    |b: &Book| b.feature == page.book.feature && b.limit == page.book.limit;
                self.close(account, page.now, of_limit);
            }
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
        if page.limit.gone || page.slide.as_ref().is_some_and(|slide| !slide.counts) {
            return false;
        }
        let (used, before) = (page.watched(), page.said());
        let mut crossed_bp = Vec::new();
        let places = (0..).map(Said::Soft).zip(terms.soft_bp.iter().copied());
        for (said, bp) in places.chain([(Said::Reached, 10_000)]) {
            let passed = terms.threshold(bp).is_some_and(|units| units <= used);
            if passed && !before.contains(&said) {
                page.book.said.insert(said);
                crossed_bp.push(bp);
            }
        }
        let above = used > included && terms.policy != Policy::Unlimited;
        let hit = (refused > 0 || above) && !before.contains(&Said::Hit);
        if hit {
            page.book.said.insert(Said::Hit);
        }
        let window = match &page.slide {
            Some(slide) => slide.span,
            None => (page.book.start, page.book.end),
        };
        let told = |name, crossed_bp| Told {
            account: account.to_owned(),
            name,
            feature: page.book.feature.clone(),
            limit: page.book.limit.clone(),
            window,
            revision: page.book.revision,
            crossed_bp,
            previous,
            current: used,
            included,
            refused: u128::from(refused),
            previous_state: state(&before),
            state: state(&page.said()),
            grace_until: None,
            days: None,
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
            let worth = [
                Denial::QuotaExhausted,
                Denial::SpendCapReached,
                Denial::ConcurrencyFull,
                Denial::SeatsFull,
            ];
            let is_worth = worth.iter().any(|denial| page.verdict == Verdict::Denied(*denial));
            if is_worth && !page.is_not_begun() {
                if page.limit.slots {
                    page.end_excursion(account, page.held());
                }
                let previous = page.watched();
                // Unless somebody was told, nothing is kept.
                if self.announce(id, &mut page, previous, units, now) {
                    account.note_said(&page, now);
                    self.keep(account, &mut page);
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
            Verdict::Denied(Denial::QuotaExhausted | Denial::SpendCapReached)
                if binding.enough_at() != civil::FOREVER =>
            {
                Some(binding.enough_at() - now)
            }
            Verdict::Denied(Denial::InFlight) => {
                let open = account.holds.values().filter(|hold| hold.is_open(now));
                let of_feature = open.filter(|hold| hold.feature == feature);
                let next = of_feature.map(|hold| hold.expires_at - now).min();
                Some(next.map_or(1_000, |ms| ms.clamp(1, 1_000)))
            }
            _ => None,
        };
        Done {
            verdict: binding.verdict,
            binding: Some(self.shown(account, binding)),
            origin,
            feature: Some(feature.to_owned()),
            value_json: None,
            retry_after_ms,
            shadow: None,
            amounts: Amounts::default(),
            charge: None,
        }
    }

    /// The refusals that no count can lift, in their order; otherwise what the account may do.
    pub(crate) fn gate(
        &self,
        account: &Account,
        feature: &str,
        now: i64,
    ) -> Result<(Entitled, Origin), (Denial, Origin)> {
        let barred = account.barred(now);
        if barred == Some(Denial::AccountSuspended) {
            return Err((Denial::AccountSuspended, Origin::None));
        }
        let Some(shown) = self.feature(feature) else {
            return Err((Denial::UnknownFeature, Origin::None));
        };
        if let Some(denial) = barred {
            return Err((denial, Origin::None));
        }
        let (entitled, origin) = self.entitled(account, feature, now);
        let rolled_out = shown.offering.rollout_bp > 0
            || self.is_chosen(account, feature)
            || origin == Origin::Override;
        match entitled {
            Entitled::Nothing if self.is_watched(feature) && self.is_rate(feature) => {
                Ok((Entitled::Rate(None), Origin::None))
            }
            Entitled::Nothing if self.is_watched(feature) => match self.bare(feature) {
                bare if bare.is_empty() => Ok((Entitled::Nothing, Origin::None)),
                bare => Ok((Entitled::Limits(bare), Origin::None)),
            },
            Entitled::Nothing => {
                let lock = self.lock(account, feature, now);
                Err((Denial::NotInPlan, lock.map_or(Origin::None, |(_, origin)| origin)))
            }
            _ if !rolled_out => Err((Denial::NotInPlan, origin)),
            _ if shown.offering.is_paused => Err((Denial::FeaturePaused, origin)),
            entitled => Ok((entitled, origin)),
        }
    }

    /// Whether an account is in a cohort that a feature is rolled out to.
    fn is_chosen(&self, account: &Account, feature: &str) -> bool {
        let wanted = self.feature(feature).map(|known| known.offering.cohorts.names());
        wanted.into_iter().flatten().any(|cohort| account.cohorts.contains(cohort))
    }

    pub(crate) fn refused(&self, denial: Denial, origin: Origin, feature: &str) -> Done {
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
            Entitled::Pool(_) => {
                let pool = self.pool_now(account, feature, now);
                return vec![self.pool_answer(account, (feature, &pool), now)];
            }
            Entitled::Nothing | Entitled::On | Entitled::Value(_) => return Vec::new(),
        };
        let page = |limit| self.page(account, feature, limit, now);
        let own = limits.iter().map(|limit| self.shown(account, &page(limit)));
        let payer = self.payer(account, feature, now);
        let paid = payer.map(|Payer { pool, .. }| {
            self.pool_answer(account, (&pool, &self.pool_now(account, &pool, now)), now)
        });
        own.chain(paid).collect()
    }

    pub(crate) fn pages(
        &self,
        account: &Account,
        feature: &str,
        limits: &[Limit],
        now: i64,
    ) -> Vec<Page> {
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
        if self.is_chosen(account, feature) {
            self.met.insert("rolled out to a cohort");
        }
        let units = if self.aggregation(feature) == Aggregation::Count { 1 } else { units };
        if let Some(value) = self.value(feature, units, now) {
            let looked = self.use_value((id, feature), account, value, (attempt, false), now);
            return looked.expect("looking keeps nothing");
        }
        match self.gate(account, feature, now) {
            Err(closed) => {
                if attempt {
                    self.tried_premium((id, feature), account, closed, units, now);
                }
                self.closed_by(account, feature, closed, now)
            }
            Ok((Entitled::Limits(limits), origin)) => {
                if let Some(payer) = self.payer(account, feature, now) {
                    let own = Own::of_account(feature, origin, limits);
                    let op = FeatureOp::Check { units, attempt };
                    let looked = self.use_paid(id, account, (&own, &payer), op, now);
                    return looked.expect("a check is always answered");
                }
                let of = (&limits[..], origin);
                self.check_own((id, feature), account, of, (units, attempt), now)
            }
            Ok((Entitled::Pool(_), origin)) => {
                let op = FeatureOp::Check { units, attempt };
                let looked = self.use_pool(id, account, (feature, origin), op, now);
                looked.expect("a check is always answered")
            }
            Ok((Entitled::Rate(rate), origin)) => {
                let ask = (id, feature, rate, origin);
                let done = self.check_rate(account, ask, units, attempt, now);
                self.look_away_from(feature, done, 0)
            }
            Ok((entitled, origin)) => Done {
                origin,
                shadow: matches!(entitled, Entitled::Nothing).then_some(Denial::NotInPlan),
                value_json: match entitled {
                    Entitled::Value(value) => Some(value),
                    _ => None,
                },
                ..Done::refused(Verdict::Allowed, Some(feature.to_owned()))
            },
        }
    }

    /// Looks at the limits of a feature.
    pub(crate) fn check_own(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        (limits, origin): (&[Limit], Origin),
        (units, attempt): (u64, bool),
        now: i64,
    ) -> Done {
        let mut pages = self.pages(account, feature, limits, now);
        for page in &mut pages {
            page.verdict = page.admits(units, true);
            page.asked = units;
        }
        let mut shadow = None;
        if self.is_watched(feature) {
            shadow = Model::look_away(&mut pages, origin, units, true);
        }
        if refuses(&pages) {
            self.find_waits(account, &mut pages, None);
            if attempt {
                self.announce_refusal(id, account, &pages, units, now);
            }
        }
        let done = Done { shadow, ..self.done(account, feature, origin, &pages, now) };
        Model::with_retry(account, units, done, now)
    }

    pub(crate) fn use_feature(
        &mut self,
        id: &str,
        account: &mut Account,
        feature: &str,
        op: FeatureOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let op = self.as_taken(feature, op)?;
        if let FeatureOp::Consume { units } = op
            && let Some(value) = self.value(feature, units, now)
        {
            return self.use_value((id, feature), account, value, (true, true), now);
        }
        let units = match op {
            FeatureOp::Check { .. } => unreachable!("a check is no write"),
            FeatureOp::Value { .. } => unreachable!("a client says the value in dimensions"),
            FeatureOp::Record { units } => return self.record(id, account, feature, units, now),
            FeatureOp::Allocate { change } => {
                return self.allocate(id, account, feature, change, now);
            }
            FeatureOp::Consume { units }
            | FeatureOp::Reserve { units, .. }
            | FeatureOp::ReserveCharging { units, .. } => units,
        };
        let (limits, origin) = match self.gate(account, feature, now) {
            Err(closed) => {
                self.tried_premium((id, feature), account, closed, units, now);
                return Ok(self.closed_by(account, feature, closed, now));
            }
            Ok((Entitled::Limits(limits), origin)) => (limits, origin),
            Ok((Entitled::Rate(rate), origin)) => {
                if !matches!(op, FeatureOp::Consume { .. }) {
                    return Err(OpError::RateIsConsumed);
                }
                let done = self.use_rate(account, (id, feature, rate, origin), units, now);
                return Ok(self.look_away_from(feature, done, units));
            }
            Ok((Entitled::Pool(_), origin)) => {
                return self.use_pool(id, account, (feature, origin), op, now);
            }
            Ok(_) => return Err(OpError::WrongFeatureKind),
        };
        if let Some(payer) = self.payer(account, feature, now) {
            let own = Own::of_account(feature, origin, limits);
            return self.use_paid(id, account, (&own, &payer), op, now);
        }
        self.use_own((id, feature), account, (&limits, origin), op, now)
    }

    /// Uses or holds units of the limits of a feature.
    pub(crate) fn use_own(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        (limits, origin): (&[Limit], Origin),
        op: FeatureOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let (FeatureOp::Consume { units }
        | FeatureOp::Reserve { units, .. }
        | FeatureOp::ReserveCharging { units, .. }) = op
        else {
            unreachable!("it is neither used nor held")
        };
        let at_once = matches!(op, FeatureOp::Consume { .. });
        let charging = matches!(op, FeatureOp::ReserveCharging { .. });
        if limits[0].is_seats() {
            return Err(OpError::SeatsAreTaken);
        }
        if (at_once || charging) && limits[0].slots {
            return Err(OpError::SlotsAreHeld);
        }
        let mut pages = self.pages(account, feature, limits, now);
        for page in &mut pages {
            page.verdict = page.admits(units, at_once);
            page.asked = units;
        }
        let mut shadow = None;
        if self.is_watched(feature) {
            shadow = Model::look_away(&mut pages, origin, units, at_once);
        }
        if refuses(&pages) {
            self.find_waits(account, &mut pages, None);
            self.announce_refusal(id, account, &pages, units, now);
            let done = self.done(account, feature, origin, &pages, now);
            return Ok(Model::with_retry(account, units, done, now));
        }
        if !pages.iter().all(|page| page.fits_counter(units)) {
            return Err(OpError::CounterFull);
        }
        if let FeatureOp::Reserve { hold_ms, .. } | FeatureOp::ReserveCharging { hold_ms, .. } = op
        {
            let hold = (id, units, hold_ms, charging);
            let done = self.reserve(account, hold, origin, pages, now);
            return Ok(Done { shadow, ..done });
        }
        for page in &mut pages {
            let previous = page.used();
            page.book.uses.push((units, 0));
            if origin != Origin::None {
                self.announce_use(id, account, page, previous, now);
            }
            self.keep(account, page);
        }
        self.spread(account, (feature, self.telling), now, units.into());
        let amounts = Amounts { units, ..Amounts::default() };
        Ok(Done { amounts, shadow, ..self.done(account, feature, origin, &pages, now) })
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
            Some(FeatureKindSpec::Concurrency { .. }) => return Err(OpError::SlotsAreHeld),
            Some(FeatureKindSpec::Rate { .. }) => return Err(OpError::RateIsConsumed),
            Some(FeatureKindSpec::Seats { .. }) => return Err(OpError::SeatsAreTaken),
            _ => {}
        }
        let (limits, origin) = match self.entitled(account, feature, now) {
            (Entitled::Limits(limits), origin) => (limits, origin),
            (_, origin) if self.is_pool(feature) => {
                let op = FeatureOp::Record { units };
                return self.use_pool(id, account, (feature, origin), op, now);
            }
            _ => (self.bare(feature), Origin::None),
        };
        if limits.is_empty() {
            return Err(OpError::WrongFeatureKind);
        }
        if let Some(payer) = self.payer(account, feature, now) {
            let own = Own::of_account(feature, origin, limits);
            let op = FeatureOp::Record { units };
            return self.use_paid(id, account, (&own, &payer), op, now);
        }
        self.record_own((id, feature), account, (&limits, origin), units, now)
    }

    /// Counts what happened in the limits of a feature.
    pub(crate) fn record_own(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        (limits, origin): (&[Limit], Origin),
        units: u64,
        now: i64,
    ) -> Result<Done, OpError> {
        if let Some(value) = self.value(feature, units, now) {
            let given = Bounds { limits: limits.to_vec(), origin, levels: Vec::new() };
            return self.record_value((id, feature), account, &given, value, now);
        }
        let mut pages = self.pages(account, feature, limits, now);
        if !pages.iter().all(|page| page.fits_counter(units)) {
            return Err(OpError::CounterFull);
        }
        let mut debt = 0;
        for page in &mut pages {
            let previous = page.used();
            debt = page.book_units(units, units).max(debt);
            if origin != Origin::None {
                self.announce_use(id, account, page, previous, now);
            }
            page.verdict = page.stands();
            self.keep(account, page);
        }
        self.spread(account, (feature, self.telling), now, units.into());
        let debt_units = u64::try_from(debt).expect("a part of the units");
        let amounts = Amounts { units, debt_units, ..Amounts::default() };
        Ok(Done { amounts, ..self.done(account, feature, origin, &pages, now) })
    }

    /// The feature's own limits with nothing included.
    pub(crate) fn bare(&self, feature: &str) -> Vec<Limit> {
        if let Some(FeatureKindSpec::Seats { .. }) = self.feature(feature).map(|f| &f.kind) {
            return vec![seats(Some(0), Vec::new())];
        }
        if let Some(FeatureKindSpec::Concurrency { .. }) = self.feature(feature).map(|f| &f.kind) {
            return vec![slots(Some(0), Vec::new())];
        }
        if let Some(FeatureKindSpec::Allocation { .. }) = self.feature(feature).map(|f| &f.kind) {
            return vec![level(Some(0), Vec::new(), Policy::Block, Default::default())];
        }
        let bare = |shape: &headroom_core::catalog::LimitSpec| Limit {
            limit: shape.limit.clone(),
            window: shape.window,
            terms: Terms {
                included: Some(0),
                policy: Policy::Block,
                soft_bp: vec![],
                more: Default::default(),
            },
            gone: false,
            slots: false,
        };
        self.shapes(feature).iter().filter(|shape| shape.per.is_none()).map(bare).collect()
    }
}
