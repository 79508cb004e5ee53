//! The catalog file: YAML in, a checked [`CatalogSpec`] with sinks and prompts out.
//!
//! What was read is handed to the core's check even when parts were unreadable, so that one round
//! tells all. Something harmless stands in for unreadable parts: a problem that is not in the file
//! would be worse than one that comes a round later.

mod counting;
mod credits;
mod given;
pub mod growth;
mod levels;
mod meters;
mod places;
mod policy;
mod prompts;
#[cfg(test)]
mod reference;
mod spans;
#[cfg(test)]
mod unread;
mod versions;

use std::path::Path;

use headroom_core::catalog::{
    Catalog, CatalogSpec, CountingSpec, FeatureKindSpec, FeatureSpec, LimitSpec, Merge, Offering,
    Price, PricePeriod, PromptingSpec, SpecProblem,
};
use headroom_core::cohort::Cohorts;
use headroom_core::limits::UNITS_MAX;
use headroom_core::names::Names;
use headroom_core::signal::{Horizons, SignalSwitches};
use headroom_core::window::WindowRule;
use headroom_engine::migrate::Compared;
use headroom_expansion::terms::Terms;

use super::problems::{Place, Problem, Problems};
use super::reader::{Entry, Fields, Reader};
use super::sinks::{self, Secrets, SinkSpec};
use super::yaml::{self, Node, Value};
use given::Unclear;
use headroom_prompts::Renderer;
use places::Finder;
use prompts::Prompts;

/// What one unit is called when the catalog does not say.
const DEFAULT_UNIT: &str = "units";

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

/// What the running state says of a catalog: `compared` are the problems, and what there is to say of migrations
/// that are not needed. A problem is one; a migration too many does no harm, and is a hint.
pub fn compared(
    file: &str,
    parsed: &ParsedCatalog,
    compared: Compared,
) -> Result<Vec<String>, Problems> {
    let (problems, hints) = compared.unwrap_or_else(|problems| (problems, Vec::new()));
    if !problems.is_empty() {
        return Err(placed(file, &parsed.source, &problems));
    }
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
    let mut read_list = |entry| given::read_plans(reader, entry, &features, &unclear);
    let plans = plans.and_then(&mut read_list);
    let addons = addons.and_then(&mut read_list).unwrap_or_default();
    let prompting = prompting.map(|entry| prompts::read_prompting(reader, entry));
    let (prompting, has_languages) = prompting.unwrap_or((PromptingSpec::default(), true));
    let read = |entry| prompts::read_prompts(reader, entry, &unclear.features, has_languages);
    let mut prompts = prompts.and_then(read).unwrap_or_default();
    let signals = signals.map_or_else(SignalSwitches::default, |entry| read_signals(reader, entry));
    let counted: Vec<&str> = features.iter().map(|feature| feature.feature.as_str()).collect();
    let before = reader.count();
    let growth = growth::read(reader, expansion, plays, &counted);
    let is_growth_readable = before == reader.count();
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
        prompts: std::mem::take(&mut prompts.read),
        prompting,
        signals,
        migrations,
    };
    let terms = is_growth_readable.then_some((&growth, plays.is_some()));
    note_unsound(reader, (root, source), &spec, prompts, terms);
    Some((spec, sinks, growth))
}

/// Notes what is wrong although it could be read. `unclear` are prompts that could not be read whole; `terms` are
/// what is said of growth, and whether its plays are the catalog's own.
fn note_unsound(
    reader: &Reader,
    (root, source): (&Node, &str),
    spec: &CatalogSpec,
    prompts: Prompts,
    terms: Option<(&Terms, bool)>,
) {
    let finder = Finder { root, source, prompt_items: &prompts.items };
    let is_readable = reader.count() == 0;
    if let Err(problems) = Catalog::build(spec.clone(), 1, &mut Names::new()) {
        let told = problems.iter().filter(|problem| !finder.is_told(reader, &problem.path));
        told.for_each(|problem| reader.note(finder.problem(problem)));
    }
    let is_sound = is_readable && reader.count() == 0;
    if let Some((growth, has_own_plays)) = terms {
        growth::note_problems(reader, &finder, growth, has_own_plays);
    }
    note_templates(reader, &finder, spec, is_sound);
    if !prompts.unclear.is_empty() {
        let finder = Finder { prompt_items: &prompts.unclear_items, ..finder };
        for problem in Catalog::problems_of_prompts(spec, &prompts.unclear) {
            if !finder.is_told(reader, &problem.path) {
                reader.note(finder.problem(&problem));
            }
        }
        let spec = CatalogSpec { prompts: prompts.unclear, ..spec.clone() };
        note_templates(reader, &finder, &spec, false);
    }
}

