//! What is checked in under `src/gen` is what the proto files say.

use prost_types::FileDescriptorSet;
use std::fs;
use std::path::{Path, PathBuf};
use tonic_prost_build::Config;

/// How to bring `src/gen` up to date; also the hint of a failed comparison.
const REGENERATE_COMMAND: &str = "HEADROOM_REGENERATE=1 cargo test -p headroom-proto";
const CODE_FILE: &str = "headroom.v1.rs";
const SERVER_FILE: &str = "headroom.v1.server.rs";
const DESCRIPTOR_FILE: &str = "headroom.v1.bin";

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The proto files of the package, in the order of their names: the generator's output depends on
/// the order.
fn proto_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(crate_dir().join("headroom/v1")).expect("the proto directory");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    files.sort();
    files
}

/// Answers that the server encodes itself (`src/encoded.rs` says why).
const ENCODED_BY_THE_SERVER: [&str; 13] = [
    "AllocateResponse",
    "CheckAllResponse",
    "CheckResponse",
    "CommitResponse",
    "ConsumeAllResponse",
    "ConsumeResponse",
    "CorrectResponse",
    "DecideResponse",
    "ExtendResponse",
    "RecordResponse",
    "ReleaseResponse",
    "ReserveAllResponse",
    "ReserveResponse",
];

/// Requests that the server reads itself (`src/borrowed.rs` says why).
const READ_BY_THE_SERVER: [&str; 3] = ["CheckRequest", "ConsumeRequest", "DecideRequest"];

/// The server of EntitlementService once more, with messages it reads and writes itself.
fn generate_encoding_server(mut descriptors: FileDescriptorSet) -> Vec<u8> {
    for file in &mut descriptors.file {
        file.service.retain(|service| service.name() == "EntitlementService");
    }
    let out_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gen-encoding");
    fs::create_dir_all(&out_dir).expect("a temporary directory");
    let mut builder = tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".headroom.v1", "crate::v1")
        .out_dir(&out_dir);
    for message in READ_BY_THE_SERVER {
        builder = builder.extern_path(format!(".headroom.v1.{message}"), "crate::borrowed::Raw");
    }
    for message in ENCODED_BY_THE_SERVER {
        builder = builder.extern_path(format!(".headroom.v1.{message}"), "crate::encoded::Encoded");
    }
    builder.compile_fds(descriptors).expect("the generator runs");
    fs::read(out_dir.join(CODE_FILE)).expect("the generator wrote the package")
}

/// Returns the generated code, that of the encoding server, and the descriptor set.
fn generate() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut descriptors: FileDescriptorSet =
        protox::compile(proto_files(), [crate_dir()]).expect("the proto files compile");

    // A map in key order: the same message always has the same bytes.
    let mut config = Config::new();
    config.btree_map(["."]);
    let out_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gen");
    fs::create_dir_all(&out_dir).expect("a temporary directory");
    tonic_prost_build::configure()
        .out_dir(&out_dir)
        .compile_fds_with_config(descriptors.clone(), config)
        .expect("the generator runs");
    let code = fs::read(out_dir.join(CODE_FILE)).expect("the generator wrote the package");
    let server_code = generate_encoding_server(descriptors.clone());

    // Comments are for the code; a client that asks for reflection needs the types only.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    (code, server_code, prost::Message::encode_to_vec(&descriptors))
}

#[test]
fn checked_in_code_is_what_the_proto_files_say() {
    let generated_dir = crate_dir().join("src/gen");
    let (code, server_code, descriptor_set) = generate();
    let files = [(CODE_FILE, code), (SERVER_FILE, server_code), (DESCRIPTOR_FILE, descriptor_set)];
    for (name, fresh) in files {
        let path = generated_dir.join(name);
        if std::env::var_os("HEADROOM_REGENERATE").is_some() {
            fs::write(&path, &fresh).expect("src/gen can be written");
        }
        let checked_in = fs::read(&path).unwrap_or_default();
        assert!(
            checked_in == fresh,
            "{} is not what the proto files say; run: {REGENERATE_COMMAND}",
            path.display(),
        );
    }
}

#[test]
fn descriptor_set_names_all_services() {
    let set: FileDescriptorSet = prost::Message::decode(headroom_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptor set decodes");
    let services: Vec<&str> =
        set.file.iter().flat_map(|file| &file.service).map(|service| service.name()).collect();
    let all =
        ["SignalService", "AdminService", "EntitlementService", "PromptService", "SeatService"];
    assert_eq!(services, all);
}
