//! Medians and ratios.

use headroom_load_tests::stats::{Ratio, median, quantile, ratio};

#[track_caller]
fn check_median(values: &[f64], expected: Option<f64>) {
    assert_eq!(median(values), expected, "{values:?}");
}

#[test]
fn the_median_is_in_the_middle() {
    check_median(&[], None);
    check_median(&[f64::NAN, 1.0], None);
    check_median(&[3.0], Some(3.0));
    check_median(&[9.0, 1.0], Some(5.0));
    check_median(&[9.0, 1.0, 2.0], Some(2.0));
    check_median(&[4.0, 1.0, 3.0, 2.0], Some(2.5));
}

#[test]
fn quantiles_lie_between_their_neighbours() {
    let values = [10.0, 0.0, 20.0, 30.0, 40.0];
    assert_eq!(quantile(&values, 0.0), Some(0.0));
    assert_eq!(quantile(&values, 0.25), Some(10.0));
    assert_eq!(quantile(&values, 0.9), Some(36.0));
    assert_eq!(quantile(&values, 1.0), Some(40.0));
}

#[test]
fn ratios_are_taken_within_the_round() {
    // The third round was slow for both: the ratio does not see it.
    let expected = Ratio { median: 1.5, quartile_low: 1.5, quartile_high: 1.5 };
    assert_eq!(ratio(&[3.0, 6.0, 60.0], &[2.0, 4.0, 40.0]), Some(expected));
}

#[test]
fn rounds_without_a_figure_to_divide_by_are_left_out() {
    let expected = Ratio { median: 2.0, quartile_low: 2.0, quartile_high: 2.0 };
    assert_eq!(ratio(&[5.0, 4.0], &[0.0, 2.0]), Some(expected));
    assert_eq!(ratio(&[5.0], &[0.0]), None);
    assert_eq!(ratio(&[], &[]), None);
}
