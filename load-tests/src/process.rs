//! Servers as processes: started on their cores, watched through /proc, ended by their id.

use crate::error::Error;
use crate::limits::{LOOK_AGAIN, STOP_WITHIN};
use crate::pin;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// CPU time of a server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    /// All its threads.
    pub all: Duration,
    /// The threads that answer requests: those whose names begin with [`WORKER`].
    pub workers: Duration,
}

/// How Headroom names its workers.
const WORKER: &str = "worker-";

/// A server that is ended with its handle.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command on these cores; everything it prints goes to the log.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        cores: &pin::Cores,
        log: &Path,
    ) -> Result<Process, Error> {
        let file = File::create(log).map_err(Error::io("the log cannot be made"))?;
        let copy = file.try_clone().map_err(Error::io("the log cannot be shared"))?;
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        // A child inherits the cores of the thread that starts it.
        pin::pin_to(&cores.server)?;
        let child = command.spawn();
        pin::pin_to(&cores.client)?;
        let log_path = log.to_owned();
        match child {
            Ok(child) => Ok(Process { name: name.to_owned(), child, log: log_path }),
            Err(source) => Err(Error::Io { what: "the server cannot be started", source }),
        }
    }

    /// CPU time used by its threads so far.
    pub(crate) fn cpu_time(&self) -> Result<CpuTime, Error> {
        cpu_time(self.child.id())
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Error> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).map_err(Error::io("/proc cannot be read"))?;
        let bytes = proc_files::resident_bytes(&text);
        bytes.ok_or_else(|| Error::WrongAnswer("/proc/PID/status has no VmRSS".to_owned()))
    }

    /// An error when the process is gone.
    pub(crate) fn check_alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait().map_err(Error::io("the server cannot be watched"))? {
            None => Ok(()),
            Some(status) => Err(self.problem(format!("ended: {status}"))),
        }
    }

    /// Ends it with SIGTERM and waits until it is gone.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        let started = Instant::now();
        while started.elapsed() < STOP_WITHIN {
            match self.child.try_wait().map_err(Error::io("the server cannot be watched"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.problem(format!("ended badly: {status}"))),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        Err(self.problem(format!("did not end within {STOP_WITHIN:?}")))
    }

    /// Ends it with SIGKILL, as a crash would.
    pub(crate) fn crash(mut self) -> Result<(), Error> {
        self.child.kill().map_err(Error::io("the server cannot be killed"))?;
        self.child.wait().map_err(Error::io("the server cannot be watched"))?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child has a process id");
        kill_process(pid, signal)
            .map_err(|error| Error::io("the server cannot be signalled")(error.into()))
    }

    /// An error about this server, with the end of its log.
    pub(crate) fn problem(&self, problem: String) -> Error {
        const LINES: usize = 15;
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let log_end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        Error::Server { server: self.name.clone(), problem, log: self.log.clone(), log_end }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time used by this process, the load generator, with the threads that ended: to 10 ms.
pub(crate) fn own_cpu_time() -> Result<Duration, Error> {
    cpu_time_in_ticks(std::process::id())
}

/// Sums what the scheduler says of each thread, in nanoseconds. A thread that ended is not in the
/// sum: servers here keep their threads.
fn cpu_time(pid: u32) -> Result<CpuTime, Error> {
    let unreadable = || Error::io("/proc cannot be read");
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(unreadable())?;
    let mut total = CpuTime::default();
    for task in tasks {
        let path = task.map_err(unreadable())?.path();
        let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
        let time = proc_files::thread_cpu_time(&text).unwrap_or_default();
        total.all += time;
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with(WORKER) {
            total.workers += time;
        }
    }
    if total.all.is_zero() {
        // A kernel without scheduler statistics has ticks at least.
        total.all = cpu_time_in_ticks(pid)?;
    }
    Ok(total)
}

fn cpu_time_in_ticks(pid: u32) -> Result<Duration, Error> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"));
    let text = text.map_err(Error::io("/proc cannot be read"))?;
    let time = proc_files::process_cpu_time(&text, rustix::param::clock_ticks_per_second());
    time.ok_or_else(|| Error::WrongAnswer("/proc/PID/stat has no times".to_owned()))
}

/// What the files of /proc say.
pub mod proc_files {
    use std::time::Duration;

    /// Reads `/proc/PID/task/TID/schedstat`: nanoseconds on a CPU come first.
    pub fn thread_cpu_time(text: &str) -> Option<Duration> {
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }

    /// Reads user and system time of all threads from `/proc/PID/stat`. The name of the program,
    /// the second field, may hold anything, so fields are counted from its last parenthesis.
    pub fn process_cpu_time(text: &str, ticks_per_second: u64) -> Option<Duration> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let user_ticks: u64 = fields.next()?.parse().ok()?;
        let system_ticks: u64 = fields.next()?.parse().ok()?;
        let nanos_per_tick = 1_000_000_000_u64.checked_div(ticks_per_second)?;
        Some(Duration::from_nanos((user_ticks + system_ticks) * nanos_per_tick))
    }

    /// Reads the resident memory from `/proc/PID/status`.
    pub fn resident_bytes(text: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }
}
