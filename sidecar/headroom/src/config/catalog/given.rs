//! What plans and add-ons give: the entitlements of each.
//!
//! Something stands in for what cannot be read, and it is such that it makes no other problem: a limit that
//! nothing is out of reach of, or that is in nobody's reach.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::catalog::{
    EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, PlanLimitSpec, PlanSpec, Policy,
    UNLOCK_AFTER, UnlockSpec,
};
use headroom_core::change::OnChange;
use headroom_core::limits::UNITS_MAX;
use headroom_core::policy::LimitTerms;

use super::{credits, levels, meters, policy, versions};
use crate::config::reader::{Entry, Reader};
use crate::config::yaml::{Key, Node, Value};

/// What could not be read of the features, so that nothing is asked of what plans say about it.
#[derive(Debug, Default)]
pub(super) struct Unclear {
    /// Features whose kind or limits are not known.
    pub(super) features: BTreeSet<String>,
    /// Limits whose windows are not known: feature and limit.
    pub(super) limits: BTreeSet<(String, String)>,
}

/// What plans may refer to.
pub(super) struct Known<'a> {
    pub(super) kinds: BTreeMap<&'a str, &'a FeatureKindSpec>,
    pub(super) unclear: &'a Unclear,
}

pub(super) fn read_plans(
    reader: &Reader,
    entry: Entry<'_>,
    features: &[FeatureSpec],
    unclear: &Unclear,
) -> Option<Vec<PlanSpec>> {
    let entries = reader.map(entry, "a mapping from names to plans")?;
    let by_name =
        features.iter().map(|feature| (feature.feature.as_str(), &feature.kind)).collect();
    let known = Known { kinds: by_name, unclear };
    let mut plans = Vec::with_capacity(entries.len());
    for entry in entries.iter().map(Entry::of) {
        versions::read_plan(reader, entry, &known, &mut plans);
    }
    Some(plans)
}

/// What a plan gives.
pub(super) fn read_entitlements(
    reader: &Reader,
    entitlements: Option<Entry<'_>>,
    known: &Known<'_>,
) -> Vec<(String, EntitlementSpec)> {
    let mut all = Vec::new();
    let what = "a mapping from features to what the plan gives";
    let entries = entitlements.and_then(|entry| reader.map(entry, what)).unwrap_or_default();
    for entry in entries.iter().map(Entry::of) {
        if !known.unclear.features.contains(entry.name)
            && let Some(given) = read_entitlement(reader, entry, known)
        {
            all.push((entry.name.to_owned(), given));
        }
    }
    all
}

fn read_entitlement(
    reader: &Reader,
    entry: Entry<'_>,
    known: &Known<'_>,
) -> Option<EntitlementSpec> {
    match known.kinds.get(entry.name) {
        Some(FeatureKindSpec::Switch) => match &entry.node.value {
            // A mapping says nothing but what has to be used first.
            Value::Map(_) => {
                let mut fields =
                    reader.fields(entry, "`on`, `off` or a mapping with `unlock_after`")?;
                let after = fields.required(UNLOCK_AFTER);
                fields.end();
                let given = EntitlementSpec::Switch { on: true };
                Some(locked(reader, after, given, known))
            }
            _ => Some(EntitlementSpec::Switch { on: reader.switch(entry)? }),
        },
        Some(FeatureKindSpec::Config) => {
            Some(EntitlementSpec::Config { value_json: json(reader, entry)?.to_string() })
        }
        Some(FeatureKindSpec::Quota { limits }) => read_quota(reader, entry, limits, known),
        Some(FeatureKindSpec::Concurrency { .. }) => meters::read_concurrency(reader, entry),
        Some(FeatureKindSpec::Rate { .. }) => meters::read_rate(reader, entry),
        Some(FeatureKindSpec::Allocation { .. }) => levels::read_level(reader, entry),
        Some(FeatureKindSpec::Credits { .. }) => credits::read_terms(reader, entry),
        Some(FeatureKindSpec::Seats { .. }) => levels::read_seats_given(reader, entry),
        // The check finds that the feature is unknown, whatever is given.
        None => Some(EntitlementSpec::Switch { on: true }),
    }
}

/// The limits of a quota, who pays for it, and what has to be used first.
fn read_quota(
    reader: &Reader,
    entry: Entry<'_>,
    shapes: &[LimitSpec],
    known: &Known<'_>,
) -> Option<EntitlementSpec> {
    let what = "a mapping from limits to what the plan includes";
    let Some(entries) = reader.map(entry, what) else {
        // Whoever says that something of it is used first is right.
        let limits = shapes.iter().map(|shape| stand_in(&shape.limit)).collect();
        return Some(EntitlementSpec::Quota { limits });
    };
    let is_limit =
        |(key, _): &&(Key, Node)| ![credits::PAID_BY, UNLOCK_AFTER].contains(&&*key.text);
    let read = |given: &(Key, Node)| {
        let given = Entry::of(given);
        let shape = shapes.iter().find(|shape| shape.limit == given.name);
        let is_of_subjects = shape.is_some_and(|shape| shape.per.is_some());
        let limit = read_plan_limit(reader, given, is_of_subjects);
        let mut limit = limit.unwrap_or_else(|| stand_in(given.name));
        if known.unclear.limits.contains(&(entry.name.to_owned(), limit.limit.clone())) {
            let units = stand_in_units(is_of_subjects);
            limit.included_units = limit.included_units.map(|_| units);
        }
        limit
    };
    let limits = entries.iter().filter(is_limit).map(read).collect();
    let given = credits::with_payer(reader, entry, limits, known)?;
    let Some((key, node)) = entry.node.get(UNLOCK_AFTER) else { return Some(given) };
    let after = Entry { name: UNLOCK_AFTER, owner: key.place, node };
    Some(locked(reader, Some(after), given, known))
}

