//! Records: what is written is read back, and bytes that are not a record are never a panic.

use headroom_core::account::{
    AddOn, Override, OverrideValue, Profile, ProfileExtra, ScheduledPlan, Trial, Zone,
};
use headroom_core::announced::Announced;
use headroom_core::catalog::RateSpec;
use headroom_core::closing::{Ceiling, Price, WindowTerms};
use headroom_core::credits::{
    Charge, CreditHold, CreditPrice, CreditsEffect, Deduction, Grant, GrantEnd, GrantEnding,
    GrantSource, PoolHead, Rounding, Segment,
};
use headroom_core::decision::{Amounts, Denial, Verdict};
use headroom_core::effect::Effect;
use headroom_core::ending::Ending;
use headroom_core::event::{
    Booking, Counts, Delta, Event, EventChange, EventState, EventSubject, PaidPart, Payment,
    Restated,
};
use headroom_core::ledger::{Ledger, Marks};
use headroom_core::measure::{ClosedMeasure, Known, MeasureChange, Measured, Sketch, Values};
use headroom_core::names::NameId;
use headroom_core::owing::Owing;
use headroom_core::policy::Excess;
use headroom_core::prompt::{Exposure, Outcomes, Ticket};
use headroom_core::rate::{Bucket, Rate};
use headroom_core::reservation::{
    OnExpiry, Reservation, ReservationExtra, ReservationId, ReservationState,
};
use headroom_core::seats::{Seat, SeatState};
use headroom_core::signal::{Foretold, Signal, SignalName, SignalState, TrialEnds};
use headroom_core::stock::{BilledBy, Stock, StockRule};
use headroom_core::subject::SubjectId;
use headroom_core::tally::{Cell, Label, Labels, Tallied, Tally};
use headroom_core::time::{Millis, Window};
use headroom_engine::codec::{Put, Take};
use headroom_engine::keys::{Done, KeyHash, Receipt};
use headroom_engine::record::{self, Record};
use headroom_sim::rng::Rng;

use crate::house::{House, recovery, spec};

const NUMBERS: [u64; 9] = [0, 1, 127, 128, 16_384, (1 << 53) - 1, 1 << 63, u64::MAX - 1, u64::MAX];
const INSTANTS: [i64; 7] = [i64::MIN, -1, 0, 1, 1_773_144_000_000, i64::MAX - 1, i64::MAX];

fn ledger(units: u64) -> Ledger {
    Ledger {
        feature: NameId(3),
        limit: NameId(u32::MAX),
        window: Window::new(Millis(-5), Millis::FOREVER).unwrap(),
        used: units,
        reserved: units / 2,
        debt: units / 3,
        holds: 7,
        limit_mark: 0xdead_beef,
        limit_revision: u16::MAX,
        marks: Marks(0x8001),
    }
}

fn signal(name: SignalName, state: SignalState) -> Effect {
    let signal = Signal {
        name,
        feature: NameId(1),
        limit: NameId(2),
        window: Window::new(Millis(0), Millis(1)).unwrap(),
        limit_revision: 2,
        crossed_bp: [1, 5_000, 9_999, 10_000, 7, 8].into_iter().collect(),
        previous_units: 1,
        current_units: u64::MAX,
        included_units: 0,
        refused_units: 300,
        previous_state: SignalState::Ok,
        state,
        grace_until: None,
        foretold: None,
        trial: None,
        earned_by: None,
        at: Millis(i64::MIN),
    };
    Effect::Signal(signal.into())
}

fn grace(name: SignalName, grace_until: Option<Millis>) -> Effect {
    let Effect::Signal(signal) = signal(name, SignalState::Alarm) else { unreachable!() };
    Effect::Signal(Box::new(Signal { grace_until, ..*signal }))
}

fn excess(graces: i64) -> Effect {
    Effect::Excess(Box::new(Excess {
        feature: NameId(u32::MAX),
        limit: NameId(0),
        window_start: Millis(-7),
        limit_revision: u16::MAX,
        started_at: Millis(1),
        ends_at: Millis::FOREVER,
        notice_at: Millis(i64::MIN),
        graces: (0..graces).map(|place| (Millis(place), Millis(-place))).collect(),
    }))
}

