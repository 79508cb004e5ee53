//! `headroom import`: what other systems know, brought over from a file.
//!
//! A file is read whole and checked whole before anything is changed: first by itself, then line by line
//! against the sidecar in a dry run. Every problem is told at once. Each line has a key of its own, so that
//! the same file can be imported again after a break.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, Subcommand};
use headroom_sdk::{AdminClient, Error, v1};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::args::{ToAdmin, time, units};
use super::connect::{self, Ended, Failure};
use super::show;

/// Lines of one file. A longer one is to be split: it is held in memory, and checked before it is imported.
const LINES_MAX: usize = 1_000_000;
/// Requests on their way at a time: enough for one write of the journal to carry many.
const IN_FLIGHT_MAX: usize = 64;
/// Problems shown; the rest is counted.
const PROBLEMS_SHOWN_MAX: usize = 100;
/// How often it is said how far it is, to people who watch.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Bring over what another system knows
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    pub(super) what: ImportWhat,
    #[command(flatten)]
    pub(super) to: ToAdmin,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportWhat {
    /// What accounts have used of limits in their current windows
    ///
    /// Nobody is told of thresholds that this passes. The accounts must have their subscriptions. A file
    /// with any problem changes nothing, and the same file again changes nothing more. A file that was changed
    /// since needs another --key-prefix: the keys of the first are taken.
    #[command(after_help = "\
Example:
  cat balances.csv
    account,feature,limit,used_units
    acme,tokens,monthly,120000
  headroom import opening-balances balances.csv --dry-run    what is wrong?
  headroom import opening-balances balances.csv")]
    OpeningBalances {
        /// CSV with the columns account, feature, limit, used_units and perhaps began_at, or a JSON object
        /// with these keys on each line; `-` is standard input
        file: PathBuf,
        /// Count it on top of what was used here already
        #[arg(long)]
        add: bool,
        /// Only say what is wrong
        #[arg(long)]
        dry_run: bool,
        /// Begins the idempotency keys: another import of the same limits needs another
        #[arg(long, value_name = "TEXT", default_value = "opening")]
        key_prefix: String,
    },
}

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) line: usize,
    pub(super) account: String,
    pub(super) feature: String,
    pub(super) limit: String,
    pub(super) used_units: u64,
    pub(super) began_at: Option<SystemTime>,
}

/// `headroom import …`
pub(super) async fn run(args: ImportArgs) -> Ended {
    let ImportWhat::OpeningBalances { file, add, dry_run, key_prefix } = args.what;
    let balances = match read(&file).and_then(|text| balances(&text)) {
        Ok(balances) => balances,
        Err(problems) => return refused(&problems),
    };
    let client = match connect::admin(&args.to).await {
        Ok(client) => client,
        Err(failure) => return Ended::Failed(failure),
    };
    let request = |is_dry: bool, balance: &Balance| v1::PutOpeningBalanceRequest {
        account: balance.account.clone(),
        feature: balance.feature.clone(),
        limit: balance.limit.clone(),
        used_units: i64::try_from(balance.used_units).unwrap_or(i64::MAX),
        began_at: balance.began_at.map(Into::into),
        add,
        // Keys are an account's own, so two limits of one differ in them.
        idempotency_key: format!("{key_prefix}/{}/{}", balance.feature, balance.limit),
        dry_run: is_dry,
    };
    let passes: &[(bool, &str)] =
        if dry_run { &[(true, "checked")] } else { &[(true, "checked"), (false, "imported")] };
    let mut replayed = 0;
    for (is_dry, word) in passes.iter().copied() {
        let sent = send(&client, &balances, |balance| request(is_dry, balance), word).await;
        match sent.end {
            Some(error) => {
                if !is_dry {
                    show::problem(&format!(
                        "{} of {} imported; import the same file again: what is known counts once",
                        sent.done,
                        balances.len()
                    ));
                }
                return Ended::Failed(Failure::new(error, &args.to.admin));
            }
            None if !sent.problems.is_empty() => return refused(&sent.problems),
            None => replayed = sent.replayed,
        }
    }
    report(balances.len(), replayed, dry_run, args.to.json);
    Ended::Done
}

