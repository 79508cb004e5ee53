//! kill -9 at random instants under load: what was acknowledged is there, once, and nothing else.
//!
//! `HEADROOM_KILLS` says how often (100), `HEADROOM_SEED` repeats what was chosen; the instants
//! themselves are the machine's.

mod book;
mod compare;
mod gentle;
mod load;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::ask;
use crate::support::home::Home;
use crate::support::rng::{Rng, seed};
use crate::support::sidecar::Sidecar;
use book::{Fate, Kind, Write};
use compare::{Ledgers, book, compare, replays};
use load::{Author, Diary};
use signals::TIGHT_UNITS;

const KILLS_DEFAULT: u64 = 100;

/// Segments after a start, at most: four checkpoints' worth of one segment each are caught up with
/// before it answers, and some are there to be written. Without that a run of short lives only grows.
const SEGMENTS_MAX: usize = 8;

/// Accounts that are used in every round; others come and go.
const LASTING: u64 = 2;

struct Run {
    rng: Rng,
    home: Home,
    round: u64,
    startup: Duration,
    /// Every ledger, exactly: each round ends with nothing unknown.
    ledgers: Ledgers,
    /// Every acknowledged write of the run.
    acked: Diary,
    denied: u64,
    unknown: u64,
    survived: u64,
    kills: BTreeMap<&'static str, u64>,
    checkpoints_cut: u64,
}

