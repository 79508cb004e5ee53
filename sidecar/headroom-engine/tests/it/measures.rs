//! Different and latest values over restarts: what was counted is known again, from the journal as from a
//! checkpoint.

use std::collections::BTreeMap;

use headroom_core::catalog::{Aggregation, CatalogSpec};
use headroom_core::decide::FeatureOp;
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::time::Millis;
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};

use crate::house::{House, T0, spec};

fn devices(free_units: u64) -> CatalogSpec {
    let mut spec = spec(free_units, Some("free"));
    spec.features[0].counting.aggregation = Aggregation::Unique;
    spec.features[0].counting.unique_by = Some("device".to_owned());
    spec
}

fn told(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn ask(
    house: &House,
    op: FeatureOp,
    (told, key): (&BTreeMap<String, String>, &str),
) -> Result<Box<Reply>, EngineError> {
    let rq = FeatureRequest {
        dimensions: Dimensions::of(told),
        account: "acme",
        feature: "tokens",
        op,
        synthetic: false,
        key,
        now: Millis(T0),
        wants: Wants::default(),
        subject: None,
    };
    house.engine.feature(&house.engine.catalog(), &rq)
}

fn comes(house: &House, device: &str, key: &str) -> Box<Reply> {
    ask(house, FeatureOp::Consume { units: 1 }, (&told("device", device), key)).unwrap()
}

fn verdict(reply: &Reply) -> Verdict {
    reply.outcome.decision.verdict
}

#[test]
fn different_values_are_known_again_after_a_restart() {
    for checkpointed in [false, true] {
        let house = House::of(devices(3), 1_000_000);
        for (place, device) in ["a", "b", "a", "c", "b"].into_iter().enumerate() {
            assert!(verdict(&comes(&house, device, &format!("k{place}"))).is_allowed());
        }
        assert_eq!(house.counts("acme"), (3, 0));
        if checkpointed {
            let checkpoint = house.checkpoint();
            house.store.keep(checkpoint);
        }
        let house = house.reopen(devices(3));
        let full = Verdict::Denied(Denial::QuotaExhausted);
        assert_eq!(verdict(&comes(&house, "d", "more")), full);
        assert_eq!(verdict(&comes(&house, "c", "again")), Verdict::Allowed);
        assert_eq!(house.counts("acme"), (3, 0));
        assert!(comes(&house, "a", "k0").replayed);
        let other = ask(&house, FeatureOp::Consume { units: 1 }, (&told("device", "b"), "k0"));
        assert_eq!(other.unwrap_err(), EngineError::KeyReused);
    }
}

/// More values than are known one by one, over restarts in between: the count is that of one run.
#[test]
fn an_estimate_is_the_same_over_restarts() {
    let count = |restarts: bool| {
        let mut house = House::of(devices(1_000_000), 1_000_000);
        for number in 0..3_000 {
            comes(&house, &format!("d{number}"), &format!("k{number}"));
            if restarts && number % 700 == 0 {
                if number % 1_400 == 0 {
                    let checkpoint = house.checkpoint();
                    house.store.keep(checkpoint);
                }
                house = house.reopen(devices(1_000_000));
            }
        }
        house.counts("acme").0
    };
    let counted = count(false);
    assert_eq!(counted, count(true));
    assert!((2_880..=3_120).contains(&counted), "{counted}");
}

#[test]
fn a_value_is_said_by_its_name_and_is_one() {
    let house = House::of(devices(3), 1_000_000);
    let consume = FeatureOp::Consume { units: 1 };
    let none = ask(&house, consume, (&BTreeMap::new(), "k"));
    assert_eq!(none.unwrap_err(), OpError::NoValue.into());
    for (op, name, value, expected) in [
        (consume, "phone", "a", "there is no \"phone\": feature tokens has device"),
        (consume, "device", "", "the value of device is 0 bytes long, must be 1 to 64"),
        (
            FeatureOp::Check { units: 1, attempt: true },
            "device",
            "a\n",
            "the value of device contains a control character",
        ),
    ] {
        let wrong = ask(&house, op, (&told(name, value), "k")).unwrap_err();
        assert_eq!(wrong, EngineError::Dimensions { problem: expected.to_owned() });
    }
    assert_eq!(house.counts("acme"), (0, 0));
    let looks = FeatureOp::Check { units: 1, attempt: false };
    assert!(verdict(&ask(&house, looks, (&BTreeMap::new(), "")).unwrap()).is_allowed());
}
