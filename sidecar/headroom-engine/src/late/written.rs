//! Writes that were counted as they came, as events. Of such a write only its key is known, with a hash of what
//! was asked: what is to be corrected must be said again, and what is said otherwise is found by trying.

use headroom_core::account::Account;
use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::decide::{self, Context, Past};
use headroom_core::event::{EventKey, EventState, EventSubject};
use headroom_core::names::NameId;
use headroom_core::subject::SubjectPath;
use headroom_core::tally::Labels;
use headroom_core::time::Millis;

use super::{CorrectRequest, LateError};
use crate::all::item_payload;
use crate::engine::EngineError;
use crate::keys::{KeyHash, Receipt, hash_payload};

/// The operations' numbers of writes that can be corrected.
const CONSUME: u8 = 1;
const RECORD: u8 = 3;
/// The same of writes for a subject, and of those of the vendor's own monitors.
const FOR_SUBJECT: [u8; 2] = [32, 34];
const SYNTHETIC_FOR_SUBJECT: [u8; 2] = [36, 38];
/// Sets the keys of the events apart that have one key together.
const ITEM: u8 = 43;

/// The keys that an event may be known by: that of its write or, of a Consume of several features, one
/// for each of them.
pub(super) fn event_keys(event: KeyHash, feature: NameId) -> [EventKey; 2] {
    let [first, second] = event.0;
    [event.0, [first ^ hash_payload(ITEM, feature, [0; 3]), second]]
}

/// What a correction says was written.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) rq: &'a CorrectRequest<'a>,
    pub(super) event: KeyHash,
    /// The feature, by its number.
    pub(super) id: NameId,
    /// What stands for the subject.
    pub(super) path_hash: u64,
}

/// The write as an event: what it asked for must be what was said.
pub(super) fn as_event(
    cx: Context<'_>,
    account: &Account,
    (said, feature): (Said<'_>, Option<FeatureIx>),
    (receipt, at): (&Receipt, Millis),
    past: Past<'_>,
) -> Result<EventState, LateError> {
    let Some(feature) = feature else { return Err(said.of_another(cx.catalog, receipt)) };
    let of = (feature, said.rq.subject);
    let (bookings, levels) =
        decide::bookings_at(cx, account, of, at, past).map_err(EngineError::from)?;
    let [own, of_item] = event_keys(said.event, said.id);
    let items = receipt.done.as_ref().map_or(&[][..], |done| &done.parts);
    let (key, written) = match items.iter().find(|item| item.feature == said.id) {
        Some(item) => (of_item, item),
        None => (own, receipt),
    };
    let units = said.rq.original_units.unwrap_or_default();
    if said.rq.original_units.is_none() || !said.is_it(written, units, Ways::default()) {
        return Err(said.differs((cx.catalog, feature), written));
    }
    let charge = written.done.as_ref().and_then(|done| done.charge.as_ref());
    let paid =
        charge.map(|charge| Box::new(decide::paid_then(cx, account, feature, units, (charge, at))));
    let subject = EventSubject { path_hash: said.path_hash, bookings: levels };
    Ok(EventState {
        key,
        name: said.rq.event.to_owned(),
        feature: said.id,
        occurred_at: at,
        units,
        bookings,
        labels: Labels::default(),
        paid,
        subject: said.rq.subject.map(|_| Box::new(subject)),
    })
}

/// In what a write may have been another than a correction says.
#[derive(Clone, Copy, Default)]
struct Ways {
    synthetic: bool,
    alone: bool,
    without_dimensions: bool,
}

impl Said<'_> {
    /// Whether a write is the one that was said, apart from this.
    fn is_it(self, written: &Receipt, units: u64, but: Ways) -> bool {
        let fingerprint = match but.without_dimensions {
            true => 0,
            false => self.rq.dimensions.fingerprint(),
        };
        let path_hash = if but.alone { 0 } else { self.path_hash };
        let is_alone = but.alone || self.rq.subject.is_none();
        let operations = match (is_alone, but.synthetic) {
            (true, _) => [CONSUME, RECORD],
            (false, false) => FOR_SUBJECT,
            (false, true) => SYNTHETIC_FOR_SUBJECT,
        };
        let whose = if is_alone { u64::from(but.synthetic) } else { path_hash };
        let plain = operations.map(|operation| hash_payload(operation, self.id, [units, 0, whose]));
        let item = item_payload(self.id, units, path_hash, but.synthetic);
        plain.into_iter().chain([item]).any(|asked| written.payload == asked ^ fingerprint)
    }

    /// The key is that of a write of another feature.
    fn of_another(self, catalog: &Catalog, receipt: &Receipt) -> LateError {
        let items = receipt.done.as_ref().map_or(&[][..], |done| &done.parts);
        let all = if items.is_empty() { std::slice::from_ref(receipt) } else { items };
        let known = all.iter().filter(|one| one.feature != Receipt::NO_LIMIT);
        let features: Vec<&str> = known.map(|one| catalog.feature_text(one.feature)).collect();
        let what = match features.is_empty() {
            true => "the write of this key was none of a feature".to_owned(),
            false => format!("the write of this key was of {}", features.join(", ")),
        };
        LateError::Differs { field: "feature", what }
    }

    /// In what the write was another than the correction says.
    fn differs(self, (catalog, feature): (&Catalog, FeatureIx), written: &Receipt) -> LateError {
        let differs = |field, what: &str| LateError::Differs { field, what: what.to_owned() };
        if written.feature != self.id {
            return self.of_another(catalog, written);
        }
        if written.done.as_ref().is_some_and(|done| done.amounts.reservation.is_some()) {
            let what = "the write of this key was about a reservation, and what a Commit counts is not \
                        corrected: Record what is missing; for what is too much, raise the limit by an \
                        override";
            return differs("event_key", what);
        }
        let Some(units) = self.rq.original_units else {
            let what = "is missing: nothing keeps the units of a write that was counted as it came, so \
                        the correction must say them";
            return differs("original_units", what);
        };
        if written.payload == 0 {
            let what = "the write of several features was made by an earlier version of the sidecar, which \
                        did not remember what was asked of each";
            return differs("event_key", what);
        }
        let is_but = |but| self.is_it(written, units, but);
        let (whole, alone) = (Ways::default(), Ways { alone: true, ..Ways::default() });
        let synthetic = Ways { synthetic: true, ..whole };
        if is_but(synthetic) || is_but(Ways { synthetic: true, ..alone }) {
            return differs("event_key", "the write was synthetic: it counted nowhere");
        }
        if self.rq.subject.is_some() && is_but(alone) {
            let what = "was not said with the write, which was counted for the account alone";
            return differs("subject", what);
        }
        if is_but(Ways { without_dimensions: true, ..whole }) {
            return differs("dimensions", "were not said with the write: leave them out");
        }
        let shape = catalog.feature(feature);
        let mut parts = vec!["units"];
        if shape.tally().is_some() {
            parts.push("dimensions");
        }
        if !shape.levels.is_empty() {
            parts.push("subject");
        }
        let parts = match parts.as_slice() {
            [last] => (*last).to_owned(),
            [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
            [] => String::new(),
        };
        let whose = self.rq.subject.map_or("the account alone", SubjectPath::as_str);
        let what = format!(
            "the write of this key was no Consume or Record of {units} units of {} for {whose}: say the \
             {parts} of the write again",
            self.rq.feature,
        );
        LateError::Differs { field: "original_units", what }
    }
}
