//! The facts that templates may use, and when each of them is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use headroom_core::catalog::{
    CONCURRENT_LIMIT, CREDITS_LIMIT, CatalogSpec, EACH_RATE_LIMIT, EntitlementSpec, LEVEL_LIMIT,
    Price, RATE_LIMIT, SEATS_LIMIT,
};
use headroom_core::time::Millis;
use jiff::tz::TimeZone;
use minijinja::value::{Enumerator, Object, Value};

use super::format;

/// What is known about a decision when its prompt is made.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name for programs.
    pub feature: &'a str,
    /// The feature's name for people.
    pub feature_name: &'a str,
    /// What one unit is called; may be empty.
    pub unit: &'a str,
    /// Decimal places for display.
    pub scale: u8,
    /// The name of the plan in force.
    pub plan: &'a str,
    /// Its name for people.
    pub plan_name: &'a str,
    /// The binding limit; `None` when the plan has none, as for a locked feature.
    pub limit: Option<LimitFacts<'a>>,
    /// The account's own facts: names, ascending, and values as JSON text.
    pub account_facts: &'a [(String, String)],
    /// The instant of the decision.
    pub now: Millis,
    /// Where dates are read off.
    pub zone: &'a TimeZone,
}

/// The limit that a prompt is about.
#[derive(Debug, Clone)]
pub struct LimitFacts<'a> {
    /// Its name.
    pub limit: &'a str,
    /// Units used in the window; of a concurrency those held, of a rate those that have not come back.
    pub used_units: u64,
    /// Included units of the window; of a concurrency the most at a time, of a rate the burst.
    pub included_units: u64,
    /// When units next come free by time alone. `None`: never, or nothing has begun a window.
    pub frees_at: Option<Millis>,
    /// When the included units are used up at the pace so far, if that is within the window.
    pub reaches_limit_at: Option<Millis>,
}

/// The plan that a prompt offers.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    plan: String,
    name: String,
    price: Option<Price>,
    // Feature, limit and included units; `None` is unlimited.
    included: BTreeMap<(String, String), Option<u64>>,
}

impl Offer {
    pub(super) fn of(spec: &CatalogSpec, plan: &str) -> Option<Offer> {
        let plan = spec.plans.iter().find(|known| known.plan == plan)?;
        let mut included = BTreeMap::new();
        for (feature, entitlement) in &plan.entitlements {
            let mut put = |limit: &str, units: Option<u64>| {
                included.insert((feature.clone(), limit.to_owned()), units);
            };
            match entitlement {
                EntitlementSpec::Credits { terms } => {
                    put(CREDITS_LIMIT, Some(terms.included_units));
                }
                EntitlementSpec::Quota { limits } | EntitlementSpec::PaidQuota { limits, .. } => {
                    limits.iter().for_each(|limit| put(&limit.limit, limit.included_units));
                }
                EntitlementSpec::Concurrency { max_units, .. } => put(CONCURRENT_LIMIT, *max_units),
                EntitlementSpec::Rate { rate, each } => {
                    put(RATE_LIMIT, rate.map(|rate| rate.burst_units));
                    let each = each.or(*rate);
                    put(EACH_RATE_LIMIT, each.map(|rate| rate.burst_units));
                }
                EntitlementSpec::Seats { included_units, .. } => put(SEATS_LIMIT, *included_units),
                EntitlementSpec::Allocation { limit } => put(LEVEL_LIMIT, limit.included_units),
                EntitlementSpec::Switch { .. } | EntitlementSpec::Config { .. } => {}
            }
        }
        let price = plan.price.clone();
        Some(Offer { plan: plan.plan.clone(), name: plan.name.clone(), price, included })
    }

    /// Whether the plan has the limit in question.
    pub(super) fn has(&self, facts: &Facts<'_>) -> bool {
        self.included(facts).is_some()
    }

    /// What the plan includes of the limit in question.
    fn included(&self, facts: &Facts<'_>) -> Option<String> {
        let limit = facts.limit.as_ref()?.limit;
        let units = self.included.get(&(facts.feature.to_owned(), limit.to_owned()))?;
        Some(match units {
            Some(units) => format::units(*units, facts.scale),
            None => "unlimited".to_owned(),
        })
    }
}

/// A fact and its value; absent facts are not listed.
pub(super) type Values = Vec<(&'static str, Value)>;

/// Every fact, with the reason why it may be absent.
pub(super) const FACTS: [(&str, Presence); 21] = [
    ("account", Presence::Always),
    ("feature", Presence::Always),
    ("feature_name", Presence::Always),
    ("unit", Presence::Always),
    ("plan", Presence::Always),
    ("plan_name", Presence::Always),
    ("facts", Presence::Always),
    ("limit", Presence::WithLimit),
    ("used", Presence::WithLimit),
    ("included", Presence::WithLimit),
    ("remaining", Presence::WithLimit),
    ("percent", Presence::WithLimit),
    ("window_end", Presence::WithEnd),
    ("window_end_when", Presence::WithEnd),
    ("reaches_limit_on", Presence::WithProjection),
    ("reaches_limit_when", Presence::WithProjection),
    ("offer_plan", Presence::WithOffer),
    ("offer_plan_name", Presence::WithOffer),
    ("offer_price", Presence::WithPrice),
    ("offer_per", Presence::WithPrice),
    ("offer_included", Presence::WithOfferedLimit),
];

/// When a fact is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Always,
    WithLimit,
    WithEnd,
    WithProjection,
    WithOffer,
    WithPrice,
    WithOfferedLimit,
}

