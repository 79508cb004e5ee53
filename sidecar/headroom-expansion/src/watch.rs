//! Watches: signals that are found by looking at what is known of an account, again and again.
//!
//! A watch is raised at once when its rule holds, and comes down only after the rule has not held for some
//! days: what goes to and fro about a threshold is told once. What cannot be told changes nothing.

use headroom_core::signal::SignalState;

use crate::class::Class;
use crate::days::Day;
use crate::rule::{Rule, Scene};

/// A signal of the operator's, or one that every catalog has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The signal's name.
    pub signal: String,
    /// Its class.
    pub class: Class,
    /// When there is reason to look: the state is then `warning`. `None`: never.
    pub warn: Option<Rule>,
    /// When it is raised: the state is then `alarm`.
    pub when: Rule,
    /// For so many days the rules must not hold before the state comes down.
    pub calm_days: u32,
}

/// How a watch stands for one account, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The state that was told last.
    pub state: SignalState,
    /// Since which day the rules ask for less.
    pub calm_since: Option<Day>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { state: SignalState::Ok, calm_since: None }
    }
}

impl Watch {
    /// How it stands after a look, and the state before, if it is to be told.
    pub fn look(&self, kept: Kept, scene: &Scene<'_>, today: Day) -> (Kept, Option<SignalState>) {
        let Some(state) = self.state(scene) else { return (kept, None) };
        step(kept, state, today, self.calm_days)
    }

    /// The state that the rules ask for. `None`: it cannot be told.
    fn state(&self, scene: &Scene<'_>) -> Option<SignalState> {
        let holds = self.when.holds(scene);
        if holds == Some(true) {
            return Some(SignalState::Alarm);
        }
        match &self.warn {
            None => holds.map(|_| SignalState::Ok),
            Some(warn) => match (warn.holds(scene)?, holds) {
                (true, _) => Some(SignalState::Warning),
                (false, Some(_)) => Some(SignalState::Ok),
                (false, None) => None,
            },
        }
    }
}

/// The next of a state that the rules ask for.
fn step(kept: Kept, asked: SignalState, today: Day, calm_days: u32) -> (Kept, Option<SignalState>) {
    if asked > kept.state {
        return (Kept { state: asked, calm_since: None }, Some(kept.state));
    }
    if asked == kept.state {
        return (Kept { calm_since: None, ..kept }, None);
    }
    let since = kept.calm_since.unwrap_or(today);
    if today.since(since) >= i64::from(calm_days) {
        return (Kept { state: asked, calm_since: None }, Some(kept.state));
    }
    (Kept { calm_since: Some(since), ..kept }, None)
}
