//! Aggregations in the model: uses that count one, values of which the largest or the latest counts, and
//! values that count once each.

use headroom_core::catalog::Aggregation;
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Amounts, Denial, OpError, Verdict};
use headroom_core::resolve::Origin;

use super::page::{Page, refuses};
use super::plan::Entitled;
use super::{Account, Book, COUNT_MAX, Done, Limit, Model};

/// A value that is told, and when it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    aggregation: Aggregation,
    pub(crate) number: u64,
    text: Option<&'static str>,
    at: i64,
}

/// The limits that a value is asked of: the account's, and those of its subjects by path.
pub(crate) struct Bounds {
    pub(crate) limits: Vec<Limit>,
    pub(crate) origin: Origin,
    pub(crate) levels: Vec<(String, Vec<Limit>)>,
}

impl Value {
    /// What a page holds when the value counts, too. `None`: what it holds now.
    pub(crate) fn after(&self, page: &Page) -> Option<u128> {
        let (number, used) = (u128::from(self.number), page.book.used());
        match self.aggregation {
            Aggregation::Max => (number > used).then_some(number),
            Aggregation::Latest => {
                let is_old = page.book.latest.is_some_and(|latest| self.at < latest);
                (!is_old).then_some(number)
            }
            Aggregation::Unique => {
                let is_known = self.text.is_some_and(|text| page.book.seen.contains(text));
                (!is_known).then_some(used + 1)
            }
            Aggregation::Sum | Aggregation::Count => unreachable!("it adds up"),
        }
    }

    /// Whether counters have room for it.
    pub(crate) fn fits(&self) -> Result<(), OpError> {
        let is_unique = self.aggregation == Aggregation::Unique;
        if !is_unique && u128::from(self.number) > COUNT_MAX {
            return Err(OpError::CounterFull);
        }
        Ok(())
    }

    /// Whether a window that is over knows enough to count it: what was counted there while the feature had another
    /// aggregation left nothing but a number.
    pub(crate) fn fits_past(&self, book: &Book) -> Result<(), OpError> {
        let knows = match self.aggregation {
            Aggregation::Latest => book.latest.is_some(),
            Aggregation::Unique => !book.seen.is_empty(),
            _ => true,
        };
        if knows || book.used() == 0 {
            return Ok(());
        }
        Err(OpError::WindowIsOver { aggregation: self.aggregation.as_str() })
    }

    /// Counts in a window that is over, which holds so much then; returns what of it is debt.
    pub(crate) fn enter_closed(&self, book: &mut Book, after: u128, ceiling: Option<u128>) -> u128 {
        let above = ceiling.map_or(0, |ceiling| after - after.min(ceiling));
        if self.aggregation == Aggregation::Latest {
            book.uses = vec![(self.number, above)];
            book.undone.clear();
            book.latest = Some(self.at);
            return above;
        }
        let rises = after - book.used();
        let owed = above.min(rises);
        book.uses.push((u64::try_from(rises).expect("a part of it"), owed));
        book.seen.extend(self.text);
        owed
    }

    /// What it does to a window that is over.
    pub(crate) fn restates(&self, of_subject: bool, fresh: bool) -> &'static str {
        match (self.aggregation, of_subject, fresh) {
            (_, true, false) => "a value in a window of a subject that is over",
            (_, true, true) => "a value in a window of a subject that there was not",
            (Aggregation::Latest, false, false) => "a latest value in a window that is over",
            (Aggregation::Latest, false, true) => "a latest value in a window that there was not",
            (Aggregation::Unique, false, false) => "a new value in a window that is over",
            (Aggregation::Unique, false, true) => "a new value in a window that there was not",
            (_, false, _) => "a largest value in a window that is over",
        }
    }

    fn verdict(&self, page: &Page) -> Verdict {
        if self.aggregation == Aggregation::Unique {
            return match self.after(page) {
                Some(_) => page.admits(1, true),
                None => page.stands(),
            };
        }
        let (value, reserved) = (u128::from(self.number), page.held() - page.used());
        match page.ceiling() {
            Some(ceiling) if value > ceiling => page.no_room(),
            Some(ceiling) if value + reserved > ceiling => Verdict::Denied(Denial::InFlight),
            _ => {
                let used = self.after(page).unwrap_or(page.used());
                // An older value than the one that counts is asked about for itself.
                let used = if self.aggregation == Aggregation::Latest { value } else { used };
                page.level(used, used + reserved)
            }
        }
    }

    fn asked(&self) -> u64 {
        if self.aggregation == Aggregation::Unique { 1 } else { self.number }
    }
}

