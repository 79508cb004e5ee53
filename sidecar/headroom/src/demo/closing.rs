//! What is said before the first row and after the last.

use std::path::PathBuf;
use std::time::Duration;

use super::House;
use super::board::Board;
use super::cast::{CAST, MEMBERS, SEED};
use super::reconcile::Books;
use super::replay::{ANSWER_TOKENS, Company, FEATURE};
use super::stage::Places;
use super::trace::Row;
use super::words::{self, count};

/// What is about to be seen.
pub(super) fn opening(house: &House, company: &Company, rows: &[Row]) -> String {
    let requests = count(rows.len() as u64);
    let tokens = count(rows.iter().map(Row::tokens).sum());
    let Places { endpoint, socket, admin, dir, .. } = &house.stage.places;
    let starts_ms = rows.first().map_or(0, |row| row.at_ms);
    let in_trace = words::date_and_clock(starts_ms);
    let on_clock = match words::date_and_clock(starts_ms + company.shift_ms) {
        same if same == in_trace => format!("a test clock, set to {same}"),
        later => format!("a test clock; {later} on it is {in_trace} in the trace"),
    };
    format!(
        "\
An hour of a real code-completion service, replayed on a sidecar of its own.

data      Azure LLM inference trace 2023 (code), by Microsoft, licensed CC BY 4.0:
          {requests} requests, {tokens} tokens.
accounts  The data names no customers. A draw with seed {SEED} gives each row to one of
          {MEMBERS} invented accounts; the k-th gets a k-th of what the first gets.
a row     ReserveAll for one of three agents: the prompt's tokens and {ANSWER_TOKENS} for the answer, a slot,
          a request of the API. Then commit what both were. A row that is refused counts as refused in full. Some
          make an image, which credits pay for, or keep a file; people have seats.
clock     {on_clock}
catalog   deploy/example/ai-product.yaml
sidecar   {endpoint}, admin {admin}
          unix:{}
          data in {}
signals   signed webhooks to {}, and a file
",
        socket.display(),
        dir.display(),
        house.webhook_url,
    )
}

/// Every account in a line, and the sums.
pub(super) fn summary(board: &Board, books: &Books) -> String {
    let mut text = format!(
        "{:8} {:5} {:>12} {:>12} {:>12} {:>8}  {}\n",
        "account", "plan", "in the file", "recorded", "refused", "signals", "gravest answer"
    );
    for (account, book) in books.accounts.iter().zip(&board.books) {
        text += &format!(
            "{:8} {:5} {:>12} {:>12} {:>12} {:>8}  {}\n",
            account.account,
            book.member.plan,
            count(account.file_tokens),
            count(account.recorded_tokens),
            count(account.refused_tokens),
            book.signals,
            words::verdict(book.worst),
        );
    }
    text + &format!(
        "{:14} {:>12} {:>12} {:>12} {:>8}\n",
        "sum",
        count(books.file_tokens()),
        count(books.recorded_tokens()),
        count(books.refused_tokens()),
        board.signals(),
    )
}

/// What was compared, and what came of it.
pub(super) fn reconciliation(board: &Board, books: &Books, took: Duration) -> String {
    let refused_rows: u64 = board.books.iter().map(|book| book.refused_rows).sum();
    let received = &books.received;
    let things = |name: &str| -> u64 {
        let all = books.accounts.iter().flat_map(|account| &account.things);
        all.filter(|(feature, ..)| *feature == name).map(|(_, _, counted)| counted).sum()
    };
    let mut latencies = received.latencies.clone();
    latencies.sort_unstable();
    let middle = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    let slowest = latencies.last().copied().unwrap_or_default();
    let mut text = format!(
        "\
  {:>12} tokens in the file ({} rows)
= {:>12} recorded: committed by the clients, counted by the sidecar
+ {:>12} refused ({} rows)

  {:>12} images, paid by {} credits; {} MB of files; {} seats; no agent left at work

  {:>12} signals emitted
= {:>12} distinct webhook ids received, signatures checked
= {:>12} distinct ids in the file sink
  write sent to webhook received: {} in the middle, {} at most; {} sent twice

",
        count(books.file_tokens()),
        count(board.rows),
        count(books.recorded_tokens()),
        count(books.refused_tokens()),
        count(refused_rows),
        count(things("images")),
        count(things("ai_credits")),
        count(things("storage")),
        count(things("seats")),
        count(books.signals_emitted),
        count(received.ids.len() as u64),
        count(books.file_ids.len() as u64),
        words::ms(middle),
        words::ms(slowest),
        count(received.repeats),
    );
    let differences = books.differences();
    if differences.is_empty() {
        text += &format!(
            "Everything agrees, for each of the {MEMBERS} accounts and in sum. It took {}.{} s.",
            took.as_secs(),
            took.subsec_millis() / 100,
        );
    } else {
        text += &format!("THE BOOKS DO NOT AGREE, {} times:\n", differences.len());
        for difference in differences {
            text += &format!("  {difference}\n");
        }
        text += "This is a fault of Headroom. Please report it with this output.";
    }
    text
}

/// What to do next, when the sidecar is gone.
pub(super) fn next(kept: Option<&Places>) -> String {
    let headroom = program();
    let kept = kept.map_or_else(String::new, |places| {
        let data = places.dir.join("data");
        format!("\n  {headroom} inspect {}", data.display())
    });
    format!(
        "
Try next
  {headroom} demo --stay                                      keep this sidecar, to ask it by hand
  {headroom} check deploy/example/ai-product.yaml             change the catalog, find every mistake
  {headroom} serve --catalog deploy/example/ai-product.yaml   run one on the real clock{kept}"
    )
}

/// What to try by hand, while the sidecar is there.
pub(super) fn staying(places: &Places) -> String {
    let headroom = program();
    let Places { endpoint, admin, .. } = places;
    let account = CAST[9].account;
    format!(
        "
The sidecar stays, on its test clock. Try, in another terminal
  {headroom} ask usage {account} --endpoint {endpoint}
  {headroom} ask consume {account} {FEATURE} 290000 --endpoint {endpoint}
  {headroom} account put {account} --plan team --admin {admin}
  {headroom} ask consume {account} {FEATURE} 290000 --endpoint {endpoint}
  {headroom} ask entitlements {account} --endpoint {endpoint}
  {headroom} clock advance 5h --admin {admin}
  curl -s {admin}/metrics

Ctrl-C ends it."
    )
}

/// How this program is called from here.
fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("headroom"));
    program.strip_prefix(here).unwrap_or(&program).display().to_string()
}