fn report(count: usize, replayed: usize, dry_run: bool, as_json: bool) {
    if as_json {
        show::json(&json!({ "balances": count, "known": replayed, "dry_run": dry_run }));
        return;
    }
    let word = if dry_run { "would be imported" } else { "imported" };
    let known = match replayed {
        0 => String::new(),
        known => format!("; {known} of them were known already"),
    };
    show::line(&format!("{count} opening balances {word}{known}"));
}

fn refused(problems: &[String]) -> Ended {
    for problem in problems.iter().take(PROBLEMS_SHOWN_MAX) {
        show::problem(problem);
    }
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    if more > 0 {
        show::problem(&format!("and {more} more"));
    }
    show::problem(&format!("{} problems", problems.len()));
    Ended::Refused
}

/// What became of the requests of a file.
#[derive(Debug, Default)]
struct Sent {
    /// What the sidecar refused, in the order of the file.
    problems: Vec<String>,
    /// How many it answered with yes.
    done: usize,
    /// How many of these it knew already.
    replayed: usize,
    /// The error that ended it early, because it is not about one line.
    end: Option<Error>,
}

/// Sends all of them, several at a time.
async fn send(
    client: &AdminClient,
    balances: &[Balance],
    request: impl Fn(&Balance) -> v1::PutOpeningBalanceRequest,
    word: &str,
) -> Sent {
    let mut waiting = JoinSet::new();
    let mut left = balances.iter();
    let (mut sent, mut problems) = (Sent::default(), Vec::new());
    let watched = std::io::stderr().is_terminal();
    let mut told_at = Instant::now();
    loop {
        while sent.end.is_none()
            && waiting.len() < IN_FLIGHT_MAX
            && let Some(balance) = left.next()
        {
            let (client, request, line) = (client.clone(), request(balance), balance.line);
            waiting.spawn(async move { (line, client.put_opening_balance(request).await) });
        }
        let Some(ended) = waiting.join_next().await else { break };
        // None of them is aborted, so one that did not end has panicked.
        let (line, answer) = ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        match answer {
            Ok(answer) => {
                sent.done += 1;
                sent.replayed += usize::from(answer.replayed);
            }
            Err(error @ Error::Rejected { .. }) if !error.is_transient() => {
                problems.push((line, format!("line {line}: {error}")));
            }
            // Those on their way are waited for: what is imported is counted.
            Err(error) => sent.end = sent.end.or(Some(error)),
        }
        if watched && told_at.elapsed() >= PROGRESS_EVERY {
            told_at = Instant::now();
            show::problem(&format!("{} of {} {word}", sent.done, balances.len()));
        }
    }
    problems.sort();
    sent.problems = problems.into_iter().map(|(_, problem)| problem).collect();
    sent
}

fn read(file: &Path) -> Result<String, Vec<String>> {
    let mut text = String::new();
    let done = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    match done {
        Ok(_) => Ok(text),
        Err(error) => Err(vec![format!("{}: {error}", file.display())]),
    }
}

