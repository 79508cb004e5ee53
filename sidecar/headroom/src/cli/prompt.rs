//! `headroom prompt`: how prompts look, and what became of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use headroom_core::prompt::CONTROL;
use headroom_prompts::Wording;
use headroom_sdk::{AdminClient, Error, PromptOutcome, v1};

use super::admin::with_client;
use super::args::{ToAdmin, ToSidecar, duration, time};
use super::connect::{self, Ended, Failure};
use super::show::{self, Report};
use crate::config::catalog;
use crate::config::sinks::NoSecrets;

const EXAMPLES: &str = "\
Examples:
  headroom prompt preview near --catalog prompts.yaml --locale de        without a sidecar
  headroom prompt preview near --account acme --variant question         as acme would see it
  headroom prompt outcome acme prm_7.9.b.0.18f3c2d1a00.5f1c8a clicked    what a person did with one
  headroom prompt report near --since 2026-05-01T00:00:00Z               which words do better?

The prompt is one of deploy/example/prompts.yaml.";

/// See how prompts look, and what became of them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PromptArgs {
    #[command(subcommand)]
    pub(super) action: PromptAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum PromptAction {
    /// Render a prompt and count nothing: of a catalog file with made-up facts, or for an account
    /// of a running sidecar
    Preview {
        /// The prompt's name in the catalog
        prompt: String,
        #[command(flatten)]
        of: PreviewOf,
        /// The language, as in de-AT [default: the account's, or the catalog's own]
        #[arg(long, value_name = "TAG")]
        locale: Option<String>,
        /// A variant, or control [default: the account's]
        #[arg(long)]
        variant: Option<String>,
        /// With --catalog: a fact of the account, as in csm=Ann; JSON where it is some
        #[arg(long, value_name = "NAME=VALUE", requires = "catalog", value_parser = fact)]
        fact: Vec<(String, String)>,
        /// With --account: the feature it is about [default: the prompt's]
        #[arg(long, requires = "account")]
        feature: Option<String>,
        #[command(flatten)]
        to: ToAdmin,
    },
    /// Count what became of a prompt, wording by wording and against the holdout
    Report {
        /// The prompt's name in the catalog
        prompt: String,
        /// Only what was shown then or later, as in 2026-05-01T00:00:00Z
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<SystemTime>,
        /// And before then
        #[arg(long, value_name = "TIME", value_parser = time)]
        until: Option<SystemTime>,
        #[command(flatten)]
        to: ToAdmin,
    },
    /// Say what became of a prompt, as a product does; the same again changes nothing
    Outcome {
        /// The account's id
        account: String,
        /// The prompt_id that the prompt came with (`headroom ask … --json` shows it)
        prompt_id: String,
        /// What became of it
        outcome: OutcomeArg,
        /// With snoozed: how long
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
        snooze: Duration,
        #[command(flatten)]
        to: ToSidecar,
    },
}

/// Whose prompt is previewed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct PreviewOf {
    /// A catalog file
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// An account of a running sidecar
    #[arg(long, value_name = "ID")]
    account: Option<String>,
}

/// What became of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OutcomeArg {
    /// It was seen
    Shown,
    /// It was closed
    Dismissed,
    /// Its action was taken
    Clicked,
    /// What it is for came about
    Converted,
    /// It was put off
    Snoozed,
}

/// `name=value`, the value as JSON text.
fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let json: serde_json::Value =
        serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
    Ok((name.to_owned(), json.to_string()))
}

