//! Memory per ledger and per idempotency key, and the cold start of the server that was filled.
//!
//! Every write brings a key, so keys and ledgers grow together. A second fill of the same accounts
//! adds keys alone; what it costs per key is taken off the first.

use super::Bench;
use crate::error::Error;
use crate::files;
use crate::ids;
use crate::limits::{
    EXTRA_KEYS_PER_ACCOUNT, LEDGERS_PER_ACCOUNT, LOOK_AGAIN, MEMORY_LOOK_PAUSE, READY_WITHIN,
};
use crate::load::{block_on, connect, fill};
use crate::report::MemoryResult;
use crate::sidecar::{Launch, Running};
use headroom_proto::v1::entitlement_service_client::EntitlementServiceClient;
use headroom_proto::v1::{CheckRequest, CheckResponse, GetStatusResponse, Include};
use headroom_sdk::AdminClient;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Fills a server, looks at its memory, and restarts it; several times, because how much an allocator
/// has kept back at the moment of a look differs by a tenth.
pub(super) fn run(bench: &Bench<'_>) -> Result<MemoryResult, Error> {
    let rounds = bench.options.sizes().memory_rounds;
    let mut results = Vec::new();
    for round in 1..=rounds {
        eprintln!("memory: server {round} of {rounds}");
        let dir = bench.dir.join(format!("memory-{round}"));
        results.push(one_server(bench, &dir)?);
        fs::remove_dir_all(&dir).map_err(Error::io("a data directory cannot be removed"))?;
    }
    Ok(medians(&results))
}

/// The median of each figure.
fn medians(results: &[MemoryResult]) -> MemoryResult {
    fn middle<T: PartialOrd + Copy>(
        results: &[MemoryResult],
        figure: impl Fn(&MemoryResult) -> T,
    ) -> T {
        let mut all: Vec<T> = results.iter().map(figure).collect();
        all.sort_by(|a, b| a.partial_cmp(b).expect("figures are numbers"));
        all[all.len() / 2]
    }
    MemoryResult {
        accounts: middle(results, |one| one.accounts),
        ledgers: middle(results, |one| one.ledgers),
        keys_filled: middle(results, |one| one.keys_filled),
        keys_extra: middle(results, |one| one.keys_extra),
        empty_bytes: middle(results, |one| one.empty_bytes),
        filled_bytes: middle(results, |one| one.filled_bytes),
        keyed_bytes: middle(results, |one| one.keyed_bytes),
        bytes_per_key: middle(results, |one| one.bytes_per_key),
        bytes_per_ledger_with_keys: middle(results, |one| one.bytes_per_ledger_with_keys),
        bytes_per_ledger: middle(results, |one| one.bytes_per_ledger),
        cold_start_seconds: middle(results, |one| one.cold_start_seconds),
        after_crash_seconds: middle(results, |one| one.after_crash_seconds),
    }
}

fn one_server(bench: &Bench<'_>, dir: &Path) -> Result<MemoryResult, Error> {
    let sizes = bench.options.sizes();
    let accounts = sizes.memory_accounts;
    let catalog = files::four_ledgers();
    let launch = Launch::headroom(&bench.program, dir, &bench.cores, &catalog)?;
    // Its size is set and not a ledger's: it would fill up while ledgers are made.
    launch.set("recent_decisions_bytes: 0B")?;
    let running = launch.start_ready()?;
    let empty_bytes = resident(&running, sizes.memory_looks)?;

    eprintln!("filling {} ledgers", accounts * LEDGERS_PER_ACCOUNT);
    block_on(fill(&running.unix, 0..accounts))?;
    let filled = status_when_full(&running, accounts)?;
    let filled_bytes = resident(&running, sizes.memory_looks)?;

    eprintln!("adding {} idempotency keys", accounts * EXTRA_KEYS_PER_ACCOUNT);
    for _ in 0..EXTRA_KEYS_PER_ACCOUNT {
        block_on(fill(&running.unix, 0..accounts))?;
    }
    let keyed = status_when_full(&running, accounts)?;
    let keyed_bytes = resident(&running, sizes.memory_looks)?;

    eprintln!("restarting after a crash, then after an orderly end");
    running.process.crash()?;
    let (running, after_crash) = first_right_answer(&launch, accounts)?;
    status_when_full(&running, accounts)?;
    running.process.stop()?;
    let (running, cold_start) = first_right_answer(&launch, accounts)?;
    status_when_full(&running, accounts)?;
    running.process.stop()?;

    let grown = |to: u64, from: u64| to as f64 - from as f64;
    let new_keys = keyed.idempotency_keys - filled.idempotency_keys;
    let bytes_per_key =
        if new_keys > 0 { grown(keyed_bytes, filled_bytes) / new_keys as f64 } else { 0.0 };
    let bytes_with_keys = grown(filled_bytes, empty_bytes);
    let bytes_of_keys = bytes_per_key * filled.idempotency_keys as f64;
    Ok(MemoryResult {
        accounts,
        ledgers: filled.ledgers,
        keys_filled: filled.idempotency_keys,
        keys_extra: new_keys,
        empty_bytes,
        filled_bytes,
        keyed_bytes,
        bytes_per_key,
        bytes_per_ledger_with_keys: bytes_with_keys / filled.ledgers as f64,
        bytes_per_ledger: (bytes_with_keys - bytes_of_keys) / filled.ledgers as f64,
        cold_start_seconds: cold_start.as_secs_f64(),
        after_crash_seconds: after_crash.as_secs_f64(),
    })
}

