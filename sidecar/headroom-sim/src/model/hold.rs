//! Reservations in the model: open, ended and forgotten by the clock alone.

use headroom_core::catalog::Policy;
use headroom_core::decide::HoldOp;
use headroom_core::decision::{Amounts, OpError, Verdict};
use headroom_core::reservation::{ReservationId, ReservationState};
use headroom_core::resolve::Origin;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;

use super::page::{Page, refuses};
use super::plan::{EACH_SLOTS, Entitled};
use super::sliding::rename;
use super::spread::within;
use super::{Account, Book, Done, Hold, Limit, Model, REMEMBERED_MS, Terms};
use crate::civil;

impl Hold {
    pub(crate) fn is_open(&self, now: i64) -> bool {
        self.outcome.is_none() && now < self.expires_at
    }

    pub(crate) fn is_forgotten(&self, now: i64) -> bool {
        let ended_at = self.outcome.map_or(self.expires_at, |(at, _)| at);
        ended_at.saturating_add(REMEMBERED_MS) <= now
    }

    /// Whether it may still be booked: open, or ended by time and not forgotten.
    pub(crate) fn may_book(&self, now: i64) -> bool {
        self.outcome.is_none() && !self.is_forgotten(now)
    }

    pub(crate) fn lists(&self, book: &Book) -> bool {
        self.books.iter().any(|(limit, start)| *limit == book.limit && *start == book.start)
    }

    /// When time will next change it.
    pub(crate) fn next_change(&self, now: i64) -> Option<i64> {
        if self.is_forgotten(now) {
            return None;
        }
        Some(match self.outcome {
            Some((at, _)) => at + REMEMBERED_MS,
            None if now < self.expires_at => self.expires_at,
            None => self.expires_at + REMEMBERED_MS,
        })
    }

    fn state(&self, now: i64) -> ReservationState {
        match self.outcome {
            Some((_, state)) => state,
            None if now < self.expires_at => ReservationState::Open,
            None => ReservationState::Expired,
        }
    }
}

/// The place of a reservation in its account.
fn count_of(hold: ReservationId) -> u32 {
    u32::try_from(hold.0 & u64::from(u32::MAX)).expect("the lower half")
}

impl Account {
    /// Notes a reservation, as the next one.
    pub(crate) fn hold(&mut self, hold: Hold) -> Amounts {
        let count = u32::try_from(self.holds.len() + 1).expect("few reservations");
        let amounts = Amounts {
            reservation: Some(ReservationId(u64::from(self.serial) << 32 | u64::from(count))),
            expires_at: Some(Millis(hold.expires_at)),
            units: hold.units,
            ..Amounts::default()
        };
        self.holds.insert(count, hold);
        amounts
    }

    /// A reservation by its id.
    fn held(&self, hold: ReservationId) -> Option<&Hold> {
        let serial = u32::try_from(hold.0 >> 32).expect("the upper half");
        self.holds.get(&count_of(hold)).filter(|_| serial == self.serial)
    }

    /// One that is known.
    pub(crate) fn held_mut(&mut self, hold: ReservationId) -> &mut Hold {
        self.holds.get_mut(&count_of(hold)).expect("a known reservation")
    }
}

/// A reservation about to change: the books it was admitted into, under the limits of now.
#[derive(Clone)]
pub(crate) struct Case<'a> {
    pub(crate) id: &'a str,
    pub(crate) count: u32,
    pub(crate) held: Hold,
    pub(crate) origin: Origin,
    pub(crate) pages: Vec<Page>,
    pub(crate) now: i64,
}

impl Model {
    /// Sets units aside on pages that have said yes.
    pub(crate) fn reserve(
        &mut self,
        account: &mut Account,
        (id, units, hold_ms, charging): (&str, u64, i64, bool),
        origin: Origin,
        mut pages: Vec<Page>,
        now: i64,
    ) -> Done {
        let expires_at = now + hold_ms;
        for page in &mut pages {
            page.reserved += u128::from(units);
            if origin != Origin::None {
                self.announce_held((id, account), page, units, now);
            }
            self.keep(account, page);
        }
        let feature = pages[0].book.feature.clone();
        let books = pages.iter().map(|page| (page.book.limit.clone(), page.book.start)).collect();
        let hold = Hold {
            feature: feature.clone(),
            units,
            expires_at,
            outcome: None,
            charging,
            charged: None,
            booked: 0,
            books,
            levels: Vec::new(),
            credits: None,
        };
        let amounts = account.hold(hold);
        Done { amounts, ..self.done(account, &feature, origin, &pages, now) }
    }

