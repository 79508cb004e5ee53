//! Requests at random, with an eye on where mistakes hide: the last unit, the edge of a window, a
//! key used twice, a reservation that has just ended.

mod asked;
mod erase;
mod late_values;
mod pools;

use std::collections::VecDeque;

use headroom_core::decide::{AllOp, FeatureOp};
use headroom_core::limits::{HOLD_MS_MAX, UNITS_MAX};
use headroom_engine::engine::Wants;
use headroom_engine::ports::StoreRefusal;

use crate::catalogs;
use crate::model::{
    Asked, Earlier, GrantAsk, LateAsk, Model, OpeningAsk, RESTATE_MS, Request, Says, SeatAsked,
    Subscription,
};
use crate::rng::Rng;

/// One step of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A request, about a feature or a reservation.
    Request(Request),
    /// A request for several features.
    All(Request),
    /// Something that happened earlier, or is to be put right.
    Late(LateAsk),
    /// Time goes on.
    Advance {
        /// By so much.
        ms: i64,
    },
    /// A subscription changes.
    Subscribe {
        /// The account.
        account: String,
        /// How.
        change: Subscription,
    },
    /// An account is suspended, or goes on.
    Suspend {
        /// The account.
        account: String,
        /// Which.
        suspended: bool,
    },
    /// An override is made.
    Override {
        /// The account.
        account: String,
        /// The feature.
        feature: String,
        /// What it says.
        says: Says,
        /// From when on and until when.
        times: (Option<i64>, Option<i64>),
    },
    /// Overrides are taken back.
    DeleteOverride {
        /// The account.
        account: String,
        /// The feature.
        feature: String,
        /// Only of this limit.
        limit: Option<String>,
        /// Only for this subject.
        subject: Option<String>,
    },
    /// Facts change.
    Facts {
        /// The account.
        account: String,
        /// The new values; none removes.
        facts: Vec<(String, Option<String>)>,
    },
    /// An account comes into a cohort, or leaves it.
    Cohort {
        /// The account.
        account: String,
        /// Which.
        cohort: String,
        /// Whether it comes.
        joins: bool,
    },
    /// The catalog's file changes a little, or wholly, or badly, or not at all.
    Catalog(NewCatalog),
    /// The store refuses writes, or takes them again.
    Refuse(Option<StoreRefusal>),
    /// Accounts are moved to a version of their plan.
    MovePlan {
        /// The plan.
        plan: String,
        /// The version.
        version: u32,
        /// Only this account.
        account: Option<String>,
        /// They are only counted.
        dry_run: bool,
    },
    /// Old keys are dropped.
    Prune,
    /// What time alone has brought is done.
    Timers,
    /// What an account had used elsewhere.
    Opening(OpeningAsk),
    /// Units are given to a pool of credits.
    Grant(GrantAsk),
    /// What is left of a grant is taken back.
    Void {
        /// The account.
        account: String,
        /// The pool.
        pool: String,
        /// Which grant.
        id: u8,
    },
    /// Whoever has a name, and all below, is forgotten.
    Erase {
        /// The account.
        account: String,
        /// The path.
        subject: String,
    },
    /// All seats of a member are given back.
    EraseMember {
        /// The account.
        account: String,
        /// Who.
        member: String,
    },
    /// A request about a seat.
    Seat {
        /// The account.
        account: String,
        /// The feature.
        feature: String,
        /// What.
        asked: SeatAsked,
    },
}

/// How a catalog differs from the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewCatalog {
    /// A little.
    Changed,
    /// In everything.
    Other,
    /// It is wrong.
    Wrong,
    /// Not at all.
    Same,
}

const ACCOUNTS: [&str; 4] = ["acme", "bolt", "corp", "dune"];
const ZONES: [&str; 7] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "America/Havana",
    "Asia/Kathmandu",
];
const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Requests remembered to be repeated.
const RECENT: usize = 24;

