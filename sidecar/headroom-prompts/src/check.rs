//! Tries every template with every combination of facts that can occur.

use std::collections::BTreeMap;

use headroom_core::catalog::{
    CONCURRENT_LIMIT, CREDITS_LIMIT, CatalogSpec, FeatureKindSpec, FeatureSpec, LEVEL_LIMIT,
    PromptSpec, RATE_LIMIT, SEATS_LIMIT, Scenario, SpecProblem,
};
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use jiff::tz::TimeZone;
use minijinja::{Error, ErrorKind};

use super::facts::{FACTS, Facts, LimitFacts, Offer, Presence};
use super::{Field, Renderer};

/// The zone of samples.
static UTC: TimeZone = TimeZone::UTC;

/// Something wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The prompt's place in the catalog.
    pub prompt: usize,
    /// The template's key: `title`, `message`, `call_to_action` or `url`.
    pub key: &'static str,
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
        let path = vec!["prompts".into(), problem.prompt.to_string(), problem.key.into()];
        SpecProblem { path, message: problem.message, known: problem.known }
    }
}

/// All that is wrong with the templates of a catalog.
pub fn check(spec: &CatalogSpec) -> Vec<TemplateProblem> {
    let renderer = Renderer::compile_unchecked(spec);
    let mut problems = Vec::new();
    for (ix, prompt) in spec.prompts.iter().enumerate() {
        for field in Field::ALL {
            let trial = Trial { spec, renderer: &renderer, ix, prompt, field };
            problems.extend(trial.problems());
        }
    }
    problems
}

/// One template on trial.
struct Trial<'a> {
    spec: &'a CatalogSpec,
    renderer: &'a Renderer,
    ix: usize,
    prompt: &'a PromptSpec,
    field: Field,
}

impl Trial<'_> {
    fn problem(&self, message: String, word: Option<&str>) -> TemplateProblem {
        TemplateProblem {
            prompt: self.ix,
            key: self.field.key(),
            message,
            word: word.map(str::to_owned),
            known: vec![],
            is_of_template: true,
        }
    }

    fn problems(&self) -> Vec<TemplateProblem> {
        let is_url = self.field == Field::Url;
        let environment = if is_url { &self.renderer.urls } else { &self.renderer.texts };
        let source = self.field.source(self.prompt);
        let template = match environment.template_from_str(source) {
            Ok(template) => template,
            Err(error) => return vec![self.failure(&error, source)],
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
        let samples = self.samples();
        let mut problems: Vec<TemplateProblem> =
            samples.iter().filter_map(|facts| self.try_with(facts, &names, source)).collect();
        problems.dedup();
        problems
    }

    fn try_with(
        &self,
        facts: &Facts<'_>,
        names: &[String],
        source: &str,
    ) -> Option<TemplateProblem> {
        let values = facts.values(self.offer());
        let context = facts.context(&values);
        let error = self.renderer.render_field(self.ix, self.field, &context).err()?;
        if error.kind() == ErrorKind::UndefinedError {
            let is_absent = |name: &str| name != "facts" && !values.iter().any(|(v, _)| *v == name);
            let absent = FACTS
                .iter()
                .find(|(fact, _)| is_absent(fact) && names.iter().any(|name| name == fact));
            if let Some((fact, presence)) = absent {
                let problem = self.problem(absence(fact, *presence), Some(fact));
                return Some(TemplateProblem { is_of_template: false, ..problem });
            }
        }
        Some(self.failure(&error, source))
    }

    /// The engine's words for a fault. Of several lines, the one at fault is what is wrong.
    fn failure(&self, error: &Error, source: &str) -> TemplateProblem {
        let is_long = source.trim_end().contains('\n');
        let line = error.line().filter(|_| is_long).and_then(|line| source.lines().nth(line - 1));
        self.problem(explain(error), line.map(str::trim).filter(|line| !line.is_empty()))
    }

    /// Facts for every case that the scenario, the feature and the offer leave open. Of cases that
    /// differ in nothing that a template can see, one is enough.
    fn samples(&self) -> Vec<Facts<'_>> {
        let mut cases = BTreeMap::new();
        let wanted = self.prompt.feature.as_deref();
        let features = self.spec.features.iter();
        for feature in features.filter(|known| wanted.is_none_or(|name| name == known.feature)) {
            match (self.prompt.scenario, &feature.kind) {
                (Scenario::LockedFeature, _) => {
                    cases.entry((false, false, false, false)).or_insert_with(|| sample(feature));
                }
                (
                    Scenario::NearLimit | Scenario::LimitHit | Scenario::Grace,
                    FeatureKindSpec::Quota { limits },
                ) => {
                    for (limit, is_projected) in
                        limits.iter().flat_map(|limit| [(limit, true), (limit, false)])
                    {
                        for has_end in ends(limit.window) {
                            let facts = sample_of(feature, &limit.limit, *has_end, is_projected);
                            let is_offered = self.offer().is_some_and(|offer| offer.has(&facts));
                            let case = (true, *has_end, is_projected, is_offered);
                            cases.entry(case).or_insert(facts);
                        }
                    }
                    if self.prompt.scenario != Scenario::Grace && self.is_priced(feature) {
                        self.sample_pool(feature, &mut cases);
                    }
                }
                (Scenario::NearLimit | Scenario::LimitHit, FeatureKindSpec::Credits { .. }) => {
                    self.sample_pool(feature, &mut cases)
                }
                // Slots and seats have no end, a bucket is full again at some time; none has a pace.
                (
                    Scenario::NearLimit | Scenario::LimitHit,
                    kind @ (FeatureKindSpec::Concurrency | FeatureKindSpec::Seats { .. }),
                ) => {
                    let limit = match kind {
                        FeatureKindSpec::Seats { .. } => SEATS_LIMIT,
                        _ => CONCURRENT_LIMIT,
                    };
                    let facts = sample_of(feature, limit, false, false);
                    let is_offered = self.offer().is_some_and(|offer| offer.has(&facts));
                    cases.entry((true, false, false, is_offered)).or_insert(facts);
                }
                // A level never ends and has no pace, either.
                (
                    Scenario::NearLimit | Scenario::LimitHit | Scenario::Grace,
                    FeatureKindSpec::Allocation { .. },
                ) => {
                    let facts = sample_of(feature, LEVEL_LIMIT, false, false);
                    let is_offered = self.offer().is_some_and(|offer| offer.has(&facts));
                    cases.entry((true, false, false, is_offered)).or_insert(facts);
                }
                (Scenario::LimitHit, FeatureKindSpec::Rate { .. }) => {
                    let facts = sample_of(feature, RATE_LIMIT, true, false);
                    let is_offered = self.offer().is_some_and(|offer| offer.has(&facts));
                    cases.entry((true, true, false, is_offered)).or_insert(facts);
                }
                (
                    Scenario::Grace,
                    FeatureKindSpec::Concurrency
                    | FeatureKindSpec::Credits { .. }
                    | FeatureKindSpec::Seats { .. },
                )
                | (Scenario::NearLimit | Scenario::Grace, FeatureKindSpec::Rate { .. })
                | (
                    Scenario::NearLimit | Scenario::LimitHit | Scenario::Grace,
                    FeatureKindSpec::Switch | FeatureKindSpec::Config,
                ) => {}
            }
        }
        cases.into_values().rev().collect()
    }

    /// Whether a pool of credits may pay for a feature.
    fn is_priced(&self, feature: &FeatureSpec) -> bool {
        self.spec.features.iter().any(|pool| match &pool.kind {
            FeatureKindSpec::Credits { rate_card, .. } => {
                rate_card.iter().any(|(name, _)| *name == feature.feature)
            }
            _ => false,
        })
    }

    /// A pool has no pace, and units may be on their way to it or not.
    fn sample_pool<'a>(
        &self,
        feature: &'a FeatureSpec,
        cases: &mut BTreeMap<(bool, bool, bool, bool), Facts<'a>>,
    ) {
        for has_end in [true, false] {
            let facts = sample_of(feature, CREDITS_LIMIT, has_end, false);
            let is_offered = self.offer().is_some_and(|offer| offer.has(&facts));
            cases.entry((true, has_end, false, is_offered)).or_insert(facts);
        }
    }

    fn offer(&self) -> Option<&Offer> {
        self.renderer.prompts[self.ix].offer.as_ref()
    }
}

