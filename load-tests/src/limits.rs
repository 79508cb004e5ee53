//! Every number the measurements are made with, and why it is that one.

use std::time::Duration;

/// Connections of the unary load: an application process holds a few, however many calls are in
/// flight. Fewer calls than this get one connection each.
pub(crate) const CONNECTIONS_MAX: usize = 4;

/// Decisions in flight on a stream, whatever the batch, and on Redis: 256 keeps every server busy
/// over a round trip and is two messages of the largest batch.
pub(crate) const STREAM_DECISIONS_IN_FLIGHT: usize = 256;

/// EVALSHAs a pipeline holds: as many as the stream's batch it is compared with.
pub(crate) const EVALSHA_BATCH: usize = 16;

/// Accounts the load is spread over, in turn: more than fit a CPU's inner caches.
pub(crate) const ACCOUNTS: usize = 10_000;

/// How long the load generator may take to its first answer.
pub(crate) const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How long a server may take to get ready, also with a million ledgers to read.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a server may take to end after SIGTERM; then it is killed and the run fails.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Pause between two looks at a process that starts or ends.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Accounts of the memory measurement: times four ledgers is a million.
pub(crate) const MEMORY_ACCOUNTS: usize = 250_000;

/// Ledgers per account of the memory measurement.
pub(crate) const LEDGERS_PER_ACCOUNT: usize = 4;

/// Idempotency keys added without a new ledger, to learn what a key costs. More than doubles the
/// keys, so that a table that grows by doubling has grown.
pub(crate) const EXTRA_KEYS_PER_ACCOUNT: usize = 4;

/// Looks at the resident memory; the median counts, because allocators give memory back late.
pub(crate) const MEMORY_LOOKS: usize = 21;

/// Pause between two looks at the resident memory.
pub(crate) const MEMORY_LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Servers of the memory measurement. Of one, the median of all looks still differs by a tenth from that
/// of the next.
pub(crate) const MEMORY_ROUNDS: u32 = 5;

/// Of the load that shows what deliveries cost, one request in so many crosses a threshold: some 200 a
/// second, each on an account of its own.
pub(crate) const CROSSING_ONE_IN: usize = 500;

/// Pause between two crossings of the webhook measurement.
pub(crate) const CROSSING_PAUSE: Duration = Duration::from_millis(10);

/// Background load of the webhook measurement: one message of sixteen consumes per pause, 4,000
/// decisions a second.
pub(crate) const BACKGROUND_BATCH: usize = 16;

/// See [`BACKGROUND_BATCH`].
pub(crate) const BACKGROUND_PAUSE: Duration = Duration::from_millis(4);

/// How long the last webhook may take before it counts as lost.
pub(crate) const WEBHOOK_WITHIN: Duration = Duration::from_secs(10);

/// The largest webhook body the listener reads.
pub(crate) const WEBHOOK_BYTES_MAX: usize = 1 << 20;
