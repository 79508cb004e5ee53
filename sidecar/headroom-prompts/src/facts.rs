//! The facts that templates may use, and when each of them is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use headroom_core::catalog::{
    CONCURRENT_LIMIT, CREDITS_LIMIT, CatalogSpec, EACH_RATE_LIMIT, EntitlementSpec, LEVEL_LIMIT,
    Price, RATE_LIMIT, SEATS_LIMIT,
};
use headroom_core::prompt::{DueToday, due_today};
use headroom_core::time::Millis;
use icu_decimal::input::Decimal;
use jiff::tz::TimeZone;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};

use super::language::Language;

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
    /// Whether the work was refused, rather than let through as grace or overage.
    pub is_refused: bool,
    /// The binding limit; `None` when the plan has none, as for a locked feature.
    pub limit: Option<LimitFacts<'a>>,
    /// The account's own facts: names, ascending, and values as JSON text.
    pub account_facts: &'a [(String, String)],
    /// The instant of the decision.
    pub now: Millis,
    /// Where dates are read off.
    pub zone: &'a TimeZone,
    /// When the trial that runs ends. `None`: none runs.
    pub trial_ends_at: Option<Millis>,
    /// What the account pays for its plan. `None`: nothing that is known.
    pub paid: Option<&'a Price>,
    /// The instant that billing periods are counted from.
    pub anchor: Millis,
}

/// The limit that a prompt is about.
#[derive(Debug, Clone)]
pub struct LimitFacts<'a> {
    /// Its name.
    pub limit: &'a str,
    /// Units used in the window; of a concurrency those held, of a rate those that have not come
    /// back.
    pub used_units: u64,
    /// Included units of the window; of a concurrency the most at a time, of a rate the burst.
    pub included_units: u64,
    /// When units next come free by time alone. `None`: never, or nothing has begun a window.
    pub frees_at: Option<Millis>,
    /// When the included units are used up, if that is likely within the window.
    pub reaches_limit: Option<LimitReached>,
}

/// When a limit is likely reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached {
    /// As likely earlier as later.
    pub at: Millis,
    /// Not earlier than this, but for one case in ten.
    pub from: Millis,
    /// Not later than this, but for one case in ten; or the window's end, when it may not be reached.
    pub to: Millis,
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
            match entitlement.given() {
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
                EntitlementSpec::Switch { .. }
                | EntitlementSpec::Config { .. }
                | EntitlementSpec::Locked { .. } => {}
            }
        }
        let price = plan.price.clone();
        Some(Offer { plan: plan.plan.clone(), name: plan.name.clone(), price, included })
    }

    /// Whether the plan has the limit in question.
    pub(super) fn has(&self, facts: &Facts<'_>) -> bool {
        self.included(facts).is_some()
    }

    /// What the plan includes of the limit in question; `None` within is unlimited.
    fn included(&self, facts: &Facts<'_>) -> Option<Option<u64>> {
        let limit = facts.limit.as_ref()?.limit;
        self.included.get(&(facts.feature.to_owned(), limit.to_owned())).copied()
    }

    /// What it costs to go over to the plan now.
    pub(super) fn due_today(&self, facts: &Facts<'_>) -> Option<DueToday> {
        due_today(self.price.as_ref()?, facts.paid, facts.anchor, facts.now)
    }
}

/// A fact and its value; absent facts are not listed.
pub(super) type Values = Vec<(&'static str, Value)>;

/// Every fact, with the reason why it may be absent.
pub(super) const FACTS: [(&str, Presence); 29] = [
    ("account", Presence::Always),
    ("feature", Presence::Always),
    ("feature_name", Presence::Always),
    ("unit", Presence::Always),
    ("plan", Presence::Always),
    ("plan_name", Presence::Always),
    ("facts", Presence::Always),
    ("refused", Presence::Always),
    ("limit", Presence::WithLimit),
    ("used", Presence::WithLimit),
    ("included", Presence::WithLimit),
    ("remaining", Presence::WithLimit),
    ("percent", Presence::WithLimit),
    ("window_end", Presence::WithEnd),
    ("window_end_when", Presence::WithEnd),
    ("window_end_time", Presence::WithEnd),
    ("reaches_limit_on", Presence::WithProjection),
    ("reaches_limit_when", Presence::WithProjection),
    ("likely_from", Presence::WithProjection),
    ("likely_to", Presence::WithProjection),
    ("trial_end", Presence::WithTrial),
    ("trial_end_when", Presence::WithTrial),
    ("trial_days", Presence::WithTrial),
    ("offer_plan", Presence::WithOffer),
    ("offer_plan_name", Presence::WithOffer),
    ("offer_price", Presence::WithPrice),
    ("offer_per", Presence::WithPrice),
    ("offer_included", Presence::WithOfferedLimit),
    ("offer_due_today", Presence::WithDue),
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
    WithDue,
    WithTrial,
}

/// Facts that are words, which not every language has here.
pub(super) const WORDED: [&str; 4] =
    ["window_end_when", "reaches_limit_when", "trial_end_when", "offer_per"];

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
            Presence::WithDue => {
                "what an account pays now may be in another currency or for another period"
            }
            Presence::WithTrial => "only the scenario `trial_ending` is sure to have a trial",
        }
    }
}

