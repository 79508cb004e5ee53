//! The bounds of the sinks, each with what happens when it is reached.

use std::time::Duration;

/// Rows read from the projection at a time: some hundred microseconds of the control runtime.
pub(super) const PAGE_ROWS: usize = 256;

/// Signals of one webhook from the oldest unconfirmed to the last one read. While one account's
/// signal is retried the other accounts go on for so many; then all wait until it is delivered or
/// given up. It is also the most that a crash delivers twice, and about 2 MB at the worst.
pub(super) const WINDOW_SIGNALS_MAX: usize = 8_192;

/// Deliveries of one webhook under way at once. More wait for their turn, in the order they came.
pub(super) const IN_FLIGHT_MAX: usize = 16;

/// Signals and bytes of one request, where nothing else is said about batches. More go with the
/// next one.
pub(super) const BATCH_SIGNALS_MAX: usize = 100;
/// See [`BATCH_SIGNALS_MAX`].
pub(super) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// The same for Segment: what its own libraries send at a time, below the 500 kB that it takes. Of
/// the 32 kB of one event no signal has more than a sixth.
pub(super) const SEGMENT_BATCH_SIGNALS_MAX: usize = 100;
/// See [`SEGMENT_BATCH_SIGNALS_MAX`].
pub(super) const SEGMENT_BATCH_BYTES_MAX: usize = 450_000;
/// Batches under way at once.
pub(super) const SEGMENT_IN_FLIGHT_MAX: usize = 4;

/// Requests under way at once of a sink that makes batches from templates, or that needs a token.
pub(super) const TEMPLATE_BATCHES_MAX: usize = 4;

/// The longest body that templates make. A signal whose body is longer is refused.
pub(super) const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// How long a token is used whose answer does not say; and the longest, whatever it says.
pub(super) const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// See [`TOKEN_LIFE_DEFAULT`].
pub(super) const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);

/// Slack takes one message per second and channel; a bit more, as its clock is not ours.
pub(super) const SLACK_PACE: Duration = Duration::from_millis(1_050);

/// Characters of an endpoint's answer that are shown to an operator. The rest is left out.
pub(super) const TOLD_CHARS_MAX: usize = 200;

/// The longest that one delivery may take, from connecting to the end of the answer. Then it has
/// failed.
pub(super) const ATTEMPT_WITHIN: Duration = Duration::from_secs(15);

/// The longest that connecting may take, so that a host that swallows packets is known sooner.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What is read of an answer's body, which says nothing to us, so that its connection can be used
/// again. A longer or a slower one costs the connection.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// See [`ANSWER_BYTES_MAX`].
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The longest head of an answer. A longer one is a failed delivery.
pub(super) const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long an unused connection is kept. Shorter than the minute after which most servers close.
pub(super) const CONNECTION_IDLE: Duration = Duration::from_secs(50);

/// Pauses between the attempts to deliver a signal that is refused while others are accepted: the
/// schedule of Standard Webhooks, three days in all. After it the signal is given up.
pub(super) const RETRY_PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// Pauses between the probes of an endpoint that accepts nothing; the last one repeats. One probe
/// at a time costs nobody much, so recovery is noticed within five minutes.
pub(super) const OUTAGE_PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(2 * 60),
    Duration::from_secs(5 * 60),
];

/// So many accounts refused and none accepted in between is taken for an outage.
pub(super) const OUTAGE_ACCOUNTS: usize = 3;

/// The longest `Retry-After` that is believed; a longer one counts as this.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a pause may become by chance, as a part of it: one fifth, so that many do not retry at
/// the same moment.
pub(super) const JITTER_PARTS: u32 = 5;

/// A sink's progress is journaled after so many signals or so much time, whichever is first, and
/// before a shutdown. What was confirmed since is delivered twice after a crash.
pub(super) const CURSOR_SIGNALS: u64 = 64;
/// See [`CURSOR_SIGNALS`].
pub(super) const CURSOR_INTERVAL: Duration = Duration::from_millis(100);

/// How soon a sink looks whether what was said of a signal is written. The journal takes a moment for it;
/// where it takes longer, each pause is twice the last one, up to [`CATCH_UP_POLL`].
pub(super) const WRITTEN_POLL: Duration = Duration::from_millis(1);

/// How often a beginning sink looks whether the projection has caught up with the journal.
pub(super) const CATCH_UP_POLL: Duration = Duration::from_millis(20);

/// How long an operator's request waits for a sink to begin; then it is refused.
pub(super) const BEGUN_WITHIN: Duration = Duration::from_secs(5);

/// Pause after the projection could not be read.
pub(super) const READ_RETRY: Duration = Duration::from_secs(1);

/// Pauses after a file could not be written; the last one repeats. Local disks recover by hand, so
/// that looking again costs nothing.
pub(super) const WRITE_PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// Longest line of a file, generously. A file without a line end in its last so many bytes was not
/// written by us, and is left alone.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// How long a sink whose definition changed may take to finish what is under way. What is not
/// answered by then is delivered again under the new definition.
pub(super) const CHANGE_WITHIN: Duration = Duration::from_secs(2);

/// Changes of the sinks that wait for their turn. More make their callers wait.
pub(super) const COMMANDS_MAX: usize = 8;

/// Dead letters of one sink that can be listed and sent again. When there are more, the one that
/// was given up first is forgotten, and said so in the log; its signal stays in the data directory.
pub const DEAD_LETTERS_MAX: usize = 1_024;

/// Starts of the process whose signals have its number in their ids: 1 MB at the most. A signal
/// that is older than so many starts and still not delivered is delivered without the number.
pub(super) const STARTS_MAX: usize = 65_536;
