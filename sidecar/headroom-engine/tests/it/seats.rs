//! Seats under 64 threads, over restarts, and when nobody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec};
use headroom_core::decide::{FeatureOp, SeatOp};
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::seats::{Seat, SeatState};
use headroom_core::time::Millis;
use headroom_engine::engine::{EngineError, Wants};
use headroom_engine::ports::StoreRefusal;
use headroom_engine::seats::{SeatReply, SeatRequest};

use crate::house::{DAY_MS, House, T0, spec};
use crate::races::{THREADS, race, winners};

/// The house's catalog, with `tokens` as seats.
fn seats(included: u64) -> CatalogSpec {
    let mut spec = spec(1, Some("free"));
    spec.features[0].kind = FeatureKindSpec::Seats { invited_ms: 7 * DAY_MS };
    for plan in &mut spec.plans {
        let (included_units, soft_limits_bp) = (Some(included), vec![]);
        plan.entitlements[0].1 = EntitlementSpec::Seats { included_units, soft_limits_bp };
    }
    spec
}

fn ask(house: &House, account: &str, op: SeatOp<'_>, now: i64) -> Result<SeatReply, EngineError> {
    let (now, wants) = (Millis(now), Wants::default());
    let rq = SeatRequest { account, feature: "tokens", op, now, wants };
    house.engine.seat(&house.engine.catalog(), &rq)
}

fn invite(house: &House, account: &str, member: &str, now: i64) -> SeatReply {
    ask(house, account, SeatOp::Invite { member, lasts_ms: None }, now).unwrap()
}

fn claim(house: &House, account: &str, member: &str, now: i64) -> SeatReply {
    ask(house, account, SeatOp::Claim { member }, now).unwrap()
}

fn verdict(reply: &SeatReply) -> Verdict {
    reply.reply.outcome.decision.verdict
}

fn list(house: &House, account: &str, now: i64) -> Vec<Seat> {
    let catalog = house.engine.catalog();
    let feature = catalog.feature_named("tokens").unwrap();
    let page = (None, usize::MAX);
    house.engine.seats(&catalog, account, feature, page, Millis(now)).unwrap()
}

fn members(house: &House, account: &str, now: i64) -> Vec<String> {
    list(house, account, now).iter().map(|seat| seat.member.to_string()).collect()
}

