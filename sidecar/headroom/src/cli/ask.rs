//! `headroom ask`: a product's questions, by hand.

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use headroom_sdk::{
    Audience, Call, Client, Error, LevelChange, Operation, TimeUnit, UsageByTimeQuery, Write,
};
use tokio_stream::StreamExt as _;

use super::args::{AskArgs, AudienceArg, By, Cli, LevelArgs, Question, ReaderArgs};
use super::connect::{self, Ended, Failure};
use super::show::{self, Report};
use crate::config::problems::closest;

/// Asks, and shows the answer.
pub(super) async fn run(args: AskArgs) -> Ended {
    if let Some(name) = args.question.told_twice() {
        let message = format!("--dimension {name} is there twice: a use has one value of it");
        Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    let client = match connect::sidecar(&args.to).await {
        Ok(client) => client,
        Err(failure) => return Ended::Failed(failure),
    };
    let answered = match args.question {
        Question::Watch { account, counters } => {
            watch(&client, account, counters, args.to.json).await
        }
        question => {
            let named =
                question.named().map(|(account, feature)| (account.to_owned(), feature.to_owned()));
            let answered = answer(&client, question).await;
            match answered {
                Ok(report) => Ok(with_suggestion(&client, named, report).await),
                Err(error) => Err(error),
            }
        }
    };
    match answered {
        Ok(report) => {
            show::report(&report, args.to.json);
            if report.is_refusal { Ended::Refused } else { Ended::Done }
        }
        Err(error) => Ended::Failed(Failure::new(error, &args.to.endpoint)),
    }
}

/// Of a refusal because the catalog has no such feature: which one was probably meant.
async fn with_suggestion(
    client: &Client,
    named: Option<(String, String)>,
    mut report: Report,
) -> Report {
    let is_unknown = report.json["denial"] == "unknown_feature";
    let Some((account, feature)) = named.filter(|_| is_unknown) else { return report };
    // It is help besides the answer: where it cannot be had, the answer stands.
    let Ok(all) = client.list_entitlements(account).await else { return report };
    let known = all.entitlements.iter().map(|one| one.feature.as_str());
    if let Some(meant) = closest(&feature, known) {
        report.text += &format!("\ndid you mean `{meant}`?");
        report.json["suggestion"] = meant.into();
    }
    report
}

/// Prints every change as it comes. The report is what is to be said when there are no more.
async fn watch(
    client: &Client,
    account: String,
    counters: bool,
    json: bool,
) -> Result<Report, Error> {
    let mut changes = client.watch_entitlements(account, counters).await?;
    while let Some(change) = changes.next().await {
        show::report(&show::change(&change?), json);
    }
    Ok(show::watch_over())
}

async fn answer(client: &Client, question: Question) -> Result<Report, Error> {
    match question {
        Question::Check { account, feature, units, render, synthetic, subject, told, reader } => {
            let mut call = read_by(full(client.check(account, &*feature)), reader);
            for (name, value) in told.dimensions {
                call = call.dimension(name, value);
            }
            if let Some(units) = units {
                call = call.units(units);
            }
            if render {
                call = call.rendering();
            }
            if synthetic {
                call = call.synthetic();
            }
            call = call.subject(subject.unwrap_or_default());
            Ok(show::decision(&call.await?))
        }
        Question::Consume { usage, told } => {
            let mut call = client.consume(usage.account, usage.feature, usage.units);
            for (name, value) in told.dimensions {
                call = call.dimension(name, value);
            }
            if usage.by.synthetic {
                call = call.synthetic();
            }
            let call = call.subject(usage.by.subject.unwrap_or_default());
            Ok(show::decision(&keyed(full(call), usage.by.key).await?))
        }
        Question::Reserve { account, feature, units, by, hold, charge_on_expiry } => {
            let call = client.reserve(account, feature, units).hold_for(hold);
            let mut call = call.subject(by.subject.unwrap_or_default());
            if charge_on_expiry {
                call = call.charge_on_expiry();
            }
            if by.synthetic {
                call = call.synthetic();
            }
            Ok(show::reserved(&keyed(full(call), by.key).await?))
        }
        Question::CheckAll { account, items, render, synthetic, subject } => {
            let call = client.check_all(account, items).subject(subject.unwrap_or_default());
            let mut call = full(call);
            if render {
                call = call.rendering();
            }
            if synthetic {
                call = call.synthetic();
            }
            Ok(show::several(&call.await?, show::decision))
        }
        Question::ConsumeAll(several) => {
            let call = client.consume_all(several.account, several.items);
            let mut call = call.subject(several.by.subject.unwrap_or_default());
            if several.by.synthetic {
                call = call.synthetic();
            }
            Ok(show::several(&keyed(full(call), several.by.key).await?, show::decision))
        }
        Question::ReserveAll { several, hold, charge_on_expiry } => {
            let call = client.reserve_all(several.account, several.items).hold_for(hold);
            let mut call = call.subject(several.by.subject.unwrap_or_default());
            if charge_on_expiry {
                call = call.charge_on_expiry();
            }
            if several.by.synthetic {
                call = call.synthetic();
            }
            Ok(show::several(&keyed(full(call), several.by.key).await?, show::reserved))
        }
        Question::Extend { reservation, hold, units } => {
            let mut call = client.extend(reservation.account, reservation.reservation);
            if let Some(hold) = hold {
                call = call.hold_for(hold);
            }
            let call = full(call.additional_units(units));
            Ok(show::extended(&keyed(call, reservation.key).await?))
        }
        Question::Commit { reservation, units, keep_open, hold, told } => {
            let mut call = client.commit(reservation.account, reservation.reservation, units);
            for (name, value) in told.dimensions {
                call = call.dimension(name, value);
            }
            if keep_open {
                call = call.keep_open();
            }
            if let Some(hold) = hold {
                call = call.hold_for(hold);
            }
            Ok(show::committed(&keyed(full(call), reservation.key).await?))
        }
        Question::Release(reservation) => {
            let call = client.release(reservation.account, reservation.reservation);
            Ok(show::released(&keyed(full(call), reservation.key).await?))
        }
        Question::Record { usage, occurred_at, told } => {
            let mut call = client.record(usage.account, usage.feature, usage.units);
            for (name, value) in told.dimensions {
                call = call.dimension(name, value);
            }
            if let Some(at) = occurred_at {
                call = call.occurred_at(at);
            }
            if usage.by.synthetic {
                call = call.synthetic();
            }
            let call = call.subject(usage.by.subject.unwrap_or_default());
            Ok(show::recorded(&keyed(full(call), usage.by.key).await?))
        }
        Question::Allocate { account, feature, change, key } => {
            let call = client.allocate(account, feature, level_change(change));
            Ok(show::allocated(&keyed(full(call), key).await?))
        }
        Question::Correct {
            account,
            feature,
            event,
            units,
            original,
            subject,
            reason,
            key,
            told,
        } => {
            let mut call = client.correct(account, feature, event).reason(reason);
            call = call.subject(subject.unwrap_or_default());
            for (name, value) in told.dimensions {
                call = call.dimension(name, value);
            }
            if let Some(units) = units {
                call = call.units(units);
            }
            if let Some(original) = original {
                call = call.original_units(original);
            }
            Ok(show::corrected(&keyed(full(call), key).await?))
        }
        Question::Adjustments { account, feature, subject } => {
            let subject = subject.unwrap_or_default();
            let mut all = Vec::new();
            let mut token: Option<String> = None;
            loop {
                let (feature, from) = (feature.as_deref(), token.as_deref());
                let page = client.list_subject_adjustments(&*account, &*subject, feature, from);
                let page = page.await?;
                all.extend(page.adjustments);
                token = page.next_page_token;
                if token.is_none() {
                    return Ok(show::adjustments(&all));
                }
            }
        }
        Question::Usage { account, feature, since, by: Some(by), dimension, until, .. } => {
            let by = match by {
                By::Hour => TimeUnit::Hour,
                By::Day => TimeUnit::Day,
                By::Month => TimeUnit::Month,
            };
            let query = UsageByTimeQuery { by, group_by: dimension, from: since, to: until };
            let feature = feature.unwrap_or_default();
            let mut lines = Vec::new();
            let mut token: Option<String> = None;
            loop {
                let page = client.get_usage_by_time(&*account, &*feature, &query, token.as_deref());
                let page = page.await?;
                lines.extend(page.lines);
                token = page.next_page_token;
                if token.is_none() {
                    return Ok(show::usage_by_time(&query, &lines));
                }
            }
        }
        Question::Usage { account, feature, since, subject, all_subjects, .. } => {
            let mut windows = Vec::new();
            let mut page_token: Option<String> = None;
            loop {
                let (feature, token) = (feature.as_deref(), page_token.as_deref());
                let page = match (&subject, all_subjects) {
                    (None, false) => client.get_usage(&*account, feature, since, token).await?,
                    (subject, _) => {
                        let subject = subject.as_deref();
                        client.get_subject_usage(&*account, subject, feature, since, token).await?
                    }
                };
                windows.extend(page.windows);
                page_token = page.next_page_token;
                if page_token.is_none() {
                    return Ok(show::usage(&windows));
                }
            }
        }
        Question::Watch { .. } => unreachable!("watches are answered as they come"),
        Question::Explain { decision_id } => {
            Ok(show::explanation(&client.explain_decision(decision_id).await?))
        }
        Question::Entitlements { account } => {
            Ok(show::entitlements(&client.list_entitlements(account).await?))
        }
    }
}

/// Says who reads the prompt.
fn read_by<O: Operation>(call: Call<O>, reader: ReaderArgs) -> Call<O> {
    let audience = match reader.audience {
        None => Audience::Unspecified,
        Some(AudienceArg::Buyer) => Audience::Buyer,
        Some(AudienceArg::Member) => Audience::Member,
        Some(AudienceArg::Admin) => Audience::Admin,
    };
    let call = call.locale(reader.locale.unwrap_or_default()).audience(audience);
    call.person(reader.person.unwrap_or_default())
}

/// Exactly one of them is given: clap sees to it.
fn level_change(args: LevelArgs) -> LevelChange {
    match args {
        LevelArgs { add: Some(units), .. } => LevelChange::Add(units),
        LevelArgs { remove: Some(units), .. } => LevelChange::Remove(units),
        LevelArgs { set: Some(units), .. } => LevelChange::Set(units),
        LevelArgs { report, .. } => LevelChange::Report(report.unwrap_or_default()),
    }
}

/// A person wants to see all there is.
fn full<O: Operation>(call: Call<O>) -> Call<O> {
    call.with_prompt().with_prompt_suppression().with_projection().with_all_limits()
}

fn keyed<O: Write>(call: Call<O>, key: Option<String>) -> Call<O> {
    match key {
        Some(key) => call.idempotency_key(key),
        None => call,
    }
}
