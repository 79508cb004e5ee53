//! Rates: check and consume against a token bucket.
//!
//! A use is counted where it is decided, as for a quota: it is journaled, and its idempotency key
//! is remembered. So a retry is not counted twice, and a restart never finds a fuller bucket. What
//! cannot be said of a bucket is refused as an error: units are taken at once or not at all, so there
//! is nothing to reserve, and what happened already cannot be slowed down, so nothing to record.
//!
//! The first refusal of an excursion raises `api_tier_exceeded`. The excursion is over, and the signal
//! armed again, with the first attempt that finds the bucket full and comes at least an hour after the
//! signal: full means that the account went below its rate for long enough, and the hour keeps one
//! that hits its limit every minute from being reported every minute.

use smallvec::SmallVec;

use crate::account::Account;
use crate::catalog::{FeatureIx, Policy};
use crate::decide::Context;
use crate::decision::{Amounts, Decision, Denial, LimitState, Outcome, Verdict, WindowPhase};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::rate::{Bucket, Level, Rate, Wait};
use crate::resolve::Origin;
use crate::signal::{Signal, SignalName, SignalState};
use crate::time::{Millis, Window};

/// How long after `api_tier_exceeded` it can be raised again at the earliest. Milliseconds: one hour.
const REARM_MS: i64 = 60 * 60 * 1000;

/// A question about the bucket of one feature.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub(super) feature: NameId,
    pub(super) limit: NameId,
    /// `None`: unlimited.
    pub(super) rate: Option<Rate>,
    pub(super) origin: Origin,
}

impl Ask {
    fn bucket(self, account: &Account) -> Option<&Bucket> {
        account.bucket(self.feature, self.limit)
    }
}

/// Decides without counting.
pub(super) fn check(
    cx: Context<'_>,
    account: &Account,
    ask: Ask,
    units: u64,
    attempt: bool,
    effects: &mut Effects,
) -> Outcome {
    let Some(rate) = ask.rate else { return plain(unlimited(cx, account, ask)) };
    let level = Level::of(rate, ask.bucket(account), cx.now);
    match level.take(units) {
        Ok(_) => plain(answer(cx, account, ask, level, Verdict::Allowed)),
        Err(wait) => {
            if attempt {
                announce(cx, account, ask, level, units, effects);
            }
            plain(refused(cx, account, ask, level, wait))
        }
    }
}

/// Decides and counts.
pub(super) fn consume(
    cx: Context<'_>,
    account: &Account,
    ask: Ask,
    units: u64,
    effects: &mut Effects,
) -> Outcome {
    let amounts = Amounts { units, ..Amounts::default() };
    let Some(rate) = ask.rate else {
        // Nothing is counted; the bucket of earlier days stays as it was.
        return Outcome { decision: unlimited(cx, account, ask), amounts };
    };
    let bucket = ask.bucket(account);
    let before = Level::of(rate, bucket, cx.now);
    let after = match before.take(units) {
        Ok(after) => after,
        Err(wait) => {
            announce(cx, account, ask, before, units, effects);
            return plain(refused(cx, account, ask, before, wait));
        }
    };

    // Every check is above this line, every change below it.
    let announced_at = excursion(cx, bucket, before);
    put(cx, account, after.bucket(ask.feature, ask.limit, announced_at), effects);
    Outcome { decision: answer(cx, account, ask, after, Verdict::Allowed), amounts }
}

/// What becomes of an answer where a rate is only watched: a refusal is told and lifted. Nothing was taken for
/// it, as nothing would be if it were refused; so there are as many of them as there would be. `units` are
/// those of a use.
pub(super) fn watched(
    cx: Context<'_>,
    feature: FeatureIx,
    outcome: Outcome,
    units: u64,
) -> Outcome {
    if !cx.catalog.feature(feature).shadow {
        return outcome;
    }
    let Outcome { decision, mut amounts } = outcome;
    let shadow = match decision.verdict {
        _ if decision.origin == Origin::None => Some(Denial::NotInPlan),
        Verdict::Denied(denial) => Some(denial),
        _ => None,
    };
    if !decision.verdict.is_allowed() {
        amounts.units = units;
    }
    let (verdict, retry_after_ms) = (Verdict::Allowed, None);
    Outcome { decision: Decision { verdict, retry_after_ms, shadow, ..decision }, amounts }
}

/// The state of a rate's one limit now.
pub(super) fn limit_state(cx: Context<'_>, account: &Account, ask: Ask) -> LimitState {
    match ask.rate {
        Some(rate) => state(cx, ask, Level::of(rate, ask.bucket(account), cx.now)),
        None => open_state(cx, ask),
    }
}

/// A bucket in the shape of a limit: what a full one holds is included, what has not come back is used,
/// and the window ends when it is full again.
fn state(cx: Context<'_>, ask: Ask, level: Level) -> LimitState {
    let included_units = level.missing_units() + level.drawable_units();
    let ledger = Ledger { used: level.missing_units(), ..blank(cx, ask, level.full_after_ms()) };
    LimitState {
        ledger,
        included_units: Some(included_units),
        policy: Policy::Block,
        ceiling_units: Some(included_units),
        passed_bp: SmallVec::new(),
        phase: WindowPhase::Open,
        beyond: None,
    }
}