/// The median of a few looks at the resident memory, over about two seconds.
fn resident(running: &Running, count: usize) -> Result<u64, Error> {
    let mut looks = Vec::with_capacity(count);
    for _ in 0..count {
        looks.push(running.process.resident_bytes()?);
        std::thread::sleep(MEMORY_LOOK_PAUSE);
    }
    looks.sort_unstable();
    Ok(looks[count / 2])
}

/// How the sidecar is; an error when it does not have every ledger that was made.
fn status_when_full(running: &Running, accounts: usize) -> Result<GetStatusResponse, Error> {
    let admin = running.admin.as_deref().expect("Headroom has an admin listener");
    let status = block_on(async {
        let admin = AdminClient::connect(admin).await.map_err(Error::call("connecting"))?;
        admin.get_status().await.map_err(Error::call("GetStatus"))
    })?;
    let expected = accounts * LEDGERS_PER_ACCOUNT;
    if usize::try_from(status.ledgers) != Ok(expected) {
        let found = status.ledgers;
        return Err(Error::WrongAnswer(format!("{found} ledgers are live, {expected} were made")));
    }
    Ok(status)
}

/// Starts the server and asks until it answers with everything that was recorded. The time runs
/// from the start of the process.
fn first_right_answer(launch: &Launch, accounts: usize) -> Result<(Running, Duration), Error> {
    let last_account = ids::account(accounts - 1);
    let started = Instant::now();
    let mut running = launch.start()?;
    block_on(async {
        let mut client = loop {
            match connect(&running.unix).await {
                Ok(channel) => break EntitlementServiceClient::new(channel),
                Err(_) => wait(&mut running, started).await?,
            }
        };
        loop {
            match used_units(&mut client, &last_account).await {
                Some(units) if units == 1 + EXTRA_KEYS_PER_ACCOUNT as i64 => break,
                // It may say nothing or refuse while it reads; a wrong count is a fault.
                Some(units) => {
                    let problem = format!("{units} units are used after a restart");
                    return Err(Error::WrongAnswer(problem));
                }
                None => wait(&mut running, started).await?,
            }
        }
        Ok(())
    })?;
    Ok((running, started.elapsed()))
}

/// Gives the server another moment, if it is alive and has not had too many.
async fn wait(running: &mut Running, started: Instant) -> Result<(), Error> {
    running.process.check_alive()?;
    if READY_WITHIN < started.elapsed() {
        return Err(Error::TooSlow { what: "a right answer", within: READY_WITHIN });
    }
    tokio::time::sleep(LOOK_AGAIN).await;
    Ok(())
}

/// What an account used in its longest window. None: no answer yet.
async fn used_units(client: &mut EntitlementServiceClient<Channel>, account: &str) -> Option<i64> {
    let request = CheckRequest {
        account: account.to_owned(),
        feature: files::FEATURE.to_owned(),
        include: Some(Include { all_limits: true, ..Include::default() }),
        ..CheckRequest::default()
    };
    let response: CheckResponse = client.check(request).await.ok()?.into_inner();
    let decision = response.decision?;
    let mut limits = decision.binding.iter().chain(&decision.other_limits);
    limits.find(|limit| limit.limit == files::LONGEST_LIMIT).map(|limit| limit.used_units)
}
