//! Late events and corrections of limits that carry debt: each window after counts what the one before it
//! owes, whenever that was said.

use std::collections::BTreeMap;

use headroom_core::catalog::Policy;
use headroom_core::decide::{self, Booked, Context, FeatureOp, LevelPast, Past};
use headroom_core::effect::{Effect, Effects};
use headroom_core::event::{Delta, EventState, Restated};
use headroom_core::subject::SubjectId;
use headroom_core::time::Millis;

use crate::world::{DAY_MS, Dice, T0, World, daily};

/// A world, and the windows that have left its memory.
pub(crate) struct Told {
    pub(crate) world: World,
    past: BTreeMap<i64, Restated>,
    subjects: Vec<(SubjectId, Restated)>,
    read: usize,
}

/// Used units, debt and units taken over of a window.
pub(crate) type Line = (u64, u64, u64);

impl Told {
    fn new() -> Told {
        let mut limit = daily(10, Policy::Block);
        limit.terms.carries_debt = true;
        Told::of(World::new(&[limit]))
    }

    pub(crate) fn of(world: World) -> Told {
        Told { world, past: BTreeMap::new(), subjects: Vec::new(), read: 0 }
    }

    pub(crate) fn cx(&self) -> Context<'_> {
        Context { catalog: &self.world.catalog, now: Millis(self.world.now) }
    }

    fn note(&mut self) {
        for effect in &self.world.effects[self.read..] {
            let row = match effect {
                Effect::LedgerClosed(l, terms) => {
                    Restated::as_closed(*l, terms.as_deref().copied())
                }
                Effect::Restated(restated) => **restated,
                _ => continue,
            };
            self.past.insert(row.closed.window.start().0, row);
        }
        self.read = self.world.effects.len();
    }

    /// Reads the windows of subjects that have left the memory, too.
    pub(crate) fn note_subjects(&mut self) {
        let closed = self.world.effects.iter().filter_map(|effect| match effect {
            Effect::OfSubject(id, of) => match &**of {
                Effect::LedgerClosed(l, terms) => {
                    Some((*id, Restated::as_closed(*l, terms.as_deref().copied())))
                }
                _ => None,
            },
            _ => None,
        });
        self.subjects = closed.collect();
    }

    /// What is known of one of them.
    pub(crate) fn level(&self, name: &str) -> LevelPast {
        let windows = self.subjects.clone();
        LevelPast { name: name.to_owned(), windows, ..LevelPast::default() }
    }

    /// Lets time pass, and then what is asked happen.
    pub(crate) fn at(&mut self, now: i64, units: u64) {
        self.world.now = now;
        self.world.check(1);
        if units > 0 {
            self.world.ask(FeatureOp::Record { units });
        }
        self.note();
    }

    pub(crate) fn late(&mut self, at: i64, units: u64) -> (Booked, Effects) {
        let past: Vec<Restated> = self.past.values().copied().collect();
        let mut effects = Effects::new();
        let (cx, of) = (self.cx(), (Millis(at), units));
        let feature = self.world.catalog.feature_named("tokens").unwrap();
        let past = Past { own: &past, ..Past::default() };
        let account = &self.world.account;
        let booked =
            decide::record_at(cx, account, (feature, None), of, past, &mut effects).unwrap();
        self.world.apply(&effects);
        self.note();
        (booked, effects)
    }

    pub(crate) fn correct(&mut self, event: &EventState, units: u64) -> Effects {
        let past: Vec<Restated> = self.past.values().copied().collect();
        let mut effects = Effects::new();
        let cx = self.cx();
        let past = Past { own: &past, ..Past::default() };
        let account = &self.world.account;
        decide::correct(cx, account, (event, None), units, past, &mut effects).unwrap();
        self.world.apply(&effects);
        self.note();
        effects
    }

    pub(crate) fn event(&self, at: i64, units: u64, booked: &Booked) -> EventState {
        EventState {
            key: [1, 2],
            name: "e".to_owned(),
            feature: self.world.id("tokens"),
            occurred_at: Millis(at),
            units,
            bookings: booked.bookings.clone(),
            labels: Default::default(),
            paid: None,
            subject: None,
        }
    }

    /// All windows in which anything counts.
    pub(crate) fn lines(&self) -> BTreeMap<i64, Line> {
        let account = &self.world.account;
        let live = account.ledgers().iter().map(|ledger| {
            let carried = account.owing(ledger).map_or(0, |owing| owing.carried_units);
            (ledger.window.start().0, (ledger.used, ledger.debt, carried))
        });
        let past = self.past.iter().map(|(start, row)| {
            (*start, (row.used, row.debt, row.terms.map_or(0, |terms| terms.carried_units)))
        });
        past.chain(live).filter(|(_, line)| line.0 > 0).collect()
    }
}

