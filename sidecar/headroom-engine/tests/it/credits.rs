//! Pools of credits in the memory: one winner for the last credit, a retry charged once and answered
//! alike, and nothing lost by a restart.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec};
use headroom_core::change::OnChange;
use headroom_core::credits::{Charge, CreditPrice, Grant, PoolTerms, Rounding, Segment};
use headroom_core::decide::{FeatureOp, GrantError, HoldOp, NewGrant};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::migrate::Migration;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use headroom_engine::admin::{AdminError, OverrideChange, OverrideTerms, SubscriptionChange};
use headroom_engine::digest::{RecordDigest, credits_row};
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};
use headroom_engine::grants::GrantChanged;
use headroom_engine::late::CorrectRequest;
use headroom_engine::ports::{Digest, ProjectionOp, Seq, StoreRefusal, Table};

use crate::house::{DAY_MS, HOUR_MS, House, T0, spec};
use crate::races::{race, winners};

/// `credits` of which plans include so many a month, and which pay for `tokens` at 2 each besides their
/// limit of 1,000.
fn credited(included_units: u64) -> CatalogSpec {
    let mut spec = spec(1_000, Some("free"));
    let price = CreditPrice { credits: 2, per: 1, rounding: Rounding::Up };
    spec.features.push(FeatureSpec {
        feature: "credits".to_owned(),
        name: "Credits".to_owned(),
        kind: FeatureKindSpec::Credits {
            window: WindowRule::Billing { months: 1 },
            rate_card: vec![("tokens".to_owned(), price)],
        },
        ..spec.features[0].clone()
    });
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = plan.entitlements[0].1.clone() else { panic!() };
        plan.entitlements[0].1 =
            EntitlementSpec::PaidQuota { limits, paid_by: "credits".to_owned() };
        let rollover_max_units = 1_000;
        let terms = PoolTerms { included_units, rollover_max_units, ..PoolTerms::default() };
        plan.entitlements.push(("credits".to_owned(), EntitlementSpec::Credits { terms }));
    }
    spec
}

fn house(included_units: u64) -> House {
    House::of(credited(included_units), 1_000_000)
}

impl House {
    fn burn_at(&self, account: &str, units: u64, key: &str, now: i64) -> Box<Reply> {
        let op = FeatureOp::Consume { units };
        let (now, wants) = (Millis(now), Wants::default());
        let rq = FeatureRequest {
            dimensions: Default::default(),
            account,
            feature: "credits",
            op,
            key,
            now,
            wants,
            synthetic: false,
            subject: None,
        };
        self.engine.feature(&self.engine.catalog(), &rq).unwrap()
    }

    fn burn(&self, account: &str, units: u64, key: &str) -> Box<Reply> {
        self.burn_at(account, units, key, T0)
    }

    fn give(&self, account: &str, id: &str, units: u64) -> Result<GrantChanged, AdminError> {
        let new = NewGrant { id, units, priority: 100, starts_at: None, expires_at: None };
        self.engine.put_grant(account, "credits", &new, Millis(T0))
    }

    fn balance_at(&self, account: &str, now: i64) -> i64 {
        let view = self.engine.pool(account, "credits", Millis(now)).unwrap();
        view.state.pool().unwrap().balance
    }

    fn grants(&self, account: &str, now: i64) -> Vec<Grant> {
        self.engine.pool(account, "credits", Millis(now)).unwrap().grants
    }
}

fn charge(reply: &Reply) -> Option<&Charge> {
    reply.outcome.decision.charge()
}

