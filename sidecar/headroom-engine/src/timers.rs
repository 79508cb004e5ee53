//! What happens by time alone, also when nobody asks: a grace that is about to end is announced.
//!
//! Accounts that wait for an instant stand in one index, ordered by it, so that looking for what is
//! due costs the same with one account and with a million. The index is not journaled: a start makes
//! it from the accounts. The journal remembers what was announced, so nothing is said twice.

use std::collections::BTreeSet;
use std::sync::Mutex;

use headroom_core::account::Account;
use headroom_core::decide::Context;
use headroom_core::time::Millis;

use crate::engine::Engine;

/// Accounts taken out of the index under one lock.
const PAGE: usize = 1024;

/// The accounts that wait, by instant and serial. Locked after an account's lock, never before.
#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<BTreeSet<(Millis, u32)>>);

impl Timers {
    /// The timers of accounts that were read back.
    pub(crate) fn of(accounts: impl Iterator<Item = (Millis, u32)>) -> Timers {
        Timers(Mutex::new(accounts.filter(|(at, _)| *at != Millis::FOREVER).collect()))
    }

    /// An account that waited until `before` waits until what it says now.
    #[inline]
    pub(crate) fn reset(&self, account: &Account, before: Millis) {
        let after = account.notice_at();
        if after != before {
            self.put(account.serial, before, after);
        }
    }

    fn put(&self, serial: u32, before: Millis, after: Millis) {
        let mut waiting = self.0.lock().unwrap_or_else(|held| held.into_inner());
        waiting.remove(&(before, serial));
        if after != Millis::FOREVER {
            waiting.insert((after, serial));
        }
    }

    fn due(&self, now: Millis) -> Vec<(Millis, u32)> {
        let waiting = self.0.lock().unwrap_or_else(|held| held.into_inner());
        waiting.iter().take_while(|(at, _)| *at <= now).take(PAGE).copied().collect()
    }
}

impl Engine {
    /// Does what time alone has brought by `now`, and returns for how many accounts. Nothing while the
    /// store takes no write: it is done when it does again.
    pub fn run_timers(&self, now: Millis) -> usize {
        let (mut effects, mut bytes, mut count) = (Vec::new(), Vec::new(), 0);
        loop {
            if self.store.room().is_err() {
                return count;
            }
            let due = self.timers.due(now);
            if due.is_empty() {
                return count;
            }
            for (at, serial) in due {
                let catalog = self.catalog();
                let id = self.account_id(serial);
                if let Some(mut slot) = id.and_then(|id| self.accounts.get_mut(&*id)) {
                    let cx = Context { catalog: &catalog, now: slot.account.not_before(now) };
                    // First, so that an account that cannot be settled does not come again for ever.
                    self.timers.put(serial, at, Millis::FOREVER);
                    self.settle(cx, &mut slot, &mut effects, &mut bytes);
                    count += 1;
                } else {
                    self.timers.put(serial, at, Millis::FOREVER);
                }
            }
        }
    }

    /// When an account next waits for something; [`Millis::FOREVER`] when none does.
    pub fn next_timer_at(&self) -> Millis {
        let waiting = self.timers.0.lock().unwrap_or_else(|held| held.into_inner());
        waiting.first().map_or(Millis::FOREVER, |(at, _)| *at)
    }
}