    pub(crate) fn use_hold(
        &mut self,
        id: &str,
        account: &mut Account,
        hold: ReservationId,
        op: HoldOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let known = account.held(hold).filter(|held| !held.is_forgotten(now));
        match known.and_then(|held| held.credits.clone()) {
            Some(credits) => self.use_held_credits(id, account, (hold, credits), op, now),
            None => self.use_plain_hold(id, account, hold, op, now),
        }
    }

    /// What limits have to do with a reservation.
    pub(crate) fn use_plain_hold(
        &mut self,
        id: &str,
        account: &mut Account,
        hold: ReservationId,
        op: HoldOp,
        now: i64,
    ) -> Result<Done, OpError> {
        let count = count_of(hold);
        let known = account.held(hold).filter(|held| !held.is_forgotten(now));
        let Some(held) = known.cloned() else { return Err(OpError::UnknownReservation) };
        let state = held.state(now);
        let closed = match op {
            HoldOp::Extend { .. } => state != ReservationState::Open,
            HoldOp::Commit { .. } | HoldOp::CommitPart { .. } | HoldOp::Release => {
                held.outcome.is_some()
            }
        };
        if closed {
            return Err(OpError::ReservationClosed { state });
        }
        let is_of_slots = held.books.iter().any(|(limit, _)| limit == "concurrent");
        let books = matches!(op, HoldOp::Commit { units: 1.. } | HoldOp::CommitPart { .. });
        if is_of_slots && books {
            return Err(OpError::SlotsAreHeld);
        }
        let (limits, origin) = match self.entitled(account, &held.feature, now) {
            (Entitled::Limits(limits), origin) => (limits, origin),
            _ => (Vec::new(), Origin::None),
        };
        let pages = self.held_pages(&limits, account, &held, now);
        let mut case = Case { id, count, held, origin, pages, now };
        if !case.held.levels.is_empty() {
            return self.use_levels(account, case, hold, op);
        }
        let mut done = match op {
            HoldOp::Extend { hold_ms, additional_units } => {
                self.extend(account, &mut case, hold_ms, additional_units)?
            }
            HoldOp::Commit { units } if units > 0 => {
                self.commit(account, &mut case, units, None)?
            }
            HoldOp::CommitPart { units, hold_ms } => {
                self.commit(account, &mut case, units, Some(hold_ms))?
            }
            HoldOp::Commit { .. } | HoldOp::Release => self.release(account, &mut case),
        };
        done.amounts.reservation = Some(hold);
        Ok(done)
    }

    pub(crate) fn held_pages(
        &self,
        limits: &[Limit],
        account: &Account,
        held: &Hold,
        now: i64,
    ) -> Vec<Page> {
        let mut pages = Vec::new();
        for (limit, start) in &held.books {
            let same = |book: &&Book| {
                book.feature == held.feature && book.limit == *limit && book.start == *start
            };
            let book = account.books.iter().find(same).expect("a held book stays").clone();
            // What is not in force any more gives nothing, and says nothing.
            let gone = || Limit {
                limit: limit.clone(),
                window: WindowRule::Lifetime,
                terms: Terms {
                    included: Some(0),
                    policy: Policy::Block,
                    soft_bp: vec![],
                    more: Default::default(),
                },
                gone: true,
                slots: limit == "concurrent" || limit == EACH_SLOTS,
            };
            let in_force = limits.iter().find(|known| known.limit == *limit);
            let in_force = in_force.cloned().unwrap_or_else(gone);
            pages.push(self.page_of(account, book, &in_force, false, now));
        }
        pages
    }

    pub(crate) fn held_done(&self, account: &Account, case: &Case<'_>) -> Done {
        let feature = &case.held.feature;
        if self.feature(feature).is_some() && !case.pages.is_empty() {
            return self.done(account, feature, case.origin, &case.pages, case.now);
        }
        // A monitor's hold has no page.
        let verdict = case.pages.iter().map(|page| page.verdict).max().unwrap_or(Verdict::Allowed);
        Done::refused(verdict, Some(feature.clone()))
    }

