//! What accounts of a size usually have: "teams your size typically use 15 seats".
//!
//! Of a band of sizes only the median is told, and only of enough accounts, so nothing is said of any one
//! of them.

use std::collections::BTreeMap;

/// Where bands of sizes begin: 1 to 4 people, 5 to 9, and so on; the last has no end.
pub const BANDS: [u64; 9] = [1, 5, 10, 20, 50, 100, 200, 500, 1_000];

/// The fact that says how many seats accounts of the same size use.
pub const TYPICAL_SEATS: &str = "typical_seats";

/// Of fewer accounts nothing is ever told: one of them could be made out.
pub const ACCOUNTS_LEAST: u32 = 5;

/// What is told of sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchmarkTerms {
    /// The fact that names an account's size, as a number of people.
    pub size_fact: String,
    /// Of fewer accounts nothing is told; [`ACCOUNTS_LEAST`] or more.
    pub accounts_min: u32,
}

impl Default for BenchmarkTerms {
    fn default() -> BenchmarkTerms {
        BenchmarkTerms { size_fact: "employees".to_owned(), accounts_min: 20 }
    }
}

/// The place of the band of a size. `None`: it is no size.
pub fn band(size: u64) -> Option<usize> {
    BANDS.iter().rposition(|from| *from <= size)
}

/// Adds accounts up, one after the other. Four bytes each.
#[derive(Debug, Clone, Default)]
pub struct Cohorts {
    seats: BTreeMap<usize, Vec<u32>>,
}

impl Cohorts {
    /// Adds an account of so many people that uses so many seats. One that uses none says nothing of
    /// what is usual.
    pub fn add(&mut self, size: u64, seats: u64) {
        if let (Some(band), 1..) = (band(size), seats) {
            let seats = u32::try_from(seats).unwrap_or(u32::MAX);
            self.seats.entry(band).or_default().push(seats);
        }
    }

    /// What is usual of each band that has enough accounts. Of an even number the lower middle one.
    pub fn benchmarks(self, accounts_min: u32) -> Benchmarks {
        let enough = usize::try_from(accounts_min).unwrap_or(usize::MAX).max(1);
        let bands = self.seats.into_iter().filter(|(_, seats)| seats.len() >= enough);
        let seats = bands.map(|(band, mut seats)| {
            let middle = (seats.len() - 1) / 2;
            (band, *seats.select_nth_unstable(middle).1)
        });
        Benchmarks { seats: seats.collect() }
    }
}

/// What is usual, by band.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Benchmarks {
    seats: BTreeMap<usize, u32>,
}

impl Benchmarks {
    /// The seats that accounts of this size use: half of them as many or fewer. `None`: there are not enough
    /// of them.
    pub fn seats(&self, size: u64) -> Option<u32> {
        self.seats.get(&band(size)?).copied()
    }
}
