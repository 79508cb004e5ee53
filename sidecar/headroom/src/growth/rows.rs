//! The rows about growth: their keys and their values.
//!
//! ```text
//! a SIGNAL                  what is said of a signal, as JSON
//! b                         the signal after which appraising began
//! l ACCOUNT signal          the days on which such a signal came
//! h ACCOUNT DAY             the score of that day, in tenths of points
//! p ACCOUNT PERSON          the days on which somebody was there
//! s ACCOUNT                 how people are sampled
//! f ACCOUNT feature         the days on which a feature was used
//! e ACCOUNT EVENT           an event from outside that counts once
//! o ACCOUNT opportunity     an opportunity, as JSON
//! w ACCOUNT signal          how a rule stands
//! x ACCOUNT feature         the days on which a feature outside the plan was tried
//! u INSTANT ACCOUNT         an upgrade, and whether the account had passed the gate
//! t ACCOUNT INSTANT         what was known at a look
//! n NUMBER                  a name in looks
//! g                         how accounts are sampled whose looks are kept
//! c                         since when looks are kept
//! ```
//!
//! Numbers in keys are big-endian, so that rows sort as they count.

use headroom_core::signal::SignalState;
use headroom_core::time::Millis;
use headroom_engine::digest::SignalId;
use headroom_engine::ports::GrowthRow;
use headroom_expansion::activity::Changed;
use headroom_expansion::days::{Day, Days};
use headroom_expansion::watch::Kept;

pub(super) const APPRAISAL: u8 = b'a';
pub(super) const BEGAN: u8 = b'b';
pub(super) const FIRED: u8 = b'l';
pub(super) const SCORE: u8 = b'h';
pub(super) const PERSON: u8 = b'p';
pub(super) const SAMPLING: u8 = b's';
pub(super) const FEATURE: u8 = b'f';
pub(super) const UPGRADE: u8 = b'u';
pub(super) const EVENT: u8 = b'e';
pub(super) const OPPORTUNITY: u8 = b'o';
pub(super) const KEPT: u8 = b'w';
pub(super) const TRIED: u8 = b'x';
pub(super) const LOOK: u8 = b't';
pub(super) const NAME: u8 = b'n';
pub(super) const SAMPLED: u8 = b'g';
pub(super) const CHRONICLE: u8 = b'c';

/// The key of a signal's appraisal.
pub(super) fn appraisal(id: SignalId) -> Vec<u8> {
    [&[APPRAISAL][..], &id.row_key()].concat()
}

/// The signal of the key of an appraisal.
pub(super) fn appraised(key: &[u8]) -> Option<SignalId> {
    SignalId::of_row_key(key.strip_prefix(&[APPRAISAL])?)
}

/// Appraising began after a signal.
pub(super) fn began(after: SignalId) -> GrowthRow {
    (vec![BEGAN], Some(after.row_key()))
}

fn of_account(kind: u8, serial: u32, rest: &[u8]) -> Vec<u8> {
    [&[kind][..], &serial.to_be_bytes(), rest].concat()
}

/// The account of a key, and what comes after it.
pub(super) fn account_of(key: &[u8]) -> Option<(u32, &[u8])> {
    let (serial, rest) = key.get(1..)?.split_first_chunk()?;
    Some((u32::from_be_bytes(*serial), rest))
}

fn put_days(days: Days) -> Vec<u8> {
    let (last, bits) = days.parts();
    [last.0.to_be_bytes(), bits.to_be_bytes()].concat()
}

/// The days of a value.
pub(super) fn days(value: &[u8]) -> Option<Days> {
    let (last, bits) = value.split_first_chunk()?;
    let bits = u32::from_be_bytes(bits.try_into().ok()?);
    Days::from_parts(Day(i32::from_be_bytes(*last)), bits)
}

/// The days on which a signal came.
pub(super) fn fired(serial: u32, signal: &str, days: Days) -> GrowthRow {
    (of_account(FIRED, serial, signal.as_bytes()), Some(put_days(days)))
}

/// The days on which a feature outside the plan was tried.
pub(super) fn tried(serial: u32, feature: &str, days: Days) -> GrowthRow {
    (of_account(TRIED, serial, feature.as_bytes()), Some(put_days(days)))
}

/// How a rule stands; the usual is no row.
pub(super) fn kept(serial: u32, signal: &str, kept: Kept) -> GrowthRow {
    let state = match kept.state {
        SignalState::Ok => 0,
        SignalState::Warning => 1,
        SignalState::Alarm => 2,
    };
    let since = kept.calm_since.map(|day| day.0.to_be_bytes());
    let value = [&[state][..], since.as_ref().map_or(&[], |since| &since[..])].concat();
    let key = of_account(KEPT, serial, signal.as_bytes());
    (key, (kept != Kept::default()).then_some(value))
}

/// How a rule stands, as its row says.
pub(super) fn kept_of(value: &[u8]) -> Option<Kept> {
    let (state, since) = value.split_first()?;
    let state = match state {
        0 => SignalState::Ok,
        1 => SignalState::Warning,
        2 => SignalState::Alarm,
        _ => return None,
    };
    let calm_since = match since {
        [] => None,
        since => Some(Day(i32::from_be_bytes(since.try_into().ok()?))),
    };
    Some(Kept { state, calm_since })
}

