//! Late events and corrections of what credits pay for.

use headroom_core::catalog::FeatureKindSpec;
use headroom_core::credits::{Charge, CreditPrice, GrantEnding, Rounding};
use headroom_core::decide::{self, Booked, Context, FeatureOp, NewGrant, Past};
use headroom_core::decision::OpError;
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{EventState, Payment};
use headroom_core::limits::{EVENT_PARTS_MAX, UNITS_MAX};
use headroom_core::time::Millis;

use crate::credits::{spec, terms};
use crate::world::{DAY_MS, HOUR_MS, T0, World};

/// A pool without included units.
fn empty() -> World {
    World::of(spec(&terms(0)))
}

impl World {
    fn put(&mut self, id: &str, units: u64, expires_at: Option<i64>) {
        let cx = Context { catalog: &self.catalog, now: Millis(self.now) };
        let pool = self.feature("credits").unwrap();
        let expires_at = expires_at.map(Millis);
        let new = NewGrant { id, units, priority: 100, starts_at: None, expires_at };
        let mut effects = Effects::new();
        decide::put_grant(cx, &self.account, pool, &new, &mut effects).unwrap();
        self.apply(&effects);
    }

    fn try_late(
        &mut self,
        name: &str,
        at: i64,
        units: u64,
    ) -> Result<(EventState, Booked), OpError> {
        let cx = Context { catalog: &self.catalog, now: Millis(self.now) };
        let feature = self.feature(name).unwrap();
        let mut effects = Effects::new();
        let booked = decide::record_at(
            cx,
            &self.account,
            (feature, None),
            (Millis(at), units),
            Past::default(),
            &mut effects,
        );
        if booked.is_err() {
            assert_eq!(effects, [], "an error changes nothing");
        }
        self.apply(&effects);
        self.last = effects;
        let booked = booked?;
        let event = EventState {
            key: [1, 2],
            name: "e".to_owned(),
            feature: self.id(name),
            occurred_at: Millis(at),
            units,
            bookings: booked.bookings.clone(),
            labels: Default::default(),
            paid: booked.paid.clone(),
            subject: None,
        };
        Ok((event, booked))
    }

    fn late(&mut self, name: &str, at: i64, units: u64) -> (EventState, Booked) {
        self.try_late(name, at, units).unwrap()
    }

    /// Corrects an event, and says what this took or gave back.
    fn correct(&mut self, event: &mut EventState, units: u64) -> Result<Charge, OpError> {
        let cx = Context { catalog: &self.catalog, now: Millis(self.now) };
        let mut effects = Effects::new();
        let booked =
            decide::correct(cx, &self.account, (event, None), units, Past::default(), &mut effects);
        if booked.is_err() {
            assert_eq!(effects, [], "an error changes nothing");
        }
        self.apply(&effects);
        let booked = booked?;
        (event.units, event.paid) = (units, booked.paid);
        Ok(*booked.charge.expect("credits pay for it"))
    }

    fn stands(&self) -> (i64, u64) {
        let cx = Context { catalog: &self.catalog, now: Millis(self.now) };
        let pool = self.feature("credits").unwrap();
        let state = decide::pool_state(cx, &self.account, pool);
        (state.pool().unwrap().balance, state.ledger.used)
    }

    /// What is left of a grant, also when all of it was burnt and it came back.
    fn left(&self, id: &str) -> u64 {
        let pool = self.account.pool(self.id("credits")).unwrap();
        pool.grants().iter().find(|grant| *grant.id == *id).map_or(0, |grant| grant.left_units())
    }
}

fn parts(paid: &Option<Box<Payment>>) -> Vec<(Option<&str>, u64)> {
    let paid = paid.as_ref().expect("credits paid");
    paid.parts.iter().map(|part| (part.grant.as_deref(), part.units)).collect()
}

#[test]
fn a_late_event_counts_then_and_is_charged_now() {
    let mut world = empty();
    let then = world.now;
    world.now += 3 * HOUR_MS;
    // What comes after the event's own time pays for it all the same: a pool has no past.
    world.put("later", 10, None);
    let (event, booked) = world.late("images", then, 3);
    let charge = booked.charge.unwrap();
    assert_eq!((charge.units, charge.debt_units, booked.debt_units), (15, 5, 0));
    assert_eq!(parts(&event.paid), [(Some("later"), 10), (None, 5)]);
    assert_eq!(world.stands(), (-5, 15));
    let images = world.id("images");
    let used: u64 =
        world.account.ledgers().iter().filter(|l| l.feature == images).map(|l| l.used).sum();
    assert_eq!(used, 3);
    assert!(world.last.iter().any(|effect| matches!(effect, Effect::Credits(_))));
}

