//! How accounts stand: whether they are to be sold to, and what speaks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use headroom_core::time::Millis;
use headroom_expansion::days::Day;
use headroom_expansion::limits::ACTIVITY_DAYS;
use headroom_expansion::report::{Opinion, opinion};
use headroom_expansion::score::Score;
use headroom_proto::v1;

use super::accounts::show;
use super::{Administration, internal};
use crate::growth::Growth;
use crate::growth::standing::{GateReport, Order, Standing};
use crate::grpc::page;
use crate::grpc::parse;
use crate::grpc::present::{int, timestamp};
use crate::grpc::signals::opportunity;
use crate::grpc::status::WireError;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How far back a report looks at upgrades when nothing is said.
const UPGRADES_SINCE_MS: i64 = 90 * DAY_MS;

impl Administration {
    pub(super) fn growth(&self) -> Result<Arc<Growth>, WireError> {
        let growth = &self.core.shared.growth;
        if !growth.is_loaded() {
            let message = "what is known of accounts' growth is still being read";
            return Err(WireError::new(v1::ErrorReason::CatchingUp, message));
        }
        Ok(Arc::clone(growth))
    }

    pub(super) fn readiness(
        &self,
        rq: &v1::GetReadinessRequest,
    ) -> Result<v1::GetReadinessResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let (growth, now) = (self.growth()?, self.now());
        let standing = growth.standing(account, now).ok_or_else(|| {
            let message = format!("there is no account {account:?}");
            WireError::new(v1::ErrorReason::UnknownAccount, message)
        })?;
        let scores = growth.scores(account).map_err(unreadable)?;
        let of_day = |(day, points): &(Day, u32)| v1::ScoreOfDay {
            day: Some(timestamp(start(*day))),
            points_tenths: small(*points),
        };
        Ok(v1::GetReadinessResponse {
            readiness: Some(readiness(&standing, now)),
            history: scores.iter().map(of_day).collect(),
        })
    }

    pub(super) async fn gate_report(
        &self,
        rq: &v1::GetGateReportRequest,
    ) -> Result<v1::GetGateReportResponse, WireError> {
        let span = rq.since.as_ref().map(|span| parse::duration_ms("since", span)).transpose()?;
        let (growth, now) = (self.growth()?, self.now());
        let since = now.plus(-span.unwrap_or(UPGRADES_SINCE_MS));
        let made = tokio::task::spawn_blocking(move || growth.gate_report(since, now)).await;
        Ok(report(&made.map_err(|error| internal(&error))?.map_err(unreadable)?))
    }

    /// Accounts by a score. A token is the number of accounts before the page.
    pub(super) async fn ranked(
        &self,
        rq: &v1::ListAccountsRequest,
        order: Order,
    ) -> Result<v1::ListAccountsResponse, WireError> {
        let size = page::size(rq.page_size)?;
        let skip = page::number(&rq.page_token)?.unwrap_or_default();
        let (growth, now) = (self.growth()?, self.now());
        let made = tokio::task::spawn_blocking(move || growth.ranked(order, skip, size, now));
        let standings = made.await.map_err(|error| internal(&error))?;
        let engine = &self.core.shared.engine;
        let catalog = engine.catalog();
        let next_page_token = match standings.len() == size {
            true => skip.saturating_add(size).to_string(),
            false => String::new(),
        };
        let accounts = standings.iter().filter_map(|standing| {
            let profile = engine.profile(&standing.account)?;
            let account = show(&catalog, &standing.account, &profile, now);
            Some(v1::Account { readiness: Some(readiness(standing, now)), ..account })
        });
        Ok(v1::ListAccountsResponse { accounts: accounts.collect(), next_page_token })
    }

    pub(super) fn opportunities(
        &self,
        rq: &v1::ListOpportunitiesRequest,
    ) -> Result<v1::ListOpportunitiesResponse, WireError> {
        let account = parse::id("account", &rq.account)?;
        let all = self.growth()?.opportunities(account);
        let wire = all.iter().map(|(id, one)| opportunity(account, id, one));
        Ok(v1::ListOpportunitiesResponse { opportunities: wire.collect() })
    }

    pub(super) fn triggers(&self) -> Result<v1::GetTriggerReportResponse, WireError> {
        let records = self.growth()?.triggers();
        let triggers = records.into_iter().map(|(signal, record)| v1::Trigger {
            signal,
            open: int(record.open),
            overdue: int(record.overdue),
            won: int(record.won),
            lost: int(record.lost),
            accuracy_bp: record.accuracy_bp().and_then(|bp| i32::try_from(bp).ok()),
        });
        Ok(v1::GetTriggerReportResponse { triggers: triggers.collect() })
    }

    /// Adds to accounts how they stand.
    pub(super) fn add_readiness(&self, accounts: &mut [v1::Account]) -> Result<(), WireError> {
        let (growth, now) = (self.growth()?, self.now());
        for account in accounts {
            let standing = growth.standing(&account.account, now);
            account.readiness = standing.map(|standing| readiness(&standing, now));
        }
        Ok(())
    }
}