    /// Asks the pages of a reservation for more units, each in the book that would hold them: that of now,
    /// if the one that the reservation is in is over. Returns what they show if the reservation stays.
    pub(crate) fn weigh_more(
        &self,
        account: &Account,
        case: &mut Case<'_>,
        additional: u64,
    ) -> Vec<Page> {
        let mut shown = Vec::new();
        for page in &mut case.pages {
            let moved = self.moved_page(account, case.count, page, case.now);
            let slides = page.slide.is_some();
            let mut stays = page.clone();
            let mut moves = false;
            if let Some(moved) = moved {
                (*page, moves) = (moved, true);
                stays = self.page(account, &case.held.feature, &page.limit, case.now);
            }
            page.asked = additional;
            page.verdict = if moves && !slides {
                // The book of now knows nothing of the reservation: it is asked for all of it.
                stays.admits(case.held.units + additional, false)
            } else {
                page.admits(additional, false)
            };
            page.enough_at = Some(if slides { page.enough_at() } else { civil::FOREVER });
            shown.push(Page { asked: additional, enough_at: page.enough_at, ..stays });
        }
        shown
    }

    /// What an extension that was refused has left as it was.
    pub(crate) fn stays(held: &Hold) -> Amounts {
        Amounts {
            units: held.units,
            expires_at: Some(Millis(held.expires_at)),
            ..Amounts::default()
        }
    }

    pub(crate) fn extend(
        &mut self,
        account: &mut Account,
        case: &mut Case<'_>,
        hold_ms: Option<i64>,
        additional: u64,
    ) -> Result<Done, OpError> {
        let mut held = case.held.clone();
        let mut shadow = None;
        if additional > 0 {
            let stays = Model::stays(&held);
            if let Some(denial) = account.barred(case.now) {
                let refused = Verdict::Denied(denial);
                let done = Done::refused(refused, Some(case.held.feature.clone()));
                return Ok(Done { amounts: stays, ..done });
            }
            let from: Vec<i64> = case.pages.iter().map(|page| page.book.start).collect();
            let shown = self.weigh_more(account, case, additional);
            let mut moves = false;
            for (page, from) in case.pages.iter().zip(from) {
                rename(&mut held.books, &page.limit, from, page.book.start);
                moves |= from != page.book.start && page.slide.is_none();
            }
            if self.is_watched(&case.held.feature) && !case.pages.is_empty() {
                shadow = Model::look_away(&mut case.pages, case.origin, additional, false);
            }
            if refuses(&case.pages) {
                let verdicts: Vec<Verdict> = case.pages.iter().map(|page| page.verdict).collect();
                case.pages = shown;
                for (page, verdict) in case.pages.iter_mut().zip(verdicts) {
                    page.verdict = verdict;
                }
                if moves {
                    self.met.insert("a hold refused by the window of now");
                }
                self.announce_refusal(case.id, account, &case.pages, additional, case.now);
                let done = Done { amounts: stays, ..self.held_done(account, case) };
                return Ok(Model::with_retry(account, additional, done, case.now));
            }
            if !case.pages.iter().all(|page| page.fits_counter(additional)) {
                return Err(OpError::CounterFull);
            }
            if moves {
                self.met.insert("a hold that came to the window of now");
            }
        }
        for page in &mut case.pages {
            page.reserved += u128::from(additional);
            if additional > 0 && case.origin != Origin::None {
                self.announce_held((case.id, account), page, additional, case.now);
            }
            self.keep(account, page);
        }
        let expires_at = match hold_ms {
            Some(ms) if case.now + ms > held.expires_at => case.now + ms,
            _ => held.expires_at,
        };
        let units = held.units + additional;
        account.holds.insert(case.count, Hold { units, expires_at, ..held });
        self.close(account, case.now, |book| {
            case.held.feature == book.feature && case.held.lists(book)
        });
        let expires_at = Some(Millis(expires_at));
        let amounts = Amounts { expires_at, units, ..Amounts::default() };
        Ok(Done { amounts, shadow, ..self.held_done(account, case) })
    }

