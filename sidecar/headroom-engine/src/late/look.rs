//! What a late event or a correction must know from the disk, read before the account is locked.

use headroom_core::catalog::{Aggregation, Catalog, FeatureIx, FeatureKind};
use headroom_core::event::{Event, Restated};
use headroom_core::names::NameId;
use headroom_core::time::Millis;

use super::written::event_keys;
use super::{CorrectRequest, LateRequest, Seen, levels, unreadable};
use crate::digest::{after_prefix, start_key, usage_key, usage_prefix};
use crate::engine::{Engine, Slot, feature_id};
use crate::events::{self, EventRow};
use crate::keys::{KeyEntry, KeyHash, hash_key};
use crate::limits;
use crate::measures;
use crate::ports::{Archive, ArchiveError, Seq, Table, rows};

impl Engine {
    /// Looks for what a late event must know from the disk.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn look_late(
        &self,
        catalog: &Catalog,
        archive: &dyn Archive,
        rq: &LateRequest<'_>,
    ) -> Result<Seen, ArchiveError> {
        let mut seen = Seen { position: archive.position(), ..Seen::default() };
        let feature = catalog.feature_named(rq.feature);
        let at = rq.occurred_at.min(rq.now);
        if let Some(feature) = feature {
            let of = (catalog, feature, rq.subject);
            seen.levels = self.look_levels(archive, rq.account, of, at)?;
        }
        let Some(serial) = self.accounts.get(rq.account).map(|slot| slot.account.serial) else {
            return Ok(seen);
        };
        seen.answer = answer(archive, serial, hash_key(&self.secret, rq.key))?;
        let Some(feature) = feature else { return Ok(seen) };
        let shape = catalog.feature(feature);
        let is_measured = matches!(shape.aggregation(), Aggregation::Latest | Aggregation::Unique);
        seen.measured = is_measured.then_some((shape.id, at));
        let without = self.limits_without(catalog, rq.account, feature, at);
        let Some((_, limits)) = without else { return Ok(seen) };
        let feature = catalog.feature(feature).id;
        for limit in limits {
            let prefix = limit_prefix(serial, feature, limit);
            seen.past.extend(around(archive, (Table::Usage, &prefix), at)?);
        }
        later(catalog, archive, (serial, feature), at, &mut seen.past)?;
        if is_measured {
            let levels = seen.levels.iter().flat_map(|level| &level.past.windows);
            let levels = levels.map(|(id, window)| (Some(*id), window));
            let windows = seen.past.iter().map(|window| (None, window)).chain(levels);
            seen.measures = measures::read_all(archive, serial, windows, at)?;
        }
        Ok(seen)
    }

    /// Looks for what a correction must know from the disk.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn look_correct(
        &self,
        catalog: &Catalog,
        archive: &dyn Archive,
        rq: &CorrectRequest<'_>,
    ) -> Result<Seen, ArchiveError> {
        let mut seen = Seen { position: archive.position(), ..Seen::default() };
        let event = hash_key(&self.secret, rq.event);
        let Some(serial) = self.accounts.get(rq.account).map(|slot| slot.account.serial) else {
            return Ok(seen);
        };
        seen.answer = answer(archive, serial, hash_key(&self.secret, rq.key))?;
        let pending = self.late.pending();
        let id = feature_id(catalog, catalog.feature_named(rq.feature), rq.feature);
        let keys = event_keys(event, id);
        let known = pending.events(serial).find(|(_, known)| keys.contains(&known.state.key));
        let mut state = known.map(|(_, known)| known.state.clone());
        drop(pending);
        for key in keys {
            if state.is_none() {
                let row = row(archive, &events::event_key(serial, key, EventRow::State))?;
                state = row.map(|row| events::state_row(&row)).transpose().map_err(unreadable)?;
            }
        }
        if let Some(state) = &state {
            for booking in &state.bookings {
                let prefix = limit_prefix(serial, state.feature, booking.limit);
                let of = (Table::Usage, prefix.as_slice());
                seen.past.extend(before(archive, of, booking.window_start)?);
            }
            let first = state.bookings.iter().map(|booking| booking.window_start).min();
            let at = first.unwrap_or(state.occurred_at);
            later(catalog, archive, (serial, state.feature), at, &mut seen.past)?;
            seen.levels.extend(levels::of_event(archive, serial, state)?);
        } else if let Some(feature) = catalog.feature_named(rq.feature)
            && let Some((written, at)) = self.remembered_at(rq.account, event)
            && let Some((_, limits)) = self.limits_without(catalog, rq.account, feature, at)
        {
            seen.written = Some(written);
            let of = (catalog, feature, rq.subject);
            seen.levels = self.look_written(archive, rq.account, of, (written, at))?;
            let feature = catalog.feature(feature).id;
            for limit in limits {
                let prefix = limit_prefix(serial, feature, limit);
                seen.past.extend(before(archive, (Table::Usage, &prefix), at)?);
            }
            later(catalog, archive, (serial, feature), at, &mut seen.past)?;
        }
        seen.state = state;
        Ok(seen)
    }

    /// A write of this key that was counted as it came.
    pub(super) fn remembered<'a>(&self, slot: &'a Slot, key: KeyHash) -> Option<&'a KeyEntry> {
        let entry = slot.keys.as_ref()?.find(key)?;
        let is_known = entry.generation >= self.keys.oldest() && !entry.receipt.is_of_event();
        is_known.then_some(entry)
    }

    fn remembered_at(&self, account: &str, key: KeyHash) -> Option<(Seq, Millis)> {
        let slot = self.accounts.get(account)?;
        let entry = self.remembered(&slot, key)?;
        Some((entry.seq, self.keys.instant(entry)?))
    }

    /// The number of an account, and the limits of a feature that have no window in memory at an
    /// instant.
    fn limits_without(
        &self,
        catalog: &Catalog,
        account: &str,
        feature: FeatureIx,
        at: Millis,
    ) -> Option<(u32, Vec<NameId>)> {
        let slot = self.accounts.get(account)?;
        let feature = catalog.feature(feature);
        let mut without = Vec::new();
        if let FeatureKind::Quota { limits } = &feature.kind {
            let gone = |limit: &NameId| slot.account.ledger_at(feature.id, *limit, at).is_none();
            without.extend(limits.iter().map(|(limit, _)| *limit).filter(gone));
        }
        Some((slot.account.serial, without))
    }
}

