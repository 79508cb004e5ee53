//! What became of prompts: who was shown which, and what came of it.
//!
//! An account remembers its latest [`EXPOSURES_MAX`] ones, for caps, for later outcomes, and for
//! the change of plan that may follow. Persons are numbers in it. Only what was shown counts,
//! except for the holdout, of which is written down that it would have been.

use std::ops::BitOr;

use super::spec::{Cap, PromptSpec, PromptingSpec, Unit};
use crate::names::NameId;
use crate::time::Millis;

/// Exposures that one account remembers. When full, the oldest is forgotten: it does not count
/// towards caps any more, and a late outcome of it counts as that of another showing. 72 bytes
/// each.
pub const EXPOSURES_MAX: usize = 128;

/// Longest span of a cap and of a cool-down, and how long after it was made an outcome of a prompt
/// is taken. Milliseconds: 90 days.
pub const EXPOSURE_MS_MAX: i64 = 90 * super::spec::DAY_MS;

/// Longest snooze. Milliseconds: 90 days.
pub const SNOOZE_MS_MAX: i64 = 90 * super::spec::DAY_MS;

/// What has happened to one exposure: a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Outcomes(pub u8);

impl Outcomes {
    /// It was shown.
    pub const SHOWN: Outcomes = Outcomes(1);
    /// It was closed.
    pub const DISMISSED: Outcomes = Outcomes(2);
    /// Its action was taken.
    pub const CLICKED: Outcomes = Outcomes(4);
    /// What it is for came about.
    pub const CONVERTED: Outcomes = Outcomes(8);
    /// It was put off.
    pub const SNOOZED: Outcomes = Outcomes(16);
    /// It was held back, to compare with.
    pub const HELD: Outcomes = Outcomes(32);
    /// Every bit that means something.
    pub const ALL: Outcomes = Outcomes(63);

    /// Whether all of `other` is in it.
    pub fn has(self, other: Outcomes) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Outcomes {
    type Output = Outcomes;

    fn bitor(self, other: Outcomes) -> Outcomes {
        Outcomes(self.0 | other.0)
    }
}

/// What a prompt's id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Tells it from all others of the account.
    pub id: u64,
    /// The prompt.
    pub prompt: NameId,
    /// The variant.
    pub variant: NameId,
    /// The language of its words.
    pub language: NameId,
    /// Whom it was made for, as a number. 0: nobody was named.
    pub person: u64,
    /// When it was made.
    pub made_at: Millis,
}

/// One prompt that was shown to somebody, or held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// What was shown.
    pub ticket: Ticket,
    /// When.
    pub at: Millis,
    /// What came of it.
    pub outcomes: Outcomes,
    /// Until when it is put off; the start of time if it is not.
    pub snoozed_until: Millis,
}

/// What is told about a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was shown.
    Shown,
    /// It was closed.
    Dismissed,
    /// Its action was taken.
    Clicked,
    /// What it is for came about.
    Converted,
    /// It is not to be seen for so many milliseconds.
    Snoozed(i64),
}

impl Told {
    fn outcomes(self) -> Outcomes {
        // Whatever is done with a prompt, it was seen.
        Outcomes::SHOWN
            | match self {
                Told::Shown => Outcomes::SHOWN,
                Told::Dismissed => Outcomes::DISMISSED,
                Told::Clicked => Outcomes::CLICKED,
                Told::Converted => Outcomes::CONVERTED,
                Told::Snoozed(_) => Outcomes::SNOOZED,
            }
    }
}

/// What an exposure is after something was told. `None`: that is known, and nothing changes.
pub fn told(known: &[Exposure], ticket: Ticket, what: Told, now: Millis) -> Option<Exposure> {
    let before = known.iter().find(|known| known.ticket.id == ticket.id);
    let mut after = before.copied().unwrap_or(Exposure {
        ticket,
        at: now,
        outcomes: Outcomes::default(),
        snoozed_until: Millis(i64::MIN),
    });
    if after.outcomes.has(what.outcomes()) {
        return None;
    }
    after.outcomes = after.outcomes | what.outcomes();
    if let Told::Snoozed(ms) = what {
        after.snoozed_until = now.plus(ms);
    }
    Some(after)
}

/// The exposure of somebody in the holdout: one in the time that a conversion may take, however
/// often the prompt would have been made.
pub fn held_back(
    known: &[Exposure],
    ticket: Ticket,
    conversion_ms: i64,
    now: Millis,
) -> Option<Exposure> {
    let is_known = known.iter().any(|known| {
        known.outcomes.has(Outcomes::HELD)
            && (known.ticket.prompt, known.ticket.person) == (ticket.prompt, ticket.person)
            && now.since(known.at) < conversion_ms
    });
    let fresh =
        Exposure { ticket, at: now, outcomes: Outcomes::HELD, snoozed_until: Millis(i64::MIN) };
    (!is_known).then_some(fresh)
}

