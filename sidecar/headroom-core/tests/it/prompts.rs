//! Prompts: which situation is worth a word, which words are taken, and how often.

use headroom_core::catalog::{Policy, PromptSpec, PromptingSpec, Scenario};
use headroom_core::catalog::{Price, PricePeriod};
use headroom_core::decision::{Decision, Denial, Verdict};
use headroom_core::names::NameId;
use headroom_core::prompt::{
    Arm, Audience, Cap, Comparison, DAY_MS, EXPOSURES_MAX, Exposure, Group, Occasion, Outcomes,
    Reader, Report, Severity, Share, Suppression, Ticket, Told, Unit, VariantSpec, choose,
    converted, due_today, group, held_back, scenarios, split, suppressed, told, wilson, winner,
};
use headroom_core::resolve::Origin;
use headroom_core::signal::SignalSwitches;
use headroom_core::time::{Millis, Window};

use crate::world::{World, daily, spec};

fn decision(world: &World, verdict: Verdict, feature: Option<&str>, plan: &str) -> Decision {
    Decision {
        verdict,
        binding: None,
        origin: Origin::None,
        plan: world.id(plan),
        feature: feature.map(|feature| world.id(feature)),
        value_json: None,
        retry_after_ms: None,
        shadow: None,
    }
}

#[test]
fn each_verdict_has_its_scenario_or_none() {
    use Scenario::*;
    let world = World::new(&[daily(1, Policy::Block)]);
    let check = |verdict, expected: Option<(&[Scenario], Severity)>| {
        let decision = decision(&world, verdict, Some("tokens"), "pro");
        assert_eq!(scenarios(&decision, Occasion::default()), expected, "{verdict:?}");
    };
    check(Verdict::Allowed, None);
    check(Verdict::SoftLimit, Some((&[NearLimit], Severity::Warning)));
    check(Verdict::Unbacked, Some((&[NearLimit], Severity::Warning)));
    check(Verdict::Grace, Some((&[Grace], Severity::Alarm)));
    check(Verdict::Overage, Some((&[LimitHit], Severity::Alarm)));
    check(Verdict::Denied(Denial::UnknownAccount), None);
    check(Verdict::Denied(Denial::AccountSuspended), None);
    check(Verdict::Denied(Denial::UnknownFeature), None);
    check(Verdict::Denied(Denial::SubscriptionEnded), None);
    check(Verdict::Denied(Denial::NotInPlan), Some((&[LockedFeature], Severity::Info)));
    check(Verdict::Denied(Denial::RateLimited), Some((&[RateTier, LimitHit], Severity::Alarm)));
    check(Verdict::Denied(Denial::SeatsFull), Some((&[SeatsFull, LimitHit], Severity::Alarm)));
    check(Verdict::Denied(Denial::QuotaExhausted), Some((&[LimitHit], Severity::Alarm)));
    check(Verdict::Denied(Denial::InFlight), None);

    let of = |verdict, occasion| {
        scenarios(&decision(&world, verdict, Some("tokens"), "pro"), occasion)
            .map(|(all, _)| all[0])
    };
    let trial = Occasion { trial_is_ending: true, ..Occasion::default() };
    assert_eq!(of(Verdict::Allowed, trial), Some(TrialEnding));
    assert_eq!(of(Verdict::SoftLimit, trial), Some(NearLimit), "what happened comes first");
    let invitation = Occasion { is_invitation: true, ..Occasion::default() };
    assert_eq!(of(Verdict::Denied(Denial::SeatsFull), invitation), Some(InviteWithoutSeat));
}