/// A maker of steps.
#[derive(Debug)]
pub struct History {
    /// Where its choices come from.
    pub rng: Rng,
    recent: VecDeque<Request>,
    late: VecDeque<LateAsk>,
    keys: u64,
    /// The last opening balance, to be told again.
    opened: Option<OpeningAsk>,
    /// The pools of credits of the catalog in force.
    pools: Vec<&'static str>,
    /// The last grant, to be given again.
    granted: Option<GrantAsk>,
}

impl History {
    /// The history of a seed.
    pub fn new(seed: u64) -> History {
        History {
            rng: Rng::new(seed),
            recent: VecDeque::new(),
            late: VecDeque::new(),
            keys: 0,
            opened: None,
            pools: Vec::new(),
            granted: None,
        }
    }

    /// The next step.
    pub fn next(&mut self, model: &Model, now: i64) -> Step {
        let account = (*self.rng.pick(&ACCOUNTS)).to_owned();
        // Much happens before the store refuses, and little while it does.
        if model.refusal.is_some() && self.rng.percent(20) {
            return Step::Refuse(None);
        }
        if !model.accounts.contains_key(&account) && self.rng.percent(25) {
            return Step::Subscribe { account, change: self.subscription(now) };
        }
        self.pools = catalogs::POOLS.into_iter().filter(|name| model.is_pool(name)).collect();
        if !self.pools.is_empty() && self.rng.percent(7) {
            return self.grant(account, now);
        }
        match self.rng.below(100) {
            0..=15 => Step::Advance { ms: self.advance(model, now) },
            16..=19 => Step::Subscribe { account, change: self.subscription(now) },
            20..=21 => {
                let suspended = self.rng.percent(30);
                Step::Suspend { account, suspended }
            }
            22..=25 => {
                let (feature, says) = (self.feature(), self.says());
                // Slots have one limit, and would rarely hear of it.
                let says = match says {
                    Says::Limit(limit, most) if catalogs::POOLS.contains(&&*feature) => {
                        self.pool_says(limit, most)
                    }
                    Says::Limit(_, most) if feature == "jobs" && self.rng.percent(80) => {
                        let few = most.map(|most| most.min(4));
                        match self.rng.below(4) {
                            0 => Says::Limit("concurrent_each".to_owned(), few),
                            1 => Says::OfSubject(self.subject(), "concurrent_each".to_owned(), few),
                            _ => Says::Limit("concurrent".to_owned(), most),
                        }
                    }
                    Says::Limit(_, most) if feature == "seats" && self.rng.percent(80) => {
                        Says::Limit("seats".to_owned(), most.map(|most| most.min(9)))
                    }
                    Says::Limit(_, most) if feature == "storage" && self.rng.percent(80) => {
                        Says::Limit("level".to_owned(), most)
                    }
                    Says::Limit(limit, most) if self.rng.percent(40) => {
                        Says::OfSubject(self.subject(), limit, most)
                    }
                    says => says,
                };
                let says = match says {
                    // What is billed is rare enough to be looked for.
                    Says::SpendCap(limit, cap, currency) if self.rng.percent(80) => {
                        let billed = model.billed_limits();
                        match billed.is_empty() {
                            true => Says::SpendCap(limit, cap, currency),
                            false => {
                                let (feature, limit) = self.rng.pick(&billed).clone();
                                let says = Says::SpendCap(limit, cap, currency);
                                let times = self.times(now);
                                return Step::Override { account, feature, says, times };
                            }
                        }
                    }
                    says => says,
                };
                // Of some kinds it is refused.
                let says = if self.rng.percent(25) { Says::AtLeast(Box::new(says)) } else { says };
                let times = self.times(now);
                Step::Override { account, feature, says, times }
            }
            26 => {
                let feature = self.feature();
                let limit = self.rng.percent(50).then(|| self.limit());
                let subject = self.rng.percent(40).then(|| self.subject());
                Step::DeleteOverride { account, feature, limit, subject }
            }
            27 if self.rng.percent(60) => {
                let cohort = (*self.rng.pick(&["alpha", "beta"])).to_owned();
                Step::Cohort { account, cohort, joins: self.rng.percent(70) }
            }
            27 => {
                let name = format!("fact{}", self.rng.below(3));
                let value = self.rng.percent(75).then(|| self.rng.below(9).to_string());
                Step::Facts { account, facts: vec![(name, value)] }
            }
            28..=31 => Step::Catalog(match self.rng.below(10) {
                0 => NewCatalog::Wrong,
                1 => NewCatalog::Same,
                2..=4 => NewCatalog::Other,
                _ => NewCatalog::Changed,
            }),
            32..=33 => Step::Refuse(self.refusal()),
            34 if self.rng.percent(60) => Step::MovePlan {
                plan: self.plan_name(),
                version: 1 + self.small(3),
                account: self.rng.percent(50).then_some(account),
                dry_run: self.rng.percent(20),
            },
            34 => Step::Prune,
            35..=37 => Step::Timers,
            38..=45 => Step::Late(self.late(model, account, now)),
            46 if self.rng.percent(60) => self.erase(model, account),
            46..=52 => self.seat(account),
            53..=54 => Step::Opening(self.opening(model, account, now)),
            _ => {
                let request = self.request(model, account, now);
                match request.asked {
                    Asked::All(..) => Step::All(request),
                    Asked::Feature(..) | Asked::Hold(..) | Asked::Opening(..) => {
                        Step::Request(request)
                    }
                }
            }
        }
    }

