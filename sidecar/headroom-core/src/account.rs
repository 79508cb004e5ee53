//! Accounts: what is known of one paying customer, and all of its counters.
//!
//! State changes in one place only: [`Account::apply`]. Deciding and replaying a journal both end
//! there, so what was decided and what is recovered cannot differ.

use std::mem::take;
use std::sync::Arc;

use crate::announced::{self, Announced};
use crate::catalog::ROLLOUT_ALL_BP;
use crate::change;
use crate::credits::{self, Pool};
use crate::effect::{Effect, Effects};
use crate::ending::{self, Ending};
use crate::fingerprint::fnv1a;
use crate::ledger::Ledger;
use crate::measure::{self, Known, Measure};
use crate::names::NameId;
use crate::owing::{self, Owing};
use crate::policy::Excess;
use crate::prompt::{self, Exposure};
use crate::rate::Bucket;
use crate::reservation::Reservations;
use crate::seats::{Roster, Seat};
use crate::signal::SignalName;
use crate::stock::Stock;
use crate::subject::{SubjectId, Subjects};
use crate::tally::{self, Tally};
use crate::time::Millis;

mod profile;

pub use profile::{
    AddOn, Override, OverrideValue, PastPlan, Profile, ProfileExtra, ScheduledPlan, Trial, Zone,
};

/// The subjects as the effects that make them again, and the last number given.
fn of_subjects(subjects: &Subjects) -> impl Iterator<Item = Effect> {
    let last = SubjectId(subjects.last_id());
    let forgotten = subjects.get(last).is_none().then_some(Effect::SubjectForgotten(last));
    let each = subjects.iter().flat_map(|(id, subject)| {
        let named = Effect::Subject(id, Arc::clone(&subject.name));
        let erased = subject.is_erased().then(|| Effect::SubjectErased(id, Arc::default()));
        let state = subject.state.further().map(move |e| Effect::OfSubject(id, Box::new(e)));
        [named].into_iter().chain(erased).chain(state)
    });
    each.chain(forgotten)
}

/// FNV-1a, 64 bits, mixed and folded to 32. It decides who has what, so it must never change.
fn draw(bytes: impl Iterator<Item = u8>) -> u32 {
    let mut hash = fnv1a(bytes);
    // FNV leaves the upper bits of short texts alike; a multiplication spreads them (splitmix64).
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [a, b, c, d, ..] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// One paying customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What others say about it.
    pub profile: Profile,
    /// Numbers accounts in the order they came; the upper half of a reservation's id.
    pub serial: u32,
    /// A hash of its id, for what is drawn once and for all.
    pub draw: u32,
    // Invariant: at most one ledger of a (feature, limit) contains an instant. They seldom come and go, and
    // a place that is spare would be 64 bytes in each of a million accounts.
    ledgers: Box<[Ledger]>,
    // Boxed because most accounts have none of it at any moment.
    rare: Option<Box<Rare>>,
}

/// State that most accounts do not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Rare {
    reservations: Reservations,
    // Invariant: at most one of a (feature, limit).
    excesses: Vec<Excess>,
    // The buckets of its rates, one per (feature, limit).
    buckets: Vec<Bucket>,
    // The stocks of its allocations, one per (feature, limit): no more than there are allocations in
    // all catalogs so far.
    stocks: Vec<Stock>,
    // Its pools of credits, one per feature.
    pools: Vec<Pool>,
    // Who sits in it.
    roster: Roster,
    subjects: Subjects,
    // Its tallies of now, one per feature that has buckets.
    tallies: Vec<Tally>,
    // What aggregations know of the windows in memory: of each at most one.
    measures: Vec<Measure>,
    // What became of prompts, oldest first: at most `prompt::EXPOSURES_MAX`.
    exposures: Vec<Exposure>,
    // What was told that no ledger remembers: of each signal, feature and limit the latest.
    announced: Vec<Announced>,
    // What is remembered of windows that owe or took over, of those in memory.
    owings: Vec<Owing>,
    // What may be a trial and ends: one for the plan and one for each feature that an override gives.
    endings: Vec<Ending>,
}

