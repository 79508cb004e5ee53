//! Opening balances in the model: a use that nobody is told of, on one limit.

use headroom_core::account::Zone;
use headroom_core::catalog::{Aggregation, FeatureKindSpec};
use headroom_core::decision::{Amounts, OpError, Verdict};
use headroom_core::window::WindowRule;
use headroom_engine::engine::{EngineError, Wants};

use super::plan::Entitled;
use super::{
    Account, Answer, Asked, Book, Done, KEY_HORIZON_MS, KEY_STEP_MS, Model, Refused, Remembered,
};
use crate::civil;

/// What was used elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpeningAsk {
    /// The account.
    pub account: String,
    /// The feature.
    pub feature: String,
    /// The limit.
    pub limit: String,
    /// How many units.
    pub units: u64,
    /// When the window began, if first use began it.
    pub began_at: Option<i64>,
    /// Whether it comes on top.
    pub adds: bool,
    /// The key.
    pub key: String,
    /// Whether it is only asked what would become of it.
    pub dry_run: bool,
}

/// Why it was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpeningRefused {
    /// What it names is not there.
    Admin(Refused),
    /// It cannot be counted.
    Engine(EngineError),
}

impl From<OpError> for OpeningRefused {
    fn from(error: OpError) -> OpeningRefused {
        OpeningRefused::Engine(error.into())
    }
}

impl Model {
    /// Counts what was used elsewhere.
    pub fn open(&mut self, ask: &OpeningAsk, now: i64) -> Result<Answer, OpeningRefused> {
        self.told.clear();
        self.met.clear();
        let name = |what, name: &str| OpeningRefused::Admin(Refused::Name(what, name.to_owned()));
        let kind = match self.feature(&ask.feature).map(|known| &known.kind) {
            None => return Err(name("feature", &ask.feature)),
            Some(FeatureKindSpec::Quota { limits }) => {
                // Those of subjects have none.
                let mut limits = limits.iter().filter(|known| known.per.is_none());
                if !limits.any(|known| known.limit == ask.limit) {
                    return Err(name("limit", &ask.limit));
                }
                "quota"
            }
            Some(FeatureKindSpec::Switch) => "switch",
            Some(FeatureKindSpec::Config) => "config",
            Some(FeatureKindSpec::Credits { .. }) => "credits",
            Some(FeatureKindSpec::Concurrency { .. }) => "concurrency",
            Some(FeatureKindSpec::Rate { .. }) => "rate",
            Some(FeatureKindSpec::Allocation { .. }) => "allocation",
            Some(FeatureKindSpec::Seats { .. }) => "seats",
        };
        if kind != "quota" {
            return Err(OpError::NoOpening { kind }.into());
        }
        let Some(account) = self.accounts.get(&ask.account).cloned() else {
            return Err(OpeningRefused::Admin(Refused::Account));
        };
        let asked = Asked::Opening(
            ask.feature.clone(),
            ask.limit.clone(),
            (ask.units, ask.began_at, ask.adds),
        );
        if let Some(known) = account.keys.get(&ask.key)
            && now / KEY_STEP_MS <= (known.at + KEY_HORIZON_MS) / KEY_STEP_MS
        {
            if known.asked != asked {
                return Err(OpeningRefused::Engine(EngineError::KeyReused));
            }
            self.met.insert("an opening balance replayed");
            let account = self.with_charges(&account, now);
            let done = self.again(&account, known, now);
            return Ok(self.dress(&account, done, Wants::default(), true, now));
        }
        if Model::is_of_event(&account, &ask.key, now) {
            return Err(OpeningRefused::Engine(EngineError::KeyOfEvent));
        }
        if ask.dry_run {
            let mut account = self.with_charges(&account, now);
            let mut then = self.clone();
            let done = then.open_on(ask, &mut account, now);
            self.met.extend(then.met);
            return Ok(self.dress(&account, done?, Wants::default(), false, now));
        }
        if let Some(refusal) = &self.refusal {
            return Err(OpeningRefused::Engine(refusal.clone().into()));
        }
        self.know_settled(&ask.account, now);
        self.say_endings(&ask.account, now);
        let mut account = self.accounts[&ask.account].clone();
        let done = self.open_on(ask, &mut account, now)?;
        let remembered = Remembered {
            asked,
            synthetic: false,
            at: now,
            seq: None,
            verdict: done.verdict,
            feature: done.feature.clone(),
            limit: Some(ask.limit.clone()),
            amounts: done.amounts,
            charge: None,
            parts: Vec::new(),
            subject: None,
            subjects: Default::default(),
        };
        account.keys.insert(ask.key.clone(), remembered);
        // What was used elsewhere is in its window and in no bucket.
        self.uncut.insert(ask.feature.clone());
        let answer = self.dress(&account, done, Wants::default(), false, now);
        self.accounts.insert(ask.account.clone(), account);
        Ok(answer)
    }

    fn open_on(
        &mut self,
        ask: &OpeningAsk,
        account: &mut Account,
        now: i64,
    ) -> Result<Done, OpError> {
        if let aggregation @ (Aggregation::Latest | Aggregation::Unique) =
            self.aggregation(&ask.feature)
        {
            return Err(OpError::NothingToOpen { aggregation: aggregation.as_str() });
        }
        let (Entitled::Limits(limits), origin) = self.entitled(account, &ask.feature, now) else {
            return Err(OpError::LimitNotGiven);
        };
        let Some(limit) = limits.iter().find(|known| known.limit == ask.limit) else {
            return Err(OpError::LimitNotGiven);
        };
        if matches!(limit.window, WindowRule::Sliding(_)) {
            return Err(OpError::WindowSlides);
        }
        let mut page = self.page(account, &ask.feature, limit, now);
        if let Some(began_at) = ask.began_at {
            let zone = Zone::named(&account.zone).expect("a zone that was accepted");
            let (start, end) = civil::window(limit.window, account.anchor, zone.rules(), began_at);
            let by_use = matches!(limit.window, WindowRule::FirstUse(_));
            let of_limit = |b: &&Book| b.feature == ask.feature && b.limit == ask.limit;
            let last = account.books.iter().filter(of_limit).map(|b| b.end).max();
            let is_free = last.is_none_or(|last| last <= began_at);
            if !by_use || !page.fresh || now < start || end <= now || !is_free {
                return Err(OpError::WindowNotThen);
            }
            self.met.insert("a window that began elsewhere");
            let book = Book { start, end, ..page.book };
            page = self.page_of(account, book, limit, true, now);
        }
        if page.used() > 0 && !ask.adds {
            let used_units = u64::try_from(page.used()).expect("a count");
            return Err(OpError::AlreadyUsed { used_units });
        }
        let units = match self.aggregation(&ask.feature) {
            Aggregation::Max => Model::rise(&page, ask.units),
            _ => ask.units,
        };
        if !page.fits_counter(units) {
            return Err(OpError::CounterFull);
        }
        let (previous, told) = (page.used(), self.told.len());
        let debt = page.book_units(units, units);
        self.announce_use(&ask.account, account, &mut page, previous, now);
        if self.told.len() > told {
            self.met.insert("an opening balance that nobody is told of");
        }
        self.told.truncate(told);
        page.verdict = page.stands();
        self.keep(account, &mut page);
        if page.verdict == Verdict::Grace {
            self.met.insert("an opening balance in grace");
        }
        let debt_units = u64::try_from(debt).expect("a part of the units");
        let amounts = Amounts { units: ask.units, debt_units, ..Amounts::default() };
        Ok(Done { amounts, ..self.done(account, &ask.feature, origin, &[page], now) })
    }
}