/// `headroom prompt …`
pub(super) async fn run(args: PromptArgs) -> Ended {
    match args.action {
        PromptAction::Preview { prompt, of, locale, variant, mut fact, feature, to } => {
            let (locale, variant) = (locale.unwrap_or_default(), variant.unwrap_or_default());
            if let Some(file) = &of.catalog {
                fact.sort();
                return of_file(file, &prompt, (&variant, &locale), &fact, to.json);
            }
            let request = v1::PreviewPromptRequest {
                prompt,
                account: of.account.unwrap_or_default(),
                variant,
                locale,
                feature: feature.unwrap_or_default(),
            };
            with_client(&to, async |client| previewed(client, request).await).await
        }
        PromptAction::Report { prompt, since, until, to } => {
            let (since, until) = (since.map(Into::into), until.map(Into::into));
            let request = v1::GetPromptReportRequest { prompt, since, until };
            with_client(&to, async |client| {
                Ok(show::prompt_report(&client.get_prompt_report(request).await?))
            })
            .await
        }
        PromptAction::Outcome { account, prompt_id, outcome, snooze, to } => {
            let outcome = match outcome {
                OutcomeArg::Shown => PromptOutcome::Shown,
                OutcomeArg::Dismissed => PromptOutcome::Dismissed,
                OutcomeArg::Clicked => PromptOutcome::Clicked,
                OutcomeArg::Converted => PromptOutcome::Converted,
                OutcomeArg::Snoozed => PromptOutcome::Snoozed(snooze),
            };
            let client = match connect::sidecar(&to).await {
                Ok(client) => client,
                Err(failure) => return Ended::Failed(failure),
            };
            match client.record_outcome(account, prompt_id, outcome).await {
                Ok(changed) => {
                    show::report(&show::told(changed), to.json);
                    Ended::Done
                }
                Err(error) => Ended::Failed(Failure::new(error, &to.endpoint)),
            }
        }
    }
}

async fn previewed(
    client: &AdminClient,
    request: v1::PreviewPromptRequest,
) -> Result<Report, Error> {
    Ok(show::preview(&client.preview_prompt(request).await?))
}

/// Renders a prompt of a catalog file with made-up facts.
fn of_file(
    file: &Path,
    prompt: &str,
    (variant, locale): (&str, &str),
    own: &[(String, String)],
    as_json: bool,
) -> Ended {
    let parsed = match catalog::load(file, &NoSecrets) {
        Ok(parsed) => parsed,
        Err(problems) => {
            show::problem(&problems.to_string());
            return Ended::Refused;
        }
    };
    let (spec, renderer) = (&parsed.spec, &parsed.prompts);
    let unknown = |what: &str, name: &str, known: Vec<&str>| {
        show::problem(&format!("there is no {what} {name:?}; there are: {}", known.join(", ")));
        Ended::Refused
    };
    let Some(place) = spec.prompts.iter().position(|known| known.prompt == prompt) else {
        let known = spec.prompts.iter().map(|known| known.prompt.as_str()).collect();
        return unknown("prompt", prompt, known);
    };
    let known = &spec.prompts[place];
    let place_of = |name: &str| known.variants.iter().position(|other| other.variant == name);
    let variant_place = match variant {
        "" | CONTROL => None,
        name => match place_of(name) {
            Some(place) => Some(place),
            None => {
                let names = known.variants.iter().map(|known| known.variant.as_str());
                return unknown("variant", name, names.chain([CONTROL]).collect());
            }
        },
    };
    let language = spec.prompting.language_for(locale);
    let wording = Wording { variant: variant_place, language };
    let Some(facts) = renderer.example(spec, place) else {
        show::problem("no decision under this catalog can call for the prompt");
        return Ended::Refused;
    };
    let facts = headroom_prompts::Facts { account_facts: own, ..facts };
    match renderer.render(place, wording, &facts) {
        Ok(rendered) => {
            let prompt = v1::Prompt {
                prompt: known.prompt.clone(),
                scenario: known.scenario.as_str().to_owned(),
                title: rendered.title,
                message: rendered.message,
                call_to_action: rendered.call_to_action,
                url: rendered.url,
                steps: rendered.steps,
                variant: known.variant_name(variant_place).to_owned(),
                language: language.unwrap_or(&spec.prompting.language).to_owned(),
                ..v1::Prompt::default()
            };
            show::report(&show::preview(&prompt), as_json);
            Ended::Done
        }
        Err(error) => {
            show::problem(&error.to_string());
            Ended::Refused
        }
    }
}
