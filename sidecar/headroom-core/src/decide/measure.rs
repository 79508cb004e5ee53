//! Aggregations: what a quota makes of the units of its uses.
//!
//! Most add them up. One that counts takes every write for one, whatever its units. One that takes the
//! maximum holds the largest value of its window, one that takes the latest the last one by its own time,
//! and their limit is a limit of the value. One that counts different values asks of each whether it is
//! new: what was counted already is never refused, because it uses nothing up. None of them has
//! reservations: what is used is known at once.
//!
//! A subject's limits say to a value what the account's say: it counts in all of them that it changes, or in
//! none.
//!
//! What counts is the `used` of a ledger like any other, so thresholds, policies and answers are those of
//! all limits. What has to be known besides is a [`crate::measure::Measure`].

use crate::account::Account;
use crate::catalog::{Aggregation, Feature, FeatureIx};
use crate::decide::meter::{self, Ask, Working, WorkingSet};
use crate::decide::subjects::{self, Level};
use crate::decide::{
    Context, FeatureOp, Gate, allocation, announce_premium, bare_limits, closed, gate, plain,
};
use crate::decision::{Amounts, Decision, Denial, LimitState, OpError, Outcome, Verdict};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits::UNITS_MAX;
use crate::measure::{self, ClosedMeasure, Known, Measure, MeasureChange, Measured, Values};
use crate::resolve::{Origin, Resolved, ResolvedLimits, resolve};
use crate::time::Millis;

/// What becomes of a request about a feature that may not simply add up.
pub(super) enum Taken {
    /// It is decided like any other, as this.
    As(FeatureOp),
    /// It is decided.
    Decided(Box<Outcome>),
}

/// What a request does with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOp {
    /// Decide only. With `attempt`, a refusal is worth a signal.
    Check {
        /// Whether somebody tried to use the feature, rather than drew a screen.
        attempt: bool,
    },
    /// Decide and count.
    Consume,
    /// Count what happened already.
    Record,
}

/// How a value comes to count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// It has happened, and may be above the limit.
    pub(super) records: bool,
    /// The limit is one that may be near or hit.
    pub(super) told: bool,
    /// The window is a subject's, which knows fewer different values one by one.
    pub(super) of_subject: bool,
}

/// A value that counts otherwise than by being added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// The largest counts.
    Max(u64),
    /// The latest counts: the value, and the instant that it is of.
    Latest(u64, Millis),
    /// Different ones count. `None`: any that is new.
    Unique(Option<u64>),
}

/// Takes a request as the aggregation of its feature understands it. `levels` are those of its subject that
/// have limits of the feature.
#[cold]
pub(super) fn take(
    cx: Context<'_>,
    account: &Account,
    (feature, levels): (FeatureIx, &[Level]),
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Taken, OpError> {
    let aggregation = cx.catalog.feature(feature).aggregation();
    let (units, does) = match op {
        _ if aggregation == Aggregation::Sum => return Ok(Taken::As(op)),
        _ if aggregation == Aggregation::Count => return counted(op).map(Taken::As),
        // Only a quota has an aggregation, and no quota a level: the road of all says so.
        FeatureOp::Allocate { .. } => return Ok(Taken::As(op)),
        FeatureOp::Reserve { .. } | FeatureOp::ReserveCharging { .. } => {
            return Err(OpError::NothingToHold { aggregation: aggregation.as_str() });
        }
        FeatureOp::Check { units, attempt } => (Some(units), ValueOp::Check { attempt }),
        FeatureOp::Consume { units } => (Some(units), ValueOp::Consume),
        FeatureOp::Record { units } => (Some(units), ValueOp::Record),
        FeatureOp::Value { does, .. } => (None, does),
    };
    let value = match (aggregation, units, op) {
        (Aggregation::Unique, None, FeatureOp::Value { hash, .. }) => Counted::Unique(Some(hash)),
        // Whether there is room for one more can be asked without saying which.
        (Aggregation::Unique, ..) if matches!(does, ValueOp::Check { .. }) => Counted::Unique(None),
        (Aggregation::Unique, ..) => return Err(OpError::NoValue),
        (Aggregation::Latest, Some(units), _) => Counted::Latest(units, cx.now),
        (_, Some(units), _) => Counted::Max(units),
        // Values are asked for only of features that count them.
        (_, None, _) => return Err(OpError::WrongFeatureKind),
    };
    let decided = decide(cx, account, (feature, levels), (value, does), effects);
    decided.map(|outcome| Taken::Decided(Box::new(outcome)))
}

/// A request of which each use counts one.
pub(super) fn counted(op: FeatureOp) -> Result<FeatureOp, OpError> {
    Ok(match op {
        FeatureOp::Check { attempt, .. } => FeatureOp::Check { units: 1, attempt },
        FeatureOp::Consume { .. } => FeatureOp::Consume { units: 1 },
        FeatureOp::Record { .. } => FeatureOp::Record { units: 1 },
        FeatureOp::Allocate { .. } => op,
        FeatureOp::Value { .. } => return Err(OpError::WrongFeatureKind),
        FeatureOp::Reserve { .. } | FeatureOp::ReserveCharging { .. } => {
            return Err(OpError::NothingToHold { aggregation: Aggregation::Count.as_str() });
        }
    })
}

/// The limits that a value is asked of: those of the account, and behind them those of its subject's levels.
struct Met<'a> {
    account: &'a Account,
    working: WorkingSet<'a>,
    /// How many of them are the account's.
    own: usize,
    /// Whose the others are.
    owners: Vec<&'a Level>,
}

