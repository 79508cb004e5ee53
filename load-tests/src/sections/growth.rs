//! How the time of a decision grows with the number of accounts, next to a bare map lookup of the
//! same keys: `headroom bench-decide` measures it in its own process, and prints one JSON object
//! per size with `accounts`, `decide_ns` and `map_ns`.

use super::Bench;
use crate::error::Error;
use crate::report::{GrowthResult, GrowthSize};
use std::process::{Command, Stdio};

/// Runs it and takes the ratio of the largest size to the smallest.
pub(super) fn run(bench: &Bench<'_>) -> Result<GrowthResult, Error> {
    eprintln!("timing decisions at a thousand and at a million accounts");
    let output = Command::new(&bench.program)
        .arg("bench-decide")
        .args(bench.options.sizes().growth)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io("bench-decide cannot be started"))?;
    if !output.status.success() {
        return Err(Error::WrongAnswer(format!("bench-decide ended: {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let sizes: Result<Vec<GrowthSize>, serde_json::Error> =
        text.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str).collect();
    let sizes = sizes.map_err(Error::call("reading bench-decide"))?;
    GrowthResult::new(sizes)
        .ok_or_else(|| Error::WrongAnswer("bench-decide printed less than two sizes".to_owned()))
}
