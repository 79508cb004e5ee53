//! The naive model: what the engine should answer, written to be obviously right and never fast.
//!
//! It keeps everything that ever happened: each use is one entry of a list and is added up when asked
//! for, a reservation is open because the clock says so. Names are texts, sums are 128 bits wide, and
//! no rule of `headroom-core` is called: only its plain types (operations, verdicts, catalogs as
//! written) are shared, so that answers can be compared.

mod admin;
mod all;
mod answers;
mod change;
mod closing;
mod credits;
mod daily;
mod ending;
mod erase;
mod expiry;
mod hold;
mod late;
mod level;
mod measure;
mod meter;
pub(crate) mod migrate;
mod opening;
mod owing;
mod page;
mod paid;
mod plan;
mod policy;
mod rate;
mod seats;
mod sliding;
mod slots;
mod spread;
mod subjects;
mod terms;
mod unlock;
mod view;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headroom_core::catalog::{CatalogSpec, Policy, RateSpec};
use headroom_core::decide::{AllOp, FeatureOp, HoldOp};
use headroom_core::decision::{Amounts, Denial, Verdict};
use headroom_core::policy::LimitTerms;
use headroom_core::reservation::{ReservationId, ReservationState};
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalName;
use headroom_core::window::WindowRule;
use headroom_engine::engine::{EngineError, Wants};
use headroom_engine::ports::{Seq, StoreRefusal};

use crate::coins::{Pool, Took};

pub(crate) use closing::Then;
pub(crate) use late::{Given, Happened};
pub(crate) use rate::Tank;

pub use answers::{AboutAnswer, Answer, ChargeAnswer, LimitAnswer, Line, PoolAnswer, Told};
pub use credits::{GrantAsk, GrantRefused, PoolView};
pub use late::{Earlier, LateAsk, LateRefused, RESTATE_MS, RestatedBook};
pub use level::Bill;
pub use opening::{OpeningAsk, OpeningRefused};
pub use seats::{SeatAnswer, SeatAsked, Sitting};
pub use spread::{ByTime, dimension_name};
pub use terms::{RowTerms, TermsRow};

pub use admin::{Exception, ProfileAnswer, Refused, Subscription};

/// How long an ended reservation is remembered.
pub const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;
/// How long an idempotency key is remembered at least; it is forgotten in steps of a second.
pub const KEY_HORIZON_MS: i64 = 24 * 60 * 60 * 1000;
const KEY_STEP_MS: i64 = 1000;
/// The largest count.
pub const COUNT_MAX: u128 = (1 << 53) - 1;

/// What a limit is, so that a change is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) included: Option<u64>,
    pub(crate) policy: Policy,
    pub(crate) soft_bp: Vec<u32>,
    pub(crate) more: LimitTerms,
}

/// A limit in force for one account.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) limit: String,
    pub(crate) window: WindowRule,
    pub(crate) terms: Terms,
    /// It is not in force any more; only reservations of earlier days meet it.
    pub(crate) gone: bool,
    /// It is the one of a concurrency, where all is held and nothing is used.
    pub(crate) slots: bool,
}

/// What was announced about a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    /// The soft threshold at this place.
    Soft(usize),
    Reached,
    Hit,
}

/// The uses of one window of one limit.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) feature: String,
    pub(crate) limit: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Units and the debt among them, one entry per write.
    pub(crate) uses: Vec<(u64, u128)>,
    /// The same of what went away again: charged and found not to have been used, or removed.
    pub(crate) undone: Vec<(u64, u128)>,
    /// Of which instant the value is that counts, and which different values there were.
    pub(crate) latest: Option<i64>,
    pub(crate) seen: BTreeSet<&'static str>,
    /// Units of the window before that count here, because it owed them.
    pub(crate) carried: u128,
    /// Whether it is looked at when it ends, was looked at, and whether its debt has stayed in it.
    pub(crate) noted: bool,
    pub(crate) ended: bool,
    pub(crate) stays: bool,
    pub(crate) terms: Terms,
    pub(crate) revision: u16,
    pub(crate) said: BTreeSet<Said>,
    /// What it was measured by, where that is fixed.
    pub(crate) then: Option<Then>,
    /// Whether it has left the memory.
    pub(crate) closed: bool,
}

