//! Prompts: which one an answer carries, or why none; and PromptService, which hears what became of
//! them.

use std::sync::Arc;

use headroom_core::catalog::{Catalog, FeatureKind, Price, Prompt, PromptingSpec};
use headroom_core::names::NameId;
use headroom_core::prompt::{
    self, CONTROL, DueToday, Group, Occasion, Reader, SNOOZE_MS_MAX, Severity, Suppression, Told,
};
use headroom_core::time::Millis;
use headroom_engine::engine::{About, Reply};
use headroom_engine::prompts::OutcomeError;
use headroom_forecast::Forecast;
use headroom_prompts::{Facts, LimitFacts, LimitReached, Rendered, Wording};
use headroom_proto::v1;
use headroom_proto::v1::prompt_service_server::PromptService;
use tonic::{Request, Response, Status};

use crate::forecasts::Projection;
use crate::grpc::parse::{self, Cause, Include};
use crate::grpc::present::{self, Scene, int};
use crate::grpc::shared::Shared;
use crate::grpc::status::WireError;
use crate::serve::Gate;
use crate::telemetry::metrics::Recorder;

/// How long a prompt is put off when the request does not say, in milliseconds: a week.
const SNOOZE_MS_DEFAULT: i64 = 7 * prompt::DAY_MS;

/// What a decision calls for.
#[derive(Debug)]
pub enum Made {
    /// A prompt.
    Prompt(Box<v1::Prompt>),
    /// One that is held back.
    Suppressed(v1::PromptSuppression),
}

/// The prompt for an answer. `None`: the decision calls for none.
pub fn made(
    scene: Scene<'_>,
    reply: &Reply,
    include: Include<'_>,
    projected: impl FnOnce() -> Option<Projection>,
) -> Option<Made> {
    let (catalog, words) = (scene.catalog, scene.words?);
    let about = reply.about.as_deref()?;
    let decided = &reply.outcome.decision;
    let (prompting, now) = (catalog.prompting(), scene.now);
    let segment = text_fact(about, &prompting.segment_fact).unwrap_or_default();
    let reader = Reader {
        account: scene.account,
        segment: &segment,
        audience: include.audience,
        person: include.person,
    };
    let occasion = Occasion {
        is_invitation: include.cause == Cause::Invitation,
        trial_is_ending: catalog.prompts_of_trials()
            && about
                .trial_ends_at
                .is_some_and(|ends_at| ends_at.since(now) <= catalog.trial_ending_ms()),
    };
    let chosen = prompt::choose(catalog, decided, occasion, reader)?;
    let known = &catalog.prompts()[chosen.place];
    let engine = &words.engine;
    let person = engine.person_number(scene.account, include.person);
    let language = language_of(prompting, about, include.locale);
    let name = |text: &str| catalog.names().get(text).unwrap_or_default();
    let language_id = name(language.as_deref().unwrap_or(&prompting.language));
    let held = |(why, until)| Some(Made::Suppressed(suppression(known, why, until)));
    let minute = minute_of_day(about, now);
    let rules = (prompting, &known.spec);
    if let Some(why) = prompt::suppressed(rules, known.id, person, &about.exposures, (now, minute))
    {
        return held(why);
    }
    let made = (now, reply.decision_id);
    let variant = match prompt::group(&known.spec, reader) {
        Group::Variant(variant) => variant,
        Group::Holdout => {
            if include.cause != Cause::Monitor {
                let names = (known.id, name(prompt::HOLDOUT), language_id);
                let (ticket, _) = engine.ticket(scene.account, names, person, made);
                engine.hold_back(catalog, scene.account, ticket, now);
            }
            return held((Suppression::Holdout, None));
        }
    };
    let paid = paid(catalog, about);
    let told = words.growth.facts_for_words(&about.facts);
    let facts = facts(scene, reply, about, (projected, paid))?;
    let facts = Facts { account_facts: &told, ..facts };
    let wording = Wording { variant, language: language.as_deref() };
    let rendered = words.render(catalog, (chosen.place, wording), &facts)?;
    let names = (known.id, variant_id(known, variant, name(CONTROL)), language_id);
    let (_, prompt_id) = engine.ticket(scene.account, names, person, made);
    let said =
        Said { catalog, known, wording, scenario: chosen.scenario, severity: chosen.severity };
    let prompt = v1::Prompt { prompt_id, ..message(&said, rendered) };
    Some(Made::Prompt(Box::new(prompt)))
}

/// The translated language that a reader gets. `None`: the catalog's own.
pub fn language_of(prompting: &PromptingSpec, about: &About, locale: &str) -> Option<String> {
    let told = match locale {
        "" => text_fact(about, &prompting.language_fact).unwrap_or_default(),
        locale => locale.to_owned(),
    };
    prompting.language_for(&told).map(str::to_owned)
}

