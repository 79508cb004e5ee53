//! Every bound of the SDK, and what happens when it is reached.

use std::time::Duration;

/// How long a call may take, from the call to its answer, retries included. A durable decision
/// takes well under a millisecond; a quarter of a second leaves room for a reconnect and is still
/// hardly felt by a person waiting for a page. Past it the call fails with
/// [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded).
pub const DEADLINE_DEFAULT: Duration = Duration::from_millis(250);

/// How long an admin call may take: reading a large catalog, or writing a backup, takes longer
/// than a decision and nobody waits for it in front of a page.
pub const ADMIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// How often one call is tried. Three retries with growing pauses bridge a reset connection; more
/// would only load a sidecar that is in trouble.
pub const ATTEMPTS_MAX: u32 = 4;

/// The first pause between two attempts; it doubles each time.
pub(crate) const PAUSE_FIRST: Duration = Duration::from_millis(4);

/// The longest pause between two attempts.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(64);

/// Operations waiting for a place in the stream. When full, a call fails at once with
/// [`Error::QueueFull`](crate::Error::QueueFull): waiting longer would only turn it into a
/// deadline.
pub const OPERATIONS_QUEUED_MAX: usize = 8_192;

/// Operations in one message of the stream: the most the contract allows.
pub const OPERATIONS_PER_MESSAGE_MAX: usize = 256;

/// Messages sent and not yet answered. While so many are under way, calls gather for the next
/// message: this is what makes batches under load and sends a lonely call at once. Measured with 64
/// and with 512 callers against a durable sidecar: 1 costs a tenth of the throughput, 2 to 16 are
/// the same within the noise.
pub(crate) const MESSAGES_IN_FLIGHT_MAX: usize = 4;

/// How long a connection may be silent, with calls under way, before it is probed.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(5);

/// How long the answer to a probe may take before the connection is given up.
pub(crate) const PROBE_DEADLINE: Duration = Duration::from_secs(2);
