//! A running sidecar, killed when dropped.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{http, until, until_async};

/// The process. Dropping it kills it, and fails the test if anything in it panicked.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    log: PathBuf,
    admin: PathBuf,
}

impl Sidecar {
    /// Runs `command`; its log is appended to `log`, its admin socket is `admin`.
    pub(crate) fn spawn(mut command: Command, log: PathBuf, admin: PathBuf) -> Sidecar {
        let lines = OpenOptions::new().append(true).create(true).open(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(lines);
        Sidecar { child: command.spawn().expect("the sidecar starts"), log, admin }
    }

    /// Waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        until("the sidecar is ready", || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the sidecar ended with {status}:\n{}", self.log());
            }
            http::get_unix(&self.admin, "/readyz").ok().filter(|page| page.status == 200)
        });
    }

    /// The process as others see it.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        self.child.wait().expect("a child");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it has ended. Not blocking: a client that hears nothing holds up a drain.
    pub(crate) async fn wait_end(&mut self) -> ExitStatus {
        until_async("the sidecar ends", async || self.ended()).await
    }

    /// SIGTERM, and a good end.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_end().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Waits until the log says something.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) {
        until(text, || self.log().contains(text).then_some(()));
    }

    /// Everything it and its predecessors in the same home logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A page of the admin listener.
    pub(crate) fn page(&self, path: &str) -> http::Page {
        http::get_unix(&self.admin, path).expect("a page")
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the end of the log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        } else {
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}
