//! Messages into requests: all validation of what clients send.

use headroom_core::catalog::RateSpec;
use headroom_core::decide::{FeatureOp, HoldOp, LevelChange};
use headroom_core::limits::{HOLD_MS_MAX, UNITS_MAX};
use headroom_core::prompt::Audience;
use headroom_core::rate::Rate;
use headroom_core::reservation::ReservationId;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{FeatureRequest, HoldRequest, Wants};
use headroom_proto::borrowed::{self, Check, Consume, FieldsOf, Malformed, Value};
use headroom_proto::v1;

use crate::grpc::status::WireError;

/// Longest id of an account, feature, or idempotency key, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// How long a hold lasts when the client does not say, in milliseconds. A minute is longer than most
/// calls take and short enough that a crashed client is soon forgotten.
pub const HOLD_MS_DEFAULT: i64 = 60_000;

/// Operations in one message of a stream. More are refused as a whole.
pub const OPERATIONS_MAX: usize = 256;

/// Whether it is the tag of a kind of `Operation`.
fn is_operation(tag: u32) -> bool {
    matches!(tag, 1..=7 | 10 | CORRECT | CHECK_ALL | CONSUME_ALL | RESERVE_ALL)
}
/// The tag of a correction.
pub const CORRECT: u32 = 40;
/// The tag of a check of several features.
pub const CHECK_ALL: u32 = 70;
/// The tag of a consume of several features.
pub const CONSUME_ALL: u32 = 71;
/// The tag of a reserve of several features.
pub const RESERVE_ALL: u32 = 72;

/// A request and the parts of its answer that cost something.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a, R> {
    /// The request.
    pub request: R,
    /// What to include in the answer.
    pub include: Include<'a>,
}

/// Why something is asked, as far as prompts mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cause {
    /// A person does something.
    #[default]
    Person,
    /// Somebody is being invited.
    Invitation,
    /// A monitor looks: nothing of it is written down.
    Monitor,
}

/// Parts of an answer that cost something, and whom its prompt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Include<'a> {
    /// The prompt to show.
    pub prompt: bool,
    /// When the binding limit is reached.
    pub projection: bool,
    /// The state of every limit.
    pub all_limits: bool,
    /// Why there is no prompt.
    pub prompt_suppression: bool,
    /// What the reader of the prompt may do, when that was said.
    pub audience: Option<Audience>,
    /// Why it is asked.
    pub cause: Cause,
    /// The language of the prompt; empty when it was not said.
    pub locale: &'a str,
    /// Who reads it; empty when it was not said.
    pub person: &'a str,
}

/// Longest language tag, in bytes: longer than any that is in use.
const LOCALE_BYTES_MAX: usize = 64;

/// Checks what is to be included.
pub fn include(wire: borrowed::Include<'_>) -> Result<Include<'_>, WireError> {
    let mut include = Include {
        prompt: wire.prompt,
        projection: wire.projection,
        all_limits: wire.all_limits,
        prompt_suppression: wire.prompt_suppression,
        ..Include::default()
    };
    if wire.prompt {
        read_reader(wire, &mut include)?;
    }
    Ok(include)
}

/// Whom a prompt is for. Apart, because few requests ask for one.
fn read_reader<'a>(
    wire: borrowed::Include<'a>,
    include: &mut Include<'a>,
) -> Result<(), WireError> {
    if !wire.person.is_empty() {
        include.person = id("include.person", wire.person)?;
    }
    // What is no language is as none; but nobody has such a long one.
    if wire.locale.len() > LOCALE_BYTES_MAX {
        let problem = format!("is longer than {LOCALE_BYTES_MAX} bytes");
        return Err(WireError::field("include.locale", problem));
    }
    include.locale = wire.locale;
    include.audience = match v1::Audience::try_from(wire.audience) {
        Ok(v1::Audience::Unspecified) => None,
        Ok(v1::Audience::Buyer) => Some(Audience::Buyer),
        Ok(v1::Audience::Member) => Some(Audience::Member),
        Ok(v1::Audience::Admin) => Some(Audience::Admin),
        Err(_) => {
            return Err(WireError::field("include.audience", "is not known to this version"));
        }
    };
    Ok(())
}