    fn opening(&mut self, model: &Model, account: String, now: i64) -> OpeningAsk {
        if let Some(again) = self.opened.clone().filter(|_| self.rng.percent(15)) {
            return again;
        }
        self.keys += 1;
        let mut key = format!("k{}", self.keys);
        if !self.recent.is_empty() && self.rng.percent(4) {
            key.clone_from(&self.recent[0].key);
        }
        let given = model.given_limits(&account, now);
        let (feature, limit) = match given.is_empty() || self.rng.percent(15) {
            true => (self.feature(), self.limit()),
            false => self.rng.pick(&given).clone(),
        };
        let drawable = model.drawable(&account, &feature, now);
        let began_at = match self.rng.below(10) {
            0..=3 => Some(now - i64::try_from(self.rng.below(8 * 3_600_000)).expect("small")),
            4 => Some(now + 1),
            _ => None,
        };
        let ask = OpeningAsk {
            account,
            feature,
            limit,
            units: if self.rng.percent(5) { 0 } else { self.units(drawable) },
            began_at,
            adds: self.rng.percent(40),
            key,
            dry_run: self.rng.percent(15),
        };
        self.opened = Some(ask.clone());
        ask
    }

    fn late(&mut self, model: &Model, account: String, now: i64) -> LateAsk {
        let old = self.late.len() as u64;
        if old > 0 && self.rng.percent(15) {
            let place = usize::try_from(self.rng.below(old)).expect("small");
            return self.late[place].clone();
        }
        self.keys += 1;
        let mut key = format!("k{}", self.keys);
        if old > 0 && self.rng.percent(5) {
            let place = usize::try_from(self.rng.below(old)).expect("small");
            key.clone_from(&self.late[place].key);
        } else if !self.recent.is_empty() && self.rng.percent(2) {
            key.clone_from(&self.recent[0].key);
        }
        let wants = Wants {
            all_limits: self.rng.percent(50),
            all_limits_unless_plain: self.rng.percent(20),
            about: self.rng.percent(20),
        };
        let value = if self.rng.percent(20) { self.late_value(model, &account, now) } else { None };
        let known = model.correctable(&account);
        let mut feature = self.feature();
        let mut subject = self.rng.percent(50).then(|| self.subject());
        let what = if let Some((of, whose, value)) = value {
            (feature, subject) = (of, whose);
            value
        } else if self.rng.percent(45) && !known.is_empty() {
            let (event, of, units, whose) = self.rng.pick(&known).clone();
            if !self.rng.percent(5) {
                feature = of;
            }
            if !self.rng.percent(5) {
                subject = whose;
            }
            let event = if self.rng.percent(3) { "never".to_owned() } else { event };
            let original = match self.rng.below(10) {
                0 => None,
                1 => Some(units + 1),
                _ => Some(units),
            };
            let drawable = model.drawable(&account, &feature, now);
            let units = self.rng.percent(65).then(|| self.units(drawable));
            Earlier::Corrected { event, units, original }
        } else {
            if self.rng.percent(80) && matches!(feature.as_str(), "jobs" | "api" | "web") {
                feature = catalogs::FEATURES[0].to_owned();
            }
            let edges = model.past_edges(&account, &feature, now);
            let occurred_at = match self.rng.below(8) {
                0..=3 if !edges.is_empty() => *self.rng.pick(&edges) + self.rng.between(-1, 1),
                0..=4 => now - self.rng.between(0, 2 * HOUR_MS),
                5 => now - self.rng.between(0, 3 * DAY_MS),
                6 => now - self.rng.between(0, RESTATE_MS + DAY_MS),
                _ => now + self.rng.between(-2, 60 * SECOND_MS),
            };
            let drawable = model.drawable(&account, &feature, now);
            Earlier::Recorded { units: self.units(drawable), occurred_at }
        };
        let ask = LateAsk { account, feature, subject, key, what, wants };
        self.late.push_back(ask.clone());
        if self.late.len() > RECENT {
            self.late.pop_front();
        }
        ask
    }

