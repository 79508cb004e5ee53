//! Seats: invited, claimed, released, and given back at the instant an invitation ends.

use headroom_core::account::{Account, OverrideValue};
use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec};
use headroom_core::decide::{self, Context, FeatureOp, LevelChange, SeatOp, SeatOutcome};
use headroom_core::decision::{Denial, LimitState, OpError, Verdict};
use headroom_core::effect::{Effect, Effects};
use headroom_core::limits::SEATS_MAX;
use headroom_core::seats::SeatState;
use headroom_core::signal::{SignalName, SignalSwitches};
use headroom_core::time::Millis;

use crate::world::{DAY_MS, Dice, HOUR_MS, World, spec};

const FULL: Verdict = Verdict::Denied(Denial::SeatsFull);

fn catalog(included_units: Option<u64>, soft_limits_bp: &[u32]) -> CatalogSpec {
    let mut spec = spec(&[], SignalSwitches::default());
    // Without its limits `tokens` is no good quota.
    spec.features[0] = FeatureSpec {
        feature: "seats".to_owned(),
        kind: FeatureKindSpec::Seats { invited_ms: 7 * DAY_MS },
        ..spec.features[0].clone()
    };
    let soft_limits_bp = soft_limits_bp.to_vec();
    let given = EntitlementSpec::Seats { included_units, soft_limits_bp };
    spec.plans[0].entitlements[0] = ("seats".to_owned(), given);
    spec
}

fn world(included: u64) -> World {
    World::of(catalog(Some(included), &[]))
}

/// What the engine does: time first, then the request, then its effects.
fn run(world: &mut World, feature: &str, op: SeatOp<'_>) -> Result<SeatOutcome, OpError> {
    let now = Millis(world.now);
    let mut effects = Effects::new();
    if world.account.is_due(now) {
        let cx = Context { catalog: &world.catalog, now };
        decide::settle_all(cx, &world.account, &mut effects);
        world.apply(&effects);
    }
    effects.clear();
    let cx = Context { catalog: &world.catalog, now };
    let feature = world.feature(feature);
    let outcome = decide::decide_seat(cx, &world.account, feature, op, &mut effects);
    if outcome.is_err() {
        assert_eq!(effects, [], "an error changes nothing");
    }
    world.apply(&effects);
    world.last = effects;
    check_sound(world);
    outcome
}

/// Of every feature as many sit as its ledger says.
fn check_sound(world: &World) {
    let Some(id) = world.names.get("seats") else { return };
    let ledger = world.account.ledgers().iter().find(|ledger| ledger.feature == id);
    let seats: Vec<_> = world.account.roster().into_iter().flat_map(|all| all.iter()).collect();
    let claimed = seats.iter().filter(|seat| seat.state == SeatState::Claimed).count() as u64;
    let (used, reserved) = ledger.map_or((0, 0), |ledger| (ledger.used, ledger.reserved));
    assert_eq!((used, used + reserved), (claimed, seats.len() as u64));
}

fn do_it(world: &mut World, op: SeatOp<'_>) -> SeatOutcome {
    run(world, "seats", op).unwrap()
}

fn invite(world: &mut World, member: &str) -> SeatOutcome {
    do_it(world, SeatOp::Invite { member, lasts_ms: None })
}

fn claim(world: &mut World, member: &str) -> SeatOutcome {
    do_it(world, SeatOp::Claim { member })
}

fn release(world: &mut World, member: &str) -> SeatOutcome {
    do_it(world, SeatOp::Release { member })
}

fn state(world: &World) -> LimitState {
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    decide::limit_states(cx, &world.account, world.feature("seats").unwrap())[0].clone()
}

/// Claimed and invited.
fn counts(world: &World) -> (u64, u64) {
    let ledger = state(world).ledger;
    (ledger.used, ledger.reserved)
}

fn expiry(outcome: &SeatOutcome) -> i64 {
    match outcome.seat.as_ref().unwrap().state {
        SeatState::Invited { expires_at } => expires_at.0,
        SeatState::Claimed => panic!("claimed"),
    }
}

