//! Bounds of the listeners and connections, and what happens when each is reached.

use std::time::Duration;

/// Open connections of all gRPC listeners together. One more is accepted and closed at once, so
/// that its client fails over instead of hanging in the backlog. Each costs a descriptor and, while
/// it sends faster than it is answered, up to [`CONNECTION_WINDOW_BYTES`].
pub const CONNECTIONS_MAX: usize = 4096;

/// Open connections of the admin listener, which people and scrapers use. Full: as above.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Open connections of the listener for events, which other systems use. Full: as above.
pub const EVENTS_CONNECTIONS_MAX: usize = 256;

/// Accepted sockets waiting for their worker to take them over. When full the acceptor waits, and
/// then the kernel's backlog fills.
pub const HANDOVER_SOCKETS_MAX: usize = 256;

/// How long a new connection may stay silent. A gRPC client speaks first and at once; whoever does
/// not is closed, so that half-open connections cannot use up the room.
pub const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(10);

/// Requests and streams open at once on one connection. The client queues what is above.
pub const STREAMS_MAX: u32 = 1024;

/// The largest request message: more than twice a full batch of 256 operations with 36-byte ids. A
/// longer one is answered OUT_OF_RANGE by tonic. Whoever makes a service sets it there.
pub const REQUEST_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What a client may send on one stream before it must wait for the server to read: four of the
/// largest messages, so that a pipelined stream never stalls.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// What a client may send on one connection before it must wait, over all its streams.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// The headers of one request, decoded. A longer list is answered with status 431.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// How long a silent TCP connection is left alone before the kernel asks whether the peer is there,
/// how often it asks, and how many silences in a row close it: a vanished client is gone after 50 s.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// See [`KEEPALIVE_IDLE`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// See [`KEEPALIVE_IDLE`].
pub const KEEPALIVE_PROBES: u32 = 3;

/// How long an acceptor rests when the process or the machine is out of descriptors or memory.
/// Trying at once would fail again and take a core.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// How long a connection that the server has ended waits for the client to end it, too. A client does
/// so as soon as it has read the last answer; one that does not is not waited for any longer.
pub const LINGER: Duration = Duration::from_millis(500);
