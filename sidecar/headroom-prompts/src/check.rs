//! Tries every template, in every language that it is said in, with every combination of facts that
//! can occur.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::catalog::{
    CONCURRENT_LIMIT, CREDITS_LIMIT, CatalogSpec, FeatureKindSpec, FeatureSpec, LEVEL_LIMIT,
    PlanSpec, Price, PromptSpec, RATE_LIMIT, SEATS_LIMIT, Scenario, SpecProblem,
};
use headroom_core::prompt::{TextKey, Texts};
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use jiff::tz::TimeZone;
use minijinja::{Error, ErrorKind, Template};

use super::facts::{FACTS, Facts, LimitFacts, LimitReached, Offer, Presence, WORDED};
use super::language::Language;
use super::{Renderer, Voice, finish};

/// The zone of samples.
static UTC: TimeZone = TimeZone::UTC;

/// Something wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Where it stands, as keys and list positions from the top: `prompts`, `0`, `title`.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// The word in the template that is wrong, if it is one.
    pub word: Option<String>,
    /// Words that would be right instead.
    pub known: Vec<String>,
    /// False when the rest of the catalog could be to blame.
    pub is_of_template: bool,
}

impl From<TemplateProblem> for SpecProblem {
    fn from(problem: TemplateProblem) -> SpecProblem {
        SpecProblem { path: problem.path, message: problem.message, known: problem.known }
    }
}

/// All that is wrong with the templates of a catalog, and with its languages.
pub fn check(spec: &CatalogSpec) -> Vec<TemplateProblem> {
    let mut problems = unknown_languages(spec);
    let renderer = Renderer::compile_unchecked(spec);
    for (ix, prompt) in spec.prompts.iter().enumerate() {
        let offer = renderer.prompts[ix].offer.as_ref();
        let cases = samples(spec, prompt, offer);
        for (path, texts, languages) in written(spec, ix, prompt) {
            let base = languages.is_some().then(|| base_of(prompt, &path)).flatten();
            let spoken: Vec<Option<&str>> = match &languages {
                Some(tag) => vec![Some(tag)],
                None => vec![None],
            };
            for (key, step, source) in templates(texts) {
                // An address stands for every language that has none of its own.
                let others = spec.prompting.languages.iter().map(|tag| Some(tag.as_str()));
                let more = others.filter(|_| key == TextKey::Url && languages.is_none());
                let mut path = path.clone();
                match step {
                    Some(step) => path.extend(["steps".to_owned(), step.to_string()]),
                    None => path.push(key.as_str().to_owned()),
                }
                let base = base.and_then(|base| text_of(base, key, step));
                let mut found = Vec::new();
                for language in spoken.iter().copied().chain(more) {
                    let Some(voice) = renderer.voice(language) else { continue };
                    let trial =
                        Trial { voice, offer, cases: &cases, path: &path, key, step, source };
                    found.extend(trial.problems());
                    if found.is_empty() {
                        found.extend(base.and_then(|base| trial.left_out(base, spec)));
                    }
                }
                found.dedup();
                problems.extend(found);
            }
        }
    }
    problems
}

impl Renderer {
    /// Made-up facts that a prompt could be made of, as many of them as possible. `None`: there is
    /// no such prompt, or no decision can call for it.
    pub fn example<'a>(&'a self, spec: &'a CatalogSpec, place: usize) -> Option<Facts<'a>> {
        let prompt = spec.prompts.get(place)?;
        let offer = self.prompts.get(place)?.offer.as_ref();
        let facts = samples(spec, prompt, offer).into_iter().next()?;
        let wanted =
            |plan: &&PlanSpec| prompt.plans.is_empty() || prompt.plans.contains(&plan.plan);
        let plan = spec.plans.iter().find(wanted)?;
        let units = |whole: u64| whole * 10_u64.pow(u32::from(facts.scale));
        let limit = facts.limit.clone().map(|limit| LimitFacts {
            used_units: units(8),
            included_units: units(10),
            ..limit
        });
        Some(Facts { plan: &plan.plan, plan_name: &plan.name, limit, ..facts })
    }
}

