//! Limits that subjects have for themselves: so many a day for each user, so many a month for each team.
//!
//! A request with a subject is charged to the account's limits and to those of every level of its path
//! that has any, all together or none. The rules are those of the account's limits, asked of the account
//! as the subject sees it ([`Account::seen_by`]); what changes there is listed as the subject's.
//!
//! A rate has one bucket more for such a subject ([`count_rate`]), which is asked like the account's own.
//!
//! A request without the level is not charged to its limits. Subjects raise no signals: that a user is
//! out of units for today says little of the account, and there may be ten thousand of them.

use std::sync::Arc;

use crate::account::Account;
use crate::catalog::{FeatureIx, FeatureKind, PlanLimit};
use crate::closing;
use crate::decide::credits::Paid;
use crate::decide::growth::Moved;
use crate::decide::measure::Taken;
use crate::decide::meter::{self, Ask, Working, WorkingSet};
use crate::decide::settle::{self, put_or_close};
use crate::decide::{
    Context, FeatureOp, Gate, bare_limits, concurrency, decide_feature, gate, hold, measure, rate,
    rate_ask, sliding, wait, wrong_operation,
};
use crate::decision::{Amounts, Decision, LimitState, OpError, Outcome};
use crate::effect::{Effect, Effects};
use crate::ledger::Ledger;
use crate::limits;
use crate::names::NameId;
use crate::owing;
use crate::rate::Rate;
use crate::reservation::{OnExpiry, Reservation, ReservationExtra, Reservations};
use crate::resolve::{Origin, Resolved, Whose, resolve, resolve_each, resolve_levels};
use crate::subject::{SubjectId, SubjectPath};
use crate::time::Millis;

/// New subjects come in by so many before those are looked for in which nothing counts any more: looking
/// at all of them for each new one would cost as much as there are.
const LOOK_EVERY: u32 = 64;

/// A level of a subject's path that has limits.
pub(super) struct Level {
    pub(super) id: SubjectId,
    pub(super) name: Arc<str>,
    /// Nothing counts in it yet.
    pub(super) is_new: bool,
    /// The account as the limits of this level see it.
    pub(super) seen: Account,
    pub(super) limits: Vec<PlanLimit>,
}

/// The levels of a path that have limits of a feature.
pub(super) fn of_path(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    path: SubjectPath<'_>,
) -> Vec<Level> {
    let shape = cx.catalog.feature(feature);
    if shape.levels.is_empty() {
        return Vec::new();
    }
    let last_id = account.subjects().map_or(0, |subjects| subjects.last_id());
    let mut levels: Vec<Level> = Vec::new();
    for (kind, name) in path.levels() {
        let of_kind = || shape.levels.iter().filter(|level| cx.catalog.text(level.per) == kind);
        if of_kind().next().is_none() {
            continue;
        }
        let mut limits = resolve_levels(cx.catalog, &account.profile, (feature, name), cx.now);
        limits.retain(|limit| of_kind().any(|level| level.limit == limit.limit));
        if limits.is_empty() {
            continue;
        }
        let known = account.subjects().and_then(|subjects| subjects.named(name));
        let new = levels.iter().filter(|level| level.is_new).count();
        let next = || SubjectId(last_id + 1 + u32::try_from(new).unwrap_or(u32::MAX));
        levels.push(Level {
            id: known.unwrap_or_else(next),
            name: name.into(),
            is_new: known.is_none(),
            seen: account.seen_by(known),
            limits,
        });
    }
    levels
}

