//! Bounds of what is kept and looked at.

/// Hours kept one by one. Four weeks, so that each hour of the week was seen four times. What is older
/// is known by the day alone.
pub const HOURS_MAX: usize = 28 * 24;

/// Days kept one by one: a year and a month, so that a yearly window has seen one of its kind. What is
/// older is forgotten.
pub const DAYS_MAX: usize = 396;

/// Steps that a forecast looks back, the newest: half a year of days, or a week and a half of hours.
/// More costs time and says little about the pace of now.
pub const STEPS_MAX: usize = 256;

/// How far ahead anything is said of a window that never ends, or ends later. Milliseconds: a year.
pub const HORIZON_MS_MAX: i64 = 366 * DAY_MS;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The latest instant that is reckoned with, and, negative, the earliest: a hundred thousand years. What
/// lies beyond is taken for it, so that no sum overflows.
pub const INSTANT_MS_MAX: i64 = 100_000 * 366 * DAY_MS;