/// What counts in a subject: all that an account has besides its profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubjectState {
    ledgers: Box<[Ledger]>,
    rare: Option<Box<Rare>>,
}

impl SubjectState {
    /// Its ledgers.
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// The buckets of its rates that may be less than full.
    pub fn buckets(&self) -> &[Bucket] {
        self.rare.as_ref().map_or(&[], |rare| &rare.buckets)
    }

    /// What the aggregation of a feature knows of a window of a limit, besides its ledger.
    pub fn known(&self, feature: NameId, limit: NameId, window_start: Millis) -> Option<&Known> {
        measure::of(&self.rare.as_ref()?.measures, (feature, limit, window_start))
    }

    /// What was kept of windows that are over.
    pub(crate) fn owings(&self) -> &[Owing] {
        self.rare.as_ref().map_or(&[], |rare| &rare.owings)
    }

    /// How many ledgers and buckets it has.
    pub fn counters(&self) -> usize {
        self.ledgers.len() + self.buckets().len()
    }

    fn apply(&mut self, effect: &Effect) {
        // An account that is nobody's, so that there is one way to apply an effect.
        let nobody = Profile::new(NameId::default(), true, Millis(0));
        let mut account = Account { ledgers: take(&mut self.ledgers), ..Account::new(0, nobody) };
        account.rare = self.rare.take();
        account.apply(effect);
        (self.ledgers, self.rare) = (account.ledgers, account.rare);
    }

    fn further(&self) -> impl Iterator<Item = Effect> {
        let ledgers = self.ledgers.iter().map(|ledger| Effect::Ledger(*ledger));
        let excesses = self.rare.iter().flat_map(|rare| &rare.excesses);
        let buckets = self.buckets().iter().map(|bucket| Effect::Bucket(*bucket));
        let excesses = excesses.map(|excess| Effect::Excess(Box::new(excess.clone())));
        let measures = measure::further(self.rare.as_ref().map_or(&[], |rare| &rare.measures));
        let owings = owing::further(self.owings());
        ledgers.chain(excesses).chain(buckets).chain(measures).chain(owings)
    }

    /// Forgets what aggregations know of its windows besides their counters, which stay.
    pub(crate) fn forget_measures(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.measures = Vec::new();
            if **rare == Rare::default() {
                self.rare = None;
            }
        }
    }
}

impl Account {
    /// A new account without usage.
    pub fn new(serial: u32, profile: Profile) -> Account {
        let at = profile.created_at;
        let mut account = Account { profile, serial, draw: 0, ledgers: Box::default(), rare: None };
        account.arm_endings(at);
        account
    }

    /// Takes on what others say of it at `at`.
    pub fn put_profile(&mut self, profile: Profile, at: Millis) {
        self.profile = profile;
        self.arm_endings(at);
        if let Some(rare) = &mut self.rare {
            rare.pools.iter_mut().for_each(|pool| pool.expect_changes(&self.profile, at));
        }
    }

    fn arm_endings(&mut self, at: Millis) {
        let armed = ending::armed(&self.profile, self.endings(), at);
        if !armed.is_empty() {
            self.rare.get_or_insert_default().endings = armed;
        } else if let Some(rare) = &mut self.rare {
            rare.endings.clear();
        }
    }

    /// The same account, drawing by its id.
    pub fn drawing_by(mut self, id: &str) -> Account {
        self.draw = draw(id.bytes());
        self
    }

    /// Whether the account is among the `share_bp` basis points of accounts that are drawn for
    /// `what`. The same every time and everywhere, and in every larger share too.
    pub fn is_drawn(&self, what: &str, share_bp: u32) -> bool {
        let hash = draw(self.draw.to_le_bytes().into_iter().chain(what.bytes()));
        // 2^32 is no multiple of 10,000; what that makes uneven is a millionth.
        hash % ROLLOUT_ALL_BP < share_bp
    }