#[test]
fn the_most_specific_prompt_that_fits_is_taken() {
    let prompt = |name: &str, scenario, feature: Option<&str>, plans: &[&str]| PromptSpec {
        feature: feature.map(str::to_owned),
        plans: plans.iter().map(|plan| (*plan).to_owned()).collect(),
        ..PromptSpec::new(name, scenario)
    };
    let said = |mut prompt: PromptSpec| {
        (prompt.texts.title, prompt.texts.message) = (Some("t".into()), Some("m".into()));
        prompt
    };
    let mut spec = spec(&[daily(1, Policy::Block)], SignalSwitches::default());
    spec.prompts = [
        prompt("any-pro", Scenario::LimitHit, None, &["pro", "bare"]),
        prompt("tokens-any", Scenario::LimitHit, Some("tokens"), &[]),
        prompt("tokens-bare", Scenario::LimitHit, Some("tokens"), &["bare"]),
        PromptSpec {
            segments: vec!["smb".into()],
            ..prompt("tokens-smb", Scenario::LimitHit, Some("tokens"), &[])
        },
        PromptSpec {
            audiences: vec![Audience::Member, Audience::Admin],
            ..prompt("ask-whom", Scenario::LimitHit, Some("tokens"), &[])
        },
        prompt("rate", Scenario::RateTier, None, &[]),
        prompt("grace", Scenario::Grace, None, &[]),
    ]
    .map(said)
    .to_vec();
    let world = World::of(spec);
    let chosen_by = |verdict, feature, plan, reader| {
        let decision = decision(&world, verdict, feature, plan);
        let chosen = choose(&world.catalog, &decision, Occasion::default(), reader)?;
        Some(world.catalog.prompts()[chosen.place].spec.prompt.as_str())
    };
    let chosen = |verdict, feature, plan| chosen_by(verdict, feature, plan, Reader::default());
    let hit = Verdict::Denied(Denial::QuotaExhausted);
    assert_eq!(chosen(hit, Some("tokens"), "bare"), Some("tokens-bare"));
    assert_eq!(chosen(hit, Some("tokens"), "pro"), Some("tokens-any"));
    assert_eq!(chosen(hit, Some("sso"), "pro"), Some("any-pro"));
    assert_eq!(chosen(hit, None, "pro"), Some("any-pro"));
    assert_eq!(chosen(Verdict::Grace, Some("sso"), "pro"), Some("grace"));
    assert_eq!(chosen(Verdict::SoftLimit, Some("tokens"), "pro"), None);
    assert_eq!(chosen(Verdict::Allowed, Some("tokens"), "pro"), None);
    // A narrower situation comes before everything, and the wider one when nothing is for it.
    assert_eq!(chosen(Verdict::Denied(Denial::RateLimited), Some("tokens"), "pro"), Some("rate"));
    assert_eq!(
        chosen(Verdict::Denied(Denial::SeatsFull), Some("tokens"), "pro"),
        Some("tokens-any")
    );
    let smb = Reader { segment: "smb", ..Reader::default() };
    let member = Reader { audience: Some(Audience::Member), ..Reader::default() };
    let both = Reader { segment: "smb", ..member };
    let buyer = Reader { audience: Some(Audience::Buyer), ..Reader::default() };
    assert_eq!(chosen_by(hit, Some("tokens"), "pro", smb), Some("tokens-smb"));
    assert_eq!(chosen_by(hit, Some("tokens"), "pro", member), Some("ask-whom"));
    assert_eq!(chosen_by(hit, Some("tokens"), "pro", both), Some("tokens-smb"));
    assert_eq!(chosen_by(hit, Some("tokens"), "pro", buyer), Some("tokens-any"));
    assert_eq!(chosen_by(hit, Some("tokens"), "bare", both), Some("tokens-bare"));
}

fn tested() -> PromptSpec {
    let variant = |name: &str, share_bp| VariantSpec {
        variant: name.into(),
        share_bp,
        texts: Default::default(),
        languages: vec![],
    };
    PromptSpec {
        variants: vec![variant("a", 2_500), variant("b", 2_500)],
        holdout_bp: 2_000,
        ..PromptSpec::new("near", Scenario::NearLimit)
    }
}

