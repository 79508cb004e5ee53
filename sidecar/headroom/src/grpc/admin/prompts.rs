//! What became of prompts, counted; and how one would look.

use headroom_core::catalog::{Catalog, Feature, Prompt};
use headroom_core::decide::FeatureOp;
use headroom_core::prompt::{
    Arm, CONTROL, Comparison, DAY_MS, HOLDOUT, Report, Scenario, Severity, Share, winner,
};
use headroom_core::time::Millis;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{About, FeatureRequest, Wants};
use headroom_engine::prompts::exposures;
use headroom_prompts::{Facts, LimitFacts, LimitReached, Wording};
use headroom_proto::v1;

use super::Administration;
use crate::grpc::parse;
use crate::grpc::present::int;
use crate::grpc::prompts::{Said, language_of, message, paid};
use crate::grpc::status::WireError;

/// Showings that one report counts. Above it, it says that the latest are missing.
const REPORT_SHOWINGS_MAX: usize = 200_000;

impl Administration {
    /// Counts what became of a prompt. The projection is read page by page, so that others get
    /// their turn.
    pub(super) async fn prompt_report(
        &self,
        rq: &v1::GetPromptReportRequest,
    ) -> Result<v1::GetPromptReportResponse, WireError> {
        let catalog = self.core.shared.engine.catalog().clone();
        let known = prompt_named(&catalog, &rq.prompt)?;
        let instant = |field, at: &Option<prost_types::Timestamp>, usual| match at {
            Some(at) => parse::timestamp(field, at),
            None => Ok(usual),
        };
        let since = instant("since", &rq.since, Millis(i64::MIN))?;
        let until = instant("until", &rq.until, Millis(i64::MAX))?;
        if until <= since {
            return Err(WireError::field("until", "must be later than since"));
        }
        let mut report = Report::default();
        let (mut after, mut seen) = (None, 0);
        let truncated = loop {
            let page = exposures(&*self.core.store, known.id, (since, until), after.as_deref());
            let (rows, next) =
                page.map_err(|error| WireError::new(v1::ErrorReason::Internal, error.to_string()))?;
            seen += rows.len();
            for row in &rows {
                report.add(row.serial, &row.exposure, known.spec.assign_by);
            }
            after = next;
            if after.is_none() || REPORT_SHOWINGS_MAX <= seen {
                break after.is_some();
            }
            tokio::task::yield_now().await;
        };
        Ok(answer(&catalog, &report, truncated))
    }

    /// How a prompt would look to an account. What the account's own situation does not have, as a
    /// limit that is near, is made up.
    pub(super) fn preview(&self, rq: &v1::PreviewPromptRequest) -> Result<v1::Prompt, WireError> {
        let engine = &self.core.shared.engine;
        let catalog = engine.catalog().clone();
        let known = prompt_named(&catalog, &rq.prompt)?;
        let account = parse::id("account", &rq.account)?;
        let now = self.now();
        let about = engine.about(account, now).ok_or_else(|| {
            let message = format!("there is no account {account:?}");
            WireError::new(v1::ErrorReason::UnknownAccount, message)
        })?;
        let words = self.core.shared.words.load_full();
        let words = words.filter(|words| words.revision == catalog.revision).ok_or_else(|| {
            WireError::new(v1::ErrorReason::CatchingUp, "the catalog is being exchanged")
        })?;
        let feature = feature_of(&catalog, known, &rq.feature)?;
        let reader = headroom_core::prompt::Reader { account, ..Default::default() };
        let variant = match rq.variant.as_str() {
            "" => match headroom_core::prompt::group(&known.spec, reader) {
                headroom_core::prompt::Group::Variant(variant) => variant,
                headroom_core::prompt::Group::Holdout => None,
            },
            name => variant_named(known, name)?,
        };
        let language = language_of(catalog.prompting(), &about, &rq.locale);
        let wording = Wording { variant, language: language.as_deref() };
        let place = catalog.prompts().iter().position(|other| other.id == known.id).unwrap_or(0);
        let request = FeatureRequest {
            account,
            feature: &feature.feature,
            op: FeatureOp::Check { units: 1, attempt: false },
            synthetic: true,
            dimensions: Dimensions::None,
            key: "",
            now,
            wants: Wants::default(),
            subject: None,
        };
        let reply = engine.feature(&catalog, &request)?;
        let plan = reply.outcome.decision.plan;
        let own = reply.outcome.decision.binding.as_ref().and_then(|state| {
            Some(LimitFacts {
                limit: catalog.text(state.ledger.limit),
                used_units: state.ledger.held(),
                included_units: state.included_units?,
                frees_at: Some(state.frees_at()).filter(|at| *at != Millis::FOREVER),
                reaches_limit: None,
            })
        });
        let told = words.growth.facts_for_words(&about.facts);
        let facts = |limit| {
            let facts = facts(&catalog, (account, feature), &about, (now, plan), limit, known);
            Facts { account_facts: &told, ..facts }
        };
        // The account's own numbers where the words can be made of them, else made up ones.
        let rendered = words.renderer.render(place, wording, &facts(own));
        let rendered = rendered
            .or_else(|_| words.renderer.render(place, wording, &facts(made_up(known, now))))
            .map_err(|error| WireError::new(v1::ErrorReason::Internal, error.to_string()))?;
        let said = Said {
            catalog: &catalog,
            known,
            wording,
            scenario: known.spec.scenario,
            severity: severity(known.spec.scenario),
        };
        Ok(message(&said, rendered))
    }
}