/// What is to be included, of a generated message.
pub fn include_of(owned: Option<&v1::Include>) -> Result<Include<'_>, WireError> {
    include(borrowed::Include::of(owned))
}

/// Checks an id: 1 to 128 bytes, no control characters.
pub fn id<'a>(field: &str, text: &'a str) -> Result<&'a str, WireError> {
    if text.is_empty() {
        return Err(WireError::field(field, "is missing"));
    }
    if text.len() > ID_BYTES_MAX {
        let problem = format!("is {} bytes long, the most is {ID_BYTES_MAX}", text.len());
        return Err(WireError::field(field, problem));
    }
    // ASCII first: it is nearly always all there is.
    let has_control = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    };
    if has_control {
        return Err(WireError::field(field, "contains a control character"));
    }
    Ok(text)
}

/// Checks units: `least` to 2^53-1.
pub fn units(field: &str, units: i64, least: u64) -> Result<u64, WireError> {
    match u64::try_from(units) {
        Ok(units) if (least..=UNITS_MAX).contains(&units) => Ok(units),
        _ => {
            let problem = format!("is {units}, must be {least} to {UNITS_MAX}");
            Err(WireError::field(field, problem))
        }
    }
}

/// Checks units that were used. 0 goes on to whoever knows the feature: a latest value may be 0
/// ([`Shared::feature`](super::shared::Shared::feature)).
pub fn used_units(given: i64) -> Result<u64, WireError> {
    units("units", given, u64::from(given != 0))
}

/// The name of a reservation on the wire.
pub fn reservation_text(id: ReservationId) -> String {
    format!("rsv_{:x}", id.0)
}

fn reservation(text: &str) -> Result<ReservationId, WireError> {
    let number = text.strip_prefix("rsv_").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let number = number.filter(|n| reservation_text(ReservationId(*n)) == text);
    number
        .map(ReservationId)
        .ok_or_else(|| WireError::field("reservation_id", "is not an id that Reserve returned"))
}

/// A rate.
pub fn rate(field: &str, rate: &v1::Rate) -> Result<Rate, WireError> {
    let period = rate.period.unwrap_or_default();
    let period_ms = period.seconds.checked_mul(1000);
    let period_ms = period_ms.and_then(|ms| ms.checked_add(i64::from(period.nanos) / 1_000_000));
    let spec = RateSpec {
        units: units("units", rate.units, 1)?,
        period_ms: period_ms.unwrap_or_default(),
        burst_units: units("burst_units", rate.burst_units, 1)?,
    };
    Rate::new(spec).ok_or_else(|| {
        let problem = "its period must be 1 ms to 1 day, and an empty bucket full within 7 days";
        WireError::field(field, problem)
    })
}

fn hold_ms(field: &prost_types::Duration) -> Result<i64, WireError> {
    let ms = field
        .seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(i64::from(field.nanos) / 1_000_000))
        .filter(|ms| (1..=HOLD_MS_MAX).contains(ms));
    ms.ok_or_else(|| WireError::field("hold_for", "must be 1 ms to 7 days"))
}

/// How long a hold lasts, in milliseconds.
pub fn hold_for(field: Option<&prost_types::Duration>) -> Result<i64, WireError> {
    field.map_or(Ok(HOLD_MS_DEFAULT), hold_ms)
}

/// Whether the end of a hold by time is a charge.
pub fn charges(on_expiry: i32) -> Result<bool, WireError> {
    match v1::OnExpiry::try_from(on_expiry) {
        Ok(v1::OnExpiry::Unspecified | v1::OnExpiry::Release) => Ok(false),
        Ok(v1::OnExpiry::Charge) => Ok(true),
        // Whoever means something that is not known here must not get something else.
        Err(_) => Err(WireError::field("on_expiry", "is not known to this version")),
    }
}

/// What the engine has to find out for them.
pub fn wants(include: Include<'_>) -> Wants {
    Wants { all_limits: include.all_limits, about: include.prompt, ..Wants::default() }
}