#[test]
fn of_64_threads_racing_for_the_last_seat_one_gets_it() {
    let house = House::of(seats(1), 1_000_000);
    let rounds = race(|thread, round| {
        let (account, member) = (format!("acct{round}"), format!("m{thread}"));
        let op = match thread % 2 {
            0 => SeatOp::Claim { member: &member },
            _ => SeatOp::Invite { member: &member, lasts_ms: None },
        };
        verdict(&ask(&house, &account, op, T0).unwrap())
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        let full = Verdict::Denied(Denial::SeatsFull);
        assert_eq!(results.iter().filter(|verdict| **verdict == full).count(), THREADS - 1);
        assert_eq!(list(&house, &format!("acct{round}"), T0).len(), 1);
    }
}

#[test]
fn the_same_member_from_64_sides_takes_one_seat() {
    let house = House::of(seats(5), 1_000_000);
    let changed = AtomicU64::new(0);
    let rounds = race(|_, round| {
        let reply = claim(&house, &format!("acct{round}"), "ann", T0);
        changed.fetch_add(u64::from(reply.changed), Ordering::SeqCst);
        verdict(&reply)
    });
    assert!(rounds.iter().flatten().all(|verdict| verdict.is_allowed()));
    assert_eq!(changed.into_inner(), rounds.len() as u64);
    assert_eq!(house.counts("acct0"), (1, 0));
}

#[test]
fn seats_are_there_after_a_crash_and_after_a_checkpoint() {
    let mut house = House::of(seats(3), 1_000_000);
    claim(&house, "acme", "ann", T0);
    invite(&house, "acme", "bob", T0);
    claim(&house, "acme", "cid", T0);
    ask(&house, "acme", SeatOp::Release { member: "cid" }, T0).unwrap();
    let seats_before = list(&house, "acme", T0);
    for checkpoint in [false, true, true] {
        if checkpoint {
            house.store.keep(house.checkpoint());
        }
        house = house.reopen(seats(3));
        assert_eq!(list(&house, "acme", T0), seats_before);
        assert_eq!(house.counts("acme"), (1, 1));
        assert_eq!(house.engine.next_timer_at(), Millis(T0 + 7 * DAY_MS));
    }
    assert!(claim(&house, "acme", "dan", T0).changed);
    assert_eq!(verdict(&claim(&house, "acme", "eve", T0)), Verdict::Denied(Denial::SeatsFull));
}

#[test]
fn an_expired_invitation_is_given_back_though_nobody_asks() {
    let mut house = House::of(seats(1), 1_000_000);
    let invited = invite(&house, "acme", "ann", T0).seat.unwrap();
    let end = Millis(T0 + 7 * DAY_MS);
    assert_eq!(invited.state, SeatState::Invited { expires_at: end });
    // Reading shows it gone at its instant, and writes nothing.
    let last = house.store.last();
    assert_eq!(members(&house, "acme", end.0 - 1), ["ann"]);
    assert!(members(&house, "acme", end.0).is_empty());
    assert_eq!(house.store.last(), last);
    assert_eq!(house.engine.run_timers(Millis(end.0 - 1)), 0);
    assert_eq!(house.engine.run_timers(end), 1);
    assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
    assert_eq!(house.counts("acme"), (0, 0));
    house = house.reopen(seats(1));
    assert!(list(&house, "acme", end.0).is_empty());
    assert!(claim(&house, "acme", "bob", end.0).changed);
    assert_eq!(verdict(&claim(&house, "acme", "ann", end.0)), Verdict::Denied(Denial::SeatsFull));
}

#[test]
fn an_answer_waits_for_the_record_that_it_stands_on() {
    let house = House::of(seats(1), 1_000_000);
    let first = claim(&house, "acme", "ann", T0);
    assert_eq!(first.reply.wait_for, Some(house.store.last()));
    let again = claim(&house, "acme", "ann", T0);
    assert_eq!((again.reply.wait_for, again.changed), (first.reply.wait_for, false));
    let refused = claim(&house, "acme", "bob", T0);
    assert_eq!((refused.reply.wait_for, refused.seat), (None, None));
    house.store.set_refusal(Some(StoreRefusal::NoRoom));
    let op = SeatOp::Claim { member: "cid" };
    assert_eq!(ask(&house, "acme", op, T0).unwrap_err(), EngineError::Store(StoreRefusal::NoRoom));
}

#[test]
fn check_asks_for_one_more_and_consume_says_what_to_call() {
    let house = House::of(seats(1), 1_000_000);
    let check = |key| house.ask("acme", FeatureOp::Check { units: 1, attempt: false }, key, T0);
    assert!(check("").unwrap().outcome.decision.verdict.is_allowed());
    claim(&house, "acme", "ann", T0);
    let full = Verdict::Denied(Denial::SeatsFull);
    assert_eq!(check("").unwrap().outcome.decision.verdict, full);
    for op in [FeatureOp::Consume { units: 1 }, FeatureOp::Record { units: 1 }] {
        let error = house.ask("acme", op, "k", T0).unwrap_err();
        assert_eq!(error, EngineError::Op(OpError::SeatsAreTaken));
    }
}

#[test]
fn pages_of_members_follow_each_other() {
    let house = House::of(seats(30), 1_000_000);
    (0..25).for_each(|n| drop(claim(&house, "acme", &format!("m{n:02}"), T0)));
    let catalog = house.engine.catalog();
    let feature = catalog.feature_named("tokens").unwrap();
    let (mut all, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let page = (after.as_deref(), 10);
        let seats = house.engine.seats(&catalog, "acme", feature, page, Millis(T0)).unwrap();
        let Some(last) = seats.last() else { break };
        after = Some(last.member.to_string());
        all.extend(seats.iter().map(|seat| seat.member.to_string()));
    }
    assert_eq!(all, members(&house, "acme", T0));
    assert_eq!(all.len(), 25);
}