impl Model {
    /// What a feature makes of units.
    pub(crate) fn aggregation(&self, feature: &str) -> Aggregation {
        self.feature(feature).map_or(Aggregation::Sum, |known| known.counting.aggregation)
    }

    /// A value of a feature that does not add up.
    pub(crate) fn value(&self, feature: &str, number: u64, at: i64) -> Option<Value> {
        let aggregation = self.aggregation(feature);
        let value = Value { aggregation, number, text: self.telling, at };
        (!matches!(aggregation, Aggregation::Sum | Aggregation::Count)).then_some(value)
    }

    /// A request as a feature takes it that does not simply add up.
    pub(crate) fn as_taken(&self, feature: &str, op: FeatureOp) -> Result<FeatureOp, OpError> {
        let aggregation = self.aggregation(feature);
        let counts = aggregation == Aggregation::Count;
        Ok(match op {
            _ if aggregation == Aggregation::Sum => op,
            FeatureOp::Reserve { .. } | FeatureOp::ReserveCharging { .. } => {
                return Err(OpError::NothingToHold { aggregation: aggregation.as_str() });
            }
            FeatureOp::Consume { .. } | FeatureOp::Record { .. }
                if aggregation == Aggregation::Unique && self.telling.is_none() =>
            {
                return Err(OpError::NoValue);
            }
            FeatureOp::Consume { .. } if counts => FeatureOp::Consume { units: 1 },
            FeatureOp::Record { .. } if counts => FeatureOp::Record { units: 1 },
            op => op,
        })
    }

    /// By how much the largest value of a window rises with another.
    pub(crate) fn rise(page: &Page, value: u64) -> u64 {
        let largest = page.used();
        let value = u128::from(value);
        if value > largest { u64::try_from(value - largest).expect("a part of it") } else { 0 }
    }

    /// Asks for a value, and keeps it if it may and is to be.
    pub(crate) fn use_value(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        value: Value,
        (attempt, keeps): (bool, bool),
        now: i64,
    ) -> Result<Done, OpError> {
        let given = match self.gate(account, feature, now) {
            Err(closed) => {
                if attempt {
                    let units = value.asked();
                    self.tried_premium((id, feature), account, closed, units, now);
                }
                return Ok(self.closed_by(account, feature, closed, now));
            }
            Ok((Entitled::Limits(limits), origin)) => (limits, origin),
            Ok(_) => unreachable!("such a feature has limits"),
        };
        let (limits, origin) = given;
        let given = Bounds { limits, origin, levels: Vec::new() };
        self.ask_value((id, feature), account, &given, value, (attempt, keeps), now)
    }

    /// Asks some limits for a value, and keeps it in all of them if it may and is to be.
    pub(crate) fn ask_value(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        given: &Bounds,
        value: Value,
        (attempt, keeps): (bool, bool),
        now: i64,
    ) -> Result<Done, OpError> {
        let (mut pages, whose) = self.pages_of(account, feature, given, now);
        for page in &mut pages {
            page.asked = value.asked();
            page.verdict = value.verdict(page);
        }
        let origin = given.origin;
        if refuses(&pages) {
            self.find_waits_for(account, &mut pages, &whose);
            self.met.insert(match value.aggregation {
                Aggregation::Unique => "one value too many",
                Aggregation::Latest => "a latest value above the limit",
                _ => "a value above the limit",
            });
            let own = given.limits.len();
            if attempt {
                self.announce_refusal(id, account, &pages[..own], value.asked(), now);
            }
            if refuses(&pages[own..]) {
                self.met.insert(match value.aggregation {
                    Aggregation::Unique => "one value too many of a subject",
                    Aggregation::Latest => "a latest value of a subject above the limit",
                    _ => "a value of a subject above the limit",
                });
            }
            return Ok(self.done_for(account, feature, origin, (&pages, &whose), now));
        }
        if !keeps {
            return Ok(self.done_for(account, feature, origin, (&pages, &whose), now));
        }
        value.fits()?;
        let way = (false, origin != Origin::None);
        self.count_everywhere((id, account), (&mut pages, &whose), value, way, now);
        let amounts = Amounts { units: value.asked(), ..Amounts::default() };
        Ok(Done { amounts, ..self.done_for(account, feature, origin, (&pages, &whose), now) })
    }

