//! What people read of signals.

use std::collections::{BTreeMap, BTreeSet};

use headroom_core::signal::SignalName;

use crate::sinks::payload::Message;
use crate::sinks::sentence;

/// Why a signal came: its name, and whether somebody was refused where that is another matter, or
/// something is well again.
fn reason(message: &Message) -> (String, bool, bool) {
    let differs = [SignalName::FeatureLimitHit, SignalName::TeamInviteSent].map(Some);
    let is_refused = differs.contains(&message.found) && message.data.refused_units > 0;
    (message.name.clone(), is_refused, message.data.recovered)
}

#[test]
fn no_text_of_an_alert_is_told_for_two_reasons() {
    let mut reasons: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for sample in Message::samples() {
        for (refused_units, recovered) in [(0, false), (1, false), (0, true)] {
            let mut message = sample.clone();
            message.data.refused_units = refused_units;
            message.data.recovered = recovered;
            // What is left is the reason: the same limit, numbers and instants for all.
            message.data.threshold_bp = Some(8_000);
            message.data.grace_until = None;
            reasons.entry(sentence::of(&message)).or_default().insert(reason(&message));
            known.insert(reason(&message));
        }
    }
    assert!(known.len() > 2 * SignalName::ALL.len(), "{known:?}");
    let shared: Vec<_> = reasons.iter().filter(|(_, reasons)| reasons.len() > 1).collect();
    assert!(shared.is_empty(), "{shared:#?}");
}
