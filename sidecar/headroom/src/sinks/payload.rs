//! What receivers read: one JSON object per signal, the same for every kind of sink.
//!
//! The object follows Standard Webhooks: type, timestamp, data. Names here are a contract; they are
//! only ever added to.

use headroom_core::catalog::Catalog;
use headroom_core::signal::{Signal, SignalName};
use headroom_engine::engine::Engine;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::feed::Item;
use super::ids::Starts;

/// A signal as it is told, the same at every attempt.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Message {
    pub(super) r#type: String,
    pub(super) timestamp: String,
    pub(super) data: Data,
    /// What happened.
    #[serde(skip)]
    pub(super) name: SignalName,
    /// What the feature is called among people, its unit, and the decimal places of its numbers.
    #[serde(skip)]
    pub(super) shown: Shown,
}

/// How a feature is shown to people.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) feature: String,
    pub(super) unit: String,
    pub(super) scale: u8,
}

/// What a signal says. Its names are read by receivers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Data {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) feature: String,
    pub(super) limit: String,
    pub(super) window_start: String,
    // None: the window never ends.
    pub(super) window_end: Option<String>,
    pub(super) limit_revision: u16,
    pub(super) dedup_key: String,
    // The highest threshold crossed. None: none was, something was refused.
    pub(super) threshold_bp: Option<u32>,
    pub(super) crossed_bp: Vec<u32>,
    pub(super) previous: Standing,
    pub(super) current: Standing,
    pub(super) included_units: u64,
    pub(super) refused_units: u64,
    // Only of a grace that ends by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grace_until: Option<String>,
    pub(super) test_clock: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Standing {
    pub(super) used_units: u64,
    pub(super) state: &'static str,
}

impl Message {
    /// What is told of a signal.
    pub(super) fn of(engine: &Engine, test_clock: bool, starts: &Starts, item: &Item) -> Message {
        let catalog = engine.catalog();
        let account = engine.account_id(item.serial);
        // Every number was given by a record before the signal's; "?" is what Names says, too.
        let account = account.as_deref().unwrap_or("?").to_owned();
        tell(&catalog, account, starts.text(item.id), &item.signal, test_clock)
    }

    /// An id that no signal of another sidecar has, either: ids are counted from the start of a data
    /// directory. The same at every attempt.
    pub(super) fn unique_id(&self) -> String {
        let digest = self.digest();
        let tail: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}_{tail}", self.data.id)
    }

    /// What makes the signal this one.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let data = &self.data;
        for part in [&data.id, &self.r#type, &self.timestamp, &data.account, &data.dedup_key] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// The whole message: one object.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }
}

fn tell(
    catalog: &Catalog,
    account: String,
    id: String,
    signal: &Signal,
    test_clock: bool,
) -> Message {
    let feature = catalog.text(signal.feature).to_owned();
    let limit = catalog.text(signal.limit).to_owned();
    let shown = match catalog.feature_of(signal.feature).map(|ix| catalog.feature(ix)) {
        Some(found) => Shown {
            feature: found.name.to_string(),
            unit: found.unit.to_string(),
            scale: found.scale,
        },
        // It has left the catalog since.
        None => Shown { feature: feature.clone(), unit: "units".to_owned(), scale: 0 },
    };
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
    Message {
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
            crossed_bp: signal.crossed_bp.to_vec(),
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
        name: signal.name,
        shown,
    }
}
