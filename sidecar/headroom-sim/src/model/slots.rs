//! Slots that subjects have for themselves: how many, and when enough of them are free.

use headroom_core::catalog::{EntitlementSpec, Merge, PlanSpec};
use headroom_core::decision::{Denial, Verdict};
use headroom_core::limits::UNITS_MAX;

use super::migrate::label;
use super::page::Page;
use super::plan::{EACH_SLOTS, slots};
use super::{Account, Done, Hold, Limit, Model, Says, is_more};

impl Model {
    /// The slots that a subject has for itself.
    pub(super) fn slots_of(
        &self,
        account: &Account,
        (feature, name): (&str, &str),
        now: i64,
    ) -> Option<Limit> {
        let merge = self.feature(feature)?.offering.merge;
        let each_of = |plan: Option<&PlanSpec>| match Model::said(plan, feature) {
            Some(EntitlementSpec::Concurrency { each, .. }) => Some(each),
            _ => None,
        };
        let (plan, _) = Model::plan_now(account, now);
        let planned = each_of(self.catalog.plans.iter().find(|known| label(known) == plan));
        // `None`: no limit. `Some(None)`: one that ends nowhere.
        let mut most: Option<Option<u64>> = planned.flatten().map(Some);
        for (addon, quantity) in &account.addons {
            let addon = self.catalog.addons.iter().find(|known| known.plan == *addon);
            let Some(Some(more)) = each_of(addon) else { continue };
            if planned == Some(None) {
                continue;
            }
            let more = u128::from(more) * u128::from(*quantity);
            let all = match (most, merge) {
                (Some(Some(known)), Merge::Sum) => u128::from(known) + more,
                (Some(Some(known)), Merge::MostGenerous) => u128::from(known).max(more),
                _ => more,
            };
            most = Some(Some(u64::try_from(all).unwrap_or(UNITS_MAX).min(UNITS_MAX)));
        }
        let in_force = account.overrides.iter().filter(|(of, _, (from, until))| {
            of == feature && from.is_none_or(|at| at <= now) && until.is_none_or(|at| now < at)
        });
        let in_force: Vec<_> = in_force.map(|(_, says, _)| says.plain()).collect();
        // What is said for this one comes after what is said for all.
        for of_one in [false, true] {
            for (says, is_least) in &in_force {
                let said = match says {
                    Says::Limit(limit, said) if limit == EACH_SLOTS && !of_one => *said,
                    Says::OfSubject(who, limit, said)
                        if who == name && limit == EACH_SLOTS && of_one =>
                    {
                        *said
                    }
                    _ => continue,
                };
                // No limit is more than any promise.
                if !is_least || most.is_some_and(|most| is_more(said, most)) {
                    most = Some(said);
                }
            }
        }
        let most = most?;
        Some(Limit { limit: EACH_SLOTS.to_owned(), ..slots(most, Vec::new()) })
    }

    /// Says when all slots that refuse so many units have room for them, by the clock alone.
    pub(super) fn with_longest_wait(
        account: &Account,
        units: u64,
        mut done: Done,
        (pages, whose): (&[Page], &[Option<String>]),
        now: i64,
    ) -> Done {
        let full = Verdict::Denied(Denial::ConcurrencyFull);
        if done.verdict != full {
            return done;
        }
        let waits = pages.iter().zip(whose).filter(|(page, _)| page.verdict == full);
        let waits = waits.map(|(page, name)| {
            let inner = name.as_ref().map(|name| Model::inner(account, name));
            Model::wait_for(inner.as_ref().unwrap_or(account), page, units, now)
        });
        let waits: Option<Vec<i64>> = waits.collect();
        done.retry_after_ms = waits.and_then(|waits| waits.into_iter().max());
        done
    }

    /// When, by the clock alone, so many slots of a page are free.
    fn wait_for(account: &Account, page: &Page, units: u64, now: i64) -> Option<i64> {
        let most = page.ceiling().expect("an unlimited one is never full");
        let holds: Vec<&Hold> = account
            .holds
            .values()
            .filter(|hold| hold.feature == page.book.feature && hold.lists(&page.book))
            .collect();
        let fits_at = |at: &i64| {
            let open = holds.iter().filter(|hold| hold.is_open(*at));
            open.map(|hold| u128::from(hold.units)).sum::<u128>() + u128::from(units) <= most
        };
        let ends = holds.iter().filter(|hold| hold.is_open(now)).map(|hold| hold.expires_at);
        ends.filter(fits_at).min().map(|at| at - now)
    }
}
