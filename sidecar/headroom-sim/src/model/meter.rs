//! Counting in the model: one page per limit, looked at, changed, and written back.

use std::collections::BTreeSet;

use headroom_core::account::Zone;
use headroom_core::catalog::{Aggregation, FeatureKindSpec, Policy};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Amounts, Denial, OpError, Verdict, WindowPhase};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};
use headroom_core::window::WindowRule;

use super::measure::Bounds;
use super::plan::{Entitled, level, seats};
use super::sliding::Slide;
use super::{Account, Book, COUNT_MAX, Done, Hold, Limit, LimitAnswer, Model, Said, Terms, Told};
use crate::civil;

/// What one limit holds at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) limit: Limit,
    pub(crate) book: Book,
    pub(crate) reserved: u128,
    /// Its grace cannot be used any more, though its units could.
    pub(crate) grace_over: bool,
    /// When the grace that has begun ends by time.
    pub(crate) grace_until: Option<i64>,
    pub(crate) verdict: Verdict,
    pub(crate) now: i64,
    /// Units last asked for.
    pub(crate) asked: u64,
    /// When there is room for what was asked for, where that was found out elsewhere.
    pub(crate) enough_at: Option<i64>,
    /// Whether the book is new.
    pub(crate) fresh: bool,
    /// The book before the limit of now was seen in it.
    pub(crate) own: Book,
    /// The other books of a sliding window.
    pub(crate) slide: Option<Slide>,
}

impl Book {
    pub(crate) fn used(&self) -> u128 {
        let all = |uses: &[(u64, u128)]| uses.iter().map(|(n, _)| u128::from(*n)).sum::<u128>();
        all(&self.uses) - all(&self.undone)
    }

    pub(crate) fn debt(&self) -> u128 {
        let all = |uses: &[(u64, u128)]| uses.iter().map(|(_, debt)| *debt).sum::<u128>();
        all(&self.uses) - all(&self.undone)
    }
}

impl Terms {
    pub(crate) fn included(&self) -> Option<u128> {
        self.included.map(u128::from)
    }

    /// The most that may be used and set aside.
    pub(crate) fn ceiling(&self) -> Option<u128> {
        let included = self.included()?;
        match self.policy {
            Policy::Block => Some(included),
            Policy::Grace { grace_bp: Policy::GRACE_BY_TIME_ALONE } | Policy::Unlimited => None,
            Policy::Grace { grace_bp } => Some(included + included * u128::from(grace_bp) / 10_000),
            Policy::Overage => Some(included + self.cap_units()?),
        }
    }

    /// The first count of used units at which a threshold counts as passed.
    fn threshold(&self, bp: u32) -> Option<u128> {
        Some((self.included()? * u128::from(bp)).div_ceil(10_000).max(1))
    }

    /// Units billed above the included ones when so many are measured.
    pub(crate) fn overage(&self, used: u128) -> u128 {
        match (self.policy, self.included()) {
            (Policy::Overage, Some(included)) if used > included => {
                self.cap_units().map_or(used - included, |cap| cap.min(used - included))
            }
            _ => 0,
        }
    }

    fn passed_bp(&self, used: u128) -> Vec<u32> {
        let passed = |bp: &&u32| self.threshold(**bp).is_some_and(|units| units <= used);
        self.soft_bp.iter().filter(passed).copied().collect()
    }

    /// How a limit stands with so many units used and held in all.
    fn verdict(&self, used: u128, held: u128) -> Verdict {
        let Some(included) = self.included() else { return Verdict::Allowed };
        if held > included {
            let is_past = self.ceiling().is_some_and(|most| held > most);
            match self.policy {
                // A grace that is over is the page's to say.
                _ if is_past => return Verdict::Unbacked,
                Policy::Grace { .. } => return Verdict::Grace,
                Policy::Overage => return Verdict::Overage,
                Policy::Block | Policy::Unlimited => {}
            }
        }
        if self.passed_bp(used).is_empty() { Verdict::Allowed } else { Verdict::SoftLimit }
    }
}

impl Page {
    /// Units used, in all books that count.
    pub(crate) fn used(&self) -> u128 {
        self.book.used() + self.slide.as_ref().map_or(0, Slide::used)
    }

    /// Debt, in all books that count.
    pub(crate) fn debt(&self) -> u128 {
        self.book.debt() + self.slide.as_ref().map_or(0, Slide::debt)
    }

    pub(crate) fn held(&self) -> u128 {
        self.used() + self.all_reserved()
    }

    fn all_reserved(&self) -> u128 {
        self.reserved + self.slide.as_ref().map_or(0, Slide::reserved)
    }

    /// Whether the first use has not come that begins the window.
    fn is_not_begun(&self) -> bool {
        self.fresh && matches!(self.limit.window, WindowRule::FirstUse(_))
    }