#[test]
fn everybody_stays_in_a_group_and_groups_have_their_shares() {
    let prompt = tested();
    let of = |account: &str, person: &str, prompt: &PromptSpec| {
        group(prompt, Reader { account, person, ..Reader::default() })
    };
    let mut counts = [0_u32; 4];
    let mut moved = 0;
    let other = PromptSpec { prompt: "other".into(), ..tested() };
    for number in 0..20_000 {
        let account = format!("account-{number}");
        let drawn = of(&account, "u1", &prompt);
        assert_eq!(drawn, of(&account, "u2", &prompt), "all of an account are in one group");
        counts[match drawn {
            Group::Holdout => 0,
            Group::Variant(None) => 1,
            Group::Variant(Some(ix)) => 2 + ix,
        }] += 1;
        moved += u32::from(drawn != of(&account, "u1", &other));
    }
    // The shares of variants are of those who get a prompt.
    for (count, expected) in counts.into_iter().zip([4_000, 8_000, 4_000, 4_000]) {
        assert!(u32::abs_diff(count, expected) < 300, "{counts:?}");
    }
    // Equal by chance: 0.2² + 0.4² + 0.2² + 0.2² of all.
    assert!(
        u32::abs_diff(moved, 14_400) < 400,
        "{moved} of 20,000 are elsewhere in another prompt"
    );
    // Who is where is on disk and in people's minds, so it never changes.
    let known = ["acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "tyrell"];
    let known = known.map(|account| of(account, "", &prompt));
    let expected = [
        Group::Holdout,
        Group::Variant(None),
        Group::Variant(None),
        Group::Variant(Some(1)),
        Group::Variant(Some(1)),
        Group::Variant(Some(1)),
        Group::Variant(None),
        Group::Variant(Some(0)),
    ];
    assert_eq!(known, expected);
    let by_person = PromptSpec { assign_by: Unit::Person, ..tested() };
    let groups: std::collections::BTreeSet<String> =
        (0..50).map(|n| format!("{:?}", of("acme", &format!("u{n}"), &by_person))).collect();
    assert_eq!(groups.len(), 4, "persons of an account are in different groups");
}

const PROMPT: NameId = NameId(7);

fn ticket(id: u64, person: u64, made_at: i64) -> Ticket {
    Ticket {
        id,
        prompt: PROMPT,
        variant: NameId(1),
        language: NameId(2),
        person,
        made_at: Millis(made_at),
    }
}

fn shown(id: u64, person: u64, at: i64) -> Exposure {
    told(&[], ticket(id, person, at), Told::Shown, Millis(at)).unwrap()
}

#[test]
fn an_outcome_that_is_told_again_changes_nothing() {
    let first = shown(1, 5, 100);
    assert_eq!(first.outcomes, Outcomes::SHOWN);
    assert_eq!(told(&[first], first.ticket, Told::Shown, Millis(200)), None);
    let clicked = told(&[first], first.ticket, Told::Clicked, Millis(200)).unwrap();
    assert_eq!(clicked.outcomes, Outcomes::SHOWN | Outcomes::CLICKED);
    assert_eq!(clicked.at, Millis(100), "it was shown when it was");
    assert_eq!(told(&[clicked], first.ticket, Told::Shown, Millis(300)), None);
    assert_eq!(told(&[clicked], first.ticket, Told::Clicked, Millis(300)), None);
    // Whoever closes it has seen it.
    let closed = told(&[first], ticket(2, 5, 100), Told::Dismissed, Millis(300)).unwrap();
    assert_eq!(closed.outcomes, Outcomes::SHOWN | Outcomes::DISMISSED);
    assert_eq!(closed.at, Millis(300));
}

#[track_caller]
fn check_held(
    known: &[Exposure],
    change: impl FnOnce(&mut PromptingSpec, &mut PromptSpec),
    (now, minute): (i64, u16),
    expected: Option<(Suppression, i64)>,
) {
    let mut prompting = PromptingSpec::default();
    let mut prompt = PromptSpec::new("near", Scenario::NearLimit);
    change(&mut prompting, &mut prompt);
    let found = suppressed((&prompting, &prompt), PROMPT, 5, known, (Millis(now), minute));
    assert_eq!(found, expected.map(|(why, until)| (why, Some(Millis(until)))));
    prompt.scenario = Scenario::LimitHit;
    let at_limit = suppressed((&prompting, &prompt), PROMPT, 5, known, (Millis(now), minute));
    assert_eq!(at_limit, None, "who meets a limit is always told");
}

#[test]
fn promotion_is_held_back_as_the_catalog_says() {
    let cap = |per, shown, within_ms| Cap { per, shown, within_ms };
    let known = [shown(1, 5, 1_000), shown(2, 6, 2_000), shown(3, 5, 3_000)];
    check_held(&known, |_, _| {}, (3_000, 0), None);
    let why = Suppression::PromptCap;
    let of_person =
        |most| move |_: &mut _, p: &mut PromptSpec| p.caps = vec![cap(Unit::Person, most, 5_000)];
    check_held(&known, of_person(2), (3_500, 0), Some((why, 6_000)));
    check_held(&known, of_person(1), (3_500, 0), Some((why, 8_000)));
    check_held(&known, of_person(3), (3_500, 0), None);
    check_held(&known, of_person(2), (6_000, 0), None);
    let of_account = |p: &mut PromptSpec| p.caps = vec![cap(Unit::Account, 3, 5_000)];
    check_held(&known, |_, p| of_account(p), (3_500, 0), Some((why, 6_000)));

    let of_others = Exposure {
        ticket: Ticket { prompt: NameId(8), ..ticket(9, 5, 3_100) },
        ..shown(9, 5, 3_100)
    };
    let all = [known[2], of_others];
    let together = |s: &mut PromptingSpec| s.caps = vec![cap(Unit::Person, 2, 5_000)];
    check_held(&all, |s, _| together(s), (3_500, 0), Some((Suppression::Cap, 8_000)));
    check_held(&all, |_, p| p.caps = vec![cap(Unit::Person, 2, 5_000)], (3_500, 0), None);
    check_held(&all, |_, p| p.cool_down_ms = 700, (3_500, 0), Some((Suppression::CoolDown, 3_700)));
    check_held(&all, |_, p| p.cool_down_ms = 700, (3_700, 0), None);

    let snoozed = told(&[], ticket(4, 5, 3_000), Told::Snoozed(500), Millis(3_000)).unwrap();
    check_held(&[snoozed], |_, _| {}, (3_499, 0), Some((Suppression::Snoozed, 3_500)));
    check_held(&[snoozed], |_, _| {}, (3_500, 0), None);
    // What the holdout did not see counts towards no cap.
    let held = held_back(&[], ticket(5, 5, 3_000), DAY_MS, Millis(3_000)).unwrap();
    check_held(&[held], of_person(1), (3_500, 0), None);
}

#[test]
fn quiet_hours_may_go_over_midnight() {
    let quiet = |from, until| {
        move |s: &mut PromptingSpec, _: &mut PromptSpec| s.quiet = Some((from, until))
    };
    let why = Suppression::QuietHours;
    check_held(&[], quiet(20 * 60, 8 * 60), (0, 20 * 60), Some((why, 12 * 3_600_000)));
    check_held(&[], quiet(20 * 60, 8 * 60), (0, 7 * 60 + 59), Some((why, 60_000)));
    check_held(&[], quiet(20 * 60, 8 * 60), (0, 8 * 60), None);
    check_held(&[], quiet(60, 120), (0, 90), Some((why, 30 * 60_000)));
    check_held(&[], quiet(60, 120), (0, 120), None);
}

#[test]
fn the_holdout_is_counted_once_in_the_time_of_a_conversion() {
    let first = held_back(&[], ticket(1, 5, 0), 1_000, Millis(0)).unwrap();
    assert_eq!(first.outcomes, Outcomes::HELD);
    assert_eq!(held_back(&[first], ticket(2, 5, 999), 1_000, Millis(999)), None);
    assert!(held_back(&[first], ticket(2, 6, 999), 1_000, Millis(999)).is_some());
    assert!(held_back(&[first], ticket(2, 5, 1_000), 1_000, Millis(1_000)).is_some());
}

#[test]
fn a_change_of_plan_is_the_doing_of_the_latest_showing() {
    let known = [shown(1, 5, 0), shown(2, 5, 500), shown(3, 6, 600)];
    let of = |known: &[Exposure], now, counts: bool| -> Vec<u64> {
        converted(known, 1_000, Millis(now), |_| counts).iter().map(|one| one.ticket.id).collect()
    };
    assert_eq!(of(&known, 900, true), [2, 3]);
    assert_eq!(of(&known, 1_550, true), [3]);
    assert_eq!(of(&known, 900, false), [0_u64; 0]);
    let mut again = known;
    again[1].outcomes = again[1].outcomes | Outcomes::CONVERTED;
    assert_eq!(of(&again, 900, true), [3], "one showing has one outcome");
}

#[test]
fn an_account_remembers_a_bounded_number_of_showings() {
    use headroom_core::effect::Effect;
    let mut world = World::new(&[daily(1, Policy::Block)]);
    for id in 0..300 {
        let one = shown(id, 5, i64::try_from(id).unwrap());
        world.account.apply(&Effect::Exposure(Box::new(one)));
        world.account.apply(&Effect::Exposure(Box::new(one)));
    }
    let known = world.account.exposures();
    assert_eq!(known.len(), EXPOSURES_MAX);
    assert_eq!(known.last().unwrap().ticket.id, 299);
    let mut copy = headroom_core::account::Account::new(0, world.account.profile.clone());
    world.account.further().iter().for_each(|effect| copy.apply(effect));
    assert_eq!(copy.exposures(), known);
}

fn reader(serial: u32, variant: u32, outcomes: Outcomes) -> (u32, Exposure) {
    let ticket = Ticket { variant: NameId(variant), ..ticket(u64::from(serial), 0, 0) };
    (serial, Exposure { ticket, outcomes, ..shown(1, 0, 0) })
}

#[test]
fn a_reader_counts_once_however_often_it_was_shown() {
    let mut report = Report::default();
    let (serial, one) = reader(1, 7, Outcomes::SHOWN);
    let (_, clicked) = reader(1, 7, Outcomes::SHOWN | Outcomes::CLICKED);
    let (other, bought) = reader(2, 7, Outcomes::SHOWN | Outcomes::CONVERTED);
    for (serial, exposure) in [(serial, one), (serial, clicked), (other, bought)] {
        report.add(serial, &exposure, Unit::Account);
    }
    let arm = Arm { variant: NameId(7), readers: 2, clicked: 1, converted: 1 };
    assert_eq!(report.arms(), [arm]);
    let (_, _, counts) = report.counts().next().unwrap();
    assert_eq!((counts.shown, counts.clicked, counts.converted), (3, 1, 1));
    // Assigned by person, two persons of an account are two readers.
    let mut by_person = Report::default();
    for person in [5, 6, 6] {
        let ticket = Ticket { person, ..one.ticket };
        by_person.add(1, &Exposure { ticket, ..one }, Unit::Person);
    }
    assert_eq!(by_person.arms()[0].readers, 2);
}

#[test]
fn a_share_lies_in_wilsons_interval() {
    let check = |hits, trials, seen_bp, low_bp, high_bp| {
        assert_eq!(wilson(hits, trials), Share { seen_bp, low_bp, high_bp }, "{hits} of {trials}");
    };
    check(0, 0, 0, 0, 10_000);
    check(0, 10, 0, 0, 2_776);
    check(10, 10, 10_000, 7_224, 10_000);
    check(10, 20, 5_000, 2_992, 7_008);
    check(50, 1_000, 500, 381, 654);
    for trials in 1..60_u64 {
        for hits in 0..=trials {
            let Share { seen_bp, low_bp, high_bp } = wilson(hits, trials);
            assert!(low_bp <= seen_bp && seen_bp <= high_bp && high_bp <= 10_000);
        }
    }
}

#[test]
fn a_winner_is_above_all_others_and_else_there_is_none() {
    let arm = |variant, converted, readers| Arm {
        variant: NameId(variant),
        readers,
        clicked: 0,
        converted,
    };
    assert_eq!(winner(&[]), None);
    assert_eq!(winner(&[arm(1, 90, 100)]), None, "there is nothing to compare it with");
    assert_eq!(winner(&[arm(1, 3, 10), arm(2, 1, 10)]), None);
    assert_eq!(winner(&[arm(1, 300, 1_000), arm(2, 100, 1_000)]), Some(NameId(1)));
    let three = [arm(1, 300, 1_000), arm(2, 100, 1_000), arm(3, 290, 1_000)];
    assert_eq!(winner(&three), None, "it must be above all of them");
    assert_eq!(arm(1, 300, 1_000).against(&arm(2, 100, 1_000)), Comparison::Better);
    assert_eq!(arm(2, 100, 1_000).against(&arm(1, 300, 1_000)), Comparison::Worse);
    assert_eq!(arm(1, 3, 10).against(&arm(2, 1, 10)), Comparison::NotEnoughYet);
}

/// A generator of numbers that are the same for a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

#[test]
fn the_parts_of_a_price_add_up_to_it() {
    const SEED: u64 = 0x5eed;
    println!("seed {SEED:#x}");
    let mut dice = Dice(SEED);
    let signed = |n: u64| i64::try_from(n).unwrap();
    for _ in 0..20_000 {
        let price = dice.below([10, 5_000, 1 << 53][usize::try_from(dice.0 % 3).unwrap()]);
        let start = Millis(signed(dice.below(1 << 41)));
        let end = start.plus(1 + signed(dice.below(400 * 86_400_000)));
        let period = Window::new(start, end).unwrap();
        let mut last = 0;
        for step in 0..=8 {
            let at = start.plus(end.since(start) / 8 * step);
            let (before, after) = split(price, period, at);
            assert_eq!(before + after, price);
            assert!(last <= before, "what has gone by never gets less");
            last = before;
        }
        assert_eq!(split(price, period, start), (0, price));
    }
}

#[test]
fn an_upgrade_pays_the_rest_of_the_period_less_what_was_paid() {
    let price = |minor, per| Price { minor, currency: "USD".into(), per };
    let at = |text: &str| Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let anchor = at("2026-01-31T00:00:00Z");
    let check = |offered: &Price,
                 paid: Option<&Price>,
                 now: &str,
                 expected: Option<(u64, &str)>| {
        let due = due_today(offered, paid, anchor, at(now));
        assert_eq!(due.map(|due| (due.minor(), due.period_end)), expected.map(|(m, e)| (m, at(e))));
    };
    let (basic, pro) = (price(1_000, PricePeriod::Month), price(4_900, PricePeriod::Month));
    // The period is 31 January to 28 February; half of its 28 days are left.
    let (half, end) = ("2026-02-14T00:00:00Z", "2026-02-28T00:00:00Z");
    check(&pro, None, half, Some((2_450, end)));
    check(&pro, Some(&basic), half, Some((1_950, end)));
    check(&pro, Some(&price(0, PricePeriod::Year)), half, Some((2_450, end)));
    check(&basic, Some(&pro), half, Some((0, end)));
    check(&pro, Some(&price(9_900, PricePeriod::Year)), half, None);
    check(&pro, Some(&Price { currency: "EUR".into(), ..basic.clone() }), half, None);
    check(&pro, Some(&basic), "2026-02-27T23:59:59Z", Some((0, end)));
    check(
        &price(10_000, PricePeriod::Year),
        None,
        "2026-08-01T12:00:00Z",
        Some((5_000, "2027-01-31T00:00:00Z")),
    );
}
