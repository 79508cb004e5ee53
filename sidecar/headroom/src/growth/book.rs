//! What is known of accounts' growth, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use headroom_core::time::Millis;
use headroom_engine::digest::{SignalId, after_prefix};
use headroom_engine::ports::{self, Archive, ArchiveError, GrowthRow, Row, Seq, Table};
use headroom_expansion::activity::Activity;
use headroom_expansion::days::{Day, Days};
use headroom_expansion::limits::ACTIVITY_DAYS;
use headroom_expansion::opportunity::Opportunity;
use headroom_expansion::watch::Kept as WatchKept;

use super::appraisal::Appraisal;
use super::chronicle::Chronicle;
use super::pipeline;
use super::publish::EVENTS_REMEMBERED_MAX;
use super::{APPRAISALS_AT_HAND, APPRAISALS_MAX, rows};

/// Rows read at a time.
const PAGE_ROWS: usize = 4_096;

/// What is known of one account.
#[derive(Debug, Default, Clone)]
pub(super) struct Known {
    /// What its people did.
    pub(super) activity: Activity,
    /// The days on which its signals came, by their names: as many as there are names.
    pub(super) fired: BTreeMap<String, Days>,
    /// The days on which its people tried features outside the plan.
    pub(super) tried: BTreeMap<String, Days>,
    /// How rules stand for it, where that is not the usual.
    kept: BTreeMap<String, WatchKept>,
    /// Its opportunities, by id: as many as may be remembered.
    opportunities: BTreeMap<String, Opportunity>,
    /// Its last score that was written down, in tenths of points.
    score: Option<u32>,
    /// Its latest events from outside, each with its place among them.
    events: BTreeMap<[u64; 2], u64>,
    /// The same by place.
    places: BTreeMap<u64, [u64; 2]>,
}

/// What is known of all accounts. Each that did anything takes some hundred bytes.
#[derive(Debug, Default)]
pub(super) struct Book {
    accounts: HashMap<u32, Known>,
    /// The latest signal that is appraised, or where appraising began.
    appraised_to: SignalId,
    /// The latest signal whose appraisal is written; what is not may be another after a crash.
    written_to: SignalId,
    /// The last signals of records of appraisals that may not be written yet, ascending.
    unwritten: VecDeque<(SignalId, Seq)>,
    /// Where appraising began, if that was written down.
    began: Option<SignalId>,
    /// Signals whose appraisal is kept, ascending.
    kept: VecDeque<SignalId>,
    /// The latest of them.
    at_hand: BTreeMap<SignalId, Arc<Appraisal>>,
    /// Opportunities that have a deadline of which it was not told that it has passed.
    due: BTreeSet<(Millis, u32, String)>,
    /// How many accounts each company has, by the domain of its mail, as of the last look at all.
    signups: HashMap<String, i64>,
    /// By how many thousandths the usage of accounts has changed, of those of which it is known, as of the last
    /// look at all.
    usage_changes: HashMap<u32, i64>,
    /// The looks that are kept.
    pub(super) chronicle: Chronicle,
}

impl Book {
    /// Reads what was kept. Where nothing is, appraising begins after `upto`, which has to be written down:
    /// a signal that a crash keeps from being appraised is appraised after it.
    pub(super) fn load(archive: &dyn Archive, upto: Seq) -> Result<Book, ArchiveError> {
        let mut book =
            Book { appraised_to: SignalId { seq: upto, place: u16::MAX }, ..Book::default() };
        let kinds = [
            rows::FIRED,
            rows::PERSON,
            rows::SAMPLING,
            rows::FEATURE,
            rows::SCORE,
            rows::EVENT,
            rows::KEPT,
            rows::OPPORTUNITY,
            rows::TRIED,
            rows::NAME,
            rows::SAMPLED,
            rows::CHRONICLE,
        ];
        for kind in kinds {
            for row in of_kind(archive, kind) {
                let (key, value) = row?;
                book.take(kind, &key, &value);
            }
        }
        for row in of_kind(archive, rows::APPRAISAL) {
            book.kept.extend(rows::appraised(&row?.0));
        }
        for row in of_kind(archive, rows::BEGAN) {
            book.began = SignalId::of_row_key(&row?.1);
        }
        let last = book.kept.back().copied().max(book.began);
        book.appraised_to = last.unwrap_or(book.appraised_to);
        book.written_to = book.appraised_to;
        Ok(book)
    }