fn reservation(state: ReservationState) -> Effect {
    Effect::Reservation(Reservation {
        id: ReservationId(u64::MAX),
        feature: NameId(9),
        units: 1 << 40,
        expires_at: Millis(-1),
        next_event_at: Millis::FOREVER,
        state,
        ledgers: [(NameId(1), Millis(0)), (NameId(2), Millis(-9)), (NameId(3), Millis(9))]
            .into_iter()
            .collect(),
        extra: None,
    })
}

fn charging(state: ReservationState, charged_units: u64) -> Effect {
    let Effect::Reservation(mut held) = reservation(state) else { unreachable!() };
    let on_expiry = OnExpiry::Charge;
    let extra =
        ReservationExtra { on_expiry, booked_units: 7, charged_units, ..Default::default() };
    held.set_extra(extra);
    Effect::Reservation(held)
}

fn subject_limit(included_units: Option<u64>) -> OverrideValue {
    let limit = NameId(1);
    OverrideValue::SubjectLimit { subject: "team:größe/user:u42".into(), limit, included_units }
}

fn of_levels(units: u64) -> Effect {
    let Effect::Reservation(mut held) = charging(ReservationState::Open, units) else {
        unreachable!()
    };
    let levels = vec![(SubjectId(u32::MAX), NameId(3), Millis(-1))];
    held.set_extra(ReservationExtra { levels, ..held.extra() });
    Effect::Reservation(held)
}

fn holding(units: u64) -> Effect {
    let Effect::Reservation(mut held) = reservation(ReservationState::Open) else { unreachable!() };
    let credits = Some(CreditHold { pool: NameId(3), units, charged_units: units });
    held.set_extra(ReservationExtra { credits, ..ReservationExtra::default() });
    Effect::Reservation(held)
}

fn pools() -> Vec<Effect> {
    let most = (1 << 53) - 1;
    let segment = Segment {
        from: Millis(i64::MIN),
        to: Millis::FOREVER,
        opening: -(1 << 53),
        granted_units: 1,
        rolled_over_units: 2,
        burnt_units: most,
        expired_units: 4,
        voided_units: 5,
        paid_back_units: 6,
        forgiven_units: 7,
        returned_units: 8,
    };
    let head = |window: Option<Window>| PoolHead {
        feature: NameId(u32::MAX),
        window,
        used_units: most,
        held_units: 1,
        debt_units: 0,
        marks: Marks(u16::MAX),
        revision: u16::MAX,
        soft_mark: u32::MAX,
        plan_changes_at: Millis::FOREVER,
        segment,
    };
    let grant = |source, end| Grant {
        id: "ä grant".into(),
        source,
        units: most,
        burnt_units: 3,
        priority: u8::MAX,
        starts_at: Millis(-1),
        expires_at: Millis::FOREVER,
        granted_at: Millis(0),
        has_begun: source != GrantSource::Given,
        end,
    };
    let end = |how| GrantEnd { at: Millis(7), how, lost_units: most, reason: "why".into() };
    let pool = NameId(3);
    let mut changes = vec![
        CreditsEffect::Pool(head(None)),
        CreditsEffect::Pool(PoolHead { plan_changes_at: Millis(-3), ..head(None) }),
        CreditsEffect::Pool(head(Window::new(Millis(-9), Millis(9)))),
        CreditsEffect::Segment(pool, segment),
    ];
    for source in [GrantSource::Given, GrantSource::Included, GrantSource::RolledOver] {
        changes.push(CreditsEffect::Grant(pool, grant(source, None)));
    }
    for how in [GrantEnding::UsedUp, GrantEnding::Expired, GrantEnding::Void] {
        let ended = grant(GrantSource::Given, Some(Box::new(end(how))));
        changes.push(CreditsEffect::GrantEnded(pool, ended));
    }
    changes.into_iter().map(|change| Effect::Credits(Box::new(change))).collect()
}

fn bucket(announced_at: Option<Millis>, units: u64) -> Effect {
    Effect::Bucket(Bucket {
        feature: NameId(1),
        limit: NameId(2),
        used_at: Millis(-1),
        missing_units: units,
        missing_parts: units - 1,
        units,
        period_ms: units,
        announced_at,
    })
}

fn stock(billed_by: BilledBy, units: u64, unit_ms: u128) -> Stock {
    Stock {
        feature: NameId(u32::MAX),
        limit: NameId(7),
        window: Window::new(Millis(-9), Millis(9)).unwrap(),
        rule: StockRule { billed_by, months: u16::MAX },
        level_units: units,
        peak_units: units,
        unit_ms,
        counted_to: Millis(i64::MIN),
    }
}

