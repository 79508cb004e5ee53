//! Commands of operators: accounts, the clock, the catalog, the sidecar itself.

use std::path::PathBuf;
use std::time::SystemTime;

use headroom_sdk::v1::r#override::Value as OverrideValue;
use headroom_sdk::{AdminClient, Error, ErrorReason, v1};

use super::args::{
    AccountAction, AccountArgs, ClockAction, ClockArgs, Included, Instead, OverrideArgs, Pace,
    SinksAction, SinksArgs, ToAdmin,
};
use super::connect::{self, Ended, Failure};
use super::growth::{Format, Sort};
use super::show::{self, Report};
use crate::config::sinks::WebhookSecret;

/// `headroom account …`
pub(super) async fn account(args: AccountArgs) -> Ended {
    let AccountArgs { action, to } = args;
    with_client(&to, async |client| act(client, action).await).await
}

/// `headroom clock …`
pub(super) async fn clock(args: ClockArgs) -> Ended {
    let ClockArgs { action, to } = args;
    with_client(&to, async |client| {
        let now = match action {
            ClockAction::Set { time } => client.set_clock(time).await?,
            ClockAction::Advance { duration } => client.advance_clock(duration).await?,
        };
        Ok(show::clock(now))
    })
    .await
}

/// `headroom sinks …`
pub(super) async fn sinks(args: SinksArgs) -> Ended {
    let SinksArgs { action, to } = args;
    if let SinksAction::NewSecret { pair } = action {
        show::report(&show::new_secret(&WebhookSecret::random(pair)), to.json);
        return Ended::Done;
    }
    with_client(&to, async |client| {
        Ok(match action {
            SinksAction::List => show::sinks(&client.list_sinks().await?),
            SinksAction::DeadLetters { sink } => {
                show::dead_letters(&client.list_dead_letters(sink).await?)
            }
            SinksAction::Replay { sink, ids } => {
                show::replaying(client.replay_dead_letters(sink, ids).await?)
            }
            SinksAction::Pause { sink } => {
                show::sinks(&[client.set_sink_paused(sink, true).await?])
            }
            SinksAction::Resume { sink } => {
                show::sinks(&[client.set_sink_paused(sink, false).await?])
            }
            SinksAction::NewSecret { .. } => unreachable!("it needs no sidecar"),
        })
    })
    .await
}

/// `headroom status`
pub(super) async fn status(to: ToAdmin) -> Ended {
    with_client(&to, async |client| Ok(show::status(&client.get_status().await?))).await
}

/// `headroom reload`
pub(super) async fn reload(to: ToAdmin) -> Ended {
    with_client(&to, async |client| Ok(show::reloaded(&client.reload_catalog().await?))).await
}

/// `headroom backup`
pub(super) async fn backup(path: PathBuf, to: ToAdmin) -> Ended {
    // The sidecar runs in another directory, so a relative path would mean another place there.
    let path = std::path::absolute(&path).unwrap_or(path);
    with_client(&to, async |client| {
        let made = client.backup(path.display().to_string()).await?;
        Ok(show::backup(&path, &made))
    })
    .await
}

pub(super) async fn with_client(
    to: &ToAdmin,
    act: impl AsyncFnOnce(&AdminClient) -> Result<Report, Error>,
) -> Ended {
    let client = match connect::admin(to).await {
        Ok(client) => client,
        Err(failure) => return Ended::Failed(failure),
    };
    match act(&client).await {
        Ok(report) => {
            show::report(&report, to.json);
            Ended::Done
        }
        Err(error) => Ended::Failed(Failure::new(error, &to.admin)),
    }
}