/// Languages without data.
fn unknown_languages(spec: &CatalogSpec) -> Vec<TemplateProblem> {
    let own = (vec!["prompting".to_owned(), "language".to_owned()], &spec.prompting.language);
    let others = spec.prompting.languages.iter().enumerate().map(|(ix, tag)| {
        (vec!["prompting".to_owned(), "languages".to_owned(), ix.to_string()], tag)
    });
    let unknown = [own].into_iter().chain(others).filter(|(_, tag)| Language::new(tag).is_none());
    unknown
        .map(|(path, tag)| TemplateProblem {
            path,
            message: format!("{tag:?} is no language tag, as `de` or `pt-BR`"),
            word: None,
            known: vec![],
            is_of_template: false,
        })
        .collect()
}

/// Every place where texts of a prompt are written, and the language if it is not the catalog's
/// own.
fn written<'a>(
    spec: &'a CatalogSpec,
    ix: usize,
    prompt: &'a PromptSpec,
) -> Vec<(Vec<String>, &'a Texts, Option<&'a str>)> {
    let path = |steps: &[&str]| -> Vec<String> {
        let ix = ix.to_string();
        ["prompts", &ix].iter().chain(steps).map(|step| (*step).to_owned()).collect()
    };
    let is_known = |tag: &String| spec.prompting.languages.contains(tag);
    let mut all = vec![(path(&[]), &prompt.texts, None)];
    for (tag, texts) in prompt.languages.iter().filter(|(tag, _)| is_known(tag)) {
        all.push((path(&["languages", tag]), texts, Some(tag.as_str())));
    }
    for (place, variant) in prompt.variants.iter().enumerate() {
        let place = place.to_string();
        all.push((path(&["variants", &place]), &variant.texts, None));
        for (tag, texts) in variant.languages.iter().filter(|(tag, _)| is_known(tag)) {
            all.push((path(&["variants", &place, "languages", tag]), texts, Some(tag.as_str())));
        }
    }
    all
}

/// What a translation at this path is one of.
fn base_of<'a>(prompt: &'a PromptSpec, path: &[String]) -> Option<&'a Texts> {
    match path.get(2)?.as_str() {
        "variants" => Some(&prompt.variants.get(path.get(3)?.parse::<usize>().ok()?)?.texts),
        _ => Some(&prompt.texts),
    }
}

fn templates(texts: &Texts) -> impl Iterator<Item = (TextKey, Option<usize>, &str)> {
    let keyed = TextKey::ALL.into_iter().filter_map(|key| Some((key, None, texts.get(key)?)));
    let steps = texts.steps.iter().enumerate();
    keyed.chain(steps.map(|(step, text)| (TextKey::Message, Some(step), text.as_str())))
}

fn text_of(texts: &Texts, key: TextKey, step: Option<usize>) -> Option<&str> {
    match step {
        Some(step) => texts.steps.get(step).map(String::as_str),
        None => texts.get(key),
    }
}

/// One template on trial, in one language.
struct Trial<'a> {
    voice: &'a Voice,
    offer: Option<&'a Offer>,
    cases: &'a [Facts<'a>],
    path: &'a [String],
    key: TextKey,
    step: Option<usize>,
    source: &'a str,
}