    fn seat(&mut self, account: String) -> Step {
        let feature = if self.rng.percent(4) { self.feature() } else { "seats".to_owned() };
        let mut member = || format!("m{}", self.rng.below(7));
        let (member, other) = (member(), member());
        let lasts_ms = *self.rng.pick(&[None, None, Some(1), Some(HOUR_MS), Some(3 * DAY_MS)]);
        let asked = match self.rng.below(10) {
            0..=3 => SeatAsked::Invite(member, lasts_ms),
            4..=6 => SeatAsked::Claim(member),
            7 | 8 => SeatAsked::Release(member),
            _ => SeatAsked::Transfer(member, other),
        };
        Step::Seat { account, feature, asked }
    }

    fn refusal(&mut self) -> Option<StoreRefusal> {
        match self.rng.below(8) {
            0 => Some(StoreRefusal::NoRoom),
            1 => Some(StoreRefusal::Broken { reason: "input/output error".to_owned() }),
            2 => Some(StoreRefusal::Closed),
            _ => None,
        }
    }

    fn advance(&mut self, model: &Model, now: i64) -> i64 {
        let edges = model.edges(now);
        match self.rng.below(10) {
            0..=4 if !edges.is_empty() => {
                // Often the next edge, so that a history does not run away at once.
                let next = edges.iter().min().copied().unwrap_or(now);
                let edge = if self.rng.percent(70) { next } else { *self.rng.pick(&edges) };
                (edge - now + self.rng.between(-1, 1)).max(0)
            }
            0..=6 => self.rng.between(0, 5 * SECOND_MS),
            7 => self.rng.between(SECOND_MS, 3 * HOUR_MS),
            8 => self.rng.between(HOUR_MS, 3 * DAY_MS),
            _ if self.rng.percent(30) => self.rng.between(DAY_MS, 70 * DAY_MS),
            _ => self.rng.between(0, 10),
        }
    }

