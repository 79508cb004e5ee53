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
    let (balances, own) = match read(&file) {
        Ok(text) => balances(&text),
        Err(problem) => return refused(&[(None, problem)]),
    };
    if balances.is_empty() && !own.is_empty() {
        return refused(&own);
    }
    let client = match connect::admin(&args.to).await {
        Ok(client) => client,
        Err(failure) => return only_read(&own, failure),
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
            Some(error) if is_dry => return only_read(&own, Failure::new(error, &args.to.admin)),
            Some(error) => {
                show::problem(&format!(
                    "{} of {} imported; import the same file again: what is known counts once",
                    sent.done,
                    balances.len()
                ));
                return Ended::Failed(Failure::new(error, &args.to.admin));
            }
            None => replayed = sent.replayed,
        }
        // What the file itself says wrong and what the sidecar refuses are told together, line by line.
        let mut problems = [&own[..], &sent.problems].concat();
        if !problems.is_empty() {
            problems.sort();
            return refused(&problems);
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

/// A problem, and the line that it is with.
type Problem = (Option<usize>, String);

/// The problems of a file that could not be compared with a sidecar, and why.
fn only_read(own: &[Problem], failure: Failure) -> Ended {
    if !own.is_empty() {
        let _ = refused(own);
        show::problem("there may be more, which only the sidecar knows:");
    }
    Ended::Failed(failure)
}

fn refused(problems: &[Problem]) -> Ended {
    for (line, problem) in problems.iter().take(PROBLEMS_SHOWN_MAX) {
        show::problem(&match line {
            Some(line) => format!("line {line}: {problem}"),
            None => problem.clone(),
        });
    }
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    if more > 0 {
        show::problem(&format!("and {more} more"));
    }
    show::problem(&match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    });
    Ended::Refused
}

/// What became of the requests of a file.
#[derive(Debug, Default)]
struct Sent {
    /// What the sidecar refused.
    problems: Vec<Problem>,
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
    let mut sent = Sent::default();
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
                sent.problems.push((Some(line), error.to_string()));
            }
            // Those on their way are waited for: what is imported is counted.
            Err(error) => sent.end = sent.end.or(Some(error)),
        }
        if watched && told_at.elapsed() >= PROGRESS_EVERY {
            told_at = Instant::now();
            show::problem(&format!("{} of {} {word}", sent.done, balances.len()));
        }
    }
    sent
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let done = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    done.map(|_| text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Reads a file: JSON lines if it begins with a brace, else CSV. What could be read of it, and all that is
/// wrong with the rest.
pub(super) fn balances(text: &str) -> (Vec<Balance>, Vec<Problem>) {
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
            Err(said) => {
                let placed = said.into_iter().map(|problem| (Some(line), problem));
                return (found, placed.collect());
            }
        };
        for (line, text) in lines.by_ref().take(LINES_MAX) {
            note(from_csv(&columns, text), line, &mut found, &mut problems);
        }
    }
    if lines.next().is_some() {
        problems.push((None, format!("the file has more than {LINES_MAX} lines: split it")));
    }
    let mut seen = HashMap::new();
    for balance in &found {
        let limit = (&balance.account, &balance.feature, &balance.limit);
        if let Some(first) = seen.insert(limit, balance.line) {
            problems.push((Some(balance.line), format!("the same limit as in line {first}")));
        }
    }
    if found.is_empty() && problems.is_empty() {
        problems.push((None, "the file has no balances".to_owned()));
    }
    problems.sort();
    (found, problems)
}

type Fields = [Option<String>; COLUMNS.len()];

const COLUMNS: [&str; 5] = ["account", "feature", "limit", "used_units", "began_at"];

fn note(
    fields: Result<Fields, Vec<String>>,
    line: usize,
    found: &mut Vec<Balance>,
    problems: &mut Vec<Problem>,
) {
    match fields.and_then(|fields| balance(line, fields)) {
        Ok(balance) => found.push(balance),
        Err(said) => problems.extend(said.into_iter().map(|problem| (Some(line), problem))),
    }
}

