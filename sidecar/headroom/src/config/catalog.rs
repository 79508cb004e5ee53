//! The catalog file: YAML in, a checked [`CatalogSpec`] with sinks and prompts out.
//!
//! What was read is handed to the core's check even when parts were unreadable, so that one round
//! tells all. Something harmless stands in for unreadable parts: a problem that is not in the file
//! would be worse than one that comes a round later.

mod counting;
mod credits;
pub mod growth;
mod levels;
mod meters;
mod places;
mod policy;
mod prompts;
#[cfg(test)]
mod reference;
mod spans;
mod versions;

use std::collections::BTreeSet;
use std::path::Path;

use headroom_core::catalog::{
    Catalog, CatalogSpec, CountingSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec,
    Merge, Offering, PlanLimitSpec, PlanSpec, Policy, Price, PricePeriod, SpecProblem,
    UNLOCK_AFTER, UnlockSpec,
};
use headroom_core::change::OnChange;
use headroom_core::cohort::Cohorts;
use headroom_core::limits::UNITS_MAX;
use headroom_core::names::Names;
use headroom_core::policy::LimitTerms;
use headroom_core::signal::{Horizons, SignalSwitches};
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::migrate::Compared;
use headroom_expansion::terms::Terms;

use super::problems::{Place, Problem, Problems};
use super::reader::{Entry, Fields, Reader};
use super::sinks::{self, Secrets, SinkSpec};
use super::yaml::{self, Key, Node, Value};
use headroom_prompts::Renderer;
use places::Finder;

/// What one unit is called when the catalog does not say.
const DEFAULT_UNIT: &str = "units";

/// Longest billing window, as in the core's check: ten years.
const BILLING_MONTHS_MAX: u16 = 120;

/// A catalog file without problems.
#[derive(Debug)]
pub struct ParsedCatalog {
    /// What it says; [`Catalog::build`] takes it.
    pub spec: CatalogSpec,
    /// Where signals go.
    pub sinks: Vec<SinkSpec>,
    /// Its prompts, ready to be rendered.
    pub prompts: Renderer,
    /// When accounts are ready, how they score, and who does what.
    pub growth: Terms,
    /// The text of the file.
    pub source: String,
}

/// Reads and checks a catalog file.
pub fn load(path: &Path, secrets: &dyn Secrets) -> Result<ParsedCatalog, Problems> {
    let file = path.display().to_string();
    let bytes =
        super::read_file(path).map_err(|problem| Problems::new(&file, "", vec![problem]))?;
    parse(&file, &bytes, secrets)
}

/// What the running state says of a catalog: `compared` are the problems and the places of migrations
/// that are not needed. A problem is one; a migration too many does no harm, and is a hint.
pub fn compared(
    file: &str,
    parsed: &ParsedCatalog,
    compared: Compared,
) -> Result<Vec<String>, Problems> {
    let (problems, needless) = compared.unwrap_or_else(|problems| (problems, Vec::new()));
    if !problems.is_empty() {
        return Err(placed(file, &parsed.source, &problems));
    }
    let hint = |line: usize| SpecProblem {
        path: vec!["migrations".to_owned(), line.to_string()],
        message: "this migration is not needed here, and may be taken out".to_owned(),
        known: Vec::new(),
    };
    let hints: Vec<SpecProblem> = needless.into_iter().map(hint).collect();
    match hints.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(placed(file, &parsed.source, &hints).lines().collect()),
    }
}

/// Gives problems that only the running state shows their places in the file.
pub fn placed(file: &str, source: &str, problems: &[SpecProblem]) -> Problems {
    let root = yaml::parse(source, &mut Vec::new());
    let place = |problem: &SpecProblem| match &root {
        Some(root) => Finder { root, source, prompt_items: &[] }.problem(problem),
        None => Problem::of_file(problem.message.clone()),
    };
    Problems::new(file, source, problems.iter().map(place).collect())
}

