//! The reconciliation: three books that know nothing of each other must say the same.
//!
//! The file says what was asked for, the clients say what they committed and what was refused, the
//! sidecar says what it counted and announced. Every difference is an error of somebody's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::House;
use super::board::Shared;
use super::cast::{CAST, MEMBERS};
use super::receiver::Received;
use super::replay::{CallError, Company, FEATURE};
use super::trace::Row;
use super::words::count;

/// How long deliveries may take after the last row.
const DELIVERIES_WITHIN: Duration = Duration::from_secs(10);

/// Tokens once more, as the agents of an account used them.
const OF_AGENTS: &str = "tokens of agents";

/// How often is looked whether they came.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is known about one account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) account: &'static str,
    /// Tokens of its rows, straight from the file.
    pub(super) file_tokens: u64,
    /// Tokens its clients committed.
    pub(super) recorded_tokens: u64,
    /// Tokens of its rows that were refused.
    pub(super) refused_tokens: u64,
    /// Tokens the sidecar counted under each limit, over all windows.
    pub(super) counted_tokens: BTreeMap<String, u64>,
    /// Tokens the sidecar still holds for reservations.
    pub(super) held_tokens: u64,
    /// What else there is, by the feature that counts it: as the clients booked it, and as the sidecar
    /// says.
    pub(super) things: Vec<(&'static str, u64, u64)>,
}

/// What is known after the replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) accounts: Vec<Account>,
    /// Signals emitted, as the sidecar says.
    pub(super) signals_emitted: u64,
    /// What the webhook's receiver got.
    pub(super) received: Received,
    /// Distinct ids in the NDJSON sink's file.
    pub(super) file_ids: BTreeSet<String>,
}

impl Books {
    /// Tokens in the file.
    pub(super) fn file_tokens(&self) -> u64 {
        self.accounts.iter().map(|account| account.file_tokens).sum()
    }

    /// Tokens recorded.
    pub(super) fn recorded_tokens(&self) -> u64 {
        self.accounts.iter().map(|account| account.recorded_tokens).sum()
    }

    /// Tokens refused.
    pub(super) fn refused_tokens(&self) -> u64 {
        self.accounts.iter().map(|account| account.refused_tokens).sum()
    }

    /// Everything that does not agree, a line each.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.accounts.iter().flat_map(|account| account.differences()).collect();
        let mut compare = |what: &str, one: u64, other: u64| {
            if one != other {
                found.push(format!("{what}: {} and {}", count(one), count(other)));
            }
        };
        let answered = self.recorded_tokens() + self.refused_tokens();
        compare("tokens in the file, and recorded + refused", self.file_tokens(), answered);
        let emitted = self.signals_emitted;
        let (received, written) = (self.received.ids.len() as u64, self.file_ids.len() as u64);
        compare("signals emitted, and distinct webhook ids received", emitted, received);
        compare("signals emitted, and distinct ids in the file sink", emitted, written);
        let same = self.file_ids.iter().filter(|id| self.received.ids.contains(*id)).count() as u64;
        compare("webhook ids received, and those that are in the file sink too", received, same);
        compare("webhooks with a wrong signature or content, and none", self.received.rejected, 0);
        found
    }
}

impl Account {
    fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, one: u64, other: u64| {
            if one != other {
                found.push(format!(
                    "{}: {what}: {} and {}",
                    self.account,
                    count(one),
                    count(other)
                ));
            }
        };
        let answered = self.recorded_tokens + self.refused_tokens;
        compare("tokens in the file, and recorded + refused", self.file_tokens, answered);
        if self.counted_tokens.is_empty() {
            compare("tokens recorded, and counted by the sidecar", self.recorded_tokens, 0);
        }
        for (limit, counted) in &self.counted_tokens {
            let what = format!("tokens recorded, and counted by the sidecar under `{limit}`");
            compare(&what, self.recorded_tokens, *counted);
        }
        compare("tokens still held, and none", self.held_tokens, 0);
        for (feature, booked, counted) in &self.things {
            let what = format!("`{feature}` booked by the clients, and counted by the sidecar");
            compare(&what, *booked, *counted);
        }
        found
    }
}