fn feature<'a>(
    (account, name, key, of): (&'a str, &'a str, Option<&'a str>, &'a str),
    (op, synthetic): (FeatureOp, bool),
    wire: borrowed::Include<'a>,
    now: Millis,
) -> Result<Asked<'a, FeatureRequest<'a>>, WireError> {
    let mut include = include(wire)?;
    if synthetic {
        include.cause = Cause::Monitor;
    }
    let request = FeatureRequest {
        account: id("account", account)?,
        feature: id("feature", name)?,
        op,
        synthetic,
        key: match key {
            Some(key) => id("idempotency_key", key)?,
            None => "",
        },
        dimensions: Dimensions::None,
        now,
        wants: wants(include),
        subject: subject_if_any(of)?,
    };
    Ok(Asked { request, include })
}

/// The path of a subject. `None`: the request is for the account alone.
pub fn subject_if_any(text: &str) -> Result<Option<SubjectPath<'_>>, WireError> {
    if text.is_empty() { Ok(None) } else { subject(text).map(Some) }
}

/// The path of a subject.
pub fn subject(text: &str) -> Result<SubjectPath<'_>, WireError> {
    SubjectPath::new(text).map_err(|problem| WireError::field("subject", problem.to_string()))
}

fn hold<'a>(
    (account, reservation_id, key): (&'a str, &'a str, &'a str),
    op: HoldOp,
    wire: Option<&'a v1::Include>,
    now: Millis,
) -> Result<Asked<'a, HoldRequest<'a>>, WireError> {
    let include = include_of(wire)?;
    let request = HoldRequest {
        account: id("account", account)?,
        reservation: reservation(reservation_id)?,
        op,
        key: id("idempotency_key", key)?,
        dimensions: Dimensions::None,
        now,
        wants: wants(include),
    };
    Ok(Asked { request, include })
}

/// A check.
pub fn check(bytes: &[u8], now: Millis) -> Result<Asked<'_, FeatureRequest<'_>>, WireError> {
    let rq = Check::read(bytes)?;
    let units = rq.units.map_or(Ok(1), |asked| units("units", asked, 1))?;
    // Of a monitor's attempt nobody should hear.
    let attempt = v1::Intent::try_from(rq.intent) != Ok(v1::Intent::Render) && !rq.synthetic;
    let op = (FeatureOp::Check { units, attempt }, rq.synthetic);
    let mut asked = feature((rq.account, rq.feature, None, rq.subject), op, rq.include, now)?;
    if !rq.dimensions.is_empty() {
        asked.request.dimensions = Dimensions::Bytes(rq.dimensions, borrowed::dimensions);
    }
    Ok(asked)
}

/// A consume.
pub fn consume(bytes: &[u8], now: Millis) -> Result<Asked<'_, FeatureRequest<'_>>, WireError> {
    let rq = Consume::read(bytes)?;
    let op = FeatureOp::Consume { units: used_units(rq.units)? };
    let names = (rq.account, rq.feature, Some(rq.idempotency_key), rq.subject);
    let mut asked = feature(names, (op, rq.synthetic), rq.include, now)?;
    if !rq.dimensions.is_empty() {
        asked.request.dimensions = Dimensions::Bytes(rq.dimensions, borrowed::dimensions);
    }
    Ok(asked)
}

/// A reserve.
pub fn reserve(
    rq: &v1::ReserveRequest,
    now: Millis,
) -> Result<Asked<'_, FeatureRequest<'_>>, WireError> {
    let hold_ms = hold_for(rq.hold_for.as_ref())?;
    // 0 is left out; whether it may be depends on the feature: `Shared::feature`.
    let units = units("units", rq.units, u64::from(rq.units != 0))?;
    let op = if charges(rq.on_expiry)? {
        FeatureOp::ReserveCharging { units, hold_ms }
    } else {
        FeatureOp::Reserve { units, hold_ms }
    };
    feature(
        (&rq.account, &rq.feature, Some(&rq.idempotency_key), &rq.subject),
        (op, rq.synthetic),
        borrowed::Include::of(rq.include.as_ref()),
        now,
    )
}

/// A record.
pub fn record(
    rq: &v1::RecordRequest,
    now: Millis,
) -> Result<Asked<'_, FeatureRequest<'_>>, WireError> {
    let op = FeatureOp::Record { units: used_units(rq.units)? };
    let names = (&*rq.account, &*rq.feature, Some(&*rq.idempotency_key), &*rq.subject);
    let include = borrowed::Include::of(rq.include.as_ref());
    let mut asked = feature(names, (op, rq.synthetic), include, now)?;
    asked.request.dimensions = Dimensions::of(&rq.dimensions);
    Ok(asked)
}