    /// When time alone makes room for what was asked for.
    pub(crate) fn enough_at(&self) -> i64 {
        if let Some(known) = self.enough_at {
            return known;
        }
        let units = u128::from(self.asked);
        match (&self.slide, self.limit.terms.ceiling()) {
            _ if self.is_not_begun() => civil::FOREVER,
            (Some(slide), Some(ceiling)) => slide.enough_at(self, units, ceiling),
            _ => self.book.end,
        }
    }

    /// Everything that the books have said.
    fn said(&self) -> BTreeSet<Said> {
        let mut said = self.book.said.clone();
        said.extend(self.slide.iter().flat_map(|slide| slide.said.clone()));
        said
    }

    /// A book of a sliding window goes on saying what was said and is so now.
    fn carry(&mut self) {
        if !self.slide.as_ref().is_some_and(|slide| slide.counts) {
            return;
        }
        let (terms, used) = (&self.limit.terms, self.used());
        let is_so = |said: &Said| {
            let bp = match said {
                Said::Soft(place) => terms.soft_bp[*place],
                Said::Reached => 10_000,
                Said::Hit => return terms.included().is_some_and(|included| used > included),
            };
            terms.threshold(bp).is_some_and(|units| units <= used)
        };
        let carried: Vec<Said> = self.said().into_iter().filter(is_so).collect();
        self.book.said.extend(carried);
    }

    /// The most that may be used and set aside now.
    pub(crate) fn ceiling(&self) -> Option<u128> {
        let terms = &self.limit.terms;
        if self.grace_over { terms.included() } else { terms.ceiling() }
    }

    pub(crate) fn level(&self, used: u128, held: u128) -> Verdict {
        match self.limit.terms.verdict(used, held) {
            Verdict::Grace if self.grace_over => Verdict::Unbacked,
            verdict => verdict,
        }
    }

    /// What thresholds look at.
    pub(crate) fn watched(&self) -> u128 {
        if self.limit.slots || self.limit.is_seats() { self.held() } else { self.used() }
    }

    /// What the limit says to so many more units.
    pub(crate) fn admits(&self, units: u64, at_once: bool) -> Verdict {
        let units = u128::from(units);
        match self.ceiling() {
            Some(ceiling) if self.limit.slots && self.held() + units > ceiling => {
                Verdict::Denied(Denial::ConcurrencyFull)
            }
            Some(ceiling) if self.limit.is_seats() && self.held() + units > ceiling => {
                Verdict::Denied(Denial::SeatsFull)
            }
            Some(ceiling) if self.used() + units > ceiling => self.no_room(),
            Some(ceiling) if self.held() + units > ceiling => Verdict::Denied(Denial::InFlight),
            _ => self.goes_on(units, at_once),
        }
    }

    /// What the limit says when it is used up.
    pub(crate) fn no_room(&self) -> Verdict {
        let spent = self.limit.terms.policy == Policy::Overage;
        let denial = if spent { Denial::SpendCapReached } else { Denial::QuotaExhausted };
        Verdict::Denied(denial)
    }

    /// How the limit stands with so many more units, whatever it says to them.
    pub(crate) fn goes_on(&self, units: u128, at_once: bool) -> Verdict {
        let used = if at_once { self.used() + units } else { self.used() };
        let held = self.held() + units;
        let all = self.limit.slots || self.limit.is_seats();
        self.level(if all { held } else { used }, held)
    }

    pub(crate) fn stands(&self) -> Verdict {
        self.level(self.watched(), self.held())
    }

    pub(crate) fn fits_counter(&self, units: u64) -> bool {
        self.held() + u128::from(units) <= COUNT_MAX
    }

    /// Adds units, of which so many are surplus; returns the debt among them.
    pub(crate) fn book_units(&mut self, units: u64, surplus: u64) -> u128 {
        let after = self.held() + u128::from(units);
        let above = match self.ceiling() {
            Some(ceiling) if after > ceiling => after - ceiling,
            _ => 0,
        };
        let debt = above.min(u128::from(surplus));
        self.book.uses.push((units, debt));
        debt
    }

