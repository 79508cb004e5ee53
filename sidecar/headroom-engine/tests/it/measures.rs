//! Different and latest values over restarts: what was counted is known again, from the journal as from a
//! checkpoint.

use std::collections::BTreeMap;

use headroom_core::catalog::{
    Aggregation, CatalogSpec, EntitlementSpec, FeatureKindSpec, LimitSpec, PlanLimitSpec,
};
use headroom_core::decide::{AllOp, FeatureOp, ItemError};
use headroom_core::decision::{Denial, OpError, Verdict};
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;
use headroom_engine::all::{AllReply, AllRequest, Item};
use headroom_engine::dimensions::Dimensions;
use headroom_engine::engine::{EngineError, FeatureRequest, Reply, Wants};
use headroom_engine::subjects::{Erasing, SubjectUsage};

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

/// As [`devices`], and each user may have so many.
fn devices_each(each: u64) -> CatalogSpec {
    let mut spec = devices(1_000_000);
    let FeatureKindSpec::Quota { limits } = &mut spec.features[0].kind else { unreachable!() };
    let per = Some("user".to_owned());
    limits.push(LimitSpec { limit: "each".to_owned(), per, ..limits[0].clone() });
    for plan in &mut spec.plans {
        let EntitlementSpec::Quota { limits } = &mut plan.entitlements[0].1 else { unreachable!() };
        let (limit, included_units) = ("each".to_owned(), Some(each));
        limits.push(PlanLimitSpec { limit, included_units, ..limits[0].clone() });
    }
    spec
}

fn comes_for(house: &House, user: &str, device: &str, key: &str) -> Box<Reply> {
    let told = told("device", device);
    let rq = FeatureRequest {
        dimensions: Dimensions::of(&told),
        account: "acme",
        feature: "tokens",
        op: FeatureOp::Consume { units: 1 },
        synthetic: false,
        key,
        now: Millis(T0),
        wants: Wants::default(),
        subject: Some(SubjectPath::new(user).unwrap()),
    };
    house.engine.feature(&house.engine.catalog(), &rq).unwrap()
}

/// The counters of the subjects, by name.
fn each(house: &House) -> Vec<(String, u64)> {
    let view = house.engine.subjects("acme", Millis(T0)).unwrap();
    let used = |one: &SubjectUsage| one.ledgers.iter().map(|ledger| ledger.used).sum();
    view.subjects.iter().map(|one| (one.name.clone(), used(one))).collect()
}

/// More devices of a user than are known one by one, over restarts from the journal and from checkpoints.
#[test]
fn the_devices_of_each_user_are_known_again_after_a_restart() {
    let count = |restarts: bool| {
        let mut house = House::of(devices_each(1_000), 1_000_000);
        for number in 0..400 {
            let device = format!("d{}", number / 2);
            comes_for(&house, "user:x", &device, &format!("k{number}"));
            comes_for(&house, "user:y", &format!("d{}", number % 3), &format!("l{number}"));
            if restarts && number % 37 == 0 {
                if number % 2 == 0 {
                    let checkpoint = house.checkpoint();
                    house.store.keep(checkpoint);
                }
                house = house.reopen(devices_each(1_000));
            }
        }
        (each(&house), house.counts("acme"))
    };
    let counted = count(false);
    assert_eq!(counted, count(true));
    let (each, own) = counted;
    assert_eq!((&each[1], own), (&("user:y".to_owned(), 3), (200, 0)), "the account's is exact");
    assert!((175..=225).contains(&each[0].1), "{each:?}");
}

#[test]
fn an_erased_user_has_no_devices_any_more_also_after_a_restart() {
    let house = House::of(devices_each(1), 1_000_000);
    assert!(verdict(&comes_for(&house, "user:x", "a", "1")).is_allowed());
    let erases = SubjectPath::new("user:x").unwrap();
    house
        .engine
        .erase_subject(
            "acme",
            erases,
            &Erasing { position: house.store.last(), ..Erasing::default() },
            Millis(T0),
        )
        .unwrap();
    for house in [house.reopen(devices_each(1)), house] {
        assert_eq!(each(&house), [("erased:1".to_owned(), 1)]);
        assert!(verdict(&comes_for(&house, "user:x", "b", "2")).is_allowed(), "who comes is new");
    }
}

#[test]
fn an_item_says_its_value_and_what_it_is_told_apart_by() {
    let house = House::of(devices(2), 1_000_000);
    let all = |items: &[(&str, &BTreeMap<String, String>)], op, key| {
        let items: Vec<Item<'_>> = items
            .iter()
            .map(|(feature, told)| Item { feature, units: 1, dimensions: Dimensions::of(told) })
            .collect();
        let rq = AllRequest {
            account: "acme",
            items: &items,
            op,
            synthetic: false,
            key,
            now: Millis(T0),
            wants: Wants::default(),
            subject: None,
        };
        house.engine.all(&house.engine.catalog(), &rq)
    };
    let (none, a, b) = (BTreeMap::new(), told("device", "a"), told("device", "b"));
    let allowed = |reply: Result<AllReply, EngineError>| reply.map(|reply| reply.allowed);
    assert_eq!(allowed(all(&[("calls", &none), ("tokens", &a)], AllOp::Consume, "1")), Ok(true));
    let again = all(&[("calls", &none), ("tokens", &a)], AllOp::Consume, "1").unwrap();
    assert!(again.replies.iter().all(|reply| reply.replayed));
    let other = all(&[("calls", &none), ("tokens", &b)], AllOp::Consume, "1");
    assert_eq!(other.unwrap_err(), EngineError::KeyReused, "another value is another write");
    assert_eq!(allowed(all(&[("tokens", &a), ("calls", &none)], AllOp::Consume, "2")), Ok(true));
    assert_eq!(house.counts("acme"), (1, 0), "it is known");
    let wrong =
        |place, problem: &str| EngineError::ItemDimensions { place, problem: problem.to_owned() };
    let check = AllOp::Check { attempt: false };
    for op in [check, AllOp::Consume] {
        let phone = told("phone", "a");
        let error = all(&[("calls", &none), ("tokens", &phone)], op, "3").unwrap_err();
        assert_eq!(error, wrong(1, "there is no \"phone\": feature tokens has device"));
        let error = all(&[("calls", &a)], op, "3").unwrap_err();
        let has_none = "there is no \"device\": feature calls has none in the catalog";
        assert_eq!(error, wrong(0, has_none));
    }
    let hold = AllOp::Reserve { hold_ms: 1_000, charging: false };
    let held = all(&[("calls", &a)], hold, "3").unwrap_err();
    assert_eq!(held, wrong(0, "what is held is told apart when it is used: say them with Commit"));
    let held = all(&[("calls", &none), ("tokens", &a)], hold, "3").unwrap_err();
    let error = OpError::NothingToHold { aggregation: "unique" };
    assert_eq!(held, EngineError::Item(ItemError { place: 1, error }));
    assert_eq!(house.counts("acme"), (1, 0));
}
