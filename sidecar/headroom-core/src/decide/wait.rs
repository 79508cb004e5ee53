//! How long to wait: when time alone lets a request be admitted that was refused.
//!
//! Waiting is only told where it helps. A limit is asked again, as it will be in force then, at the
//! instants at which time changes something: where its window ends, and where the account's profile has
//! another plan or override begin or end. The first of them at which the units fit is told, as if nobody
//! used anything before. So what is more than a whole window gives is never told to wait, nor what an
//! override keeps at nothing, and debt that is carried on is waited for as long as it takes. A pool is asked
//! again where units come to it.
//!
//! It is worked out for refusals alone, and never promises too much: a window that a change of plan would
//! end earlier is waited for to its end, and a grace that was used up is not waited for.

use crate::account::Account;
use crate::catalog::{FeatureIx, PlanLimit};
use crate::credits::now::PoolNow;
use crate::decide::meter::{self, Working};
use crate::decide::{Context, account_denial, expiry};
use crate::decision::{Denial, Verdict};
use crate::resolve::{Resolved, resolve, resolve_levels};
use crate::time::Millis;

/// Instants that are looked at. After so many no time is told, though there may be one: a debt of more
/// windows than this, or an override behind as many other changes, is nothing to wait for in a program.
const LOOKS_MAX: usize = 32;

/// Times at which units come to a pool that are looked at. After so many no time is told.
const FILLS_MAX: usize = 12;

/// Notes of the limits that refused so many units when they would fit. `subject` is whose limits they are,
/// if not the account's own.
#[cold]
pub(super) fn note_refused(
    cx: Context<'_>,
    account: &Account,
    of: (FeatureIx, Option<&str>),
    working: &mut [Working<'_>],
    units: u64,
) {
    for w in working {
        w.enough_at = match w.verdict {
            Verdict::Denied(Denial::QuotaExhausted | Denial::SpendCapReached) => {
                fits_at(cx, account, of, w, units)
            }
            Verdict::Denied(_) => w.frees_for(units),
            _ => Millis::FOREVER,
        };
    }
}

/// When time alone lets a pool pay a charge that it refused: at the first of the instants at which units come
/// to it at which there are enough. `None`: never, as far as is known.
#[cold]
pub(super) fn pays_at(now: &PoolNow<'_>, account: &Account, charge: u64) -> Option<Millis> {
    let cx = now.cx();
    let (mut at, mut drawable) = (now.fills_at()?, now.drawable());
    for _ in 0..FILLS_MAX {
        let then = PoolNow::of(Context { now: at, ..cx }, account, now.pool.head.feature);
        if charge <= then.drawable() {
            return Some(at);
        }
        // Where nothing was left over, the next window brings no more than this one.
        let is_same = then.drawable() == drawable && !then.expects_grants();
        (at, drawable) = (then.fills_at().filter(|_| !is_same)?, then.drawable());
    }
    None
}

impl Working<'_> {
    /// When the window lets go of enough for so many units: where it ends, or where enough units have
    /// left one that slides.
    pub(super) fn frees_for(&self, units: u64) -> Millis {
        match &self.beyond {
            None if self.is_not_begun() => Millis::FOREVER,
            None => self.ledger.window.end(),
            Some(beyond) => beyond.frees_for(&self.ledger, self.limit, units),
        }
    }
}

/// The first instant at which a limit would admit so many units; [`Millis::FOREVER`] if none is known.
fn fits_at(
    cx: Context<'_>,
    account: &Account,
    of: (FeatureIx, Option<&str>),
    refused: &Working<'_>,
    units: u64,
) -> Millis {
    let feature = cx.catalog.feature(of.0).id;
    // What windows take over from those that owe is looked at as it will be.
    let mut ahead = (!account.owings().is_empty()).then(|| account.clone());
    let mut at = cx.now;
    let mut ends_at = refused.frees_for(units);
    for _ in 0..LOOKS_MAX {
        at = ends_at.min(account.profile.next_change(at));
        if at == Millis::FOREVER {
            break;
        }
        let then = Context { now: at, ..cx };
        if let Some(ahead) = &mut ahead {
            expiry::end_windows(then, ahead);
        }
        let Some(limit) = in_force(then, account, of, refused.limit) else {
            ends_at = Millis::FOREVER;
            continue;
        };
        let seen = ahead.as_ref().unwrap_or(account);
        let w = meter::working_now(then, seen, feature, &limit);
        if meter::admission(&limit, w.room, &w.ledger, units, true).is_allowed() {
            return at;
        }
        // A whole window that nothing was taken over into is as the next one, but for the profile.
        let is_whole = w.beyond.is_none() && w.ledger.window.start() == at && w.ledger.used == 0;
        ends_at = if is_whole { Millis::FOREVER } else { w.frees_for(units) };
    }
    Millis::FOREVER
}

/// The limit as it will be in force, if anything may be used then.
fn in_force(
    then: Context<'_>,
    account: &Account,
    (feature, subject): (FeatureIx, Option<&str>),
    limit: &PlanLimit,
) -> Option<PlanLimit> {
    if account_denial(then, account).is_some() {
        return None;
    }
    let is_it = |known: &&PlanLimit| known.limit == limit.limit;
    if let Some(subject) = subject {
        let of = (feature, subject);
        let limits = resolve_levels(then.catalog, &account.profile, of, then.now);
        return limits.iter().find(is_it).cloned();
    }
    match resolve(then.catalog, account, feature, then.now).0 {
        Resolved::Limits(limits) => limits.iter().find(is_it).cloned(),
        _ => None,
    }
}
