//! Usage by hour, day or month, and by dimension: the parts that the projection keeps and the ones in
//! memory, added up.
//!
//! What is answered is of one moment: what the memory holds, and the rows of all records up to the one
//! that it holds. When the projection has not come there yet, [`TallyError::Behind`] says so.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use headroom_core::account::{Account, Profile};
use headroom_core::catalog::Catalog;
use headroom_core::decide::{self, Context};
use headroom_core::effect::Effect;
use headroom_core::names::NameId;
use headroom_core::tally::{self, Label, Tally};
use headroom_core::time::{Millis, Window};
use headroom_core::window::{CalendarUnit, WindowRule, window_at};

use crate::digest::{tally_key, tally_row, tally_seq};
use crate::engine::Engine;
use crate::limits;
use crate::ports::{Archive, ArchiveError, Seq, Table, rows};

/// Which usage is asked for.
#[derive(Debug, Clone, Copy)]
pub struct TallyQuery<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature.
    pub feature: NameId,
    /// How long a bucket of the answer is, in the account's time zone of now.
    pub by: CalendarUnit,
    /// The dimensions that are told apart; the others are added up.
    pub group_by: &'a [NameId],
    /// What began then or later.
    pub from: Millis,
    /// And before then.
    pub to: Millis,
    /// No further bucket is begun when there are so many lines.
    pub lines_max: usize,
    /// The one clock reading of the request.
    pub now: Millis,
}

/// The usage of one bucket with the same dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyLine {
    /// The bucket, as far as it was asked for.
    pub span: Window,
    /// The dimensions told apart, in the order asked for. `None`: it was not given.
    pub labels: Vec<Option<Label>>,
    /// Units.
    pub units: i64,
}

/// Lines, the oldest bucket first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyPage {
    /// The lines.
    pub lines: Vec<TallyLine>,
    /// Where the next page begins. `None`: this was the last.
    pub next_from: Option<Millis>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TallyError {
    /// There is no such account.
    #[error("there is no such account")]
    UnknownAccount,
    /// The projection has not come to this record yet: look again.
    #[error("the projection has not come to record {until} yet")]
    Behind {
        /// The record.
        until: Seq,
    },
    /// The projection cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Adds parts up, in the order of their start.
struct Sum<'a> {
    query: &'a TallyQuery<'a>,
    profile: &'a Profile,
    bucket: Option<Window>,
    groups: BTreeMap<Vec<Option<Label>>, i64>,
    lines: Vec<TallyLine>,
}

impl Sum<'_> {
    /// Adds a part. Returns where the next page begins when it does not belong to this one any more.
    fn add(&mut self, part: &Tally, rows_seen: usize) -> Option<Millis> {
        let at = part.span.start();
        if !self.bucket.is_some_and(|bucket| bucket.contains(at)) {
            self.close();
            let profile = self.profile;
            let calendar = WindowRule::Calendar(self.query.by);
            let bucket = window_at(calendar, profile.anchor, profile.rules(), at);
            let is_full = self.query.lines_max <= self.lines.len();
            let is_long = limits::TALLY_ROWS_PER_PAGE <= rows_seen && !self.lines.is_empty();
            if is_full || is_long {
                return Some(bucket.start().max(self.query.from));
            }
            self.bucket = Some(bucket);
        }
        for cell in &part.cells {
            let of = |name: &NameId| {
                let known = cell.labels.iter().find(|(known, _)| known == name);
                known.map(|(_, label)| label.clone())
            };
            let mut labels: Vec<Option<Label>> = self.query.group_by.iter().map(of).collect();
            if self.groups.len() >= limits::TALLY_LINES_PER_BUCKET
                && !self.groups.contains_key(&labels)
            {
                labels.fill(Some(Label::Other));
            }
            let sum = self.groups.entry(labels).or_default();
            *sum = sum.saturating_add(cell.units);
        }
        None
    }

    /// Ends the bucket that is being added up.
    fn close(&mut self) {
        let Some(bucket) = self.bucket.take() else { return };
        let (start, end) = (bucket.start().max(self.query.from), bucket.end().min(self.query.to));
        let span = Window::new(start, end).unwrap_or(bucket);
        let groups = std::mem::take(&mut self.groups).into_iter();
        let lines = groups.map(|(labels, units)| TallyLine { span, labels, units });
        // What was all taken back is no usage.
        self.lines.extend(lines.filter(|line| line.units != 0));
    }
}