/// Reads and checks a catalog. `file` is what messages call it.
pub fn parse(file: &str, bytes: &[u8], secrets: &dyn Secrets) -> Result<ParsedCatalog, Problems> {
    let source = yaml::decode(bytes).map_err(|problem| Problems::new(file, "", vec![problem]))?;
    let reader = Reader::default();
    let mut syntax = Vec::new();
    let root = yaml::parse(source, &mut syntax);
    syntax.into_iter().for_each(|problem| reader.note(problem));
    let parsed = root.and_then(|root| read_root(&reader, &root, source, secrets));
    let problems = reader.into_problems();
    match parsed {
        Some((spec, sinks, growth)) if problems.is_empty() => match Renderer::compile(&spec) {
            Ok(prompts) => {
                Ok(ParsedCatalog { spec, sinks, prompts, growth, source: source.to_owned() })
            }
            Err(_) => unreachable!("the templates were checked"),
        },
        _ => Err(Problems::new(file, source, problems)),
    }
}

fn read_root(
    reader: &Reader,
    root: &Node,
    source: &str,
    secrets: &dyn Secrets,
) -> Option<(CatalogSpec, Vec<SinkSpec>, Terms)> {
    let entry = Entry { name: "the catalog", owner: Place::START, node: root };
    let mut fields = reader.fields(entry, "a mapping with `features` and `plans`")?;
    let default_plan = fields.optional("default_plan");
    let features = fields.required("features");
    let plans = fields.required("plans");
    let addons = fields.optional("addons");
    let prompts = fields.optional("prompts");
    let prompting = fields.optional("prompting");
    let signals = fields.optional("signals");
    let (expansion, plays) = (fields.optional("expansion"), fields.optional("plays"));
    let sinks = fields.optional("sinks");
    let migrations = fields.optional("migrations");
    fields.end();

    let features = features.and_then(|entry| read_features(reader, entry));
    let (features, unclear) = features.unwrap_or_default();
    let mut read_list = |entry| read_plans(reader, entry, &features, &unclear);
    let plans = plans.and_then(&mut read_list);
    let addons = addons.and_then(&mut read_list).unwrap_or_default();
    let (prompts, prompt_items) = prompts
        .and_then(|entry| prompts::read_prompts(reader, entry, &unclear))
        .unwrap_or_default();
    let prompting = prompting.and_then(|entry| prompts::read_prompting(reader, entry));
    let prompting = prompting.unwrap_or_default();
    let signals = signals.map_or_else(SignalSwitches::default, |entry| read_signals(reader, entry));
    let counted: Vec<&str> = features.iter().map(|feature| feature.feature.as_str()).collect();
    let growth = growth::read(reader, expansion, plays, &counted);
    let sinks = sinks.map_or_else(Vec::new, |entry| {
        let (features, plans) = (keys_of(root, "features"), keys_of(root, "plans"));
        let (features, plans) = (features.as_deref(), plans.as_deref());
        let before = reader.count();
        let signals: Vec<&str> = growth::known_signals(&growth).map(|(name, _)| name).collect();
        let known = sinks::Known { features, plans, signals: &signals };
        let sinks = sinks::read(reader, entry, secrets, known);
        reader.hide_lines_after(before);
        sinks
    });
    let migrations = migrations.map_or_else(Vec::new, |entry| versions::read_lines(reader, entry));
    let default_plan = default_plan.and_then(|entry| reader.text(entry));

    if features.is_empty() || plans.as_ref().is_none_or(Vec::is_empty) {
        if reader.count() == 0 {
            reader.note(Problem::of_file("a catalog needs at least one feature and one plan"));
        }
        return None;
    }
    let spec = CatalogSpec {
        features,
        plans: plans?,
        addons,
        default_plan,
        prompts,
        prompting,
        signals,
        migrations,
    };
    let finder = Finder { root, source, prompt_items: &prompt_items };
    let is_readable = reader.count() == 0;
    if let Err(problems) = Catalog::build(spec.clone(), 1, &mut Names::new()) {
        problems.into_iter().for_each(|problem| reader.note(finder.problem(&problem)));
    }
    let is_sound = is_readable && reader.count() == 0;
    if is_readable {
        growth::note_problems(reader, &finder, &growth, plays.is_some());
    }
    for problem in headroom_prompts::check(&spec) {
        if is_sound || problem.is_of_template {
            reader.note(finder.template_problem(problem));
        }
    }
    Some((spec, sinks, growth))
}