/// The exposures that a change of plan is the doing of: of each prompt and person the latest one
/// within the time, unless it led to another change before. `counts` says whether the change is
/// what a prompt is for.
pub fn converted(
    known: &[Exposure],
    conversion_ms: i64,
    now: Millis,
    counts: impl Fn(NameId) -> bool,
) -> Vec<Exposure> {
    let is_recent = |one: &&Exposure| now.since(one.at) < conversion_ms;
    let mut latest: Vec<Exposure> = Vec::new();
    for one in known.iter().filter(is_recent).filter(|one| counts(one.ticket.prompt)) {
        let same = |other: &&mut Exposure| {
            (other.ticket.prompt, other.ticket.person) == (one.ticket.prompt, one.ticket.person)
        };
        match latest.iter_mut().find(same) {
            Some(earlier) if earlier.at <= one.at => *earlier = *one,
            Some(_) => {}
            None => latest.push(*one),
        }
    }
    latest.retain(|one| !one.outcomes.has(Outcomes::CONVERTED));
    for one in &mut latest {
        one.outcomes = one.outcomes | Outcomes::CONVERTED;
    }
    latest
}

/// Puts an exposure in its place.
pub(crate) fn apply(known: &mut Vec<Exposure>, after: &Exposure) {
    match known.iter_mut().find(|known| known.ticket.id == after.ticket.id) {
        Some(before) => *before = *after,
        None => {
            if known.len() >= EXPOSURES_MAX {
                known.remove(0);
            }
            known.push(*after);
        }
    }
}

/// Why a prompt is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppression {
    /// The reader is in the group that gets none.
    Holdout,
    /// It is an hour without promotion.
    QuietHours,
    /// The person put it off.
    Snoozed,
    /// It was shown a short while ago.
    CoolDown,
    /// It was shown as often as it may be.
    PromptCap,
    /// As much promotion was shown as may be.
    Cap,
}

/// Why a prompt is not to be shown now, and until when, as far as that is known. `minute` is that
/// of the day in the account's zone. Holdouts are drawn afterwards ([`super::group`]), so that both groups are
/// asked at the same instants.
pub fn suppressed(
    (prompting, prompt): (&PromptingSpec, &PromptSpec),
    id: NameId,
    person: u64,
    known: &[Exposure],
    (now, minute): (Millis, u16),
) -> Option<(Suppression, Option<Millis>)> {
    if !prompt.scenario.is_promotion() {
        return None;
    }
    if prompting.is_quiet(minute) {
        let until = prompting.quiet.map_or(0, |(_, until)| until);
        let minutes = (i64::from(until) - i64::from(minute)).rem_euclid(24 * 60);
        // Where clocks change that night it is an hour beside the mark, which is why it is a hint.
        return Some((Suppression::QuietHours, Some(now.plus(minutes * 60_000))));
    }
    let own = |one: &&Exposure| one.ticket.prompt == id;
    let theirs = |one: &&Exposure| one.ticket.person == person;
    let shown = || known.iter().filter(|one| one.outcomes.has(Outcomes::SHOWN));
    let snoozed = shown().filter(own).filter(theirs).map(|one| one.snoozed_until).max();
    if let Some(until) = snoozed.filter(|until| now < *until) {
        return Some((Suppression::Snoozed, Some(until)));
    }
    let last = shown().filter(own).filter(theirs).map(|one| one.at).max();
    let rested = last.map(|at| at.plus(prompt.cool_down_ms));
    if let Some(until) = rested.filter(|until| now < *until) {
        return Some((Suppression::CoolDown, Some(until)));
    }
    let full = |cap: &Cap, own_alone: bool| {
        let counted = shown().filter(|one| !own_alone || own(one));
        let counted = counted.filter(|one| cap.per == Unit::Account || theirs(one));
        let mut ends: Vec<Millis> = counted.map(|one| one.at.plus(cap.within_ms)).collect();
        ends.retain(|end| now < *end);
        ends.sort_unstable();
        // Free again when so many have left that one more fits.
        let most = usize::try_from(cap.shown).unwrap_or(usize::MAX);
        ends.len().checked_sub(most).and_then(|over| ends.get(over).copied())
    };
    let capped = prompt.caps.iter().find_map(|cap| full(cap, true));
    if let Some(until) = capped {
        return Some((Suppression::PromptCap, Some(until)));
    }
    let capped = prompting.caps.iter().find_map(|cap| full(cap, false));
    capped.map(|until| (Suppression::Cap, Some(until)))
}
