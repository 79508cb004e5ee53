//! What receivers read: one JSON object per signal, the same for every kind of sink.
//!
//! The object follows Standard Webhooks: type, timestamp, data. Names here are a contract; they are
//! only ever added to.

use headroom_core::catalog::Catalog;
use headroom_core::ending::WHOLE_PLAN;
use headroom_core::names::NameId;
use headroom_core::signal::{Foretold, NO_LIMIT, Signal, SignalName, SignalState, TrialEnds};
use headroom_core::time::{Millis, Window};
use headroom_engine::engine::Engine;
use headroom_engine::told::{Raised, Told};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::feed::Item;
use super::ids::Starts;
use super::sentence;
use crate::growth::Appraisal;

/// A signal as it is told, the same at every attempt.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Message {
    pub(super) r#type: String,
    pub(super) timestamp: String,
    pub(super) data: Data,
    /// What happened.
    #[serde(skip)]
    pub(super) name: String,
    /// The same of a signal that was found here. `None`: it was told.
    #[serde(skip)]
    pub(super) found: Option<SignalName>,
    /// When.
    #[serde(skip)]
    pub(super) at: Millis,
    /// Facts of the account, as they were when this was told.
    #[serde(skip)]
    pub(super) account_facts: Map<String, Value>,
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
    // Only of what stood otherwise before and is well again: the state is then `ok`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) recovered: bool,
    pub(super) included_units: u64,
    pub(super) refused_units: u64,
    // Only of a grace that ends by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grace_until: Option<String>,
    // Only of a projected exhaustion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) projected: Option<Projected>,
    // Only of a trial that ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<TrialTold>,
    // Only of what was unlocked: the feature whose use did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) earned_by: Option<String>,
    pub(super) test_clock: bool,
    // Of a signal that was told: what it is known by, and what else was said. Such a signal is of no
    // feature and no limit: their names are empty, and nothing is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Value>,
    // `class`, `gate`, `scores`, `route` and `live_signals`, as they were when the signal came.
    #[serde(flatten)]
    pub(super) said: Map<String, Value>,
}

/// A trial that ends.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TrialTold {
    // The plan in force: of the trial of a plan the one on trial. A trial of one feature names that.
    pub(super) plan: String,
    // How many days ahead this is told, as the catalog says it.
    pub(super) days: u16,
    pub(super) ends_at: String,
}