async fn act(client: &AdminClient, action: AccountAction) -> Result<Report, Error> {
    let account = match action {
        AccountAction::Put { account, plan, anchor, zone, ends, add_ons, trial, scheduled } => {
            let before = match client.get_account(&*account).await {
                Ok(before) => Some(before),
                Err(Error::Rejected { reason: ErrorReason::UnknownAccount, .. }) => None,
                Err(error) => return Err(error),
            };
            let dated = dated(ends, trial.as_ref(), &scheduled);
            let add_ons = add_ons.into_iter();
            let scheduled = scheduled.into_iter();
            let after = client
                .put_subscription(v1::PutSubscriptionRequest {
                    account,
                    plan,
                    anchor: anchor.map(Into::into),
                    time_zone: zone.unwrap_or_default(),
                    ends_at: ends.map(Into::into),
                    add_ons: add_ons
                        .map(|(add_on, quantity)| v1::AddOn { add_on, quantity })
                        .collect(),
                    trial: trial.map(|(plan, at)| v1::Trial {
                        plan,
                        ends_at: Some(at.into()),
                        ..Default::default()
                    }),
                    scheduled: scheduled
                        .map(|(plan, at)| v1::ScheduledPlan {
                            plan,
                            starts_at: Some(at.into()),
                            ..Default::default()
                        })
                        .collect(),
                })
                .await?;
            past(client, &dated).await?;
            return Ok(show::account_put(before.as_ref(), &after));
        }
        AccountAction::Move { account, plan, to_version, all: _, dry_run } => {
            let moved = client.move_plan(&plan, to_version, account.as_deref(), dry_run).await?;
            return Ok(show::plan_moved(&plan, to_version, moved, dry_run));
        }
        AccountAction::Grandfather { plan, features, until, dry_run } => {
            let ends_at = until.map(Into::into);
            let request =
                v1::GrandfatherPlanRequest { plan: plan.clone(), features, ends_at, dry_run };
            let kept = client.grandfather_plan(request).await?;
            return Ok(show::grandfathered(&plan, &kept, dry_run));
        }
        AccountAction::Get { account } => client.get_account(account).await?,
        AccountAction::List { max, sort, format } => return list(client, max, sort, format).await,
        AccountAction::Readiness { account } => {
            let answer = client.get_readiness(&account).await?;
            return Ok(show::readiness(&account, &answer));
        }
        AccountAction::Suspend { account } => {
            client.set_account_status(account, v1::AccountStatus::Suspended).await?
        }
        AccountAction::Resume { account } => {
            client.set_account_status(account, v1::AccountStatus::Active).await?
        }
        AccountAction::Override(args) => {
            let account = args.account.clone();
            client.put_override(account, override_of(args)).await?
        }
        AccountAction::DeleteOverride { account, feature, limit, subject: None } => {
            client.delete_override(account, feature, limit.as_deref()).await?
        }
        AccountAction::DeleteOverride { account, feature, limit, subject: Some(subject) } => {
            client.delete_subject_override(account, feature, limit.as_deref(), subject).await?
        }
        AccountAction::EraseSubject { account, subject, seat_member } => {
            let names = match subject {
                Some(subject) => Some(client.erase_subject(account.clone(), subject).await?),
                None => None,
            };
            let seats = match seat_member {
                Some(member) => Some(client.erase_seat_member(account, member).await?),
                None => None,
            };
            return Ok(show::erased(names, seats));
        }
        AccountAction::Cohorts { account, join, leave } => {
            client.put_cohorts(account, join, leave).await?
        }
        AccountAction::Facts { account, facts } => {
            let fields = facts.into_iter().map(|(name, json)| (name, value(json))).collect();
            client.put_facts(account, prost_types::Struct { fields }).await?
        }
    };
    Ok(show::account(&account))
}

/// The instants of a subscription that are meant to come, and what they are of.
fn dated(
    ends: Option<SystemTime>,
    trial: Option<&(String, SystemTime)>,
    scheduled: &[(String, SystemTime)],
) -> Vec<(String, SystemTime)> {
    let ends = ends.map(|at| ("the subscription has ended".to_owned(), at));
    let trial = trial.map(|(plan, at)| (format!("the trial of {plan} is over"), *at));
    let begun = |(plan, at): &(String, SystemTime)| (format!("{plan} is in force already"), *at);
    ends.into_iter().chain(trial).chain(scheduled.iter().map(begun)).collect()
}