impl<'a> Met<'a> {
    fn of(
        cx: Context<'_>,
        account: &'a Account,
        ask: Ask<'a>,
        levels: &'a [Level],
        value: Counted,
    ) -> Met<'a> {
        let id = cx.catalog.feature(ask.feature).id;
        let mut working = WorkingSet::new();
        for limit in ask.limits {
            working.push(meter::working_now(cx, account, id, limit));
        }
        let own = working.len();
        let sets = levels.iter().map(|level| level.working_now(cx, id)).collect();
        let (working, owners) = subjects::together(working, levels, sets);
        let mut met = Met { account, working, own, owners };
        for place in 0..met.working.len() {
            met.working[place].verdict = value.verdict(met.seen(place), &met.working[place]);
        }
        met
    }

    /// The level that a limit is of. `None`: it is the account's.
    fn level(&self, place: usize) -> Option<&'a Level> {
        self.owners.get(place.checked_sub(self.own)?).copied()
    }

    /// The account as a limit sees it.
    fn seen(&self, place: usize) -> &'a Account {
        self.level(place).map_or(self.account, |level| &level.seen)
    }

    fn has_room(&self, value: Counted) -> bool {
        let mut all = self.working.iter().enumerate();
        all.all(|(place, w)| value.fits(self.seen(place), &w.ledger))
    }

    fn answer(&self, cx: Context<'_>, ask: Ask<'_>) -> Decision {
        answer_for(cx, self.account, ask, (&self.working, &self.owners))
    }

    /// Lets a value count in all of the limits, and returns the most that was not allowed by one.
    fn count(
        &mut self,
        cx: Context<'_>,
        value: Counted,
        (records, told): (bool, bool),
        effects: &mut Effects,
    ) -> u64 {
        let mut debt_units = 0;
        for place in 0..self.working.len() {
            let (level, seen) = (self.level(place), self.seen(place));
            let way = Way { records, told, of_subject: level.is_some() };
            let mut changes = Effects::new();
            let w = &mut self.working[place];
            if let Some(debt) = value.count(cx, seen, w, way, &mut changes) {
                debt_units = debt_units.max(debt);
                meter::put_ledger(cx, seen, w.own(), w.fresh, &mut changes);
                w.fresh = false;
            }
            if records {
                w.verdict = meter::level(w.limit, w.room, &w.ledger);
            }
            match level {
                None => effects.append(&mut changes),
                Some(level) => level.list(cx, changes, effects),
            }
        }
        debt_units
    }
}

