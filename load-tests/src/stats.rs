//! Medians: of a few samples, and of the ratios of samples taken in the same round.

/// The middle of the values: of an even number, the mean of the two in the middle. None without
/// values, or when one of them is not a number.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which this part of the values lies, between neighbours on a straight line.
/// None without values, or when one of them is not a number.
pub fn quantile(values: &[f64], part: f64) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor(), place.ceil());
    // Places lie between 0 and the number of values, so they are exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let (low, high) = (sorted[below as usize], sorted[above as usize]);
    Some(low + (high - low) * (place - below))
}

/// How one side compares with the other: the ratio is taken within each round, so that whatever
/// slowed the machine down in that round slowed both.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Ratio {
    /// The median of the ratios.
    pub median: f64,
    /// A quarter of the ratios lies below.
    pub quartile_low: f64,
    /// A quarter of the ratios lies above.
    pub quartile_high: f64,
}

/// The ratios `of[i] / to[i]`. Rounds in which `to` is zero say nothing and are left out; None when
/// no round is left.
pub fn ratio(of: &[f64], to: &[f64]) -> Option<Ratio> {
    let rounds = of.iter().zip(to).filter(|(_, to)| **to > 0.0);
    let ratios: Vec<f64> = rounds.map(|(of, to)| of / to).collect();
    Some(Ratio {
        median: median(&ratios)?,
        quartile_low: quantile(&ratios, 0.25)?,
        quartile_high: quantile(&ratios, 0.75)?,
    })
}