/// The key of an opportunity.
pub(super) fn opportunity(serial: u32, id: &str) -> Vec<u8> {
    of_account(OPPORTUNITY, serial, id.as_bytes())
}

/// The sign bit turned, so that days before 1970 sort first.
fn day_key(day: Day) -> [u8; 4] {
    (day.0 ^ i32::MIN).to_be_bytes()
}

/// The score of a day.
pub(super) fn score(serial: u32, day: Day, points_tenths: u32) -> GrowthRow {
    (of_account(SCORE, serial, &day_key(day)), Some(points_tenths.to_be_bytes().to_vec()))
}

/// What the scores of an account begin with.
pub(super) fn scores(serial: u32) -> Vec<u8> {
    of_account(SCORE, serial, &[])
}

/// The day and the score of a row.
pub(super) fn score_of(key: &[u8], value: &[u8]) -> Option<(Day, u32)> {
    let (_, day) = account_of(key)?;
    let day = i32::from_be_bytes(day.try_into().ok()?) ^ i32::MIN;
    Some((Day(day), u32::from_be_bytes(value.try_into().ok()?)))
}

/// What changed in an account's activity.
pub(super) fn activity(serial: u32, changed: &Changed) -> GrowthRow {
    let person = |person: &u64| of_account(PERSON, serial, &person.to_be_bytes());
    let feature = |feature: &String| of_account(FEATURE, serial, feature.as_bytes());
    match changed {
        Changed::Person(number, days) => (person(number), Some(put_days(*days))),
        Changed::PersonForgotten(number) => (person(number), None),
        Changed::Sampling(bits) => (of_account(SAMPLING, serial, &[]), Some(vec![*bits])),
        Changed::Feature(name, days) => (feature(name), Some(put_days(*days))),
        Changed::FeatureForgotten(name) => (feature(name), None),
    }
}

/// The account and the activity of a row.
pub(super) fn activity_of(key: &[u8], value: &[u8]) -> Option<(u32, Changed)> {
    let (serial, rest) = account_of(key)?;
    let changed = match *key.first()? {
        PERSON => Changed::Person(u64::from_be_bytes(rest.try_into().ok()?), days(value)?),
        SAMPLING => Changed::Sampling(*value.first()?),
        FEATURE => Changed::Feature(str::from_utf8(rest).ok()?.to_owned(), days(value)?),
        _ => return None,
    };
    Some((serial, changed))
}

fn instant_key(at: Millis) -> [u8; 8] {
    (at.0 ^ i64::MIN).to_be_bytes()
}

/// What upgrades since an instant begin with.
pub(super) fn upgrades_since(at: Millis) -> Vec<u8> {
    [&[UPGRADE][..], &instant_key(at)].concat()
}

/// An upgrade.
pub(super) fn upgrade(at: Millis, serial: u32, is_passed: bool) -> GrowthRow {
    let key = [&upgrades_since(at)[..], &serial.to_be_bytes()].concat();
    (key, Some(vec![u8::from(is_passed)]))
}

/// The instant and the account of an upgrade.
pub(super) fn upgrade_of(key: &[u8]) -> Option<(Millis, u32)> {
    let (at, serial) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((instant_of(at)?, u32::from_be_bytes(serial.try_into().ok()?)))
}

/// What looks at an account begin with.
pub(super) fn looks(serial: u32) -> Vec<u8> {
    of_account(LOOK, serial, &[])
}

/// The key of a look.
pub(super) fn look(serial: u32, at: Millis) -> Vec<u8> {
    of_account(LOOK, serial, &instant_key(at))
}

/// The instant of a look.
pub(super) fn look_of(key: &[u8]) -> Option<Millis> {
    instant_of(account_of(key)?.1)
}

/// The instant of bytes that [`instant_key`] gave.
pub(super) fn instant_of(bytes: &[u8]) -> Option<Millis> {
    Some(Millis(i64::from_be_bytes(bytes.try_into().ok()?) ^ i64::MIN))
}

/// A name in looks.
pub(super) fn name(number: u16, entry: &str) -> GrowthRow {
    ([&[NAME][..], &number.to_be_bytes()].concat(), Some(entry.as_bytes().to_vec()))
}

/// The number of a name.
pub(super) fn name_of(key: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// One in 2^`bits` accounts is kept.
pub(super) fn sampled(bits: u8) -> GrowthRow {
    (vec![SAMPLED], Some(vec![bits]))
}

/// Looks are kept since an instant.
pub(super) fn chronicle(since: Millis) -> GrowthRow {
    (vec![CHRONICLE], Some(instant_key(since).to_vec()))
}

/// An event of an account, and its place among them; no place: it is forgotten.
pub(super) fn event(serial: u32, key: [u64; 2], place: Option<u64>) -> GrowthRow {
    let rest = [key[0].to_be_bytes(), key[1].to_be_bytes()].concat();
    (of_account(EVENT, serial, &rest), place.map(|place| place.to_be_bytes().to_vec()))
}

/// The account, the key and the place of an event's row.
pub(super) fn event_of(key: &[u8], value: &[u8]) -> Option<(u32, [u64; 2], u64)> {
    let (serial, rest) = account_of(key)?;
    let (first, second) = rest.split_first_chunk()?;
    let key = [u64::from_be_bytes(*first), u64::from_be_bytes(second.try_into().ok()?)];
    Some((serial, key, u64::from_be_bytes(value.try_into().ok()?)))
}