/// One line, or all that is wrong with it.
fn balance(line: usize, fields: Fields) -> Result<Balance, Vec<String>> {
    let mut problems = Vec::new();
    let [account, feature, limit, used_units, began_at] =
        fields.map(|field| field.filter(|text| !text.is_empty()));
    let mut some = |text: Option<String>, column: &str| {
        if text.is_none() {
            problems.push(format!("`{column}` is missing"));
        }
        text
    };
    let (account, feature) = (some(account, "account"), some(feature, "feature"));
    let (limit, used_units) = (some(limit, "limit"), some(used_units, "used_units"));
    let mut said = |column: &str, problem: String| problems.push(format!("`{column}`: {problem}"));
    let used_units =
        used_units.map(|text| units(&text).map_err(|problem| said("used_units", problem)));
    let began_at = began_at.map(|text| time(&text).map_err(|problem| said("began_at", problem)));
    match (account, feature, limit, used_units, began_at.transpose()) {
        (Some(account), Some(feature), Some(limit), Some(Ok(used_units)), Ok(began_at)) => {
            Ok(Balance { line, account, feature, limit, used_units, began_at })
        }
        _ => Err(problems),
    }
}

fn from_json(text: &str) -> Result<Fields, Vec<String>> {
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(vec!["this is no JSON object".to_owned()]),
        Err(error) => return Err(vec![format!("this is not JSON ({error})")]),
    };
    let (mut fields, mut problems, mut has_unknown) = (Fields::default(), Vec::new(), false);
    for (key, value) in object {
        let place = place_of(&key).map_err(|problem| problems.push(problem));
        has_unknown |= place.is_err();
        let text = match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Null => None,
            _ => {
                problems.push(format!("`{key}` must be a text or a number"));
                // What is there is not missing.
                Some("0".to_owned())
            }
        };
        if let Ok(place) = place {
            fields[place] = text;
        }
    }
    match problems.is_empty() {
        true => Ok(fields),
        false => {
            // A column that is not known is perhaps meant to be the one that is missing.
            let others = balance(0, fields).err().filter(|_| !has_unknown);
            problems.extend(others.into_iter().flatten());
            Err(problems)
        }
    }
}

fn place_of(name: &str) -> Result<usize, String> {
    let place = COLUMNS.iter().position(|known| *known == name);
    place.ok_or_else(|| format!("unknown column `{name}`, there are {}", COLUMNS.join(", ")))
}

/// The places of a CSV's columns, by its first line.
fn columns(head: &str) -> Result<Vec<usize>, Vec<String>> {
    let names = cells(head).map_err(|problem| vec![problem])?;
    let (mut places, mut problems) = (Vec::new(), Vec::new());
    for name in &names {
        match place_of(name.trim()) {
            Ok(place) => places.push(place),
            Err(problem) => problems.push(problem),
        }
    }
    // One of those that are not known is perhaps meant to be the one that is missing.
    let has_unknown = !problems.is_empty();
    for (place, name) in COLUMNS.iter().enumerate() {
        match places.iter().filter(|known| **known == place).count() {
            0 if *name != "began_at" && !has_unknown => {
                problems.push(format!("there is no column `{name}`"));
            }
            0 | 1 => {}
            _ => problems.push(format!("the column `{name}` is there more than once")),
        }
    }
    if problems.is_empty() { Ok(places) } else { Err(problems) }
}

fn from_csv(columns: &[usize], text: &str) -> Result<Fields, Vec<String>> {
    let cells = cells(text).map_err(|problem| vec![problem])?;
    if cells.len() != columns.len() {
        let (values, columns) = (cells.len(), columns.len());
        return Err(vec![format!("{values} values, but there are {columns} columns")]);
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