/// Asks whether a value is allowed, or counts it, or both.
fn decide(
    cx: Context<'_>,
    account: &Account,
    (feature, levels): (FeatureIx, &[Level]),
    (value, does): (Counted, ValueOp),
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let records = does == ValueOp::Record;
    let attempts = does != (ValueOp::Check { attempt: false });
    let (limits, origin) = match limits_of(cx, account, feature, records)? {
        Ok(limits) => limits,
        Err(shut) => {
            if attempts {
                let id = cx.catalog.feature(feature).id;
                announce_premium(cx, account, id, shut, value.units(), effects);
            }
            return Ok(plain(closed(cx, account, feature, shut)));
        }
    };
    let ask = Ask { feature, limits: &limits, origin };
    let mut met = Met::of(cx, account, ask, levels, value);
    if !records && meter::is_refused(&met.working) {
        // No time makes a value smaller.
        if let Counted::Unique(_) = value {
            let of = (&mut met.working[..], &met.owners[..]);
            subjects::note_waits(cx, account, feature, of, value.units());
        }
        if attempts {
            let own = &met.working[..met.own];
            meter::announce_refusal(cx, account, own, value.units(), effects);
        }
        return Ok(plain(met.answer(cx, ask)));
    }
    if matches!(does, ValueOp::Check { .. }) {
        return Ok(plain(met.answer(cx, ask)));
    }
    if !met.has_room(value) {
        return Err(OpError::CounterFull);
    }
    let fresh = met.working[met.own..].iter().filter(|w| w.fresh).count();
    let freed = subjects::room_for(cx, account, &levels.iter().collect::<Vec<_>>(), fresh)?;

    // Every check is above this line, every change below it.
    subjects::let_in(cx, account, levels, freed, effects);
    let debt_units = met.count(cx, value, (records, origin != Origin::None), effects);
    let amounts = Amounts { units: value.units(), debt_units, ..Amounts::default() };
    Ok(Outcome { decision: met.answer(cx, ask), amounts })
}

/// The limits of an account, and where they come from.
type Given<'a> = (ResolvedLimits<'a>, Origin);
/// What stands before them, and where the limits would come from.
type Shut = (Denial, Origin);

/// The limits that a value is asked of, or what stands before them. What is recorded has happened, so nothing
/// stands before that.
fn limits_of<'a>(
    cx: Context<'a>,
    account: &'a Account,
    feature: FeatureIx,
    records: bool,
) -> Result<Result<Given<'a>, Shut>, OpError> {
    if records {
        return match resolve(cx.catalog, account, feature, cx.now) {
            (Resolved::Limits(limits), origin) => Ok(Ok((limits, origin))),
            _ => {
                let bare = bare_limits(cx, feature).ok_or(OpError::WrongFeatureKind)?;
                Ok(Ok((bare, Origin::None)))
            }
        };
    }
    match gate(cx, account, feature) {
        Gate::Limits(limits, origin) => Ok(Ok((limits, origin))),
        Gate::Closed(denial, origin) => Ok(Err((denial, origin))),
        Gate::Plain(_) | Gate::Rate(..) | Gate::Pool(_) => Err(OpError::WrongFeatureKind),
    }
}