impl Trial<'_> {
    fn problem(&self, message: String, word: Option<&str>) -> TemplateProblem {
        TemplateProblem {
            path: self.path.to_vec(),
            message,
            word: word.map(str::to_owned),
            known: vec![],
            is_of_template: true,
        }
    }

    fn problems(&self) -> Vec<TemplateProblem> {
        let environment = self.voice.environment(self.key);
        let template = match environment.template_from_str(self.source) {
            Ok(template) => template,
            Err(error) => return vec![self.failure(&error)],
        };
        let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        names.sort_unstable();
        names.retain(|name| !environment.globals().any(|(global, _)| global == name));
        let unknown: Vec<TemplateProblem> = names
            .iter()
            .filter(|name| !FACTS.iter().any(|(fact, _)| fact == *name))
            .map(|name| TemplateProblem {
                known: FACTS.iter().map(|(fact, _)| (*fact).to_owned()).collect(),
                ..self.problem(format!("unknown fact `{name}` in the template"), Some(name))
            })
            .collect();
        if !unknown.is_empty() {
            return unknown;
        }
        let is_of_account = |name: &String| name.starts_with("facts.");
        if self.step.is_some() && !template.undeclared_variables(true).iter().any(is_of_account) {
            let message = "a step is about a fact of the account, as `{{ facts.goal }}`";
            return vec![self.problem(message.to_owned(), None)];
        }
        let tried = self.cases.iter().filter_map(|facts| self.try_with(facts, &names, &template));
        let mut problems: Vec<TemplateProblem> = tried.collect();
        problems.dedup();
        problems
    }

    fn try_with(
        &self,
        facts: &Facts<'_>,
        names: &[String],
        template: &Template<'_, '_>,
    ) -> Option<TemplateProblem> {
        let values = facts.values(self.offer, &self.voice.language);
        let context = facts.context(&values);
        let rendered = template.render(context).and_then(|text| finish(self.key, &text));
        let error = rendered.err()?;
        if error.kind() == ErrorKind::UndefinedError {
            let is_absent = |name: &str| name != "facts" && !values.iter().any(|(v, _)| *v == name);
            let absent = FACTS
                .iter()
                .find(|(fact, _)| is_absent(fact) && names.iter().any(|name| name == fact));
            if let Some((fact, presence)) = absent {
                let language = &self.voice.language;
                let is_wordless = WORDED.contains(fact) && !language.has_words();
                let message = match is_wordless {
                    true => format!(
                        "`{fact}` is absent: there are no such words in `{}`, so write them \
                         yourself",
                        language.tag()
                    ),
                    false => absence(fact, *presence),
                };
                let problem = self.problem(message, Some(fact));
                return Some(TemplateProblem { is_of_template: is_wordless, ..problem });
            }
        }
        Some(self.failure(&error))
    }

    /// A fact that the text in the catalog's own language says and this translation does not.
    fn left_out(&self, base: &str, spec: &CatalogSpec) -> Option<TemplateProblem> {
        let environment = self.voice.environment(self.key);
        let said = |source: &str| -> Option<BTreeSet<String>> {
            let names = environment.template_from_str(source).ok()?.undeclared_variables(true);
            Some(names.iter().filter_map(|name| meaning(name)).collect())
        };
        let missing: Vec<String> =
            said(base)?.difference(&said(self.source)?).map(|name| format!("`{name}`")).collect();
        if missing.is_empty() {
            return None;
        }
        let (missing, own) = (missing.join(", "), &spec.prompting.language);
        Some(self.problem(format!("it leaves out {missing}, which the text in `{own}` says"), None))
    }

    /// The engine's words for a fault. Of several lines, the one at fault is what is wrong.
    fn failure(&self, error: &Error) -> TemplateProblem {
        let source = self.source;
        let is_long = source.trim_end().contains('\n');
        let line = error.line().filter(|_| is_long).and_then(|line| source.lines().nth(line - 1));
        self.problem(explain(error), line.map(str::trim).filter(|line| !line.is_empty()))
    }
}

/// What a fact tells, whatever its form: a date with its preposition is the same as one without.
/// `None`: words that a translator may write out.
fn meaning(name: &str) -> Option<String> {
    if matches!(name, "unit" | "feature_name" | "offer_per" | "facts") {
        return None;
    }
    let bare = ["_when", "_time", "_on", "_days"].iter().find_map(|end| name.strip_suffix(end));
    Some(match bare.unwrap_or(name) {
        "trial" => "trial_end".to_owned(),
        bare => bare.to_owned(),
    })
}

/// What of the facts may be there or not: a limit, its end, a projection, the limit in the plan
/// offered, what is due today, whether it was refused.
type Case = (bool, bool, bool, bool, bool, bool);

