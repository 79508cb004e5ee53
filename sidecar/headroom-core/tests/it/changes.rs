//! A change of plan in the middle of a window: kept, prorated, or a new window.

use headroom_core::account::{ScheduledPlan, Trial};
use headroom_core::catalog::{CatalogSpec, EntitlementSpec, PlanSpec, Policy};
use headroom_core::change::{self, OnChange};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::effect::Effect;
use headroom_core::policy::LimitTerms;
use headroom_core::signal::SignalSwitches;
use headroom_core::time::Millis;
use headroom_core::window::WindowRule;

use crate::world::{DAY_MS, HOUR_MS, Limit, T0, World, daily, spec};

/// The day of `T0` begins here.
const DAY: i64 = T0 - 12 * HOUR_MS;

pub(crate) fn limit(included: Option<u64>, on_change: OnChange) -> Limit {
    let policy = if included.is_some() { Policy::Block } else { Policy::Unlimited };
    let terms = LimitTerms { on_change, ..LimitTerms::default() };
    Limit { included, terms, ..daily(0, policy) }
}

/// Plan `pro` has the first limit, `p1`, `p2` … the others.
pub(crate) fn catalog(limits: &[Limit]) -> CatalogSpec {
    let mut all = spec(&limits[..1], SignalSwitches::default());
    for (place, limit) in limits.iter().enumerate().skip(1) {
        let one = spec(std::slice::from_ref(limit), SignalSwitches::default());
        let plan = PlanSpec { plan: format!("p{place}"), ..one.plans[0].clone() };
        all.plans.push(plan);
    }
    all
}

/// Puts the account on a plan now, as a subscription does.
pub(crate) fn put(world: &mut World, plan: &str) {
    let before = world.account.profile.clone();
    let mut after = before.clone();
    after.plan = world.id(plan);
    let needed_from = change::needed_from(&world.catalog, &world.account, Millis(world.now));
    let remembers = (world.catalog.minds_changes(), needed_from);
    assert!(change::note(&before, &mut after, Millis(world.now), remembers));
    world.account.profile = after;
}

#[track_caller]
fn prorated(included: &[Option<u64>], at_hours: &[i64], expected: Option<u64>) {
    let limits: Vec<Limit> = included.iter().map(|n| limit(*n, OnChange::Prorate)).collect();
    let mut told = World::of(catalog(&limits));
    let mut scheduled = World::of(catalog(&limits));
    for (place, hours) in at_hours.iter().enumerate() {
        let plan = format!("p{}", place + 1);
        told.now = DAY + hours * HOUR_MS;
        put(&mut told, &plan);
        let one = ScheduledPlan { starts_at: Millis(told.now), plan: told.id(&plan) };
        scheduled.account.profile.extra.get_or_insert_default().scheduled.push(one);
        scheduled.now = told.now;
    }
    for world in [&mut told, &mut scheduled] {
        assert_eq!(world.state("daily").included_units, expected, "{included:?} {at_hours:?}");
        world.now = DAY + DAY_MS;
        let last = included[at_hours.len()];
        assert_eq!(world.state("daily").included_units, last, "the next window is the last plan's");
    }
}

#[test]
fn each_plan_gives_its_share_of_the_window_rounded_down() {
    prorated(&[Some(240), Some(480)], &[12], Some(360));
    prorated(&[Some(480), Some(240)], &[6], Some(300));
    prorated(&[Some(240), Some(480), Some(0)], &[6, 18], Some(60 + 240));
    prorated(&[Some(1), Some(2)], &[12], Some(1));
    prorated(&[Some(3), Some(2)], &[23], Some(2));
    // What has no bound has no share, and nothing is a share of nothing.
    prorated(&[None, Some(24)], &[12], Some(24));
    prorated(&[Some(24), None], &[12], None);
    prorated(&[Some(24), Some(24)], &[7], Some(24));
    prorated(&[Some(24), Some(48), Some(24)], &[6, 6], Some(24));
}

#[test]
fn a_share_is_exact_to_the_millisecond() {
    let units = u64::try_from(DAY_MS).unwrap();
    let mut world = World::of(catalog(&[
        limit(Some(units), OnChange::Prorate),
        limit(Some(0), OnChange::Prorate),
    ]));
    world.now = DAY + 1_234_567;
    put(&mut world, "p1");
    assert_eq!(world.state("daily").included_units, Some(1_234_567));
}

#[test]
fn a_trial_that_ends_leaves_its_share_and_what_was_used_stands() {
    let limits = [limit(Some(24), OnChange::Prorate), limit(Some(240), OnChange::Prorate)];
    let mut world = World::of(catalog(&limits));
    let trial = Trial { plan: world.id("p1"), ends_at: Millis(DAY + 18 * HOUR_MS) };
    world.account.profile.extra.get_or_insert_default().trial = Some(trial);
    assert_eq!(world.consume(200).decision.verdict, Verdict::Allowed);
    world.now = DAY + 18 * HOUR_MS;
    assert_eq!(world.state("daily").included_units, Some(180 + 6));
    assert_eq!(
        world.consume(1).decision.verdict,
        Verdict::Denied(Denial::QuotaExhausted),
        "existing work stands, new is refused"
    );
}

#[test]
fn an_account_that_is_new_in_a_window_has_all_of_its_plan() {
    let limits = [limit(Some(24), OnChange::Prorate), limit(Some(240), OnChange::Prorate)];
    let mut world = World::of(catalog(&limits));
    world.account.profile.created_at = Millis(world.now);
    put(&mut world, "p1");
    assert_eq!(world.state("daily").included_units, Some(240));
}

