//! A page of the model: what one limit holds at one moment, what it says to a request, and which of several
//! decides.

use std::collections::BTreeSet;

use headroom_core::catalog::Policy;
use headroom_core::decision::{Denial, Verdict, WindowPhase};
use headroom_core::signal::SignalState;
use headroom_core::window::WindowRule;

use super::sliding::Slide;
use super::{Book, COUNT_MAX, Limit, LimitAnswer, Said, Terms};
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
    /// The most that it holds without debt, where that is said by another limit than that of now.
    pub(crate) allowed: Option<Option<u128>>,
    /// Whether it holds a value, the largest or the latest, instead of a sum.
    pub(crate) of_values: bool,
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
    pub(crate) fn threshold(&self, bp: u32) -> Option<u128> {
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

    pub(crate) fn passed_bp(&self, used: u128) -> Vec<u32> {
        let passed = |bp: &&u32| self.threshold(**bp).is_some_and(|units| units <= used);
        self.soft_bp.iter().filter(passed).copied().collect()
    }

    /// How a limit stands with so many units used and held in all.
    pub(crate) fn verdict(&self, used: u128, held: u128, ceiling: Option<u128>) -> Verdict {
        let Some(included) = self.included() else { return Verdict::Allowed };
        if held > included {
            let is_past = ceiling.is_some_and(|most| held > most);
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

    pub(crate) fn all_reserved(&self) -> u128 {
        self.reserved + self.slide.as_ref().map_or(0, Slide::reserved)
    }

    /// Whether the first use has not come that begins the window.
    pub(crate) fn is_not_begun(&self) -> bool {
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
    pub(crate) fn said(&self) -> BTreeSet<Said> {
        let mut said = self.book.said.clone();
        said.extend(self.slide.iter().flat_map(|slide| slide.said.clone()));
        said
    }

    /// A book of a sliding window goes on saying what was said and is so now.
    pub(crate) fn carry(&mut self) {
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
        if let Some(allowed) = self.allowed {
            return allowed;
        }
        if self.grace_over { terms.included() } else { terms.ceiling() }
    }

    /// What a request could still get: of values the largest, whatever there was before.
    fn drawable(&self) -> Option<u128> {
        let taken = if self.of_values { self.all_reserved() } else { self.held() };
        self.ceiling().map(|ceiling| ceiling - ceiling.min(taken))
    }

    pub(crate) fn level(&self, used: u128, held: u128) -> Verdict {
        match self.limit.terms.verdict(used, held, self.ceiling()) {
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
            settled: match (included, self.of_values) {
                (Some(included), false) => Some(included - included.min(used)),
                (included, _) => included,
            },
            drawable: self.drawable(),
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
            pool: None,
            charge: None,
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
    let drawable = |page: &&Page| page.drawable().unwrap_or(u128::MAX);
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