/// Facts for every case that the scenario, the feature and the offer leave open. Of cases that
/// differ in nothing that a template can see, one is enough.
fn samples<'a>(
    spec: &'a CatalogSpec,
    prompt: &'a PromptSpec,
    offer: Option<&'a Offer>,
) -> Vec<Facts<'a>> {
    let mut cases: BTreeMap<Case, Facts<'a>> = BTreeMap::new();
    let wanted = prompt.feature.as_deref();
    let features = spec.features.iter();
    for feature in features.filter(|known| wanted.is_none_or(|name| name == known.feature)) {
        for shape in shapes(spec, prompt.scenario, feature) {
            let facts = sample(feature, prompt.scenario, shape);
            let (has_end, is_projected) = shape.map_or((false, false), |(_, e, p)| (e, p));
            let is_offered = offer.is_some_and(|offer| offer.has(&facts));
            let refused = outcomes(prompt.scenario).iter();
            for (is_comparable, is_refused) in
                refused.flat_map(|refused| [(true, *refused), (false, *refused)])
            {
                let paid = (!is_comparable).then_some(&*OTHER_PRICE);
                let facts = Facts { paid, is_refused, ..facts.clone() };
                let has_due = offer.is_some_and(|offer| offer.due_today(&facts).is_some());
                let case =
                    (shape.is_some(), has_end, is_projected, is_offered, has_due, is_refused);
                cases.entry(case).or_insert(facts);
            }
        }
    }
    cases.into_values().rev().collect()
}

/// Whether the work of a situation is refused: always, never, or either way.
fn outcomes(scenario: Scenario) -> &'static [bool] {
    match scenario {
        Scenario::LimitHit => &[true, false],
        Scenario::LockedFeature
        | Scenario::SeatsFull
        | Scenario::InviteWithoutSeat
        | Scenario::RateTier
        | Scenario::Unlock => &[true],
        Scenario::NearLimit | Scenario::Grace | Scenario::TrialEnding | Scenario::CreditsLow => {
            &[false]
        }
    }
}

/// A price that no plan has, so that it cannot be compared.
static OTHER_PRICE: std::sync::LazyLock<Price> = std::sync::LazyLock::new(|| Price {
    minor: 1,
    currency: "XXX".to_owned(),
    per: headroom_core::catalog::PricePeriod::Year,
});

/// A limit's name, whether it has an end, and whether there is a projection.
type Shape<'a> = Option<(&'a str, bool, bool)>;

/// What decisions about a feature can look like in a scenario.
fn shapes<'a>(
    spec: &'a CatalogSpec,
    scenario: Scenario,
    feature: &'a FeatureSpec,
) -> Vec<Shape<'a>> {
    use FeatureKindSpec as Kind;
    use Scenario::{
        CreditsLow, Grace, InviteWithoutSeat, LimitHit, LockedFeature, NearLimit, RateTier,
        SeatsFull, TrialEnding, Unlock,
    };
    // A pool has no pace, and units may be on their way to it or not.
    let pool = [Some((CREDITS_LIMIT, true, false)), Some((CREDITS_LIMIT, false, false))];
    let quota = |limits: &'a [headroom_core::catalog::LimitSpec]| {
        limits.iter().flat_map(|limit| {
            let each = ends(limit.window).iter();
            each.flat_map(move |end| [true, false].map(|p| Some((limit.limit.as_str(), *end, p))))
        })
    };
    let mut all: Vec<Shape<'a>> = match (scenario, &feature.kind) {
        (LockedFeature, _) => vec![None],
        // What is left to be used of another feature, for ever.
        (Unlock, _) => vec![Some(("limit", false, false))],
        (NearLimit | LimitHit | Grace | TrialEnding, Kind::Quota { limits }) => {
            quota(limits).collect()
        }
        (NearLimit | LimitHit | CreditsLow | TrialEnding, Kind::Credits { .. }) => pool.to_vec(),
        // Slots and seats have no end, a bucket is full again at some time; none has a pace.
        (NearLimit | LimitHit | TrialEnding, Kind::Concurrency { .. }) => {
            vec![Some((CONCURRENT_LIMIT, false, false))]
        }
        (
            NearLimit | LimitHit | SeatsFull | InviteWithoutSeat | TrialEnding,
            Kind::Seats { .. },
        ) => vec![Some((SEATS_LIMIT, false, false))],
        // A level never ends and has no pace, either.
        (NearLimit | LimitHit | Grace | TrialEnding, Kind::Allocation { .. }) => {
            vec![Some((LEVEL_LIMIT, false, false))]
        }
        (LimitHit | RateTier | TrialEnding, Kind::Rate { .. }) => {
            vec![Some((RATE_LIMIT, true, false))]
        }
        _ => vec![],
    };
    let is_quota = matches!(feature.kind, Kind::Quota { .. });
    if is_quota && matches!(scenario, NearLimit | LimitHit | CreditsLow) && is_priced(spec, feature)
    {
        all.extend(pool);
    }
    if scenario == TrialEnding {
        // Without limits, as a switch or an unlimited quota.
        all.push(None);
    }
    all
}