/// A window that went above its included units.
#[derive(Debug, Clone)]
pub(crate) struct Above {
    pub(crate) feature: String,
    pub(crate) limit: String,
    pub(crate) start: i64,
    pub(crate) revision: u16,
    /// When its grace ends by time, and when that is said.
    pub(crate) ends: Option<(i64, i64)>,
    pub(crate) said: bool,
}

/// A grace that began: feature, limit, window start, and when.
pub(crate) type Grace = (String, String, i64, i64);

#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) feature: String,
    pub(crate) units: u64,
    pub(crate) expires_at: i64,
    /// When it got its outcome, and which.
    pub(crate) outcome: Option<(i64, ReservationState)>,
    /// Whether its end by time is a charge, and how many units of that nobody has accounted for.
    pub(crate) charging: bool,
    pub(crate) charged: Option<u64>,
    /// Units of commits that kept it open.
    pub(crate) booked: u64,
    /// Limits and window starts.
    pub(crate) books: Vec<(String, i64)>,
    /// The subjects that hold it, too.
    pub(crate) levels: Vec<String>,
    /// What it holds of a pool of credits.
    pub(crate) credits: Option<HeldCredits>,
}

/// What a reservation holds of a pool of credits.
#[derive(Debug, Clone)]
pub(crate) struct HeldCredits {
    pub(crate) pool: String,
    pub(crate) units: u64,
    /// What its end has charged and nobody has accounted for.
    pub(crate) charged: u64,
}

/// What an override says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// A switch is on or off.
    Switch(bool),
    /// A config's value.
    Config(String),
    /// The included units of a limit, or the most at a time.
    Limit(String, Option<u64>),
    /// How fast a rate is; `None`: unlimited.
    Rate(Option<RateSpec>),
    /// What the overage of a limit may cost, and in which currency; `None`: anything.
    SpendCap(String, Option<u64>, String),
    /// The included units of a limit for one subject.
    OfSubject(String, String, Option<u64>),
    /// The same, where it is more than what else is given.
    AtLeast(Box<Says>),
}

impl Says {
    /// What it says, and whether only as the least.
    pub(crate) fn plain(&self) -> (&Says, bool) {
        match self {
            Says::AtLeast(says) => (says, true),
            says => (says, false),
        }
    }
}

/// Whether so many are more than so many; `None` is unlimited.
pub(crate) fn is_more(units: Option<u64>, than: Option<u64>) -> bool {
    match (units, than) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(units), Some(than)) => units > than,
    }
}

/// A write as a client would repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// About a feature.
    Feature(String, FeatureOp),
    /// About a reservation.
    Hold(ReservationId, HoldOp),
    /// About several features: names and units.
    All(Vec<(String, u64)>, AllOp),
    /// What was used of a limit elsewhere: units, since when, and whether on top.
    Opening(String, String, (u64, Option<i64>, bool)),
}

#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) asked: Asked,
    pub(crate) subject: Option<String>,
    /// The subjects that something had been counted in by then.
    pub(crate) subjects: BTreeSet<String>,
    pub(crate) synthetic: bool,
    pub(crate) at: i64,
    /// Where the record is; the player tells, as the model has no journal.
    pub(crate) seq: Option<Seq>,
    verdict: Verdict,
    pub(crate) feature: Option<String>,
    pub(crate) limit: Option<String>,
    amounts: Amounts,
    /// What it took from a pool of credits.
    pub(crate) charge: Option<Took>,
    /// Of a write for several features, what was remembered of each.
    parts: Vec<Remembered>,
}

