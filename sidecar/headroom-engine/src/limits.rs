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
