//! Signals of the model that no book remembers: those of a day, and of what overage may cost.

use headroom_core::account::Zone;
use headroom_core::catalog::Policy;
use headroom_core::decision::Denial;
use headroom_core::resolve::Origin;
use headroom_core::signal::{SignalName, SignalState};
use headroom_core::window::{CalendarUnit, WindowRule};

use super::page::{Page, state};
use super::{Account, Model, Told};
use crate::civil;

/// How long slots are quiet after they were told of.
pub(crate) const SLOTS_QUIET_MS: i64 = 3_600_000;

/// What a signal of a day says: the limit, units before and now, included and refused.
pub(crate) type OfDay<'a> = (&'a str, u128, u128, u128, u128);

impl Model {
    /// Says of an attempt to use what the plan does not have.
    pub(crate) fn tried_premium(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        (denial, origin): (Denial, Origin),
        units: u64,
        now: i64,
    ) {
        if denial == Denial::NotInPlan && origin == Origin::None {
            let name = SignalName::PremiumFeatureAttempted;
            // A number that no name has is written so.
            self.say_daily((id, feature), account, name, ("?", 0, 0, 0, units.into()), now);
        }
    }

    /// Says something, unless it was said on this day.
    pub(crate) fn say_daily(
        &mut self,
        (id, feature): (&str, &str),
        account: &mut Account,
        name: SignalName,
        (limit, previous, current, included, refused): OfDay<'_>,
        now: i64,
    ) {
        if !self.catalog.signals.raises(name) {
            return;
        }
        let zone = Zone::named(&account.zone).expect("a zone that was accepted");
        let day = WindowRule::Calendar(CalendarUnit::Day);
        let window = civil::window(day, account.anchor, zone.rules(), now);
        let said = account.said_on.entry((name, feature.to_owned())).or_insert(i64::MIN);
        if window.0 <= *said {
            self.met.insert("said on this day already");
            return;
        }
        *said = window.0;
        self.told.push(Told {
            account: id.to_owned(),
            name,
            feature: feature.to_owned(),
            limit: limit.to_owned(),
            window,
            revision: 1,
            crossed_bp: Vec::new(),
            previous,
            current,
            included,
            refused,
            previous_state: SignalState::Ok,
            state: if refused > 0 { SignalState::Alarm } else { SignalState::Ok },
            grace_until: None,
            days: None,
            at: now,
        });
    }

    /// Says that the overage of a window is near what it may cost.
    pub(crate) fn near_cap(
        &mut self,
        id: &str,
        account: &mut Account,
        page: &Page,
        previous: u128,
        now: i64,
    ) {
        let (book, terms) = (&page.book, &page.limit.terms);
        let (Some(included), Policy::Overage) = (terms.included(), terms.policy) else { return };
        let cap = terms.more.overage.as_ref().and_then(|overage| overage.cap_minor);
        let in_window = book.start <= now && now < book.end;
        if page.limit.gone || page.slide.is_some() || !in_window || book.used() <= included {
            return;
        }
        let (Some(cap), Some(price)) = (cap, &terms.more.overage) else { return };
        if !self.catalog.signals.overage_cap_near {
            return;
        }
        let cost = (book.used() - included) * u128::from(price.unit_price_nanos) / 1_000_000_000;
        if cost * 10_000 < u128::from(cap) * u128::from(self.catalog.signals.overage_cap_near_bp) {
            return;
        }
        let said = account.said_cap.iter().any(|known| {
            *known == (book.feature.clone(), book.limit.clone(), book.start, book.revision)
        });
        if said {
            return;
        }
        account.said_cap.retain(|known| known.0 != book.feature || known.1 != book.limit);
        let now_said = (book.feature.clone(), book.limit.clone(), book.start, book.revision);
        account.said_cap.push(now_said);
        self.told.push(Told {
            account: id.to_owned(),
            name: SignalName::OverageCapNear,
            feature: book.feature.clone(),
            limit: book.limit.clone(),
            window: (book.start, book.end),
            revision: book.revision,
            crossed_bp: Vec::new(),
            previous,
            current: book.used(),
            included,
            refused: 0,
            previous_state: state(&book.said),
            state: state(&book.said),
            grace_until: None,
            days: None,
            at: now,
        });
    }
}