/// How an account stands before a write.
enum Ready {
    /// There is no such account, and no plan for strangers.
    Nobody,
    /// The key is known; with the account as it is now.
    Again(Box<Remembered>, Box<Account>),
    /// It is up to date.
    New(Box<Account>),
}

/// One account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) serial: u32,
    /// Which subject it stands for; none is the account itself.
    pub(crate) whose: Option<String>,
    pub(crate) plan: String,
    pub(crate) by_default: bool,
    pub(crate) suspended: bool,
    pub(crate) anchor: i64,
    pub(crate) ends_at: i64,
    pub(crate) created_at: i64,
    pub(crate) zone: String,
    /// What, and from when on until when.
    pub(crate) overrides: Vec<Exception>,
    pub(crate) addons: Vec<(String, u32)>,
    pub(crate) trial: Option<(String, i64)>,
    pub(crate) scheduled: Vec<(i64, String)>,
    /// Plans of before and until when each was in force.
    pub(crate) past: Vec<(i64, String)>,
    /// When changes of the plan in force were last looked for.
    pub(crate) turns_seen_at: i64,
    pub(crate) facts: BTreeMap<String, String>,
    pub(crate) cohorts: BTreeSet<String>,
    pub(crate) books: Vec<Book>,
    /// When time was last allowed to change something.
    pub(crate) settled_at: i64,
    /// The latest of each limit, in the order of the first ones.
    pub(crate) above: Vec<Above>,
    pub(crate) graces: Vec<Grace>,
    /// By their count, from 1.
    pub(crate) holds: BTreeMap<u32, Hold>,
    pub(crate) keys: BTreeMap<String, Remembered>,
    /// By feature.
    pub(crate) tanks: BTreeMap<String, Tank>,
    pub(crate) tallies: level::Tallies,
    /// What happened at a time of its own, or was corrected, by key.
    pub(crate) events: BTreeMap<String, Happened>,
    /// What was answered to that, by key.
    pub(crate) given: BTreeMap<String, Given>,
    pub(crate) sits: seats::Sits,
    /// What counts in subjects, by path: each as an account of its own.
    pub(crate) subjects: BTreeMap<String, Account>,
    /// By feature: what was used when.
    pub(crate) spread: BTreeMap<String, spread::Uses>,
    /// Instants at which a window of a feature was ended by a change of plan, and used in just before.
    pub(crate) torn: BTreeSet<(String, i64)>,
    /// Whether its time zone was changed after something was used.
    pub(crate) moved: bool,
    /// On which day something was last said of a feature, by its start.
    pub(crate) said_on: BTreeMap<(SignalName, String), i64>,
    /// Of which limits, windows and revisions it was said that the cap is near.
    pub(crate) said_cap: Vec<(String, String, i64, u16)>,
    /// By feature, when slots were last told of.
    pub(crate) said_slots: BTreeMap<String, i64>,
    /// Features that were earned by use, and when.
    pub(crate) earned: BTreeMap<String, i64>,
    /// Its pools of credits, by feature. Shared, because accounts are copied at every step.
    pub(crate) pools: BTreeMap<String, Arc<Pool>>,
    /// What may be a trial and ends, by feature; the plan's has no name.
    pub(crate) trying: Vec<(String, ending::Trying)>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub(crate) catalog: CatalogSpec,
    /// The text the catalog came from.
    pub(crate) source: String,
    /// Catalogs so far.
    pub revision: u64,
    /// Every name of every catalog so far.
    pub(crate) names: BTreeSet<String>,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) refusal: Option<StoreRefusal>,
    /// What the last step announced.
    pub(crate) told: Vec<Told>,
    /// What the last request met that its answer does not show, for the coverage.
    pub(crate) met: BTreeSet<&'static str>,
    /// The windows that the late event or correction being answered counts in.
    pub(crate) restated: Vec<RestatedBook>,
    /// Features of catalogs so far whose buckets do not follow their windows.
    pub(crate) uncut: BTreeSet<String>,
    /// The dimension of the write that is being answered.
    pub(crate) telling: Option<&'static str>,
}

