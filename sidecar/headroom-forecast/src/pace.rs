//! The pace of now: levels with memories of several lengths, each weighed by how well it foretold
//! what came, over stretches as long as the one asked about.
//!
//! A level is exponential smoothing in the time of the rhythm: units over weight, both fading. So a
//! Sunday that weighs nothing teaches nothing, and a day that is half over counts by half. How wrong
//! each was is measured by rolling through the history, never by its fit; how errors grow with the
//! horizon is the variance of simple exponential smoothing's sums (Hyndman, Koehler, Ord and Snyder,
//! Forecasting with Exponential Smoothing, 2008, chapter 6).

use crate::spread::Spread;

/// One observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// Units used.
    pub units: f64,
    /// What the time weighs in which they were, in steps of the mean.
    pub weight: f64,
    /// Whether the terms changed when it began: what was before says less.
    pub changed: bool,
}

/// Half of what a level remembers is this many steps old.
const HALF_LIVES: [f64; 5] = [1.5, 4.0, 10.0, 30.0, 200.0];

/// The same of levels that have a slope.
const SLOPED_HALF_LIVES: [f64; 2] = [7.0, 20.0];

/// What is left of a slope after a step: growth does not go on for ever.
const SLOPE_KEPT: f64 = 0.96;

/// A falling slope leaves at least this part of the level.
const SLOPE_FLOOR: f64 = 0.1;

/// Half of what the errors remember is this many steps old.
const ERRORS_HALF_LIFE: f64 = 60.0;

/// Stretches over which errors are measured are this many steps at most.
const STRETCH_MAX: usize = 14;

/// What is believed of accounts before one is seen: the variance of a step, relative to its square.
const PRIOR_VARIANCE: f64 = 0.4;

/// How many stretches of one's own that is worth.
const PRIOR_STRETCHES: f64 = 1.0;

/// The part of what was learned that is kept when terms change.
const KEPT_ON_CHANGE: f64 = 0.05;

/// What is known of the pace.
#[derive(Debug, Clone)]
pub struct Pace {
    members: Vec<Member>,
}

/// One level, and how wrong it was.
#[derive(Debug, Clone, Copy)]
struct Member {
    line: Line,
    /// What the level takes over of an error, step by step.
    alpha: f64,
    /// The part of the belief that it has.
    belief: f64,
    /// The relative variance of a stretch.
    variance: f64,
    /// Steps of a stretch.
    stretch: f64,
}

/// Units of a step, and what is added to them per step, fading.
#[derive(Debug, Clone, Copy)]
struct Line {
    level: f64,
    slope: f64,
}

impl Line {
    /// What comes in so many steps.
    fn total(self, steps: f64) -> f64 {
        let flat = self.level * steps;
        if self.slope == 0.0 {
            return flat;
        }
        // Step j has the slope times q + q^2 + ... + q^j, so the sum over n steps is
        // q / (1 - q) * (n - q (1 - q^n) / (1 - q)).
        let q = SLOPE_KEPT;
        let grown = q / (1.0 - q) * (steps - q * (1.0 - q.powf(steps)) / (1.0 - q));
        (flat + self.slope * grown).max(SLOPE_FLOOR * flat)
    }
}

impl Pace {
    /// Learns the pace, to be asked about `ahead` steps; with slopes, where steps are long enough for a
    /// trend to be one.
    pub fn learn(observed: &[Observed], ahead: f64, sloped: bool) -> Pace {
        let most = (observed.len() / 3).clamp(1, STRETCH_MAX);
        let mut stretch = 1;
        while stretch < most && (stretch as f64) < ahead {
            stretch += 1;
        }
        let flat = HALF_LIVES.iter().map(|half_life| (*half_life, false));
        let slopes = SLOPED_HALF_LIVES.iter().map(|half_life| (*half_life, true));
        let kinds = flat.chain(slopes.filter(|_| sloped));
        let mut members: Vec<Member> =
            kinds.map(|(half_life, sloped)| member(observed, half_life, sloped, stretch)).collect();
        believe(&mut members);
        Pace { members }
    }

