//! The server's own settings: `headroom.yaml`, flags and environment, made into one [`Config`].

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headroom_engine::limits::{KEYS_MAX_DEFAULT, RESTATE_MS_DEFAULT};
use headroom_store::Durability;
use headroom_store::limits::SEGMENT_BYTES_DEFAULT;

use super::listeners;
use super::problems::{Place, Problem, Problems};
use super::reader::{Entry, Reader};
use super::yaml::{self, Node};
use crate::serve::ListenAddr;
use crate::telemetry::{LogFormat, LogOptions};

/// In the working directory, so that a first try needs no rights.
const DEFAULT_DATA_DIR: &str = "headroom-data";

/// An answer survives the death of the process; a power cut may take the last second. That costs no
/// disk flush per batch, and most products would rather lose a second of counts than wait for one.
const DEFAULT_DURABILITY: Durability = Durability::Written;

/// A retry a day later is still recognised: longer than any client retries, and shorter than the
/// memory of [`KEYS_MAX_DEFAULT`] lasts at 46 writes a second.
const DEFAULT_HORIZON: Duration = Duration::from_secs(24 * 60 * 60);

/// A month that has just ended can be put right. The disk keeps the key of each late event as long.
const DEFAULT_RESTATE_FOR: Duration = Duration::from_millis(RESTATE_MS_DEFAULT.unsigned_abs());

/// Shorter than the 30 s that Kubernetes gives a pod to end, longer than any answer takes.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How much work a start has to do again: ten minutes of records are replayed in seconds.
const DEFAULT_CHECKPOINT_EVERY: Duration = Duration::from_secs(10 * 60);

/// A checkpoint comes earlier after this much journal, so that a busy sidecar starts as fast.
const DEFAULT_CHECKPOINT_JOURNAL_BYTES: u64 = 256 * 1024 * 1024;

/// Some 40,000 decisions of each worker, half of them refusals and the like.
const DEFAULT_RECENT_DECISIONS_BYTES: u64 = 8 * 1024 * 1024;

/// Workers. Each is a thread with a runtime of its own; more than the largest machines have cores
/// are refused.
const WORKERS_MAX: u64 = 1_024;

/// The clock that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockKind {
    /// The machine's.
    System,
    /// One that only `headroom clock` moves. A data directory remembers that it has one.
    Test,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// How log lines look.
    pub format: LogFormat,
    /// The least important level that is logged.
    pub level: tracing::Level,
}

impl LogConfig {
    /// As the log wants it.
    pub fn options(&self) -> LogOptions {
        LogOptions { filter: self.level.to_string().to_lowercase(), format: self.format }
    }
}

/// How long idempotency keys are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyConfig {
    /// At most so long.
    pub horizon: Duration,
    /// At most so many.
    pub entries_max: NonZeroUsize,
}

/// When the memory is written as a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// At least so often.
    pub every: Duration,
    /// Also after so many bytes of journal.
    pub journal_bytes: u64,
}

/// Everything a sidecar is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where requests are answered: 1 to 16, all different.
    pub listen: Vec<ListenAddr>,
    /// Where accounts are managed: loopback or a Unix socket.
    pub admin: ListenAddr,
    /// Where CloudEvents come in: loopback or a Unix socket. `None`: nowhere.
    pub events: Option<ListenAddr>,
    /// The directory of all durable state.
    pub data_dir: PathBuf,
    /// The catalog file.
    pub catalog: PathBuf,
    /// When a write is answered.
    pub durability: Durability,
    /// Threads that answer requests.
    pub workers: NonZeroUsize,
    /// The clock that decides.
    pub clock: ClockKind,
    /// What is logged.
    pub log: LogConfig,
    /// How long keys are remembered.
    pub idempotency: IdempotencyConfig,
    /// How far back windows can be restated by late events and corrections.
    pub restate_for: Duration,
    /// How long a shutdown waits for open requests.
    pub drain_timeout: Duration,
    /// When snapshots are made.
    pub checkpoint: CheckpointConfig,
    /// Bytes of one journal segment.
    pub segment_bytes: u64,
    /// Bytes of recent decisions that each worker keeps to explain them; 0 for none.
    pub recent_decisions_bytes: u64,
}