    /// All ledgers: current ones, and older ones that were not replaced or are still held.
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// All reservations, open or remembered.
    pub fn reservations(&self) -> Option<&Reservations> {
        self.rare.as_ref().map(|rare| &rare.reservations).filter(|all| !all.is_empty())
    }

    /// What is remembered of going above included units, one for each limit at most.
    pub fn excesses(&self) -> &[Excess] {
        self.rare.as_ref().map_or(&[], |rare| &rare.excesses)
    }

    /// What is remembered of going above the included units of a limit.
    pub fn excess(&self, feature: NameId, limit: NameId) -> Option<&Excess> {
        self.excesses().iter().find(|excess| excess.limit == limit && excess.feature == feature)
    }

    /// When something is to be done though nobody asks: announced, charged, closed or freed.
    /// [`Millis::FOREVER`] when nothing is.
    #[inline]
    pub fn notice_at(&self) -> Millis {
        self.rare.as_ref().map_or(Millis::FOREVER, |rare| self.rare_notice_at(rare))
    }

    // A call, because few accounts have any of it, and all are asked on every write.
    #[inline(never)]
    fn rare_notice_at(&self, rare: &Rare) -> Millis {
        let notices = rare.excesses.iter().map(|excess| excess.notice_at);
        let notices = notices.chain(rare.stocks.iter().map(Stock::next_event_at));
        let notices = notices.chain(rare.pools.iter().map(Pool::next_event_at));
        let notices = notices.chain(rare.endings.iter().map(Ending::next_at));
        let notices = notices.chain([self.owing_until()]);
        let charged_at = rare.reservations.next_charge_at().min(rare.roster.next_expiry_at());
        notices.fold(charged_at, Millis::min)
    }

    /// Who sits in the account. `None`: nobody.
    pub fn roster(&self) -> Option<&Roster> {
        self.rare.as_ref().map(|rare| &rare.roster).filter(|roster| !roster.is_empty())
    }

    /// The seat of a member, an ended invitation too until it is settled.
    pub fn seat(&self, feature: NameId, member: &str) -> Option<Seat> {
        self.roster()?.get(feature, member)
    }

    /// The tally of a feature in the bucket of its latest use. `None`: it has no buckets, or was never used.
    pub fn tally(&self, feature: NameId) -> Option<&Tally> {
        self.rare.as_ref()?.tallies.iter().find(|tally| tally.feature == feature)
    }

    /// What the aggregation of a feature knows of a window of a limit, besides its ledger.
    pub fn known(&self, feature: NameId, limit: NameId, window_start: Millis) -> Option<&Known> {
        measure::of(&self.rare.as_ref()?.measures, (feature, limit, window_start))
    }

    /// What became of the latest prompts, oldest first.
    pub fn exposures(&self) -> &[Exposure] {
        self.rare.as_ref().map_or(&[], |rare| &rare.exposures)
    }

    /// When a signal was last raised that no ledger remembers. `None`: never.
    pub fn announced(
        &self,
        name: SignalName,
        feature: NameId,
        limit: NameId,
    ) -> Option<&Announced> {
        let mut all = self.rare.as_ref()?.announced.iter();
        all.find(|told| told.limit == limit && told.feature == feature && told.name == name)
    }

    /// What is remembered of windows that owe or took over.
    pub fn owings(&self) -> &[Owing] {
        self.rare.as_ref().map_or(&[], |rare| &rare.owings)
    }

    /// What may be a trial of it and ends.
    pub fn endings(&self) -> &[Ending] {
        self.rare.as_ref().map_or(&[], |rare| &rare.endings)
    }