/// Whether time frees units of such a window: always, never, or now and then.
fn ends(window: WindowRule) -> &'static [bool] {
    match window {
        WindowRule::Lifetime => &[false],
        WindowRule::FirstUse(_) | WindowRule::Sliding(_) => &[true, false],
        WindowRule::Billing { .. } | WindowRule::Calendar(_) | WindowRule::Fixed(_) => &[true],
    }
}

fn sample(feature: &FeatureSpec) -> Facts<'_> {
    // An afternoon in May, so that dates have both of their forms.
    const NOW: Millis = Millis(1_778_853_600_000);
    Facts {
        account: "acme",
        feature: &feature.feature,
        feature_name: &feature.name,
        unit: &feature.unit,
        scale: feature.scale,
        plan: "plan",
        plan_name: "Plan",
        limit: None,
        account_facts: &[],
        now: NOW,
        zone: &UTC,
    }
}

fn sample_of<'a>(
    feature: &'a FeatureSpec,
    limit: &'a str,
    has_end: bool,
    is_projected: bool,
) -> Facts<'a> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let facts = sample(feature);
    let limit = LimitFacts {
        limit,
        used_units: 800_000,
        included_units: 1_000_000,
        frees_at: has_end.then(|| facts.now.plus(20 * DAY_MS)),
        reaches_limit_at: is_projected.then(|| facts.now.plus(5 * DAY_MS)),
    };
    Facts { limit: Some(limit), ..facts }
}

fn absence(fact: &str, presence: Presence) -> String {
    let why = presence.why_absent();
    match presence {
        Presence::WithOffer | Presence::WithPrice => format!("`{fact}` is absent: {why}"),
        Presence::Always
        | Presence::WithLimit
        | Presence::WithEnd
        | Presence::WithProjection
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
