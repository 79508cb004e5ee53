//! Waiting in the model: the same request is asked again, later and later, until it passes.

use headroom_core::catalog::Aggregation;
use headroom_core::decision::{Denial, Verdict};

use super::page::Page;
use super::plan::Entitled;
use super::{Account, Limit, Model};
use crate::civil::FOREVER;

/// So often, and not for ever.
const ASKED_AGAIN: usize = 32;

impl Model {
    /// Finds out of each page that refused when it would not, if nobody used anything before.
    pub(crate) fn find_waits(&mut self, account: &Account, pages: &mut [Page], who: Option<&str>) {
        let of_values = [Aggregation::Max, Aggregation::Latest];
        for page in pages {
            let used_up = [Denial::QuotaExhausted, Denial::SpendCapReached];
            if of_values.contains(&self.aggregation(&page.book.feature)) {
                // Time alone makes no value smaller.
                page.enough_at = Some(FOREVER);
            } else if used_up.iter().any(|denial| page.verdict == Verdict::Denied(*denial)) {
                let at = self.passes_at(account, page, who);
                self.met.insert(match at {
                    FOREVER => "nothing to wait for",
                    _ if at == page.enough_at() => "a window waited for",
                    _ if page.limit.terms.more.carries_debt => "debt waited for",
                    _ => "another limit waited for",
                });
                page.enough_at = Some(at);
            }
        }
    }

    /// The same of pages of subjects, too.
    pub(crate) fn find_waits_for(
        &mut self,
        account: &Account,
        pages: &mut [Page],
        whose: &[Option<String>],
    ) {
        for (page, name) in pages.iter_mut().zip(whose) {
            let inner = name.as_ref().map(|name| Model::inner(account, name));
            let of = inner.as_ref().unwrap_or(account);
            self.find_waits(of, std::slice::from_mut(page), name.as_deref());
        }
    }

    fn passes_at(&self, account: &Account, page: &Page, who: Option<&str>) -> i64 {
        let mut changes = Vec::new();
        for (_, _, (from, until)) in &account.overrides {
            changes.extend([*from, *until].into_iter().flatten());
        }
        changes.extend(account.scheduled.iter().map(|(at, _)| *at));
        changes.extend(account.trial.iter().map(|(_, ends_at)| *ends_at));
        // What is held now is held on.
        let mut waiting = account.clone();
        for hold in waiting.holds.values_mut().filter(|hold| hold.is_open(page.now)) {
            hold.expires_at = FOREVER;
        }
        let (mut at, mut lets_go_at) = (page.now, page.enough_at());
        for _ in 0..ASKED_AGAIN {
            let later = changes.iter().copied().filter(|change| at < *change);
            at = later.chain([lets_go_at]).min().unwrap_or(FOREVER);
            if at == FOREVER {
                return FOREVER;
            }
            while let Some((_, place)) = Model::next_end(&waiting, at) {
                self.end_window(&mut waiting, place, at);
            }
            lets_go_at = FOREVER;
            let Some(limit) = self.limit_then(account, page, who, at) else { continue };
            let mut then = self.page(&waiting, &page.book.feature, &limit, at);
            then.asked = page.asked;
            if !matches!(then.admits(page.asked, true), Verdict::Denied(_)) {
                return at;
            }
            let is_new = then.slide.is_none() && then.book.start == at && then.used() == 0;
            if !is_new {
                lets_go_at = then.enough_at();
            }
        }
        FOREVER
    }

    /// The limit of a page as it is at another time, if anything may be used then.
    fn limit_then(
        &self,
        account: &Account,
        page: &Page,
        who: Option<&str>,
        at: i64,
    ) -> Option<Limit> {
        if account.barred(at).is_some() {
            return None;
        }
        let feature = page.book.feature.as_str();
        let limits = match (who, self.entitled(account, feature, at).0) {
            (Some(who), _) => {
                let limits = self.level_limits(account, (feature, who), at);
                limits.into_iter().map(|(_, limit)| limit).collect()
            }
            (None, Entitled::Limits(limits)) => limits,
            _ => return None,
        };
        limits.into_iter().find(|known| known.limit == page.limit.limit)
    }
}