/// Whether a pool of credits may pay for a feature.
fn is_priced(spec: &CatalogSpec, feature: &FeatureSpec) -> bool {
    spec.features.iter().any(|pool| match &pool.kind {
        FeatureKindSpec::Credits { rate_card, .. } => {
            rate_card.iter().any(|(name, _)| *name == feature.feature)
        }
        _ => false,
    })
}

/// Whether time frees units of such a window: always, never, or now and then.
fn ends(window: WindowRule) -> &'static [bool] {
    match window {
        WindowRule::Lifetime => &[false],
        WindowRule::FirstUse(_) | WindowRule::Sliding(_) => &[true, false],
        WindowRule::Billing { .. } | WindowRule::Calendar(_) | WindowRule::Fixed(_) => &[true],
    }
}

fn sample<'a>(feature: &'a FeatureSpec, scenario: Scenario, shape: Shape<'a>) -> Facts<'a> {
    // An afternoon in May, so that dates have both of their forms.
    const NOW: Millis = Millis(1_778_853_600_000);
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    Facts {
        account: "acme",
        feature: &feature.feature,
        feature_name: &feature.name,
        unit: &feature.unit,
        scale: feature.scale,
        plan: "plan",
        plan_name: "Plan",
        is_refused: false,
        limit: shape.map(|(limit, has_end, is_projected)| LimitFacts {
            limit,
            used_units: 800_000,
            included_units: 1_000_000,
            frees_at: has_end.then(|| NOW.plus(20 * DAY_MS)),
            reaches_limit: is_projected.then(|| LimitReached {
                at: NOW.plus(5 * DAY_MS),
                from: NOW.plus(4 * DAY_MS),
                to: NOW.plus(7 * DAY_MS),
            }),
        }),
        account_facts: &[],
        now: NOW,
        zone: &UTC,
        trial_ends_at: (scenario == Scenario::TrialEnding).then(|| NOW.plus(2 * DAY_MS)),
        paid: None,
        anchor: NOW,
    }
}

fn absence(fact: &str, presence: Presence) -> String {
    let why = presence.why_absent();
    match presence {
        Presence::WithOffer | Presence::WithPrice | Presence::WithTrial => {
            format!("`{fact}` is absent: {why}")
        }
        Presence::Always
        | Presence::WithLimit
        | Presence::WithEnd
        | Presence::WithProjection
        | Presence::WithDue
        | Presence::WithOfferedLimit => {
            format!(
                "`{fact}` can be absent ({why}): put it inside of {{% if {fact} %}}…{{% endif %}}"
            )
        }
    }
}

fn explain(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "the template takes too long: is there a loop?".to_owned();
    }
    match error.detail() {
        Some(detail) => format!("the template fails: {}: {detail}", error.kind()),
        None => format!("the template fails: {}", error.kind()),
    }
}