/// Whenever an event is told, the windows end up as if it had come in time; and when it is withdrawn, as if
/// it had never been.
#[test]
fn a_late_event_counts_as_if_it_had_come_in_time_and_withdrawn_as_if_never() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    for case in 0..2_000 {
        let days: Vec<u64> =
            (0..6).map(|_| if dice.below(2) == 0 { 0 } else { dice.below(40) }).collect();
        let (of, units) = (dice.below(6) as usize, 1 + dice.below(60));
        let (mut timely, mut late, mut never) = (Told::new(), Told::new(), Told::new());
        for (day, used) in days.iter().enumerate() {
            let now = T0 + day as i64 * DAY_MS;
            for told in [&mut timely, &mut late, &mut never] {
                told.at(now, *used);
            }
            if day == of {
                timely.at(now, units);
            }
        }
        let at = T0 + of as i64 * DAY_MS;
        let (booked, _) = late.late(at, units);
        assert_eq!(late.lines(), timely.lines(), "case {case}: {days:?}, {units} on day {of}");
        // What comes next is decided alike.
        let event = late.event(at, units, &booked);
        let less = dice.below(units);
        late.correct(&event, less);
        late.correct(&EventState { units: less, ..event }, 0);
        assert_eq!(late.lines(), never.lines(), "case {case}: {days:?}, {units} on day {of}");
        let next = T0 + 7 * DAY_MS;
        late.at(next, 1);
        never.at(next, 1);
        assert_eq!(late.lines(), never.lines(), "case {case}, a day later");
    }
}

/// The examiner's case: it does not matter whether somebody was refused meanwhile.
#[test]
fn a_withdrawn_event_does_not_block_the_window_that_took_its_debt_over() {
    for refused in [false, true] {
        let mut told = Told::new();
        let at = told.world.now;
        let (booked, _) = told.late(at, 30);
        let event = told.event(at, 30, &booked);
        told.at(T0 + DAY_MS, 0);
        if refused {
            assert!(!told.world.consume(1).decision.verdict.is_allowed());
        }
        told.note();
        let effects = told.correct(&event, 0);
        assert!(told.world.consume(10).decision.verdict.is_allowed());
        let passed = |effect: &Effect| match effect {
            Effect::Restated(restated) => restated.passed,
            _ => None,
        };
        assert_eq!(effects.iter().find_map(passed), None, "the window of now changes at once");
    }
}

/// A closed window says by what it was restated.
#[test]
fn windows_between_are_restated_by_what_they_took_over() {
    let mut told = Told::new();
    told.at(T0, 15);
    for day in 1..5 {
        told.at(T0 + day * DAY_MS, 1);
    }
    let (_, effects) = told.late(T0, 25);
    let passed = effects.iter().filter_map(|effect| match effect {
        Effect::Restated(restated) => Some((restated.used, restated.debt, restated.passed)),
        _ => None,
    });
    let expected =
        [(40, 30, None), (31, 21, Some(Delta::More(25))), (22, 12, Some(Delta::More(21)))];
    let passed: Vec<_> = passed.collect();
    assert_eq!(passed[..3], expected);
}
