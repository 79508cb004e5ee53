//! How likely what is: a distribution over amounts that are never negative.
//!
//! The gamma distribution with a mean and a variance. Unlike a normal one it gives nothing below
//! zero, and unlike a lognormal one it bears the many zeros of an account that is idle on most days.

/// A distribution of an amount: gamma distributions, each with the part of the belief that it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    // Invariant: not empty, the parts add up to 1.
    parts: Vec<(f64, Gamma)>,
}

/// One gamma distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gamma {
    mean: f64,
    variance: f64,
}

impl Spread {
    /// With this mean and variance; both at least 0.
    pub fn new(mean: f64, variance: f64) -> Spread {
        Spread::mixed([(1.0, mean, variance)])
    }

    /// Each part with its weight, mean and variance.
    pub fn mixed(parts: impl IntoIterator<Item = (f64, f64, f64)>) -> Spread {
        let gamma =
            |mean: f64, variance: f64| Gamma { mean: mean.max(0.0), variance: variance.max(0.0) };
        Spread {
            parts: parts
                .into_iter()
                .map(|(part, mean, variance)| (part, gamma(mean, variance)))
                .collect(),
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.parts.iter().map(|(part, gamma)| part * gamma.mean).sum()
    }

    /// The probability of `amount` or less.
    pub fn below(&self, amount: f64) -> f64 {
        self.parts.iter().map(|(part, gamma)| part * gamma.below(amount)).sum()
    }

    /// The amount that is not exceeded with this probability, between 0 and 1.
    pub fn quantile(&self, probability: f64) -> f64 {
        let mean = self.mean();
        if mean <= 0.0 {
            return 0.0;
        }
        let mut high = mean;
        for _ in 0..40 {
            if self.below(high) >= probability {
                break;
            }
            high *= 2.0;
        }
        let mut low = 0.0;
        for _ in 0..30 {
            let middle = f64::midpoint(low, high);
            if self.below(middle) < probability { low = middle } else { high = middle }
        }
        high
    }
}

impl Gamma {
    fn below(self, amount: f64) -> f64 {
        if amount < 0.0 {
            return 0.0;
        }
        if self.mean <= 0.0 || self.variance <= self.mean * self.mean * 1e-12 {
            return if self.mean <= amount { 1.0 } else { 0.0 };
        }
        let shape = self.mean * self.mean / self.variance;
        gamma_below(shape, amount * self.mean / self.variance)
    }
}

/// The regularised lower incomplete gamma function: by its series below `shape + 1`, by its continued
/// fraction above (Abramowitz and Stegun, 6.5.29 and 6.5.31; the fraction after Lentz).
fn gamma_below(shape: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if shape > LARGE_SHAPE {
        // Wilson and Hilferty: the cube root of a gamma amount is nearly normal.
        let root = (x / shape).cbrt();
        let nine = 1.0 / (9.0 * shape);
        return normal_below((root - (1.0 - nine)) / nine.sqrt());
    }
    let front = (shape * x.ln() - x - ln_gamma(shape)).exp();
    if x < shape + 1.0 {
        let (mut term, mut sum, mut at) = (1.0 / shape, 1.0 / shape, shape);
        for _ in 0..200 {
            at += 1.0;
            term *= x / at;
            sum += term;
            if term < sum * 1e-9 {
                break;
            }
        }
        return (front * sum).min(1.0);
    }
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - shape;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut fraction = d;
    for step in 1..200 {
        let n = f64::from(step);
        let a = -n * (n - shape);
        b += 2.0;
        d = 1.0 / nonzero(a * d + b, TINY);
        c = nonzero(b + a / c, TINY);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-9 {
            break;
        }
    }
    (1.0 - front * fraction).clamp(0.0, 1.0)
}

/// From here on the normal approximation errs by less than a thousandth.
const LARGE_SHAPE: f64 = 20.0;

fn nonzero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// Stirling's series for the logarithm of the gamma function, shifted up to where it is exact to ten
/// digits.
fn ln_gamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 8.0 {
        below += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse / 1260.0)) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}

/// The normal distribution, to 7 digits (Abramowitz and Stegun, 26.2.17).
fn normal_below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series;
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: f64, x: f64, expected: f64) {
        let got = gamma_below(shape, x);
        assert!((got - expected).abs() < 1e-3, "{got} for {expected}");
    }

    #[test]
    fn the_gamma_distribution_has_its_known_values() {
        check(1.0, 1.0, 1.0 - (-1.0f64).exp()); // An exponential one.
        check(2.0, 3.0, 1.0 - 4.0 * (-3.0f64).exp()); // Two of them.
        check(0.5, 0.5 * 1.0, 0.682_689); // A squared normal one.
        check(25.0, 25.0, 0.526_6); // By the approximation.
    }

    #[test]
    fn a_quantile_is_the_other_way_round() {
        for (mean, variance) in [(10.0, 1.0), (10.0, 100.0), (3.0, 30.0), (1e9, 1e12)] {
            let spread = Spread::new(mean, variance);
            for probability in [0.1, 0.5, 0.9] {
                let got = spread.below(spread.quantile(probability));
                assert!((got - probability).abs() < 1e-3, "{mean} {variance}: {got}");
            }
        }
    }
}
