//! What is asked of the engine.

use headroom_core::decide::{FeatureOp, HoldOp};
use headroom_core::decision::Verdict;
use headroom_core::reservation::ReservationId;
use headroom_core::subject::SubjectPath;
use headroom_core::time::Millis;

use crate::dimensions::Dimensions;
use crate::keys::KeyHash;

/// A request about a feature.
#[derive(Debug, Clone, Copy)]
pub struct FeatureRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// What to do.
    pub op: FeatureOp,
    /// Whether it comes from the vendor's own monitors: decided like any other, counted nowhere.
    pub synthetic: bool,
    /// What its usage is told apart by. Only for a consume and a record.
    pub dimensions: Dimensions<'a>,
    /// The idempotency key of a write; unused by a check.
    pub key: &'a str,
    /// The one clock reading of the request.
    pub now: Millis,
    /// Parts that cost something.
    pub wants: Wants,
    /// Who inside the account it is for, where limits are per user or team.
    pub subject: Option<SubjectPath<'a>>,
}

/// A request about a reservation.
#[derive(Debug, Clone, Copy)]
pub struct HoldRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The reservation.
    pub reservation: ReservationId,
    /// What to do.
    pub op: HoldOp,
    /// The idempotency key.
    pub key: &'a str,
    /// What its usage is told apart by. Only for a commit.
    pub dimensions: Dimensions<'a>,
    /// The one clock reading of the request.
    pub now: Millis,
    /// Parts that cost something.
    pub wants: Wants,
}

/// Parts of an answer that cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// The state of every limit of the feature.
    pub all_limits: bool,
    /// The same where the answer is more than a plain yes: for whoever asks later why.
    pub all_limits_unless_plain: bool,
    /// What a prompt says of the account, if the decision calls for one.
    pub about: bool,
}

impl Wants {
    /// Whether an answer of this verdict shows the limits that did not decide.
    #[inline]
    pub(crate) fn others(self, verdict: Verdict) -> bool {
        self.all_limits || self.all_limits_unless_plain && verdict != Verdict::Allowed
    }
}

/// A write's key, and what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) hash: KeyHash,
    pub(crate) payload: u64,
    /// Units asked for. A write that did just that keeps no amounts in its receipt.
    pub(crate) units: u64,
    /// Whether it asks for something, rather than reports or settles: a halted account refuses it.
    pub(crate) admits: bool,
    /// Whether it comes from the vendor's own monitors, so that nothing of it is counted.
    pub(crate) synthetic: bool,
    /// What its usage is told apart by.
    pub(crate) dimensions: Dimensions<'a>,
}