    fn take(&mut self, kind: u8, key: &[u8], value: &[u8]) {
        match kind {
            rows::FIRED => {
                let Some((serial, name, days)) = named(key, rows::days(value)) else { return };
                self.accounts.entry(serial).or_default().fired.insert(name, days);
            }
            rows::TRIED => {
                let Some((serial, name, days)) = named(key, rows::days(value)) else { return };
                self.accounts.entry(serial).or_default().tried.insert(name, days);
            }
            rows::KEPT => {
                let Some((serial, name, kept)) = named(key, rows::kept_of(value)) else { return };
                self.accounts.entry(serial).or_default().kept.insert(name, kept);
            }
            rows::OPPORTUNITY => {
                let Some((serial, id, one)) = named(key, pipeline::take(value)) else { return };
                self.put_opportunity(serial, &id, Some(one), &mut Vec::new());
            }
            rows::SCORE => {
                let found = rows::account_of(key).zip(rows::score_of(key, value));
                let Some(((serial, _), (_, points))) = found else { return };
                // They come by day, so the last one stays.
                self.accounts.entry(serial).or_default().score = Some(points);
            }
            rows::EVENT => {
                let Some((serial, key, place)) = rows::event_of(key, value) else { return };
                let known = self.accounts.entry(serial).or_default();
                known.events.insert(key, place);
                known.places.insert(place, key);
            }
            rows::NAME | rows::SAMPLED | rows::CHRONICLE => self.chronicle.take(kind, key, value),
            _ => {
                let Some((serial, changed)) = rows::activity_of(key, value) else { return };
                self.accounts.entry(serial).or_default().activity.restore(changed);
            }
        }
    }

    /// What is known of an account.
    pub(super) fn account(&self, serial: u32) -> Option<&Known> {
        self.accounts.get(&serial)
    }

    /// The activity of an account, to be added to.
    pub(super) fn activity(&mut self, serial: u32) -> &mut Activity {
        &mut self.accounts.entry(serial).or_default().activity
    }

    /// What is known of an account, to be put back if need be.
    pub(super) fn copy_of(&self, serial: u32) -> Option<Known> {
        self.accounts.get(&serial).cloned()
    }

    /// Puts back what was known of an account.
    pub(super) fn put_back(&mut self, serial: u32, known: Option<Known>) {
        match known {
            Some(known) => self.accounts.insert(serial, known),
            None => self.accounts.remove(&serial),
        };
    }

    /// Whether an event of an account was taken before.
    pub(super) fn knows_event(&self, serial: u32, key: [u64; 2]) -> bool {
        self.accounts.get(&serial).is_some_and(|known| known.events.contains_key(&key))
    }

    /// An event is taken. The oldest one makes room for it.
    pub(super) fn remember_event(&mut self, serial: u32, key: [u64; 2], out: &mut Vec<GrowthRow>) {
        let known = self.accounts.entry(serial).or_default();
        let place = known.places.last_key_value().map_or(0, |(place, _)| place + 1);
        known.events.insert(key, place);
        known.places.insert(place, key);
        out.push(rows::event(serial, key, Some(place)));
        while known.events.len() > EVENTS_REMEMBERED_MAX
            && let Some((_, oldest)) = known.places.pop_first()
        {
            known.events.remove(&oldest);
            out.push(rows::event(serial, oldest, None));
        }
    }

    /// Where appraising begins, if that is still to be written down.
    pub(super) fn begins(&self) -> Option<GrowthRow> {
        self.began.is_none().then(|| rows::began(self.appraised_to))
    }

