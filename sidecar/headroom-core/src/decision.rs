//! Decisions: the answer to one request, as a value.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalog::{PlanLimit, Policy};
use crate::credits::{Charge, PoolState};
use crate::ledger::Ledger;
use crate::names::NameId;
use crate::policy::{self, Beyond, GraceUses, Room};
use crate::reservation::{ReservationId, ReservationState};
use crate::resolve::Origin;
use crate::time::Millis;

/// Why a request was refused, most important first: when several apply, the first is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denial {
    /// The account is not known and the catalog has no default plan.
    UnknownAccount,
    /// The account was suspended.
    AccountSuspended,
    /// The catalog has no such feature.
    UnknownFeature,
    /// The subscription's end has passed.
    SubscriptionEnded,
    /// Neither the plan nor an override contains the feature.
    NotInPlan,
    /// The feature is paused for everybody.
    FeaturePaused,
    /// The bucket of a rate does not hold so many units now.
    RateLimited,
    /// As many slots of a concurrency are held as are allowed.
    ConcurrencyFull,
    /// As many seats are taken as there are.
    SeatsFull,
    /// The included units (and grace) are used up.
    QuotaExhausted,
    /// The pool that pays has not enough credits.
    CreditsExhausted,
    /// Overage has cost what the spend cap allows.
    SpendCapReached,
    /// Enough units are left, but reservations hold them.
    InFlight,
}

/// The one-word answer; the later variant is the graver one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Within the included units, below every soft threshold.
    Allowed,
    /// At or above a soft threshold.
    SoftLimit,
    /// Above the included units, within grace.
    Grace,
    /// Above the included units, billed.
    Overage,
    /// Above what the limit allows, and counted all the same: it happened, it was there before the limit
    /// was lowered, or shadow mode let it on.
    Unbacked,
    /// Refused.
    Denied(Denial),
}

impl Verdict {
    /// Whether the request may go on.
    pub fn is_allowed(self) -> bool {
        !matches!(self, Verdict::Denied(_))
    }
}

/// How the window of a limit's state is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowPhase {
    /// It began and lasts.
    Open,
    /// It begins with the first use, which has not come: the window is what it would be now.
    NotBegun,
    /// It slides: the window is the span that usage is counted over at present, and moves on at its
    /// end.
    Sliding,
}

/// Soft thresholds that so many units are past, in basis points, ascending.
#[inline(always)]
fn passed_bp(limit: &PlanLimit, units: u64) -> SmallVec<[u32; 4]> {
    if limit.is_quiet(units) {
        return SmallVec::new();
    }
    limit.soft_limits_bp.iter().copied().filter(|bp| limit.is_past(units, *bp)).collect()
}

/// One limit after the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// Its counters.
    pub ledger: Ledger,
    /// Included units. `None`: unlimited.
    pub included_units: Option<u64>,
    /// What happens when they are used up.
    pub policy: Policy,
    /// The most that admission lets used and reserved become together. `None`: no bound.
    pub ceiling_units: Option<u64>,
    /// Soft thresholds at or below the usage, in basis points, ascending.
    pub passed_bp: SmallVec<[u32; 4]>,
    /// How the ledger's window is to be read.
    pub phase: WindowPhase,
    /// What few limits have: grace by time, a price of overage, a window that slides, a pool. Boxed because
    /// every answer is moved from hand to hand.
    pub beyond: Option<Box<Beyond>>,
}

impl LimitState {
    // Inlined, because it is large and every call would move it once more.
    #[inline(always)]
    pub(crate) fn of(limit: &PlanLimit, ledger: Ledger, room: Room) -> LimitState {
        LimitState {
            ledger,
            included_units: limit.included_units,
            policy: limit.policy,
            ceiling_units: room.ceiling,
            passed_bp: passed_bp(limit, limit.watched_units(&ledger)),
            phase: WindowPhase::Open,
            beyond: policy::beyond(limit, room),
        }
    }

    /// Notes what the billing window of an allocation comes to so far.
    pub(crate) fn bill(&mut self, billed_units: u64) {
        self.beyond.get_or_insert_default().billed_units = Some(billed_units);
    }