#[test]
fn an_invitation_holds_a_seat_that_is_claimed_and_released() {
    let mut world = world(2);
    let invited = invite(&mut world, "ann");
    assert_eq!((expiry(&invited), invited.changed), (world.now + 7 * DAY_MS, true));
    assert_eq!(counts(&world), (0, 1));
    invite(&mut world, "bob");
    let refused = invite(&mut world, "cid");
    assert_eq!((refused.decision.verdict, refused.seat), (FULL, None));
    assert_eq!(claim(&mut world, "cid").decision.verdict, FULL);
    let claimed = claim(&mut world, "ann");
    assert_eq!(claimed.seat.unwrap().state, SeatState::Claimed);
    assert_eq!(counts(&world), (1, 1));
    assert!(release(&mut world, "ann").changed);
    assert_eq!(counts(&world), (0, 1));
    assert!(claim(&mut world, "cid").changed, "without an invitation, on a free seat");
}

#[test]
fn again_takes_no_second_seat() {
    let mut world = world(2);
    let first = invite(&mut world, "ann");
    let again = invite(&mut world, "ann");
    assert_eq!((again.seat, again.changed), (first.seat.clone(), false));
    assert_eq!(counts(&world), (0, 1));
    // Sent again later it lasts anew, and is never shortened.
    world.now += HOUR_MS;
    let later = invite(&mut world, "ann");
    assert_eq!((expiry(&later), later.changed), (world.now + 7 * DAY_MS, true));
    let short = do_it(&mut world, SeatOp::Invite { member: "ann", lasts_ms: Some(1) });
    assert_eq!((expiry(&short), short.changed), (world.now + 7 * DAY_MS, false));
    claim(&mut world, "ann");
    let claimed = claim(&mut world, "ann");
    assert_eq!((claimed.changed, claimed.decision.verdict), (false, Verdict::Allowed));
    let invited = invite(&mut world, "ann");
    assert_eq!(invited.seat.unwrap().state, SeatState::Claimed);
    assert_eq!(counts(&world), (1, 0));
    release(&mut world, "ann");
    assert!(!release(&mut world, "ann").changed);
    assert_eq!(counts(&world), (0, 0));
}

#[test]
fn an_expired_invitation_holds_no_seat() {
    let mut world = world(1);
    let ends_at = expiry(&invite(&mut world, "ann"));
    world.now = ends_at - 1;
    assert_eq!(invite(&mut world, "bob").decision.verdict, FULL);
    assert_eq!(world.account.notice_at(), Millis(ends_at), "it is waited for");
    world.now = ends_at;
    let op = FeatureOp::Check { units: 1, attempt: false };
    assert_eq!(world.try_ask("seats", op).unwrap().decision.verdict, Verdict::Allowed);
    assert_eq!(counts(&world), (0, 0));
    assert!(invite(&mut world, "bob").changed);
    // Who comes too late sits down if there is room, and else not.
    assert_eq!(claim(&mut world, "ann").decision.verdict, FULL);
    release(&mut world, "bob");
    assert!(claim(&mut world, "ann").changed);
    assert_eq!(world.account.notice_at(), Millis::FOREVER);
}

#[test]
fn a_seat_goes_to_somebody_else_in_one_step() {
    let mut world = world(2);
    claim(&mut world, "ann");
    let invited = invite(&mut world, "bob");
    let given = do_it(&mut world, SeatOp::Transfer { from: "ann", to: "cid" });
    assert_eq!((given.seat.unwrap().state, given.changed), (SeatState::Claimed, true));
    let again = do_it(&mut world, SeatOp::Transfer { from: "ann", to: "cid" });
    assert!(!again.changed);
    let given = do_it(&mut world, SeatOp::Transfer { from: "bob", to: "dan" });
    assert_eq!(expiry(&given), expiry(&invited), "as it is");
    assert_eq!(counts(&world), (1, 1));
    let both = run(&mut world, "seats", SeatOp::Transfer { from: "cid", to: "dan" });
    assert_eq!(both, Err(OpError::MemberHasSeat));
    let none = run(&mut world, "seats", SeatOp::Transfer { from: "ann", to: "bob" });
    assert_eq!(none, Err(OpError::UnknownMember));
}