/// What stands under a key, by name. `None`: it is no mapping.
fn keys_of<'n>(root: &'n Node, key: &str) -> Option<Vec<&'n str>> {
    match &root.get(key)?.1.value {
        Value::Map(entries) => Some(entries.iter().map(|(key, _)| &*key.text).collect()),
        Value::Nothing | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => None,
    }
}

/// The features, and the names of those whose kind could not be read.
fn read_features(
    reader: &Reader,
    entry: Entry<'_>,
) -> Option<(Vec<FeatureSpec>, BTreeSet<String>)> {
    let entries = reader.map(entry, "a mapping from names to features")?;
    let mut unclear = BTreeSet::new();
    let mut features = Vec::with_capacity(entries.len());
    for entry in entries.iter().map(Entry::of) {
        let feature = read_feature(reader, entry);
        if feature.is_none() {
            unclear.insert(entry.name.to_owned());
        }
        features.push(feature.unwrap_or_else(|| FeatureSpec {
            feature: entry.name.to_owned(),
            name: entry.name.to_owned(),
            unit: String::new(),
            scale: 0,
            kind: FeatureKindSpec::Switch,
            offering: Offering::default(),
            shadow: false,
            counting: Default::default(),
        }));
    }
    Some((features, unclear))
}

#[derive(Clone, Copy)]
enum KindWord {
    Switch,
    Config,
    Quota,
    Concurrency,
    Rate,
    Allocation,
    Credits,
    Seats,
}

/// `None` when its kind could not be read.
fn read_feature(reader: &Reader, entry: Entry<'_>) -> Option<FeatureSpec> {
    let words = [
        ("quota", KindWord::Quota),
        ("concurrency", KindWord::Concurrency),
        ("rate", KindWord::Rate),
        ("allocation", KindWord::Allocation),
        ("credits", KindWord::Credits),
        ("seats", KindWord::Seats),
        ("switch", KindWord::Switch),
        ("config", KindWord::Config),
    ];
    let mut fields = reader.fields(entry, "a mapping with `name` and `kind`")?;
    let name = fields.required("name").and_then(|entry| reader.text(entry));
    let kind = fields.required("kind").and_then(|entry| reader.word(entry, &words));
    let offering = read_offering(reader, &mut fields);
    let shadow = fields.optional("shadow").and_then(|entry| reader.switch(entry));
    let shadow = shadow.unwrap_or(false);
    let mut unit = String::new();
    let mut scale = 0;
    let mut counting = CountingSpec::default();
    let kind = match kind {
        Some(KindWord::Quota) => {
            unit = read_unit(reader, fields.optional("unit"));
            scale = read_scale(reader, fields.optional("scale"));
            counting = counting::read_counting(reader, &mut fields);
            let limits = fields.required("limits").and_then(|entry| read_limits(reader, entry));
            limits.map(|limits| FeatureKindSpec::Quota { limits })
        }
        Some(KindWord::Seats) => {
            unit = read_unit(reader, fields.optional("unit"));
            levels::read_seats(reader, &mut fields)
        }
        Some(KindWord::Allocation) => {
            unit = read_unit(reader, fields.optional("unit"));
            scale = read_scale(reader, fields.optional("scale"));
            levels::read_allocation(reader, &mut fields)
        }
        Some(KindWord::Credits) => {
            let said = fields.optional("unit").map(|entry| read_unit(reader, Some(entry)));
            unit = said.unwrap_or_else(|| "credits".to_owned());
            scale = read_scale(reader, fields.optional("scale"));
            let message = "credits have no `limits`: give a `window`, and `included` in a plan";
            fields.misplaced("limits", message);
            Some(credits::read_pool(reader, &mut fields))
        }
        Some(word @ (KindWord::Concurrency | KindWord::Rate)) => {
            let (kind, kind_word) = match word {
                KindWord::Rate => {
                    let per = fields.optional("per").and_then(|entry| reader.text(entry));
                    (FeatureKindSpec::Rate { per }, "rate")
                }
                _ => {
                    let per = fields.optional("per").and_then(|entry| reader.text(entry));
                    (FeatureKindSpec::Concurrency { per }, "concurrency")
                }
            };
            unit = read_unit(reader, fields.optional("unit"));
            for key in ["scale", "limits"] {
                fields.misplaced(key, &format!("a {kind_word} has no `{key}`, only a quota has"));
            }
            Some(kind)
        }
        Some(word @ (KindWord::Switch | KindWord::Config)) => {
            let (kind, kind_word) = match word {
                KindWord::Config => (FeatureKindSpec::Config, "config"),
                _ => (FeatureKindSpec::Switch, "switch"),
            };
            for key in ["unit", "scale", "limits"] {
                fields.misplaced(key, &format!("a {kind_word} has no `{key}`, only a quota has"));
            }
            Some(kind)
        }
        None => {
            // Whatever it is, its keys are no mistakes.
            for key in [
                "unit",
                "scale",
                "limits",
                "billed_by",
                "window",
                "rate_card",
                "invitations",
                "usage",
                "per",
                "aggregation",
                "unique_by",
            ] {
                fields.optional(key);
            }
            None
        }
    };
    if kind.as_ref().is_some_and(|kind| !matches!(kind, FeatureKindSpec::Quota { .. })) {
        fields.misplaced("usage", "only a quota has `usage`, which adds up over time");
        fields.misplaced("aggregation", "only a quota has an `aggregation`");
        fields.misplaced("unique_by", "only a quota counts different values");
    }
    fields.end();
    let feature = entry.name.to_owned();
    let name = name.unwrap_or_else(|| feature.clone());
    Some(FeatureSpec { feature, name, unit, scale, kind: kind?, offering, shadow, counting })
}