/// A limit of which nothing could be read: nothing is out of its reach, nor is it itself.
fn stand_in(limit: &str) -> PlanLimitSpec {
    PlanLimitSpec {
        limit: limit.to_owned(),
        included_units: None,
        soft_limits_bp: vec![],
        policy: Policy::Unlimited,
        terms: LimitTerms::default(),
    }
}

/// Units that nobody can find out of reach: as many as there are for an account, few for each subject.
fn stand_in_units(is_of_subjects: bool) -> u64 {
    if is_of_subjects { 1 } else { UNITS_MAX }
}

/// What is given once something has been used.
fn locked(
    reader: &Reader,
    after: Option<Entry<'_>>,
    given: EntitlementSpec,
    known: &Known<'_>,
) -> EntitlementSpec {
    let Unclear { features, limits } = known.unclear;
    let is_unclear = |feature: &String| {
        features.contains(feature) || limits.iter().any(|(unclear, _)| unclear == feature)
    };
    let after = after.and_then(|entry| read_unlock(reader, entry));
    match after.filter(|after| !is_unclear(&after.feature)) {
        Some(after) => EntitlementSpec::Locked { after, given: Box::new(given) },
        None => given,
    }
}

/// What has to be used first.
fn read_unlock(reader: &Reader, entry: Entry<'_>) -> Option<UnlockSpec> {
    let mut fields = reader.fields(entry, "a mapping with `feature` and `units`")?;
    let feature = fields.required("feature").and_then(|entry| reader.text(entry));
    let units =
        fields.required("units").and_then(|entry| reader.whole_number(entry, 1..=UNITS_MAX));
    fields.end();
    Some(UnlockSpec { feature: feature.unwrap_or_default(), units: units.unwrap_or(1) })
}

/// `None`: it is no mapping.
pub(super) fn read_plan_limit(
    reader: &Reader,
    entry: Entry<'_>,
    is_of_subjects: bool,
) -> Option<PlanLimitSpec> {
    let mut fields = reader.fields(entry, "a mapping with `included`")?;
    let included = fields.required("included").and_then(|entry| read_included(reader, entry));
    let soft_limits = fields.optional("soft_limits");
    let policy = fields.optional("policy");
    let debt = fields.optional("debt");
    let on_change = fields.optional("on_change");
    fields.end();
    let soft_limits_bp = read_soft_limits(reader, soft_limits);
    let stand_in_units = Some(stand_in_units(is_of_subjects));
    let mut included_units = included.unwrap_or(stand_in_units);
    let before = reader.count();
    let said = policy.and_then(|entry| policy::read_policy(reader, entry));
    if before < reader.count() {
        // How far it lets anybody go is not known.
        included_units = included_units.and(stand_in_units);
    }
    let usual = if included_units.is_none() { Policy::Unlimited } else { Policy::Block };
    let (policy, terms) = said.unwrap_or((usual, LimitTerms::default()));
    let carries_debt = debt.and_then(|entry| policy::read_debt(reader, entry));
    let on_change = on_change.and_then(|entry| versions::read_on_change(reader, entry));
    let terms = LimitTerms {
        carries_debt: carries_debt.unwrap_or(false),
        on_change: on_change.unwrap_or(OnChange::Keep),
        ..terms
    };
    let limit = entry.name.to_owned();
    Some(PlanLimitSpec { limit, included_units, soft_limits_bp, policy, terms })
}

/// The soft limits, each at its place: for what cannot be read there stands one that no other is.
pub(super) fn read_soft_limits(reader: &Reader, entry: Option<Entry<'_>>) -> Vec<u32> {
    let items =
        entry.and_then(|entry| reader.list(entry, "a list of percentages, as `[80%, 95%]`"));
    let read = items.into_iter().flatten().map(|item| reader.percent_bp(item));
    let read: Vec<Option<u32>> = read.collect();
    let mut others = (1..).filter(|bp| !read.contains(&Some(*bp)));
    read.iter().map(|bp| bp.or_else(|| others.next()).unwrap_or(1)).collect()
}

/// `Some(None)` is unlimited.
pub(super) fn read_included(reader: &Reader, entry: Entry<'_>) -> Option<Option<u64>> {
    match &entry.node.value {
        Value::Plain(word) if word == "unlimited" => Some(None),
        Value::Plain(word) if word.starts_with(char::is_alphabetic) => {
            let name = entry.name;
            let message = format!("`{name}` must be a number or `unlimited`, found `{word}`");
            reader.note_word(entry, message, word, ["unlimited"]);
            None
        }
        _ => reader.whole_number(entry, 0..=UNITS_MAX).map(Some),
    }
}

/// A config value: YAML as JSON.
fn json(reader: &Reader, entry: Entry<'_>) -> Option<serde_json::Value> {
    let within = |node| Entry { name: entry.name, owner: entry.owner, node };
    match &entry.node.value {
        Value::Nothing => {
            reader.note_at(
                entry,
                format!("`{}` has no value: leave it out, or give one", entry.name),
            );
            None
        }
        Value::Plain(text) => Some(plain_json(text)),
        Value::Quoted(text) => Some(serde_json::Value::String(text.clone())),
        Value::List(items) => {
            items.iter().map(|item| json(reader, within(item))).collect::<Option<_>>()
        }
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| Some((key.text.clone(), json(reader, within(node))?)))
            .collect::<Option<serde_json::Map<_, _>>>()
            .map(serde_json::Value::Object),
    }
}

/// A word without quotes means what it means in JSON; all others are texts.
fn plain_json(text: &str) -> serde_json::Value {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    match parsed {
        Ok(value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => value,
        _ => serde_json::Value::String(text.to_owned()),
    }
}
