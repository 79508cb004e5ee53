//! Windows that owe when they end: what follows them though nobody asks, over restarts, and for whom nobody
//! remembered it.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec, Policy};
use headroom_core::decide::FeatureOp;
use headroom_core::policy::{NANOS_PER_MINOR, OverageTerms};
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::digest::{RecordDigest, usage_row};
use headroom_engine::ports::{Digest, ProjectionOp, Seq, Table};

use crate::house::{DAY_MS, House, T0, spec};

/// The house's catalog by the month, with debt that is carried or not.
fn monthly(carries_debt: bool) -> CatalogSpec {
    let mut spec = spec(100, Some("free"));
    for feature in &mut spec.features {
        let FeatureKindSpec::Quota { limits } = &mut feature.kind else { continue };
        limits[0].window = WindowRule::Calendar(CalendarUnit::Month);
    }
    for plan in &mut spec.plans {
        for (_, given) in &mut plan.entitlements {
            let EntitlementSpec::Quota { limits } = given else { continue };
            limits[0].terms.carries_debt = carries_debt;
        }
    }
    spec
}

/// The same, with half a cent for each of 100 units more.
fn priced() -> CatalogSpec {
    let mut spec = monthly(true);
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { continue };
        for limit in limits {
            limit.policy = Policy::Overage;
            limit.terms.overage = Some(OverageTerms {
                unit_price_nanos: NANOS_PER_MINOR / 2,
                currency: "USD".into(),
                cap_minor: Some(50),
            });
        }
    }
    spec
}

/// The rows of the usage history that the journal amounts to: used units, debt, units taken over, billed
/// units and what they cost.
fn history(house: &House) -> Vec<(u64, u64, u64, u64, Option<u64>)> {
    let mut rows = Vec::new();
    for (seq, stored) in house.store.since(Seq(0)) {
        let mut ops = Vec::new();
        RecordDigest.digest(seq, &stored.bytes, &mut ops);
        assert_eq!(!ops.is_empty(), stored.matter);
        for op in ops {
            let ProjectionOp::Put { table: Table::Usage, value, .. } = op else { continue };
            let window = usage_row(&value).unwrap().window;
            let by = window.terms.expect("what it was measured by");
            let (used, debt) = (window.used, window.debt);
            rows.push((used, debt, by.carried_units, by.overage_units(used), by.cost_minor(used)));
        }
    }
    rows
}

fn record(house: &House, units: u64) {
    house.ask("acme", FeatureOp::Record { units }, "k1", T0).unwrap();
}

#[test]
fn each_window_that_takes_debt_over_is_billed_though_nobody_asks() {
    let mut house = House::of(priced(), 1_000_000);
    record(&house, 450);
    let mut ends = vec![house.engine.next_timer_at()];
    assert_eq!(house.engine.run_timers(Millis(ends[0].0 - 1)), 0);
    assert_eq!(history(&house), []);
    for _ in 0..2 {
        // A checkpoint and a restart later it is still waited for.
        house.store.keep(house.checkpoint());
        house = house.reopen(priced());
        let end = house.engine.next_timer_at();
        assert_eq!(Some(&end), ends.last());
        assert_eq!(house.engine.run_timers(end), 1);
        ends.push(house.engine.next_timer_at());
        let view = house.engine.usage("acme", end).unwrap();
        let open = view.ledgers.iter().find(|l| l.window.contains(end)).unwrap();
        let by = view.terms_of(open).unwrap();
        assert_eq!((open.used, by.carried_units), (open.used, open.used), "the open one is listed");
    }
    let whole = (450, 250, 0, 100, Some(50));
    assert_eq!(history(&house), [whole, (250, 50, 250, 100, Some(50))]);
    // The last one owes nothing; what it is measured by is fixed at its end, and it closes with the next use.
    let end = house.engine.next_timer_at();
    assert_eq!(house.engine.run_timers(end), 1);
    assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
    house.ask("acme", FeatureOp::Record { units: 1 }, "k2", end.0 + DAY_MS).unwrap();
    assert_eq!(history(&house)[2], (50, 0, 50, 0, Some(0)));
}

/// What an earlier version wrote remembers no window that owes, and neither does a catalog that carries
/// nothing.
#[test]
fn a_debt_that_nobody_remembered_goes_on_from_where_it_was_left() {
    for restarts in [false, true] {
        let mut house = House::of(monthly(false), 1_000_000);
        record(&house, 450);
        assert_eq!(house.engine.next_timer_at(), Millis::FOREVER);
        if restarts {
            house = house.reopen(monthly(true));
        } else {
            house.engine.install_catalog(monthly(true), "another", Millis(T0)).unwrap();
        }
        house.engine.run_timers(Millis(T0 + 60 * DAY_MS));
        assert_eq!(history(&house)[..2], [(450, 350, 0, 0, None), (350, 250, 350, 0, None)]);
    }
}
