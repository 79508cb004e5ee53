//! An accepted connection: TCP or Unix, counted at its worker for as long as it lives.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use super::drain::Drain;
use super::limits;

/// How many connections live at one place. A clone counts the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<AtomicUsize>);

impl Connections {
    pub(super) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Counts one more, until the guard is dropped.
    pub(super) fn enter(&self) -> ConnectionGuard {
        self.0.fetch_add(1, Relaxed);
        ConnectionGuard(self.clone())
    }
}

#[derive(Debug)]
pub(super) struct ConnectionGuard(Connections);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// An accepted connection on its way to a runtime: it belongs to none yet.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: AcceptedSocket,
    pub(super) guard: ConnectionGuard,
}

#[derive(Debug)]
pub(super) enum AcceptedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// Takes the connection over to the runtime of the calling thread. A client that has sent
    /// nothing when draining begins, or for too long, is taken to have hung up: tonic would wait
    /// for it.
    pub(super) fn adopt(self, drain: Drain) -> io::Result<Socket> {
        let stream = match self.socket {
            AcceptedSocket::Tcp(stream) => {
                // An answer is sent the moment it is ready: waiting for a fuller packet would cost
                // the client up to 40 ms.
                stream.set_nodelay(true)?;
                // The kernel looks after dead peers. HTTP/2's own pings would take a lock and read
                // the clock for every frame of every request.
                rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
                rustix::net::sockopt::set_tcp_keepidle(&stream, limits::KEEPALIVE_IDLE)?;
                rustix::net::sockopt::set_tcp_keepintvl(&stream, limits::KEEPALIVE_INTERVAL)?;
                rustix::net::sockopt::set_tcp_keepcnt(&stream, limits::KEEPALIVE_PROBES)?;
                Stream::Tcp(TcpStream::from_std(stream)?)
            }
            AcceptedSocket::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        };
        let patience = async move {
            // Either way the time is up.
            let _ = tokio::time::timeout(limits::FIRST_BYTE_WITHIN, drain.begun()).await;
        };
        Ok(Socket { stream, silent: Some(Box::pin(patience)), leaving: None, _guard: self.guard })
    }
}

/// A connection on the runtime that serves it.
pub(super) struct Socket {
    stream: Stream,
    /// Ends when a client that has sent nothing is given up; None as soon as it has sent anything.
    silent: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Set once nothing more is sent: how long the client's last bytes are waited for.
    leaving: Option<Pin<Box<Sleep>>>,
    _guard: ConnectionGuard,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connected for Socket {
    /// Nothing: tonic would copy it into every request, and nobody asks.
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Calls the same method of whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match &mut $socket.get_mut().stream {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = either!(self.as_mut(), stream => stream.poll_read(cx, buf));
        let Some(patience) = &mut self.silent else {
            return read;
        };
        if read.is_pending() {
            return patience.as_mut().poll(cx).map(Ok); // Nothing was read: the end of the stream.
        }
        self.silent = None;
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    /// Says that nothing more is sent, and then reads until the client has hung up, too, for a
    /// moment. A socket that is closed with bytes unread tells its peer that the connection broke, and
    /// the peer would throw away the last answers, which it has not read yet: a client that streams
    /// always has a message on its way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leaving.is_none() {
            ready!(either!(self.as_mut(), stream => stream.poll_shutdown(cx)))?;
            self.leaving = Some(Box::pin(tokio::time::sleep(limits::LINGER)));
        }
        let mut unread = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            match either!(self.as_mut(), stream => stream.poll_read(cx, &mut unread)) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {}
                // It has hung up, one way or the other.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        match &mut self.leaving {
            Some(leaving) => leaving.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
