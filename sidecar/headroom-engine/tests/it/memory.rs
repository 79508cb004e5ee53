//! How much memory accounts take. It is what a sidecar's size is planned by, so it is a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headroom_core::catalog::FeatureKindSpec;
use headroom_core::catalog::{EntitlementSpec, LimitSpec, PlanLimitSpec};
use headroom_core::decide::FeatureOp;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::engine::{Engine, FeatureRequest, Wants};
use headroom_engine::limits::{KEY_HORIZON_MS_DEFAULT, KEYS_MAX_DEFAULT};
use headroom_engine::ports::{Seq, Store, StoreRefusal};
use headroom_engine::recovery::{EngineOptions, Recovery};

use crate::house::{T0, spec};

/// Accounts that are measured.
const ACCOUNTS: u64 = 10_000;

/// What an account with four ledgers, an id of 36 characters and one idempotency key took when it was
/// measured last, in bytes: the map with its id, the account, four ledgers, the key and its place. The
/// bound is 3 % above. More must be worth it: 250,000 accounts are a customer.
const BYTES_EACH: u64 = 549;

/// Takes records and keeps none.
struct Nowhere(AtomicU64);

impl Store for Nowhere {
    fn room(&self) -> Result<(), StoreRefusal> {
        Ok(())
    }

    fn append(&self, _: &[u8], _: bool) -> Seq {
        Seq(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Of whose feature `tokens` there are four limits.
fn engine() -> Engine {
    let windows = [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Month, CalendarUnit::Year];
    let mut spec = spec(1_000_000, Some("free"));
    spec.features[0].kind = FeatureKindSpec::Quota {
        limits: windows
            .iter()
            .map(|unit| LimitSpec {
                limit: format!("{unit:?}").to_lowercase(),
                window: WindowRule::Calendar(*unit),
                per: None,
            })
            .collect(),
    };
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else {
            panic!("tokens are a quota")
        };
        let limit = limits[0].clone();
        let named = |unit: &CalendarUnit| format!("{unit:?}").to_lowercase();
        *limits = windows
            .iter()
            .map(|unit| PlanLimitSpec { limit: named(unit), ..limit.clone() })
            .collect();
    }
    let options = EngineOptions {
        store: Arc::new(Nowhere(AtomicU64::new(0))),
        secret: *b"memory of a test",
        boot: 1,
        key_horizon_ms: KEY_HORIZON_MS_DEFAULT,
        keys_max: KEYS_MAX_DEFAULT,
    };
    let recovery = Recovery::new(KEY_HORIZON_MS_DEFAULT, KEYS_MAX_DEFAULT);
    recovery.finish(spec, "memory", Millis(T0), options).unwrap().0
}

fn consume(engine: &Engine, account: &str) {
    let request = FeatureRequest {
        account,
        feature: "tokens",
        op: FeatureOp::Consume { units: 1 },
        synthetic: false,
        dimensions: Default::default(),
        key: "k",
        now: Millis(T0),
        wants: Wants::default(),
        subject: None,
    };
    let reply = engine.feature(&engine.catalog(), &request).unwrap();
    drop(reply);
}

#[test]
fn an_account_with_four_ledgers_and_a_key_takes_no_more_memory_than_it_did() {
    let engine = engine();
    let ids: Vec<String> =
        (0..ACCOUNTS).map(|n| format!("{n:08x}-0000-4000-8000-{n:012x}")).collect();
    assert!(ids.iter().all(|id| id.len() == 36));
    // What is made once for all accounts is no part of it.
    consume(&engine, "the first");
    let taken = allocation_counter::measure(|| ids.iter().for_each(|id| consume(&engine, id)));
    let each = u64::try_from(taken.bytes_current).unwrap() / ACCOUNTS;
    let bound = BYTES_EACH * 103 / 100;
    assert!(each <= bound, "{each} bytes an account, at most {bound}");
    assert!(each * 100 >= BYTES_EACH * 90, "{each} bytes: take the bound of {BYTES_EACH} down");
}
