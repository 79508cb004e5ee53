//! The bounds of the core, each with what happens at it.

/// Largest number of units anywhere: the largest integer that JSON clients read exactly. A request
/// above it is refused as invalid; a count that would pass it is refused as `CounterFull`.
pub const UNITS_MAX: u64 = (1 << 53) - 1;

/// Limits that one feature may have in one plan. More are refused by the catalog check.
pub const LIMITS_PER_FEATURE_MAX: usize = 8;

/// Soft thresholds of one limit. More are refused by the catalog check: a ledger remembers the ones
/// it has passed in sixteen bits, two of which it needs itself.
pub const THRESHOLDS_MAX: usize = 14;

/// Soft thresholds of seats. More are refused by the catalog check: the signals of claimed seats need
/// two of the bits.
pub const SEAT_THRESHOLDS_MAX: usize = 12;

/// Buckets that a sliding window is cut into. Each is a ledger (64 bytes) while it counts, so a sliding
/// limit takes at most 25 of them, the one being left included; and what was used counts for at most
/// one bucket (4.2 % of the window) longer than the window, and never shorter.
pub const SLIDING_BUCKETS: i64 = 24;

/// Features, and plans, of one catalog. More are refused by the catalog check.
pub const CATALOG_ITEMS_MAX: usize = 10_000;

/// Open reservations of one account. The next `Reserve` is an error until one ends.
pub const OPEN_RESERVATIONS_MAX: usize = 10_000;

/// Reservations of one account that ended by time and may still be booked. The next `Reserve` is an
/// error until one has its outcome or is forgotten: none is forgotten early, because its commit may
/// come yet. Each takes about 200 bytes.
pub const EXPIRED_RESERVATIONS_MAX: usize = 100_000;

/// Bytes of a subject's path, and its levels. More are refused.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// See [`SUBJECT_BYTES_MAX`].
pub const SUBJECT_LEVELS_MAX: usize = 4;

/// Subjects of one account in which something counts. A write for one more is an error; one in which
/// nothing counts any more makes room by itself. Each takes about 400 bytes, and once more where it has values, a
/// rate or a grace.
pub const SUBJECTS_MAX: usize = 10_000;

/// Windows in which subjects of one account count, so that a checkpoint can hold the account. A write
/// that begins one more is an error. A sliding limit takes up to 25 of a subject. One that counts different values
/// takes up to 512 bytes more, so all of them 32 MiB.
pub const SUBJECT_LEDGERS_MAX: usize = 64_000;

/// Subjects in which nothing counts any more that one write of a new subject takes out of the memory:
/// more than come in, so that they do not gather, and few, so that no write takes long.
pub const SUBJECTS_FREED_MAX: usize = 256;
/// And their windows, because they all go into one record.
pub const SUBJECT_LEDGERS_FREED_MAX: usize = 4_096;

/// Open reservations of an account when one for a subject is refused: those that end at one instant are
/// one record, and the levels of a subject make each of them longer.
pub const OPEN_RESERVATIONS_OF_SUBJECTS_MAX: usize = 2_000;

/// How long an ended hold is remembered, so that a late `Commit` can be booked into the window it
/// was admitted in, and a second outcome is told from an unknown id. Milliseconds: 24 h.
pub const RESERVATION_MEMORY_MS: i64 = 24 * 60 * 60 * 1000;

/// Reservations remembered after their one outcome, per account. When full, the oldest is
/// forgotten: a second outcome is then answered as an unknown reservation.
pub const CLOSED_RESERVATIONS_MAX: usize = 1_000;

/// Longest hold. Milliseconds: 7 days.
pub const HOLD_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;

/// Windows that grace may be used in within its span, and graces remembered of one limit of one
/// account. More are refused by the catalog check; of the remembered ones the oldest is forgotten.
pub const GRACE_TIMES_MAX: usize = 12;

/// Windows that follow one that ended owing are listed so many at a time, because what is listed at once is
/// one record. When nobody looked for longer, the next ones are listed by the next record.
pub const FOLLOWING_WINDOWS_AT_ONCE: usize = 400;

/// Given grants of one pool of one account that have not ended. The next one is refused.
pub const GRANTS_MAX: usize = 64;

/// Given grants of one pool remembered after their end. When full, the oldest is forgotten: its id could
/// then be used again.
pub const ENDED_GRANTS_MAX: usize = 128;

/// Grants that one `Consume` may draw from. One that would need more is an error, and can be split; what
/// happened already, as a `Record` or a `Commit`, draws from as many as there are.
pub const GRANTS_PER_REQUEST_MAX: usize = 16;

/// Parts that the payment of one event is remembered in. When corrections would make more of them, they are
/// refused: the event can be withdrawn and recorded anew.
pub const EVENT_PARTS_MAX: usize = 256;

