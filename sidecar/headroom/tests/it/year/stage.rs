//! Carries out the script: what a product, its people, its billing and its CRM ask of a sidecar.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use headroom_proto::v1::prompt_service_client::PromptServiceClient;
use headroom_proto::v1::seat_service_client::SeatServiceClient;
use headroom_proto::v1::signal_service_client::SignalServiceClient;
use headroom_proto::v1::{self, event::What as Happened};
use jiff::civil::{Date, DateTime, time};
use prost_types::value::Kind;
use serde_json::Value;
use tonic::transport::Channel;

use super::script::Work;
use super::told;
use crate::support::ask::{self, Admin, Entitlements};
use crate::support::home::Home;

/// The company.
pub(super) const ACCOUNT: &str = "birch";

/// Who may buy; all others of the company have to ask.
const BUYER: &str = "ann";

/// Connections to a sidecar, and what the product remembers.
pub(super) struct Stage {
    admin: Admin,
    entitlements: Entitlements,
    seats: SeatServiceClient<Channel>,
    prompts: PromptServiceClient<Channel>,
    signals: SignalServiceClient<Channel>,
    now: Option<DateTime>,
    /// The prompt that was made last.
    prompt_id: String,
    /// How the work went when it was told last.
    verdict: v1::Verdict,
    /// Writes, which each have a key of their own.
    writes: u64,
}

impl Stage {
    pub(super) async fn new(home: &Home) -> Stage {
        let clients = ask::channel(&home.endpoint()).await;
        Stage {
            admin: ask::admin(home).await,
            entitlements: Entitlements::new(clients.clone()),
            seats: SeatServiceClient::new(clients.clone()),
            prompts: PromptServiceClient::new(clients.clone()),
            signals: SignalServiceClient::new(clients),
            now: None,
            prompt_id: String::new(),
            verdict: v1::Verdict::Allowed,
            writes: 0,
        }
    }

    /// Talks to the next process from now on.
    pub(super) async fn reconnect(&mut self, home: &Home) {
        let (now, prompt_id) = (self.now, std::mem::take(&mut self.prompt_id));
        let (verdict, writes) = (self.verdict, self.writes);
        *self = Stage { now, prompt_id, verdict, writes, ..Stage::new(home).await };
    }

    /// Moves the clock. The answer comes when everything that is due by then is done.
    pub(super) async fn clock(&mut self, to: DateTime) {
        self.now = Some(to);
        let at = v1::set_clock_request::To::At(instant(to).into());
        self.admin.set_clock(v1::SetClockRequest { to: Some(at) }).await.expect("a test clock");
    }

    /// Waits until everything that follows from what was asked so far is done.
    pub(super) async fn settle(&mut self) {
        let now = self.now.expect("the year has begun");
        self.clock(now).await;
    }

    /// Signals of the whole year so far.
    pub(super) async fn emitted(&mut self) -> usize {
        let emitted = ask::status(&mut self.admin).await.signals_emitted;
        usize::try_from(emitted).expect("a count")
    }