/// What flags and the environment say; they win over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces all of `listen`; empty: as in the file.
    pub listen: Vec<ListenAddr>,
    /// Replaces `admin`.
    pub admin: Option<ListenAddr>,
    /// Replaces `events`.
    pub events: Option<ListenAddr>,
    /// Replaces `data_dir`.
    pub data_dir: Option<PathBuf>,
    /// Replaces `catalog`.
    pub catalog: Option<PathBuf>,
    /// Replaces `clock`.
    pub clock: Option<ClockKind>,
}

/// What the file says, each value readable but none compared with the others. `None`: not there.
#[derive(Debug, Default)]
struct Raw {
    listen: Option<Vec<(ListenAddr, Place)>>,
    admin: Option<(ListenAddr, Place)>,
    events: Option<(ListenAddr, Place)>,
    data_dir: Option<PathBuf>,
    catalog: Option<PathBuf>,
    durability: Option<Durability>,
    workers: Option<NonZeroUsize>,
    clock: Option<ClockKind>,
    log_format: Option<LogFormat>,
    log_level: Option<tracing::Level>,
    horizon: Option<Duration>,
    keys_max: Option<NonZeroUsize>,
    restate_for: Option<Duration>,
    drain_timeout: Option<Duration>,
    checkpoint_every: Option<Duration>,
    checkpoint_journal_bytes: Option<(u64, Place)>,
    segment_bytes: Option<u64>,
    recent_decisions_bytes: Option<u64>,
}

/// The settings of a file and of `overrides`. Without a file, defaults and overrides alone.
pub fn load(path: Option<&Path>, overrides: Overrides) -> Result<Config, Problems> {
    let Some(path) = path else {
        return Raw::default()
            .validate(Path::new(""), overrides)
            .map_err(|problems| Problems::new("headroom serve", "", problems));
    };
    let file = path.display().to_string();
    let bytes =
        super::read_file(path).map_err(|problem| Problems::new(&file, "", vec![problem]))?;
    let base = path.parent().unwrap_or(Path::new(""));
    parse(&file, &bytes, base, overrides)
}

/// Reads and checks settings. Paths in them are relative to `base`; `file` is for messages.
pub fn parse(
    file: &str,
    bytes: &[u8],
    base: &Path,
    overrides: Overrides,
) -> Result<Config, Problems> {
    let source = yaml::decode(bytes).map_err(|problem| Problems::new(file, "", vec![problem]))?;
    let reader = Reader::default();
    let mut syntax = Vec::new();
    let root = yaml::parse(source, &mut syntax);
    syntax.into_iter().for_each(|problem| reader.note(problem));
    let raw = root.and_then(|root| Raw::read(&reader, &root)).unwrap_or_default();
    let has_catalog = raw.catalog.is_some() || overrides.catalog.is_some();
    let mut problems = reader.into_problems();
    match raw.validate(base, overrides) {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(Problems::new(file, source, problems)),
        Err(more) => {
            // A catalog whose line could not be read is not missing.
            let is_new =
                |problem: &Problem| problem.place.is_some() || has_catalog || problems.is_empty();
            let more: Vec<Problem> = more.into_iter().filter(is_new).collect();
            problems.extend(more);
            Err(Problems::new(file, source, problems))
        }
    }
}