impl Facts<'_> {
    /// The facts as templates see them, as a language writes them.
    pub(super) fn values(&self, offer: Option<&Offer>, language: &Language) -> Values {
        let mut values: Values = vec![
            ("account", Value::from(self.account)),
            ("feature", Value::from(self.feature)),
            ("feature_name", Value::from(self.feature_name)),
            ("unit", Value::from(self.unit)),
            ("plan", Value::from(self.plan)),
            ("plan_name", Value::from(self.plan_name)),
            ("refused", Value::from(self.is_refused)),
        ];
        if let Some(limit) = &self.limit {
            self.add_limit(limit, language, &mut values);
        }
        let mut add = |name, text: Option<String>| {
            values.extend(text.map(|text| (name, Value::from(text))));
        };
        if let Some(end) = self.trial_ends_at {
            add("trial_end", language.date(end, self.now, self.zone));
            add("trial_end_when", language.when(end, self.now, self.zone));
        }
        if let Some(offer) = offer {
            let price = offer.price.as_ref();
            let money = |minor: u64, price: &Price| language.money(minor, &price.currency);
            let due = offer.due_today(self).zip(price);
            add("offer_plan", Some(offer.plan.clone()));
            add("offer_plan_name", Some(offer.name.clone()));
            add("offer_price", price.map(|price| money(price.minor, price)));
            add("offer_per", price.and_then(|price| language.per(price.per)).map(str::to_owned));
            add("offer_due_today", due.map(|(due, price)| money(due.minor(), price)));
            values.extend(offer.included(self).map(|units| {
                (
                    "offer_included",
                    match units {
                        Some(units) => Number::of_units(units, self.scale, language),
                        None => Value::from(language.unlimited()),
                    },
                )
            }));
        }
        if let Some(limit) = &self.limit {
            values.push(("percent", Value::from(limit.percent())));
        }
        if let Some(end) = self.trial_ends_at {
            values.push(("trial_days", Value::from(days_to(end, self.now))));
        }
        values
    }

    fn add_limit(&self, limit: &LimitFacts<'_>, language: &Language, values: &mut Values) {
        let remaining = limit.included_units.saturating_sub(limit.used_units);
        let number = |units| Number::of_units(units, self.scale, language);
        values.push(("limit", Value::from(limit.limit)));
        values.push(("used", number(limit.used_units)));
        values.push(("included", number(limit.included_units)));
        values.push(("remaining", number(remaining)));
        let mut add = |name, text: Option<String>| {
            values.extend(text.map(|text| (name, Value::from(text))));
        };
        if let Some(end) = limit.frees_at {
            add("window_end", language.date(end, self.now, self.zone));
            add("window_end_when", language.when(end, self.now, self.zone));
            add("window_end_time", language.time(end, self.zone));
        }
        if let Some(reached) = limit.reaches_limit {
            let date = |at| language.date(at, self.now, self.zone);
            add("reaches_limit_on", date(reached.at));
            add("reaches_limit_when", language.when(reached.at, self.now, self.zone));
            add("likely_from", date(reached.from));
            // A window that never ends has no date for its end.
            add("likely_to", date(reached.to).or_else(|| date(reached.at)));
        }
    }

    /// Whether a fact of the account is known and says something. `name` may lead into it:
    /// `team.lead`.
    pub(super) fn tells(&self, name: &str) -> bool {
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        let known = self.account_facts.iter().find(|(known, _)| known == first);
        let Some(json) = known.and_then(|(_, json)| serde_json::from_str(json).ok()) else {
            return false;
        };
        let mut path = rest.split('.').filter(|step| !step.is_empty());
        let found = path.try_fold(&json, |json: &serde_json::Value, step| json.get(step));
        match found {
            None | Some(serde_json::Value::Null) => false,
            Some(serde_json::Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        }
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

/// Days until an instant, begun ones included.
fn days_to(at: Millis, now: Millis) -> i64 {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let ms = at.since(now).max(0);
    ms / DAY_MS + i64::from(ms % DAY_MS != 0)
}

/// A number as a language writes it, that still knows which one it is.
#[derive(Debug)]
pub(super) struct Number {
    text: String,
    decimal: Decimal,
}

impl Number {
    fn of_units(units: u64, scale: u8, language: &Language) -> Value {
        let (text, decimal) = language.units(units, scale);
        Value::from_object(Number { text, decimal })
    }

    /// The number that a value of a template is, if it is one.
    pub(super) fn decimal(value: &Value) -> Option<Decimal> {
        if let Some(number) = value.downcast_object_ref::<Number>() {
            return Some(number.decimal.clone());
        }
        if let Some(whole) = value.as_i64().filter(|_| value.is_integer()) {
            return Some(Decimal::from(whole));
        }
        // As it is written: 1.5.
        (value.kind() == ValueKind::Number).then(|| value.to_string().parse().ok()).flatten()
    }
}

impl Object for Number {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.decimal.absolute.is_zero()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
