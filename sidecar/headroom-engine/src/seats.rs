//! Requests about seats: as any other under the account's lock, but without a key, because each is
//! idempotent by its member.

use std::panic::{AssertUnwindSafe, catch_unwind};

use headroom_core::catalog::{Catalog, FeatureIx};
use headroom_core::decide::{self, Context, SeatOp, SeatOutcome};
use headroom_core::decision::Denial;
use headroom_core::seats::Seat;
use headroom_core::time::Millis;

use crate::admin::AdminError;
use crate::engine::{DecisionId, Engine, EngineError, Reply, Wants};
use crate::ports::Seq;
use crate::read::as_of;

/// A request about a seat.
#[derive(Debug, Clone, Copy)]
pub struct SeatRequest<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// What to do.
    pub op: SeatOp<'a>,
    /// The one clock reading of the request.
    pub now: Millis,
    /// Parts that cost something.
    pub wants: Wants,
}

/// The answer to it.
#[derive(Debug)]
pub struct SeatReply {
    /// The decision, and the record that must be written before this is answered.
    pub reply: Box<Reply>,
    /// The seat after it.
    pub seat: Option<Seat>,
    /// Whether anything is different now.
    pub changed: bool,
}

impl Engine {
    /// Decides a request about a seat.
    pub fn seat(&self, catalog: &Catalog, rq: &SeatRequest<'_>) -> Result<SeatReply, EngineError> {
        let cx = Context { catalog, now: rq.now };
        let feature = catalog.feature_named(rq.feature);
        let admits = !matches!(rq.op, SeatOp::Release { .. });
        self.with_slot(rq.account, cx, |slot| {
            let Some(slot) = slot else {
                let reply = self.stranger_refused(cx, None, Denial::UnknownAccount);
                return Ok(SeatReply { reply, seat: None, changed: false });
            };
            let cx = Context { now: slot.account.not_before(cx.now), ..cx };
            self.store.room()?;
            let (mut effects, mut bytes) = (Vec::new(), Vec::new());
            self.settle(cx, slot, &mut effects, &mut bytes);
            effects.clear();
            let account = &slot.account;
            let decided = || decide::decide_seat(cx, account, feature, rq.op, &mut effects);
            let Ok(decided) = catch_unwind(AssertUnwindSafe(decided)) else {
                return Err(self.halt(slot));
            };
            let SeatOutcome { decision, seat, changed } = decided?;
            if admits && self.is_halted(slot) {
                return Err(EngineError::Halted);
            }
            self.note(cx, slot, &effects, &mut bytes);
            let is_allowed = decision.verdict.is_allowed();
            let outcome =
                headroom_core::decision::Outcome { decision, amounts: Default::default() };
            let mut reply = self.passing(cx, &slot.account, outcome, rq.wants);
            if is_allowed {
                // Also where nothing changed: what it was changed by may not be written yet.
                reply.wait_for = Some(slot.last_seq);
                if changed {
                    reply.decision_id = DecisionId::Written(slot.last_seq);
                }
            }
            Ok(SeatReply { reply, seat, changed })
        })
    }

    /// Gives back all seats of a member, whose name is then nowhere in the memory. Returns how many there
    /// were, and the record to wait for.
    ///
    /// # Errors
    /// When the account is not known, or the store takes no write.
    pub fn erase_member(
        &self,
        account: &str,
        member: &str,
        now: Millis,
    ) -> Result<(usize, Option<Seq>), AdminError> {
        self.store.room().map_err(EngineError::from)?;
        let catalog = self.catalog();
        let unknown = || AdminError::UnknownAccount { account: account.to_owned() };
        let mut slot = self.accounts.get_mut(account).ok_or_else(unknown)?;
        let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
        let (mut effects, mut bytes) = (Vec::new(), Vec::new());
        self.settle(cx, &mut slot, &mut effects, &mut bytes);
        effects.clear();
        let count = decide::free_member(cx, &slot.account, member, &mut effects);
        if count > 0 {
            self.note(cx, &mut slot, &effects, &mut bytes);
        }
        Ok((count, Some(slot.last_seq)))
    }

    /// The seats of a feature by member, at most so many of those after `after`. `None`: the account
    /// is not known.
    pub fn seats(
        &self,
        catalog: &Catalog,
        account: &str,
        feature: FeatureIx,
        (after, count_max): (Option<&str>, usize),
        now: Millis,
    ) -> Option<Vec<Seat>> {
        let slot = self.accounts.get(account)?;
        let account = as_of(Context { catalog, now }, &slot.account);
        let id = catalog.feature(feature).id;
        let seats = account.roster().map(|all| all.of(id, after).take(count_max).collect());
        Some(seats.unwrap_or_default())
    }
}
