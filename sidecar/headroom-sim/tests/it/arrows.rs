//! The arrows of style.md, section 1: which crate may depend on which. Dependencies of tests alone
//! do not count, except that only tests may use the simulator.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crates of the workspace and those of it they may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("headroom-proto", &[]),
    ("headroom-core", &[]),
    ("headroom-forecast", &[]),
    ("headroom-engine", &["headroom-core"]),
    ("headroom-prompts", &["headroom-core"]),
    ("headroom-expansion", &["headroom-core"]),
    ("headroom-store", &["headroom-engine", "headroom-core"]),
    ("headroom-sim", &["headroom-engine", "headroom-core"]),
    ("headroom-sdk", &["headroom-proto"]),
    ("headroom-load-tests", &["headroom-sdk", "headroom-proto", "headroom-forecast"]),
    (
        "headroom",
        &[
            "headroom-core",
            "headroom-engine",
            "headroom-forecast",
            "headroom-prompts",
            "headroom-expansion",
            "headroom-store",
            "headroom-proto",
            "headroom-sdk",
        ],
    ),
];

/// What the rules are made of, and nothing else: no runtime, no network, no files, no clock, no
/// random numbers.
const CORE_USES: &[&str] = &["foldhash", "jiff", "smallvec", "strsim", "thiserror"];

/// What the memory must not use: it never waits, opens no file and knows no wire.
const ENGINE_NEVER_USES: &[&str] =
    &["tokio", "tonic", "prost", "redis", "redb", "rustix", "hyper", "axum", "http"];

/// A dependency: its name, and whether only tests or builds have it.
type Uses = Vec<(String, bool)>;

fn packages() -> BTreeMap<String, Uses> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let uses = package["dependencies"].as_array().unwrap().iter();
        let uses = uses.map(|used| (text(&used["name"]), used["kind"] == "dev"));
        (text(&package["name"]), uses.collect())
    });
    packages.collect()
}

fn shipped(uses: &Uses) -> Vec<&str> {
    uses.iter().filter(|(_, is_dev)| !is_dev).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn dependencies_run_one_way() {
    let packages = packages();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let known: Vec<&str> = packages.keys().map(String::as_str).collect();
    let listed: Vec<&str> = arrows.keys().copied().collect();
    assert_eq!(known, listed, "a crate is missing in ARROWS, or is not there any more");
    for (package, uses) in &packages {
        for used in shipped(uses).into_iter().filter(|used| packages.contains_key(*used)) {
            let allowed = arrows[package.as_str()].contains(&used);
            assert!(allowed, "{package} depends on {used}, which style.md section 1 forbids");
        }
    }
}

#[test]
fn only_tests_use_the_simulator() {
    for (package, uses) in packages() {
        assert!(!shipped(&uses).contains(&"headroom-sim"), "{package} ships the simulator");
    }
}

#[test]
fn the_rules_use_nothing_that_waits_or_reads() {
    let mut used: Vec<String> =
        shipped(&packages()["headroom-core"]).into_iter().map(str::to_owned).collect();
    used.sort();
    assert_eq!(used, CORE_USES);
    for used in shipped(&packages()["headroom-expansion"]) {
        // It is a parser: a text in, a tree out.
        let is_parser = used == "cel";
        let is_pure = is_parser || used == "headroom-core" || CORE_USES.contains(&used);
        assert!(is_pure, "headroom-expansion depends on {used}");
    }
}

#[test]
fn the_memory_uses_nothing_that_waits_or_talks() {
    let packages = packages();
    for used in shipped(&packages["headroom-engine"]) {
        assert!(!ENGINE_NEVER_USES.contains(&used), "headroom-engine depends on {used}");
    }
}

/// A dependency list cannot forbid the standard library, so the text of the rules is searched.
#[test]
fn the_rules_name_no_clock_file_thread_or_hash_order() {
    name_nothing_impure("headroom-core", 15);
}

#[test]
fn the_forecast_names_no_clock_file_thread_or_hash_order() {
    name_nothing_impure("headroom-forecast", 5);
}

#[test]
fn the_words_name_no_clock_file_thread_or_hash_order() {
    name_nothing_impure("headroom-prompts", 3);
}

#[test]
fn the_rules_of_growth_name_no_clock_file_thread_or_hash_order() {
    name_nothing_impure("headroom-expansion", 9);
}

fn name_nothing_impure(package: &str, files_min: usize) {
    let src = format!("{}/../{package}/src", env!("CARGO_MANIFEST_DIR"));
    let never = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "RandomState",
        "async fn",
        ".await",
        "println!",
    ];
    let mut files = 0;
    // Tests may read a seed.
    let is_shipped =
        |path: &std::path::PathBuf| !path.components().any(|c| c.as_os_str() == "tests");
    for path in rust_files(std::path::Path::new(&src)).into_iter().filter(is_shipped) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String = text.lines().filter(|line| !line.trim().starts_with("//")).collect();
        for word in never {
            assert!(!code.contains(word), "{} says {word}", path.display());
        }
        files += 1;
    }
    assert!(files > files_min, "only {files} files were found in {src}");
}

fn rust_files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
