//! A directory with everything a sidecar needs: catalog, settings, sockets and data.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use headroom_sdk::{AdminClient, Client};

use super::sidecar::Sidecar;
use super::{SOON, until};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_headroom");

/// A directory that goes with its owner.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            // Short, because the path of a socket may have 107 bytes.
            let path = std::env::temp_dir().join(format!("hr-{}-{count}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return TempDir(path),
                // A test that failed has kept it, in a process that had this number before.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Kept after a failure, so that it can be looked at.
        if std::thread::panicking() {
            eprintln!("kept: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Where a sidecar lives.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// A home with a catalog and settings for small disks and short tests.
    pub(crate) fn new(catalog: &str) -> Home {
        Home::with_settings(catalog, "")
    }

    /// As [`Home::new`], with more lines of settings.
    pub(crate) fn with_settings(catalog: &str, more: &str) -> Home {
        let home = Home { dir: TempDir::new() };
        home.write_catalog(catalog);
        home.write_settings(more);
        home
    }

    pub(crate) fn write_catalog(&self, text: &str) {
        fs::write(self.path("catalog.yaml"), text).expect("the catalog is written");
    }

    /// The settings of every test, and some more.
    pub(crate) fn write_settings(&self, more: &str) {
        let mut settings = format!(
            "catalog: catalog.yaml\ndata_dir: data\nadmin: unix:{}\n\
             log: {{ format: text }}\nsegment_bytes: 1MiB\n",
            self.path("admin").display()
        );
        let defaults = [
            ("listen:", format!("listen: unix:{}\n", self.path("socket").display())),
            ("workers:", "workers: 2\n".to_owned()),
            ("drain_timeout:", "drain_timeout: 10s\n".to_owned()),
            ("checkpoint:", "checkpoint: { every: 10s, journal_bytes: 1MiB }\n".to_owned()),
        ];
        for (key, line) in defaults {
            if !more.contains(key) {
                settings.push_str(&line);
            }
        }
        settings.push_str(more);
        fs::write(self.path("headroom.yaml"), settings).expect("the settings are written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Where clients come in.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}", self.path("socket").display())
    }

    /// Where operators come in.
    pub(crate) fn admin(&self) -> String {
        format!("unix:{}", self.path("admin").display())
    }

    /// The SDK's clients of both doors.
    pub(crate) async fn clients(&self) -> (Client, AdminClient) {
        let client = Client::builder(self.endpoint()).deadline(SOON).connect().await;
        let admin = AdminClient::connect(self.admin()).await;
        (client.expect("the sidecar listens"), admin.expect("the sidecar listens"))
    }

    /// `headroom serve` on this home, as a command that can still be changed.
    pub(crate) fn serve(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config"]).arg(self.path("headroom.yaml"));
        command
    }

    /// Runs a sidecar and waits until it is ready.
    pub(crate) fn start(&self) -> Sidecar {
        let mut sidecar = self.spawn();
        sidecar.wait_ready();
        sidecar
    }

    /// Runs a sidecar and does not wait.
    pub(crate) fn spawn(&self) -> Sidecar {
        self.spawn_command(self.serve())
    }

    pub(crate) fn spawn_command(&self, command: Command) -> Sidecar {
        Sidecar::spawn(command, self.path("log"), self.path("admin"))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(PROGRAM);
        command.args(args).env("HEADROOM_ENDPOINT", self.endpoint());
        command.env("HEADROOM_ADMIN", self.admin());
        self.end(command)
    }

    /// Runs `headroom serve` to its end, which must be soon: it is expected to refuse.
    pub(crate) fn refused(&self) -> Ended {
        self.end(self.serve())
    }

    /// Runs a command to its end.
    pub(crate) fn end(&self, mut command: Command) -> Ended {
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        command.stdin(Stdio::null()).current_dir(self.dir.path());
        command.stdout(File::create(&out).expect("a file for the output"));
        command.stderr(File::create(&err).expect("a file for the errors"));
        let mut child = command.spawn().expect("the program starts");
        let status = until("the command ends", || child.try_wait().expect("a child"));
        let read = |path| fs::read_to_string(path).expect("output in UTF-8");
        let ended = Ended { code: status.code(), stdout: read(&out), stderr: read(&err) };
        assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
        ended
    }
}

/// Ports of loopback that nobody had a moment ago, all different.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    sockets.map(|socket| socket.local_addr().expect("an address").port())
}