    /// Whose limit it is: the path of a user, team or agent inside the account. `None`: the account's.
    pub fn subject(&self) -> Option<&str> {
        self.beyond.as_ref()?.subject.as_deref()
    }

    /// Whether what was used is an estimate, of more different values than are known one by one.
    pub fn is_approximate(&self) -> bool {
        self.beyond.as_ref().is_some_and(|beyond| beyond.approximate)
    }

    /// Notes that the window slides, and when its oldest units leave.
    pub(crate) fn slide(&mut self, oldest_leave_at: Millis) {
        self.phase = WindowPhase::Sliding;
        self.beyond.get_or_insert_default().oldest_leave_at = Some(oldest_leave_at);
    }

    /// When units next come free by time alone: at the end of the window, or when the oldest units
    /// leave a sliding one. [`Millis::FOREVER`]: never, or there is nothing to come free.
    pub fn frees_at(&self) -> Millis {
        if let Some(pool) = self.pool() {
            return pool.fills_at.unwrap_or(Millis::FOREVER);
        }
        match (self.phase, &self.beyond) {
            (WindowPhase::Open, _) => self.ledger.window.end(),
            (WindowPhase::Sliding, Some(beyond)) => {
                beyond.oldest_leave_at.unwrap_or(Millis::FOREVER)
            }
            (WindowPhase::NotBegun | WindowPhase::Sliding, _) => Millis::FOREVER,
        }
    }

    /// Whether what was used is a value, the largest or the latest of a window, and not a sum.
    pub fn is_value(&self) -> bool {
        self.beyond.as_ref().is_some_and(|beyond| beyond.is_value)
    }

    /// Included less used, never below 0: it does not dip while a reservation is open. Of values, which use
    /// nothing up, the included units. `None`: unlimited.
    pub fn settled_units_remaining(&self) -> Option<u64> {
        let used = if self.is_value() { 0 } else { self.ledger.used };
        self.included_units.map(|included| included.saturating_sub(used))
    }

    /// Units that a request of this moment could still get; of values, the largest. `None`: no bound.
    pub fn drawable_units_remaining(&self) -> Option<u64> {
        let is_value = self.is_value();
        let held = if is_value { self.ledger.reserved } else { self.ledger.held() };
        self.ceiling_units.map(|ceiling| ceiling.saturating_sub(held))
    }

    /// Units of grace not yet used; 0 when its time has run out. `None`: the limit has no grace, or
    /// one by time alone.
    pub fn grace_units_remaining(&self) -> Option<u64> {
        let (Policy::Grace { .. }, Some(included), Some(ceiling)) =
            (self.policy, self.included_units, self.ceiling_units)
        else {
            return None;
        };
        Some(ceiling.saturating_sub(self.ledger.used.max(included)))
    }

    /// Used units above the included ones that are billed: never more than a spend cap allows. What
    /// was recorded past it is debt. Of an allocation, by what its billing window is measured by.
    pub fn overage_units(&self) -> u64 {
        match (self.policy, self.included_units) {
            (Policy::Overage, Some(included)) => {
                let most = self.ceiling_units.map_or(u64::MAX, |ceiling| ceiling - included);
                let measured = self.billed_units().unwrap_or(self.ledger.used);
                measured.saturating_sub(included).min(most)
            }
            _ => 0,
        }
    }

    /// What the billing window of an allocation comes to so far. `None`: it is no allocation.
    pub fn billed_units(&self) -> Option<u64> {
        self.beyond.as_ref()?.billed_units
    }

    /// What a pool of credits has beyond the counters. `None`: it is no pool.
    pub fn pool(&self) -> Option<&PoolState> {
        self.beyond.as_ref()?.pool.as_deref()
    }

    /// How often its grace was used. `None`: that is not bounded.
    pub fn grace_uses(&self) -> Option<GraceUses> {
        self.beyond.as_ref()?.grace_uses
    }

    /// When the grace that has begun ends by time.
    pub fn grace_until(&self) -> Option<Millis> {
        self.beyond.as_ref()?.grace_until
    }

    /// What the overage has cost so far and may cost at most, in minor units of a currency. Rounded
    /// down by [`policy::OverageTerms::cost_minor`]. `None`: the plan has no price for it.
    pub fn overage_cost(&self) -> Option<OverageCost<'_>> {
        let terms = self.beyond.as_ref()?.overage.as_ref()?;
        Some(OverageCost {
            minor: terms.cost_minor(self.overage_units()),
            cap_minor: terms.cap_minor,
            currency: &terms.currency,
        })
    }
}

