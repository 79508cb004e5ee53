//! The stage: a sidecar of the demo's own, on free ports, in a directory that goes away.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headroom_store::Durability;

use super::receiver::Key;
use crate::serve::listener::DEFAULT_UNIX_MODE;
use crate::serve::{BindError, ListenAddr};
use crate::sidecar::{self, Sidecar, StartError, StartOptions};

/// The catalog that is shown.
const CATALOG: &str = include_str!("../../../../deploy/example/ai-product.yaml");

/// A free port can be taken by somebody else before it is used; that often in a row is no chance.
const PORT_ATTEMPTS: u32 = 5;

/// The file that the demo's second sink writes.
const SIGNALS_FILE: &str = "signals.ndjson";

/// Where the demo's sidecar is found.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Everything of this run.
    pub(super) dir: PathBuf,
    /// gRPC for products.
    pub(super) endpoint: String,
    /// The same, on a Unix socket.
    pub(super) socket: PathBuf,
    /// gRPC for operators.
    pub(super) admin: String,
    /// The file of the catalog's NDJSON sink.
    pub(super) signals_file: PathBuf,
}

/// A running sidecar and its directory.
pub(super) struct Stage {
    pub(super) places: Places,
    pub(super) sidecar: Sidecar,
    // Dropped after the sidecar, which holds files in it.
    dir: Directory,
}

/// Why there is no stage.
#[derive(Debug)]
pub(super) enum StageError {
    /// The directory cannot be made.
    Directory { dir: PathBuf, source: io::Error },
    /// No port is free.
    Port(io::Error),
    /// The sidecar did not start.
    Start(StartError),
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StageError::Directory { dir, source } => {
                write!(f, "{} cannot be written: {source}", dir.display())
            }
            StageError::Port(error) => write!(f, "no free port on 127.0.0.1: {error}"),
            StageError::Start(error) => error.fmt(f),
        }
    }
}

/// A directory of this run, removed at the end unless it is to be kept.
pub(super) struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path); // What is left there is for /tmp's own broom.
        }
    }
}

impl Directory {
    /// A new directory that only this user can enter: the webhook's secret is in it.
    fn new(keep: bool) -> io::Result<Directory> {
        let [a, b, c, d, ..] = random()?;
        let name = format!("headroom-demo-{a:02x}{b:02x}{c:02x}{d:02x}");
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Directory { path, keep })
    }
}

impl Stage {
    /// Starts a sidecar on a fresh directory, with this catalog.
    pub(super) fn set(text: &str, keep: bool) -> Result<Stage, StageError> {
        let dir_error = |dir: &Path, source| StageError::Directory { dir: dir.to_owned(), source };
        let dir = Directory::new(keep).map_err(|e| dir_error(&std::env::temp_dir(), e))?;
        let catalog = dir.path.join("catalog.yaml");
        fs::write(&catalog, text).map_err(|e| dir_error(&catalog, e))?;
        let mut attempt = 1;
        loop {
            let (port, admin_port) = free_ports().map_err(StageError::Port)?;
            let options = options(&dir.path, &catalog, port, admin_port);
            match sidecar::start(&options) {
                Ok(sidecar) => {
                    let places = Places {
                        dir: dir.path.clone(),
                        endpoint: format!("http://127.0.0.1:{port}"),
                        socket: socket(&dir.path),
                        admin: format!("http://127.0.0.1:{admin_port}"),
                        signals_file: options.data_dir.join(SIGNALS_FILE),
                    };
                    return Ok(Stage { places, sidecar, dir });
                }
                Err(StartError::Bind(BindError::InUse { .. })) if attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(StageError::Start(error)),
            }
        }
    }

    /// Stops the sidecar well, and removes the directory.
    pub(super) async fn strike(self) -> Result<(), headroom_store::CloseError> {
        let closed = self.sidecar.drain().await;
        drop(self.dir);
        closed
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("headroom.sock")
}

fn options(dir: &Path, catalog: &Path, port: u16, admin_port: u16) -> StartOptions {
    let tcp = |port| ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port };
    let day = Duration::from_secs(24 * 60 * 60);
    StartOptions {
        listen: vec![tcp(port), ListenAddr::Unix(socket(dir))],
        admin: tcp(admin_port),
        events: None,
        unix_mode: DEFAULT_UNIX_MODE,
        data_dir: dir.join("data"),
        catalog: catalog.to_owned(),
        durability: Durability::Written,
        workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        test_clock: true,
        key_horizon: day,
        // Twice two writes a row, and room to try things by hand.
        keys_max: NonZeroUsize::new(100_000).unwrap_or(NonZeroUsize::MIN),
        restate_for: 35 * day,
        drain_timeout: Duration::from_secs(2),
        checkpoint_every: day,
        checkpoint_journal_bytes: 64 << 20,
        segment_bytes: 8 << 20,
        receipts_bytes: 8 << 20,
    }
}

/// Two different ports that nobody listens on.
fn free_ports() -> io::Result<(u16, u16)> {
    let one = TcpListener::bind(("127.0.0.1", 0))?;
    let other = TcpListener::bind(("127.0.0.1", 0))?;
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

/// The example catalog with two sinks: a webhook to `url`, and a file.
pub(super) fn catalog_text(url: &str, key: &Key) -> String {
    let secret = STANDARD.encode(key);
    format!(
        "{CATALOG}\nsinks:\n  - sink: demo\n    kind: standard_webhook\n    url: \"{url}\"\n    \
         secret: \"whsec_{secret}\"\n    allow_private: on\n  - sink: file\n    kind: ndjson\n    \
         path: {SIGNALS_FILE}\n"
    )
}

/// A key for this run alone.
pub(super) fn random() -> io::Result<Key> {
    let mut key = Key::default();
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::catalog;
    use crate::config::sinks::{NoSecrets, SinkKind};
    use crate::demo::cast::CAST;

    #[test]
    fn the_example_catalog_takes_two_sinks_and_has_all_plans_of_the_cast() {
        let url = "http://127.0.0.1:4711/signals";
        let text = catalog_text(url, &[7; 32]);
        let parsed = catalog::parse("demo", text.as_bytes(), &NoSecrets).unwrap();
        let webhooks = parsed.sinks.iter().filter(|sink| match &sink.kind {
            SinkKind::StandardWebhook { url: to, .. } => *to == url,
            _ => false,
        });
        assert_eq!(webhooks.count(), 1);
        let file = SinkKind::Ndjson { file: SIGNALS_FILE.into() };
        assert!(parsed.sinks.iter().any(|sink| sink.kind == file));
        for member in CAST {
            assert!(parsed.spec.plans.iter().any(|plan| plan.plan == member.plan), "{member:?}");
        }
    }

    #[test]
    fn the_directory_is_private_and_goes_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = Directory::new(false).unwrap();
        let path = dir.path.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("x"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }
}