#[test]
fn a_downgrade_leaves_those_who_sit_and_refuses_those_who_come() {
    let mut world = world(3);
    claim(&mut world, "ann");
    claim(&mut world, "bob");
    invite(&mut world, "cid");
    world.install(catalog(Some(1), &[]));
    assert_eq!(claim(&mut world, "dan").decision.verdict, FULL);
    // Who is in comes back in, and who was invited has a seat already.
    assert!(claim(&mut world, "ann").decision.verdict.is_allowed());
    assert!(claim(&mut world, "cid").changed);
    assert_eq!(counts(&world), (3, 0));
    do_it(&mut world, SeatOp::Transfer { from: "cid", to: "eve" });
    release(&mut world, "ann");
    release(&mut world, "bob");
    assert_eq!(claim(&mut world, "dan").decision.verdict, FULL);
    release(&mut world, "eve");
    assert!(claim(&mut world, "dan").changed);
    let (limit, included_units) = (world.id("seats"), Some(2));
    world.put_override("seats", OverrideValue::Limit { limit, included_units });
    assert!(claim(&mut world, "ann").changed);
}

#[test]
fn whoever_goes_is_gone_whatever_became_of_the_account() {
    let mut world = world(3);
    claim(&mut world, "ann");
    invite(&mut world, "bob");
    world.account.profile.suspended = true;
    let denied = Verdict::Denied(Denial::AccountSuspended);
    assert_eq!(claim(&mut world, "ann").decision.verdict, denied);
    assert_eq!(invite(&mut world, "cid").decision.verdict, denied);
    assert!(release(&mut world, "ann").changed);
    world.account.profile.suspended = false;
    world.account.profile.plan = world.id("bare");
    assert_eq!(claim(&mut world, "ann").decision.verdict, Verdict::Denied(Denial::NotInPlan));
    assert!(release(&mut world, "bob").changed);
    assert!(world.account.roster().is_none());
}

#[test]
fn seats_are_neither_consumed_nor_recorded_and_only_seats_have_members() {
    let mut world = world(3);
    for op in [
        FeatureOp::Consume { units: 1 },
        FeatureOp::Reserve { units: 1, hold_ms: 1 },
        FeatureOp::ReserveCharging { units: 1, hold_ms: 1 },
        FeatureOp::Record { units: 1 },
    ] {
        assert_eq!(world.try_ask("seats", op), Err(OpError::SeatsAreTaken));
    }
    let op = FeatureOp::Allocate { change: LevelChange::Add { units: 1 } };
    assert_eq!(world.try_ask("seats", op), Err(OpError::NoLevel { kind: "seats" }));
    let wrong = run(&mut world, "sso", SeatOp::Claim { member: "ann" });
    assert_eq!(wrong, Err(OpError::NoSeats { kind: "switch" }));
    let unknown = run(&mut world, "ghost", SeatOp::Claim { member: "ann" }).unwrap();
    assert_eq!(unknown.decision.verdict, Verdict::Denied(Denial::UnknownFeature));
}

#[test]
fn an_account_has_room_for_so_many() {
    let mut world = World::of(catalog(None, &[]));
    let id = world.id("seats");
    let seats: Effects = (0..SEATS_MAX)
        .map(|n| {
            let member = format!("m{n}").into();
            let (state, since) = (SeatState::Claimed, Millis(0));
            let seat = headroom_core::seats::Seat { feature: id, member, state, since };
            Effect::Seat(Box::new(seat))
        })
        .collect();
    world.apply(&seats);
    let taken = SEATS_MAX;
    let op = SeatOp::Claim { member: "one more" };
    let mut effects = Effects::new();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let more = decide::decide_seat(cx, &world.account, world.feature("seats"), op, &mut effects);
    assert_eq!(more, Err(OpError::TooManySeats { taken }));
    let op = SeatOp::Claim { member: "m7" };
    let known = decide::decide_seat(cx, &world.account, world.feature("seats"), op, &mut effects);
    assert!(!known.unwrap().changed);
}

