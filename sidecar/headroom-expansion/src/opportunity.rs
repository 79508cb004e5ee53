//! Opportunities: what became of a signal, as the CRM tells it, and whether it takes too long.
//!
//! A stage has a deadline for the next one: in hours where a person has to look, in business days (Monday
//! to Friday, in UTC) where a deal has to move. What is late is said once for each stage.

use headroom_core::time::Millis;
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// How far an opportunity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The signal came.
    Fired,
    /// Customer success says that it is one.
    Csql,
    /// Sales says so, too.
    Qualified,
    /// There is a proposal.
    Proposal,
    /// It is negotiated.
    Negotiation,
    /// The account has bought.
    Won,
    /// It has not.
    Lost,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Stage; 7] = [
        Stage::Fired,
        Stage::Csql,
        Stage::Qualified,
        Stage::Proposal,
        Stage::Negotiation,
        Stage::Won,
        Stage::Lost,
    ];

    /// The word of deliveries and of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Fired => "fired",
            Stage::Csql => "csql",
            Stage::Qualified => "qualified",
            Stage::Proposal => "proposal",
            Stage::Negotiation => "negotiation",
            Stage::Won => "won",
            Stage::Lost => "lost",
        }
    }

    /// The stage of this word.
    pub fn parse(word: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.as_str() == word)
    }

    /// Whether nothing comes after it.
    pub fn is_closed(self) -> bool {
        matches!(self, Stage::Won | Stage::Lost)
    }
}

/// How long each stage may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Hours until customer success has looked.
    pub csql_hours: u32,
    /// Business days until sales has.
    pub qualified_days: u32,
    /// Business days until there is a proposal.
    pub proposal_days: u32,
    /// Business days until it is negotiated.
    pub negotiation_days: u32,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines { csql_hours: 48, qualified_days: 5, proposal_days: 10, negotiation_days: 15 }
    }
}

impl Deadlines {
    /// Until when an opportunity that came to a stage at an instant has to come to the next. `None`: no
    /// deadline is set for that.
    pub fn due(&self, stage: Stage, since: Millis) -> Option<Millis> {
        match stage {
            Stage::Fired => Some(since.plus(i64::from(self.csql_hours) * 3_600_000)),
            Stage::Csql => business_days_after(since, self.qualified_days),
            Stage::Qualified => business_days_after(since, self.proposal_days),
            Stage::Proposal => business_days_after(since, self.negotiation_days),
            Stage::Negotiation | Stage::Won | Stage::Lost => None,
        }
    }
}

/// The same time of day so many business days later. What begins on a weekend begins with its end.
/// `None`: the calendar ends before.
pub fn business_days_after(from: Millis, days: u32) -> Option<Millis> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let day = Timestamp::from_millisecond(from.0).ok()?.to_zoned(TimeZone::UTC).date();
    // Monday is 0. Whole weeks are seven days for five; what is left may pass a weekend.
    let weekday = i64::from(day.weekday().to_monday_zero_offset());
    let (start, begins) = match day.weekday() {
        Weekday::Saturday => (0, 2),
        Weekday::Sunday => (0, 1),
        _ => (weekday, 0),
    };
    let days = i64::from(days);
    let (weeks, rest) = (days / 5, days % 5);
    let weekend = if start + rest >= 5 { 2 } else { 0 };
    let at = from.plus((begins + weeks * 7 + rest + weekend) * DAY_MS);
    Timestamp::from_millisecond(at.0).ok().map(|_| at)
}

/// An opportunity as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opportunity {
    /// The signal that it came of.
    pub signal: String,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Millis,
    /// Why it was won or lost; may be empty.
    pub reason: String,
    /// Until when it has to be further. `None`: there is no deadline.
    pub due_at: Option<Millis>,
    /// It was told that the deadline has passed.
    pub is_overdue: bool,
}

/// What a CRM says of an opportunity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// The signal that it came of. Empty: as it was said before.
    pub signal: &'a str,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Millis,
    /// Why it was won or lost.
    pub reason: &'a str,
}

/// Why an update is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// A new opportunity has to say what it came of.
    #[error("a new opportunity names the signal that it came of")]
    NoSignal,
}

/// The opportunity after an update. `None`: nothing changes, because the same was said before, or
/// something later was.
///
/// # Errors
/// When it is new and does not say what it came of.
pub fn update(
    before: Option<&Opportunity>,
    update: &Update<'_>,
    deadlines: &Deadlines,
) -> Result<Option<Opportunity>, UpdateError> {
    if let Some(before) = before
        && (update.stage == before.stage || update.since < before.since)
    {
        return Ok(None);
    }
    let signal = match (update.signal, before) {
        ("", None) => return Err(UpdateError::NoSignal),
        ("", Some(before)) => before.signal.clone(),
        (signal, _) => signal.to_owned(),
    };
    Ok(Some(Opportunity {
        signal,
        stage: update.stage,
        since: update.since,
        reason: update.reason.to_owned(),
        due_at: deadlines.due(update.stage, update.since),
        is_overdue: false,
    }))
}

/// What became of the opportunities that came of one signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// Opportunities that are open.
    pub open: u64,
    /// Those whose deadline has passed.
    pub overdue: u64,
    /// Those that were won.
    pub won: u64,
    /// Those that were lost.
    pub lost: u64,
}

impl Record {
    /// Adds an opportunity.
    pub fn add(&mut self, one: &Opportunity) {
        match one.stage {
            Stage::Won => self.won += 1,
            Stage::Lost => self.lost += 1,
            _ => {
                self.open += 1;
                self.overdue += u64::from(one.is_overdue);
            }
        }
    }

    /// Of those that ended, the share that was won, in basis points. `None`: none has ended.
    pub fn accuracy_bp(&self) -> Option<u64> {
        crate::report::share_bp(self.won, self.won + self.lost)
    }

    /// What is to be thought of that: above 70 % excellent, above 50 % good.
    pub fn opinion(&self) -> &'static str {
        match self.accuracy_bp() {
            None => "none has ended",
            Some(bp) if bp > 7_000 => "excellent",
            Some(bp) if bp > 5_000 => "good",
            Some(_) => "poor",
        }
    }
}
