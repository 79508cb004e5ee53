//! What an event costs a pool of credits that has a time of its own, or is corrected.
//!
//! A pool has no past: what comes late is charged now, in the order in which grants burn now, at the price
//! of now. What the event cost stays with it, grant by grant, so that a correction gives back to the
//! grants that paid, at the price of then. Both go with the units that limits count, or neither does.

use crate::account::Account;
use crate::catalog::{Aggregation, FeatureIx};
use crate::credits::now::PoolNow;
use crate::credits::{Charge, CreditPrice, Rounding};
use crate::decide::Context;
use crate::decide::credits::Paid;
use crate::decision::OpError;
use crate::effect::Effects;
use crate::event::Payment;
use crate::limits::EVENT_PARTS_MAX;
use crate::time::Millis;

/// A change of what an event costs, looked at and not carried out.
pub(super) struct Bill<'a> {
    now: PoolNow<'a>,
    paid: Payment,
    due_units: u64,
    back_units: u64,
}

impl<'a> Bill<'a> {
    /// Of a new event of so many units. `None`: credits do not pay for the feature.
    pub(super) fn of_new(
        cx: Context<'a>,
        account: &'a Account,
        feature: FeatureIx,
        units: u64,
    ) -> Result<Option<Bill<'a>>, OpError> {
        let Some(paid) = Paid::of_event(cx, account, feature) else { return Ok(None) };
        let paid = Payment { pool: paid.pool, price: paid.price, parts: Vec::new() };
        Bill::of_change(cx, account, &paid, units).map(Some)
    }

    /// Of an event that is to count so many units.
    pub(super) fn of_change(
        cx: Context<'a>,
        account: &'a Account,
        paid: &Payment,
        units: u64,
    ) -> Result<Bill<'a>, OpError> {
        let now = PoolNow::of(cx, account, paid.pool);
        let (before, after) = (paid.units(), paid.price.cost(units));
        let due_units = after.saturating_sub(before);
        let back_units = before.saturating_sub(after);
        if !now.has_room(due_units) || !now.has_room_for_return(back_units) {
            return Err(OpError::CounterFull);
        }
        // The first charge is as large as it is: what happened is always booked.
        let parts = paid.parts.len() + now.grants_touched(due_units) + 1;
        if !paid.parts.is_empty() && due_units > 0 && parts > EVENT_PARTS_MAX {
            return Err(OpError::TooManyParts { max: EVENT_PARTS_MAX });
        }
        Ok(Bill { now, paid: paid.clone(), due_units, back_units })
    }

    /// Carries it out. Returns what the event cost in all, and what this was.
    pub(super) fn settle(self, effects: &mut Effects) -> (Box<Payment>, Box<Charge>) {
        let Bill { mut now, mut paid, due_units, back_units } = self;
        let previous_units = now.pool.head.used_units;
        let charge = if back_units > 0 {
            now.refund(&paid.take_off(back_units))
        } else {
            let charge = now.burn(due_units);
            paid.add(&charge, now.cx().now);
            charge
        };
        now.let_go(now.cx().now);
        now.announce(previous_units, 0, effects);
        now.list(effects);
        (Box::new(paid), Box::new(charge))
    }
}

/// What a write of so many units cost that was charged as it came, at an instant: at the price of now if that
/// comes to the same, else in proportion, rounded up. What another pool would ask now is no price of this one.
pub fn paid_then(
    cx: Context<'_>,
    account: &Account,
    feature: FeatureIx,
    units: u64,
    (charge, at): (&Charge, Millis),
) -> Payment {
    let counted = match cx.catalog.feature(feature).aggregation() {
        Aggregation::Count => units.min(1),
        _ => units,
    };
    let is_it = |paid: &Paid| paid.pool == charge.pool && paid.price.cost(counted) == charge.units;
    let paid = Paid::of_event(cx, account, feature).filter(is_it).map(|paid| paid.price);
    let in_proportion =
        CreditPrice { credits: charge.units, per: counted.max(1), rounding: Rounding::Up };
    Payment::of(paid.unwrap_or(in_proportion), charge, at)
}
