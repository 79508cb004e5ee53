//! Redis, real and fresh, with and without its append-only file; and the script each request runs.

use crate::error::Error;
use crate::limits::{LOOK_AGAIN, READY_WITHIN};
use crate::pin::Cores;
use crate::process::Process;
use crate::sidecar::{free_address, socket_path};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What somebody writes who counts in Redis and takes care: one atomic step that checks the limit,
/// counts, lets the counter expire with its window, and remembers the idempotency key for ten
/// minutes. It answers {allowed, used}; it knows no thresholds, no reservations, no origin.
pub(crate) const SCRIPT: &str = "\
local units = tonumber(ARGV[1])
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[4]) then return {1, used} end
if used + units > tonumber(ARGV[2]) then redis.call('DEL', KEYS[2]) return {0, used} end
local after = redis.call('INCRBY', KEYS[1], ARGV[1])
if after == units then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return {1, after}
";

/// What to say when there is no Redis to compare with.
pub(crate) const HOW_TO_INSTALL: &str =
    "redis-server is not installed; to compare with it: apt-get install -y redis-server";

/// A running Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    /// The process.
    pub process: Process,
    /// Its socket.
    pub socket: PathBuf,
}

/// True when there is such a program.
pub(crate) fn is_installed(program: &Path) -> bool {
    let version =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

impl Redis {
    /// Starts an empty one; with `append_only`, it writes every change to its file and fsyncs once
    /// a second, Redis's own default.
    pub(crate) fn start(
        program: &Path,
        dir: &Path,
        cores: &Cores,
        append_only: bool,
    ) -> Result<Redis, Error> {
        fs::create_dir_all(dir).map_err(Error::io("a directory cannot be made"))?;
        let socket = socket_path(free_address()?);
        let mut command = Command::new(program);
        command
            .args(["--port", "0", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(dir)
            .args(["--save", "", "--appendfsync", "everysec", "--appendonly"])
            .arg(if append_only { "yes" } else { "no" });
        let name = if append_only { "redis with AOF" } else { "redis" };
        let mut process = Process::start(name, command, cores, &dir.join("log"))?;
        let started = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            process.check_alive()?;
            if READY_WITHIN < started.elapsed() {
                return Err(process.problem(format!("is not ready after {READY_WITHIN:?}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(Redis { process, socket })
    }
}