    /// Its pools of credits, as they were left.
    pub fn pools(&self) -> &[Pool] {
        self.rare.as_ref().map_or(&[], |rare| &rare.pools)
    }

    /// Its pool of a credits feature, as it was left.
    pub fn pool(&self, feature: NameId) -> Option<&Pool> {
        self.pools().iter().find(|pool| pool.head.feature == feature)
    }

    /// The stocks of its allocations, as they were last written.
    pub fn stocks(&self) -> &[Stock] {
        self.rare.as_ref().map_or(&[], |rare| &rare.stocks)
    }

    /// The stock of an allocation. `None`: it was never used.
    pub fn stock(&self, feature: NameId, limit: NameId) -> Option<&Stock> {
        self.stocks().iter().find(|stock| stock.limit == limit && stock.feature == feature)
    }

    /// The buckets of its rates that may be less than full.
    pub fn buckets(&self) -> &[Bucket] {
        self.rare.as_ref().map_or(&[], |rare| &rare.buckets)
    }

    /// The bucket of a rate. `None`: it is full.
    pub fn bucket(&self, feature: NameId, limit: NameId) -> Option<&Bucket> {
        self.buckets().iter().find(|b| b.feature == feature && b.limit == limit)
    }

    /// What the account has besides its profile, its ledgers and its reservations, as the effects that
    /// make it again: what a snapshot keeps of it.
    pub fn further(&self) -> Effects {
        let excesses = self.excesses().iter().map(|e| Effect::Excess(Box::new(e.clone())));
        let buckets = self.buckets().iter().map(|bucket| Effect::Bucket(*bucket));
        let stocks = self.stocks().iter().map(|stock| Effect::Stock(Box::new(*stock)));
        let pools = credits::further(self.pools());
        let seats = self.roster().into_iter().flat_map(Roster::iter);
        let seats = seats.map(|seat| Effect::Seat(Box::new(seat)));
        let tallies = tally::further(self.rare.as_ref().map_or(&[], |rare| &rare.tallies));
        let measures = measure::further(self.rare.as_ref().map_or(&[], |rare| &rare.measures));
        let all = excesses.chain(buckets).chain(stocks).chain(pools).chain(seats).chain(tallies);
        let exposures = self.exposures().iter().map(|one| Effect::Exposure(Box::new(*one)));
        let told = announced::further(self.rare.as_ref().map_or(&[], |rare| &rare.announced));
        let endings = ending::further(self.endings());
        let all = all.chain(measures).chain(exposures).chain(told).chain(endings);
        let all = all.chain(owing::further(self.owings()));
        all.chain(self.subjects().into_iter().flat_map(of_subjects)).collect()
    }

    /// The subjects in which something counts, or did.
    pub fn subjects(&self) -> Option<&Subjects> {
        self.rare.as_ref().map(|rare| &rare.subjects).filter(|subjects| !subjects.is_empty())
    }

    /// The account as the limits of a subject see it: the same profile, the subject's own counters.
    /// `None` is a subject in which nothing counts.
    pub fn seen_by(&self, subject: Option<SubjectId>) -> Account {
        let known = subject.and_then(|id| self.subjects()?.get(id));
        let state = known.map(|subject| subject.state.clone()).unwrap_or_default();
        let SubjectState { ledgers, rare } = state;
        Account { profile: self.profile.clone(), ledgers, rare, ..*self }
    }

    /// When a request that read the clock at `now` is decided: not before the account was known, nor
    /// before its latest window began, or a bucket or a stock was changed. Requests read the clock
    /// before they have the account, so an older one may come after a newer one; at its own instant it
    /// would find the window of that instant gone, and begin it again from zero.
    pub fn not_before(&self, now: Millis) -> Millis {
        let starts = self.ledgers.iter().map(|ledger| ledger.window.start());
        let begun = starts.fold(now.max(self.profile.created_at), Millis::max);
        let Some(rare) = &self.rare else { return begun };
        let used = rare.buckets.iter().map(|bucket| bucket.used_at);
        let counted = rare.stocks.iter().map(|stock| stock.counted_to);
        used.chain(counted).fold(begun, Millis::max)
    }