/// A fact of an account that is a text.
fn text_fact(about: &About, name: &str) -> Option<String> {
    let (_, json) = about.facts.iter().find(|(known, _)| known == name)?;
    serde_json::from_str(json).ok()
}

fn minute_of_day(about: &About, now: Millis) -> u16 {
    let stamp = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    let utc = jiff::tz::TimeZone::UTC;
    let zone = about.zone.as_ref().map_or(&utc, |zone| zone.rules());
    let time = zone.to_datetime(stamp).time();
    u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0)
}

fn variant_id(known: &Prompt, variant: Option<usize>, control: NameId) -> NameId {
    variant.and_then(|ix| known.variants.get(ix).copied()).unwrap_or(control)
}

/// What the account pays for its plan.
pub fn paid<'a>(catalog: &'a Catalog, about: &About) -> Option<&'a Price> {
    catalog.plan(catalog.plan_of(about.paid_plan)?).price.as_ref()
}

fn facts<'a>(
    scene: Scene<'a>,
    reply: &'a Reply,
    about: &'a About,
    (projected, paid): (impl FnOnce() -> Option<Projection>, Option<&'a Price>),
) -> Option<Facts<'a>> {
    static UTC: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC;
    let catalog = scene.catalog;
    let decided = &reply.outcome.decision;
    let feature = catalog.feature(catalog.feature_of(decided.feature?)?);
    let plan = catalog.plan_of(decided.plan).map(|ix| catalog.plan(ix));
    // Where a pool pays, the numbers are credits.
    let limited = decided.binding.as_ref().and_then(|b| catalog.feature_of(b.ledger.feature));
    let counted = limited.map_or(feature, |ix| catalog.feature(ix));
    let reached = projected().and_then(|projected| match projected.forecast {
        Forecast::Expected(outlook) => outlook.at_ms.map(|_| outlook),
        Forecast::Learning | Forecast::Reached => None,
    });
    let limit = decided.binding.as_ref().and_then(|state| {
        Some(LimitFacts {
            limit: catalog.text(state.ledger.limit),
            used_units: match feature.kind {
                FeatureKind::Concurrency { .. } | FeatureKind::Seats { .. } => state.ledger.held(),
                _ => state.ledger.used,
            },
            included_units: state.included_units?,
            frees_at: Some(state.frees_at()).filter(|at| *at != Millis::FOREVER),
            reaches_limit: reached.map(|outlook| LimitReached {
                at: Millis(outlook.at_ms.unwrap_or(scene.now.0)),
                from: Millis(outlook.from_ms.unwrap_or(scene.now.0)),
                // It may well not be reached: then all that is said is that the window ends.
                to: outlook.to_ms.map_or(state.ledger.window.end(), Millis),
            }),
        })
    });
    Some(Facts {
        account: scene.account,
        feature: &feature.feature,
        feature_name: &feature.name,
        unit: &counted.unit,
        scale: counted.scale,
        plan: catalog.plan_name(decided.plan).0,
        plan_name: plan.map_or("", |plan| &plan.name),
        is_refused: !decided.verdict.is_allowed(),
        limit,
        account_facts: &about.facts,
        now: scene.now,
        zone: about.zone.as_ref().map_or(&UTC, |zone| zone.rules()),
        trial_ends_at: about.trial_ends_at,
        paid,
        anchor: about.anchor,
    })
}

/// What is known of a prompt besides its words.
pub struct Said<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The prompt.
    pub known: &'a Prompt,
    /// Which words.
    pub wording: Wording<'a>,
    /// The situation.
    pub scenario: headroom_core::catalog::Scenario,
    /// How loud it should be.
    pub severity: Severity,
}

/// A prompt as a message, without an id.
pub fn message(said: &Said<'_>, rendered: Rendered) -> v1::Prompt {
    let Said { catalog, known, wording, .. } = said;
    let language = wording.language.unwrap_or(&catalog.prompting().language);
    v1::Prompt {
        prompt: known.spec.prompt.clone(),
        scenario: said.scenario.as_str().to_owned(),
        severity: match said.severity {
            Severity::Info => v1::Severity::Info,
            Severity::Warning => v1::Severity::Warning,
            Severity::Alarm => v1::Severity::Alarm,
        }
        .into(),
        title: rendered.title,
        message: rendered.message,
        call_to_action: rendered.call_to_action,
        url: rendered.url,
        offer: known.offer.map(|ix| offer(catalog.plan(ix), rendered.due_today)),
        facts: rendered.facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        prompt_id: String::new(),
        variant: known.spec.variant_name(wording.variant).to_owned(),
        language: language.to_owned(),
        steps: rendered.steps,
    }
}