fn prompt_named<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Prompt, WireError> {
    let known = catalog.prompts().iter().find(|known| known.spec.prompt == name);
    known.ok_or_else(|| unknown("prompt", name, catalog.prompts().iter().map(|p| &*p.spec.prompt)))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> WireError {
    let known: Vec<&str> = known.collect();
    let close = known.iter().min_by_key(|known| strsim::levenshtein(known, name));
    let hint = close.map_or_else(String::new, |close| format!(": is it `{close}`?"));
    WireError::new(v1::ErrorReason::UnknownName, format!("there is no {what} {name:?}{hint}"))
}

fn variant_named(known: &Prompt, name: &str) -> Result<Option<usize>, WireError> {
    if name == CONTROL {
        return Ok(None);
    }
    let variants = &known.spec.variants;
    match variants.iter().position(|variant| variant.variant == name) {
        Some(place) => Ok(Some(place)),
        None => {
            let names = variants.iter().map(|variant| &*variant.variant);
            Err(unknown("variant", name, names.chain([CONTROL])))
        }
    }
}

fn feature_of<'a>(
    catalog: &'a Catalog,
    known: &Prompt,
    name: &str,
) -> Result<&'a Feature, WireError> {
    let all = catalog.features();
    let named = || all.iter().find(|feature| &*feature.feature == name);
    match (name, known.feature) {
        ("", Some(ix)) => Ok(catalog.feature(ix)),
        ("", None) => Ok(&all[0]), // A catalog has a feature: the check says so.
        _ => named().ok_or_else(|| unknown("feature", name, all.iter().map(|f| &*f.feature))),
    }
}

fn severity(scenario: Scenario) -> Severity {
    match scenario {
        Scenario::NearLimit | Scenario::CreditsLow => Severity::Warning,
        Scenario::LockedFeature | Scenario::TrialEnding | Scenario::Unlock => Severity::Info,
        Scenario::LimitHit
        | Scenario::Grace
        | Scenario::SeatsFull
        | Scenario::InviteWithoutSeat
        | Scenario::RateTier => Severity::Alarm,
    }
}

/// A limit of which four fifths are used, in the middle of a month.
fn made_up(known: &Prompt, now: Millis) -> Option<LimitFacts<'static>> {
    (known.spec.scenario != Scenario::LockedFeature).then(|| LimitFacts {
        limit: "limit",
        used_units: 800,
        included_units: 1_000,
        frees_at: Some(now.plus(15 * DAY_MS)),
        reaches_limit: Some(LimitReached {
            at: now.plus(5 * DAY_MS),
            from: now.plus(4 * DAY_MS),
            to: now.plus(7 * DAY_MS),
        }),
    })
}

fn facts<'a>(
    catalog: &'a Catalog,
    (account, feature): (&'a str, &'a Feature),
    about: &'a About,
    (now, plan): (Millis, headroom_core::names::NameId),
    limit: Option<LimitFacts<'a>>,
    known: &Prompt,
) -> Facts<'a> {
    static UTC: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC;
    let trial_ends_at = match known.spec.scenario {
        Scenario::TrialEnding => about.trial_ends_at.or(Some(now.plus(2 * DAY_MS))),
        _ => about.trial_ends_at,
    };
    Facts {
        account,
        feature: &feature.feature,
        feature_name: &feature.name,
        unit: &feature.unit,
        scale: feature.scale,
        plan: catalog.plan_name(plan).0,
        plan_name: catalog.plan_of(plan).map_or("", |ix| &catalog.plan(ix).name),
        is_refused: !known.spec.scenario.is_promotion() && known.spec.scenario != Scenario::Grace,
        limit,
        account_facts: &about.facts,
        now,
        zone: about.zone.as_ref().map_or(&UTC, |zone| zone.rules()),
        trial_ends_at,
        paid: paid(catalog, about),
        anchor: about.anchor,
    }
}

fn answer(catalog: &Catalog, report: &Report, truncated: bool) -> v1::GetPromptReportResponse {
    let text = |id| catalog.text(id).to_owned();
    let counts = report.counts().map(|(variant, language, counts)| v1::PromptCounts {
        variant: text(variant),
        language: text(language),
        shown: int(counts.shown),
        clicked: int(counts.clicked),
        converted: int(counts.converted),
        dismissed: int(counts.dismissed),
        snoozed: int(counts.snoozed),
    });
    let arms = report.arms();
    let holdout = arms.iter().find(|arm| catalog.text(arm.variant) == HOLDOUT);
    let shown = |arm: &Arm| {
        let is_holdout = catalog.text(arm.variant) == HOLDOUT;
        let compared = holdout.filter(|_| !is_holdout).map(|holdout| arm.against(holdout));
        v1::PromptArm {
            variant: text(arm.variant),
            readers: int(arm.readers),
            clicked: int(arm.clicked),
            converted: int(arm.converted),
            click_share: (!is_holdout).then(|| share(arm.click_share())),
            conversion_share: Some(share(arm.conversion_share())),
            against_holdout: comparison(compared).into(),
        }
    };
    v1::GetPromptReportResponse {
        counts: counts.collect(),
        arms: arms.iter().map(shown).collect(),
        winner: winner(&arms).map_or_else(String::new, text),
        truncated,
    }
}

fn comparison(compared: Option<Comparison>) -> v1::PromptComparison {
    match compared {
        None => v1::PromptComparison::Unspecified,
        Some(Comparison::NotEnoughYet) => v1::PromptComparison::NotEnoughYet,
        Some(Comparison::Better) => v1::PromptComparison::Better,
        Some(Comparison::Worse) => v1::PromptComparison::Worse,
    }
}

fn share(share: Share) -> v1::PromptShare {
    // Basis points: at most 10,000.
    let bp = |bp: u32| i32::try_from(bp).unwrap_or(i32::MAX);
    v1::PromptShare {
        seen_bp: bp(share.seen_bp),
        low_bp: bp(share.low_bp),
        high_bp: bp(share.high_bp),
    }
}