fn terms(units: u64) -> WindowTerms {
    let cap_minor = (!units.is_multiple_of(3)).then_some(units);
    let price = Price { unit_price_nanos: units.max(1), cap_minor, currency: *b"USD" };
    WindowTerms {
        included_units: (!units.is_multiple_of(4)).then_some(units),
        bills: units.is_multiple_of(2),
        price: (!units.is_multiple_of(5)).then_some(price),
        plan: NameId(7),
        carried_units: units / 2,
        ceiling: match units % 3 {
            0 => Ceiling::Unknown,
            1 => Ceiling::Unbounded,
            _ => Ceiling::Units(units * 2),
        },
    }
}

fn restated(used: u64) -> Effect {
    let Effect::Ledger(closed) = Effect::Ledger(ledger(5)) else { unreachable!() };
    let passed = [None, Some(Delta::More(used)), Some(Delta::Less(used))];
    let passed = passed[usize::try_from(used % 3).unwrap()];
    let terms = used.is_multiple_of(2).then(|| terms(used));
    Effect::Restated(Box::new(Restated { closed, used, debt: used / 2, terms, passed }))
}

fn event(change: EventChange, reason: &str) -> Effect {
    let booking = |limit, restated| Booking {
        limit: NameId(limit),
        window_start: Millis(-i64::from(limit)),
        window_end: (limit != 0).then_some(Millis(i64::from(limit))),
        restated,
        counts: (limit != 3).then_some(Counts { before: u64::from(limit), after: u64::MAX }),
    };
    Effect::Event(Box::new(Event {
        key: [u64::MAX, 7],
        payload: u64::MAX,
        change,
        units_before: 1 << 52,
        debt_units: 3,
        reason: reason.to_owned(),
        charge: None,
        state: EventState {
            labels: Default::default(),
            paid: None,
            subject: None,
            key: [0, 1],
            name: "Größe".to_owned(),
            feature: NameId(9),
            occurred_at: Millis(-1),
            units: 0,
            bookings: [booking(1, false), booking(u32::from(u16::MAX), true), booking(3, true)]
                .into_iter()
                .collect(),
        },
    }))
}

/// An event that credits paid for: with and without a charge of its own, and what it was paid by.
fn paid_events() -> Vec<Effect> {
    let part = |grant: Option<&str>, units, at| PaidPart {
        grant: grant.map(Into::into),
        units,
        at: Millis(at),
    };
    let price = |credits, rounding| CreditPrice { credits, per: 1 << 53 >> 1, rounding };
    let payments = [
        None,
        Some(Payment { pool: NameId(0), price: price(0, Rounding::Up), parts: vec![] }),
        Some(Payment {
            pool: NameId(u32::MAX),
            price: price(9, Rounding::Nearest),
            parts: vec![
                part(Some(&"g".repeat(128)), 1, i64::MIN),
                part(None, 1 << 52, i64::MAX),
                part(Some("included@2026-01-01T00:00:00Z"), 7, 0),
            ],
        }),
    ];
    let charge = Charge {
        pool: NameId(3),
        units: 9,
        deductions: vec![Deduction { grant: "g".into(), units: 5 }],
        debt_units: 4,
        returned_units: 2,
    };
    let charges = [Some(charge), None];
    let all = payments.iter().flat_map(|paid| charges.iter().map(move |charge| (paid, charge)));
    let of = |(paid, charge): (&Option<Payment>, &Option<Charge>)| {
        let Effect::Event(mut event) = event(EventChange::Amended, "why") else { unreachable!() };
        event.state.paid = paid.clone().map(Box::new);
        event.charge = charge.clone().map(Box::new);
        Effect::Event(event)
    };
    all.map(of).collect()
}