    /// The latest signal that is appraised.
    pub(super) fn appraised_to(&self) -> SignalId {
        self.appraised_to
    }

    /// What was appraised is in a record; nothing: in none.
    pub(super) fn note_record(&mut self, record: Option<Seq>) {
        self.unwritten.push_back((self.appraised_to, record.unwrap_or(Seq(0))));
    }

    /// The latest signal whose appraisal is written, when the journal is by `written`.
    pub(super) fn written_to(&mut self, written: Seq) -> SignalId {
        while let Some((id, record)) = self.unwritten.front().copied()
            && record <= written
        {
            self.unwritten.pop_front();
            self.written_to = id;
        }
        self.written_to
    }

    /// A signal without an appraisal: the next one is looked at.
    pub(super) fn pass(&mut self, id: SignalId) {
        self.appraised_to = id;
    }

    /// A signal came on a day.
    pub(super) fn fired(&mut self, serial: u32, name: &str, day: Day, out: &mut Vec<GrowthRow>) {
        let fired = &mut self.accounts.entry(serial).or_default().fired;
        let known = fired.get(name).copied();
        let days = known.map_or(Days::on(day), |days| days.with(day));
        if known != Some(days) {
            fired.insert(name.to_owned(), days);
            out.push(rows::fired(serial, name, days));
        }
    }

    /// A feature outside the plan was tried on a day.
    pub(super) fn tried(&mut self, serial: u32, name: &str, day: Day, out: &mut Vec<GrowthRow>) {
        let tried = &mut self.accounts.entry(serial).or_default().tried;
        let known = tried.get(name).copied();
        let days = known.map_or(Days::on(day), |days| days.with(day));
        if known != Some(days) {
            tried.insert(name.to_owned(), days);
            out.push(rows::tried(serial, name, days));
        }
    }

    /// How a rule stands for an account.
    pub(super) fn kept(&self, serial: u32, signal: &str) -> WatchKept {
        let kept = self.accounts.get(&serial).and_then(|known| known.kept.get(signal));
        kept.copied().unwrap_or_default()
    }

    /// A rule stands so from now on.
    pub(super) fn keep(
        &mut self,
        serial: u32,
        signal: &str,
        kept: WatchKept,
        out: &mut Vec<GrowthRow>,
    ) {
        let all = &mut self.accounts.entry(serial).or_default().kept;
        match kept == WatchKept::default() {
            true => all.remove(signal),
            false => all.insert(signal.to_owned(), kept),
        };
        out.push(rows::kept(serial, signal, kept));
    }

    /// The days on which a signal of an account came.
    pub(super) fn days(&self, serial: u32, signal: &str) -> Option<Days> {
        self.accounts.get(&serial)?.fired.get(signal).copied()
    }

    /// The days on which each signal of an account came.
    pub(super) fn came(&self, serial: u32) -> Vec<(String, Days)> {
        let fired = self.accounts.get(&serial).into_iter().flat_map(|known| &known.fired);
        fired.map(|(name, days)| (name.clone(), *days)).collect()
    }

    /// The opportunities of an account.
    pub(super) fn opportunities(&self, serial: u32) -> Option<&BTreeMap<String, Opportunity>> {
        self.accounts.get(&serial).map(|known| &known.opportunities)
    }

    /// The opportunities of all accounts, with whose they are.
    pub(super) fn each_opportunity(&self) -> impl Iterator<Item = (&u32, &Opportunity)> {
        self.accounts
            .iter()
            .flat_map(|(serial, known)| known.opportunities.values().map(move |one| (serial, one)))
    }

