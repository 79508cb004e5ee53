//! What accounts of a size usually have.

use headroom_expansion::benchmark::{BANDS, Cohorts, band};

#[test]
fn every_size_is_in_one_band() {
    assert_eq!(band(0), None);
    let bands: Vec<_> = [1, 4, 5, 9, 10, 999, 1_000, u64::MAX].map(band).to_vec();
    let expected = [0, 0, 1, 1, 2, 7, 8, 8].map(Some);
    assert_eq!(bands, expected);
    assert!(BANDS.is_sorted());
}

#[test]
fn the_middle_is_told_of_enough_accounts_alone() {
    let mut cohorts = Cohorts::default();
    for seats in 1..=19 {
        cohorts.add(10, seats);
    }
    cohorts.add(9, 100);
    cohorts.add(12, 0);
    assert_eq!(cohorts.clone().benchmarks(20).seats(15), None, "19 are not enough");
    cohorts.add(19, 1_000);
    let benchmarks = cohorts.benchmarks(20);
    // Of 20 the tenth; one that is far off changes nothing, and the band below has one account.
    assert_eq!([10, 19].map(|size| benchmarks.seats(size)), [Some(10), Some(10)]);
    assert_eq!([9, 20, 0].map(|size| benchmarks.seats(size)), [None; 3]);
}
