//! Profiles of accounts, as bytes: plans, add-ons, trials, overrides, facts.

use headroom_core::account::{
    AddOn, Override, OverrideValue, PastPlan, Profile, ProfileExtra, ScheduledPlan, Trial, Zone,
};
use headroom_core::catalog::RateSpec;
use headroom_core::names::NameId;
use headroom_core::rate::Rate;
use headroom_core::time::Millis;

use crate::codec::{Malformed, Put, Take};

/// An override's rate: 0, or 1 and its numbers.
pub(super) fn put_rate(out: &mut Vec<u8>, rate: Option<Rate>) {
    out.push(u8::from(rate.is_some()));
    if let Some(rate) = rate {
        out.put_u64(rate.units());
        out.put_i64(rate.period_ms());
        out.put_u64(rate.burst_units());
    }
}

pub(super) fn take_rate(from: &mut Take<'_>) -> Result<Option<Rate>, Malformed> {
    if !from.bool("rate")? {
        return Ok(None);
    }
    let spec = RateSpec {
        units: from.u64("rate")?,
        period_ms: from.i64("rate period")?,
        burst_units: from.u64("burst")?,
    };
    Rate::new(spec).ok_or(Malformed { what: "rate" }).map(Some)
}

pub(crate) fn put_profile_body(out: &mut Vec<u8>, profile: &Profile) {
    let has_more = has_more(profile);
    out.put_u64(u64::from(profile.plan.0));
    let has_changes = profile.extra.as_deref().is_some_and(has_changes);
    let with = |part: u8, is_there: bool| if is_there { part } else { 0 };
    let cohorts = profile.cohorts();
    let parts =
        with(MORE, has_more) | with(CHANGES, has_changes) | with(COHORTS, !cohorts.is_empty());
    out.push(u8::from(profile.by_default) | parts);
    out.push(u8::from(profile.suspended));
    out.put_millis(profile.anchor);
    out.put_millis(profile.ends_at);
    out.put_millis(profile.created_at);
    out.put_str(profile.zone.as_ref().map_or("", |zone| zone.name()));
    out.put_u64(profile.overrides().len() as u64);
    for value in profile.overrides() {
        put_override(out, value);
    }
    out.put_u64(profile.facts().len() as u64);
    for (name, value) in profile.facts() {
        out.put_str(name);
        out.put_str(value);
    }
    if has_more {
        put_more(out, profile);
    }
    if has_changes {
        put_changes(out, profile);
    }
    if !cohorts.is_empty() {
        out.put_u64(cohorts.len() as u64);
        cohorts.iter().for_each(|cohort| out.put_str(cohort));
    }
}

/// A bit beside `by_default`: what follows the facts. Profiles without it are written as they were
/// before there was more.
const MORE: u8 = 2;

/// A bit more: the plans of before, and which changes were seen.
const CHANGES: u8 = 4;

/// A bit more: the cohorts it is in.
const COHORTS: u8 = 8;

fn has_changes(extra: &ProfileExtra) -> bool {
    !extra.past.is_empty() || extra.seen_at != Millis::default()
}

fn put_changes(out: &mut Vec<u8>, profile: &Profile) {
    let Some(extra) = &profile.extra else { return };
    out.put_millis(extra.seen_at);
    out.put_u64(extra.past.len() as u64);
    for past in &extra.past {
        out.put_millis(past.until);
        out.put_u64(u64::from(past.plan.0));
    }
}

fn take_changes(from: &mut Take<'_>, extra: &mut ProfileExtra) -> Result<(), Malformed> {
    extra.seen_at = from.millis("changes seen")?;
    for _ in 0..from.small::<usize>("plans of before")? {
        let until = from.millis("end of a plan")?;
        extra.past.push(PastPlan { until, plan: NameId(from.small("plan")?) });
    }
    Ok(())
}

fn is_timed(one: &Override) -> bool {
    one.starts_at != Millis(i64::MIN) || one.ends_at != Millis::FOREVER
}

fn has_more(profile: &Profile) -> bool {
    profile.extra.as_deref().is_some_and(|extra| {
        !extra.addons.is_empty()
            || extra.trial.is_some()
            || !extra.scheduled.is_empty()
            || extra.overrides.iter().any(is_timed)
    })
}

fn put_more(out: &mut Vec<u8>, profile: &Profile) {
    let Some(extra) = &profile.extra else { return };
    out.put_u64(extra.addons.len() as u64);
    for bought in &extra.addons {
        out.put_u64(u64::from(bought.addon.0));
        out.put_u64(u64::from(bought.quantity));
    }
    out.push(u8::from(extra.trial.is_some()));
    if let Some(trial) = extra.trial {
        out.put_u64(u64::from(trial.plan.0));
        out.put_millis(trial.ends_at);
    }
    out.put_u64(extra.scheduled.len() as u64);
    for scheduled in &extra.scheduled {
        out.put_millis(scheduled.starts_at);
        out.put_u64(u64::from(scheduled.plan.0));
    }
    let timed: Vec<(usize, &Override)> =
        extra.overrides.iter().enumerate().filter(|(_, one)| is_timed(one)).collect();
    out.put_u64(timed.len() as u64);
    for (place, one) in timed {
        out.put_u64(place as u64);
        out.put_millis(one.starts_at);
        out.put_millis(one.ends_at);
    }
}