/// The order that a list is asked for. `None`: as they were first seen.
pub(super) fn order(order: v1::AccountOrder) -> Option<Order> {
    match order {
        v1::AccountOrder::Unspecified => None,
        v1::AccountOrder::Pql => Some(Order::Pql),
        v1::AccountOrder::Opportunity => Some(Order::Opportunity),
        v1::AccountOrder::WhiteSpace => Some(Order::WhiteSpace),
        v1::AccountOrder::LiveSignals => Some(Order::LiveSignals),
    }
}

// The map takes its error by value.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn unreadable(error: headroom_engine::ports::ArchiveError) -> WireError {
    WireError::new(v1::ErrorReason::Internal, error.to_string())
}

fn small(points: u32) -> i32 {
    i32::try_from(points).unwrap_or(i32::MAX)
}

fn start(day: Day) -> Millis {
    Millis(i64::from(day.0).saturating_mul(DAY_MS))
}

fn score(score: &Score) -> v1::Score {
    let parts = score.parts.iter().map(|part| v1::ScorePart {
        part: part.part.clone(),
        group: part.group.clone(),
        fact: part.fact.clone(),
        value_thousandths: part.value,
        points_tenths: small(part.points_tenths),
        points_max_tenths: small(part.points_max_tenths),
    });
    v1::Score {
        points_tenths: small(score.points_tenths),
        points_max_tenths: small(score.points_max_tenths),
        band: score.band.clone(),
        advice: score.advice.clone(),
        parts: parts.collect(),
    }
}

fn readiness(standing: &Standing, now: Millis) -> v1::Readiness {
    let known = &standing.readiness;
    let gate = match known.is_passed() {
        true => v1::GateState::Passed,
        false => v1::GateState::Held,
    };
    let failed = known.failed.iter().map(|one| v1::FailedCondition {
        fact: one.fact.clone(),
        needed: one.needed.clone(),
        found: one.found.clone(),
    });
    let live = standing.live.iter().map(|(signal, days)| v1::LiveSignal {
        signal: signal.clone(),
        days: small(days.count(Day::of(now), ACTIVITY_DAYS)),
        last_day: Some(timestamp(start(days.last()))),
    });
    v1::Readiness {
        gate: gate.into(),
        segment: known.segment.clone(),
        segment_assumed: known.is_segment_assumed,
        failed: failed.collect(),
        unknown_facts: known.unknown.clone(),
        risks: known.risks.clone(),
        pql: Some(score(&standing.pql)),
        opportunity: Some(score(&standing.opportunity)),
        white_space: Some(score(&standing.white_space)),
        live_signals: live.collect(),
    }
}

fn thought(passed: u64, accounts: u64) -> v1::GateOpinion {
    match opinion(passed, accounts) {
        Opinion::NoAccounts => v1::GateOpinion::NoAccounts,
        Opinion::TooStrict => v1::GateOpinion::TooStrict,
        Opinion::Fits => v1::GateOpinion::Fits,
        Opinion::TooLoose => v1::GateOpinion::TooLoose,
    }
}

fn report(report: &GateReport) -> v1::GetGateReportResponse {
    let (accounts, passed) = report.accounts();
    let segments = report.segments.iter().map(|(segment, (accounts, passed))| v1::GateOfSegment {
        segment: segment.clone(),
        accounts: int(*accounts),
        passed: int(*passed),
        opinion: thought(*passed, *accounts).into(),
    });
    v1::GetGateReportResponse {
        accounts: int(accounts),
        passed: int(passed),
        opinion: thought(passed, accounts).into(),
        segments: segments.collect(),
        held_by: counted(&report.held_by),
        missing: counted(&report.missing),
        upgrades: int(report.upgrades.0),
        upgrades_passed: int(report.upgrades.1),
    }
}

/// The most first, those with as many by name.
fn counted(counts: &BTreeMap<String, u64>) -> Vec<v1::CountedFact> {
    let mut all: Vec<v1::CountedFact> = counts
        .iter()
        .map(|(fact, accounts)| v1::CountedFact { fact: fact.clone(), accounts: int(*accounts) })
        .collect();
    all.sort_by_key(|one| -one.accounts);
    all
}