/// Notes what is wrong with templates: all of it where the rest of the catalog `is_sound`, which is else to
/// blame for some.
fn note_templates(reader: &Reader, finder: &Finder<'_>, spec: &CatalogSpec, is_sound: bool) {
    for problem in headroom_prompts::check(spec) {
        if (is_sound || problem.is_of_template) && !finder.is_told(reader, &problem.path) {
            reader.note(finder.template_problem(problem));
        }
    }
}

/// What stands under a key, by name. `None`: it is no mapping.
fn keys_of<'n>(root: &'n Node, key: &str) -> Option<Vec<&'n str>> {
    match &root.get(key)?.1.value {
        Value::Map(entries) => Some(entries.iter().map(|(key, _)| &*key.text).collect()),
        Value::Nothing | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => None,
    }
}

/// The features, and what could not be read of them.
fn read_features(reader: &Reader, entry: Entry<'_>) -> Option<(Vec<FeatureSpec>, Unclear)> {
    let entries = reader.map(entry, "a mapping from names to features")?;
    let mut unclear = Unclear::default();
    let read = |entry| read_feature(reader, entry, &mut unclear);
    let mut features: Vec<FeatureSpec> = entries.iter().map(Entry::of).map(read).collect();
    for feature in &mut features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
            // Whether credits can pay for it, its kind says, and who pays, the plans.
            rate_card.retain(|(priced, _)| !unclear.features.contains(priced));
        }
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

/// A feature whose kind cannot be read is a switch, of which there is nothing to check.
fn read_feature(reader: &Reader, entry: Entry<'_>, unclear: &mut Unclear) -> FeatureSpec {
    let feature = entry.name.to_owned();
    let unnamed = FeatureSpec {
        feature: feature.clone(),
        name: feature.clone(),
        unit: String::new(),
        scale: 0,
        kind: FeatureKindSpec::Switch,
        offering: Offering::default(),
        shadow: false,
        counting: Default::default(),
    };
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
    let Some(mut fields) = reader.fields(entry, "a mapping with `name` and `kind`") else {
        unclear.features.insert(feature);
        return unnamed;
    };
    let name = fields.required("name").and_then(|entry| reader.text(entry));
    let kind = fields.required("kind").and_then(|entry| reader.word(entry, &words));
    let offering = read_offering(reader, &mut fields);
    let shadow = fields.optional("shadow").and_then(|entry| reader.switch(entry));
    let shadow = shadow.unwrap_or(false);
    let counted = read_kind(reader, &mut fields, kind, (&feature, unclear));
    let Counted { unit, scale, counting, kind } = counted;
    if kind.as_ref().is_some_and(|kind| !matches!(kind, FeatureKindSpec::Quota { .. })) {
        fields.misplaced("usage", "only a quota has `usage`, which adds up over time");
        fields.misplaced("aggregation", "only a quota has an `aggregation`");
        fields.misplaced("unique_by", "only a quota counts different values");
    }
    fields.end();
    let name = name.unwrap_or_else(|| feature.clone());
    let Some(kind) = kind else {
        unclear.features.insert(feature);
        return FeatureSpec { name, offering, ..unnamed };
    };
    FeatureSpec { feature, name, unit, scale, kind, offering, shadow, counting }
}

/// What a feature is counted in, and its kind. `None`: that could not be read.
struct Counted {
    unit: String,
    scale: u8,
    counting: CountingSpec,
    kind: Option<FeatureKindSpec>,
}

/// All keys that features of some kind have.
const KEYS_OF_KINDS: [&str; 11] = [
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
];