/// A change of a level.
pub fn allocate(
    rq: &v1::AllocateRequest,
    now: Millis,
) -> Result<Asked<'_, FeatureRequest<'_>>, WireError> {
    use v1::allocate_request::Change;
    let change = match rq.change {
        Some(Change::AddUnits(n)) => LevelChange::Add { units: units("add_units", n, 1)? },
        Some(Change::RemoveUnits(n)) => LevelChange::Remove { units: units("remove_units", n, 1)? },
        Some(Change::SetUnits(n)) => LevelChange::Set { units: units("set_units", n, 0)? },
        Some(Change::ReportUnits(n)) => LevelChange::Report { units: units("report_units", n, 0)? },
        None => return Err(WireError::field("change", "is missing")),
    };
    let op = (FeatureOp::Allocate { change }, false);
    let include = borrowed::Include::of(rq.include.as_ref());
    feature((&rq.account, &rq.feature, Some(&rq.idempotency_key), ""), op, include, now)
}

/// An extend.
pub fn extend(
    rq: &v1::ExtendRequest,
    now: Millis,
) -> Result<Asked<'_, HoldRequest<'_>>, WireError> {
    let hold_ms = rq.hold_for.as_ref().map(hold_ms).transpose()?;
    let additional_units = units("additional_units", rq.additional_units, 0)?;
    if hold_ms.is_none() && additional_units == 0 {
        return Err(WireError::field("hold_for", "or additional_units must be set"));
    }
    let op = HoldOp::Extend { hold_ms, additional_units };
    hold((&rq.account, &rq.reservation_id, &rq.idempotency_key), op, rq.include.as_ref(), now)
}

/// A commit.
pub fn commit(
    rq: &v1::CommitRequest,
    now: Millis,
) -> Result<Asked<'_, HoldRequest<'_>>, WireError> {
    let op = if rq.keep_open {
        let hold_ms = rq.hold_for.as_ref().map(hold_ms).transpose()?;
        HoldOp::CommitPart { units: units("units", rq.units, 1)?, hold_ms }
    } else if rq.hold_for.is_some() {
        return Err(WireError::field("hold_for", "is for keep_open: nothing is held afterwards"));
    } else {
        HoldOp::Commit { units: units("units", rq.units, 0)? }
    };
    let named = (&*rq.account, &*rq.reservation_id, &*rq.idempotency_key);
    let mut asked = hold(named, op, rq.include.as_ref(), now)?;
    asked.request.dimensions = Dimensions::of(&rq.dimensions);
    Ok(asked)
}

/// A release.
pub fn release(
    rq: &v1::ReleaseRequest,
    now: Millis,
) -> Result<Asked<'_, HoldRequest<'_>>, WireError> {
    hold(
        (&rq.account, &rq.reservation_id, &rq.idempotency_key),
        HoldOp::Release,
        rq.include.as_ref(),
        now,
    )
}

/// The operations of one message of the stream, each as the number of its kind and the bytes of its
/// request. The outer error is the message's, an inner one its operation's.
pub fn operations(
    message: &[u8],
) -> impl Iterator<Item = Result<Result<(u32, &[u8]), WireError>, Malformed>> {
    FieldsOf::new(message).filter_map(|field| match field {
        Ok((1, Value::Bytes(operation))) => Some(Ok(one_operation(operation))),
        Ok((tag @ 1, _)) => Some(Err(Malformed::WireType { tag })),
        Ok(_) => None,
        Err(malformed) => Some(Err(malformed)),
    })
}

fn one_operation(operation: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let mut found = None;
    for field in FieldsOf::new(operation) {
        let (tag, value) = field?;
        if let Value::Bytes(request) = value
            && is_operation(tag)
            && found.replace((tag, request)).is_some()
        {
            return Err(WireError::field("operation", "is there more than once"));
        }
    }
    found.ok_or_else(|| WireError::field("operation", "is missing"))
}

