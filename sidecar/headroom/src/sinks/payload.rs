//! What receivers read: one JSON object per signal, the same for every kind of sink.
//!
//! The object follows Standard Webhooks: type, timestamp, data. Names here are a contract; they are
//! only ever added to.

use headroom_core::catalog::Catalog;
use headroom_core::signal::{Signal, SignalName};
use headroom_engine::engine::Engine;
use serde::Serialize;

use super::feed::Item;
use super::ids::Starts;

#[derive(Serialize)]
struct Message<'a> {
    r#type: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: String,
    account: &'a str,
    feature: &'a str,
    limit: &'a str,
    window_start: String,
    // None: the window never ends.
    window_end: Option<String>,
    limit_revision: u16,
    dedup_key: String,
    // The highest threshold crossed. None: none was, something was refused.
    threshold_bp: Option<u32>,
    crossed_bp: &'a [u32],
    previous: Standing,
    current: Standing,
    included_units: u64,
    refused_units: u64,
    // Only of a grace that ends by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_until: Option<String>,
    test_clock: bool,
}

#[derive(Serialize)]
struct Standing {
    used_units: u64,
    state: &'static str,
}

/// Writes the message of a signal, which is the same at every attempt.
pub(super) fn message(engine: &Engine, test_clock: bool, starts: &Starts, item: &Item) -> Vec<u8> {
    let catalog = engine.catalog();
    let account = engine.account_id(item.serial);
    // Every number was given by a record before the signal's; "?" is what Names says, too.
    let account = account.as_deref().unwrap_or("?");
    write(&catalog, account, starts.text(item.id), &item.signal, test_clock)
}

fn write(
    catalog: &Catalog,
    account: &str,
    id: String,
    signal: &Signal,
    test_clock: bool,
) -> Vec<u8> {
    let feature = catalog.text(signal.feature);
    let limit = catalog.text(signal.limit);
    let window_start = signal.window.start().to_string();
    let threshold_bp = signal.crossed_bp.last().copied();
    let threshold = match signal.name {
        SignalName::UsageCeiling => threshold_bp.unwrap_or_default().to_string(),
        SignalName::FeatureLimitHit => "hit".to_owned(),
        name
        @ (SignalName::GraceStarted | SignalName::GraceEnding | SignalName::OverageStarted) => {
            name.as_str().to_owned()
        }
        SignalName::ApiTierExceeded => "tier".to_owned(),
        name @ (SignalName::SeatThreshold90pct | SignalName::SeatsNearlyFull) => {
            name.as_str().to_owned()
        }
    };
    // An account's id may hold any character; the parts after it hold no slash, so that two keys
    // are equal only if all their parts are.
    let revision = signal.limit_revision;
    let dedup_key = format!("{account}/{feature}/{limit}/{window_start}/{revision}/{threshold}");
    let message = Message {
        r#type: format!("headroom.signal.{}", signal.name.as_str()),
        timestamp: signal.at.to_string(),
        data: Data {
            id,
            account,
            feature,
            limit,
            window_start,
            window_end: (!signal.window.is_lifetime()).then(|| signal.window.end().to_string()),
            limit_revision: revision,
            dedup_key,
            threshold_bp,
            crossed_bp: &signal.crossed_bp,
            previous: Standing {
                used_units: signal.previous_units,
                state: signal.previous_state.as_str(),
            },
            current: Standing { used_units: signal.current_units, state: signal.state.as_str() },
            included_units: signal.included_units,
            refused_units: signal.refused_units,
            grace_until: signal.grace_until.map(|at| at.to_string()),
            test_clock,
        },
    };
    serde_json::to_vec(&message).expect("texts and numbers are JSON")
}