/// What an operation came to, before it is dressed as an answer.
pub(crate) struct Done {
    pub(crate) verdict: Verdict,
    pub(crate) binding: Option<LimitAnswer>,
    pub(crate) origin: Origin,
    pub(crate) feature: Option<String>,
    pub(crate) value_json: Option<String>,
    pub(crate) retry_after_ms: Option<i64>,
    pub(crate) shadow: Option<Denial>,
    pub(crate) amounts: Amounts,
    /// What it took from a pool of credits.
    pub(crate) charge: Option<Took>,
}

impl Done {
    /// A refusal that has nothing to do with limits.
    pub(crate) fn refused(verdict: Verdict, feature: Option<String>) -> Done {
        Done {
            verdict,
            binding: None,
            origin: Origin::None,
            feature,
            value_json: None,
            retry_after_ms: None,
            shadow: None,
            amounts: Amounts::default(),
            charge: None,
        }
    }
}

/// A request of the histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The account's id.
    pub account: String,
    /// What is asked.
    pub asked: Asked,
    /// Whether it comes from a monitor.
    pub synthetic: bool,
    /// The idempotency key.
    pub key: String,
    /// Parts that cost something.
    pub wants: Wants,
    /// For whom inside the account.
    pub subject: Option<String>,
}

/// Members that an account has room for.
const SEATS_MAX: u128 = 10_000;

impl Model {
    /// Answers a request.
    pub fn answer(&mut self, request: &Request, now: i64) -> Result<Answer, EngineError> {
        self.told.clear();
        self.met.clear();
        match &request.asked {
            Asked::Feature(feature, FeatureOp::Check { units, attempt }) => {
                self.check(request, feature, *units, *attempt, now)
            }
            asked => self.write(request, asked, now),
        }
    }

