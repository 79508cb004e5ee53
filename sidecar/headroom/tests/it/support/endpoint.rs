//! A receiver of webhooks on loopback: what it was sent, and what it answers.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Instead of a status: it takes the delivery in, and the answer never arrives.
pub(crate) const ANSWER_LOST: u16 = 1;

/// Instead of a status: nothing arrives there.
pub(crate) const DEAD: u16 = 2;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An endpoint that answers with one status, and what it was sent.
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    pub(crate) status: Arc<AtomicU16>,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Endpoint {
    /// Its thread ends with the tests.
    pub(crate) fn start() -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let status = Arc::new(AtomicU16::new(200));
        let deliveries = Arc::<Mutex<Vec<Delivery>>>::default();
        let (answer, seen) = (Arc::clone(&status), Arc::clone(&deliveries));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                // A connection that the other side cut is no failure.
                std::thread::spawn(move || serve(stream.ok()?, &answer, &seen));
            }
        });
        Endpoint { port, status, deliveries }
    }

    /// Everything it was sent, in the order it came.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().expect("no panic").clone()
    }

    /// As if it had been sent nothing.
    pub(crate) fn forget(&self) {
        self.deliveries.lock().expect("no panic").clear();
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.deliveries().into_iter().map(|delivery| delivery.id).collect()
    }
}

/// Serves a connection until either side has had enough.
fn serve(stream: TcpStream, answer: &AtomicU16, seen: &Mutex<Vec<Delivery>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut headers, mut line) = (HashMap::new(), String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        let length = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let status = answer.load(SeqCst);
        if status == DEAD {
            return None;
        }
        let id = headers.get("webhook-id").cloned().unwrap_or_default();
        seen.lock().expect("no panic").push(Delivery { id, headers, body });
        if status == ANSWER_LOST {
            return None;
        }
        let text = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
        stream.get_mut().write_all(text.as_bytes()).ok()?;
    }
}
