//! Allocations under 64 threads, over restarts, and when nobody asks.

use headroom_core::catalog::{CatalogSpec, EntitlementSpec, FeatureKindSpec};
use headroom_core::decide::{FeatureOp, LevelChange};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::event::Restated;
use headroom_core::stock::{BilledBy, Stock};
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;
use headroom_engine::digest::{RecordDigest, billed, usage_row};
use headroom_engine::engine::{EngineError, Reply};
use headroom_engine::events::UsageRow;
use headroom_engine::ports::{Digest, ProjectionOp, Seq, Table};

use crate::house::{DAY_MS, House, T0, spec};
use crate::races::{THREADS, race, winners};

/// The house's catalog, with `tokens` as things that exist.
pub(crate) fn things(units: u64) -> CatalogSpec {
    let mut spec = spec(units, Some("free"));
    let window = WindowRule::Billing { months: 1 };
    spec.features[0].kind = FeatureKindSpec::Allocation { billed_by: BilledBy::Average, window };
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = plan.entitlements[0].1.clone() else { continue };
        let limit = limits[0].clone();
        plan.entitlements[0].1 = EntitlementSpec::Allocation { limit };
    }
    spec
}

fn change(
    house: &House,
    account: &str,
    change: LevelChange,
    key: &str,
    now: i64,
) -> Result<Box<Reply>, EngineError> {
    house.ask(account, FeatureOp::Allocate { change }, key, now)
}

fn verdict(reply: &Reply) -> Verdict {
    reply.outcome.decision.verdict
}

pub(crate) fn stock(house: &House, account: &str, now: i64) -> Stock {
    house.engine.usage(account, Millis(now)).unwrap().stocks[0]
}

/// The rows of the usage history that the journal amounts to.
pub(crate) fn history(house: &House) -> Vec<Stock> {
    let mut rows = Vec::new();
    for (seq, stored) in house.store.since(Seq(0)) {
        let mut ops = Vec::new();
        RecordDigest.digest(seq, &stored.bytes, &mut ops);
        assert_eq!(!ops.is_empty(), stored.matter);
        for op in ops {
            let ProjectionOp::Put { table: Table::Usage, value, .. } = op else { continue };
            let UsageRow { window: Restated { closed: ledger, .. }, stock } =
                usage_row(&value).unwrap();
            let stock = stock.unwrap();
            assert_eq!(ledger, billed(&stock));
            rows.push(stock);
        }
    }
    rows
}

#[test]
fn of_64_threads_racing_for_the_last_gigabyte_one_gets_it() {
    let house = House::of(things(10), 1_000_000);
    let rounds = race(|thread, round| {
        let account = format!("acct{round}");
        // Whoever comes first fills it up to the last one; the key makes it once.
        change(&house, &account, LevelChange::Add { units: 9 }, "the first nine", T0).unwrap();
        verdict(&house.consume(&account, 1, &format!("k{thread}")))
    });
    for (round, results) in rounds.iter().enumerate() {
        assert_eq!(winners(results), 1, "round {round}");
        let full = Verdict::Denied(Denial::QuotaExhausted);
        assert_eq!(results.iter().filter(|verdict| **verdict == full).count(), THREADS - 1);
        assert_eq!(house.counts(&format!("acct{round}")), (10, 0), "round {round}");
        assert_eq!(stock(&house, &format!("acct{round}"), T0).level_units, 10);
    }
}

#[test]
fn what_comes_and_goes_from_all_sides_is_never_more_than_the_most() {
    let house = House::of(things(3), 1_000_000);
    let rounds = race(|thread, round| {
        let key = format!("{thread}/{round}");
        let added = house.consume("acme", 1, &key);
        if verdict(&added).is_allowed() {
            let level = added.outcome.decision.binding.unwrap().ledger.used;
            let remove = LevelChange::Remove { units: 1 };
            let removed = change(&house, "acme", remove, &format!("{key}/end"), T0).unwrap();
            assert!(removed.outcome.amounts.lowered);
            level
        } else {
            0
        }
    });
    assert!(rounds.iter().flatten().all(|level| *level <= 3));
    assert_eq!(house.counts("acme"), (0, 0));
}

#[test]
fn a_retry_is_answered_with_what_the_first_write_did() {
    let house = House::of(things(10), 1_000_000);
    let first = change(&house, "acme", LevelChange::Set { units: 7 }, "a", T0).unwrap();
    let down = change(&house, "acme", LevelChange::Set { units: 2 }, "b", T0).unwrap();
    let gone = change(&house, "acme", LevelChange::Remove { units: 5 }, "c", T0).unwrap();
    let house = house.reopen(things(10));
    for (key, was, then) in [
        ("a", LevelChange::Set { units: 7 }, first),
        ("b", LevelChange::Set { units: 2 }, down),
        ("c", LevelChange::Remove { units: 5 }, gone),
    ] {
        let again = change(&house, "acme", was, key, T0).unwrap();
        assert!(again.replayed);
        assert_eq!(again.outcome.amounts, then.outcome.amounts, "{key}");
        assert_eq!(again.outcome.decision.binding.as_ref().unwrap().ledger.used, 0);
    }
    let other = change(&house, "acme", LevelChange::Report { units: 7 }, "a", T0);
    assert_eq!(other.unwrap_err(), EngineError::KeyReused);
}

#[test]
fn a_billing_window_closes_though_nobody_asks_and_once() {
    let mut house = House::of(things(10), 1_000_000);
    change(&house, "acme", LevelChange::Add { units: 6 }, "a", T0).unwrap();
    let day = T0 + 10 * DAY_MS;
    change(&house, "acme", LevelChange::Remove { units: 2 }, "b", day).unwrap();
    let end = house.engine.next_timer_at();
    assert_eq!(end, stock(&house, "acme", day).window.end());
    assert_eq!(house.engine.run_timers(Millis(end.0 - 1)), 0);
    assert_eq!(history(&house), []);
    // A checkpoint and a restart later it is still waited for.
    house.store.keep(house.checkpoint());
    house = house.reopen(things(10));
    assert_eq!(house.engine.next_timer_at(), end);
    assert_eq!(house.engine.run_timers(end), 1);
    assert_eq!(house.engine.run_timers(end), 0);
    let [closed] = history(&house)[..] else { panic!("{:?}", history(&house)) };
    assert_eq!((closed.peak_units, closed.level_units), (6, 4));
    assert_eq!(closed.average_units(), (6 * 10 + 4 * 21) / 31, "31 days from 10 March");
    assert_eq!(stock(&house, "acme", end.0).level_units, 4);
    // And over a crash right after it.
    house = house.reopen(things(10));
    house.engine.run_timers(end);
    assert_eq!(history(&house).len(), 1);
    assert_eq!(house.counts("acme"), (4, 0));
}

#[test]
fn reading_shows_the_window_of_now_and_writes_nothing() {
    let house = House::of(things(10), 1_000_000);
    change(&house, "acme", LevelChange::Add { units: 6 }, "a", T0).unwrap();
    let last = house.store.last();
    let later = T0 + 70 * DAY_MS;
    let shown = stock(&house, "acme", later);
    assert!(shown.window.contains(Millis(later)));
    assert_eq!((shown.peak_units, shown.average_units(), shown.counted_to), (6, 6, Millis(later)));
    assert_eq!(house.store.last(), last);
}
