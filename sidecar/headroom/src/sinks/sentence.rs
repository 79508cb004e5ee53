//! A signal in a sentence, for people.

use std::fmt::Write as _;

use headroom_core::signal::SignalName;

use super::payload::Message;
use headroom_prompts::display_units;

/// What happened, as the rest of a sentence that begins with the account.
pub(super) fn of(message: &Message) -> String {
    let (data, shown) = (&message.data, &message.shown);
    let units = |units: u64| display_units(units, shown.scale);
    let used = units(data.current.used_units);
    let stand = match data.included_units {
        // Of a limit without an end there is no share.
        0 => format!("{used} {}", shown.unit),
        included => format!("{used} of {} {}", units(included), shown.unit),
    };
    let of = format!("{}, limit {}", shown.feature, data.limit);
    let mut said = match message.found {
        None => format!("has told of {}", message.name.replace('_', " ")),
        Some(SignalName::UsageCeiling) => {
            let percent = data.threshold_bp.unwrap_or_default() / 100;
            format!("has used {percent} % of what is included: {stand} ({of})")
        }
        Some(SignalName::FeatureLimitHit) if data.refused_units > 0 => {
            format!("was refused at a limit: {stand} used ({of})")
        }
        Some(SignalName::FeatureLimitHit) => {
            format!("has run into a limit, and goes on: {stand} used ({of})")
        }
        Some(SignalName::GraceStarted) => format!("is in grace: {stand} used ({of})"),
        Some(SignalName::GraceEnding) => format!("is soon out of grace: {stand} used ({of})"),
        Some(SignalName::OverageStarted) => format!("is in overage: {stand} used ({of})"),
        Some(SignalName::ApiTierExceeded) => format!("calls faster than its tier allows ({of})"),
        Some(SignalName::SeatThreshold90pct) => {
            format!("has claimed 90 % of its seats: {stand} ({of})")
        }
        Some(SignalName::ProjectedExhaustion) => {
            let at = data.projected.as_ref().map_or("soon", |told| &told.reaches_limit_at);
            format!("will likely reach a limit by {at}: {stand} used ({of})")
        }
        Some(SignalName::SeatsNearlyFull) => format!("has one seat left: {stand} ({of})"),
        Some(SignalName::PremiumFeatureAttempted) => {
            format!("has tried what its plan does not have: {}", shown.feature)
        }
        Some(SignalName::TeamInviteSent) if data.refused_units > 0 => {
            format!("has invited somebody for whom there is no seat: {stand} ({of})")
        }
        Some(SignalName::TeamInviteSent) => format!("has invited somebody: {stand} ({of})"),
        Some(SignalName::OverageCapNear) => {
            format!("is near what its overage may cost: {stand} used ({of})")
        }
        Some(SignalName::CreditsLow) => {
            let percent = data.threshold_bp.unwrap_or_default() / 100;
            format!("has used {percent} % of its credits: {stand} ({of})")
        }
        Some(SignalName::TrialEnding) => {
            let what = if data.feature.is_empty() { "its plan" } else { &shown.feature };
            match &data.trial {
                Some(told) => format!("is at the end of its trial of {what}, on {}", told.ends_at),
                None => format!("is at the end of its trial of {what}"),
            }
        }
        Some(SignalName::UnlockEarned) => {
            let by = data.earned_by.as_deref().unwrap_or("use");
            format!("has unlocked {} by {used} of {by}", shown.feature)
        }
        Some(SignalName::CreditsDepleted) => format!("is out of credits: {stand} used ({of})"),
    };
    if let Some(until) = &data.grace_until {
        let _ = write!(said, ", until {until}"); // A text takes everything.
    }
    if data.recovered {
        said.push_str(", and is well again");
    }
    if data.test_clock {
        said.push_str(" [test clock]");
    }
    said
}