/// What a feature says of who gets it. What cannot be read is as if it were not there.
fn read_offering(reader: &Reader, fields: &mut Fields<'_, '_>) -> Offering {
    let usual = Offering::default();
    let merges = [("sum", Merge::Sum), ("most_generous", Merge::MostGenerous)];
    let merge = fields.optional("merge").and_then(|entry| reader.word(entry, &merges));
    let is_paused = fields.optional("paused").and_then(|entry| reader.switch(entry));
    let rollout = fields.optional("rollout");
    let rollout_bp = rollout.and_then(|entry| reader.percent_bp(entry));
    let cohorts = fields.optional("cohorts").and_then(|entry| read_cohorts(reader, entry));
    // A feature that says for whom it is, and no share, is for them alone.
    let usual_bp = if cohorts.is_some() && rollout.is_none() { 0 } else { usual.rollout_bp };
    Offering {
        merge: merge.unwrap_or(usual.merge),
        is_paused: is_paused.unwrap_or(usual.is_paused),
        rollout_bp: rollout_bp.unwrap_or(usual_bp),
        cohorts: cohorts.unwrap_or_default(),
    }
}

fn read_cohorts(reader: &Reader, entry: Entry<'_>) -> Option<Cohorts> {
    let items = reader.list(entry, "a list of cohorts, as `[beta]`")?;
    let read: Vec<_> = items.map(|item| reader.text(item)).collect();
    Some(Cohorts::of(read.into_iter().collect::<Option<_>>()?))
}

fn read_scale(reader: &Reader, entry: Option<Entry<'_>>) -> u8 {
    entry
        .and_then(|entry| reader.whole_number(entry, 0..=9))
        .and_then(|scale| u8::try_from(scale).ok())
        .unwrap_or(0)
}

fn read_unit(reader: &Reader, entry: Option<Entry<'_>>) -> String {
    entry.and_then(|entry| reader.text(entry)).unwrap_or_else(|| DEFAULT_UNIT.to_owned())
}

fn read_limits(reader: &Reader, entry: Entry<'_>) -> Option<Vec<LimitSpec>> {
    let entries = reader.map(entry, "a mapping from names to limits")?;
    let mut limits = Vec::with_capacity(entries.len());
    for entry in entries.iter().map(Entry::of) {
        let mut per = None;
        let window = reader.fields(entry, "a mapping with `window`").and_then(|mut fields| {
            let window = fields.required("window").and_then(|entry| read_window(reader, entry));
            per = fields.optional("per").and_then(|entry| reader.text(entry));
            fields.end();
            window
        });
        // The name is known, so plans that refer to it are right.
        let window = window.unwrap_or(WindowRule::Lifetime);
        limits.push(LimitSpec { limit: entry.name.to_owned(), window, per });
    }
    Some(limits)
}