    fn subscription(&mut self, now: i64) -> Subscription {
        let plan = self.plan();
        let anchor = match self.rng.below(6) {
            0 => Some(now - self.rng.between(0, 800 * DAY_MS)),
            1 => Some(now + self.rng.between(0, 40 * DAY_MS)),
            // 31 January 2024, one second before midnight.
            2 => Some(1_706_745_599_000),
            _ => None,
        };
        let zone = match self.rng.below(10) {
            0..=4 => (*self.rng.pick(&ZONES)).to_owned(),
            5 if self.rng.percent(30) => "Mars/Olympus".to_owned(),
            _ => String::new(),
        };
        let ends_at = self.rng.percent(25).then(|| now + self.rng.between(-1, 30 * DAY_MS));
        let mut addons = Vec::new();
        while self.rng.percent(30) && addons.len() < 4 {
            let name =
                if self.rng.percent(5) { "ghost" } else { *self.rng.pick(&catalogs::ADDONS) };
            // Nobody can hold billions of coins.
            let is_many = self.rng.percent(5) && name != catalogs::FILLS;
            let quantity = if is_many { u32::MAX } else { 1 + self.small(3) };
            addons.push((name.to_owned(), quantity));
        }
        let trial = self.rng.percent(20).then(|| {
            let plan = self.plan();
            (plan, now + self.rng.between(-1, 10 * DAY_MS))
        });
        let mut scheduled = Vec::new();
        while self.rng.percent(25) && scheduled.len() < 3 {
            let plan = self.plan();
            scheduled.push((now + self.rng.between(-1, 20 * DAY_MS), plan));
        }
        Subscription { plan, anchor, zone, ends_at, addons, trial, scheduled }
    }

    fn plan_name(&mut self) -> String {
        let plan = if self.rng.percent(4) { "nowhere" } else { *self.rng.pick(&catalogs::PLANS) };
        plan.to_owned()
    }

    /// A plan, now and then with a version.
    fn plan(&mut self) -> String {
        let plan = self.plan_name();
        if self.rng.percent(8) { format!("{plan}@{}", 1 + self.small(3)) } else { plan }
    }

    fn small(&mut self, below: u64) -> u32 {
        u32::try_from(self.rng.below(below)).expect("small")
    }

    /// When an override counts: mostly always.
    fn times(&mut self, now: i64) -> (Option<i64>, Option<i64>) {
        let mut at =
            |share| self.rng.percent(share).then(|| now + self.rng.between(-DAY_MS, 20 * DAY_MS));
        (at(20), at(20))
    }

    fn feature(&mut self) -> String {
        if self.rng.percent(4) {
            return "ghost".to_owned();
        }
        if !self.pools.is_empty() && self.rng.percent(25) {
            let own = self.rng.percent(40);
            let feature = if own { &self.pools[..] } else { &catalogs::PAID };
            return (*self.rng.pick(feature)).to_owned();
        }
        // What is counted is where the work is.
        let features = catalogs::FEATURES;
        let [tokens, calls, exports, _, _, jobs, api, web, messages, storage, seats, rest @ ..] =
            features;
        let [visits, peaks, gauge, devices, _, _] = rest;
        let often = [
            tokens, tokens, tokens, calls, calls, exports, jobs, jobs, api, web, messages,
            messages, messages, messages, messages, storage, storage, storage, seats, visits,
            peaks, peaks, gauge, gauge, devices, devices, devices,
        ];
        let pick = *self.rng.pick(&often);
        let pick = if self.rng.percent(15) { *self.rng.pick(&features) } else { pick };
        pick.to_owned()
    }

    fn limit(&mut self) -> String {
        if self.rng.percent(5) {
            return "ghost".to_owned();
        }
        (*self.rng.pick(&catalogs::LIMITS)).to_owned()
    }

