//! Listeners: a bound TCP port or Unix socket file that hands out connections.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::address::ListenAddr;
use super::socket::AcceptedSocket;

/// Who may connect to a Unix socket: its owner and its group, so that a product running as another
/// user is let in by group and everyone else is not.
pub const DEFAULT_UNIX_MODE: u32 = 0o660;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something listens there already.
    #[error("{addr} is in use by another process")]
    InUse {
        /// The address.
        addr: ListenAddr,
    },
    /// The path names something that is not a socket; it is not touched.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// What has no authentication of its own stays on this machine.
    #[error(
        "this listener wants a loopback address or unix:/path, and {addr} can be reached from outside"
    )]
    AdminNotLocal {
        /// The address.
        addr: ListenAddr,
    },
    /// The operating system refused for another reason.
    #[error("cannot listen on {addr}")]
    Io {
        /// The address.
        addr: ListenAddr,
        /// What it said.
        source: io::Error,
    },
}

/// A bound address. Dropping it closes the port or removes the socket file.
#[derive(Debug)]
pub struct Listener {
    addr: ListenAddr,
    bound: Bound,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds an address. `unix_mode` is for Unix sockets: who may connect.
    pub fn bind(addr: &ListenAddr, unix_mode: u32) -> Result<Listener, BindError> {
        let bound = match addr {
            ListenAddr::Tcp { host, port } => TcpListener::bind((host.as_str(), *port))
                .and_then(|listener| listener.set_nonblocking(true).map(|()| Bound::Tcp(listener)))
                .map_err(|source| bind_error(addr, source))?,
            ListenAddr::Unix(path) => bind_unix(addr, path, unix_mode)?,
        };
        Ok(Listener { addr: actual(addr, &bound), bound })
    }

    /// Binds the address of what must not be reachable from other machines: the admin API, events.
    pub fn bind_admin(addr: &ListenAddr, unix_mode: u32) -> Result<Listener, BindError> {
        if let ListenAddr::Tcp { host, port } = addr {
            let mut resolved = (host.as_str(), *port)
                .to_socket_addrs()
                .map_err(|source| bind_error(addr, source))?;
            if !resolved.all(|resolved| resolved.ip().is_loopback()) {
                return Err(BindError::AdminNotLocal { addr: addr.clone() });
            }
        }
        Listener::bind(addr, unix_mode)
    }

    /// The address, with the port that the system chose.
    pub fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// Makes the listener wait on the runtime of the calling thread.
    pub(super) fn adopt(self) -> io::Result<AsyncListener> {
        Ok(match self.bound {
            Bound::Tcp(listener) => {
                AsyncListener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener, file) => {
                let listener = tokio::net::UnixListener::from_std(listener)?;
                AsyncListener::Unix { listener, _file: file }
            }
        })
    }
}

/// A listener that waits on a runtime.
pub(super) enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    Unix { listener: tokio::net::UnixListener, _file: SocketFile },
}

impl AsyncListener {
    /// The next connection, free to move to another runtime.
    pub(super) async fn accept(&self) -> io::Result<AcceptedSocket> {
        match self {
            AsyncListener::Tcp(listener) => {
                listener.accept().await?.0.into_std().map(AcceptedSocket::Tcp)
            }
            AsyncListener::Unix { listener, .. } => {
                listener.accept().await?.0.into_std().map(AcceptedSocket::Unix)
            }
        }
    }
}

/// A socket file of ours, removed with its listener.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: the path may belong to a successor by the time we go.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id)
        {
            // Failing leaves a stale file, which the next start removes.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds under a name of its own first and moves that over the wanted path, so that nobody connects
/// before the permissions are set, and a stale file is replaced without a gap.
///
/// Two processes that start at once on one stale path could both pass the test; the lock of their
/// data directory keeps them apart.
fn bind_unix(addr: &ListenAddr, path: &Path, mode: u32) -> Result<Bound, BindError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) if !is_stale(path) => return Err(BindError::InUse { addr: addr.clone() }),
        Ok(_) | Err(_) => {} // Stale, or not there; what else is wrong shows when binding.
    }
    // The name it is bound under first may be short enough when this one is not.
    SocketAddr::from_pathname(path).map_err(|source| bind_error(addr, source))?;
    let own = path.with_file_name(format!(".headroom-{}", std::process::id()));
    let bound = || {
        let listener = UnixListener::bind(&own)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&own, fs::Permissions::from_mode(mode))?;
        let found = fs::symlink_metadata(&own)?;
        fs::rename(&own, path)?;
        let file = SocketFile { path: path.to_owned(), id: (found.dev(), found.ino()) };
        Ok(Bound::Unix(listener, file))
    };
    bound().map_err(|source| {
        let _ = fs::remove_file(&own);
        bind_error(addr, source)
    })
}

/// Whether nobody listens on a socket file any more.
fn is_stale(path: &Path) -> bool {
    matches!(UnixStream::connect(path), Err(err) if err.kind() == ErrorKind::ConnectionRefused)
}

fn bind_error(addr: &ListenAddr, source: io::Error) -> BindError {
    let addr = addr.clone();
    match source.kind() {
        ErrorKind::AddrInUse => BindError::InUse { addr },
        _ => BindError::Io { addr, source },
    }
}

fn actual(addr: &ListenAddr, bound: &Bound) -> ListenAddr {
    match (addr, bound) {
        (ListenAddr::Tcp { host, .. }, Bound::Tcp(listener)) => match listener.local_addr() {
            Ok(local) => ListenAddr::Tcp { host: host.clone(), port: local.port() },
            Err(_) => addr.clone(),
        },
        _ => addr.clone(),
    }
}
