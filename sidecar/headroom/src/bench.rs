//! Commands for the load tests, not for people: they are not in the help.
//!
//! - `headroom baseline --listen ADDRESS.. [--workers N]` serves the empty service.
//! - `headroom bench-decide [--accounts N..]` times decisions in this process, next to bare lookups
//!   of the same keys in a map of the same kind, and prints one JSON line per size.

// Results go to standard output.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use dashmap::DashMap;
use headroom_core::catalog::{
    CatalogSpec, EntitlementSpec, FeatureKindSpec, FeatureSpec, LimitSpec, Offering, PlanLimitSpec,
    PlanSpec, Policy,
};
use headroom_core::decide::FeatureOp;
use headroom_core::time::Millis;
use headroom_core::window::{CalendarUnit, WindowRule};
use headroom_engine::engine::{Engine, FeatureRequest, Wants};
use headroom_engine::ports::{Seq, Store, StoreRefusal};
use headroom_engine::recovery::{EngineOptions, Recovery};

use crate::baseline;
use crate::serve::ListenAddr;

/// Operations timed at a stretch, before the other side has its turn.
const STRETCH: usize = 2_000;

#[derive(Debug, Parser)]
#[command(name = "headroom")]
enum Bench {
    /// Serve the empty service
    Baseline {
        /// Where
        #[arg(long, required = true)]
        listen: Vec<ListenAddr>,
        /// Threads
        #[arg(long)]
        workers: Option<NonZeroUsize>,
    },
    /// Time decisions in this process
    BenchDecide {
        /// Numbers of accounts
        #[arg(long, num_args = 1.., default_values_t = [1_000, 1_000_000])]
        accounts: Vec<usize>,
        /// Decisions per size
        #[arg(long, default_value_t = 400_000)]
        decisions: usize,
    },
}

/// Runs one of these commands if the command line names one.
pub fn run_if_asked() -> Option<ExitCode> {
    let named = std::env::args().nth(1)?;
    if named != "baseline" && named != "bench-decide" {
        return None;
    }
    let done = match Bench::parse() {
        Bench::Baseline { listen, workers } => {
            let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            baseline::run(&listen, workers.unwrap_or(cores)).map_err(|e| e.to_string())
        }
        Bench::BenchDecide { accounts, decisions } => {
            accounts.iter().try_for_each(|count| bench_decide(*count, decisions))
        }
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Numbers records and throws them away: the journal is measured elsewhere.
struct NullStore(AtomicU64);

impl Store for NullStore {
    fn room(&self) -> Result<(), StoreRefusal> {
        Ok(())
    }

    fn append(&self, record: &[u8], _: bool) -> Seq {
        black_box(record);
        Seq(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

fn bench_decide(accounts: usize, decisions: usize) -> Result<(), String> {
    let now = Millis(1_767_225_600_000);
    let engine = engine(now)?;
    let ids: Vec<String> = (0..accounts).map(account_id).collect();
    let map: DashMap<Arc<str>, Box<u64>, foldhash::quality::RandomState> =
        DashMap::with_capacity_and_hasher_and_shard_amount(0, Default::default(), 128);
    for id in &ids {
        map.insert(id.as_str().into(), Box::new(0));
        consume(&engine, id, "fill", now)?;
    }
    let mut order = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut map_time, mut decide_time) = (Duration::ZERO, Duration::ZERO);
    let mut done = 0;
    while done < decisions {
        let picked: Vec<usize> = (0..STRETCH).map(|_| next(&mut order, accounts)).collect();
        let keys: Vec<String> = (0..STRETCH).map(|n| format!("key-{}", done + n)).collect();
        let began = Instant::now();
        for place in &picked {
            if let Some(mut value) = map.get_mut(ids[*place].as_str()) {
                **value += 1;
            }
        }
        map_time += began.elapsed();
        // Other accounts, so that neither side finds in the cache what the other brought there.
        let picked: Vec<usize> = (0..STRETCH).map(|_| next(&mut order, accounts)).collect();
        let began = Instant::now();
        for (place, key) in picked.iter().zip(&keys) {
            consume(&engine, &ids[*place], key, now)?;
        }
        decide_time += began.elapsed();
        done += STRETCH;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e9 / done as f64;
    let line = serde_json::json!({
        "accounts": accounts,
        "decisions": done,
        "map_ns": each(map_time),
        "decide_ns": each(decide_time),
    });
    println!("{line}");
    Ok(())
}

/// One decision and nothing else, by itself so that `load-tests/instructions.sh` can count it by its name.
#[inline(never)]
fn consume(engine: &Engine, account: &str, key: &str, now: Millis) -> Result<(), String> {
    let request = FeatureRequest {
        account,
        feature: "tokens",
        op: FeatureOp::Consume { units: 1 },
        synthetic: false,
        dimensions: Default::default(),
        key,
        now,
        wants: Wants::default(),
        subject: None,
    };
    let reply = engine.feature(&engine.catalog(), &request).map_err(|e| e.to_string())?;
    black_box(reply);
    Ok(())
}

/// 36 characters, as a UUID has.
fn account_id(number: usize) -> String {
    let mut state = number as u64;
    let (a, b) = (splitmix(&mut state), splitmix(&mut state));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

fn next(state: &mut u64, bound: usize) -> usize {
    usize::try_from(splitmix(state) % bound.max(1) as u64).unwrap_or_default()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn engine(now: Millis) -> Result<Engine, String> {
    let limit = "monthly".to_owned();
    let spec = CatalogSpec {
        features: vec![FeatureSpec {
            feature: "tokens".to_owned(),
            name: "Tokens".to_owned(),
            unit: "tokens".to_owned(),
            scale: 0,
            shadow: false,
            counting: Default::default(),
            kind: FeatureKindSpec::Quota {
                limits: vec![LimitSpec {
                    limit: limit.clone(),
                    window: WindowRule::Calendar(CalendarUnit::Month),
                    per: None,
                }],
            },
            offering: Offering::default(),
        }],
        plans: vec![PlanSpec {
            plan: "free".to_owned(),
            version: 1,
            name: "Free".to_owned(),
            price: None,
            entitlements: vec![(
                "tokens".to_owned(),
                EntitlementSpec::Quota {
                    limits: vec![PlanLimitSpec {
                        limit,
                        included_units: Some(1 << 40),
                        soft_limits_bp: vec![8_000],
                        policy: Policy::Block,
                        terms: Default::default(),
                    }],
                },
            )],
        }],
        default_plan: Some("free".to_owned()),
        ..CatalogSpec::default()
    };
    let keys_max = headroom_engine::limits::KEYS_MAX_DEFAULT;
    let key_horizon_ms = headroom_engine::limits::KEY_HORIZON_MS_DEFAULT;
    let options = EngineOptions {
        store: Arc::new(NullStore(AtomicU64::new(0))),
        secret: *b"bench-decide key",
        boot: 1,
        key_horizon_ms,
        keys_max,
    };
    let recovery = Recovery::new(key_horizon_ms, keys_max);
    let finished = recovery.finish(spec, "bench", now, options);
    finished.map(|(engine, _)| engine).map_err(|problems| format!("{problems:?}"))
}