/// The same for somebody, at some levels or at none.
fn events_for_subjects() -> Vec<Effect> {
    let booking = |limit| Booking {
        limit: NameId(limit),
        window_start: Millis(-7),
        window_end: Some(Millis(i64::from(limit))).filter(|_| limit > 0),
        restated: true,
        counts: Some(Counts { before: 1 << 53, after: u64::from(limit) }),
    };
    let levels = [vec![], vec![(SubjectId(1), booking(9)), (SubjectId(u32::MAX), booking(0))]];
    let plain = [event(EventChange::Recorded, "")];
    let all = plain.into_iter().chain(paid_events());
    all.flat_map(|effect| {
        let Effect::Event(event) = effect else { unreachable!() };
        levels.clone().map(|bookings| {
            let mut event = event.clone();
            event.state.subject = Some(Box::new(EventSubject { path_hash: u64::MAX, bookings }));
            Effect::Event(event)
        })
    })
    .collect()
}

fn tallies() -> Vec<Effect> {
    let feature = NameId(u32::MAX);
    let span = Window::new(Millis(i64::MIN), Millis(9)).unwrap();
    let text = |text: &str| Label::Text(text.into());
    let all: [Labels; 3] = [
        Labels::default(),
        [(NameId(0), text("")), (NameId(7), Label::Other)].into(),
        [1, 2, 3, u32::MAX].map(|name| (NameId(name), text(&"ä".repeat(32)))).into(),
    ];
    let units = [0, i64::MIN, i64::MAX];
    let cells: Vec<Cell> =
        all.iter().zip(units).map(|(l, units)| Cell { labels: l.clone(), units }).collect();
    let mut effects: Vec<Effect> = cells
        .iter()
        .map(|cell| Effect::Tally(Box::new(Tallied { feature, span, cell: cell.clone() })))
        .collect();
    effects.push(Effect::TallyClosed(Box::new(Tally { feature, span, cells: cells.clone() })));
    effects.push(Effect::TallyLate(Box::new(Tally { feature, span, cells: vec![] })));
    let Effect::Event(mut event) = event(EventChange::Recorded, "") else { unreachable!() };
    event.state.labels = all[2].clone();
    effects.push(Effect::Event(event));
    effects
}

fn measured(change: MeasureChange) -> Effect {
    let (feature, limit) = (NameId(0), NameId(u32::MAX));
    Effect::Measured(Box::new(Measured { feature, limit, window_start: Millis(-1), change }))
}

fn measures() -> Vec<Effect> {
    let mut exact = Values::one(u64::MAX);
    exact.add(7);
    let changes = [
        MeasureChange::LatestAt(Millis(i64::MIN)),
        MeasureChange::Value(0),
        MeasureChange::Value(u64::MAX),
        MeasureChange::Values(Values::Exact(vec![])),
        MeasureChange::Values(exact),
    ];
    let mut effects: Vec<Effect> = changes.map(measured).into();
    let known = [Known::LatestAt(Millis(-1)), Known::nothing(), Known::Values(Values::one(7))];
    for known in known {
        let effect = Effect::MeasureClosed(Box::new(ClosedMeasure::of(&ledger(1), known)));
        effects.push(Effect::OfSubject(SubjectId(u32::MAX), Box::new(effect.clone())));
        effects.push(effect);
    }
    effects
}