fn row(archive: &dyn Archive, key: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
    let to = [key, &[0]].concat();
    Ok(archive.range(Table::Events, key, &to, 1)?.pop().map(|(_, value)| value))
}

fn answer(
    archive: &dyn Archive,
    serial: u32,
    key: KeyHash,
) -> Result<Option<(Seq, Event)>, ArchiveError> {
    let row = row(archive, &events::event_key(serial, key.0, EventRow::Answer))?;
    row.map(|row| events::answer_row(&row)).transpose().map_err(unreadable)
}

/// The window of a limit that began last before an instant, or at it.
pub(super) fn before(
    archive: &dyn Archive,
    (table, prefix): (Table, &[u8]),
    at: Millis,
) -> Result<Option<Restated>, ArchiveError> {
    let to = [prefix, &start_key(at.plus(1))].concat();
    let row = archive.last(table, prefix, &to)?;
    row.map(|(_, value)| window(&value)).transpose()
}

/// The windows of a limit beside an instant: an event between them begins one that does not overlap them.
pub(super) fn around(
    archive: &dyn Archive,
    (table, prefix): (Table, &[u8]),
    at: Millis,
) -> Result<Vec<Restated>, ArchiveError> {
    let mut past: Vec<Restated> = before(archive, (table, prefix), at)?.into_iter().collect();
    let from = [prefix, &start_key(at.plus(1))].concat();
    if let Some((_, value)) = archive.range(table, &from, &after_prefix(prefix), 1)?.pop() {
        past.push(window(&value)?);
    }
    Ok(past)
}

/// The windows after an instant, of limits that carry debt: they may have taken over what is owed
/// by one before.
fn later(
    catalog: &Catalog,
    archive: &dyn Archive,
    (serial, feature): (u32, NameId),
    at: Millis,
    past: &mut Vec<Restated>,
) -> Result<(), ArchiveError> {
    let Some(shape) = catalog.feature_of(feature).map(|ix| catalog.feature(ix)) else {
        return Ok(());
    };
    let FeatureKind::Quota { limits: all } = &shape.kind else { return Ok(()) };
    for (limit, _) in all.iter().filter(|(limit, _)| catalog.carries(feature, *limit)) {
        let from = usage_key(serial, feature, *limit, at.plus(1));
        let to = after_prefix(&limit_prefix(serial, feature, *limit));
        // As many as there are: back to where windows are restated, and none is shorter than a day.
        for row in rows(archive, Table::Usage, from, to, limits::TALLY_ROWS_AT_ONCE) {
            past.push(window(&row?.1)?);
        }
    }
    Ok(())
}

fn window(value: &[u8]) -> Result<Restated, ArchiveError> {
    Ok(events::usage_row(value).map_err(unreadable)?.window)
}

/// What the keys of the closed windows of a limit of an account begin with.
fn limit_prefix(serial: u32, feature: NameId, limit: NameId) -> Vec<u8> {
    let mut prefix = usage_prefix(serial, Some(feature));
    prefix.extend_from_slice(&limit.0.to_be_bytes());
    prefix
}