    /// Keeps a value that there was.
    pub(crate) fn record_value(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        given: &Bounds,
        value: Value,
        now: i64,
    ) -> Result<Done, OpError> {
        value.fits()?;
        let (mut pages, whose) = self.pages_of(account, feature, given, now);
        let origin = given.origin;
        let way = (true, origin != Origin::None);
        let debt = self.count_everywhere((id, account), (&mut pages, &whose), value, way, now);
        pages.iter_mut().for_each(|page| page.verdict = page.stands());
        let debt_units = u64::try_from(debt).expect("a part of the units");
        let amounts = Amounts { units: value.asked(), debt_units, ..Amounts::default() };
        Ok(Done { amounts, ..self.done_for(account, feature, origin, (&pages, &whose), now) })
    }

    /// The pages of the account's limits, then those of its subjects, and whose each is.
    fn pages_of(
        &self,
        account: &Account,
        feature: &str,
        given: &Bounds,
        now: i64,
    ) -> (Vec<Page>, Vec<Option<String>>) {
        let mut pages = self.pages(account, feature, &given.limits, now);
        let mut whose = vec![None; pages.len()];
        for (name, limits) in &given.levels {
            let inner = Model::inner(account, name);
            pages.extend(self.pages(&inner, feature, limits, now));
            whose.resize(pages.len(), Some(name.clone()));
        }
        (pages, whose)
    }

    /// Lets a value count on the account's pages and on its subjects'; returns the most that is debt.
    fn count_everywhere(
        &mut self,
        (id, account): (&str, &mut Account),
        (pages, whose): (&mut [Page], &[Option<String>]),
        value: Value,
        way: (bool, bool),
        now: i64,
    ) -> u128 {
        let mut debt = 0;
        for (page, name) in pages.iter_mut().zip(whose) {
            let Some(name) = name else {
                debt = self.count_value((id, account), page, value, way, now).max(debt);
                continue;
            };
            if value.after(page).is_some() {
                self.met.insert(match value.aggregation {
                    Aggregation::Unique => "a new value of a subject",
                    Aggregation::Latest => "a latest value of a subject",
                    _ => "a largest value of a subject",
                });
            } else {
                self.met.insert("a value that changes nothing of a subject");
            }
            let mut inner = Model::inner(account, name);
            // Subjects are told of nothing.
            let told = self.told.clone();
            debt = self.count_value((id, &mut inner), page, value, way, now).max(debt);
            self.told = told;
            account.subjects.insert(name.clone(), inner);
        }
        debt
    }

    /// Lets a value count on a page; returns what of it is debt.
    pub(crate) fn count_value(
        &mut self,
        (id, account): (&str, &mut Account),
        page: &mut Page,
        value: Value,
        (may_owe, told): (bool, bool),
        now: i64,
    ) -> u128 {
        let Some(after) = value.after(page) else {
            self.met.insert(match value.aggregation {
                Aggregation::Unique => "a value that was there",
                Aggregation::Latest => "a value that is not the latest",
                _ => "a value that is not the largest",
            });
            return 0;
        };
        let previous = page.used();
        let mut owed = 0;
        if value.aggregation == Aggregation::Latest {
            self.met.insert(if after < previous { "a lower value" } else { "a latest value" });
            let held = after + page.held() - previous;
            if may_owe {
                let above = page.ceiling().map_or(0, |ceiling| held - held.min(ceiling));
                owed = above.min(after);
            }
            page.book.uses = vec![(value.number, owed)];
            page.book.undone.clear();
            page.book.latest = Some(value.at);
            self.fall(page, previous);
        } else {
            let rises = u64::try_from(after - previous).expect("a part of it");
            self.met.insert(match value.aggregation {
                Aggregation::Unique => "a new value",
                _ => "a largest value",
            });
            owed = page.book_units(rises, if may_owe { rises } else { 0 });
            page.book.seen.extend(value.text);
        }
        if told {
            self.announce_use(id, account, page, previous, now);
        }
        self.keep(account, page);
        owed
    }
}