fn every_effect() -> Vec<Effect> {
    let mut effects = vec![
        Effect::LedgerClosed(ledger(5), None),
        restated(0),
        restated(u64::MAX >> 11),
        event(EventChange::Recorded, ""),
        event(EventChange::Amended, "because"),
        event(EventChange::Withdrawn, "x"),
        Effect::ReservationForgotten(ReservationId(u64::MAX)),
        reservation(ReservationState::Open),
        reservation(ReservationState::Expired),
        reservation(ReservationState::Committed { units: u64::MAX }),
        reservation(ReservationState::Released),
        Effect::Subject(SubjectId(7), "team:größe/user:u42".into()),
        Effect::OfSubject(SubjectId(u32::MAX), Box::new(bucket(None, 3))),
        Effect::SubjectForgotten(SubjectId(0)),
        Effect::SubjectErased(SubjectId(1), "user:a".into()),
        charging(ReservationState::Open, 0),
        of_levels(3),
        charging(ReservationState::Expired, 1 << 40),
        signal(SignalName::UsageCeiling, SignalState::Warning),
        signal(SignalName::FeatureLimitHit, SignalState::Alarm),
        signal(SignalName::UsageCeiling, SignalState::Ok),
        signal(SignalName::OverageStarted, SignalState::Alarm),
        grace(SignalName::GraceStarted, None),
        grace(SignalName::GraceEnding, Some(Millis(-3))),
        excess(0),
        excess(12),
        signal(SignalName::ApiTierExceeded, SignalState::Alarm),
        Effect::BucketForgotten(NameId(0), NameId(u32::MAX)),
        bucket(None, 1),
        bucket(Some(Millis(i64::MIN)), u64::MAX),
    ];
    for billed_by in BilledBy::ALL {
        effects.push(Effect::Stock(Box::new(stock(billed_by, 0, 0))));
        effects.push(Effect::StockClosed(Box::new(stock(billed_by, u64::MAX, u128::MAX)), None));
        let (one, by) = (stock(billed_by, 1, 2), terms(u64::MAX));
        effects.push(Effect::StockClosed(Box::new(one), Some(Box::new(by))));
        effects.push(Effect::Stock(Box::new(stock(billed_by, 1, 1 << 64))));
    }
    effects.extend(pools());
    effects.extend([0, (1 << 53) - 1].map(holding));
    for state in [SeatState::Claimed, SeatState::Invited { expires_at: Millis(i64::MIN) }] {
        let (feature, member, since) = (NameId(u32::MAX), "ä".repeat(64).into(), Millis(-1));
        effects.push(Effect::Seat(Box::new(Seat { feature, member, state, since })));
    }
    effects.push(Effect::SeatFreed(NameId(0), "".into()));
    effects.extend([0, 1, 16, 48, 63].map(exposure));
    effects.extend(tallies());
    effects.extend(paid_events());
    effects.extend(events_for_subjects());
    effects.extend(measures());
    effects.push(signal(SignalName::SeatThreshold90pct, SignalState::Warning));
    effects.push(signal(SignalName::SeatsNearlyFull, SignalState::Warning));
    for to in [None, Some(Millis(-1))] {
        let Effect::Signal(mut signal) =
            signal(SignalName::ProjectedExhaustion, SignalState::Warning)
        else {
            unreachable!()
        };
        let (at, from) = (Millis(i64::MAX - 1), Millis(i64::MIN));
        signal.foretold = Some(Foretold { days: 366, probability_bp: 10_000, at, from, to });
        effects.push(Effect::Signal(signal));
    }
    for name in [
        SignalName::PremiumFeatureAttempted,
        SignalName::TeamInviteSent,
        SignalName::OverageCapNear,
        SignalName::CreditsLow,
        SignalName::CreditsDepleted,
    ] {
        effects.push(signal(name, SignalState::Ok));
    }
    let Effect::Signal(mut earned) = signal(SignalName::UnlockEarned, SignalState::Ok) else {
        unreachable!()
    };
    earned.earned_by = Some(NameId(u32::MAX));
    effects.push(Effect::Signal(earned));
    for days in [1, u16::MAX] {
        let name = SignalName::TrialEnding;
        let Effect::Signal(mut signal) = signal(name, SignalState::Warning) else { unreachable!() };
        signal.trial = Some(TrialEnds { plan: NameId(7), days });
        effects.push(Effect::Signal(signal));
        effects.push(Effect::LedgerClosed(ledger(5), Some(Box::new(terms(days.into())))));
        effects.push(Effect::Owing(Box::new(Owing {
            feature: NameId(1),
            limit: NameId(2),
            window_start: Millis(-5),
            carried_units: u64::from(days),
            noted: days % 2 == 1,
            ended: days % 2 == 0,
            stays: days % 3 == 0,
            terms: (days % 2 == 0).then(|| terms(days.into())),
        })));
        effects.push(Effect::Ending(Box::new(Ending {
            feature: NameId(u32::MAX),
            began_at: Millis(i64::MIN),
            ends_at: Millis(-1),
            days,
        })));
    }
    let (name, of) = (SignalName::OverageCapNear, Millis(i64::MIN));
    let (feature, limit) = (NameId(0), NameId(u32::MAX));
    effects.push(Effect::Announced(Box::new(Announced {
        name,
        feature,
        limit,
        of,
        limit_revision: u16::MAX,
    })));
    effects.extend(NUMBERS.map(|units| Effect::Ledger(ledger(units))));
    effects
}

