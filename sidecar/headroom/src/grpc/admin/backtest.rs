//! Rules of growth tried on the past, over the wire.

use std::pin::Pin;
use std::task::{Context, Poll};

use headroom_core::prompt::Share;
use headroom_expansion::backtest::{Report, Source, Trigger, Verdict};
use headroom_expansion::terms::Terms;
use headroom_proto::v1;
use headroom_proto::v1::backtest_response::Step;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::Administration;
use crate::config::catalog;
use crate::growth::backtest::{Ask, Tried};
use crate::grpc::parse;
use crate::grpc::present::{duration, int, timestamp};
use crate::grpc::status::WireError;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How far back is looked when nothing is said.
pub const SINCE_MS: i64 = 90 * DAY_MS;

/// How soon an upgrade has to follow when nothing is said.
pub const WITHIN_MS: i64 = 30 * DAY_MS;

/// Answers that wait for a client. When there are more, the work waits for it.
const STEPS_MAX: usize = 4;

/// What a client is told of a backtest. When it is dropped, the work ends.
pub struct BacktestStream(mpsc::Receiver<Result<v1::BacktestResponse, Status>>);

impl Stream for BacktestStream {
    type Item = Result<v1::BacktestResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

impl Administration {
    pub(super) fn backtested(&self, rq: &v1::BacktestRequest) -> Result<BacktestStream, WireError> {
        let span = |field, span: &Option<prost_types::Duration>, default, days: (i64, i64)| {
            let ms = span.as_ref().map(|span| parse::duration_ms(field, span)).transpose()?;
            let ms = ms.unwrap_or(default);
            match (days.0 * DAY_MS..=days.1 * DAY_MS).contains(&ms) {
                true => Ok(ms),
                false => {
                    let problem = format!("must be {} to {} days", days.0, days.1);
                    Err(WireError::field(field, problem))
                }
            }
        };
        let ask = Ask {
            since_ms: span("since", &rq.since, SINCE_MS, (1, 3_660))?,
            within_ms: span("within", &rq.within, WITHIN_MS, (1, 90))?,
            now: self.now(),
            rests: true,
        };
        let terms = self.rules(rq)?;
        let growth = self.growth()?;
        let (sender, receiver) = mpsc::channel(STEPS_MAX);
        // Owned by the client: when its stream is dropped nothing can be sent, and the work ends.
        tokio::spawn(async move {
            let Some(turn) = growth.turn_to_try().await else { return };
            let (told, works) = (sender.clone(), std::sync::Arc::clone(&growth));
            let made = tokio::task::spawn_blocking(move || {
                works.backtest(&terms, ask, |done, all| {
                    told.blocking_send(Ok(progress(done, all))).is_ok()
                })
            });
            let made = made.await;
            drop(turn);
            let answer = match made {
                Ok(Ok(None)) => return,
                Ok(Ok(Some(tried))) => Ok(v1::BacktestResponse {
                    step: Some(Step::Report(report(&tried, ask.within_ms))),
                }),
                Ok(Err(error)) => Err(super::growth::unreadable(error).into()),
                Err(error) => Err(super::internal(&error).into()),
            };
            let _ = sender.send(answer).await; // Whoever is gone need not be told.
        });
        Ok(BacktestStream(receiver))
    }

    fn rules(&self, rq: &v1::BacktestRequest) -> Result<Terms, WireError> {
        if rq.rules.is_empty() {
            return Ok((*self.growth()?.terms()).clone());
        }
        let catalog = self.core.shared.engine.catalog();
        let features = catalog.features().iter();
        let features: Vec<&str> = features.map(|feature| &*feature.feature).collect();
        let file = if rq.file.is_empty() { "rules" } else { &rq.file };
        catalog::growth::parse_rules(file, rq.rules.as_bytes(), &features).map_err(|problems| {
            let lines: Vec<String> = problems.lines().collect();
            WireError {
                fields: lines.iter().map(|line| ("rules".to_owned(), line.clone())).collect(),
                ..WireError::new(v1::ErrorReason::CatalogRefused, lines.join("\n"))
            }
        })
    }
}

fn progress(done: usize, all: usize) -> v1::BacktestResponse {
    let int = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let progress = v1::BacktestProgress { accounts_done: int(done), accounts: int(all) };
    v1::BacktestResponse { step: Some(Step::Progress(progress)) }
}

/// What was found, as it is told.
pub fn report(tried: &Tried, within_ms: i64) -> v1::BacktestReport {
    let Tried { report, known_since, one_in } = tried;
    v1::BacktestReport {
        from: Some(timestamp(report.span.from)),
        to: Some(timestamp(report.span.to)),
        quarters: i32::try_from(report.span.quarters).unwrap_or(i32::MAX),
        known_since: known_since.map(timestamp),
        within: Some(duration(within_ms)),
        accounts: int(report.accounts),
        one_in: int(*one_in),
        looks: int(report.looks),
        eligible: int(report.eligible),
        base: proportion(report.base.0, report.base.0 + report.base.1, report.base_share()),
        triggers: report.triggers.iter().map(|one| trigger(report, one)).collect(),
    }
}

fn trigger(report: &Report, one: &Trigger) -> v1::BacktestTrigger {
    let source = match one.source {
        Source::Rule => v1::BacktestSource::Rule,
        Source::Raised => v1::BacktestSource::Raised,
    };
    let verdict = match report.verdict(one) {
        Verdict::NoAccounts => v1::BacktestVerdict::NoAccounts,
        Verdict::TooShort => v1::BacktestVerdict::TooShort,
        Verdict::Blind => v1::BacktestVerdict::Blind,
        Verdict::Quiet => v1::BacktestVerdict::Quiet,
        Verdict::Good => v1::BacktestVerdict::Good,
        Verdict::Loud => v1::BacktestVerdict::Loud,
        Verdict::Noise => v1::BacktestVerdict::Noise,
    };
    v1::BacktestTrigger {
        signal: one.signal.clone(),
        class: one.class.map(|class| class.as_str().to_owned()).unwrap_or_default(),
        source: source.into(),
        firings: int(one.firings),
        share: proportion(one.fired, report.eligible, report.share(one)),
        verdict: verdict.into(),
        not_eligible: int(one.fired_not_eligible),
        standing: int(one.standing),
        precision: proportion(one.right, one.right + one.wrong, one.precision()),
        lead_median: one.lead_median_ms().map(duration),
        upgrades_seen: proportion(one.upgrades_seen, report.upgrades, report.recall(one)),
        looks_unknown: int(one.looks_unknown),
        facts_never_known: one.never_known.clone(),
    }
}

fn proportion(count: u64, total: u64, share: Option<Share>) -> Option<v1::Proportion> {
    let share = share?;
    let bp = |bp: u32| i32::try_from(bp).unwrap_or(10_000);
    Some(v1::Proportion {
        count: int(count),
        total: int(total),
        seen_bp: bp(share.seen_bp),
        low_bp: bp(share.low_bp),
        high_bp: bp(share.high_bp),
    })
}
