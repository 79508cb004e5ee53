//! What the sidecar told the business: read from the NDJSON sink, compared with the book.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// Included units of `calls` on plan `open`, and the soft thresholds in basis points.
pub(super) const OPEN_UNITS: i64 = 4_000;
pub(super) const OPEN_BP: [i64; 14] =
    [50, 100, 200, 300, 500, 800, 1_200, 2_000, 3_000, 4_000, 5_500, 7_000, 8_500, 9_500];

/// Included units of `slots` on plan `tight`, and the soft thresholds.
pub(super) const TIGHT_UNITS: i64 = 40;
pub(super) const TIGHT_BP: [i64; 2] = [5_000, 9_000];

/// A threshold of an account; `hit` is -1, and the beginning of overage -2.
pub(super) type Mark = (String, String, i64);

pub(super) const HIT: i64 = -1;
const OVERAGE: i64 = -2;

/// The catalog that says so.
pub(super) fn catalog() -> String {
    let percents = |bps: &[i64]| {
        let words = bps.iter().map(|bp| format!("{}.{:02}%", bp / 100, bp % 100));
        words.collect::<Vec<_>>().join(", ")
    };
    format!(
        "\
default_plan: open
features:
  calls: {{ name: Calls, kind: quota, limits: {{ total: {{ window: lifetime }} }} }}
  slots: {{ name: Slots, kind: quota, limits: {{ total: {{ window: lifetime }} }} }}
plans:
  open:
    name: Open
    entitlements:
      calls: {{ total: {{ included: {OPEN_UNITS}, soft_limits: [{}], policy: overage }} }}
  tight:
    name: Tight
    entitlements:
      slots: {{ total: {{ included: {TIGHT_UNITS}, soft_limits: [{}], policy: block }} }}
sinks:
  - {{ sink: audit, kind: ndjson, path: signals.ndjson }}
",
        percents(&OPEN_BP),
        percents(&TIGHT_BP)
    )
}

/// The marks that a ledger must have left, each once. `is_refused`: somebody was refused there.
pub(super) fn expected(account: &str, feature: &str, used: i64, is_refused: bool) -> Vec<Mark> {
    let (included, bps) = match feature {
        "calls" => (OPEN_UNITS, &OPEN_BP[..]),
        _ => (TIGHT_UNITS, &TIGHT_BP[..]),
    };
    let is_passed = |bp: &i64| used > 0 && used * 10_000 >= included * bp;
    let mut bps: Vec<i64> = bps.iter().copied().chain([10_000]).filter(is_passed).collect();
    if is_refused || used > included {
        bps.push(HIT);
    }
    if feature == "calls" && used > included {
        bps.push(OVERAGE);
    }
    bps.into_iter().map(|bp| (account.to_owned(), feature.to_owned(), bp)).collect()
}

/// What the file says: how many different signals, and how often each mark was left.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) signals: usize,
    pub(super) marks: BTreeMap<Mark, u32>,
}

/// Reads the sink's file. A line may be there twice, the same, since delivery is at least once.
pub(super) fn told(file: &Path) -> Told {
    let text = std::fs::read_to_string(file).expect("the sink's file");
    assert!(text.ends_with('\n'), "the last line is torn");
    let lines: BTreeSet<&str> = text.lines().collect();
    let mut ids = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut marks = BTreeMap::new();
    for line in lines {
        let signal: Value = serde_json::from_str(line).expect("a line of JSON");
        let data = &signal["data"];
        let text = |field: &str| data[field].as_str().expect(field).to_owned();
        assert!(ids.insert(text("id")), "one id, two signals: {line}");
        assert!(keys.insert(text("dedup_key")), "announced twice: {line}");
        assert_eq!(data["limit_revision"], 1, "{line}");
        let crossed = data["crossed_bp"].as_array().expect("a list");
        let mut bps: Vec<i64> = crossed.iter().filter_map(Value::as_i64).collect();
        match signal["type"].as_str() {
            Some("headroom.signal.usage_ceiling") => assert!(!bps.is_empty(), "{line}"),
            Some("headroom.signal.feature_limit_hit") => bps.push(HIT),
            Some("headroom.signal.overage_started") => bps.push(OVERAGE),
            _ => panic!("{line}"),
        }
        for bp in bps {
            *marks.entry((text("account"), text("feature"), bp)).or_default() += 1;
        }
    }
    Told { signals: ids.len(), marks }
}