fn exposure(outcomes: u8) -> Effect {
    let number = u64::from(outcomes) << 58;
    let name = |id| NameId(id + u32::from(outcomes));
    let ticket = Ticket {
        id: number,
        prompt: name(0),
        variant: NameId(u32::MAX),
        language: name(1),
        person: !number,
        made_at: Millis(i64::MIN),
    };
    let outcomes = Outcomes(outcomes);
    let is_snoozed = outcomes.has(Outcomes::SNOOZED);
    let snoozed_until = Millis(if is_snoozed { i64::MAX } else { i64::MIN });
    Effect::Exposure(Box::new(Exposure { ticket, at: Millis(-1), outcomes, snoozed_until }))
}

fn receipts() -> Vec<Receipt> {
    let amounts = |late, expires_at| Amounts {
        reservation: Some(ReservationId(u64::MAX)),
        expires_at,
        units: u64::MAX,
        surplus_units: 2,
        debt_units: 1,
        late,
        lowered: late,
        clamped: expires_at.is_some(),
    };
    let all = [
        (Verdict::Allowed, None),
        (Verdict::SoftLimit, Some(Amounts::default())),
        (Verdict::Unbacked, Some(Amounts { debt_units: 5, ..Amounts::default() })),
        (Verdict::Grace, Some(amounts(true, None))),
        (Verdict::Overage, Some(amounts(false, Some(Millis(0))))),
    ];
    let receipt = |(verdict, amounts): (_, Option<Amounts>)| Receipt {
        payload: u64::MAX,
        verdict,
        feature: NameId(0),
        binding: Receipt::NO_LIMIT,
        done: amounts.map(|amounts| Box::new(Done::of(amounts, None))),
    };
    let mut receipts: Vec<Receipt> = all.into_iter().map(receipt).collect();
    let deduction = |id: &str, units| Deduction { grant: id.into(), units };
    let charge = Charge {
        pool: NameId(1),
        units: u64::MAX,
        deductions: vec![deduction("", 0), deduction("pay_17", u64::MAX)],
        debt_units: 9,
        returned_units: 1,
    };
    let mut charged = receipts[1].clone();
    charged.done = Some(Box::new(Done::of(Amounts::default(), Some(&charge))));
    receipts.push(charged);
    let mut whole = receipts[0].clone();
    let parts = receipts.iter().filter(|receipt| receipt.done.is_some()).cloned().collect();
    whole.done = Some(Box::new(Done { parts, ..Done::of(Amounts::default(), None) }));
    receipts.push(whole);
    receipts
}

fn profiles() -> Vec<Profile> {
    let plain = Profile::new(NameId(4), true, Millis(-1));
    let rate = RateSpec { units: 7, period_ms: 1_000, burst_units: 70 };
    let value = |feature, value| Override::new(NameId(feature), value);
    let cap =
        |cap_minor| OverrideValue::SpendCap { limit: NameId(1), cap_minor, currency: "USD".into() };
    let overrides = vec![
        value(0, OverrideValue::Switch { on: true }),
        value(1, OverrideValue::Switch { on: false }),
        value(2, OverrideValue::Config { value_json: "{\"ä\": [1]}".into() }),
        value(3, OverrideValue::Limit { limit: NameId(u32::MAX), included_units: None }),
        value(3, OverrideValue::Limit { limit: NameId(1), included_units: Some(u64::MAX) }),
        value(4, OverrideValue::Rate { rate: None }),
        value(5, OverrideValue::Rate { rate: Some(Rate::new(rate).unwrap()) }),
        value(6, cap(Some(u64::MAX))),
        value(6, cap(None)),
        value(7, subject_limit(None)),
        value(7, subject_limit(Some(7))),
    ];
    let facts = vec![("a".to_owned(), "1".to_owned()), (String::new(), String::new())];
    let full = Profile {
        suspended: true,
        by_default: false,
        anchor: Millis(i64::MIN),
        ends_at: Millis(i64::MAX),
        zone: Zone::named("America/New_York").map(Box::new),
        extra: Some(Box::new(ProfileExtra { overrides, facts, ..ProfileExtra::default() })),
        ..plain.clone()
    };
    let mut with_sources = full.clone();
    let extra = with_sources.extra.get_or_insert_default();
    extra.overrides[1].starts_at = Millis(-7);
    extra.overrides[4].ends_at = Millis(7);
    extra.addons = vec![AddOn { addon: NameId(9), quantity: u32::MAX }];
    extra.trial = Some(Trial { plan: NameId(2), ends_at: Millis(i64::MIN) });
    extra.scheduled = vec![ScheduledPlan { starts_at: Millis(3), plan: NameId(1) }];
    extra.cohorts = vec!["alpha".to_owned(), "beta".to_owned()];
    let mut only_scheduled = plain.clone();
    only_scheduled.extra.get_or_insert_default().scheduled =
        vec![ScheduledPlan { starts_at: Millis(3), plan: NameId(1) }];
    vec![plain, full, with_sources, only_scheduled]
}