fn read_window(reader: &Reader, entry: Entry<'_>) -> Option<WindowRule> {
    const FORMS: &str = "`billing`, `{billing: \"3 months\"}`, `{calendar: hour, day, week, month, \
                         quarter or year}`, `{fixed: 2 weeks}`, `{first_use: 5 hours}`, `{sliding: \
                         24 hours}` or `lifetime`";
    if let Some(word) = entry.scalar() {
        return match word {
            "billing" => Some(WindowRule::Billing { months: 1 }),
            "lifetime" => Some(WindowRule::Lifetime),
            _ => {
                let message = format!("`window` must be {FORMS}, found `{word}`");
                let problem = Problem::at(entry.place(), message);
                reader.note(problem.suggest(word, ["billing", "lifetime"]));
                None
            }
        };
    }
    let mut fields = reader.fields(entry, FORMS)?;
    let billing = fields.optional("billing");
    let calendar = fields.optional("calendar");
    let fixed = fields.optional("fixed");
    let first_use = fields.optional("first_use");
    let sliding = fields.optional("sliding");
    let count = [billing, calendar, fixed, first_use, sliding].iter().flatten().count();
    fields.end();
    if count != 1 {
        reader.note_at(entry, format!("`window` must be {FORMS}"));
        return None;
    }
    if let Some(entry) = fixed {
        return spans::read_every(reader, entry, true).map(WindowRule::Fixed);
    }
    if let Some(entry) = first_use {
        return spans::read_every(reader, entry, true).map(WindowRule::FirstUse);
    }
    if let Some(entry) = sliding {
        return spans::read_every(reader, entry, false).map(WindowRule::Sliding);
    }
    if let Some(entry) = calendar {
        let units = [
            ("hour", CalendarUnit::Hour),
            ("day", CalendarUnit::Day),
            ("week", CalendarUnit::Week),
            ("month", CalendarUnit::Month),
            ("quarter", CalendarUnit::Quarter),
            ("year", CalendarUnit::Year),
        ];
        return reader.word(entry, &units).map(WindowRule::Calendar);
    }
    read_months(reader, billing?)
}

fn read_months(reader: &Reader, entry: Entry<'_>) -> Option<WindowRule> {
    let text = reader.text(entry)?;
    let months = text.split_once(' ').and_then(|(number, unit)| {
        let number: u16 = number.parse().ok()?;
        match unit.trim() {
            "month" | "months" => Some(number),
            "year" | "years" => number.checked_mul(12),
            _ => None,
        }
    });
    match months {
        Some(months @ 1..=BILLING_MONTHS_MAX) => Some(WindowRule::Billing { months }),
        Some(_) => {
            reader.note_at(entry, format!("`{text}` must be 1 to {BILLING_MONTHS_MAX} months"));
            None
        }
        None => {
            reader.note_at(entry, format!("`{text}` is not a number of months, as `3 months`"));
            None
        }
    }
}

fn read_plans(
    reader: &Reader,
    entry: Entry<'_>,
    features: &[FeatureSpec],
    unclear: &BTreeSet<String>,
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

/// What plans may refer to.
struct Known<'a> {
    kinds: std::collections::BTreeMap<&'a str, &'a FeatureKindSpec>,
    unclear: &'a BTreeSet<String>,
}

/// What a plan gives.
fn read_entitlements(
    reader: &Reader,
    entitlements: Option<Entry<'_>>,
    known: &Known<'_>,
) -> Vec<(String, EntitlementSpec)> {
    let mut all = Vec::new();
    let what = "a mapping from features to what the plan gives";
    let entries = entitlements.and_then(|entry| reader.map(entry, what)).unwrap_or_default();
    for entry in entries.iter().map(Entry::of) {
        if !known.unclear.contains(entry.name)
            && let Some(given) = read_entitlement(reader, entry, known)
        {
            all.push((entry.name.to_owned(), given));
        }
    }
    all
}