/// Waits until what was decided has arrived everywhere, and collects what everybody says. `rows` is
/// what should have been played.
pub(super) async fn collect(
    house: &House,
    company: &Company,
    rows: &[Row],
) -> Result<Books, CallError> {
    let signals_emitted = settled(house, company).await?;
    let mut accounts = own_sums(&company.board, rows);
    let since = rows.first().map_or(0, |row| row.at_ms);
    for account in &mut accounts {
        count_usage(company, account, since).await?;
        count_things(company, account).await?;
        count_agents(company, account).await?;
    }
    let file_ids = ids_in(&house.stage.places.signals_file);
    Ok(Books { accounts, signals_emitted, received: house.receiver.received(), file_ids })
}

/// Waits, for a limited time, until all signals were delivered. Returns how many were emitted.
async fn settled(house: &House, company: &Company) -> Result<u64, CallError> {
    let store = std::sync::Arc::clone(&house.stage.sidecar.core().store);
    // Signals are counted and closed windows are listed by the projection: it must have caught up.
    let last = store.appended();
    let caught_up =
        tokio::task::spawn_blocking(move || store.wait_projected(last, DELIVERIES_WITHIN)).await;
    if !caught_up.unwrap_or(false) {
        tracing::warn!("the projection has not caught up with the journal");
    }
    let ends_at = tokio::time::Instant::now() + DELIVERIES_WITHIN;
    loop {
        let status = company.admin.get_status().await;
        let status = status.map_err(CallError::new("asking for the sidecar's status"))?;
        let emitted = u64::try_from(status.signals_emitted).unwrap_or_default();
        let is_settled = status.signals_pending == 0 && house.receiver.distinct() as u64 == emitted;
        if is_settled || ends_at <= tokio::time::Instant::now() {
            return Ok(emitted);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the file and the clients say.
fn own_sums(board: &Shared, rows: &[Row]) -> Vec<Account> {
    let mut file_tokens = [0; MEMBERS];
    rows.iter().for_each(|row| file_tokens[row.member] += row.tokens());
    let board = board.lock();
    let sums = CAST.iter().zip(&board.books).zip(file_tokens);
    sums.map(|((member, book), file_tokens)| Account {
        account: member.account,
        file_tokens,
        recorded_tokens: book.recorded_tokens,
        refused_tokens: book.refused_tokens,
        things: vec![
            (OF_AGENTS, book.recorded_tokens, 0),
            ("images", book.images, 0),
            ("ai_credits", book.credits, 0),
            ("storage", book.megabytes, 0),
            ("seats", book.seats, 0),
            ("agents", 0, 0),
        ],
        ..Account::default()
    })
    .collect()
}

/// What the sidecar says about one account, over all pages.
async fn count_usage(
    company: &Company,
    account: &mut Account,
    since_ms: i64,
) -> Result<(), CallError> {
    let since = company.instant(since_ms);
    let mut page_token: Option<String> = None;
    loop {
        let page = company
            .client
            .get_usage(account.account, Some(FEATURE), Some(since), page_token.as_deref())
            .await
            .map_err(CallError::new(format!("asking what {} used", account.account)))?;
        for window in page.windows {
            *account.counted_tokens.entry(window.limit).or_default() += window.used_units;
            account.held_tokens += window.reserved_units;
        }
        page_token = page.next_page_token;
        if page_token.is_none() {
            return Ok(());
        }
    }
}

/// What the sidecar says the agents of one account used, by themselves: the same tokens once more.
async fn count_agents(company: &Company, account: &mut Account) -> Result<(), CallError> {
    let mut page_token: Option<String> = None;
    let mut used = 0;
    loop {
        let token = page_token.as_deref();
        let page = company
            .client
            .get_subject_usage(account.account, None, Some(FEATURE), None, token)
            .await
            .map_err(CallError::new(format!(
                "asking what the agents of {} used",
                account.account
            )))?;
        used += page.windows.iter().map(|window| window.used_units).sum::<u64>();
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
    }
    for (_, _, counted) in account.things.iter_mut().filter(|(of, ..)| *of == OF_AGENTS) {
        *counted = used;
    }
    Ok(())
}

/// What the sidecar says about everything that is not tokens: what is used, and what is held.
async fn count_things(company: &Company, account: &mut Account) -> Result<(), CallError> {
    let listed = company.client.list_entitlements(account.account).await;
    let what = format!("asking what {} has", account.account);
    let listed = listed.map_err(CallError::new(what))?;
    for (feature, _, counted) in account.things.iter_mut().filter(|(of, ..)| *of != OF_AGENTS) {
        let found = listed.entitlements.iter().find(|listed| listed.feature == *feature);
        let limits = found.into_iter().flat_map(|listed| &listed.limits);
        // A feature that a pool pays for shows the pool beside its own limits.
        let own = limits.filter(|limit| limit.pool.as_ref().is_none_or(|p| p.feature == *feature));
        *counted = own.map(|limit| limit.used_units + limit.reserved_units).sum();
    }
    Ok(())
}

/// The ids of the lines of an NDJSON file. What cannot be read is missing, and found as that.
fn ids_in(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let id = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message["data"]["id"].as_str()?.to_owned())
    };
    text.lines().filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Books {
        let account = |account, file_tokens, refused_tokens| {
            let recorded_tokens = file_tokens - refused_tokens;
            let counted_tokens = ["hourly", "monthly"].map(|l| (l.to_owned(), recorded_tokens));
            let counted_tokens = counted_tokens.into();
            Account {
                account,
                file_tokens,
                recorded_tokens,
                refused_tokens,
                counted_tokens,
                held_tokens: 0,
                things: vec![("images", 3, 3)],
            }
        };
        let ids = ["a", "b"].map(str::to_owned);
        Books {
            accounts: vec![account("elm", 1_000, 10), account("fir", 200, 0)],
            signals_emitted: 2,
            received: Received { ids: ids.clone().into(), ..Received::default() },
            file_ids: ids.into(),
        }
    }

    #[track_caller]
    fn check(spoil: impl FnOnce(&mut Books), expected: &[&str]) {
        let mut books = good();
        spoil(&mut books);
        assert_eq!(books.differences(), expected);
    }

    #[test]
    fn books_that_agree_have_no_differences() {
        check(|_| {}, &[]);
    }

    #[test]
    fn every_difference_is_named() {
        check(
            |books| books.accounts[0].refused_tokens = 0,
            &[
                "elm: tokens in the file, and recorded + refused: 1,000 and 990",
                "tokens in the file, and recorded + refused: 1,200 and 1,190",
            ],
        );
        check(
            |books| {
                books.accounts[0].counted_tokens.insert("hourly".into(), 991);
            },
            &["elm: tokens recorded, and counted by the sidecar under `hourly`: 990 and 991"],
        );
        check(
            |books| books.accounts[1].counted_tokens.clear(),
            &["fir: tokens recorded, and counted by the sidecar: 200 and 0"],
        );
        check(
            |books| books.accounts[1].held_tokens = 5,
            &["fir: tokens still held, and none: 5 and 0"],
        );
        check(
            |books| books.accounts[1].things[0].2 = 4,
            &["fir: `images` booked by the clients, and counted by the sidecar: 3 and 4"],
        );
        check(
            |books| books.signals_emitted = 3,
            &[
                "signals emitted, and distinct webhook ids received: 3 and 2",
                "signals emitted, and distinct ids in the file sink: 3 and 2",
            ],
        );
        check(
            |books| books.file_ids = ["a", "c"].map(str::to_owned).into(),
            &["webhook ids received, and those that are in the file sink too: 2 and 1"],
        );
        check(
            |books| books.received.rejected = 1,
            &["webhooks with a wrong signature or content, and none: 1 and 0"],
        );
    }

    #[test]
    fn errors_of_two_accounts_do_not_cancel_out() {
        check(
            |books| {
                books.accounts[0].refused_tokens += 1;
                books.accounts[1].refused_tokens += 1;
                books.accounts[1].recorded_tokens -= 2;
            },
            &[
                "elm: tokens in the file, and recorded + refused: 1,000 and 1,001",
                "fir: tokens in the file, and recorded + refused: 200 and 199",
                "fir: tokens recorded, and counted by the sidecar under `hourly`: 198 and 200",
                "fir: tokens recorded, and counted by the sidecar under `monthly`: 198 and 200",
            ],
        );
    }
}
