//! Signals and what was announced, as bytes.

use headroom_core::announced::Announced;
use headroom_core::ending::Ending;
use headroom_core::names::NameId;
use headroom_core::signal::{Foretold, Signal, SignalName, SignalState, TrialEnds};
use headroom_core::time::Millis;
use smallvec::SmallVec;

use crate::codec::{Malformed, Put, Take};

pub(super) fn put_signal_name(out: &mut Vec<u8>, name: SignalName) {
    out.push(match name {
        SignalName::UsageCeiling => 0,
        SignalName::FeatureLimitHit => 1,
        SignalName::GraceStarted => 2,
        SignalName::GraceEnding => 3,
        SignalName::OverageStarted => 4,
        SignalName::ApiTierExceeded => 5,
        SignalName::SeatThreshold90pct => 10,
        SignalName::SeatsNearlyFull => 11,
        SignalName::ProjectedExhaustion => 12,
        SignalName::PremiumFeatureAttempted => 60,
        SignalName::TeamInviteSent => 61,
        SignalName::OverageCapNear => 62,
        SignalName::CreditsLow => 63,
        SignalName::CreditsDepleted => 64,
        SignalName::TrialEnding => 100,
        SignalName::UnlockEarned => 101,
    });
}

pub(super) fn put_ending(out: &mut Vec<u8>, one: &Ending) {
    out.put_u64(u64::from(one.feature.0));
    out.put_millis(one.began_at);
    out.put_millis(one.ends_at);
    out.put_u64(u64::from(one.days));
}

pub(super) fn take_ending(from: &mut Take<'_>) -> Result<Ending, Malformed> {
    Ok(Ending {
        feature: NameId(from.small("feature")?),
        began_at: from.millis("beginning")?,
        ends_at: from.millis("end")?,
        days: from.small("days")?,
    })
}

pub(super) fn put_announced(out: &mut Vec<u8>, told: &Announced) {
    put_signal_name(out, told.name);
    out.put_u64(u64::from(told.feature.0));
    out.put_u64(u64::from(told.limit.0));
    out.put_millis(told.of);
    out.put_u64(u64::from(told.limit_revision));
}

pub(super) fn take_announced(from: &mut Take<'_>) -> Result<Announced, Malformed> {
    Ok(Announced {
        name: take_signal_name(from)?,
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        of: from.millis("time")?,
        limit_revision: from.small("limit revision")?,
    })
}

pub(crate) fn put_signal(out: &mut Vec<u8>, signal: &Signal) {
    put_signal_name(out, signal.name);
    out.put_u64(u64::from(signal.feature.0));
    out.put_u64(u64::from(signal.limit.0));
    out.put_window(signal.window);
    out.put_u64(u64::from(signal.limit_revision));
    out.put_u64(signal.crossed_bp.len() as u64);
    for bp in &signal.crossed_bp {
        out.put_u64(u64::from(*bp));
    }
    out.put_u64(signal.previous_units);
    out.put_u64(signal.current_units);
    out.put_u64(signal.included_units);
    out.put_u64(signal.refused_units);
    put_state(out, signal.previous_state);
    put_state(out, signal.state);
    out.put_millis(signal.at);
    // The names that were there before have no such field, on disk as in meaning.
    if is_of_grace(signal.name) {
        out.put_millis(signal.grace_until.unwrap_or(Millis::FOREVER));
    }
    if let Some(foretold) = &signal.foretold {
        out.put_u64(u64::from(foretold.days));
        out.put_u64(u64::from(foretold.probability_bp));
        out.put_millis(foretold.at);
        out.put_millis(foretold.from);
        out.put_millis(foretold.to.unwrap_or(Millis::FOREVER));
    }
    if let Some(trial) = &signal.trial {
        out.put_u64(u64::from(trial.plan.0));
        out.put_u64(u64::from(trial.days));
    }
    if let Some(feature) = signal.earned_by {
        out.put_u64(u64::from(feature.0));
    }
}

pub(super) fn take_signal_name(from: &mut Take<'_>) -> Result<SignalName, Malformed> {
    Ok(match from.u8("signal name")? {
        0 => SignalName::UsageCeiling,
        1 => SignalName::FeatureLimitHit,
        2 => SignalName::GraceStarted,
        3 => SignalName::GraceEnding,
        4 => SignalName::OverageStarted,
        5 => SignalName::ApiTierExceeded,
        10 => SignalName::SeatThreshold90pct,
        11 => SignalName::SeatsNearlyFull,
        12 => SignalName::ProjectedExhaustion,
        60 => SignalName::PremiumFeatureAttempted,
        61 => SignalName::TeamInviteSent,
        62 => SignalName::OverageCapNear,
        63 => SignalName::CreditsLow,
        64 => SignalName::CreditsDepleted,
        100 => SignalName::TrialEnding,
        101 => SignalName::UnlockEarned,
        _ => return Err(Malformed { what: "signal name" }),
    })
}

pub(crate) fn take_signal(from: &mut Take<'_>) -> Result<Signal, Malformed> {
    let name = take_signal_name(from)?;
    Ok(Signal {
        name,
        feature: NameId(from.small("feature")?),
        limit: NameId(from.small("limit")?),
        window: from.window("window")?,
        limit_revision: from.small("limit revision")?,
        crossed_bp: {
            let count: usize = from.small("thresholds")?;
            let mut crossed = SmallVec::new();
            for _ in 0..count {
                crossed.push(from.small("threshold")?);
            }
            crossed
        },
        previous_units: from.u64("previous units")?,
        current_units: from.u64("current units")?,
        included_units: from.u64("included units")?,
        refused_units: from.u64("refused units")?,
        previous_state: take_state(from)?,
        state: take_state(from)?,
        at: from.millis("time")?,
        grace_until: if is_of_grace(name) {
            Some(from.millis("end of grace")?).filter(|at| *at != Millis::FOREVER)
        } else {
            None
        },
        foretold: if name == SignalName::ProjectedExhaustion {
            Some(take_foretold(from)?)
        } else {
            None
        },
        trial: if name == SignalName::TrialEnding {
            let plan = NameId(from.small("plan")?);
            Some(TrialEnds { plan, days: from.small("days")? })
        } else {
            None
        },
        earned_by: if name == SignalName::UnlockEarned {
            Some(NameId(from.small("feature")?))
        } else {
            None
        },
    })
}

fn take_foretold(from: &mut Take<'_>) -> Result<Foretold, Malformed> {
    Ok(Foretold {
        days: from.small("horizon")?,
        probability_bp: from.small("probability")?,
        at: from.millis("projected time")?,
        from: from.millis("projected time")?,
        to: Some(from.millis("projected time")?).filter(|at| *at != Millis::FOREVER),
    })
}

fn is_of_grace(name: SignalName) -> bool {
    matches!(name, SignalName::GraceStarted | SignalName::GraceEnding)
}

pub(crate) fn put_state(out: &mut Vec<u8>, state: SignalState) {
    out.push(match state {
        SignalState::Ok => 0,
        SignalState::Warning => 1,
        SignalState::Alarm => 2,
    });
}

pub(crate) fn take_state(from: &mut Take<'_>) -> Result<SignalState, Malformed> {
    match from.u8("signal state")? {
        0 => Ok(SignalState::Ok),
        1 => Ok(SignalState::Warning),
        2 => Ok(SignalState::Alarm),
        _ => Err(Malformed { what: "signal state" }),
    }
}
