//! What is kept of one limit of one account.

use headroom_core::decision::LimitState;
use headroom_core::time::{Millis, Window};
use headroom_forecast::History;

/// The history of a limit, and what its counter held when it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// When the window of that counter began.
    pub(super) window_start: Millis,
    /// Units used in it.
    pub(super) used_units: u64,
    /// Units that were included.
    pub(super) included_units: u64,
    /// When that number changed last: another plan.
    pub(super) changed_at: Option<Millis>,
    /// What was used when.
    pub(super) history: History,
}

/// Bytes before the history: four numbers, and whether the last one is there.
const HEAD_BYTES: usize = 33;

impl Row {
    /// Of a limit that is looked at for the first time: its window's use came evenly since the window
    /// began, or the account did.
    pub(super) fn new(limit: &LimitState, created_at: Millis, now: Millis) -> Row {
        let window_start = limit.ledger.window.start();
        let since = window_start.max(created_at).min(now);
        let mut history = History::new(since.0);
        history.observe(now.0, limit.ledger.used);
        Row {
            window_start,
            used_units: limit.ledger.used,
            included_units: limit.included_units.unwrap_or(u64::MAX),
            changed_at: None,
            history,
        }
    }

    /// Goes on until `now`. Nothing was used before `quiet_until`, when it was last seen that nothing
    /// had changed. `closed` are the windows that ended since, with their totals, in their order.
    pub(super) fn go_on(
        &mut self,
        limit: &LimitState,
        quiet_until: Millis,
        closed: &[(Window, u64)],
        now: Millis,
    ) {
        if self.history.until_ms() < quiet_until.0 {
            self.history.observe(quiet_until.0, 0);
        }
        let (window, used) = (limit.ledger.window, limit.ledger.used);
        if window.start() == self.window_start {
            self.count(used, now);
        } else {
            for (ended, total) in closed {
                if ended.start() != self.window_start {
                    (self.window_start, self.used_units) = (ended.start(), 0);
                }
                self.count(*total, ended.end().min(now));
            }
            (self.window_start, self.used_units) = (window.start(), 0);
            self.count(used, now);
        }
        let included = limit.included_units.unwrap_or(u64::MAX);
        if included != self.included_units {
            (self.included_units, self.changed_at) = (included, Some(now));
        }
    }

    /// The counter holds so many units now.
    fn count(&mut self, used: u64, now: Millis) {
        let added = used.saturating_sub(self.used_units);
        if used < self.used_units {
            self.history.take_back(self.used_units - used);
        }
        self.used_units = used;
        if added > 0 || self.history.until_ms() < now.0 {
            self.history.observe(now.0, added);
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 256);
        bytes.extend_from_slice(&self.window_start.0.to_le_bytes());
        bytes.extend_from_slice(&self.used_units.to_le_bytes());
        bytes.extend_from_slice(&self.included_units.to_le_bytes());
        bytes.extend_from_slice(&self.changed_at.map_or(0, |at| at.0).to_le_bytes());
        bytes.push(u8::from(self.changed_at.is_some()));
        bytes.extend_from_slice(&self.history.to_bytes());
        bytes
    }

    /// `None` for what [`Row::to_bytes`] did not write.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Row> {
        let (head, history) = bytes.split_at_checked(HEAD_BYTES)?;
        let number = |at: usize| head.get(at..at + 8)?.try_into().ok();
        Some(Row {
            window_start: Millis(i64::from_le_bytes(number(0)?)),
            used_units: u64::from_le_bytes(number(8)?),
            included_units: u64::from_le_bytes(number(16)?),
            changed_at: (head[32] == 1).then_some(Millis(i64::from_le_bytes(number(24)?))),
            history: History::from_bytes(history)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use headroom_core::catalog::Policy;
    use headroom_core::decision::WindowPhase;
    use headroom_core::ledger::Ledger;
    use headroom_core::names::NameId;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn limit(included: u64, used: u64, window: (i64, i64)) -> LimitState {
        let window = Window::new(Millis(window.0), Millis(window.1)).unwrap();
        LimitState {
            ledger: Ledger { used, ..Ledger::new(NameId(1), NameId(2), window, 0) },
            included_units: Some(included),
            policy: Policy::Block,
            ceiling_units: Some(included),
            passed_bp: smallvec::SmallVec::new(),
            phase: WindowPhase::Open,
            beyond: None,
        }
    }

    fn hours(row: &Row) -> Vec<u64> {
        row.history.hours().map(|step| step.units).collect()
    }

    const DAY: (i64, i64) = (0, 24 * HOUR);

    #[test]
    fn what_a_counter_grew_by_was_used_since_the_last_look() {
        let mut row = Row::new(&limit(100, 10, DAY), Millis(0), Millis(HOUR));
        row.go_on(&limit(100, 16, DAY), Millis(HOUR), &[], Millis(2 * HOUR));
        // Nobody used anything until the third hour was over; then four units came in one.
        row.go_on(&limit(100, 20, DAY), Millis(3 * HOUR), &[], Millis(4 * HOUR));
        assert_eq!(hours(&row), [10, 6, 0, 4]);
        assert_eq!(Row::from_bytes(&row.to_bytes()), Some(row));
    }

    #[test]
    fn a_counter_that_fell_takes_back_what_was_counted_too_much() {
        let mut row = Row::new(&limit(100, 10, DAY), Millis(0), Millis(HOUR));
        row.go_on(&limit(100, 4, DAY), Millis(HOUR), &[], Millis(2 * HOUR));
        assert_eq!(hours(&row), [4, 0]);
    }

    #[test]
    fn windows_that_ended_say_what_they_came_to() {
        let window = |hour: i64| (hour * HOUR, (hour + 1) * HOUR);
        let ended =
            |hour: i64| Window::new(Millis(hour * HOUR), Millis((hour + 1) * HOUR)).unwrap();
        let mut row = Row::new(&limit(100, 10, window(0)), Millis(0), Millis(HOUR / 2));
        let closed = [(ended(0), 30), (ended(1), 7)];
        row.go_on(&limit(100, 5, window(3)), Millis(0), &closed, Millis(3 * HOUR + HOUR / 2));
        assert_eq!(hours(&row).iter().sum::<u64>(), 42);
        assert_eq!(hours(&row)[..2], [30, 7]);
        assert_eq!((row.window_start, row.used_units), (Millis(3 * HOUR), 5));
    }

    #[test]
    fn another_limit_is_noticed_with_its_instant() {
        let mut row = Row::new(&limit(100, 10, DAY), Millis(0), Millis(HOUR));
        row.go_on(&limit(100, 10, DAY), Millis(HOUR), &[], Millis(2 * HOUR));
        assert_eq!(row.changed_at, None);
        row.go_on(&limit(500, 10, DAY), Millis(HOUR), &[], Millis(3 * HOUR));
        assert_eq!((row.changed_at, row.included_units), (Some(Millis(3 * HOUR)), 500));
        assert_eq!(Row::from_bytes(&row.to_bytes()), Some(row));
    }

    #[test]
    fn bytes_that_are_no_row_are_none() {
        let bytes = Row::new(&limit(100, 10, DAY), Millis(0), Millis(HOUR)).to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Row::from_bytes(&bytes[..length]), None);
        }
    }
}