/// The answer of the account's limits, of any aggregation.
pub(super) fn answer(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    working: &[Working<'_>],
) -> Decision {
    let owners = Vec::new();
    answer_for(cx, account, ask, (working, &owners))
}

/// The answer of limits of the account, and of those of its subjects that stand behind them.
pub(super) fn answer_for(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    (working, owners): (&[Working<'_>], &[&Level]),
) -> Decision {
    let feature = cx.catalog.feature(ask.feature);
    let is_of_values = feature.aggregation().is_of_values();
    let (binding, owners) = match is_of_values.then(|| binding_value(working)).flatten() {
        None => (working, owners),
        Some(place) => {
            let level = place.checked_sub(working.len() - owners.len());
            (&working[place..=place], level.map_or(&[][..], |level| &owners[level..=level]))
        }
    };
    let mut decision = meter::answer(cx, account, ask, binding);
    subjects::name(&mut decision, binding, owners);
    if let Some(binding) = &mut decision.binding {
        note_sort(feature, binding);
    }
    decision
}

/// Notes in the state of a limit that what was used is a value or an estimate, if it is.
pub(super) fn note_sort(feature: &Feature, state: &mut LimitState) {
    if feature.is_approximate(state.ledger.limit, state.ledger.used) {
        state.beyond.get_or_insert_default().approximate = true;
    }
    if feature.aggregation().is_of_values() {
        state.beyond.get_or_insert_default().is_value = true;
    }
}

/// The place of the limit that binds among those of values, which all allow one: what was used before leaves
/// none of them less room. `None`: one refuses.
fn binding_value(working: &[Working<'_>]) -> Option<usize> {
    let gravest = working.iter().map(|w| w.verdict).max().filter(|gravest| gravest.is_allowed())?;
    let room = |place: &usize| {
        let w = &working[*place];
        w.room.ceiling.map_or(u64::MAX, |ceiling| ceiling.saturating_sub(w.ledger.reserved))
    };
    (0..working.len()).filter(|place| working[*place].verdict == gravest).min_by_key(room)
}

impl Counted {
    /// The units that a request for it is said to ask for.
    fn units(self) -> u64 {
        match self {
            Counted::Max(value) | Counted::Latest(value, _) => value,
            Counted::Unique(_) => 1,
        }
    }

    /// By how much a counter rises with it.
    fn rise(self, account: &Account, ledger: &Ledger) -> u64 {
        match self {
            Counted::Max(_) | Counted::Latest(..) => self.rise_of(None, ledger.used),
            Counted::Unique(_) => self.rise_of(known(account, ledger), ledger.used),
        }
    }

    /// The same of a counter that says so much, and of what is known besides.
    fn rise_of(self, known: Option<&Known>, used: u64) -> u64 {
        match (self, known) {
            (Counted::Max(value) | Counted::Latest(value, _), _) => value.saturating_sub(used),
            (Counted::Unique(value), Some(Known::Values(values))) => values.rise(value),
            (Counted::Unique(_), Some(Known::LatestAt(_)) | None) => 1,
        }
    }

    /// Whether a counter has room for it.
    pub(super) fn fits(self, account: &Account, ledger: &Ledger) -> bool {
        match self {
            Counted::Max(value) | Counted::Latest(value, _) => value <= UNITS_MAX,
            Counted::Unique(_) => ledger.held() + self.rise(account, ledger) <= UNITS_MAX,
        }
    }

    /// Whether a window that has left the memory has room for it.
    pub(super) fn fits_past(self, known: Option<&Known>, used: u64) -> bool {
        match self {
            Counted::Max(value) | Counted::Latest(value, _) => value <= UNITS_MAX,
            Counted::Unique(_) => used + self.rise_of(known, used) <= UNITS_MAX,
        }
    }

    /// What the counter of a window says with it. `None`: it changes nothing.
    pub(super) fn after(self, known: Option<&Known>, used: u64) -> Option<u64> {
        if let Counted::Latest(value, _) = self {
            return (!self.is_older(known)).then_some(value);
        }
        Some(self.rise_of(known, used)).filter(|rises| *rises > 0).map(|rises| used + rises)
    }

    /// What is known of a window with it, besides its counter. `None`: no more than before.
    pub(super) fn known_after(self, known: Option<&Known>, of_subject: bool) -> Option<Known> {
        match (self, known) {
            (Counted::Latest(_, at), _) => Some(Known::LatestAt(at)),
            (Counted::Unique(Some(hash)), Some(Known::Values(values))) => {
                Some(Known::Values(values.with(hash, of_subject)))
            }
            (Counted::Unique(Some(hash)), _) => Some(Known::Values(Values::one(hash))),
            (Counted::Unique(None) | Counted::Max(_), _) => None,
        }
    }

    /// What one limit says to it.
    fn verdict(self, account: &Account, w: &Working<'_>) -> Verdict {
        let value = match self {
            Counted::Max(value) | Counted::Latest(value, _) => value,
            Counted::Unique(_) => {
                return match self.rise(account, &w.ledger) {
                    0 => meter::level(w.limit, w.room, &w.ledger),
                    rises => meter::admission(w.limit, w.room, &w.ledger, rises, true),
                };
            }
        };
        // What is held stays as it was: a catalog may have taken another aggregation before.
        let alone = Ledger { used: 0, ..w.ledger };
        match meter::admission(w.limit, w.room, &alone, value, true) {
            Verdict::Denied(denial) => Verdict::Denied(denial),
            _ => {
                let is_latest = matches!(self, Counted::Latest(..));
                let used = if is_latest { value } else { w.ledger.used.max(value) };
                meter::level(w.limit, w.room, &Ledger { used, ..alone })
            }
        }
    }

    /// Lets it count in a window, and returns the part that no limit allowed; `None` when it changes nothing.
    pub(super) fn count(
        self,
        cx: Context<'_>,
        account: &Account,
        w: &mut Working<'_>,
        way: Way,
        effects: &mut Effects,
    ) -> Option<u64> {
        let Way { records, told, of_subject } = way;
        let (previous_units, previous_debt) = (w.ledger.used, w.ledger.debt);
        if let Counted::Latest(value, at) = self {
            if self.is_outdated(account, &w.ledger) {
                return None;
            }
            w.ledger.used = value;
            let held = w.ledger.held();
            let over = w.room.ceiling.map_or(0, |ceiling| held.saturating_sub(ceiling));
            w.ledger.debt = if records { over.min(value) } else { 0 };
            allocation::fall(w.limit, &mut w.ledger, previous_units);
            effects.push(measured(&w.ledger, MeasureChange::LatestAt(at)));
        } else {
            let rises = self.rise(account, &w.ledger);
            if rises == 0 {
                return None;
            }
            if records {
                w.ledger.debt += meter::debt_of(w.room.ceiling, &w.ledger, rises, rises);
            }
            w.ledger.used += rises;
            if let Counted::Unique(Some(hash)) = self {
                let start = w.ledger.window.start();
                let known = account.known(w.ledger.feature, w.ledger.limit, start);
                let change = match known {
                    Some(Known::Values(values)) if of_subject => values.in_subject(hash),
                    _ => MeasureChange::Value(hash),
                };
                effects.push(measured(&w.ledger, change));
            }
        }
        assert!(w.ledger.is_sound(), "unsound ledger {:?}", w.ledger);
        if told {
            meter::announce_use(cx, account, w, previous_units, effects);
        }
        Some(match self {
            Counted::Latest(..) => w.ledger.debt,
            Counted::Max(_) | Counted::Unique(_) => w.ledger.debt - previous_debt,
        })
    }

    /// Whether it would change a window.
    pub(super) fn changes(self, account: &Account, ledger: &Ledger) -> bool {
        match self {
            Counted::Latest(..) => !self.is_outdated(account, ledger),
            Counted::Max(_) | Counted::Unique(_) => self.rise(account, ledger) > 0,
        }
    }

    /// The aggregation that has to know more of a window than its counter. `None`: the counter is enough.
    pub(super) fn needs_measure(self) -> Option<Aggregation> {
        match self {
            Counted::Max(_) => None,
            Counted::Latest(..) => Some(Aggregation::Latest),
            Counted::Unique(_) => Some(Aggregation::Unique),
        }
    }

    /// Whether what is known of a window says what this needs of it.
    pub(super) fn understands(self, known: &Known) -> bool {
        match (self, known) {
            (Counted::Max(_), _) => true,
            (Counted::Latest(..), Known::LatestAt(_)) => true,
            (Counted::Unique(_), Known::Values(_)) => true,
            // Nothing was counted there.
            (Counted::Latest(..), known) => *known == Known::nothing(),
            (Counted::Unique(_), Known::LatestAt(_)) => false,
        }
    }

    /// Whether a window holds it beside others, as one more.
    pub(super) fn is_added(self) -> bool {
        matches!(self, Counted::Unique(_))
    }

    /// Whether a newer value counts already.
    fn is_outdated(self, account: &Account, ledger: &Ledger) -> bool {
        self.is_older(known(account, ledger))
    }

    fn is_older(self, known: Option<&Known>) -> bool {
        match (self, known) {
            (Counted::Latest(_, at), Some(Known::LatestAt(latest))) => at < *latest,
            _ => false,
        }
    }
}

/// What is known of the window of a ledger in memory.
fn known<'a>(account: &'a Account, ledger: &Ledger) -> Option<&'a Known> {
    account.known(ledger.feature, ledger.limit, ledger.window.start())
}

/// What is to be kept of a window that leaves the memory, so that values which come later can be counted there.
/// `listed` are effects that have not been carried out yet. `None`: the counter is enough, or nothing is known.
pub(super) fn kept(
    cx: Context<'_>,
    known: Option<&Known>,
    ledger: &Ledger,
    listed: &[Effect],
) -> Option<Effect> {
    let of = (ledger.feature, ledger.limit, ledger.window.start());
    let now = known.map(|known| ClosedMeasure::of(ledger, known.clone()).measure);
    let mut measures: Vec<Measure> = now.into_iter().collect();
    for effect in listed {
        match effect {
            Effect::Measured(m) if (m.feature, m.limit, m.window_start) == of => {
                measure::apply(&mut measures, m);
            }
            _ => {}
        }
    }
    let known = measures.pop().map(|measure| measure.known).or_else(|| {
        // A window can begin with a refusal: that nothing came to it is known, too.
        let feature = cx.catalog.feature(cx.catalog.feature_of(ledger.feature)?);
        let needs = matches!(feature.aggregation(), Aggregation::Latest | Aggregation::Unique);
        (needs && ledger.used == 0).then(Known::nothing)
    });
    Some(Effect::MeasureClosed(Box::new(ClosedMeasure::of(ledger, known?))))
}

fn measured(ledger: &Ledger, change: MeasureChange) -> Effect {
    let Ledger { feature, limit, window, .. } = *ledger;
    Effect::Measured(Box::new(Measured { feature, limit, window_start: window.start(), change }))
}