fn kills() -> u64 {
    let given = std::env::var("HEADROOM_KILLS");
    given.map_or(KILLS_DEFAULT, |text| text.parse().expect("HEADROOM_KILLS is a number"))
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_exactly_once() {
    play(kills(), "durability: written\n").await;
}

#[tokio::test]
async fn so_does_what_is_fsynced_before_it_is_acknowledged() {
    play(kills() / 10, "durability: fsynced\n").await;
}

async fn play(kills: u64, settings: &str) {
    let began = Instant::now();
    let mut run = Run::new(seed(), settings);
    while run.kills.values().sum::<u64>() < kills {
        run.round().await;
    }
    run.finish().await;
    let Run { round, denied, unknown, survived, kills, acked, checkpoints_cut, .. } = run;
    println!(
        "{round} rounds in {:.0?}, killed {kills:?}, {checkpoints_cut} in the middle of a \
         checkpoint: {} acknowledged, {denied} denied, {survived} of {unknown} unknown were counted",
        began.elapsed(),
        acked.len(),
    );
    assert!(acked.len() as u64 > 10 * round, "hardly any load");
    assert!(unknown > round / 2, "the kills came when nothing was under way");
}

impl Run {
    fn new(seed: u64, settings: &str) -> Run {
        Run {
            rng: Rng::new(seed),
            home: Home::with_settings(&signals::catalog(), settings),
            round: 0,
            startup: Duration::from_millis(100),
            ledgers: Ledgers::new(),
            acked: Diary::new(),
            denied: 0,
            unknown: 0,
            survived: 0,
            kills: BTreeMap::new(),
            checkpoints_cut: 0,
        }
    }

    /// Load, a kill, a restart, and the comparison.
    async fn round(&mut self) {
        self.round += 1;
        let mut sidecar = self.start();
        let (tight, fresh) = (format!("tight-{}", self.round), format!("fresh-{}", self.round));
        let mut accounts: Vec<String> = (0..LASTING).map(|n| format!("lasting-{n}")).collect();
        accounts.push(fresh);
        ask::subscribe(&mut ask::admin(&self.home).await, &tight, "tight").await;

        let diary = self.load_and_kill(&mut sidecar, &accounts, &tight).await;
        drop(sidecar);

        let _sidecar = self.start();
        let mut client = ask::entitlements(&self.home).await;
        self.settle(&mut client, diary).await;
        self.is_refused_above(&mut client, &tight).await;
    }

    /// Starts the sidecar, sometimes after it was killed while starting.
    fn start(&mut self) -> Sidecar {
        while self.rng.chance(15) {
            let mut sidecar = self.home.spawn();
            let micros = u64::try_from(self.startup.as_micros()).expect("short");
            // Not waiting for anything: this is the instant of the kill.
            std::thread::sleep(Duration::from_micros(self.rng.below(micros + 1)));
            sidecar.kill();
            self.killed("while starting");
        }
        let began = Instant::now();
        let sidecar = self.home.start();
        self.startup = began.elapsed();
        let segments = self.segments();
        assert!(segments <= SEGMENTS_MAX, "{segments} segments: no checkpoint comes to its end");
        sidecar
    }

    fn segments(&self) -> usize {
        let files = std::fs::read_dir(self.home.data().join("journal")).expect("the journal");
        files.flatten().filter(|f| f.path().extension().is_some_and(|end| end == "seg")).count()
    }

    fn killed(&mut self, when: &'static str) {
        *self.kills.entry(when).or_default() += 1;
    }

    async fn load_and_kill(
        &mut self,
        sidecar: &mut Sidecar,
        accounts: &[String],
        tight: &str,
    ) -> Diary {
        let micros = self.rng.below(60_000);
        let when = match self.rng.below(100) {
            0..8 => "around a checkpoint",
            8..25 => "while draining",
            _ => "under load",
        };
        let mut micros_under_load = micros;
        if when == "around a checkpoint" {
            // The sidecar looks once a second whether a checkpoint is due, and it is.
            tokio::time::sleep(Duration::from_millis(850)).await;
            micros_under_load = 80_000 + micros * 2;
        }
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..4 {
            let channel = ask::channel(&self.home.endpoint()).await;
            let name = format!("{}-{number}", self.round);
            let author = Author::new(self.rng.split(), name, accounts, tight);
            if number < 2 {
                clients.spawn(load::unary(channel, author));
            } else {
                clients.spawn(load::stream(channel, author));
            }
        }
        // Not waiting for anything: this is the instant of the kill.
        tokio::time::sleep(Duration::from_micros(micros_under_load)).await;
        if when == "while draining" {
            sidecar.signal(Signal::TERM);
            tokio::time::sleep(Duration::from_micros(self.rng.below(40_000))).await;
        }
        sidecar.kill();
        self.killed(when);
        self.checkpoints_cut += u64::from(has_half_a_snapshot(&self.home));
        clients.join_all().await.into_iter().flatten().collect()
    }

    /// The counters against the book: first within what is unknown, then, after every unknown write
    /// was sent again, exactly.
    async fn settle(&mut self, client: &mut ask::Entitlements, diary: Diary) {
        let mut ledgers = self.ledgers.clone();
        for (write, fate) in &diary {
            book(&mut ledgers, write, fate);
        }
        compare(client, &ledgers, &diary, &format!("round {}, after the restart", self.round))
            .await;

        let mut settled = Diary::new();
        let (unknown, known): (Diary, Diary) =
            diary.into_iter().partition(|(_, fate)| *fate == Fate::Unknown);
        self.unknown += unknown.len() as u64;
        settled.extend(known);
        let writes: Vec<&Write> = unknown.iter().map(|(write, _)| write).collect();
        let fates = load::retry(client, &writes).await;
        let is_replayed = |fate: &&Fate| matches!(fate, Fate::Acked(receipt) if receipt.replayed);
        self.survived += fates.iter().filter(is_replayed).count() as u64;
        settled.extend(unknown.into_iter().map(|(write, _)| write).zip(fates));
        for (write, fate) in &settled {
            book(&mut self.ledgers, write, fate);
        }
        let when = format!("round {}, after the retries", self.round);
        compare(client, &self.ledgers, &settled, &when).await;

        let is_denied = |(_, fate): &&(Write, Fate)| *fate == Fate::Denied;
        self.denied += settled.iter().filter(is_denied).count() as u64;
        settled.retain(|(_, fate)| matches!(fate, Fate::Acked(_)));
        replays(client, &settled).await;
        let when = format!("round {}, after replaying all", self.round);
        compare(client, &self.ledgers, &settled, &when).await;
        self.acked.extend(settled);
    }

    /// Raises the signal of a refusal, whose record nobody waits for, so a kill may have taken it.
    async fn is_refused_above(&self, client: &mut ask::Entitlements, tight: &str) {
        let key = format!("above-{}", self.round);
        let decision = ask::consumed(client, tight, "slots", TIGHT_UNITS + 1, &key).await;
        assert!(!decision.allowed, "{decision:?}");
    }

    /// All of the run once more, and what the business was told.
    async fn finish(&mut self) {
        let sidecar = self.home.start();
        let mut client = ask::entitlements(&self.home).await;
        replays(&mut client, &self.acked).await;
        let mut ids = BTreeSet::new();
        for (write, fate) in &self.acked {
            let Fate::Acked(receipt) = fate else { continue };
            assert!(ids.insert(&receipt.decision_id), "one receipt for two writes: {write:?}");
            let is_reserve = matches!(write.kind, Kind::Reserve);
            assert!(!is_reserve || ids.insert(&receipt.reservation_id), "{write:?}");
        }
        compare(&mut client, &self.ledgers, &self.acked, "at the end").await;
        for round in 1..=self.round {
            let key = format!("above-{round}");
            let tight = format!("tight-{round}");
            let above = TIGHT_UNITS + 1;
            let decision = ask::consumed(&mut client, &tight, "slots", above, &key).await;
            assert!(!decision.allowed, "{decision:?}");
        }
        drop(client);
        sidecar.stop().await;
        self.compare_signals().await;
    }

    async fn compare_signals(&self) {
        let sidecar = self.home.start();
        let status = ask::status(&mut ask::admin(&self.home).await).await;
        let told = signals::told(&self.home.data().join("signals.ndjson"));
        assert_eq!((status.signals_pending, status.ledgers_halted), (0, 0));
        assert_eq!(told.signals as i64, status.signals_emitted);
        let mut expected = BTreeMap::new();
        for ((account, feature), ledger) in &self.ledgers {
            let is_refused = *feature == "slots";
            for mark in signals::expected(account, feature, ledger.used.least, is_refused) {
                expected.insert(mark, 1);
            }
        }
        for round in 1..=self.round {
            // Also where no unit was used.
            expected.insert((format!("tight-{round}"), "slots".to_owned(), signals::HIT), 1);
        }
        let missing: Vec<_> =
            expected.iter().filter(|(k, _)| !told.marks.contains_key(*k)).collect();
        assert!(missing.is_empty(), "nobody was told of {missing:?}");
        assert_eq!(told.marks, expected);
        println!("{} signals for {} thresholds", told.signals, expected.len());
        sidecar.stop().await;
    }
}

/// Whether the last process was killed while it wrote a snapshot.
fn has_half_a_snapshot(home: &Home) -> bool {
    let files = std::fs::read_dir(home.data().join("snapshot")).into_iter().flatten();
    files.flatten().any(|file| file.path().extension().is_some_and(|end| end == "tmp"))
}