    /// Does what a line says, and tells what came of it.
    pub(super) async fn act(&mut self, home: &Home, words: &[String]) -> Vec<String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["plan", plan] => self.subscribe(plan, None).await,
            ["plan", plan, "trial", trial, until] => {
                self.subscribe(plan, Some((trial, until))).await
            }
            ["facts", ref json @ ..] => self.facts(&json.join(" ")).await,
            ["crm", id, "facts", ref json @ ..] => {
                let facts = Happened::Facts(object(&json.join(" ")));
                self.publish(vec![(id.to_owned(), facts)]).await
            }
            ["crm", id, signal, ref json @ ..] => {
                let data = Some(object(&json.join(" ")));
                let told = v1::OutsideSignal { signal: signal.to_owned(), data };
                self.publish(vec![(id.to_owned(), Happened::Signal(told))]).await
            }
            ["opportunity", id, stage] => self.opportunity(id, stage, "", "").await,
            ["opportunity", id, stage, "of", signal] => {
                self.opportunity(id, stage, signal, "").await
            }
            ["opportunity", id, stage, "because", ref reason @ ..] => {
                self.opportunity(id, stage, "", &reason.join(" ")).await
            }
            ["invite" | "claim" | "release", member] => self.seat(words[0], member).await,
            [who, "looks", "at", feature] => self.check(who, feature, v1::Intent::Render).await,
            [who, "tries", feature] => self.check(who, feature, v1::Intent::Attempt).await,
            [who, "uses", units, feature] => {
                let decision = self.consume(who, feature, units.parse().expect("units")).await;
                self.answered(&decision)
            }
            ["prompt", "snoozed", days] => {
                let days: i64 = days.parse().expect("days");
                self.outcome(v1::PromptOutcome::Snoozed, Some(days)).await
            }
            ["prompt", outcome] => {
                let name = format!("PROMPT_OUTCOME_{}", outcome.to_uppercase());
                let outcome = v1::PromptOutcome::from_str_name(&name).expect("an outcome");
                self.outcome(outcome, None).await
            }
            ["$", ref args @ ..] => {
                let ended = home.run(args);
                assert_eq!(ended.code, Some(0), "{ended:#?}");
                ended.stdout.lines().map(|line| line.replace('\u{a0}', "~")).collect()
            }
            _ => panic!("nobody knows how to {words:?}"),
        }
    }

    async fn subscribe(&mut self, plan: &str, trial: Option<(&str, &str)>) -> Vec<String> {
        let trial = trial.map(|(plan, until)| {
            let until: Date = until.parse().expect("a day");
            let ends_at = Some(instant(until.to_datetime(time(9, 0, 0, 0))).into());
            v1::Trial { plan: plan.to_owned(), ends_at, ..v1::Trial::default() }
        });
        let request = v1::PutSubscriptionRequest { trial, ..ask::subscription(ACCOUNT, plan) };
        self.admin.put_subscription(request).await.expect("the plan exists");
        Vec::new()
    }

    async fn facts(&mut self, json: &str) -> Vec<String> {
        let facts = Some(object(json));
        let request = v1::PutFactsRequest { account: ACCOUNT.to_owned(), facts };
        self.admin.put_facts(request).await.expect("facts");
        Vec::new()
    }

    async fn publish(&mut self, events: Vec<(String, Happened)>) -> Vec<String> {
        let account = ACCOUNT.to_owned();
        let event = |(id, what)| v1::Event {
            id,
            account: account.clone(),
            occurred_at: None,
            what: Some(what),
        };
        let events = events.into_iter().map(event).collect();
        let answer = self.signals.publish(v1::PublishRequest { events }).await.expect("events");
        let known = answer.into_inner().duplicates.iter().filter(|known| **known).count();
        if known == 0 { Vec::new() } else { vec![format!("{known} known already")] }
    }

    async fn opportunity(
        &mut self,
        id: &str,
        stage: &str,
        signal: &str,
        reason: &str,
    ) -> Vec<String> {
        let name = format!("OPPORTUNITY_STAGE_{}", stage.to_uppercase());
        let request = v1::UpdateOpportunityRequest {
            account: ACCOUNT.to_owned(),
            opportunity: id.to_owned(),
            signal: signal.to_owned(),
            stage: v1::OpportunityStage::from_str_name(&name).expect("a stage").into(),
            reason: reason.to_owned(),
            occurred_at: None,
        };
        let answer = self.signals.update_opportunity(request).await.expect("an opportunity");
        let of = answer.into_inner().opportunity.expect("the opportunity");
        let due = of.due_at.map_or_else(
            || "no deadline".to_owned(),
            |due| {
                let due = jiff::Timestamp::from_second(due.seconds).expect("an instant");
                format!("to be further by {due}")
            },
        );
        vec![format!("{} of {}: {due}", of.opportunity, of.signal)]
    }

    async fn seat(&mut self, verb: &str, member: &str) -> Vec<String> {
        let account = ACCOUNT.to_owned();
        let (feature, member) = ("seats".to_owned(), member.to_owned());
        let include = include(BUYER);
        let decision = match verb {
            "invite" => {
                let invite_for = None;
                let ask = v1::InviteSeatRequest { account, feature, member, invite_for, include };
                self.seats.invite_seat(ask).await.expect("an answer").into_inner().decision
            }
            "claim" => {
                let ask = v1::ClaimSeatRequest { account, feature, member, include };
                self.seats.claim_seat(ask).await.expect("an answer").into_inner().decision
            }
            _ => {
                let ask = v1::ReleaseSeatRequest { account, feature, member, include };
                self.seats.release_seat(ask).await.expect("an answer").into_inner().decision
            }
        };
        self.answered(&decision.expect("a decision"))
    }

    async fn check(&mut self, who: &str, feature: &str, intent: v1::Intent) -> Vec<String> {
        let request = v1::CheckRequest {
            intent: intent.into(),
            include: include(who),
            ..ask::check(ACCOUNT, feature)
        };
        let answer = self.entitlements.check(request).await.expect("an answer");
        self.answered(&answer.into_inner().decision.expect("a decision"))
    }

    async fn consume(&mut self, who: &str, feature: &str, units: i64) -> v1::Decision {
        self.writes += 1;
        let key = format!("w{}", self.writes);
        let request = v1::ConsumeRequest {
            include: include(who),
            ..ask::consume(ACCOUNT, feature, units, &key)
        };
        let answer = self.entitlements.consume(request).await.expect("an answer");
        answer.into_inner().decision.expect("a decision")
    }

    async fn outcome(&mut self, outcome: v1::PromptOutcome, days: Option<i64>) -> Vec<String> {
        let request = v1::RecordOutcomeRequest {
            account: ACCOUNT.to_owned(),
            prompt_id: self.prompt_id.clone(),
            outcome: outcome.into(),
            snooze_for: days.map(|days| prost_types::Duration { seconds: days * 86_400, nanos: 0 }),
        };
        self.prompts.record_outcome(request).await.expect("a prompt of the account");
        Vec::new()
    }

    fn answered(&mut self, decision: &v1::Decision) -> Vec<String> {
        let mut lines = vec![told::decision(decision)];
        if let Some(prompt) = &decision.prompt {
            self.prompt_id.clone_from(&prompt.prompt_id);
            lines.extend(told::prompt(prompt));
        }
        lines.extend(decision.prompt_suppression.as_ref().map(told::suppression));
        lines
    }

    /// A part of a day's work: who is there uses queries, as much as the plan lets them. Told is what
    /// went otherwise than the last time.
    pub(super) async fn work(&mut self, people: &[&str], queries: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let each = i64::try_from(queries / people.len().max(1) as u64).expect("a few");
        for who in people.iter().filter(|_| each > 0) {
            let decision = self.consume(who, "queries", each).await;
            // What is said of a signal is said with what is known when it comes.
            self.settle().await;
            if decision.verdict() != self.verdict {
                self.verdict = decision.verdict();
                let now = self.now.expect("the year has begun");
                let answer = self.answered(&decision);
                lines.push(format!("{now} {who} uses {each}: {}", answer[0]));
                lines.extend(answer[1..].iter().cloned());
            }
        }
        lines
    }

    /// Who was there on a day, and what they used.
    pub(super) async fn activity(&mut self, people: &[&str], work: &Work) {
        let user = |user: &&str| v1::Activity { user: (*user).to_owned(), feature: String::new() };
        let feature = |name: &String| v1::Activity { user: String::new(), feature: name.clone() };
        let all = people.iter().map(user).chain(work.features.iter().map(feature));
        let events = all.map(|what| ("activity".to_owned(), Happened::Activity(what)));
        self.publish(events.collect()).await;
    }

    /// How the month's queries stand.
    pub(super) async fn stand(&mut self) -> String {
        let request = v1::CheckRequest {
            intent: v1::Intent::Render.into(),
            ..ask::check(ACCOUNT, "queries")
        };
        let answer = self.entitlements.check(request).await.expect("an answer").into_inner();
        told::decision(&answer.decision.expect("a decision"))
    }
}

fn include(who: &str) -> Option<v1::Include> {
    let audience = if who == BUYER { v1::Audience::Buyer } else { v1::Audience::Member };
    Some(v1::Include {
        prompt: true,
        prompt_suppression: true,
        audience: audience.into(),
        person: who.to_owned(),
        ..v1::Include::default()
    })
}

fn instant(at: DateTime) -> SystemTime {
    let seconds = at.to_zoned(jiff::tz::TimeZone::UTC).expect("an instant").timestamp().as_second();
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).expect("after 1970"))
}

/// A JSON object as the wire has it.
fn object(json: &str) -> prost_types::Struct {
    let text = if json.is_empty() { "{}" } else { json };
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{json}: {error}"));
    let value = |value: Value| {
        let kind = match value {
            Value::Bool(flag) => Kind::BoolValue(flag),
            Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a number")),
            Value::String(text) => Kind::StringValue(text),
            Value::Null => Kind::NullValue(0),
            other => panic!("{other} is no fact of this year"),
        };
        prost_types::Value { kind: Some(kind) }
    };
    let fields: BTreeMap<String, prost_types::Value> =
        object.into_iter().map(|(name, is)| (name, value(is))).collect();
    prost_types::Struct { fields: fields.into_iter().collect() }
}
