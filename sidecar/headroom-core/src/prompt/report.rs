//! What became of a prompt, counted: which wording does better, as far as that can be known.

use std::collections::BTreeMap;

use super::exposure::{Exposure, Outcomes};
use super::spec::Unit;
use crate::names::NameId;

/// Showings of one wording in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// How often it was shown; of the holdout, how often it would have been.
    pub shown: u64,
    /// How often its action was taken.
    pub clicked: u64,
    /// How often it led to what it is for.
    pub converted: u64,
    /// How often it was closed.
    pub dismissed: u64,
    /// How often it was put off.
    pub snoozed: u64,
}

/// A share and the range that it lies in, in basis points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What was seen.
    pub seen_bp: u32,
    /// The low end of the range.
    pub low_bp: u32,
    /// The high end of the range.
    pub high_bp: u32,
}

/// One wording, reader by reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arm {
    /// The wording.
    pub variant: NameId,
    /// Who saw it, each once.
    pub readers: u64,
    /// Who took its action.
    pub clicked: u64,
    /// With whom it led to what it is for.
    pub converted: u64,
}

/// Against the holdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The ranges overlap.
    NotEnoughYet,
    /// More convert.
    Better,
    /// Fewer convert.
    Worse,
}

/// Adds exposures up, one after the other.
#[derive(Debug, Default)]
pub struct Report {
    counts: BTreeMap<(NameId, NameId), Counts>,
    // A reader is an account or a person of one.
    readers: BTreeMap<(NameId, u32, u64), Outcomes>,
}

impl Report {
    /// Adds an exposure of an account of this number. `by` is what the prompt's wordings are
    /// assigned by.
    pub fn add(&mut self, serial: u32, exposure: &Exposure, by: Unit) {
        let Exposure { ticket, outcomes, .. } = exposure;
        let counts = self.counts.entry((ticket.variant, ticket.language)).or_default();
        let count = |place: &mut u64, of: Outcomes| *place += u64::from(outcomes.has(of));
        counts.shown += 1;
        count(&mut counts.clicked, Outcomes::CLICKED);
        count(&mut counts.converted, Outcomes::CONVERTED);
        count(&mut counts.dismissed, Outcomes::DISMISSED);
        count(&mut counts.snoozed, Outcomes::SNOOZED);
        let person = match by {
            Unit::Account => 0,
            Unit::Person => ticket.person,
        };
        let reader = self.readers.entry((ticket.variant, serial, person)).or_default();
        *reader = *reader | *outcomes;
    }

    /// Showings by wording and language.
    pub fn counts(&self) -> impl Iterator<Item = (NameId, NameId, Counts)> {
        self.counts.iter().map(|((variant, language), counts)| (*variant, *language, *counts))
    }

    /// Readers by wording.
    pub fn arms(&self) -> Vec<Arm> {
        let mut arms: Vec<Arm> = Vec::new();
        for ((variant, ..), outcomes) in &self.readers {
            // They come in the order of their wording.
            if arms.last().is_none_or(|arm| arm.variant != *variant) {
                arms.push(Arm { variant: *variant, readers: 0, clicked: 0, converted: 0 });
            }
            let Some(arm) = arms.last_mut() else { continue };
            arm.readers += 1;
            arm.clicked += u64::from(outcomes.has(Outcomes::CLICKED));
            arm.converted += u64::from(outcomes.has(Outcomes::CONVERTED));
        }
        arms
    }
}

impl Arm {
    /// The share that took the action.
    pub fn click_share(&self) -> Share {
        wilson(self.clicked, self.readers)
    }

    /// The share that converted.
    pub fn conversion_share(&self) -> Share {
        wilson(self.converted, self.readers)
    }

    /// How it does against the holdout.
    pub fn against(&self, holdout: &Arm) -> Comparison {
        let (own, other) = (self.conversion_share(), holdout.conversion_share());
        if other.high_bp < own.low_bp {
            Comparison::Better
        } else if own.high_bp < other.low_bp {
            Comparison::Worse
        } else {
            Comparison::NotEnoughYet
        }
    }
}

/// The wording whose range of conversions is above those of all others. `None`: not enough was seen
/// yet to tell, or there is nothing to compare.
pub fn winner(arms: &[Arm]) -> Option<NameId> {
    let best = arms.iter().max_by_key(|arm| arm.conversion_share().low_bp)?;
    let is_beaten = |other: &Arm| {
        other.variant == best.variant
            || other.conversion_share().high_bp < best.conversion_share().low_bp
    };
    (1 < arms.len() && arms.iter().all(is_beaten)).then_some(best.variant)
}

/// The score interval of a share with 95 % confidence (E. B. Wilson, 1927): it stays within 0 and 1
/// and means something of few trials, too. The low end is rounded down and the high one up.
pub fn wilson(hits: u64, trials: u64) -> Share {
    /// The quantile of the normal distribution that leaves 2.5 % on either side.
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return Share { seen_bp: 0, low_bp: 0, high_bp: 10_000 };
    }
    // Counts of people are far below 2^52, so nothing is lost; and nothing is charged by it.
    #[allow(clippy::cast_precision_loss)]
    let (n, share) = (trials as f64, hits as f64 / trials as f64);
    let centre = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bp = |share: f64| (share * 10_000.0).clamp(0.0, 10_000.0) as u32;
    Share {
        seen_bp: bp(share),
        low_bp: if hits == 0 { 0 } else { bp((centre - spread) / scale) },
        high_bp: if hits == trials { 10_000 } else { bp((centre + spread) / scale) + 1 },
    }
}