fn offer(plan: &headroom_core::catalog::Plan, due: Option<DueToday>) -> v1::Offer {
    let price = plan.price.as_ref();
    v1::Offer {
        plan: plan.plan.to_string(),
        plan_name: plan.name.to_string(),
        price_minor: price.map(|price| int(price.minor)),
        currency: price.map_or_else(String::new, |price| price.currency.clone()),
        per: price.map_or("", |price| price.per.as_str()).to_owned(),
        due_today_minor: due.map(|due| int(due.minor())),
        credit_minor: due.map_or(0, |due| int(due.credit_minor)),
        period_end: due.map(|due| present::timestamp(due.period_end)),
    }
}

fn suppression(known: &Prompt, why: Suppression, until: Option<Millis>) -> v1::PromptSuppression {
    use v1::SuppressionReason as Reason;
    let reason = match why {
        Suppression::Holdout => Reason::Holdout,
        Suppression::QuietHours => Reason::QuietHours,
        Suppression::Snoozed => Reason::Snoozed,
        Suppression::CoolDown => Reason::CoolDown,
        Suppression::PromptCap => Reason::PromptCap,
        Suppression::Cap => Reason::Cap,
    };
    v1::PromptSuppression {
        prompt: known.spec.prompt.clone(),
        reason: reason.into(),
        until: until.map(present::timestamp),
    }
}

/// PromptService, as one worker serves it.
#[derive(Clone)]
pub struct Prompts {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Where this worker's requests wait for the journal.
    pub gate: Gate,
    /// Where this worker counts.
    pub recorder: Recorder,
}

impl Prompts {
    async fn outcome(&self, rq: &v1::RecordOutcomeRequest) -> Result<bool, WireError> {
        let account = parse::id("account", &rq.account)?;
        // The id is ours and longer than any of the product's; what is no id is not known.
        let told = told(rq)?;
        let catalog = self.shared.engine.catalog().clone();
        let now = self.shared.clock.now();
        let done =
            self.shared.engine.tell_outcome(&catalog, (account, &rq.prompt_id), told, now)?;
        self.gate.settled(self.gate.appended(done.wait_for)).await?;
        Ok(done.changed)
    }
}

fn told(rq: &v1::RecordOutcomeRequest) -> Result<Told, WireError> {
    use v1::PromptOutcome as Outcome;
    let outcome = Outcome::try_from(rq.outcome);
    if rq.snooze_for.is_some() && outcome != Ok(Outcome::Snoozed) {
        return Err(WireError::field("snooze_for", "is only for SNOOZED"));
    }
    match outcome {
        Ok(Outcome::Shown) => Ok(Told::Shown),
        Ok(Outcome::Dismissed) => Ok(Told::Dismissed),
        Ok(Outcome::Clicked) => Ok(Told::Clicked),
        Ok(Outcome::Converted) => Ok(Told::Converted),
        Ok(Outcome::Snoozed) => {
            let Some(span) = &rq.snooze_for else { return Ok(Told::Snoozed(SNOOZE_MS_DEFAULT)) };
            let ms = parse::duration_ms("snooze_for", span)?;
            if !(1..=SNOOZE_MS_MAX).contains(&ms) {
                return Err(WireError::field("snooze_for", "must be 1 ms to 90 days"));
            }
            Ok(Told::Snoozed(ms))
        }
        Ok(Outcome::Unspecified) => Err(WireError::field("outcome", "is missing")),
        Err(_) => Err(WireError::field("outcome", "is not known to this version")),
    }
}

impl From<OutcomeError> for WireError {
    fn from(error: OutcomeError) -> WireError {
        let reason = match error {
            OutcomeError::Engine(error) => return error.into(),
            OutcomeError::UnknownPrompt | OutcomeError::TooOld => v1::ErrorReason::UnknownPrompt,
            OutcomeError::UnknownAccount => v1::ErrorReason::UnknownAccount,
        };
        WireError::new(reason, error.to_string())
    }
}

#[tonic::async_trait]
impl PromptService for Prompts {
    async fn record_outcome(
        &self,
        rq: Request<v1::RecordOutcomeRequest>,
    ) -> Result<Response<v1::RecordOutcomeResponse>, Status> {
        match self.outcome(rq.get_ref()).await {
            Ok(changed) => Ok(Response::new(v1::RecordOutcomeResponse { changed })),
            Err(error) => {
                self.recorder.error(error.reason);
                Err(error.into())
            }
        }
    }
}