#[test]
fn what_is_said_of_seats_is_said_once_and_again_after_many_left() {
    let names = |world: &World| world.told().iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let mut world = World::of(catalog(Some(10), &[5_000]));
    for n in 0..4 {
        invite(&mut world, &format!("m{n}"));
        let first = [(SignalName::TeamInviteSent, vec![])];
        assert_eq!(world.told(), if n == 0 { &first[..] } else { &[] }, "once a day");
    }
    invite(&mut world, "m4");
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![5_000])]);
    for n in 0..8 {
        claim(&mut world, &format!("m{n}"));
        assert_eq!(world.told(), [], "{n}");
    }
    claim(&mut world, "m8");
    assert_eq!(names(&world), [SignalName::SeatThreshold90pct, SignalName::SeatsNearlyFull]);
    let signal = world.signals()[0].clone();
    assert_eq!((signal.previous_units, signal.current_units, signal.included_units), (8, 9, 10));
    // To and fro is told once.
    release(&mut world, "m8");
    claim(&mut world, "m8");
    assert_eq!(world.told(), []);
    claim(&mut world, "m9");
    assert_eq!(world.told(), [(SignalName::UsageCeiling, vec![10_000])]);
    claim(&mut world, "m10");
    assert_eq!(names(&world), [SignalName::FeatureLimitHit]);
    claim(&mut world, "m11");
    assert_eq!(world.told(), [], "a second refusal");
    for n in 0..4 {
        release(&mut world, &format!("m{n}"));
    }
    assert_eq!(counts(&world), (6, 0));
    for n in 0..2 {
        claim(&mut world, &format!("m{n}"));
        assert_eq!(world.told(), []);
    }
    claim(&mut world, "m2");
    assert_eq!(names(&world), [SignalName::SeatThreshold90pct, SignalName::SeatsNearlyFull]);
}

#[test]
fn an_invitation_is_told_once_a_day_also_where_there_is_no_seat() {
    let invited = [(SignalName::TeamInviteSent, vec![])];
    let mut world = world(1);
    claim(&mut world, "m0");
    invite(&mut world, "m1");
    let both = [(SignalName::FeatureLimitHit, vec![]), invited[0].clone()];
    assert_eq!(world.told(), both);
    assert_eq!(world.signals()[1].refused_units, 1);
    invite(&mut world, "m2");
    assert_eq!(world.told(), []);
    world.now += DAY_MS;
    invite(&mut world, "m2");
    assert_eq!(world.told(), invited);
}

#[test]
fn of_a_team_of_five_four_are_nearly_full() {
    let mut world = world(5);
    for n in 0..3 {
        claim(&mut world, &format!("m{n}"));
        assert_eq!(world.told(), []);
    }
    claim(&mut world, "m3");
    assert_eq!(world.told(), [(SignalName::SeatsNearlyFull, vec![])]);
    claim(&mut world, "m4");
    let told = [(SignalName::UsageCeiling, vec![10_000]), (SignalName::SeatThreshold90pct, vec![])];
    assert_eq!(world.told(), told);
}

#[test]
fn whatever_happens_as_many_sit_as_are_counted_and_a_copy_is_the_same() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut world = World::of(catalog(Some(4), &[5_000, 8_000]));
        for _ in 0..120 {
            world.now += i64::try_from(dice.below(40_000_000)).unwrap();
            let (a, b) = (format!("m{}", dice.below(7)), format!("m{}", dice.below(7)));
            let lasts_ms = [None, Some(1), Some(HOUR_MS), Some(DAY_MS)][dice.below(4) as usize];
            let op = match dice.below(8) {
                0..=2 => SeatOp::Invite { member: &a, lasts_ms },
                3 | 4 => SeatOp::Claim { member: &a },
                5 | 6 => SeatOp::Release { member: &a },
                _ => SeatOp::Transfer { from: &a, to: &b },
            };
            let taken_before = counts(&world).0 + counts(&world).1;
            if let Ok(outcome) = run(&mut world, "seats", op) {
                let taken = counts(&world).0 + counts(&world).1;
                assert!(taken <= 4.max(taken_before), "seed {seed}");
                assert_eq!(outcome.decision.binding.unwrap().ledger.held(), taken);
            }
        }
        // What a snapshot keeps makes the same account.
        let mut copy = Account::new(world.account.serial, world.account.profile.clone());
        for ledger in world.account.ledgers() {
            copy.apply(&Effect::Ledger(*ledger));
        }
        world.account.further().iter().for_each(|effect| copy.apply(effect));
        assert_eq!(copy.roster(), world.account.roster());
        assert_eq!(copy.notice_at(), world.account.notice_at());
    }
}