    /// An opportunity is so from now on; nothing: it is forgotten.
    pub(super) fn put_opportunity(
        &mut self,
        serial: u32,
        id: &str,
        one: Option<Opportunity>,
        out: &mut Vec<GrowthRow>,
    ) {
        let all = &mut self.accounts.entry(serial).or_default().opportunities;
        if let Some(due_at) = all.get(id).and_then(|before| before.due_at) {
            self.due.remove(&(due_at, serial, id.to_owned()));
        }
        out.push(pipeline::row(serial, id, one.as_ref()));
        let Some(one) = one else {
            all.remove(id);
            return;
        };
        if let Some(due_at) = one.due_at.filter(|_| !one.is_overdue) {
            self.due.insert((due_at, serial, id.to_owned()));
        }
        all.insert(id.to_owned(), one);
    }

    /// Opportunities whose deadline has passed, the earliest first.
    pub(super) fn due(&self, now: Millis, count_max: usize) -> Vec<(u32, String)> {
        let due = self.due.iter().take_while(|(due_at, ..)| *due_at <= now).take(count_max);
        due.map(|(_, serial, id)| (*serial, id.clone())).collect()
    }

    /// How many accounts the company of a domain has.
    pub(super) fn signups(&self, domain: &str) -> Option<i64> {
        self.signups.get(&domain.to_lowercase()).copied()
    }

    /// By how many thousandths the usage of an account has changed.
    pub(super) fn usage_change(&self, serial: u32) -> Option<i64> {
        self.usage_changes.get(&serial).copied()
    }

    /// By how many thousandths the usage of all accounts has changed.
    pub(super) fn set_usage_changes(&mut self, changes: HashMap<u32, i64>) {
        self.usage_changes = changes;
    }

    /// How many accounts each company has.
    pub(super) fn set_signups(&mut self, signups: HashMap<String, i64>) {
        self.signups = signups;
    }

    /// How many different signals came in the last 30 days.
    pub(super) fn live_signals(&self, serial: u32, today: Day) -> usize {
        self.live(serial, today).count()
    }

    /// The signals that came in the last 30 days, and on how many of them each did.
    pub(super) fn live(&self, serial: u32, today: Day) -> impl Iterator<Item = (&str, Days)> {
        let fired = self.accounts.get(&serial).into_iter().flat_map(|known| &known.fired);
        fired
            .filter(move |(_, days)| days.count(today, ACTIVITY_DAYS) > 0)
            .map(|(name, days)| (name.as_str(), *days))
    }

    /// An account has so many points on a day.
    pub(super) fn scored(&mut self, serial: u32, day: Day, points: u32, out: &mut Vec<GrowthRow>) {
        let score = &mut self.accounts.entry(serial).or_default().score;
        if *score != Some(points) {
            *score = Some(points);
            out.push(rows::score(serial, day, points));
        }
    }

    /// The next signal is appraised. The oldest appraisal makes room for it.
    pub(super) fn appraised(
        &mut self,
        id: SignalId,
        appraisal: Arc<Appraisal>,
        out: &mut Vec<GrowthRow>,
    ) {
        out.push((rows::appraisal(id), Some(appraisal.bytes())));
        self.at_hand.insert(id, appraisal);
        while self.at_hand.len() > APPRAISALS_AT_HAND {
            self.at_hand.pop_first();
        }
        self.kept.push_back(id);
        while self.kept.len() > APPRAISALS_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            out.push((rows::appraisal(oldest), None));
        }
        self.appraised_to = id;
    }

    /// What was said of a signal, if it is in memory.
    pub(super) fn at_hand(&self, id: SignalId) -> Option<Arc<Appraisal>> {
        self.at_hand.get(&id).cloned()
    }
}

/// All rows of a kind, in the order of their keys.
fn of_kind(
    archive: &dyn Archive,
    kind: u8,
) -> impl Iterator<Item = Result<Row, ArchiveError>> + use<'_> {
    ports::rows(archive, Table::Growth, vec![kind], after_prefix(&[kind]), PAGE_ROWS)
}

/// The parts of a row that is known by an account and a name.
fn named<T>(key: &[u8], value: Option<T>) -> Option<(u32, String, T)> {
    let (serial, name) = rows::account_of(key)?;
    Some((serial, String::from_utf8(name.to_vec()).ok()?, value?))
}