fn read_price(reader: &Reader, entry: Entry<'_>) -> Option<Price> {
    let mut fields = reader.fields(entry, "a mapping with `amount_minor`, `currency` and `per`")?;
    let minor =
        fields.required("amount_minor").and_then(|entry| reader.whole_number(entry, 0..=UNITS_MAX));
    let currency = fields.required("currency").and_then(|entry| reader.text(entry));
    let periods = [("month", PricePeriod::Month), ("year", PricePeriod::Year)];
    let per = fields.required("per").and_then(|entry| reader.word(entry, &periods));
    fields.end();
    let (minor, per) = (minor.unwrap_or(0), per.unwrap_or(PricePeriod::Month));
    Some(Price { minor, currency: currency?, per })
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
                let given = Box::new(EntitlementSpec::Switch { on: true });
                Some(EntitlementSpec::Locked { after: read_unlock(reader, after?)?, given })
            }
            _ => Some(EntitlementSpec::Switch { on: reader.switch(entry)? }),
        },
        Some(FeatureKindSpec::Config) => {
            Some(EntitlementSpec::Config { value_json: json(reader, entry)?.to_string() })
        }
        Some(FeatureKindSpec::Quota { .. }) => {
            let entries = reader.map(entry, "a mapping from limits to what the plan includes")?;
            let stand_in = |(key, _): &(Key, Node)| PlanLimitSpec {
                limit: key.text.clone(),
                // Nothing is out of its reach, nor is it itself.
                included_units: None,
                soft_limits_bp: vec![],
                policy: Policy::Unlimited,
                terms: LimitTerms::default(),
            };
            let read = |entry| {
                read_plan_limit(reader, Entry::of(entry)).unwrap_or_else(|| stand_in(entry))
            };
            let is_limit =
                |(key, _): &&(Key, Node)| ![credits::PAID_BY, UNLOCK_AFTER].contains(&&*key.text);
            let limits = entries.iter().filter(is_limit).map(read).collect();
            let given = credits::with_payer(reader, entry, limits)?;
            let Some((key, node)) = entry.node.get(UNLOCK_AFTER) else { return Some(given) };
            let after = Entry { name: UNLOCK_AFTER, owner: key.place, node };
            let given = Box::new(given);
            Some(EntitlementSpec::Locked { after: read_unlock(reader, after)?, given })
        }
        Some(FeatureKindSpec::Concurrency { .. }) => meters::read_concurrency(reader, entry),
        Some(FeatureKindSpec::Rate { .. }) => meters::read_rate(reader, entry),
        Some(FeatureKindSpec::Allocation { .. }) => levels::read_level(reader, entry),
        Some(FeatureKindSpec::Credits { .. }) => credits::read_terms(reader, entry),
        Some(FeatureKindSpec::Seats { .. }) => levels::read_seats_given(reader, entry),
        // The check finds that the feature is unknown, whatever is given.
        None => Some(EntitlementSpec::Switch { on: true }),
    }
}

/// What has to be used first.
fn read_unlock(reader: &Reader, entry: Entry<'_>) -> Option<UnlockSpec> {
    let mut fields = reader.fields(entry, "a mapping with `feature` and `units`")?;
    let feature = fields.required("feature").and_then(|entry| reader.text(entry));
    let units =
        fields.required("units").and_then(|entry| reader.whole_number(entry, 1..=UNITS_MAX));
    fields.end();
    Some(UnlockSpec { feature: feature?, units: units? })
}

fn read_plan_limit(reader: &Reader, entry: Entry<'_>) -> Option<PlanLimitSpec> {
    let mut fields = reader.fields(entry, "a mapping with `included`")?;
    let included = fields.required("included").and_then(|entry| read_included(reader, entry));
    let soft_limits = fields.optional("soft_limits");
    let policy = fields.optional("policy");
    let debt = fields.optional("debt");
    let on_change = fields.optional("on_change");
    fields.end();
    let soft_limits_bp = read_soft_limits(reader, soft_limits);
    let policy = match (policy, included) {
        (Some(entry), _) => policy::read_policy(reader, entry),
        (None, Some(None)) => Some((Policy::Unlimited, LimitTerms::default())),
        (None, Some(Some(_)) | None) => Some((Policy::Block, LimitTerms::default())),
    };
    let carries_debt = debt.map_or(Some(false), |entry| policy::read_debt(reader, entry));
    let on_change =
        on_change.map_or(Some(OnChange::Keep), |entry| versions::read_on_change(reader, entry));
    let (policy, terms) = policy?;
    Some(PlanLimitSpec {
        limit: entry.name.to_owned(),
        included_units: included?,
        soft_limits_bp: soft_limits_bp?,
        policy,
        terms: LimitTerms { carries_debt: carries_debt?, on_change: on_change?, ..terms },
    })
}

