//! What the model answers, by names.

use headroom_core::catalog::Policy;
use headroom_core::decision::{Amounts, Denial, Verdict, WindowPhase};
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};

use headroom_engine::engine::Wants;

use super::{Account, Done, Model, Remembered};
use crate::coins::Took;

/// One limit as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitAnswer {
    /// The limit's name.
    pub limit: String,
    /// First instant of its window.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
    /// Units used.
    pub used: u128,
    /// Units set aside.
    pub reserved: u128,
    /// Units that no limit allowed.
    pub debt: u128,
    /// Definitions of the limit seen in the window.
    pub revision: u16,
    /// Included units.
    pub included: Option<u128>,
    /// What happens when they are used up.
    pub policy: Policy,
    /// The most that may be used and set aside.
    pub ceiling: Option<u128>,
    /// Soft thresholds passed.
    pub passed_bp: Vec<u32>,
    /// Included less used.
    pub settled: Option<u128>,
    /// What could still be drawn.
    pub drawable: Option<u128>,
    /// Grace left.
    pub grace_left: Option<u128>,
    /// Units billed above the included ones.
    pub overage: u128,
    /// How the window is to be read.
    pub phase: WindowPhase,
    /// When units next come free.
    pub frees_at: i64,
    /// When the grace that has begun ends by time.
    pub grace_until: Option<i64>,
    /// What the overage costs so far, and at most, in minor units.
    pub cost: Option<(u128, Option<u64>)>,
    /// What the billing window of an allocation comes to so far.
    pub billed: Option<u128>,
    /// Whose it is, if not the account's.
    pub subject: Option<String>,
    /// What a pool of credits has beyond the counters.
    pub pool: Option<PoolAnswer>,
    /// What the write took from a pool.
    pub charge: Option<ChargeAnswer>,
}

/// What a pool of credits has beyond the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAnswer {
    /// What is left less what is owed.
    pub balance: i64,
    /// When units that are left are next lost, and how many.
    pub next_expiry: Option<(i64, u64)>,
    /// How far below 0 it may be drawn.
    pub overdraft: u64,
    /// When units next come by time alone.
    pub fills_at: Option<i64>,
}

/// What a write took from a pool of credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeAnswer {
    /// The pool.
    pub pool: String,
    /// Credits.
    pub units: u64,
    /// The grants that paid, in the order they burnt.
    pub paid: Vec<(String, u64)>,
    /// What none paid.
    pub owed: u64,
    /// What came back.
    pub returned: u64,
}

impl ChargeAnswer {
    pub(crate) fn of(took: &Took) -> ChargeAnswer {
        ChargeAnswer {
            pool: took.pool.clone(),
            units: took.units,
            paid: took.paid.iter().map(|(id, units)| (id.text(), *units)).collect(),
            owed: took.owed,
            returned: took.returned,
        }
    }
}

/// The whole answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The one-word answer.
    pub verdict: Verdict,
    /// The limit that decided.
    pub binding: Option<LimitAnswer>,
    /// The feature's other limits, when asked for.
    pub others: Vec<LimitAnswer>,
    /// Where the entitlement comes from.
    pub origin: Origin,
    /// The account's plan.
    pub plan: Option<String>,
    /// The feature.
    pub feature: Option<String>,
    /// The value of a config.
    pub value_json: Option<String>,
    /// When time may have lifted a refusal.
    pub retry_after_ms: Option<i64>,
    /// Why it would have been refused.
    pub shadow: Option<Denial>,
    /// What was done.
    pub amounts: Amounts,
    /// Whether it is the answer of an earlier write.
    pub replayed: bool,
    /// When the account was first known.
    pub created_at: i64,
    /// What a prompt says of the account, when asked for and there is something to say.
    pub about: Option<AboutAnswer>,
}

/// Facts by name, and the time zone.
pub type AboutAnswer = (Vec<(String, String)>, String);