/// Reads the keys that a feature of a kind has.
fn read_kind(
    reader: &Reader,
    fields: &mut Fields<'_, '_>,
    word: Option<KindWord>,
    (feature, unclear): (&str, &mut Unclear),
) -> Counted {
    let mut unit = String::new();
    let mut scale = 0;
    let mut counting = CountingSpec::default();
    let kind = match word {
        Some(KindWord::Quota) => {
            unit = read_unit(reader, fields.optional("unit"));
            scale = read_scale(reader, fields.optional("scale"));
            counting = counting::read_counting(reader, fields);
            let limits = fields.required("limits");
            let limits = limits.and_then(|entry| read_limits(reader, entry, feature, unclear));
            if limits.is_none() {
                unclear.features.insert(feature.to_owned());
            }
            Some(FeatureKindSpec::Quota { limits: limits.unwrap_or_default() })
        }
        Some(KindWord::Seats) => {
            unit = read_unit(reader, fields.optional("unit"));
            Some(levels::read_seats(reader, fields))
        }
        Some(KindWord::Allocation) => {
            unit = read_unit(reader, fields.optional("unit"));
            scale = read_scale(reader, fields.optional("scale"));
            Some(levels::read_allocation(reader, fields))
        }
        Some(KindWord::Credits) => {
            let said = fields.optional("unit").map(|entry| read_unit(reader, Some(entry)));
            unit = said.unwrap_or_else(|| "credits".to_owned());
            scale = read_scale(reader, fields.optional("scale"));
            let message = "credits have no `limits`: give a `window`, and `included` in a plan";
            fields.misplaced("limits", message);
            Some(credits::read_pool(reader, fields))
        }
        Some(word @ (KindWord::Concurrency | KindWord::Rate)) => {
            let per = read_per(reader, fields.optional("per"));
            let (kind, kind_word) = match word {
                KindWord::Rate => (FeatureKindSpec::Rate { per }, "rate"),
                _ => (FeatureKindSpec::Concurrency { per }, "concurrency"),
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
            KEYS_OF_KINDS.iter().for_each(|key| _ = fields.optional(key));
            None
        }
    };
    Counted { unit, scale, counting, kind }
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
    // A feature that says for whom it is, and no share, or none that can be read, is for them alone.
    let usual_bp = if cohorts.is_some() { 0 } else { usual.rollout_bp };
    Offering {
        merge: merge.unwrap_or(usual.merge),
        is_paused: is_paused.unwrap_or(usual.is_paused),
        rollout_bp: rollout_bp.unwrap_or(usual_bp),
        cohorts: cohorts.unwrap_or_default(),
    }
}

fn read_cohorts(reader: &Reader, entry: Entry<'_>) -> Option<Cohorts> {
    let items = reader.list(entry, "a list of cohorts, as `[beta]`")?;
    Some(Cohorts::of(items.filter_map(|item| reader.text(item)).collect()))
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

/// Where it cannot be read whose a limit is, that it is somebody's can.
fn read_per(reader: &Reader, entry: Option<Entry<'_>>) -> Option<String> {
    entry.map(|entry| reader.text(entry).unwrap_or_else(|| "user".to_owned()))
}

fn read_limits(
    reader: &Reader,
    entry: Entry<'_>,
    feature: &str,
    unclear: &mut Unclear,
) -> Option<Vec<LimitSpec>> {
    let entries = reader.map(entry, "a mapping from names to limits")?;
    let mut limits = Vec::with_capacity(entries.len());
    for entry in entries.iter().map(Entry::of) {
        let mut per = None;
        let before = reader.count();
        let window = reader.fields(entry, "a mapping with `window`").and_then(|mut fields| {
            let window =
                fields.required("window").and_then(|entry| spans::read_window(reader, entry));
            per = read_per(reader, fields.optional("per"));
            fields.end();
            window
        });
        if before < reader.count() {
            unclear.limits.insert((feature.to_owned(), entry.name.to_owned()));
        }
        // The name is known, so plans that refer to it are right.
        let window = window.unwrap_or(WindowRule::Billing { months: 1 });
        limits.push(LimitSpec { limit: entry.name.to_owned(), window, per });
    }
    Some(limits)
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