/// Check-then-update would admit two callers on the last credit.
#[test]
fn the_last_credit_is_drawn_once() {
    let house = house(1);
    let rounds = race(|thread, round| {
        let reply = house.burn(&format!("acct{round}"), 1, &format!("k{thread}"));
        reply.outcome.decision.verdict
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        assert_eq!(house.balance_at(&format!("acct{round}"), T0), 0, "round {round}");
    }
}

#[test]
fn features_and_holds_share_the_last_credits_exactly() {
    let house = house(20);
    let rounds = race(|thread, round| {
        let (account, key) = (format!("acct{round}"), format!("k{thread}"));
        let reply = match thread % 3 {
            0 => house.burn(&account, 2, &key),
            1 => house.consume(&account, 1, &key),
            _ => house.reserve(&account, 1, &key),
        };
        reply.outcome.decision.verdict
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 10, "round {round}: each costs two");
        let account = format!("acct{round}");
        let view = house.engine.pool(&account, "credits", Millis(T0)).unwrap();
        assert_eq!(view.state.drawable_units_remaining(), Some(0), "round {round}");
        let (used, reserved) = house.counts(&account);
        let direct = 20 - 2 * (used + reserved);
        assert_eq!(view.state.ledger.used, 2 * used + direct, "round {round}");
        assert_eq!(view.state.ledger.reserved, 2 * reserved, "round {round}");
    }
}

/// A delta that is sent again after a time-out is charged once, and the answer is the same to the grant.
#[test]
fn a_retry_is_charged_once_and_answered_alike() {
    let house = house(5);
    house.give("acme", "x", 1).unwrap_err();
    house.subscribe("acme", "pro");
    house.give("acme", "top_up", 100).unwrap();
    let first = house.consume("acme", 4, "k");
    let paid = charge(&first).unwrap().clone();
    let by: Vec<(&str, u64)> = paid.deductions.iter().map(|d| (&*d.grant, d.units)).collect();
    assert_eq!(by.iter().map(|(_, units)| units).sum::<u64>(), 8);
    assert_eq!(by[1], ("top_up", 3), "the included ones expire first");
    let found = house.reopen(credited(5));
    for house in [&house, &found] {
        let again = house.consume("acme", 4, "k");
        assert!(again.replayed);
        assert_eq!(charge(&again), Some(&paid));
        assert_eq!(house.balance_at("acme", T0), 97);
    }
    assert!(matches!(
        house.ask("acme", FeatureOp::Consume { units: 5 }, "k", T0),
        Err(EngineError::KeyReused)
    ));
}

#[test]
fn a_grant_is_made_once_however_often_it_is_sent() {
    let house = house(0);
    house.subscribe("acme", "pro");
    let rounds = race(|_, round| house.give("acme", &format!("pay{round}"), 1).is_ok());
    let made = rounds.iter().filter(|results| results.iter().all(|made| *made)).count();
    assert_eq!(made, 64, "and then there are too many");
    assert_eq!(house.balance_at("acme", T0), 64);
    let differs = house.give("acme", "pay0", 2);
    assert_eq!(differs.unwrap_err(), AdminError::Grant(GrantError::Differs));
    house.store.set_refusal(Some(StoreRefusal::NoRoom));
    let refused = house.give("acme", "late", 1).unwrap_err();
    assert_eq!(refused, AdminError::Engine(EngineError::Store(StoreRefusal::NoRoom)));
}

#[test]
fn a_buyer_may_retry_with_the_same_key() {
    let house = house(0);
    house.subscribe("acme", "pro");
    assert_eq!(
        house.burn("acme", 5, "k").outcome.decision.verdict,
        Verdict::Denied(Denial::CreditsExhausted)
    );
    house.give("acme", "top_up", 5).unwrap();
    assert!(house.burn("acme", 5, "k").outcome.decision.verdict.is_allowed());
}

#[test]
fn a_pool_is_read_back_with_its_grants_holds_and_history() {
    let house = house(30);
    house.subscribe("acme", "pro");
    house.give("acme", "a", 100).unwrap();
    house.give("acme", "b", 100).unwrap();
    house.give("acme", "c", 100).unwrap();
    let hold = house.reserve("acme", 10, "r").outcome.amounts.reservation.unwrap();
    house.burn("acme", 150, "k1");
    house.engine.void_grant("acme", "credits", ("c", "refunded"), Millis(T0)).unwrap();
    house.burn_at("acme", 5, "k2", T0 + HOUR_MS - 1);
    for checkpoint in [false, true] {
        if checkpoint {
            house.store.keep(house.checkpoint());
        }
        let found = house.reopen(credited(30));
        let now = Millis(T0 + HOUR_MS - 1);
        let views = [&house, &found].map(|h| h.engine.pool("acme", "credits", now).unwrap());
        assert_eq!(views[0], views[1]);
        assert_eq!(views[0].state.ledger.reserved, 20);
        let later = T0 + 40 * DAY_MS;
        assert_eq!(house.grants("acme", later), found.grants("acme", later));
        assert_eq!(house.engine.next_timer_at(), found.engine.next_timer_at());
        let (id, op) = (hold, HoldOp::Commit { units: 12 });
        if checkpoint {
            let reply = found.hold("acme", id, op, "c").unwrap();
            assert_eq!(charge(&reply).unwrap().units, 24);
        }
    }
}

/// Segments of the projection and the open one of the memory.
fn history(house: &House, now: i64) -> Vec<Segment> {
    let mut rows = std::collections::BTreeMap::new();
    for (seq, stored) in house.store.since(Seq(0)) {
        let mut ops = Vec::new();
        RecordDigest.digest(seq, &stored.bytes, &mut ops);
        assert_eq!(!ops.is_empty(), stored.matter);
        for op in ops {
            if let ProjectionOp::Put { table: Table::Credits, key, value } = op {
                assert!(rows.insert(key, credits_row(&value).unwrap()).is_none());
            }
        }
    }
    let open = house.engine.pool("acme", "credits", Millis(now)).unwrap().open_segment;
    rows.into_values().chain(open).collect()
}

#[test]
fn expiry_and_rollover_happen_by_time_alone_and_are_written_down() {
    let house = house(30);
    house.subscribe("acme", "pro");
    assert_eq!(house.balance_at("acme", T0), 30, "a subscription fills the pool");
    house.burn("acme", 12, "k");
    let month = house.engine.next_timer_at();
    assert_eq!(house.engine.run_timers(month), 1);
    assert_eq!(house.balance_at("acme", month.0), 48);
    let segments = history(&house, month.0);
    let told: Vec<_> = segments.iter().map(|s| (s.opening, s.closing())).collect();
    assert_eq!(told, [(0, 18), (18, 48)]);
    assert_eq!(segments[0].to, month);
    let last = segments[1];
    assert_eq!((last.expired_units, last.rolled_over_units, last.granted_units), (18, 18, 30));
}

#[test]
fn a_change_of_the_subscription_closes_what_was_and_counts_at_once() {
    let house = house(30);
    house.subscribe("acme", "pro");
    let limit = OverrideChange::Limit("credits", Some(100));
    let times = OverrideTerms::default();
    house.engine.put_override("acme", "credits", &limit, times, Millis(T0 + 5)).unwrap();
    assert_eq!(house.balance_at("acme", T0 + 5), 100);
    let unlimited = OverrideChange::Limit("credits", None);
    let refused = house.engine.put_override("acme", "credits", &unlimited, times, Millis(T0 + 6));
    assert!(matches!(refused, Err(AdminError::UnlimitedCredits { .. })));
    let change = SubscriptionChange {
        plan: "pro",
        ends_at: Some(Millis(T0 + 9)),
        ..SubscriptionChange::default()
    };
    house.engine.put_subscription("acme", &change, Millis(T0 + 7)).unwrap();
    let segments = history(&house, T0 + 7);
    assert_eq!(segments.last().unwrap().closing(), 100);
    assert_eq!(house.balance_at("acme", T0 + 8 + 32 * DAY_MS), 0, "nobody has a plan any more");
    for pair in segments.windows(2) {
        assert_eq!((pair[0].to, pair[0].closing()), (pair[1].from, pair[1].opening));
    }
}

/// A monitor's requests are decided by the pool and take nothing from it, whatever becomes of them.
#[test]
fn monitors_draw_no_credits() {
    let house = house(20);
    house.burn("acme", 4, "real");
    let ask = |feature: &str, op, key: &str| {
        let (now, wants) = (Millis(T0), Wants::default());
        let rq = FeatureRequest {
            dimensions: Default::default(),
            account: "acme",
            feature,
            op,
            key,
            now,
            wants,
            synthetic: true,
            subject: None,
        };
        house.engine.feature(&house.engine.catalog(), &rq).unwrap()
    };
    assert_eq!(
        ask("tokens", FeatureOp::Consume { units: 5 }, "p1").outcome.decision.verdict,
        Verdict::Allowed
    );
    let too_many = ask("tokens", FeatureOp::Consume { units: 9 }, "p2").outcome.decision.verdict;
    assert_eq!(too_many, Verdict::Denied(Denial::CreditsExhausted));
    for (feature, key) in [("tokens", "p3"), ("credits", "p4")] {
        for ending in [HoldOp::Commit { units: 3 }, HoldOp::Release] {
            let key = format!("{key}{ending:?}");
            let held = ask(feature, FeatureOp::Reserve { units: 2, hold_ms: HOUR_MS }, &key);
            let id = held.outcome.amounts.reservation.unwrap();
            house.hold("acme", id, ending, &format!("{key}-end")).unwrap();
        }
    }
    let view = house.engine.pool("acme", "credits", Millis(T0)).unwrap();
    assert_eq!((house.balance_at("acme", T0), view.state.ledger.reserved), (16, 0));
    assert_eq!(house.counts("acme"), (0, 0));
    assert_eq!(house.balance_at("acme", T0 + 2 * HOUR_MS), 16);
}

/// A plan that goes is another name of the one that its accounts come to: nothing changes by that, so no
/// window ends at an instant at which one plan that has gone followed another.
#[test]
fn a_move_off_plans_that_go_ends_no_window_of_an_account_with_a_pool() {
    let house = house(5);
    let change = SubscriptionChange {
        plan: "free",
        scheduled: vec![(Millis(T0 + HOUR_MS), "pro")],
        ..SubscriptionChange::default()
    };
    house.engine.put_subscription("acme", &change, Millis(T0)).unwrap();
    house.consume("acme", 1, "k");
    let before = house.ledger("acme", "tokens").unwrap();

    let mut spec = credited(5);
    spec.default_plan = None;
    spec.plans.truncate(1);
    spec.plans[0].plan = "max".to_owned();
    let EntitlementSpec::PaidQuota { limits, .. } = &mut spec.plans[0].entitlements[0].1 else {
        panic!()
    };
    limits[0].terms.on_change = OnChange::Reset;
    spec.migrations = ["free", "pro"]
        .map(|from| Migration::MovePlan { from: from.to_owned(), to: "max".to_owned() })
        .into();
    let now = Millis(T0 + 2 * HOUR_MS);
    house.engine.install_catalog(spec, "new", now).unwrap();

    let usage = house.engine.usage("acme", now).unwrap();
    assert_eq!(usage.ledgers, [before]);
    assert_eq!(house.balance_at("acme", now.0), 3);
}

/// The pool of [`credited`], with other windows.
pub(crate) fn ruled(included_units: u64, rule: WindowRule) -> CatalogSpec {
    let mut spec = credited(included_units);
    for feature in &mut spec.features {
        if let FeatureKindSpec::Credits { window, .. } = &mut feature.kind {
            *window = rule;
        }
    }
    pools_of(&mut spec).for_each(|terms| terms.rollover_max_units = 0);
    spec
}

/// What plans say of their pools.
pub(crate) fn pools_of(spec: &mut CatalogSpec) -> impl Iterator<Item = &mut PoolTerms> {
    let given = spec.plans.iter_mut().flat_map(|plan| &mut plan.entitlements);
    given.filter_map(|(_, given)| match given {
        EntitlementSpec::Credits { terms } => Some(terms),
        _ => None,
    })
}

/// From the moment of the new catalog on, whoever looks and when, and also when the moment is a start.
#[test]
fn a_pool_for_life_has_the_windows_of_a_new_catalog_though_nobody_asks() {
    let monthly = || ruled(20, WindowRule::Billing { months: 1 });
    for restarts in [false, true] {
        let mut house = House::of(ruled(50, WindowRule::Lifetime), 1_000_000);
        house.subscribe("acme", "pro");
        house.burn("acme", 30, "k");
        assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
        if restarts {
            house.store.keep(house.checkpoint());
            house = house.reopen(monthly());
        } else {
            let at = Millis(T0 + DAY_MS);
            let installed = house.engine.install_catalog(monthly(), "monthly", at).unwrap();
            assert_eq!(installed.wait_for, Some(house.store.last()), "the pools are written");
        }
        let month = house.engine.next_timer_at();
        assert_eq!(house.balance_at("acme", month.0 - 1), 20 + 20);
        house.burn_at("acme", 35, "k2", month.0 - 1);
        assert_eq!(house.balance_at("acme", month.0), 5 + 20, "what was granted for ever stays");
        // It is so in the journal, too, and the same catalog again brings nothing.
        let found = house.reopen(monthly());
        assert_eq!(found.grants("acme", month.0), house.grants("acme", month.0));
        let last = found.store.last();
        found.engine.install_catalog(monthly(), "restarted", month).unwrap();
        let again = found.engine.install_catalog(monthly(), "restarted", month).unwrap();
        assert_eq!(again.wait_for, None);
        assert!(last < found.store.last());
    }
}

/// What a catalog includes less or more counts from its moment, and not from when somebody looks: debt is
/// paid by it, also when the next catalog takes it back.
#[test]
fn a_catalog_that_includes_more_pays_what_is_owed_though_nobody_asks() {
    let house = house(10);
    house.subscribe("acme", "pro");
    house.ask("acme", FeatureOp::Record { units: 9 }, "k", T0).unwrap();
    assert_eq!(house.balance_at("acme", T0), -8);
    for (step, included) in [15, 10].into_iter().enumerate() {
        let at = Millis(T0 + DAY_MS * i64::try_from(step).unwrap());
        let catalog = credited(included);
        house.engine.install_catalog(catalog, &format!("{included}"), at).unwrap();
    }
    assert_eq!(house.balance_at("acme", T0 + DAY_MS), -3);
}

/// A plan that includes more for a while pays what is owed, over a checkpoint and a restart, by a timer.
#[test]
fn a_plan_that_includes_more_for_a_while_pays_what_is_owed_by_a_timer() {
    let (from, until) = (Millis(T0 + HOUR_MS), Millis(T0 + 2 * HOUR_MS));
    let mut house = house(10);
    house.subscribe("acme", "pro");
    let limit = OverrideChange::Limit("credits", Some(15));
    let times = OverrideTerms { starts_at: Some(from), ends_at: Some(until), at_least: false };
    house.engine.put_override("acme", "credits", &limit, times, Millis(T0)).unwrap();
    house.ask("acme", FeatureOp::Record { units: 9 }, "k", T0).unwrap();
    for (checkpoint, at, balance) in [(true, from, -3), (false, until, -3)] {
        if checkpoint {
            house.store.keep(house.checkpoint());
        }
        house = house.reopen(credited(10));
        assert_eq!(house.engine.next_timer_at(), at);
        assert_eq!(house.engine.run_timers(at), 1);
        assert_eq!(house.balance_at("acme", at.0), balance);
    }
    let segments = history(&house, until.0);
    let paid: u64 = segments.iter().map(|segment| segment.paid_back_units).sum();
    assert_eq!(paid, 5);
}

/// A smaller plan takes what nobody has set aside, and what holds keep as they end.
#[test]
fn what_holds_have_set_aside_stays_when_a_plan_includes_less() {
    for (restarts, by_catalog) in [(false, false), (true, false), (false, true)] {
        let mut house = house(30);
        house.subscribe("acme", "pro");
        house.burn("acme", 4, "k");
        // 20 credits are set aside by one hold, and 2 by another.
        let held = |key, units| house.reserve("acme", units, key).outcome.amounts.reservation;
        let (hold, other) = (held("r", 10).unwrap(), held("r2", 1).unwrap());
        let (now, times) = (Millis(T0 + 1), OverrideTerms::default());
        let less = OverrideChange::Limit("credits", Some(5));
        match by_catalog {
            true => drop(house.engine.install_catalog(credited(5), "less", now).unwrap()),
            false => drop(house.engine.put_override("acme", "credits", &less, times, now).unwrap()),
        }
        let left = |house: &House| {
            let view = house.engine.pool("acme", "credits", now).unwrap();
            (view.state.pool().unwrap().balance, view.state.drawable_units_remaining())
        };
        assert_eq!(left(&house), (22, Some(0)), "of 26 the 4 that nobody holds are gone");
        if restarts {
            house = house.reopen(credited(30));
            assert_eq!(left(&house), (22, Some(0)));
        }
        // A release gives back what there still is, and all that was kept for it alone goes.
        house.hold("acme", other, HoldOp::Release, "e2").unwrap();
        assert_eq!(left(&house), (20, Some(0)));
        let part = HoldOp::CommitPart { units: 2, hold_ms: None };
        let paid = house.hold("acme", hold, part, "p").unwrap();
        assert_eq!(charge(&paid).map(|paid| (paid.units, paid.debt_units)), Some((4, 0)));
        assert_eq!(left(&house), (16, Some(0)));
        let paid = house.hold("acme", hold, HoldOp::Commit { units: 7 }, "e").unwrap();
        assert_eq!(charge(&paid).map(|paid| (paid.units, paid.debt_units)), Some((14, 0)));
        assert_eq!(left(&house), (0, Some(0)), "22 of 5 were burnt");
        let told: i64 = history(&house, now.0).iter().map(|s| s.closing() - s.opening).sum();
        assert_eq!(told, 0);
    }
}

/// It is so when the hold ends by time, at that instant, whoever looks and when; and a charge at the end is paid.
#[test]
fn what_holds_have_set_aside_goes_when_they_end_by_time() {
    for (charges, looks) in [(false, false), (false, true), (true, false), (true, true)] {
        let house = house(30);
        house.subscribe("acme", "pro");
        let (units, hold_ms) = (10, HOUR_MS);
        let op = match charges {
            true => FeatureOp::ReserveCharging { units, hold_ms },
            false => FeatureOp::Reserve { units, hold_ms },
        };
        house.ask("acme", op, "r", T0).unwrap();
        let (times, less) = (OverrideTerms::default(), OverrideChange::Limit("credits", Some(5)));
        house.engine.put_override("acme", "credits", &less, times, Millis(T0 + 1)).unwrap();
        assert_eq!(house.balance_at("acme", T0 + 1), 20);
        if looks {
            house.engine.run_timers(Millis(T0 + HOUR_MS));
        }
        let later = T0 + 3 * HOUR_MS;
        assert_eq!(house.balance_at("acme", later), if charges { 0 } else { 5 });
        house.engine.run_timers(Millis(later));
        house.ask("acme", FeatureOp::Record { units: 1 }, "k", later).unwrap();
        let segments = history(&house, later);
        let at_end = segments.iter().find(|s| s.to == Millis(T0 + HOUR_MS)).unwrap();
        assert_eq!(at_end.closing(), 20);
        let voided: Vec<u64> = segments.iter().map(|s| s.voided_units).filter(|u| *u > 0).collect();
        assert_eq!(voided, if charges { vec![10] } else { vec![10, 15] });
    }
}

/// What is kept for a hold is not the plan's: it does not roll over.
#[test]
fn what_is_kept_for_holds_does_not_roll_over() {
    let house = house(30);
    house.subscribe("acme", "pro");
    let month = house.engine.next_timer_at();
    let (units, hold_ms) = (10, 2 * HOUR_MS);
    house.ask("acme", FeatureOp::Reserve { units, hold_ms }, "r", month.0 - HOUR_MS).unwrap();
    let (times, less) = (OverrideTerms::default(), OverrideChange::Limit("credits", Some(5)));
    house.engine.put_override("acme", "credits", &less, times, month.plus(-5)).unwrap();
    assert_eq!(house.balance_at("acme", month.0 - 1), 20);
    assert_eq!(house.balance_at("acme", month.0), 5 + 5);
}

/// What comes back to a grant that has ended by then was not used: it expired, or was taken back. Every unit is
/// in one column of its grant, and in one of the history.
#[test]
fn what_comes_back_to_a_grant_that_has_ended_is_in_a_column() {
    // Used up or not by the time it expires, or taken back.
    for (burnt, voids) in [(10, false), (6, false), (6, true)] {
        let house = house(0);
        house.subscribe("acme", "pro");
        let (until, later) = (Millis(T0 + HOUR_MS), Millis(T0 + 2 * HOUR_MS));
        let (units, expires_at) = (10, (!voids).then_some(until));
        let new = NewGrant { id: "g", units, priority: 100, starts_at: None, expires_at };
        house.engine.put_grant("acme", "credits", &new, Millis(T0)).unwrap();
        house.burn("acme", burnt, "k");
        if voids {
            house.engine.void_grant("acme", "credits", ("g", "why"), until).unwrap();
        }
        house.engine.run_timers(later);
        let rq = CorrectRequest {
            account: "acme",
            feature: "credits",
            subject: None,
            event: "k",
            units: Some(1),
            original_units: Some(burnt),
            reason: "",
            key: "c",
            dimensions: Default::default(),
            restate_ms: 7 * DAY_MS,
            now: later,
            wants: Wants::default(),
        };
        house.store.project(house.store.last());
        let (engine, catalog) = (&house.engine, house.engine.catalog());
        let seen = engine.look_correct(&catalog, &*house.store, &rq).unwrap();
        engine.correct(&catalog, &rq, &seen).unwrap();
        let found = house.reopen(credited(0));
        for house in [&house, &found] {
            let case = format!("{burnt} burnt, taken back: {voids}");
            assert_eq!(house.balance_at("acme", later.0), 0, "{case}: gone with its grant");
            let grants = house.grants("acme", later.0);
            let end = grants[0].end.as_ref().unwrap();
            assert!(grants[0].is_balanced(), "{case}: {grants:?}");
            assert_eq!((grants[0].burnt_units, end.lost_units), (1, 9), "{case}");
            let segments = history(house, later.0);
            let sum = |of: fn(&Segment) -> u64| segments.iter().map(of).sum::<u64>();
            assert_eq!(sum(|s| s.burnt_units) - sum(|s| s.returned_units), 1, "{case}");
            let (expired, voided) = (sum(|s| s.expired_units), sum(|s| s.voided_units));
            assert_eq!((expired, voided), if voids { (0, 9) } else { (9, 0) }, "{case}");
        }
    }
}
