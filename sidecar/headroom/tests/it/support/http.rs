//! Pages over HTTP/1.1, as probes and Prometheus read them.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::SOON;

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    /// The first line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Reads a page from a Unix socket.
pub(crate) fn get_unix(socket: &Path, path: &str) -> io::Result<Page> {
    send_unix(socket, &format!("GET {path}"), &[], b"")
}

/// Sends a request to a Unix socket: its method and path, headers, and a body.
pub(crate) fn send_unix(
    socket: &Path,
    what: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Page> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut head = format!("{what} HTTP/1.1\r\nHost: headroom\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    // Whoever refuses a request by its size need not read all of it.
    let _ = stream.write_all(body);
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, text.clone());
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    assert!(!is_chunked, "the test client reads no chunks");
    Ok(Page { status, head: head.to_owned(), body: body.to_owned() })
}