/// The bytes of every sort of record, each checked to be read back as it was written.
fn every_record() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut keep = |bytes: &Vec<u8>, expected: Record<'_>| {
        assert_eq!(record::take(bytes), Ok(expected));
        all.push(bytes.clone());
    };
    let key = KeyHash([u64::MAX, 1]);
    for (receipt, at) in receipts().into_iter().flat_map(|r| INSTANTS.map(|at| (r.clone(), at))) {
        for effects in [vec![], every_effect()] {
            let (serial, at, mut bytes) = (u32::MAX, Millis(at), Vec::new());
            record::put_decided(&mut bytes, serial, at, key, &receipt, &effects);
            keep(&bytes, Record::Decided { serial, at, key, receipt: receipt.clone(), effects });
        }
    }
    for effect in every_effect() {
        let (serial, at, effects) = (0, Millis(0), vec![effect]);
        let mut bytes = Vec::new();
        record::put_noted(&mut bytes, serial, at, &effects);
        keep(&bytes, Record::Noted { serial, at, effects });
    }
    for profile in profiles() {
        let (serial, account, at) = (1, "acme/ä", Millis(5));
        let mut bytes = Vec::new();
        record::put_profile(&mut bytes, serial, account, at, &profile);
        keep(&bytes, Record::Profile { serial, account, at, profile });
    }
    for (id, text) in [(NameId(0), ""), (NameId(u32::MAX), "tokens")] {
        let mut bytes = Vec::new();
        record::put_name(&mut bytes, id, text);
        keep(&bytes, Record::Name { id, text });
    }
    for (revision, source) in [(1, ""), (u64::MAX, "plans:\n  ä: 1\n")] {
        for called in [None, Some(vec![]), Some(vec![(NameId(0), "ä"), (NameId(7), "units")])] {
            let (at, mut bytes) = (Millis(-1), Vec::new());
            record::put_catalog(&mut bytes, revision, at, source, called.as_deref());
            keep(&bytes, Record::Catalog { revision, at, source, called });
        }
    }
    for (test, at) in [true, false].into_iter().flat_map(|t| INSTANTS.map(|at| (t, Millis(at)))) {
        let mut bytes = Vec::new();
        record::put_clock(&mut bytes, test, at);
        keep(&bytes, Record::Clock { test, at });
    }
    for (seq, place) in NUMBERS.into_iter().flat_map(|seq| [0, 1, u16::MAX].map(|p| (seq, p))) {
        let mut bytes = Vec::new();
        record::put_delivered(&mut bytes, "hubspot", seq, place);
        keep(&bytes, Record::Delivered { sink: "hubspot", seq, place });
    }
    all
}

#[test]
fn every_record_is_read_back_as_it_was_written() {
    assert!(every_record().len() > 100);
}

/// A number byte by byte, as the format says.
fn leb128(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = value > 0x7f;
        bytes.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            return bytes;
        }
    }
}

#[test]
fn numbers_of_every_size_are_read_back() {
    for shift in 0..64 {
        for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
            let mut bytes = Vec::new();
            bytes.put_u64(value);
            assert_eq!(bytes, leb128(value), "{value}");
            bytes.put_i64(value.cast_signed());
            bytes.put_i64(value.cast_signed().wrapping_neg());
            bytes.put_option(Some(value));
            let mut from = Take::new(&bytes);
            assert_eq!(from.u64("u"), Ok(value));
            assert_eq!(from.i64("i"), Ok(value.cast_signed()));
            assert_eq!(from.i64("i"), Ok(value.cast_signed().wrapping_neg()));
            assert_eq!(from.option("o"), Ok(Some(value)));
            assert!(from.is_done());
        }
    }
    // More than 64 bits, and a number that never ends.
    assert!(
        Take::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).u64("u").is_err()
    );
    assert!(Take::new(&[0x80; 20]).u64("u").is_err());
}

