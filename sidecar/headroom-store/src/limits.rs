//! Every bound of the store, with what happens when it is reached.

use std::time::Duration;

/// The largest record, in bytes. What time brings to an account is one record: ten thousand open
/// reservations that end together are 0.8 MB, and more where subjects hold them. A larger one is a bug of the caller;
/// [`append`](headroom_engine::ports::Store::append) asserts it.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// The largest entry of a snapshot, in bytes: an account with all its ledgers, and with 110,000
/// reservations of 200 bytes. A larger one is refused and the snapshot is abandoned; the previous
/// one stays.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// Bytes of a journal segment when the options do not say otherwise. At 15 MB/s a segment lasts
/// four seconds, so that preparing the next one is rare; replaying a whole one takes 0.1 s.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// The smallest segment that is accepted; smaller ones would be mostly headers.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 10;

/// The largest segment that is accepted: offsets in a segment have 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Bytes of records that may be in memory because they are not safely on disk. When reached,
/// `room()` refuses until the disk has caught up.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// Written bytes after which a sync starts at once, without waiting for [`SYNC_INTERVAL`]: these
/// bytes are kept in memory until they are synced.
pub const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// How long written records may stay unsynced: the most a power cut can take with
/// [`Durability::Written`](crate::Durability::Written).
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How long an append waits at most for somebody to call `kick`.
pub const WRITE_DELAY_MAX: Duration = Duration::from_millis(2);

/// Pause before the first retry after a failure; it doubles up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_millis(50);

/// The longest pause between retries. A full disk that has room again is noticed within it.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Changes of the projection in one transaction. More are left for the next one, which follows at
/// once.
pub const PROJECTION_OPS_MAX: usize = 16_384;

/// How long the projection may hold changes that are not synced. After a crash they are made again
/// from the journal, so this bounds work, not loss.
pub const PROJECTION_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Records after which the position of the projection is synced even if none of them changed it, so
/// that a restart need not hop over more than these.
pub const PROJECTION_SYNC_RECORDS: u64 = 1 << 20;

/// Pause after each transaction of the projection. It bounds what many small ones cost: at most a
/// thousand a second, each with all that came meanwhile.
pub const PROJECTION_PAUSE: Duration = Duration::from_millis(1);

/// How often the projection hops over records that do not matter to it, so that it is never far
/// behind when one comes that does.
pub const PROJECTION_HOP_INTERVAL: Duration = Duration::from_millis(100);

/// Memory for pages of the projection.
pub const PROJECTION_CACHE_BYTES: usize = 32 << 20;

/// Rows that one call of `range` returns at most, whatever the caller asks for.
pub const RANGE_ROWS_MAX: usize = 100_000;

/// How long a snapshot or a close waits for the journal to be synced before it gives up.
pub const SYNC_WAIT_MAX: Duration = Duration::from_secs(30);