/// An instant.
pub fn timestamp(field: &str, at: &prost_types::Timestamp) -> Result<Millis, WireError> {
    let nanos_fit = (0..1_000_000_000).contains(&at.nanos);
    let ms = at
        .seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(i64::from(at.nanos) / 1_000_000))
        .filter(|ms| nanos_fit && jiff::Timestamp::from_millisecond(*ms).is_ok());
    ms.map(Millis).ok_or_else(|| WireError::field(field, "is not an instant of the calendar"))
}

/// A span of time, 0 or more.
pub fn duration_ms(field: &str, span: &prost_types::Duration) -> Result<i64, WireError> {
    let ms = span
        .seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(i64::from(span.nanos) / 1_000_000))
        .filter(|ms| *ms >= 0);
    ms.ok_or_else(|| WireError::field(field, "must be 0 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problem_of<T: std::fmt::Debug>(result: Result<T, WireError>) -> String {
        result.expect_err("refused").message
    }

    #[test]
    fn units_are_1_to_2_pow_53_less_1() {
        assert_eq!(units("units", 1, 1), Ok(1));
        assert_eq!(units("units", (1 << 53) - 1, 1), Ok(UNITS_MAX));
        for wrong in [0, -1, i64::MIN, 1 << 53, i64::MAX] {
            let message = problem_of(units("units", wrong, 1));
            assert_eq!(message, format!("units: is {wrong}, must be 1 to 9007199254740991"));
        }
    }

    #[test]
    fn ids_are_1_to_128_bytes_without_control_characters() {
        assert_eq!(id("account", "acct_1"), Ok("acct_1"));
        assert_eq!(id("account", "Kundin Größe"), Ok("Kundin Größe"));
        assert_eq!(problem_of(id("account", "")), "account: is missing");
        for control in ["a\nb", "a\u{7f}", "a\u{85}b", "\0"] {
            assert_eq!(problem_of(id("account", control)), "account: contains a control character");
        }
        let long = "x".repeat(129);
        assert_eq!(problem_of(id("account", &long)), "account: is 129 bytes long, the most is 128");
        assert!(id("account", &long[..128]).is_ok());
    }

    #[test]
    fn a_reservation_id_is_read_back_only_as_it_was_written() {
        let known = ReservationId(0x1_0000_0002);
        assert_eq!(reservation(&reservation_text(known)), Ok(known));
        for wrong in ["", "rsv_", "rsv_+1", "rsv_01", "rsv_FF", "1", "rsv_fffffffffffffffff"] {
            assert!(reservation(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_level_is_changed_in_one_of_four_ways() {
        use v1::allocate_request::Change;
        let of = |change| {
            let rq = v1::AllocateRequest {
                account: "a".to_owned(),
                feature: "storage".to_owned(),
                idempotency_key: "k".to_owned(),
                change,
                include: None,
            };
            allocate(&rq, Millis(0)).map(|asked| asked.request.op)
        };
        let op = |change| Ok(FeatureOp::Allocate { change });
        assert_eq!(of(Some(Change::AddUnits(1))), op(LevelChange::Add { units: 1 }));
        assert_eq!(of(Some(Change::RemoveUnits(2))), op(LevelChange::Remove { units: 2 }));
        assert_eq!(of(Some(Change::SetUnits(0))), op(LevelChange::Set { units: 0 }));
        assert_eq!(of(Some(Change::ReportUnits(0))), op(LevelChange::Report { units: 0 }));
        let wrong = [Change::AddUnits(0), Change::RemoveUnits(0), Change::SetUnits(-1)];
        for change in wrong.into_iter().chain([Change::ReportUnits(1 << 53)]) {
            assert!(of(Some(change)).is_err(), "{change:?}");
        }
        assert_eq!(problem_of(of(None)), "change: is missing");
    }

    #[test]
    fn holds_last_1_ms_to_7_days() {
        let of = |seconds, nanos| hold_ms(&prost_types::Duration { seconds, nanos });
        assert_eq!(of(0, 1_000_000), Ok(1));
        assert_eq!(of(7 * 86_400, 0), Ok(HOLD_MS_MAX));
        for (seconds, nanos) in [(0, 0), (-1, 0), (7 * 86_400, 1_000_000), (i64::MAX, 0), (0, -1)] {
            assert!(of(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }
}
