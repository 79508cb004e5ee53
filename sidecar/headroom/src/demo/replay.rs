//! The replay: every row of the trace, through the real gRPC port, at the time of the trace.
//!
//! Rows of one second run at the same time, but those of one account one after the other: an
//! account then gets the same answers in every run, however busy the machine is. The clock moves
//! only between seconds, so it never goes back and no hold ends before its commit.

use std::time::{Duration, SystemTime};

use headroom_sdk::{AdminClient, Client, Error, LevelChange, v1};
use prost_types::value::Kind;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::board::Shared;
use super::cast::{CAST, MEMBERS, Member};
use super::stage::Places;
use super::trace::Row;

/// The feature that is metered.
pub(super) const FEATURE: &str = "tokens";

/// Set aside for the answer of every request, whose length is not known before: 19 of 20 are
/// shorter. A longer one is booked in full; what was held for it is only the beginning.
pub(super) const ANSWER_TOKENS: u64 = 100;

/// Whatever else a row needs for as long as it is worked on: a slot, and a request of the rate.
const NEEDED: [&str; 2] = ["agents", "api"];

/// Every so many rows an image is made, where the plan has images.
const ROWS_PER_IMAGE: usize = 7;

/// Every so many rows a file is kept; it has a megabyte for every so many tokens of the prompt.
const ROWS_PER_FILE: usize = 5;
const TOKENS_PER_MEGABYTE: u64 = 100;

/// The agents of each account, who take turns.
const AGENTS: [&str; 3] = ["agent:coder", "agent:reviewer", "agent:writer"];

/// People of each account who are invited to a seat at the beginning. The first half of them claims it.
const PEOPLE: [&str; 6] = ["ann", "ben", "cleo", "dan", "eve", "fay"];

/// How long a call may take. Much longer than it does: a demo on a busy machine should be slow, not
/// wrong.
pub(super) const CALL_WITHIN: Duration = Duration::from_secs(20);

const SECOND_MS: i64 = 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * SECOND_MS;

/// How fast the hour passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as it goes.
    Max,
    /// So many seconds in one.
    Times(u32),
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed")]
pub(super) struct CallError {
    /// What was asked for.
    pub(super) what: String,
    /// What the SDK said.
    pub(super) source: Box<Error>,
}

impl CallError {
    pub(super) fn new(what: impl Into<String>) -> impl FnOnce(Error) -> CallError {
        let what = what.into();
        |error| CallError { what, source: Box::new(error) }
    }
}

/// Two connections to a sidecar, and the board that is kept.
#[derive(Debug, Clone)]
pub(super) struct Company {
    pub(super) client: Client,
    pub(super) admin: AdminClient,
    pub(super) board: Shared,
    /// Added to the trace's times. A new test clock may stand later than the trace and never goes
    /// back; then the hour is replayed on a later day.
    pub(super) shift_ms: i64,
}

impl Company {
    /// Connects, moves the clock to the beginning of the trace, and puts the cast on its plans.
    pub(super) async fn gather(
        places: &Places,
        board: Shared,
        starts_ms: i64,
    ) -> Result<Company, CallError> {
        let client = Client::builder(&*places.endpoint).deadline(CALL_WITHIN).connect();
        let client = client.await.map_err(CallError::new("connecting to the sidecar"))?;
        let admin = AdminClient::connect(&*places.admin).await;
        let admin = admin.map_err(CallError::new("connecting to its admin listener"))?;
        let status = admin.get_status().await.map_err(CallError::new("asking for its status"))?;
        let stands_ms = status.now.map_or(0, |now| now.seconds * SECOND_MS);
        let shift_ms = whole_days(stands_ms - starts_ms);
        let company = Company { client, admin, board, shift_ms };
        company.set_clock(starts_ms).await?;
        for (place, member) in CAST.into_iter().enumerate() {
            company.subscribe(member, starts_ms).await?;
            company.move_in(place, member).await?;
        }
        Ok(company)
    }

    /// Invites people until all seats are taken; the half of them claims theirs.
    async fn move_in(&self, place: usize, member: Member) -> Result<(), CallError> {
        let account = member.account;
        let what = || format!("seating the people of {account}");
        for (number, person) in PEOPLE.into_iter().enumerate() {
            let invited = self.client.invite_seat(account, "seats", person, None).await;
            let invited = invited.map_err(CallError::new(what()))?;
            if invited.decision.allowed {
                self.board.lock().book(place).seats += 1;
                if number % 2 == 0 {
                    let claimed = self.client.claim_seat(account, "seats", person).await;
                    claimed.map_err(CallError::new(what()))?;
                }
            }
        }
        Ok(())
    }

    async fn subscribe(&self, member: Member, starts_ms: i64) -> Result<(), CallError> {
        let request = v1::PutSubscriptionRequest {
            account: member.account.to_owned(),
            plan: member.plan.to_owned(),
            anchor: Some(self.instant(starts_ms).into()),
            ..v1::PutSubscriptionRequest::default()
        };
        let what = || format!("putting {} on the plan {}", member.account, member.plan);
        self.admin.put_subscription(request).await.map_err(CallError::new(what()))?;
        let segment = Kind::StringValue(member.segment.to_owned());
        let segment = ("segment".to_owned(), prost_types::Value { kind: Some(segment) });
        let facts = prost_types::Struct { fields: [segment].into() };
        self.admin.put_facts(member.account, facts).await.map_err(CallError::new(what()))?;
        Ok(())
    }