#[test]
fn credits_of_the_pool_itself_come_late_and_are_corrected_too() {
    let mut world = empty();
    world.put("g", 4, None);
    let now = world.now;
    let (mut event, booked) = world.late("credits", now - HOUR_MS, 6);
    assert_eq!((booked.bookings.len(), booked.debt_units), (0, 2));
    assert_eq!(world.stands(), (-2, 6));
    assert_eq!(world.correct(&mut event, 1).unwrap().returned_units, 5);
    assert_eq!((world.stands(), world.left("g")), ((3, 1), 3));
}

#[test]
fn a_correction_gives_back_to_the_grants_that_paid_the_last_one_first() {
    let mut world = empty();
    world.put("soon", 10, Some(T0 + 9 * DAY_MS));
    world.put("late", 10, None);
    let now = world.now;
    let (mut event, _) = world.late("images", now, 3);
    assert_eq!(parts(&event.paid), [(Some("soon"), 10), (Some("late"), 5)]);
    // One that is drawn from last has nothing to do with it.
    world.put("other", 10, None);
    assert_eq!(world.correct(&mut event, 1).unwrap().returned_units, 10);
    assert_eq!((world.left("soon"), world.left("late"), world.left("other")), (5, 10, 10));
    assert_eq!(parts(&event.paid), [(Some("soon"), 5)]);
    assert_eq!(world.correct(&mut event, 0).unwrap().returned_units, 5);
    assert_eq!((world.left("soon"), world.stands().1), (10, 0));
    // And more again: as if it were new.
    assert_eq!(world.correct(&mut event, 2).unwrap().units, 10);
    assert_eq!((world.left("soon"), parts(&event.paid)), (0, vec![(Some("soon"), 10)]));
}

#[test]
fn what_a_grant_paid_that_has_ended_since_is_gone_with_it() {
    for ending in [GrantEnding::Expired, GrantEnding::Void] {
        let mut world = empty();
        world.put("promo", 20, Some(T0 + DAY_MS));
        let now = world.now;
        let (mut event, _) = world.late("images", now, 3);
        world.put("bought", 20, None);
        world.ask(FeatureOp::Consume { units: 10 });
        if ending == GrantEnding::Expired {
            world.now = T0 + DAY_MS;
        } else {
            let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
            let pool = world.feature("credits").unwrap();
            let mut effects = Effects::new();
            decide::void_grant(cx, &world.account, pool, "promo", "", &mut effects).unwrap();
            world.apply(&effects);
        }
        let before = world.stands().0;
        assert_eq!(world.correct(&mut event, 0).unwrap().returned_units, 0, "{ending:?}");
        assert_eq!(world.stands().0, before, "the bought ones did not pay for it: {ending:?}");
        assert_eq!(event.paid.unwrap().units(), 0, "it costs nothing any more");
    }
}

#[test]
fn what_comes_back_pays_what_is_owed_first() {
    let mut world = empty();
    world.put("g", 10, None);
    let now = world.now;
    let (mut event, _) = world.late("images", now, 2);
    world.late("images", now, 1);
    assert_eq!(world.stands(), (-5, 15));
    assert_eq!(world.correct(&mut event, 0).unwrap().returned_units, 10);
    assert_eq!((world.stands(), world.left("g")), ((5, 5), 5));
}

/// What was owed has been paid by units that came later: they are what comes back.
#[test]
fn an_owed_event_gives_back_to_what_has_paid_it_since() {
    let mut world = empty();
    let now = world.now;
    let (mut event, _) = world.late("images", now, 2);
    assert_eq!(world.stands(), (-10, 10));
    world.put("g", 30, None);
    assert_eq!((world.stands().0, world.left("g")), (20, 20));
    assert_eq!(world.correct(&mut event, 0).unwrap().returned_units, 10);
    assert_eq!((world.stands().0, world.left("g")), (30, 30));
}