/// What overage costs in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverageCost<'a> {
    /// So far, in minor units.
    pub minor: u64,
    /// At most, in minor units. `None`: no bound.
    pub cap_minor: Option<u64>,
    /// ISO 4217 code.
    pub currency: &'a str,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The one-word answer.
    pub verdict: Verdict,
    /// The limit that decided: of the refusing ones the gravest, of the allowing ones the one with
    /// the gravest verdict, then with the least drawable units, then the first of the plan.
    pub binding: Option<LimitState>,
    /// Where the entitlement comes from.
    pub origin: Origin,
    /// The account's plan.
    pub plan: NameId,
    /// The feature asked about, when the catalog has it.
    pub feature: Option<NameId>,
    /// The value of a config as JSON text.
    pub value_json: Option<Arc<str>>,
    /// Milliseconds after which time may have lifted a refusal.
    pub retry_after_ms: Option<i64>,
    /// Why it would have been refused, if the feature were not in shadow mode.
    pub shadow: Option<Denial>,
}

impl Decision {
    /// What the write took from a pool of credits.
    pub fn charge(&self) -> Option<&Charge> {
        self.binding.as_ref()?.beyond.as_ref()?.charge.as_deref()
    }

    /// Notes what the write took from a pool of credits. It hangs on the binding limit, so that answers
    /// of all other features are not larger for it.
    pub fn set_charge(&mut self, charge: Charge) {
        if let Some(binding) = &mut self.binding {
            binding.beyond.get_or_insert_default().charge = Some(Box::new(charge));
        }
    }
}

/// What an operation did besides deciding. Zero or `None` where the operation has no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// The reservation made or changed.
    pub reservation: Option<ReservationId>,
    /// When its hold ends.
    pub expires_at: Option<Millis>,
    /// Units consumed, held, committed, released or recorded, or by how many a level was changed.
    pub units: u64,
    /// Committed units that the hold did not back.
    pub surplus_units: u64,
    /// Units that no limit allowed: the most of all limits of the feature.
    pub debt_units: u64,
    /// Whether a commit came after its hold had ended.
    pub late: bool,
    /// Whether a level was lowered, not raised.
    pub lowered: bool,
    /// Whether less was there than was to be taken away from a level.
    pub clamped: bool,
}

/// A decision and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub decision: Decision,
    /// What was done.
    pub amounts: Amounts,
}