impl Presence {
    /// Why the fact is not there.
    pub(super) fn why_absent(self) -> &'static str {
        match self {
            Presence::Always => "it is always there",
            Presence::WithLimit => "a locked feature has no limit",
            Presence::WithEnd => {
                "a lifetime window has no end, a first-use one has none before it begins, nor a \
                 sliding one while it is empty"
            }
            Presence::WithProjection => "often the limit is not reached within the window",
            Presence::WithOffer => "the prompt has no `offer`",
            Presence::WithPrice => "the prompt has no `offer` with a price",
            Presence::WithOfferedLimit => "the plan offered may not have the limit in question",
        }
    }
}

impl Facts<'_> {
    /// The facts as templates see them, in the order of [`FACTS`].
    pub(super) fn values(&self, offer: Option<&Offer>) -> Values {
        let mut values: Values = vec![
            ("account", Value::from(self.account)),
            ("feature", Value::from(self.feature)),
            ("feature_name", Value::from(self.feature_name)),
            ("unit", Value::from(self.unit)),
            ("plan", Value::from(self.plan)),
            ("plan_name", Value::from(self.plan_name)),
        ];
        let mut add = |name, text: Option<String>| {
            values.extend(text.map(|text| (name, Value::from(text))));
        };
        if let Some(limit) = &self.limit {
            let remaining = limit.included_units.saturating_sub(limit.used_units);
            add("limit", Some(limit.limit.to_owned()));
            add("used", Some(format::units(limit.used_units, self.scale)));
            add("included", Some(format::units(limit.included_units, self.scale)));
            add("remaining", Some(format::units(remaining, self.scale)));
            let end = limit.frees_at;
            add("window_end", end.and_then(|at| format::date(at, self.now, self.zone)));
            add("window_end_when", end.and_then(|at| format::when(at, self.now, self.zone)));
            let reached = limit.reaches_limit_at;
            add("reaches_limit_on", reached.and_then(|at| format::date(at, self.now, self.zone)));
            add("reaches_limit_when", reached.and_then(|at| format::when(at, self.now, self.zone)));
        }
        if let Some(offer) = offer {
            add("offer_plan", Some(offer.plan.clone()));
            add("offer_plan_name", Some(offer.name.clone()));
            add("offer_price", offer.price.as_ref().map(format::money));
            add("offer_per", offer.price.as_ref().map(|price| price.per.as_str().to_owned()));
            add("offer_included", offer.included(self));
        }
        if let Some(limit) = &self.limit {
            values.push(("percent", Value::from(limit.percent())));
        }
        values
    }

    /// The root of all names in a template.
    pub(super) fn context(&self, values: &Values) -> Value {
        let mut context: BTreeMap<&'static str, Value> = values.iter().cloned().collect();
        context.insert("facts", Value::from_object(AccountFacts::of(self.account_facts)));
        Value::from(context)
    }
}

impl LimitFacts<'_> {
    /// Rounds down, so that 100 % is said only when it is so.
    fn percent(&self) -> u64 {
        match self.included_units {
            0 => 100,
            included => {
                let percent = u128::from(self.used_units) * 100 / u128::from(included);
                u64::try_from(percent).unwrap_or(u64::MAX)
            }
        }
    }
}

/// The facts as texts, for a product that renders its own.
pub(super) fn shown(values: Values) -> Vec<(&'static str, String)> {
    values.into_iter().map(|(name, value)| (name, super::plain(&value))).collect()
}

/// `facts.NAME`: what nobody told us about this account is empty, not an error.
#[derive(Debug)]
struct AccountFacts {
    values: BTreeMap<String, Value>,
}

impl AccountFacts {
    fn of(facts: &[(String, String)]) -> AccountFacts {
        let values = facts
            .iter()
            .filter_map(|(name, json)| {
                Some((name.clone(), value(serde_json::from_str(json).ok()?)))
            })
            .collect();
        AccountFacts { values }
    }
}

impl Object for AccountFacts {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let known = key.as_str().and_then(|key| self.values.get(key));
        Some(known.cloned().unwrap_or_else(|| Value::from_object(UnknownFact)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.values.keys().map(Value::from).collect())
    }
}

/// Empty, false, and so is everything in it.
#[derive(Debug)]
struct UnknownFact;

impl Object for UnknownFact {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_object(UnknownFact))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from_object(UnknownFact),
        serde_json::Value::Bool(on) => Value::from(on),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            // A Struct on the wire has only floats, so 12 arrives as 12.0.
            #[allow(clippy::cast_possible_truncation)]
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => {
                Value::from(float as i64)
            }
            (None, Some(float)) => Value::from(float),
            (None, None) => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => items.into_iter().map(value).collect(),
        serde_json::Value::Object(entries) => {
            let values = entries.into_iter().map(|(name, json)| (name, value(json))).collect();
            Value::from_object(AccountFacts { values })
        }
    }
}