impl Engine {
    /// What an account used of a feature, by time and dimension. Only features that keep tallies have
    /// any.
    ///
    /// # Errors
    /// [`TallyError::Behind`] when the projection trails: look again in a moment.
    pub fn tally(
        &self,
        catalog: &Catalog,
        archive: &dyn Archive,
        query: &TallyQuery<'_>,
    ) -> Result<TallyPage, TallyError> {
        let cx = Context { catalog, now: query.now };
        let (mut fresh, profile, serial, last_seq) = {
            let slot = self.accounts.get(query.account).ok_or(TallyError::UnknownAccount)?;
            let parts = parts_in_memory(cx, &slot.account, query.feature);
            (parts, slot.account.profile.clone(), slot.account.serial, slot.last_seq)
        };
        if archive.position() < last_seq {
            return Err(TallyError::Behind { until: last_seq });
        }
        fresh.retain(|part| query.from <= part.span.start() && part.span.start() < query.to);
        fresh.sort_by_key(|part| part.span.start());
        let mut fresh = fresh.into_iter().peekable();
        let (bucket, groups, lines) = (None, BTreeMap::new(), Vec::new());
        let mut sum = Sum { query, profile: &profile, bucket, groups, lines };
        let from = tally_key(serial, query.feature, query.from);
        let to = tally_key(serial, query.feature, query.to);
        let mut rows_seen = 0;
        let mut next_from = None;
        for row in rows(archive, Table::Tallies, from, to, limits::TALLY_ROWS_AT_ONCE) {
            let (key, value) = row?;
            rows_seen += 1;
            if tally_seq(&key).is_none_or(|seq| last_seq < seq) {
                continue;
            }
            let part = tally_row(&value).map_err(|e| ArchiveError { reason: e.to_string() })?;
            while next_from.is_none()
                && let Some(earlier) = fresh.next_if(|p| p.span.start() <= part.span.start())
            {
                next_from = sum.add(&earlier, rows_seen);
            }
            if next_from.is_none() {
                next_from = sum.add(&part, rows_seen);
            }
            if next_from.is_some() {
                break;
            }
        }
        while next_from.is_none() {
            let Some(part) = fresh.next() else { break };
            next_from = sum.add(&part, rows_seen);
        }
        sum.close();
        Ok(TallyPage { lines: sum.lines, next_from })
    }
}

/// What the memory has of a feature's tally, with what time has brought.
fn parts_in_memory(cx: Context<'_>, account: &Account, feature: NameId) -> Vec<Tally> {
    let mut effects = Vec::new();
    if account.is_due(cx.now) {
        let settle = || decide::settle(cx, account, &mut effects);
        if catch_unwind(AssertUnwindSafe(settle)).is_err() {
            // An internal check failed; the next write halts the account. Reading shows what there is.
            effects.clear();
        }
    }
    let mut now: Vec<Tally> = account.tally(feature).cloned().into_iter().collect();
    let mut parts = Vec::new();
    for effect in &effects {
        match effect {
            Effect::Tally(tallied) if tallied.feature == feature => {
                tally::apply(&mut now, tallied);
            }
            Effect::TallyClosed(part) | Effect::TallyLate(part) => parts.push((**part).clone()),
            _ => {}
        }
    }
    parts.extend(now);
    parts.retain(|part| part.feature == feature);
    parts
}