/// When a limit is likely reached.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Projected {
    // The horizon that it came within, in days.
    pub(super) days: u16,
    pub(super) probability_bp: u16,
    pub(super) reaches_limit_at: String,
    pub(super) reaches_limit_from: String,
    // None: it may well not be reached.
    pub(super) reaches_limit_to: Option<String>,
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
        let account = account.as_deref().unwrap_or("?");
        let id = starts.text(item.id);
        let mut message = match &item.signal {
            Raised::Found(signal) => {
                tell(Named::of(&catalog, account, id, signal), signal, test_clock)
            }
            Raised::Told(told) => tell_told(account.to_owned(), id, told, test_clock),
        };
        if let Some(appraisal) = &item.appraisal {
            message.data.said = appraisal.said().clone();
        }
        if let Some(profile) = engine.profile(account) {
            // Facts were JSON when they were taken in.
            let read = |(name, text): &(String, String)| {
                Some((name.clone(), serde_json::from_str(text).ok()?))
            };
            message.account_facts = profile.facts().iter().filter_map(read).collect();
        }
        message
    }

    /// Signals of every sort, to try templates with: each name with and without what may be absent.
    pub(super) fn samples() -> Vec<Message> {
        let day = Window::new(Millis(0), Millis(86_400_000)).expect("it ends after it starts");
        let mut samples = Vec::new();
        for name in SignalName::ALL {
            for (has_all, window) in [(true, day), (false, Window::lifetime(Millis(0)))] {
                let named = Named {
                    account: "acme".to_owned(),
                    id: "sig_00000001_0000000000000001_0000".to_owned(),
                    feature: "calls".to_owned(),
                    limit: "monthly".to_owned(),
                    shown: Shown { feature: "Calls".into(), unit: "calls".into(), scale: 0 },
                    plan: "pro".to_owned(),
                    earned_by: (has_all && name == SignalName::UnlockEarned)
                        .then(|| "workflows".to_owned()),
                };
                let crossed: &[u32] = if has_all { &[8_000] } else { &[] };
                let signal = Signal {
                    name,
                    feature: NameId(0),
                    limit: NameId(0),
                    window,
                    limit_revision: 1,
                    crossed_bp: crossed.iter().copied().collect(),
                    previous_units: 79,
                    current_units: 80,
                    included_units: 100,
                    refused_units: u64::from(!has_all),
                    previous_state: SignalState::Ok,
                    grace_until: has_all.then_some(Millis(0)),
                    foretold: (has_all && name == SignalName::ProjectedExhaustion).then_some(
                        Foretold {
                            days: 3,
                            probability_bp: 9_000,
                            at: Millis(2),
                            from: Millis(1),
                            to: Some(Millis(3)),
                        },
                    ),
                    trial: (has_all && name == SignalName::TrialEnding)
                        .then_some(TrialEnds { plan: NameId(0), days: 3 }),
                    earned_by: None,
                    state: SignalState::Warning,
                    at: Millis(0),
                };
                let mut sample = tell(named, &signal, false);
                sample.data.said = Appraisal::sample(name.as_str()).said().clone();
                samples.push(sample);
            }
        }
        let told = Told {
            name: "nps_recorded".to_owned(),
            event: "evt_1".to_owned(),
            at: Millis(0),
            previous_state: SignalState::Ok,
            state: SignalState::Warning,
            data_json: "{\"score\":9}".to_owned(),
        };
        let id = "sig_00000001_0000000000000002_0000".to_owned();
        let mut sample = tell_told("acme".to_owned(), id, &told, false);
        sample.data.said = Appraisal::sample(&told.name).said().clone();
        samples.push(sample);
        samples
    }

    /// What templates may say of it. Names here are read by operators' templates: they are only
    /// ever added to.
    pub(super) fn facts(&self) -> Map<String, Value> {
        let data = &self.data;
        let texts = [
            ("signal", self.name.clone()),
            ("type", self.r#type.clone()),
            ("id", data.id.clone()),
            ("unique_id", self.unique_id()),
            ("uuid", self.uuid()),
            ("ulid", self.ulid()),
            ("timestamp", self.timestamp.clone()),
            ("account", data.account.clone()),
            ("feature", data.feature.clone()),
            ("feature_name", self.shown.feature.clone()),
            ("limit", data.limit.clone()),
            ("text", format!("{} {}", data.account, sentence::of(self))),
        ];
        let mut facts: Map<String, Value> =
            texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        facts.insert("timestamp_s".to_owned(), self.at.0.div_euclid(1000).into());
        facts.insert("timestamp_ms".to_owned(), self.at.0.into());
        let data = serde_json::to_value(data).expect("texts and numbers are JSON");
        facts.insert("data".to_owned(), data);
        facts.insert("facts".to_owned(), self.account_facts.clone().into());
        facts
    }

    /// The unique id as a UUID, of the version that is free in its bits.
    fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.digest()[16..]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = String::new();
        for (place, byte) in bytes.iter().enumerate() {
            let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            text.push_str(&format!("{dash}{byte:02x}"));
        }
        text
    }

    /// The unique id as a ULID: the instant in milliseconds, and then what makes it unique.
    fn ulid(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let at = u128::try_from(self.at.0).unwrap_or_default() & 0xffff_ffff_ffff;
        let tail = self.digest()[6..16].iter().fold(0, |tail, byte| tail << 8 | u128::from(*byte));
        let number = at << 80 | tail;
        let digit = |place: u32| {
            let index = usize::try_from(number >> (5 * place) & 31).expect("it is below 32");
            char::from(DIGITS[index])
        };
        (0..26).rev().map(digit).collect()
    }

    /// An id that no signal of another sidecar has, either: ids are counted from the start of a
    /// data directory. The same at every attempt.
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

/// The names of a signal's numbers.
struct Named {
    account: String,
    id: String,
    feature: String,
    limit: String,
    shown: Shown,
    /// The plan of a trial.
    plan: String,
    /// The feature whose use unlocked it.
    earned_by: Option<String>,
}

