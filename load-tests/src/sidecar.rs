//! The sidecar and the empty service as processes.

use crate::error::Error;
use crate::files::{self, Settings};
use crate::limits::{LOOK_AGAIN, READY_WITHIN};
use crate::options::Options;
use crate::pin::Cores;
use crate::process::Process;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program to measure: the one given, or the one cargo builds as it is shipped.
pub(crate) fn locate(options: &Options) -> Result<PathBuf, Error> {
    if let Some(path) = &options.headroom {
        return Ok(path.clone());
    }
    eprintln!("building the sidecar: cargo build --profile max -p headroom");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--profile", "max", "-p", "headroom"])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit()) // Its progress.
        .output()
        .map_err(Error::io("cargo cannot be started"))?;
    if !output.status.success() {
        return Err(Error::Build);
    }
    executable(&String::from_utf8_lossy(&output.stdout)).ok_or(Error::Build)
}

/// The program named by cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = messages.filter_map(|message: serde_json::Value| {
        let is_sidecar = message["target"]["name"] == "headroom";
        message["executable"].as_str().filter(|_| is_sidecar).map(PathBuf::from)
    });
    programs.next()
}

/// How a server is started, again and again on the same data.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    program: PathBuf,
    dir: PathBuf,
    cores: Cores,
    /// The TCP address of the service.
    pub tcp: SocketAddr,
    socket: PathBuf,
    admin: Option<SocketAddr>,
    name: &'static str,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Running {
    /// The process.
    pub process: Process,
    /// Its service on TCP.
    pub tcp: String,
    /// Its service on a Unix socket.
    pub unix: String,
    /// Its admin service.
    pub admin: Option<String>,
}

impl Launch {
    /// Headroom with this catalog and an empty data directory within `dir`.
    pub(crate) fn headroom(
        program: &Path,
        dir: &Path,
        cores: &Cores,
        catalog: &str,
    ) -> Result<Launch, Error> {
        let launch = Launch {
            admin: Some(free_address()?),
            ..Launch::empty(program, dir, cores, "headroom")?
        };
        let write = |name: &str, text: &str| {
            fs::write(launch.dir.join(name), text).map_err(Error::io("a file cannot be written"))
        };
        write("catalog.yaml", catalog)?;
        let listen = [launch.tcp.to_string(), format!("unix:{}", launch.socket.display())];
        let settings = Settings {
            listen: &listen,
            admin: launch.admin.expect("set above"),
            data_dir: &launch.dir.join("data"),
            catalog: &launch.dir.join("catalog.yaml"),
            workers: cores.server.len(),
        };
        write("config.yaml", &files::config(&settings))?;
        Ok(launch)
    }

    /// Adds a line to the settings.
    pub(crate) fn set(&self, line: &str) -> Result<(), Error> {
        let path = self.dir.join("config.yaml");
        let text = fs::read_to_string(&path).map_err(Error::io("settings cannot be read"))?;
        fs::write(&path, format!("{text}{line}\n")).map_err(Error::io("a file cannot be written"))
    }

    /// The empty service.
    pub(crate) fn empty_service(
        program: &Path,
        dir: &Path,
        cores: &Cores,
    ) -> Result<Launch, Error> {
        Launch::empty(program, dir, cores, "the empty service")
    }

    fn empty(
        program: &Path,
        dir: &Path,
        cores: &Cores,
        name: &'static str,
    ) -> Result<Launch, Error> {
        fs::create_dir_all(dir).map_err(Error::io("a directory cannot be made"))?;
        let dir = fs::canonicalize(dir).map_err(Error::io("a directory cannot be found"))?;
        let tcp = free_address()?;
        let socket = socket_path(tcp);
        let (program, cores) = (program.to_owned(), cores.clone());
        Ok(Launch { program, dir, cores, tcp, socket, admin: None, name })
    }

    /// Starts it and does not wait.
    pub(crate) fn start(&self) -> Result<Running, Error> {
        // A socket file of a server that was killed would be in the way.
        let _ = fs::remove_file(&self.socket);
        let mut command = Command::new(&self.program);
        match self.admin {
            Some(_) => command.args(["serve", "--config"]).arg(self.dir.join("config.yaml")),
            None => command
                .args(["baseline", "--listen", &self.tcp.to_string()])
                .args(["--listen", &format!("unix:{}", self.socket.display())])
                .args(["--workers", &self.cores.server.len().to_string()]),
        };
        let log = self.dir.join("log");
        Ok(Running {
            process: Process::start(self.name, command, &self.cores, &log)?,
            tcp: format!("http://{}", self.tcp),
            unix: format!("unix:{}", self.socket.display()),
            admin: self.admin.map(|admin| format!("http://{admin}")),
        })
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start_ready(&self) -> Result<Running, Error> {
        let mut running = self.start()?;
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            running.process.check_alive()?;
            let ready = match self.admin {
                Some(admin) => says_ready(admin).unwrap_or(false),
                None => TcpStream::connect(self.tcp).is_ok(),
            };
            if ready {
                return Ok(running);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(running.process.problem(format!("is not ready after {READY_WITHIN:?}")))
    }
}

/// Asks `/readyz`.
fn says_ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status.ends_with(b" 200"))
}

/// A loopback address that nobody listens on now.
pub(crate) fn free_address() -> Result<SocketAddr, Error> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map_err(Error::io("there is no free port"))
}

/// Where the sockets of this run lie: in the system's temporary directory, because a socket path
/// has about a hundred bytes at most.
pub(crate) fn socket_dir() -> PathBuf {
    std::env::temp_dir().join(format!("headroom-load-tests-{}", std::process::id()))
}

/// The socket of the server that has this TCP address: the port makes it unique.
pub(crate) fn socket_path(address: SocketAddr) -> PathBuf {
    socket_dir().join(format!("{}.sock", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"tokio"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"headroom"},"executable":"/t/max/headroom"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/max/headroom")));
        assert_eq!(executable("no json"), None);
    }
}
