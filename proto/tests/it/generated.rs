//! What is checked in under `src/gen` is what the proto files say.

use prost_types::FileDescriptorSet;
use std::fs;
use std::path::{Path, PathBuf};
use tonic_prost_build::Config;

/// How to bring `src/gen` up to date; also the hint of a failed comparison.
const REGENERATE_COMMAND: &str = "HEADROOM_REGENERATE=1 cargo test -p headroom-proto";
const CODE_FILE: &str = "headroom.v1.rs";
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

/// Returns the generated code and the descriptor set.
fn generate() -> (Vec<u8>, Vec<u8>) {
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

    // Comments are for the code; a client that asks for reflection needs the types only.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    (code, prost::Message::encode_to_vec(&descriptors))
}

#[test]
fn checked_in_code_is_what_the_proto_files_say() {
    let generated_dir = crate_dir().join("src/gen");
    let (code, descriptor_set) = generate();
    for (name, fresh) in [(CODE_FILE, code), (DESCRIPTOR_FILE, descriptor_set)] {
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
fn descriptor_set_names_both_services() {
    let set: FileDescriptorSet = prost::Message::decode(headroom_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptor set decodes");
    let services: Vec<&str> =
        set.file.iter().flat_map(|file| &file.service).map(|service| service.name()).collect();
    assert_eq!(services, ["AdminService", "EntitlementService"]);
}