    fn says(&mut self) -> Says {
        match self.rng.below(10) {
            0 => Says::Switch(self.rng.percent(60)),
            1 => Says::Config(self.rng.below(100).to_string()),
            2 => Says::Rate(catalogs::rate(&mut self.rng)),
            3 | 4 => {
                let high = self.rng.percent(50);
                let minor = if high { 100 + self.rng.below(100) } else { self.rng.below(15) };
                let cap = self.rng.percent(80).then_some(minor);
                let currency = if self.rng.percent(95) { "USD" } else { "EUR" };
                Says::SpendCap(self.limit(), cap, currency.to_owned())
            }
            _ => {
                let limit = self.limit();
                Says::Limit(limit, catalogs::included(&mut self.rng))
            }
        }
    }

    fn units(&mut self, drawable: Option<u64>) -> u64 {
        match (self.rng.below(20), drawable) {
            (0..=2, Some(units @ 1..)) => units,
            (3..=4, Some(units)) if units < UNITS_MAX => units + 1,
            (5, _) => *self.rng.pick(&[UNITS_MAX, UNITS_MAX - 1, 1 << 52]),
            (6, _) => 5 + self.rng.below(30),
            _ => 1 + self.rng.below(3),
        }
    }

    fn hold_ms(&mut self) -> i64 {
        *self.rng.pick(&[1, 500, 60 * SECOND_MS, HOUR_MS, DAY_MS, 3 * DAY_MS, HOLD_MS_MAX])
    }

    fn request(&mut self, model: &Model, account: String, now: i64) -> Request {
        let old = self.recent.len() as u64;
        if old > 0 && self.rng.percent(15) {
            let place = usize::try_from(self.rng.below(old)).expect("small");
            // The very same again; mostly under the same key.
            return self.recent[place].clone();
        }
        if old > 0 && self.rng.percent(7) {
            // Once more, as who works does.
            self.keys += 1;
            let place = usize::try_from(self.rng.below(old)).expect("small");
            let again = Request { key: format!("k{}", self.keys), ..self.recent[place].clone() };
            self.remember(&again);
            return again;
        }
        let (account, asked) = self.asked(model, account, now);
        self.keys += 1;
        let mut key = format!("k{}", self.keys);
        if old > 0 && self.rng.percent(6) {
            let place = usize::try_from(self.rng.below(old)).expect("small");
            key.clone_from(&self.recent[place].key);
        } else if !self.late.is_empty() && self.rng.percent(3) {
            let place = usize::try_from(self.rng.below(self.late.len() as u64)).expect("small");
            key.clone_from(&self.late[place].key);
        }
        let wants = Wants {
            all_limits: self.rng.percent(50),
            all_limits_unless_plain: self.rng.percent(50),
            about: self.rng.percent(50),
        };
        let synthetic = self.rng.percent(5) && asked_to_count(&asked);
        let may = match &asked {
            Asked::Feature(_, op) => !matches!(op, FeatureOp::Allocate { .. }),
            Asked::All(..) => true,
            Asked::Hold(..) | Asked::Opening(..) => false,
        };
        let subject = (may && self.rng.percent(50)).then(|| self.subject());
        let request = Request { account, asked, synthetic, key, wants, subject };
        self.remember(&request);
        request
    }

    fn remember(&mut self, request: &Request) {
        self.recent.push_back(request.clone());
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// A path inside an account: few, so that they meet again.
    fn subject(&mut self) -> String {
        let (team, user) = (self.rng.below(2), self.rng.below(2));
        match self.rng.below(4) {
            0 => format!("team:t{team}"),
            1 => format!("user:u{user}"),
            2 => format!("team:t{team}/user:u{user}"),
            _ => format!("team:t{team}/user:u{user}/agent:a"),
        }
    }
}

/// Whether it is a request that a monitor makes: of a feature, and counted.
fn asked_to_count(asked: &Asked) -> bool {
    match asked {
        Asked::Feature(_, op) => !matches!(op, FeatureOp::Check { .. }),
        Asked::All(_, op) => !matches!(op, AllOp::Check { .. }),
        Asked::Hold(..) | Asked::Opening(..) => false,
    }
}