fn read_soft_limits(reader: &Reader, entry: Option<Entry<'_>>) -> Option<Vec<u32>> {
    let Some(entry) = entry else { return Some(vec![]) };
    let items = reader.list(entry, "a list of percentages, as `[80%, 95%]`")?;
    let read: Vec<_> = items.map(|item| reader.percent_bp(item)).collect();
    read.into_iter().collect()
}

/// `Some(None)` is unlimited.
fn read_included(reader: &Reader, entry: Entry<'_>) -> Option<Option<u64>> {
    match &entry.node.value {
        Value::Plain(word) if word == "unlimited" => Some(None),
        Value::Plain(word) if word.starts_with(char::is_alphabetic) => {
            let name = entry.name;
            let message = format!("`{name}` must be a number or `unlimited`, found `{word}`");
            reader.note(Problem::at(entry.place(), message).suggest(word, ["unlimited"]));
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

/// `on`, `off`, or from which share of the cap on.
fn read_cap_near(reader: &Reader, entry: Entry<'_>, switches: &mut SignalSwitches) {
    if !entry.scalar().is_some_and(|text| text.ends_with('%')) {
        switches.overage_cap_near = reader.switch(entry).unwrap_or(true);
        return;
    }
    match reader.percent_bp(entry) {
        Some(bp) if (1..=10_000).contains(&bp) => switches.overage_cap_near_bp = bp,
        Some(_) => {
            let message = "`overage_cap_near` must be `on`, `off`, or `0.01%` to `100%` of the cap";
            reader.note_at(entry, message);
        }
        None => {}
    }
}

fn read_signals(reader: &Reader, entry: Entry<'_>) -> SignalSwitches {
    let mut switches = SignalSwitches::default();
    let Some(mut fields) = reader.fields(entry, "a mapping from signals to `on` or `off`") else {
        return switches;
    };
    let mut read = |key, switch: &mut bool| {
        if let Some(on) = fields.optional(key).and_then(|entry| reader.switch(entry)) {
            *switch = on;
        }
    };
    read("usage_ceiling", &mut switches.usage_ceiling);
    read("feature_limit_hit", &mut switches.feature_limit_hit);
    read("grace_started", &mut switches.grace_started);
    read("grace_ending", &mut switches.grace_ending);
    read("overage_started", &mut switches.overage_started);
    read("api_tier_exceeded", &mut switches.api_tier_exceeded);
    read("seat_threshold_90pct", &mut switches.seat_threshold_90pct);
    read("seats_nearly_full", &mut switches.seats_nearly_full);
    read("premium_feature_attempted", &mut switches.premium_feature_attempted);
    read("team_invite_sent", &mut switches.team_invite_sent);
    read("credits_low", &mut switches.credits_low);
    read("credits_depleted", &mut switches.credits_depleted);
    read("unlock_earned", &mut switches.unlock_earned);
    for (key, horizons) in [
        ("projected_exhaustion", &mut switches.projected_exhaustion),
        ("trial_ending", &mut switches.trial_ending),
    ] {
        if let Some(read) =
            fields.optional(key).and_then(|entry| read_horizons(reader, entry, *horizons))
        {
            *horizons = read;
        }
    }
    if let Some(entry) = fields.optional("overage_cap_near") {
        read_cap_near(reader, entry, &mut switches);
    }
    fields.end();
    switches
}

/// `on`, `off`, or how many days ahead.
fn read_horizons(reader: &Reader, entry: Entry<'_>, usual: Horizons) -> Option<Horizons> {
    if entry.scalar().is_some() {
        let on = reader.switch(entry)?;
        return Some(if on { usual } else { Horizons::NONE });
    }
    let items = reader.list(entry, "`on`, `off` or a list of days ahead, as [14, 3]")?;
    let count = items.len();
    let mut days = Vec::new();
    for item in items {
        let number = reader.whole_number(item, 1..=366)?;
        days.push(u16::try_from(number).ok()?);
    }
    let horizons = Horizons::new(&days);
    if horizons.is_none() {
        let max = Horizons::MAX;
        let message = format!("`{}` has {count} horizons, it must have 1 to {max}", entry.name);
        reader.note_at(entry, message);
    }
    horizons
}

#[cfg(test)]
mod tests;