fn take_more(from: &mut Take<'_>, extra: &mut ProfileExtra) -> Result<(), Malformed> {
    for _ in 0..from.small::<usize>("add-ons")? {
        let addon = NameId(from.small("add-on")?);
        extra.addons.push(AddOn { addon, quantity: from.small("quantity")? });
    }
    if from.bool("trial")? {
        let plan = NameId(from.small("trial plan")?);
        extra.trial = Some(Trial { plan, ends_at: from.millis("end of the trial")? });
    }
    for _ in 0..from.small::<usize>("scheduled plans")? {
        let starts_at = from.millis("start of a plan")?;
        extra.scheduled.push(ScheduledPlan { starts_at, plan: NameId(from.small("plan")?) });
    }
    for _ in 0..from.small::<usize>("timed overrides")? {
        let place = from.small::<usize>("place of an override")?;
        let one = extra.overrides.get_mut(place);
        let one = one.ok_or(Malformed { what: "place of an override" })?;
        one.starts_at = from.millis("start of an override")?;
        one.ends_at = from.millis("end of an override")?;
    }
    Ok(())
}

pub(crate) fn take_profile_body(from: &mut Take<'_>) -> Result<Profile, Malformed> {
    let plan = NameId(from.small("plan")?);
    let flags = from.u8("default")?;
    if flags > 1 | MORE | CHANGES | COHORTS {
        return Err(Malformed { what: "default" });
    }
    let by_default = flags & 1 != 0;
    let suspended = from.bool("suspended")?;
    let anchor = from.millis("anchor")?;
    let ends_at = from.millis("end")?;
    let created_at = from.millis("creation")?;
    let zone = match from.str("time zone")? {
        "" => None,
        name => Some(Box::new(Zone::named(name).ok_or(Malformed { what: "time zone" })?)),
    };
    let mut extra = ProfileExtra::default();
    for _ in 0..from.small::<usize>("overrides")? {
        extra.overrides.push(take_override(from)?);
    }
    for _ in 0..from.small::<usize>("facts")? {
        extra.facts.push((from.str("fact name")?.to_owned(), from.str("fact")?.to_owned()));
    }
    if flags & MORE != 0 {
        take_more(from, &mut extra)?;
    }
    if flags & CHANGES != 0 {
        take_changes(from, &mut extra)?;
    }
    if flags & COHORTS != 0 {
        for _ in 0..from.small::<usize>("cohorts")? {
            extra.cohorts.push(from.str("cohort")?.to_owned());
        }
    }
    let extra = (extra != ProfileExtra::default()).then(|| Box::new(extra));
    Ok(Profile { plan, by_default, suspended, anchor, ends_at, created_at, zone, extra })
}

/// What is added to the kind of an override that is the least.
const AT_LEAST: u8 = 50;

fn put_override(out: &mut Vec<u8>, one: &Override) {
    out.put_u64(u64::from(one.feature.0));
    let kind = out.len();
    match &one.value {
        OverrideValue::Switch { on } => {
            out.push(0);
            out.push(u8::from(*on));
        }
        OverrideValue::Config { value_json } => {
            out.push(1);
            out.put_str(value_json);
        }
        OverrideValue::Limit { limit, included_units } => {
            out.push(2);
            out.put_u64(u64::from(limit.0));
            out.put_option(*included_units);
        }
        OverrideValue::Rate { rate } => {
            out.push(3);
            put_rate(out, *rate);
        }
        OverrideValue::SpendCap { limit, cap_minor, currency } => {
            out.push(40);
            out.put_u64(u64::from(limit.0));
            out.put_option(*cap_minor);
            out.put_str(currency);
        }
        OverrideValue::SubjectLimit { subject, limit, included_units } => {
            out.push(30);
            out.put_str(subject);
            out.put_u64(u64::from(limit.0));
            out.put_option(*included_units);
        }
    }
    if one.at_least {
        out[kind] += AT_LEAST;
    }
}

fn take_override(from: &mut Take<'_>) -> Result<Override, Malformed> {
    let feature = NameId(from.small("feature")?);
    let kind = from.u8("override kind")?;
    let at_least = kind >= AT_LEAST;
    let value = match if at_least { kind - AT_LEAST } else { kind } {
        0 => OverrideValue::Switch { on: from.bool("switch")? },
        1 => OverrideValue::Config { value_json: from.str("config value")?.into() },
        2 => OverrideValue::Limit {
            limit: NameId(from.small("limit")?),
            included_units: from.option("included units")?,
        },
        3 => OverrideValue::Rate { rate: take_rate(from)? },
        40 => OverrideValue::SpendCap {
            limit: NameId(from.small("limit")?),
            cap_minor: from.option("spend cap")?,
            currency: from.str("currency")?.into(),
        },
        30 => OverrideValue::SubjectLimit {
            subject: from.str("subject")?.into(),
            limit: NameId(from.small("limit")?),
            included_units: from.option("included units")?,
        },
        _ => return Err(Malformed { what: "override kind" }),
    };
    Ok(Override { at_least, ..Override::new(feature, value) })
}