/// Units in one column of one segment of a pool's history: 64 times [`UNITS_MAX`]. Segments are at most an hour of
/// burns, and what would pass it within one is refused as `CounterFull`. What time and plans bring besides,
/// which nobody can refuse, keeps a column below four times as much.
pub const SEGMENT_UNITS_MAX: u64 = 1 << 59;

/// Windows without any look at a pool that it is followed through. One that slept longer goes on with the
/// window of now, with what was left of the last one followed.
pub const POOL_WINDOWS_MAX: usize = 1_000;

/// Features that the rate card of one pool prices. More are refused by the catalog check.
pub const RATE_CARD_MAX: usize = 1_000;

/// Longest id of a grant, and longest reason for taking one back, in bytes.
pub const GRANT_ID_BYTES_MAX: usize = 128;
/// See [`GRANT_ID_BYTES_MAX`].
pub const GRANT_REASON_BYTES_MAX: usize = 256;

/// How long after a signal of slots the next excursion is told, in milliseconds: an hour. Work that comes
/// every few seconds takes and gives back the last slot all day.
pub const SLOTS_TOLD_EVERY_MS: i64 = 60 * 60 * 1000;

/// Different values that a window of a quota with `aggregation: unique` knows one by one: 8 bytes each. More are
/// counted by a sketch of 4 KiB, whose count is approximate and says so.
pub const DISTINCT_EXACT_MAX: usize = 1_024;

/// The same of a window of a subject, of which an account may have [`SUBJECT_LEDGERS_MAX`]. More are counted by a
/// sketch of 512 bytes.
pub const SUBJECT_DISTINCT_EXACT_MAX: usize = 64;

/// Limits of the accounts of one catalog that count different values, so that a checkpoint can hold the account: each takes
/// up to 8 KiB of an account. More are refused by the catalog check.
pub const DISTINCT_LIMITS_MAX: usize = 64;

/// Dimensions that one feature's usage is told apart by. More are refused by the catalog check.
pub const DIMENSIONS_MAX: usize = 4;

/// Longest value of a dimension, in bytes. A request with a longer one is refused as invalid.
pub const DIMENSION_BYTES_MAX: usize = 64;

/// Different dimensions that one bucket of one feature of one account tells apart, a use without any
/// included. What comes with others is counted under `other`, which says so. Each takes about 100 bytes
/// while its bucket lasts.
pub const TALLY_CELLS_MAX: usize = 64;

/// Most days ahead that something may be told of that ends, 1 to this. More are refused by the catalog
/// check. A trial stands in the index of timers once a day for no longer than these.
pub const ENDING_DAYS_MAX: u16 = 366;

/// Overrides of one account. The next one is refused.
pub const OVERRIDES_MAX: usize = 256;

/// Different add-ons of one account. Each is looked at by every request of the account.
pub const ADDONS_MAX: usize = 32;

/// Most of one add-on that an account may have bought. More are refused.
pub const ADDON_QUANTITY_MAX: u32 = 1_000_000;

/// Plans that wait for their day in one subscription: a change a month for years.
pub const SCHEDULED_PLANS_MAX: usize = 64;

/// Plans that an account has had before and that are remembered, for limits that prorate. When there are
/// more, those are forgotten that ended before every window of now and of the memory began; where all of
/// them still have a share of one, the next change of plan is refused.
pub const PAST_PLANS_MAX: usize = 256;

/// Cohorts that one account is in, and that one feature is rolled out to. More are refused.
pub const COHORTS_MAX: usize = 32;
/// Bytes of a cohort's name.
pub const COHORT_BYTES_MAX: usize = 64;
/// Facts of one account, and the bytes of all their names and values. More are refused.
pub const FACTS_MAX: usize = 64;
/// See [`FACTS_MAX`].
pub const FACTS_BYTES_MAX: usize = 8 * 1024;

/// Longest period of a rate. More is refused by the catalog check: it is a quota. Milliseconds: one
/// day.
pub const RATE_PERIOD_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// Longest time that the empty bucket of a rate takes to fill. More is refused by the catalog check: a
/// burst that takes longer is a quota. It keeps the arithmetic of [`crate::rate`] far from its
/// bounds. Milliseconds: 7 days.
pub const RATE_FILL_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;

/// Rate buckets of one account. They cannot be more than the rate features of all catalogs so far, and
/// full ones are forgotten whenever a new one begins; a damaged snapshot with more is refused.
pub const BUCKETS_MAX: usize = CATALOG_ITEMS_MAX * 10;

/// Windows of an allocation that are closed at once when nobody asked for so long: a hundred years of
/// months. What lies between them and the window of now is left out of the usage history.
pub const STOCK_WINDOWS_MAX: usize = 1_200;

/// Seats taken in one account, of all features together. The next `Invite` or `Claim` of somebody new
/// is an error until one is free. Each is a member's name and two instants in memory.
pub const SEATS_MAX: usize = 10_000;

/// Longest invitation. More is refused by the catalog check, and in a request. Milliseconds: a leap
/// year.
pub const INVITATION_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;