fn open_state(cx: Context<'_>, ask: Ask) -> LimitState {
    let ledger = blank(cx, ask, 0);
    LimitState {
        ledger,
        included_units: None,
        policy: Policy::Unlimited,
        ceiling_units: None,
        passed_bp: SmallVec::new(),
        phase: WindowPhase::Open,
        beyond: None,
    }
}

fn blank(cx: Context<'_>, ask: Ask, full_after_ms: i64) -> Ledger {
    Ledger::new(ask.feature, ask.limit, span(cx.now, full_after_ms), 0)
}

/// From now until the bucket is full. No span is empty, so that of a full one is a millisecond.
fn span(now: Millis, full_after_ms: i64) -> Window {
    Window::new(now, now.plus(full_after_ms.max(1))).unwrap_or_else(|| Window::lifetime(now))
}

fn answer(
    cx: Context<'_>,
    account: &Account,
    ask: Ask,
    level: Level,
    verdict: Verdict,
) -> Decision {
    bound(cx, account, ask, state(cx, ask, level), verdict)
}

fn unlimited(cx: Context<'_>, account: &Account, ask: Ask) -> Decision {
    bound(cx, account, ask, open_state(cx, ask), Verdict::Allowed)
}

fn bound(
    cx: Context<'_>,
    account: &Account,
    ask: Ask,
    state: LimitState,
    verdict: Verdict,
) -> Decision {
    Decision {
        verdict,
        binding: Some(state),
        origin: ask.origin,
        plan: account.profile.plan_at(cx.now).0,
        feature: Some(ask.feature),
        value_json: None,
        retry_after_ms: None,
        shadow: None,
    }
}

/// More than a full bucket holds can never pass, so it is not told to wait.
fn refused(cx: Context<'_>, account: &Account, ask: Ask, level: Level, wait: Wait) -> Decision {
    let retry_after_ms = match wait {
        Wait::Ms(ms) => Some(ms),
        Wait::Never => None,
    };
    let denied = Verdict::Denied(Denial::RateLimited);
    Decision { retry_after_ms, ..answer(cx, account, ask, level, denied) }
}

/// When the excursion that is still on was announced.
fn excursion(cx: Context<'_>, bucket: Option<&Bucket>, level: Level) -> Option<Millis> {
    let announced_at = bucket.and_then(|bucket| bucket.announced_at)?;
    let is_over = level.is_full() && REARM_MS <= cx.now.since(announced_at);
    (!is_over).then_some(announced_at)
}

/// Raises the signal, unless the excursion has been announced.
fn announce(
    cx: Context<'_>,
    account: &Account,
    ask: Ask,
    level: Level,
    units: u64,
    effects: &mut Effects,
) {
    if excursion(cx, ask.bucket(account), level).is_some() || !cx.catalog.signals.api_tier_exceeded
    {
        return;
    }
    let state = state(cx, ask, level);
    effects.push(Effect::Signal(Box::new(Signal {
        name: SignalName::ApiTierExceeded,
        feature: ask.feature,
        limit: ask.limit,
        window: state.ledger.window,
        limit_revision: state.ledger.limit_revision,
        crossed_bp: SmallVec::new(),
        previous_units: state.ledger.used,
        current_units: state.ledger.used,
        included_units: state.included_units.unwrap_or_default(),
        refused_units: units,
        previous_state: SignalState::Ok,
        state: SignalState::Alarm,
        grace_until: None,
        foretold: None,
        trial: None,
        earned_by: None,
        at: cx.now,
    })));
    // Nothing was taken, so an old bucket goes on as it is: what was told to wait for comes true.
    let bucket = ask.bucket(account).copied();
    let bucket = bucket.unwrap_or_else(|| level.bucket(ask.feature, ask.limit, None));
    put(cx, account, Bucket { announced_at: Some(cx.now), ..bucket }, effects);
}

/// Lists a bucket as changed. With a new one the others that say nothing any more are forgotten: a
/// full bucket is the same as none.
fn put(cx: Context<'_>, account: &Account, bucket: Bucket, effects: &mut Effects) {
    if account.bucket(bucket.feature, bucket.limit).is_none() {
        let is_idle = |other: &&Bucket| {
            let is_quiet = other.announced_at.is_none_or(|at| REARM_MS <= cx.now.since(at));
            is_quiet && other.is_full(cx.now)
        };
        let idle = account.buckets().iter().filter(is_idle);
        effects.extend(idle.map(|idle| Effect::BucketForgotten(idle.feature, idle.limit)));
    }
    effects.push(Effect::Bucket(bucket));
}

fn plain(decision: Decision) -> Outcome {
    Outcome { decision, amounts: Amounts::default() }
}