impl Raw {
    fn read(reader: &Reader, root: &Node) -> Option<Raw> {
        let entry = Entry { name: "the file", owner: Place::START, node: root };
        let mut fields = reader.fields(entry, "a mapping of settings")?;
        let mut raw = Raw::default();
        let path = |entry| reader.text(entry).map(PathBuf::from);
        raw.listen = fields.optional("listen").and_then(|entry| listeners::read_all(reader, entry));
        raw.admin = fields.optional("admin").and_then(|entry| listeners::read(reader, entry));
        raw.events = fields.optional("events").and_then(|entry| listeners::read(reader, entry));
        raw.data_dir = fields.optional("data_dir").and_then(path);
        raw.catalog = fields.optional("catalog").and_then(path);
        let words = [("written", Durability::Written), ("fsynced", Durability::Fsynced)];
        raw.durability = fields.optional("durability").and_then(|entry| reader.word(entry, &words));
        raw.workers = fields
            .optional("workers")
            .and_then(|entry| count(reader.whole_number(entry, 1..=WORKERS_MAX)?));
        let words = [("system", ClockKind::System), ("test", ClockKind::Test)];
        raw.clock = fields.optional("clock").and_then(|entry| reader.word(entry, &words));
        if let Some(entry) = fields.optional("log") {
            raw.read_log(reader, entry);
        }
        if let Some(entry) = fields.optional("idempotency") {
            raw.read_idempotency(reader, entry);
        }
        raw.restate_for =
            fields.optional("restate_for").and_then(|entry| reader.duration(entry, "1h", "400d"));
        raw.drain_timeout = fields
            .optional("drain_timeout")
            .and_then(|entry| reader.duration(entry, "1s", "10min"));
        if let Some(entry) = fields.optional("checkpoint") {
            raw.read_checkpoint(reader, entry);
        }
        raw.segment_bytes = fields
            .optional("segment_bytes")
            .and_then(|entry| reader.size_bytes(entry, "1MiB", "1GiB"));
        raw.recent_decisions_bytes = fields
            .optional("recent_decisions_bytes")
            .and_then(|entry| reader.size_bytes(entry, "0B", "1GiB"));
        fields.end();
        Some(raw)
    }

    fn read_log(&mut self, reader: &Reader, entry: Entry<'_>) {
        let Some(mut fields) = reader.fields(entry, "a mapping with `format` and `level`") else {
            return;
        };
        let formats =
            [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        let levels = [
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ];
        self.log_format = fields.optional("format").and_then(|entry| reader.word(entry, &formats));
        self.log_level = fields.optional("level").and_then(|entry| reader.word(entry, &levels));
        fields.end();
    }

    fn read_idempotency(&mut self, reader: &Reader, entry: Entry<'_>) {
        let what = "a mapping with `horizon` and `entries_max`";
        let Some(mut fields) = reader.fields(entry, what) else { return };
        self.horizon =
            fields.optional("horizon").and_then(|entry| reader.duration(entry, "1min", "30d"));
        self.keys_max = fields
            .optional("entries_max")
            .and_then(|entry| count(reader.whole_number(entry, 1_000..=100_000_000)?));
        fields.end();
    }

    fn read_checkpoint(&mut self, reader: &Reader, entry: Entry<'_>) {
        let what = "a mapping with `every` and `journal_bytes`";
        let Some(mut fields) = reader.fields(entry, what) else { return };
        self.checkpoint_every =
            fields.optional("every").and_then(|entry| reader.duration(entry, "10s", "24h"));
        self.checkpoint_journal_bytes = fields
            .optional("journal_bytes")
            .and_then(|entry| Some((reader.size_bytes(entry, "1MiB", "1TiB")?, entry.place())));
        fields.end();
    }

    /// Checks every value against the others, and fills in the defaults.
    fn validate(self, base: &Path, overrides: Overrides) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let listen = listeners::listen(self.listen.as_deref(), overrides.listen, &mut problems);
        let admin = listeners::admin(self.admin, overrides.admin, &mut problems);
        if listen.contains(&admin) {
            problems.push(Problem::of_file(format!(
                "`admin` and `listen` are both {admin}: each needs an address of its own"
            )));
        }
        let events = listeners::events(self.events, overrides.events, &mut problems);
        for (name, taken) in
            [("listen", listen.as_slice()), ("admin", std::slice::from_ref(&admin))]
        {
            if let Some(events) = events.as_ref().filter(|events| taken.contains(events)) {
                problems.push(Problem::of_file(format!(
                    "`events` and `{name}` are both {events}: each needs an address of its own"
                )));
            }
        }
        let from_file = |path: Option<PathBuf>| path.map(|path| base.join(path));
        let catalog = overrides.catalog.or(from_file(self.catalog));
        if catalog.is_none() {
            problems.push(Problem::of_file(
                "no catalog: add `catalog: catalog.yaml`, or give --catalog FILE",
            ));
        }
        let segment_bytes = self.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
        let journal_bytes = match self.checkpoint_journal_bytes {
            Some((bytes, place)) if bytes < segment_bytes => {
                problems.push(Problem::at(
                    place,
                    format!(
                        "a checkpoint frees whole segments, so `journal_bytes` must be at least \
                         `segment_bytes` ({} MiB)",
                        segment_bytes >> 20
                    ),
                ));
                bytes
            }
            Some((bytes, _)) => bytes,
            None => DEFAULT_CHECKPOINT_JOURNAL_BYTES.max(segment_bytes),
        };
        let (Some(catalog), true) = (catalog, problems.is_empty()) else { return Err(problems) };
        Ok(Config {
            listen,
            admin,
            events,
            data_dir: overrides
                .data_dir
                .or(from_file(self.data_dir))
                .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)),
            catalog,
            durability: self.durability.unwrap_or(DEFAULT_DURABILITY),
            // One per core: a worker never waits, so more would only take turns.
            workers: self
                .workers
                .or_else(|| std::thread::available_parallelism().ok())
                .unwrap_or(NonZeroUsize::MIN),
            clock: overrides.clock.or(self.clock).unwrap_or(ClockKind::System),
            log: LogConfig {
                format: self.log_format.unwrap_or(LogFormat::Auto),
                level: self.log_level.unwrap_or(tracing::Level::INFO),
            },
            idempotency: IdempotencyConfig {
                horizon: self.horizon.unwrap_or(DEFAULT_HORIZON),
                entries_max: self.keys_max.unwrap_or(KEYS_MAX_DEFAULT),
            },
            restate_for: self.restate_for.unwrap_or(DEFAULT_RESTATE_FOR),
            drain_timeout: self.drain_timeout.unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            checkpoint: CheckpointConfig {
                every: self.checkpoint_every.unwrap_or(DEFAULT_CHECKPOINT_EVERY),
                journal_bytes,
            },
            segment_bytes,
            recent_decisions_bytes: self
                .recent_decisions_bytes
                .unwrap_or(DEFAULT_RECENT_DECISIONS_BYTES),
        })
    }
}