#[test]
fn a_refusal_is_never_written_as_a_receipt() {
    let mut receipt = receipts().remove(0);
    receipt.verdict = Verdict::Denied(Denial::QuotaExhausted);
    let mut bytes = Vec::new();
    record::put_decided(&mut bytes, 0, Millis(0), KeyHash([0, 0]), &receipt, &[]);
    assert!(record::take(&bytes).is_err());
}

#[test]
fn no_part_of_a_record_is_a_record() {
    for bytes in every_record() {
        for len in 0..bytes.len() {
            assert!(record::take(&bytes[..len]).is_err(), "{len} of {bytes:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(record::take(&longer).is_err(), "one byte more than {bytes:?}");
    }
}

#[test]
fn damaged_bytes_are_never_a_panic() {
    let mut rng = Rng::new(1);
    let records = every_record();
    for bytes in &records {
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                // Whatever it is now; a checksum tells before it comes this far.
                drop(record::take(&damaged));
            }
        }
    }
    for _ in 0..200_000 {
        let mut damaged = rng.pick(&records).clone();
        for _ in 0..=rng.below(4) {
            let place = rng.below(damaged.len() as u64) as usize;
            damaged[place] = rng.any().to_le_bytes()[0];
        }
        drop(record::take(&damaged));
    }
    for _ in 0..200_000 {
        let len = rng.below(40);
        let bytes: Vec<u8> = (0..len).map(|_| rng.any().to_le_bytes()[0]).collect();
        drop(record::take(&bytes));
    }
}

#[test]
fn no_part_of_a_checkpoint_entry_is_an_entry() {
    let house = House::of(spec(50, Some("free")), 1_000);
    house.consume("acme", 1, "a");
    house.reserve("acme", 1, "b");
    let entries = house.checkpoint().entries;
    assert!(entries.len() >= 2);
    for (place, entry) in entries.iter().enumerate() {
        for len in 0..entry.len() {
            let mut recovery = recovery(1_000);
            for earlier in &entries[..place] {
                recovery.entry(earlier).unwrap();
            }
            assert!(recovery.entry(&entry[..len]).is_err(), "{len} bytes of entry {place}");
        }
    }
}

/// Apart from the others because it is large.
#[test]
fn a_sketch_is_read_back_and_no_other_bytes_are_one() {
    let mut values = Values::one(0);
    (1..=5_000).for_each(|value| values.add(u64::MAX / 5_000 * value));
    assert!(matches!(values, Values::Sketch(_)));
    let effects = [measured(MeasureChange::Values(values))];
    let mut bytes = Vec::new();
    record::put_noted(&mut bytes, 1, Millis(2), &effects);
    let read = |bytes: &[u8]| match record::take(bytes) {
        Ok(Record::Noted { effects, .. }) => Some(effects),
        _ => None,
    };
    assert_eq!(read(&bytes).as_deref(), Some(&effects[..]));
    for end in (0..bytes.len()).step_by(97) {
        assert_eq!(read(&bytes[..end]), None, "{end}");
    }
    let register = bytes.len() - 100;
    bytes[register] = 54;
    assert_eq!(read(&bytes), None, "no register holds so much");
}

/// A subject's is smaller, and begins with fewer values.
#[test]
fn a_sketch_of_a_subject_is_read_back() {
    for (registers, units, is_one) in [(512, 64, true), (512, 63, false), (1_024, 2_000, false)] {
        let sketch = Sketch::from_parts(&vec![3; registers], units, 9);
        assert_eq!(sketch.is_some(), is_one, "{registers} {units}");
        let Some(sketch) = sketch else { continue };
        let values = Values::Sketch(Box::new(sketch));
        let closed = ClosedMeasure::of(&ledger(1), Known::Values(values.clone()));
        let closed = Effect::MeasureClosed(Box::new(closed));
        let effects = [measured(MeasureChange::Values(values)), closed];
        let effects = effects.map(|effect| Effect::OfSubject(SubjectId(3), Box::new(effect)));
        let mut bytes = Vec::new();
        record::put_noted(&mut bytes, 1, Millis(2), &effects);
        let Ok(Record::Noted { effects: read, .. }) = record::take(&bytes) else { panic!() };
        assert_eq!(read, effects);
        for end in 0..bytes.len() {
            assert!(record::take(&bytes[..end]).is_err(), "{end}");
        }
    }
}