    /// The ledger of a limit at an instant.
    pub fn ledger_at(&self, feature: NameId, limit: NameId, at: Millis) -> Option<&Ledger> {
        self.ledgers
            .iter()
            .find(|l| l.limit == limit && l.feature == feature && l.window.contains(at))
    }

    /// The ledger of a limit by the start of its window.
    pub fn ledger(&self, feature: NameId, limit: NameId, start: Millis) -> Option<&Ledger> {
        self.ledgers.iter().find(|l| l.is(feature, limit, start))
    }

    /// Whether a later window of the same limit has begun to count, `counts_on_ms` after the end of
    /// this one or later.
    pub fn is_replaced(&self, ledger: &Ledger, counts_on_ms: i64) -> bool {
        let same = |l: &&Ledger| l.limit == ledger.limit && l.feature == ledger.feature;
        let counted_to = ledger.window.end().plus(counts_on_ms);
        self.ledgers.iter().filter(same).any(|later| counted_to <= later.window.start())
    }

    /// Whether a hold has ended, or one can be forgotten, or a grace is about to end, or a trial comes
    /// nearer to its end, or the billing window of an allocation is over, or time has changed a pool of credits, so that
    /// [`crate::decide::settle`] or [`crate::policy::settle_excesses`] has something to do.
    pub fn is_due(&self, now: Millis) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| rare.reservations.next_event_at() <= now || self.notice_at() <= now)
            || change::is_due(&self.profile, now)
    }

    /// Carries out one effect. Effects are absolute: applying the same one again changes nothing.
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Ledger(after) => {
                let place =
                    |l: &&mut Ledger| l.is(after.feature, after.limit, after.window.start());
                match self.ledgers.iter_mut().find(place) {
                    Some(ledger) => *ledger = *after,
                    None => {
                        let mut ledgers = take(&mut self.ledgers).into_vec();
                        ledgers.reserve_exact(1);
                        ledgers.push(*after);
                        self.ledgers = ledgers.into_boxed_slice();
                    }
                }
            }
            Effect::LedgerClosed(last, _) => {
                let (feature, limit, start) = (last.feature, last.limit, last.window.start());
                let mut ledgers = take(&mut self.ledgers).into_vec();
                ledgers.retain(|l| !l.is(feature, limit, start));
                self.ledgers = ledgers.into_boxed_slice();
                if let Some(rare) = &mut self.rare {
                    let is_it = |m: &Measure| {
                        (m.feature, m.limit, m.window_start) == (feature, limit, start)
                    };
                    rare.measures.retain(|measure| !is_it(measure));
                    rare.owings.retain(|one| !one.is_of(last));
                }
            }
            Effect::Reservation(after) => {
                self.rare.get_or_insert_default().reservations.put(after.clone());
            }
            Effect::ReservationForgotten(id) => {
                // The counter of ids stays, so there is always something left.
                if let Some(rare) = &mut self.rare {
                    rare.reservations.forget(*id);
                }
            }
            Effect::Excess(after) => {
                let excesses = &mut self.rare.get_or_insert_default().excesses;
                let same = |e: &&mut Excess| e.limit == after.limit && e.feature == after.feature;
                match excesses.iter_mut().find(same) {
                    Some(excess) => excess.clone_from(after),
                    None => excesses.push((**after).clone()),
                }
            }
            Effect::Bucket(after) => {
                let buckets = &mut self.rare.get_or_insert_default().buckets;
                let place = |b: &&mut Bucket| b.feature == after.feature && b.limit == after.limit;
                match buckets.iter_mut().find(place) {
                    Some(bucket) => *bucket = *after,
                    None => buckets.push(*after),
                }
            }
            Effect::BucketForgotten(feature, limit) => {
                if let Some(rare) = &mut self.rare {
                    rare.buckets.retain(|b| b.feature != *feature || b.limit != *limit);
                    if **rare == Rare::default() {
                        self.rare = None;
                    }
                }
            }
            Effect::Stock(after) => {
                let stocks = &mut self.rare.get_or_insert_default().stocks;
                let same = |s: &&mut Stock| s.limit == after.limit && s.feature == after.feature;
                match stocks.iter_mut().find(same) {
                    Some(stock) => *stock = **after,
                    None => stocks.push(**after),
                }
            }
            Effect::PlansSeen(at) => {
                if let Some(extra) = &mut self.profile.extra {
                    extra.seen_at = *at;
                }
            }
            Effect::Credits(change) => {
                credits::apply(&mut self.rare.get_or_insert_default().pools, change);
            }
            Effect::Seat(after) => self.rare.get_or_insert_default().roster.put(after),
            Effect::SeatFreed(feature, member) => {
                if let Some(rare) = &mut self.rare {
                    rare.roster.free(*feature, member);
                }
            }
            Effect::Subject(id, name) => {
                self.rare.get_or_insert_default().subjects.name(*id, name);
            }
            Effect::OfSubject(id, effect) => {
                if let Some(rare) = &mut self.rare {
                    rare.subjects.change(*id, |state| state.apply(effect));
                }
            }
            Effect::SubjectForgotten(id) => {
                self.rare.get_or_insert_default().subjects.forget(*id);
            }
            Effect::SubjectErased(id, _) => {
                if let Some(rare) = &mut self.rare {
                    rare.subjects.erase(*id);
                }
            }
            Effect::Tally(after) => {
                tally::apply(&mut self.rare.get_or_insert_default().tallies, after);
            }
            Effect::Measured(after) => {
                measure::apply(&mut self.rare.get_or_insert_default().measures, after);
            }
            Effect::Exposure(after) => {
                prompt::apply(&mut self.rare.get_or_insert_default().exposures, after);
            }
            Effect::Announced(after) => {
                announced::apply(&mut self.rare.get_or_insert_default().announced, after)
            }
            Effect::Owing(after) => {
                owing::apply(&mut self.rare.get_or_insert_default().owings, after);
            }
            Effect::Ending(after) => {
                ending::apply(&mut self.rare.get_or_insert_default().endings, after)
            }
            Effect::StockClosed(..)
            | Effect::TallyClosed(_)
            | Effect::TallyLate(_)
            | Effect::Signal(_)
            | Effect::Restated(_)
            | Effect::MeasureClosed(_)
            | Effect::Event(_) => {}
        }
    }
}

impl Account {
    /// What is needed to carry out what time has brought by `now`: of the reservations only those that
    /// are due.
    pub(crate) fn due_part(&self, now: Millis) -> Account {
        let rare = self.rare.as_ref().map(|rare| {
            Box::new(Rare {
                reservations: rare.reservations.only_due(now),
                excesses: rare.excesses.clone(),
                buckets: Vec::new(),
                stocks: rare.stocks.clone(),
                pools: rare.pools.clone(),
                roster: Roster::default(),
                subjects: rare.subjects.only(rare.reservations.subjects_due(now)),
                tallies: rare.tallies.clone(),
                // What ends by time is a hold, and what has a measure holds nothing.
                measures: Vec::new(),
                exposures: Vec::new(),
                announced: rare.announced.clone(),
                owings: rare.owings.clone(),
                endings: Vec::new(),
            })
        });
        Account { profile: self.profile.clone(), ledgers: self.ledgers.clone(), rare, ..*self }
    }

    /// Restores the counter of reservation ids when an account is read back.
    pub fn restore_last_reservation(&mut self, last_id: u64) {
        self.rare.get_or_insert_default().reservations.set_last_id(last_id);
    }
}