    async fn set_clock(&self, trace_ms: i64) -> Result<(), CallError> {
        let at = self.instant(trace_ms);
        self.admin.set_clock(at).await.map_err(CallError::new("moving the test clock"))?;
        self.board.lock().clock(trace_ms + self.shift_ms);
        Ok(())
    }

    /// What the sidecar's clock shows at an instant of the trace.
    pub(super) fn instant(&self, trace_ms: i64) -> SystemTime {
        let since_epoch = u64::try_from(trace_ms + self.shift_ms).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_millis(since_epoch)
    }

    /// Plays all rows, which are in the order of time.
    pub(super) async fn play(&self, rows: &[Row], pace: Pace) -> Result<(), CallError> {
        let began = Instant::now();
        let Some(first) = rows.first() else { return Ok(()) };
        for second in rows.chunk_by(|a, b| a.at_ms / SECOND_MS == b.at_ms / SECOND_MS) {
            let at_ms = second[0].at_ms;
            if let Pace::Times(times) = pace {
                let passed = u64::try_from(at_ms - first.at_ms).unwrap_or_default();
                tokio::time::sleep_until(began + Duration::from_millis(passed) / times).await;
            }
            self.set_clock(at_ms).await?;
            let mut accounts = JoinSet::new();
            for member in 0..MEMBERS {
                let rows: Vec<Row> =
                    second.iter().filter(|r| r.member == member).copied().collect();
                if !rows.is_empty() {
                    accounts.spawn(self.clone().play_account(rows));
                }
            }
            while let Some(played) = accounts.join_next().await {
                match played {
                    Ok(played) => played?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
        }
        Ok(())
    }

    async fn play_account(self, rows: Vec<Row>) -> Result<(), CallError> {
        for row in rows {
            self.play_row(row).await?;
        }
        Ok(())
    }

    /// Reserves all that a row needs before the work; commits and gives back after it.
    async fn play_row(&self, row: Row) -> Result<(), CallError> {
        let account = CAST[row.member].account;
        let asked = row.prompt_tokens + ANSWER_TOKENS;
        self.board.lock().sending(row.member, asked);
        let needs = std::iter::once((FEATURE, asked)).chain(NEEDED.map(|feature| (feature, 1)));
        let reserve = self
            .client
            .reserve_all(account, needs)
            .subject(AGENTS[row.number % AGENTS.len()])
            .idempotency_key(format!("row-{}", row.number))
            .with_prompt()
            .with_projection();
        let what = || format!("row {} ({account})", row.number);
        let reserved = reserve.await.map_err(CallError::new(what()))?;
        let refused = reserved.items.iter().position(|item| !item.decision.allowed);
        let mut items = reserved.items.into_iter();
        if let Some(decision) = refused.and_then(|place| items.nth(place)) {
            self.board.lock().refused(row.member, row.tokens(), decision.decision);
            return Ok(());
        }
        let mut holds = items.filter_map(|item| item.reservation);
        let (Some(tokens), Some(slot)) = (holds.next(), holds.next()) else {
            let problem = Error::UnexpectedAnswer { problem: "allowed, and without its holds" };
            return Err(CallError::new(what())(problem));
        };
        self.board.lock().sending(row.member, row.tokens());
        let commit = self
            .client
            .commit(account, tokens.id, row.tokens())
            .idempotency_key(format!("row-{}-done", row.number))
            .with_prompt()
            .with_projection();
        let committed = commit.await.map_err(CallError::new(what()))?;
        self.client.release(account, slot.id).await.map_err(CallError::new(what()))?;
        self.board.lock().recorded(row.member, committed.committed_units, committed.decision);
        self.make_things(row).await
    }

    /// What some rows bring with them: an image, a file.
    async fn make_things(&self, row: Row) -> Result<(), CallError> {
        let account = CAST[row.member].account;
        let what = || format!("what row {} ({account}) made", row.number);
        if row.number.is_multiple_of(ROWS_PER_IMAGE) {
            let image = self.client.consume(account, "images", 1);
            let image = image.idempotency_key(format!("row-{}-image", row.number)).await;
            let image = image.map_err(CallError::new(what()))?;
            if image.allowed {
                let mut board = self.board.lock();
                let book = board.book(row.member);
                book.images += 1;
                book.credits += image.charge.map_or(0, |charge| charge.units);
            }
        }
        if row.number.is_multiple_of(ROWS_PER_FILE) {
            let megabytes = (row.prompt_tokens / TOKENS_PER_MEGABYTE).max(1);
            let file = self.client.allocate(account, "storage", LevelChange::Add(megabytes));
            let file = file.idempotency_key(format!("row-{}-file", row.number)).await;
            self.board.lock().book(row.member).megabytes +=
                file.map_err(CallError::new(what()))?.added_units;
        }
        Ok(())
    }
}

/// The least number of whole days that is not less, in milliseconds; 0 for the past.
fn whole_days(ms: i64) -> i64 {
    let days = ms.max(0).div_euclid(DAY_MS) + i64::from(ms.max(0).rem_euclid(DAY_MS) > 0);
    days * DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_clock_moves_the_hour_by_whole_days() {
        let cases = [(-5, 0), (0, 0), (1, DAY_MS), (DAY_MS, DAY_MS), (DAY_MS + 1, 2 * DAY_MS)];
        for (ms, expected) in cases {
            assert_eq!(whole_days(ms), expected);
        }
    }
}
