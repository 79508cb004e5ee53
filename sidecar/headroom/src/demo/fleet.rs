//! A generated fleet: accounts that live for a year and more on a sidecar of their own, so that there is
//! a past to try rules on.
//!
//! Who uses how much, looks at prices and buys is decided by a generator from its seed. So what comes of
//! it says how a backtest is read, and nothing about anybody's customers. It goes through the doors like
//! any client: uses, sign-ins and views are told day by day, on the test clock.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use headroom_sdk::{AdminClient, Client, Error, v1};
use tokio::task::JoinSet;

use super::stage::{Stage, StageError};
use super::words::count;

const CATALOG: &str = include_str!("fleet.yaml");
const RULES: &str = include_str!("triggers.yaml");

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When in the day everything happens.
const MORNING: Duration = Duration::from_secs(9 * 60 * 60);

/// 2020-01-01T00:00:00Z, where test clocks begin.
const START: Duration = Duration::from_secs(1_577_836_800);

/// Uses that are under way at a time.
const USES_AT_ONCE: usize = 32;

/// Events in one request.
const EVENTS_AT_ONCE: usize = 256;

/// Days that pass before the four quarters that are looked at: 60, in which what holds becomes known.
const DAYS: u32 = 60 + 4 * 90;

/// Plans from the smallest to the largest, with what they include in a month.
const PLANS: [(&str, u64); 3] = [("free", 1_000), ("team", 10_000), ("business", 100_000)];

/// How large the fleet is, and what decides about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Accounts.
    pub(super) accounts: u32,
    /// Days that they live.
    pub(super) days: u32,
    /// What all chance comes from.
    pub(super) seed: u64,
}

impl Size {
    pub(super) fn new(accounts: u32, seed: u64) -> Size {
        Size { accounts, days: DAYS, seed }
    }
}

/// Why there is no table.
#[derive(Debug)]
pub(super) enum FleetError {
    Runtime(io::Error),
    Stage(StageError),
    Call(&'static str, Error),
    Close(headroom_store::CloseError),
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FleetError::Runtime(error) => write!(f, "the runtime cannot be made: {error}"),
            FleetError::Stage(error) => error.fmt(f),
            FleetError::Call(what, error) => write!(f, "{what}: {error}"),
            FleetError::Close(error) => write!(f, "the sidecar did not close well: {error}"),
        }
    }
}

fn call(what: &'static str) -> impl Fn(Error) -> FleetError {
    move |error| FleetError::Call(what, error)
}

/// Lets a fleet live, and prints what rules would have told of it.
pub(super) fn run(size: Size) -> Result<ExitCode, FleetError> {
    let report = perform(size)?;
    let Size { accounts, days, seed } = size;
    let text = format!(
        "A generated fleet: {} accounts over {days} days, seed {seed}. Who uses how much and who buys was \
         decided\nby a generator: this shows how a backtest is read, and says nothing about anybody's \
         customers.\n\n{}\n",
        count(accounts.into()),
        crate::cli::backtest_text(&report)
    );
    // Whoever closed the pipe has seen enough.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Lets a fleet live, and tries the rules on its past.
pub(super) fn perform(size: Size) -> Result<v1::BacktestReport, FleetError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FleetError::Runtime)?;
    let stage = Stage::set(CATALOG, false).map_err(FleetError::Stage)?;
    runtime.block_on(async {
        let lived = live(&stage, size).await;
        // Cleared away also when something failed.
        let closed = stage.strike().await.map_err(FleetError::Close);
        lived.and_then(|report| closed.map(|()| report))
    })
}

async fn live(stage: &Stage, size: Size) -> Result<v1::BacktestReport, FleetError> {
    let places = &stage.places;
    let connected = Client::connect(places.endpoint.clone()).await;
    let client = connected.map_err(call("the sidecar cannot be reached"))?;
    let connected = AdminClient::connect(places.admin.clone()).await;
    let admin = connected.map_err(call("the sidecar cannot be reached"))?;
    let mut fleet = Fleet::new(size);
    for account in &fleet.accounts {
        put_plan(&admin, account).await?;
    }
    let shows = io::stderr().is_terminal();
    for day in 0..size.days {
        if shows {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\rday {day} of {}", size.days);
            let _ = stderr.flush();
        }
        let at = SystemTime::UNIX_EPOCH + START + DAY * day + MORNING;
        admin.set_clock(at).await.map_err(call("the clock cannot be set"))?;
        let today = fleet.day(day);
        for events in today.events.chunks(EVENTS_AT_ONCE) {
            client.publish(events.to_vec()).await.map_err(call("events are refused"))?;
        }
        fleet.use_up(&client, &today.calls).await?;
        for place in today.upgrades {
            put_plan(&admin, &fleet.accounts[place]).await?;
        }
    }
    if shows {
        let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
    }
    let end = SystemTime::UNIX_EPOCH + START + DAY * size.days;
    admin.set_clock(end).await.map_err(call("the clock cannot be set"))?;
    let request = v1::BacktestRequest {
        rules: RULES.to_owned(),
        since: Some(prost_types::Duration { seconds: 360 * 86_400, nanos: 0 }),
        within: None,
        file: "triggers.yaml".to_owned(),
    };
    admin.backtest(request, |_| ()).await.map_err(call("the rules cannot be tried"))
}

async fn put_plan(admin: &AdminClient, account: &Account) -> Result<(), FleetError> {
    let (account, plan) = (account.id.clone(), PLANS[account.plan].0.to_owned());
    let request = v1::PutSubscriptionRequest { account, plan, ..Default::default() };
    admin.put_subscription(request).await.map(drop).map_err(call("a plan cannot be put"))
}