fn count(number: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listeners::{DEFAULT_ADMIN, DEFAULT_LISTEN};

    fn read(text: &str) -> Result<Config, String> {
        parse("h", text.as_bytes(), Path::new("/etc/headroom"), Overrides::default())
            .map_err(|problems| problems.lines().collect::<Vec<_>>().join("\n"))
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(read(&format!("catalog: c.yaml\n{text}")).unwrap_err(), expected, "{text}");
    }

    #[test]
    fn everything_but_the_catalog_has_a_default() {
        let config = read("catalog: c.yaml").unwrap();
        assert_eq!(config.listen, [DEFAULT_LISTEN.parse().unwrap()]);
        assert_eq!(config.admin, DEFAULT_ADMIN.parse().unwrap());
        assert_eq!(config.catalog, Path::new("/etc/headroom/c.yaml"));
        assert_eq!(config.data_dir, Path::new(DEFAULT_DATA_DIR));
        assert_eq!(config.durability, Durability::Written);
        assert_eq!(config.idempotency.entries_max.get(), 4_000_000);
        assert!(config.checkpoint.journal_bytes >= config.segment_bytes);
    }

    #[test]
    fn everything_can_be_set() {
        let config = read(
            "
listen: ['0.0.0.0:7400', 'unix:/run/headroom/headroom.sock']
admin: unix:/run/headroom/admin.sock
events: 127.0.0.1:7402
data_dir: /var/lib/headroom
catalog: /srv/catalog.yaml
durability: fsynced
workers: 4
clock: test
log: {format: json, level: debug}
idempotency: {horizon: 48h, entries_max: 1_000_000}
restate_for: 60d
drain_timeout: 20s
checkpoint: {every: 1h, journal_bytes: 1GiB}
segment_bytes: 128MiB
recent_decisions_bytes: 0B
",
        )
        .unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.admin.to_string(), "unix:/run/headroom/admin.sock");
        assert_eq!(config.events, Some("127.0.0.1:7402".parse().unwrap()));
        assert_eq!(config.data_dir, Path::new("/var/lib/headroom"));
        assert_eq!(config.catalog, Path::new("/srv/catalog.yaml"));
        assert_eq!(config.durability, Durability::Fsynced);
        assert_eq!(config.workers.get(), 4);
        assert_eq!(config.clock, ClockKind::Test);
        assert_eq!(config.log.level, tracing::Level::DEBUG);
        assert_eq!(config.idempotency.horizon, Duration::from_secs(172_800));
        assert_eq!(config.restate_for, Duration::from_secs(60 * 86_400));
        assert_eq!(config.drain_timeout, Duration::from_secs(20));
        assert_eq!(config.checkpoint.journal_bytes, 1 << 30);
        assert_eq!(config.segment_bytes, 128 << 20);
        assert_eq!(config.recent_decisions_bytes, 0);
    }

    #[test]
    fn events_come_in_on_this_machine_and_at_an_address_of_their_own() {
        assert_eq!(read("catalog: c.yaml").unwrap().events, None);
        check(
            "events: 0.0.0.0:7402\n",
            "h:2:9: the events listener has no authentication, so 0.0.0.0:7402 is refused: use a loopback \
             address or unix:/path",
        );
        check(
            "events: 127.0.0.1:7401\n",
            "h: `events` and `admin` are both 127.0.0.1:7401: each needs an address of its own",
        );
        check(
            "events: 127.0.0.1:7400\n",
            "h: `events` and `listen` are both 127.0.0.1:7400: each needs an address of its own",
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let overrides = Overrides {
            listen: vec!["127.0.0.1:1".parse().unwrap()],
            admin: Some("127.0.0.1:2".parse().unwrap()),
            events: Some("127.0.0.1:3".parse().unwrap()),
            data_dir: Some("here".into()),
            catalog: Some("mine.yaml".into()),
            clock: Some(ClockKind::Test),
        };
        let text = b"listen: 127.0.0.1:9\ncatalog: c.yaml\ndata_dir: d\nclock: system\n";
        let config = parse("h", text, Path::new("/etc"), overrides.clone()).unwrap();
        let bare = load(None, overrides).unwrap();
        assert_eq!(config, bare);
        assert_eq!(config.catalog, Path::new("mine.yaml"), "relative to where the command runs");
        assert_eq!(config.clock, ClockKind::Test);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        check(
            "listen: [x, '127.0.0.1:1']\nadmin: 0.0.0.0:7401\nworkers: 0\nclok: test\n",
            "h:2:10: `x` is not an address to listen on: write host:port or unix:/path\n\
             h:3:8: the admin listener has no authentication, so 0.0.0.0:7401 is refused: use a \
             loopback address or unix:/path\n\
             h:4:10: `workers` is 0, it must be 1 to 1024\n\
             h:5:1: unknown key `clok`, did you mean `clock`?",
        );
        check("listen: ['a:1', 'b:2', 'a:1']", "h:2:24: a:1 is listed twice");
        check("listen: []", "h:2:9: 0 addresses, it must be 1 to 16");
        check(
            "listen: 127.0.0.1:7401",
            "h: `admin` and `listen` are both 127.0.0.1:7401: each needs an address of its own",
        );
        check(
            "segment_bytes: 128MiB\ncheckpoint: {journal_bytes: 64MiB}",
            "h:3:29: a checkpoint frees whole segments, so `journal_bytes` must be at least \
             `segment_bytes` (128 MiB)",
        );
        check(
            "durability: fsync",
            "h:2:13: `durability` must be `written` or `fsynced`, found `fsync`, did you mean \
             `fsynced`?",
        );
        check(
            "log: {level: verbose}",
            "h:2:14: `level` must be `error`, `warn`, `info`, `debug` or `trace`, found `verbose`",
        );
    }

    #[test]
    fn without_a_catalog_there_is_nothing_to_serve() {
        let missing = "h: no catalog: add `catalog: catalog.yaml`, or give --catalog FILE";
        assert_eq!(read("workers: 1").unwrap_err(), missing);
        assert_eq!(
            read("catalog: [x]").unwrap_err(),
            "h:1:10: `catalog` must be a text, found a list"
        );
        assert_eq!(read("").unwrap_err(), "h: the file is empty");
        assert!(load(None, Overrides::default()).is_err());
        let gone = load(Some(Path::new("/nowhere/h.yaml")), Overrides::default()).unwrap_err();
        assert!(gone.to_string().contains("/nowhere/h.yaml: the file cannot be read"), "{gone}");
    }
}