/// Says which of them have passed. They are taken all the same: whoever tells subscriptions again, or brings them
/// over, tells of the past as well.
async fn past(client: &AdminClient, dated: &[(String, SystemTime)]) -> Result<(), Error> {
    if dated.is_empty() {
        return Ok(());
    }
    let status = client.get_status().await?;
    let now = status.now.and_then(|now| SystemTime::try_from(now).ok());
    for (what, at) in dated.iter().filter(|(_, at)| now.is_some_and(|now| *at <= now)) {
        show::past(what, *at);
    }
    Ok(())
}

async fn list(
    client: &AdminClient,
    max: usize,
    sort: Sort,
    format: Format,
) -> Result<Report, Error> {
    const PAGE: u32 = 1000;
    let include_readiness = sort != Sort::Seen || format == Format::Csv;
    let report = |accounts: &[v1::Account], is_cut| match (format, include_readiness) {
        (Format::Csv, _) => show::scorecard(accounts),
        (Format::Text, true) => show::ranked(accounts, is_cut),
        (Format::Text, false) => show::accounts(accounts, is_cut),
    };
    let mut accounts = Vec::new();
    let mut page_token = None;
    loop {
        let left = u32::try_from(max - accounts.len()).unwrap_or(PAGE).min(PAGE);
        if left == 0 {
            return Ok(report(&accounts, true));
        }
        let page = client
            .list_accounts_by(v1::ListAccountsRequest {
                page_size: i32::try_from(left).unwrap_or(i32::MAX),
                page_token: page_token.take().unwrap_or_default(),
                order: sort.order().into(),
                include_readiness,
            })
            .await?;
        accounts.extend(page.accounts);
        if page.next_page_token.is_empty() {
            return Ok(report(&accounts, false));
        }
        accounts.truncate(max);
        page_token = Some(page.next_page_token);
    }
}

fn override_of(args: OverrideArgs) -> v1::Override {
    let OverrideArgs { feature, instead, included, subject, burst, starts, ends, .. } = args;
    let at_least = args.at_least;
    let Instead { switch, value, limit, rate, spend_cap } = instead;
    let units = |included| match included {
        Some(Included::Units(units)) => Some(units),
        Some(Included::Unlimited) | None => None,
    };
    let currency = args.currency.unwrap_or_default();
    let spend_cap = spend_cap.map(|limit| {
        let cap_minor = units(args.cap_minor);
        OverrideValue::SpendCap(v1::SpendCapOverride { limit, cap_minor, currency })
    });
    let rate =
        rate.map(|rate| OverrideValue::Rate(v1::RateOverride { rate: rate_of(rate, burst) }));
    let limit = limit.map(|limit| {
        let included_units = units(included);
        let subject = subject.unwrap_or_default();
        OverrideValue::Limit(v1::LimitOverride { limit, included_units, subject })
    });
    // The command line has exactly one of them.
    let value = limit
        .or(rate)
        .or(spend_cap)
        .or(switch.map(OverrideValue::SwitchOn))
        .or(value.map(OverrideValue::ConfigValue));
    v1::Override {
        feature,
        value,
        starts_at: starts.map(Into::into),
        ends_at: ends.map(Into::into),
        at_least,
    }
}

/// Without a word about the burst, what comes back in one period can be taken at once.
fn rate_of(pace: Pace, burst: Option<u64>) -> Option<v1::Rate> {
    let Pace::Units(units, period_ms) = pace else { return None };
    let nanos = i32::try_from(period_ms % 1000 * 1_000_000).unwrap_or_default();
    let wire = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    Some(v1::Rate {
        units: wire(units),
        period: Some(prost_types::Duration { seconds: period_ms / 1000, nanos }),
        burst_units: wire(burst.unwrap_or(units)),
    })
}

/// JSON as the wire has it.
pub(super) fn value(json: serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(on) => Kind::BoolValue(on),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.into_iter().map(value).collect(),
        }),
        serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(name, json)| (name, value(json))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}