    /// What is used in the time that weighs `weight` steps from now on.
    pub fn ahead(&self, weight: f64) -> Spread {
        Spread::mixed(self.members.iter().map(|one| {
            let mean = one.line.total(weight);
            let grown = growth(one.alpha, weight) / growth(one.alpha, one.stretch);
            (one.belief, mean, mean * mean * one.variance * grown)
        }))
    }
}

/// The relative variance of a sum over `steps`, but for a factor: errors of single steps average out,
/// and the drift of the level that they bring with them does not.
fn growth(alpha: f64, steps: f64) -> f64 {
    let n = steps.max(0.01);
    // The sum of (1 + alpha (n - j))^2 for j = 1 to n, over n^2.
    let more = (n - 1.0).max(0.0);
    (1.0 + alpha * more + alpha * alpha * more * (2.0 * n - 1.0).max(0.0) / 6.0) / n
}

/// A level that fades: smoothed once, and for its slope twice (Brown's double smoothing).
struct Fading {
    keep: f64,
    units: f64,
    weight: f64,
    slow: f64,
    slow_weight: f64,
}

impl Fading {
    fn take(&mut self, one: &Observed, sloped: bool) -> Line {
        let kept = if one.changed { self.keep * KEPT_ON_CHANGE } else { self.keep };
        self.units = self.units * kept + one.units;
        self.weight = self.weight * kept + one.weight;
        if self.weight <= 0.0 {
            return Line { level: 0.0, slope: 0.0 };
        }
        let level = self.units / self.weight;
        if !sloped {
            return Line { level, slope: 0.0 };
        }
        self.slow_weight = self.slow_weight * kept + one.weight;
        if self.slow_weight > 0.0 {
            self.slow += (level - self.slow) * one.weight / self.slow_weight;
        }
        let lead = level - self.slow;
        Line { level: (level + lead).max(0.0), slope: lead * (1.0 - self.keep) / self.keep }
    }
}

fn member(observed: &[Observed], half_life: f64, sloped: bool, stretch: usize) -> Member {
    let keep = 0.5f64.powf(1.0 / half_life);
    let fade = 0.5f64.powf(1.0 / ERRORS_HALF_LIFE);
    let mut fading = Fading { keep, units: 0.0, weight: 0.0, slow: 0.0, slow_weight: 0.0 };
    let mut line = Line { level: 0.0, slope: 0.0 };
    let (mut errors, mut counted) = (0.0, 0.0);
    for (place, one) in observed.iter().enumerate() {
        line = fading.take(one, sloped);
        errors *= fade;
        counted *= fade;
        let Some(next) = observed.get(place + 1..place + 1 + stretch) else { continue };
        let told = line.total(next.iter().map(|one| one.weight).sum());
        let came: f64 = next.iter().map(|one| one.units).sum();
        if told + came > 0.0 {
            // Against the mean of both, so that a jump from nothing is a large error, not an
            // endless one.
            let error = 2.0 * (came - told) / (came + told);
            errors += error * error;
            counted += 1.0;
        }
    }
    let steps = stretch as f64;
    // Stretches overlap, so they are worth one in `steps` of them.
    let (seen, prior) = (counted / steps, PRIOR_VARIANCE * growth(1.0 - keep, steps));
    let variance = (errors / steps + PRIOR_STRETCHES * prior) / (seen + PRIOR_STRETCHES);
    // While little is remembered, the next step weighs more than it will later.
    let alpha = (1.0 - keep).max(1.0 / (1.0 + fading.weight));
    Member { line, alpha, belief: seen, variance, stretch: steps }
}

/// Weighs the members by the likelihood of their errors, which `belief` holds the number of.
fn believe(members: &mut [Member]) {
    let best = members.iter().map(|one| one.variance).fold(f64::INFINITY, f64::min);
    let mut total = 0.0;
    for one in members.iter_mut() {
        one.belief = (best / one.variance).powf((one.belief + 1.0) / 2.0);
        total += one.belief;
    }
    for one in members {
        one.belief /= total;
    }
}