/// Reads a file: JSON lines if it begins with a brace, else CSV.
pub(super) fn balances(text: &str) -> Result<Vec<Balance>, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Vec::new();
    let lines = text.lines().enumerate().map(|(place, line)| (place + 1, line));
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let mut found = Vec::new();
    if text.trim_start().starts_with('{') {
        for (line, text) in lines.by_ref().take(LINES_MAX) {
            note(from_json(text), line, &mut found, &mut problems);
        }
    } else if let Some((line, head)) = lines.next() {
        let columns = match columns(head) {
            Ok(columns) => columns,
            Err(problem) => return Err(vec![format!("line {line}: {problem}")]),
        };
        for (line, text) in lines.by_ref().take(LINES_MAX) {
            note(from_csv(&columns, text), line, &mut found, &mut problems);
        }
    }
    if lines.next().is_some() {
        problems.push(format!("the file has more than {LINES_MAX} lines: split it"));
    }
    let mut seen = HashMap::new();
    for balance in &found {
        let limit = (&balance.account, &balance.feature, &balance.limit);
        if let Some(first) = seen.insert(limit, balance.line) {
            problems.push(format!("line {}: the same limit as in line {first}", balance.line));
        }
    }
    if found.is_empty() && problems.is_empty() {
        problems.push("the file has no balances".to_owned());
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

type Fields = [Option<String>; COLUMNS.len()];

const COLUMNS: [&str; 5] = ["account", "feature", "limit", "used_units", "began_at"];

fn note(
    fields: Result<Fields, String>,
    line: usize,
    found: &mut Vec<Balance>,
    problems: &mut Vec<String>,
) {
    match fields.and_then(|fields| balance(line, fields)) {
        Ok(balance) => found.push(balance),
        Err(problem) => problems.push(format!("line {line}: {problem}")),
    }
}

fn balance(line: usize, fields: Fields) -> Result<Balance, String> {
    let [account, feature, limit, used_units, began_at] = fields;
    let some = |text: Option<String>, column: &str| {
        text.filter(|text| !text.is_empty()).ok_or_else(|| format!("`{column}` is missing"))
    };
    let said = |column: &'static str| move |problem: String| format!("`{column}`: {problem}");
    Ok(Balance {
        line,
        account: some(account, "account")?,
        feature: some(feature, "feature")?,
        limit: some(limit, "limit")?,
        used_units: units(&some(used_units, "used_units")?).map_err(said("used_units"))?,
        began_at: match began_at.filter(|text| !text.is_empty()) {
            Some(text) => Some(time(&text).map_err(said("began_at"))?),
            None => None,
        },
    })
}

fn from_json(text: &str) -> Result<Fields, String> {
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err("this is no JSON object".to_owned()),
        Err(error) => return Err(format!("this is not JSON ({error})")),
    };
    let mut fields = Fields::default();
    for (key, value) in object {
        let place = place_of(&key)?;
        fields[place] = match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Null => None,
            _ => return Err(format!("`{key}` must be a text or a number")),
        };
    }
    Ok(fields)
}

fn place_of(name: &str) -> Result<usize, String> {
    let place = COLUMNS.iter().position(|known| *known == name);
    place.ok_or_else(|| format!("unknown column `{name}`, there are {}", COLUMNS.join(", ")))
}

/// The places of a CSV's columns, by its first line.
fn columns(head: &str) -> Result<Vec<usize>, String> {
    let names = cells(head)?;
    let places: Vec<usize> =
        names.iter().map(|name| place_of(name.trim())).collect::<Result<_, _>>()?;
    for (place, name) in COLUMNS.iter().enumerate() {
        match places.iter().filter(|known| **known == place).count() {
            0 if *name != "began_at" => return Err(format!("there is no column `{name}`")),
            0 | 1 => {}
            _ => return Err(format!("the column `{name}` is there more than once")),
        }
    }
    Ok(places)
}

fn from_csv(columns: &[usize], text: &str) -> Result<Fields, String> {
    let cells = cells(text)?;
    if cells.len() != columns.len() {
        return Err(format!("{} values, but there are {} columns", cells.len(), columns.len()));
    }
    let mut fields = Fields::default();
    for (place, cell) in columns.iter().zip(cells) {
        fields[*place] = Some(cell);
    }
    Ok(fields)
}

/// The cells of one line of CSV. A cell in quotes may contain commas, and quotes twice; no line breaks,
/// which no id has.
fn cells(line: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (cell, more) = rest.split_once(',').map_or((rest, None), |(a, b)| (a, Some(b)));
            cells.push(cell.trim().to_owned());
            match more {
                Some(more) => rest = more,
                None => return Ok(cells),
            }
            continue;
        };
        let (cell, more) = unquoted(quoted).ok_or("a quote is not closed")?;
        cells.push(cell);
        match more.strip_prefix(',') {
            Some(more) => rest = more,
            None if more.is_empty() => return Ok(cells),
            None => return Err("something follows a closing quote".to_owned()),
        }
    }
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                rest = more;
            }
            None => return Some((cell, after)),
        }
    }
}
