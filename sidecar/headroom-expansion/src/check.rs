//! What is wrong in an operator's terms, all of it at once.

use std::collections::BTreeSet;

use crate::class::Class;
use crate::limits::{
    CONDITIONS_MAX, OUTSIDE_SIGNALS_MAX, PLAYS_MAX, RISKS_MAX, SEGMENTS_MAX, WATCHES_MAX,
};
use crate::route::{Case, Gate, Play};
use crate::score::Card;
use crate::terms::Terms;

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TermsProblem {
    /// The keys that lead to it in the catalog, outermost first.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What was written, if something similar may have been meant.
    pub written: Option<String>,
    /// What there is instead.
    pub known: Vec<String>,
}

/// Checks terms. `signals` are the names of all signals that can come, with their classes;
/// `has_own_plays` says that the plays are the catalog's own, not the defaults.
pub fn check(terms: &Terms, signals: &[(&str, Class)], has_own_plays: bool) -> Vec<TermsProblem> {
    let mut problems = Vec::new();
    check_sizes(terms, &mut problems);
    for (name, card) in [
        ("pql", &terms.pql),
        ("opportunity", &terms.opportunity),
        ("white_space", &terms.white_space),
    ] {
        check_card(name, card, &mut problems);
    }
    check_names(terms, signals, has_own_plays, &mut problems);
    if problems.is_empty() {
        check_routes(terms, signals, has_own_plays, &mut problems);
    }
    problems
}

fn problem(path: &[&str], message: String) -> TermsProblem {
    let path = path.iter().map(|key| (*key).to_owned()).collect();
    TermsProblem { path, message, written: None, known: Vec::new() }
}

fn check_sizes(terms: &Terms, problems: &mut Vec<TermsProblem>) {
    if terms.segments.is_empty() {
        let message = "no segment is left: an account is of one of them".to_owned();
        problems.push(problem(&["expansion", "segments"], message));
    }
    let mut bound = |path: &[&str], count: usize, max: usize, what: &str| {
        if count > max {
            problems.push(problem(path, format!("there are {count} {what}, at most {max} may be")));
        }
    };
    bound(&["expansion", "segments"], terms.segments.len(), SEGMENTS_MAX, "segments");
    for one in &terms.segments {
        let path = ["expansion", "segments", &one.segment, "gate"];
        bound(&path, one.conditions.len(), CONDITIONS_MAX, "conditions");
    }
    bound(&["expansion", "risk_flags"], terms.risks.len(), RISKS_MAX, "risk flags");
    let path = ["expansion", "outside_signals"];
    bound(&path, terms.outside.len(), OUTSIDE_SIGNALS_MAX, "signals");
    bound(&["expansion", "rules"], terms.watches.len(), WATCHES_MAX, "rules");
    bound(&["plays"], terms.plays.len(), PLAYS_MAX, "plays");
}

fn check_card(name: &str, card: &Card, problems: &mut Vec<TermsProblem>) {
    let path = ["expansion", "scores", name];
    if card.parts.len() > CONDITIONS_MAX {
        let count = card.parts.len();
        let message = format!("there are {count} parts, at most {CONDITIONS_MAX} may be");
        problems.push(problem(&path, message));
    }
    for part in &card.parts {
        if part.zero_at == part.full_at {
            let message = format!("part `{}` gives nothing and everything at one value", part.part);
            problems.push(problem(&[&path[..], &["parts", &part.part]].concat(), message));
        }
    }
    if card.bands.first().is_none_or(|band| band.from_tenths > 0) {
        let path = [&path[..], &["bands"]].concat();
        problems.push(problem(&path, "the first band must begin at 0".to_owned()));
    }
    let most = card.points_max_tenths().max(card.least_tenths);
    for (band, next) in card.bands.iter().zip(card.bands.iter().skip(1)) {
        let path = [&path[..], &["bands", &next.band]].concat();
        if next.from_tenths <= band.from_tenths {
            let message = format!("band `{}` must begin above `{}`", next.band, band.band);
            problems.push(problem(&path, message));
        }
        if next.from_tenths > most {
            let (band, most) = (&next.band, points_text(most));
            let message =
                format!("band `{band}` is never reached: there are {most} points at most");
            problems.push(problem(&path, message));
        }
    }
}

/// Tenths as people write them.
fn points_text(tenths: u32) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{}.{tenth}", tenths / 10),
    }
}

fn check_names(
    terms: &Terms,
    signals: &[(&str, Class)],
    has_own_plays: bool,
    problems: &mut Vec<TermsProblem>,
) {
    for (place, (name, _)) in terms.outside.iter().enumerate() {
        let is_known = crate::class::of(name).is_some()
            || terms.outside[..place].iter().any(|(other, _)| other == name);
        if is_known {
            let path = ["expansion", "outside_signals", name];
            problems.push(problem(&path, format!("`{name}` is a signal already")));
        }
    }
    for watch in &terms.watches {
        let name = watch.signal.as_str();
        let is_outside = terms.outside_signals().any(|other| other == name);
        if is_outside || signals.iter().filter(|(other, _)| *other == name).count() > 1 {
            let path = ["expansion", "rules", name];
            problems.push(problem(&path, format!("`{name}` is a signal already")));
        }
    }
    let segments: Vec<&str> = terms.segments.iter().map(|one| one.segment.as_str()).collect();
    let signals: Vec<&str> = signals.iter().map(|(name, _)| *name).collect();
    let mut unknown = |path: &[&str], what: &str, written: &str, known: &[&str]| {
        if !known.contains(&written) {
            problems.push(TermsProblem {
                written: Some(written.to_owned()),
                known: known.iter().map(|name| (*name).to_owned()).collect(),
                ..problem(path, format!("there is no {what} `{written}`"))
            });
        }
    };
    // The plays of every catalog may name a segment that this one has taken out.
    let own = terms.plays.iter().filter(|_| has_own_plays);
    for Play { play, signals: wanted, segments: within, .. } in own {
        for signal in wanted {
            unknown(&["plays", play, "signals"], "signal", signal, &signals);
        }
        for segment in within {
            unknown(&["plays", play, "segments"], "segment", segment, &segments);
        }
    }
}

/// Every signal of every segment must lead to a play, and every play must be led to.
fn check_routes(
    terms: &Terms,
    signals: &[(&str, Class)],
    has_own_plays: bool,
    problems: &mut Vec<TermsProblem>,
) {
    let mut reached = BTreeSet::new();
    for (signal, class) in signals {
        let gates: &[Gate] =
            if class.is_gated() { &[Gate::Passed, Gate::Held] } else { &[Gate::Exempt] };
        let mut lost = Vec::new();
        for segment in &terms.segments {
            for gate in gates {
                let segment = segment.segment.as_str();
                let case = Case { signal, class: *class, segment, gate: *gate };
                match terms.plays.iter().position(|play| play.fits(case)) {
                    Some(place) => {
                        reached.insert(place);
                    }
                    None => lost.push(format!("{segment} ({})", gate.as_str())),
                }
            }
        }
        if !lost.is_empty() {
            let message =
                format!("signal `{signal}` has no play and no owner for {}", lost.join(", "));
            problems.push(problem(&["plays"], message));
        }
    }
    let unused = terms.plays.iter().enumerate().filter(|(place, _)| !reached.contains(place));
    for (_, play) in unused.filter(|_| has_own_plays) {
        let message =
            format!("play `{}` is never chosen: plays before it take all its cases", play.play);
        problems.push(problem(&["plays", &play.play], message));
    }
}