    /// What the last request met that its answer does not show.
    pub fn met(&self) -> &BTreeSet<&'static str> {
        &self.met
    }

    /// What the last request announced.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// Tells where the record of the last remembered write is.
    pub fn note_seq(&mut self, request: &Request, seq: Seq) {
        if let Some(account) = self.accounts.get_mut(&request.account)
            && let Some(known) = account.keys.get_mut(&request.key)
        {
            known.seq = Some(seq);
        }
    }

    /// Tells where the record of a remembered key is.
    pub fn note_key(&mut self, account: &str, key: &str, seq: Seq) {
        let account = self.accounts.get_mut(account);
        if let Some(known) = account.and_then(|account| account.keys.get_mut(key)) {
            known.seq = Some(seq);
        }
    }

    /// Where the record of a remembered key is.
    pub fn key_seq(&self, account: &str, key: &str) -> Option<Seq> {
        self.accounts.get(account)?.keys.get(key)?.seq
    }

    /// Where the record of a remembered write is.
    pub fn seq(&self, request: &Request) -> Option<Seq> {
        self.accounts.get(&request.account)?.keys.get(&request.key)?.seq
    }

    /// Whether the store takes writes.
    pub fn takes(&self) -> bool {
        self.refusal.is_none()
    }

    /// Lets the store refuse writes, or take them.
    pub fn set_refusal(&mut self, refusal: Option<StoreRefusal>) {
        self.refusal = refusal;
    }

    fn check(
        &mut self,
        request: &Request,
        feature: &str,
        units: u64,
        attempt: bool,
        now: i64,
    ) -> Result<Answer, EngineError> {
        self.telling = self.dimension(&request.account, &request.asked, &request.key);
        self.check_told(Some(feature), self.telling)?;
        self.check_types(feature, request.subject.as_deref())?;
        if self.refusal.is_none() {
            self.know_settled(&request.account, now);
            self.say_endings(&request.account, now);
        }
        let uncharged = self.accounts.get(&request.account).cloned();
        let known = uncharged.as_ref().map(|known| self.with_charges(known, now));
        let Some(mut account) = known.or_else(|| self.stranger(now)) else {
            return Ok(self.nobody(now));
        };
        let is_known = self.accounts.contains_key(&request.account);
        // A store without room cannot keep that something was announced, so nothing is.
        let attempt = attempt && is_known && self.refusal.is_none();
        let before = uncharged.unwrap_or_else(|| account.clone());
        let op = FeatureOp::Check { units, attempt };
        let level = self.use_for(request, &mut account, feature, op, now);
        let done = match level {
            Some(done) => done.expect("a check is always answered"),
            None => {
                self.check_feature(&request.account, &mut account, feature, units, attempt, now)
            }
        };
        let answer = self.dress_for(request, &account, done, false, now);
        let kept = if attempt { account } else { before };
        if is_known {
            self.accounts.insert(request.account.clone(), kept);
        }
        let seats = answer.binding.as_ref().filter(|limit| limit.limit == "seats");
        let held = seats.map_or(0, |limit| limit.used + limit.reserved);
        if seats.is_some() && answer.verdict.is_allowed() && SEATS_MAX < held + u128::from(units) {
            self.met.insert("a check of more seats than fit");
            let taken = usize::try_from(held).expect("no more sit than fit");
            return Err(headroom_core::decision::OpError::TooManySeats { taken }.into());
        }
        Ok(answer)
    }

    /// Brings an account up to date, unless the key of the write is known.
    fn ready(&mut self, request: &Request, now: i64) -> Result<Ready, EngineError> {
        let asked = &request.asked;
        if !self.accounts.contains_key(&request.account) {
            if matches!(asked, Asked::Hold(..)) {
                return Err(headroom_core::decision::OpError::UnknownReservation.into());
            }
            let Some(stranger) = self.stranger(now) else { return Ok(Ready::Nobody) };
            if let Some(refusal) = &self.refusal {
                return Err(refusal.clone().into());
            }
            self.accounts.insert(request.account.clone(), stranger);
        }
        let mut account = self.accounts[&request.account].clone();
        if let Some(known) = account.keys.get(&request.key)
            && now / KEY_STEP_MS <= (known.at + KEY_HORIZON_MS) / KEY_STEP_MS
        {
            if known.asked != *asked
                || known.synthetic != request.synthetic
                || known.subject != request.subject
            {
                return Err(EngineError::KeyReused);
            }
            let charged = self.with_charges(&account, now);
            return Ok(Ready::Again(Box::new(known.clone()), Box::new(charged)));
        }
        if Model::is_of_event(&account, &request.key, now) {
            self.met.insert("the key of an event for something else");
            return Err(EngineError::KeyOfEvent);
        }
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone().into());
        }
        self.charge_ended(&request.account, &mut account, now);
        self.settle(&mut account, now);
        self.accounts.insert(request.account.clone(), account);
        self.say_endings(&request.account, now);
        Ok(Ready::New(Box::new(self.accounts[&request.account].clone())))
    }

    fn write(&mut self, request: &Request, asked: &Asked, now: i64) -> Result<Answer, EngineError> {
        if let Asked::Feature(feature, _) = asked {
            self.check_types(feature, request.subject.as_deref())?;
        }
        let mut account = match self.ready(request, now)? {
            Ready::Nobody => return Ok(self.nobody(now)),
            Ready::Again(known, account) => {
                let done = self.again_for(request, &account, &known, now);
                return Ok(self.dress_for(request, &account, done, true, now));
            }
            Ready::New(account) => *account,
        };
        let id = &request.account;
        let (uncounted, told) = (account.clone(), self.told.len());
        self.telling = self.dimension(id, asked, &request.key);
        let done = match asked {
            Asked::Feature(feature, op) => {
                match self.use_for(request, &mut account, feature, *op, now) {
                    Some(done) => done?,
                    None => self.use_feature(id, &mut account, feature, *op, now)?,
                }
            }
            Asked::Hold(hold, op) => self.use_hold(id, &mut account, *hold, *op, now)?,
            Asked::Opening(..) => unreachable!("it has a way of its own"),
            Asked::All(..) => unreachable!("it has a road of its own"),
        };
        if let Err(error) = self.check_told(done.feature.as_deref(), self.telling) {
            self.told.truncate(told);
            return Err(error);
        }
        if request.synthetic {
            self.told.truncate(told);
            if done.verdict.is_allowed() {
                self.met.insert("a monitor admitted");
            }
            account = self.without_counts(&account, uncounted);
        }
        if done.verdict.is_allowed() {
            let mut remembered = remembered(request, &done, now);
            remembered.subjects = account.subjects.keys().cloned().collect();
            account.keys.insert(request.key.clone(), remembered);
        }
        let answer = self.dress_for(request, &account, done, false, now);
        self.accounts.insert(request.account.clone(), account);
        Ok(answer)
    }

    /// An account after something that was not to be counted: nothing happened, but that holds have
    /// numbers.
    fn without_counts(&mut self, after: &Account, before: Account) -> Account {
        let mut account = before;
        for (count, hold) in &after.holds {
            if !account.holds.contains_key(count) {
                self.met.insert("a hold of a monitor");
                let unlisted =
                    Hold { books: vec![], levels: vec![], credits: None, ..hold.clone() };
                account.holds.insert(*count, unlisted);
            }
        }
        account
    }

    /// An account that nobody told us about, on the default plan.
    pub(crate) fn stranger(&self, now: i64) -> Option<Account> {
        let plan = self.bought(self.catalog.default_plan.as_ref()?, None)?;
        Some(self.newcomer(&plan, true, now))
    }

    pub(crate) fn newcomer(&self, plan: &str, by_default: bool, now: i64) -> Account {
        Account {
            serial: u32::try_from(self.accounts.len()).expect("few accounts"),
            whose: None,
            plan: plan.to_owned(),
            by_default,
            suspended: false,
            anchor: now,
            ends_at: i64::MAX,
            created_at: now,
            zone: "UTC".to_owned(),
            overrides: Vec::new(),
            addons: Vec::new(),
            trial: None,
            scheduled: Vec::new(),
            past: Vec::new(),
            turns_seen_at: 0,
            facts: BTreeMap::new(),
            cohorts: BTreeSet::new(),
            books: Vec::new(),
            settled_at: now,
            above: Vec::new(),
            said_on: BTreeMap::new(),
            said_cap: Vec::new(),
            said_slots: BTreeMap::new(),
            earned: BTreeMap::new(),
            trying: Vec::new(),
            graces: Vec::new(),
            holds: BTreeMap::new(),
            keys: BTreeMap::new(),
            tanks: BTreeMap::new(),
            tallies: BTreeMap::new(),
            events: BTreeMap::new(),
            given: BTreeMap::new(),
            sits: Vec::new(),
            subjects: BTreeMap::new(),
            spread: BTreeMap::new(),
            torn: BTreeSet::new(),
            moved: false,
            pools: BTreeMap::new(),
        }
    }
}

/// What is remembered of a write.
fn remembered(request: &Request, done: &Done, now: i64) -> Remembered {
    Remembered {
        asked: request.asked.clone(),
        synthetic: request.synthetic,
        subject: request.subject.clone(),
        subjects: BTreeSet::new(),
        at: now,
        seq: None,
        verdict: done.verdict,
        feature: done.feature.clone(),
        limit: done.binding.as_ref().map(|binding| binding.limit.clone()),
        amounts: done.amounts,
        // What is charged hangs on the limit that binds.
        charge: done.charge.clone().filter(|_| done.binding.is_some()),
        parts: Vec::new(),
    }
}
