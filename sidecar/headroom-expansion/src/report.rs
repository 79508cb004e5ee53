//! Whether the gate is any good: how many accounts it lets through, and whether those that grew had
//! passed it.

/// Below this share of accounts, in basis points, a gate is too strict.
pub const STRICT_BELOW_BP: u64 = 1_500;
/// Above this share of accounts, in basis points, a gate is too loose.
pub const LOOSE_ABOVE_BP: u64 = 6_000;
/// Of the accounts that grew so many should have passed before, in basis points.
pub const UPGRADES_PASSED_BP: u64 = 8_000;

/// What is to be thought of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// There are no accounts to tell it by.
    NoAccounts,
    /// It lets hardly anybody through.
    TooStrict,
    /// It does its work.
    Fits,
    /// It lets nearly everybody through.
    TooLoose,
}

impl Opinion {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Opinion::NoAccounts => "no accounts",
            Opinion::TooStrict => "too strict",
            Opinion::Fits => "fits",
            Opinion::TooLoose => "too loose",
        }
    }
}

/// A part of a whole in basis points, rounded down. `None`: there is no whole.
pub fn share_bp(part: u64, whole: u64) -> Option<u64> {
    let bp = u128::from(part) * 10_000 / u128::from(if whole == 0 { return None } else { whole });
    u64::try_from(bp).ok()
}

/// What is to be thought of a gate that lets `passed` of `accounts` through.
pub fn opinion(passed: u64, accounts: u64) -> Opinion {
    match share_bp(passed, accounts) {
        None => Opinion::NoAccounts,
        Some(bp) if bp < STRICT_BELOW_BP => Opinion::TooStrict,
        Some(bp) if bp > LOOSE_ABOVE_BP => Opinion::TooLoose,
        Some(_) => Opinion::Fits,
    }
}