/// The levels that a reservation was admitted into, with their limits as they are now.
pub(super) fn of_hold(cx: Context<'_>, account: &Account, held: &Reservation) -> Vec<Level> {
    let Some(extra) = &held.extra else { return Vec::new() };
    let mut levels: Vec<Level> = Vec::new();
    for (id, _, _) in &extra.levels {
        if levels.iter().any(|level| level.id == *id) {
            continue;
        }
        let known = account.subjects().and_then(|subjects| subjects.get(*id));
        let name = known.map_or_else(Arc::default, |subject| Arc::clone(&subject.name));
        let limits = cx.catalog.feature_of(held.feature).map_or_else(Vec::new, |feature| {
            resolve_levels(cx.catalog, &account.profile, (feature, &name), cx.now)
        });
        levels.push(Level {
            id: *id,
            name,
            is_new: false,
            seen: account.seen_by(Some(*id)),
            limits,
        });
    }
    levels
}

impl Level {
    pub(super) fn id(&self) -> SubjectId {
        self.id
    }

    /// Whose its limits are.
    pub(super) fn whose(&self) -> Whose<'_> {
        Whose { account: &self.seen, subject: Some(&self.name) }
    }

    /// Its limits as they stand, without a question to them.
    pub(super) fn working_now(&self, cx: Context<'_>, feature: NameId) -> WorkingSet<'_> {
        let working = |limit| meter::working_now(cx, &self.seen, feature, limit);
        self.limits.iter().map(working).collect()
    }

    /// The ledgers that a reservation was admitted into at this level.
    pub(super) fn held(&self, cx: Context<'_>, held: &Reservation) -> WorkingSet<'_> {
        let extra = held.extra.as_deref();
        let ledgers = extra.into_iter().flat_map(|extra| &extra.levels);
        let ledgers = ledgers.filter(|(id, _, _)| *id == self.id);
        let ledgers = ledgers.map(|(_, limit, start)| (*limit, *start));
        hold::working_of(cx, &self.limits, &self.seen, held.feature, ledgers)
    }

    /// Lists what has changed at this level.
    pub(super) fn list(&self, cx: Context<'_>, changes: Effects, effects: &mut Effects) {
        list(cx, (self.id, self.whose()), changes, effects);
    }

    /// Lets a reservation be settled in the window it has come to.
    pub(super) fn rename(&self, held: &mut Reservation, moved: &Moved) {
        let mut extra = held.extra();
        for (_, limit, start) in extra.levels.iter_mut().filter(|(id, ..)| *id == self.id) {
            moved.rename(*limit, start);
        }
        held.set_extra(extra);
    }
}

/// Lists what has changed at a subject, under the number that it is filed under.
pub(super) fn list(
    cx: Context<'_>,
    (id, whose): (SubjectId, Whose<'_>),
    changes: Effects,
    effects: &mut Effects,
) {
    for change in changes {
        let own = match change {
            // Nobody is told of a subject, and what it uses is billed to the account.
            Effect::Signal(_) | Effect::Announced(_) | Effect::Owing(_) => continue,
            Effect::LedgerClosed(ledger, _) => {
                let known = whose.account.owing(&ledger);
                let terms = closing::terms_at(cx, whose, known, &ledger).map(Box::new);
                Effect::LedgerClosed(ledger, terms)
            }
            other => other,
        };
        effects.push(Effect::OfSubject(id, Box::new(own)));
    }
}

/// The limits of the account and of its levels in one list, and how to tell whose they are.
pub(super) fn together<'a>(
    mut working: WorkingSet<'a>,
    levels: &'a [Level],
    sets: Vec<WorkingSet<'a>>,
) -> (WorkingSet<'a>, Vec<&'a Level>) {
    let mut owners = Vec::new();
    for (level, set) in levels.iter().zip(sets) {
        owners.extend(std::iter::repeat_n(level, set.len()));
        working.extend(set);
    }
    (working, owners)
}

/// Notes of the limits that refused so many units when they would fit, each as its owner has it then.
pub(super) fn note_waits(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    (working, owners): (&mut [Working<'_>], &[&Level]),
    units: u64,
) {
    let (own, of_levels) = working.split_at_mut(working.len() - owners.len());
    wait::note_refused(cx, account, (feature, None), own, units);
    for (w, level) in of_levels.iter_mut().zip(owners) {
        let of = (feature, Some(&*level.name));
        wait::note_refused(cx, &level.seen, of, std::slice::from_mut(w), units);
    }
}

/// Says in an answer whose limit decided.
pub(super) fn name(decision: &mut Decision, working: &[Working<'_>], owners: &[&Level]) {
    if owners.is_empty() {
        return;
    }
    let own = working.len() - owners.len();
    let owner = meter::binding_place(working).checked_sub(own).and_then(|place| owners.get(place));
    if let (Some(owner), Some(state)) = (owner, &mut decision.binding) {
        state.beyond.get_or_insert_default().subject = Some(Arc::clone(&owner.name));
    }
}

/// Decides a request about a feature that is made for a subject.
pub fn decide_feature_for(
    cx: Context<'_>,
    account: &Account,
    feature: Option<FeatureIx>,
    subject: SubjectPath<'_>,
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    if let Some((ix, level, each)) = feature.and_then(|ix| of_rate(cx, account, ix, subject))
        && let Gate::Rate(rate, origin) = gate(cx, account, ix)
    {
        let own = rate_ask(cx, ix, rate, origin);
        let decided = count_rate(cx, account, own, (level, each), op, effects)?;
        let units = if let FeatureOp::Consume { units } = op { units } else { 0 };
        return Ok(rate::watched(cx, ix, decided, units));
    }
    let levels = feature.map_or_else(Vec::new, |ix| of_path(cx, account, ix, subject));
    let (Some(feature), false) = (feature, levels.is_empty()) else {
        return decide_feature(cx, account, feature, op, effects);
    };
    let mut op = op;
    if cx.catalog.feature(feature).counting.is_some() {
        match measure::take(cx, account, (feature, &levels), op, effects)? {
            Taken::As(taken) => op = taken,
            Taken::Decided(outcome) => return Ok(*outcome),
        }
    }
    let (limits, origin) = match (op, gate(cx, account, feature)) {
        (FeatureOp::Record { .. }, _) if wrong_operation(cx, feature).is_some() => {
            return decide_feature(cx, account, Some(feature), op, effects);
        }
        (FeatureOp::Record { .. }, _) => match resolve(cx.catalog, account, feature, cx.now) {
            (Resolved::Limits(limits), origin) => (limits, origin),
            _ => {
                let bare = bare_limits(cx, feature).ok_or(OpError::WrongFeatureKind)?;
                (bare, Origin::None)
            }
        },
        (_, Gate::Limits(limits, origin)) => (limits, origin),
        _ => return decide_feature(cx, account, Some(feature), op, effects),
    };
    let ask = Ask { feature, limits: &limits, origin };
    match Paid::of(cx, account, feature) {
        Some(paid) => paid.decide(cx, account, (ask, &levels), op, effects),
        None => count(cx, account, ask, &levels, op, effects),
    }
}

/// Decides about the limits of the account and of some levels, and counts in all of them or in none.
pub(super) fn count(
    cx: Context<'_>,
    account: &Account,
    ask: Ask<'_>,
    levels: &[Level],
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let (units, hold) = match op {
        FeatureOp::Check { units, .. }
        | FeatureOp::Consume { units }
        | FeatureOp::Record { units } => (units, None),
        FeatureOp::Reserve { units, hold_ms } => (units, Some((units, hold_ms, OnExpiry::Release))),
        FeatureOp::ReserveCharging { units, hold_ms } => {
            (units, Some((units, hold_ms, OnExpiry::Charge)))
        }
        // Only quotas have limits of subjects.
        FeatureOp::Allocate { .. } | FeatureOp::Value { .. } => {
            return Err(OpError::WrongFeatureKind);
        }
    };
    let is_wrong = hold.is_none() && !matches!(op, FeatureOp::Check { .. })
        || matches!(op, FeatureOp::ReserveCharging { .. });
    if is_wrong && ask.is_of_slots() {
        return Err(OpError::SlotsAreHeld);
    }
    let uses = hold.is_none();
    let own = meter::weigh(cx, account, ask, units, uses);
    let own_len = own.len();
    let sets = levels.iter().map(|level| weigh(cx, ask, level, units, uses)).collect();
    let (mut working, owners) = together(own, levels, sets);
    let answer = |working: &[Working<'_>]| {
        let mut decision = meter::answer(cx, account, ask, working);
        name(&mut decision, working, &owners);
        Outcome { decision, amounts: Amounts::default() }
    };
    let mut shadow = None;
    if !matches!(op, FeatureOp::Record { .. }) {
        shadow = meter::allow_in_shadow(cx, ask, &mut working, units, uses);
        if meter::is_refused(&working) {
            note_waits(cx, account, ask.feature, (&mut working, &owners), units);
            if !matches!(op, FeatureOp::Check { attempt: false, .. }) {
                meter::announce_refusal(cx, account, &working[..own_len], units, effects);
            }
            let whose = |place: usize| Some(owners.get(place.checked_sub(own_len)?)?.id);
            let all = working.iter().enumerate().map(|(place, w)| (whose(place), w));
            let wait_ms = concurrency::wait_ms(cx, account, units, all);
            let Outcome { decision, amounts } = answer(&working);
            return Ok(Outcome { decision: concurrency::waiting(decision, wait_ms), amounts });
        }
    }
    if let FeatureOp::Check { .. } = op {
        let mut outcome = answer(&working);
        outcome.decision.shadow = shadow;
        return Ok(outcome);
    }
    if working.iter().any(|w| w.ledger.held() + units > limits::UNITS_MAX) {
        return Err(OpError::CounterFull);
    }
    let fresh = working[own_len..].iter().filter(|w| w.fresh).count();
    let freed = room_for(cx, account, &levels.iter().collect::<Vec<_>>(), fresh)?;
    let feature = cx.catalog.feature(ask.feature).id;
    let made = match hold {
        Some((units, hold_ms, _)) => {
            let open = account.reservations().map_or(0, Reservations::open_count);
            if open >= limits::OPEN_RESERVATIONS_OF_SUBJECTS_MAX {
                return Err(OpError::TooManyReservations { open });
            }
            Some(hold::made(cx, account, feature, units, hold_ms)?)
        }
        None => None,
    };

    // Every check is above this line, every change below it.
    let_in(cx, account, levels, freed, effects);
    let mut debt_units = 0;
    for (place, w) in working.iter_mut().enumerate() {
        let level = place.checked_sub(own_len).and_then(|place| owners.get(place));
        let seen = level.map_or(account, |level| &level.seen);
        let mut changes = Effects::new();
        if hold.is_some() {
            w.ledger.reserved += units;
            w.ledger.holds += 1;
            if level.is_none() && ask.origin != Origin::None {
                concurrency::announce(cx, account, w, units, &mut changes);
            }
        } else {
            if let FeatureOp::Record { .. } = op {
                let debt = meter::debt_of(w.room.ceiling, &w.ledger, units, units);
                w.ledger.debt += debt;
                debt_units = debt_units.max(debt);
            }
            meter::use_units(cx, seen, w, (units, ask.origin), &mut changes);
            if let FeatureOp::Record { .. } = op {
                w.verdict = meter::level(w.limit, w.room, &w.ledger);
            }
        }
        meter::put_ledger(cx, seen, w.own(), w.fresh, &mut changes);
        owing::note(cx, seen, &w.own(), &mut changes);
        w.fresh = false;
        match level {
            None => effects.append(&mut changes),
            Some(level) => level.list(cx, changes, effects),
        }
    }
    if hold.is_none() {
        // What a subject used is usage of the account, which is told apart by time.
        meter::note_tally(cx, account, ask.feature, &working[..own_len], units, effects);
    }
    let mut outcome = answer(&working);
    outcome.decision.shadow = shadow;
    outcome.amounts = Amounts { units, debt_units, ..Amounts::default() };
    if let (Some((.., on_expiry)), Some(made)) = (hold, made) {
        let start = |w: &Working<'_>| (w.ledger.limit, w.own().window.start());
        let levels = working[own_len..].iter().zip(&owners).map(|(w, level)| {
            let (limit, start) = start(w);
            (level.id, limit, start)
        });
        let levels = levels.collect();
        let ledgers = working[..own_len].iter().map(start).collect();
        let mut made = Reservation { ledgers, ..made };
        made.set_extra(ReservationExtra { on_expiry, levels, ..ReservationExtra::default() });
        outcome.amounts.reservation = Some(made.id);
        outcome.amounts.expires_at = Some(made.expires_at);
        effects.push(Effect::Reservation(made));
    }
    Ok(outcome)
}

/// The level of a path that has a bucket of a rate, and how fast it is. `None`: the account's own is all.
fn of_rate(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    path: SubjectPath<'_>,
) -> Option<(FeatureIx, Level, (NameId, Rate))> {
    let FeatureKind::Rate { each: Some((per, limit)), .. } = cx.catalog.feature(feature).kind
    else {
        return None;
    };
    let (_, name) = path.levels().find(|(kind, _)| cx.catalog.text(per) == *kind)?;
    let rate = resolve_each(cx.catalog, &account.profile, feature, cx.now)?;
    let subjects = account.subjects();
    let known = subjects.and_then(|subjects| subjects.named(name));
    let next = SubjectId(subjects.map_or(0, |subjects| subjects.last_id()) + 1);
    let level = Level {
        id: known.unwrap_or(next),
        name: name.into(),
        is_new: known.is_none(),
        seen: account.seen_by(known),
        limits: Vec::new(),
    };
    Some((feature, level, (limit, rate)))
}

/// Decides about the account's bucket and a subject's, and takes from both or from none.
fn count_rate(
    cx: Context<'_>,
    account: &Account,
    own: rate::Ask,
    (level, (limit, each)): (Level, (NameId, Rate)),
    op: FeatureOp,
    effects: &mut Effects,
) -> Result<Outcome, OpError> {
    let (units, attempt) = match op {
        FeatureOp::Check { units, attempt } => (units, attempt),
        FeatureOp::Consume { units } => (units, true),
        FeatureOp::Reserve { .. }
        | FeatureOp::ReserveCharging { .. }
        | FeatureOp::Record { .. }
        | FeatureOp::Value { .. }
        | FeatureOp::Allocate { .. } => return Err(OpError::RateIsConsumed),
    };
    let theirs = rate::Ask { limit, rate: Some(each), ..own };
    let named = |mut outcome: Outcome| {
        if let Some(state) = &mut outcome.decision.binding {
            state.beyond.get_or_insert_default().subject = Some(Arc::clone(&level.name));
        }
        outcome
    };
    // Subjects are told of nothing, so theirs is asked as if a screen were drawn.
    let there = rate::check(cx, &level.seen, theirs, units, false, &mut Effects::new());
    let here = rate::check(cx, account, own, units, attempt, effects);
    let is_refused = |outcome: &Outcome| !outcome.decision.verdict.is_allowed();
    if is_refused(&here) || is_refused(&there) {
        // Who waits for the later of the two finds room in both. `None` is never.
        let waits = |outcome: &Outcome| match outcome.decision.verdict.is_allowed() {
            true => 0,
            false => outcome.decision.retry_after_ms.unwrap_or(i64::MAX),
        };
        return Ok(if waits(&here) < waits(&there) { named(there) } else { here });
    }
    let (here, there) = match op {
        FeatureOp::Consume { .. } => {
            let fresh = usize::from(level.seen.bucket(own.feature, limit).is_none());
            let freed = room_for(cx, account, &[&level], fresh)?;

            // Every check is above this line, every change below it.
            let_in(cx, account, std::slice::from_ref(&level), freed, effects);
            let mut changes = Effects::new();
            let there = rate::consume(cx, &level.seen, theirs, units, &mut changes);
            let here = rate::consume(cx, account, own, units, effects);
            level.list(cx, changes, effects);
            (here, there)
        }
        _ => (here, there),
    };
    let left = |outcome: &Outcome| {
        let binding = outcome.decision.binding.as_ref();
        binding.and_then(|state| Some(state.included_units? - state.ledger.used))
    };
    // What is unlimited never binds.
    let theirs_binds = left(&here).is_none_or(|own| left(&there).is_some_and(|left| left < own));
    Ok(if theirs_binds { named(there) } else { here })
}

fn weigh<'a>(
    cx: Context<'_>,
    ask: Ask<'_>,
    level: &'a Level,
    units: u64,
    uses: bool,
) -> WorkingSet<'a> {
    let ask = Ask { limits: &level.limits, ..ask };
    meter::weigh(cx, &level.seen, ask, units, uses)
}

/// The state of every limit that the levels of a path have of a feature, with whose it is.
pub fn level_states(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    subject: SubjectPath<'_>,
) -> Vec<LimitState> {
    let id = cx.catalog.feature(feature).id;
    let mut states = Vec::new();
    if let Some((_, level, (limit, rate))) = of_rate(cx, account, feature, subject) {
        let ask = rate::Ask { feature: id, limit, rate: Some(rate), origin: Origin::None };
        let mut state = rate::limit_state(cx, &level.seen, ask);
        state.beyond.get_or_insert_default().subject = Some(Arc::clone(&level.name));
        states.push(state);
    }
    for level in of_path(cx, account, feature, subject) {
        for w in level.working_now(cx, id) {
            let mut state = w.state();
            measure::note_sort(cx.catalog.feature(feature), &mut state);
            state.beyond.get_or_insert_default().subject = Some(Arc::clone(&level.name));
            states.push(state);
        }
    }
    states
}

/// When a request for a subject is decided: not before a window began that it is charged to.
pub fn not_before(account: &Account, subject: SubjectPath<'_>, now: Millis) -> Millis {
    let Some(subjects) = account.subjects() else { return account.not_before(now) };
    let known = subject.levels().filter_map(|(_, name)| subjects.get(subjects.named(name)?));
    let latest = known.fold(now, |latest, subject| {
        let starts = subject.state.ledgers().iter().map(|ledger| ledger.window.start());
        let used = subject.state.buckets().iter().map(|bucket| bucket.used_at);
        starts.chain(used).fold(latest, Millis::max)
    });
    account.not_before(latest)
}

/// Lists what time has brought to the levels of holds that ended without a charge.
pub(super) fn ended(cx: Context<'_>, account: &Account, effects: &mut Effects) {
    let Some(reservations) = account.reservations() else { return };
    let mut changed: Vec<(SubjectId, Ledger)> = Vec::new();
    for held in reservations.due(cx.now).filter(|held| !held.charges()) {
        let Some(extra) = &held.extra else { continue };
        let fate = settle::fate(held, cx.now);
        for (id, limit, start) in &extra.levels {
            let place = changed
                .iter()
                .position(|(of, ledger)| of == id && ledger.is(held.feature, *limit, *start));
            let place = place.or_else(|| {
                let subject = account.subjects()?.get(*id)?;
                let mut ledgers = subject.state.ledgers().iter();
                let known = ledgers.find(|ledger| ledger.is(held.feature, *limit, *start))?;
                changed.push((*id, *known));
                Some(changed.len() - 1)
            });
            if let Some(place) = place {
                fate.change(held, &mut changed[place].1);
            }
        }
    }
    for (id, ledger) in changed {
        assert!(ledger.is_sound(), "unsound ledger {ledger:?}");
        let seen = account.seen_by(Some(id));
        let mut changes = Effects::new();
        put_or_close(cx, &seen, ledger, &mut changes);
        let name = account.subjects().and_then(|subjects| Some(&*subjects.get(id)?.name));
        let whose = Whose { account: &seen, subject: Some(name.unwrap_or_default()) };
        list(cx, (id, whose), changes, effects);
    }
}

/// The subjects to take out of the memory so that those of `levels` have room, and so many new ledgers.
pub(super) fn room_for(
    cx: Context<'_>,
    account: &Account,
    levels: &[&Level],
    fresh: usize,
) -> Result<Vec<SubjectId>, OpError> {
    let Some(subjects) = account.subjects().filter(|_| fresh > 0) else { return Ok(Vec::new()) };
    let new = levels.iter().filter(|level| level.is_new).count();
    let is_full = |(freed, freed_counters): (usize, usize)| {
        subjects.len() - freed + new > limits::SUBJECTS_MAX
            || subjects.counters() - freed_counters + fresh > limits::SUBJECT_LEDGERS_MAX
    };
    let mut freed = Vec::new();
    let mut freed_counters = 0;
    if is_full((0, 0)) || new > 0 && subjects.last_id().is_multiple_of(LOOK_EVERY) {
        for (id, subject) in subjects.iter() {
            let state = &subject.state;
            let is_used = levels.iter().any(|level| level.id == id);
            let is_over = state.ledgers().iter().all(|l| has_passed(cx, l) || is_idle(cx, l))
                && state.buckets().iter().all(|bucket| bucket.is_full(cx.now));
            if is_used || !is_over {
                continue;
            }
            let is_much = freed_counters + state.counters() > limits::SUBJECT_LEDGERS_FREED_MAX;
            if freed.len() == limits::SUBJECTS_FREED_MAX || is_much {
                break;
            }
            freed.push(id);
            freed_counters += state.counters();
        }
    }
    if is_full((freed.len(), freed_counters)) || subjects.last_id() >= u32::MAX - 8 {
        let (subjects, windows) = (subjects.len(), subjects.counters());
        return Err(OpError::TooManySubjects { subjects, windows });
    }
    Ok(freed)
}

/// Lists the subjects that leave the memory, and those of `levels` that come into it.
pub(super) fn let_in(
    cx: Context<'_>,
    account: &Account,
    levels: &[Level],
    freed: Vec<SubjectId>,
    effects: &mut Effects,
) {
    freed.into_iter().for_each(|id| free(cx, account, id, effects));
    for level in levels.iter().filter(|level| level.is_new) {
        effects.push(Effect::Subject(level.id, Arc::clone(&level.name)));
    }
}

/// Whether nothing can be counted in a window any more, nor counts what was.
fn has_passed(cx: Context<'_>, ledger: &Ledger) -> bool {
    let counts_on_ms = sliding::counts_on_ms(cx.catalog, ledger.feature, ledger.limit);
    ledger.is_over(cx.now) && ledger.window.end().plus(counts_on_ms) <= cx.now
}

/// Whether a ledger is of slots of which none is held: it says nothing.
fn is_idle(cx: Context<'_>, ledger: &Ledger) -> bool {
    cx.catalog.is_of_slots(ledger.limit) && ledger.holds == 0 && ledger.held() == 0
}

/// Lists a subject as gone: its windows go to the usage history. Slots have none.
pub(super) fn free(cx: Context<'_>, account: &Account, id: SubjectId, effects: &mut Effects) {
    let subject = account.subjects().and_then(|subjects| subjects.get(id));
    let mut changes = Effects::new();
    for state in subject.iter().map(|subject| &subject.state) {
        for ledger in state.ledgers().iter().filter(|ledger| !is_idle(cx, ledger)) {
            let known = state.known(ledger.feature, ledger.limit, ledger.window.start());
            changes.extend(measure::kept(cx, known, ledger, &[]));
            changes.push(Effect::LedgerClosed(*ledger, None));
        }
    }
    let seen = account.seen_by(Some(id));
    let name = subject.map_or("", |subject| &*subject.name);
    list(cx, (id, Whose { account: &seen, subject: Some(name) }), changes, effects);
    effects.push(Effect::SubjectForgotten(id));
}