/// A known fault of others.
#[test]
fn a_buyer_is_not_blocked_any_more_after_paying() {
    for on_change in [OnChange::Keep, OnChange::Prorate, OnChange::Reset] {
        let mut world =
            World::of(catalog(&[limit(Some(5), on_change), limit(Some(50), on_change)]));
        world.consume(5);
        let refused = Verdict::Denied(Denial::QuotaExhausted);
        assert_eq!(world.consume(1).decision.verdict, refused, "{on_change:?}");
        put(&mut world, "p1");
        assert_eq!(world.consume(1).decision.verdict, Verdict::Allowed, "{on_change:?}");
    }
}

#[test]
fn a_reset_begins_a_window_windows_tile_and_nothing_is_counted_twice() {
    let mut world =
        World::of(catalog(&[limit(Some(5), OnChange::Keep), limit(Some(9), OnChange::Reset)]));
    world.consume(5);
    put(&mut world, "p1");
    world.now += 1;
    world.check(1);
    let state = world.state("daily");
    let window = state.ledger.window;
    assert_eq!((state.ledger.used, state.included_units), (0, Some(9)));
    assert_eq!((window.start(), window.end()), (Millis(T0), Millis(DAY + DAY_MS)));
    world.consume(9);
    let closed = world.last.iter().find_map(|effect| match effect {
        Effect::LedgerClosed(ledger, _) => Some(*ledger),
        _ => None,
    });
    let closed = closed.expect("the window before");
    assert_eq!((closed.window.start(), closed.window.end()), (Millis(DAY), Millis(T0)));
    assert_eq!(closed.used, 5);
    // Back again: the plan that comes into force says what becomes of the limit.
    put(&mut world, "pro");
    world.now += 1;
    world.check(1);
    assert_eq!(world.state("daily").ledger.used, 9, "`keep` keeps");
}

#[test]
fn a_plan_that_comes_to_its_day_resets_at_that_instant_whoever_looks_when() {
    let limits = [limit(Some(5), OnChange::Keep), limit(Some(9), OnChange::Reset)];
    let mut world = World::of(catalog(&limits));
    let starts_at = Millis(T0 + HOUR_MS);
    let one = ScheduledPlan { starts_at, plan: world.id("p1") };
    world.account.profile.extra.get_or_insert_default().scheduled = vec![one];
    world.consume(5);
    world.now = T0 + 5 * HOUR_MS;
    assert_eq!(world.consume(9).decision.verdict, Verdict::Allowed);
    assert_eq!(world.state("daily").ledger.window.start(), starts_at);
    // It was seen, and does not happen again.
    world.now += HOUR_MS;
    world.check(1);
    assert_eq!(world.state("daily").ledger.used, 9);
}

#[test]
fn a_hold_from_before_a_reset_is_committed_where_it_was_admitted() {
    let limits = [limit(Some(5), OnChange::Keep), limit(Some(9), OnChange::Reset)];
    let mut world = World::of(catalog(&limits));
    let id = world.reserve(5);
    put(&mut world, "p1");
    world.now += 1;
    world.consume(9);
    world.commit(id, 4);
    let closed = world.last.iter().any(|effect| {
        matches!(effect, Effect::LedgerClosed(l, _) if l.used == 4 && l.window.start() == Millis(DAY))
    });
    assert!(closed, "{:?}", world.last);
    assert_eq!(world.state("daily").ledger.used, 9);
}

#[test]
fn day_31_anchors_are_unaffected_by_a_reset() {
    let monthly = |included| Limit {
        window: WindowRule::Billing { months: 1 },
        ..limit(Some(included), OnChange::Reset)
    };
    let mut world = World::of(catalog(&[monthly(5), monthly(9)]));
    let date = |text: &str| Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    world.account.profile.anchor = date("2026-01-31T00:00:00Z");
    world.consume(5);
    put(&mut world, "p1");
    world.now += 1;
    world.consume(1);
    let window = world.state("daily").ledger.window;
    assert_eq!((window.start(), window.end()), (Millis(T0), date("2026-03-31T00:00:00Z")));
    world.now = date("2026-04-02T00:00:00Z").0;
    let window = world.state("daily").ledger.window;
    let next = (date("2026-03-31T00:00:00Z"), date("2026-04-30T00:00:00Z"));
    assert_eq!((window.start(), window.end()), next);
}

#[test]
fn plans_of_before_are_bounded() {
    let limits = [limit(Some(24), OnChange::Prorate), limit(Some(48), OnChange::Prorate)];
    let mut world = World::of(catalog(&limits));
    let most = headroom_core::limits::PAST_PLANS_MAX;
    for change in 0..most {
        world.now += 1;
        put(&mut world, if change % 2 == 0 { "p1" } else { "pro" });
    }
    assert_eq!(world.account.profile.past().len(), most);
    // One more has a share of the same window, and is refused; in a later window the old ones have none.
    let mut after = world.account.profile.clone();
    after.plan = world.id("p1");
    let needed_from = change::needed_from(&world.catalog, &world.account, Millis(world.now));
    let now = Millis(world.now + 1);
    assert!(!change::note(&world.account.profile, &mut after, now, (true, needed_from)));
    world.now += 40 * DAY_MS;
    put(&mut world, "p1");
    assert_eq!(world.account.profile.past().len(), 1);
    // A catalog that does not mind remembers nobody's plans.
    let kept = [limit(Some(24), OnChange::Keep), limit(Some(48), OnChange::Keep)];
    let mut world = World::of(catalog(&kept));
    put(&mut world, "p1");
    assert_eq!(world.account.profile.past(), []);
    let EntitlementSpec::Quota { limits } = &catalog(&kept).plans[0].entitlements[0].1 else {
        panic!("a quota")
    };
    assert!(limits[0].terms.is_plain());
}