    pub(crate) fn answer(&self) -> LimitAnswer {
        let terms = &self.limit.terms;
        let ceiling = self.ceiling();
        let included = terms.included();
        let used = self.used();
        let (start, end, phase, frees_at) = match &self.slide {
            Some(slide) if slide.counts => {
                (slide.span.0, slide.span.1, WindowPhase::Sliding, slide.frees_at(self))
            }
            _ if self.is_not_begun() => {
                (self.book.start, self.book.end, WindowPhase::NotBegun, civil::FOREVER)
            }
            _ => (self.book.start, self.book.end, WindowPhase::Open, self.book.end),
        };
        LimitAnswer {
            limit: self.book.limit.clone(),
            start,
            end,
            used,
            reserved: self.all_reserved(),
            debt: self.debt(),
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
            overage: terms.overage(used),
            billed: None,
            phase,
            frees_at,
            grace_until: self.grace_until,
            cost: terms.cost(used),
            subject: None,
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
        those.rev().max_by_key(|page| page.enough_at())
    };
    let denials = [
        Denial::ConcurrencyFull,
        Denial::SeatsFull,
        Denial::QuotaExhausted,
        Denial::SpendCapReached,
        Denial::InFlight,
    ];
    if let Some(page) = denials.into_iter().find_map(denied) {
        return page;
    }
    let gravest = pages.iter().map(|page| page.verdict).max().expect("at least one limit");
    let drawable = |page: &&Page| {
        page.ceiling().map_or(u128::MAX, |ceiling| ceiling - ceiling.min(page.held()))
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
        let (start, end, owed) = self.span_now(account, feature, limit, now);
        let same = |b: &&Book| b.feature == feature && b.limit == limit.limit && b.start == start;
        let known = account.books.iter().find(same).cloned();
        let fresh = known.is_none();
        let book = known.unwrap_or_else(|| Book {
            feature: feature.to_owned(),
            limit: limit.limit.clone(),
            start,
            end,
            owes: owed.0 > 0,
            uses: if owed.0 > 0 { vec![owed] } else { Vec::new() },
            undone: Vec::new(),
            latest: None,
            seen: BTreeSet::new(),
            terms: limit.terms.clone(),
            revision: 1,
            said: BTreeSet::new(),
            closed: false,
        });
        self.page_of(account, book, limit, fresh, now)
    }

    /// The window of a limit at an instant: the one that began, or a new one and what it takes over
    /// of debt.
    pub(crate) fn span_now(
        &self,
        account: &Account,
        feature: &str,
        limit: &Limit,
        now: i64,
    ) -> (i64, i64, (u64, u128)) {
        let books = || {
            let of_limit = |b: &&Book| b.feature == feature && b.limit == limit.limit;
            account.books.iter().filter(of_limit)
        };
        if let Some(book) = books().find(|book| book.start <= now && now < book.end) {
            return (book.start, book.end, (0, 0));
        }
        let zone = Zone::named(&account.zone).expect("a zone that was accepted");
        let (start, end) = civil::window(limit.window, account.anchor, zone.rules(), now);
        // What began before a change of the rules goes on to its end; the next tiles.
        let earlier = books().filter(|book| book.end <= now).max_by_key(|book| book.end);
        let owed = earlier.map_or((0, 0), |book| self.owed(account, limit, book, now));
        (earlier.map_or(start, |book| book.end.max(start)), end, owed)
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
            Entitled::Nothing | Entitled::On | Entitled::Value(_) => return Vec::new(),
        };
        let page = |limit| self.page(account, feature, limit, now);
        limits.iter().map(|limit| self.shown(account, &page(limit))).collect()
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
                let mut pages = self.pages(account, feature, &limits, now);
                for page in &mut pages {
                    page.verdict = page.admits(units, true);
                    page.asked = units;
                }
                let mut shadow = None;
                if self.is_watched(feature) {
                    shadow = Model::look_away(&mut pages, origin, units, true);
                }
                if attempt && refuses(&pages) {
                    self.announce_refusal(id, account, &pages, units, now);
                }
                let done = Done { shadow, ..self.done(account, feature, origin, &pages, now) };
                Model::with_retry(account, units, done, now)
            }
            Ok((Entitled::Rate(rate), origin)) => {
                let ask = (id, feature, rate, origin);
                self.check_rate(account, ask, units, attempt, now)
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
                return Ok(self.use_rate(account, (id, feature, rate, origin), units, now));
            }
            Ok(_) => return Err(OpError::WrongFeatureKind),
        };
        let at_once = matches!(op, FeatureOp::Consume { .. });
        let charging = matches!(op, FeatureOp::ReserveCharging { .. });
        if limits[0].is_seats() {
            return Err(OpError::SeatsAreTaken);
        }
        if (at_once || charging) && limits[0].slots {
            return Err(OpError::SlotsAreHeld);
        }
        let mut pages = self.pages(account, feature, &limits, now);
        for page in &mut pages {
            page.verdict = page.admits(units, at_once);
            page.asked = units;
        }
        let mut shadow = None;
        if self.is_watched(feature) {
            shadow = Model::look_away(&mut pages, origin, units, at_once);
        }
        if refuses(&pages) {
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
            _ => (self.bare(feature), Origin::None),
        };
        if limits.is_empty() {
            return Err(OpError::WrongFeatureKind);
        }
        if let Some(value) = self.value(feature, units, now) {
            let given = Bounds { limits, origin, levels: Vec::new() };
            return self.record_value((id, feature), account, &given, value, now);
        }
        let mut pages = self.pages(account, feature, &limits, now);
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