/// Why an operation has no answer. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// Units cannot be counted on a switch or config feature.
    #[error("the feature is a switch or a config, units cannot be counted on it")]
    WrongFeatureKind,
    /// The slots of a concurrency are held, not used up.
    #[error("the feature is a concurrency, its slots are held: reserve, extend and release them")]
    SlotsAreHeld,
    /// What is used is known at once.
    #[error(
        "the aggregation of the feature is {aggregation}, nothing can be held: consume or record it"
    )]
    NothingToHold {
        /// Which.
        aggregation: &'static str,
    },
    /// A window does not know what it held before.
    #[error("the aggregation of the feature is {aggregation}, which no event can be taken out of")]
    NotCorrectable {
        /// Which.
        aggregation: &'static str,
    },
    /// Different values are counted, and the request does not say which.
    #[error(
        "the feature counts the different values of the dimension that `unique_by` names in the \
         catalog: say it in dimensions"
    )]
    NoValue,
    /// A window that is over was closed without what its aggregation must know of it.
    #[error(
        "the aggregation of the feature is {aggregation}, and of the window of that time nothing but its \
         number was kept: an earlier version closed it, the feature had another aggregation then, or \
         restate_for was shorter"
    )]
    WindowIsOver {
        /// Which.
        aggregation: &'static str,
    },
    /// An opening balance is a number, and a number says nothing here.
    #[error(
        "the aggregation of the feature is {aggregation}, which has no opening balance: record what \
         there was"
    )]
    NothingToOpen {
        /// Which.
        aggregation: &'static str,
    },
    /// Too many corrections have charged more.
    #[error(
        "corrections have had the event paid in {max} parts, the most that are remembered: withdraw \
         it and record it anew"
    )]
    TooManyParts {
        /// The bound.
        max: usize,
    },
    /// The credits are in more grants than one request may draw from.
    #[error(
        "the credits would come from {grants} grants, the most of one request is {max}: split it"
    )]
    TooManyGrants {
        /// How many there would be.
        grants: usize,
        /// The bound.
        max: usize,
    },
    /// The units of a rate are taken at once.
    #[error("the feature is a rate, its units are taken at once or not at all: consume them")]
    RateIsConsumed,
    /// An allocation is what there is now.
    #[error(
        "the feature is an allocation: a level is what there is now, and the most there was in a window \
         cannot be told anew; report the level of now (Allocate with `report`, or Record without \
         occurred_at)"
    )]
    LevelIsNow,
    /// Seats are taken by members.
    #[error("the feature is seats, which members take: invite, claim, release and transfer them")]
    SeatsAreTaken,
    /// Only seats have members.
    #[error("the feature is of kind {kind}, only seats have members")]
    NoSeats {
        /// What it is.
        kind: &'static str,
    },
    /// Nobody of that name has a seat.
    #[error("the member has no seat that could be given away")]
    UnknownMember,
    /// Whoever the seat is to go to has one.
    #[error("the member that the seat is to go to has one")]
    MemberHasSeat,
    /// The account has as many members as are allowed.
    #[error(
        "{taken} seats are taken in the account, which has room for {}",
        crate::limits::SEATS_MAX
    )]
    TooManySeats {
        /// How many.
        taken: usize,
    },
    /// Only an allocation has a level.
    #[error("the feature is of kind {kind}, only an allocation has a level: consume, or record")]
    NoLevel {
        /// What it is.
        kind: &'static str,
    },
    /// Only the limits of a quota have an opening balance.
    #[error("the feature is of kind {kind}, only the limits of a quota have an opening balance")]
    NoOpening {
        /// What it is.
        kind: &'static str,
    },
    /// The account has no such limit now.
    #[error("nothing gives the account this limit: put the account on its plan first")]
    LimitNotGiven,
    /// What slides has no window that an opening balance could be of.
    #[error("the limit's window slides: record what was used, each with the time it was used at")]
    WindowSlides,
    /// Something was used here already.
    #[error(
        "{used_units} units were used here already: say that the balance is to be added to them"
    )]
    AlreadyUsed {
        /// How many.
        used_units: u64,
    },
    /// No window can have begun at that instant.
    #[error(
        "no window of the limit can have begun then: first use must begin it, it must still be open, \
         and none may have been open here since"
    )]
    WindowNotThen,
    /// The count would pass 2^53-1.
    #[error("the count would pass 2^53-1 units")]
    CounterFull,
    /// The account has no such reservation (any more).
    #[error(
        "the account has no such reservation (any more): a hold is remembered for 24 h after its end; \
         Record what was used"
    )]
    UnknownReservation,
    /// The reservation had its outcome already.
    #[error("the reservation is closed: {}", outcome_word(.state))]
    ReservationClosed {
        /// What became of it.
        state: ReservationState,
    },
    /// The account has as many open reservations as are allowed.
    #[error("the account has {open} open reservations, the most allowed")]
    TooManyReservations {
        /// How many are open.
        open: usize,
    },
    /// As much is counted for subjects of the account as is possible at a time.
    #[error(
        "something counts in {subjects} subjects of the account, in {windows} windows: no more can be \
         counted at a time"
    )]
    TooManySubjects {
        /// How many there are.
        subjects: usize,
        /// How many ledgers they have.
        windows: usize,
    },
    /// The account has as many reservations that expired without an outcome as are remembered.
    #[error(
        "{expired} reservations of the account expired without an outcome in the last 24 h, the most \
         remembered: commit or release them"
    )]
    TooManyExpired {
        /// How many expired.
        expired: usize,
    },
}

fn outcome_word(state: &ReservationState) -> String {
    match state {
        ReservationState::Open => "open".into(),
        ReservationState::Expired => "it expired".into(),
        ReservationState::Committed { units } => format!("{units} units were committed"),
        ReservationState::Released => "it was released".into(),
    }
}