    /// Books what was used; with `goes_on` only a part, and the rest is held on, perhaps for longer.
    pub(crate) fn commit(
        &mut self,
        account: &mut Account,
        case: &mut Case<'_>,
        units: u64,
        goes_on: Option<Option<i64>>,
    ) -> Result<Done, OpError> {
        let mut held = case.held.clone();
        let late = !held.is_open(case.now);
        // What the end has charged is in the books already.
        let charged = held.charged.unwrap_or(0);
        let more = if units > charged { units - charged } else { 0 };
        let less = if units < charged { charged - units } else { 0 };
        let covered = if late { 0 } else { held.units };
        let surplus = if more > covered { more - covered } else { 0 };
        let let_go = match goes_on {
            _ if late => 0,
            None => held.units,
            Some(_) => {
                if units < held.units {
                    units
                } else {
                    held.units
                }
            }
        };
        for page in &mut case.pages {
            page.reserved -= u128::from(let_go);
        }
        if !case.pages.iter().all(|page| page.fits_counter(more)) {
            return Err(OpError::CounterFull);
        }
        let owed = |page: &Page| self.owed_now(account, page, case.now);
        if case.pages.iter().filter_map(owed).any(|page| !page.fits_counter(more)) {
            return Err(OpError::CounterFull);
        }
        let mut debt = 0;
        for page in &mut case.pages {
            let previous = page.used();
            let mut owed = 0;
            self.allow_then(account, page);
            if more > 0 {
                owed = page.book_units(more, surplus);
                debt = owed.max(debt);
                self.announce_use(case.id, account, page, previous, case.now);
            }
            if goes_on.is_none() {
                self.undo(page, less);
            }
            page.allowed = None;
            page.verdict = page.stands();
            self.keep(account, page);
            if let Some(mut later) = self.owed_now(account, page, case.now).filter(|_| owed > 0) {
                self.carry(case.id, account, &mut later, owed, case.now);
            }
        }
        let mut amounts = Amounts {
            units,
            surplus_units: surplus,
            debt_units: u64::try_from(debt).expect("a part of the units"),
            late,
            ..Amounts::default()
        };
        self.note_gone(&case.pages);
        if !case.pages.is_empty() {
            let settled = if goes_on.is_none() { charged } else { charged - less };
            if case.pages.iter().any(|page| page.limit.gone) {
                // It may come back, and what was used meanwhile is in buckets that it did not cut.
                self.uncut.insert(held.feature.clone());
            }
            let (then, here) = (held.expires_at, within(&case.pages, case.now));
            let then = within(&case.pages, then);
            self.spread(account, (&held.feature, None), then, -i128::from(settled));
            self.spread(
                account,
                (&held.feature, self.telling),
                here,
                i128::from(more + settled - if goes_on.is_none() { less } else { 0 }),
            );
        }
        held.booked += units;
        match goes_on {
            None => {
                let outcome = ReservationState::Committed { units: held.booked };
                held.outcome = Some((case.now, outcome));
            }
            Some(hold_ms) => {
                self.met.insert("a part of a reservation");
                held.units -= let_go;
                held.charged = held.charged.map(|_| less);
                if !late {
                    let until = hold_ms.map_or(held.expires_at, |ms| case.now + ms);
                    held.expires_at = held.expires_at.max(until);
                    amounts.expires_at = Some(Millis(held.expires_at));
                }
            }
        }
        account.holds.insert(case.count, held);
        self.close(account, case.now, |book| {
            case.held.feature == book.feature && case.held.lists(book)
        });
        Ok(Done { amounts, ..self.held_done(account, case) })
    }

    pub(crate) fn release(&mut self, account: &mut Account, case: &mut Case<'_>) -> Done {
        let late = !case.held.is_open(case.now);
        let let_go = if late { 0 } else { case.held.units };
        let charged = case.held.charged.unwrap_or(0);
        for page in &mut case.pages {
            page.reserved -= u128::from(let_go);
            self.allow_then(account, page);
            self.undo(page, charged);
            page.allowed = None;
            page.verdict = page.stands();
            self.keep(account, page);
        }
        self.note_gone(&case.pages);
        if !case.pages.is_empty() {
            let then = within(&case.pages, case.held.expires_at);
            self.spread(account, (&case.held.feature, None), then, -i128::from(charged));
        }
        let outcome = Some((case.now, ReservationState::Released));
        account.holds.insert(case.count, Hold { outcome, ..case.held.clone() });
        self.close(account, case.now, |book| {
            case.held.feature == book.feature && case.held.lists(book)
        });
        let amounts = Amounts { units: let_go + charged, late, ..Amounts::default() };
        Done { amounts, ..self.held_done(account, case) }
    }
}

// The model never refuses for the bound on open reservations: histories are too short for it.
const _: () = assert!(headroom_core::limits::OPEN_RESERVATIONS_MAX > 1_000);