impl Named {
    fn of(catalog: &Catalog, account: &str, id: String, signal: &Signal) -> Named {
        let feature = match signal.feature {
            WHOLE_PLAN => String::new(),
            feature => catalog.feature_text(feature).to_owned(),
        };
        let shown = match catalog.feature_of(signal.feature).map(|ix| catalog.feature(ix)) {
            Some(found) => Shown {
                feature: found.name.to_string(),
                unit: found.unit.to_string(),
                scale: found.scale,
            },
            // It has left the catalog since.
            None => Shown { feature: feature.clone(), unit: "units".to_owned(), scale: 0 },
        };
        let limit = match signal.limit {
            NO_LIMIT => String::new(),
            limit => catalog.text(limit).to_owned(),
        };
        let plan = signal.trial.map(|trial| catalog.plan_name(trial.plan).0.to_owned());
        let plan = plan.unwrap_or_default();
        let earned_by = signal.earned_by.map(|feature| catalog.feature_text(feature).to_owned());
        Named { account: account.to_owned(), id, feature, limit, shown, plan, earned_by }
    }
}

/// What is told of a signal that was told.
fn tell_told(account: String, id: String, told: &Told, test_clock: bool) -> Message {
    let standing = |state: SignalState| Standing { used_units: 0, state: state.as_str() };
    let at = told.at.to_string();
    Message {
        r#type: format!("headroom.signal.{}", told.name),
        timestamp: at.clone(),
        data: Data {
            id,
            dedup_key: format!("{account}/{}/{}", told.name, told.event),
            account,
            feature: String::new(),
            limit: String::new(),
            window_start: at,
            window_end: None,
            limit_revision: 0,
            threshold_bp: None,
            crossed_bp: Vec::new(),
            previous: standing(told.previous_state),
            current: standing(told.state),
            recovered: told.state.is_recovered(told.previous_state),
            included_units: 0,
            refused_units: 0,
            grace_until: None,
            projected: None,
            trial: None,
            earned_by: None,
            test_clock,
            event: Some(told.event.clone()),
            // It was JSON when it was taken in.
            details: Some(serde_json::from_str(&told.data_json).unwrap_or(Value::Null)),
            said: Map::new(),
        },
        name: told.name.clone(),
        found: None,
        at: told.at,
        account_facts: Map::new(),
        shown: Shown { feature: String::new(), unit: String::new(), scale: 0 },
    }
}

fn tell(named: Named, signal: &Signal, test_clock: bool) -> Message {
    let Named { account, id, feature, limit, shown, plan, earned_by } = named;
    let window_start = signal.window.start().to_string();
    let threshold_bp = signal.crossed_bp.last().copied();
    let threshold = match signal.name {
        SignalName::UsageCeiling | SignalName::CreditsLow | SignalName::CreditsDepleted => {
            threshold_bp.unwrap_or_default().to_string()
        }
        SignalName::FeatureLimitHit => "hit".to_owned(),
        name
        @ (SignalName::GraceStarted | SignalName::GraceEnding | SignalName::OverageStarted) => {
            name.as_str().to_owned()
        }
        SignalName::ApiTierExceeded => "tier".to_owned(),
        SignalName::TrialEnding => {
            // A trial that is prolonged is told of again, so its end is a part.
            let days = signal.trial.map_or(0, |trial| trial.days);
            format!("trial_{days}_{}", signal.window.end())
        }
        SignalName::ProjectedExhaustion => {
            format!("projected_{}", signal.foretold.map_or(0, |foretold| foretold.days))
        }
        name @ (SignalName::SeatThreshold90pct
        | SignalName::SeatsNearlyFull
        | SignalName::PremiumFeatureAttempted
        | SignalName::TeamInviteSent
        | SignalName::OverageCapNear
        | SignalName::UnlockEarned) => name.as_str().to_owned(),
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
            recovered: signal.state.is_recovered(signal.previous_state),
            included_units: signal.included_units,
            refused_units: signal.refused_units,
            grace_until: signal.grace_until.map(|at| at.to_string()),
            projected: signal.foretold.map(|foretold| Projected {
                days: foretold.days,
                probability_bp: foretold.probability_bp,
                reaches_limit_at: foretold.at.to_string(),
                reaches_limit_from: foretold.from.to_string(),
                reaches_limit_to: foretold.to.map(|at| at.to_string()),
            }),
            trial: signal.trial.map(|trial| TrialTold {
                plan,
                days: trial.days,
                ends_at: signal.window.end().to_string(),
            }),
            earned_by,
            test_clock,
            event: None,
            details: None,
            said: Map::new(),
        },
        name: signal.name.as_str().to_owned(),
        found: Some(signal.name),
        at: signal.at,
        account_facts: Map::new(),
        shown,
    }
}