/// One account, as the generator sees it.
#[derive(Debug)]
struct Account {
    id: String,
    /// The place of its plan.
    plan: usize,
    people: u64,
    /// Calls on a usual working day.
    calls: u64,
    /// By how much that changes from month to month, in thousandths.
    growth: i64,
    /// What it has used of its month.
    used: u64,
    /// It thinks about buying for so many more days, and whether it will.
    considers: Option<(u32, bool)>,
}

impl Account {
    /// Another day of thinking about a larger plan: who uses much begins to, and some then buy. True when it
    /// looks at the prices.
    fn thinks(&mut self, chance: &mut Chance, buy: &mut dyn FnMut(&mut Account)) -> bool {
        match self.considers {
            None => {
                let hazard = match self.used_percent() {
                    90.. => 450,
                    70..90 => 120,
                    _ => 4,
                };
                if self.plan + 1 < PLANS.len() && chance.below(10_000) < hazard {
                    let days = 6 + u32::try_from(chance.below(14)).unwrap_or(0);
                    self.considers = Some((days, chance.below(100) < 65));
                }
                false
            }
            Some((0, buys)) => {
                self.considers = None;
                if buys {
                    buy(self);
                }
                false
            }
            Some((days, buys)) => {
                self.considers = Some((days - 1, buys));
                chance.below(100) < 30
            }
        }
    }

    fn used_percent(&self) -> u64 {
        self.used * 100 / PLANS[self.plan].1
    }
}

#[derive(Debug)]
struct Fleet {
    accounts: Vec<Account>,
    chance: Chance,
}

/// What happens on one day.
#[derive(Debug, Default)]
struct Today {
    events: Vec<v1::Event>,
    /// By place of the account.
    calls: Vec<(usize, u64)>,
    /// Places of accounts that are on a larger plan from now on.
    upgrades: Vec<usize>,
}

impl Fleet {
    fn new(size: Size) -> Fleet {
        let mut chance = Chance(size.seed);
        let account = |number| {
            let plan = match chance.below(100) {
                0..55 => 0,
                55..90 => 1,
                _ => 2,
            };
            let growth = match chance.below(100) {
                0..55 => 0,
                55..75 => 60 + chance.below(120).cast_signed(),
                75..90 => -(20 + chance.below(60).cast_signed()),
                _ => chance.below(40).cast_signed(),
            };
            // Of 22 working days' worth of what is included, 5 to 65 %.
            let calls = PLANS[plan].1 * (50 + chance.below(600)) / 1_000 / 22;
            Account {
                id: format!("account-{number:04}"),
                plan,
                people: 2 + chance.below(4 + 6 * plan as u64),
                calls: calls.max(1),
                growth,
                used: 0,
                considers: None,
            }
        };
        let accounts = (1..=size.accounts).map(account).collect();
        Fleet { accounts, chance }
    }

    /// What the accounts do on a day. 1 January 2020 was a Wednesday.
    fn day(&mut self, day: u32) -> Today {
        let is_weekend = matches!((day + 2) % 7, 5 | 6);
        let begins_month = first_of_month(day);
        let mut today = Today::default();
        for (place, account) in self.accounts.iter_mut().enumerate() {
            let chance = &mut self.chance;
            if begins_month {
                account.used = 0;
                let grown =
                    i64::try_from(account.calls).unwrap_or(i64::MAX) * (1_000 + account.growth);
                account.calls = u64::try_from(grown / 1_000).unwrap_or(1).max(1);
            }
            let mut views = chance.below(10_000) < 25;
            views |= account.thinks(chance, &mut |account| {
                account.plan += 1;
                today.upgrades.push(place);
            });
            if views {
                let signal = v1::OutsideSignal {
                    signal: "pricing_page_viewed".to_owned(),
                    ..Default::default()
                };
                today.events.push(event(
                    account,
                    &format!("view-{day}"),
                    v1::event::What::Signal(signal),
                ));
            }
            for person in 0..account.people {
                if chance.below(100) < if is_weekend { 8 } else { 60 } {
                    let (user, feature) = (format!("person-{person}"), String::new());
                    let seen = v1::Activity { user, feature };
                    let what = v1::event::What::Activity(seen);
                    today.events.push(event(account, &format!("seen-{day}-{person}"), what));
                }
            }
            let part = 400 + chance.below(1_200);
            let calls = account.calls * part * if is_weekend { 1 } else { 4 } / 4_000;
            if calls > 0 {
                today.calls.push((place, calls));
            }
        }
        today
    }

    /// Uses calls; what is refused is not used.
    async fn use_up(&mut self, client: &Client, calls: &[(usize, u64)]) -> Result<(), FleetError> {
        for some in calls.chunks(USES_AT_ONCE) {
            let mut uses = JoinSet::new();
            for (place, units) in some.iter().copied() {
                let (client, id) = (client.clone(), self.accounts[place].id.clone());
                uses.spawn(async move { (place, units, client.consume(id, "calls", units).await) });
            }
            while let Some(done) = uses.join_next().await {
                let (place, units, decision) = done.expect("no use panics");
                let decision = decision.map_err(call("a use failed"))?;
                if decision.allowed {
                    self.accounts[place].used += units;
                }
            }
        }
        Ok(())
    }
}

fn event(account: &Account, id: &str, what: v1::event::What) -> v1::Event {
    v1::Event {
        id: id.to_owned(),
        account: account.id.clone(),
        what: Some(what),
        occurred_at: None,
    }
}

/// Whether a month begins on a day, counted from 1 January 2020.
fn first_of_month(day: u32) -> bool {
    let start = jiff::civil::date(2020, 1, 1);
    start.checked_add(jiff::Span::new().days(i64::from(day))).is_ok_and(|date| date.day() == 1)
}

/// Numbers by chance, the same for the same seed (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
