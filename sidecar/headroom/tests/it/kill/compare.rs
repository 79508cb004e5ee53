//! The sidecar's counters against the book.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Expected, Fate, Write};
use super::load::{self, Diary};
use super::signals::TIGHT_UNITS;
use crate::support::ask;

/// The ledgers that a book is kept of, by account and feature.
pub(super) type Ledgers = BTreeMap<(String, &'static str), Expected>;

pub(super) fn book(ledgers: &mut Ledgers, write: &Write, fate: &Fate) {
    ledgers.entry((write.account.clone(), write.feature)).or_default().book(write, fate);
}

/// The ledgers that the writes of `diary` are about.
pub(super) fn touched(diary: &Diary) -> BTreeSet<(String, &'static str)> {
    diary.iter().map(|(write, _)| (write.account.clone(), write.feature)).collect()
}

/// Compares every ledger that `diary` touched.
pub(super) async fn compare(
    client: &mut ask::Entitlements,
    ledgers: &Ledgers,
    diary: &Diary,
    when: &str,
) {
    for key in touched(diary) {
        let expected = ledgers.get(&key).copied().unwrap_or_default();
        let (account, feature) = key;
        let (used, reserved) = ask::used(client, &account, feature).await;
        assert!(
            expected.used.contains(used) && expected.reserved.contains(reserved),
            "{when}: {account} has used {used} and reserved {reserved}, {expected:?}"
        );
        if feature == "slots" {
            assert!(used + reserved <= TIGHT_UNITS, "{when}: {account}: {used} + {reserved}");
        }
    }
}

/// Acknowledged writes, sent again, are answered as they were.
pub(super) async fn replays(client: &mut ask::Entitlements, acked: &Diary) {
    for chunk in acked.chunks(4096) {
        let writes: Vec<&Write> = chunk.iter().map(|(write, _)| write).collect();
        for ((write, first), again) in chunk.iter().zip(load::retry(client, &writes).await) {
            let (Fate::Acked(first), Fate::Acked(again)) = (first, again) else {
                panic!("{write:?} was acknowledged and is now refused");
            };
            assert!(again.replayed, "{write:?} was counted again");
            assert_eq!(again.decision_id, first.decision_id, "{write:?}");
            assert_eq!(again.reservation_id, first.reservation_id, "{write:?}");
        }
    }
}