#[test]
fn an_event_keeps_the_price_of_its_coming() {
    let mut world = empty();
    world.put("g", 1_000, None);
    let now = world.now;
    let (mut event, _) = world.late("images", now, 4);
    assert_eq!(world.stands().0, 980);
    let mut dearer = spec(&terms(0));
    for feature in &mut dearer.features {
        if let FeatureKindSpec::Credits { rate_card, .. } = &mut feature.kind {
            let price = CreditPrice { credits: 50, per: 1, rounding: Rounding::Up };
            rate_card.iter_mut().for_each(|(_, known)| *known = price);
        }
    }
    world.install(dearer);
    assert_eq!(world.correct(&mut event, 5).unwrap().units, 5, "at 5 each, as then");
    assert_eq!(world.late("images", now, 1).1.charge.unwrap().units, 50, "at 50 each, as now");
    assert_eq!(world.correct(&mut event, 0).unwrap().returned_units, 25);
    assert_eq!(world.stands().0, 950);
}

/// Every small case: what a write cost in all is what its units cost, however often it is corrected.
#[test]
fn corrections_come_to_what_the_event_would_have_cost() {
    for first in 1..=12 {
        for second in 0..=12 {
            for third in 0..=12 {
                let mut world = empty();
                world.put("a", 2, None);
                world.put("b", 90, None);
                let now = world.now;
                let (mut event, _) = world.late("tokens", now, first);
                world.correct(&mut event, second).unwrap();
                world.correct(&mut event, third).unwrap();
                // 3 credits for 10 tokens, rounded up.
                let cost = (third * 3).div_ceil(10);
                assert_eq!(world.stands(), (92 - cost as i64, cost), "{first} {second} {third}");
                assert_eq!(event.paid.unwrap().units(), cost);
            }
        }
    }
}

#[test]
fn a_plain_write_is_corrected_at_the_price_of_now_if_that_was_its_price() {
    let mut world = empty();
    world.put("g", 100, None);
    let outcome = world.ask(FeatureOp::Consume { units: 20 });
    let charge = outcome.decision.charge().unwrap().clone();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let tokens = world.feature("tokens").unwrap();
    let at = Millis(world.now);
    let of = |units, credits| {
        let charge = Charge { units: credits, ..charge.clone() };
        decide::paid_then(cx, &world.account, tokens, units, (&charge, at)).price
    };
    let price = |credits, per| CreditPrice { credits, per, rounding: Rounding::Up };
    assert_eq!(of(20, 6), price(3, 10));
    // The rate card said something else then: in proportion.
    assert_eq!(of(20, 8), price(8, 20));
    assert_eq!(of(20, 8).cost(10), 4);
}

#[test]
fn the_price_of_a_pool_that_pays_now_says_nothing_of_what_another_was_charged() {
    let mut world = empty();
    world.put("g", 100, None);
    let charge = world.ask(FeatureOp::Consume { units: 1 }).decision.charge().unwrap().clone();
    let cx = Context { catalog: &world.catalog, now: Millis(world.now) };
    let tokens = world.feature("tokens").unwrap();
    let of = |charge: &Charge| {
        decide::paid_then(cx, &world.account, tokens, 1, (charge, Millis(world.now))).price
    };
    assert_eq!(of(&charge), CreditPrice { credits: 3, per: 10, rounding: Rounding::Up });
    // A token cost one unit of a pool that does not pay for tokens any more. That it costs one credit by now is chance.
    let other = Charge { pool: world.id("images"), ..charge };
    assert_eq!(of(&other), CreditPrice { credits: 1, per: 1, rounding: Rounding::Up });
}

#[test]
fn an_event_that_cannot_be_charged_counts_nowhere() {
    let mut world = empty();
    let now = world.now;
    assert_eq!(world.try_late("images", now, UNITS_MAX).unwrap_err(), OpError::CounterFull);
    assert_eq!(world.account.ledgers(), []);
    world.put("g", 10, None);
    let (mut event, _) = world.late("images", now, 1);
    for part in 1..EVENT_PARTS_MAX as i64 {
        world.now = now + part;
        world.correct(&mut event, 1 + part as u64).unwrap();
    }
    world.now += 1;
    let before = world.account.clone();
    let full = OpError::TooManyParts { max: EVENT_PARTS_MAX };
    assert_eq!(world.correct(&mut event, 400), Err(full));
    assert_eq!(world.account, before);
    world.correct(&mut event, 0).unwrap();
    world.correct(&mut event, 400).unwrap();
}
