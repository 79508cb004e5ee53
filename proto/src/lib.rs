//! The wire contract of Headroom: messages, clients and servers of the package `headroom.v1`.
//!
//! Everything here is generated from `proto/headroom/v1/*.proto` and checked in, so that building
//! needs no protoc and no build script. A test compares what is checked in with what the proto
//! files say. After a change of the proto files:
//!
//! ```text
//! HEADROOM_REGENERATE=1 cargo test -p headroom-proto
//! ```

/// Messages, clients and servers of `headroom.v1`.
pub mod v1 {
    // Generated code answers to its generator, not to our lints. Field comments come from the
    // proto files; what the generator adds of its own has none.
    #![allow(missing_docs, unused_qualifications, unreachable_pub)]
    #![allow(clippy::all, clippy::needless_pass_by_value, clippy::cast_possible_truncation)]
    include!("gen/headroom.v1.rs");
}

pub mod borrowed;
pub mod encoded;

/// The server of EntitlementService for requests that are read where they lie ([`borrowed`]) and
/// answers that are encoded when they are made ([`encoded`]): the same paths and messages as in
/// [`v1::entitlement_service_server`].
pub mod server {
    #![allow(missing_docs, unused_qualifications, unreachable_pub)]
    #![allow(clippy::all, clippy::needless_pass_by_value, clippy::cast_possible_truncation)]
    include!("gen/headroom.v1.server.rs");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the package and of everything it imports,
/// without comments: what gRPC reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/headroom.v1.bin");
