//! The bounds of the engine, each with what happens at it.

use std::num::NonZeroUsize;

/// Accounts of one data directory. The next new one is refused with an error.
pub const ACCOUNTS_MAX: usize = 50_000_000;

/// How long an idempotency key is remembered by default, in milliseconds: 24 h, the longest that
/// common clients and queues retry.
pub const KEY_HORIZON_MS_DEFAULT: i64 = 24 * 60 * 60 * 1000;

/// Idempotency keys remembered by default. When there are more, the oldest are forgotten first and
/// the horizon in force gets shorter, which is reported. 4 million take about 270 MB.
pub const KEYS_MAX_DEFAULT: NonZeroUsize = NonZeroUsize::new(4_000_000).unwrap();

/// How far back windows can be restated by default, in milliseconds: 35 days, so that a month that
/// has just ended can be put right, and the keys of events are kept as long. Older events are refused
/// with an error.
pub const RESTATE_MS_DEFAULT: i64 = 35 * 24 * 60 * 60 * 1000;

/// Late events and corrections that the projection may not know yet. When there are as many, the
/// next ones are told to come again: it trails by milliseconds, unless its disk is in trouble.
pub const LATE_PENDING_MAX: usize = 65_536;

/// What is known of closed windows in those events: of different values up to 8 KiB each, so 32 MB in all. When
/// there are as many, the next ones that need it are told to come again, too.
pub const LATE_MEASURES_PENDING_MAX: usize = 4_096;

/// Numbers that a name had before and after the one that owns an instant, so many each, whose windows are looked
/// at for a late event: what lies beside its window. Of more, windows that lie otherwise than the
/// rules say are overlooked; the event then counts in one of its own beside them.
pub const SUBJECT_NUMBERS_BESIDE_MAX: usize = 8;

/// Names of subjects erased by one record.
pub const ERASED_NAMES_MAX: usize = 1_000;

/// Events forgotten by one record.
pub const FORGOTTEN_EVENTS_MAX: usize = 4_096;

/// Rows of usage by time that are read at once.
pub const TALLY_ROWS_AT_ONCE: usize = 1_000;

/// Rows of usage by time that one page of an answer adds up; when there are as many, the page ends with
/// the bucket.
pub const TALLY_ROWS_PER_PAGE: usize = 20_000;

/// Lines of one bucket of an answer. Dimensions beyond it are added up as `other`, which says so.
pub const TALLY_LINES_PER_BUCKET: usize = 1_000;