/// A signal by names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whose.
    pub account: String,
    /// What happened.
    pub name: SignalName,
    /// The feature.
    pub feature: String,
    /// The limit.
    pub limit: String,
    /// The window.
    pub window: (i64, i64),
    /// Definitions of the limit seen in the window.
    pub revision: u16,
    /// The thresholds crossed.
    pub crossed_bp: Vec<u32>,
    /// Used before.
    pub previous: u128,
    /// Used after.
    pub current: u128,
    /// Included units.
    pub included: u128,
    /// Refused units.
    pub refused: u128,
    /// How the limit stood before.
    pub previous_state: SignalState,
    /// How it stands now.
    pub state: SignalState,
    /// When the grace ends by time.
    pub grace_until: Option<i64>,
    /// Of a trial that ends: how many days ahead it is told.
    pub days: Option<u16>,
    /// When.
    pub at: i64,
}

/// A ledger by names, as the usage listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The feature.
    pub feature: String,
    /// The limit.
    pub limit: String,
    /// First instant of the window.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
    /// Units used.
    pub used: u128,
    /// Units set aside.
    pub reserved: u128,
    /// Units that no limit allowed.
    pub debt: u128,
    /// Reservations that may still book there.
    pub holds: u32,
    /// Definitions seen.
    pub revision: u16,
    /// What was announced, in the bits of `Marks`.
    pub marks: u16,
}

impl Model {
    /// An earlier outcome, with the limits as they are now.
    pub(crate) fn again(&self, account: &Account, known: &Remembered, now: i64) -> Done {
        let feature = known.feature.as_deref().unwrap_or_default();
        let limits = self.limit_answers(account, feature, now);
        Done {
            verdict: known.verdict,
            binding: limits.into_iter().find(|limit| Some(&limit.limit) == known.limit.as_ref()),
            origin: self.entitled(account, feature, now).1,
            feature: known.feature.clone(),
            value_json: None,
            retry_after_ms: None,
            shadow: None,
            amounts: known.amounts,
            charge: known.charge.clone(),
        }
    }

    pub(crate) fn dress(
        &self,
        account: &Account,
        done: Done,
        wants: Wants,
        replayed: bool,
        now: i64,
    ) -> Answer {
        let mut others = Vec::new();
        let is_plain = matches!(done.verdict, Verdict::Allowed);
        let wanted = wants.all_limits || (wants.all_limits_unless_plain && !is_plain);
        if let (true, Some(binding), Some(feature)) = (wanted, &done.binding, &done.feature) {
            others = self.limit_answers(account, feature, now);
            // Of one that was over the window of now is another.
            others.retain(|limit| limit.limit != binding.limit || binding.end <= now);
        }
        let worth_a_word = !matches!(done.verdict, Verdict::Allowed) && {
            use headroom_core::decision::Denial;
            let silent = [
                Denial::UnknownAccount,
                Denial::AccountSuspended,
                Denial::UnknownFeature,
                Denial::SubscriptionEnded,
                Denial::FeaturePaused,
                Denial::InFlight,
            ];
            let not_here = done.verdict == Verdict::Denied(Denial::NotInPlan);
            // Bought, but not rolled out: nothing to sell.
            let waits = not_here && done.origin != Origin::None && done.binding.is_none();
            !waits && !silent.iter().any(|denial| done.verdict == Verdict::Denied(*denial))
        };
        let mut binding = done.binding;
        if let (Some(binding), Some(took)) = (&mut binding, &done.charge) {
            binding.charge = Some(ChargeAnswer::of(took));
        }
        let about = || (account.facts.clone().into_iter().collect(), account.zone.clone());
        Answer {
            verdict: done.verdict,
            binding,
            others,
            origin: done.origin,
            plan: Some(Model::plan_now(account, now).0),
            feature: done.feature,
            value_json: done.value_json,
            retry_after_ms: done.retry_after_ms,
            shadow: done.shadow,
            amounts: done.amounts,
            replayed,
            created_at: account.created_at,
            about: (wants.about && worth_a_word).then(about),
        }
    }

    /// The answer to an account that is not known where there is no default plan.
    pub(crate) fn nobody(&self, now: i64) -> Answer {
        Answer {
            verdict: Verdict::Denied(Denial::UnknownAccount),
            binding: None,
            others: Vec::new(),
            origin: Origin::None,
            plan: None,
            feature: None,
            value_json: None,
            retry_after_ms: None,
            shadow: None,
            amounts: Amounts::default(),
            replayed: false,
            created_at: now,
            about: None,
        }
    }
}
